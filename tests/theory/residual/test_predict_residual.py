"""Vertices of residual networks: limits, closed cases, and draws that tell two theories apart."""

import numpy as np
import pytest

import whydeep as wd
from whydeep.comparison import compare_residual
from whydeep.ensemble import measure_residual
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import residual_chain, residual_mlp
from whydeep.theory.residual import predict_residual

XS = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1]])
ONE = XS[:1]
METHODS = ("trajectories", "closure")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_without_skips_it_is_the_prediction_of_chains(method, activation):
    net = wd.mlp(3, (40, 90, 60), activation, weight_var=1.4, bias_var=0.1)
    expected = wd.predict(net, XS, order=1)
    found = predict_residual(net, XS, method=method)
    for name in ("kernel", "four_point"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_kernels_are_those_of_the_general_graph(activation):
    net = residual_mlp(4, 16, activation, skip=(0.9, 0.0, -1.2), weight_var=1.3, bias_var=0.2)
    found = predict_residual(net, XS)
    np.testing.assert_allclose(found["kernel"][-1], wd.kernel(net, XS).nngp, rtol=1e-9)


def test_linear_networks_need_no_memory_of_their_layers():
    net = residual_mlp(4, 16, "linear", skip=0.7, weight_var=0.8, bias_var=0.1)
    one, two = (predict_residual(net, XS, method=m)["four_point"] for m in METHODS)
    np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-12)


def test_critical_variances_keep_the_kernel_and_make_the_closure_grow_evenly():
    gamma = 0.8
    for activation, a in (("relu", 6.0), ("linear", 3.0)):
        net = residual_mlp(5, 16, activation, skip=gamma)
        found = predict_residual(net, ONE, method="closure")
        kernel = found["kernel"].squeeze().values
        np.testing.assert_allclose(kernel, kernel[0], rtol=1e-13)
        steps = np.diff(found["four_point"].squeeze().values[:5]) / kernel[0] ** 2
        nu = (1 - gamma**2) * ((a - 1) + gamma**2 * (5 - a))
        np.testing.assert_allclose(steps, nu, rtol=1e-12)
    chain = residual_chain(residual_mlp(2, 16, "gelu", skip=gamma))
    point = wd.critical("gelu").preferred
    x = np.full((1, 4), np.sqrt((point.kernel - point.bias_var) / point.weight_var))
    net = residual_mlp(6, 16, "gelu", skip=gamma)
    np.testing.assert_allclose(
        predict_residual(net, x)["kernel"].squeeze(), point.kernel, rtol=1e-9
    )
    np.testing.assert_allclose(chain.dense[1].bias_var, (1 - gamma**2) * point.bias_var)


def _images(rho):
    """Cov(relu(u)^2, relu(v)^2) of correlation rho: Cho and Saul 2009, degree 2."""
    theta = np.arccos(min(rho, 1.0))
    square = np.cos(theta) ** 2
    bracket = 3 * np.sin(theta) * np.cos(theta) + (np.pi - theta) * (1 + 2 * square)
    return bracket / (2 * np.pi) - 0.25


def test_trajectories_of_relu_are_the_sum_over_layers_in_closed_form():
    # At constant kernel K = 1 the correlation of layers m and m' is gamma^|m - m'|, and g' = 1/2.
    gamma, depth = 0.9, 6
    c_w = 2 * (1 - gamma**2)
    share = c_w / 2 + gamma**2  # = 1 at criticality

    expected = [0.0]
    for label in range(2, depth + 1):
        weight = [c_w * share ** (label - 1 - m) for m in range(1, label)]
        within = sum(
            weight[m] * weight[k] * _images(gamma ** abs(m - k))
            for m in range(label - 1)
            for k in range(label - 1)
        )
        # Cov(v^2, relu(u)^2) = rho^2 for correlation rho: half of Cov(v^2, u^2).
        across = 2 * sum(w * gamma ** (2 * (label - m)) for m, w in enumerate(weight, start=1))
        expected.append(within + across)
    net = residual_mlp(depth, 16, "relu", skip=gamma)
    x = np.full((1, 4), np.sqrt(0.5))
    found = predict_residual(net, x)["four_point"].squeeze().values[:depth]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(found[1:4], [0.7961, 1.7811, 2.9320], atol=5e-5)


