"""What all maps do with the values of a row: scale them, bound them, and mirror them."""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
# ruff: noqa: FURB136 -- its min and max look at NaN, which takes twice the time
from __future__ import annotations

from typing import no_type_check

import numpy as np

from whydeep.compiled import njit

__all__ = ["bounded", "mirrored", "scaled"]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def scaled(values, scale, scales):
    """Multiply the values of a row by scale_a scale_b."""
    for j in range(scales.size):
        values[j] *= scale * scales[j]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def bounded(values, own, others, out):
    """Write K_ab so that K_aa + K_bb - 2 |K_ab| >= 0 for the numbers as they are stored.

    Args:
        values: K_ab of one row, at least as many as `out`.
        own: K_aa, in the precision of `out`.
        others: K_bb, likewise.
        out: the row of the matrix.
    """
    half, unit = out.dtype.type(0.5), out.dtype.type(np.finfo(out.dtype).eps)
    for j in range(out.size):
        other = others[j]
        mean = half * (own + other)
        # the mean may have been rounded up; where it matters these differences are exact
        over = (own - mean) + (other - mean)
        bound = mean if over >= 0 else mean - unit * mean
        value = out.dtype.type(values[j])
        value = value if value < bound else bound
        out[j] = value if value > -bound else -bound


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def mirrored(matrix, ends, i0, i1, j0, j1):
    """Write the diagonal of rows i0 to i1, and what lies above it in columns j0 to j1 below it.

    Args:
        matrix: symmetric.
        ends: its diagonal.
        i0: first row.
        i1: row after the last.
        j0: first column.
        j1: column after the last.
    """
    for i in range(max(i0, j0), min(i1, j1)):
        matrix[i, i] = ends[i]
    for j in range(j0, j1):
        for i in range(i0, min(i1, j)):
            matrix[j, i] = matrix[i, j]
