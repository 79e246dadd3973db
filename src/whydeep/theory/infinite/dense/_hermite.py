"""Gaussian means of smooth activations as series in the correlation.

With a_n(q) = E s(sqrt(q) u) h_n(u), h_n the normalised Hermite polynomials,

    <s_a s_b> = sum_n a_n(q_a) a_n(q_b) c^n        <s'_a s'_b> = sum_n b_n(q_a) b_n(q_b) c^n

where b_n belongs to s'. Terms decay like exp(-d sqrt(8 n / q)) for poles at distance d from the
real line, so that hundreds may be needed; they cost one multiplication each, for all pairs. By
Parseval what is left out is known: at most <s^2> - sum_n a_n^2 at any correlation.

Source: Mehler 1866; Boyd 1984 (rates of Hermite series). Integrals by the trapezoid rule
(Trefethen and Weideman 2014).
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.compiled import njit

__all__ = ["Hermite", "expand", "power_series"]

_TOLERANCE = 3e-14
_FIRST_TERMS, _MOST_TERMS = 64, 16384
_WAVES = 256  # made at once
_RADIUS, _LARGEST_RADIUS = 13.0, 40.0  # exp(-13^2 / 4) = 5e-19


@dataclass(frozen=True)
class Hermite:
    """Coefficients at variances q, shape (Q,).

    Args:
        images: a_n(q), (Q, terms).
        slopes: b_n(q), (Q, terms).
        square: <s^2>, (Q,).
        slope_square: <s'^2>, (Q,).
        error: what is left out of both series, relative to those, (2, Q).
    """

    images: np.ndarray
    slopes: np.ndarray
    square: np.ndarray
    slope_square: np.ndarray
    error: np.ndarray


def expand(
    activation: ScalarFunction, variance: np.ndarray, first_terms: int = _FIRST_TERMS
) -> Hermite | None:
    """Coefficients until the rest is below 3e-14, or None where 16384 do not suffice.

    Args:
        activation: a smooth function s.
        variance: q, shape (Q,), at least 0.
        first_terms: how many to begin with.
    """
    terms = first_terms
    deviation = np.sqrt(variance)
    while terms <= _MOST_TERMS:
        found = _expand(activation, deviation, terms)
        if found is None:
            return None
        if np.all(found.error <= _TOLERANCE):
            return found
        terms *= 2
    return None


def _expand(activation: ScalarFunction, deviation: np.ndarray, terms: int) -> Hermite | None:
    # Half the wave length of the fastest term: what is as fast in s is not left unseen.
    step = min(0.2, 0.9 * np.pi / np.sqrt(terms))
    found = _on_grid(activation, deviation, terms, step)
    if found is None:
        return None
    if np.all(found.error <= _TOLERANCE):
        # Faster waves than the nodes can show look like slow ones: like other slow ones at a step
        # in another ratio, irrational so that no multiple of both agrees.
        again = _on_grid(activation, deviation, terms, step * 0.7548776662466927)
        if again is None:
            return None
        both = ((found.images, again.images), (found.slopes, again.slopes))
        for part, (one, other) in enumerate(both):
            squares = np.square(one)
            apart = np.abs(squares - np.square(other)).sum(axis=1)
            found.error[part] += apart / squares.sum(axis=1).clip(1e-300)
    return found


@np.errstate(over="ignore", invalid="ignore")  # what overflows is refused
def _on_grid(
    activation: ScalarFunction, deviation: np.ndarray, terms: int, step: float
) -> Hermite | None:
    """Coefficients by the trapezoid rule, and what they leave of the sums of squares."""
    radius = _RADIUS
    while True:
        half = int(radius / step)
        u = step * np.arange(-half, half + 1)
        values, slopes = activation.derivatives(deviation[:, None] * u, 1)
        root = np.exp(-(u**2) / 4.0) * np.sqrt(step / np.sqrt(2.0 * np.pi))
        values, slopes = values * root, slopes * root  # squares carry the Gaussian weight
        squares = np.stack([np.square(values), np.square(slopes)])
        sums = squares.sum(axis=2)
        if not np.all(np.isfinite(sums)):
            return None
        far = squares[:, :, np.abs(u) > radius - 1.0].sum(axis=2)
        if np.all(far <= 1e-2 * _TOLERANCE**2 * sums):
            break
        radius += 3.0
        if radius > _LARGEST_RADIUS:
            return None
    images, image_slopes = np.split(_products(np.concatenate([values, slopes]), terms, step), 2)
    kept = np.stack([np.square(images).sum(axis=1), np.square(image_slopes).sum(axis=1)])
    error = np.abs(sums - kept) / np.where(sums > 0, sums, 1.0)
    return Hermite(images, image_slopes, sums[0], sums[1], error)


def _products(samples: np.ndarray, terms: int, step: float) -> np.ndarray:
    """sum_u samples(u) h_n(u) exp(-u^2 / 4) sqrt(step) / (2 pi)^(1/4), n < terms."""
    half = samples.shape[1] // 2
    out = np.empty((len(samples), terms))
    waves = np.empty((_WAVES + 2, 2 * half + 1))  # two of those before come first
    for first in range(0, terms, _WAVES):
        last = min(first + _WAVES, terms)
        _next_waves(waves, first, step, half)
        np.matmul(samples, waves[2 : last - first + 2].T, out=out[:, first:last])
        waves[:2] = waves[-2:]
    return out


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _next_waves(waves, first, step, half):
    """Fill rows 2, 3, ... with waves first, first + 1, ..., from the two before in rows 0 and 1."""
    for row in range(2, waves.shape[0]):
        n = first + row - 2
        before, last, now = waves[row - 2], waves[row - 1], waves[row]
        fall, rise = np.sqrt(max(n - 1.0, 0.0)), 1.0 / np.sqrt(max(n, 1.0))
        for j in range(waves.shape[1]):
            u = step * (j - half)
            if n == 0:
                now[j] = np.exp(-0.25 * u * u) * np.sqrt(step / np.sqrt(2.0 * np.pi))
            elif n == 1:
                now[j] = u * last[j]
            else:
                now[j] = (u * last[j] - fall * before[j]) * rise


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def power_series(coefficients, x):
    """sum_n coefficients[m, n] x^n: shape (functions, points)."""
    functions, terms = coefficients.shape
    out = np.zeros((functions, x.size))
    for m in range(functions):
        row = out[m]
        for n in range(terms - 1, -1, -1):
            term = coefficients[m, n]
            for j in range(x.size):
                row[j] = row[j] * x[j] + term
    return out
