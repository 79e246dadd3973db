"""Rows of the table: limits at infinite width, and powers of the width.

Every quantity is measured at widths n, 2n, 4n of independent networks. A limit is the intercept of
the polynomial in 1/n through the three widths (`Ladder`), with the neglected order bounded by one
more step of a geometric series. A power p in Q ~ n^p (1 + a/n + b/n^2) is twice the local slope
log2 Q(4n) / Q(2n) less log2 Q(2n) / Q(n), which is free of a; what a^2 and b add is bounded by
|b| <= a^2, with a from the difference of the two slopes.

A row agrees only if it would have seen a wrong theory: one that is off by a tenth of a limit, by
a fifth of its largest component in any one, or by a tenth in a power, would be called wrong in
nine of ten ensembles even if what is neglected hides as much of it as it can. Otherwise it is "not
resolved".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from whydeep.comparison._ladder import Ladder

__all__ = ["TrainingRow", "judge", "limit_row", "power_row"]

# The deviation that a row must be able to see: of a limit, its tenth; of a power, a fifth of what
# lies between those that theory knows (0, -1/2, -1).
_RESOLUTION = 0.1
_COMPONENT_RESOLUTION = 0.2
_POWER = 0.9  # how often it must be seen
# log(1 + x + b x^2) = x + (b - 1/2) x^2: with |b| <= 1 at most 3/2 of the square, which the
# estimate 2 (l_4 - l_2) - (l_2 - l_1) carries with weights 2/16 - 3/4 + 1 = 3/8; and x = a/n is
# four times the difference of the local slopes, in natural logarithms.
_SECOND = 1.5 * 0.375 * 16.0 * math.log(2.0)
_ROUNDING = 1e-5  # of what float32 arithmetic leaves, relative to the largest component


@dataclass(frozen=True)
class TrainingRow:
    """A claim, the number that theory gives, and what was measured.

    Args:
        claim: in words.
        predicted: by theory; None where a number is reported and not judged.
        measured: the intercept, in units of the prediction; or the slope.
        stderr: of what was measured.
        neglected: bound on what the extrapolation leaves out.
        p_value: of this row alone.
        tests: how many tests it holds.
        component_stderr: the largest standard error of a component, in the same units.
        component_neglected: the same of what is left out.
        visible: the smallest deviation that would be called wrong in nine of ten ensembles.
        verdict: "agrees", "disagrees", "not resolved", or "reported".
        reason: why.
        draws_factor: for "not resolved": how many times the networks would resolve it, if more do.
    """

    claim: str
    predicted: float | None
    measured: float
    stderr: float
    neglected: float
    p_value: float = 1.0
    tests: int = 1
    component_stderr: float = 0.0
    component_neglected: float = 0.0
    visible: float = math.nan
    verdict: str = "reported"
    reason: str = ""
    draws_factor: float | None = None


def limit_row(claim: str, values: Sequence[np.ndarray], predicted: np.ndarray) -> TrainingRow:
    """Whether the means of batch values tend to what is predicted.

    Args:
        claim: in words.
        values: for widths n, 2n, 4n: (batches, components), independent batches.
        predicted: (components,).

    The row's number is the component along the prediction, in units of it; every component is
    tested as well.
    """
    ladder = Ladder((1, 2, 4))
    means = np.stack([v.mean(axis=0) for v in values])
    variances = np.stack([v.var(axis=0, ddof=1) / len(v) for v in values])
    coefficients = ladder.weights @ means
    errors = np.sqrt(ladder.weights**2 @ variances)
    errors = np.hypot(errors, _ROUNDING * np.abs(predicted).max())
    sizes = np.sqrt(np.mean(coefficients**2, axis=1))
    ratio = max(sizes[1] / sizes[0], math.sqrt(sizes[2] / sizes[0])) if sizes[0] else 0.0
    neglected = float(ratio * sizes[2] * ladder.leak(0))
    weight = predicted / errors[0] ** 2
    scale = float(weight @ predicted)
    whole = float(weight @ coefficients[0]) / scale
    # Components fluctuate together: the error of their sum is at most the sum of their errors,
    # and independent batches tell it.
    joint = np.sqrt(sum(
        w**2 * (v @ weight).var(ddof=1) / len(v)
        for w, v in zip(ladder.weights[0], values, strict=True)
    )) / scale  # fmt: skip
    whole_error = float(np.hypot(joint, _ROUNDING))
    slack = neglected * float(np.sum(np.abs(weight))) / scale
    degrees = min(len(v) for v in values) - 1
    each = np.maximum(np.abs(coefficients[0] - predicted) - neglected, 0.0) / errors[0]
    z = max(abs(whole - 1.0) - slack, 0.0) / whole_error
    worst = float(max(each.max(), z))
    largest = float(np.abs(predicted).max())
    return TrainingRow(
        claim, 1.0, whole, whole_error, slack,
        p_value=float(2.0 * stats.t.sf(worst, degrees)), tests=len(predicted) + 1,
        component_stderr=float(errors[0].max()) / largest, component_neglected=neglected / largest,
    )  # fmt: skip


def power_row(claim: str, values: Sequence[np.ndarray], power: float | None) -> TrainingRow:
    """The power of the width that a positive quantity follows.

    Args:
        claim: in words.
        values: for widths n, 2n, 4n: (draws,).
        power: predicted; None to report only.
    """
    means = np.array([v.mean() for v in values])
    relative = np.array([v.std(ddof=1) / math.sqrt(len(v)) for v in values]) / means
    logs, noise = np.log2(means), relative / math.log(2.0)
    weights, bends = np.array([1.0, -3.0, 2.0]), np.array([1.0, -2.0, 1.0])
    measured, error = float(weights @ logs), float(np.sqrt(weights**2 @ noise**2))
    bend = abs(float(bends @ logs)) + float(np.sqrt(bends**2 @ noise**2))
    neglected = _SECOND * bend**2
    if power is None:
        return TrainingRow(claim, None, measured, error, neglected)
    degrees = min(len(v) for v in values) - 1
    z = max(abs(measured - power) - neglected, 0.0) / error
    return TrainingRow(
        claim,
        power,
        measured,
        error,
        neglected,
        float(2.0 * stats.t.sf(z, degrees)),
    )


def judge(rows: Sequence[TrainingRow], alpha: float) -> tuple[TrainingRow, ...]:
    """Verdicts at a false-alarm rate alpha that all tests of all rows share."""
    tests = sum(row.tests for row in rows if row.predicted is not None)
    level = alpha / max(tests, 1)
    return tuple(row if row.predicted is None else _judged(row, level) for row in rows)


def _judged(row: TrainingRow, level: float) -> TrainingRow:
    limit = float(stats.norm.isf(level / 2.0))
    noise = limit + float(stats.norm.isf(1.0 - _POWER))
    visible = noise * row.stderr + 2.0 * row.neglected
    wanted = (
        ("the whole", row.stderr, row.neglected, _RESOLUTION),
        ("a component", row.component_stderr, row.component_neglected, _COMPONENT_RESOLUTION),
    )
    row = replace(row, visible=visible)
    off = abs(row.measured - (row.predicted or 0.0))
    if row.p_value < level:
        why = f"off by {off:.2g}, or a component of it more, with p = {row.p_value:.1g}"
        return replace(row, verdict="disagrees", reason=why)
    blind = [w for w in wanted if noise * w[1] + 2.0 * w[2] > w[3]]
    if not blind:
        why = f"a deviation of {visible:.2g} would be seen"
        if off > limit * row.stderr:
            why += f"; {row.neglected:.2g} of it may be orders of 1/width that are left out"
        return replace(row, verdict="agrees", reason=why)
    what, error, hidden, resolution = max(blind, key=lambda w: _draws_factor(noise, *w[1:]))
    if 2.0 * hidden >= resolution:
        why = f"orders of 1/width that are left out may add {hidden:.2g}: wider networks would do"
        return replace(row, verdict="not resolved", reason=why)
    seen, factor = noise * error + 2.0 * hidden, _draws_factor(noise, error, hidden, resolution)
    why = (
        f"only a deviation of {seen:.2g} of {what} would be seen: {factor:.2g} times the networks "
        f"would show {resolution:g}"
    )
    return replace(row, verdict="not resolved", reason=why, draws_factor=factor)


def _draws_factor(noise: float, error: float, hidden: float, resolution: float) -> float:
    """How many times the networks would show the resolution; infinite where none do."""
    left = resolution - 2.0 * hidden
    return (noise * error / left) ** 2 if left > 0 else math.inf
