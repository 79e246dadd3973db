"""A part of the partition in work: cells, their vertices, and the network's state at these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whydeep.geometry.partition._scan import keep_vertices

__all__ = ["Cells", "window_cell"]


@dataclass(frozen=True, eq=False)
class Cells:
    """Convex polygons that share vertices, and what the function is at these.

    Args:
        path: which part of which part it is: sorting by it gives an order that does not depend on
            which thread was first.
        layer: the kink that comes next.
        applied: whether `state` is still that before this kink, applied already to split the cells.
        positions: (vertices, 2), in the coordinates of the slice.
        state: (vertices, columns) of kink `layer`, or of the one before if `applied`.
        floor: what rounding may add to each split.
        offsets: (cells + 1,): where each cell's corners begin.
        corners: numbers of vertices, anticlockwise.
        labels: of the edge that begins at each corner: the kink times 2^32 plus the split, or
            -1 to -4 for the sides of the window.
        patterns: (cells, words): packed signs.
    """

    path: tuple[int, ...]
    layer: int
    applied: bool
    positions: np.ndarray
    state: np.ndarray
    floor: np.ndarray
    offsets: np.ndarray
    corners: np.ndarray
    labels: np.ndarray
    patterns: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def part(self, number: int, begin: int, end: int) -> Cells:
        """Some of the cells with their own vertices."""
        first, last = int(self.offsets[begin]), int(self.offsets[end])
        kept, corners = keep_vertices(self.corners[first:last], len(self.positions))
        return Cells(
            (*self.path, number), self.layer, self.applied, self.positions[kept], self.state[kept],
            self.floor, self.offsets[begin : end + 1] - first, corners, self.labels[first:last],
            self.patterns[begin:end],
        )  # fmt: skip

    def parts(self, ends: np.ndarray) -> list[Cells]:
        """All cells in parts that end at these numbers."""
        if len(ends) == 1:
            return [self]
        begins = np.concatenate([[0], ends[:-1]])
        return [
            self.part(n, int(b), int(e)) for n, (b, e) in enumerate(zip(begins, ends, strict=True))
        ]


def window_cell(
    window: tuple[float, float, float, float], state: np.ndarray, floor: np.ndarray, words: int
) -> Cells:
    """The window as one cell; `state` is that of the first kink at its four corners."""
    return Cells(
        path=(), layer=0, applied=False, positions=window_corners(window), state=state, floor=floor,
        offsets=np.array([0, 4]), corners=np.arange(4, dtype=np.int32),
        labels=np.array([-1, -2, -3, -4]), patterns=np.zeros((1, words), np.uint64),
    )  # fmt: skip


def window_corners(window: tuple[float, float, float, float]) -> np.ndarray:
    """The corners of the window, anticlockwise from the lower left."""
    left, right, bottom, top = window
    return np.array([[left, bottom], [right, bottom], [right, top], [left, top]], np.float64)
