"""Training at finite width from networks: measured numbers, ensembles, refusals."""

import numpy as np
import pytest

import whydeep as wd
from whydeep.errors import InputError, UnsupportedError
from whydeep.theory.training import predict_training
from whydeep.theory.training.finite import predict_finite_training

X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1]])
X_TEST = np.array([[0.4, 0.8, -0.2]])
Y = np.array([[0.9, -0.6], [-0.4, 1.2]])


def network(width=32, outputs=2, activation="tanh", **changes):
    options = {"weight_var": 1.4, "bias_var": 0.1, "bias_lr": (0.5, 0.7, 1.1),
               "weight_lr": (1.0, 0.8, 1.3)} | changes  # fmt: skip
    return wd.mlp(2, width, activation, outputs=outputs, **options)


@pytest.mark.parametrize(
    ("y", "t", "output", "ntk"), [(2.5, 0.6, -0.973, -4.31), (1.0, 0.5, -0.145, -0.122)]
)
def test_numbers_that_agreed_with_monte_carlo(y, t, output, ntk):
    # The closed form's values at this setting, to the digits that were noted when gradient flow on
    # drawn networks of widths 16 to 128 was extrapolated to them.
    net = network(256, outputs=1)
    found = predict_finite_training(net, X[:1], [y], times=[t])
    gained = 256 * float((found["train_mean"] - found.infinite["train_mean"]).squeeze())
    assert gained == pytest.approx(output, abs=6e-4)
    assert 256 * float(found["ntk_change"].squeeze()) == pytest.approx(ntk, abs=6e-3)
    assert float(found.causes["train_mean"].sum()) == pytest.approx(gained / 256)


def extrapolated(values):
    """Means of widths n and 2n, each (value, error), to infinite width."""
    (first, one), (second, two) = values
    return 2 * second - first, np.sqrt(4 * two**2 + one**2)


def test_trained_ensembles_of_two_widths():
    # n times the deviation from infinite width is the coefficient plus order 1/n; two widths
    # separate them up to order 1/n^2, a few percent at widths 16 and 32. 4.5 standard errors and
    # 10% of the largest number: the three numbers fail with probability 2e-5 if the theory is
    # right, and surely if there is no correction.
    y, step, steps = np.array([[2.0, -1.5]]), 0.1, 5
    values, drifts = [], []
    for width, seed in ((16, 1), (32, 2)):
        net = network(width)
        trained = wd.train(
            net, X[:1], y, draws=8_000, costly_draws=8_000, seed=seed, steps=steps, step=step,
            record=[0, steps], observables=["outputs", "ntk"],
        )  # fmt: skip
        start, end = (trained.samples["outputs"][:, k, 0].astype(np.float64) for k in (0, 1))
        limit = predict_training(net, X[:1], y, times=[steps * step], step=step)
        # Outputs at the start have mean zero: what goes with them is noise, and odd.
        odd = np.concatenate([np.ones((len(start), 1)), start], axis=1)
        apart = end - limit["train_mean"].values[0]
        rest = apart - start @ np.linalg.lstsq(odd, apart, rcond=None)[0][1:]
        change = np.diff(trained.samples["ntk"].astype(np.float64), axis=1).reshape(-1, 1)
        for into, one in ((values, rest), (drifts, change)):
            into.append((width * one.mean(0), width * one.std(0) / np.sqrt(len(one))))
    found = predict_finite_training(network(64), X[:1], y, times=[steps * step], step=step)
    gained = 64 * (found["train_mean"] - found.infinite["train_mean"]).values.ravel()
    drift = 32 * np.einsum("tiiab->t", found["ntk_change"].values)
    for measured, wanted in ((extrapolated(values), gained), (extrapolated(drifts), drift)):
        allowed = 4.5 * measured[1] + 0.1 * np.abs(wanted).max()
        assert np.all(np.abs(measured[0] - wanted) < allowed), (measured, wanted)
        assert np.all(allowed < 0.7 * np.abs(wanted).max()), (allowed, wanted)


