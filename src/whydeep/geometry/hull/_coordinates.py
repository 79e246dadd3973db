"""Coordinates in which a hull is well conditioned: of unit size, of full rank, whitened.

Membership in a hull does not change under an affine map, so data of any size, at any offset, whose
features have sizes apart by orders of magnitude, are no harder than others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Coordinates", "about_one", "lengths", "of_common_size", "whitened"]

_USUAL = 300  # powers of two within which no square over- or underflows
_LARGEST = 1000
_FARTHEST = 100  # powers of two: a query beyond is moved towards the data, see `about_one`


@dataclass(frozen=True)
class Coordinates:
    """An affine map that gives data mean 0 and covariance 1 in the space they span.

    Args:
        mean: (d,).
        axes: (r, d) orthonormal rows that span the data about their mean.
        scales: (r,) standard deviations along them.
    """

    mean: np.ndarray
    axes: np.ndarray
    scales: np.ndarray

    def inward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (M, d) in these coordinates (M, r), and what of them is outside the span."""
        centred = x - self.mean
        along = centred @ self.axes.T
        off = centred - along @ self.axes
        again = off @ self.axes.T  # twice is enough: the rest is orthogonal to rounding
        return (along + again) / self.scales, off - again @ self.axes

    def outward(self, directions: np.ndarray) -> np.ndarray:
        """Unit normals (M, d) of the hyperplanes that have normals (M, r) in these coordinates."""
        found = (directions / self.scales) @ self.axes
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def whitened(data: np.ndarray) -> Coordinates:
    """Coordinates for data (N, d); the rank r is numerical, 0 where all rows are equal."""
    n, d = data.shape
    mean = data.mean(axis=0)
    triangle = np.linalg.qr(data - mean, mode="r")
    _, values, axes = np.linalg.svd(triangle, full_matrices=False)
    kept = values > max(n, d) * np.finfo(np.float64).eps * values[0]
    return Coordinates(mean, axes[kept], values[kept] / np.sqrt(n))


def of_common_size(points: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Points and data over 2^e, and e: sizes at which squares of differences are numbers.

    e is 0, and nothing is copied, for sizes from 1e-90 to 1e90. Division by a power of two rounds
    nothing, except what is 1e-300 of the largest.
    """
    half = data * 0.5  # differences of the largest numbers overflow
    spread = _exponent(half - half[0])
    largest = max(_exponent(points) or 0, _exponent(data) or 0)
    if largest < _LARGEST and (spread is None or abs(spread) < _USUAL):
        return points, data, 0
    wanted = max(largest - _LARGEST, largest if spread is None else spread)
    return np.ldexp(points, -wanted), np.ldexp(data, -wanted), wanted


def about_one(points: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Points and data relative to a row of the data, over 2^e, with the data at most 1; and e.

    Differences of numbers are rounded relative to themselves, so an offset costs nothing. What
    separates a point from the hull also separates all that lie beyond it as seen from a point of
    the hull: points beyond 1e30 are moved there, along the line to that row.
    """
    shifted, apart = data - data[0], points - data[0]
    size = _exponent(shifted) or _exponent(apart) or 0
    length = np.abs(apart).max(axis=1, keepdims=True)
    limit = np.ldexp(1.0, size + _FARTHEST)
    apart = np.where(length > limit, apart / np.maximum(length, limit) * limit, apart)
    return np.ldexp(apart, -size), np.ldexp(shifted, -size), size


def lengths(rows: np.ndarray) -> np.ndarray:
    """Euclidean norms of rows (M, d), whose squares may be no numbers."""
    largest = np.abs(rows).max(axis=1)
    unit = np.where(largest > 0, largest, 1.0)
    return np.linalg.norm(rows / unit[:, None], axis=1) * unit


def _exponent(values: np.ndarray) -> int | None:
    """Of the power of two above the largest number; None where all are 0."""
    largest = float(np.abs(values).max())
    return int(np.frexp(largest)[1]) if largest else None
