"""A description while a PyTorch graph is read into it, and the values its operations pass on.

Values are lazy where that keeps the description small: elementwise operations are collected until
another layer needs their result, a slice of the channels becomes a layer of its own with these
outputs (queries, keys and values of one `Linear` are three layers), and views are only layouts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network._convolution import Conv, ConvTranspose
from whydeep.network._join import Join, Product, Sum
from whydeep.network._layers import (
    Activation,
    Affine,
    Array,
    Constant,
    Dense,
    Dropout,
    Layer,
    Shape,
)
from whydeep.network._network import INPUT, Network, Node
from whydeep.network._normalisation import BatchNorm
from whydeep.network._positions import (
    AvgPool,
    Flatten,
    GlobalAvgPool,
    GlobalSumPool,
    MaxPool,
    Mix,
    SumPool,
)
from whydeep.network._sequence import Embedding, PositionalEmbedding
from whydeep.network.torch_reader._functions import (
    Expression,
    Z,
    inner_affine,
    outer_affine,
    read_function,
)
from whydeep.network.torch_reader._layout import BATCH, CHANNELS, Layout

__all__ = ["Draft", "Drafts", "Entry", "Pads", "Refusal", "Source", "Value"]

# A map between positions is kept as a matrix: this many entries are a gigabyte.
_MOST_ENTRIES = 2**27


Sources = tuple[dict[str, tuple["Source", ...]], ...]
"""Where the parameters of every node stand, by the names that applying a network gives them."""


class Refusal(Exception):  # noqa: N818 -- it becomes an UnsupportedError once the place is known
    """Why an operation can't be read; `suggestion` is the next thing to try."""

    def __init__(self, why: str, suggestion: str = "") -> None:
        super().__init__(why)
        self.suggestion = suggestion


@dataclass(frozen=True)
class Source:
    """Where the numbers of a layer's parameters stand: ``scale * parameter[index] + shift``."""

    name: str
    index: Callable[[], np.ndarray]
    scale: float = 1.0
    shift: float = 0.0

    def taken(self, rows: np.ndarray) -> Source:
        """The entries for some of the layer's outputs."""
        return dataclasses.replace(self, index=lambda: self.index()[..., rows])


@dataclass(frozen=True)
class Pads:
    """Zeros, or the opposite border, put around positions: a convolution may take them over."""

    node: int
    pads: tuple[tuple[int, int], ...]
    circular: bool


@dataclass(frozen=True)
class Draft:
    """A node to be: its layer, or what makes it once it is known that it is needed."""

    layer: Layer | Callable[[], Layer]
    inputs: tuple[int, ...]
    shape: Shape
    label: str
    sources: dict[str, tuple[Source, ...]] = field(default_factory=dict)
    raw: bool = False
    varies: bool = True
    pads: Pads | None = None


@dataclass(frozen=True)
class Entry:
    """What a `Value` reads: a function of one node's value, and where that stands in the code."""

    node: int
    function: Expression = Z
    label: str = field(default="", compare=False)


@dataclass(frozen=True)
class Value:
    """A PyTorch tensor: what it reads, and where its entries lie in it.

    `base` is an `Entry`, or something that becomes one (a parameter, attention's logits, ...).
    """

    base: Any
    layout: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        """As PyTorch has it."""
        return self.layout.shape

    def seen(self, layout: Layout) -> Value:
        """The same under another layout."""
        return dataclasses.replace(self, layout=layout)


