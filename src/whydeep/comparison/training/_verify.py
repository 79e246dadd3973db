"""Predict training, train ensembles at a ladder of widths, compare."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from whydeep.brief import brief
from whydeep.comparison._compare import LEVEL
from whydeep.comparison._verdicts import worst_verdict
from whydeep.comparison.training._catapult import Catapult, catapult_of, growth
from whydeep.comparison.training._rows import TrainingRow, judge, limit_row, power_row
from whydeep.ensemble import Measurement, measure
from whydeep.ensemble.training import Training, train
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import Network, check_whole
from whydeep.results import by_content
from whydeep.theory.infinite import kernel
from whydeep.theory.training import TrainingPrediction, predict_training

__all__ = ["DRAWS", "TrainingOutcome", "TrainingPlan", "verify_training"]

DRAWS = 16_384
"""Networks trained by default at each width."""

_STEPS = (0, 2, 8, 32)
_JUDGED = (0, 8, 32)  # steps at which outputs are held against linear models
_SHARE = 0.25  # of the largest stable step: networks whose own is half of it still train
_ABOVE = 1.3  # times the largest stable step, where growth is tested
_FACTORS = (0.9, 1.2, 1.6, 2.0, 2.5, 3.0)
_CATAPULT_STEPS = 300
_BATCHES = 128  # independent parts of an ensemble, whose scatter gives the standard errors
_PRIOR_DRAWS = 16_384  # networks whose kernels give the covariance of outputs at the start
# Shares of the networks that are enough for what scatters less, or costs more.
_ALONG, _GROWTH, _NORM = 4, 16, 64
# How many times the networks at widths n, 2n, 4n: a power is l_1 - 3 l_2 + 2 l_4 of logarithms of
# means, so that scatter at the middle width weighs most.
_TIMES = (1, 3, 1)
_LEAST = 64
_FORWARD = ("outputs", "test_outputs", "loss")
_GROWTH_BATCHES = 32
_LEFT = 0.05  # of the variance: what is left of less is carried by few networks
_MOVED = ("preactivation_movement", "preactivation_movement_rms",
          "preactivation_movement_relative")  # fmt: skip


@dataclass(frozen=True)
class TrainingPlan:
    """How much is trained.

    Args:
        draws: networks at the least and the largest width; three times as many between them,
            whose scatter weighs most in a power.
        catapult_draws: networks for each step above the stable one.
        seed: of all random numbers.
    """

    draws: int = DRAWS
    catapult_draws: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole("draws", self.draws, least=4 * _BATCHES)
        check_whole("catapult_draws", self.catapult_draws, least=8)


@by_content
@dataclass(frozen=True)
class TrainingOutcome:
    """What `verify_training` found.

    Args:
        predicted: what theory says.
        widths: at which ensembles were trained.
        rows: claims, with verdicts.
        catapults: what becomes of steps around the largest stable one, at the largest width.
        alpha: the declared probability that a correct theory disagrees anywhere.
        plan: how much was trained.
        seconds: what everything took, compilation included.
    """

    predicted: TrainingPrediction
    widths: tuple[int, ...]
    rows: tuple[TrainingRow, ...]
    catapults: tuple[Catapult, ...]
    alpha: float
    plan: TrainingPlan
    seconds: float

    __repr__ = brief

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain numbers and strings (for JSON)."""
        return {
            "verdict": self.verdict,
            "alpha": self.alpha,
            "widths": list(self.widths),
            "largest_stable_step": self.predicted.largest_stable_step.value,
            "rows": [asdict(row) for row in self.rows],
            "catapults": [asdict(catapult) for catapult in self.catapults],
            "plan": asdict(self.plan),
            "seconds": self.seconds,
        }

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        judged = [row for row in self.rows if row.predicted is not None]
        bad = [row for row in judged if row.verdict == self.verdict]
        if self.verdict == "agrees":
            return f"all {len(judged)} rows agree"
        return f"{len(bad)} of {len(judged)} rows; the first is the {bad[0].claim}"

    @property
    def verdict(self) -> str:
        """The worst of a row: disagrees, else not resolved, else agrees."""
        return worst_verdict(row.verdict for row in self.rows)