def test_late_growth_of_both_theories():
    # A layer adds C_W^2 times the covariances of its images with those of all layers: 6.49 for
    # gamma = 0.5, where the closure says 3.56. Layers further off than 11 add gamma^11.
    net = residual_mlp(12, 16, "relu", skip=0.5)
    slopes = []
    for method in METHODS:
        found = predict_residual(net, np.full((1, 4), np.sqrt(0.5)), method=method)
        vertex = found["four_point"].squeeze().values
        slopes.append(vertex[11] - vertex[10])
    lags = _images(1.0) + 2 * sum(_images(0.5**k) for k in range(1, 60))
    np.testing.assert_allclose(slopes[0], 1.5**2 * lags, rtol=2e-3)
    np.testing.assert_allclose(slopes[1], 0.75 * 4.75, rtol=1e-10)


def test_inputs_that_repeat_and_change_places():
    net = residual_mlp(3, 16, "erf", skip=0.6)
    once = predict_residual(net, XS)["four_point"].values
    again = predict_residual(net, XS[[1, 0, 1]])["four_point"].values
    take = np.ix_(range(4), *[[1, 0, 1]] * 4)
    np.testing.assert_allclose(again, once[take], rtol=1e-9, atol=1e-12)


# -- against draws ---------------------------------------------------------------------------------


def test_draws_tell_the_two_theories_apart():
    # The table's declared error rate is 5 % for either; the seed is fixed. The closure is 11 % low
    # at layer 3, 19 % at layer 4, and 30 % at the output.
    net = residual_mlp(4, 32, "relu", skip=0.9)
    found = compare_residual(
        measure_residual(net, ONE, draws=100_000, seed=3),
        trajectories=predict_residual(net, ONE),
        closure=predict_residual(net, ONE, method="closure"),
    )
    assert found.verdicts == {"trajectories": "agrees", "closure": "disagrees"}
    assert np.all(np.abs(found.z["closure"][-2:]) > 5)
    assert "trajectories agrees" in str(found)


def test_draws_agree_off_criticality_for_two_inputs_and_unequal_skips():
    net = residual_mlp(4, 32, "gelu", skip=(0.9, 0.5, -1.1), weight_var=1.4, bias_var=0.1)
    measured = measure_residual(net, XS, draws=30_000, seed=5)
    exact = predict_residual(net, XS)
    wrong = predict_residual(
        residual_mlp(4, 32, "gelu", skip=(0.9, 0.45, -1.1), weight_var=1.4, bias_var=0.1), XS
    )
    found = compare_residual(measured, exact=exact)
    assert found.verdicts["exact"] != "disagrees"
    # The kernel at layer 1 and 2 is exact at any width; a skip 10 % off is seen in the vertex.
    se = measured.stderr["kernel"][1]
    assert np.all(np.abs(measured["kernel"] - exact["kernel"])[1] < 4.5 * se)
    off = (measured.ladder("four_point")[0][-1] - wrong["four_point"])[3]
    assert np.max(np.abs(off / measured.ladder("four_point")[1][-1][3])) > 5


def test_few_draws_resolve_nothing_and_say_how_many_would():
    # 64 draws: 18 +- 24 at the output, where the two theories are 30 % apart.
    net = residual_mlp(4, 32, "relu", skip=0.9)
    theories = {
        "trajectories": predict_residual(net, ONE),
        "closure": predict_residual(net, ONE, method="closure"),
    }
    few = compare_residual(measure_residual(net, ONE, draws=64, seed=3), **theories)
    assert set(few.verdicts.values()) == {"not resolved"}
    for name, reason in few.reasons.items():
        assert "draws would resolve 25%" in reason
        assert reason in str(few), name
    assert np.all(few.neglected > 0)


def test_neglected_orders_are_no_disagreement():
    # Width 4 for depth 8: the vertex is far from its first order, and no draws change that.
    net = residual_mlp(8, 4, "relu", skip=0.5)
    found = compare_residual(
        measure_residual(net, ONE, draws=60_000, seed=1), exact=predict_residual(net, ONE)
    )
    assert found.verdicts == {"exact": "not resolved"}


