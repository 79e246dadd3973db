"""What an experiment finds: numbers beside predictions, with verdicts, and curves to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whydeep.errors import InputError

__all__ = ["ALPHA", "Check", "Curve", "Findings", "Panel", "Result", "Row"]

ALPHA = 0.05
"""Probability that a correct theory is called "disagrees" anywhere among an experiment's checks."""

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
        scale: the size that counts as all of it; the prediction's own by default.
        resolution: the share of `scale` that must be visible for a verdict.
    """

    claim: str
    predicted: float
    measured: float
    stderr: float
    neglected: float = 0.0
    batches: int = 1_000
    scale: float | None = None
    resolution: float = 0.25


@dataclass(frozen=True)
class Row:
    """A check with its verdict: "agrees", "disagrees" or "not resolved".

    Args:
        check: what was tested.
        reach: the deviation up to which it agrees.
        verdict: in words.
    """

    check: Check
    reach: float
    verdict: str

    @property
    def z(self) -> float:
        """Deviation in standard errors; NaN for what has no noise."""
        c = self.check
        return (c.measured - c.predicted) / c.stderr if c.stderr > 0 else math.nan


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
    rows: tuple[Row, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InputError("alpha is a probability.", received=f"alpha={self.alpha!r}")
        random = sum(c.stderr > 0 for c in self.findings.checks)
        level = self.alpha / (_TAIL_SAFETY * max(random, 1))
        rows = tuple(_judged(check, level) for check in self.findings.checks)
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
                    "verdict": row.verdict,
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


def _judged(check: Check, level: float) -> Row:
    from scipy import stats  # here, for the same reason

    limit = float(stats.t.isf(level / 2.0, max(check.batches - 1, 1)))
    reach = limit * check.stderr + check.neglected
    scale = abs(check.predicted) if check.scale is None else check.scale
    if not abs(check.measured - check.predicted) <= reach:  # NaN disagrees too
        return Row(check, reach, "disagrees")
    return Row(check, reach, "agrees" if reach <= check.resolution * scale else "not resolved")
