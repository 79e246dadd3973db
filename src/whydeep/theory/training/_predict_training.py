"""The front door: what theory predicts of training a network of infinite width."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from whydeep.arguments import POSITIVE, SEED, check_memory, choice, count, takes
from whydeep.data import BATCH, LABELS, contradicting_labels
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import NETWORK, Dropout, Network
from whydeep.progress import phase
from whydeep.theory.infinite import kernel
from whydeep.theory.training._drawn import drawn_training
from whydeep.theory.training._dynamics import (
    MOMENTUM,
    Descent,
    Dynamics,
    Flow,
    HeavyBall,
    dynamics_of,
)
from whydeep.theory.training._eigenbasis import Eigenbasis, eigenbasis
from whydeep.theory.training._evolve import TIMES, check_targets, evolve
from whydeep.theory.training._losses import LOSS, REDUCTIONS, Loss, one_hot, resolve_loss
from whydeep.theory.training._prediction import TrainingPrediction, labelled
from whydeep.theory.training._stable_step import StableStep, largest_stable_step

__all__ = ["predict_training"]

Arrays = dict[str, np.ndarray]
_FEWEST_DRAWS = 16
_WORKING = 3  # times the bytes of the results are held on the way to them
_SEEN = 1e-8  # the share of the labels in modes that never train, above which it is said
_SOURCE = "Jacot, Gabriel and Hongler 2018, Section 5; Lee et al. 2019, Section 2.2 and Corollary 1"


@dataclass(frozen=True)
class _Blocks:
    """Both kernels on the training inputs, then the test inputs; equal inputs have equal rows."""

    nngp: np.ndarray
    ntk: np.ndarray
    error: float
    assumptions: tuple[str, ...]
    which: np.ndarray


@takes(
    network=NETWORK, x=BATCH, y=LABELS, x_test=BATCH, times=TIMES, loss=LOSS,
    reduction=choice(*REDUCTIONS), step=POSITIVE, momentum=MOMENTUM, friction=POSITIVE,
    covariance=choice("full", "diagonal"), draws=count(_FEWEST_DRAWS), seed=SEED,
    tolerance=POSITIVE,
)  # fmt: skip
def predict_training(
    network: Network,
    x: Any,
    y: Any,
    x_test: Any = None,
    *,
    times: Any,
    loss: Any = "squared",
    reduction: str = "sum",
    step: float | None = None,
    momentum: float = 0.0,
    friction: float | None = None,
    covariance: str = "full",
    draws: int = 256,
    seed: int = 0,
    tolerance: float = 1e-9,
) -> TrainingPrediction:
    """Outputs over initialisations while a network of infinite width trains, at any time.

    ``df/dt = -Theta dL/df``, f(0) ~ N(0, K), with Theta the tangent kernel of the network's own
    parameterization, all parameters trained on the full batch.

    Args:
        network: with one output position for each input; "ntk" or "standard".
        x: training inputs (N, ...).
        y: labels: (N, C) or (N,) numbers; for "cross_entropy" class labels (N,) from 0, or
            probabilities (N, C). Their C counts, whatever the network's own number of outputs:
            outputs are independent at infinite width.
        x_test: test inputs (M, ...), or none.
        times: one or more, >= 0; inf, the end of training, under a squared loss.
        loss: "squared", ``1/2 sum (f - y)^2``; "cross_entropy", ``-sum y log softmax(f)``; or a
            function ``loss(f, y)`` in jax.numpy of arrays (N, C) that is one number.
        reduction: "sum", or "mean": "squared" divided by N C (half of torch's ``MSELoss()``),
            "cross_entropy" by N (as in torch).
        step: None for gradient flow, where t = learning rate * steps with small steps; or the
            learning rate of gradient descent: t = step * steps, exactly, whole steps only.
        momentum: of a heavy ball, in torch's convention, with `step`.
        friction: instead of a step, for the flow ``theta'' = -friction theta' - grad L``.
        covariance: "full", or "diagonal" for variances only.
        draws: initialisations to draw, for losses other than "squared".
        seed: of those draws.
        tolerance: of their flows.

    Returns:
        A `TrainingPrediction`: ``predicted["test_mean"]`` is an ``xarray.DataArray`` with
        dimensions ``(time, input, output)``; ``.modes``, ``.largest_stable_step``, ``.stderr`` and
        ``.cite()`` beside it.

    Raises:
        InputError: bad inputs, labels or times; a step without a limit at t = inf; outputs that
            overflow; covariances that do not fit in memory.
        UnsupportedError: "mup" (its tangent kernel changes while training), dropout, outputs with
            positions, t = inf without a closed form.

    Warns:
        UserWarning: a step above the largest stable one; equal inputs with different labels, or
            labels in modes of the kernel that are zero: these are never fitted, and what is
            returned is exact for the modes that train.

    Accuracy: that of the kernel under a squared loss (see `whydeep.kernel`), and rounding; else the
    standard errors say.
    Cost: the kernels, one eigendecomposition N^3 and N^3 + N M (N + M) a time; for other losses
    draws * N^2 C for each step or evaluation.

    Source: Jacot, Gabriel and Hongler 2018, Section 5; Lee et al. 2019, Section 2.2, Corollary 1.

    Example:
        >>> from whydeep.network import mlp
        >>> net = mlp(depth=1, activation="relu")
        >>> x = np.array([[1.0, 1.0], [1.0, -1.0]])
        >>> predicted = predict_training(net, x, [1.0, -1.0], x, times=[0.0, 1.0, np.inf])
        >>> predicted["test_mean"][:, 0, 0].values.round(4)
        array([0.    , 0.9654, 1.    ])
        >>> predicted.largest_stable_step.value
        0.4313...
    """
    _check_network(network)
    moments = times
    dynamics = dynamics_of(step, momentum, friction)
    classes = isinstance(loss, str) and loss == "cross_entropy" and y.ndim == 1
    labels = one_hot(y) if classes else check_targets(y)
    resolved = resolve_loss(loss, reduction, labels)
    inputs, others = x, x_test
    _check_lengths(inputs, labels)
    closed = resolved.scale is not None
    n, m = len(labels), 0 if others is None else len(others)
    outputs = labels.shape[1]
    full = covariance == "full"
    copies = (1 if closed else 2 * outputs) if full else 0
    followed = 0 if closed else 3 * draws * (n + m) * outputs
    _check_memory(_WORKING * 8 * len(moments) * (copies * (n**2 + m**2) + followed), closed=closed)
    blocks = _blocks(network, inputs, others)
    stable = largest_stable_step(
        blocks.ntk[:n, :n], loss=loss, reduction=reduction, outputs=outputs,
        momentum=dynamics.momentum if isinstance(dynamics, HeavyBall) else 0.0,
        y=labels if callable(loss) else None,
    )  # fmt: skip
    _warn_of_step(dynamics, stable, closed=closed)
    said = [*blocks.assumptions, *_said(network, dynamics, resolved.name)]
    if closed:
        with phase("predicting training"):
            means, errors, modes = _closed(blocks, labels, moments, dynamics, resolved, full=full)
    else:
        means, errors = drawn_training(
            blocks.nngp, blocks.ntk, labels, moments, loss=resolved, dynamics=dynamics,
            relative_error=blocks.error, full=full, draws=draws, seed=seed, tolerance=tolerance,
        )  # fmt: skip
        modes = _modes(blocks, labels)
        said.append(f"means over {draws} drawn initialisations, seed {seed}: see the stderr")
    said += _contradictions(blocks.which[:n], labels, modes)
    return TrainingPrediction(
        network=network,
        arrays={name: labelled(name, value, moments) for name, value in means.items()},
        stderr={name: labelled(name, value, moments) for name, value in errors.items()},
        modes=modes,
        largest_stable_step=stable,
        assumptions=tuple(said),
        source=_SOURCE,
    )


def _closed(
    blocks: _Blocks, labels: np.ndarray, times: np.ndarray, dynamics: Dynamics, loss: Loss, *,
    full: bool,
) -> tuple[Arrays, Arrays, xr.Dataset]:  # fmt: skip
    """Means, no standard errors, and modes under a squared loss."""
    scale = 1.0 if loss.scale is None else loss.scale
    found = evolve(
        blocks.nngp, blocks.ntk, labels, times, dynamics=dynamics, scale=scale,
        relative_error=blocks.error, covariance="full" if full else "diagonal",
    )  # fmt: skip
    sides = ("train", "test") if len(blocks.ntk) > len(labels) else ("train",)
    kinds = ("mean", "variance", "covariance") if full else ("mean", "variance")
    means = {f"{s}_{k}": getattr(found, f"{s}_{k}") for s in sides for k in kinds}
    means["train_loss"] = found.mode_loss.sum(axis=1)
    modes = _described(found.basis, found.overlap, found.spread, scale).assign(
        left=(("time", "mode"), found.left), loss=(("time", "mode"), found.mode_loss)
    )
    return means, {}, modes.assign_coords(time=times)


def _modes(blocks: _Blocks, labels: np.ndarray) -> xr.Dataset:
    n = len(labels)
    basis = eigenbasis(blocks.ntk[:n, :n], relative_error=blocks.error)
    u = basis.vectors
    spread = np.einsum("ai,ai->i", u, blocks.nngp[:n, :n] @ u).clip(min=0.0)
    return _described(basis, u.T @ labels, spread, 1.0)


def _check_network(network: Network) -> None:
    if any(getattr(layer, "parameterization", "") == "mup" for layer in network.layers):
        raise UnsupportedError(
            'Training under "mup" has no closed theory of its tangent kernel.',
            received=repr(network),
            needed='parameterization "ntk" or "standard"',
            cause="under mup features move by order one at infinite width, so the tangent kernel "
            "of the first step is not that of the second",
            suggestion='the same network with parameterization="ntk" for its lazy counterpart',
        )
    if any(isinstance(layer, Dropout) for layer in network.layers):
        raise UnsupportedError(
            "Dropout draws new masks at every step, so outputs do not follow one equation.",
            received=repr(network),
            suggestion="the network without Dropout",
        )


def _check_lengths(inputs: np.ndarray, labels: np.ndarray) -> None:
    if len(inputs) != len(labels):
        raise InputError(
            "There are not as many labels as training inputs.",
            received=f"{len(inputs)} inputs, {len(labels)} labels",
            needed="one label, or one row of C labels, for each input",
        )


def _check_memory(needed: int, *, closed: bool) -> None:
    check_memory(
        needed, "The outputs and covariances at all these times",
        suggestion='covariance="diagonal", fewer times or test inputs'
        + ("" if closed else ", or fewer draws"),
    )  # fmt: skip


def _blocks(network: Network, inputs: np.ndarray, others: np.ndarray | None) -> _Blocks:
    """Kernels of distinct inputs, so that equal ones have rows that are equal to the last bit."""
    if others is not None:
        if others.shape[1:] != inputs.shape[1:]:
            raise InputError("x and x_test are inputs of different shapes.",
                             received=f"{inputs.shape[1:]} and {others.shape[1:]}")  # fmt: skip
        inputs = np.concatenate([inputs, others])
    flat = inputs.reshape(len(inputs), -1)
    _, first, which = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    found = kernel(network, inputs[first])
    if np.ndim(found.nngp) != 2:
        raise UnsupportedError(
            "The network has an output at every position.",
            received=f"a kernel of shape {np.shape(found.nngp)}",
            needed="one output position for each input",
            suggestion="GlobalAvgPool() or Flatten() before the last Dense",
        )
    which = which.reshape(-1)
    take = np.ix_(which, which)
    nngp, ntk = (_symmetric(np.asarray(k, dtype=np.float64))[take] for k in (found.nngp, found.ntk))
    error = found.error
    if found.ntk_stderr is not None:
        # A random symmetric error of size s moves eigenvalues by about sqrt(N) s, where the cutoff
        # takes N times the error of an entry.
        drawn = float(np.max(found.ntk_stderr)) / float(np.diagonal(ntk).max())
        error = max(error, drawn / np.sqrt(len(ntk)))
    return _Blocks(nngp, ntk, error, found.assumptions, which)


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    """Its symmetric part: kernels known from draws are symmetric only on average."""
    return 0.5 * (matrix + matrix.T)


def _warn_of_step(dynamics: Dynamics, stable: StableStep, *, closed: bool) -> None:
    if not isinstance(dynamics, (Descent, HeavyBall)) or dynamics.step <= stable.value:
        return
    what = "training diverges" if closed else "training is unstable near the outputs zero"
    warnings.warn(
        f"The step {dynamics.step:g} is above the largest stable one, {stable.value:.6g} "
        f"(loss {stable.loss}, momentum {stable.momentum:g}): {what}.",
        UserWarning,
        stacklevel=3,
    )


def _said(network: Network, dynamics: Dynamics, loss: str) -> list[str]:
    found = {getattr(layer, "parameterization", None) for layer in network.layers} - {None}
    names = ", ".join(sorted(map(str, found))) or "ntk"
    meaning = {
        Flow: "t = learning rate * steps, with small steps (gradient flow)",
        Descent: "t = step * steps (gradient descent)",
        HeavyBall: "t = step * steps (heavy ball, torch's convention, started at rest)",
    }.get(type(dynamics), "t = sqrt(learning rate) * steps, with small steps (heavy-ball flow)")
    return [
        "the tangent kernel keeps still while training: its change is of order 1/width",
        f"parameterization {names}: learning rates of layers as in its tangent kernel",
        f"loss {loss}, full batch; {meaning}",
        "outputs are independent of each other at initialisation, with one kernel",
    ]


def _described(
    basis: Eigenbasis, overlap: np.ndarray, spread: np.ndarray, scale: float
) -> xr.Dataset:
    rates = scale * basis.eigenvalues
    constants = np.divide(1.0, rates, out=np.full_like(rates, np.inf), where=rates > 0)
    return xr.Dataset(
        {
            "eigenvalue": ("mode", basis.eigenvalues),
            "time_constant": ("mode", constants),
            "overlap": (("mode", "output"), overlap),
            "spread": ("mode", spread),
        }
    )


def _contradictions(which: np.ndarray, labels: np.ndarray, modes: xr.Dataset) -> list[str]:
    """What is said, and warned of, where labels can't be fitted or modes do not train."""
    fixed = modes["eigenvalue"].values == 0
    if not fixed.any():
        return []
    power = (modes["overlap"].values ** 2).sum(axis=1)
    share = power[fixed].sum() / max(power.sum(), np.finfo(np.float64).tiny)
    note = (
        f"{fixed.sum()} of {len(fixed)} modes of the tangent kernel are zero to rounding: they do "
        f"not train, and hold {share:.2g} of the labels' squares"
    )
    if share <= _SEEN:
        return [note]
    odd = contradicting_labels(which, labels)
    if odd:
        note += f"; {odd}"
    warnings.warn(note + ".", UserWarning, stacklevel=3)
    return [note]
