"""Distances to the nearest neighbours of every point, without duplicates, and blocks of points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.data import check_inputs
from whydeep.errors import InputError
from whydeep.progress import phase, rich_part

__all__ = ["Neighbours", "blocks", "neighbours"]

_BLOCKS = 32
_ROUNDED = 4.0  # units of rounding, of the largest row, by which equal distances may differ
_ROWS = 1 << 22  # numbers of a block of differences


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Points and the distances to their nearest neighbours.

    Args:
        points: (N, d) distinct.
        distances: (N, k), in rising order, none of them 0; what differs by no more than the
            roundings of the data is equal.
        duplicates: rows that were left out because an equal one is there.
    """

    points: np.ndarray
    distances: np.ndarray
    duplicates: int

    @property
    def ties(self) -> int:
        """How many points have their two nearest neighbours equally far, as on a grid."""
        d = self.distances
        return int((d[:, 1] == d[:, 0]).sum()) if d.shape[1] > 1 else 0


def neighbours(x: Any, count: int) -> Neighbours:
    """The `count` nearest neighbours of every distinct row of x."""
    rich_part("style")  # which scikit-learn imports
    from sklearn.neighbors import NearestNeighbors  # a second to import

    rows = check_inputs(x)
    distinct = np.unique(rows, axis=0)
    if len(distinct) <= count + 1:
        raise InputError(
            "There are not enough points.",
            received=f"{len(distinct)} distinct rows of {len(rows)}",
            needed=f"more than {count + 1}: {count} neighbours of each are used",
        )
    # Large offsets would cancel in the search, and one unit for all keeps squares from overflow.
    half = distinct * 0.5  # differences of the largest numbers overflow
    points = half - half[0]
    points -= points.mean(axis=0)
    unit = float(np.abs(points).max())
    points = points / unit
    size = float(np.linalg.norm(half / unit, axis=1).max())
    with phase("nearest neighbours"):
        search = NearestNeighbors(n_neighbors=count).fit(points)
        found = search.kneighbors(return_distance=False)
    distances = np.empty(found.shape)
    step = max(1, _ROWS // (count * points.shape[1]))
    for i in range(0, len(points), step):  # anew: the search may have used |a|^2 - 2 ab + |b|^2
        apart = points[found[i : i + step]] - points[i : i + step, None]
        distances[i : i + step] = np.sqrt(np.einsum("nkd,nkd->nk", apart, apart))
    distances = _tied(np.sort(distances, axis=1), _ROUNDED * _resolution(distinct) * size)
    if not distances[:, 0].min() > 0:
        raise InputError(
            "Some points differ by less than float64 resolves.",
            received=f"a nearest distance of 0, relative to a size of {unit:.3g}",
            suggestion="round the data, so that such points become equal and are left out",
        )
    return Neighbours(distinct, distances * unit * 2.0, len(rows) - len(distinct))


def _resolution(rows: np.ndarray) -> float:
    """The unit of rounding of the numbers, which may have been of single precision."""
    with np.errstate(over="ignore"):
        single = np.array_equal(rows, rows.astype(np.float32))
    return float(np.finfo(np.float32 if single else np.float64).eps)


def _tied(distances: np.ndarray, rounding: float) -> np.ndarray:
    """Distances (N, k), in rising order, with those made equal that differ by roundings only."""
    out = distances.copy()
    for j in range(1, out.shape[1]):
        close = distances[:, j] - distances[:, j - 1] <= rounding
        out[close, j] = out[close, j - 1]
    return out


def blocks(points: np.ndarray) -> np.ndarray:
    """The number (N,) of a block of space for every point: 32 blocks of equal size, or fewer.

    Points of a block share neighbours, and points of different blocks mostly do not.
    """
    n, points = len(points), points / (float(np.abs(points).max()) or 1.0)
    number = np.zeros(n, np.int64)
    count = 1
    while count < _BLOCKS and n >= 16 * count:
        for b in range(count):
            own = np.flatnonzero(number == b)
            widest = int(np.argmax(points[own].var(axis=0)))
            order = np.argsort(points[own, widest], kind="stable")
            number[own[order[len(own) // 2 :]]] += count
        count *= 2
    return number
