"""One self-contained HTML file: its parts, put together in memory and published in one step."""

from __future__ import annotations

import html
import json
import os
import re
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from whydeep.errors import InputError
from whydeep.report._figure import Group, Key
from whydeep.report._provenance import provenance

__all__ = ["as_json", "asset", "broken_command", "fill", "provenance_list", "publish", "section"]


def publish(path: Path, text: str) -> Path:
    """Write a file in one step: it is there whole, or as it was before.

    Raises:
        InputError: it can't be written.
    """
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


def section(group: Group) -> str:
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


def broken_command(command: str) -> str:
    """A command line that breaks between its options only."""
    parts = re.split(r" (?=--)", command)
    return " ".join(f"<span>{html.escape(part)}</span>" for part in parts)


def provenance_list() -> str:
    """Versions and machine, as HTML."""
    items = provenance().items()
    return "".join(
        f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in items
    )


def asset(name: str) -> str:
    """A file of the page."""
    return resources.files("whydeep.report").joinpath("assets", name).read_text(encoding="utf-8")


def fill(template: str, values: Mapping[str, str]) -> str:
    """Every ``{{name}}`` of the template, in one pass: what is put in is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def as_json(value: object) -> str:
    """JSON that can stand inside a script element: no text in it can end the element."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
