"""A finite network applied to inputs: every layer by its plain definition, in JAX.

Nothing here knows a theory. Values are arrays (N, *positions, channels).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from whydeep.ensemble._sequences import attention, embedding, positional_embedding, recurrent
from whydeep.ensemble._windows import (
    avg_pool,
    conv,
    conv_local,
    conv_transpose,
    max_pool,
    sum_pool,
)
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import (
    INPUT,
    Activation,
    Affine,
    Aggregate,
    AvgPool,
    BatchNorm,
    ChannelsLast,
    Constant,
    Conv,
    ConvLocal,
    ConvTranspose,
    Dense,
    DotProductAttention,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool,
    GlobalSumPool,
    GroupNorm,
    Identity,
    Join,
    LayerNorm,
    MaxPool,
    Mix,
    Network,
    PositionalEmbedding,
    Product,
    Recurrent,
    RMSNorm,
    Sum,
    SumPool,
)

__all__ = ["apply_network", "node_values"]

Values = tuple[Any, ...]
Own = dict[str, Any]


def apply_network(
    network: Network, parameters: Any, x: Any, key: Any = None, graph: Any = None
) -> Any:
    """The output of a network: differentiable, and traceable by JAX in parameters and inputs.

    Args:
        network: any.
        parameters: of `draw_parameters`.
        x: (N, *positions, channels), or whole numbers (N, T) where it takes tokens.
        key: of ``jax.random``, for dropout's masks; every input has its own.
        graph: for `Aggregate`: (N, P, P), the weight from position to position of every input.

    Raises:
        InputError: dropout without a key, aggregation without graphs.
        UnsupportedError: a layer that has no rule here.

    Returns:
        (N, *positions, channels) of the last node.

    Example:
        >>> import jax
        >>> from whydeep.ensemble import draw_parameters
        >>> from whydeep.network import Activation, Dense, chain
        >>> net = chain(Dense(8, 2.0), Activation("relu"), Dense(1))
        >>> parameters = draw_parameters(net, (3,), jax.random.key(0))
        >>> apply_network(net, parameters, jax.numpy.ones((5, 3))).shape
        (5, 1)
    """
    return node_values(network, parameters, x, key, graph)[-1]


def node_values(
    network: Network, parameters: Any, x: Any, key: Any = None, graph: Any = None
) -> Values:
    """The values of all nodes, (N, *positions, channels) each: see `apply_network`."""
    x = jnp.asarray(x)
    values: list[Any] = []
    for number, (node, own) in enumerate(zip(network.nodes, parameters, strict=True)):
        rule = _RULES.get(type(node.layer))
        if rule is None:
            raise UnsupportedError(
                "There is no rule to apply this layer.",
                received=f"{type(node.layer).__name__} (node {number}) {node.label}".rstrip(),
                needed="one of " + ", ".join(sorted(t.__name__ for t in _RULES)),
            )
        before = tuple(x if i == INPUT else values[i] for i in node.inputs)
        if node.layer.arity == 0:  # it is the same for all inputs, and takes their number
            before = (x,)
        if isinstance(node.layer, Aggregate):
            before = (*before, graph)
        subkey = None
        if key is not None and isinstance(node.layer, Dropout):
            subkey = jax.random.fold_in(key, number)
        values.append(rule(node.layer, own, before, subkey))
    return tuple(values)


# -- layers of one value ---------------------------------------------------------------------------


def _dense(layer: Dense, own: Own, values: Values, key: Any) -> Any:
    del layer, key
    return values[0] @ own["weight"] + own["bias"]


def _dropout(layer: Dropout, own: Own, values: Values, key: Any) -> Any:
    del own
    if layer.rate == 0:
        return values[0]
    if key is None:
        raise InputError(
            "Dropout draws masks.",
            received="no key",
            needed="apply_network(network, parameters, x, key)",
            suggestion="leave Dropout out of a network that is evaluated",
        )
    kept = jax.random.bernoulli(key, 1.0 - layer.rate, values[0].shape)
    return jnp.where(kept, values[0] / (1.0 - layer.rate), 0.0)


def _flatten(layer: Flatten, own: Own, values: Values, key: Any) -> Any:
    del layer, own, key
    return values[0].reshape(len(values[0]), -1)


def _over_positions(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(layer: Any, own: Own, values: Values, key: Any) -> Any:
        del layer, own, key
        return function(values[0], axis=tuple(range(1, values[0].ndim - 1)))

    return apply


def _mix(layer: Mix, own: Own, values: Values, key: Any) -> Any:
    del own, key
    x = values[0]
    flat = x.reshape(len(x), -1, x.shape[-1])
    mixed = jnp.einsum("pq,nqc->npc", jnp.asarray(layer.matrix.values, x.dtype), flat)
    return mixed.reshape(len(x), *layer.positions, x.shape[-1])


def _aggregate(layer: Aggregate, own: Own, values: Values, key: Any) -> Any:
    del layer, own, key
    x, graph = values
    count = math.prod(x.shape[1:-1])
    if graph is None or graph.shape != (len(x), count, count):
        raise InputError(
            "Aggregation sums over the neighbours in a graph of every input.",
            received="no graph" if graph is None else f"shape {graph.shape}",
            needed=f"graph=... of shape {(len(x), count, count)}",
        )
    flat = x.reshape(len(x), count, x.shape[-1])
    return jnp.einsum("nqp,nqc->npc", jnp.asarray(graph, x.dtype), flat).reshape(x.shape)


def _constant(layer: Constant, own: Own, values: Values, key: Any) -> Any:
    del own, key
    kind = values[0].dtype
    kind = kind if jnp.issubdtype(kind, jnp.floating) else jnp.zeros(()).dtype
    array = jnp.asarray(layer.array.values, kind)
    return jnp.broadcast_to(array, (len(values[0]), *array.shape))


# -- layers of several values ----------------------------------------------------------------------


def _combined(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def apply(layer: Any, own: Own, values: Values, key: Any) -> Any:
        del layer, own, key
        most = max(v.ndim for v in values)
        # (N, C) beside (N, T, C): the same at every position.
        aligned = [v.reshape(len(v), *(1,) * (most - v.ndim), *v.shape[1:]) for v in values]
        return functools.reduce(function, aligned)

    return apply


def _join(layer: Join, own: Own, values: Values, key: Any) -> Any:
    del own, key
    return jnp.concatenate(values, axis=-1 if layer.axis == "channels" else 1 + int(layer.axis))


# -- normalisation ---------------------------------------------------------------------------------


def _layer_norm(layer: LayerNorm, own: Own, values: Values, key: Any) -> Any:
    del key
    x = values[0]
    every = range(x.ndim - 2)
    over = {"channels": (), "all": every}[layer.over] if isinstance(layer.over, str) else layer.over
    axes = (*(1 + axis for axis in over), -1)
    return own["scale"] * _standardised(x, axes, layer.eps) + own["shift"]


def _rms_norm(layer: RMSNorm, own: Own, values: Values, key: Any) -> Any:
    del key
    x = values[0]
    square = jnp.mean(x**2, axis=-1, keepdims=True)
    return own["scale"] * (x / jnp.sqrt(square + layer.eps)) + own["shift"]


def _group_norm(layer: GroupNorm, own: Own, values: Values, key: Any) -> Any:
    del key
    x = values[0]
    grouped = x.reshape(len(x), -1, layer.groups, x.shape[-1] // layer.groups)
    normal = _standardised(grouped, (1, 3), layer.eps).reshape(x.shape)
    return own["scale"] * normal + own["shift"]


def _batch_norm(layer: BatchNorm, own: Own, values: Values, key: Any) -> Any:
    del key
    normal = (values[0] - layer.mean) / math.sqrt(layer.var + layer.eps)
    return own["scale"] * normal + own["shift"]


def _standardised(x: Any, axes: Any, eps: float) -> Any:
    centred = x - jnp.mean(x, axis=axes, keepdims=True)
    return centred / jnp.sqrt(jnp.mean(centred**2, axis=axes, keepdims=True) + eps)


def _plain(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A rule for a layer of one value without parameters."""
    return lambda layer, _own, values, _key: function(layer, values[0])


