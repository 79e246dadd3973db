"""The affine maps of cells, from their signs: each kink is replaced by the piece in force."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whydeep.brief import brief
from whydeep.geometry.partition._work import Slice
from whydeep.geometry.pieces import PiecewiseLinear
from whydeep.progress import phase
from whydeep.results import by_content

__all__ = ["AffineMaps", "input_map", "slice_maps"]

_BUDGET = 1 << 26  # bytes of the widest state


@by_content
@dataclass(frozen=True, eq=False)
class AffineMaps:
    """``A (s, t) + b`` for many cells.

    Args:
        A: (cells, outputs, 2).
        b: (cells, outputs).
    """

    A: np.ndarray
    b: np.ndarray

    __repr__ = brief

    def __len__(self) -> int:
        return len(self.b)

    def at(self, points: np.ndarray) -> np.ndarray:
        """The maps at one point each, (cells, 2): (cells, outputs)."""
        return np.einsum("cop,cp->co", self.A, points) + self.b


def slice_maps(plane: Slice, patterns: np.ndarray) -> AffineMaps:
    """The maps of cells with these patterns in coordinates of the slice.

    The affine piece is evaluated at three corners of a square about the window's middle, whether
    they lie in the cell or not.
    """
    left, right, bottom, top = plane.window
    middle = np.array([left + right, bottom + top]) / 2
    half = max(right - left, top - bottom) / 2
    points = middle + half * np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    f = plane.function
    start = f.maps[0](f.rows(plane.inputs(points)))
    widest = max([start.shape[1], *(k.width for k in f.kinks[: plane.layers])])
    size = max(_BUDGET // (24 * widest), 1)
    parts = []
    with phase("finding the map of every region"):
        for begin in range(0, len(patterns), size):
            chosen = patterns[begin : begin + size]
            state = np.tile(start, (len(chosen), 1))
            for layer in range(plane.layers):
                signs = np.repeat(f.signs(chosen, layer), 3, axis=0)
                state = f.extended(layer, state, signs)
            parts.append(state.reshape(len(chosen), 3, -1))
    found = np.concatenate(parts)
    slopes = np.stack([found[:, 1] - found[:, 0], found[:, 2] - found[:, 0]], axis=-1) / (2 * half)
    shift = (found[:, 1] + found[:, 2]) / 2 - slopes @ middle
    return AffineMaps(slopes, shift)


def input_map(
    f: PiecewiseLinear, pattern: np.ndarray, layers: int
) -> tuple[np.ndarray, np.ndarray]:
    """A and b of the affine piece that a pattern names, on the whole input space."""
    inputs = int(np.prod(f.shape))
    size = max(min(inputs + 1, _BUDGET // (8 * max(k.width for k in f.kinks))), 2)
    rows = []
    zero = _pieces(f, np.zeros((1, inputs)), pattern, layers)
    for begin in range(0, inputs, size):
        count = min(size, inputs - begin)
        units = np.zeros((count, inputs))
        units[np.arange(count), begin + np.arange(count)] = 1.0
        rows.append(_pieces(f, units, pattern, layers) - zero)
    return np.concatenate(rows).T, zero[0]


def _pieces(f: PiecewiseLinear, rows: np.ndarray, pattern: np.ndarray, layers: int) -> np.ndarray:
    state = f.maps[0](rows)
    for layer in range(layers):
        signs = np.repeat(f.signs(pattern[None], layer), len(state), axis=0)
        state = f.extended(layer, state, signs)
    return state
