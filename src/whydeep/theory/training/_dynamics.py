"""How far an optimiser has come in one eigenmode of the tangent kernel, in closed form.

A mode with rate a (its eigenvalue times the loss's norm) has the residual r = f - y, and keeps the
share ``r(t) / r(0)`` of it. Every optimiser here is linear in r:

    Flow           r' = -a r                                    exp(-a t)
    Descent        r_(k+1) = (1 - eta a) r_k                    (1 - eta a)^k
    HeavyBall      r_(k+1) = (1 + beta - eta a) r_k - beta r_(k-1),   r_(-1) = r_0
    HeavyBallFlow  r'' = -a r - friction r',                    r'(0) = 0

The share that is left and the share that is done are computed apart, so that neither is lost to
rounding: slow modes at early times, fast modes at late ones.

Source: Lee et al. 2019, Section 2.2 (flow); Polyak 1964 and Goh 2017 (heavy ball, discrete);
Lee et al. 2019, supplement (heavy-ball flow).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whydeep.arguments import POSITIVE, number
from whydeep.errors import InputError

__all__ = ["Descent", "Dynamics", "Flow", "HeavyBall", "HeavyBallFlow", "dynamics_of"]

_WHOLE = 1e-9
Shares = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Flow:
    """Gradient flow ``d theta / dt = -grad L``: the limit of small steps, t = step * steps.

    Example:
        >>> left, done = Flow().shares(np.array([2.0]), np.array([0.0, np.inf]))
        >>> left.ravel(), done.ravel()
        (array([1., 0.]), array([0., 1.]))
    """

    def largest_rate(self) -> float:
        """Rates below this shrink."""
        return np.inf

    def shares(self, rates: np.ndarray, times: np.ndarray) -> Shares:
        """What is left and what is done of modes with these rates > 0: two arrays (T, R)."""
        x = times[:, None] * rates
        return np.exp(-x), -np.expm1(-x)


@dataclass(frozen=True)
class Descent:
    """Gradient descent with a finite step: ``theta <- theta - step grad L``, t = step * steps.

    Args:
        step: eta > 0.
    """

    step: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", POSITIVE("step", self.step))

    def largest_rate(self) -> float:
        """Rates below this shrink."""
        return 2.0 / self.step

    def shares(self, rates: np.ndarray, times: np.ndarray) -> Shares:
        """What is left and what is done of modes with these rates > 0: two arrays (T, R)."""
        k = steps_of(times, self.step)[:, None]
        a = self.step * rates
        _refuse_no_limit(k, a, 2.0)
        slow = a < 0.5
        ended = np.isinf(k)
        k = np.where(ended, 0.0, k)
        decay = k * np.log1p(-np.where(slow, a, 0.0))
        with np.errstate(over="ignore"):
            left = np.where(slow, np.exp(decay), np.power(1.0 - a, k))
        done = np.where(slow, -np.expm1(decay), 1.0 - left)
        return np.where(ended, 0.0, left), np.where(ended, 1.0, done)


@dataclass(frozen=True)
class HeavyBall:
    """Momentum as torch has it: ``v <- momentum v + grad L``, ``theta <- theta - step v``.

    It starts from v = 0. t = step * steps. Without momentum it is `Descent`.

    Args:
        step: eta > 0.
        momentum: beta, 0 <= beta < 1.
    """

    step: float
    momentum: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", POSITIVE("step", self.step))
        object.__setattr__(self, "momentum", MOMENTUM("momentum", self.momentum))

    def largest_rate(self) -> float:
        """Rates below this shrink."""
        return 2.0 * (1.0 + self.momentum) / self.step

    def shares(self, rates: np.ndarray, times: np.ndarray) -> Shares:
        """What is left and what is done of modes with these rates > 0: two arrays (T, R).

        The roots of z^2 - (1 + beta - a) z + beta are sqrt(beta) e^(+-psi), positive, complex or
        negative by where a lies between (1 - sqrt beta)^2 and (1 + sqrt beta)^2.
        """
        beta = self.momentum
        if beta == 0.0:
            return Descent(self.step).shares(rates, times)
        k = steps_of(times, self.step)[:, None]
        a = self.step * rates
        _refuse_no_limit(k, a, 2.0 * (1.0 + beta))
        root = np.sqrt(beta)
        u = (a - (1.0 - root) ** 2) / (4.0 * root)
        ended = np.isinf(k)
        k = np.where(ended, 0.0, k)
        left, done = np.empty((2, len(k), len(a)))
        high = _above(a, beta) >= 0
        for select, shares in ((u < 0, _positive), ((u >= 0) & ~high, _complex),
                               (high, _negative)):  # fmt: skip
            if select.any():
                left[:, select], done[:, select] = shares(k, a[select], u[select], beta)
        return np.where(ended, 0.0, left), np.where(ended, 1.0, done)


@dataclass(frozen=True)
class HeavyBallFlow:
    """The limit of `HeavyBall` for small steps: ``theta'' = -friction theta' - grad L``.

    It starts at rest. For a heavy ball of step eta and momentum beta, friction = (1 - beta) /
    sqrt(eta), and t = sqrt(eta) * steps.

    Args:
        friction: > 0.
    """

    friction: float

    def __post_init__(self) -> None:
        friction = POSITIVE("friction", self.friction)
        object.__setattr__(self, "friction", friction)

    def largest_rate(self) -> float:
        """Rates below this shrink."""
        return np.inf

    def shares(self, rates: np.ndarray, times: np.ndarray) -> Shares:
        """What is left and what is done of modes with these rates > 0: two arrays (T, R)."""
        ended = np.isinf(times)[:, None]
        t = np.where(np.isinf(times), 0.0, times)[:, None]
        half = self.friction / 2.0
        gap = half**2 - rates
        kappa = np.sqrt(np.maximum(gap, 0.0))
        slow = rates / (half + kappa)  # the smaller of the two decay rates
        other = _ratio(-np.expm1(-2.0 * kappa * t), 2.0 * kappa, t)
        decay = np.exp(-slow * t)
        left_over = decay * (1.0 + slow * other)
        done_over = -np.expm1(-slow * t) - decay * slow * other
        omega = np.sqrt(np.maximum(-gap, 0.0))
        wave = np.cos(omega * t) + half * _ratio(np.sin(omega * t), omega, t)
        left_under = np.exp(-half * t) * wave
        left = np.where(gap >= 0, left_over, left_under)
        done = np.where(gap >= 0, done_over, 1.0 - left_under)
        return np.where(ended, 0.0, left), np.where(ended, 1.0, done)


Dynamics = Flow | Descent | HeavyBall | HeavyBallFlow


def dynamics_of(step: float | None, momentum: float, friction: float | None) -> Dynamics:
    """The optimiser that these numbers describe.

    Raises:
        InputError: momentum without a step, or friction with a step.
    """
    if step is None and momentum:
        raise InputError(
            "Momentum needs a step.",
            received=f"momentum={momentum:g}, step=None",
            needed="step, the learning rate, or friction for the heavy ball's flow",
            cause="how fast a heavy ball rolls depends on its step, even when steps are small",
            suggestion="friction=(1 - momentum) / step**0.5 with t = step**0.5 * steps",
        )
    if step is not None and friction is not None:
        raise InputError(
            "Friction belongs to the flow of a heavy ball, which has no step.",
            received=f"step={step!r}, friction={friction!r}",
            needed="either step and momentum, or friction",
        )
    if friction is not None:
        return HeavyBallFlow(friction)
    if step is None:
        return Flow()
    return HeavyBall(step, momentum) if momentum else Descent(step)


MOMENTUM = number(least=0, below=1)
"""The kind of momentum: the share of the last step that the next one keeps."""


_MOST_STEPS = 2.0**53  # of more, neighbours are one number


def steps_of(times: np.ndarray, step: float) -> np.ndarray:
    """Times as whole numbers of steps (inf stays inf).

    Raises:
        InputError: a time lies between two steps.
    """
    with np.errstate(over="ignore"):  # more steps than a number holds: as many as inf
        k = times / step
    whole = np.round(k)
    finite = np.isfinite(k)
    if np.any(finite & (k > _MOST_STEPS)):
        raise InputError(
            "A time is more steps away than can be counted.",
            received=f"t = {times[finite].max():g} with step = {step:g}",
            needed=f"at most {_MOST_STEPS:g} steps",
            suggestion="step=None for gradient flow",
        )
    bad = finite & (np.abs(k - np.where(finite, whole, 0.0)) > _WHOLE * np.maximum(1.0, k))
    bad |= finite & (whole == 0.0) & (times > 0.0)  # however short of the first step
    if bad.any():
        first = times[bad][0]
        raise InputError(
            "A time lies between two steps.",
            received=f"t = {first:g} with step = {step:g}: {first / step:g} steps",
            needed="t = step * steps, with whole numbers of steps",
            suggestion=f"times={step:g} * numpy.arange(n), or step=None for gradient flow",
        )
    return whole


def _refuse_no_limit(k: np.ndarray, a: np.ndarray, threshold: float) -> None:
    if np.isinf(k).any() and a.size and a.max() >= threshold:
        raise InputError(
            "At this step training has no limit.",
            received=f"t = inf, and step * lambda_max = {a.max():g}",
            needed=f"step * lambda_max < {threshold:g}",
            suggestion=f"a step below {threshold / a.max():g} times this one, or finite times",
        )


def _ratio(top: np.ndarray, bottom: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """`top` / `bottom`, and `limit` where bottom is 0."""
    zero = bottom == 0
    return np.where(zero, limit, top / np.where(zero, 1.0, bottom))


def _positive(k: np.ndarray, a: np.ndarray, u: np.ndarray, beta: float) -> Shares:
    """Both roots in (0, 1): z_+ = 1 - a / (1 - z_-), accurate for slow modes."""
    psi = 2.0 * np.arcsinh(np.sqrt(-u))
    small = np.sqrt(beta) * np.exp(-psi)
    gap = a / (1.0 - small)  # 1 - z_+
    decay = k * np.log1p(-gap)
    both = _ratio(np.expm1(-2.0 * psi * k), np.expm1(-2.0 * psi), k)
    extra = np.exp(-2.0 * psi) * gap * both
    return np.exp(decay) * (1.0 + extra), -np.expm1(decay) - np.exp(decay) * extra


def _complex(k: np.ndarray, a: np.ndarray, u: np.ndarray, beta: float) -> Shares:
    """Roots sqrt(beta) e^(+-i phi); beyond a right angle from pi - phi, which is accurate there."""
    wide = u > 0.5
    angle = 2.0 * np.arcsin(np.sqrt(np.where(wide, -_above(a, beta), u)))
    even = 1.0 - 2.0 * np.mod(k, 2.0)
    waves = _ratio(np.sin(k * angle), np.sin(angle), k) * np.where(wide, -even, 1.0)
    turns = np.cos(k * angle) * np.where(wide, even, 1.0)
    weight = (1.0 - beta - a) / (2.0 * np.sqrt(beta))
    left = np.exp(0.5 * k * np.log(beta)) * (turns + weight * waves)
    return left, 1.0 - left


def _negative(k: np.ndarray, a: np.ndarray, u: np.ndarray, beta: float) -> Shares:
    """Both roots negative: the sign alternates; beyond a = 2 (1 + beta) it grows."""
    del u
    psi = 2.0 * np.arcsinh(np.sqrt(_above(a, beta)))
    both = _ratio(np.expm1(-2.0 * psi * k), np.expm1(-2.0 * psi), k)
    weight = (a - 1.0 + beta) / (2.0 * np.sqrt(beta)) * np.exp(-psi)
    even = 1.0 - 2.0 * np.mod(k, 2.0)
    with np.errstate(over="ignore"):
        growth = np.exp(k * (0.5 * np.log(beta) + psi))
        left = even * growth * (0.5 * (1.0 + np.exp(-2.0 * psi * k)) + weight * both)
    return left, 1.0 - left


def _above(a: np.ndarray, beta: float) -> np.ndarray:
    """How far a lies above (1 + sqrt beta)^2, in units of 4 sqrt(beta): u - 1, not cancelled."""
    return (a - (1.0 + np.sqrt(beta)) ** 2) / (4.0 * np.sqrt(beta))
