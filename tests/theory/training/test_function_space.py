"""Any loss: against the closed form, the network's own recursion, and simple cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from whydeep.errors import InputError, UnsupportedError
from whydeep.theory.training import (
    Descent,
    Flow,
    HeavyBall,
    HeavyBallFlow,
    evolve,
    evolve_outputs,
)

RNG = np.random.default_rng(6)
N, M, C, P = 6, 3, 3, 25
FEATURES = RNG.normal(size=(N + M, P)) / 3
NTK = FEATURES @ FEATURES.T
LABELS = RNG.normal(size=(N, C))
CLASSES = np.eye(C)[[0, 1, 2, 2, 1, 0]]
THETA = RNG.normal(size=(P, C))
START = FEATURES @ THETA
ALL = [Flow(), Descent(0.1), HeavyBall(0.1, 0.8), HeavyBallFlow(0.7)]


def half_squares(f, y):
    return 0.5 * jnp.sum((f - y) ** 2)


def entropy(f, y):
    return -jnp.sum(y * jax.nn.log_softmax(f))


@pytest.mark.parametrize("dynamics", ALL, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("loss", ["squared", half_squares])
def test_a_squared_loss_is_its_closed_form(dynamics, loss):
    times = [3.0, 0.0, 0.5, 20.0, 0.5]  # in any order, with repetitions
    exact = evolve(NTK, NTK, LABELS, times, dynamics=dynamics)
    found = evolve_outputs(NTK, np.zeros((N + M, C)), LABELS, times, loss=loss, dynamics=dynamics)
    finite = isinstance(dynamics, (Descent, HeavyBall))
    tolerance = 1e-12 if finite else 1e-9 * np.abs(exact.train_mean).max()
    np.testing.assert_allclose(found[:, :N], exact.train_mean, atol=tolerance)
    np.testing.assert_allclose(found[:, N:], exact.test_mean, atol=tolerance)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("dynamics", ALL, ids=lambda d: type(d).__name__)
def test_a_squared_loss_has_an_end(dynamics, reduction):
    how = {"loss": "squared", "reduction": reduction, "dynamics": dynamics}
    late, end = evolve_outputs(NTK, START, LABELS, [2e5, np.inf], **how)
    np.testing.assert_allclose(late, end, atol=1e-7)
    np.testing.assert_allclose(end[:N], LABELS, atol=1e-10)  # the kernel has full rank
    weights = np.linalg.solve(NTK[:N, :N], LABELS - START[:N])
    np.testing.assert_allclose(end[N:], START[N:] + NTK[N:, :N] @ weights, atol=1e-8)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("loss", ["cross_entropy", entropy])
def test_cross_entropy_of_a_linear_model_step_by_step(momentum, loss):
    theta, velocity, step, path = THETA, np.zeros_like(THETA), 0.2, [START]
    for _ in range(60):
        gradient = FEATURES[:N].T @ (softmax(FEATURES[:N] @ theta, axis=1) - CLASSES)
        velocity = momentum * velocity + gradient
        theta = theta - step * velocity
        path.append(FEATURES @ theta)
    dynamics = HeavyBall(step, momentum) if momentum else Descent(step)
    found = evolve_outputs(
        NTK, START, CLASSES, step * np.array([0, 7, 60]), loss=loss, dynamics=dynamics
    )
    np.testing.assert_allclose(found, [path[0], path[7], path[60]], atol=1e-12)


def test_two_classes_and_one_input_have_a_closed_form():
    # u = f_1 = -f_2 obeys du/dt = 1 / (1 + e^(2u)): u + e^(2u) / 2 - 1/2 = t from u = 0.
    times = np.array([0.1, 1.0, 10.0, 1000.0])
    found = evolve_outputs(np.eye(1), np.zeros((1, 2)), [[1.0, 0.0]], times)
    u = found[:, 0, 0]
    np.testing.assert_allclose(u + np.exp(2 * u) / 2 - 0.5, times, rtol=1e-7)
    np.testing.assert_allclose(found.sum(axis=2), 0.0, atol=1e-12)


def test_small_steps_of_cross_entropy_are_its_flow():
    flow = evolve_outputs(NTK, START, CLASSES, 2.0)
    off = [np.abs(evolve_outputs(NTK, START, CLASSES, 2.0, dynamics=Descent(h)) - flow).max()
           for h in (0.02, 0.01)]  # fmt: skip
    assert off[0] / off[1] == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("dynamics", ALL, ids=lambda d: type(d).__name__)
def test_many_networks_at_once_are_one_at_a_time(dynamics):
    starts = np.stack([START, -START, np.zeros_like(START)])
    times = [0.0, 0.4, 2.0]
    together = evolve_outputs(NTK, starts, CLASSES, times, dynamics=dynamics)
    assert together.shape == (3, 3, N + M, C)
    for start, found in zip(starts, together, strict=True):
        alone = evolve_outputs(NTK, start, CLASSES, times, dynamics=dynamics)
        np.testing.assert_allclose(found, alone, atol=2e-9 * np.abs(alone).max())


def test_a_tighter_tolerance_moves_less_than_the_looser_one_promises():
    for dynamics in (Flow(), HeavyBallFlow(0.7)):
        runs = [evolve_outputs(NTK, START, CLASSES, 10.0, dynamics=dynamics, tolerance=t)
                for t in (1e-6, 1e-9, 1e-12)]  # fmt: skip
        largest = np.abs(runs[2]).max()
        assert np.abs(runs[0] - runs[2]).max() < 1e-6 * largest
        assert np.abs(runs[1] - runs[2]).max() < 1e-9 * largest


def test_zero_modes_do_not_move():
    rows = [0, 0, 1, N]
    found = evolve_outputs(NTK[np.ix_(rows, rows)], START[rows], CLASSES[:3], [0.0, 50.0])
    np.testing.assert_allclose(found[:, 0], found[:, 1], atol=1e-9)
    assert np.abs(found[1] - found[0]).max() > 0.1


def test_what_can_not_be_used_is_refused():
    with pytest.raises(UnsupportedError, match="squared loss only"):
        evolve_outputs(NTK, START, CLASSES, np.inf)
    with pytest.raises(InputError, match="has no limit"):
        evolve_outputs(NTK, START, LABELS, np.inf, loss="squared", dynamics=Descent(1e3))
    with pytest.raises(InputError, match="probabilities"):
        evolve_outputs(NTK, START, 2 * CLASSES, 1.0)
    with pytest.raises(InputError, match="two or more"):
        evolve_outputs(NTK, START[:, :1], np.ones(N), 1.0)
    with pytest.raises(InputError, match="at the start"):
        evolve_outputs(NTK, START[:5], CLASSES, 1.0)
    with pytest.raises(InputError, match="does not fit"):
        evolve_outputs(NTK[:, :2], START, CLASSES, 1.0)
    with pytest.raises(InputError, match="no loss"):
        evolve_outputs(NTK, START, CLASSES, 1.0, loss="hinge")
    with pytest.raises(InputError, match="reduction"):
        evolve_outputs(NTK, START, CLASSES, 1.0, reduction="most")
    with pytest.raises(UnsupportedError, match="one number"):
        evolve_outputs(NTK, START, CLASSES, 1.0, loss=lambda f, y: (f - y) ** 2)
    with pytest.raises(InputError, match="grow beyond"):
        evolve_outputs(NTK, START, LABELS, 1e6, loss="squared", dynamics=Descent(1e3))


@pytest.mark.lanes
def test_a_function_is_taken_in_double_precision_whatever_jax_is_set_to():
    ours = evolve_outputs(NTK, START, CLASSES, 1.0, loss="cross_entropy", dynamics=Descent(0.1))
    theirs = evolve_outputs(NTK, START, CLASSES, 1.0, loss=entropy, dynamics=Descent(0.1))
    np.testing.assert_allclose(ours, theirs, atol=1e-13)
