"""The front door of hull membership: the cheap question first, the certain answer last."""

from __future__ import annotations

from typing import Any

import numpy as np

from whydeep.arguments import COUNT, RATE, takes
from whydeep.data import INPUTS, check_inputs
from whydeep.errors import InputError, UnsupportedError
from whydeep.geometry.hull._certificates import HullMembership, margins, radius_of, residuals
from whydeep.geometry.hull._coordinates import (
    Coordinates,
    about_one,
    lengths,
    of_common_size,
    whitened,
)
from whydeep.geometry.hull._least_squares import by_least_squares
from whydeep.geometry.hull._minimum_norm import INSIDE, OUTSIDE, nearest_points
from whydeep.network import check_number, check_whole
from whydeep.progress import phase
from whydeep.threads import processors

__all__ = ["in_hull"]

_BLOCK = 1 << 24  # numbers of a block of products
_TIE = 1e-6  # of the tolerance: how exactly a distance is compared with it

SPAN = "outside the span of the data"
AWAY = "directions from the mean"
NEAREST = "nearest points"
SQUARES = "least squares"


@takes(points=INPUTS, data=INPUTS, tolerance=RATE, threads=COUNT)
def in_hull(
    points: Any, data: Any, *, tolerance: float = 1e-9, threads: int | None = None
) -> HullMembership:
    """Which points are in the convex hull of a data set, with a certificate for every answer.

    A point x is inside if ``x = sum_i w_i X_i`` with ``w_i >= 0, sum_i w_i = 1``, and at most
    d + 1 of the weights differ from 0; it is outside if some p has ``p.(X_i - x) > 0`` for all
    i. The answer carries the weights or p, and both are checked against the data as they are
    (again by whoever wants, with `check_hull`).

    Args:
        points: (M, d) the points asked about.
        data: (N, d) those that span the hull. Features may have any scales, rows may repeat, and
            they may lie in a subspace.
        tolerance: how far from the hull a point may be and still count as inside, relative to
            the radius of the data (the largest distance to their mean), 1e-12 to 1e-3. Points of
            the boundary are inside. Where all data are one point, relative to its norm.
        threads: by default one a processor.

    Returns:
        A `HullMembership`: `inside`, `support` and `weights`, `direction`, `residual`, `margin`,
        `fraction`.

    Raises:
        InputError: NaN or infinite numbers, empty arrays, other shapes.
        UnsupportedError: a point that can't be certified either way in float64.

    Accuracy: "outside" is rigorous, with a bound on all roundings, and farther than the tolerance;
    "inside" is to the tolerance. At a distance equal to it to 1e-6, roundings decide. Any unit and
    any offset: numbers are taken as the float64 that they are.
    Cost: M N d where directions from the mean separate, which in many dimensions is the common
    case; near the boundary some ten times that, and of the order of d^3 for each point. 1,000
    points against 10,000 in 64 dimensions: docs/benchmarks/hull.md.

    Source: Wolfe 1976 (nearest point of a polytope); Caratheodory 1907 (d + 1 points are enough);
    Balestriero, Pesenti and LeCun 2021, "Learning in high dimension always amounts to
    extrapolation" (the question).

    Example:
        >>> corners = [[0, 0], [4, 0], [0, 4]]
        >>> answer = in_hull([[1, 1], [3, 3]], corners)
        >>> answer.inside
        array([ True, False])
        >>> answer.weights[0].round(6).tolist()
        [0.5, 0.25, 0.25]
        >>> bool(np.isclose(answer.margin[1], np.sqrt(2)))  # its distance to the hull
        True
    """
    x, rows = check_inputs(points, name="points"), check_inputs(data, name="data")
    if x.shape[1] != rows.shape[1]:
        raise InputError(
            "The points and the data are in different spaces.",
            received=f"points {x.shape}, data {rows.shape}",
            needed="as many columns in both",
        )
    limit = check_number("tolerance", tolerance, positive=True)
    if not 1e-12 <= limit <= 1e-3:
        raise InputError(
            "The tolerance is out of range.", received=f"tolerance={tolerance!r}",
            needed="1e-12 to 1e-3",
        )  # fmt: skip
    count = processors() if threads is None else check_whole("threads", threads)
    x, rows = np.ascontiguousarray(x), np.ascontiguousarray(rows)
    return _Question(x, rows, limit, count).answer()


