"""Closed forms of each optimiser in one mode, against its own recursion or equation."""

import mpmath
import numpy as np
import pytest

from whydeep.errors import InputError
from whydeep.theory.training import Descent, Flow, HeavyBall, HeavyBallFlow
from whydeep.theory.training._dynamics import dynamics_of

COUNTS = np.array([0.0, 1.0, 2.0, 3.0, 10.0, 101.0, 400.0])


def recursion(rate, momentum, counts):
    """Residuals of the heavy ball, started at rest, in 50 digits."""
    with mpmath.workdps(50):
        residual, velocity, found = mpmath.mpf(1), mpmath.mpf(0), [mpmath.mpf(1)]
        for _ in range(int(max(counts))):
            velocity = mpmath.mpf(momentum) * velocity + mpmath.mpf(rate) * residual
            residual -= velocity
            found.append(residual)
        return [found[int(k)] for k in counts]


def relative(found, exact):
    with mpmath.workdps(50):
        return [float(abs(mpmath.mpf(float(f)) - e) / max(abs(e), mpmath.mpf(10) ** -300))
                for f, e in zip(found, exact, strict=True)]  # fmt: skip


RATES = [1e-14, 1e-6, 1e-3, 0.1, 0.5, 1.0, 1.5, 1.99, 2.0, 2.2]


@pytest.mark.parametrize("rate", RATES)
def test_descent_is_its_recursion_and_keeps_what_is_small(rate):
    left, done = Descent(1.0).shares(np.array([rate]), COUNTS)
    exact = recursion(rate, 0.0, COUNTS)
    # 1 - rate is rounded once, and 400 powers of it multiply that error where it is not 1 + small.
    assert max(relative(left[1:, 0], exact[1:])) < 400 * 2e-15 or exact[1] == 0
    assert max(relative(done[1:, 0], [1 - e for e in exact[1:]])) < 400 * 2e-15


@pytest.mark.parametrize("momentum", [0.3, 0.9, 0.99])
@pytest.mark.parametrize(
    "where", ["slow", "mode", "double", "complex", "double-", "edge", "beyond"]
)
def test_the_heavy_ball_is_its_recursion(momentum, where):
    root = np.sqrt(momentum)
    low, high = (1 - root) ** 2, (1 + root) ** 2
    rate = {
        "slow": 1e-12, "mode": low / 3, "double": low, "complex": 0.7, "double-": high,
        "edge": 2 * (1 + momentum) * 0.999, "beyond": 2 * (1 + momentum) * 1.001,
    }[where]  # fmt: skip
    left, done = HeavyBall(1.0, momentum).shares(np.array([rate]), COUNTS)
    exact = recursion(rate, momentum, COUNTS)
    # What rounding the rate a few times may move: large near double roots and after many steps.
    moved = recursion(rate * (1 + 1e-9), momentum, COUNTS)
    allowed = [1e-14 * max(1, abs(e)) + abs(m - e) / 1e-9 * 2e-15
               for e, m in zip(exact, moved, strict=True)]  # fmt: skip
    assert all(abs(mpmath.mpf(float(f)) - e) < bound
               for f, e, bound in zip(left[:, 0], exact, allowed, strict=True))  # fmt: skip
    if where == "slow":  # 1 - left would have lost 12 digits
        assert max(relative(done[1:, 0], [1 - e for e in exact[1:]])) < 1e-13


@pytest.mark.parametrize("rate", [1e-9, 0.1, 0.2499999, 0.25, 0.2500001, 3.0])
def test_the_heavy_balls_flow_solves_its_equation(rate):
    times = np.array([0.0, 1e-3, 0.7, 5.0, 40.0])
    left, done = HeavyBallFlow(1.0).shares(np.array([rate]), times)
    with mpmath.workdps(60):
        a, half = mpmath.mpf(rate), mpmath.mpf(1) / 2
        omega = mpmath.sqrt(a - half**2 + mpmath.mpf(10) ** -45)  # the double root as a limit
        exact = []
        for t in map(mpmath.mpf, times):
            wave = mpmath.cos(omega * t) + half * mpmath.sin(omega * t) / omega
            exact.append(mpmath.re(mpmath.exp(-half * t) * wave))
    assert np.abs(left[:, 0] - np.array([float(e) for e in exact])).max() < 1e-14
    if rate < 1e-3:
        assert max(relative(done[2:, 0], [1 - e for e in exact[2:]])) < 1e-12


@pytest.mark.parametrize(
    "dynamics", [Flow(), Descent(0.25), HeavyBall(0.25, 0.8), HeavyBallFlow(0.6)]
)
def test_nothing_is_done_at_first_and_nothing_left_at_the_end(dynamics):
    left, done = dynamics.shares(np.array([1e-20, 1e-3, 2.0]), np.array([0.0, np.inf]))
    np.testing.assert_array_equal(left, [[1.0] * 3, [0.0] * 3])
    np.testing.assert_array_equal(done, [[0.0] * 3, [1.0] * 3])


def test_halving_the_step_halves_the_distance_to_the_flow():
    rates, time = np.array([0.3, 1.0]), np.array([2.0])
    flow = Flow().shares(rates, time)[0]
    off = [np.abs(Descent(h).shares(rates, time)[0] - flow).max() for h in (0.02, 0.01, 0.005)]
    assert off[0] / off[1] == pytest.approx(2.0, rel=0.03)
    assert off[1] / off[2] == pytest.approx(2.0, rel=0.015)


def test_small_steps_of_the_heavy_ball_are_its_flow():
    rates, friction = np.array([0.3, 1.0]), 0.7
    off = []
    for root in (0.02, 0.01):  # t = sqrt(step) * steps, and momentum = 1 - friction sqrt(step)
        ball = HeavyBall(root**2, 1 - friction * root).shares(rates, np.array([2.0 * root]))[0]
        off.append(np.abs(ball - HeavyBallFlow(friction).shares(rates, np.array([2.0]))[0]).max())
    assert off[1] < 0.01
    assert off[0] / off[1] == pytest.approx(2.0, rel=0.03)


def test_momentum_zero_is_gradient_descent():
    rates, times = np.array([0.3, 1.0, 4.0]), 0.25 * np.arange(5)
    both = [d.shares(rates, times) for d in (Descent(0.25), HeavyBall(0.25, 0.0))]
    np.testing.assert_array_equal(both[0], both[1])


def test_what_can_not_be_is_refused():
    with pytest.raises(InputError, match="between two steps"):
        Descent(0.1).shares(np.array([1.0]), np.array([0.25]))
    with pytest.raises(InputError, match="no limit"):
        Descent(0.1).shares(np.array([20.0]), np.array([np.inf]))
    with pytest.raises(InputError, match="no limit"):
        HeavyBall(0.1, 0.5).shares(np.array([30.0]), np.array([np.inf]))
    for arguments in ((None, 0.9, None), (0.1, 0.0, 0.5), (0.1, 1.0, None),
                      (0.0, 0.0, None), (None, 0.0, -1.0), (0.1, -0.5, None)):  # fmt: skip
        with pytest.raises(InputError):
            dynamics_of(*arguments)
