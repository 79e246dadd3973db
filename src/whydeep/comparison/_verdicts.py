"""The three verdicts: which is worse, and how they look on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["SEVERITY", "coloured", "worst_verdict"]

SEVERITY = ("agrees", "not resolved", "disagrees")
"""Verdicts, the worst last."""

_STYLES = {
    "agrees": "green",
    "not resolved": "yellow",
    "disagrees": "bold red",
    "reported": "dim",  # of a number that is not judged
}


def worst_verdict(verdicts: Iterable[str]) -> str:
    """The worst of the verdicts, which is that of the whole; what is only reported does not count.

    Example:
        >>> worst_verdict(["agrees", "not resolved", "reported"])
        'not resolved'
        >>> worst_verdict([])
        'agrees'
    """
    return max((v for v in verdicts if v in SEVERITY), key=SEVERITY.index, default="agrees")


def coloured(verdict: str, text: str = "") -> str:
    """A text in the colour of a verdict, or the verdict itself, in the markup of rich.

    Example:
        >>> coloured("agrees"), coloured("disagrees", "2 of 3 rows")
        ('[green]agrees[/]', '[bold red]2 of 3 rows[/]')
    """
    return f"[{_STYLES[verdict]}]{text or verdict}[/]"
