"""What an experiment finds: numbers beside predictions, with verdicts, and curves to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whydeep.brief import brief
from whydeep.errors import InputError
from whydeep.results import by_content

__all__ = ["ALPHA", "RESOLUTION", "Check", "Curve", "Findings", "Panel", "Result", "Row"]

ALPHA = 0.05
"""Probability that a correct theory is called "disagrees" anywhere among an experiment's checks."""

RESOLUTION = 0.25
"""The share of a prediction that every check must be able to see."""

# Means of few batches have heavier tails than Student's law says; as in `whydeep.compare`.
_TAIL_SAFETY = 5.0


@dataclass(frozen=True)
class Check:
    """A number that theory predicts, and what was measured.

    Args:
        claim: what is said, in a few words.
        predicted: by theory.
        measured: the mean of what real networks show.
        stderr: its standard error, from `batches` independent parts; 0 for what has no noise.
        neglected: bound on what theory leaves out or rounds off, absolute.
        batches: how many independent parts the standard error comes from.
        left_out: what `neglected` bounds, in a few words.
    """

    claim: str
    predicted: float
    measured: float
    stderr: float
    neglected: float = 0.0
    batches: int = 1_000
    left_out: str = "rounding"


@dataclass(frozen=True)
class Row:
    """A check with its verdict: "agrees", "disagrees" or "not resolved".

    Args:
        check: what was tested.
        reach: the deviation up to which it agrees: what noise and what is left out may make.
        verdict: in words.
        reason: why.
        draws_factor: for "not resolved": how many times the draws would resolve it, if draws can.
    """

    check: Check
    reach: float
    verdict: str
    reason: str
    draws_factor: float | None = None

    @property
    def within_noise(self) -> bool:
        """Whether noise alone explains the deviation, without what theory leaves out."""
        c = self.check
        return abs(c.measured - c.predicted) <= self.reach - c.neglected

    @property
    def z(self) -> float:
        """Deviation in standard errors; NaN for what has no noise."""
        c = self.check
        return (c.measured - c.predicted) / c.stderr if c.stderr > 0 else math.nan


@by_content
@dataclass(frozen=True)
class Curve:
    """A line or points.

    Args:
        name: for the legend.
        x: where.
        y: values.
        role: "theory" for lines of what is predicted, "measured" for points.
        error: standard errors of measured points.
        series: number of the colour, from 1; curves of one series belong together. 0 takes the
            colour of the role.
        dash: "solid", "dash" or "dot", of lines.
    """

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    role: str = "theory"
    error: Sequence[float] | np.ndarray | None = None
    series: int = 0
    dash: str = "solid"

    __repr__ = brief


@dataclass(frozen=True)
class Panel:
    """One picture.

    Args:
        title: above it.
        summary: what it shows, for readers who cannot see it.
        x_label: of the axis.
        y_label: of the axis.
        curves: what is drawn.
        log_x: whether the axis is logarithmic.
        log_y: likewise.
    """

    title: str
    summary: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    log_x: bool = False
    log_y: bool = False

    __repr__ = brief


@dataclass(frozen=True)
class Findings:
    """What the function of an experiment returns.

    Args:
        checks: what is judged.
        panels: what is shown.
        lead: a sentence or two on how to read the pictures.
        notes: what a reader must know: sizes, and where it stops being valid.
    """

    checks: tuple[Check, ...]
    panels: tuple[Panel, ...]
    lead: str
    notes: tuple[str, ...] = ()

    __repr__ = brief


@dataclass(frozen=True)
class Result:
    """An experiment that was run.

    Args:
        name: of the experiment.
        title: likewise.
        claim: likewise.
        source: likewise.
        findings: what it found.
        seed: of all random numbers.
        seconds: what it took, compilation included.
        alpha: probability that a correct theory disagrees anywhere.
        effort: the share of the draws that were made.
        rows: the checks with their verdicts, as `alpha` decides them.
    """

    name: str
    title: str
    claim: str
    source: str
    findings: Findings
    seed: int
    seconds: float
    alpha: float = ALPHA
    effort: float = 1.0
    rows: tuple[Row, ...] = field(init=False)

    __repr__ = brief

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InputError("alpha is a probability.", received=f"alpha={self.alpha!r}")
        random = sum(c.stderr > 0 for c in self.findings.checks)
        level = self.alpha / (_TAIL_SAFETY * max(random, 1))
        rows = tuple(_judged(check, level, self.effort) for check in self.findings.checks)
        object.__setattr__(self, "rows", rows)

    @property
    def verdict(self) -> str:
        """The worst verdict of its rows."""
        from whydeep.comparison import worst_verdict  # here: `whydeep list` needs no JAX

        return worst_verdict(row.verdict for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "claim": self.claim,
            "source": self.source,
            "verdict": self.verdict,
            "alpha": self.alpha,
            "seed": self.seed,
            "seconds": self.seconds,
            "checks": [
                {
                    "claim": row.check.claim,
                    "predicted": row.check.predicted,
                    "measured": row.check.measured,
                    "stderr": row.check.stderr,
                    "neglected": row.check.neglected,
                    "left_out": row.check.left_out,
                    "allowed": row.reach,
                    "z": None if math.isnan(row.z) else row.z,
                    "verdict": row.verdict,
                    "reason": row.reason,
                    "draws_factor": row.draws_factor,
                }
                for row in self.rows
            ],
            "curves": [
                {
                    "panel": panel.title,
                    "name": curve.name,
                    "role": curve.role,
                    "x": [float(v) for v in curve.x],
                    "y": [float(v) for v in curve.y],
                    "error": None if curve.error is None else [float(v) for v in curve.error],
                }
                for panel in self.findings.panels
                for curve in panel.curves
            ],
            "notes": list(self.findings.notes),
        }


def _judged(check: Check, level: float, effort: float) -> Row:
    from scipy import stats  # here, for the same reason

    limit = float(stats.t.isf(level / 2.0, max(check.batches - 1, 1)))
    noise = limit * check.stderr
    reach = noise + check.neglected
    off = abs(check.measured - check.predicted)
    wanted = RESOLUTION * abs(check.predicted)
    share = f"{check.neglected:.2g} ({check.left_out})"
    if not off <= reach:  # NaN disagrees too
        far = f"off by {off:.2g}, where {reach:.2g} is allowed"
        return Row(check, reach, "disagrees", far)
    if reach <= wanted:
        why = f"within the {reach:.2g} that noise and what is left out may make"
        if off > noise:
            why = f"off by more than noise, within what theory leaves out: {share}"
        return Row(check, reach, "agrees", why)
    if check.neglected >= wanted:
        why = f"theory leaves out up to {share}, where {wanted:.2g} must be seen"
        return Row(check, reach, "not resolved", why)
    factor = (noise / (wanted - check.neglected)) ** 2
    why = (
        f"known to {reach:.2g} only, where {wanted:.2g} must be seen: "
        f"{factor:.2g} times the draws would do (--effort {math.ceil(10 * factor * effort) / 10:g})"
    )
    return Row(check, reach, "not resolved", why, factor)
