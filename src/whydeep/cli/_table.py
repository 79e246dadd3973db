"""The comparison on a terminal: one line an observable, or one a layer."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from whydeep.cli._console import output, plain_table
from whydeep.comparison import SEVERITY, Comparison, Outcome, Row, coloured, ratio_text
from whydeep.observables import OBSERVABLES
from whydeep.report import HEADLINES, MARKS

__all__ = ["print_outcome"]


def print_outcome(outcome: Outcome, inputs: str, written: Path | None, *, all_layers: bool) -> None:
    """Print what was compared, the table, the verdict, and where the report is."""
    console = output()
    comparison = outcome.comparison
    console.print(escape(_about(outcome, inputs)), style="dim", highlight=False)
    console.print()
    console.print(_full(comparison) if all_layers else _compact(comparison))
    for name, reason in comparison.missing.items():
        console.print(f"[dim]{OBSERVABLES[name].title}: none, {escape(reason)}[/]")
    for note in comparison.left_out:
        console.print(f"[dim]not compared: {escape(note)}[/]")
    console.print()
    verdict = comparison.verdict
    headline = coloured(verdict, f"{MARKS[verdict]} {HEADLINES[verdict]}")
    console.print(f"{headline}: {escape(comparison.reason)}.", highlight=False)
    console.print(
        f"[dim]{comparison.tests} tests share a false-alarm rate of {comparison.alpha:.2g}; "
        f"{outcome.seconds:.0f} s[/]",
        highlight=False,
    )
    if written is not None:
        console.print(f"Report: {escape(str(written))}", highlight=False, soft_wrap=True)


def _about(outcome: Outcome, inputs: str) -> str:
    network, comparison = outcome.comparison.network, outcome.comparison
    first = network.dense[0]
    widths = " → ".join(map(str, comparison.widths))
    if len(set(network.widths)) > 1:
        widths += f" (widest; layers {'-'.join(map(str, network.widths))})"
    draws = ", ".join(f"{m.draws:,} draws of {', '.join(m)}" for m in outcome.measured)
    return (
        f"{network.activation.name}, depth {network.depth}, width {widths}, weight variance "
        f"{first.weight_var:.6g}, bias variance {first.bias_var:.6g}\n{inputs}\n{draws}; seed "
        f"{outcome.plan.seed}"
    )


def _compact(comparison: Comparison) -> Table:
    table = plain_table()
    table.add_column("observable", no_wrap=True)
    table.add_column("measured / predicted", no_wrap=True)
    table.add_column("farthest layer", no_wrap=True)
    table.add_column("verdict")
    for name in comparison.observables:
        rows = comparison.of(name)
        whole = next((r for r in rows if r.layer is None), None)
        layers = [r for r in rows if r.layer is not None]
        worst = max(layers, key=_badness)
        state = max(rows, key=_badness)
        mark = _mark(state.verdict)
        if state.verdict != "agrees":
            bad = sum(r.verdict == state.verdict for r in rows)
            where = "all layers" if state.layer is None else f"layer {state.layer}"
            mark += f": {bad} of {len(rows)} rows; {where} {escape(state.reason)}"
        far = f"{worst.layer}: {ratio_text(worst)}"
        if not worst.exact:
            far += f", {worst.z:+.1f}σ"
        table.add_row(OBSERVABLES[name].title, ratio_text(whole) if whole else "", far, mark)
    return table


def _mark(verdict: str) -> str:
    return coloured(verdict, f"{MARKS[verdict]} {verdict}")


def _badness(row: Row) -> tuple[int, float]:
    size = float(row.draws_needed or 0) if row.verdict == "not resolved" else abs(row.z)
    return SEVERITY.index(row.verdict), size


def _full(comparison: Comparison) -> Table:
    table = plain_table()
    for name in ("observable", "layer", "measured / predicted", "z", "p", "pattern", "verdict"):
        table.add_column(
            name,
            justify="right" if name in ("layer", "z", "p", "pattern") else "left",
            no_wrap=name != "verdict",
        )
    previous = ""
    for row in comparison.rows:
        mark = _mark(row.verdict)
        if row.verdict != "agrees":
            mark += f": {escape(row.reason)}"
        table.add_row(
            "" if row.observable == previous else OBSERVABLES[row.observable].title,
            "all" if row.layer is None else str(row.layer),
            ratio_text(row),
            "" if row.exact else f"{row.z:+.1f}",
            "exact" if row.exact else f"{row.p_value:.2f}",
            "" if row.pattern_p_value is None else f"{row.pattern_p_value:.2f}",
            mark,
        )
        previous = row.observable
    return table
