import math

import numpy as np
import pytest

from whydeep import activations
from whydeep.errors import UnsupportedError
from whydeep.gaussian import Covariance, critical, second_moments, slopes

# Bias variance, weight variance and kernel, to all digits of an independent solution.
HALF_STABLE = {
    "silu": (0.5551431707, 1.9880046783, 14.3201736180),
    "gelu": (0.1729223908, 1.9830582574, 3.5615528128),
    "mish": (0.0945217874, 2.0135240697, 1.6701691325),
}


@pytest.mark.parametrize("name", HALF_STABLE)
def test_half_stable(name):
    found = critical(name)
    assert found.universality_class == "half-stable"
    point = found.preferred
    values = (point.bias_var, point.weight_var, point.kernel)
    np.testing.assert_allclose(values, HALF_STABLE[name], atol=6e-11, rtol=0)


def test_gelu_by_tanh_is_close_to_gelu():
    near, exact = critical("gelu_tanh").preferred, critical("gelu").preferred
    assert near.weight_var == pytest.approx(exact.weight_var, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "weight_var"),
    [("tanh", 1.0), ("sin", 1.0), ("erf", math.pi / 4), ("hard_tanh", 1.0), ("elu", 1.0)],
)
def test_kernel_zero(name, weight_var):
    found = critical(name)
    assert found.universality_class == "K*=0"
    assert found.preferred.weight_var == pytest.approx(weight_var, rel=1e-12)
    assert (found.preferred.bias_var, found.preferred.kernel) == (0.0, 0.0)


def test_selu_has_the_mean_of_both_slopes():
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    expected = 2 / (scale**2 + (scale * alpha) ** 2)
    assert critical("selu").preferred.weight_var == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "weight_var"),
    [("relu", 2.0), ("linear", 1.0), ("abs", 1.0), ("leaky_relu(0.5)", 1.6), ("monomial(1)", 1.0)],
)
def test_scale_invariant(name, weight_var):
    found = critical(name)
    assert found.universality_class == "scale-invariant"
    assert found.preferred.weight_var == pytest.approx(weight_var)
    assert math.isnan(found.preferred.kernel)


@pytest.mark.parametrize(
    "name",
    ["sigmoid", "softplus", "exp", "cos", "step", "gaussian", "monomial(2)", "monomial(3)"],
)
def test_none_names_numbers_that_work(name):
    found = critical(name)
    assert found.universality_class == "none"
    with pytest.raises(UnsupportedError, match="weight_var="):
        _ = found.preferred
    weight_var, bias_var = found.fallback
    cov = Covariance.from_points(np.ones((1, 1)), weight_var, bias_var)
    for _ in range(20):
        moments = second_moments(name, cov)
        variance = bias_var + weight_var * moments.variance
        cov = Covariance(variance, np.zeros((1, 1)), 4 * variance[None])
    assert cov.variance[0] < 100


@pytest.mark.parametrize("name", ["silu", "gelu", "mish", "gelu_tanh"])
def test_points_solve_all_three_equations(name):
    for point in critical(name).points[:1]:
        h = 1e-4
        kernels = point.kernel * np.array([1 - h, 1.0, 1 + h])
        cov = Covariance(
            kernels,
            np.abs(np.subtract.outer(kernels, kernels)) * 0
            + np.add.outer(kernels, kernels) * (1 - np.eye(3)),
            np.add.outer(kernels, kernels) * (1 + np.eye(3)),
        )
        squares = second_moments(name, cov, tolerance=1e-14).variance
        assert point.bias_var + point.weight_var * squares[1] == pytest.approx(point.kernel)
        assert point.weight_var * slopes(name, cov).value[1, 1] == pytest.approx(1, abs=1e-11)
        parallel = point.weight_var * (squares[2] - squares[0]) / (kernels[2] - kernels[0])
        assert parallel == pytest.approx(1, abs=1e-6)


def test_functions_of_the_user():
    leaky = activations.custom(lambda z: z * (z > 0), kinks=(0.0,), name="own relu")
    assert critical(leaky).universality_class == "scale-invariant"
    assert critical(leaky).preferred.weight_var == pytest.approx(2.0)
    explosive = critical(activations.custom(lambda z: z + z**3, name="explosive"))
    assert explosive.universality_class == "none"
    assert explosive.points[0].weight_var == pytest.approx(1.0)


def test_answers_are_remembered():
    assert critical("gelu") is critical(activations.get("gelu"))
