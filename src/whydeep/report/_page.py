"""One self-contained HTML file: its parts, put together in memory."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from importlib import resources

from whydeep.report._provenance import provenance

__all__ = ["as_json", "asset", "fill", "provenance_list", "shell"]


def shell(title: str, style: str, content: str, state: str = "") -> str:
    """The file around a page's content: nothing in it may be loaded from anywhere.

    Args:
        title: text.
        style: the style sheet.
        content: of the body, HTML.
        state: class of the body.
    """
    values = {"title": html.escape(title), "style": style, "content": content, "state": state}
    return fill(asset("shell.html"), values)


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