class Drafts:
    """The nodes read so far.

    Args:
        batch: how many examples the graph was traced with.
        given: the shape of one input.
    """

    def __init__(self, batch: int, given: Shape) -> None:
        self.batch = batch
        self.given = given
        self.nodes: list[Draft] = []
        self.label = ""
        self.centred: dict[int, Entry] = {}
        self._emitted: dict[tuple[int, Expression], int] = {}
        self._rows: dict[tuple[int, bytes], int] = {}

    def add(
        self,
        layer: Layer,
        inputs: tuple[int, ...],
        *,
        sources: dict[str, tuple[Source, ...]] | None = None,
        raw: bool = False,
        label: str = "",
    ) -> int:
        """A new node; its number."""
        shape = layer.output_shape(*(self.shape(i) for i in inputs))
        varies = any(self.varies(i) for i in inputs)
        return self.put(
            Draft(layer, inputs, shape, label or self.label, sources or {}, raw, varies)
        )

    def put(self, draft: Draft) -> int:
        """A node as it stands; its number."""
        self.nodes.append(draft)
        return len(self.nodes) - 1

    def shape(self, node: int) -> Shape:
        """Positions and channels of a node's value."""
        return self.given if node == INPUT else self.nodes[node].shape

    def raw(self, node: int) -> bool:
        """Whether a node's value still has the dimensions of the input."""
        return node == INPUT or self.nodes[node].raw

    def varies(self, node: int) -> bool:
        """Whether a node's value depends on the input."""
        return node == INPUT or self.nodes[node].varies

    def dims(self, node: int) -> list[tuple[int, int]]:
        """Every dimension of a node's value with its size, as `Layout` names them."""
        shape = self.shape(node)
        positions = list(enumerate(shape.positions, start=1))
        return [(BATCH, self.batch), *positions, (CHANNELS, shape.channels)]

    def value(self, node: int) -> Value:
        """A node's value as ``(batch, *positions, channels)``."""
        return Value(Entry(node), Layout.of(self.dims(node)))

    # -- functions of one variable -----------------------------------------------------------------

    def emit(self, entry: Entry) -> int:
        """The node that holds a function of another one, made where there is none yet."""
        key = (entry.node, entry.function)
        if entry.function == Z:
            return entry.node
        if key not in self._emitted:
            here = self.label
            self.label = entry.label or here
            self._emitted[key] = self._function(entry.node, entry.function)
            self.label = here
        return self._emitted[key]

    def read_by(self, node: int) -> Entry:
        """The function of an earlier node that a node holds, or the node itself."""
        found = [key for key, made in self._emitted.items() if made == node]
        return Entry(*found[0]) if found else Entry(node)

    def _function(self, node: int, e: Expression) -> int:
        if e[0] == "centred":
            return self._centred(Entry(node, e[1]))
        scale, shift, inner = outer_affine(e)
        if inner != e and (scale, shift) == (1.0, 0.0):
            return self.emit(Entry(node, inner, self.label))
        if (scale, shift) != (1.0, 0.0):
            below = self.emit(Entry(node, inner, self.label))
            return self._elementwise(Affine(scale, shift), below)
        split = inner_affine(e)
        if split is not None:
            a, b, outer = split
            node = self._elementwise(Affine(a, b), node)
            e = outer
        scale, function = read_function(e)
        node = self._elementwise(Activation(function), node)
        return node if scale == 1.0 else self._elementwise(Affine(scale, 0.0), node)

    def _centred(self, entry: Entry) -> int:
        """A value less its mean over channels, which is a layer only if a norm takes it over."""
        label = self.label

        def refuse() -> Layer:
            raise UnsupportedError(
                "A mean over channels is subtracted, and no norm follows.",
                received=label,
                needed="LayerNorm, or the same written out with mean, var and sqrt",
            )

        node = self.put(Draft(refuse, (entry.node,), self.shape(entry.node), label))
        self.centred[node] = entry
        return node

    def _elementwise(self, layer: Layer, node: int) -> int:
        return self.add(layer, (node,), raw=self.raw(node))

    # -- some of the channels ----------------------------------------------------------------------

    def rows(self, node: int, rows: np.ndarray) -> int:
        """A node with some of another one's channels, in some order.

        Raises:
            Refusal: they can't be separated from the others.
        """
        if np.array_equal(rows, np.arange(self.shape(node).channels)):
            return node
        key = (node, np.asarray(rows, np.int64).tobytes())
        if key not in self._rows:
            self._rows[key] = self._some(node, rows)
        return self._rows[key]

    def _some(self, node: int, rows: np.ndarray) -> int:
        draft = None if node == INPUT else self.nodes[node]
        layer = None if draft is None else draft.layer
        width = len(rows)
        if draft is None or draft.raw:
            msg = "it takes some channels of the input apart from the others"
            raise Refusal(msg, "give the network only what it uses")
        if isinstance(layer, (Dense, Embedding, PositionalEmbedding)):
            return self._narrow(draft, dataclasses.replace(layer, width=width), rows)
        if isinstance(layer, (Conv, ConvTranspose)):
            return self._narrow(draft, dataclasses.replace(layer, channels=width), rows)
        if isinstance(layer, BatchNorm):
            below = self.rows(draft.inputs[0], rows)
            return self._narrow(dataclasses.replace(draft, inputs=(below,)), layer, rows)
        if isinstance(layer, Constant):
            return self._narrow(draft, Constant(layer.array.values[..., rows]), rows)
        channelwise = (Activation, Affine, Dropout, Sum, Product, AvgPool, SumPool, MaxPool)
        if isinstance(layer, (*channelwise, GlobalAvgPool, GlobalSumPool)) or callable(layer):
            inputs = tuple(self.rows(i, rows) for i in draft.inputs)
            shape = Shape(draft.shape.positions, width)
            return self.put(dataclasses.replace(draft, inputs=inputs, shape=shape, pads=None))
        if isinstance(layer, Join) and layer.axis == "channels":
            return self._some_joined(draft, rows)
        kind = "its value" if layer is None else type(layer).__name__
        raise Refusal(f"it takes some channels of {kind} ({draft.label}) apart from the others")

    def _narrow(self, draft: Draft, layer: Layer, rows: np.ndarray) -> int:
        sources = {k: tuple(s.taken(rows) for s in v) for k, v in draft.sources.items()}
        shape = Shape(draft.shape.positions, len(rows))
        return self.put(dataclasses.replace(draft, layer=layer, shape=shape, sources=sources))

    def _some_joined(self, draft: Draft, rows: np.ndarray) -> int:
        ends = np.cumsum([self.shape(i).channels for i in draft.inputs])
        piece = np.searchsorted(ends, rows, side="right")
        cuts = np.flatnonzero(np.diff(piece)) + 1
        parts = []
        for run in np.split(np.arange(len(rows)), cuts):
            number = int(piece[run[0]])
            first = 0 if number == 0 else int(ends[number - 1])
            parts.append(self.rows(draft.inputs[number], rows[run] - first))
        return parts[0] if len(parts) == 1 else self.add(Join(), tuple(parts), label=draft.label)

    # -- some of the positions ---------------------------------------------------------------------

    def selected(self, node: int, index: np.ndarray, positions: tuple[int, ...]) -> int:
        """A node whose position p is position ``index[p]`` of another one."""
        before = self.shape(node)
        if positions == before.positions and np.array_equal(index, np.arange(before.count)):
            return node
        if before.count == 1 and positions == ():
            return self.add(Flatten(), (node,))

        def matrix() -> np.ndarray:
            out = np.zeros((len(index), before.count))
            out[np.arange(len(index)), index] = 1.0
            return out

        return self.mixed(node, matrix, positions)

    def mixed(
        self,
        node: int,
        matrix: Callable[[], np.ndarray],
        positions: tuple[int, ...],
        pads: Pads | None = None,
    ) -> int:
        """A node by a fixed linear map over positions, whose matrix is made if it is needed."""
        before = self.shape(node)
        shape = Shape(positions, before.channels)
        entries = shape.count * before.count

        def layer() -> Layer:
            if entries > _MOST_ENTRIES:
                raise UnsupportedError(
                    "A map between this many positions does not fit in memory.",
                    received=f"{before.count} to {shape.count} positions at {label or 'the input'}",
                    needed=f"at most {_MOST_ENTRIES:,} pairs of positions",
                    suggestion="a smaller example",
                )
            return Mix(matrix(), positions)

        label = self.label
        varies = self.varies(node)
        return self.put(Draft(layer, (node,), shape, label, varies=varies, pads=pads))


