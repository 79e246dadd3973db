"""Options that hold more than one number, and a file that is to be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from whydeep.errors import InputError

__all__ = ["check_writable", "number_list"]


def number_list(
    option: str, text: str, convert: Callable[[str], float], words: tuple[str, ...] = ()
) -> Any:
    """One number, several separated by commas (a list), or a word that stands for numbers.

    Raises:
        InputError: anything else, naming the option.

    Example:
        >>> number_list("--weight-var", "1.5,2", float, ("critical",))
        [1.5, 2.0]
        >>> number_list("--weight-var", "critical", float, ("critical",))
        'critical'
    """
    if text.strip() in words:
        return text.strip()
    values = []
    for part in text.split(","):
        word = part.strip()
        try:
            values.append(convert(word))
        except ValueError:
            kind = "whole number" if convert is int else "number"
            others = "".join(f', or "{w}"' for w in words)
            raise InputError(
                f"{option} can't be read.",
                received=f"{option} {text!r}",
                needed=f"a {kind}, or one a layer separated by commas{others}",
                cause=f"{word!r} is not a {kind}" if word else "a number is missing",
            ) from None
    return values[0] if len(values) == 1 else values


def check_writable(path: Path, option: str) -> None:
    """Refuse a file that could not be written, before the work that it is to hold.

    Raises:
        InputError: a folder that does not exist or can't be written to, a path that is a folder.
    """
    folder = path.parent
    if path.is_dir():
        problem, needed = "The report can't be written over a folder.", "the name of a file"
    elif not folder.is_dir():
        problem, needed = (
            "The folder of the report does not exist.",
            f"an existing folder: {folder}",
        )
    elif not os.access(folder, os.W_OK | os.X_OK):
        problem, needed = "The folder of the report can't be written to.", "write permission"
    else:
        return
    raise InputError(
        problem,
        received=f"{option} {path}",
        needed=needed,
        suggestion="another --out, or --no-report",
    )
