"""Where the entries of a PyTorch tensor lie in a value of a description: views as mixed radices.

A value of the description has dimensions (batch, positions, channels). PyTorch code reshapes,
transposes, slices and expands it at will; here each axis of a tensor is a product of *modes*, and
a mode steps through one dimension: ``(N, T, 3 D).view(N, T, H, d)`` splits the channels' mode in
two, a flattened image has an axis of three. Sizes of 1 have no mode. So every view is followed
exactly, whatever the sizes, and an operation that needs channels finds out whether its axis holds
them. (The same algebra describes the layouts of GPU kernels: Cecka, "CuTe layouts".)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["BATCH", "CHANNELS", "REPEAT", "Cut", "Layout", "Mode", "refine"]

BATCH, CHANNELS, REPEAT = 0, -1, -2
"""Names of dimensions: the examples, the channels, and none (expanded). Positions are 1, 2, ..."""


class Cut(Exception):  # noqa: N818 -- a signal, turned into a refusal by whoever asked
    """A view that is no product of steps through dimensions."""


class Mode(NamedTuple):
    """``size`` steps of length ``step`` through dimension ``dim``."""

    size: int
    dim: int
    step: int

    def split(self, inner: int) -> tuple[Mode, Mode]:
        """As an outer and an inner mode, the latter of size `inner`."""
        return (
            Mode(self.size // inner, self.dim, self.step * inner),
            Mode(inner, self.dim, self.step),
        )


Axis = tuple[Mode, ...]


@dataclass(frozen=True)
class Layout:
    """The axes of a tensor, each a product of modes, and where in each dimension they start."""

    axes: tuple[Axis, ...]
    start: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, sizes: Iterable[tuple[int, int]]) -> Layout:
        """One axis for every ``(dimension, size)``."""
        return cls(tuple((Mode(n, d, 1),) if n > 1 else () for d, n in sizes))

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return tuple(size_of(axis) for axis in self.axes)

    @property
    def modes(self) -> Axis:
        """All modes, in the order of the axes."""
        return tuple(m for axis in self.axes for m in axis)

    def first(self, dim: int) -> int:
        """Where the modes of a dimension start."""
        return dict(self.start).get(dim, 0)

    def simplified(self) -> Layout:
        """Neighbouring modes of an axis that step through one dimension as one, put together."""
        return Layout(
            tuple(_merged(axis) for axis in self.axes), tuple(s for s in self.start if s[1])
        )

    def permuted(self, order: Sequence[int]) -> Layout:
        """Axes in another order."""
        return Layout(tuple(self.axes[i] for i in order), self.start)

    def regrouped(self, sizes: Sequence[int]) -> Layout:
        """The same entries in the same order under other sizes: reshape, view, flatten.

        Raises:
            Cut: a new axis would begin inside a step.
        """
        left = list(reversed(self.modes))
        axes = []
        for size in sizes:
            need, axis = size, []
            while need > 1:
                if not left:
                    raise Cut
                mode = left.pop()
                if need % mode.size:
                    if mode.size % need:
                        raise Cut
                    mode, rest = mode.split(mode.size // need)
                    left.append(rest)
                axis.append(mode)
                need //= mode.size
            axes.append(tuple(axis))
        if left:
            raise Cut
        return Layout(tuple(axes), self.start)

    def moved(self, axis: int, index: int) -> Layout:
        """One entry of an axis, which is left out."""
        steps = dict(self.start)
        for mode in reversed(self.axes[axis]):
            index, digit = divmod(index, mode.size)
            steps[mode.dim] = steps.get(mode.dim, 0) + digit * mode.step
        return Layout(self.axes[:axis] + self.axes[axis + 1 :], _start(steps))

    def sliced(self, axis: int, start: int, count: int, step: int) -> Layout:
        """Every `step`-th of an axis, `count` of them.

        Raises:
            Cut: the axis has several modes and the slice does not keep whole inner ones.
        """
        modes = _merged(self.axes[axis])
        inner = size_of(modes[1:])
        if len(modes) > 1 and (step != 1 or start % inner or count % inner):
            raise Cut
        if not modes:
            return self
        outer = modes[0]
        begin = start // inner
        left = (Mode(count // inner, outer.dim, outer.step * step), *modes[1:])
        steps = dict(self.start)
        steps[outer.dim] = steps.get(outer.dim, 0) + begin * outer.step
        kept = tuple(m for m in left if m.size > 1)
        return Layout((*self.axes[:axis], kept, *self.axes[axis + 1 :]), _start(steps))

    def expanded(self, shape: Sequence[int]) -> Layout:
        """Axes of size 1 repeated, and new ones in front."""
        axes: tuple[Axis, ...] = ((),) * (len(shape) - len(self.axes)) + self.axes
        return Layout(
            tuple(
                axis if size_of(axis) == size else (Mode(size, REPEAT, 0),)
                for axis, size in zip(axes, shape, strict=True)
            ),
            self.start,
        )

    def index(self, dim: int, cells: Iterable[Mode]) -> np.ndarray:
        """Which entry of a dimension each step of `cells` reads: a vector in their order."""
        out = np.array([self.first(dim)])
        for cell in cells:
            reach = np.arange(cell.size) * (cell.step if cell.dim == dim else 0)
            out = (out[:, None] + reach).ravel()
        return out

    def flat(self, dims: Sequence[tuple[int, int]]) -> np.ndarray:
        """Which entry of the row-major array of ``(dimension, size)`` each entry reads."""
        small = math.prod(size for _, size in dims) < 2**31
        out = np.zeros(math.prod(self.shape), dtype=np.int32 if small else np.int64)
        stride = 1
        for dim, size in reversed(dims):
            out += (stride * self.index(dim, self.modes)).astype(out.dtype)
            stride *= size
        return out.reshape(self.shape)

    def whole(self, dim: int, size: int) -> bool:
        """Whether the modes of a dimension reach each of its entries once."""
        steps = sorted((m.step, m.size) for m in self.modes if m.dim == dim)
        reach = 1
        for step, count in steps:
            if step != reach:
                return False
            reach *= count
        return reach == size and self.first(dim) == 0


def size_of(axis: Iterable[Mode]) -> int:
    """How many entries these modes have."""
    return math.prod(m.size for m in axis)


def refine(axes: Sequence[Axis]) -> list[Axis]:
    """The same axis of several tensors, cut at the same places.

    Raises:
        Cut: the places do not divide each other.
    """
    axes = [_merged(axis) for axis in axes]
    cuts = {1}
    for axis in axes:
        reach = 1
        for mode in reversed(axis):
            reach *= mode.size
            if mode.dim != REPEAT:
                cuts |= {reach, reach // mode.size}
    total = max((size_of(axis) for axis in axes), default=1)
    edges = sorted(cuts | {total})
    return [_cut(axis, edges) for axis in axes]


def _cut(axis: Axis, edges: Sequence[int]) -> Axis:
    left = list(axis)
    out: list[Mode] = []
    for low, high in itertools.pairwise(edges):
        if high % low:
            raise Cut
        size = high // low
        mode = left.pop()
        if mode.size % size:
            raise Cut
        if mode.size > size:
            outer, mode = mode.split(size)
            left.append(outer)
        out.append(mode)
    return tuple(reversed(out))


def _merged(axis: Axis) -> Axis:
    out: list[Mode] = []
    for mode in axis:
        if out and out[-1].dim == mode.dim and out[-1].step == mode.step * mode.size:
            last = out.pop()
            mode = Mode(last.size * mode.size, mode.dim, mode.step)  # noqa: PLW2901
        out.append(mode)
    return tuple(out)


def _start(steps: dict[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((d, s) for d, s in steps.items() if s and d != REPEAT))
