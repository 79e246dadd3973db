"""Means over one Gaussian sample as functions of its variance: what single-input flows run on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whydeep import activations
from whydeep.activations import ScalarFunction
from whydeep.errors import InputError, UnsupportedError
from whydeep.gaussian._tables import self_means

__all__ = ["SingleMeans", "single_means"]

_TOLERANCE = 1e-13
_TOGETHER = 128  # variances of like size share one lattice


@dataclass(frozen=True)
class SingleMeans:
    """Means of s = s(z) and s' = s'(z) for z of variance K, each of shape (N,).

    Args:
        square: g = <s^2>.
        square_1: dg/dK = <z s s'>/K.
        square_2: d^2 g/dK^2 = <(s^2)''''>/4.
        slope: <s'^2>.
        slope_1: d<s'^2>/dK = <(s'^2)''>/2.
        fourth: <s^4>.
        mixed: <s^2 s'^2>.
        slope_fourth: <s'^4>.
        error: bound on the numerical error of any of them, relative to the mean magnitude of what
            is averaged.
    """

    square: np.ndarray
    square_1: np.ndarray
    square_2: np.ndarray
    slope: np.ndarray
    slope_1: np.ndarray
    fourth: np.ndarray
    mixed: np.ndarray
    slope_fourth: np.ndarray
    error: np.ndarray


def single_means(activation: str | ScalarFunction, variance: np.ndarray) -> SingleMeans:
    """Means over single samples of variances K, and their derivatives with respect to K.

    Args:
        activation: a name or a function s.
        variance: K >= 0, shape (N,); above 0 for an activation with kinks.

    Raises:
        InputError: a variance that is negative or not finite.
        UnsupportedError: the activation jumps, so that <s'^2> is infinite.

    Accuracy: about 1e-13 for smooth activations and K up to about 100, rounding for those made of
    two lines through the origin. With other kinks derivatives are means over Hermite polynomials,
    d<f>/dK = <f (z^2/K - 1)>/(2K), which cost digits as K goes to 0. Cost: a few hundred
    evaluations of s and four derivatives a variance.

    Source: Price 1958.

    Example:
        >>> found = single_means("erf", np.array([0.5]))
        >>> round(float(found.square[0]), 12), round(float(found.slope[0]), 12)
        (0.333333333333, 0.735105193896)
    """
    s = activations.get(activation)
    variance = np.asarray(variance, dtype=np.float64)
    if variance.ndim != 1 or not np.all(np.isfinite(variance) & (variance >= 0)):
        raise InputError(
            "Variances are finite numbers, at least 0.", received=f"{variance}", needed="shape (N,)"
        )
    if not s.continuous:
        raise UnsupportedError(
            f"The slopes of {s.name} have no second moment: it jumps, so <s'^2> is infinite.",
            suggestion='a continuous activation, such as "hard_tanh" or "erf"',
        )
    if s.slopes is not None:
        return _homogeneous(s.slopes, variance)
    order = np.argsort(variance)
    groups = [order[i : i + _TOGETHER] for i in range(0, len(order), _TOGETHER)]
    out = np.empty((9, len(variance)))
    for group in groups:
        out[:, group] = (_smooth if s.smooth else _kinked)(s, variance[group])
    return SingleMeans(*out)


def _homogeneous(slopes: tuple[float, float], variance: np.ndarray) -> SingleMeans:
    two, four = ((slopes[0] ** p + slopes[1] ** p) / 2 for p in (2, 4))
    one, zero = np.ones_like(variance), np.zeros_like(variance)
    rounding = np.full_like(variance, 4 * np.finfo(float).eps)
    return SingleMeans(
        square=two * variance,
        square_1=two * one,
        square_2=zero,
        slope=two * one,
        slope_1=zero,
        fourth=3 * four * variance**2,
        mixed=four * variance,
        slope_fourth=four * one,
        error=rounding,
    )


def _smooth(s: ScalarFunction, variance: np.ndarray) -> np.ndarray:
    def integrand(z: np.ndarray) -> list[np.ndarray]:
        d0, d1, d2, d3, d4 = (d[:, 0] for d in s.derivatives(z, 4))
        return [
            d0**2,
            d1**2 + d0 * d2,
            (d0 * d4 + 4 * d1 * d3 + 3 * d2**2) / 2,
            d1**2,
            d2**2 + d1 * d3,
            d0**4,
            d0**2 * d1**2,
            d1**4,
        ]

    means = self_means(s, variance, integrand, _TOLERANCE)
    return np.concatenate([means.value, _relative(means.value, means.error)])


def _kinked(s: ScalarFunction, variance: np.ndarray) -> np.ndarray:
    """By parts, so that no derivative falls on a kink: He_3 and He_2 of z / sqrt(K) take it."""
    if np.any(variance == 0):
        raise InputError(
            f"{s.name} has kinks, and its means have no derivatives at variance 0.",
            received="0",
            needed="variances above 0",
        )

    def integrand(z: np.ndarray) -> list[np.ndarray]:
        d0, d1 = (d[:, 0] for d in s.derivatives(z, 1))
        x = z[:, 0]
        product, slope = d0 * d1, d1**2
        return [
            d0**2, x * product, x**3 * product, slope, x**2 * slope, d0**4, product**2, slope**2,
        ]  # fmt: skip

    means = self_means(s, variance, integrand, _TOLERANCE)
    value = means.value.copy()
    _, first, third, slope, second, *_ = means.value
    value[1] = first / variance
    value[2] = (third - 3 * variance * first) / (2 * variance**3)
    value[4] = (second - variance * slope) / (2 * variance**2)
    return np.concatenate([value, _relative(means.value, means.error)])


def _relative(value: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The largest error of the five plain means, relative to them: they do not cancel."""
    plain = [0, 3, 5, 6, 7]
    size = np.maximum(np.abs(value[plain]), 1e-300)
    return (error[plain] / size).max(axis=0, keepdims=True)
