"""One pass over a lattice: thirty means of products of derivatives of four samples at once.

At every node s, s', s'' and s''' of each sample are read once from a table; products of the first
two samples' and of the last two samples' derivatives are formed for a line of nodes, and each mean
is the dot product of one of the former with one of the latter.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code

from __future__ import annotations

import itertools
import math
from typing import no_type_check

import numpy as np

from whydeep.compiled import njit

__all__ = ["PRODUCTS", "lattice_products"]

_KINDS = ((0, 0, 0, 0), (1, 1, 0, 0), (1, 1, 1, 1), (2, 1, 1, 0), (2, 2, 1, 1), (3, 1, 1, 1))

PRODUCTS: tuple[tuple[int, ...], ...] = tuple(
    orders for kind in _KINDS for orders in sorted(set(itertools.permutations(kind)))
)
"""The derivative orders of the four samples in each of the thirty products, slopes first."""

_HALVES = tuple(sorted({p[:2] for p in PRODUCTS} | {p[2:] for p in PRODUCTS}))
_FIRST = np.array([half[0] for half in _HALVES])
_SECOND = np.array([half[1] for half in _HALVES])
_LEFT = np.array([_HALVES.index(p[:2]) for p in PRODUCTS])
_RIGHT = np.array([_HALVES.index(p[2:]) for p in PRODUCTS])


def lattice_products(
    rows: np.ndarray,
    steps: np.ndarray,
    radius: float,
    coefficients: np.ndarray,
    low: float,
    per_unit: int,
    *,
    even: bool,
) -> np.ndarray:
    """The means over z = R u, u standard normal, by the trapezoid rule cut at a radius: (30,).

    Args:
        rows: R, shape (4, d) with d <= 4.
        steps: of the lattice, shape (d,).
        radius: of the ball that holds the nodes.
        coefficients: of a `DerivativeTable` that reaches `radius` times the length of every row.
        low: of the table.
        per_unit: of the table.
        even: whether the products are even functions of z, as for an odd s: half the nodes.
    """
    absent = 4 - rows.shape[1]
    full_rows, full_steps = np.zeros((4, 4)), np.zeros(4)
    full_rows[:, absent:], full_steps[absent:] = rows, steps
    half = np.zeros(4, dtype=np.int64)
    half[absent:] = (radius / steps).astype(np.int64)
    sums = _sums(
        full_rows, full_steps, half, radius, even, coefficients, low, per_unit,
        _FIRST, _SECOND, _LEFT, _RIGHT,
    )  # fmt: skip
    return sums * np.prod(steps / math.sqrt(2.0 * math.pi))


@no_type_check
@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _sums(rows, steps, half, radius, even, table, low, per_unit, first, second, left, right):
    length = 2 * half[3] + 1
    values = np.empty((4, 4, length))  # sample, order, node of a line
    ahead = np.empty((len(first), length))
    behind = np.empty((len(first), length))
    sums = np.zeros(len(left))
    start = np.empty(4)
    lead = 0  # the axis of which an even function needs one half
    while lead < 3 and half[lead] == 0:
        lead += 1
    halved = even and lead < 3
    lowest = -half[:3]
    if halved:
        lowest[lead] = 0
    for i0 in range(lowest[0], half[0] + 1):
        for i1 in range(lowest[1], half[1] + 1):
            for i2 in range(lowest[2], half[2] + 1):
                u0, u1, u2 = i0 * steps[0], i1 * steps[1], i2 * steps[2]
                square = u0 * u0 + u1 * u1 + u2 * u2
                if square > radius * radius:
                    continue
                weight = math.exp(-0.5 * square)
                if halved and (i0, i1, i2)[lead] > 0:
                    weight *= 2.0
                last = min(half[3], int(math.sqrt(radius * radius - square) / steps[3]))
                for s in range(4):
                    start[s] = rows[s, 0] * u0 + rows[s, 1] * u1 + rows[s, 2] * u2 - low
                _read(values, start, rows[:, 3] * steps[3], last, table, per_unit)
                _weigh(values, weight, steps[3], last)
                _multiply(sums, values, ahead, behind, 2 * last + 1, first, second, left, right)
    return sums


@no_type_check
@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _read(values, start, slopes, last, table, per_unit):
    """s, s', s'' and s''' of four samples along a line of 2 last + 1 nodes, from the table."""
    width = 1.0 / per_unit
    for s in range(4):
        base, slope = start[s], slopes[s]
        for j in range(2 * last + 1):
            place = (base + slope * (j - last)) * per_unit
            cell = np.int32(place)
            x = (place - cell - 0.5) * width
            c0, c1, c2, c3 = table[cell, 0], table[cell, 1], table[cell, 2], table[cell, 3]
            c4, c5, c6, c7 = table[cell, 4], table[cell, 5], table[cell, 6], table[cell, 7]
            values[s, 0, j] = c0 + x * (
                c1 + x * (c2 + x * (c3 + x * (c4 + x * (c5 + x * (c6 + x * c7)))))
            )
            values[s, 1, j] = c1 + x * (
                2 * c2 + x * (3 * c3 + x * (4 * c4 + x * (5 * c5 + x * (6 * c6 + x * 7 * c7))))
            )
            values[s, 2, j] = 2 * c2 + x * (
                6 * c3 + x * (12 * c4 + x * (20 * c5 + x * (30 * c6 + x * 42 * c7)))
            )
            values[s, 3, j] = 6 * c3 + x * (24 * c4 + x * (60 * c5 + x * (120 * c6 + x * 210 * c7)))


@no_type_check
@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _weigh(values, weight, step, last):
    """Put the Gaussian weights of a line of nodes into the first sample's values."""
    for j in range(2 * last + 1):
        u = (j - last) * step
        factor = weight * math.exp(-0.5 * u * u)
        for order in range(4):
            values[0, order, j] *= factor


@no_type_check
@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _multiply(sums, values, ahead, behind, count, first, second, left, right):
    """Add the products along a line of nodes to their sums."""
    for p in range(len(first)):
        f, g = first[p], second[p]
        for j in range(count):
            ahead[p, j] = values[0, f, j] * values[1, g, j]
            behind[p, j] = values[2, f, j] * values[3, g, j]
    for k in range(len(left)):
        total = 0.0
        before, after = left[k], right[k]
        for j in range(count):
            total += ahead[before, j] * behind[after, j]
        sums[k] += total