class _Question:
    """Points against data, and what is known so far.

    Args:
        x: (M, d).
        data: (N, d).
        tolerance: relative to the radius.
        threads: how many.
    """

    def __init__(self, x: np.ndarray, data: np.ndarray, tolerance: float, threads: int) -> None:
        self.x, self.data, self.unit = of_common_size(x, data)
        self.tolerance, self.threads = tolerance, threads
        asked, rows, size = about_one(self.x, self.data)
        with phase("coordinates of the data"):
            self.map: Coordinates = whitened(rows)
        self.allowed = tolerance * radius_of(self.data)
        self.radius = float(np.ldexp(self.allowed / tolerance, -size))  # in those coordinates
        self.white, _ = self.map.inward(rows)
        self.asked, self.off = self.map.inward(asked)
        self.off_size = lengths(self.off)
        m, k = len(x), min(len(data), x.shape[1] + 1)
        self.inside = np.zeros(m, bool)
        self.open = np.ones(m, bool)
        self.support, self.weights = np.full((m, k), -1, np.int64), np.zeros((m, k))
        self.direction = np.zeros(x.shape)
        self.residual, self.margin = np.full(m, np.nan), np.full(m, np.nan)
        self.settled: dict[str, int] = dict.fromkeys((SPAN, AWAY, NEAREST, SQUARES), 0)

    def answer(self) -> HullMembership:
        """All methods in turn, each for the points that are still open."""
        self._outside_the_span()
        if len(self.map.scales):
            self._away_from_the_mean()
            self._nearest_whitened()
            self._least_squares(*self._nearest())
        else:  # all data points are one
            left = np.flatnonzero(self.open)
            self._certify_inside(left, np.zeros((len(left), 1), np.int64), np.ones((len(left), 1)),
                                 SPAN)  # fmt: skip
        if self.open.any():
            raise self._undecided()
        with np.errstate(over="ignore"):
            margin = np.ldexp(self.margin, self.unit)
        return HullMembership(
            self.inside, self.support, self.weights, self.residual, self.direction, margin,
            self.tolerance, {name: n for name, n in self.settled.items() if n},
        )  # fmt: skip

    def _outside_the_span(self) -> None:
        far = np.flatnonzero(self.off_size > self.tolerance * self.radius)
        if len(far):
            self._certify_outside(far, -self.off[far] / self.off_size[far, None], SPAN)

    def _away_from_the_mean(self) -> None:
        """Points beyond all data along their direction from the mean, as it is and whitened."""
        for whitened_too in (True, False):
            left = np.flatnonzero(self.open)
            if not len(left):
                return
            at = self.asked[left]
            towards = -at if whitened_too else -at * self.map.scales**2
            rows = max(1, _BLOCK // len(self.data))
            least = np.concatenate(
                [
                    (towards[i : i + rows] @ self.white.T).min(axis=1)
                    for i in range(0, len(left), rows)
                ]
            )
            apart = least > np.sum(towards * at, axis=1)
            # A point at the mean has no direction from it.
            apart &= np.linalg.norm(towards, axis=1) > 0
            self._certify_outside(left[apart], self.map.outward(towards[apart]), AWAY)

    def _nearest_whitened(self) -> None:
        """Wolfe's algorithm in coordinates that are well conditioned, whatever the data's are."""
        left = np.flatnonzero(self.open)
        # |p| there at which the residual is a tenth of what is allowed.
        limit = self.tolerance / 10 * self.radius / float(self.map.scales.max())
        found = nearest_points(self.white, self.asked[left], limit, self.threads)
        within, beyond = found.status == INSIDE, found.status == OUTSIDE
        self._certify_inside(left[within], found.active[within], found.weights[within], NEAREST)
        apart = self.map.outward(found.differences[beyond])
        self._certify_outside(left[beyond], apart, NEAREST)

    def _nearest(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points near the boundary, by distances as they are: rows, and coordinates that served.

        The tolerance is about those distances, and what is nearest in whitened coordinates is not
        nearest in others. What is outside the span becomes one more coordinate.
        """
        left = np.flatnonzero(self.open)
        unit = self.map.scales / self.radius
        data = np.pad(self.white * unit, ((0, 0), (0, 1)))
        asked = np.column_stack([self.asked[left] * unit, self.off_size[left] / self.radius])
        if not len(left):
            return data, asked, np.zeros((0, 0), np.int64)
        found = nearest_points(data, asked, self.tolerance, self.threads)
        within = found.status == INSIDE
        self._certify_inside(left[within], found.active[within], found.weights[within], NEAREST)
        self._certify_outside(left[~within], self._normals(left, found.differences)[~within],
                              NEAREST)  # fmt: skip
        still = self.open[left]
        return data, asked[still], found.active[still]

    def _least_squares(self, data: np.ndarray, asked: np.ndarray, active: np.ndarray) -> None:
        """What is left, in orthogonal factors: ill-conditioned data, and distances that tie."""
        for i, at, start in zip(np.flatnonzero(self.open), asked, active, strict=True):
            one = np.array([i])
            found = by_least_squares(data, at, start[start >= 0])
            if found is None:
                continue
            self._certify_inside(one, found.rows[None], found.weights[None], SQUARES)
            normal = self._normals(one, found.difference[None])
            self._certify_outside(one, normal, SQUARES)
            if found.final and np.linalg.norm(found.difference) > self.tolerance * (1.0 - _TIE):
                # No point of the hull is within the tolerance, if only by the roundings of it.
                self._certify_outside(one, normal, SQUARES, least=0.0)

    def _normals(self, which: np.ndarray, differences: np.ndarray) -> np.ndarray:
        """Unit normals (., d) from differences in the coordinates of `_nearest`."""
        along, off = differences[:, :-1] @ self.map.axes, self.off[which]
        out = off / np.where(self.off_size > 0, self.off_size, 1.0)[which, None]
        found = along + differences[:, -1:] * out
        length = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.where(length > 0, length, 1.0)

    def _certify_inside(
        self, which: np.ndarray, support: np.ndarray, weights: np.ndarray, method: str
    ) -> None:
        """Keep the answers whose weights are proved by the data as they are."""
        which, support, weights = (a[self.open[which]] for a in (which, support, weights))
        if not len(which):
            return
        order = np.argsort(-weights, axis=1, kind="stable")[:, : self.support.shape[1]]
        weights = np.maximum(np.take_along_axis(weights, order, axis=1), 0.0)
        support = np.where(weights > 0, np.take_along_axis(support, order, axis=1), -1)
        weights = weights / weights.sum(axis=1, keepdims=True)
        size = residuals(self.data, self.x[which], support, weights)
        good = size <= self.tolerance
        kept = which[good]
        width = support.shape[1]
        self.support[kept, :width], self.weights[kept, :width] = support[good], weights[good]
        self.residual[kept], self.inside[kept], self.open[kept] = size[good], True, False
        self.settled[method] += len(kept)

    def _certify_outside(
        self, which: np.ndarray, direction: np.ndarray, method: str, least: float | None = None
    ) -> None:
        """Keep the answers whose directions prove, for the data as they are, enough distance."""
        which, direction = (a[self.open[which]] for a in (which, direction))
        if not len(which):
            return
        found = margins(self.data, self.x[which], direction, self.threads)
        good = found > (self.allowed if least is None else least)
        kept = which[good]
        self.direction[kept], self.margin[kept] = direction[good], found[good]
        self.open[kept] = False
        self.settled[method] += len(kept)

    def _undecided(self) -> UnsupportedError:
        left = np.flatnonzero(self.open)
        scales = self.map.scales
        spread = float(scales.max() / scales.min()) if len(scales) else 1.0
        return UnsupportedError(
            f"{len(left)} points can't be certified to be inside or outside in float64.",
            received=f"points {', '.join(map(str, left[:5]))}{' ...' if len(left) > 5 else ''} "
            f"(counting from 0); standard deviations of the data differ by {spread:.1e}",
            needed="data of about full rank, or exactly of lower rank",
            cause="directions in which the data are almost, but not quite, flat",
            suggestion="a larger tolerance, or the data projected on their main directions "
            "(extrapolation(..., dims=...))",
        )
