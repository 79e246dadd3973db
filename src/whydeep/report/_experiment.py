"""The page of an experiment: its verdict, its pictures, and every number beside its prediction."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path

import numpy as np

from whydeep.comparison import number_with_error
from whydeep.experiments import Panel, Result
from whydeep.publish import publish
from whydeep.report._figure import (
    MEASURED,
    SERIES,
    SYMBOLS,
    THEORY,
    Figure,
    Group,
    Key,
    Plot,
    axis,
    line,
    log_axis,
    points,
)
from whydeep.report._verdict_page import VerdictPage
from whydeep.report._words import HEADLINES, MARKS, STATES

__all__ = ["write_experiment"]


def write_experiment(path: str | os.PathLike[str], result: Result, *, command: str = "") -> Path:
    """Write an experiment that was run to one HTML file that opens offline.

    Args:
        path: where; its folder must exist. An older file is replaced, in one step.
        result: from `whydeep.experiments.run`.
        command: the command line that does the same again.

    Raises:
        InputError: the file can't be written.
    """
    group = Group(
        name="pictures",
        title="Pictures",
        lead=result.findings.lead,
        label="",
        options=(),
        plots=tuple(_plot(panel) for panel in result.findings.panels),
        keys=(
            Key("line", "ink", "theory"),
            Key("point", "ink", "measured, one standard error"),
        ),
        notes=result.findings.notes,
        columns=min(len(result.findings.panels), 2),
    )
    agreeing = sum(row.verdict == "agrees" for row in result.rows)
    page = VerdictPage(
        title=f"{result.title}: {result.verdict}",
        brand="a published claim, reproduced",
        state=STATES[result.verdict],
        headline=result.title[:1].upper() + result.title[1:],
        reason=result.claim,
        facts_title=f"{HEADLINES[result.verdict]}: {agreeing} of {len(result.rows)} numbers agree.",
        facts=f"<div><dt>seed</dt><dd>{result.seed}</dd></div>"
        f"<div><dt>time</dt><dd>{result.seconds:.0f} s</dd></div>"
        f"<div><dt>false-alarm rate</dt><dd>{result.alpha:g}, all numbers together</dd></div>",
        command=command,
        groups=(group,),
        table_title="Every number",
        table_lead="A number agrees if it lies within the allowed distance of its prediction: the "
        "standard errors that all numbers together may be off, and what theory leaves out. The "
        "error shown is one standard error, which z counts.",
        columns=("claim", "predicted", "measured", "z", "allowed", "verdict", "why"),
        words=True,
        table=_table(result),
        sources=f"<p>{escape(result.source)}</p>",
    )
    return publish(path, page.render())


def _plot(panel: Panel) -> Plot:
    data: list[Figure] = []
    several = any(curve.series for curve in panel.curves if curve.role == "measured")
    for curve in panel.curves:
        color = SERIES[(curve.series - 1) % len(SERIES)] if curve.series else ""
        if curve.role == "theory":
            data.append(line(curve.x, curve.y, curve.name, color or THEORY, dash=curve.dash))
        else:
            error = [0.0] * len(curve.x) if curve.error is None else curve.error
            if curve.series:
                symbol, size = SYMBOLS[(curve.series - 1) % len(SYMBOLS)], 7.0
            elif several:  # what is made of several series is none of them
                color, symbol, size = "var(--ink)", "diamond-open", 11.0
            else:
                symbol, size = "circle", 6.0
            data.append(points(curve.x, curve.y, error, curve.name, color or MEASURED,
                               symbol=symbol, size=size))  # fmt: skip
    x, y = (np.concatenate([np.asarray(getattr(c, n), np.float64) for c in panel.curves])
            for n in ("x", "y"))  # fmt: skip
    layout = {
        "xaxis": log_axis(panel.x_label, x) if panel.log_x else axis(panel.x_label),
        "yaxis": log_axis(panel.y_label, y) if panel.log_y else axis(panel.y_label),
        "hovermode": "closest",
    }
    figure = {"data": data, "layout": layout}
    return Plot(panel.title, panel.summary, (figure,))


def _table(result: Result) -> str:
    rows = []
    for row in result.rows:
        check = row.check
        noise = "" if check.stderr == 0 else f"{row.z:+.1f}"
        measured = number_with_error(check.measured, check.stderr)
        rows.append(
            f'<tr class="{STATES[row.verdict]}"><td class=words>{escape(check.claim)}</td>'
            f"<td>{check.predicted:.5g}</td><td>{escape(measured)}</td><td>{noise}</td>"
            f"<td>{row.reach:.2g}</td><td>{MARKS[row.verdict]} {escape(row.verdict)}</td>"
            f"<td class=words>{escape(row.reason)}</td></tr>"
        )
    return f"<tbody>{''.join(rows)}</tbody>"
