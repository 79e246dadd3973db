"""Refuse before an allocation that can't fit."""

from __future__ import annotations

from whydeep.errors import InputError
from whydeep.memory import available

__all__ = ["check_memory"]


def check_memory(rows: int, columns: int, what: str) -> None:
    """An `InputError` where a float64 matrix of this size is larger than the free memory."""
    needed, there = 8 * rows * columns, available()
    if needed > there:
        raise InputError(
            f"There is not enough memory for {what}.",
            received=f"{needed / 2**30:.1f} GiB of matrices",
            needed=f"less than the {there / 2**30:.1f} GiB that are free",
            suggestion="fewer inputs",
        )
