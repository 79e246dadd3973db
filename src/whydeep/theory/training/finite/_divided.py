"""Divided differences of x^k and e^(-x t), by squaring matrices that have them in a corner.

With J the matrix that has nodes x_0 ... x_m on its diagonal and ones above it, the upper right
corner of f(J) is the divided difference f[x_0, ..., x_m]. It is what a chain of linear equations
hands on: x_0 drives x_1, x_1 drives x_2, and so on to the last. Quotients of differences lose all
digits where nodes come close; products of matrices do not, because nothing is subtracted as long
as nodes are positive.

Source: Opitz 1964 (the corner); McCurdy, Ng and Parlett 1984 (scaling and squaring for exponentials
of such matrices).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["exponential_difference", "power_difference"]

_TERMS = 14  # of Taylor's series at norm 1: 1 / 15! of relative error
Triangle = list[list[np.ndarray]]


def power_difference(nodes: Sequence[np.ndarray], k: float) -> np.ndarray:
    """The divided difference of ``x^k``, k = 0, 1, 2, ..., or its limit for k = inf, |x| <= 1.

    Args:
        nodes: arrays that broadcast; for k = inf at most one of them is 1 at any place.
        k: a whole number or inf.

    Example:
        >>> float(power_difference([np.array(0.5), np.array(0.25)], 2))  # (1/4 - 1/16) / (1/4)
        0.75
    """
    if math.isinf(k):
        return _limit([np.asarray(1.0 - x) for x in nodes])
    shape = np.broadcast_shapes(*(x.shape for x in nodes))
    base = _bidiagonal([np.atleast_1d(x) for x in nodes])
    result: Triangle | None = None
    power = int(k)
    while power:
        if power & 1:
            result = base if result is None else _product(result, base)
        power >>= 1
        if power:
            base = _product(base, base)
    if result is None:  # k = 0: the identity
        return np.full(shape, float(len(nodes) == 1))
    return result[0][-1].reshape(shape)


def exponential_difference(rates: Sequence[np.ndarray], t: float) -> np.ndarray:
    """``(-1)^m`` times the divided difference of ``e^(-x t)`` in m + 1 rates x >= 0: positive.

    It is the chain of integrals over 0 < s_1 < ... < s_m < t of ``e^(-x_0 s_1)``,
    ``e^(-x_1 (s_2 - s_1))``, ..., ``e^(-x_m (t - s_m))``.

    Args:
        rates: arrays that broadcast; for t = inf at most one of them is 0 at any place.
        t: >= 0, or inf.

    Example:
        >>> float(exponential_difference([np.zeros(()), np.zeros(()), np.zeros(())], 3.0))  # t^2/2
        4.5
    """
    if math.isinf(t):
        return _limit(rates)
    shape = np.broadcast_shapes(*(x.shape for x in rates))
    largest = max(float(np.max(x, initial=0.0)) for x in rates) * t
    halvings = max(0, math.ceil(math.log2(largest + 1.0)))
    base = _bidiagonal([np.atleast_1d(-x * t) for x in rates])
    base = [[entry / 2.0**halvings for entry in row] for row in base]
    one = np.ones_like(base[0][0])
    unit = [[one if i == j else 0.0 * one for j in range(len(rates))] for i in range(len(rates))]
    total = unit
    for term in range(_TERMS, 0, -1):  # Horner's rule
        total = _sum(unit, [[e / term for e in row] for row in _product(base, total)])
    for _ in range(halvings):
        total = _product(total, total)
    return (total[0][-1] * t ** (len(rates) - 1)).reshape(shape)


def _limit(rates: Sequence[np.ndarray]) -> np.ndarray:
    """Where a chain ends: at zero, or where it adds up, at the product of the other times."""
    shape = np.broadcast_shapes(*(x.shape for x in rates))
    zeros = sum((np.asarray(x == 0, dtype=np.int64) for x in rates), np.zeros(shape, np.int64))
    product = np.ones(shape)
    for x in rates:
        product = product / np.where(x == 0, 1.0, x)
    return np.asarray(np.where(zeros == 0, 0.0, product))


def _bidiagonal(nodes: Sequence[np.ndarray]) -> Triangle:
    size = len(nodes)
    shape = np.broadcast_shapes(*(x.shape for x in nodes))
    rows = []
    for i in range(size):
        row = [np.zeros(shape) for _ in range(size)]
        row[i] = np.broadcast_to(np.asarray(nodes[i], dtype=np.float64), shape)
        if i + 1 < size:
            row[i + 1] = np.ones(shape)
        rows.append(row)
    return rows


def _product(left: Triangle, right: Triangle) -> Triangle:
    size = len(left)
    out = [[np.zeros_like(left[0][0]) for _ in range(size)] for _ in range(size)]
    for i in range(size):
        for j in range(i, size):
            out[i][j] = sum(
                (left[i][k] * right[k][j] for k in range(i + 1, j + 1)), left[i][i] * right[i][j]
            )
    return out


def _sum(left: Triangle, right: Triangle) -> Triangle:
    return [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(left, right, strict=True)]
