"""Chebyshev interpolation at the roots of T_n, to a rounding unit."""

from __future__ import annotations

import functools

import numpy as np

__all__ = ["chebyshev_coefficients", "chebyshev_nodes"]


def chebyshev_nodes(n: int) -> np.ndarray:
    """The roots of T_n, in decreasing order."""
    return np.cos(np.pi * (np.arange(n) + 0.5) / n)


def chebyshev_coefficients(values: np.ndarray) -> np.ndarray:
    """Coefficients of the interpolant of values (..., n) at the roots of T_n: (..., n).

    Source: Trefethen 2013, Chapter 3.
    """
    return values @ _basis(values.shape[-1])


@functools.lru_cache(maxsize=32)
def _basis(n: int) -> np.ndarray:
    # Whole numbers of quarter turns / n: the cosine of a large angle would cost two digits.
    turns = np.outer(2 * np.arange(n) + 1, np.arange(n)) % (4 * n)
    basis = np.cos(turns * (np.pi / (2 * n))) * (2.0 / n)
    basis[:, 0] /= 2.0
    return basis
