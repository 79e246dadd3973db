"""Kernels far from unit scale: right at any variance, or refused in words."""

import math
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

import whydeep as wd
from tests.oracles import _oracle as oracle
from whydeep.errors import UnsupportedError

_X = np.array([[1.0, 1.0], [1.0, 0.2]])


@pytest.mark.parametrize("name", ["tanh", "silu", "softplus", "sigmoid", "elu", "hard_tanh"])
@pytest.mark.parametrize("scale", [20.0, 1e6])
def test_kernels_far_above_unit_scale(name, scale):
    # the tangent kernel of tanh was 3.70 at 100, where 1.58 is right
    answer = oracle.kernels(name, 1, 1.0, 0.0, *(scale * _X))
    net = wd.mlp(1, 64, name, weight_var=1.0, bias_var=0.0)
    found, predicted = wd.kernel(net, scale * _X), wd.predict(net, scale * _X, order=0)
    for nngp, ntk in (
        (found.nngp, found.ntk),
        (predicted["kernel"].values[-1], predicted["ntk"].values[-1]),
    ):
        assert abs(nngp[0, 1] - answer.nngp) <= 1e-10 * answer.nngp_scale
        assert abs(ntk[0, 1] - answer.ntk) <= 1e-10 * answer.ntk_scale


def test_the_number_of_the_issue():
    net = wd.mlp(1, 64, "tanh", weight_var=1.0, bias_var=0.0)
    assert wd.kernel(net, 20.0 * _X).ntk[0, 0] == pytest.approx(11.594, abs=5e-4)


def test_inputs_of_one_norm_at_large_variance():
    turned = 300.0 * np.array([[1.0, 0.0], [np.cos(0.3), np.sin(0.3)], [-1.0, 0.0]])
    net = wd.mlp(2, 64, "tanh", weight_var=2.0, bias_var=0.1)
    found = wd.kernel(net, turned)
    answer = oracle.kernels("tanh", 2, 2.0, 0.1, turned[0], turned[1])
    assert abs(found.ntk[0, 1] - answer.ntk) <= 1e-10 * answer.ntk_scale
    assert abs(found.nngp[0, 1] - answer.nngp) <= 1e-10 * answer.nngp_scale


def test_near_duplicates_keep_their_distance_at_large_variance():
    # 1 - c = 5e-13, which a covariance in float64 holds to three digits
    pair = 1e4 * np.array([[1.0, 1.0], [1.0, 1.0 + 2e-6]])
    answer = oracle.kernels("erf", 1, 1.0, 0.3, *pair)
    found = wd.kernel(wd.mlp(1, 8, "erf", weight_var=1.0, bias_var=0.3), pair)
    assert abs(found.ntk[0, 1] - answer.ntk) <= 1e-10 * answer.ntk_scale


