"""What a partition is like, without holding it: counts, areas, edges, lengths by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import NUMBER, anything, array, count, each, takes
from whydeep.brief import brief
from whydeep.geometry.partition._areas import areas_of
from whydeep.geometry.partition._cells import Cells
from whydeep.geometry.partition._front import make_slice
from whydeep.geometry.partition._work import run
from whydeep.geometry.readers import function_at
from whydeep.progress import phase
from whydeep.results import by_content

__all__ = ["RegionStatistics", "region_statistics"]

_DECADES = np.arange(-40, 41)  # of areas
_EDGES = 64  # polygons with more count as having so many


@by_content
@dataclass(frozen=True, eq=False)
class RegionStatistics:
    """Totals over all cells of a window.

    Args:
        count: activation cells.
        area: the sum of their areas.
        area_squares: the sum of their squares: ``area_squares / area`` is the mean area of the
            cell that a random point of the window lies in.
        area_decades: (80,): how many cells have an area from 10^(k-40) to 10^(k-39).
        edges: (65,): how many cells have so many edges; more than 64 count as 64.
        lengths: (layers,): total length of the edges that each layer makes, inside the window.
    """

    count: int
    area: float
    area_squares: float
    area_decades: np.ndarray
    edges: np.ndarray
    lengths: np.ndarray

    __repr__ = brief

    @property
    def mean_edges(self) -> float:
        """Edges of a cell on average."""
        return float(self.edges @ np.arange(len(self.edges)) / self.count)


@takes(
    f=anything, origin=array(), u=array(), v=array(), window=each(NUMBER, exactly=4),
    layers=count(0),
)  # fmt: skip
def region_statistics(
    f: Any,
    origin: Any,
    u: Any,
    v: Any,
    window: Sequence[float] = (-1, 1, -1, 1),
    *,
    layers: int | None = None,
) -> RegionStatistics:
    """Counts, areas and edges of `regions` where there are too many to be held.

    Memory does not grow with the number of regions: parts of some thousand cells are counted and
    forgotten.

    Args:
        f: a torch module, a JAX function of a batch, or a `PiecewiseLinear`.
        origin: one input, a point of the plane.
        u: a direction of the same shape.
        v: another; lengths and areas are those of input space if u and v are orthonormal.
        window: smallest and largest s, smallest and largest t.
        layers: only the kinks of the first layers.

    Raises:
        InputError: shapes that do not fit.
        UnsupportedError: a function that is not piecewise linear.

    Accuracy and cost as `regions`.

    Source: as `regions`.

    Example:
        >>> from whydeep.geometry import from_layers
        >>> f = from_layers([np.eye(2), np.ones((1, 2))], [np.zeros(2), np.zeros(1)])
        >>> found = region_statistics(f, np.zeros(2), np.eye(2)[0], np.eye(2)[1])
        >>> found.count, found.area, found.lengths
        (4, 4.0, array([4.]))
    """
    function = function_at(f, np.shape(origin))
    plane = make_slice(function, origin, u, v, window, layers)
    totals = np.zeros(3)
    decades, edges = np.zeros(len(_DECADES) - 1, np.int64), np.zeros(_EDGES + 1, np.int64)
    lengths = np.zeros(plane.layers)

    def take(cells: Cells) -> None:
        vertices = cells.positions[cells.corners]
        areas = areas_of(vertices, cells.offsets)
        totals[:] += np.array([len(cells), areas.sum(), areas @ areas])
        powers = np.floor(np.log10(np.maximum(areas, 1e-40))).astype(np.int64) - _DECADES[0]
        decades[:] += np.bincount(np.clip(powers, 0, len(decades) - 1), minlength=len(decades))
        sizes = np.minimum(np.diff(cells.offsets), _EDGES)
        edges[:] += np.bincount(sizes, minlength=len(edges))
        following = np.arange(1, len(vertices) + 1)
        following[cells.offsets[1:] - 1] = cells.offsets[:-1]
        inner = cells.labels >= 0
        found = np.linalg.norm(vertices[following[inner]] - vertices[inner], axis=1)
        # every inner edge has a cell on each side
        lengths[:] += np.bincount(cells.labels[inner] >> 32, found / 2, minlength=len(lengths))

    with phase("counting regions"):
        run(plane, take)
    count, area, squares = int(totals[0]), float(totals[1]), float(totals[2])
    return RegionStatistics(count, area, squares, decades, edges, lengths)
