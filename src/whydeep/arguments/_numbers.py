"""Kinds of single numbers: real ones, whole ones, seeds, yes or no."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np

from whydeep.arguments._names import choice
from whydeep.arguments._say import label, refusal

__all__ = [
    "COUNT",
    "DEPTH",
    "DTYPE",
    "FLAG",
    "NUMBER",
    "ORDER",
    "POSITIVE",
    "RATE",
    "SEED",
    "VARIANCE",
    "count",
    "is_traced",
    "number",
]

_MOST_COUNTED = 2**63 - 1  # what an int64 holds


def is_traced(value: Any) -> bool:
    """Whether `value` is being differentiated or compiled by JAX, so that it has no number yet."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.core.Tracer)


def number(
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    infinite: bool = False,
    cause: str = "",
) -> Callable[[str, Any], Any]:
    """The kind of finite real numbers in a range; what JAX traces passes unchanged.

    Args:
        least: the smallest that is taken.
        above: what every number must exceed.
        most: the largest that is taken.
        below: what no number may reach.
        infinite: whether positive infinity is taken too.
        cause: of a number out of range, if it is likely always the same.

    Example:
        >>> number(above=0)("noise", 2)
        2.0
        >>> number(above=0)("noise", -1)
        Traceback (most recent call last):
            ...
        whydeep.errors.InputError: noise is out of range.
          received: noise=-1
          needed:   a finite number > 0
    """
    ends = ((">=", least), (">", above), ("<=", most), ("<", below))
    limits = [f"{sign} {value:g}" for sign, value in ends if value is not None]
    needed = " ".join([f"a {'' if infinite else 'finite '}number", " and ".join(limits)]).strip()

    def check(name: str, value: Any) -> Any:
        if type(value) is not float:
            if is_traced(value):
                return value
            value = _scalar(value)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise refusal(name, value, f"{label(name)} is not a number.", needed)
        try:
            found = float(value)
        except OverflowError:
            raise refusal(name, value, f"{label(name)} is too large.", needed) from None
        right = (math.isfinite(found) or (infinite and found > 0)) and (
            (least is None or found >= least)
            and (above is None or found > above)
            and (most is None or found <= most)
            and (below is None or found < below)
        )
        if not right:
            raise refusal(name, value, f"{label(name)} is out of range.", needed, cause=cause)
        return found

    return check


def count(
    least: int = 1, most: int = _MOST_COUNTED, *, cause: str = ""
) -> Callable[[str, Any], int]:
    """The kind of whole numbers from `least` to `most`.

    Args:
        least: the smallest.
        most: the largest.
        cause: why there are none beyond it.

    Example:
        >>> count()("draws", 0)
        Traceback (most recent call last):
            ...
        whydeep.errors.InputError: draws must count something.
          received: draws=0
          needed:   a whole number >= 1
    """
    needed = f"a whole number >= {least}"
    if most < _MOST_COUNTED:
        needed = f"a whole number from {least} to {most}"

    def check(name: str, value: Any) -> int:
        if type(value) is not int:
            value = _scalar(value)
            if isinstance(value, bool) or not isinstance(value, Integral):
                whole = isinstance(value, float) and value.is_integer()
                point = "a whole number is written without a point" if whole else ""
                raise refusal(
                    name, value, f"{label(name)} is not a whole number.", needed, cause=point
                )
            value = int(value)
        if value < least:
            what = "must count something" if least == 1 else "is too small"
            raise refusal(name, value, f"{label(name)} {what}.", needed)
        if value > most:
            limit = "" if most < _MOST_COUNTED else f", <= {most}"
            raise refusal(name, value, f"{label(name)} is too large.", needed + limit,
                          cause=cause)  # fmt: skip
        return value

    return check


def _scalar(value: Any) -> Any:
    """The number of an array without dimensions; a masked one has none."""
    if getattr(value, "ndim", None) == 0 and not isinstance(value, np.ma.MaskedArray):
        try:
            return value.item()
        except Exception:  # noqa: BLE001 -- a lazy or symbolic value: not a number
            return value
    return value


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise refusal(name, value, f"{label(name)} is neither true nor false.", "True or False")


NUMBER = number()
POSITIVE = number(above=0)
VARIANCE = number(least=0, cause="it is a variance, not a standard deviation with a sign")
RATE = number(least=0, cause="a rate has no sign")
COUNT = count()
DEPTH = count(1, 1_000_000)  # layers: a network of a million is made in half a minute
ORDER = count(0, 1, cause="corrections are known to the first order in 1/width")
SEED = count(0)
FLAG = _flag
DTYPE = choice("float32", "float64")
