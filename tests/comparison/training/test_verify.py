"""Training and its prediction, side by side; a wrong prediction is noticed."""

import dataclasses

import numpy as np
import pytest

import whydeep as wd
from whydeep.comparison.training import TrainingPlan, verify_training
from whydeep.comparison.training import _verify as verifying
from whydeep.comparison.training._catapult import catapult_of, growth
from whydeep.ensemble.training import train
from whydeep.errors import InputError, UnsupportedError

X, _ = wd.data.load("digits", n=5)
Y = np.array([1.0, -1.0, 0.5])
NET = wd.mlp(1, 32, "tanh", weight_var=1.5, bias_var=0.1)
PLAN = TrainingPlan(draws=1024, catapult_draws=8)


@pytest.fixture(scope="module")
def outcome():
    return verify_training(NET, X[:3], Y, X[3:], PLAN)


def test_nothing_disagrees(outcome):
    assert outcome.verdict != "disagrees", outcome.reason
    assert outcome.widths == (32, 64, 128)
    means = [row for row in outcome.rows if row.claim.startswith("mean")]
    assert len(means) == 6
    assert all(abs(row.measured - 1.0) < 0.2 for row in means[-4:])


def test_the_linear_threshold_and_the_catapult(outcome):
    below, above = outcome.catapults[0], outcome.catapults[-1]
    assert (below.factor, above.factor) == (0.9, 3.0)
    assert below.converged == 1.0
    assert below.grew == 0.0
    assert above.grew == 1.0
    assert outcome.as_dict()["rows"][0]["claim"] == outcome.rows[0].claim


def test_a_wrong_prediction_is_noticed(monkeypatch):
    right = verifying.predict_training

    def wrong(network, *given, **how):  # the tangent kernel without the output layer's part
        layers = list(network.layers)
        layers[-1] = dataclasses.replace(layers[-1], weight_lr=0.0)
        return right(wd.chain(*layers), *given, **how)

    monkeypatch.setattr(verifying, "predict_training", wrong)
    few = dataclasses.replace(PLAN, draws=512)
    assert verify_training(NET, X[:3], Y, X[3:], few).verdict == "disagrees"


def test_the_top_mode_of_a_linear_network_grows_as_its_own_kernel_says():
    # One hidden layer whose weights have rate 0: outputs are linear in what is trained.
    net = wd.mlp(1, 16, "tanh", weight_var=1.5, bias_var=0.0, weight_lr=[0.0, 1.5])
    trained = train(
        net, X[:3], Y, draws=64, costly_draws=64, steps=3, step=0.3, record=(0, 3),
        observables=("outputs", "loss", "ntk"), dtype="float64",
    )  # fmt: skip
    np.testing.assert_allclose(growth(trained, Y, 4), 1.0, rtol=1e-9)


def test_what_becomes_of_a_step():
    trained = train(
        NET, X[:3], Y, draws=8, costly_draws=8, steps=600, step=0.3, record=(0, 3, 600),
        observables=("outputs", "loss", "ntk"),
    )  # fmt: skip
    found = catapult_of(trained, 0.5)
    assert (found.converged, found.diverged, found.grew) == (1.0, 0.0, 0.0)
    assert 0 < found.curvature < 1


def test_other_networks_are_refused():
    for net, match in (
        (wd.mlp(1, 8, "tanh", outputs=2, weight_var=1.0, bias_var=0.0), "one output"),
        (wd.mlp(1, 8, "tanh", weight_var=1.0, bias_var=0.0, parameterization="standard"), "ntk"),
        (wd.cnn(1, 8), "fully connected"),
    ):
        with pytest.raises(UnsupportedError, match=match):
            verify_training(net, X[:3], Y, X[3:], PLAN)
    with pytest.raises(InputError, match="draws"):
        TrainingPlan(draws=10)
