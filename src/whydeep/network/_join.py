"""Layers that take several values: sums, products, values side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from whydeep.arguments import count, or_word
from whydeep.errors import InputError
from whydeep.network._layers import Layer, Shape

__all__ = ["AXIS", "Join", "Product", "Sum"]

AXIS = or_word(count(0), "channels")
"""The kind of what values stand side by side along."""


@dataclass(frozen=True)
class Sum(Layer):
    """The sum of values, one position repeated where another value has more."""

    arity: ClassVar[int | None] = None

    def output_shape(self, *shapes: Shape) -> Shape:
        """The common shape."""
        positions = max((s.positions for s in shapes), key=lambda p: (len(p), p))
        allowed = (positions, (), (1,) * len(positions))
        if len({s.channels for s in shapes}) > 1 or any(s.positions not in allowed for s in shapes):
            raise InputError(
                f"Values of different shapes can't be {self._verb}.",
                received="; ".join(map(str, shapes)),
                needed="equal channels, and equal positions or one",
            )
        return Shape(positions, shapes[0].channels)

    _verb: ClassVar[str] = "added"


@dataclass(frozen=True)
class Product(Sum):
    """The product of values, channel by channel: gates."""

    _verb: ClassVar[str] = "multiplied"


@dataclass(frozen=True)
class Join(Layer):
    """Values side by side: along the channels, or along a dimension of the positions.

    Args:
        axis: "channels", or the number of a spatial dimension.
    """

    axis: str | int = "channels"

    arity: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "axis", AXIS("axis", self.axis))

    def output_shape(self, *shapes: Shape) -> Shape:
        """The sum of the sizes along the axis."""
        first = shapes[0]
        if self.axis == "channels":
            rest = {s.positions for s in shapes}
            joined = Shape(first.positions, sum(s.channels for s in shapes))
        else:
            a = int(self.axis)
            dims = [s.positions for s in shapes]
            fits = all(len(d) == len(dims[0]) and 0 <= a < len(d) for d in dims)
            rest = {(s.channels, s.positions[:a], s.positions[a + 1 :]) for s in shapes}
            size = sum(d[a] for d in dims) if fits else 0
            joined = Shape((*dims[0][:a], size, *dims[0][a + 1 :]), first.channels)
            rest = rest if fits else {1, 2}
        if len(rest) > 1:
            raise InputError(
                "Values of these shapes can't stand side by side.",
                received="; ".join(map(str, shapes)),
                needed=f"equal shapes but for axis {self.axis!r}",
            )
        return joined
