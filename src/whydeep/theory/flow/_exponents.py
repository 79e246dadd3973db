"""Critical exponents: by formula, and from the flow itself.

Near K* the deviation D = |K - K*| falls like l^-p_0 with depth l, and nearby inputs' K1 and K2 like
l^-p_par and l^-p_perp. From one layer to the next these are slopes of logarithms,

    p_0 = 1 / [D (1 - chi_par) / (D - D') - 1]      p_par = p_0 log chi_par / log(D'/D)
    p_perp = p_0 log chi_perp / log(D'/D),

up to terms of order D, where slopes against log l itself would be off by log(l) / l.

Source: Roberts, Yaida and Hanin 2022, Section 5.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep import activations
from whydeep.activations import ACTIVATION, ScalarFunction
from whydeep.arguments import takes
from whydeep.brief import brief
from whydeep.gaussian import CriticalPoint, critical, single_means

__all__ = ["CriticalExponents", "critical_exponents"]

_LEVELS = 7  # deviations D, D/2, D/4, ... of the extrapolation
_ROUNDING = 1e-15
_USELESS = 0.1
_FARTHEST = {"K*=0": 0.04, "half-stable": 0.05}  # of 1/|a_1|, the kernel's own scale, and of K*


@dataclass(frozen=True)
class CriticalExponents:
    """How kernels near the critical point, and what is universal about it.

    Args:
        universality_class: as in `whydeep.critical`.
        point: the critical point.
        predicted: p_0, p_par and p_perp by formula; None where the formulas do not apply.
        measured: the same from the flow, extrapolated to K*; NaN where kernels change by too
            little.
        error: of `measured`: the last step of the extrapolation, and rounding.
        vertex_slope: nu: V / K^2 grows like nu l.
        correction_slope: G / K grows like this times l; None where it is not known.
        reason: why there is no prediction, else empty.
    """

    universality_class: str
    point: CriticalPoint
    predicted: tuple[float, float, float] | None
    measured: tuple[float, float, float]
    error: tuple[float, float, float]
    vertex_slope: float
    correction_slope: float | None
    reason: str = ""

    __repr__ = brief


@takes(activation=ACTIVATION)
def critical_exponents(
    activation: str | ScalarFunction | Callable[[Any], Any],
) -> CriticalExponents:
    """The exponents with which kernels and nearby inputs near the critical point.

    With s_k the k-th derivative of s at 0, a_1 = s_3/s_1 + (3/4)(s_2/s_1)^2 and b_1 = s_3/s_1 +
    (s_2/s_1)^2 (chi_par = 1 + 2 a_1 K, chi_perp = 1 + b_1 K), and chi' = dchi/dK at K*::

        scale-invariant  0, 0, 0                            V/K^2 = (3 A_4/A_2^2 - 1)(l - 1)
        K* = 0           1, 2, b_1/a_1                      V/K^2 -> (2/3) l, G/K -> -l/3
        half-stable      1, 2, 2 chi'_perp/chi'_par         V/K^2 -> C_W^2 cov(s^2, s^2)/K*^2 l

    for p_0, p_par and p_perp: of K near K* = 0, of K - K* coming from the side that attracts at
    K* > 0 (where the depth needed is of order 1/chi'_par: thousands of layers for gelu).

    Args:
        activation: a name or a ``jax.numpy`` function of one variable.

    Raises:
        UnsupportedError: there is no critical point.

    Accuracy: ``.error`` beside ``.measured``. Cost: a second.

    Source: Roberts, Yaida and Hanin 2022, Sections 5.3 and 5.4 (fluctuations).

    Example:
        >>> found = critical_exponents("tanh")
        >>> found.predicted, [round(p, 6) for p in found.measured]
        ((1.0, 2.0, 1.0), [1.0, 2.0, 1.0])
    """
    s = activations.get(activation)
    found = critical(s)
    point = found.preferred
    if found.universality_class == "scale-invariant":
        means = single_means(s, np.ones(1))
        nu = point.weight_var**2 * float(means.fourth[0] - means.square[0] ** 2)
        return CriticalExponents(
            found.universality_class, point, (0.0, 0.0, 0.0), *_constant(s, point), nu, 0.0
        )
    if found.universality_class == "half-stable":
        return _half_stable(s, point)
    jumps = s.jumps(3) if s.kinks else np.zeros((0, 4))
    kinked = any(k == 0 and np.any(np.abs(j) > 0) for k, j in zip(s.kinks, jumps, strict=True))
    # A kink at 0 makes them functions of sqrt(K).
    fall = 0.25 if kinked else 0.5
    _, s1, s2, s3 = (float(d[0]) for d in s.derivatives(np.zeros(1), 3))
    a1 = s3 / s1 + 0.75 * (s2 / s1) ** 2 if s1 else math.nan
    scale = 1.0 / abs(a1) if math.isfinite(a1) and a1 else 0.5
    measured, error = _extrapolated(s, point, 1.0, _FARTHEST["K*=0"] * scale, fall)
    b1 = s3 / s1 + (s2 / s1) ** 2 if s1 else math.nan
    if kinked or not a1 < 0:
        reason = (
            f"{s.name} has a kink at 0, so its kernels do not expand in powers of K"
            if kinked
            else "kernels near 0 change by less than K^2 a layer"
        )
        return CriticalExponents(
            found.universality_class, point, None, measured, error, math.nan, None, reason
        )
    return CriticalExponents(
        found.universality_class, point, (1.0, 2.0, b1 / a1), measured, error, 2 / 3, -1 / 3
    )


def _constant(
    s: ScalarFunction, point: CriticalPoint
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Every kernel is fixed: what is measured is that chi is 1, at depth 1000."""
    means = single_means(s, np.ones(1))
    chi = point.weight_var * np.array([means.square[0], means.square_1[0], means.slope[0]])
    return _three(-1000 * np.log(chi)), _three(np.full(3, 1000 * 4 * np.finfo(float).eps))


def _half_stable(s: ScalarFunction, point: CriticalPoint) -> CriticalExponents:
    step = 1e-3 * point.kernel
    around = point.kernel + step * np.array([-2.0, -1.0, 1.0, 2.0])
    means = single_means(s, np.append(around, point.kernel))
    weights = np.array([1.0, -8.0, 8.0, -1.0]) / (12 * step)
    par = point.weight_var * float(weights @ means.square_1[:4])
    perp = point.weight_var * float(weights @ means.slope[:4])
    side = 1.0 if par < 0 else -1.0  # K' - K = chi'_par (K - K*)^2 / 2
    farthest = _FARTHEST["half-stable"] * point.kernel
    measured, error = _extrapolated(s, point, side, farthest)
    spread = float(means.fourth[4] - means.square[4] ** 2)
    nu = (point.weight_var / point.kernel) ** 2 * spread
    return CriticalExponents(
        "half-stable", point, (1.0, 2.0, 2 * perp / par), measured, error, nu, None
    )


def _extrapolated(
    s: ScalarFunction, point: CriticalPoint, side: float, farthest: float, fall: float = 0.5
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Slopes at D, D fall, D fall^2, ..., taken to D = 0 (Neville, halving at every level).

    As many levels as the rounding of K' - K, which D^2 nears, leaves worth their while; NaN if
    none.
    """
    d = farthest * fall ** np.arange(_LEVELS)
    kernel = point.kernel + side * d
    means = single_means(s, kernel)
    c_w = point.weight_var
    change = side * (kernel - point.bias_var - c_w * means.square)
    par, perp = c_w * means.square_1, c_w * means.slope
    with np.errstate(divide="ignore", invalid="ignore"):  # hard_tanh's change is below rounding
        noise = _ROUNDING * kernel / np.abs(change)
        p0 = 1 / (d * (1 - par) / change - 1)
        decay = np.log1p(-change / d)
        slopes = np.stack([p0, p0 * np.log(par) / decay, p0 * np.log(perp) / decay])
    best, error = np.full(3, math.nan), np.full(3, math.inf)
    row = slopes[:, :1]  # of Neville's table: what ends at the level at hand
    for level in range(1, _LEVELS):
        previous = row
        columns = [slopes[:, level]]
        for k in range(1, level + 1):
            columns.append((2**k * columns[-1] - previous[:, k - 1]) / (2**k - 1))
        row = np.stack(columns, axis=1)
        doubt = np.abs(row[:, -1] - previous[:, -1]) + 10 * noise[level] * np.abs(row[:, -1])
        better = doubt < error  # False for NaN
        best, error = np.where(better, row[:, -1], best), np.where(better, doubt, error)
    unknown = ~(error < _USELESS * np.maximum(np.abs(best), 1.0))
    return _three(np.where(unknown, math.nan, best)), _three(np.where(unknown, math.inf, error))


def _three(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
