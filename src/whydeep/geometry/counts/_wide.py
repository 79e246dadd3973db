"""Infinite width: how often units change sign along a segment, how long their zero lines are.

With normal weights, the pre-activations of layer l are a Gaussian field with variance q and
gradient covariance V, and Rice's and Crofton's formulas count its zeros. relu halves q and V from
layer to layer, as half of a symmetric law is passed on: ``q_l = bias_var + weight_var q_(l-1) / 2``
and ``V_l = weight_var V_(l-1) / 2``, from ``q_1 = bias_var + weight_var |x|^2 / d``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.integrate import nquad, quad
from scipy.special import ellipe

from whydeep.arguments import DEPTH, NUMBER, POSITIVE, VARIANCE, array, each, takes
from whydeep.errors import InputError
from whydeep.geometry.partition import check_window
from whydeep.network import check_number, check_whole

__all__ = ["wide_crossings", "wide_lengths"]


@takes(start=array(), end=array(), depth=DEPTH, bias_var=VARIANCE, weight_var=POSITIVE)
def wide_crossings(
    start: Any, end: Any, depth: int, bias_var: float = 0.0, weight_var: float = 2.0
) -> np.ndarray:
    """Expected breakpoints a neuron on a segment, layer by layer, in infinitely wide relu networks.

    ``(1/pi) int_0^1 sqrt(v/q - (q'/(2 q))^2) dt`` with the variance q of the pre-activation, q' its
    derivative along the segment and v the variance of the pre-activation's derivative:
    ``q_1 = weight_var |x|^2 / d + bias_var``, ``v_1 = weight_var |end - start|^2 / d``, then
    ``q_(l+1) = bias_var + weight_var q_l / 2`` and ``v_(l+1) = weight_var v_l / 2``. Without biases
    that is the angle between the two inputs over pi, in every layer and for any weight_var
    (Crofton's formula on the sphere).

    Args:
        start: one input, (d,).
        end: another.
        depth: how many layers.
        bias_var: of every layer.
        weight_var: of every layer, so that weights have variance weight_var / fan_in.

    Returns:
        (depth,): layers 1 to depth.

    Raises:
        InputError: inputs of different shapes, a bad depth or variance.

    Accuracy: of the quadrature, 1e-8; the infinite-width limit itself.

    Source: Rice 1944; Cho and Saul 2009 for the kernel; Crofton's formula without biases.

    Example:
        >>> wide_crossings(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 2)
        array([0.5, 0.5])
    """
    p, q = (np.asarray(x, np.float64).ravel() for x in (start, end))
    if p.shape != q.shape or not (p != q).any():
        raise InputError("A segment is between two different inputs of one shape.",
                         received=f"{p.shape} and {q.shape}")  # fmt: skip
    layers = _layers(depth, bias_var, weight_var, len(p))
    a, b, c = float(p @ p), 2 * float(p @ (q - p)), float((q - p) @ (q - p))

    def rate(t: float, scale: float, offset: float) -> float:
        variance = scale * (a + b * t + c * t * t) + offset
        slope = scale * (b + 2 * c * t)
        return math.sqrt(max(scale * c / variance - (slope / (2 * variance)) ** 2, 0.0))

    closest = min(max(-b / (2 * c), 0.0), 1.0)
    found = [
        quad(rate, 0.0, 1.0, args=layer, points=[closest], epsabs=1e-10, limit=200)[0]
        for layer in layers
    ]
    return np.array(found) / math.pi


@takes(
    origin=array(), u=array(), v=array(), window=each(NUMBER, exactly=4), depth=DEPTH,
    bias_var=POSITIVE, weight_var=POSITIVE,
)  # fmt: skip
def wide_lengths(
    origin: Any,
    u: Any,
    v: Any,
    window: Sequence[float],
    depth: int,
    bias_var: float,
    weight_var: float = 2.0,
) -> np.ndarray:
    """Expected length of a neuron's zero lines in a window of a plane at infinite width, by layer.

    ``int E[|grad z|, z = 0] = int sqrt(m_1 / q) E(1 - m_2/m_1) / pi ds dt`` where m_1 and m_2 are
    the eigenvalues of the gradient's covariance given z, ``V - q' q'^T / (4 q)``, and E is the
    complete elliptic integral of the second kind. By Crofton's formula that is pi/2 times the
    breakpoints on a line, averaged over the line's directions. Lengths are in coordinates of the
    plane, ``x = origin + s u + t v``: those of input space if u and v are orthonormal.

    Args:
        origin: one input, (d,).
        u: a direction.
        v: another.
        window: smallest and largest s, smallest and largest t.
        depth: how many layers.
        bias_var: of every layer, positive.
        weight_var: of every layer.

    Returns:
        (depth,): layers 1 to depth; times the width, the edges of that layer in `region_statistics`
        on average.

    Raises:
        InputError: shapes that do not fit, an empty window, variances out of range.

    Accuracy: of the quadrature, 1e-6; the infinite-width limit itself.
    Cost: seconds where bias_var is small beside the inputs.

    Source: Rice 1944 and Kac 1943 in two dimensions (Adler and Taylor 2007, Thm 12.1.1).

    Example:
        >>> u, v = np.eye(2)
        >>> wide_lengths(np.zeros(2), u, v, (-1, 1, -1, 1), 2, bias_var=1.0).round(4)
        array([1.4384, 1.163 ])
    """
    rows = [np.asarray(x, np.float64).ravel() for x in (origin, u, v)]
    if len({row.shape for row in rows}) > 1:
        raise InputError("A plane is given by three inputs of one shape.",
                         received=f"{[row.shape for row in rows]}")  # fmt: skip
    left, right, bottom, top = check_window(window)
    check_number("bias_var", bias_var, positive=True)
    products = np.stack(rows) @ np.stack(rows).T
    G, pull, rest = products[1:, 1:], products[0, 1:], float(products[0, 0])
    middle = -np.linalg.lstsq(G, pull, rcond=None)[0]
    nearest = max(float(rest + pull @ middle), 0.0)  # |x|^2 there, of all points of the plane
    sides = np.array([[left, right], [bottom, top]]) - middle[:, None]

    def rate(a: float, b: float, scale: float, offset: float, *spread: float) -> float:
        # Lines crowd around the nearest point: s - s_0 = w sinh a makes their density smooth.
        place = middle + np.array(spread) * np.sinh([a, b])
        half = scale * (G @ place + pull)  # q' / 2
        variance = scale * float(rest + 2 * pull @ place + place @ G @ place) + offset
        low, high = np.linalg.eigvalsh(scale * G - np.outer(half, half) / variance)
        area = math.prod(spread) * math.cosh(a) * math.cosh(b)
        return area * math.sqrt(high / variance) * float(ellipe(1 - max(low, 0.0) / high))

    found = []
    for scale, offset in _layers(depth, bias_var, weight_var, len(rows[0])):
        spread = np.sqrt((nearest + offset / scale) / np.diagonal(G))
        limits = np.arcsinh(sides / spread[:, None])
        options = [
            {"points": [min(max(0.0, low), high)], "epsabs": 1e-7, "epsrel": 1e-7, "limit": 100}
            for low, high in limits
        ]
        found.append(nquad(rate, limits, args=(scale, offset, *spread), opts=options)[0])
    return np.array(found) / math.pi


def _layers(
    depth: int, bias_var: float, weight_var: float, inputs: int
) -> list[tuple[float, float]]:
    """Of each layer the factor and the offset in ``q = factor |x|^2 + offset``."""
    check_whole("depth", depth)
    check_number("bias_var", bias_var)
    check_number("weight_var", weight_var, positive=True)
    found = [(weight_var / inputs, float(bias_var))]
    while len(found) < depth:
        scale, offset = found[-1]
        found.append((weight_var * scale / 2, bias_var + weight_var * offset / 2))
    return found
