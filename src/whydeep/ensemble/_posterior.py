"""The posterior of Bayesian networks of any width, measured: draws weighted by their likelihood.

Given its last hidden layer a network's outputs are independent Gaussians with the kernel G of that
layer, so a draw of the hidden layers has a likelihood of the labels and a posterior in closed
form. The Bayesian network is their mixture, weighted by the likelihood:

    evidence    E[p(y | G)]
    mean        E[p(y | G) m_G] / E[p(y | G)]                 m_G = G_TR (G_RR + noise I)^-1 y
    covariance  E[p(y | G) (C_G + m_G m_G^T)] / E[p(y | G)] - mean mean^T

exact at any width and depth but for the noise of the draws, which is small as long as the weights
are spread over many of them: the effective number of draws says whether they are.

Source: Neal 1996 (networks); Kong 1992 (effective sample size); Owen 2013, Section 9.2
(self-normalised importance sampling); Efron and Tibshirani 1993, Chapter 11 (jackknife).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from whydeep.arguments import COUNT, SEED, VARIANCE, count, takes
from whydeep.data import INPUTS, LABELS
from whydeep.ensemble._conditional import Plan, Shape, draw_kernels
from whydeep.ensemble._normals import key_of
from whydeep.errors import InputError
from whydeep.network import NETWORK, Network
from whydeep.progress import progress_bar
from whydeep.results import by_content

__all__ = ["MeasuredPosterior", "measure_posterior"]

_BATCHES = 64
_LANES = (16, 128)
_BLOCK_BYTES = 4 << 20
_FEW = 100.0  # effective draws below which standard errors mean little


@by_content
@dataclass(frozen=True)
class MeasuredPosterior:
    """Posterior and evidence of an ensemble of finite networks, at every width of a ladder.

    Args:
        network: the narrowest.
        factors: widths of the ladder, as multiples of the network's own.
        estimates: ``mean`` (rung, M, C), ``covariance`` (rung, C, C, M, M) and ``log_evidence``
            (rung,), from all draws.
        leave_one_out: the same with one batch of draws left out, a leading axis: of anything
            made of estimates, over rungs too, their scatter tells the error (`jackknife`).
        effective: draws of each rung that the weights amount to, (rung,).
        draws: of the widest network; a rung of half the width has twice as many.
        seed: of all random numbers.
    """

    network: Network
    factors: tuple[int, ...]
    estimates: Mapping[str, np.ndarray]
    leave_one_out: Mapping[str, np.ndarray]
    effective: np.ndarray
    draws: int
    seed: int

    @property
    def mean(self) -> np.ndarray:
        """Of the outputs on test inputs, (M, C), at the network's own width."""
        return self.estimates["mean"][0]

    @property
    def covariance(self) -> np.ndarray:
        """Of outputs i, j on test inputs a, b, without noise: (C, C, M, M)."""
        return self.estimates["covariance"][0]

    @property
    def log_evidence(self) -> float:
        """Of all labels."""
        return float(self.estimates["log_evidence"][0])

    @property
    def stderr(self) -> Mapping[str, np.ndarray]:
        """Standard errors of ``mean``, ``covariance`` and ``log_evidence``, own width."""
        return {name: jackknife(value)[0] for name, value in self.leave_one_out.items()}

    def __repr__(self) -> str:
        return (
            f"<measured posterior of {self.network}: {self.draws} draws, effectively "
            f"{self.effective[0]:.0f}, log evidence {self.log_evidence:.6g} "
            f"+- {float(self.stderr['log_evidence']):.1g}>"
        )


def jackknife(leave_one_out: np.ndarray) -> np.ndarray:
    """The standard error of an estimate from its values with one batch left out (batches, ...)."""
    count = len(leave_one_out)
    return np.sqrt((count - 1) * leave_one_out.var(axis=0))


