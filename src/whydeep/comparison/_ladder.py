"""The expansion in 1/width of what was measured at a ladder of widths.

Every batch of a measurement holds all widths, so the fit is done batch by batch, and the scatter
of the fitted numbers over batches carries the full covariance between widths, layers and
components: nothing about it has to be modelled.

With R widths the polynomial of degree R - 1 through them is exact up to the neglected term c_R
x^R, x = 1/width in units of the narrowest. Its effect on intercept and slope is bounded by one
more step of a geometric series: |c_R| <= rho |c_(R-1)|, the error of c_(R-1) included, where
rho = max |c_k / c_0|^(1/k) is measured on the size of the whole row. For the vertex of a relu
network, whose expansion is known exactly, c_3 is half of that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whydeep.brief import brief

__all__ = ["Expansion", "Ladder"]


@dataclass(frozen=True)
class Expansion:
    """Coefficients of 1, x, x^2, ... of one number, with standard errors."""

    coefficients: np.ndarray
    errors: np.ndarray

    __repr__ = brief


@dataclass(frozen=True)
class Ladder:
    """Weights that turn values at R widths into coefficients of the polynomial through them.

    Args:
        factors: the widths in units of the narrowest.
    """

    factors: tuple[int, ...]

    __repr__ = brief

    @property
    def points(self) -> np.ndarray:
        """The points x = 1 / factor."""
        return 1.0 / np.asarray(self.factors, dtype=np.float64)

    @property
    def weights(self) -> np.ndarray:
        """(R, R): row k gives the coefficient of x^k from the values at the widths."""
        return np.linalg.inv(np.vander(self.points, increasing=True))

    def coefficient(self, power: int, values: np.ndarray) -> np.ndarray:
        """The coefficient of x^power from values with widths on the leading axis."""
        return np.tensordot(self.weights[power], values, axes=1)

    def expand(self, values: np.ndarray) -> Expansion:
        """All coefficients of batch values (R, batches)."""
        fitted = self.weights @ values
        errors = fitted.std(axis=1, ddof=1) / np.sqrt(fitted.shape[1])
        return Expansion(fitted.mean(axis=1), errors)

    def ratio(self, expansion: Expansion) -> float:
        """rho, the ratio of a geometric series that bounds the measured coefficients."""
        leading = abs(expansion.coefficients[0])
        if leading == 0:
            return 0.0
        sizes = np.abs(expansion.coefficients[1:]) + expansion.errors[1:]
        return float(max(((s / leading) ** (1 / k) for k, s in enumerate(sizes, 1)), default=0.0))

    def leak(self, power: int) -> float:
        """How much a unit of the first neglected order adds to the coefficient of x^power."""
        return abs(float(self.weights[power] @ self.points ** len(self.factors)))

    def neglected(self, power: int, expansion: Expansion, ratio: float) -> float:
        """Bound on what the first neglected order adds to the coefficient of x^power."""
        last = abs(expansion.coefficients[-1]) + expansion.errors[-1]
        return float(ratio * last * self.leak(power))

    def inherent(self, power: int, expansion: Expansion, ratio: float) -> float:
        """The part of that bound which is more than noise: no number of draws removes it."""
        last = max(abs(expansion.coefficients[-1]) - 2 * expansion.errors[-1], 0.0)
        return float(ratio * last * self.leak(power))
