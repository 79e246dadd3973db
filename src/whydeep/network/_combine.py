"""Combinators: networks from networks."""

from __future__ import annotations

from typing import Any

from whydeep.arguments import COUNT, DEPTH, FLAG, VARIANCE, check_layers, choice, takes
from whydeep.network._join import AXIS, Join, Product, Sum
from whydeep.network._layers import PARAMETERIZATIONS, Dense, Identity, Layer
from whydeep.network._network import INPUT, PART, Network, Node, append, chain
from whydeep.network._sequence import SCALINGS, DotProductAttention

__all__ = ["Add", "Attention", "Concatenate", "Multiply", "Residual", "repeat"]


@takes(branches=PART)
def Add(*branches: Layer | Network) -> Network:
    """Branches that take the same input, added: ``x -> sum_k branch_k(x)``.

    Example:
        >>> Add(Identity(), chain(Dense(8), Dense(8)))
        <network of 4 nodes: Identity, Dense, Dense, Sum>
    """
    return _joined(Sum(), branches)


@takes(branches=PART)
def Multiply(*branches: Layer | Network) -> Network:
    """Branches that take the same input, multiplied channel by channel: gates."""
    return _joined(Product(), branches)


@takes(branches=PART, axis=AXIS)
def Concatenate(*branches: Layer | Network, axis: str | int = "channels") -> Network:
    """Branches that take the same input, side by side along the channels or a spatial dimension."""
    return _joined(Join(axis), branches)


@takes(main=PART, shortcut=PART)
def Residual(main: Layer | Network, shortcut: Layer | Network | None = None) -> Network:
    """``x -> shortcut(x) + main(x)``; without a shortcut, x itself."""
    return Add(Identity() if shortcut is None else shortcut, main)


@takes(part=PART, times=DEPTH)
def repeat(part: Layer | Network, times: int) -> Network:
    """`part`, `times` times in a row, each with weights of its own."""
    check_layers(times * len(getattr(part, "nodes", (part,))), f"{times=}")
    return chain(*[part] * times)


@takes(
    heads=COUNT, width=COUNT, query_var=VARIANCE, key_var=VARIANCE, value_var=VARIANCE,
    output_var=VARIANCE, bias_var=VARIANCE, scaling=choice(*SCALINGS), softmax=FLAG, causal=FLAG,
    tied=FLAG, parameterization=choice(*PARAMETERIZATIONS),
)  # fmt: skip
def Attention(
    heads: int = 8,
    *,
    width: int | None = None,
    query_var: Any = 1.0,
    key_var: Any = 1.0,
    value_var: Any = 1.0,
    output_var: Any = 1.0,
    bias_var: Any = 0.0,
    scaling: str = "1/sqrt(d)",
    softmax: bool = True,
    causal: bool = False,
    tied: bool = False,
    parameterization: str = "ntk",
) -> Network:
    """Self-attention: queries, keys and values by `Dense` layers, heads, an output layer.

    Args:
        heads: of `DotProductAttention`.
        width: channels of queries, keys, values and output; 64 a head unless given.
        query_var: weight_var of the queries' layer.
        key_var: of the keys'.
        value_var: of the values'.
        output_var: of the output layer.
        bias_var: of all four.
        scaling: "1/sqrt(d)" or "1/d" (see `DotProductAttention`).
        softmax: whether logits pass through a softmax.
        causal: whether a position sees only itself and those before.
        tied: whether queries and keys share their weights.
        parameterization: of all four.

    Source: Vaswani et al. 2017; Hron et al. 2020 for its infinite-width limit.
    """
    width = 64 * heads if width is None else width

    def dense(weight_var: Any) -> Dense:
        return Dense(width, weight_var, bias_var, parameterization=parameterization)

    core = DotProductAttention(heads, scaling, softmax, causal)
    nodes = [Node(dense(query_var), (INPUT,))]
    key = 0
    if not tied:
        nodes.append(Node(dense(key_var), (INPUT,)))
        key = 1
    nodes.append(Node(dense(value_var), (INPUT,)))
    nodes.append(Node(core, (0, key, key + 1)))
    nodes.append(Node(dense(output_var), (key + 2,)))
    return Network(tuple(nodes))


def _joined(join: Layer, branches: tuple[Any, ...]) -> Network:
    nodes: list[Node] = []
    ends = tuple(append(nodes, branch, INPUT) for branch in branches)
    nodes.append(Node(join, ends))
    return Network(tuple(nodes))
