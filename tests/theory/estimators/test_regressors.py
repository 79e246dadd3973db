"""The two laws against independent ways to them, and against each other."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel

import whydeep as wd
from whydeep.theory.estimators import NNGPRegressor, NTKRegressor

RNG = np.random.default_rng(5)
X = RNG.normal(size=(20, 3))
Y = np.stack([np.sin(X.sum(axis=1)), X[:, 0] ** 2], axis=1)
T = RNG.normal(size=(7, 3))
NET = wd.mlp(2, activation="erf", weight_var=2.0, bias_var=0.3)
BOTH = (NNGPRegressor, NTKRegressor)


class Given(Kernel):
    """A kernel of scikit-learn that asks whydeep."""

    def __init__(self):
        pass

    def __call__(self, x, y=None, eval_gradient=False):  # noqa: ARG002 -- its interface
        return wd.kernel(NET, x, y, ntk=False).nngp

    def diag(self, x):
        return np.diagonal(self(x)).copy()

    def is_stationary(self):
        return False


@pytest.mark.parametrize("normalize", [False, True])
def test_nngp_is_gaussian_process_regression(normalize):
    ours = NNGPRegressor(NET, noise=0.05, normalize_y=normalize).fit(X, Y)
    theirs = GaussianProcessRegressor(Given(), alpha=0.05, optimizer=None, normalize_y=normalize)
    theirs.fit(X, Y)
    mean, std = ours.predict(T, return_std=True)
    _, covariance = ours.predict(T, return_cov=True)
    expected, expected_std = theirs.predict(T, return_std=True)
    _, expected_covariance = theirs.predict(T, return_cov=True)
    assert np.allclose(mean, expected, atol=1e-10)
    assert np.allclose(std, expected_std, atol=1e-10)
    assert np.allclose(covariance, expected_covariance, atol=1e-10)
    assert np.isclose(
        ours.log_marginal_likelihood(), theirs.log_marginal_likelihood_value_, rtol=1e-11
    )


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_ntk_is_gradient_flow_from_random_outputs(noise):
    """The linear model f + J (theta - theta_0) itself, integrated from start to end.

    With outputs f = f_0 + Theta w at all inputs, w following from the training inputs: gradient
    flow on |f(X) - y|^2 + noise |theta - theta_0|^2 moves w' = -(f(X) - y) - noise w.
    """
    both = wd.kernel(NET, np.concatenate([X[:6], T]))
    theta, nngp = both.ntk, both.nngp
    y = Y[:6, 0]
    size = len(theta)

    def final(start):
        def slope(_, w):
            return -(start[:6] + theta[:6, :6] @ w - y) - noise * w

        end = solve_ivp(slope, (0, 1e5), np.zeros(6), "Radau", rtol=1e-10, atol=1e-12).y[:, -1]
        return start + theta[:, :6] @ end

    at_zero = final(np.zeros(size))
    linear = np.stack([final(start) - at_zero for start in np.eye(size)], axis=1)
    covariance = linear @ nngp @ linear.T
    model = NTKRegressor(NET, noise=noise).fit(X[:6], y)
    mean, found = model.predict(np.concatenate([X[:6], T]), return_cov=True)
    assert np.allclose(mean, at_zero, atol=1e-6)
    assert np.allclose(found, covariance, atol=1e-6)
    # It is another law than the posterior.
    other, posterior = NNGPRegressor(NET, noise=noise).fit(X[:6], y).predict(T, return_cov=True)
    assert np.abs(other - mean[6:]).max() > 0.01
    assert np.abs(posterior - found[6:, 6:]).max() > 0.01


@pytest.mark.parametrize("kind", BOTH)
def test_without_noise_it_interpolates_without_scatter(kind):
    model = kind().fit(X, Y)
    mean, covariance = model.predict(X, return_cov=True)
    _, std = model.predict(X, return_std=True)
    # Rounding times the condition number, a few thousand; a root for the deviation.
    assert np.allclose(mean, Y, atol=1e-10)
    assert np.allclose(covariance, 0.0, atol=1e-10)
    assert np.allclose(std, 0.0, atol=1e-5)
    assert model.predict(T, return_std=True)[1].min() > 0.1


@pytest.mark.parametrize("kind", BOTH)
def test_parts_agree(kind, monkeypatch):
    from whydeep.theory.estimators import _posterior

    model = kind(NET, noise=0.1).fit(X, Y)
    mean, std = model.predict(T, return_std=True)
    also_mean, covariance = model.predict(T, return_cov=True)
    assert np.allclose(mean, model.predict(T), atol=1e-12)
    assert np.allclose(mean, also_mean, atol=1e-12)
    assert std.shape == mean.shape == (7, 2)
    assert np.allclose(std[:, 1] ** 2, np.diagonal(covariance[..., 1]), atol=1e-12)
    monkeypatch.setattr(_posterior, "_BLOCK_NUMBERS", 3 * len(X))
    monkeypatch.setattr(_posterior, "_DIAGONAL_ROWS", 2)
    in_blocks, std_in_blocks = model.predict(T, return_std=True)
    # Smooth kernels are tables made for the range of the inputs at hand: 1e-10.
    assert np.allclose(in_blocks, mean, atol=1e-7)
    assert np.allclose(std_in_blocks, std, atol=1e-7)


@pytest.mark.parametrize("kind", BOTH)
def test_the_order_of_the_rows_does_not_matter(kind):
    order = RNG.permutation(len(X))
    one = kind(noise=0.01).fit(X, Y)
    other = kind(noise=0.01).fit(X[order], Y[order])
    for a, b in zip(one.predict(T, return_std=True), other.predict(T, return_std=True),
                    strict=True):  # fmt: skip
        assert np.allclose(a, b, atol=1e-11)
    assert np.isclose(one.log_marginal_likelihood(), other.log_marginal_likelihood(), rtol=1e-11)


@pytest.mark.parametrize("kind", BOTH)
def test_outputs_do_not_see_each_other(kind):
    both = kind(noise=0.01).fit(X, Y)
    alone = kind(noise=0.01).fit(X, Y[:, 1])
    assert np.allclose(both.predict(T)[:, 1], alone.predict(T), atol=1e-12)
    assert alone.predict(T).shape == (7,)
    first = kind(noise=0.01).fit(X, Y[:, 0])
    total = alone.log_marginal_likelihood() + first.log_marginal_likelihood()
    assert np.isclose(both.log_marginal_likelihood(), total, rtol=1e-12)


@pytest.mark.parametrize("kind", BOTH)
def test_units_of_the_targets(kind):
    one = kind(noise=0.01, normalize_y=True).fit(X, Y)
    other = kind(noise=0.01, normalize_y=True).fit(X, 1000.0 * Y - 7.0)
    mean, std = one.predict(T, return_std=True)
    moved, wider = other.predict(T, return_std=True)
    assert np.allclose(moved, 1000.0 * mean - 7.0, rtol=1e-9)
    assert np.allclose(wider, 1000.0 * std, rtol=1e-9)


# -- singular kernels ----------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH)
def test_repeated_rows_count_once(kind):
    model = kind().fit(np.concatenate([X, X[:5]]), np.concatenate([Y, Y[:5]]))
    once = kind().fit(X, Y)
    assert np.allclose(model.predict(T), once.predict(T), atol=1e-9)
    assert np.allclose(
        model.predict(T, return_std=True)[1], once.predict(T, return_std=True)[1], atol=1e-7
    )
    with pytest.raises(ValueError, match="singular"):
        model.log_marginal_likelihood()


@pytest.mark.parametrize("kind", BOTH)
def test_contradicting_rows_get_their_mean_and_a_warning(kind):
    x = np.concatenate([X, X[:1]])
    y = np.append(Y[:, 0], Y[0, 0] + 1.0)
    with pytest.warns(UserWarning, match=r"missed by 0\.5"):
        model = kind().fit(x, y)
    mean = Y[:, 0].copy()
    mean[0] += 0.5
    assert np.allclose(model.predict(T), kind().fit(X, mean).predict(T), atol=1e-8)
    # ... which is the limit of small noise.
    near = kind(noise=1e-7).fit(x, y)
    assert np.allclose(model.predict(T), near.predict(T), atol=1e-4)


@pytest.mark.parametrize("kind", BOTH)
def test_a_kernel_of_low_rank_leaves_the_rest_where_it_is(kind):
    # Without biases, relu sees of one number its sign and its size: rank 2.
    net = wd.mlp(2, activation="relu", weight_var=2.0, bias_var=0.0)
    x = np.array([[-2.0], [-1.0], [1.0], [3.0]])
    y = np.where(x[:, 0] > 0, 2.0, 0.5) * np.abs(x[:, 0])
    model = kind(net).fit(x, y)
    assert np.allclose(model.predict([[-4.0], [5.0]]), [2.0, 10.0], atol=1e-9)
    with pytest.warns(UserWarning, match="missed"):
        kind(net).fit(x, y + 1.0)


@pytest.mark.parametrize("kind", BOTH)
def test_rows_of_very_different_sizes_are_not_taken_for_singular(kind):
    net = wd.mlp(1, activation="relu", weight_var=2.0, bias_var=0.0)
    x = X * np.logspace(-6, 3, len(X))[:, None]
    y = Y[:, 0] * np.logspace(-6, 3, len(X))
    assert np.allclose(kind(net).fit(x, y).predict(x), y, rtol=1e-7)
