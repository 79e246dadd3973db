"""Standard output that nobody reads to its end: `whydeep list | head -1`."""

from __future__ import annotations

import os
from typing import Any, TextIO

__all__ = ["QuietPipe"]


class QuietPipe:
    """A stream whose reader may leave: what is written from then on goes nowhere.

    The command ends as it would have, with its own exit status.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or drop what nobody reads."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        """Flush, or drop what nobody reads."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
