"""Means over one sample and their derivatives in its variance."""

import math

import numpy as np
import pytest

from whydeep.errors import InputError, UnsupportedError
from whydeep.gaussian import Covariance, second_moments, self_derivatives, single_means, slopes


def test_sine_has_closed_forms():
    k = np.array([0.0, 1e-6, 0.3, 2.0, 9.0])
    found = single_means("sin", k)
    two, eight = np.exp(-2 * k), np.exp(-8 * k)
    expected = {
        "square": -np.expm1(-2 * k) / 2,
        "square_1": two,
        "square_2": -2 * two,
        "slope": (1 + two) / 2,
        "slope_1": -two,
        "fourth": (3 - 4 * two + eight) / 8,
        "mixed": -np.expm1(-8 * k) / 8,
        "slope_fourth": (3 + 4 * two + eight) / 8,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(
            getattr(found, name), value, rtol=1e-11, atol=1e-14, err_msg=name
        )
    assert np.all(found.error < 1e-11)


@pytest.mark.parametrize("activation", ["gelu", "relu", "leaky_relu(0.3)", "elu", "softplus"])
def test_they_are_the_means_of_larger_sets(activation):
    k = np.array([0.2, 1.0, 5.0])
    found = single_means(activation, k)
    law = Covariance.from_matrix(np.diag(k))
    table = self_derivatives(activation, law, 4).value
    np.testing.assert_allclose(found.square, second_moments(activation, law).variance, rtol=1e-11)
    np.testing.assert_allclose(found.square_1, table[2] / 2, rtol=1e-10)
    np.testing.assert_allclose(found.square_2, table[4] / 4, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.slope, np.diagonal(slopes(activation, law).value), rtol=1e-11)


@pytest.mark.parametrize("activation", ["elu", "hard_tanh"])
def test_derivatives_across_kinks_are_those_of_the_means(activation):
    kernel, step = np.array([0.3, 2.0]), 1e-3
    h = step * kernel
    around = [single_means(activation, kernel + k * h) for k in (-2, -1, 1, 2)]
    found = single_means(activation, kernel)

    def slope(name):  # five points: what is left is of order step^4
        a, b, c, d = (getattr(m, name) for m in around)
        return (a - 8 * b + 8 * c - d) / (12 * h)

    every = single_means(activation, np.geomspace(1e-2, 30, 40))
    alone = single_means(activation, np.geomspace(1e-2, 30, 40)[17:18])
    np.testing.assert_allclose(every.square_2[17], alone.square_2[0], rtol=1e-9)
    np.testing.assert_allclose(found.square_1, slope("square"), rtol=1e-9)
    np.testing.assert_allclose(found.square_2, slope("square_1"), rtol=1e-8)
    np.testing.assert_allclose(found.slope_1, slope("slope"), rtol=1e-8)


def test_rectified_means_by_half_lines():
    k = 1.7
    found = single_means("relu", np.array([k]))
    assert math.isclose(found.square[0], k / 2)
    assert math.isclose(found.fourth[0], 1.5 * k**2)
    assert math.isclose(found.mixed[0], k / 2)
    assert (found.square_2[0], found.slope_1[0]) == (0, 0)


def test_variances_and_activations_that_can_not_be_used():
    with pytest.raises(InputError, match="at least 0"):
        single_means("tanh", np.array([-1.0]))
    with pytest.raises(InputError, match="kinks"):
        single_means("elu", np.array([0.0]))
    with pytest.raises(UnsupportedError, match="jumps"):
        single_means("step", np.array([1.0]))
