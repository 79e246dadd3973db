"""Kinds of words: one of several, a text, the path of a file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from whydeep.arguments._say import kind_of, label, refusal, shown

__all__ = ["choice", "choices", "file_path", "nearest", "text"]

_LONGEST_NAME = 255  # bytes, on every file system that is common
_MOST_NAMES = 1000
_MOST_COMPARED = 100  # letters


def choice(*words: str, other: str = "") -> Callable[[str, Any], str]:
    """The kind of one of these words.

    Args:
        *words: to choose from.
        other: what else is taken in their place, elsewhere: "a function of x".

    Example:
        >>> choice("float32", "float64")("dtype", "float16")
        Traceback (most recent call last):
            ...
        whydeep.errors.InputError: There is no dtype of this name.
          received: dtype='float16'
          needed:   "float32" or "float64"
          try:      "float64"
    """
    spelled = [f'"{word}"' for word in words]
    needed = " or ".join(spelled) if len(words) < 5 else f"one of {', '.join(spelled)}"
    needed += f", or {other}" if other else ""

    def check(name: str, value: Any) -> str:
        if isinstance(value, str):
            if value in words:
                return str(value)
            near = nearest(value, words)
            raise refusal(
                name, value, f"There is no {_one(label(name))} of this name.", needed,
                suggestion=f'"{near[0]}"' if near else "",
            )  # fmt: skip
        noun = _one(label(name))
        problem = f"{shown(value, 40)} is not {'an' if noun[0] in 'aeiou' else 'a'} {noun}."
        raise refusal(name, value, problem, needed)

    return check


def nearest(value: str, words: Iterable[str], most: int = 1) -> list[str]:
    """The words that a mistyped one may have meant, the likeliest first."""
    return difflib.get_close_matches(value[:_MOST_COMPARED], list(words), n=most)


def choices(words: Iterable[str]) -> Callable[[str, Any], tuple[str, ...]]:
    """The kind of one or several of these words, each once, in the order given."""
    one = choice(*words)

    def check(name: str, value: Any) -> tuple[str, ...]:
        if _is_single(value):
            return (one(name, value),)
        if not hasattr(value, "__len__"):
            value = [word for word, _ in zip(value, range(_MOST_NAMES), strict=False)]
        return tuple(dict.fromkeys(one(name, word) for word in value))

    return check


def _is_single(value: Any) -> bool:
    """Whether it is one thing, a word or none: arrays without dimensions can't be looped over."""
    if isinstance(value, (str, bytes, dict, type)) or getattr(value, "ndim", 1) == 0:
        return True
    return not hasattr(value, "__iter__")


def text(name: str, value: Any) -> str:
    """The kind of texts."""
    if isinstance(value, str):
        return value
    raise refusal(name, value, f"{label(name)} is not a text.", "a text")


def file_path(name: str, value: Any) -> Path:
    """The kind of names of files; whether one can be read or written is another question."""
    needed = "the name of a file: a text or a pathlib.Path"
    if not isinstance(value, (str, os.PathLike)):
        raise refusal(name, value, f"{label(name)} is not the name of a file.", needed)
    spelled = os.fspath(value)
    cause = ""
    if not isinstance(spelled, str):
        cause = f"it is {kind_of(spelled)}, not text"
    elif not spelled.strip():
        cause = "it is empty"
    elif "\0" in spelled:
        cause = "it contains a null character"
    else:
        encoded = max((os.fsencode(part) for part in Path(spelled).parts), key=len, default=b"")
        if len(encoded) > _LONGEST_NAME:
            cause = f"it is {len(encoded)} bytes long, and file systems hold {_LONGEST_NAME}"
    if cause:
        problem = f"{label(name)} is not the name of a file."
        raise refusal(name, spelled, problem, needed, cause=cause)
    return Path(spelled).expanduser()


def _one(name: str) -> str:
    """The noun for one of what an argument names: an observable, of `observables`."""
    if name == "name":
        return "choice"
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name
