"""The words and tables of the report, as HTML: every text that came from outside is escaped."""

from __future__ import annotations

import re
from html import escape

from whydeep.comparison import Comparison, Row, ratio_text, worst_verdict
from whydeep.ensemble import Measurement
from whydeep.observables import OBSERVABLES
from whydeep.theory.finite import Prediction

__all__ = ["HEADLINES", "MARKS", "STATES", "cards", "facts", "headline", "sources", "table"]

STATES = {"agrees": "agrees", "disagrees": "disagrees", "not resolved": "unresolved"}
MARKS = {"agrees": "✓", "disagrees": "✗", "not resolved": "?"}
HEADLINES = {
    "agrees": "Theory and measurement agree",
    "disagrees": "Theory and measurement disagree",
    "not resolved": "Not everything could be resolved",
}


def headline(comparison: Comparison) -> tuple[str, str, str]:
    """A class for the style sheet, the verdict as a sentence, and its reason."""
    verdict, reason = comparison.verdict, comparison.reason
    return STATES[verdict], HEADLINES[verdict], reason[:1].upper() + reason[1:] + "."


def cards(comparison: Comparison) -> str:
    """One card an observable: symbol, measured over predicted, verdict."""
    return "\n".join(_card(name, comparison.of(name)) for name in comparison.observables) + "".join(
        f'<div class="card absent"><h3>{escape(OBSERVABLES[name].title)}</h3>'
        f"<p class=why>none: {escape(reason)}</p></div>"
        for name, reason in comparison.missing.items()
    )


def _card(name: str, rows: tuple[Row, ...]) -> str:
    observable = OBSERVABLES[name]
    verdict = worst_verdict(r.verdict for r in rows)
    shown = next((r for r in rows if r.layer is None), rows[-1])
    where = "all layers together" if shown.layer is None else f"layer {shown.layer}"
    what = "measured, in units of the kernel" if shown.absolute else "measured / predicted"
    bad = sum(r.verdict == verdict for r in rows)
    count = f"{len(rows)} rows" if verdict == "agrees" else f"{bad} of {len(rows)} rows"
    return (
        f'<div class="card {STATES[verdict]}"><h3>{escape(observable.title)} '
        f"<span class=symbol>{_symbol(observable.symbol)}</span></h3>"
        f"<p class=ratio>{escape(ratio_text(shown))}</p><p class=what>{what}, {where}</p>"
        f"<p class=verdict>{MARKS[verdict]} {escape(verdict)} <span>· {count}</span></p></div>"
    )


def _symbol(symbol: str) -> str:
    base, _, order = symbol.partition("{")
    return escape(base) + (f"<sup>{{{escape(order)}</sup>" if order else "")


def _formula(text: str) -> str:
    """Subscripts as subscripts: ``n_(l-1)``, ``z_ia``."""
    found = re.sub(r"_(?:\(([^()]*)\)|(\w+))", r"<sub>\1\2</sub>", escape(text))
    return found.replace("lambda", "λ")


def facts(
    predicted: Prediction,
    measured: tuple[Measurement, ...],
    comparison: Comparison,
    inputs: str,
    seconds: float | None,
) -> str:
    """What was compared, as pairs of a term and its description."""
    network = predicted.network
    first = network.dense[0]
    ladder = " → ".join(map(str, comparison.widths))
    unequal = len(set(network.widths)) > 1
    draws = "; ".join(f"{m.draws:,} of {' and '.join(_titles(tuple(m)))}" for m in measured)
    if unequal:
        ladder += f" (the widest layer; narrowest rung {'-'.join(map(str, network.widths))})"
    outputs = f"{network.outputs} output{'s' if network.outputs > 1 else ''}"
    error_rate = (
        f"a correct theory disagrees somewhere in this report with probability "
        f"{comparison.alpha:.2g} at most, shared by {comparison.tests} tests: a row may deviate by "
        f"{comparison.limit:.2f} standard errors"
    )
    resolution = (
        f"a row that could not see a deviation of {comparison.resolution:.0%} is not called an "
        "agreement"
    )
    items = [
        ("Network", f"{network.activation.name}, {network.depth} hidden layers, {outputs}"),
        ("Widths", ladder),
        ("Variances", _variances(predicted)),
        ("Parameterization", first.parameterization),
        ("Inputs", inputs or "×".join(map(str, predicted.inputs.shape)) + " numbers"),
        ("Draws", draws + "; a rung of half the width has twice as many"),
        ("Sampler", f"{measured[0].sampler}, {measured[0].dtype}, seed {measured[0].seed}"),
        ("Error rate", error_rate),
        ("Resolution", resolution),
    ]
    if seconds is not None:
        items.append(("Time", f"{seconds:.1f} s"))
    return "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in items)


def _titles(names: tuple[str, ...]) -> list[str]:
    titles = [OBSERVABLES[name].title for name in names]
    return titles if len(titles) < 3 else [", ".join(titles[:-1]), titles[-1]]


def _variances(predicted: Prediction) -> str:
    dense = predicted.network.dense
    parts = []
    for label, values in (
        ("weights", [d.weight_var for d in dense]),
        ("biases", [d.bias_var for d in dense]),
    ):
        shown = dict.fromkeys(f"{v:.6g}" for v in values)
        parts.append(
            f"{label} {', '.join(shown if len(shown) == 1 else map('{:.6g}'.format, values))}"
        )
    return f"{parts[0]} / fan-in; {parts[1]}"


def table(comparison: Comparison) -> str:
    """The rows of the full table, one body an observable."""
    bodies = []
    for name in comparison.observables:
        observable = OBSERVABLES[name]
        head = (
            f'<tr class="head"><th colspan="7" scope="rowgroup">{escape(observable.title)} '
            f"<span class=symbol>{_symbol(observable.symbol)}</span> "
            f"<small>{_formula(observable.meaning)}</small></th></tr>"
        )
        rows = "".join(_table_row(row) for row in comparison.of(name))
        bodies.append(f"<tbody>{head}{rows}</tbody>")
    return "\n".join(bodies)


def _table_row(row: Row) -> str:
    layer = "all" if row.layer is None else str(row.layer)
    pattern = "" if row.pattern_p_value is None else f"{row.pattern_p_value:.2f}"
    z, p = ("", "exact") if row.exact else (f"{row.z:+.1f}", f"{row.p_value:.2f}")
    kind = " together" if row.layer is None else ""
    return (
        f'<tr class="{STATES[row.verdict]}{kind}">'
        f"<td><i>{MARKS[row.verdict]}</i> {layer}</td><td>{row.predicted:.5g}</td>"
        f"<td>{escape(ratio_text(row))}</td><td>{z}</td><td>{p}</td><td>{pattern}</td>"
        f"<td><b>{escape(row.verdict)}</b> {escape(row.reason)}</td></tr>"
    )


def sources(predicted: Prediction) -> str:
    """What is taken for granted, and where every formula comes from."""
    assumed = "".join(f"<li>{escape(text)}</li>" for text in predicted.assumptions)
    cited = "".join(
        f"<li><b>{escape(OBSERVABLES[name].title)}</b>: {escape(source)}</li>"
        for name, source in predicted.sources.items()
    )
    return f"<h3>Assumptions</h3><ul>{assumed}</ul><h3>Sources</h3><ul>{cited}</ul>"
