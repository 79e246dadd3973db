"""The law of one preactivation, against its moments and against an exact law."""

import numpy as np
import pytest
from scipy import integrate, stats

from whydeep.errors import InputError
from whydeep.network import mlp
from whydeep.theory.finite import preactivation_density, predict


@pytest.fixture(scope="module")
def predicted():
    return predict(mlp(3, (20, 30, 40), "relu"), np.array([[1.0, 1.0], [1.0, -0.5]]))


@pytest.mark.parametrize(("layer", "below"), [(1, 1), (2, 20), (3, 30), (4, 40), (None, 40)])
@pytest.mark.parametrize("index", [0, 1])
def test_norm_variance_and_fourth_moment_are_those_of_the_observables(
    predicted, layer, below, index
):
    at = -1 if layer is None else layer - 1
    K = float(predicted["kernel"].values[at, index, index])
    G = float(predicted["kernel_correction"].values[at, index, index])
    V = float(predicted["four_point"].values[at, index, index, index, index])
    corrected = K + G / below
    # The trapezoid rule is exact to rounding for a polynomial times a Gaussian cut at 14 sigma.
    z = np.linspace(-14, 14, 2001) * np.sqrt(corrected)
    density = preactivation_density(predicted, z, layer=layer, index=index)
    moments = [np.trapezoid(z**k * density, z) for k in (0, 2, 4)]
    expected = [1.0, corrected, 3 * corrected**2 + 3 * V / below]
    np.testing.assert_allclose(moments, expected, rtol=1e-12)


def test_infinite_width_is_the_gaussian_law_of_the_kernel(predicted):
    z = np.linspace(-3, 3, 7)
    sigma = np.sqrt(float(predicted["kernel"].values[-1, 1, 1]))
    found = preactivation_density(predicted, z, index=1, order=0)
    np.testing.assert_allclose(found, stats.norm.pdf(z, scale=sigma), rtol=1e-13)


def exact_density_of_a_linear_network(z, n):
    """One hidden layer of n linear neurons, |x|^2 / n_0 = 1: z | S is N(0, S), n S is chi^2_n."""

    def weighted(s):
        return stats.norm.pdf(z, scale=np.sqrt(s)) * n * stats.chi2.pdf(n * s, n)

    return integrate.quad(weighted, 0.0, 20.0, points=(0.5, 1.0, 2.0), limit=200)[0]


@pytest.mark.parametrize("z", [0.0, 0.8, 2.0, 3.0])
def test_what_is_neglected_falls_like_the_square_of_the_width(z):
    # Theory: exact - first order = c / n^2 + O(1 / n^3), so a doubled width divides it by 4;
    # the next order changes that by a share of order 1 / n, hence the 15 % at n = 200.
    errors = []
    for n in (200, 400):
        predicted = predict(mlp(1, n, "linear"), np.array([[1.0, 1.0]]))
        first = preactivation_density(predicted, np.array([z]))[0]
        errors.append(exact_density_of_a_linear_network(z, n) - first)
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"order": 2}, "first order"),
        ({"layer": 0}, "no such layer"),
        ({"layer": 5}, "no such layer"),
        ({"index": 2}, "no such input"),
        ({"index": -1}, "no such input"),
    ],
)
def test_what_does_not_exist_is_refused(predicted, arguments, problem):
    with pytest.raises(InputError, match=problem):
        preactivation_density(predicted, np.zeros(1), **arguments)


def test_a_prediction_of_order_0_has_no_first_order():
    predicted = predict(mlp(1, 8, "relu"), np.eye(2), order=0)
    assert preactivation_density(predicted, np.zeros(1), order=0).shape == (1,)
    with pytest.raises(InputError, match="does not hold"):
        preactivation_density(predicted, np.zeros(1))
