"""Bad input, steps that are too large, networks that diverge: said, never hidden."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest

import whydeep.network as nw
from whydeep.ensemble.training import train
from whydeep.errors import InputError, UnsupportedError
from whydeep.theory.training import predict_training

RANDOM = np.random.default_rng(8)
X, Y = RANDOM.normal(size=(5, 3)), RANDOM.normal(size=5)
NET = nw.mlp(1, 4, "tanh")
CLASSES = nw.mlp(1, 4, "tanh", outputs=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [1.0, 2.0]}, r"x has one dimension(.|\n)*one row an input"),
        ({"x": np.full((5, 3), np.nan)}, "x"),
        ({"y": Y[:4]}, "y does not belong to the inputs"),
        ({"y": np.r_[Y[:4], np.nan]}, "y is not finite"),
        ({"y": ["a", "b", "a", "b", "a"]}, "y does not hold numbers"),
        ({"y": np.zeros((5, 2))}, "shape of the outputs"),
        ({"x_test": X[:, :2]}, "different shapes"),
        ({"y_test": Y}, "no test inputs"),
        ({"x_test": X, "y_test": Y[:3]}, "y_test does not belong"),
        ({"draws": 1}, "draws"),
        ({"seed": -1}, "seed is too small(.|\n)*a whole number >= 0"),
        ({"steps": 0}, "steps"),
        ({"steps": 2**31}, "steps is too large(.|\n)*2147483647"),
        ({"step": 0.0}, "step is out of range"),
        ({"step": np.nan}, "step is out of range"),
        ({"loss": "hinge"}, "no loss of this name"),
        ({"loss": "cross-entropy"}, 'no loss of this name(.|\n)*"cross_entropy"'),
        ({"loss": 3}, '3 is not a loss(.|\n)*"squared" or "cross_entropy", or a function'),
        ({"loss": lambda f, y: jnp.sum((f - y) ** 2)}, "one number an example"),
        ({"loss": "cross_entropy"}, "an output for every class"),
        ({"optimizer": "adamw"}, "That is no optimiser"),
        ({"optimizer": ("momentum", 1.0)}, "momentum is out of range(.|\n)*< 1"),
        ({"optimizer": ("momentum", -0.1)}, "momentum is out of range"),
        ({"optimizer": "adam"}, "no stable step"),
        ({"batch": 6}, "larger than the training set"),
        ({"batch": 0}, "batch"),
        ({"record": [3, 2000]}, "not within training"),
        ({"record": np.array([0.5])}, r"record\[0\] is not a whole number"),
        ({"observables": ["sharpness"]}, "no observable of this name"),
        ({"observables": "test_outputs"}, "test_outputs can't be measured"),
        ({"observables": "accuracy"}, "accuracy can't be measured"),
        ({"y": np.ones(5), "observables": "accuracy"}, "accuracy can't be measured"),
        ({"dtype": "float16"}, "dtype"),
        ({"threads": 0}, "threads"),
        ({"network": nw.chain(nw.Activation("relu")), "y": X}, "nothing to train"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        train(**{"network": NET, "x": X, "y": Y} | change)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 2, 3, 0], "does not hold the classes"),
        ([0, 1, -1, 0, 1], "does not hold the classes"),
        ([0.5, 1, 0, 0, 1], "does not hold the classes"),
        ([1, 1, 1, 1, 1], "one class only"),
        (np.full((5, 3), 0.5), "probabilities"),
        (np.ones((5, 2)) / 2, "shape of the outputs"),
    ],
)
def test_labels_that_are_no_classes_are_refused(y, message):
    with pytest.raises(InputError, match=message):
        train(CLASSES, X, y, loss="cross_entropy")


def test_what_is_no_network_is_refused():
    with pytest.raises(InputError, match="from_torch"):
        train("mlp", X, Y)


def test_what_is_not_supported_says_why():
    with pytest.raises(UnsupportedError, match="mup"):
        train(nw.mlp(1, 4, "tanh", parameterization="mup"), X, Y)
    with pytest.raises(UnsupportedError, match="does not fit in memory"):
        train(NET, X, Y, draws=10**6, steps=10**6, record=1000)
    with pytest.raises(InputError, match="its own step"):
        train(NET, X, Y, step=0.1, optimizer=_Still())


def test_equal_inputs_with_different_targets_are_said_as_by_the_prediction():
    x, y = np.concatenate([X, X[:1], X[:2]]), np.concatenate([Y, Y[:1] + 1, Y[:2]])
    options = {"draws": 2, "steps": 1, "step": 0.1, "observables": "loss"}
    with pytest.warns(UserWarning, match="inputs 0 and 5 are equal") as measured:
        train(NET, x, y, **options)
    with pytest.warns(UserWarning, match="modes") as predicted:
        predict_training(NET, x, y, times=1.0)
    words = str(measured[0].message)
    assert "and 1 more pair)" in words  # 5 and 6; 6 agrees with 0
    assert str(predicted[0].message).endswith(f"; {words}")
    with pytest.warns(UserWarning, match="inputs 0 and 5 are equal"):
        train(CLASSES, x, [0, 1, 2, 0, 1, 1, 0, 1], loss="cross_entropy", **options)


def test_equal_inputs_with_equal_targets_are_silent():
    same = np.concatenate([X, X[:1]]), np.concatenate([Y, Y[:1]])
    train(NET, *same, draws=2, steps=1, step=0.1, observables="loss")  # warnings are errors


class _Still:
    @staticmethod
    def init(u):
        del u
        return ()

    @staticmethod
    def update(gradients, state, u):
        del u
        return gradients, state


def linear(step, **options):
    """One linear layer, whose curvature does not change: Theta = x x' / 3."""
    return train(nw.chain(nw.Dense(1)), X, Y, draws=4, step=step, dtype="float64", **options)


