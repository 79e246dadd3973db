"""Derivatives of kinked functions as distributions, and their Gaussian means.

If the l-th derivative of s jumps by J_l at k, then s^(i) = regular + sum_l J_l delta_k^(i-1-l),
and E[delta_k^(m)(z) g(z)] = (-1)^m d^m/dx [p(x) g(x)] at x = k. For a pair g is a conditional mean,
E[s^(j)(z_b) | z_a = x], whose derivative is mu E[s^(j+1)(z_b) | z_a = x] with the slope of the
regression mu = K_ab/q_a.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.gaussian._covariance import Covariance, pairs
from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._piecewise import line_means

__all__ = ["add_pair_deltas", "add_self_deltas"]

_CLOSE = 1e-13


def density_derivatives(x: np.ndarray, deviation: np.ndarray, order: int) -> np.ndarray:
    """Derivatives 0 to order of the density of N(0, deviation^2) at x: shape (order+1, ...).

    The two arrays are broadcast against each other.

    p^(r)(x) = (-1)^r He_r(x/sigma) phi(x/sigma) / sigma^(r+1). For sigma = 0 it is 0 off the
    origin, and at it infinite for r = 0 and NaN (no limit) for r > 0.
    """
    x, deviation = np.broadcast_arrays(x, deviation)
    still = deviation == 0
    scale = np.where(still, 1.0, deviation)
    with np.errstate(over="ignore"):
        w = np.where(still, 0.0, x / scale)
        density = np.exp(-np.minimum(w**2, 1e300) / 2.0) / math.sqrt(2.0 * math.pi)
    w = np.where(density > 0, w, 0.0)
    out, hermite, before = [], np.ones_like(w), np.zeros_like(w)
    for r in range(order + 1):
        limit = np.where(x == 0, np.inf if r == 0 else np.nan, 0.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            value = (-1.0) ** r * hermite * density / scale ** (r + 1)
        out.append(np.where(still, limit, value))
        hermite, before = w * hermite - r * before, hermite
    return np.stack(out)


def add_pair_deltas(
    activation: ScalarFunction, cov: Covariance, regular: Estimate, tolerance: float
) -> Estimate:
    """Complete <reg^(i)(z_a) reg^(j)(z_b)> of all pairs a < b to <s^(i) s^(j)>.

    Args:
        activation: a kinked function.
        cov: law of the samples.
        regular: shape (order+1, order+1, pairs), the pointwise derivatives alone.
        tolerance: of the conditional means.
    """
    order = regular.value.shape[0] - 1
    jumps = _jumps(activation, max(order - 1, 0))
    a, b = pairs(cov.size)
    value, error = regular.value.copy(), regular.error.copy()
    for forward in (True, False):
        given, other = (a, b) if forward else (b, a)
        law = _Conditional.of(activation, cov, given, other, order, tolerance)
        for i in range(1, order + 1):
            for j in range(order + 1 - i):
                # Deltas of s^(i)(z_given) meet all of s^(j)(z_other) once: the second pass leaves
                # out the deltas of s^(j), which the first has counted.
                extra, doubt = law.deltas(jumps, i, j, first=0 if forward else j)
                at = (i, j) if forward else (j, i)
                value[at] += extra
                error[at] += doubt
    return Estimate(value, error)


def add_self_deltas(
    activation: ScalarFunction, cov: Covariance, products: Estimate, squares: Estimate
) -> tuple[Estimate, Estimate]:
    """Complete the regular means of one sample: <s^(i) s^(j)> and <(s^2)^(m)>.

    A product of two distributions at the same point need not exist: <s^(i) s^(j)> is NaN where a
    delta function of one factor meets a jump of the other. (s^2)^(m) always exists.
    """
    order = squares.value.shape[0] - 1
    deviation = np.sqrt(cov.variance)
    kinks = np.asarray(activation.kinks)
    density = density_derivatives(kinks[:, None], deviation, order)  # (order+1, kinks, N)
    jumps = _jumps(activation, max(order - 1, 0))
    value, error = products.value.copy(), products.error.copy()
    lowest = _lowest_jump(jumps)
    for i in range(order + 1):
        for j in range(order + 1 - i):
            if i + j > 2 * lowest:
                value[i, j] = error[i, j] = np.nan
            else:
                value[i, j] += _one_sample_deltas(activation, density, jumps, i, j)
                value[i, j] += _one_sample_deltas(activation, density, jumps, j, i)
    square_value, steps = squares.value.copy(), _square_jumps(activation, max(order - 1, 0))
    for m in range(1, order + 1):
        for level in range(m):
            for k in np.flatnonzero(steps[:, level]).tolist():
                sign = (-1.0) ** (m - 1 - level)
                square_value[m] += sign * steps[k, level] * density[m - 1 - level, k]
    return Estimate(value, error), Estimate(square_value, squares.error)


def _one_sample_deltas(
    activation: ScalarFunction, density: np.ndarray, jumps: np.ndarray, i: int, j: int
) -> np.ndarray:
    """Mean of the deltas of s^(i) times s^(j), which is smooth enough at the kinks: shape (N,)."""
    middle = activation.one_sided(density.shape[0] - 1).mean(axis=1)
    total = np.zeros(density.shape[2])
    for k, level in np.argwhere(jumps[:, :i]).tolist():
        m = i - 1 - level
        for t in range(m + 1):
            weight = (-1.0) ** m * jumps[k, level] * math.comb(m, t) * middle[k, j + t]
            if weight != 0:  # 0 times an infinite density is 0
                total += weight * density[m - t, k]
    return total


def _jumps(activation: ScalarFunction, order: int) -> np.ndarray:
    """Jumps of s and its derivatives, rounding errors set to 0: shape (kinks, order+1)."""
    sides = activation.one_sided(order)
    jumps = sides[:, 1] - sides[:, 0]
    return np.where(np.abs(jumps) <= _CLOSE * np.abs(sides).max(), 0.0, jumps)


def _square_jumps(activation: ScalarFunction, order: int) -> np.ndarray:
    """Jumps of the derivatives of s^2 at the kinks, by Leibniz: shape (kinks, order+1)."""
    sides = activation.one_sided(order)
    out = np.zeros((len(activation.kinks), order + 1))
    for m in range(order + 1):
        for k in range(m + 1):
            product = sides[..., k] * sides[..., m - k]
            out[:, m] += math.comb(m, k) * (product[:, 1] - product[:, 0])
    scale = np.abs(sides).max(axis=(1, 2), keepdims=True)[:, 0] ** 2
    out[np.abs(out) < _CLOSE * scale] = 0.0
    return out


def _lowest_jump(jumps: np.ndarray) -> int:
    present = np.flatnonzero(np.any(jumps != 0, axis=0))
    return int(present[0]) if present.size else jumps.shape[1]


@dataclass(frozen=True)
class _Conditional:
    """The law of z_b given z_a = k, for n pairs and every kink k.

    Args:
        density: derivatives of the density of z_a at k, (order, n, kinks).
        slope: d E[z_b | z_a] / d z_a, (n,).
        regular, doubt: E[reg^(m)(z_b) | z_a = k] and its error, (order, n, kinks).
        delta: E[delta_k'^(m)(z_b) | z_a = k], (order, n, kinks of a, kinks of b).
    """

    density: np.ndarray
    slope: np.ndarray
    regular: np.ndarray
    doubt: np.ndarray
    delta: np.ndarray

    @classmethod
    def of(
        cls,
        activation: ScalarFunction,
        cov: Covariance,
        a: np.ndarray,
        b: np.ndarray,
        order: int,
        tolerance: float,
    ) -> _Conditional:
        kinks = np.asarray(activation.kinks)
        cosine, sine = (half[a, b] for half in cov.half_angles())
        sigma_a, sigma_b = np.sqrt(cov.variance)[[a, b]]
        gap = cov.deviation_difference[a, b]
        ratio = np.divide(sigma_b, sigma_a, out=np.zeros_like(sigma_a), where=sigma_a > 0)
        slope = (cosine**2 - sine**2) * ratio
        # 1 - slope, without cancellation for coincident samples
        lag = np.divide(gap, sigma_a, out=np.ones_like(gap), where=sigma_a > 0)
        lag = lag + 2.0 * sine**2 * ratio
        deviation = sigma_b * 2.0 * sine * cosine
        mean = slope[:, None] * kinks
        away = kinks - kinks[:, None] + (lag[:, None] * kinks)[..., None]  # k' - slope k
        away[np.abs(away) <= _CLOSE * np.abs(kinks)] = 0.0
        density = density_derivatives(kinks, sigma_a[:, None], order - 1)
        # E delta^(m) = (-1)^m d^m/dk' of the conditional density
        signs = (-1.0) ** np.arange(order)[:, None, None, None]
        delta = signs * density_derivatives(away, deviation[:, None, None], order - 1)
        regular, doubt = _conditional_means(activation, mean, deviation, away, order - 1, tolerance)
        return cls(density, slope, regular, doubt, delta)

    def deltas(
        self, jumps: np.ndarray, i: int, j: int, first: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the deltas of s^(i)(z_a) times s^(j)(z_b), with jumps of b from order `first`.

        With first = j the second factor is the regular part of s^(j), whose own derivatives as
        distributions contain the jumps of order j and above.
        """
        total, doubt = np.zeros((2, len(self.slope)))
        for k, level in np.argwhere(jumps[:, :i]).tolist():
            m = i - 1 - level
            for t in range(m + 1):
                weight = jumps[k, level] * (-1.0) ** m * math.comb(m, t)
                # A sample without variance at a kink has no such mean: NaN, which a fluctuation of
                # that sample, zero, leaves out.
                with np.errstate(invalid="ignore"):
                    weight = weight * self.density[m - t, :, k] * self.slope**t
                    # No weight, no term: 0 times the infinite mean at perfect correlation is 0.
                    used = weight != 0
                    mean = self._mean(jumps, k, j + t, first)
                    total[used] += weight[used] * mean[used]
                    doubt[used] += np.abs(weight[used]) * self.doubt[j + t, used, k]
        return total, doubt

    def _mean(self, jumps: np.ndarray, k: int, order: int, first: int) -> np.ndarray:
        """E[D^(order - first) reg^(first)(z_b) | z_a = k] as a distribution."""
        total = self.regular[order, :, k].copy()
        for other in range(jumps.shape[0]):
            for level in range(first, order):
                if jumps[other, level] != 0:
                    total += jumps[other, level] * self.delta[order - 1 - level, :, k, other]
        return total


def _conditional_means(
    activation: ScalarFunction,
    mean: np.ndarray,
    deviation: np.ndarray,
    away: np.ndarray,
    order: int,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """E reg^(m)(mean + deviation u), m = 0 to order, for means of shape (n, kinks)."""
    count, kinks = mean.shape
    spread = np.repeat(deviation, kinks)
    breaks = away.reshape(count * kinks, kinks)
    still = spread == 0
    units = np.where(still, 1.0, spread)[:, None]
    with np.errstate(over="ignore"):
        breaks = np.where(still[:, None], np.inf, breaks / units)

    def integrand(z: np.ndarray) -> list[np.ndarray]:
        return [d[:, 0] for d in activation.derivatives(z, order)]

    means = line_means(integrand, mean.ravel(), spread, breaks, tolerance)
    value = means.value.reshape(order + 1, count, kinks)
    # Without spread and at a kink, the limit of coincident samples is the mean of both sides.
    middle = activation.one_sided(order).mean(axis=1)
    on_kink = (deviation == 0)[:, None, None] & (away == 0)
    for other in range(kinks):
        value = np.where(on_kink[..., other], middle[other][:, None, None], value)
    return value, means.error.reshape(order + 1, count, kinks)
