"""How errors show what was given: shortly, whatever it is."""

from __future__ import annotations

from typing import Any

from whydeep.errors import InputError

__all__ = ["given", "kind_of", "label", "refusal", "shown"]

_MOST = 80


def shown(value: Any, most: int = _MOST) -> str:
    """A value in at most about `most` letters: an array by its shape, a long text by its length.

    Example:
        >>> shown("relu"), shown([1.5] * 1000, most=12)
        ("'relu'", '[1.5, 1. ... (a list of 1000)')
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and shape and dtype is not None:
        return f"an array {shape} of {dtype}"[: 2 * most]
    if isinstance(value, (str, bytes)) and len(value) > most:
        unit = "letters" if isinstance(value, str) else "bytes"
        return f"{value[: most // 2]!r} ... ({len(value)} {unit})"
    try:
        said = repr(value) if not isinstance(value, int) or abs(value) < 10**60 else "a huge number"
    except Exception:  # noqa: BLE001 -- a user's class may fail in any way
        said = f"a {kind_of(value)}"
    said = " ".join(said.split())
    if len(said) <= most:
        return said
    size = f"a {kind_of(value)}"
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        size += f" of {len(value)}"
    return f"{said[: most - 4].rstrip()} ... ({size})"


def given(name: str, value: Any) -> str:
    """``name=value``, or ``--name value`` where the name is that of an option."""
    if not name.startswith("--"):
        return f"{name}={shown(value)}"
    return f"{name} {value if isinstance(value, str) and len(value) <= _MOST else shown(value)}"


def label(name: str) -> str:
    """An argument or an option within a sentence."""
    return name.removeprefix("--")


def refusal(
    name: str, value: Any, problem: str, needed: str, *, cause: str = "", suggestion: str = ""
) -> InputError:
    """The error of one argument."""
    return InputError(
        problem, received=given(name, value), needed=needed, cause=cause, suggestion=suggestion
    )


def kind_of(value: Any) -> str:
    """The name of a value's type, with its module unless it is built in."""
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
