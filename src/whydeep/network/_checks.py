"""Checks of the numbers that descriptions hold, for what is not declared with `takes`."""

from __future__ import annotations

from typing import Any

from whydeep import arguments
from whydeep.arguments import is_traced

__all__ = ["check_choice", "check_number", "check_whole", "is_traced"]


def check_number(name: str, value: Any, *, positive: bool = False, signed: bool = False) -> Any:
    """`value` as a finite number >= 0 (> 0, or of any sign), or an `InputError`."""
    if positive:
        return arguments.POSITIVE(name, value)
    return arguments.NUMBER(name, value) if signed else arguments.VARIANCE(name, value)


def check_whole(name: str, value: Any, *, least: int = 1) -> int:
    """`value` as a whole number >= `least`, or an `InputError`."""
    return arguments.count(least)(name, value)


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse what is not one of `choices`."""
    arguments.choice(*choices)(name, value)
