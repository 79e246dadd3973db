"""Classes: regression on labels, shares of votes, support vectors."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.svm import SVC

import whydeep as wd
from whydeep.theory.estimators import (
    NNGPClassifier,
    NNGPRegressor,
    NTKClassifier,
    NTKRegressor,
)
from whydeep.theory.estimators._votes import largest_of_gaussians

RNG = np.random.default_rng(8)
DIGITS, NAMES = load_digits(return_X_y=True)
ORDER = RNG.permutation(len(DIGITS))  # they come by writer
DIGITS, NAMES = DIGITS[ORDER] / 16.0, NAMES[ORDER]
BOTH = ((NNGPClassifier, NNGPRegressor), (NTKClassifier, NTKRegressor))


@pytest.mark.parametrize(("kind", "regressor"), BOTH)
def test_it_regresses_on_labels(kind, regressor):
    x, y, test = DIGITS[:60], NAMES[:60], DIGITS[60:90]
    model = kind(noise=0.01).fit(x, y)
    targets = np.eye(10)[y] - 0.1
    mean, std = regressor(noise=0.01).fit(x, targets).predict(test, return_std=True)
    means, variance = model.latent_mean_and_variance(test)
    assert np.allclose(means, mean, atol=1e-12)
    assert np.allclose(variance, std[:, 3] ** 2, atol=1e-12)
    assert np.array_equal(model.predict(test), np.argmax(mean, axis=1))


@pytest.mark.parametrize("kind", [NNGPClassifier, NTKClassifier])
def test_digits_are_told_apart(kind):
    # Nine in ten with 300 examples, by far; chance is one in ten.
    model = kind(noise=0.01).fit(DIGITS[:300], NAMES[:300])
    assert model.score(DIGITS[300:800], NAMES[300:800]) > 0.9


@pytest.mark.parametrize("kind", [NNGPClassifier, NTKClassifier])
def test_names_of_classes_do_not_matter(kind):
    x, y = DIGITS[:80], NAMES[:80]
    names = np.array(list("qwertyuiop"))
    one, other = kind().fit(x, y), kind().fit(x, names[y])
    assert np.array_equal(names[one.predict(DIGITS[80:120])], other.predict(DIGITS[80:120]))
    order = np.argsort(names)
    assert np.allclose(
        one.predict_proba(DIGITS[80:120])[:, order], other.predict_proba(DIGITS[80:120]), atol=1e-9
    )


@pytest.mark.parametrize("kind", [NNGPClassifier, NTKClassifier])
@pytest.mark.parametrize("y", [np.zeros(4), ["only"] * 4])
def test_one_class_is_refused(kind, y):
    with pytest.raises(ValueError, match="one class"):
        kind().fit(np.eye(4), y)


def test_contradicting_labels_are_said():
    x = np.concatenate([DIGITS[:20], DIGITS[:1]])
    y = np.append(NAMES[:20], NAMES[0] + 1)
    with pytest.warns(UserWarning, match=r"missed by 0\.5"):
        NTKClassifier().fit(x, y)


# -- probabilities ----------------------------------------------------------


def test_two_classes_have_a_closed_form():
    means, std = RNG.normal(size=(50, 2)), RNG.uniform(0.01, 3.0, size=50)
    found = largest_of_gaussians(means, std)
    expected = stats.norm.cdf((means[:, 1] - means[:, 0]) / (std * 2**0.5))
    assert np.allclose(found[:, 1], expected, atol=1e-13)
    assert np.allclose(found.sum(axis=1), 1.0, atol=1e-14)


def test_many_classes_are_those_of_draws():
    means, std = RNG.normal(size=(4, 5)), np.array([0.3, 1.0, 2.0, 5.0])
    draws = 200_000
    shares = []
    for row, s in zip(means, std, strict=True):
        best = np.argmax(row + s * RNG.normal(size=(draws, 5)), axis=1)
        shares.append(np.bincount(best, minlength=5) / draws)
    found = largest_of_gaussians(means, std)
    # 20 comparisons; one in 10^4 passes 4.4 standard errors in one of them.
    error = np.sqrt(found * (1 - found) / draws)
    assert np.all(np.abs(np.array(shares) - found) < 4.5 * error + 1e-9)


def test_certain_outputs_have_certain_classes():
    means = np.array([[0.0, 1.0, 0.5], [1.0, 1.0, 0.0], [0.0, 1.0, 0.5], [0.0, -5.0, 1e-3]])
    found = largest_of_gaussians(means, np.array([0.0, 0.0, 1e-300, 1e-5]))
    assert np.allclose(found, [[0, 1, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]], atol=1e-15)


def test_equal_outputs_share_equally():
    assert np.allclose(largest_of_gaussians(np.ones((1, 7)), np.ones(1)), 1 / 7, atol=1e-14)


def test_probabilities_of_the_ntk_are_votes_of_trained_networks():
    """Random outputs at the start, each brought to the labels by the kernel, then counted."""
    x, y, test = DIGITS[:12], NAMES[:12] % 3, DIGITS[12:15]
    net = wd.mlp(2, activation="relu", weight_var=2.0, bias_var=0.2)
    both = wd.kernel(net, np.concatenate([x, test]))
    draws = 40_000
    root = np.linalg.cholesky(both.nngp + 1e-12 * np.eye(15))
    start = np.einsum("ij,jcd->dic", root, RNG.normal(size=(15, 3, draws)))
    pull = np.linalg.solve(both.ntk[:12, :12], both.ntk[:12, 12:]).T
    end = start[:, 12:] + np.einsum("ti,dic->dtc", pull, np.eye(3)[y] - 1 / 3 - start[:, :12])
    votes = np.argmax(end, axis=2)
    shares = np.stack([np.mean(votes == c, axis=0) for c in range(3)], axis=1)
    found = NTKClassifier(net).fit(x, y).predict_proba(test)
    error = np.sqrt(found * (1 - found) / draws)
    # Nine comparisons; one in 10^4 passes 4.3 standard errors in one of them.
    assert np.all(np.abs(shares - found) < 4.3 * error)
    posterior = NNGPClassifier(net).fit(x, y).predict_proba(test)
    assert np.any(np.abs(posterior - shares) > 4.3 * error)


# -- support vectors ----------------------------------------------------------


def test_support_vectors_on_the_tangent_kernel():
    x, y, test = DIGITS[:100], NAMES[:100], DIGITS[100:150]
    net = wd.mlp(2, activation="relu", weight_var=2.0, bias_var=0.0)
    model = NTKClassifier(net, method="svm", C=10.0).fit(x, y)
    machine = SVC(C=10.0, kernel="precomputed").fit(wd.kernel(net, x).ntk, y)
    cross = wd.kernel(net, test, x).ntk
    assert np.array_equal(model.predict(test), machine.predict(cross))
    assert np.allclose(model.decision_function(test), machine.decision_function(cross))
    assert not hasattr(model, "predict_proba")
    with pytest.raises(ValueError, match="no marginal likelihood"):
        model.log_marginal_likelihood()
    assert not hasattr(NTKClassifier(), "decision_function")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"method": "trees"}, "no method of this name"),
        ({"method": "svm", "search": "marginal_likelihood"}, "no marginal likelihood"),
        ({"method": "svm", "C": 0.0}, "C is out of range"),
    ],
)
def test_bad_choices_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        NTKClassifier(**changes).fit(DIGITS[:20], NAMES[:20])
