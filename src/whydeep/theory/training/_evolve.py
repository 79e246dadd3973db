"""Training under a squared loss at infinite width, in closed form, on given kernels.

A network of infinite width is linear in the change of its parameters, so its outputs f obey
``df/dt = -s Theta (f - y)`` for the loss ``s/2 sum (f - y)^2``, and at any time they are linear in
the outputs f_0 ~ N(0, K) it started with. With ``left = r(t) / r(0)`` of `Dynamics`:

    training inputs   f(t) = y + A (f_0 - y)             A = U diag(left) U^T
    test inputs       f(t) = f_0 + B (y - f_0)           B = Theta_* U diag((1 - left) / lambda) U^T
    mean              (1 - A) y,  B y
    covariance        A K A,  K_** - B K_X* - K_*X B^T + B K B^T

Modes with eigenvalue zero do not train, and test inputs do not see them: ``Theta_* u = 0``, because
the kernel of all inputs together is positive semidefinite.

Source: Jacot, Gabriel and Hongler 2018, Section 5; Lee et al. 2019, Section 2.2 (outputs at time t)
and Corollary 1 (their mean and covariance).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import POSITIVE, as_numbers, choice, refusal
from whydeep.brief import brief
from whydeep.data import LABELS
from whydeep.errors import InputError
from whydeep.results import by_content
from whydeep.theory.training._dynamics import Dynamics, Flow
from whydeep.theory.training._eigenbasis import Eigenbasis, eigenbasis, is_symmetric

__all__ = ["TIMES", "Evolution", "check_blocks", "check_targets", "evolve"]


@by_content
@dataclass(frozen=True)
class Evolution:
    """Outputs over initialisations at T times: N training inputs, M test inputs, C outputs.

    Outputs are independent of each other and Gaussian, with the same covariance.

    Args:
        train_mean: (T, N, C).
        test_mean: (T, M, C).
        train_variance: (T, N), of each output.
        test_variance: (T, M).
        train_covariance: (T, N, N); None where only variances were asked for.
        test_covariance: (T, M, M), likewise.
        basis: the modes of Theta.
        overlap: (N, C), U^T y: how much of the labels lies in a mode.
        spread: (N,), u^T K u: the variance of the initial outputs along a mode.
        left: (T, N), the share of a mode's residual that is left.
        mode_loss: (T, N), ``s/2 left^2 (sum_c overlap^2 + C spread)``: each mode's part of the
            expected training loss, which is their sum.
    """

    train_mean: np.ndarray
    test_mean: np.ndarray
    train_variance: np.ndarray
    test_variance: np.ndarray
    train_covariance: np.ndarray | None
    test_covariance: np.ndarray | None
    basis: Eigenbasis
    overlap: np.ndarray
    spread: np.ndarray
    left: np.ndarray
    mode_loss: np.ndarray

    __repr__ = brief


def evolve(
    nngp: Any,
    ntk: Any,
    y: Any,
    times: Any,
    *,
    dynamics: Dynamics | None = None,
    scale: float = 1.0,
    relative_error: float = 0.0,
    covariance: str = "full",
) -> Evolution:
    """Mean and covariance over initialisations of the outputs while training on a squared loss.

    Args:
        nngp: K (N + M, N + M) on the N training inputs, then the M test inputs.
        ntk: Theta, likewise; the columns of the test inputs are not used and may be left out.
        y: labels (N, C) or (N,).
        times: T of them, inf allowed; what t means is said by the dynamics.
        dynamics: `Flow` (the default), `Descent`, `HeavyBall`, `HeavyBallFlow`.
        scale: s in the loss ``s/2 sum (f - y)^2``; 1 / (N C) for half the mean of squares.
        relative_error: of the kernel's entries (see `whydeep.kernel`), for the rank.
        covariance: "full", or "diagonal" for variances only.

    Raises:
        InputError: shapes that do not fit, numbers that are not finite, a kernel that is none, a
            step so large that outputs overflow or that there is no limit.

    Accuracy: rounding; residuals keep their relative accuracy at late times and outputs theirs at
    early ones, mode by mode.
    Cost: one eigendecomposition, N^3, then N^3 + N M (N + M) a time.

    Source: Lee et al. 2019, Section 2.2 and Corollary 1.

    Example:
        >>> K = np.eye(2)
        >>> found = evolve(K, 2 * K, [1.0, -1.0], [0.0, 0.5, np.inf])
        >>> found.train_mean[:, 0, 0].round(4), found.train_variance[:, 0].round(4)
        (array([0.    , 0.6321, 1.    ]), array([1.    , 0.1353, 0.    ]))
    """
    labels = check_targets(y)
    moments = TIMES("times", times)
    nngp, ntk = check_blocks(nngp, ntk, len(labels))
    dynamics = Flow() if dynamics is None else dynamics
    scale = POSITIVE("scale", scale)
    choice("full", "diagonal")("covariance", covariance)
    n = len(labels)
    basis = eigenbasis(ntk[:n, :n], relative_error=relative_error)
    u, trained = basis.vectors, basis.trained
    left, done = np.ones((len(moments), n)), np.zeros((len(moments), n))
    values = basis.eigenvalues[trained]
    left[:, trained], done[:, trained] = dynamics.shares(scale * values, moments)
    _refuse_overflow(left, moments)
    gain = np.zeros_like(done)
    gain[:, trained] = done[:, trained] / values
    overlap = u.T @ labels
    inner = u.T @ nngp[:n, :n] @ u
    seen = ntk[n:, :n] @ u
    prior = nngp[n:, :n] @ u
    full = covariance == "full"
    train = [_train(u, overlap, inner, labels, nngp[:n, :n], left[t], done[t], full)
             for t in range(len(moments))]  # fmt: skip
    test = [_test(seen, prior, overlap, inner, nngp[n:, n:], gain[t], full)
            for t in range(len(moments))]  # fmt: skip
    spread = np.diagonal(inner).clip(min=0.0)
    size = (overlap**2).sum(axis=1) + labels.shape[1] * spread
    with np.errstate(over="ignore"):
        mode_loss = 0.5 * scale * left**2 * size
    return Evolution(
        *_stacked(train, test, full), basis=basis, overlap=overlap, spread=spread, left=left,
        mode_loss=mode_loss,
    )  # fmt: skip


def _train(
    u: np.ndarray, overlap: np.ndarray, inner: np.ndarray, labels: np.ndarray, nngp: np.ndarray,
    left: np.ndarray, done: np.ndarray, full: bool,  # noqa: FBT001
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Mean, and covariance or variance; early on as a change of the start, later of the end."""
    if np.abs(done).max(initial=0.0) <= 0.5:
        mean = u @ (done[:, None] * overlap)
        # A K A - K = (A - 1) K A + K (A - 1): of first order in what is done
        change = -(done[:, None] * inner * left) - inner * done
        start = nngp
    else:
        mean = labels - u @ (left[:, None] * overlap)
        change, start = left[:, None] * inner * left, np.zeros_like(nngp)
    if full:
        matrix = start + u @ change @ u.T
        return mean, 0.5 * (matrix + matrix.T)
    return mean, (np.diagonal(start) + np.einsum("ai,ai->a", u @ change, u)).clip(min=0.0)


