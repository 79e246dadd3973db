"""Compiled polynomials for the angle between two Gaussian variables, against 40 digits."""

import mpmath
import numpy as np
import pytest
from numba import njit

from whydeep.theory.infinite.conv._arccos import angle, angle_moment


@njit
def evaluate(t):
    angles, moments = np.empty_like(t), np.empty_like(t)
    for i in range(t.size):
        angles[i], moments[i] = angle(t[i]), angle_moment(t[i])
    return angles, moments


def exact(t):
    t = mpmath.mpf(float(t))
    theta = 2 * mpmath.asin(mpmath.sqrt(t / 2))
    return theta, mpmath.sin(theta) - theta * (1 - t)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_functions_to_a_few_rounding_units(dtype):
    # Three roundings of the result, and half a unit for each of the two chains of the polynomial.
    allowed = 4 * float(np.finfo(dtype).eps)
    t = np.concatenate([np.linspace(0, 1, 701)[1:], np.geomspace(1e-12, 1, 200)]).astype(dtype)
    with mpmath.workdps(60):
        for got, want in zip(zip(*evaluate(t), strict=True), map(exact, t), strict=True):
            for g, w in zip(got, want, strict=True):
                assert abs(mpmath.mpf(float(g)) / w - 1) < allowed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_coincident_and_independent_variables(dtype):
    angles, moments = evaluate(np.array([0.0, 1.0], dtype))
    assert angles[0] == 0.0
    assert moments[0] == 0.0
    eps = float(np.finfo(dtype).eps)
    assert float(angles[1]) == pytest.approx(np.pi / 2, rel=2 * eps)
    assert float(moments[1]) == pytest.approx(1.0, rel=2 * eps)
    assert angles.dtype == moments.dtype == dtype
