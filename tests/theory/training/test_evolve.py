"""The squared loss in closed form: brute force on linear models, identities, refusals."""

import numpy as np
import pytest
from scipy import linalg

from whydeep.errors import InputError
from whydeep.theory.training import Descent, Flow, HeavyBall, HeavyBallFlow, evolve

RNG = np.random.default_rng(5)
N, M, P = 7, 3, 40
FEATURES = RNG.normal(size=(N + M, P)) / 4
START = np.diag(RNG.uniform(0.2, 2.0, size=P))  # the covariance of the parameters at the start
NNGP, NTK = FEATURES @ START @ FEATURES.T, FEATURES @ FEATURES.T
NNGP = 0.5 * (NNGP + NNGP.T)
Y = RNG.normal(size=(N, 2))
TOP = np.linalg.eigvalsh(NTK[:N, :N])[-1]


def brute_force(step, momentum, steps, scale=1.0):
    """Mean and covariance of outputs after steps on f = features . theta, parameter by parameter.

    theta and its velocity are affine in theta at the start, so both laws follow without draws.
    """
    phi = FEATURES[:N]
    mean, mean_v = np.zeros((P, 2)), np.zeros((P, 2))
    matrix, matrix_v = np.eye(P), np.zeros((P, P))
    for _ in range(steps):
        mean_v = momentum * mean_v + scale * phi.T @ (phi @ mean - Y)
        matrix_v = momentum * matrix_v + scale * phi.T @ (phi @ matrix)
        mean, matrix = mean - step * mean_v, matrix - step * matrix_v
    spread = FEATURES @ matrix
    return FEATURES @ mean, spread @ START @ spread.T


