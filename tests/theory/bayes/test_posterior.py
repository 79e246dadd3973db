"""The posterior of finite networks: against drawn networks, and what it refuses."""

import warnings

import numpy as np
import pytest

import whydeep as wd
from whydeep.ensemble import measure_posterior
from whydeep.errors import InputError, UnsupportedError
from whydeep.theory.bayes import compare_evidence, posterior

X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1]])
X_TEST = np.array([[0.4, 0.8, -0.2]])
Y = np.array([[0.9, -0.6], [-0.4, 1.2]])


def network(width, depth=1, outputs=2):
    return wd.mlp(depth, width, "tanh", outputs=outputs, weight_var=1.4, bias_var=0.1)


@pytest.mark.parametrize(("depth", "noise"), [(1, 0.0), (2, 0.2)])
def test_corrections_are_those_of_drawn_networks(depth, noise):
    # Twice n times the difference of widths n and 2n is the coefficient of 1/n plus order 1/n,
    # which three differences separate from it. Eight numbers a case at 4.5 standard errors: a right
    # formula fails with probability 1e-4 in all.
    net = network(32, depth)
    measured = measure_posterior(net, X, Y, X_TEST, noise=noise, draws=32_000, seed=1, rungs=4)
    assert measured.effective.min() > 5_000
    found = posterior(net, X, Y, X_TEST, noise=noise)
    widths = 32.0 * np.array(measured.factors)
    expected = {
        "mean": 32 * (found.mean - found.infinite_mean).values,
        "covariance": 32 * (found.covariance - found.infinite_covariance).values,
        "log_evidence": np.array(32 * (found.log_evidence - found.infinite_log_evidence)),
    }
    design = np.stack([np.ones(3), 1 / widths[:-1]], axis=1)
    intercept = np.linalg.pinv(design)[0] * 2 * widths[:-1]
    for name, value in expected.items():

        def fit(estimates):
            return np.tensordot(intercept, estimates[:-1] - estimates[1:], 1)

        limit = fit(measured.estimates[name])
        alone = np.stack([fit(v) for v in measured.leave_one_out[name]])
        error = np.sqrt((len(alone) - 1) * alone.var(axis=0))
        assert np.all(np.abs(limit - value) < 4.5 * error), (name, limit, value, error)
        assert np.all(error < 0.12 * np.abs(value).max()), (name, error, value)


