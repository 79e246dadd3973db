"""The front door: labels, kernels, losses and times as a user gives them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import whydeep as wd
from whydeep.arguments import _cost
from whydeep.errors import InputError, UnsupportedError
from whydeep.theory.infinite import kernel
from whydeep.theory.training import Descent, evolve, evolve_outputs, predict_training

RNG = np.random.default_rng(12)
X, X_TEST = RNG.normal(size=(9, 4)), RNG.normal(size=(3, 4))
Y = RNG.normal(size=(9, 2))
CLASSES = np.arange(9) % 3
NET = wd.mlp(depth=2, width=64, activation="tanh")


def half_squares(f, y):
    return 0.5 * jnp.sum((f - y) ** 2)


def test_it_is_the_closed_form_on_the_networks_own_kernels():
    times = [0.0, 0.5, 30.0, np.inf]
    found = predict_training(NET, X, Y, X_TEST, times=times)
    both = kernel(NET, np.concatenate([X, X_TEST]))
    exact = evolve(both.nngp, both.ntk, Y, times)
    for side in ("train", "test"):
        for what in ("mean", "variance", "covariance"):
            value = found[f"{side}_{what}"]
            np.testing.assert_allclose(value, getattr(exact, f"{side}_{what}"), atol=1e-9)
            np.testing.assert_array_equal(value["time"], times)
    assert found["train_mean"].dims == ("time", "input", "output")
    assert found["test_variance"].dims == ("time", "input")
    assert found["test_covariance"].dims == ("time", "input_1", "input_2")
    assert not found.stderr
    assert dict(found).keys() == found.arrays.keys()


def test_the_modes_add_up_to_the_loss():
    found = predict_training(NET, X, Y, times=[0.0, 1.0, 7.0], reduction="mean")
    total = found.modes["loss"].sum("mode")
    np.testing.assert_allclose(total, found["train_loss"], rtol=1e-13)
    rate = found.modes["eigenvalue"] / Y.size
    np.testing.assert_allclose(found.modes["time_constant"], 1 / rate, rtol=1e-13)
    np.testing.assert_allclose(found.modes["left"], np.exp(-rate * found.modes["time"]).T)
    assert float((found.modes["overlap"] ** 2).sum()) == pytest.approx((Y**2).sum())
    assert "test_mean" not in found
    with pytest.raises(InputError, match="does not hold"):
        found["test_mean"]


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_a_step_in_the_networks_own_parameterization(parameterization):
    net = wd.mlp(1, 128, "relu", bias_var=0.1, parameterization=parameterization)
    theta = kernel(net, X).ntk
    top = np.linalg.eigvalsh(theta)[-1]
    found = predict_training(net, X, Y, times=0.0)
    assert found.largest_stable_step.value == pytest.approx(2 / top, rel=1e-9)
    assert f"parameterization {parameterization}" in found.cite()


def test_mup_is_refused_with_the_reason():
    net = wd.chain(
        wd.Dense(64, 1.0, parameterization="mup"), wd.Activation("tanh"),
        wd.Dense(1, 1.0, parameterization="mup"),
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="mup") as caught:
        predict_training(net, X, Y, times=1.0)
    assert "features move" in str(caught.value)


def test_drawn_initialisations_agree_with_the_closed_form():
    times = [0.0, 1.0, 8.0]
    exact = predict_training(NET, X, Y, X_TEST, times=times)
    drawn = predict_training(
        NET, X, Y, X_TEST, times=times, loss=half_squares, draws=4000, seed=2, tolerance=1e-6
    )
    # 3 losses, 72 means, 72 variances and 2 x 3 x (45 + 6) covariances: 1 in 1000 over all of them,
    # two-sided, is z = 4.74. The solver's own error stays below 1e-5.
    for name, stderr in drawn.stderr.items():
        value = exact[name].values
        if value.ndim < stderr.ndim:
            value = value[:, None] if "covariance" in name else value[..., None]
        assert (np.abs(drawn[name].values - value) < 4.74 * stderr.values + 1e-5).all(), name
    z = (drawn["train_mean"] - exact["train_mean"]) / drawn.stderr["train_mean"]
    assert np.sqrt((z[0] ** 2).mean()) > 0.3  # not absurdly small: the errors are no overestimates


@functools.cache
def real_network(parameterization):
    """Outputs of a real network, and the gradient of half the squares, compiled once a shape."""
    own = parameterization == "ntk"

    def outputs(params, x):
        for k, (weight, bias) in enumerate(params):
            x = jnp.tanh(x) if k else x
            root = np.sqrt(1.5 / len(weight)) if own else 1.0
            x = root * x @ weight + (np.sqrt(0.2) if own else 1.0) * bias
        return x

    return outputs, jax.jit(jax.grad(lambda params: half_squares(outputs(params, X), Y[:, :1])))


def trained_network(width, parameterization, step, steps, seed):
    """Outputs at the start and after gradient descent of one real network, all in float64."""
    rng = np.random.default_rng(seed)
    sizes, own = (4, width, width, 1), parameterization == "ntk"
    spread = [1.0 if own else np.sqrt(1.5 / n) for n in sizes[:-1]]
    params = [(s * rng.normal(size=(n, m)), (1.0 if own else np.sqrt(0.2)) * rng.normal(size=m))
              for s, n, m in zip(spread, sizes[:-1], sizes[1:], strict=True)]  # fmt: skip
    outputs, gradient = real_network(parameterization)
    with jax.enable_x64(True):
        everywhere = np.concatenate([X, X_TEST])
        start = np.asarray(outputs(params, everywhere))
        for _ in range(steps):
            params = jax.tree.map(lambda p, g: p - step * g, params, gradient(params))
        return start, np.asarray(outputs(params, everywhere))


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_real_networks_approach_it_as_they_widen(parameterization):
    # From its own outputs at the start, a network of width n ends O(1/sqrt n) from the prediction:
    # over a factor of 16 in width, a quarter, within the scatter of 6 networks.
    away = []
    for width in (48, 768):
        net = wd.mlp(2, width, "tanh", weight_var=1.5, bias_var=0.2,
                     parameterization=parameterization)  # fmt: skip
        both = kernel(net, np.concatenate([X, X_TEST]))
        step = 0.5 / np.linalg.eigvalsh(both.ntk[:9, :9])[-1]
        squares = []
        for seed in range(6):
            start, end = trained_network(width, parameterization, step, 25, seed)
            ours = evolve_outputs(both.ntk, start, Y[:, :1], 25 * step, loss="squared",
                                  dynamics=Descent(step))  # fmt: skip
            squares.append(((ours[0] - end) ** 2).mean() / ((ours[0] - start) ** 2).mean())
        away.append(np.sqrt(np.mean(squares)))
    assert away[1] < 0.1
    assert 2.0 < away[0] / away[1] < 8.0


def test_cross_entropy_of_classes():
    found = predict_training(
        NET, X, CLASSES, X_TEST, times=[0.0, 5.0, 50.0], loss="cross_entropy", draws=64
    )
    assert found["test_mean"].shape == (3, 3, 3)
    assert found["test_covariance"].dims == ("time", "output", "input_1", "input_2")
    assert (np.diff(found["train_loss"]) < 0).all()
    best = found["train_mean"].values[-1].argmax(axis=1)
    np.testing.assert_array_equal(best, CLASSES)
    again = predict_training(
        NET, X, CLASSES, X_TEST, times=[0.0, 5.0, 50.0], loss="cross_entropy", draws=64
    )
    np.testing.assert_array_equal(found["test_mean"], again["test_mean"])
    assert "64 drawn" in found.cite()
    with pytest.raises(UnsupportedError, match="squared loss only"):
        predict_training(NET, X, CLASSES, times=np.inf, loss="cross_entropy")


def test_a_step_above_the_stable_one_is_warned_of_with_the_number():
    stable = predict_training(NET, X, Y, times=0.0).largest_stable_step.value
    step = 1.25 * stable
    with pytest.warns(UserWarning, match=f"largest stable one, {stable:.6g}"):
        found = predict_training(NET, X, Y, times=[0.0, 50 * step], step=step)
    assert found["train_loss"][1] > found["train_loss"][0]
    predict_training(NET, X, Y, times=[0.0, 50 * step], step=step, momentum=0.5)  # stable: silent
    with pytest.warns(UserWarning, match="unstable near"):
        predict_training(NET, X, CLASSES, times=0.0, step=100.0, loss="cross_entropy", draws=16)


def test_contradicting_labels_of_equal_inputs_are_said_and_averaged():
    x, y = np.concatenate([X, X[:1]]), np.concatenate([Y, Y[:1] + 1])
    with pytest.warns(UserWarning, match="inputs 0 and 9 are equal with different labels"):
        found = predict_training(NET, x, y, X, times=[1.0, np.inf])
    end = found["train_mean"].values[1]
    np.testing.assert_allclose(end[[0, 9]], np.tile(Y[0] + 0.5, (2, 1)), atol=1e-12)
    np.testing.assert_allclose(end[1:9], Y[1:], atol=1e-12)
    assert float(found["train_loss"][1]) == pytest.approx(0.5 * 4 * 0.25)
    np.testing.assert_allclose(found["test_mean"][1, 0], Y[0] + 0.5, atol=1e-9)


def test_equal_inputs_with_equal_labels_are_silent():
    x, y = np.concatenate([X, X[:1]]), np.concatenate([Y, Y[:1]])
    found = predict_training(NET, x, y, times=np.inf)
    np.testing.assert_allclose(found["train_mean"][0], y, atol=1e-12)
    assert any("do not train" in line for line in found.assumptions)


def test_a_singular_kernel_is_said_and_trains_what_it_can():
    net = wd.mlp(1, 16, "linear", weight_var=1.0, bias_var=0.0)  # rank 4 on 9 inputs
    with pytest.warns(UserWarning, match="5 of 9 modes"):
        found = predict_training(net, X, Y, X_TEST, times=np.inf)
    fit = np.linalg.lstsq(X, Y, rcond=None)[0]
    np.testing.assert_allclose(found["train_mean"][0], X @ fit, atol=1e-10)
    np.testing.assert_allclose(found["test_mean"][0], X_TEST @ fit, atol=1e-10)


def test_images_and_scalar_labels():
    images = RNG.normal(size=(4, 5, 5, 2))
    net = wd.chain(wd.Conv(8, (3, 3)), wd.Activation("relu"), wd.GlobalAvgPool(), wd.Dense(1, 1.0))
    found = predict_training(net, images, [1, -1, 1, -1], images[:2], times=[0.0, np.inf])
    np.testing.assert_allclose(found["test_mean"][1, :, 0], [1, -1], atol=1e-9)
    no_pool = wd.chain(wd.Conv(8, (3, 3)), wd.Activation("relu"), wd.Conv(1, (3, 3)))
    with pytest.raises(UnsupportedError, match="every position"):
        predict_training(no_pool, images, [1, -1, 1, -1], times=1.0)


def test_kernels_known_from_draws_are_told_apart_from_zero_by_their_noise():
    images = RNG.normal(size=(5, 2, 2, 2))
    net = wd.chain(wd.Conv(8, (3, 3)), wd.Activation("relu"), wd.MaxPool((2, 2)), wd.Flatten(),
                   wd.Dense(1, 1.0))  # fmt: skip
    labels = [1.0, -1.0, 0.5, 2.0, -0.5]
    found = predict_training(net, images, labels, images[:2], times=np.inf)
    np.testing.assert_allclose(found["train_mean"][0, :, 0], labels, atol=1e-12)
    np.testing.assert_allclose(found["test_mean"][0, :, 0], labels[:2], atol=1e-9)
    assert any("draws" in line for line in found.assumptions)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"y": Y[:5]}, "not as many labels"),
        ({"y": np.where(Y > 1, np.nan, Y)}, "not finite"),
        ({"y": np.ones(9, dtype=int), "loss": "cross_entropy"}, "one class only"),
        ({"y": Y[:, 0], "loss": "cross_entropy"}, "no class labels"),
        ({"y": ["cat"] * 9, "loss": "cross_entropy"}, "they are texts"),
        ({"y": [np.nan] * 9, "loss": "cross_entropy"}, "not finite"),
        ({"y": ["1", "x"] * 4}, "does not hold numbers"),
        ({"y": Y, "loss": "cross_entropy"}, "no probabilities"),
        ({"x": np.where(X > 1, np.inf, X)}, "x has numbers that are not finite"),
        ({"x_test": X_TEST * np.nan}, "x_test has numbers that are not finite"),
        ({"x_test": X_TEST[:, :2]}, "different shapes"),
        ({"x": X[0]}, "one dimension"),
        ({"x": [[1.0], [2.0, 3.0]]}, "different lengths"),
        ({"times": -1.0}, "times"),
        ({"times": 0.05, "step": 0.1}, "between two steps"),
        ({"momentum": 0.9}, "needs a step"),
        ({"covariance": "none"}, "covariance"),
        ({"draws": 1}, "draws"),
        ({"loss": "hinge"}, "no loss"),
        ({"loss": "cross-entropy"}, 'no loss of this name(.|\n)*"cross_entropy"'),
    ],
)
def test_what_can_not_be_used_is_refused(change, says):
    arguments = {"x": X, "y": Y, "x_test": X_TEST, "times": 1.0} | change
    with pytest.raises(InputError, match=says):
        predict_training(NET, **arguments)


def test_covariances_that_do_not_fit_are_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(_cost, "available", lambda: 1 << 30)
    with pytest.raises(InputError, match="do not fit in memory"):
        predict_training(NET, X, Y, x_test=X_TEST, times=np.linspace(0, 1, 10**6))


def test_dropout_is_refused():
    net = wd.chain(wd.Dense(8, 1.0), wd.Activation("relu"), wd.Dropout(0.5), wd.Dense(1, 1.0))
    with pytest.raises(UnsupportedError, match="Dropout"):
        predict_training(net, X, Y, times=1.0)
