"""Areas, middles and lengths of edges of many polygons."""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

from typing import no_type_check

import numpy as np

from whydeep.compiled import njit

__all__ = ["areas_of", "middles_of"]


@njit(nogil=True, cache=True)
@no_type_check
def areas_of(vertices, offsets):
    """The area of every polygon, from differences to its first corner."""
    out = np.zeros(len(offsets) - 1)
    for cell in range(len(out)):
        begin, end = offsets[cell], offsets[cell + 1]
        x, y = vertices[begin]
        total = 0.0
        for i in range(begin + 1, end - 1):
            a, b = vertices[i, 0] - x, vertices[i, 1] - y
            c, d = vertices[i + 1, 0] - x, vertices[i + 1, 1] - y
            total += a * d - b * c
        out[cell] = 0.5 * total
    return out


@njit(nogil=True, cache=True)
@no_type_check
def middles_of(vertices, offsets):
    """The mean of every polygon's corners: a point inside it."""
    out = np.zeros((len(offsets) - 1, 2))
    for cell in range(len(out)):
        begin, end = offsets[cell], offsets[cell + 1]
        for i in range(begin, end):
            out[cell] += vertices[i] / (end - begin)
    return out
