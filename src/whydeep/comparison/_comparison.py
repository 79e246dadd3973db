"""The outcome of a comparison: a table with a verdict and a reason in every line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whydeep.arguments import anything, takes, text
from whydeep.comparison._judge import PATTERN_SHARE, share_text
from whydeep.comparison._rows import Row
from whydeep.comparison._verdicts import worst_verdict
from whydeep.network import Network
from whydeep.observables import OBSERVABLES
from whydeep.results import by_content

__all__ = ["Comparison", "known_text", "number_with_error", "ratio_text"]


def number_with_error(value: float, error: float) -> str:
    """A number with the digits that its error allows: ``1.0012 ± 0.0004``.

    Example:
        >>> number_with_error(1.00123, 0.00042)
        '1.0012 ± 0.0004'
        >>> number_with_error(1.8612e-6, 2.3e-8)
        '(1.86 ± 0.02)e-06'
    """
    if not math.isfinite(value) or not math.isfinite(error) or error <= 0:
        return f"{value:.7g}"
    power = math.floor(math.log10(max(abs(value), error)))
    if not -5 < power < 7:
        scale = 10.0**power
        return f"({number_with_error(value / scale, error / scale)})e{power:+03d}"
    digits = max(0, -math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


@by_content
@dataclass(frozen=True)
class Comparison:
    """Rows and what they add up to.

    Args:
        rows: one an observable and layer, and one an observable for all layers together.
        alpha: the declared probability that a correct theory disagrees anywhere.
        resolution: the share of a prediction that a row must be able to see.
        tests: how many tests share alpha.
        limit: the number of standard errors that a row may deviate.
        missing: observables that theory does not have for this network, and why.
        left_out: what was predicted and not measured or the other way round, and components that
            were not compared, in words.
        network: what was compared, at its smallest width.
        widths: of the ladder.
        draws: by observable, of the widest network.
    """

    rows: tuple[Row, ...]
    alpha: float
    resolution: float
    tests: int
    limit: float
    missing: Mapping[str, str]
    left_out: tuple[str, ...]
    network: Network
    widths: tuple[int, ...]
    draws: Mapping[str, int]

    @property
    def verdict(self) -> str:
        """The worst verdict of a row: disagrees, else not resolved, else agrees."""
        return worst_verdict(row.verdict for row in self.rows)

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        if self.verdict == "agrees":
            worst = max((r for r in self.rows if not r.exact), key=lambda r: abs(r.z), default=None)
            farthest = "" if worst is None else (
                f"; the farthest, {self._where(worst)}, deviates by {abs(worst.z):.1f} standard "
                f"errors, and {self.limit:.1f} are allowed"
            )  # fmt: skip
            return f"all {len(self.rows)} rows agree{farthest}"
        bad = [r for r in self.rows if r.verdict == self.verdict]
        if self.verdict == "disagrees":
            first = max(bad, key=lambda r: abs(r.z))
        else:
            first = max(bad, key=lambda r: math.inf if r.draws_needed is None else r.draws_needed)
        return f"{len(bad)} of {len(self.rows)} rows; {self._where(first)}: {first.reason}"

    @property
    def observables(self) -> tuple[str, ...]:
        """The observables compared, in order."""
        return tuple(dict.fromkeys(row.observable for row in self.rows))

    @takes(self=anything, observable=text)
    def of(self, observable: str) -> tuple[Row, ...]:
        """The rows of one observable."""
        return tuple(row for row in self.rows if row.observable == observable)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain numbers and strings (for JSON)."""
        fields = (
            "observable", "layer", "predicted", "ratio", "stderr", "neglected", "absolute", "z",
            "p_value", "pattern_p_value", "known_to", "pattern_known_to", "verdict", "reason",
            "draws_needed",
        )  # fmt: skip
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "alpha": self.alpha,
            "resolution": self.resolution,
            "tests": self.tests,
            "standard_errors_allowed": self.limit,
            "widths": list(self.widths),
            "draws": dict(self.draws),
            "missing": dict(self.missing),
            "left_out": list(self.left_out),
            "rows": [{name: getattr(row, name) for name in fields} for row in self.rows],
        }

    def __str__(self) -> str:
        head = (
            f"{'observable':<18} {'layer':>5}  {'measured / predicted':<22} {'z':>5} "
            f"{'p':>6} {'pattern':>7} {'known to':>13}  verdict"
        )
        lines = [head, "-" * len(head)]
        for row in self.rows:
            layer = "all" if row.layer is None else str(row.layer)
            pattern = "" if row.pattern_p_value is None else f"{row.pattern_p_value:.2f}"
            p_value, z = ("exact", "") if row.exact else (f"{row.p_value:.2f}", f"{row.z:+.1f}")
            lines.append(
                f"{row.observable:<18} {layer:>5}  {ratio_text(row):<22} {z:>5} "
                f"{p_value:>6} {pattern:>7} {known_text(row):>13}  {self._verdict_text(row)}"
            )
        lines += [f"{n:<18} {'':>5}  none: {reason}" for n, reason in self.missing.items()]
        lines += [f"not compared: {note}" for note in self.left_out]
        lines.append(
            "known to: the share of the prediction within which the size lies / its entries one by "
            f"one; {self.resolution:.0%} / {PATTERN_SHARE * self.resolution:.0%} are asked for"
        )
        lines.append(
            f"{self.verdict}: {self.reason} ({self.tests} tests share a false-alarm rate of "
            f"{self.alpha:.2g})"
        )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"<comparison: {self.verdict}, {len(self.rows)} rows of {', '.join(self.observables)}; "
            "print shows the table>"
        )

    def _verdict_text(self, row: Row) -> str:
        """The verdict of a row, with its reason where it is not plain from the row itself."""
        plain = row.verdict == "agrees" and abs(row.z) <= self.limit
        return row.verdict if plain else f"{row.verdict}: {row.reason}"

    def _where(self, row: Row) -> str:
        layer = "over all layers" if row.layer is None else f"at layer {row.layer}"
        return f"the {OBSERVABLES[row.observable].title} {layer}"


def known_text(row: Row) -> str:
    """To what share of the prediction a row is known: its size / its entries one by one.

    Of a row without noise nothing is said: rounding is all that is left.
    """
    if row.exact:
        return ""
    entries = row.pattern_known_to
    return share_text(row.known_to) + ("" if entries is None else f" / {share_text(entries)}")


def ratio_text(row: Row) -> str:
    """The measured over the predicted number of a row, as text."""
    if row.absolute:
        value = 0.0 if row.exact and abs(row.ratio) <= row.neglected else row.ratio
        return f"{number_with_error(value, row.stderr)} (0)"
    return number_with_error(row.ratio, row.stderr) if not row.exact else f"{row.ratio:.6f}"
