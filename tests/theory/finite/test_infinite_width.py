"""Kernels and tangent kernels against closed forms, limits and invariances."""

import numpy as np
import pytest

from whydeep.errors import InputError, UnsupportedError
from whydeep.network import mlp
from whydeep.theory.finite import predict

RNG = np.random.default_rng(3)
X = RNG.normal(size=(3, 4))


def test_linear_networks_in_closed_form():
    c_w, c_b, l_w, l_b = 1.3, 0.2, 0.7, 0.4
    net = mlp(3, 8, "linear", weight_var=c_w, bias_var=c_b, weight_lr=l_w, bias_lr=l_b)
    predicted = predict(net, X, order=0)
    gram = X @ X.T / 4
    kernel, ntk = c_b + c_w * gram, l_b + l_w * gram
    for layer in range(4):
        np.testing.assert_allclose(predicted["kernel"].values[layer], kernel, rtol=1e-12)
        np.testing.assert_allclose(predicted["ntk"].values[layer], ntk, rtol=1e-12)
        kernel, ntk = c_b + c_w * kernel, l_b + l_w * kernel + c_w * ntk


def arc_cosine(kernel):
    """<s s> and <s' s'> of relu (Cho and Saul 2009), written down here once more."""
    norms = np.sqrt(np.outer(np.diag(kernel), np.diag(kernel)))
    cosine = np.clip(kernel / norms, -1, 1)
    angle = np.arccos(cosine)
    first = norms / (2 * np.pi) * (np.sqrt(1 - cosine**2) + (np.pi - angle) * cosine)
    return first, (np.pi - angle) / (2 * np.pi)


def test_relu_networks_in_closed_form():
    net = mlp(4, 8, "relu", weight_var=1.7, bias_var=0.1, weight_lr=0.6, bias_lr=0.3)
    predicted = predict(net, X, order=0)
    gram = X @ X.T / 4
    kernel, ntk = 0.1 + 1.7 * gram, 0.3 + 0.6 * gram
    off = ~np.eye(3, dtype=bool)  # arccos itself loses digits where inputs coincide
    for layer in range(5):
        np.testing.assert_allclose(predicted["kernel"].values[layer], kernel, rtol=1e-11)
        np.testing.assert_allclose(predicted["ntk"].values[layer][off], ntk[off], rtol=1e-11)
        images, slopes = arc_cosine(kernel)
        np.fill_diagonal(slopes, 0.5)
        kernel, ntk = 0.1 + 1.7 * images, 0.3 + 0.6 * images + 1.7 * ntk * slopes


def test_critical_relu_keeps_norms_and_adds_up_tangents():
    x = X / np.sqrt((X**2).mean(axis=1, keepdims=True))
    predicted = predict(mlp(20, 8, "relu"), x, order=0)
    layers = np.arange(1, 22)
    diagonal = np.einsum("laa->la", predicted["kernel"].values)
    np.testing.assert_allclose(diagonal, 2.0, rtol=1e-12)
    tangent = np.einsum("laa->la", predicted["ntk"].values)
    np.testing.assert_allclose(tangent, 2.0 * layers[:, None] * np.ones(3), rtol=1e-12)


def test_critical_tanh_flows_to_zero_like_one_over_depth():
    # 2 l K at l = 10, 30, 100, from K = 1 (notes 2.5, independent numerics).
    predicted = predict(mlp(99, 8, "tanh"), np.ones((1, 1)), order=0)
    kernel = predicted["kernel"].values.squeeze()
    for layer, value in ((10, 1.160), (30, 1.066), (100, 1.024)):
        assert 2 * layer * kernel[layer - 1] == pytest.approx(value, abs=6e-4)


