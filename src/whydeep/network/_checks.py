"""Checks of the numbers that descriptions hold."""

from __future__ import annotations

import math
import sys
from numbers import Integral, Real
from typing import Any

from whydeep.errors import InputError

__all__ = ["check_choice", "check_number", "check_whole", "is_traced"]


def is_traced(value: Any) -> bool:
    """Whether `value` is being differentiated or compiled by JAX, so that it has no number yet."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.core.Tracer)


def check_number(name: str, value: Any, *, positive: bool = False, signed: bool = False) -> Any:
    """`value` as a finite number >= 0 (> 0, or of any sign), or an `InputError`.

    What JAX traces passes unchanged: it is a number that is known only later.
    """
    if is_traced(value):
        return value
    needed = "a finite number" + (" > 0" if positive else "" if signed else " >= 0")
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{name} is not a number.", received=f"{name}={value!r}", needed=needed)
    number = float(value)
    if not math.isfinite(number) or (not signed and number < 0) or (positive and number == 0):
        raise InputError(
            f"{name} is out of range.", received=f"{name}={value!r}", needed=needed,
            cause="" if signed else "it is a variance or a rate, not a standard deviation with a "
            "sign",
        )  # fmt: skip
    return number


def check_whole(name: str, value: Any, *, least: int = 1) -> int:
    """`value` as a whole number >= `least`, or an `InputError`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise InputError(
            f"{name} must count something.",
            received=f"{name}={value!r}",
            needed=f"a whole number >= {least}",
        )
    return int(value)


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse what is not one of `choices`."""
    if value not in choices:
        raise InputError(
            f"There is no {name} of this name.",
            received=f"{name}={value!r}",
            needed=" or ".join(f'"{choice}"' for choice in choices),
        )
