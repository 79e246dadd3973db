"""The two questions an import is asked, of each kernel, as tests with a declared error rate.

*Reading*: does the real function, re-initialised by its own rule, have the kernel of the
description drawn at the same width? Both are finite networks of one width, so no expansion is
involved. *Limit*: does the description, drawn at two widths and extrapolated in 1/width, tend to
the predicted kernel? If both hold, what the function deviates from the prediction is its 1/width.

Both are asked of size and of pattern, as everywhere (see `Row`).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from whydeep.brief import brief
from whydeep.comparison._ladder import Ladder
from whydeep.comparison._pattern import pattern
from whydeep.comparison._rows import Row, Series
from whydeep.comparison._weights import apply_crossed, crossed_weights

__all__ = ["Answer", "components", "judged", "limit_answer", "reading_answer", "rebatched"]

_MOST_BATCHES = 100
_FEWEST_BATCHES = 50
_MOST_ROWS = 8
# A kernel below this share of its scale is zero up to rounding and quadrature.
_ZERO = 1e-7
# Frameworks add up float32 numbers in orders of their own: some dozens of roundings.
_EPSILON = 64 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Answer:
    """What one question about one kernel came to.

    Args:
        question: "reading", "limit" or "law".
        kernel: "nngp" or "ntk".
        row: ratio, standard error, p-values and verdict.
        weights: (M,) of the components, whose product with what was compared against is 1.
        batches: independent batches behind it.
        limit: standard errors that its size may deviate, once judged.
    """

    question: str
    kernel: str
    row: Row
    weights: np.ndarray
    batches: int
    limit: float = 0.0

    __repr__ = brief

    @property
    def reach(self) -> float:
        """How far the ratio may be off: noise and what is neglected."""
        return self.limit * self.row.stderr + self.row.neglected


def components(kernel: np.ndarray) -> np.ndarray:
    """Independent entries of kernels (..., N, N) or (..., N, N, *P, *P): (..., M).

    Of many outputs (inputs times positions), eight evenly spread ones are looked at.
    """
    lead = 1 if kernel.ndim % 2 else 0
    shape = kernel.shape[lead:]
    inputs, count = shape[0], math.prod(shape[2 : 2 + (len(shape) - 2) // 2])
    flat = kernel.reshape(*kernel.shape[:lead], inputs, inputs, count, count)
    square = np.moveaxis(flat, -2, -3).reshape(*kernel.shape[:lead], inputs * count, -1)
    rows = inputs * count
    chosen = np.unique(np.linspace(0, rows - 1, min(rows, _MOST_ROWS)).astype(int))
    first, second = np.triu_indices(len(chosen))
    return square[..., chosen[first], chosen[second]]


def rebatched(*samples: np.ndarray) -> list[np.ndarray]:
    """The same number of batches (B, M) of each, between 50 and 100 where there are as many.

    The number that leaves the fewest out is chosen; batches merge in order.
    """
    most = min(_MOST_BATCHES, *(len(s) for s in samples))
    fewest = min(_FEWEST_BATCHES, most)
    used = {
        count: min(count * (len(s) // count) / len(s) for s in samples)
        for count in range(fewest, most + 1)
    }
    best = max(used, key=lambda count: (used[count], count))
    return [
        s[: best * (len(s) // best)].reshape(best, len(s) // best, *s.shape[1:]).mean(axis=1)
        for s in samples
    ]


def reading_answer(
    kernel: str, real: np.ndarray, drawn: np.ndarray, question: str = "reading"
) -> Answer:
    """Batches (B, M) of the real function against those of the description at its width."""
    reference = drawn.mean(axis=0)
    # Independent batches, paired: their difference has the variance of both.
    batches = (reference + real - drawn)[None]
    return _answer(question, kernel, batches, reference, np.zeros_like(reference), (1,))


def limit_answer(
    kernel: str, drawn: np.ndarray, factors: tuple[int, ...], predicted: np.ndarray,
    tolerance: np.ndarray,
) -> Answer:  # fmt: skip
    """Batches (widths, B, M) of the description, extrapolated, against the prediction (M,)."""
    return _answer("limit", kernel, drawn, predicted, tolerance, factors)


def judged(answer: Answer, level: float, resolution: float, draws: int) -> Answer:
    """The answer with its verdict and reason.

    Args:
        answer: without.
        level: error rate of one test.
        resolution: the share that a row must be able to see.
        draws: behind its noise.
    """
    answer = dataclasses.replace(answer, limit=float(stats.t.isf(level / 2, answer.batches - 1)))
    row, reach, needed = answer.row, answer.reach, None
    if answer.question == "law":
        # That the law of weights shows is no error, unless the kernel is then no good.
        bad = abs(row.deviation) - reach > resolution
        verdict, reason = ("disagrees" if bad else "agrees"), f"off by {row.deviation:+.1%}"
    elif abs(row.deviation) > reach:
        by = "a number without noise" if row.exact else f"{abs(row.z):.1f} standard errors"
        verdict, reason = "disagrees", f"off by {row.deviation:+.1%}, {by}"
    elif row.pattern_bound is not None and row.pattern_bound < level:
        verdict = "disagrees"
        reason = f"of the right size, but of a wrong pattern (p = {row.pattern_bound:.1g})"
    elif reach <= resolution:
        verdict, reason = "agrees", f"within {reach:.1%}"
    elif row.inherent >= resolution:
        verdict = "not resolved"
        reason = f"known to {reach:.0%} only: higher orders of 1/width, so more width is needed"
    else:
        needed = math.ceil(draws * ((reach - row.inherent) / (resolution - row.inherent)) ** 2)
        verdict = "not resolved"
        reason = f"known to {reach:.0%} only: about {needed:,} draws would resolve {resolution:.0%}"
    row = dataclasses.replace(row, verdict=verdict, reason=reason, draws_needed=needed)
    return dataclasses.replace(answer, row=row)


def _answer(
    question: str, kernel: str, batches: np.ndarray, reference: np.ndarray,
    tolerance: np.ndarray, factors: tuple[int, ...],
) -> Answer:  # fmt: skip
    ladder = Ladder(tuple(f // factors[0] for f in factors))
    tested = ladder.coefficient(0, batches)
    level = float(np.abs(batches[-1].mean(axis=0)).max()) or 1.0  # 1 where all is zero
    rounding = _EPSILON * level
    absolute = bool(np.abs(reference).max() <= _ZERO * level)
    target = np.full_like(reference, level) if absolute else reference
    weights = crossed_weights(tested, target, rounding)
    mean = np.mean(weights, axis=0)
    growth = 0.0
    if len(factors) > 1:
        growth = ladder.ratio(ladder.expand(batches @ (batches[-1].mean(axis=0) / level)))
    series = Series(
        values=apply_crossed(batches, weights),
        power=0,
        unit=1.0,
        predicted=float(np.sqrt(np.mean(reference**2))),
        absolute=absolute,
        floor=float(rounding * np.abs(mean).max() + np.abs(mean) @ tolerance),
        growth=growth,
    )
    row = series.row(kernel, None, ladder)
    if not (absolute or row.exact) and len(reference) > 1:
        neglected = tolerance
        if len(factors) > 1:
            last = ladder.coefficient(len(factors) - 1, batches.mean(axis=1))
            ratio = ladder.ratio(ladder.expand(batches.mean(axis=2)))
            neglected = neglected + ratio * ladder.leak(0) * last
        found = pattern(tested, reference, neglected, neglected, rounding + 0 * tolerance)
        row = dataclasses.replace(row, pattern=found)
    return Answer(question, kernel, row, mean, batches.shape[1])
