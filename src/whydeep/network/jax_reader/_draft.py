"""What a variable of the traced program means, and nodes of the network while they are read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network._layers import Layer
from whydeep.network.jax_reader._axes import Atom, Axes, refine
from whydeep.network.jax_reader._expression import VALUE, Expression
from whydeep.network.jax_reader._leaves import Parameter, Use

__all__ = ["Bias", "Computed", "Draft", "Gain", "Indices", "Known", "OneHot", "Pad", "Random",
           "Scores", "Source", "State", "Value", "refuse_computed"]  # fmt: skip


@dataclass(frozen=True)
class Source(Layer):
    """The network's input."""

    tokens: bool = False
    arity: ClassVar[int | None] = 0


@dataclass(frozen=True)
class State(Layer):
    """The state of a recurrence, or its input at one step, while its body is read."""

    arity: ClassVar[int | None] = 0


@dataclass(frozen=True)
class OneHot(Layer):
    """Tokens as rows of zeros with one 1."""

    size: int = 1


@dataclass(frozen=True)
class Pad(Layer):
    """Zeros around positions: (before, after) for each dimension."""

    pads: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Gain(Layer):
    """A learned factor for every channel, of ``scale * value + shift``."""

    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class Bias(Layer):
    """Learned numbers, one a channel, with or without positions."""

    arity: ClassVar[int | None] = 0


@dataclass(eq=False)
class Draft:
    """A node while the network is read.

    Attributes:
        layer: its layer, with numbers that parameters decide still missing.
        inputs: the nodes it takes.
        positions: the atoms of every dimension of its positions.
        channels: the atoms of its channels.
        uses: its parameters: "weight", "bias", "scale", "shift", "input".
        place: the source line.
    """

    layer: Layer
    inputs: tuple[Draft, ...]
    positions: Axes
    channels: tuple[Atom, ...]
    uses: dict[str, Use] = field(default_factory=dict)
    place: str = ""

    @property
    def position_atoms(self) -> tuple[Atom, ...]:
        """All atoms of the positions, row by row."""
        return refine(a for axis in self.positions for a in axis)

    @property
    def channel_atoms(self) -> tuple[Atom, ...]:
        """The atoms of the channels."""
        return refine(self.channels)

    @property
    def atoms(self) -> set[Atom]:
        """All atoms but the batch."""
        return {*self.position_atoms, *self.channel_atoms}

    def changed(self, **changes: Any) -> Draft:
        """A copy with changes."""
        return replace(self, **changes)


@dataclass(eq=False)
class Scores:
    """Logits of an attention, before or after the softmax: heads, queries, keys.

    Attributes:
        query: the node of the queries.
        key: the node of the keys.
        heads: the atoms of the heads, among the queries' channels.
        rows: atoms of the queries' positions.
        columns: atoms of the keys' positions: new ones, side by side with the keys' own.
        causal: whether a mask hides later keys.
        place: the source line.
    """

    query: Draft
    key: Draft
    heads: tuple[Atom, ...]
    rows: tuple[Atom, ...]
    columns: tuple[Atom, ...]
    causal: bool = False
    place: str = ""

    @property
    def atoms(self) -> set[Atom]:
        """All atoms but the batch."""
        return {*refine(self.heads), *refine(self.rows), *refine(self.columns)}


@dataclass(frozen=True, eq=False)
class Value:
    """``expression`` of what a node computes, its axes in some order.

    Args:
        base: the node, or attention logits.
        axes: the atoms of every array axis; atoms that are neither the batch nor the base's are
            dimensions along which it is repeated.
        expression: elementwise, with statistics.
        gain: a learned factor that waits for the rest of a normalisation.
    """

    base: Any
    axes: Axes
    expression: Expression = VALUE
    gain: Parameter | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return tuple(int(np.prod([a.size for a in axis])) for axis in self.axes)

    def laid(self, axes: Axes) -> Value:
        """The same with other axes."""
        return replace(self, axes=axes)


@dataclass(frozen=True, eq=False)
class Known:
    """Numbers that depend neither on parameters nor on the input."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.array.shape

    @property
    def uniform(self) -> bool:
        """Whether all numbers are the same."""
        flat = self.array.ravel()
        if flat.size < 2:
            return flat.size == 1
        nan = flat.dtype.kind == "f" and np.isnan(flat[0])
        return bool(np.all(np.isnan(flat)) if nan else np.all(flat == flat[0]))

    @property
    def number(self) -> Any:
        """The one number; single precision is read as the decimal that was written."""
        value = self.array.ravel()[0]
        if value.dtype == bool:
            return bool(value)
        return float(str(value)) if value.dtype.itemsize < 8 else float(value)


@dataclass(frozen=True)
class Random:
    """Random numbers made while the network is applied, or their key."""

    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Indices:
    """Tokens and fixed numbers side by side, as indices into the axes of a table.

    Args:
        columns: a value or numbers for every axis, each with a last axis of size 1.
        shape: of the array.
    """

    columns: tuple[Any, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Computed:
    """Numbers computed from parameters in a way that is no leaf times a number."""

    shape: tuple[int, ...]
    paths: tuple[str, ...]
    how: str


def refuse_computed(computed: Computed) -> UnsupportedError:
    """The error for numbers computed from parameters."""
    return UnsupportedError(
        "Numbers computed from parameters are used where only a parameter can stand.",
        received=f"{computed.how} of {', '.join(computed.paths)}",
        needed="a leaf times a number, transposed, reshaped or sliced",
        cause="weight normalisation, low-rank updates, or running statistics among the parameters",
        suggestion="close over numbers that are not trained, or put them beside 'params' in the "
        "tree",
    )
