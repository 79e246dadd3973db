"""Training under any loss at infinite width: the outputs of one initialisation, and of many.

Given the outputs f_0 a network starts with, training moves them by its tangent kernel alone. In
the coordinates z of the parameters that matter, one row a mode of the kernel,

    f(t) = f_0 + U sqrt(lambda) z(t)            on training inputs
    f(t) = f_0 + Theta_* U / sqrt(lambda) z(t)  on test inputs
    dz/dt = -sqrt(lambda) U^T dL/df             gradient flow, z(0) = 0

so test inputs follow from z exactly, and zero modes drop out. A squared loss, s/2 sum (f - y)^2,
has z = (1 - what is left of a mode of rate s lambda) U^T (y - f_0) / sqrt(lambda). Under any other,
finite steps are the same recursion that the optimiser makes, step by step; flows are solved by the
Runge-Kutta pair of order 8 (5, 3) of Dormand and Prince.

Source: Lee et al. 2019, Section 2.2; Hairer, Norsett and Wanner 1993, Section II.5 (DOP853).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from whydeep.arguments import POSITIVE, as_numbers, choice
from whydeep.errors import InputError, UnsupportedError, WhydeepError
from whydeep.progress import phase, progress_bar
from whydeep.theory.training._dynamics import (
    Descent,
    Dynamics,
    Flow,
    HeavyBall,
    HeavyBallFlow,
    steps_of,
)
from whydeep.theory.training._eigenbasis import eigenbasis
from whydeep.theory.training._evolve import TIMES, check_targets
from whydeep.theory.training._losses import LOSS, REDUCTIONS, Loss, resolve_loss

__all__ = ["evolve_outputs"]

_FINEST = 100 * np.finfo(np.float64).eps  # the solver asks for no more


def evolve_outputs(
    ntk: Any,
    start: Any,
    y: Any,
    times: Any,
    *,
    loss: Any = "cross_entropy",
    reduction: str = "sum",
    dynamics: Dynamics | None = None,
    relative_error: float = 0.0,
    tolerance: float = 1e-9,
) -> np.ndarray:
    """Outputs while training under any loss, for given outputs at the start.

    Args:
        ntk: Theta (N + M, N) or (N + M, N + M): N training inputs, then M test inputs.
        start: f_0, (N + M, C), or (D, N + M, C) for D networks at once.
        y: labels (N, C), or (N,) for one output.
        times: T of them, finite; inf, the end of training, under a squared loss.
        loss: "squared", "cross_entropy", or a function ``loss(f, y)`` in jax.numpy of outputs and
            labels (N, C) that is one number, for the whole training set.
        reduction: "sum" or "mean": of the named losses.
        dynamics: `Flow` (the default), `Descent`, `HeavyBall`, `HeavyBallFlow`.
        relative_error: of the kernel's entries, for its rank.
        tolerance: of the flows, relative to the largest output. Finite steps have none.

    Returns:
        (T, N + M, C), or (D, T, N + M, C).

    Raises:
        InputError: shapes that do not fit, bad numbers, outputs that overflow, an infinite time
            with a step that has no limit.
        UnsupportedError: an infinite time under a loss that is not squared: it may have no limit.

    Accuracy: rounding for a squared loss and for finite steps; for other flows about
    `tolerance`, of which a tenth is allowed in each step of the solver.
    Cost: N^2 C for each step, or for each of some 4 t lambda_max + 100 evaluations of a flow.

    Source: Lee et al. 2019, Section 2.2.

    Example:
        >>> found = evolve_outputs(np.eye(2), np.zeros((2, 2)), np.eye(2), [0.0, 1.0])
        >>> found[:, 0].round(4)
        array([[ 0.   ,  0.   ],
               [ 0.396, -0.396]])
    """
    labels = check_targets(y)
    moments = TIMES("times", times)
    dynamics = Flow() if dynamics is None else dynamics
    tolerance = POSITIVE("tolerance", tolerance)
    resolved = resolve_loss(LOSS("loss", loss), choice(*REDUCTIONS)("reduction", reduction), labels)
    if resolved.scale is None and np.isinf(moments).any():
        raise UnsupportedError(
            "The end of training is known for a squared loss only.",
            received=f"t = inf with the loss {resolved.name}",
            cause="under cross-entropy, outputs that fit the labels grow without bound",
            suggestion="finite times, or loss='squared'",
        )
    theta, first = _checked(ntk, start, labels)
    n = len(labels)
    basis = eigenbasis(theta[:n, :n], relative_error=relative_error)
    root = np.sqrt(basis.eigenvalues[basis.trained])
    u = basis.vectors[:, basis.trained]
    maps = np.concatenate([u * root, theta[n:, :n] @ u / root])
    begin = first.reshape(-1, *first.shape[-2:])
    order = np.argsort(moments, kind="stable")
    if resolved.scale is not None:
        done = dynamics.shares(resolved.scale * root**2, moments[order])[1]
        z = done[:, None, :, None] * (u.T @ (labels - begin[:, :n]) / root[:, None])
    elif isinstance(dynamics, (Descent, HeavyBall)):
        momentum = dynamics.momentum if isinstance(dynamics, HeavyBall) else 0.0
        steps = steps_of(moments[order], dynamics.step).astype(np.int64)
        z = _steps(maps[:n], begin[:, :n], resolved, steps, dynamics.step, momentum)
    else:
        friction = dynamics.friction if isinstance(dynamics, HeavyBallFlow) else None
        z = _flow(maps[:n], begin[:, :n], resolved, moments[order], friction, tolerance)
    outputs = np.empty((len(moments), *begin.shape))
    with np.errstate(over="ignore", invalid="ignore"):
        outputs[order] = begin + maps @ z
    if not np.isfinite(outputs).all():
        raise InputError(
            "The outputs grow beyond float64.", received=f"times up to {moments.max():g}",
            needed="a smaller step, or earlier times",
        )  # fmt: skip
    shape = (*first.shape[:-2], len(moments), *first.shape[-2:])
    return np.moveaxis(outputs, 0, 1).reshape(shape)


def _checked(ntk: Any, start: Any, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    theta, first = as_numbers("ntk", ntk), as_numbers("start", start)
    n = len(labels)
    if theta.ndim != 2 or theta.shape[1] not in (n, len(theta)) or len(theta) < n:
        raise InputError(
            "The tangent kernel does not fit the labels.",
            received=f"shape {theta.shape}, {n} labels",
            needed=f"(N + M, N) or (N + M, N + M) with N = {n} training inputs first",
        )
    if first.ndim not in (2, 3) or first.shape[-2:] != (len(theta), labels.shape[1]):
        raise InputError(
            "The outputs at the start do not fit.",
            received=f"shape {first.shape}",
            needed=f"{(len(theta), labels.shape[1])}, or that many for each network",
        )
    if not (np.isfinite(theta).all() and np.isfinite(first).all()):
        raise InputError("The kernel or the outputs at the start are not finite.")
    return theta, first


def _steps(
    towards: np.ndarray, begin: np.ndarray, loss: Loss, steps: np.ndarray, step: float, beta: float
) -> np.ndarray:
    """The coordinates z (T, D, R, C) after these whole numbers of steps, in rising order."""
    z = np.zeros((len(begin), towards.shape[1], begin.shape[2]))
    velocity = np.zeros_like(z)
    found, done = [], 0
    with (
        progress_bar("training at infinite width", int(steps[-1])) as advance,
        np.errstate(over="ignore", invalid="ignore"),
    ):
        for wanted in steps:
            while done < wanted:
                velocity = beta * velocity + towards.T @ loss.gradient(begin + towards @ z)
                z = z - step * velocity
                done += 1
                advance()
            found.append(z)
    return np.stack(found)


def _flow(
    towards: np.ndarray, begin: np.ndarray, loss: Loss, times: np.ndarray, friction: float | None,
    tolerance: float,
) -> np.ndarray:  # fmt: skip
    """The coordinates z (T, D, R, C) at these times, rising; with `friction`, of a heavy ball."""
    shape = (len(begin), towards.shape[1], begin.shape[2])
    size = int(np.prod(shape))

    def force(z: np.ndarray) -> np.ndarray:
        f = begin + towards @ z.reshape(shape)
        return -(towards.T @ loss.gradient(f)).ravel()

    def rate(_: float, state: np.ndarray) -> np.ndarray:
        if friction is None:
            return force(state)
        z, velocity = state[:size], state[size:]
        return np.concatenate([velocity, force(z) - friction * velocity])

    state = np.zeros(size if friction is None else 2 * size)
    if times[-1] == 0 or size == 0:
        return np.zeros((len(times), *shape))
    distinct, back = np.unique(times, return_inverse=True)
    each = max(tolerance / 10.0, _FINEST)  # errors of many steps add up
    with phase("solving for the outputs"):
        solved = solve_ivp(
            rate, (0.0, float(times[-1])), state, method="DOP853", t_eval=distinct,
            rtol=each, atol=each * max(1.0, float(np.abs(begin).max(initial=0.0))),
        )  # fmt: skip
    if not solved.success:
        raise WhydeepError(
            "The outputs could not be followed.", received=f"t up to {times[-1]:g}",
            cause=str(solved.message),
        )  # fmt: skip
    return solved.y[:size].T.reshape(len(distinct), *shape)[back]
