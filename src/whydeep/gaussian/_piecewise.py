"""Gaussian means of kinked functions: Gauss-Legendre panels that end at every kink.

In the plane the kinks are lines z_a = k and z_b = k'. In angle-bisector coordinates both families
cross the inner axis at a slope of at most 1, so that along it they are ordinary break points, and
what is left is an analytic function of the outer variable except where two lines cross: those
crossings are the break points of the outer panels. Nothing degenerates at perfect correlation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._refine import Rule, outer_share, reach, refine
from whydeep.gaussian._trapezoid import Integrand

__all__ = ["line_means", "panels", "plane_means", "ratio"]

_ORDER = 16
_FIRST_PANELS = 6
_LARGEST_RADIUS = 40.0
_MOST_ARGUMENTS = 1 << 22  # of one law
_BLOCK = 1 << 19


def line_means(
    integrand: Integrand,
    mean: np.ndarray,
    deviation: np.ndarray,
    breaks: np.ndarray,
    tolerance: float,
) -> Estimate:
    """E f_m(mean + deviation u) for n laws on a line.

    Args:
        integrand: maps arguments (n, 1, nodes) to m arrays (n, nodes).
        mean: of the argument, shape (n,).
        deviation: of the argument, shape (n,).
        breaks: where f is not smooth, as values of u, shape (n, kinks); infinite where not met.
        tolerance: relative to E |f|.

    Returns:
        Shape (m, n).
    """
    radius = reach(1e-2 * tolerance)

    def rule(level: int, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        nonlocal radius
        u, weights = panels(breaks[active], _FIRST_PANELS << level, radius)
        if level > 1 and u.shape[1] > _MOST_ARGUMENTS >> 6:
            return None
        z = mean[active, None] + deviation[active, None] * u
        sums = _sums(integrand(z[:, None]), weights, np.abs(u) > radius - 1.0)
        tail = outer_share(sums[1], sums[2])
        if np.any(tail > 0.1 * tolerance * sums[1]) and radius < _LARGEST_RADIUS:
            radius += 2.0
        return sums[0], sums[1], tail

    return _refined(rule, integrand, len(mean), 1, tolerance)


def plane_means(
    integrand: Integrand, rows: np.ndarray, kinks: tuple[float, ...], tolerance: float
) -> Estimate:
    """E f_m(R_n u) for pairs, where f is not smooth at z_a = k and z_b = k for the given kinks.

    Args:
        integrand: maps arguments z = R u, shape (n, 4, nodes), to m arrays (n, nodes).
        rows: from `pair_rows`, shape (n, 4, 2).
        kinks: of the function.
        tolerance: relative to E |f|.

    Returns:
        Shape (m, n).
    """
    turn = np.abs(rows[:, :2, 1]).max(axis=1) > np.abs(rows[:, :2, 0]).max(axis=1)
    rows = np.where(turn[:, None, None], rows[..., ::-1], rows)
    crossings = _crossings(rows, np.asarray(kinks))
    radius = reach(1e-2 * tolerance)

    def rule(level: int, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        nonlocal radius
        even = _FIRST_PANELS << level
        inner = _ORDER * (even + 2 * len(kinks))
        outer = _ORDER * (even + crossings.shape[1])
        if level > 1 and inner * outer > _MOST_ARGUMENTS:
            return None
        laws = max(1, _BLOCK // (4 * inner * outer))
        parts = []
        for start in range(0, active.size, laws):
            which = active[start : start + laws]
            y, outer_weights = panels(crossings[which], even, radius)
            breaks = _inner_breaks(rows[which], y, np.asarray(kinks))
            x, inner_weights = panels(breaks, even, radius)
            z = (
                rows[which, :, 0, None, None] * x[:, None]
                + (rows[which, :, 1, None] * y[:, None, :])[..., None]
            )
            weights = (outer_weights[..., None] * inner_weights).reshape(len(which), -1)
            far = np.maximum(np.abs(x), np.abs(y)[..., None]) > radius - 1.0
            functions = integrand(z.reshape(len(which), 4, -1))
            parts.append(_sums(functions, weights, far.reshape(len(which), -1)))
        sums = np.concatenate(parts, axis=2)
        tail = outer_share(sums[1], sums[2])
        if np.any(tail > 0.1 * tolerance * sums[1]) and radius < _LARGEST_RADIUS:
            radius += 2.0
        return sums[0], sums[1], tail

    return _refined(rule, integrand, len(rows), 4, tolerance)


def _refined(
    rule: Rule, integrand: Integrand, count: int, forms: int, tolerance: float
) -> Estimate:
    if count == 0:
        empty = np.empty((len(integrand(np.zeros((0, forms, 1)))), 0))
        return Estimate(empty, empty)
    return refine(rule, count, tolerance)


def panels(
    breaks: np.ndarray, count: int, radius: float, order: int = _ORDER
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and Gaussian weights of `count` equal panels, broken further: (..., nodes)."""
    even = np.linspace(-radius, radius, count + 1)
    even = np.broadcast_to(even, (*breaks.shape[:-1], count + 1))
    edges = np.sort(np.concatenate([even, np.clip(breaks, -radius, radius)], axis=-1), axis=-1)
    points, factors = np.polynomial.legendre.leggauss(order)
    half = np.diff(edges)[..., None] / 2.0
    nodes = (edges[..., :-1, None] + half) + half * points
    weights = half * factors * np.exp(-(nodes**2) / 2.0) / np.sqrt(2.0 * np.pi)
    shape = (*breaks.shape[:-1], -1)
    return nodes.reshape(shape), weights.reshape(shape)


def _crossings(rows: np.ndarray, kinks: np.ndarray) -> np.ndarray:
    """Outer coordinates where z_a = k and z_b = k' meet, shape (n, kinks^2); infinite if never."""
    middle = np.add.outer(kinks, kinks).ravel() / 2.0
    half = np.subtract.outer(kinks, kinks).ravel() / 2.0
    (m0, m1), (h0, h1) = (np.moveaxis(rows[:, i], 1, 0)[..., None] for i in (2, 3))
    determinant = m0 * h1 - h0 * m1
    return ratio(m0 * half - h0 * middle, np.broadcast_to(determinant, (len(rows), half.size)))


def _inner_breaks(rows: np.ndarray, y: np.ndarray, kinks: np.ndarray) -> np.ndarray:
    """Inner coordinates of the kink lines at outer coordinate y, shape (n, outer, 2 kinks)."""
    lines = []
    for row in (0, 1):
        top = kinks - (rows[:, row, 1, None] * y)[..., None]
        lines.append(ratio(top, np.broadcast_to(rows[:, row, 0, None, None], top.shape)))
    return np.concatenate(lines, axis=-1)


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """The quotient, infinite where the bottom is 0."""
    out = np.full(top.shape, np.inf)
    with np.errstate(over="ignore"):
        return np.divide(top, bottom, out=out, where=bottom != 0)


def _sums(functions: Sequence[np.ndarray], weights: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Weighted sums of f, |f| and |f| in the outermost unit: shape (3, m, n)."""
    outer = weights * far
    return np.array(
        [
            [
                np.einsum("np,np->n", f, weights),
                np.einsum("np,np->n", np.abs(f), weights),
                np.einsum("np,np->n", np.abs(f), outer),
            ]
            for f in functions
        ]
    ).swapaxes(0, 1)
