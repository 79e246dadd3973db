"""Parameter leaves and views of them: transposed, reshaped, sliced, scaled, never computed with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["Leaf", "Parameter", "Use", "View"]


@dataclass(frozen=True)
class Leaf:
    """One array of the user's parameters.

    Args:
        number: among the leaves of the tree.
        path: where it stands, as ``jax.tree_util.keystr`` writes it.
        shape: of the array.
    """

    number: int
    path: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class View:
    """The numbers of a leaf in another arrangement.

    Args:
        leaf: whose numbers.
        shape: of the arrangement.
        steps: what makes it, each a name, its arguments (the key for comparisons) and a function.
        whole: whether every number of the leaf occurs in it once.
    """

    leaf: Leaf
    shape: tuple[int, ...]
    steps: tuple[tuple[Any, Callable[[np.ndarray], np.ndarray]], ...] = ()
    whole: bool = True

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for views made in the same way."""
        return (self.leaf.number, *(name for name, _ in self.steps))

    def of(self, array: Any) -> np.ndarray:
        """The arrangement of the numbers of `array`, which has the leaf's shape."""
        out = np.asarray(array)
        for _, step in self.steps:
            out = step(out)
        return out

    def positions(self) -> np.ndarray:
        """Which number of the (raveled) leaf stands at every place."""
        kind = np.int32 if math.prod(self.leaf.shape) < 2**31 else np.int64
        return self.of(np.arange(math.prod(self.leaf.shape), dtype=kind).reshape(self.leaf.shape))

    def then(
        self, key: Any, step: Callable[[np.ndarray], np.ndarray], *, keeps: bool = False
    ) -> View:
        """The view changed by one more step; `keeps` promises that every number stays, once."""
        shape = step(np.broadcast_to(np.int8(0), self.shape)).shape
        return View(self.leaf, shape, (*self.steps, (key, step)), self.whole and keeps)

    def reshape(self, shape: tuple[int, ...]) -> View:
        """Another shape, row by row."""
        shape = tuple(shape)
        if shape == self.shape:
            return self
        return self.then(("reshape", shape), lambda a: a.reshape(shape), keeps=True)

    def transpose(self, order: tuple[int, ...]) -> View:
        """Another order of the axes."""
        order = tuple(order)
        if order == tuple(range(len(order))):
            return self
        return self.then(("transpose", order), lambda a: a.transpose(order), keeps=True)

    def broadcast(self, shape: tuple[int, ...], dimensions: tuple[int, ...]) -> View:
        """Axes put at `dimensions` of `shape`, repeated along the others."""
        shape, dimensions = tuple(shape), tuple(map(int, dimensions))
        spread = [1] * len(shape)
        for axis, size in zip(dimensions, self.shape, strict=True):
            spread[axis] = size

        def step(a: np.ndarray) -> np.ndarray:
            return np.broadcast_to(a.reshape(spread), shape)

        keeps = math.prod(shape) == math.prod(self.shape)
        return self.then(("broadcast", shape, dimensions), step, keeps=keeps)

    def slice(self, slices: tuple[slice, ...]) -> View:
        """A slice along every axis."""
        key = tuple((s.start, s.stop, s.step) for s in slices)
        return self.then(("slice", key), lambda a: a[slices])

    def take(self, places: tuple[int, ...], axis: int) -> View:
        """The entries at `places` of one axis."""
        return self.then(("take", places, axis), lambda a: np.take(a, places, axis))


@dataclass(frozen=True)
class Parameter:
    """``scale * view + shift``: what the traced program made of a leaf.

    Args:
        view: of the leaf.
        scale: factor written in the code.
        shift: number added in the code.
        frozen: whether gradients are stopped.
    """

    view: View
    scale: float = 1.0
    shift: float = 0.0
    frozen: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the arrangement."""
        return self.view.shape

    def seen(self, view: View) -> Parameter:
        """The same with another view."""
        return replace(self, view=view)

    def affine(self, scale: float, shift: float) -> Parameter:
        """``scale * self + shift``."""
        return replace(self, scale=scale * self.scale, shift=scale * self.shift + shift)


@dataclass(frozen=True)
class Use:
    """A parameter in the arrangement that a layer wants.

    Args:
        parameter: the leaf's view, ``(fan_in, width)`` for a dense weight, channels last always.
        factor: what the rest of the code multiplies it with.
    """

    parameter: Parameter
    factor: float = 1.0

    @property
    def scale(self) -> float:
        """The effective factor of the leaf's numbers."""
        return self.factor * self.parameter.scale

    def times(self, factor: float) -> Use:
        """The use, multiplied."""
        return replace(self, factor=self.factor * factor)

    def numbers(self, leaf: Any) -> np.ndarray:
        """The effective parameters, for the leaf's numbers."""
        view = self.parameter.view.of(leaf)
        return self.factor * (self.parameter.scale * view + self.parameter.shift)
