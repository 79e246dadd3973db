"""Marginal likelihood and its gradient; searches that look at the training set only."""

import itertools

import numpy as np
import pytest
from scipy import stats

import whydeep as wd
from whydeep.theory.estimators import (
    NNGPClassifier,
    NNGPRegressor,
    NTKClassifier,
    NTKRegressor,
    _estimator,
    _evidence,
)

RNG = np.random.default_rng(11)
X = RNG.normal(size=(30, 4))
Y = np.sin(X[:, 0]) + 0.3 * RNG.normal(size=30)
LABELS = (Y > 0).astype(int)
ALL = (NNGPRegressor, NTKRegressor, NNGPClassifier, NTKClassifier)


def targets(kind):
    return Y if kind in (NNGPRegressor, NTKRegressor) else LABELS


# -- the marginal likelihood ----------------------------------------------------------


def test_it_is_the_density_of_the_targets():
    net = wd.mlp(2, activation="relu", weight_var=1.5, bias_var=0.1)
    y = np.stack([Y, Y**2], axis=1)
    found = wd.kernel(net, X)
    for kind, matrix in ((NNGPRegressor, found.nngp), (NTKRegressor, found.ntk)):
        law = stats.multivariate_normal(np.zeros(30), matrix + 0.2 * np.eye(30))
        model = kind(net, noise=0.2).fit(X, y)
        assert np.isclose(model.log_marginal_likelihood(), law.logpdf(y.T).sum(), rtol=1e-11)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gradients_are_those_of_differences(kind, activation):
    net = wd.mlp(2, activation=activation, weight_var=1.8, bias_var=0.1)
    model = kind(net, noise=0.1).fit(X, targets(kind))
    value, slope = model.log_marginal_likelihood(eval_gradient=True)
    assert value == model.log_marginal_likelihood()
    step = 1e-4

    def at(theta):
        return model.log_marginal_likelihood(theta)

    for k in range(3):
        move = step * np.eye(3)[k]
        # Fourth order: the error is h^4 and the kernel's 1e-10 / h.
        near, far = (at(model.theta_ + n * move) - at(model.theta_ - n * move) for n in (1, 2))
        difference = (8 * near - far) / (12 * step)
        assert abs(slope[k] - difference) < 1e-6 * np.abs(slope).max()
    there, also = model.log_marginal_likelihood(model.theta_ + 0.3, eval_gradient=True)
    assert there == at(model.theta_ + 0.3)
    assert np.abs(also - slope).max() > 1e-3


def test_gradients_in_blocks_with_repeated_rows(monkeypatch):
    x, y = np.concatenate([X, X[:7]]), np.concatenate([Y, Y[:7] + 0.1])
    model = NTKRegressor(depth=1, noise=0.1).fit(x, y)
    whole = model.log_marginal_likelihood(eval_gradient=True)[1]
    monkeypatch.setattr(_evidence, "_TILE", 16)
    assert np.allclose(model.log_marginal_likelihood(eval_gradient=True)[1], whole, rtol=1e-11)


def test_without_biases_their_slope_is_zero():
    model = NNGPRegressor(depth=1, bias_var=0.0, noise=0.1).fit(X, Y)
    assert model.theta_[1] == -np.inf
    value, slope = model.log_marginal_likelihood(model.theta_, eval_gradient=True)
    assert np.isclose(value, model.log_marginal_likelihood(), rtol=1e-12)
    assert slope[1] == 0.0


def test_layers_that_differ_move_by_one_factor():
    weights = (1.0, 2.0, 3.0)
    net = wd.mlp(2, activation="relu", weight_var=weights, bias_var=0.1)
    slope = NNGPRegressor(net, noise=0.1).fit(X, Y).log_marginal_likelihood(eval_gradient=True)[1]
    step = 1e-4
    values = [
        NNGPRegressor(
            wd.mlp(2, activation="relu", weight_var=[w * np.exp(s * step) for w in weights],
                   bias_var=0.1), noise=0.1
        ).fit(X, Y).log_marginal_likelihood()
        for s in (1, -1)
    ]  # fmt: skip
    assert np.isclose(slope[0], (values[0] - values[1]) / (2 * step), rtol=1e-6)
    with pytest.raises(ValueError, match="different variances"):
        NNGPRegressor(net, noise=0.1).fit(X, Y).theta_  # noqa: B018


