"""The same network, wider: all hidden widths times a factor, inputs, output and rates as they are.

Channels that must be equal (both sides of a sum, a norm and what it normalises, queries and keys)
form one class, and a class has one number of channels. It stays where it is the input's or the
output's, follows from others where values stand side by side or are flattened, and is multiplied
otherwise.

Attention with logits of scale 1/sqrt(d) has its limit as the number of heads *and* the size of a
head grow (Hron et al. 2020): both are multiplied, so queries and keys have factor^2 times the
channels, while values have factor times as many heads of unchanged size (a value's channels within
a head share their weights, and more of them average nothing). With 1/d the heads stay and grow.
Every correction is then a series in 1/factor.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from whydeep.errors import InputError, UnsupportedError
from whydeep.network._checks import check_whole
from whydeep.network._convolution import Conv, ConvLocal, ConvTranspose
from whydeep.network._join import Join, Sum
from whydeep.network._layers import (
    Activation,
    Affine,
    ChannelsLast,
    Constant,
    Dense,
    Dropout,
    Identity,
    Shape,
)
from whydeep.network._network import INPUT, Network, Node
from whydeep.network._normalisation import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from whydeep.network._positions import (
    Aggregate,
    AvgPool,
    Flatten,
    GlobalAvgPool,
    GlobalSumPool,
    MaxPool,
    Mix,
    SumPool,
)
from whydeep.network._sequence import (
    DotProductAttention,
    Embedding,
    PositionalEmbedding,
    Recurrent,
)

__all__ = ["widened"]

# Layers that give as many channels as they take.
_KEEPING = (
    Activation, Affine, Aggregate, AvgPool, BatchNorm, Dropout, GlobalAvgPool, GlobalSumPool,
    GroupNorm, Identity, LayerNorm, MaxPool, Mix, RMSNorm, SumPool,
)  # fmt: skip
# Layers that say how many channels they give, and under which name.
_SIZED: dict[type, str] = {
    Conv: "channels",
    ConvLocal: "channels",
    ConvTranspose: "channels",
    Dense: "width",
    Embedding: "width",
    PositionalEmbedding: "width",
    Recurrent: "width",
}


def widened(network: Network, factor: int, inputs: tuple[int, ...]) -> Network:
    """The network with every hidden width times `factor`, and the learning rates it had.

    Rates stay those of this network even where the parameterization would tie them to the width,
    so that a ladder of widths has one limit. Output widths stay; so do widths that a sum ties to
    the input's channels. Fixed numbers added to hidden values are repeated side by side.

    Args:
        network: any.
        factor: a whole number.
        inputs: the shape of one input, ``(*positions, channels)`` or ``(T,)`` tokens.

    Raises:
        InputError: the network can't be applied to such inputs.
        UnsupportedError: its widths can't grow together.

    Example:
        >>> from whydeep.network import Residual, chain
        >>> block = Residual(chain(Dense(8), Activation("relu"), Dense(16)))
        >>> wide = widened(chain(Dense(16), block, Dense(3)), 4, (5,))
        >>> [shape.channels for shape in wide.shapes((5,))]
        [64, 64, 32, 32, 64, 64, 3]
    """
    factor = check_whole("factor", factor)
    shapes = network.shapes(tuple(inputs))
    if factor == 1:
        return network
    given = Shape(tuple(inputs[:-1]), inputs[-1] if inputs else 1)
    classes = _Classes(network, shapes, given)
    nodes = []
    for number, node in enumerate(network.nodes):
        before = given if not node.inputs or node.inputs[0] == INPUT else shapes[node.inputs[0]]
        nodes.append(
            dataclasses.replace(
                node, layer=_wider(node.layer, number, node, before, classes, factor)
            )
        )
    wide = Network(tuple(nodes))
    try:
        new = wide.shapes(tuple(inputs))
    except InputError as error:
        raise UnsupportedError(
            "The widths of this network can't grow together.",
            received=repr(network),
            cause=f"times {factor}: {error.problem}",
        ) from error
    if new[-1] != shapes[-1]:
        raise UnsupportedError(
            "The output of this network would grow with its widths.",
            received=f"{shapes[-1]}, and {new[-1]} at {factor} times the widths",
        )
    return wide


class _Classes:
    """Which channels are equal, and what becomes of their number."""

    def __init__(self, network: Network, shapes: tuple[Shape, ...], given: Shape) -> None:
        self.network = network
        self.shapes = shapes
        self.given = given
        self.parent = {number: number for number in range(INPUT, len(network.nodes))}
        self.fixed: set[int] = set()
        self.squared: set[int] = set()
        self.derived: dict[int, Node] = {}
        for number, node in enumerate(network.nodes):
            self._tie(number, node)
        self._settle()

    def of(self, number: int) -> int:
        """The representative of the class of a node's channels."""
        while self.parent[number] != number:
            number = self.parent[number]
        return number

    def size(self, number: int, factor: int) -> int:
        """The channels of a node once widths are multiplied."""
        one = self.of(number)
        old = (self.given if number == INPUT else self.shapes[number]).channels
        if one in self.fixed:
            return old
        if one in self.derived:
            node = self.derived[one]
            parts = sum(self.size(i, factor) for i in node.inputs)
            count = self._before(node).count if isinstance(node.layer, Flatten) else 1
            return parts * count
        return old * (factor**2 if one in self.squared else factor)

    def heads_grow(self, node: Node) -> bool:
        """Whether an attention's heads can be multiplied."""
        query, value = self.of(node.inputs[0]), self.of(node.inputs[2])
        layer: Any = node.layer
        return layer.scaling != "1/d" and not {query, value} & self.fixed

    def _before(self, node: Node) -> Shape:
        i = node.inputs[0]
        return self.given if i == INPUT else self.shapes[i]

    def _join(self, *numbers: int) -> None:
        for number in numbers[1:]:
            self.parent[self.of(number)] = self.of(numbers[0])

    def _tie(self, number: int, node: Node) -> None:
        layer = node.layer
        beside = isinstance(layer, Join) and layer.axis == "channels" and bool(node.inputs[1:])
        flat = isinstance(layer, Flatten) and self._before(node).count > 1
        if isinstance(layer, (*_KEEPING, Sum, Join, Flatten)) and not (beside or flat):
            self._join(number, *node.inputs)
        elif isinstance(layer, DotProductAttention):
            self._join(node.inputs[0], node.inputs[1])
            self._join(number, node.inputs[2])
        elif not (beside or flat or isinstance(layer, (*_SIZED, Constant, ChannelsLast))):
            raise UnsupportedError(
                "It is not known how the width of this layer grows.",
                received=f"{type(layer).__name__} (node {number}) {node.label}".rstrip(),
            )

    def _settle(self) -> None:
        """Which classes stay, which follow from others, and which grow by the square."""
        nodes = self.network.nodes
        self.fixed = {self.of(INPUT), self.of(len(nodes) - 1)}
        for number, node in enumerate(nodes):
            if isinstance(node.layer, ChannelsLast):  # channels become positions, and the reverse
                self.fixed |= {self.of(number), self.of(node.inputs[0])}
        sided = [
            (self.of(number), node)
            for number, node in enumerate(nodes)
            if isinstance(node.layer, (Join, Flatten))
            and self.of(number) != self.of(node.inputs[0])
        ]
        self._spread(self.fixed, sided)
        for node in nodes:
            if isinstance(node.layer, DotProductAttention) and self.heads_grow(node):
                self.squared.add(self.of(node.inputs[0]))
        self._spread(self.squared, sided)
        self.derived = dict(reversed(sided))

    def _spread(self, marked: set[int], sided: list[tuple[int, Node]]) -> None:
        """What holds for values side by side holds for each of them."""
        for _ in range(len(sided)):
            for one, node in sided:
                if one in marked:
                    marked.update(self.of(i) for i in node.inputs)


def _wider(
    layer: Any, number: int, node: Node, before: Shape, classes: _Classes, factor: int
) -> Any:
    size = classes.size(number, factor)
    if isinstance(layer, Constant):
        old = layer.array.values
        return layer if size == old.shape[-1] else Constant(np.tile(old, size // old.shape[-1]))
    if isinstance(layer, DotProductAttention):
        grows = classes.heads_grow(node)
        return dataclasses.replace(layer, heads=layer.heads * factor) if grows else layer
    if type(layer) not in _SIZED:
        return layer
    changes: dict[str, Any] = {_SIZED[type(layer)]: size}
    if isinstance(layer, (Embedding, PositionalEmbedding)):
        changes["lr"] = layer.rate
    elif isinstance(layer, Recurrent):
        rates = layer.learning_rates(before.channels)
        changes |= dict(zip(("bias_lr", "input_lr", "weight_lr"), rates, strict=True))
    else:
        changes["bias_lr"], changes["weight_lr"] = layer.learning_rates(before.channels)
    return dataclasses.replace(layer, **changes)