@takes(
    network=NETWORK, x=INPUTS, y=LABELS, x_test=INPUTS, noise=VARIANCE, draws=count(2 *
    _BATCHES), seed=SEED, rungs=COUNT,
)  # fmt: skip
def measure_posterior(
    network: Network,
    x: Any,
    y: Any,
    x_test: Any,
    *,
    noise: float = 0.0,
    draws: int = 20_000,
    seed: int = 0,
    rungs: int = 1,
) -> MeasuredPosterior:
    """Draw networks, weigh them by the likelihood of the labels, and average what they say.

    Args:
        network: fully connected, with as many outputs as there are labels an input.
        x: training inputs (N, n_0).
        y: labels (N,) or (N, C).
        x_test: test inputs (M, n_0).
        noise: variance of the labels about the outputs, >= 0.
        draws: networks of the widest rung; rounded up to whole batches.
        seed: makes everything reproducible, on the same kind of device.
        rungs: widths measured together: the network's own, twice that, ..., on shared numbers.

    Returns:
        A `MeasuredPosterior`, with the effective number of draws beside standard errors.

    Raises:
        InputError: bad inputs, labels or numbers; a draw whose kernel has no inverse; fewer than
            100 effective draws.

    Accuracy: exact up to the standard errors (and a bias of order 1 / draws, the jackknife's
    order). Cost: N n normal numbers a layer, draw and width, and one Cholesky factor.

    Source: Neal 1996; Owen 2013, Section 9.2.

    Example:
        >>> from whydeep.network import mlp
        >>> net = mlp(1, 64, "relu", outputs=2)
        >>> x, y = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [0.0, 1.0]]
        >>> found = measure_posterior(net, x, y, [[1.0, 1.0]], noise=0.1, draws=2000)
        >>> found.mean.shape, found.covariance.shape, bool(found.effective[0] > 1500)
        ((1, 2), (2, 2, 1, 1), True)
    """
    inputs, tests, labels = _read(network, x, y, x_test)
    points = np.concatenate([inputs, tests])
    lanes = _lanes(len(points) * max(network.widths) << (rungs - 1), draws)
    blocks = math.ceil(draws / (lanes * _BATCHES))
    kernels = _drawn(network, points, rungs, lanes, seed)
    parts: list[list[_Sums]] = [[] for _ in range(rungs)]
    with progress_bar("measuring the posterior", _BATCHES) as advance:
        for batch in range(_BATCHES):
            drawn = [kernels(batch * blocks + b) for b in range(blocks)]
            for rung, into in enumerate(parts):
                stack = np.concatenate([d[rung] for d in drawn])
                into.append(_weighted(stack, labels, noise))
            advance()
    every = [_totals(rung) for rung in parts]
    effective = np.array([t.effective for t in every])
    if effective.min() < _FEW:
        raise InputError(
            "Hardly any of the drawn networks fits the labels, so their average means nothing.",
            received=f"{effective.min():.3g} effective draws of {blocks * lanes * _BATCHES}",
            needed=f"{_FEW:g}",
            suggestion="more draws, fewer labels or more noise",
        )
    alone = [t.leave_one_out() for t in every]
    names = ("mean", "covariance", "log_evidence")
    return MeasuredPosterior(
        network=network,
        factors=tuple(1 << rung for rung in range(rungs)),
        estimates={n: np.stack([t.estimate()[n] for t in every]) for n in names},
        leave_one_out={n: np.stack([a[n] for a in alone], axis=1) for n in names},
        effective=effective,
        draws=blocks * lanes * _BATCHES,
        seed=int(seed),
    )


