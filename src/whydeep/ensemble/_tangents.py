"""Kernels of one finite network or function: products of outputs and of gradients.

The tangent kernel is that of one output channel, drawn at random: its mean over draws is the mean
over channels, and costs one backward pass an output position and input. A network's, whose inputs
are apart, is put together as by `tangent_kernel`, without its Jacobian; a function's, which sees
all inputs at once, follows from the Jacobian by definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.ensemble._apply import node_values
from whydeep.ensemble._draw import draw_parameters, learning_rates
from whydeep.ensemble._normals import threefry
from whydeep.errors import InputError
from whydeep.network import INPUT, Dense, Dropout, Network

__all__ = ["function_nngp", "function_ntk", "network_nngp", "network_ntk"]

# What a draw's key is used for besides its parameters (stream 0).
_MASKS, _CHANNEL = 2, 3


def network_nngp(
    network: Network, first: int, law: str, x: Any, graph: Any, dtype: Any, key: Any
) -> Any:
    """The mean over channels of ``y(a) y(b)``, a among the `first` inputs, b among the rest.

    With ``first = len(x)`` both are all of them. A last `Dense` layer is averaged exactly over its
    own weights, ``C_b + C_W s(a) . s(b) / n``: the same mean with far less noise.
    """
    parameters = draw_parameters(network, x.shape[1:], key, dtype, law)
    random_masks = any(isinstance(layer, Dropout) for layer in network.layers)
    masks = jax.random.fold_in(key, _MASKS) if random_masks else None
    values = node_values(network, parameters, x, masks, graph)
    last = network.nodes[-1]
    if isinstance(last.layer, Dense):
        below = x if last.inputs[0] == INPUT else values[last.inputs[0]]
        gram = _products(below.astype(dtype), first)
        return last.layer.bias_var + last.layer.weight_var * gram
    return _products(values[-1], first)


def network_ntk(
    network: Network, first: int, law: str, together: int, x: Any, graph: Any, dtype: Any, key: Any
) -> Any:
    """``sum rate dy(a) dy(b)`` over all parameters, of one output channel.

    Args:
        network: any.
        first: as in `network_nngp`.
        law: of weights and biases.
        together: inputs whose gradients are taken side by side.
        x: all inputs.
        graph: of each, for `Aggregate`, or None.
        dtype: of the parameters.
        key: of this draw.
    """
    # The parts of `tangent_kernel`, needed when a kernel is measured and not before.
    from whydeep.ensemble.tangent._contract import contract
    from whydeep.ensemble.tangent._features import features_of
    from whydeep.ensemble.tangent._program import traced
    from whydeep.ensemble.tangent._terms import find_terms
    from whydeep.ensemble.tangent._uses import find_uses

    parameters = draw_parameters(network, x.shape[1:], key, dtype, law)
    leaves, tree = jax.tree.flatten(parameters)
    every = tree.flatten_up_to(learning_rates(network, x.shape[1:]))
    rates = {k: jnp.asarray(rate, dtype) for k, rate in enumerate(every) if rate != 0}
    if not rates:
        return jnp.zeros_like(network_nngp(network, first, law, x, graph, dtype, key))
    random_masks = any(isinstance(layer, Dropout) for layer in network.layers)

    def single(values: Any, point: Any) -> Any:
        """One channel at every position, of one input: (1, positions)."""
        *own, words = values
        row, number, *edges = point
        key = jax.random.wrap_key_data(words, impl="threefry2x32")
        mask = None
        if random_masks:
            mask = jax.random.fold_in(jax.random.fold_in(key, _MASKS), number)
        one = edges[0][None] if edges else None
        outputs = node_values(network, jax.tree.unflatten(tree, own), row[None], mask, one)[-1]
        return _channel(outputs, key)[None]

    # The key is a value like the parameters: the program takes nothing else from outside.
    values = [*leaves, jax.random.key_data(key)]
    points = [x, jnp.arange(len(x)), *([] if graph is None else [graph])]
    kinds = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in values]
    program = traced(single, kinds, [jax.ShapeDtypeStruct(p.shape[1:], p.dtype) for p in points])
    positions = program.shapes[program.output].shape[1]
    terms = tuple(
        find_terms(program, find_uses(program, tuple(rates), ()), positions, traced=False)
    )
    compute, basis = features_of(program, terms), jnp.eye(positions, dtype=dtype)
    if together >= len(x):
        found = compute(values, points, basis)
    else:
        found = jax.lax.map(
            lambda point: jax.tree.map(
                lambda feature: feature[0], compute(values, [p[None] for p in point], basis)
            ),
            points,
            batch_size=together,
        )
    left = jax.tree.map(lambda feature: feature[:first], found)
    right = left if first == len(x) else jax.tree.map(lambda feature: feature[first:], found)
    labels = (0,) * len(terms)
    (kernel,) = contract(left, right, rates, terms=terms, labels=labels, outputs="full")
    return kernel.transpose(0, 2, 1, 3)


def function_nngp(apply: Callable[[Any, Any], Any], first: int, parameters: Any, x: Any) -> Any:
    """The mean over channels of ``y(a) y(b)`` of any function."""
    return _products(with_channels(apply(parameters, x), x), first)


def function_ntk(
    apply: Callable[[Any, Any], Any], rates: Any, first: int, parameters: Any, x: Any, key: Any
) -> Any:
    """``sum rate dy(a) dy(b)`` of any function; it sees all inputs at once, as it was written."""
    leaves, rates, merge = _counted(parameters, rates)
    if not leaves:
        return jnp.zeros_like(function_nngp(apply, first, parameters, x))

    def output(leaves: list[Any]) -> Any:
        return _channel(with_channels(apply(merge(leaves), x), x), key)

    return _contracted(_jacobian(output, leaves), rates, first, len(x))


def with_channels(y: Any, x: Any) -> Any:
    """Outputs (N,) as (N, 1)."""
    y = jnp.asarray(y)
    return y.reshape(len(x), 1) if y.ndim < 2 else y


def _channel(y: Any, key: Any) -> Any:
    """One channel of (N, *positions, channels), flat: a word of this draw's stream chooses it."""
    words = jax.random.key_data(key)
    word, _ = threefry((words[0], words[1]), jnp.uint32(0), jnp.uint32(_CHANNEL))
    return jnp.take(y, word % np.uint32(y.shape[-1]), axis=-1).ravel()