def test_tangent_kernel_with_rates_falling_as_one_over_layer_saturates():
    # tanh, lambda_b = 1/l, lambda_W = 1: Theta tends to 3/2 (learning-rate equivalence, notes 2.6).
    depth = 199
    rates = tuple(1.0 / np.arange(1, depth + 2))
    net = mlp(depth, 8, "tanh", bias_lr=rates, weight_lr=1.0)
    ntk = predict(net, np.ones((1, 1)), order=0)["ntk"].values.squeeze()
    assert ntk[-1] == pytest.approx(1.5, abs=0.03)
    assert abs(ntk[-1] - 1.5) < abs(ntk[99] - 1.5)


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "elu", "hard_tanh", "mish"])
def test_inputs_may_be_permuted_repeated_and_left_out(activation):
    net = mlp(2, 8, activation, weight_var=1.4, bias_var=0.1)
    whole = predict(net, X)
    index = [2, 0, 0]
    part = predict(net, X[index])
    for name in whole:
        take = np.ix_(range(3), *[index] * (whole[name].ndim - 1))
        np.testing.assert_allclose(
            part[name].values, whole[name].values[take], rtol=2e-6, atol=1e-9, err_msg=name
        )


def test_nearby_inputs_keep_their_distance():
    # For a linear first layer and tanh at small scale distances are carried, not subtracted.
    x = np.ones((2, 4))
    x[1, 0] += 1e-9
    predicted = predict(mlp(6, 8, "tanh"), x, order=0)
    kernel = predicted["kernel"].values
    assert np.all(kernel[:, 0, 0] + kernel[:, 1, 1] - 2 * kernel[:, 0, 1] >= -2e-15)


def test_standard_parameterization_has_rates_of_fan_in():
    standard = mlp(2, (5, 6), "relu", parameterization="standard")
    explicit = mlp(2, (5, 6), "relu", weight_lr=(4, 5, 6), bias_lr=1.0)
    a, b = predict(standard, X, order=0), predict(explicit, X, order=0)
    np.testing.assert_array_equal(a["ntk"].values, b["ntk"].values)


def test_what_does_not_exist_is_refused_by_name():
    net = mlp(2, 8, "step", weight_var=1.0, bias_var=0.1)
    predicted = predict(net, X, order=0)
    assert "ntk" not in predicted
    assert "diverges" in predicted.missing["ntk"]
    with pytest.raises(UnsupportedError, match="tangent kernel"):
        predict(net, X, observables=["ntk"])
    with pytest.raises(InputError, match="tangent kernel"):
        predicted["ntk"]
    heavy = mlp(2, 8, "exp", weight_var=0.5, bias_var=0.1)
    with pytest.raises(UnsupportedError, match="fourth moments"):
        predict(heavy, X, observables=["four_point"])


def test_a_diverging_kernel_says_where():
    net = mlp(12, 8, "exp", weight_var=1.0, bias_var=0.5)
    with pytest.raises(UnsupportedError, match="overflows at layer"):
        predict(net, X, order=0)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [({"order": 2}, "order is too large"), ({"observables": ["kernal"]}, "no observable")],
)
def test_bad_questions(kwargs, match):
    with pytest.raises(InputError, match=match):
        predict(mlp(2, 8, "relu"), X, **kwargs)


@pytest.mark.parametrize("x", [np.ones(3), np.full((2, 3), np.nan), np.ones((0, 3)), [[1, 2], [3]]])
def test_bad_inputs(x):
    with pytest.raises(InputError):
        predict(mlp(2, 8, "relu"), x)


def test_a_prediction_cites_and_shows_itself():
    predicted = predict(mlp(2, 8, "relu"), X)
    text = predicted.cite()
    assert "Roberts, Yaida and Hanin 2022" in text
    assert "Assumptions" in text
    assert "four_point" in repr(predicted)
    assert set(predicted) == {"kernel", "ntk", "four_point", "kernel_correction"}


@pytest.mark.lanes
def test_values_are_float64_whatever_the_global_setting():
    predicted = predict(mlp(2, 8, "tanh"), X)
    assert all(v.dtype == np.float64 for v in predicted.values())
    assert predicted.tolerance["kernel"].max() < 1e-11
