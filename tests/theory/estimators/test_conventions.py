"""What scikit-learn expects of an estimator: its own checks, clones, pickles, pipelines."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import whydeep as wd
from whydeep.theory.estimators import (
    NNGPClassifier,
    NNGPRegressor,
    NTKClassifier,
    NTKRegressor,
)

RNG = np.random.default_rng(3)
X = RNG.normal(size=(24, 3))
Y = np.sin(X.sum(axis=1))
LABELS = np.where(Y > 0, "up", "down")
ALL = (NNGPRegressor, NTKRegressor, NNGPClassifier, NTKClassifier)


def targets(kind):
    return Y if issubclass(kind, (NNGPRegressor, NTKRegressor)) else LABELS


@pytest.mark.filterwarnings("ignore:Not all targets can be met")  # inputs 100 from 0: rightly
@pytest.mark.parametrize("estimator", [kind() for kind in ALL] + [NTKClassifier(method="svm")])
def test_checks_of_scikit_learn_pass(estimator):
    results = check_estimator(estimator, on_skip=None)
    assert all(result["status"] in ("passed", "skipped") for result in results)
    assert sum(result["status"] == "passed" for result in results) > 30


@pytest.mark.parametrize("kind", ALL)
def test_clones_and_pickles_predict_the_same(kind):
    net = wd.mlp(2, activation="gelu", weight_var=1.5, bias_var=0.1)
    model = kind(net, noise=0.1, depth=3, weight_var=1.7).fit(X, targets(kind))
    found = model.predict(X + 0.1)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301 -- our own
    assert np.array_equal(again.predict(X + 0.1), found)
    fresh = clone(model)
    assert fresh.get_params()["net"] == net
    assert not hasattr(fresh, "net_")
    assert np.array_equal(fresh.fit(X, targets(kind)).predict(X + 0.1), found)
    assert (model.net_.depth, model.net_.dense[0].weight_var) == (3, 1.7)


@pytest.mark.parametrize("kind", ALL)
def test_pipelines_cross_validation_and_grid_search(kind):
    pipeline = make_pipeline(StandardScaler(), kind(noise=0.1))
    scores = cross_val_score(pipeline, X, targets(kind), cv=3)
    assert scores.shape == (3,)
    assert np.all(np.isfinite(scores))
    name = kind.__name__.lower()
    search = GridSearchCV(
        pipeline, {f"{name}__depth": [1, 2], f"{name}__noise": np.array([0.01, 1.0])}, cv=2
    ).fit(X, targets(kind))
    assert search.best_estimator_[-1].net_.depth in (1, 2)


def test_no_network_means_the_documented_one():
    net = wd.mlp(3, activation="relu", weight_var=2.0, bias_var=0.2)
    assert np.array_equal(
        NNGPRegressor().fit(X, Y).predict(X + 1), NNGPRegressor(net).fit(X, Y).predict(X + 1)
    )


# -- inputs ----------------------------------------------------------


def test_images_come_flat_with_their_shape_or_as_they_are():
    net = wd.chain(
        wd.Conv(8, (3, 3), weight_var=2.0), wd.Activation("relu"), wd.Flatten(), wd.Dense(1)
    )
    images = RNG.normal(size=(10, 4, 4, 2))
    labels = np.arange(10) % 3
    flat = NTKClassifier(net, input_shape=(4, 4, 2)).fit(images[:8].reshape(8, -1), labels[:8])
    whole = NTKClassifier(net).fit(images[:8], labels[:8])
    expected = whole.predict_proba(images[8:])
    assert np.allclose(flat.predict_proba(images[8:].reshape(2, -1)), expected, atol=1e-12)
    kernel = wd.kernel(net, images[:8])
    theta = wd.kernel(net, images[8:], images[:8]).ntk
    dual = np.linalg.solve(kernel.ntk, np.eye(3)[labels[:8]] - 1 / 3)
    assert np.allclose(whole.latent_mean_and_variance(images[8:])[0], theta @ dual, atol=1e-9)
    with pytest.raises(ValueError, match="another shape"):
        whole.predict(images[8:].transpose(0, 1, 3, 2))
    with pytest.raises(ValueError, match="input_shape does not fit"):
        NTKClassifier(net, input_shape=(4, 4)).fit(images[:8].reshape(8, -1), labels[:8])


def test_tokens():
    net = wd.chain(wd.Embedding(5, 16), wd.Flatten(), wd.Dense(8, 2.0), wd.Activation("relu"),
                   wd.Dense(1))  # fmt: skip
    tokens = RNG.integers(0, 5, size=(12, 4))
    y = tokens.sum(axis=1).astype(float)
    model = NNGPRegressor(net, noise=0.01).fit(tokens, y)
    as_floats = NNGPRegressor(net, noise=0.01).fit(tokens.astype(float), y)
    assert np.array_equal(model.predict(tokens[:3]), as_floats.predict(tokens[:3]))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("bias_var", [0.0, 0.2])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_rows_of_zeros_break_nothing(kind, bias_var, activation):
    net = wd.mlp(2, activation=activation, weight_var=1.5, bias_var=bias_var)
    x = X.copy()
    x[:2] = 0.0
    model = kind(net, noise=0.01).fit(x, targets(kind))
    if kind in (NNGPRegressor, NTKRegressor):
        mean, std = model.predict(x, return_std=True)
        assert np.all(np.isfinite(mean))
        assert np.all(np.isfinite(std))
        if bias_var == 0.0:  # every such network is zero there
            assert np.array_equal(mean[:2], [0.0, 0.0])
            assert np.array_equal(std[:2], [0.0, 0.0])
    else:
        assert np.all(np.isfinite(model.predict_proba(x)))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("changes", "x", "y", "match"),
    [
        ({}, np.where(X > 2, np.nan, X), None, "NaN"),
        ({}, X, "short", "inconsistent"),
        ({"noise": -1.0}, X, None, "noise is out of range"),
        ({"weight_var": -1.0}, X, None, "weight_var is out of range"),
        ({"depth": 0}, X, None, "depth must count"),
        ({"net": "relu"}, X, None, "net is not a network"),
        ({"net": wd.chain(wd.Conv(4, (3, 3)), wd.Flatten(), wd.Dense(1))}, X, None, "can't be"),
        ({"net": wd.mlp(2, activation="relu", weight_var=(1, 2, 3)), "depth": 2}, X, None, "depth"),
        ({"search": "test"}, X, None, "no search of this name"),
        ({"search": "split", "grid": {"width": [1]}}, X, None, "grid can't be read"),
        ({"search": "split", "grid": {"noise": []}}, X, None, "grid can't be read"),
        ({"search": "split", "refine": 3}, X, None, "marginal likelihood"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(kind, changes, x, y, match):
    wanted = targets(kind) if y is None else targets(kind)[:-1]
    with pytest.raises(ValueError, match=match):
        kind(**changes).fit(x, wanted)


def test_outputs_with_positions_are_refused():
    net = wd.chain(wd.Conv(4, (3, 3)), wd.Activation("relu"), wd.Conv(1, (3, 3)))
    with pytest.raises(ValueError, match="positions"):
        NNGPRegressor(net).fit(RNG.normal(size=(5, 4, 4, 1)), np.arange(5.0))


def test_too_many_inputs_are_refused_before_anything_is_computed(monkeypatch):
    from whydeep.arguments import _cost

    monkeypatch.setattr(_cost, "available", lambda: 1000)
    monkeypatch.setattr(_cost, "_NOT_ASKED_FOR", 0)
    with pytest.raises(ValueError, match="do not fit in memory"):
        NNGPRegressor().fit(X, Y)
