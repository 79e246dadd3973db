"""What the pages of benchmarks share: tables, the machine they ran on, how they are written.

The peers' environments import this too: nothing here needs more than Python's own library until a
table is shown.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor():
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine():
    """Processor and Python."""
    return f"{processor()}, Python {platform.python_version()}"


def versions_of(sides):
    """Names and versions that any of the sides reported, in order of names."""
    versions = {}
    for side in sides:
        versions |= side
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def load_average(before):
    """How busy the machine was over a minute, before the benchmark and now."""
    return f"load average {before:.2f} before and {os.getloadavg()[0]:.2f} after"


def markdown(head, rows, left=1):
    """Lines of a table whose first columns, `left` of them, are words and the others numbers."""
    return [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * left + " ---: |" * (len(head) - left),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def show(head, rows, title, width=120):
    """Print a table with a frame, as wide as the terminal or at least `width`."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(*head, title=title)
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows:
        shown.add_row(*row)
    Console(width=max(width, Console().width)).print(shown)


def show_columns(head, rows, left=1):
    """Print a table of any width, the first columns to the left and the others to the right."""
    widths = [max(len(r[k]) for r in (head, *rows)) for k in range(len(head))]
    for row in (head, *rows):
        words = (cell.ljust(w) for cell, w in zip(row[:left], widths[:left], strict=True))
        numbers = (cell.rjust(w) for cell, w in zip(row[left:], widths[left:], strict=True))
        print("  ".join((*words, *numbers)))


def write_page(path, text):
    """Write a page of the documentation, and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    here = Path.cwd()
    print(f"written: {path.relative_to(here) if path.is_relative_to(here) else path}")
