"""A table of the vertices that lie on edges between two cells, so that both cells share them.

Keys are the two ends of an edge and the unit that crosses it; open addressing with linear probing.
For compiled code.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

from typing import no_type_check

import numpy as np

from whydeep.compiled import njit

__all__ = ["grown", "look_up", "make_table", "widened_table"]


@njit
@no_type_check
def make_table(size):
    """An empty table of 2^size places: two numbers of a key and a value, -1 where empty."""
    return np.full((1 << size, 3), -1, np.int64)


@njit
@no_type_check
def look_up(table, first, second, unit):
    """The place of a key in the table, or the empty one where it belongs."""
    a, b = min(first, second), max(first, second)
    key = (np.int64(a) << 32) | np.int64(b)
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(unit) * np.uint64(
        0xC2B2AE3D27D4EB4F
    )
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mask = np.uint64(len(table) - 1)
    place = (mixed >> np.uint64(20)) & mask
    while True:
        row = table[place]
        if row[2] < 0:
            row[0] = key
            row[1] = unit
            return np.int64(place)
        if row[0] == key and row[1] == unit:
            return np.int64(place)
        place = (place + np.uint64(1)) & mask


@njit
@no_type_check
def widened_table(table):
    """The same keys in a table of twice the size."""
    out = np.full((2 * len(table), 3), -1, np.int64)
    for i in range(len(table)):
        if table[i, 2] >= 0:
            key = table[i, 0]
            place = look_up(out, key >> 32, key & 0xFFFFFFFF, table[i, 1])
            out[place, 2] = table[i, 2]
    return out


@njit
@no_type_check
def grown(array, size):
    """The array, or one of at least twice its length that begins with it, if it is too short."""
    if size <= len(array):
        return array
    out = np.empty((max(size, 2 * len(array)),) + array.shape[1:], array.dtype)  # noqa: RUF005 -- numba
    out[: len(array)] = array
    return out