def verify_training(
    network: Network,
    x: Any,
    y: Any,
    x_test: Any,
    plan: TrainingPlan | None = None,
    *,
    alpha: float = 0.05,
) -> TrainingOutcome:
    """Whether ensembles train as theory says: outputs, linearisation, kernels, stable steps.

    Full-batch gradient descent on ``1/2 sum (f - y)^2``, step of order one ("ntk"), at widths n,
    2n, 4n. Tested: mean and covariance of the outputs against the tangent kernel's prediction;
    powers of the width: each network's distance from its own linearisation (-1, for smooth
    activations) and from the evolution under the infinite-width kernel (-1/2), the change of its
    tangent kernel (-1), the movement of the last hidden layer as a vector (0) and a neuron
    (-1/2), the size of the output's Hessian along the gradient, |H g| / |g| (-1/2); and the first
    step of the top mode above the largest stable step. What becomes of larger steps is reported,
    and so is the spectral norm of the output's Hessian, -1/2 up to a logarithm that a tenth of a
    power can't be told from at any width that trains.

    Args:
        network: `whydeep.mlp` with one output, "ntk", at the narrowest width.
        x: (N, n_0) training inputs.
        y: (N,) targets.
        x_test: (M, n_0).
        plan: how much to train.
        alpha: probability that a correct theory disagrees anywhere in the table.

    Raises:
        InputError: bad inputs or numbers.
        UnsupportedError: another parameterization or kind of network.

    Cost: four to five minutes of two cores by default, most of it for tangent kernels and Hessians.

    Source: Jacot, Gabriel and Hongler 2018; Lee et al. 2019; Liu, Zhu and Belkin 2020 for the
    Hessian's norm; Lewkowycz et al. 2020 for the catapult.
    """
    begin = time.perf_counter()
    plan = plan or TrainingPlan()
    alpha = LEVEL("alpha", alpha)
    _check(network)
    inputs, targets = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    first = predict_training(network, inputs, targets, x_test, times=[0.0])
    stable = first.largest_stable_step.value
    step = _SHARE * stable
    predicted = predict_training(
        network, inputs, targets, x_test, times=[step * k for k in _STEPS], step=step
    )
    rungs = [network.scaled(k, inputs.shape[1]) for k in (1, 2, 4)]
    rows: list[TrainingRow] = []
    everything = np.concatenate([inputs, np.asarray(x_test, dtype=np.float64)])
    forward, tangent, prior, norm, along = [], [], [], [], []
    for k, rung in enumerate(rungs):  # widths have networks of their own
        own, steps = plan.seed + k, _STEPS[-1]
        draws, count = {"seed": own, "step": step}, _TIMES[k] * plan.draws
        forward.append(train(
            rung, inputs, targets, x_test, draws=count, steps=steps, record=_STEPS,
            observables=_FORWARD, **draws,
        ))  # fmt: skip
        tangent.append(train(
            rung, inputs, targets, draws=count, costly_draws=count, steps=steps,
            record=(0, steps), observables=("loss", "ntk", "ntk_change", *_MOVED), **draws,
        ))  # fmt: skip
        prior.append(measure(
            rung, everything, draws=_PRIOR_DRAWS, seed=own, rungs=1, observables="kernel",
        ))  # fmt: skip
        norm.append(_at_start(rung, inputs, targets, "hessian_norm", plan, _NORM, draws))
        along.append(_at_start(rung, inputs, targets, "hessian_along_update", plan, _ALONG, draws))
    rows += _outputs(forward, [_prior_covariances(m) for m in prior], predicted)
    rows += _powers(forward, tangent, norm, along, targets, network, inputs)
    rows.append(_top_mode(rungs, inputs, targets, stable, plan))
    catapults = tuple(
        catapult_of(
            _quietly(rungs[-1], inputs, targets, factor * stable, (0, 3, _CATAPULT_STEPS),
                     plan.catapult_draws, plan.seed), factor)
        for factor in _FACTORS
    )  # fmt: skip
    return TrainingOutcome(
        predicted, tuple(max(rung.widths) for rung in rungs), judge(rows, alpha), catapults, alpha,
        plan, time.perf_counter() - begin,
    )  # fmt: skip