LARGEST = float(np.linalg.eigvalsh(X @ X.T / 3)[-1])


def test_the_default_step_is_half_the_largest_stable_one():
    assert linear(None, steps=3).step == pytest.approx(1 / LARGEST, rel=1e-10)
    assert linear(None, steps=3, batch=2).step == pytest.approx(0.4 / LARGEST, rel=1e-10)


def test_cross_entropy_has_the_curvature_of_its_probabilities():
    """lambda_max of J' (diag p - p p') J, dense."""
    net = nw.chain(nw.Dense(3))
    trained = train(
        net, X, [0, 1, 2, 0, 1], draws=2, steps=1, loss="cross_entropy", dtype="float64"
    )
    found = []
    for outputs in trained.samples["outputs"][:, 0]:
        p = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
        bend = [np.diag(q) - np.outer(q, q) for q in p]
        # J = x (x) 1 / sqrt(3): the Hessian in u, (3 inputs x 3 outputs) squared
        hessian = sum(np.kron(np.outer(row, row) / 3, b) for row, b in zip(X, bend, strict=True))
        found.append(np.linalg.eigvalsh(hessian)[-1])
    assert trained.step == pytest.approx(1 / max(found), rel=1e-8)


@pytest.mark.parametrize(("optimizer", "margin"), [("sgd", 2.0), (("momentum", 0.5), 3.0)])
def test_a_step_above_the_stable_one_is_told_with_the_number(optimizer, margin):
    stable = margin / LARGEST
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear(0.98 * stable, steps=200, optimizer=optimizer)
    with pytest.warns(RuntimeWarning, match="above") as caught:
        trained = linear(1.02 * stable, steps=1000, optimizer=optimizer)
    assert f"{stable:.4g}" in str(caught[0].message)
    assert trained.stable_step == pytest.approx(stable, rel=1e-10)
    assert np.all(trained.samples["loss"][:, -1] > trained.samples["loss"][:, 0])


def test_diverged_networks_are_counted_and_can_be_left_out():
    """Outputs x^3 w^3: small weights converge, large ones leave at once."""
    net = nw.chain(nw.Dense(1, 1.0), nw.Activation(lambda z: z**3))
    x = np.ones((1, 1))
    with pytest.warns(RuntimeWarning, match="networks have diverged"):
        trained = train(net, x, [0.0], draws=40, steps=60, step=0.15, record=20)
    lost = ~np.isfinite(trained.samples["loss"])
    counts = trained.diverged
    np.testing.assert_array_equal(counts, lost.sum(0))
    assert 0 < counts[-1] < 40
    assert not np.isfinite(trained["loss"][-1])
    kept = trained.finite()
    assert kept.draws == 40 - int(counts[-1])
    assert np.all(np.isfinite(kept["loss"]))
    assert np.isfinite(kept.stderr["outputs"]).all()
    assert kept.draws_of("loss").draw.values.tolist() == np.flatnonzero(~lost[:, -1]).tolist()
    assert f"{kept.draws} of 40 networks" in repr(kept)
    assert "have diverged" in repr(trained)


def test_asking_for_what_was_not_recorded():
    trained = train(NET, X, Y, draws=2, steps=1, step=0.1, observables="loss")
    with pytest.raises(InputError, match="did not record"):
        trained["ntk"]
    with pytest.raises(
        InputError, match=r'no choice of this name(.|\n)*"outputs" or "test_outputs"'
    ):
        trained.covariance("loss")
    assert "ntk" not in trained