def _weighted(function: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """A rule for a layer of one value with parameters."""
    return lambda layer, own, values, _key: function(layer, own, values[0])


_RULES: dict[type, Callable[[Any, Own, Values, Any], Any]] = {
    Aggregate: _aggregate,
    Activation: _plain(lambda layer, x: layer.function(x)),
    Affine: _plain(lambda layer, x: layer.scale * x + layer.shift),
    AvgPool: _plain(avg_pool),
    BatchNorm: _batch_norm,
    ChannelsLast: _plain(lambda _layer, x: jnp.moveaxis(x, 1, -1)),
    Constant: _constant,
    Conv: _weighted(conv),
    ConvLocal: _weighted(conv_local),
    ConvTranspose: _weighted(conv_transpose),
    Dense: _dense,
    DotProductAttention: lambda layer, _own, values, _key: attention(layer, *values),
    Dropout: _dropout,
    Embedding: _weighted(embedding),
    Flatten: _flatten,
    GlobalAvgPool: _over_positions(jnp.mean),
    GlobalSumPool: _over_positions(jnp.sum),
    GroupNorm: _group_norm,
    Identity: _plain(lambda _layer, x: x),
    Join: _join,
    LayerNorm: _layer_norm,
    MaxPool: _plain(max_pool),
    Mix: _mix,
    PositionalEmbedding: _weighted(positional_embedding),
    Product: _combined(jnp.multiply),
    RMSNorm: _rms_norm,
    Recurrent: _weighted(recurrent),
    Sum: _combined(jnp.add),
    SumPool: _plain(sum_pool),
}