def check(found, mean, covariance, tolerance):
    for side, rows in (("train", slice(0, N)), ("test", slice(N, None))):
        pairs = (
            (getattr(found, f"{side}_mean")[0], mean[rows]),
            (getattr(found, f"{side}_covariance")[0], covariance[rows, rows]),
            (getattr(found, f"{side}_variance")[0], np.diagonal(covariance)[rows]),
        )
        for ours, exact in pairs:
            np.testing.assert_allclose(ours, exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize("steps", [0, 1, 2, 17, 300])
@pytest.mark.parametrize("momentum", [0.0, 0.6, 0.95])
@pytest.mark.parametrize("scale", [1.0, 1 / (2 * N)])
def test_gradient_descent_on_a_linear_model(steps, momentum, scale):
    step = 1.1 / (TOP * scale)
    dynamics = HeavyBall(step, momentum) if momentum else Descent(step)
    found = evolve(NNGP, NTK, Y, step * steps, dynamics=dynamics, scale=scale)
    check(found, *brute_force(step, momentum, steps, scale), 1e-12)


def test_a_planted_error_is_caught(monkeypatch):
    # The flow in place of its steps; then the covariance of the prior in place of what is trained.
    step = 1.1 / TOP
    mean, covariance = brute_force(step, 0.0, 2)
    with pytest.raises(AssertionError):
        check(evolve(NNGP, NTK, Y, 2 * step), mean, covariance, 1e-3)
    monkeypatch.setattr(
        "whydeep.theory.training._evolve._test", lambda *a: (a[0] * a[5] @ a[2], a[4])
    )
    found = evolve(NNGP, NTK, Y, 2 * step, dynamics=Descent(step))
    with pytest.raises(AssertionError):
        check(found, mean, covariance, 1e-3)


@pytest.mark.parametrize("time", [1e-12, 1e-3, 0.5, 20.0])
def test_gradient_flow_on_a_linear_model(time):
    phi = FEATURES[:N]
    hessian = phi.T @ phi
    matrix = linalg.expm(-time * hessian)
    # d theta / dt = -hessian theta + phi^T y, from 0: one exponential of the block matrix
    block = np.zeros((P + 2, P + 2))
    block[:P, :P], block[:P, P:] = -hessian, phi.T @ Y
    mean = linalg.expm(time * block)[:P, P:]
    spread = FEATURES @ matrix
    check(evolve(NNGP, NTK, Y, time), FEATURES @ mean, spread @ START @ spread.T, 1e-12)


def test_at_the_start_there_is_the_prior_and_at_the_end_the_labels():
    found = evolve(NNGP, NTK, Y, [0.0, np.inf])
    np.testing.assert_array_equal(found.train_covariance[0], NNGP[:N, :N])
    np.testing.assert_array_equal(found.test_covariance[0], NNGP[N:, N:])
    assert not found.train_mean[0].any()
    assert not found.test_mean[0].any()
    np.testing.assert_array_equal(found.train_mean[1], Y)
    assert not found.train_covariance[1].any()
    regression = NTK[N:, :N] @ np.linalg.solve(NTK[:N, :N], Y)
    np.testing.assert_allclose(found.test_mean[1], regression, atol=1e-12)


def test_with_its_own_kernel_the_end_is_the_posterior():
    found = evolve(NNGP, NNGP, Y, np.inf)
    solved = np.linalg.solve(NNGP[:N, :N], NNGP[:N, N:])
    posterior = NNGP[N:, N:] - NNGP[N:, :N] @ solved
    np.testing.assert_allclose(found.test_covariance[0], posterior, atol=1e-12)
    assert np.abs(evolve(NNGP, NTK, Y, np.inf).test_covariance[0] - posterior).max() > 1e-2


@pytest.mark.parametrize(
    "dynamics", [Flow(), Descent(0.125), HeavyBall(0.125, 0.5), HeavyBallFlow(0.8)]
)
def test_the_loss_is_the_sum_of_its_modes(dynamics):
    found = evolve(NNGP, NTK, Y, [0.0, 1.0, 8.0], dynamics=dynamics, scale=0.3)
    bias = ((found.train_mean - Y) ** 2).sum(axis=(1, 2))
    loss = 0.15 * (bias + 2 * found.train_variance.sum(axis=1))
    np.testing.assert_allclose(found.mode_loss.sum(axis=1), loss, rtol=1e-12)


def test_a_late_residual_keeps_its_digits():
    theta = np.diag([1.0, 2.0])
    found = evolve(np.eye(2), theta, [1.0, 1.0], 40.0)
    np.testing.assert_allclose(found.mode_loss[0], np.exp(-80 * np.array([2.0, 1.0])), rtol=1e-13)
    np.testing.assert_allclose(found.train_variance[0], np.exp(-80 * np.array([1, 2])), rtol=1e-13)


def test_test_inputs_that_were_trained_on_agree_with_training():
    rows = [*range(N), 0, 3]
    grid = np.ix_(rows, rows)
    found = evolve(NNGP[grid], NTK[grid], Y, [0.0, 0.2, 3.0, np.inf])
    np.testing.assert_allclose(found.test_mean, found.train_mean[:, [0, 3]], atol=1e-12)
    same = np.ix_(range(4), [0, 3], [0, 3])
    np.testing.assert_allclose(found.test_covariance, found.train_covariance[same], atol=1e-12)


@pytest.mark.parametrize("time", [0.3, 50.0, 1e30, np.inf])
def test_equal_inputs_with_different_labels_stay_equal(time):
    rows = [*range(N), 0, *range(N, N + M)]
    grid = np.ix_(rows, rows)
    labels = np.concatenate([Y, Y[:1] + 1])
    found = evolve(NNGP[grid], NTK[grid], labels, time)
    assert (found.basis.eigenvalues == 0).sum() == 1
    np.testing.assert_allclose(found.train_mean[0, 0], found.train_mean[0, N], atol=1e-12)
    # What trains is a problem with one input less, whose label is the mean and which counts twice.
    weight = np.ones(N)
    weight[0] = np.sqrt(2.0)
    weights = np.concatenate([weight, np.ones(M)])
    mean = Y.copy()
    mean[0] += 0.5
    double = weights[:, None] * weights
    other = evolve(NNGP * double, NTK * double, weight[:, None] * mean, time)
    np.testing.assert_allclose(found.test_mean, other.test_mean, atol=1e-10)
    np.testing.assert_allclose(found.test_covariance, other.test_covariance, atol=1e-10)


def test_fewer_features_than_inputs_leave_zero_modes():
    phi = FEATURES[:, :4]
    theta = phi @ phi.T
    found = evolve(theta, theta, Y, [1e18, np.inf])
    assert (found.basis.eigenvalues > 0).sum() == 4
    fit = np.linalg.lstsq(phi[:N], Y, rcond=None)[0]
    for which in (0, 1):
        np.testing.assert_allclose(found.train_mean[which], phi[:N] @ fit, atol=1e-11)
        np.testing.assert_allclose(found.test_mean[which], phi[N:] @ fit, atol=1e-11)


def test_variances_alone_are_the_diagonal():
    times = [0.0, 1e-3, 0.5, np.inf]
    full = evolve(NNGP, NTK, Y, times)
    some = evolve(NNGP, NTK[:, :N], Y, times, covariance="diagonal")
    assert some.train_covariance is None
    assert some.test_covariance is None
    np.testing.assert_allclose(some.train_variance, full.train_variance, atol=1e-13)
    np.testing.assert_allclose(some.test_variance, full.test_variance, atol=1e-13)


def test_just_below_the_largest_step_it_converges_and_just_above_it_grows():
    for momentum in (0.0, 0.9):
        edge = 2 * (1 + momentum) / TOP
        dynamics = [HeavyBall(edge * f, momentum) if momentum else Descent(edge * f)
                    for f in (0.99, 1.01)]  # fmt: skip
        losses = [
            evolve(NNGP, NTK, Y, d.step * np.array([0, 2000]), dynamics=d).mode_loss[:, 0]
            for d in dynamics
        ]
        assert losses[0][1] < 1e-3 * losses[0][0]
        assert losses[1][1] > 1e3 * losses[1][0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"y": Y[:, 0] * np.nan}, "not finite"),
        ({"y": "seven"}, "does not hold numbers"),
        ({"y": np.zeros((12, 1))}, "does not fit"),
        ({"nngp": NNGP[:, :3]}, "does not fit"),
        ({"ntk": NTK[:5, :5]}, "different shapes"),
        ({"ntk": NTK * np.inf}, "not finite"),
        ({"ntk": -NTK}, "negative eigenvalue"),
        ({"ntk": NTK + np.triu(NTK, 1)}, "not symmetric"),
        ({"nngp": NNGP + np.triu(NNGP, 1)}, "not symmetric"),
        ({"times": -1.0}, "times"),
        ({"times": [np.nan]}, "times"),
        ({"times": []}, "times"),
        ({"covariance": "most"}, "covariance"),
        ({"scale": 0.0}, "scale"),
        ({"dynamics": Descent(100.0), "times": 1e5}, "grow beyond"),
    ],
)
def test_what_can_not_be_used_is_refused(change, says):
    arguments = {"nngp": NNGP, "ntk": NTK, "y": Y, "times": 1.0} | change
    with np.errstate(invalid="ignore"), pytest.raises(InputError, match=says):
        evolve(**arguments)
