"""By what random factor one layer of finite width multiplies the variance of preactivations.

Given the layer below, the preactivations of a layer are independent normal numbers of one variance
g. For s(z) = a_- z (z < 0), a_+ z (z > 0) and without biases the next layer's is g C_W Y, with

    Y = (1/n) sum_j sigma_j^2 u_j^2,    u_j standard normal, sigma_j = a_- or a_+ with chance 1/2,

independent from layer to layer. A product of independent factors: its logarithm is a sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.special import digamma, gammaln, polygamma

from whydeep.brief import brief

__all__ = ["LogVariance", "factor_moments", "log_factor"]

_STEP = 0.05  # of log t; what is integrated is analytic within pi/2 of the line: error e^-190
_LOWEST = -25.0  # of log t; what is left out is of order t^2


@dataclass(frozen=True)
class LogVariance:
    """The law of log g^(l), g^(l) the variance of the preactivations given the layer below.

    Layers 1 to L + 1. With one slope at 0 (relu) all units of a layer may be off, and g is 0 ever
    after; mean and variance are those given that this has not happened.

    Args:
        drift: E log g^(l) - E log g^(l-1), 0 at layer 1.
        spread: the variance that one layer adds.
        mean: E log g^(l), ``(layer, input)``.
        variance: Var log g^(l).
        alive: the probability that g^(l) is not 0.
    """

    drift: xr.DataArray
    spread: xr.DataArray
    mean: xr.DataArray
    variance: xr.DataArray
    alive: xr.DataArray

    __repr__ = brief


def factor_moments(slopes: tuple[float, float], width: int, order: int) -> np.ndarray:
    """E Y^m for m = 0 to `order`: m! times a coefficient of (sum_k E y^k t^k / (k! n^k))^n.

    With E y^k = (2k - 1)!! (a_-^{2k} + a_+^{2k}) / 2. All terms are positive: nothing cancels.
    """
    k = np.arange(order + 1)
    squares = (slopes[0] ** (2 * k) + slopes[1] ** (2 * k)) / 2.0
    odd = np.array([math.prod(range(1, 2 * i, 2)) for i in k], dtype=np.float64)
    factorial = np.array([math.factorial(i) for i in k], dtype=np.float64)
    base = odd * squares / (factorial * float(width) ** k)
    power = np.zeros(order + 1)
    power[0] = 1.0
    left = width
    while left:
        if left & 1:
            power = np.convolve(power, base)[: order + 1]
        base = np.convolve(base, base)[: order + 1]
        left >>= 1
    return power * factorial


def log_factor(slopes: tuple[float, float], width: int) -> tuple[float, float, float]:
    """E log Y and Var log Y given Y > 0, and the probability that Y = 0.

    Y is a chi-squared number over n for equal slopes, a mixture of such over the number of active
    units for one slope at 0, and else a sum of two, by quadrature (`_by_quadrature`).
    """
    minus, plus = sorted(abs(a) for a in slopes)
    if minus == plus:
        mean = digamma(width / 2) - math.log(width / 2)
        return float(mean) + 2 * math.log(plus), float(polygamma(1, width / 2)), 0.0
    if minus == 0.0:
        active = np.arange(1, width + 1)
        log_weight = gammaln(width + 1) - gammaln(active + 1) - gammaln(width - active + 1)
        dead = 0.5**width
        weight = np.exp(log_weight - width * math.log(2)) / (1 - dead)
        means = digamma(active / 2) - math.log(width / 2) + 2 * math.log(plus)
        mean = float(weight @ means)
        inner, outer = weight @ polygamma(1, active / 2), weight @ (means - mean) ** 2
        return mean, float(inner + outer), dead
    return (*_by_quadrature((minus**2, plus**2), width), 0.0)


def _by_quadrature(squares: tuple[float, float], width: int) -> tuple[float, float]:
    """Mean and variance of log Y from the Laplace transform M(t) of Y over its mean.

    E log S = int (e^-t - M(t)) dt/t and E log^2 S = -2 [int (e^-t - M(t)) log t dt/t + gamma E log
    S], from int (e^-t - e^-ts) t^(p-1) dt = Gamma(p) (1 - s^-p) to first order in p. In log t the
    trapezoid rule converges exponentially.
    """
    mean = sum(squares) / 2
    low, high = (2 * square / (mean * width) for square in squares)
    top = 80 / width - math.log(low) + 4.0  # where M has fallen below e^-40
    v = np.arange(_LOWEST, max(top, 5.0), _STEP)
    t = np.exp(v)
    halves = np.stack([-0.5 * np.log1p(low * t), -0.5 * np.log1p(high * t)])
    transform = np.exp(width * (np.logaddexp(*halves) - math.log(2)))
    gap = (np.exp(-t) - transform) * _STEP
    first = float(gap.sum())
    second = -2 * (float(gap @ v) + np.euler_gamma * first)
    return first + math.log(mean), second - first**2