def _read(
    network: Network, x: Any, y: Any, x_test: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    inputs, tests, labels = x, x_test, y[:, None] if y.ndim == 1 else y
    if labels.shape != (len(inputs), network.outputs) or tests.shape[1] != inputs.shape[1]:
        raise InputError(
            "Inputs, labels and network do not fit together.",
            received=f"inputs {inputs.shape}, labels {labels.shape}, test inputs {tests.shape}, "
            f"{network.outputs} outputs",
            needed="(N, n_0), (N, outputs) and (M, n_0)",
        )
    return inputs, tests, labels


def _lanes(numbers: int, draws: int) -> int:
    low, high = _LANES
    return 1 << int(math.log2(min(max(_BLOCK_BYTES // (8 * numbers), low), high,
                                  max(draws // _BATCHES, low))))  # fmt: skip


def _drawn(
    network: Network, points: np.ndarray, rungs: int, lanes: int, seed: int
) -> Callable[[int], list[np.ndarray]]:
    """A function: block number to kernels of the output layer, (draws, N, N) for every rung."""
    shape = Shape(network.activation, len(points), network.widths, rungs, lanes, np.float64)
    numbers = (
        points @ points.T / points.shape[1],
        np.array([(d.bias_var, d.weight_var) for d in network.dense], dtype=np.float64),
        np.array(network.learning_rates(points.shape[1]), dtype=np.float64),
    )
    seeds = (np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32))
    rows, cols = np.triu_indices(len(points))

    def block(number: int) -> list[np.ndarray]:
        with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
            drawn = _last_kernels(shape, numbers, seeds, np.uint32(number))
        out = []
        for pairs in drawn:
            flat = np.asarray(pairs).reshape(len(rows), -1).T
            full = np.empty((len(flat), len(points), len(points)))
            full[:, rows, cols] = full[:, cols, rows] = flat
            out.append(full)
        return out

    return block


@functools.partial(jax.jit, static_argnames=("shape",))
def _last_kernels(shape: Shape, numbers: Any, seed: Any, block: Any) -> tuple[Any, ...]:
    kernels = draw_kernels(Plan(shape, *numbers), key_of(seed, block))
    return tuple(kernel[-1] for kernel in kernels)


@dataclass(frozen=True)
class _Sums:
    """Of one batch: weights over exp(shift), their squares, and weighted moments."""

    shift: float
    weight: float
    square: float
    count: int
    first: np.ndarray
    second: np.ndarray


def _weighted(kernels: np.ndarray, y: np.ndarray, noise: float) -> _Sums:
    n, outputs = y.shape
    a = kernels[:, :n, :n] + noise * np.eye(n)
    try:
        lower = np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        raise InputError(
            "The kernel of a drawn network has no inverse.",
            needed="noise > 0, or more hidden neurons than training inputs, all distinct",
        ) from None
    white = np.linalg.solve(lower, np.broadcast_to(y, (len(a), n, outputs)))
    cross = np.linalg.solve(lower, kernels[:, :n, n:])
    with np.errstate(over="ignore"):
        squares = np.sum(white**2, axis=(1, 2))
    if not np.isfinite(squares).any():
        raise InputError(
            "The targets are impossible for every drawn network.",
            received=f"noise={noise:.3g}",
            needed="a noise that the differences between inputs can be told from",
        )
    logs = -0.5 * squares - outputs * (
        np.sum(np.log(np.einsum("dkk->dk", lower)), axis=1) + 0.5 * n * math.log(2 * math.pi)
    )
    means = np.einsum("dnm,dnc->dmc", cross, white)
    own = kernels[:, n:, n:] - np.einsum("dnm,dnk->dmk", cross, cross)
    shift = float(logs.max())
    weights = np.exp(logs - shift)
    second = np.einsum("d,dmi,dkj->ijmk", weights, means, means, optimize=True)
    second += np.eye(outputs)[:, :, None, None] * np.einsum("d,dmk->mk", weights, own)
    return _Sums(
        shift, float(weights.sum()), float((weights**2).sum()), len(weights),
        np.einsum("d,dmi->mi", weights, means), second,
    )  # fmt: skip


@dataclass(frozen=True)
class _Totals:
    """Sums of all batches on one scale."""

    shift: float
    weight: np.ndarray
    square: np.ndarray
    count: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @property
    def effective(self) -> float:
        return float(self.weight.sum() ** 2 / self.square.sum())

    def estimate(self, without: int | None = None) -> dict[str, np.ndarray]:
        """From all batches, or all but one."""

        def total(values: np.ndarray) -> Any:
            whole = values.sum(axis=0)
            return whole if without is None else whole - values[without]

        weight = total(self.weight)
        mean = total(self.first) / weight
        covariance = total(self.second) / weight - np.einsum("mi,kj->ijmk", mean, mean)
        evidence = self.shift + math.log(weight / total(self.count))
        return {"mean": mean, "covariance": covariance, "log_evidence": np.array(evidence)}

    def leave_one_out(self) -> dict[str, np.ndarray]:
        found = [self.estimate(b) for b in range(len(self.weight))]
        return {name: np.stack([f[name] for f in found]) for name in found[0]}


def _totals(parts: Sequence[Any]) -> _Totals:
    """The totals of `_Sums` of all batches."""
    shift = max(p.shift for p in parts)
    scale = np.array([math.exp(p.shift - shift) for p in parts])
    return _Totals(
        shift,
        scale * np.array([p.weight for p in parts]),
        scale**2 * np.array([p.square for p in parts]),
        np.array([p.count for p in parts]),
        np.stack([s * p.first for s, p in zip(scale, parts, strict=True)]),
        np.stack([s * p.second for s, p in zip(scale, parts, strict=True)]),
    )
