"""Gaussian means of pairs in closed form, for the activations that have one.

Each formula is written so that nothing cancels for nearly coincident inputs: it uses the half
angle of the correlation and q_a q_b - K^2 = q_a q_b sin^2(theta).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.gaussian._covariance import Covariance

__all__ = [
    "absolute_gap",
    "image_product",
    "image_squares",
    "slope_product",
]


@dataclass(frozen=True)
class _Pairs:
    """What the formulas read: q_a and q_b as column and row, K, D, T, and the angle."""

    qa: np.ndarray
    qb: np.ndarray
    k: np.ndarray
    difference: np.ndarray
    total: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray

    @classmethod
    def of(cls, cov: Covariance) -> _Pairs:
        q = cov.variance
        return cls(
            q[:, None], q[None, :], cov.matrix, cov.difference, cov.total, *cov.half_angles()
        )

    @property
    def theta(self) -> np.ndarray:
        return 2.0 * np.arctan2(self.sine, self.cosine)

    def determinant(self, scale: float) -> np.ndarray:
        """det(1 + scale K) of the pair."""
        product = self.qa * self.qb * (2.0 * self.sine * self.cosine) ** 2
        return 1.0 + scale * (self.qa + self.qb) + scale**2 * product


def image_product(activation: ScalarFunction, cov: Covariance) -> np.ndarray | None:
    """<s_a s_b>, shape (N, N), or None if no closed form is known.

    **Sources:** Cho and Saul 2009, Eq. 6 (homogeneous); Williams 1997, Eq. 11 (erf); Tsuchida et
    al. 2021 (gelu); the rest are elementary.
    """
    formula = _IMAGE.get(_family(activation))
    return None if formula is None else formula(activation, _Pairs.of(cov))


def slope_product(activation: ScalarFunction, cov: Covariance) -> np.ndarray | None:
    """<s'_a s'_b>, shape (N, N), or None if no closed form is known."""
    formula = _SLOPE.get(_family(activation))
    return None if formula is None else formula(activation, _Pairs.of(cov))


def image_squares(
    activation: ScalarFunction, cov: Covariance
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """<s_a^2>, <(s_a - s_b)^2>, <(s_a + s_b)^2> without cancellation, where that is closed."""
    formula = _SQUARES.get(_family(activation))
    if formula is None:
        return None
    variance, difference, total = formula(activation, _Pairs.of(cov))
    np.fill_diagonal(difference, 0.0)
    np.fill_diagonal(total, 4.0 * variance)
    return variance, difference, total


def absolute_gap(theta: np.ndarray) -> np.ndarray:
    """1 - <|u_a u_b|> for unit variances at angle theta: 1 - (2/pi)(sin t + (pi/2 - t) cos t)."""
    t = np.minimum(theta, math.pi - theta)
    small = t < 0.5
    series = np.zeros_like(t)
    for k in range(8, 0, -1):  # sin t - t cos t = t^3/3 - t^5/30 + ...
        series = series * t**2 + (-1.0) ** (k + 1) * 2.0 * k / math.factorial(2 * k + 1)
    sine_part = np.where(small, series * t**3, np.sin(t) - t * np.cos(t))
    return 2.0 * np.sin(t / 2.0) ** 2 - (2.0 / math.pi) * sine_part


def _family(activation: ScalarFunction) -> str:
    return "homogeneous" if activation.slopes is not None else activation.family


# -- homogeneous: s = alpha z + beta |z| -------------------------------------------------------


def _even_and_odd(activation: ScalarFunction) -> tuple[float, float]:
    minus, plus = activation.slopes or (1.0, 1.0)
    return (plus + minus) / 2.0, (plus - minus) / 2.0


def _homogeneous_squares(s: ScalarFunction, p: _Pairs) -> tuple[np.ndarray, ...]:
    alpha, beta = _even_and_odd(s)
    deviations = np.sqrt(p.qa * p.qb)
    gap = absolute_gap(p.theta)
    # (sqrt q_a - sqrt q_b)^2 from the difference of the variances
    sums = np.sqrt(p.qa) + np.sqrt(p.qb)
    apart = np.divide(p.qa - p.qb, sums, out=np.zeros_like(sums), where=sums > 0) ** 2
    less = apart + 2.0 * deviations * gap
    more = p.qa + p.qb + 2.0 * deviations * (1.0 - gap)
    return (
        (alpha**2 + beta**2) * p.qa[:, 0],
        alpha**2 * p.difference + beta**2 * less,
        alpha**2 * p.total + beta**2 * more,
    )


def _homogeneous_image(s: ScalarFunction, p: _Pairs) -> np.ndarray:
    alpha, beta = _even_and_odd(s)
    return alpha**2 * p.k + beta**2 * np.sqrt(p.qa * p.qb) * (1.0 - absolute_gap(p.theta))


def _homogeneous_slope(s: ScalarFunction, p: _Pairs) -> np.ndarray:
    alpha, beta = _even_and_odd(s)
    return alpha**2 + beta**2 * (1.0 - 2.0 * p.theta / math.pi)


# -- step ----------------------------------------------------------------------------------------


def _step_squares(_: ScalarFunction, p: _Pairs) -> tuple[np.ndarray, ...]:
    # A sample of zero variance sits at z = 0, where the step is 1.
    still_a, still_b = p.qa == 0, p.qb == 0
    variance = np.where(still_a, 1.0, 0.5)
    both = np.where(still_a & still_b, 1.0, 0.5)
    product = np.where(still_a | still_b, both, 0.5 - p.theta / (2.0 * math.pi))
    sums = variance + variance.T
    difference = np.where(still_a | still_b, sums - 2.0 * both, p.theta / math.pi)
    return variance[:, 0], difference, sums + 2.0 * product


def _step_image(s: ScalarFunction, p: _Pairs) -> np.ndarray:
    _, difference, total = _step_squares(s, p)
    return (total - difference) / 4.0


# -- smooth ----------------------------------------------------------------------------------------


def _arcsine(k: np.ndarray, determinant: np.ndarray) -> np.ndarray:
    """asin(k / sqrt(k^2 + determinant)), accurate at both ends."""
    return np.arctan2(k, np.sqrt(determinant))


def _erf_image(_: ScalarFunction, p: _Pairs) -> np.ndarray:
    return 2.0 / math.pi * _arcsine(2.0 * p.k, p.determinant(2.0))


def _erf_slope(_: ScalarFunction, p: _Pairs) -> np.ndarray:
    return 4.0 / math.pi / np.sqrt(p.determinant(2.0))


def _gelu_parts(p: _Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """<Phi_a Phi_b>, <phi_a phi_b> and det(1 + K)."""
    determinant = p.determinant(1.0)
    both = 0.25 + _arcsine(p.k, determinant) / (2.0 * math.pi)
    return both, 1.0 / (2.0 * math.pi * np.sqrt(determinant)), determinant


def _gelu_image(_: ScalarFunction, p: _Pairs) -> np.ndarray:
    both, density = _gelu_parts(p)[:2]
    k2 = p.k**2
    # q_a q_b + K^2 - q_a K^2/(1 + q_a) - q_b K^2/(1 + q_b), rid of its cancellation
    rest = p.qa * p.qb - k2 + k2 / (1.0 + p.qa) + k2 / (1.0 + p.qb)
    return p.k * both + density * rest


def _gelu_slope(_: ScalarFunction, p: _Pairs) -> np.ndarray:
    both, density, determinant = _gelu_parts(p)
    return both + density * p.k * (1.0 / (1.0 + p.qa) + 1.0 / (1.0 + p.qb) + 1.0 / determinant)


def _sine_image(_: ScalarFunction, p: _Pairs) -> np.ndarray:
    # Of small variances the difference would cancel; of large ones the sine would overflow.
    small = np.minimum(np.abs(p.k), 1.0)
    direct = (np.exp(-p.difference / 2.0) - np.exp(-p.total / 2.0)) / 2.0
    sine = np.exp(-(p.qa + p.qb) / 2.0) * np.sinh(np.copysign(small, p.k))
    return np.where(np.abs(p.k) < 1.0, sine, direct)


def _cosine_image(_: ScalarFunction, p: _Pairs) -> np.ndarray:
    return (np.exp(-p.difference / 2.0) + np.exp(-p.total / 2.0)) / 2.0


def _exponential_image(_: ScalarFunction, p: _Pairs) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.exp(p.total / 2.0)


def _gaussian_image(_: ScalarFunction, p: _Pairs) -> np.ndarray:
    return 1.0 / np.sqrt(p.determinant(2.0))


def _gaussian_slope(_: ScalarFunction, p: _Pairs) -> np.ndarray:
    return 4.0 * p.k * p.determinant(2.0) ** -1.5


def _power_image(s: ScalarFunction, p: _Pairs, drop: int = 0) -> np.ndarray:
    """<z_a^m z_b^m>: the finite Mehler sum over the number j of contractions between a and b."""
    m = int(s.parameters[0]) - drop
    total = np.zeros_like(p.k)
    for j in range(m, -1, -2):
        alone = math.prod(range(m - j - 1, 0, -2))  # (m - j - 1)!!
        total += (
            (math.comb(m, j) * alone) ** 2
            * math.factorial(j)
            * (p.k**j * (p.qa * p.qb) ** ((m - j) // 2))
        )
    return total


def _power_slope(s: ScalarFunction, p: _Pairs) -> np.ndarray:
    return s.parameters[0] ** 2 * _power_image(s, p, drop=1)


_Formula = Callable[[ScalarFunction, _Pairs], np.ndarray]
_IMAGE: dict[str, _Formula] = {
    "homogeneous": _homogeneous_image,
    "step": _step_image,
    "erf": _erf_image,
    "gelu": _gelu_image,
    "sin": _sine_image,
    "cos": _cosine_image,
    "exp": _exponential_image,
    "gaussian": _gaussian_image,
    "monomial": _power_image,
}
_SLOPE: dict[str, _Formula] = {
    "homogeneous": _homogeneous_slope,
    "erf": _erf_slope,
    "gelu": _gelu_slope,
    "sin": _cosine_image,
    "cos": _sine_image,
    "exp": _exponential_image,
    "gaussian": _gaussian_slope,
    "monomial": _power_slope,
}
_SQUARES = {"homogeneous": _homogeneous_squares, "step": _step_squares}
