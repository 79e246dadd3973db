"""One layer's means of homogeneous activations (closed form) and of smooth ones (series)."""

from __future__ import annotations

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.theory.infinite.dense import _hermite
from whydeep.theory.infinite.dense._kinked_layers import kinked_layer
from whydeep.theory.infinite.dense._layer_maps import LayerMap
from whydeep.theory.infinite.dense._tabled_layer import tabled_layer

__all__ = ["layer_map"]

_WIDE = 9.0  # a variance from which panels of one width no longer resolve the unit scale


def layer_map(activation: ScalarFunction, variance: float, terms: int = 64) -> LayerMap | None:
    """The means of a continuous activation at variance q, or None where they are out of reach.

    Args:
        activation: the function s.
        variance: q, above 0.
        terms: with how many terms a series begins.
    """
    if activation.slopes is not None:
        return _homogeneous(activation.slopes, variance)
    if activation.smooth:
        return _smooth(activation, variance, terms) or tabled_layer(activation, variance)
    if variance > _WIDE:
        return tabled_layer(activation, variance)
    return kinked_layer(activation, variance)


# -- positively homogeneous: s = alpha z + beta |z| ----------------------------------------------


def _arc_cosine_gaps(minus: np.ndarray, plus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 - <|u_a u_b|> and (1 - <sgn u_a sgn u_b>) / 2 of unit variances, from 1 - c and 1 + c.

    The first is 1 - cos theta - (2/pi) (sin theta - theta cos theta) for theta <= pi/2, and the
    same at c and -c; the second is theta / pi.

    Source: Cho and Saul 2009, Eqs. 5 and 6.
    """
    near = np.minimum(minus, plus)
    theta = 2.0 * np.arcsin(np.sqrt(near / 2.0))
    series = np.zeros_like(theta)
    square = theta**2
    for k in range(9, 0, -1):  # sin t - t cos t = t^3/3 - t^5/30 + ...
        series = series * -square + _SINE_SERIES[k - 1]
    direct = np.sin(theta) - theta * np.cos(theta)
    sine_part = np.where(theta < 0.5, series * theta**3, direct)
    angle = np.where(minus <= plus, theta, np.pi - theta)
    return near - (2.0 / np.pi) * sine_part, angle / np.pi


_SINE_SERIES = [2.0 * k / float(np.prod(np.arange(1.0, 2 * k + 2))) for k in range(1, 10)]


def _homogeneous(slopes: tuple[float, float], variance: float) -> LayerMap:
    even, odd = (slopes[1] - slopes[0]) / 2.0, (slopes[1] + slopes[0]) / 2.0
    total = even**2 + odd**2

    def gaps(minus: np.ndarray, plus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        absolute, sign = _arc_cosine_gaps(minus, plus)
        less = odd**2 * minus + even**2 * absolute
        more = odd**2 * plus + even**2 * (2.0 - absolute)
        return 2.0 * variance * less, 2.0 * variance * more, 2.0 * even**2 * sign

    return LayerMap(total * variance, total, gaps, 4e-16)


# -- smooth: series in the correlation -----------------------------------------------------------


def _smooth(activation: ScalarFunction, variance: float, terms: int) -> LayerMap | None:
    found = _hermite.expand(activation, np.array([variance]), terms)
    if found is None:
        return None
    squares = np.stack([found.images[0] ** 2, found.slopes[0] ** 2])
    squares = squares[:, : _needed(squares)]
    sums = squares.sum(axis=1)
    signs = np.where(np.arange(squares.shape[1]) % 2, -1.0, 1.0)
    # sum_n p_n (1 - c^n) = (1 - c) sum_k c^k sum_(n > k) p_n
    after = _sums_after(squares)
    after_mirrored = _sums_after(squares * signs)
    even = (squares * (1.0 + signs)).sum(axis=1)

    def gaps(minus: np.ndarray, plus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        out = np.empty((3, minus.size))
        near = minus <= plus
        small = minus[near]
        rest = small * _hermite.power_series(after, 1.0 - small)
        out[0, near], out[2, near] = 2.0 * rest[0], rest[1]
        out[1, near] = 4.0 * sums[0] - out[0, near]
        small = plus[~near]
        rest = small * _hermite.power_series(after_mirrored, 1.0 - small)
        out[1, ~near] = 2.0 * (even[0] - rest[0])
        out[0, ~near] = 4.0 * sums[0] - out[1, ~near]
        out[2, ~near] = sums[1] - (even[1] - sums[1] - rest[1])
        return out[0], out[1], out[2]

    error = float(found.error.max()) + 1e-15
    # sqrt(q) E u s s' / <s^2>, with u h_n = sqrt(n + 1) h_(n+1) + sqrt(n) h_(n-1)
    a, b, root = found.images[0], found.slopes[0], np.sqrt(np.arange(1.0, found.images.shape[1]))
    rise = np.sqrt(variance) * np.sum(root * (b[:-1] * a[1:] + b[1:] * a[:-1]))
    elasticity = float(abs(rise) / sums[0]) if sums[0] > 0 else 1.0
    return LayerMap(float(sums[0]), float(sums[1]), gaps, error, elasticity, squares.shape[1])


def _needed(squares: np.ndarray) -> int:
    """How many terms matter to a rounding unit."""
    rest = np.cumsum(squares[:, ::-1], axis=1)[:, ::-1]
    return max(2, int(np.sum(np.any(rest > 1e-17 * rest[:, :1], axis=0))))


def _sums_after(values: np.ndarray) -> np.ndarray:
    """sum_(n > k) of values (2, terms), for every k."""
    sums = np.cumsum(values[:, ::-1], axis=1)[:, ::-1]
    return np.ascontiguousarray(np.concatenate([sums[:, 1:], np.zeros((len(sums), 1))], axis=1))
