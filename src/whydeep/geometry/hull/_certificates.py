"""What proves an answer about a hull, and the check of such proofs against the data themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, no_type_check

import numpy as np

from whydeep.arguments import instance, takes
from whydeep.compiled import njit
from whydeep.data import INPUTS, check_inputs
from whydeep.errors import InputError
from whydeep.geometry.hull._coordinates import lengths, of_common_size
from whydeep.geometry.hull._minimum_norm import in_threads
from whydeep.results import by_content
from whydeep.threads import processors

__all__ = ["HullMembership", "check_hull", "margins", "residuals"]

_ROUND = float(np.finfo(np.float64).eps) / 2
_ROWS = 16


@by_content
@dataclass(frozen=True, eq=False)
class HullMembership:
    """Which of M points are in the convex hull of N data points in d dimensions, with a proof each.

    Args:
        inside: (M,) booleans.
        support: (M, k) rows of the data with weight, k <= d + 1; -1 where there is none, and
            everywhere for points outside.
        weights: (M, k) their weights: at least 0, a row sums to 1. ``sum_i w_i X_i`` is the point.
        residual: (M,) ``|sum_i w_i X_i - x|`` relative to the radius of the data, the largest
            distance of a data point to their mean. NaN outside.
        direction: (M, d) unit vectors with ``min_i p.(X_i - x) > 0``; zeros inside.
        margin: (M,) that minimum, less all roundings: a lower bound of the distance to the hull.
            NaN inside.
        tolerance: the residual allowed. Points nearer to the hull than that, relative to the
            radius, count as inside; where all data are one point, relative to its norm.
        settled_by: how many answers each method gave.
    """

    inside: np.ndarray
    support: np.ndarray
    weights: np.ndarray
    residual: np.ndarray
    direction: np.ndarray
    margin: np.ndarray
    tolerance: float
    settled_by: dict[str, int] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        """The share of points inside."""
        return float(np.mean(self.inside))

    def __len__(self) -> int:
        return len(self.inside)

    def __repr__(self) -> str:
        n = int(self.inside.sum())
        return f"<hull membership: {n} of {len(self)} points inside, every answer certified>"


_MEMBERSHIP = instance(
    HullMembership,
    needed="an answer",
    suggestion="whydeep.geometry.in_hull(points, data) gives one",
)


@takes(membership=_MEMBERSHIP, points=INPUTS, data=INPUTS)
def check_hull(membership: HullMembership, points: Any, data: Any) -> np.ndarray:
    """Whether each answer of `in_hull` is proved by its certificate: computed from the data anew.

    Inside: weights of at least 0 that sum to 1 to 1e-12, on at most d + 1 data points, with
    ``|sum_i w_i (X_i - x)| <= tolerance x radius``. Outside: ``p.(X_i - x) > 0`` for every data
    point by more than a bound on the roundings of that sum, so that the exact number is positive.

    Args:
        membership: what `in_hull` returned.
        points: (M, d), those asked about.
        data: (N, d), those that span the hull.

    Returns:
        (M,) booleans; all are True for what `in_hull` returns.

    Raises:
        InputError: shapes that do not fit each other; bad numbers.

    Accuracy: outside is rigorous (Higham 2002, section 3.1: a bound on the rounding of an inner
    product); inside is to the tolerance. Cost: M N d multiplications for points outside.

    Source: Farkas 1902 (one of the two certificates exists, never both).

    Example:
        >>> square = [[0, 0], [1, 0], [0, 1], [1, 1]]
        >>> from whydeep.geometry.hull import in_hull
        >>> answer = in_hull([[0.5, 0.5], [2.0, 0.5]], square)
        >>> check_hull(answer, [[0.5, 0.5], [2.0, 0.5]], square)
        array([ True,  True])
        >>> check_hull(answer, [[0.5, 0.5], [0.5, 0.5]], square)  # another point: no proof
        array([ True, False])
    """
    x, rows = check_inputs(points, name="points"), check_inputs(data, name="data")
    if len(x) != len(membership) or x.shape[1] != rows.shape[1]:
        raise InputError(
            "The answers do not belong to these points.",
            received=f"{len(membership)} answers, points {x.shape}, data {rows.shape}",
            needed="the points and the data that in_hull was called with",
        )
    if membership.direction.shape[1] != x.shape[1]:
        raise InputError(
            "The answers are about another space.",
            received=f"directions of {membership.direction.shape[1]} numbers, points {x.shape}",
        )
    if membership.support.max(initial=-1) >= len(rows):
        raise InputError(
            "The answers are about other data.",
            received=f"{len(rows)} data points, and a proof by number {membership.support.max()}",
            needed="the data that in_hull was called with",
        )
    x, rows, _ = of_common_size(x, rows)
    proved = np.zeros(len(x), bool)
    inside = np.flatnonzero(membership.inside)
    outside = np.flatnonzero(~membership.inside)
    if len(inside):
        support, weights = membership.support[inside], membership.weights[inside]
        carried = (support >= 0).sum(axis=1)
        proved[inside] = (
            (residuals(rows, x[inside], support, weights) <= membership.tolerance)
            & (weights.min(axis=1) >= 0)
            & (np.abs(weights.sum(axis=1) - 1) < 1e-12)
            & (np.where(support < 0, weights, 0.0) == 0).all(axis=1)
            & (carried <= x.shape[1] + 1)
        )
    if len(outside):
        proved[outside] = margins(rows, x[outside], membership.direction[outside]) > 0
    return proved


def radius_of(data: np.ndarray) -> float:
    """The largest distance of a data point to their mean; the norm of the one that all are."""
    shifted = data - data[0]  # of equal rows the mean is not always exact
    largest = float(lengths(shifted - shifted.mean(axis=0)).max())
    return largest if shifted.any() else float(lengths(data[:1])[0])


def residuals(
    data: np.ndarray, points: np.ndarray, support: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """``|sum_i w_i (X_i - x)| / radius``, a row a point; at radius 0, 0 or infinite."""
    radius = radius_of(data)
    found = np.empty(len(points))
    for i, (x, rows, own) in enumerate(zip(points, support, weights, strict=True)):
        kept = rows >= 0
        distance = float(lengths(own[None, kept] @ (data[rows[kept]] - x))[0])
        found[i] = distance / radius if radius else (np.inf if distance else 0.0)
    return found


def margins(
    data: np.ndarray, points: np.ndarray, directions: np.ndarray, threads: int | None = None
) -> np.ndarray:
    """``min_i p.(X_i - x)`` less a bound on its roundings, a row a point."""
    found = np.empty(len(points))

    def work(start: int) -> None:
        part = slice(start, start + _ROWS)
        _least(data, points[part], directions[part], found[part])

    starts = range(0, len(points), _ROWS)
    in_threads(work, starts, threads or processors(), "checking certificates")
    return found


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
@no_type_check
def _least(data, points, directions, out):  # noqa: ANN001, ANN202 -- numba infers the types
    """The minimum less (d + 2) u sum |p_j (X_ij - x_j)|, which holds in whatever order of terms.

    Two more u are for the roundings of that sum itself and of its subtraction.
    """
    d = data.shape[1]
    bound = (d + 4) * _ROUND
    bound = bound / (1.0 - bound)
    for i in range(len(points)):
        x, p, least = points[i], directions[i], np.inf
        for n in range(len(data)):
            row, total, size = data[n], 0.0, 0.0
            for j in range(d):
                term = p[j] * (row[j] - x[j])
                total += term
                size += abs(term)
            least = min(least, total - bound * size)
        out[i] = least
