"""Critical points wherever they are: known polynomials, all units, double roots."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import whydeep as wd
from whydeep.errors import UnsupportedError
from whydeep.gaussian import critical


@pytest.mark.parametrize("k", range(-12, 13))
def test_squares_have_their_point_at_a(k):
    """s = (z^2 - a)/sqrt 2: <z s s'>/K = 3K - a and <s'^2> = 2K, so K* = a, C_W = 1/(2a).

    C_b is a/2. Every a is a node of the scan.
    """
    a = 10.0 ** (k / 2)
    found = critical(lambda z: (z * z - a) / np.sqrt(2.0))
    assert found.universality_class == "half-stable"
    (point,) = found.points
    values = point.kernel / a, point.weight_var * 2 * a, point.bias_var * 2 / a
    np.testing.assert_allclose(values, 1.0, rtol=1e-9)


def test_hermite_polynomials_have_a_point_at_one():
    """h_p' = sqrt p h_(p-1), orthonormal at K = 1: <s'^2> = p = <z s s'>, so C_W = 1/p."""
    for p in (2, 3, 4):
        point = critical(f"hermite({p})").preferred
        values = point.kernel, point.weight_var, point.bias_var
        np.testing.assert_allclose(values, [1.0, 1 / p, 1 - 1 / p], rtol=1e-9)
    wd.mlp(2, 8, "hermite(2)")


@pytest.mark.parametrize("unit", [1e-2, 1e2, 1e3])
def test_units_of_inputs_and_outputs_scale_the_point(unit):
    """s(cz) has all over c^2, and c s(z) has C_W/c^2, with the same C_b and K*."""
    plain = critical("gelu").preferred
    inner = critical(lambda z: jax.nn.gelu(unit * z, approximate=False)).preferred
    outer = critical(lambda z: unit * jax.nn.gelu(z, approximate=False)).preferred
    expected = plain.kernel, plain.weight_var, plain.bias_var
    np.testing.assert_allclose(
        np.array([inner.kernel, inner.weight_var, inner.bias_var]) * unit**2, expected, rtol=1e-9
    )
    np.testing.assert_allclose(
        [outer.kernel, outer.weight_var * unit**2, outer.bias_var], expected, rtol=1e-9
    )


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3, 1e6])
def test_units_do_not_hide_the_point_at_zero(unit):
    for f in (lambda z: jnp.tanh(unit * z), lambda z: unit * jnp.tanh(z)):
        found = critical(f)
        assert found.universality_class == "K*=0"
        np.testing.assert_allclose(found.preferred.weight_var * unit**2, 1.0, rtol=1e-9)


def _quintic(g):
    return lambda z: z - z**3 + g * z**5


@pytest.mark.parametrize("shift", [0.0, 1e-6, -1e-6, 1e-3, -1e-3])
def test_points_that_touch_or_nearly_do(shift):
    """For s = z - z^3 + g z^5 Gaussian moments give the equation (<z s s'>/K - <s'^2>)/K = 0,

        2100 g^2 K^3 - 390 g K^2 + (18 + 60 g) K - 6 = 0,

    with a double root K = 2/3 at g = 9/140, and two roots or none about it at others.
    """
    g = 9 / 140 * (1 + shift)
    roots = np.roots([2100 * g * g, -390 * g, 18 + 60 * g, -6.0])
    found = [p.kernel for p in critical(_quintic(g)).points if p.kernel > 0]
    if shift == 0:
        np.testing.assert_allclose(found, [2 / 3, 14 / 9], rtol=1e-5)
    else:
        expected = np.sort(roots[np.abs(roots.imag) < 1e-9].real)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_numbers_that_are_offered_instead_keep_kernels_finite():
    found = critical(lambda z: 1e3 * jnp.cos(z))
    assert found.universality_class == "none"
    weight_var, bias_var = found.fallback
    kernel = 1.0
    for _ in range(50):  # <cos^2> = (1 + exp(-2K))/2
        kernel = bias_var + weight_var * 1e6 * (1 + np.exp(-2 * kernel)) / 2
    assert kernel < 100
    with pytest.raises(UnsupportedError, match=f"{weight_var:.6g}"):
        assert found.preferred
