"""A smooth function and its first three derivatives, tabulated for compiled code.

A cell of the table holds the eight coefficients of a polynomial about its centre: the values of
s, s' and s'' there, and a quartic through s''' at five Chebyshev points, integrated. Nothing is
divided by a power of the cell's width twice, so s''' keeps the accuracy of its evaluations.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from whydeep.activations import ScalarFunction

__all__ = ["DERIVATIVES", "DerivativeTable", "derivative_table"]

DERIVATIVES = 4
"""How many functions a table holds: s, s', s'', s'''."""

_POINTS = 5
_ENOUGH = 1e-14  # of the largest value on the table
_COARSEST, _FINEST = 128, 4096  # cells in a unit
_MOST_CELLS = 1 << 18


@dataclass(frozen=True)
class DerivativeTable:
    """Polynomials of degree 7 on equal cells, and how far they are from the function.

    Args:
        coefficients: of the powers of the distance from a cell's centre, shape (cells, 8).
        low: the left end of the first cell.
        per_unit: cells in a unit of z.
        error: largest error found of s, s', s'' and s''', at points between the nodes.
    """

    coefficients: np.ndarray
    low: float
    per_unit: int
    error: np.ndarray

    def derivatives(self, z: np.ndarray) -> np.ndarray:
        """The four functions at z, shape (4, *z.shape), from the table."""
        place = (z - self.low) * self.per_unit
        cell = np.clip(place.astype(np.int64), 0, len(self.coefficients) - 1)
        x = (place - cell - 0.5) / self.per_unit
        row = self.coefficients[cell]
        out = np.empty((DERIVATIVES, *z.shape))
        for order in range(DERIVATIVES):
            total = np.zeros_like(x)
            for power in range(row.shape[-1] - 1, order - 1, -1):
                total = total * x + math.perm(power, order) * row[..., power]
            out[order] = total
        return out


@functools.lru_cache(maxsize=16)
def derivative_table(activation: ScalarFunction, half: int) -> DerivativeTable:
    """The table of a smooth function on [-half, half], of the coarsest cells that are enough.

    Cost: five evaluations of s''' a cell; a table of 3e5 numbers for tanh up to 8.
    """
    per_unit = min(_COARSEST, _MOST_CELLS // (2 * half))
    while True:
        table = _tabulated(activation, half, per_unit)
        tried = np.linspace(-half, half, 8191)
        values = np.stack(activation.derivatives(tried, DERIVATIVES - 1))
        error = np.abs(table.derivatives(tried) - values).max(axis=1)
        finer = 2 * per_unit
        enough = np.all(error <= _ENOUGH * np.maximum(np.abs(values).max(axis=1), 1.0))
        if enough or finer > _FINEST or 2 * half * finer > _MOST_CELLS:
            return DerivativeTable(table.coefficients, table.low, per_unit, error)
        per_unit = finer


def _tabulated(activation: ScalarFunction, half: int, per_unit: int) -> DerivativeTable:
    width = 1.0 / per_unit
    centres = (np.arange(-half * per_unit, half * per_unit) + 0.5) * width
    points = np.cos((2 * np.arange(_POINTS) + 1) * np.pi / (2 * _POINTS))
    third = activation.derivatives(centres[:, None] + points * (width / 2), 3)[3]
    powers = np.linalg.solve(np.vander(points, _POINTS, increasing=True), third.T)
    coefficients = np.empty((len(centres), 3 + _POINTS))
    for order, values in enumerate(activation.derivatives(centres, 2)):
        coefficients[:, order] = values / math.factorial(order)
    for power in range(_POINTS):
        scale = (2.0 / width) ** power / math.perm(power + 3, 3)
        coefficients[:, power + 3] = powers[power] * scale
    return DerivativeTable(coefficients, -float(half), per_unit, np.zeros(DERIVATIVES))
