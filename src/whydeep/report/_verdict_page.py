"""A page with a verdict: headline, facts, figures, table, sources; a report or an experiment."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from whydeep.report._figure import Group, Key
from whydeep.report._page import as_json, asset, fill, provenance_list, shell

__all__ = ["VerdictPage"]


@dataclass(frozen=True)
class VerdictPage:
    """What a page with a verdict shows. HTML, but for what is said to be text.

    Args:
        title: of the browser's tab, text.
        brand: what kind of page it is, beside the name, text.
        state: the class of the verdict in the style sheet.
        headline: the verdict or the claim, text.
        reason: a sentence below it, text.
        cards: of the observables, or nothing.
        facts_title: over the facts, text.
        facts: pairs of a definition list.
        command: the command line that does the same again, text.
        groups: of figures.
        table_title: over the table, text.
        table_lead: how to read it, text.
        columns: their heads, text; the first is left-aligned where it is words.
        words: whether the first column is words.
        table: bodies of the table.
        sources: what it rests on.
    """

    title: str
    brand: str
    state: str
    headline: str
    reason: str
    facts_title: str
    facts: str
    command: str
    groups: Sequence[Group]
    table_title: str
    table_lead: str
    columns: Sequence[str]
    table: str
    sources: str
    cards: str = ""
    words: bool = False

    def render(self) -> str:
        """The whole file."""
        head = "".join(f"<th>{html.escape(column)}</th>" for column in self.columns)
        if self.words:
            head = head.replace("<th>", "<th class=words>", 1)
        cards = f'<section class="cards" aria-label="Verdicts">\n{self.cards}\n</section>\n'
        text = fill(
            asset("report.html"),
            {
                "brand": html.escape(self.brand),
                "headline": html.escape(self.headline),
                "reason": html.escape(self.reason),
                "cards": cards if self.cards else "",
                "facts_title": html.escape(self.facts_title),
                "facts": self.facts,
                "command": _broken_command(self.command),
                "command_hidden": "" if self.command else "hidden",
                "figures": "\n".join(_section(group) for group in self.groups),
                "table_title": html.escape(self.table_title),
                "table_lead": html.escape(self.table_lead),
                "table_head": head,
                "table": self.table,
                "sources": self.sources,
                "provenance": provenance_list(),
                "data": as_json({group.name: group.as_dict() for group in self.groups}),
                "plotly": asset("plotly-cartesian.min.js"),
                "script": asset("report.js"),
            },
        )
        return shell(self.title, asset("report.css"), text, self.state)


def _section(group: Group) -> str:
    """Plots with what is chosen between them, as HTML."""
    plots = "\n".join(
        f'<figure><figcaption>{html.escape(plot.title)}</figcaption><div class="plot" '
        f'data-plot="{index}" role="img" aria-label="{html.escape(plot.summary)}"></div></figure>'
        for index, plot in enumerate(group.plots)
    )
    notes = "".join(f"<p class=note>{html.escape(note)}</p>" for note in group.notes)
    keys = "".join(_key(key) for key in group.keys)
    return (
        f'<section class="group" id="{group.name}"><h2>{html.escape(group.title)}</h2>'
        f'<p class="lead">{html.escape(group.lead)}</p><div class="controls"></div>'
        f'<ul class="keys">{keys}</ul>'
        f'<div class="plots columns-{group.columns}">{plots}</div>{notes}</section>'
    )


_SWATCHES = {
    "line": '<path d="M0 6H28"/>',
    "dash": '<path d="M0 6H28" stroke-dasharray="7 4"/>',
    "dot": '<path d="M0 6H28" stroke-dasharray="2 3"/>',
    "point": '<path d="M14 0V12"/><circle cx="14" cy="6" r="3.5" class="solid"/>',
    "diamond": '<path d="M14 0V12M14 1.5L19 6L14 10.5L9 6Z"/>',
}


def _key(key: Key) -> str:
    return (
        f'<li><svg width="28" height="12" aria-hidden="true" class="{key.color}">'
        f"{_SWATCHES[key.kind]}</svg>{html.escape(key.text)}</li>"
    )


def _broken_command(command: str) -> str:
    """A command line that breaks between its options only."""
    parts = re.split(r" (?=--)", command)
    return " ".join(f"<span>{html.escape(part)}</span>" for part in parts)