@pytest.mark.parametrize("theta", [(0.0, 0.0), (0.0, np.nan, 0.0), (0.0, 0.0, np.inf)])
def test_bad_theta_is_refused(theta):
    with pytest.raises(ValueError, match="theta"):
        NNGPRegressor(noise=0.1).fit(X, Y).log_marginal_likelihood(theta)


# -- searches ----------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_the_grid_s_best_marginal_likelihood_is_chosen(kind):
    grid = {"depth": [1, 3], "weight_var": [1.0, 2.0], "noise": [0.01, 0.3]}
    model = kind(search="marginal_likelihood", grid=grid).fit(X, targets(kind))
    scores = {
        combination: kind(**dict(zip(grid, combination, strict=True)))
        .fit(X, targets(kind)).log_marginal_likelihood()
        for combination in itertools.product(*grid.values())
    }  # fmt: skip
    assert len(model.search_results_) == 8
    best = max(scores, key=scores.__getitem__)
    assert tuple(model.best_params_[name] for name in grid) == best
    assert np.isclose(model.log_marginal_likelihood(), scores[best], rtol=1e-10)
    assert (model.net_.depth, model.noise_) == (best[0], best[2])
    for result in model.search_results_:
        expected = scores[tuple(result[name] for name in grid)]
        assert np.isclose(result["score"], expected, rtol=1e-10)


@pytest.mark.parametrize("kind", ALL)
def test_a_split_chooses_what_predicts_the_other_half(kind):
    noises = [1e-3, 0.1, 3.0]
    y = targets(kind)
    model = kind(search="split", grid={"noise": noises}, random_state=4).fit(X, y)
    best = max(model.search_results_, key=lambda result: result["score"])["score"]
    chosen = next(r for r in model.search_results_ if r["noise"] == model.noise_)
    assert chosen["score"] == best
    again = kind(search="split", grid={"noise": noises}, random_state=4).fit(X, y)
    assert again.search_results_ == model.search_results_


@pytest.mark.parametrize("kind", ALL)
def test_the_split_fits_one_half_and_judges_by_the_other(kind):
    y = targets(kind)
    labels = LABELS if kind in (NNGPClassifier, NTKClassifier) else None
    fits, judges = _estimator._halves(np.arange(30), labels, 15, np.random.RandomState(4))
    assert sorted([*fits, *judges]) == list(range(30))
    noises = [1e-3, 0.1, 3.0]
    model = kind(search="split", grid={"noise": noises}, random_state=4).fit(X, y)
    for result, noise in zip(model.search_results_, noises, strict=True):
        half = kind(noise=noise).fit(X[fits], y[fits])
        if labels is None:
            expected = -np.mean((half.predict(X[judges]) - y[judges]) ** 2)
        else:
            expected = half.score(X[judges], y[judges])
        assert np.isclose(result["score"], expected, rtol=1e-9)


def test_networks_and_penalties_can_be_tried():
    nets = [wd.mlp(2, activation=name, weight_var=1.5, bias_var=0.1) for name in ("relu", "erf")]
    model = NTKClassifier(
        method="svm", search="split", grid={"net": nets, "C": [0.1, 10.0]}
    ).fit(X, LABELS)  # fmt: skip
    assert len(model.search_results_) == 4
    assert model.net_ in nets
    assert model.C_ in (0.1, 10.0)
    assert len(NTKClassifier(method="svm", search="split").fit(X, LABELS).search_results_) == 21


@pytest.mark.parametrize("kind", [NNGPRegressor, NTKClassifier])
def test_refinement_ends_where_the_slope_is_zero(kind):
    model = kind(
        search="marginal_likelihood", grid={"depth": [1], "noise": [0.1]}, refine=50
    ).fit(X, targets(kind))  # fmt: skip
    first, last = model.search_results_
    assert last["score"] > first["score"]
    assert np.isclose(model.log_marginal_likelihood(), last["score"], rtol=1e-9)
    slope = model.log_marginal_likelihood(eval_gradient=True)[1]
    start = kind(depth=1, noise=0.1).fit(X, targets(kind))
    assert (
        np.abs(slope).max()
        < 0.01 * np.abs(start.log_marginal_likelihood(eval_gradient=True)[1]).max()
    )


def test_the_search_can_look_at_few_rows():
    model = NNGPClassifier(search="split", search_rows=12, grid={"noise": [0.1, 1.0]})
    assert model.fit(X, LABELS).score(X, LABELS) > 0.7


def test_one_sample_is_too_few_to_search():
    with pytest.raises(ValueError, match="1 sample"):
        NNGPRegressor(search="split").fit(X[:1], Y[:1])
