"""One self-contained HTML file: put together in memory, published in one step."""

from __future__ import annotations

import html
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

from whydeep.comparison import Comparison
from whydeep.ensemble import Measurement
from whydeep.errors import InputError
from whydeep.report._density_figure import density_group
from whydeep.report._figure import Group, Key
from whydeep.report._kernel_figure import kernel_group
from whydeep.report._ladder_figure import ladder_group
from whydeep.report._provenance import provenance
from whydeep.report._words import cards, facts, headline, sources, table
from whydeep.theory.finite import Prediction

__all__ = ["render_report", "write_report"]


def write_report(
    path: str | os.PathLike[str],
    predicted: Prediction,
    measured: Measurement | Iterable[Measurement],
    comparison: Comparison,
    *,
    inputs: str = "",
    command: str = "",
    seconds: float | None = None,
) -> Path:
    """Write verdict, figures, table, sources and provenance to one HTML file that opens offline.

    Args:
        path: where; its folder must exist. An older file is replaced, in one step.
        predicted: from `whydeep.predict`.
        measured: from `whydeep.measure`, one or several.
        comparison: of these, from `whydeep.comparison`.
        inputs: what the inputs are, in words.
        command: the command line that does the same again.
        seconds: what everything took.

    Returns:
        The path.

    Raises:
        InputError: the file can't be written.

    Cost: about 1.6 MB, of which 1.5 are the library that draws the figures.

    Source: the figures are explained in the report; its own sources are ``predicted.cite()``.

    Example:
        >>> import numpy as np
        >>> from whydeep import ensemble, network, theory
        >>> from whydeep.comparison import compare
        >>> net, x = network.mlp(1, 32, "relu"), np.eye(2)
        >>> predicted = theory.predict(net, x, order=0, observables="kernel")
        >>> measured = ensemble.measure(net, x, draws=512, observables="kernel")
        >>> comparison = compare(predicted, measured)
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "report.html"
        >>> write_report(file, predicted, measured, comparison).name
        'report.html'
        >>> folder.cleanup()
    """
    path = Path(path)
    text = render_report(
        predicted, measured, comparison, inputs=inputs, command=command, seconds=seconds
    )
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            "The report can't be written.",
            received=str(path),
            needed="a file in an existing folder with write permission",
            cause=error.strerror or str(error),
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def render_report(
    predicted: Prediction,
    measured: Measurement | Iterable[Measurement],
    comparison: Comparison,
    *,
    inputs: str = "",
    command: str = "",
    seconds: float | None = None,
) -> str:
    """The text of the report; arguments as in `write_report`."""
    several = (measured,) if isinstance(measured, Measurement) else tuple(measured)
    groups = [
        group
        for group in (
            kernel_group(predicted, several),
            ladder_group(predicted, comparison),
            density_group(predicted, several),
        )
        if group is not None
    ]
    state, sentence, reason = headline(comparison)
    return _fill(
        _asset("report.html"),
        {
            "title": html.escape(f"{sentence}: {comparison.network.activation.name}"),
            "style": _asset("report.css"),
            "state": state,
            "headline": html.escape(sentence),
            "reason": html.escape(reason),
            "cards": cards(comparison),
            "facts": facts(predicted, several, comparison, inputs, seconds),
            "command": _command(command),
            "command_hidden": "" if command else "hidden",
            "figures": "\n".join(_section(group) for group in groups),
            "table": table(comparison),
            "sources": sources(predicted),
            "provenance": _provenance(),
            "data": _json({group.name: group.as_dict() for group in groups}),
            "plotly": _asset("plotly-cartesian.min.js"),
            "script": _asset("report.js"),
        },
    )


def _section(group: Group) -> str:
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


def _command(command: str) -> str:
    """A command line that breaks between its options only."""
    parts = re.split(r" (?=--)", command)
    return " ".join(f"<span>{html.escape(part)}</span>" for part in parts)


def _provenance() -> str:
    items = provenance().items()
    return "".join(
        f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in items
    )


def _asset(name: str) -> str:
    return resources.files("whydeep.report").joinpath("assets", name).read_text(encoding="utf-8")


def _fill(template: str, values: Mapping[str, str]) -> str:
    """Every ``{{name}}`` of the template, in one pass: what is put in is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def _json(value: object) -> str:
    """JSON that can stand inside a script element: no text in it can end the element."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
