"""Standard output for tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["output", "plain_table"]

# Where nobody looks (a pipe, a file), lines are not broken at 80 columns.
_WIDE = 200


def output() -> Console:
    """Standard output: as wide as the terminal, or wide where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)


def plain_table(**options: Any) -> Table:
    """A table without lines, its head bold.

    Args:
        options: more of rich's.
    """
    return Table(box=None, pad_edge=False, header_style="bold", **options)