def _test(
    seen: np.ndarray, prior: np.ndarray, overlap: np.ndarray, inner: np.ndarray, nngp: np.ndarray,
    gain: np.ndarray, full: bool,  # noqa: FBT001
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    weights = seen * gain
    mean = weights @ overlap
    half = 0.5 * weights @ inner - prior
    if full:
        part = half @ weights.T
        return mean, nngp + part + part.T
    return mean, (np.diagonal(nngp) + 2.0 * np.einsum("ai,ai->a", half, weights)).clip(min=0.0)


def _stacked(train: list[Any], test: list[Any], full: bool) -> tuple[Any, ...]:  # noqa: FBT001
    means = [np.stack([mean for mean, _ in side]) for side in (train, test)]
    spreads = [np.stack([spread for _, spread in side]) for side in (train, test)]
    if not full:
        return (*means, *spreads, None, None)
    variances = [np.einsum("taa->ta", s).clip(min=0.0) for s in spreads]
    return (*means, *variances, *spreads)


def TIMES(name: str, times: Any) -> np.ndarray:
    """The kind of times: one or several, none negative, infinity for the end of training."""
    moments = np.atleast_1d(as_numbers(name, times))
    if moments.ndim != 1 or moments.size == 0 or np.isnan(moments).any() or moments.min() < 0:
        raise refusal(
            name, times, f"{name} can't be read.",
            "one or more numbers >= 0; numpy.inf for the end of training",
        )  # fmt: skip
    return moments


def check_targets(y: Any) -> np.ndarray:
    """Labels (N, C) in float64, finite; (N,) becomes (N, 1)."""
    labels = LABELS("y", y)
    return labels[:, None] if labels.ndim == 1 else labels


def check_blocks(nngp: Any, ntk: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Both kernels in float64, of shapes that fit n training inputs."""
    k, theta = (as_numbers(n, v) for n, v in (("nngp", nngp), ("ntk", ntk)))
    if k.ndim != 2 or k.shape[0] != k.shape[1] or len(k) < n:
        raise InputError(
            "The nngp kernel does not fit the labels.", received=f"shape {k.shape}, {n} labels",
            needed=f"(N + M, N + M) with N = {n} training inputs first",
        )  # fmt: skip
    if theta.ndim != 2 or len(theta) != len(k) or theta.shape[1] not in (n, len(k)):
        raise InputError(
            "The two kernels have different shapes.", received=f"{k.shape} and {theta.shape}",
            needed=f"{k.shape} and {k.shape} or {(len(k), n)}",
        )  # fmt: skip
    for name, matrix in (("nngp", k), ("ntk", theta)):
        if not np.isfinite(matrix).all():
            raise InputError(f"The {name} kernel has numbers that are not finite.",
                             received=f"{(~np.isfinite(matrix)).sum()} of {matrix.size}",
                             needed="finite numbers")  # fmt: skip
    if not is_symmetric(k):
        raise InputError("The nngp kernel is not symmetric.",
                         received=f"largest difference {np.abs(k - k.T).max():g}",
                         needed="K(a, b) = K(b, a)")  # fmt: skip
    return k, theta


def _refuse_overflow(left: np.ndarray, times: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(left**2).all(axis=1)
    if bad.any():
        raise InputError(
            "The outputs grow beyond float64: the step is above the largest stable one.",
            received=f"t = {times[bad].min():g}",
            needed="earlier times, or a smaller step",
        )