def test_the_sampler_agrees_with_weight_matrices():
    # Both sides are draws: t of the difference below 4.5 (7e-6 each, under 1e-3 over the table).
    n, count = 5, 60_000
    net = residual_mlp(3, n, "tanh", skip=(0.9, 0.7), outputs=2, weight_var=1.5, bias_var=0.2)
    measured = measure_residual(net, XS, draws=count, seed=1, rungs=1)
    rng = np.random.default_rng(2)
    z = rng.normal(size=(count, n, 3)) * np.sqrt(1.5 / 3) @ XS.T
    z += np.sqrt(0.2) * rng.normal(size=(count, n, 1))
    for width, skip in ((n, 0.9), (n, 0.7), (2, 0.0)):
        w = rng.normal(size=(count, width, n)) * np.sqrt(1.5 / n)
        fresh = w @ np.tanh(z) + np.sqrt(0.2) * rng.normal(size=(count, width, 1))
        z = fresh + skip * z if skip else fresh
        if skip == 0.7:
            third = z
    for label, values in ((3, third), (4, z)):
        products = np.einsum("da,db,dc,de->dabce", *[values[:, 0]] * 2, *[values[:, 1]] * 2)
        metric = np.einsum("da,db->dab", values[:, 0], values[:, 0])
        batches = products.reshape(100, -1, 2, 2, 2, 2).mean(axis=1)
        kernels = metric.reshape(100, -1, 2, 2).mean(axis=1)
        mean = kernels.mean(axis=0)
        vertex = n * (batches.mean(axis=0) - np.einsum("ab,cd->abcd", mean, mean))
        error = n * batches.std(axis=0, ddof=1) / 10
        gap = vertex - measured["four_point"].sel(layer=label).values
        total = np.hypot(error, measured.stderr["four_point"].sel(layer=label).values)
        assert np.all(np.abs(gap) < 4.5 * total)
        gap = mean - measured["kernel"].sel(layer=label).values
        assert np.all(np.abs(gap) < 4.5 * kernels.std(axis=0, ddof=1) / 10)


# -- what it reads, and what it refuses ------------------------------------------------------------


def test_a_chain_is_read_from_any_graph_of_its_form():
    dense, act = wd.Dense(8, 1.5, 0.1), wd.Activation("tanh")
    plain = wd.chain(dense, wd.Residual(wd.chain(act, dense)), act, wd.Dense(1))
    assert residual_chain(plain).skips == (0.0, 1.0, 0.0)
    scaled = wd.chain(wd.Identity(), wd.Affine(0.5), wd.Affine(-0.5))
    other = wd.chain(dense, wd.Add(wd.chain(act, dense), scaled), act, dense)
    assert residual_chain(other).skips == (0.0, -0.25, 0.0)
    ends = wd.chain(dense, wd.Residual(wd.chain(act, dense)))
    assert residual_chain(ends).skips == (0.0, 1.0)
    for refused in (
        wd.chain(dense, wd.Residual(wd.chain(act, dense), wd.Affine(1.0, 0.5)), act, wd.Dense(1)),
        wd.chain(dense, wd.Multiply(wd.Identity(), wd.chain(act, dense)), act, wd.Dense(1)),
        wd.chain(dense, wd.Residual(wd.chain(act, dense, act, dense)), act, wd.Dense(1)),
        wd.Residual(wd.chain(dense, act, dense), dense),
        wd.chain(dense, act, dense, wd.Activation("relu"), dense),
        wd.resnet((1, 1), 8),
    ):
        with pytest.raises(UnsupportedError):
            residual_chain(refused)


def test_what_can_not_be_predicted_or_measured_is_refused():
    net = residual_mlp(3, 8, "relu")
    with pytest.raises(InputError, match="method"):
        predict_residual(net, ONE, method="exact")
    with pytest.raises(InputError, match="takes too long"):
        predict_residual(net, np.eye(31))
    with pytest.raises(UnsupportedError, match="fourth moments"):
        predict_residual(residual_mlp(2, 8, "exp", weight_var=0.1, bias_var=0.1), ONE)
    with pytest.raises(UnsupportedError, match="skip"):
        residual_mlp(3, 8, "relu", skip=1.0)
    with pytest.raises(InputError, match="wrong length"):
        residual_mlp(3, 8, "relu", skip=(0.5, 0.5, 0.5))
    measured = measure_residual(net, ONE, draws=200, rungs=1)
    with pytest.raises(InputError, match="One width"):
        compare_residual(measured, a=predict_residual(net, ONE))
    with pytest.raises(InputError, match="different networks"):
        compare_residual(measured, a=predict_residual(residual_mlp(3, 9, "relu"), ONE))
    with pytest.raises(InputError, match="nothing to compare"):
        compare_residual(measured)
    with pytest.raises(InputError, match="of type Measurement"):
        compare_residual(measured, a=measured)
    with pytest.raises(InputError, match="of type Prediction"):
        compare_residual(predict_residual(net, ONE), a=predict_residual(net, ONE))
    with pytest.raises(InputError, match="inputs"):
        measure_residual(net, np.eye(21), draws=200)
