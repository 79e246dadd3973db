"""A function of one variable as polynomials on intervals that are found, not given.

Intervals are halved until Chebyshev interpolants of s and s' agree with them, so that they are
short where the function is rich and double in length where it is dull: a function whose features
have unit size needs about a hundred from -1e7 to 1e7. What is left out is measured against the
largest value nearer to 0, which every mean over a centred Gaussian contains with a larger weight.

Source: Trefethen 2013, Theorem 8.2 (a polynomial's error from its Chebyshev coefficients).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev

from whydeep.activations import ScalarFunction

__all__ = ["DEGREE", "Pieces", "chebyshev_fit", "monomials", "pieces"]

DEGREE = 15
"""Of the polynomials."""

_TOLERANCE = 4e-15
_MOST = 4096
_SMALLEST = 2.0**-6  # features that are narrower and lie further out may go unseen
_NOISE = 1e-6
_NARROWEST = 2.0**-40  # of the range: what is narrower is left unresolved, and counted as an error


@dataclass(frozen=True)
class Pieces:
    """Polynomials of s and s' between edges, in the distance from the middle over the half width.

    Args:
        edges: increasing, (pieces + 1,).
        coefficients: of s and s', lowest power first, (pieces, 2, DEGREE + 1).
        error: what is left out, relative to the largest value nearer to 0, times the width over
            the range where a piece could not be resolved.
    """

    edges: np.ndarray
    coefficients: np.ndarray
    error: float

    def largest(self, radius: np.ndarray) -> np.ndarray:
        """The largest |s| and |s'| found at |z| <= radius, shape (2, *radius.shape)."""
        near = np.minimum(np.abs(self.edges[:-1]), np.abs(self.edges[1:]))
        order = np.argsort(near)
        sizes = np.maximum.accumulate(np.abs(self.coefficients).sum(axis=2)[order], axis=0)
        place = np.searchsorted(near[order], radius, "right") - 1
        return np.moveaxis(sizes[np.maximum(place, 0)], -1, 0)

    def spread(self, radius: float) -> float:
        """Over what length s' is spread: the integral of s'^2 up to a radius over its maximum."""
        points, weights = np.polynomial.legendre.leggauss(DEGREE + 1)
        inside = np.minimum(np.abs(self.edges[:-1]), np.abs(self.edges[1:])) < radius
        slopes = self.coefficients[inside, 1] @ np.vander(points, DEGREE + 1, increasing=True).T
        width = np.minimum(np.diff(self.edges)[inside], radius)
        most = float(np.max(slopes**2, initial=0.0))
        total = float(np.sum(width / 2.0 * (slopes**2 @ weights)))
        return total / most if most > 0.0 else radius


@functools.lru_cache(maxsize=64)
def pieces(activation: ScalarFunction, radius: float) -> Pieces | None:
    """The polynomials on [-radius, radius], or None where thousands are not enough."""
    kinks = [k for k in activation.kinks if abs(k) < radius]
    doubled = _SMALLEST * 2.0 ** np.arange(max(0, math.ceil(math.log2(radius / _SMALLEST))))
    starts = np.unique([-radius, *-doubled, *kinks, 0.0, *doubled, radius])
    open_edges = np.stack([starts[:-1], starts[1:]], axis=1)
    before = np.full(len(open_edges), np.inf)
    done: list[tuple[np.ndarray, np.ndarray]] = []
    error, sizes = 0.0, np.zeros((0, 3))
    while len(open_edges):
        if len(done) + len(open_edges) > _MOST:
            return None
        found = _fits(activation, open_edges)
        if not np.all(np.isfinite(found)):
            return None
        size = np.abs(found).sum(axis=2)  # bounds the values
        near = np.abs(open_edges).min(axis=1)
        sizes = _cumulated(np.concatenate([sizes, np.column_stack([near, size])]))
        scale = sizes[np.searchsorted(sizes[:, 0], near, "right") - 1, 1:]
        left = np.abs(found[:, :, -2:]).sum(axis=2) / np.maximum(scale, 1e-300)
        left = np.where(size > 0, left, 0.0).max(axis=1)
        width = (open_edges[:, 1] - open_edges[:, 0]) / radius
        narrow = width < _NARROWEST
        noise = (left <= _NOISE) & (left > 0.5 * before)  # the function's own rounding
        good = (left <= _TOLERANCE) | narrow | noise
        error = max(error, float(np.max(np.where(noise, left, left * width)[good], initial=0.0)))
        done += [(e, c) for e, c in zip(open_edges[good], found[good], strict=True)]
        wide, before = open_edges[~good], np.tile(left[~good], 2)
        middle = wide.mean(axis=1)
        open_edges = np.concatenate(
            [np.column_stack([wide[:, 0], middle]), np.column_stack([middle, wide[:, 1]])]
        )
    done.sort(key=lambda item: item[0][0])
    edges = np.array([e[0] for e, _ in done] + [done[-1][0][1]])
    powers = np.stack([c for _, c in done]) @ monomials(DEGREE + 1)
    return Pieces(edges, powers, error + _TOLERANCE)


def _cumulated(sizes: np.ndarray) -> np.ndarray:
    """Rows (distance from 0, sizes), increasing in distance, with the largest sizes up to it."""
    sizes = sizes[np.argsort(sizes[:, 0], kind="stable")]
    sizes[:, 1:] = np.maximum.accumulate(sizes[:, 1:], axis=0)
    return sizes


def _fits(activation: ScalarFunction, edges: np.ndarray) -> np.ndarray:
    """Chebyshev coefficients of s and s' on intervals, (intervals, 2, DEGREE + 1)."""
    t, basis = chebyshev_fit(DEGREE + 1)
    middle, half = edges.mean(axis=1)[:, None], (edges[:, 1] - edges[:, 0])[:, None] / 2.0
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.stack(activation.derivatives(middle + half * t, 1), axis=1)
        return values @ basis


@functools.lru_cache(maxsize=8)
def chebyshev_fit(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The roots of T_n, and what takes values there to coefficients, (n, n)."""
    turns = np.outer(2 * np.arange(n) + 1, np.arange(n)) % (4 * n)
    basis = np.cos(turns * (math.pi / (2 * n))) * (2.0 / n)
    basis[:, 0] /= 2.0
    return np.cos(math.pi * (np.arange(n) + 0.5) / n), basis


@functools.lru_cache(maxsize=8)
def monomials(n: int) -> np.ndarray:
    """What takes Chebyshev coefficients to those of powers, (n, n)."""
    out = np.zeros((n, n))
    for k in range(n):
        out[k, : k + 1] = chebyshev.cheb2poly(np.eye(n)[k])[: k + 1]
    return out
