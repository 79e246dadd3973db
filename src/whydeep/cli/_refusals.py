"""How a command ends early: refused input, an interrupt, and what is said about it where."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from whydeep.cli._options import in_options
from whydeep.errors import WhydeepError

__all__ = ["BAD_INPUT", "INTERRUPTED", "answer_early_end", "refusals"]

BAD_INPUT = 2
INTERRUPTED = 130

_INTERRUPTED = {"type": "Interrupted", "problem": "Interrupted; nothing was written."}

_answered = False


@contextmanager
def refusals(*, as_json: bool) -> Iterator[None]:
    """Turn refused input into a message and exit status 2, an interrupt into a line and 130.

    The message goes to standard error; with `as_json` the same goes to standard output as one
    document ``{"error": {...}}``.
    """
    try:
        yield
    except WhydeepError as found:
        error = in_options(found)
        print(f"whydeep: {error}", file=sys.stderr)  # noqa: T201
        if as_json:
            _answer(
                {
                    "type": type(error).__name__,
                    "problem": error.problem,
                    "received": error.received,
                    "needed": error.needed,
                    "cause": error.cause,
                    "suggestion": error.suggestion,
                }
            )
        raise typer.Exit(BAD_INPUT) from None
    except KeyboardInterrupt:
        print("\nwhydeep: interrupted; nothing was written", file=sys.stderr)  # noqa: T201
        if as_json:
            _answer(_INTERRUPTED)
        raise typer.Exit(INTERRUPTED) from None


def answer_early_end(status: object) -> None:
    """The document for what ended before a command began: bad options, an interrupt.

    The parser explains itself on standard error.
    """
    if _answered:
        return
    if status == BAD_INPUT:
        _answer({"type": "UsageError", "problem": "Bad options: see the message on stderr."})
    elif status == INTERRUPTED:
        _answer(_INTERRUPTED)


def _answer(error: dict[str, str]) -> None:
    global _answered  # noqa: PLW0603 -- one process answers once
    _answered = True
    typer.echo(json.dumps({"error": error}, indent=2, ensure_ascii=False))
