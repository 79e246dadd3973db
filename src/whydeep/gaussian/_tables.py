"""Means over one sample and over pairs by quadrature: what is integrated, and by which rule."""

from __future__ import annotations

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.gaussian._covariance import Covariance, pairs
from whydeep.gaussian._distributions import add_pair_deltas, add_self_deltas
from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._piecewise import line_means, plane_means
from whydeep.gaussian._trapezoid import Integrand, gaussian_means, pair_rows

__all__ = ["pair_means", "pair_second_moments", "pair_table", "self_means", "self_table"]

# Below this half-distance s(m + d) - s(m - d) is expanded; the term left out is d^4/120 of it.
_NEAR = 1e-3


def self_means(
    activation: ScalarFunction, variance: np.ndarray, integrand: Integrand, tolerance: float
) -> Estimate:
    """Means of m functions of one sample, not smooth at the kinks of s: shape (m, N)."""
    deviation = np.sqrt(variance)
    if activation.smooth:
        return gaussian_means(integrand, deviation[:, None, None], tolerance)
    if activation.continuous:  # without variance: the mean of both sides of a kink at 0
        deviation = np.maximum(deviation, 1e-150)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        breaks = np.asarray(activation.kinks) / deviation[:, None]
    breaks = np.where(np.isnan(breaks), np.inf, breaks)
    return line_means(integrand, np.zeros_like(deviation), deviation, breaks, tolerance)


def pair_means(
    activation: ScalarFunction,
    cov: Covariance,
    pair: tuple[np.ndarray, np.ndarray],
    integrand: Integrand,
    tolerance: float,
) -> Estimate:
    """Means of m functions of z_a, z_b, (z_a + z_b)/2, (z_a - z_b)/2: shape (m, pairs)."""
    a, b = pair
    cosine, sine = cov.half_angles()
    deviation = np.sqrt(cov.variance)
    gap = cov.deviation_difference
    rows = pair_rows(deviation[a], deviation[b], gap[a, b], cosine[a, b], sine[a, b])
    if activation.smooth:
        return gaussian_means(integrand, rows, tolerance)
    return plane_means(integrand, rows, activation.kinks, tolerance)


def pair_second_moments(
    activation: ScalarFunction,
    cov: Covariance,
    pair: tuple[np.ndarray, np.ndarray],
    tolerance: float,
) -> tuple[Estimate, Estimate]:
    """<(s_a - s_b)^2> and <(s_a + s_b)^2> of pairs (a, b), each of shape (pairs,)."""

    def integrand(z: np.ndarray) -> tuple[np.ndarray, ...]:
        a, b = np.moveaxis(activation.derivatives(z[:, :2], 0)[0], 1, 0)
        return _difference(activation, z, a - b) ** 2, (a + b) ** 2

    both = pair_means(activation, cov, pair, integrand, tolerance)
    return Estimate(both.value[0], both.error[0]), Estimate(both.value[1], both.error[1])


def _difference(activation: ScalarFunction, z: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """s(z_a) - s(z_b), expanded about the midpoint where the arguments are close.

    Args:
        activation: the function s.
        z: z_a, z_b, (z_a + z_b)/2, (z_a - z_b)/2 along axis 1.
        difference: s(z_a) - s(z_b) by subtraction.
    """
    middle, half = z[:, 2], z[:, 3]
    near = np.abs(half) < _NEAR
    if activation.kinks:  # no kink in between: a step across one is not small
        kinks = np.asarray(activation.kinks)
        near &= np.searchsorted(kinks, z[:, 0], "right") == np.searchsorted(kinks, z[:, 1], "right")
    if not near.any():
        return difference
    _, first, _, third = activation.derivatives(middle[near], 3)
    out = difference.copy()
    out[near] = 2.0 * half[near] * (first + third * half[near] ** 2 / 6.0)
    return out


def pair_table(
    activation: ScalarFunction, cov: Covariance, order: int, tolerance: float
) -> Estimate:
    """<s^(i)(z_a) s^(j)(z_b)>, i + j <= order, of all pairs a < b: (order+1, order+1, pairs)."""
    which = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]

    def integrand(z: np.ndarray) -> list[np.ndarray]:
        table = activation.derivatives(z, order)
        return [table[i][:, 0] * table[j][:, 1] for i, j in which]

    means = pair_means(activation, cov, pairs(cov.size), integrand, tolerance)
    table = _table(means, which, order)
    return table if activation.smooth else add_pair_deltas(activation, cov, table, tolerance)


def self_table(
    activation: ScalarFunction, cov: Covariance, order: int, tolerance: float
) -> tuple[Estimate, Estimate]:
    """<s^(i) s^(j)> of one sample, (order+1, order+1, N), and <(s^2)^(m)>, (order+1, N)."""
    which = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]

    def integrand(z: np.ndarray) -> list[np.ndarray]:
        table = [d[:, 0] for d in activation.derivatives(z, order)]
        products = [table[i] * table[j] for i, j in which]
        return products + [_leibniz_square(table, m) for m in range(order + 1)]

    both = self_means(activation, cov.variance, integrand, tolerance)
    split = len(which)
    table = _table(Estimate(both.value[:split], both.error[:split]), which, order)
    squares = Estimate(both.value[split:], both.error[split:])
    return (
        (table, squares) if activation.smooth else add_self_deltas(activation, cov, table, squares)
    )


def _leibniz_square(table: list[np.ndarray], m: int) -> np.ndarray:
    """(s^2)^(m) from the derivatives of s."""
    total = np.zeros_like(table[0])
    binomial = 1
    for k in range(m + 1):
        total += binomial * table[k] * table[m - k]
        binomial = binomial * (m - k) // (k + 1)
    return total


def _table(estimate: Estimate, which: list[tuple[int, int]], order: int) -> Estimate:
    shape = (order + 1, order + 1, estimate.value.shape[1])
    value, error = np.full(shape, np.nan), np.full(shape, np.nan)
    for (i, j), v, e in zip(which, estimate.value, estimate.error, strict=True):
        value[i, j], error[i, j] = v, e
    return Estimate(value, error)
