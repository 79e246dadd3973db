"""Refuse before an allocation that can't fit."""

from __future__ import annotations

from whydeep import arguments

__all__ = ["check_memory"]


def check_memory(rows: int, columns: int, what: str) -> None:
    """An `InputError` where a float64 matrix of this size is larger than the free memory."""
    arguments.check_memory(
        8 * rows * columns, f"The matrices for {what}", suggestion="fewer inputs"
    )
