"""Parameters of any network at initialisation, and the learning rates that go with them.

Parameters are real ones: a weight has variance ``weight_var / fan_in`` as a framework would draw
it, and the tangent kernel is the sum over parameters of ``rate dz dz``. A weight's rate is
``lambda_W / fan_in``, a bias's ``lambda_b``: gradient descent with one step size, times these
rates, is what the description's learning rates mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.ensemble._normals import normals
from whydeep.errors import InputError
from whydeep.network import (
    INPUT,
    BatchNorm,
    Conv,
    ConvLocal,
    ConvTranspose,
    Dense,
    Embedding,
    GroupNorm,
    LayerNorm,
    Network,
    PositionalEmbedding,
    Recurrent,
    RMSNorm,
    Shape,
)

__all__ = ["LAWS", "Parameter", "draw_parameters", "learning_rates", "parameters_of"]

LAWS = ("normal", "uniform", "truncated")
"""Laws that weights and biases can be drawn from, of equal mean and variance."""

# The standard deviation of a normal number that is known to lie within two of them.
_TRUNCATED = 0.8796256610342398


@dataclass(frozen=True)
class Parameter:
    """An array of parameters with one law and one learning rate.

    Args:
        shape: of the array.
        variance: of each entry.
        rate: what its squared derivative is multiplied with in the tangent kernel.
        mean: of each entry.
        normal: whether it is normal whatever the law of weights and biases.
    """

    shape: tuple[int, ...]
    variance: Any
    rate: Any
    mean: float = 0.0
    normal: bool = False

    @property
    def size(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    @property
    def random(self) -> bool:
        """Whether it is drawn at all; a variance that JAX traces may be anything."""
        return not (isinstance(self.variance, (int, float)) and self.variance == 0)


def draw_parameters(
    network: Network,
    input_shape: tuple[int, ...],
    key: Any,
    dtype: Any = np.float32,
    law: str = "normal",
) -> tuple[dict[str, Any], ...]:
    """Parameters of every node at initialisation: a tuple of dicts of arrays.

    Args:
        network: any.
        input_shape: of one input, ``(*positions, channels)``, or ``(T,)`` for T tokens.
        key: a key of ``jax.random``.
        dtype: float32, or float64 where JAX is set to 64 bits.
        law: "normal", "uniform" or "truncated" (at two standard deviations) for weights and
            biases, all of the same variance; embeddings stay normal.

    Raises:
        InputError: the network can't be applied to such inputs; a law that does not exist.

    Cost: one random number a parameter, all in one call: a call a layer would take as long to
    compile as all the rest.

    Example:
        >>> import jax
        >>> from whydeep.network import Activation, Dense, chain
        >>> net = chain(Dense(8, 2.0), Activation("relu"), Dense(1))
        >>> [{k: v.shape for k, v in p.items()} for p in draw_parameters(net, (3,), jax.random.key(0))]
        [{'weight': (3, 8), 'bias': (8,)}, {}, {'weight': (8, 1), 'bias': (1,)}]
    """  # noqa: E501 -- a doctest is one line
    if law not in LAWS:
        raise InputError(
            "There is no law of this name.", received=f"law={law!r}", needed=", ".join(LAWS)
        )
    nodes = parameters_of(network, input_shape)
    every = [p for node in nodes for p in node.values() if p.random]
    groups = {
        name: [p for p in every if (p.normal or law == "normal") == (name == "normal")]
        for name in {"normal", law}
    }
    numbers = {
        name: iter(_split(_standard(name, key, group, dtype), group))
        for name, group in groups.items()
    }

    def one(parameter: Parameter) -> Any:
        if not parameter.random:
            return jnp.full(parameter.shape, parameter.mean, dtype)
        unit = next(numbers["normal" if parameter.normal else law])
        return parameter.mean + _root(parameter.variance, dtype) * unit

    return tuple({name: one(p) for name, p in node.items()} for node in nodes)


def learning_rates(network: Network, input_shape: tuple[int, ...]) -> tuple[dict[str, Any], ...]:
    """The rate of every parameter, in the structure of `draw_parameters`.

    A weight's is ``lambda_W / fan_in`` (the window counted), a bias's ``lambda_b``, an entry's of
    an embedding its ``rate``, a norm's ``scale_lr`` and ``shift_lr``.

    Example:
        >>> from whydeep.network import Dense, chain
        >>> learning_rates(chain(Dense(1, 2.0, parameterization="standard")), (4,))
        ({'weight': 1.0, 'bias': 1.0},)
    """
    nodes = parameters_of(network, input_shape)
    return tuple({name: p.rate for name, p in node.items()} for node in nodes)


def parameters_of(
    network: Network, input_shape: tuple[int, ...]
) -> tuple[dict[str, Parameter], ...]:
    """What is drawn for every node, by name."""
    given = Shape(tuple(input_shape[:-1]), input_shape[-1] if input_shape else 1)
    shapes = network.shapes(tuple(input_shape))
    out = []
    for node, shape in zip(network.nodes, shapes, strict=True):
        rule = _RULES.get(type(node.layer))
        before = [given if i == INPUT else shapes[i] for i in node.inputs]
        out.append(rule(node.layer, before[0] if before else shape, shape) if rule else {})
    return tuple(out)


# -- the parameters of one layer, from the shapes before and after it ------------------------------


def _dense(layer: Dense, before: Shape, after: Shape) -> dict[str, Parameter]:
    bias_lr, weight_lr = layer.learning_rates(before.channels)
    fan_in = before.channels
    return {
        "weight": Parameter(
            (fan_in, after.channels), layer.weight_var / fan_in, weight_lr / fan_in
        ),
        "bias": Parameter((after.channels,), layer.bias_var, bias_lr),
    }


def _conv(layer: Conv | ConvTranspose, before: Shape, after: Shape) -> dict[str, Parameter]:
    bias_lr, weight_lr = layer.learning_rates(before.channels)
    fan_in = before.channels * math.prod(layer.size)
    shape = (*layer.size, before.channels, after.channels)
    return {
        "weight": Parameter(shape, layer.weight_var / fan_in, weight_lr / fan_in),
        "bias": Parameter((after.channels,), layer.bias_var, bias_lr),
    }


def _conv_local(layer: ConvLocal, before: Shape, after: Shape) -> dict[str, Parameter]:
    bias_lr, weight_lr = layer.learning_rates(before.channels)
    fan_in = before.channels * math.prod(layer.size)
    shape = (*after.positions, fan_in, after.channels)
    return {
        "weight": Parameter(shape, layer.weight_var / fan_in, weight_lr / fan_in),
        "bias": Parameter((*after.positions, after.channels), layer.bias_var, bias_lr),
    }


def _embedding(layer: Embedding, before: Shape, after: Shape) -> dict[str, Parameter]:
    del before
    return {
        "table": Parameter((layer.size, after.channels), layer.var, layer.rate, normal=True),
    }


def _positions(layer: PositionalEmbedding, before: Shape, after: Shape) -> dict[str, Parameter]:
    del before
    shape = (*after.positions, after.channels)
    return {"table": Parameter(shape, layer.var, layer.rate, normal=True)}


def _recurrent(layer: Recurrent, before: Shape, after: Shape) -> dict[str, Parameter]:
    bias_lr, input_lr, weight_lr = layer.learning_rates(before.channels)
    fan_in, width = before.channels, after.channels
    return {
        "input": Parameter((fan_in, width), layer.input_var / fan_in, input_lr / fan_in),
        "weight": Parameter((width, width), layer.weight_var / width, weight_lr / width),
        "bias": Parameter((width,), layer.bias_var, bias_lr),
    }


def _norm(
    layer: LayerNorm | RMSNorm | GroupNorm | BatchNorm, before: Shape, after: Shape
) -> dict[str, Parameter]:
    del before
    over: tuple[int, ...] = ()
    if isinstance(layer, LayerNorm) and layer.over != "channels":
        every = tuple(range(len(after.positions)))
        over = every if isinstance(layer.over, str) else layer.over
    kept = [n if axis in over else 1 for axis, n in enumerate(after.positions)]
    shape = (*kept, after.channels) if over else (after.channels,)
    scale, shift = (layer.scale, layer.shift) if isinstance(layer, BatchNorm) else (1.0, 0.0)
    return {
        "scale": Parameter(shape, 0.0, layer.scale_lr, scale),
        "shift": Parameter(shape, 0.0, layer.shift_lr, shift),
    }


_RULES: dict[type, Callable[[Any, Shape, Shape], dict[str, Parameter]]] = {
    Dense: _dense,
    Conv: _conv,
    ConvTranspose: _conv,
    ConvLocal: _conv_local,
    Embedding: _embedding,
    PositionalEmbedding: _positions,
    Recurrent: _recurrent,
    LayerNorm: _norm,
    RMSNorm: _norm,
    GroupNorm: _norm,
    BatchNorm: _norm,
}


# -- numbers ---------------------------------------------------------------------------------------


def _standard(law: str, key: Any, parameters: list[Parameter], dtype: Any) -> Any:
    """Random numbers of mean 0 and variance 1, enough for all `parameters`."""
    count = sum(p.size for p in parameters)
    if law == "normal":
        # Six times as fast on a CPU as jax.random.normal.
        words = jax.random.key_data(key)
        return normals((words[0], words[1]), 0, (count,), np.dtype(dtype).type)
    key = jax.random.fold_in(key, 1)
    if law == "uniform":
        return jax.random.uniform(key, (count,), dtype, -math.sqrt(3.0), math.sqrt(3.0))
    return jax.random.truncated_normal(key, -2.0, 2.0, (count,), dtype) / _TRUNCATED


def _split(numbers: Any, parameters: list[Parameter]) -> list[Any]:
    ends = np.cumsum([p.size for p in parameters])[:-1]
    parts = jnp.split(numbers, ends) if parameters else []
    return [part.reshape(p.shape) for part, p in zip(parts, parameters, strict=True)]


def _root(variance: Any, dtype: Any) -> Any:
    if isinstance(variance, (int, float)):
        return np.dtype(dtype).type(math.sqrt(variance))
    return jnp.sqrt(variance).astype(dtype)
