"""The errors whydeep raises on purpose: what came, what is needed, why, and what to try.

Everything a user can get wrong ends here, at the public boundary, before any work is done.
Both classes derive from the built-in error that a Python programmer would expect, so that
``except ValueError`` and ``except NotImplementedError`` keep working.
"""

from __future__ import annotations

__all__ = ["InputError", "UnsupportedError", "WhydeepError"]

_MOST_LETTERS = 1000


class WhydeepError(Exception):
    """Base class: one sentence of what is wrong, and labelled lines that help to mend it.

    Args:
        problem: what is wrong, in one sentence.
        received: what whydeep was given.
        needed: what it can work with.
        cause: the likely reason.
        suggestion: the next call to try.

    Example:
        >>> print(InputError("A variance is negative.", received="weight_var=-1.0",
        ...                  needed="a number >= 0"))
        A variance is negative.
          received: weight_var=-1.0
          needed:   a number >= 0
    """

    def __init__(
        self,
        problem: str,
        *,
        received: str = "",
        needed: str = "",
        cause: str = "",
        suggestion: str = "",
    ) -> None:
        self.problem = _shortened(problem)
        self.received = _shortened(received)
        self.needed = needed
        self.cause = _shortened(cause)
        self.suggestion = _shortened(suggestion)
        labelled = (
            ("received", self.received),
            ("needed", needed),
            ("cause", self.cause),
            ("try", self.suggestion),
        )
        lines = [self.problem, *(f"  {label + ':':<9} {text}" for label, text in labelled if text)]
        super().__init__("\n".join(lines))


def _shortened(text: str) -> str:
    """Both ends of what is too long to be read: what a user gave can have any length."""
    if len(text) <= _MOST_LETTERS:
        return text
    half = _MOST_LETTERS // 2
    return f"{text[:half]} ... ({len(text) - 2 * half:,} letters left out) ... {text[-half:]}"


class InputError(WhydeepError, ValueError):
    """The input can't be used: a wrong shape, a bad number, an unknown name, an unreadable file."""


class UnsupportedError(WhydeepError, NotImplementedError):
    """The question has no answer: the quantity does not exist, or the theory does not cover it."""
