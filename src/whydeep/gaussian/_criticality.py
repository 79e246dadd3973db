"""Weight and bias variances at which signals neither grow nor die with depth."""

from __future__ import annotations

import functools
import itertools
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

_SCAN = np.geomspace(1e-7, 1e7, 421)
_TOLERANCE = 1e-12
_LIKE = 1e-10  # relative: what two numbers that are equal may differ by
_CONVERGED = 1e-3  # relative: a larger error is that of a rule that misses features, and no bound
_LONGEST = 3  # nodes in a row where a touch may hide; zero over more is no point
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
        fallback: weight and bias variances that keep kernels finite, if there is none; None where
            none was found.
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
            known = ""
            if self.fallback is not None:
                known = (
                    f", such as weight_var={self.fallback[0]:.6g}, bias_var={self.fallback[1]}: "
                    "kernels stay finite, correlations do not stay critical"
                )
            raise UnsupportedError(
                f"The activation {self.name} has no critical initialisation.",
                cause=self.reason,
                suggestion=f"numbers of your own{known}",
            )
        return self.points[0]


@takes(activation=ACTIVATION)
def critical(activation: str | ScalarFunction | Callable[[Any], Any]) -> Criticality:
    """Where K* = C_b + C_W <s^2> and both susceptibilities are 1, at every depth.

    chi_par = (C_W/K) <z s s'> and chi_perp = C_W <s'^2> are both 1 where <z s s'>/K = <s'^2>, an
    equation for K* alone; then C_W = 1/<s'^2> and C_b = K* - C_W <s^2> >= 0. Searched for K* from
    1e-7 to 1e7, to 1e-10 relative, and to 1e-5 where both sides of the equation touch and do not
    cross; and at K* = 0, where s(0) = 0 and C_W is 1 over the mean square of the slopes on both
    sides. Cost: about a second, once an activation.

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
    means, errors = _means(s, _SCAN)
    gap, doubt = _mismatch(means, errors)
    known = np.isfinite(gap) & (doubt <= _CONVERGED)
    if known.any() and np.all(np.abs(gap[known]) <= 10.0 * doubt[known]):
        left, right = s.derivatives(np.array([-1.0, 1.0]), 1)[1]
        return _scale_invariant(s, (float(left), float(right)))
    found = [_point(s, kernel) for kernel in _solutions(s, gap, doubt, known)]
    points = tuple(point for point in found if point.bias_var >= 0)
    origin, attracts = _origin(s, means[0], errors[0])
    if points:
        return Criticality(s.name, "half-stable", points + origin)
    if attracts:
        return Criticality(s.name, "K*=0", origin)
    if origin:
        return _none(s, "the only fixed point, K* = 0, repels: kernels grow without bound", origin)
    return _none(
        s, "no kernel from 1e-7 to 1e7 has both susceptibilities at 1 with a bias variance of 0 or "
        "more",
    )  # fmt: skip


def _means(s: ScalarFunction, kernels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """<s^2>, <z s s'>/K, <s'^2> and their errors at kernels K: shape (3, N) each."""

    def integrand(z: np.ndarray) -> tuple[np.ndarray, ...]:
        value, slope = (d[:, 0] for d in s.derivatives(z, 1))
        return value**2, z[:, 0] * value * slope, slope**2

    means = self_means(s, kernels, integrand, _TOLERANCE)
    units = np.stack([np.ones_like(kernels), kernels, np.ones_like(kernels)])
    return means.value / units, means.error / units


@np.errstate(over="ignore", invalid="ignore")  # what overflows is no sign change
def _mismatch(means: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """<z s s'>/K - <s'^2>, relative to its terms, and the error of that."""
    (_, parallel, across), (_, error_1, error_2) = means, errors
    scale = np.abs(parallel) + np.abs(across) + 1e-300
    return (parallel - across) / scale, (error_1 + error_2) / scale


def _solutions(
    s: ScalarFunction, gap: np.ndarray, doubt: np.ndarray, known: np.ndarray
) -> list[float]:
    """Kernels at which the two sides are equal, in rising order.

    Between neighbouring nodes whose sign is sure they cross, or, where the gap is smallest, touch
    or cross twice: a node at which the gap is 0 to rounding is no neighbour.
    """
    sure = np.flatnonzero(known & (np.abs(gap) > doubt))
    logs, found = np.log(_SCAN), []

    def one(log_kernel: float) -> tuple[float, float]:
        values, errors = _mismatch(*_means(s, np.array([math.exp(log_kernel)])))
        return float(values[0]), float(errors[0])

    for place, (low, high) in enumerate(itertools.pairwise(sure)):
        if high - low > 1 and not known[low + 1 : high].all():
            continue
        if gap[low] * gap[high] < 0:
            found.append(_crossing(one, logs[low], logs[high]))
            continue
        # One sign: it may be 0 within these two nodes, or about the second, if it bends enough.
        # A parabola that touches 0 between nodes bends by 8 times what is left at the nearest.
        after = sure[place + 2] if place + 2 < len(sure) else high
        sign = float(np.sign(gap[low]))
        left, least, right = sign * gap[[low, high, after]]
        if 1 < high - low <= _LONGEST + 1:
            found += _touching(one, sign, float(logs[low]), float(logs[high]))
        elif after - high == high - low == 1 and least < min(left, right, left + right - 2 * least):
            found += _touching(one, sign, float(logs[low]), float(logs[after]))
    return sorted(math.exp(x) for x in found)


def _crossing(gap: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
    from scipy.optimize import root_scalar  # scipy.optimize takes a tenth of a second to import

    bracket = float(low), float(high)
    found = root_scalar(lambda x: gap(x)[0], bracket=bracket, xtol=1e-14, rtol=1e-14)
    return float(found.root)


def _touching(
    gap: Callable[[float], tuple[float, float]], sign: float, low: float, high: float
) -> list[float]:
    """Where a gap of this sign at both ends is 0: nowhere, at its minimum, or on both sides."""
    from scipy.optimize import minimize_scalar

    found: Any = minimize_scalar(
        lambda x: sign * gap(x)[0], bounds=(low, high), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    least, error = gap(float(found.x))
    if not error <= _CONVERGED:
        return []
    if sign * least > 2.0 * error:
        return []
    if sign * least < -2.0 * error:
        return [_crossing(gap, low, found.x), _crossing(gap, found.x, high)]
    return [_middle(gap, float(found.x), low, high)]


def _middle(
    gap: Callable[[float], tuple[float, float]], x: float, low: float, high: float
) -> float:
    """Where a parabola through three points has its extremum: x, known to rounding's root only."""
    step = 0.1 * min(x - low, high - x)
    if not step > 1e-3:
        return x
    before, here, after = (gap(x + k * step)[0] for k in (-1, 0, 1))
    bend = before - 2.0 * here + after
    return x - 0.5 * step * (after - before) / bend if bend else x


