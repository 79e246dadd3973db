"""Coordinates in which a hull is well conditioned: centred, of full rank, of unit covariance.

Membership in a hull does not change under an affine map, so data whose features have sizes apart
by orders of magnitude are no harder than others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Coordinates", "whitened"]


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
    # Of rows that are large beside what tells them apart, the differences are roundings.
    size = max(float(values[0]), float(np.abs(mean).max()) * np.sqrt(n))
    kept = values > max(n, d) * np.finfo(np.float64).eps * size
    return Coordinates(mean, axes[kept], values[kept] / np.sqrt(n))