def _jacobian(output: Callable[[list[Any]], Any], leaves: list[Any]) -> list[Any]:
    value, pull = jax.vjp(output, leaves)
    return jax.vmap(pull)(jnp.eye(value.size, dtype=value.dtype))[0]


def _counted(
    parameters: Any, rates: Any
) -> tuple[list[Any], list[Any], Callable[[list[Any]], Any]]:
    """The real arrays whose rate is not zero, their rates, and how they are put back."""
    leaves, tree = jax.tree.flatten(parameters)
    try:
        every = [1.0] * len(leaves) if rates is None else tree.flatten_up_to(rates)
    except ValueError as error:
        raise InputError(
            "The learning rates do not match the parameters.",
            received=str(error).splitlines()[0],
            needed="a number or an array for every array of parameters",
        ) from error
    kinds = [getattr(leaf, "dtype", None) for leaf in leaves]
    real = [kind is not None and jnp.issubdtype(kind, jnp.inexact) for kind in kinds]
    zero = [isinstance(rate, (int, float)) and rate == 0 for rate in every]
    chosen = [i for i in range(len(leaves)) if real[i] and not zero[i]]

    def merge(new: list[Any]) -> Any:
        merged = list(leaves)
        for i, leaf in zip(chosen, new, strict=True):
            merged[i] = leaf
        return jax.tree.unflatten(tree, merged)

    return [leaves[i] for i in chosen], [every[i] for i in chosen], merge


def _products(values: Any, first: int) -> Any:
    """(N1, N2, *positions, *positions) from (N, *positions, channels)."""
    flat = values.reshape(len(values), -1, values.shape[-1])
    second = flat if first == len(values) else flat[first:]
    return jnp.einsum("apc,bqc->abpq", flat[:first], second) / flat.shape[-1]


def _contracted(jacobians: list[Any], rates: list[Any], first: int, inputs: int) -> Any:
    """The same from derivatives (rows, *parameter), parameter by parameter."""
    total: Any = 0.0
    for jacobian, rate in zip(jacobians, rates, strict=True):
        rows = len(jacobian)
        flat = jacobian.reshape(rows, -1)
        scaled = (jacobian * rate).reshape(rows, -1)
        edge = rows // inputs * first
        second = flat if first == inputs else flat[edge:]
        total = total + scaled[:edge] @ second.T
    positions = math.prod(jacobians[0].shape[:1]) // inputs
    shaped = total.reshape(first, positions, -1, positions)
    return shaped.transpose(0, 2, 1, 3)