def _at_start(
    network: Network, x: np.ndarray, y: np.ndarray, name: str, plan: TrainingPlan, share: int,
    how: dict[str, Any],
) -> np.ndarray:  # fmt: skip
    """A number of the networks as they are drawn, of a share of them."""
    draws = max(plan.draws // share, _LEAST)
    found = train(
        network, x, y, draws=draws, costly_draws=draws, steps=1, record=(0,),
        observables=("loss", name), **how,
    )  # fmt: skip
    return found.samples[name][:, 0, 0].astype(np.float64)


def _check(network: Network) -> None:
    if not network.fully_connected or network.outputs != 1:
        raise UnsupportedError(
            "Training is verified for fully connected networks of one output.",
            received=str(network),
            suggestion="whydeep.predict_training and whydeep.train take any network",
        )
    if network.dense[0].parameterization != "ntk":
        raise UnsupportedError(
            "The powers of the width are those of the ntk parameterization.",
            received=network.dense[0].parameterization,
        )
    if network.depth < 1:
        raise InputError("Without a hidden layer there is no width.", received=str(network))


def _outputs(
    trained: list[Training], priors: list[np.ndarray], predicted: TrainingPrediction
) -> list[TrainingRow]:
    """Mean and covariance of outputs on training and test inputs, at every time.

    Args:
        trained: at every width.
        priors: see `_prior_covariances`, of training and test inputs together.
        predicted: by theory.
    """
    rows = []
    starts = [
        np.concatenate([t.samples[n][:, 0, :, 0] for n in ("outputs", "test_outputs")], axis=1)
        .astype(np.float64)
        for t in trained
    ]  # fmt: skip
    count = predicted["train_mean"].shape[1]
    places = {"train": slice(0, count), "test": slice(count, None)}
    for number, k in enumerate(_STEPS):
        when = f"after {k} steps" if k else "at the start"
        for name, side in (("outputs", "train"), ("test_outputs", "test")):
            values = [t.samples[name][:, number, :, 0].astype(np.float64) for t in trained]
            where = "training" if side == "train" else "test"
            if k:
                mean = predicted[f"{side}_mean"].values[number, :, 0]
                calmed = [_controlled(v, z) for v, z in zip(values, starts, strict=True)]
                rows.append(limit_row(f"mean of {where} outputs {when}", calmed, mean))
            covariance = predicted[f"{side}_covariance"].values[number]
            if np.trace(covariance) < _LEFT * np.trace(predicted[f"{side}_covariance"].values[0]):
                continue
            pairs = np.triu_indices(len(covariance))
            at = places[side]
            found = (
                [_covariances(*parts) for parts in zip(values, starts, priors, strict=True)]
                if k
                else [prior[:, at, at] for prior in priors]
            )
            batches = [f[:, pairs[0], pairs[1]] for f in found]
            rows.append(
                limit_row(f"covariance of {where} outputs {when}", batches, covariance[pairs])
            )
    return rows


def _controlled(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Values less their regression on the outputs at the start, whose mean is known to be 0."""
    return np.concatenate([values[own] - start[own] @ s for own, s in _slopes(values, start)])


def _slopes(values: np.ndarray, start: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Both halves of an ensemble, each with the slope of values on the start in the other half.

    A slope that does not know its half leaves what is estimated with it unbiased.
    """
    middle = len(values) // 2
    halves = slice(None, middle), slice(middle, None)
    for own, other in (halves, halves[::-1]):
        centred = values[other] - values[other].mean(axis=0)
        yield own, np.linalg.lstsq(start[other], centred, rcond=None)[0]


def _prior_covariances(measured: Measurement) -> np.ndarray:
    """Covariances of outputs at initialisation, given the layer below: (batches, N, N)."""
    batches = measured.batches["kernel"][0][:, -1]
    count = len(measured.inputs)
    found = np.empty((len(batches), count, count))
    rows, columns = np.triu_indices(count)
    found[:, rows, columns] = found[:, columns, rows] = batches
    return found


def _covariances(values: np.ndarray, start: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Covariances of batches of networks, (batches, N, N).

    Most of the scatter of a covariance after some steps is that of the outputs at the start,
    whose own covariance `prior` is known well: with a slope M of values v on the start s,
    cov v - M' cov s M + M' prior M has the same mean and little noise.
    """
    known = iter(prior[np.arange(_BATCHES) % len(prior)])
    found = []
    for own, slope in _slopes(values, start):
        parts = (np.array_split(a[own], _BATCHES // 2) for a in (values, start))
        for v, s in zip(*parts, strict=True):
            plain = np.cov(v, rowvar=False).reshape(v.shape[1], v.shape[1])
            found.append(plain + slope.T @ (next(known) - np.cov(s, rowvar=False)) @ slope)
    return np.array(found)


def _powers(
    forward: list[Training], tangent: list[Training], norm: list[np.ndarray],
    along: list[np.ndarray], targets: np.ndarray, network: Network, inputs: np.ndarray,
) -> list[TrainingRow]:  # fmt: skip
    smooth = network.activation.smooth
    limit = np.asarray(kernel(network, inputs).ntk)
    judged = [_STEPS.index(k) for k in _JUDGED]
    own, other, change, moved, rms, relative = ([] for _ in range(6))
    for f, t in zip(forward, tangent, strict=True):  # the same networks
        kernels = t.samples["ntk"][:, 0].astype(np.float64)
        outputs = f.samples["outputs"][..., 0][:, judged].astype(np.float64)
        step = f.step or 0.0
        own.append(_distance(outputs, kernels, targets, step))
        other.append(_distance(outputs, np.broadcast_to(limit, kernels.shape), targets, step))
        change.append(t.samples["ntk_change"][:, -1].astype(np.float64))
        hidden = [t.samples[name][:, -1, :-1].astype(np.float64) for name in _MOVED]
        for into, value in zip((moved, rms, relative), hidden, strict=True):
            into.append(value[:, -1])  # the last hidden layer
    asserted = -1.0 if smooth else None
    return [
        power_row("power: distance from the own linearisation", own, asserted),
        power_row("power: distance from the infinite-width kernel's", other, -0.5),
        power_row("power: relative change of the tangent kernel", change, asserted),
        power_row("power: last hidden layer moves, as a vector", moved, 0.0),
        power_row("power: last hidden layer moves, a neuron", rms, -0.5),
        power_row("power: last hidden layer moves, relative", relative, -0.5),
        # A maximum over neurons, of the order of sqrt(log n / n), as in Liu et al. 2020.
        power_row("power: norm of the output's Hessian", norm, None),
        power_row("power: output's Hessian along the gradient", along, -0.5 if smooth else None),
    ]


def _distance(
    outputs: np.ndarray, kernels: np.ndarray, targets: np.ndarray, step: float
) -> np.ndarray:
    """Root mean square over `_JUDGED` steps and inputs from outputs to those of a linear model."""
    values, vectors = np.linalg.eigh(kernels)
    start = np.einsum("dia,di->da", vectors, outputs[:, 0] - targets)
    left = (1.0 - step * values)[:, None, :] ** np.array(_JUDGED)[None, :, None]
    linear = targets + np.einsum("dia,dka->dki", vectors, left * start[:, None, :])
    return np.sqrt(np.mean((outputs - linear) ** 2, axis=(1, 2)))


def _top_mode(
    rungs: list[Network], x: np.ndarray, y: np.ndarray, stable: float, plan: TrainingPlan
) -> TrainingRow:
    """The first step of the top mode above the stable one, over what each own kernel says."""
    values = [
        growth(
            _quietly(rung, x, y, _ABOVE * stable, (0, 1), max(plan.draws // _GROWTH, _LEAST),
                     plan.seed + k), y, _GROWTH_BATCHES,
        )
        for k, rung in enumerate(rungs)
    ]  # fmt: skip
    claim = f"first growth of the top mode, at {_ABOVE:g} times the stable step"
    return limit_row(claim, values, np.ones(1))


def _quietly(
    network: Network, x: np.ndarray, y: np.ndarray, step: float, record: tuple[int, ...],
    draws: int, seed: int,
) -> Training:  # fmt: skip
    """Training that is meant to diverge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return train(
            network,
            x,
            y,
            draws=draws,
            costly_draws=draws,
            seed=seed,
            steps=record[-1],
            step=step,
            record=record,
            observables=("outputs", "loss", "ntk"),
        )
