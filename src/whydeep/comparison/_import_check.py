"""The outcome of checking an import: a short table, a verdict and its reason."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.brief import brief
from whydeep.comparison._import_rows import Answer
from whydeep.comparison._verdicts import coloured, worst_verdict
from whydeep.ensemble import KernelSamples
from whydeep.network import Network
from whydeep.progress import rich_part
from whydeep.results import by_content

__all__ = ["TITLES", "ImportCheck", "Line"]

TITLES = {"nngp": "NNGP kernel", "ntk": "tangent kernel"}
# Outputs that differ by less are the same up to rounding of some hundred operations.
_SAME = 1e-4
_WIDE = 80
_ASKED = {
    "reading": "the function has its description's kernel",
    "limit": "the description tends to the prediction",
    "law": "{law} weights do as Gaussian ones",
}


@dataclass(frozen=True)
class Line:
    """What was found of one kernel, less the prediction, as a share of it.

    All are (mean, standard error), weighted over inputs as the test of the limit is.

    Args:
        real: the function at its own width.
        drawn: the description, by width factor, drawn from the Gaussian law that theory assumes.
        extrapolated: to infinite width.
    """

    real: tuple[float, float]
    drawn: Mapping[int, tuple[float, float]]
    extrapolated: tuple[float, float]

    __repr__ = brief


@by_content
@dataclass(frozen=True)
class ImportCheck:
    """Whether a kernel predicted for an imported function is that function's.

    Args:
        answers: to "reading" (is the description the function's?), "limit" (does the description
            tend to the predicted kernel?) and, where weights are not Gaussian and that shows,
            "law" (what that changes), for each kernel.
        lines: numbers behind them, by kernel.
        network: the description.
        law: of the function's weights: "normal", "uniform" or "truncated".
        real: what was measured of the function.
        drawn: of the description, by width factor.
        alpha: probability that a right import is called "disagrees" at most.
        resolution: the share of a kernel that every row must be able to see.
        tests: how many tests share alpha.
        inputs: the inputs that everything was measured on.
        identity: how much outputs of function and description differ with the same numbers as
            parameters, relative to their size; None where that was not tried.
        notes: what was left out, and why.
        seconds: what it took, the real function included.
    """

    answers: tuple[Answer, ...]
    lines: Mapping[str, Line]
    network: Network
    law: str
    real: KernelSamples
    drawn: Mapping[int, KernelSamples]
    alpha: float
    resolution: float
    tests: int
    inputs: np.ndarray
    identity: float | None
    notes: tuple[str, ...]
    seconds: float

    @property
    def verdict(self) -> str:
        """The worst verdict of an answer: disagrees, else not resolved, else agrees."""
        identity = () if self.identical else ("disagrees",)
        return worst_verdict((*identity, *(answer.row.verdict for answer in self.answers)))

    @property
    def identical(self) -> bool:
        """Whether function and description are the same function of parameters and inputs."""
        return self.identity is None or self.identity <= _SAME

    @property
    def reason(self) -> str:
        """Why, in a sentence or two."""
        if self.verdict == "agrees":
            parts = []
            for kernel in self.lines:
                reach = [
                    a.reach for a in self.answers if a.kernel == kernel and a.question != "law"
                ]
                parts.append(f"{TITLES[kernel]} within {max(reach):.1%}")
            return (
                f"the function is what was read, and tends to what is predicted: "
                f"{', '.join(parts)}{self._law_words()}"
            )
        bad = [a for a in self.answers if a.row.verdict == self.verdict]
        sentences = [_sentence(a, self.law) for a in bad]
        if not self.identical:
            sentences.insert(0, (
                "the function is not what was read: with the same numbers as parameters, outputs "
                f"differ by {self.identity:.1%}"
            ))  # fmt: skip
        return "; ".join(sentences)

    def of(self, question: str) -> tuple[Answer, ...]:
        """The answers to one question."""
        return tuple(a for a in self.answers if a.question == question)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain numbers and strings (for JSON)."""
        fields = (
            "ratio", "stderr", "neglected", "z", "p_value", "pattern_p_value", "verdict", "reason",
            "draws_needed",
        )  # fmt: skip
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "law": self.law,
            "identity": self.identity,
            "alpha": self.alpha,
            "resolution": self.resolution,
            "tests": self.tests,
            "seconds": self.seconds,
            "notes": list(self.notes),
            "answers": [
                {"question": a.question, "kernel": a.kernel, "standard_errors_allowed": a.limit}
                | {name: getattr(a.row, name) for name in fields}
                for a in self.answers
            ],
            "kernels": {
                kernel: {
                    "real": line.real,
                    "description": {str(f): pair for f, pair in line.drawn.items()},
                    "extrapolated": line.extrapolated,
                }
                for kernel, line in self.lines.items()
            },
        }

    def __rich__(self) -> Any:
        """A table for ``rich.print``."""
        escape = rich_part("markup").escape
        table = rich_part("table").Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("less the prediction, as a share of it")
        for kernel in self.lines:
            table.add_column(TITLES[kernel], no_wrap=True, justify="right")
        rows = {"the function, at its own width n": [ln.real for ln in self.lines.values()]}
        for factor in sorted({f for line in self.lines.values() for f in line.drawn}):
            width = "n" if factor == 1 else f"{factor}n"
            rows[f"its description, at width {width}"] = [
                line.drawn[factor] for line in self.lines.values()
            ]
        rows["its description, extrapolated to n → ∞"] = [
            line.extrapolated for line in self.lines.values()
        ]
        for title, numbers in rows.items():
            table.add_row(title, *(_percent(*n) for n in numbers))
        for question in self._questions:
            marks = {a.kernel: coloured(a.row.verdict) for a in self.of(question)}
            asked = _ASKED[question].format(law=self.law)
            table.add_row(asked, *(marks.get(kernel, "") for kernel in self.lines))
        lines = [f"{coloured(self.verdict)}: {escape(self.reason)}."]
        lines += [f"[dim]{escape(note)}[/]" for note in self.notes]
        ntk = f", {self.real.ntk_draws:,} of its gradients" if "ntk" in self.lines else ""
        lines.append(
            f"[dim]{self.real.draws:,} draws of the function{ntk}; {self.tests} tests share a "
            f"false-alarm rate of {self.alpha:.2g}; {self.seconds:.0f} s[/]"
        )
        return rich_part("console").Group(table, *lines)

    def __str__(self) -> str:
        text = io.StringIO()
        rich_part("console").Console(
            file=text, width=_WIDE, highlight=False, color_system=None
        ).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def __repr__(self) -> str:
        return f"<import check: {self.verdict}, {len(self.answers)} answers; print shows the table>"

    @property
    def _questions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(a.question for a in self.answers))

    def _law_words(self) -> str:
        moved = [
            f"{TITLES[a.kernel]} by {a.row.deviation:+.1%} ± {a.row.stderr:.1%}"
            for a in self.of("law")
        ]
        if not moved:
            return ""
        return f". Its weights are {self.law}, not Gaussian, which moves the {', the '.join(moved)}"


def _percent(deviation: float, error: float) -> str:
    """``+3.1 ± 1.0 %`` (one standard error), with the digits that the error allows."""
    error = max(error, 1e-6)
    digits = max(0, -math.floor(math.log10(100 * error)))
    shown = round(100 * deviation, digits) + 0.0  # never -0
    return f"{shown:+.{digits}f} ± {100 * error:.{digits}f} %"


def _sentence(answer: Answer, law: str) -> str:
    title, row = TITLES[answer.kernel], answer.row
    if row.verdict == "not resolved":
        what = {"reading": "of function against description", "limit": "in the limit"}
        return f"the {title} {what.get(answer.question, 'by the law of weights')} is {row.reason}"
    if answer.question == "reading":
        return f"the function is not what was read: its {title}, at equal width, is {row.reason}"
    if answer.question == "limit":
        return (
            f"what was read does not tend to the prediction: its {title}, extrapolated to "
            f"infinite width, is {row.reason}"
        )
    return (
        f"the function's weights are {law}, and too few meet in a sum for it to be Gaussian: its "
        f"{title} is {row.reason} from what Gaussian weights make"
    )