def _point(s: ScalarFunction, kernel: float) -> CriticalPoint:
    (square, _, slope), _ = _means(s, np.array([kernel]))
    weight_var = 1.0 / float(slope[0])
    bias_var = kernel - weight_var * float(square[0])
    if abs(bias_var) <= _LIKE * kernel:
        bias_var = 0.0
    return CriticalPoint(weight_var, bias_var, kernel)


def _scale_invariant(s: ScalarFunction, slopes: tuple[float, float]) -> Criticality:
    square = (slopes[0] ** 2 + slopes[1] ** 2) / 2.0
    if square == 0:
        return _none(s, "it is zero everywhere")
    point = CriticalPoint(1.0 / square, 0.0, math.nan)
    return Criticality(s.name, "scale-invariant", (point,))


def _origin(
    s: ScalarFunction, image: np.ndarray, error: np.ndarray
) -> tuple[tuple[CriticalPoint, ...], bool]:
    """The point at K* = 0, if s(0) = 0 and s'(0) != 0, and whether it attracts kernels.

    <s^2> over K and the mean square of the slopes at 0 is 1 at K = 0: what decides is the smallest
    kernel of the scan at which it is not.
    """
    values, slopes = s.derivatives(np.array([-1e-150, 0.0, 1e-150]), 1)
    square = float(slopes[0] ** 2 + slopes[2] ** 2) / 2.0
    slope = float(np.sqrt(image[0] / _SCAN[0]))  # to its sign that at 0, unless s(0) is not 0
    if abs(values[1]) > 1e-14 * slope or square <= (1e-7 * slope) ** 2:
        return (), False
    with np.errstate(over="ignore", invalid="ignore"):
        grown, doubt = image / (square * _SCAN) - 1.0, error / (square * _SCAN)
    away = np.flatnonzero(np.isfinite(grown) & (np.abs(grown) > np.maximum(10.0 * doubt, _LIKE)))
    attracts = not len(away) or bool(grown[away[0]] < 0)
    return (CriticalPoint(1.0 / square, 0.0, 0.0),), attracts


def _none(s: ScalarFunction, reason: str, points: tuple[CriticalPoint, ...] = ()) -> Criticality:
    (square, _, _), _ = _means(s, np.ones(1))
    size = float(square[0])
    scaled = [(w / size, b) for w, b in _FALLBACKS] if math.isfinite(size) and size > 0 else []
    pairs = (*_FALLBACKS, *scaled)
    fallback = next((pair for pair in pairs if _stays_finite(s, *pair)), None)
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