def finish(drafts: Drafts, output: int) -> tuple[Network, Sources]:
    """The nodes that the output needs, as a network, and where their parameters stand."""
    needed: set[int] = set()
    waiting = [output]
    while waiting:
        node = waiting.pop()
        if node not in needed and node != INPUT:
            needed.add(node)
            waiting += drafts.nodes[node].inputs
    order = sorted(needed)
    number = {old: new for new, old in enumerate(order)} | {INPUT: INPUT}
    nodes, sources = [], []
    for old in order:
        draft = drafts.nodes[old]
        layer = draft.layer if isinstance(draft.layer, Layer) else draft.layer()
        nodes.append(Node(layer, tuple(number[i] for i in draft.inputs), draft.label))
        sources.append(draft.sources)
    _check_sharing(nodes, sources)
    return Network(tuple(nodes)), tuple(sources)


def _check_sharing(nodes: Sequence[Node], sources: Sequence[dict[str, tuple[Source, ...]]]) -> None:
    """Refuse numbers that two layers, or two entries of one, have in common."""
    users: dict[str, list[tuple[str, Source]]] = {}
    for node, own in zip(nodes, sources, strict=True):
        for parts in own.values():
            for source in parts:
                users.setdefault(source.name, []).append((node.label, source))
    for name, uses in users.items():
        index = [np.ravel(source.index()) for _, source in uses]
        seen = np.zeros(max(int(i.max()) for i in index) + 1, dtype=bool)
        for i in index:
            seen[i] = True
        if np.count_nonzero(seen) < sum(i.size for i in index):
            places = " and ".join(dict.fromkeys(label or "the module" for label, _ in uses))
            times = f"at {places}" if len(uses) == 1 else f"by {len(uses)} layers, at {places}"
            raise UnsupportedError(
                f"The parameter {name} is used more than once.",
                received=f"{name} {times}",
                needed="a parameter of its own for every layer",
                cause="tied weights, one module called twice, or some outputs of a layer used "
                "apart from the others and again with them: values are then correlated through "
                "their weights, which this description does not hold",
                suggestion="a module with separate parameters; nn.RNN for weights shared in time",
            )


def constant(drafts: Drafts, array: np.ndarray) -> int:
    """A node of fixed numbers (*positions, channels)."""
    node = drafts.add(Constant(Array(array)), ())
    drafts.nodes[node] = dataclasses.replace(drafts.nodes[node], varies=False)
    return node