def test_infinite_width_is_the_leading_order():
    times = [0.0, 0.4, np.inf]
    found = predict_finite_training(network(10**8), X, Y, X_TEST, times=times)
    limit = predict_training(network(10**8), X, Y, X_TEST, times=times)
    for side in ("train", "test"):
        np.testing.assert_allclose(found[f"{side}_mean"], limit[f"{side}_mean"], atol=1e-6)
        whole, one = found[f"{side}_covariance"], limit[f"{side}_covariance"].values
        np.testing.assert_allclose(whole[:, 0, 0], one, atol=1e-6)
        np.testing.assert_allclose(whole[:, 1, 0], 0 * one, atol=1e-6)
        np.testing.assert_allclose(found.infinite[f"{side}_covariance"][:, 1, 1], one, atol=1e-9)
    np.testing.assert_allclose(found["train_loss"], limit["train_loss"], atol=1e-6)
    np.testing.assert_allclose(found.infinite["train_loss"], limit["train_loss"], atol=1e-9)
    assert found["train_mean"].dims == ("time", "input", "output")
    assert dict(found).keys() == found.arrays.keys()
    assert "Assumptions" in found.cite()
    assert "test_mean" in repr(found)


def test_the_end_depends_on_the_step():
    flow, steps = (
        predict_finite_training(network(256), X, Y, X_TEST, times=[np.inf], step=s)
        for s in (None, 0.4)
    )
    np.testing.assert_allclose(flow["train_mean"].values[0], Y, atol=1e-10)
    np.testing.assert_allclose(steps["train_mean"].values[0], Y, atol=1e-10)
    assert float(np.abs(flow["test_mean"] - steps["test_mean"]).max()) > 1e-4
    apart = flow.infinite["test_mean"] - steps.infinite["test_mean"]
    np.testing.assert_allclose(apart, 0, atol=1e-10)


def test_outputs_feel_each_other_s_labels():
    one = predict_finite_training(network(256), X, Y, times=[0.5])
    two = predict_finite_training(network(256), X, Y * [1.0, 3.0], times=[0.5])
    np.testing.assert_array_equal(one.infinite["train_mean"][..., 0],
                                  two.infinite["train_mean"][..., 0])  # fmt: skip
    assert float(np.abs(one["train_mean"] - two["train_mean"])[0, :, 0].max()) > 1e-4
    assert float(np.abs(one["train_covariance"][0, 0, 1]).max()) > 1e-4


def test_what_can_not_be_answered_is_refused():
    with pytest.raises(UnsupportedError, match="kinks"):
        predict_finite_training(network(activation="relu"), X, Y, times=[1.0])
    mup = wd.mlp(2, 32, "tanh", outputs=2, parameterization="mup")
    with pytest.raises(UnsupportedError, match="mup"):
        predict_finite_training(mup, X, Y, times=[1.0])
    with pytest.raises(InputError, match="another number of outputs"):
        predict_finite_training(network(), X, Y[:, 0], times=[1.0])
    with pytest.raises(InputError, match="not as many labels"):
        predict_finite_training(network(), X, Y[:1], times=[1.0])
    with pytest.raises(InputError, match="different lengths"):
        predict_finite_training(network(), X, Y, X_TEST[:, :2], times=[1.0])
    with pytest.raises(InputError, match="diverges"):
        predict_finite_training(network(), X, Y, times=[5.0], step=5.0)
    with pytest.raises(InputError, match="between two steps"):
        predict_finite_training(network(), X, Y, times=[0.15], step=0.1)
    with pytest.raises(InputError, match="no end"):
        predict_finite_training(network(), X[[0, 0]], Y[[0, 0]], times=[np.inf])
    many = np.random.default_rng(0).normal(size=(400, 3))
    with pytest.raises(InputError, match="fit in memory"):
        predict_finite_training(network(), many, many[:, :2], times=[1.0])
    found = predict_finite_training(network(256), X, Y, times=[1.0])
    with pytest.raises(InputError, match="does not hold"):
        found["test_mean"]


def test_expansions_that_do_not_hold_say_so():
    with pytest.warns(UserWarning, match="tangent kernel would change"):
        predict_finite_training(network(8), X, 4 * Y, times=[2.0])
    with pytest.warns(UserWarning, match="equal with different labels"):
        predict_finite_training(network(4096), X[[0, 0]], Y, times=[0.5])
