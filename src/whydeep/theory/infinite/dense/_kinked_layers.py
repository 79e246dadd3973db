"""One layer's means of a kinked activation: quadrature at some angles, polynomials between them.

In angle-bisector coordinates z_a = A p + B r, z_b = A p - B r, with A = sqrt(q) cos(theta/2) and
B = sqrt(q) sin(theta/2), kinks are lines that cross the inner axis at a slope of at most 1. Panels
of Gauss-Legendre nodes end at each of them, and along the outer axis where two of them cross.
Both samples have one variance, so r -> -r exchanges them and half of the plane is enough.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev

from whydeep.activations import ScalarFunction
from whydeep.theory.infinite.dense._chebyshev import chebyshev_coefficients, chebyshev_nodes
from whydeep.theory.infinite.dense._layer_maps import LayerMap

__all__ = ["kinked_layer"]

_ORDER = 16
_RADIUS = 8.6  # exp(-8.6^2 / 2) = 1e-16
_PANEL = 2.2
_GAUSS = np.polynomial.legendre.leggauss(_ORDER)
_MOST_ANGLES = 128
_TOLERANCE = 1e-13


def kinked_layer(activation: ScalarFunction, variance: float) -> LayerMap | None:
    """D, T and G of a continuous, piecewise smooth activation at variance q.

    As functions of theta, D / (1 - c) and G / sqrt(1 - c) on [0, pi/2] and T and G on [pi/2, pi]
    are smooth to the ends: Chebyshev interpolants, their number of nodes doubled until the last
    coefficients are small. D + T = 4 <s^2>, and odd functions have T(-c) = D(c). The rule's own
    error is measured against one of twice as many panels.
    """
    squares = _line(activation, variance)
    if not (np.all(np.isfinite(squares)) and np.all(squares > 0)):
        return None
    # Two kinks meet with a factor exp(-(k - l)^2 / (4 B^2)): smooth, but not analytic, at B = 0.
    count = 24 if len(activation.kinks) == 1 else 64
    starts = (0.0,) if activation.odd else (0.0, np.pi / 2.0)
    while True:
        fits = [_fit(activation, variance, start, count) for start in starts]
        tail = max(float((np.abs(fit[-4:]).sum(axis=0) / squares).max()) for fit in fits)
        if tail <= _TOLERANCE or 2 * count > _MOST_ANGLES:
            break
        count *= 2
    probe = np.array([0.02, 1.0, 2.2, 3.1])
    coarse, fine = (_plane(activation, variance, probe, density) for density in (1, 2))
    error = tail + float(np.max(np.abs(coarse - fine) / squares[[0, 0, 1], None]))
    total = 4.0 * squares[0]

    def gaps(minus: np.ndarray, plus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        near, small = minus <= plus, np.minimum(minus, plus)
        quarter = np.arcsin(np.sqrt(small / 2.0)) * 4.0 / np.pi  # of pi/2
        apart, slope_gap = chebyshev.chebval(2.0 * quarter - 1.0, fits[0])
        apart, slope_gap = apart * small, slope_gap * np.sqrt(small)
        if activation.odd:
            return (
                np.where(near, apart, total - apart),
                np.where(near, total - apart, apart),
                slope_gap,
            )
        together, far_slope_gap = chebyshev.chebval(1.0 - 2.0 * quarter, fits[1])
        return (
            np.where(near, apart, total - together),
            np.where(near, total - apart, together),
            np.where(near, slope_gap, far_slope_gap),
        )

    return LayerMap(float(squares[0]), float(squares[1]), gaps, error)


def _fit(activation: ScalarFunction, variance: float, start: float, count: int) -> np.ndarray:
    """Chebyshev coefficients on the half of [0, pi] from `start`: (count, 2)."""
    theta = start + (chebyshev_nodes(count) + 1.0) * np.pi / 4.0
    apart, together, slope_gap = _plane(activation, variance, theta, 1)
    if start > 0.0:
        return chebyshev_coefficients(np.stack([together, slope_gap])).T
    minus = 2.0 * np.sin(theta / 2.0) ** 2
    return chebyshev_coefficients(np.stack([apart / minus, slope_gap / np.sqrt(minus)])).T


def _line(activation: ScalarFunction, variance: float) -> np.ndarray:
    """<s^2> and <s'^2>."""
    deviation = np.sqrt(variance)
    breaks = np.asarray(activation.kinks)[None] / deviation
    u, weights = _panels(breaks, -_RADIUS, _RADIUS, _PANEL)
    values = activation.derivatives(deviation * u[0], 1)
    return np.array([np.sum(weights[0] * v**2) for v in values])


def _plane(
    activation: ScalarFunction, variance: float, theta: np.ndarray, density: int
) -> np.ndarray:
    """D, T and G at angles theta, shape (3, angles)."""
    kinks = np.asarray(activation.kinks)
    a, b = np.sqrt(variance) * np.cos(theta / 2.0), np.sqrt(variance) * np.sin(theta / 2.0)
    swap = b > a  # the outer axis is the one along which kink lines are steep
    outer_rate, inner_rate = np.where(swap, a, b), np.where(swap, b, a)
    panel = _PANEL / density
    # z_a = k and z_b = l cross at A p = (k + l)/2 and B r = (k - l)/2
    signed = np.add.outer(kinks, kinks).ravel() / 2.0
    apart = np.subtract.outer(kinks, kinks).ravel() / 2.0
    out = np.empty((3, theta.size))
    for n in range(theta.size):
        crossing = (signed if swap[n] else apart) / outer_rate[n]
        low = -_RADIUS if swap[n] else 0.0
        outer, outer_weights = _panels(crossing[None], low, _RADIUS, panel)
        outer, outer_weights = outer[0], outer_weights[0]
        shift = outer_rate[n] * outer[:, None]
        lines = [kinks - shift, shift - kinks if swap[n] else kinks + shift]
        breaks = np.concatenate(lines, axis=1) / inner_rate[n]
        inner, inner_weights = _panels(breaks, 0.0 if swap[n] else -_RADIUS, _RADIUS, panel)
        p, r = (shift, inner_rate[n] * inner) if swap[n] else (inner_rate[n] * inner, shift)
        weights = 2.0 * outer_weights[:, None] * inner_weights
        out[:, n] = _sums(activation, p, r, weights)
    return out


def _sums(
    activation: ScalarFunction, p: np.ndarray, r: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    values, slopes = activation.derivatives(np.stack([p + r, p - r]), 1)
    difference = values[0] - values[1]
    return np.array(
        [
            np.sum(weights * difference**2),
            np.sum(weights * (values[0] + values[1]) ** 2),
            np.sum(weights * (slopes[0] - slopes[1]) ** 2) / 2.0,
        ]
    )


def _panels(
    breaks: np.ndarray, low: float, high: float, panel: float
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and Gaussian weights of panels on [low, high], broken further: (rows, nodes) each."""
    even = np.linspace(low, high, 1 + int(np.ceil((high - low) / panel)))
    even = np.broadcast_to(even, (len(breaks), even.size))
    edges = np.sort(np.concatenate([even, np.clip(breaks, low, high)], axis=1), axis=1)
    points, factors = _GAUSS
    half = np.diff(edges)[..., None] / 2.0
    nodes = (edges[:, :-1, None] + half) + half * points
    weights = half * factors * np.exp(-(nodes**2) / 2.0) / np.sqrt(2.0 * np.pi)
    return nodes.reshape(len(breaks), -1), weights.reshape(len(breaks), -1)