@pytest.mark.parametrize(("activation", "depth"), [("tanh", 1), ("gelu", 3), ("relu", 2)])
def test_a_drawn_vertex_is_the_exact_one(activation, depth):
    # Widths that differ, equal inputs, several outputs; 19 numbers at 5 standard errors of 16
    # batches (Student, 15 degrees): a right formula fails with probability 3e-3, at this seed not.
    width = (24, 48, 36)[:depth]
    net = wd.mlp(depth, width, activation, outputs=2, weight_var=1.4, bias_var=0.1)
    x, y = np.concatenate([X, X[:1]]), np.concatenate([Y, Y[:1] + 0.2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        exact = posterior(net, x, y, X_TEST, noise=0.5)
        drawn = posterior(net, x, y, X_TEST, noise=0.5, draws=1 << 15, seed=4)
    for name in ("mean", "covariance", "log_evidence"):
        wanted, found, error = getattr(exact, name), getattr(drawn, name), drawn.stderr[name]
        assert np.all(np.abs(np.asarray(found - wanted)) < 5 * np.asarray(error) + 1e-12), name
        gained = np.abs(np.asarray(wanted - getattr(exact, f"infinite_{name}"))).max()
        assert np.all(np.asarray(error) < 0.03 * gained), (name, error, gained)
    assert not exact.stderr


def test_a_hundred_inputs_are_contracted_draw_by_draw():
    points = np.random.default_rng(2).normal(size=(120, 10))
    net = wd.mlp(1, 20_000, "relu", bias_var=0.1)
    found = posterior(net, points[:110], points[:110, 0], points[110:], noise=0.1, draws=4096)
    gained = found.log_evidence - found.infinite_log_evidence
    assert abs(gained) > 10 * found.stderr["log_evidence"]
    with pytest.raises(InputError, match="does not fit in memory"):
        posterior(net, points[:110], points[:110, 0], points[110:], noise=0.1)


def test_wiring_an_output_feels_the_labels_of_the_others():
    net = network(32)
    found = posterior(net, X, Y, X_TEST, noise=0.1)
    assert abs(float(found.covariance[0, 1, 0, 0])) > 1e-3
    assert float(found.infinite_covariance[0, 1, 0, 0]) == 0
    other = Y * [1.0, 2.0]
    moved = posterior(net, X, other, X_TEST, noise=0.1)
    assert abs(float(moved.mean[0, 0] - found.mean[0, 0])) > 1e-3
    np.testing.assert_array_equal(moved.infinite_mean[:, 0], found.infinite_mean[:, 0])


def test_infinite_width_is_the_gaussian_process():
    net = network(64)
    found = posterior(net, X, Y, X_TEST, noise=0.1, order=0)
    process = wd.NNGPRegressor(net, noise=0.1).fit(X, Y)
    np.testing.assert_allclose(found.mean, process.predict(X_TEST), rtol=1e-10)
    np.testing.assert_array_equal(found.mean, found.infinite_mean)
    wide = posterior(network(10**9), X, Y, X_TEST, noise=0.1)
    np.testing.assert_allclose(wide.mean, found.mean, rtol=1e-7)
    np.testing.assert_allclose(wide.covariance, found.covariance, atol=1e-8)
    np.testing.assert_allclose(wide.log_evidence, found.log_evidence, rtol=1e-8)
    np.testing.assert_allclose(found.variance[0], np.full(2, found.covariance[0, 0, 0, 0]))


def test_evidence_of_networks_side_by_side():
    networks = {"narrow": network(32), "wide": network(512), "deep": network(64, 2)}
    found = compare_evidence(networks, X, Y, noise=0.1, prior=[1, 2, 1])
    single = [posterior(n, X, Y, X_TEST, noise=0.1).log_evidence for n in networks.values()]
    np.testing.assert_allclose(found.log_evidence, single, rtol=1e-10)
    weights = np.exp(single) * [1, 2, 1]
    np.testing.assert_allclose(found.probability, weights / weights.sum(), rtol=1e-9)
    assert found.odds("wide", "deep") == pytest.approx(weights[1] / weights[2])
    assert found.infinite_log_evidence[0] == pytest.approx(found.infinite_log_evidence[1])
    assert "narrow" in repr(found)
    np.testing.assert_array_equal(found.stderr, 0.0)
    drawn = compare_evidence(networks, X, Y, noise=0.1, draws=8192, seed=3)
    assert np.all(np.abs(drawn.log_evidence - found.log_evidence) < 5 * drawn.stderr)
    assert np.all(drawn.stderr > 0)
    with pytest.raises(InputError, match="no network of this name"):
        found.odds("wide", "shallow")
    with pytest.raises(InputError, match="prior has numbers out of range"):
        compare_evidence(networks, X, Y, prior=[1, -1, 1])
    with pytest.raises(InputError, match="no networks"):
        compare_evidence({}, X, Y)


def test_labels_of_one_output_may_be_a_list():
    one = posterior(network(64, outputs=1), X, [1.0, -1.0], X_TEST, noise=0.1)
    assert one.mean.shape == (1, 1)
    assert one.covariance.dims == ("output_1", "output_2", "input_1", "input_2")
    assert "Assumptions" in one.cite()
    assert "order 1" in repr(one)


def test_what_can_not_be_answered_is_refused():
    with pytest.raises(InputError, match="another number of outputs"):
        posterior(network(64), X, Y[:, 0], X_TEST)
    with pytest.raises(InputError, match="not as many labels"):
        posterior(network(64), X, Y[:1], X_TEST)
    with pytest.raises(InputError, match="different lengths"):
        posterior(network(64), X, Y, X_TEST[:, :2])
    with pytest.raises(InputError, match="noise"):
        posterior(network(64), X, Y, X_TEST, noise=-1.0)
    with pytest.raises(InputError, match="order is too large"):
        posterior(network(64), X, Y, X_TEST, order=2)
    with pytest.raises(InputError, match="no inverse"):
        posterior(network(64), X[[0, 0]], Y, X_TEST)
    with pytest.raises(InputError, match="draws"):
        posterior(network(64), X, Y, X_TEST, draws=10)
    heavy = wd.mlp(1, 64, "exp", outputs=2, weight_var=1.0, bias_var=0.0)
    with pytest.raises(UnsupportedError, match="four"):
        posterior(heavy, X, Y, X_TEST, noise=0.1)


def test_an_expansion_that_does_not_hold_says_so():
    with pytest.warns(UserWarning, match="changes the log evidence"):
        posterior(network(8), X, 4 * Y, X_TEST, noise=0.1)


def test_drawn_networks_that_hardly_fit_are_no_average():
    with pytest.raises(InputError, match="Hardly any"):
        measure_posterior(network(8), X, 60 * Y, X_TEST, noise=1e-3, draws=200)
    with pytest.raises(InputError, match="no inverse"):
        measure_posterior(network(8), X[[0, 0]], Y, X_TEST, draws=200)
    with pytest.raises(InputError, match="do not fit together"):
        measure_posterior(network(8), X, Y[:1], X_TEST)


def test_measurements_repeat_and_do_not_depend_on_the_ladder():
    first, again = (
        measure_posterior(network(16), X, Y, X_TEST, noise=0.1, draws=2_000, seed=s) for s in (3, 3)
    )
    np.testing.assert_array_equal(first.mean, again.mean)
    other = measure_posterior(network(16), X, Y, X_TEST, noise=0.1, draws=1_000, seed=4, rungs=2)
    for name, error in first.stderr.items():
        gap = np.abs(first.estimates[name][0] - other.estimates[name][0])
        assert np.all(gap < 4.5 * np.hypot(error, other.stderr[name])), name
    assert "effectively" in repr(first)