@pytest.mark.parametrize("name", ["relu", "tanh", "elu", "gelu"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_weight_variance_of_zero_leaves_the_bias(name, place):
    weights = [2.0, 2.0, 2.0]
    weights[place] = 0.0
    net = wd.mlp(2, 16, name, weight_var=weights, bias_var=[0.1, 0.2, 0.3])
    found = wd.kernel(net, _X)
    predicted = wd.predict(net, _X, order=0)
    np.testing.assert_allclose(found.nngp, predicted["kernel"].values[-1], rtol=1e-11)
    np.testing.assert_allclose(found.ntk, predicted["ntk"].values[-1], rtol=1e-11)
    assert np.ptp(found.nngp) == 0.0  # all inputs are alike from there on
    if place == 2:
        assert np.all(found.nngp == 0.3)
        bare = wd.mlp(2, 16, name, weight_var=weights, bias_var=0.0)
        assert not np.any(wd.kernel(bare, _X).nngp)


def test_float32_gives_what_it_holds_and_refuses_the_rest():
    net = wd.mlp(1, 64, "relu", weight_var=1.0, bias_var=0.0)
    held = wd.kernel(net, 1e19 * _X, dtype="float32")
    np.testing.assert_allclose(held.nngp, wd.kernel(net, 1e19 * _X).nngp, rtol=2e-6)
    # 1e60 on the way, and 1e30 in the end
    steep = wd.mlp(3, 64, "relu", weight_var=1e15, bias_var=0.0)
    held = wd.kernel(steep, 1e-15 * _X, dtype="float32")
    np.testing.assert_allclose(held.ntk, wd.kernel(steep, 1e-15 * _X).ntk, rtol=2e-6)
    with pytest.raises(UnsupportedError, match="larger than float32 holds"):
        wd.kernel(steep, _X, dtype="float32")


def test_extremes_are_right_or_refused():
    tanh = wd.mlp(1, 64, "tanh", weight_var=1.0, bias_var=0.0)
    np.testing.assert_allclose(
        wd.kernel(tanh, 1e-100 * _X).nngp, np.array([[1, 0.6], [0.6, 0.52]]) * 1e-200, rtol=1e-12
    )
    relu = wd.mlp(1, 64, "relu", weight_var=1.0, bias_var=0.0)
    for x in (1e-160 * _X, (1e-160 * _X, 1e-160 * _X)):
        with pytest.raises(UnsupportedError, match="smaller than float64 holds"):
            wd.kernel(relu, *(x if isinstance(x, tuple) else (x,)))
    for name in ("tanh", "relu"):
        with pytest.raises(UnsupportedError, match="smaller than float64 holds"):
            wd.kernel(wd.mlp(1, 64, name, weight_var=1e-300, bias_var=0.0), _X)
    heavy = wd.kernel(wd.mlp(1, 64, "relu", weight_var=1.0, bias_var=1e300), _X)
    np.testing.assert_allclose(heavy.nngp, 1.5e300, rtol=1e-12)
    # at 1e10 erf is a sign: the arc sine law
    angle = np.arctan2(0.8, 1.2)
    erf = wd.kernel(wd.mlp(1, 64, "erf", weight_var=1.0, bias_var=0.0), 1e10 * _X)
    assert erf.nngp[0, 1] == pytest.approx(1.0 - 2.0 * angle / np.pi, abs=1e-9)
    gelu = wd.kernel(wd.mlp(1, 64, "gelu", weight_var=1.0, bias_var=0.0), 1e10 * _X)
    np.testing.assert_allclose(gelu.nngp, wd.kernel(relu, 1e10 * _X).nngp, rtol=1e-9)


def test_a_rough_kernel_warns_and_estimators_pass_it_on(monkeypatch):
    from whydeep.theory.infinite import _kernel

    real = _kernel.fast_kernels

    def rough(*args, **how):
        (nngp, ntk, _), reason = real(*args, **how)
        return (nngp, ntk, 2e-6), reason

    monkeypatch.setattr(_kernel, "fast_kernels", rough)
    net = wd.mlp(1, 8, "relu")
    with pytest.warns(UserWarning, match="only known to"):
        wd.kernel(net, _X)
    with pytest.warns(UserWarning, match="only known to"):
        wd.NNGPRegressor(net, noise=0.1).fit(_X, np.array([0.0, 1.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.undo()
        wd.kernel(net, _X)


def test_what_no_table_reaches_is_refused_in_words():
    net = wd.mlp(1, 8, _waves, weight_var=1.0, bias_var=0.0)
    with pytest.raises(UnsupportedError, match="out of reach"):
        wd.kernel(net, 1e6 * _X)


def _waves(z):
    return z + jnp.sin(z)


@pytest.mark.parametrize("power", [2, 3, 5])
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 100.0])
def test_a_power_is_as_exact_at_any_scale(power, scale):
    # Of one input K_(l+1) = C_W <relu(z)^(2p)> = C_W (2p - 1)!! / 2 K_l^p, and of two at an angle
    # everything scales: the correlations of all layers are those at unit scale.
    x = np.array([[1.0, 0.5, -0.3], [0.2, -1.0, 0.7], [1.0, 0.5, -0.29]])
    net = wd.mlp(2, 8, f"rectified_monomial({power})", weight_var=1.5, bias_var=0.0)
    found = wd.kernel(net, scale * x)
    predicted = wd.predict(net, scale * x, order=0)["kernel"].values[-1]
    variance = 1.5 * np.mean((scale * x) ** 2, axis=1)
    for _ in range(2):
        variance = 1.5 * math.prod(range(2 * power - 1, 0, -2)) / 2.0 * variance**power
    np.testing.assert_allclose(np.diagonal(found.nngp), variance, rtol=1e-13)
    np.testing.assert_allclose(predicted, found.nngp, rtol=1e-12)
    unit = wd.kernel(net, x)
    for own, one in ((found.nngp, unit.nngp), (found.ntk, unit.ntk)):
        deviation, alone = np.sqrt(np.diagonal(own)), np.sqrt(np.diagonal(one))
        correlation = own / deviation[:, None] / deviation
        np.testing.assert_allclose(correlation, one / alone[:, None] / alone, atol=1e-13)


def test_a_kernel_below_the_smallest_numbers_is_refused_for_that_reason():
    net = wd.mlp(2, 8, "rectified_monomial(5)", weight_var=1.0, bias_var=0.0)
    for ask in (wd.kernel, lambda *given: wd.predict(*given, order=0)):
        with pytest.raises(wd.errors.UnsupportedError, match="smaller than float64 holds"):
            ask(net, 3e-7 * np.eye(2))


@pytest.mark.parametrize("name", ["tanh", "silu", "rectified_monomial(2)"])
def test_inputs_at_a_right_angle_far_from_unit_scale(name):
    net = wd.mlp(2, 8, name, weight_var=1.0, bias_var=0.1)
    found, predicted = wd.kernel(net, 30.0 * np.eye(2)), wd.predict(net, 30.0 * np.eye(2), order=0)
    np.testing.assert_allclose(predicted["kernel"].values[-1], found.nngp, rtol=1e-11)
