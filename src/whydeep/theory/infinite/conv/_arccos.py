"""The angle between two Gaussian variables from their correlation, as polynomials that vectorise.

With c = 1 - t >= 0 and theta = arccos c,

    theta                       = t^(1/2) P(t)          P(0) = sqrt 2
    sin theta - theta cos theta = t^(3/2) Q(t)          Q(0) = 2 sqrt 2 / 3

P and Q are analytic up to t = 2, so that on [0, 1] an interpolating polynomial gains a factor of
5.8 a degree. The compiler's own arccos is scalar and keeps a loop from being vectorised, and the
difference of sin theta and theta cos theta would cancel as t goes to 0.

These are for compiled code: they choose their coefficients by the precision of t. Relative errors
are at most 2e-8 in float32 and 2e-17 in float64, before rounding.

Source: Cho and Saul 2009 (arc-cosine kernels); the coefficients interpolate at Chebyshev points,
computed with 60 digits.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from numba import types
from numba.extending import overload

from whydeep.compiled import njit

__all__ = ["angle", "angle_moment"]

_P32 = tuple(
    np.float32(c)
    for c in (
        *(1.414213546, 0.1178531667, 0.0264744825, 0.008216730963),
        *(0.001478859823, 0.003338417011, -0.00199064296, 0.00121173777),
    )
)
_Q32 = tuple(
    np.float32(c)
    for c in (
        *(0.9428090524, 0.0471393947, 0.00759271726, 0.001658284706),
        *(0.0007422619753, -0.000176200355, 0.0002344713665),
    )
)
_P64 = (
    *(1.4142135623730951, 0.11785113019774604, 0.026516504295916166, 0.007891816687096197),
    *(0.0026854115429505864, 0.0009886937064591983, 0.0003837000361256815),
    *(0.00015250797182385684, 7.287068257137792e-05, -7.185800992367848e-06),
    *(0.00010871230018361807, -0.00020499919349473681, 0.0003480987471498245),
    *(-0.00043000945159494793, 0.0004006882818589302, -0.0002688464467735859),
    *(0.00012425167869548127, -3.537835495282187e-05, 4.797541033020616e-06),
)
_Q64 = (
    *(0.9428090415820634, 0.04714045207910578, 0.007576144083861955, 0.00175373706836867),
    *(0.0004882560753931928, 0.0001521141993722164, 5.109425451483467e-05),
    *(1.8349126840897055e-05, 5.83672864724229e-06, 5.465788068101837e-06),
    *(-6.1128606173822415e-06, 1.3534533881674908e-05, -1.7948915243682663e-05),
    *(1.8519148835413642e-05, -1.3478121029305757e-05, 6.765053154679045e-06),
    *(-2.0764150855087167e-06, 3.0658986785827735e-07),
)


def angle(t: Any) -> Any:
    """Arccos(1 - t) for 0 <= t <= 1, in compiled code."""
    raise NotImplementedError(t)


def angle_moment(t: Any) -> Any:
    """Sin theta - theta cos theta with theta = arccos(1 - t), for 0 <= t <= 1, in compiled code."""
    raise NotImplementedError(t)


def _polynomial(coefficients: tuple[Any, ...]) -> Any:
    """Even and odd powers apart: two short chains of dependent multiplications, not a long one."""
    even, odd = coefficients[::2], coefficients[1::2]
    top_even, top_odd = len(even) - 1, len(odd) - 1

    @njit(fastmath={"contract"})
    @no_type_check
    def polynomial(t):
        square = t * t
        first = even[top_even]
        for k in range(top_even):
            first = first * square + even[top_even - 1 - k]
        second = odd[top_odd]
        for k in range(top_odd):
            second = second * square + odd[top_odd - 1 - k]
        return first + t * second

    return polynomial


_P = {types.float32: _polynomial(_P32), types.float64: _polynomial(_P64)}
_Q = {types.float32: _polynomial(_Q32), types.float64: _polynomial(_Q64)}


@overload(angle, jit_options={"fastmath": {"contract"}})
@no_type_check
def _angle(t):
    polynomial = _P[t]

    @no_type_check
    def implementation(t):
        return np.sqrt(t) * polynomial(t)

    return implementation


@overload(angle_moment, jit_options={"fastmath": {"contract"}})
@no_type_check
def _angle_moment(t):
    polynomial = _Q[t]

    @no_type_check
    def implementation(t):
        return np.sqrt(t) * (t * polynomial(t))

    return implementation
