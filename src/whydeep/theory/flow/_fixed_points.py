"""Fixed points of the kernel: where they are, what they attract, and how fast.

r(K) = C_b + C_W <s^2>_K - K is scanned on a grid of kernels, and between its extrema, where
chi_par(K) = 1, it is monotone: every sign change is one fixed point, and an extremum at r = 0 one
that attracts from one side only.

Source: Roberts, Yaida and Hanin 2022, Chapter 5; Poole et al. 2016 and Schoenholz et al.
2017 (correlation lengths).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep import activations
from whydeep.activations import ACTIVATION, ScalarFunction
from whydeep.arguments import VARIANCE, or_word, takes
from whydeep.errors import UnsupportedError
from whydeep.gaussian import (
    Covariance,
    SingleMeans,
    critical,
    second_moments,
    single_means,
    slopes,
)
from whydeep.progress import phase
from whydeep.theory.flow._table import means_table

__all__ = ["FixedPoint", "fixed_points"]

# Fine where the kernels of activations of unit scale are, coarser beyond.
_GRID = np.concatenate([
    np.geomspace(1e-7, 1e-4, 61)[:-1], np.geomspace(1e-4, 1e2, 2001),
    np.geomspace(1e2, 1e7, 101)[1:],
])  # fmt: skip
_ZERO = 1e-11  # of r / K: rounding, and the error of critical variances
_MARGINAL = 1e-10  # of 1 - chi


@dataclass(frozen=True)
class FixedPoint:
    """A kernel that the next layer leaves as it is.

    Args:
        kernel: K*; NaN if every kernel is fixed.
        stability: "stable", "unstable", "half-stable" (it attracts kernels from one side only) or
            "neutral" (all are fixed).
        attracts: "both" sides, those "below", those "above", or "none".
        chi_parallel: C_W d<s^2>/dK at K*.
        chi_perpendicular: C_W <s'^2> at K*: above 1, nearby inputs move apart ("chaotic").
        correlation: c*, the correlation that two inputs of kernel K* end up with: 1 where chi_perp
            <= 1. NaN at K* = 0.
        xi_kernel: layers in which a deviation of K from K* falls by e: -1 / log chi_par;
            infinite at criticality, NaN where it grows.
        xi_correlation: the same for a deviation of the correlation from c*; at c* = 1 it is
            -1 / log chi_perp.
    """

    kernel: float
    stability: str
    attracts: str
    chi_parallel: float
    chi_perpendicular: float
    correlation: float
    xi_kernel: float
    xi_correlation: float


@takes(
    activation=ACTIVATION, weight_var=or_word(VARIANCE, "critical"), bias_var=or_word(VARIANCE,
    "critical"),
)  # fmt: skip
def fixed_points(
    activation: str | ScalarFunction | Callable[[Any], Any],
    *,
    weight_var: float | str = "critical",
    bias_var: float | str = "critical",
) -> tuple[FixedPoint, ...]:
    """All K = C_b + C_W <s^2>_K with K = 0 or from 1e-7 to 1e7, smallest first.

    Args:
        activation: a name or a ``jax.numpy`` function of one variable.
        weight_var: C_W, or "critical".
        bias_var: C_b, likewise.

    Raises:
        InputError: numbers out of range.
        UnsupportedError: "critical" where there is no critical point; an activation that jumps.

    Accuracy: kernels to 1e-10, at half-stable points (double roots) to 1e-6; two points less than
    1.5 % apart may be missed, and less than 12% below 1e-4 and above 100. Correlation lengths to
    about 1e-8. Cost: seconds.

    Source: Roberts, Yaida and Hanin 2022, Chapter 5; Schoenholz et al. 2017.

    Example:
        >>> for point in fixed_points("gelu"):
        ...     print(round(point.kernel, 4), point.stability, "attracts", point.attracts)
        3.035 stable attracts both
        3.5616 half-stable attracts above
        >>> [point] = fixed_points("tanh", weight_var=1.3, bias_var=0.05)
        >>> round(point.xi_correlation, 3)
        7.834
    """
    s = activations.get(activation)
    if not s.continuous:
        raise UnsupportedError(f"{s.name} jumps, so <s'^2> is infinite.")
    c_w = _number(s, "weight_var", weight_var)
    c_b = _number(s, "bias_var", bias_var)
    with phase(f"fixed points of {s.name}"), np.errstate(over="ignore", invalid="ignore"):
        means = means_table(s).at(_GRID)
        residual = _Residual(s, c_w, c_b)
        grid = residual.cleaned(means, _GRID)
        if np.all(grid == 0):
            return (_point(s, math.nan, c_w, c_b, (0, 0)),)
        return _all(residual, grid, c_w * means.square_1 - 1.0)


class _Residual:
    """r(K) and chi_par(K), with r within rounding of 0 taken for 0."""

    def __init__(self, s: ScalarFunction, c_w: float, c_b: float) -> None:
        self.s, self.c_w, self.c_b = s, c_w, c_b
        self.table = means_table(s)

    def cleaned(self, means: SingleMeans, kernels: np.ndarray) -> np.ndarray:
        r = self.c_b + self.c_w * means.square - kernels
        # Beyond what can be computed, kernels grow.
        r = np.where(np.isfinite(r), r, np.inf)
        return np.where(np.abs(r) <= _ZERO * kernels, 0.0, r)

    def one(self, kernel: float) -> float:
        means = self.table.at(np.array([kernel]))
        return self.c_b + self.c_w * float(means.square[0]) - kernel

    def excess(self, kernel: float) -> float:
        return self.c_w * float(self.table.at(np.array([kernel])).square_1[0]) - 1.0


def _all(residual: _Residual, grid: np.ndarray, chi: np.ndarray) -> tuple[FixedPoint, ...]:
    s, c_w, c_b = residual.s, residual.c_w, residual.c_b
    kernels, signs = _GRID.tolist(), np.sign(grid).tolist()
    turns = np.flatnonzero(np.isfinite(chi[:-1] * chi[1:]) & (chi[:-1] * chi[1:] < 0))
    for i in turns.tolist():
        extremum = _root(residual.excess, float(_GRID[i]), float(_GRID[i + 1]))
        kernels.append(extremum)
        there = np.array([extremum])
        signs.append(float(np.sign(residual.cleaned(residual.table.at(there), there)[0])))
    order = np.argsort(kernels)
    kernels, signs = np.array(kernels)[order], np.array(signs)[order]
    out = []
    known = np.flatnonzero(signs != 0)
    if _vanishes(s, c_b):
        out.append(_point(s, 0.0, c_w, c_b, (0, int(signs[known[0]]))))
    for low, high in zip(known[:-1].tolist(), known[1:].tolist(), strict=True):
        left, right = int(signs[low]), int(signs[high])
        if high == low + 1 and left != right:
            if math.isinf(grid[-1]) and not math.isfinite(residual.one(float(kernels[high]))):
                continue
            kernel = _root(residual.one, float(kernels[low]), float(kernels[high]))
            out.append(_point(s, kernel, c_w, c_b, (left, right)))
        elif high > low + 1:  # r is 0 in between: a root on the grid, or a double root
            kernel = float(np.exp(np.mean(np.log(kernels[low + 1 : high]))))
            out.append(_point(s, kernel, c_w, c_b, (left, right)))
    return tuple(out)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import root_scalar  # scipy.optimize takes a tenth of a second to import

    left, right = function(low), function(high)
    if not left * right < 0:  # a root at an end, to the rounding that told the signs apart
        return low if abs(left) <= abs(right) else high
    found = root_scalar(function, bracket=(low, high), xtol=1e-14, rtol=1e-14)
    return float(found.root)


def _vanishes(s: ScalarFunction, c_b: float) -> bool:
    return c_b == 0 and abs(float(s.derivatives(np.zeros(1), 0)[0][0])) < 1e-14


def _point(
    s: ScalarFunction, kernel: float, c_w: float, c_b: float, signs: tuple[int, int]
) -> FixedPoint:
    left, right = signs
    below, above = left > 0, right < 0
    if math.isnan(kernel):
        stability, attracts = "neutral", "none"
    elif kernel == 0:
        stability, attracts = ("stable", "above") if above else ("unstable", "none")
    else:
        stability = {2: "stable", 1: "half-stable", 0: "unstable"}[below + above]
        attracts = {(True, True): "both", (True, False): "below", (False, True): "above"}.get(
            (below, above), "none"
        )
    if math.isnan(kernel) or kernel == 0:
        sides = s.derivatives(np.array([-1e-150, 1e-150]), 1)[1]
        chi_par = chi_perp = c_w * float(np.mean(sides**2))
        if math.isnan(kernel):
            chi_par = chi_perp = 1.0
        correlation, decay = math.nan, chi_perp
    else:
        means = single_means(s, np.array([kernel]))
        chi_par, chi_perp = c_w * float(means.square_1[0]), c_w * float(means.slope[0])
        correlation, decay = _correlation(s, kernel, c_w, c_b, chi_perp)
    return FixedPoint(
        kernel=kernel,
        stability=stability,
        attracts=attracts,
        chi_parallel=chi_par,
        chi_perpendicular=chi_perp,
        correlation=correlation,
        xi_kernel=_length(chi_par),
        xi_correlation=_length(decay),
    )


def _correlation(
    s: ScalarFunction, kernel: float, c_w: float, c_b: float, chi_perp: float
) -> tuple[float, float]:
    """The stable correlation c* of two inputs, and the slope of the map of correlations there."""
    if chi_perp <= 1 + _MARGINAL:
        return 1.0, chi_perp

    def law(c: float) -> Covariance:
        return Covariance.from_matrix(kernel * np.array([[1.0, c], [c, 1.0]]))

    def gap(c: float) -> float:
        return (c_b + c_w * float(second_moments(s, law(c)).matrix[0, 1])) / kernel - c

    # Below 1 the map lies under the diagonal, as its slope at 1 is above 1; at 0 it is not below.
    top = 1.0 - 1e-3 * min(1.0, chi_perp - 1.0)
    while gap(top) > 0 and 1 - top > 1e-12:
        top = 1 - (1 - top) / 8
    at_zero = gap(0.0)
    c = 0.0 if at_zero <= 1e-14 else _root(gap, 0.0, top)
    return c, c_w * float(slopes(s, law(c)).value[0, 1])


def _length(chi: float) -> float:
    if abs(chi - 1.0) <= _MARGINAL:
        return math.inf
    if chi <= 0:
        return 0.0
    return -1.0 / math.log(chi) if chi < 1 else math.nan


def _number(s: ScalarFunction, name: str, value: float | str) -> float:
    if isinstance(value, str):
        return float(getattr(critical(s).preferred, name))
    return value
