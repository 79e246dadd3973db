"""Rows of the table: limits at infinite width, and powers of the width.

Every quantity is measured at widths n, 2n, 4n of independent networks. A limit is the intercept of
the polynomial in 1/n through the three widths (`Ladder`), with the neglected order bounded by one
more step of a geometric series. A power p in Q ~ n^p is the slope between n and 4n. Local slopes,
log2 Q(2n) / Q(n) and log2 Q(4n) / Q(2n), have a distance from p that halves as the width doubles:
that of their mean is 1.5 times their difference, which is allowed, with its standard error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from whydeep.comparison._ladder import Ladder

__all__ = ["TrainingRow", "judge", "limit_row", "power_row"]

# What a deviation that is allowed must stay below: of a limit, a quarter; of a power, half of what
# lies between those that theory knows (0, -1/2, -1).
_RESOLUTION = 0.25
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
        verdict: "agrees", "disagrees", "not resolved", or "reported".
    """

    claim: str
    predicted: float | None
    measured: float
    stderr: float
    neglected: float
    p_value: float = 1.0
    tests: int = 1
    verdict: str = "reported"


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
    return TrainingRow(
        claim, 1.0, whole, whole_error, slack,
        p_value=float(2.0 * stats.t.sf(worst, degrees)), tests=len(predicted) + 1,
    )  # fmt: skip


def power_row(
    claim: str, values: Sequence[np.ndarray], power: float | None, *, slack: float = 0.0
) -> TrainingRow:
    """The power of the width that a positive quantity follows.

    Args:
        claim: in words.
        values: for widths n, 2n, 4n: (draws,).
        power: predicted; None to report only.
        slack: what logarithms of the width may add.
    """
    means = np.array([v.mean() for v in values])
    relative = np.array([v.std(ddof=1) / math.sqrt(len(v)) for v in values]) / means
    logs, noise = np.log2(means), relative / math.log(2.0)
    measured = (logs[2] - logs[0]) / 2.0
    error = float(np.hypot(noise[0], noise[2])) / 2.0
    bend = abs(logs[2] - 2.0 * logs[1] + logs[0])
    bend += float(np.sqrt(np.sum((np.array([1.0, -2.0, 1.0]) * noise) ** 2)))
    neglected = 1.5 * bend + slack
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
    judged = []
    for row in rows:
        if row.predicted is None:
            judged.append(row)
            continue
        limit = float(stats.norm.isf(alpha / tests / 2.0))
        unseen = limit * row.stderr + row.neglected > _RESOLUTION
        if row.p_value < alpha / tests:
            verdict = "disagrees"
        else:
            verdict = "not resolved" if unseen else "agrees"
        judged.append(replace(row, verdict=verdict))
    return tuple(judged)
