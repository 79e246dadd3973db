"""Weight and bias variances at which signals neither grow nor die with depth."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep import activations
from whydeep.activations import ACTIVATION, ScalarFunction
from whydeep.arguments import takes
from whydeep.brief import brief
from whydeep.errors import UnsupportedError
from whydeep.gaussian._tables import self_means

__all__ = ["CriticalPoint", "Criticality", "critical"]

_SCAN = np.geomspace(1e-3, 1e3, 241)
_SMALL = 1e-3  # the kernel at which K* = 0 is judged to attract or to repel
_TOLERANCE = 1e-12
_FALLBACKS = ((1.0, 0.1), (0.5, 0.1), (0.1, 0.1), (0.01, 0.1), (0.01, 0.01))


@dataclass(frozen=True)
class CriticalPoint:
    """One critical initialisation.

    Args:
        weight_var: C_W.
        bias_var: C_b.
        kernel: K*, the fixed point of the kernel; NaN if every kernel is fixed.
    """

    weight_var: float
    bias_var: float
    kernel: float


@dataclass(frozen=True)
class Criticality:
    """The critical points of an activation.

    Args:
        name: of the activation.
        universality_class: ``"scale-invariant"`` (every kernel is fixed), ``"K*=0"`` (kernels
            decay like 1/depth), ``"half-stable"`` (K* > 0, attracting from one side), ``"none"``.
        points: all solutions, K* > 0 first. One at K* = 0 may repel (gelu, silu and mish have one
            beside that at K* > 0).
        reason: why there is none, else empty.
        fallback: weight and bias variances that keep kernels finite, if there is none.
    """

    name: str
    universality_class: str
    points: tuple[CriticalPoint, ...]
    reason: str = ""
    fallback: tuple[float, float] | None = None

    __repr__ = brief

    @property
    def preferred(self) -> CriticalPoint:
        """The point at K* > 0 if there is one, else that at K* = 0.

        Raises:
            UnsupportedError: there is no critical point that attracts kernels.
        """
        if self.universality_class == "none":
            weight_var, bias_var = self.fallback or _FALLBACKS[0]
            raise UnsupportedError(
                f"The activation {self.name} has no critical initialisation.",
                cause=self.reason,
                suggestion=f"numbers of your own, such as weight_var={weight_var}, "
                f"bias_var={bias_var}: kernels stay finite, correlations do not stay critical",
            )
        return self.points[0]


@takes(activation=ACTIVATION)
def critical(activation: str | ScalarFunction | Callable[[Any], Any]) -> Criticality:
    """Where K* = C_b + C_W <s^2> and both susceptibilities are 1, at every depth.

    chi_par = (C_W/K) <z s s'> and chi_perp = C_W <s'^2> are both 1 where <z s s'>/K = <s'^2>, an
    equation for K* alone; then C_W = 1/<s'^2> and C_b = K* - C_W <s^2> >= 0. Searched for K* from
    1e-3 to 1e3, to 1e-10, and at K* = 0, where s(0) = 0 and C_W is 1 over the mean square of the
    slopes on both sides. Cost: under a second, once an activation.

    **Source:** Roberts, Yaida and Hanin 2022, chapter 5.

    Example:
        >>> critical("relu").preferred
        CriticalPoint(weight_var=2.0, bias_var=0.0, kernel=nan)
        >>> round(critical("gelu").preferred.weight_var, 6)
        1.983058
    """
    return _critical(activations.get(activation))


@functools.lru_cache(maxsize=256)
def _critical(s: ScalarFunction) -> Criticality:  # noqa: PLR0911 - one return a class
    if not s.continuous:
        return _none(s, "it jumps, so <s'^2> is infinite and no weight variance is small enough")
    if s.slopes is not None:
        return _scale_invariant(s, s.slopes)
    gap, doubt = _mismatch(s, _SCAN)
    known = np.isfinite(gap) & np.isfinite(doubt)
    if known.any() and np.all(np.abs(gap[known]) <= 10.0 * doubt[known]):
        left, right = s.derivatives(np.array([-1.0, 1.0]), 1)[1]
        return _scale_invariant(s, (float(left), float(right)))
    sure = known & (np.abs(gap) > doubt)
    changes = np.flatnonzero(sure[:-1] & sure[1:] & (gap[:-1] * gap[1:] < 0))
    found = [_point(s, float(_SCAN[low]), float(_SCAN[low + 1])) for low in changes]
    points = tuple(point for point in found if point.bias_var >= 0)
    origin, attracts = _origin(s)
    if points:
        return Criticality(s.name, "half-stable", points + origin)
    if attracts:
        return Criticality(s.name, "K*=0", origin)
    if origin:
        return _none(s, "the only fixed point, K* = 0, repels: kernels grow without bound", origin)
    return _none(s, "no kernel has both susceptibilities at 1 with a bias variance of 0 or more")


def _means(s: ScalarFunction, kernels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """<s^2>, <z s s'>/K, <s'^2> and their errors at kernels K: shape (3, N) each."""

    def integrand(z: np.ndarray) -> tuple[np.ndarray, ...]:
        value, slope = (d[:, 0] for d in s.derivatives(z, 1))
        return value**2, z[:, 0] * value * slope, slope**2

    means = self_means(s, kernels, integrand, _TOLERANCE)
    units = np.stack([np.ones_like(kernels), kernels, np.ones_like(kernels)])
    return means.value / units, means.error / units


@np.errstate(over="ignore", invalid="ignore")  # what overflows is no sign change
def _mismatch(s: ScalarFunction, kernels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """<z s s'>/K - <s'^2>, relative to its terms, and the error of that."""
    (_, parallel, across), (_, error_1, error_2) = _means(s, kernels)
    scale = np.abs(parallel) + np.abs(across) + 1e-300
    return (parallel - across) / scale, (error_1 + error_2) / scale


def _point(s: ScalarFunction, low: float, high: float) -> CriticalPoint:
    def gap(log_kernel: float) -> float:
        return float(_mismatch(s, np.array([math.exp(log_kernel)]))[0][0])

    bracket = math.log(low), math.log(high)
    from scipy.optimize import root_scalar  # scipy.optimize takes a tenth of a second to import

    kernel = math.exp(root_scalar(gap, bracket=bracket, xtol=1e-14, rtol=1e-14).root)
    (square, _, slope), _ = _means(s, np.array([kernel]))
    weight_var = 1.0 / float(slope[0])
    return CriticalPoint(weight_var, kernel - weight_var * float(square[0]), kernel)


def _scale_invariant(s: ScalarFunction, slopes: tuple[float, float]) -> Criticality:
    square = (slopes[0] ** 2 + slopes[1] ** 2) / 2.0
    if square == 0:
        return _none(s, "it is zero everywhere")
    point = CriticalPoint(1.0 / square, 0.0, math.nan)
    return Criticality(s.name, "scale-invariant", (point,))


def _origin(s: ScalarFunction) -> tuple[tuple[CriticalPoint, ...], bool]:
    """The point at K* = 0, if s(0) = 0 and s'(0) != 0, and whether it attracts kernels."""
    values, slopes = s.derivatives(np.array([-1e-150, 0.0, 1e-150]), 1)
    square = float(slopes[0] ** 2 + slopes[2] ** 2) / 2.0
    if abs(values[1]) > 1e-14 or square < 1e-14:
        return (), False
    (image, _, _), _ = _means(s, np.array([_SMALL]))
    attracts = bool(image[0] <= square * _SMALL * (1.0 + 1e-10))  # hard_tanh: equal
    return (CriticalPoint(1.0 / square, 0.0, 0.0),), attracts


def _none(s: ScalarFunction, reason: str, points: tuple[CriticalPoint, ...] = ()) -> Criticality:
    fallback = next((pair for pair in _FALLBACKS if _stays_finite(s, *pair)), _FALLBACKS[-1])
    return Criticality(s.name, "none", points, reason, fallback)


def _stays_finite(s: ScalarFunction, weight_var: float, bias_var: float) -> bool:
    def integrand(z: np.ndarray) -> list[np.ndarray]:
        return [s.derivatives(z[:, 0], 0)[0] ** 2]

    kernel = weight_var + bias_var
    for _ in range(30):
        if not kernel < 100.0:
            return False
        kernel = bias_var + weight_var * float(
            self_means(s, np.array([kernel]), integrand, 1e-6).value[0, 0]
        )
    return True
