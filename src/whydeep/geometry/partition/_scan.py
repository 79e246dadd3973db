"""Which units change sign in which cells, and the signs of all others.

On a cell (a convex polygon) every unit of the next layer is affine, so that its values at the
corners decide: it changes sign inside if one corner is above zero and one below. What counts as
zero is relative to the largest value at the cell's own corners, not to the window: in a wide window
most cells are tiny. Rounding of the unit's own terms, `floor`, is zero too, so that sums which
cancel exactly do not split cells.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
# ruff: noqa: FURB136 -- written so that the loops vectorise
from __future__ import annotations

from typing import no_type_check

import numpy as np

from whydeep.compiled import njit

__all__ = ["MOST", "RELATIVE", "column_maxima", "interpolate", "keep_vertices", "scan"]

MOST = 64
"""Units that one pass splits a cell by at most: what remains fits into one machine word."""
RELATIVE = 1e-12
"""Part of a unit's largest value on a cell that counts as zero."""


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def scan(values, offsets, corners, floor, first_word, patterns, lists, counts):
    """Sign words of every cell, and its first units that change sign.

    values (vertices, units); cells in rows of `offsets`, `corners`. Written: patterns (cells,
    words) from `first_word`, lists (cells, most), counts (cells): all that change sign.
    """
    units = values.shape[1]
    low, high = np.empty(units), np.empty(units)
    for cell in range(len(offsets) - 1):
        begin, end = offsets[cell], offsets[cell + 1]
        row = values[corners[begin]]
        for k in range(units):
            low[k] = row[k]
            high[k] = row[k]
        for place in range(begin + 1, end):
            row = values[corners[place]]
            for k in range(units):
                x = row[k]
                low[k] = x if x < low[k] else low[k]
                high[k] = x if x > high[k] else high[k]
        found = 0
        for start in range(0, units, 64):
            word = np.uint64(0)
            for k in range(start, min(start + 64, units)):
                word |= np.uint64(low[k] + high[k] > floor[k]) << np.uint64(k - start)
                if low[k] < 0 and high[k] > 0:
                    zero = max(floor[k], RELATIVE * max(-low[k], high[k]))
                    if low[k] < -zero and high[k] > zero:
                        if found < lists.shape[1]:
                            lists[cell, found] = k
                        found += 1
            patterns[cell, first_word + start // 64] = word
        counts[cell] = found


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def column_maxima(values):
    """The largest absolute value of every column."""
    out = np.zeros(values.shape[1])
    for v in range(values.shape[0]):
        row = values[v]
        for k in range(values.shape[1]):
            x = abs(row[k])
            out[k] = x if x > out[k] else out[k]
    return out


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def interpolate(values, first, second, part):
    """Rows for new vertices behind the others: part of the way from one row to another.

    A new vertex may stand between others that are new, but earlier.
    """
    old, columns = values.shape
    out = np.empty((old + len(first), columns))
    out[:old] = values
    for v in range(len(first)):
        a, b, row = out[first[v]], out[second[v]], out[old + v]
        t = part[v]
        for k in range(columns):
            row[k] = a[k] + t * (b[k] - a[k])
    return out


@njit(nogil=True, cache=True)
@no_type_check
def keep_vertices(corners, count):
    """Renumber the vertices that cells of a part have: their numbers, and the corners in them."""
    place = np.full(count, -1, np.int32)
    kept = np.empty(min(count, len(corners)), np.int32)
    renamed = np.empty(len(corners), np.int32)
    n = 0
    for i in range(len(corners)):
        v = corners[i]
        if place[v] < 0:
            place[v] = n
            kept[n] = v
            n += 1
        renamed[i] = place[v]
    return kept[:n].copy(), renamed
