"""What numba compiles: kept on disk where a folder for it can be written, announced if it is slow.

`njit` is numba's, with three differences. Where nothing can be kept (a read-only installation and
no home, a full disk), functions are compiled in every process anew, and that is said once, instead
of an error. Compiling that takes longer than two seconds is announced, and loading never is.
"""

from __future__ import annotations

import functools
import pickle
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numba
from numba.core import event
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher

from whydeep.progress import phase

__all__ = ["njit"]

_ANEW = (
    "whydeep: compiled code can't be kept, so that every process compiles it anew: "
    "set NUMBA_CACHE_DIR to a folder that can be written"
)


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """``numba.njit``, whose ``cache=True`` is kept where it can be.

    Args:
        function: to be compiled; without one, a decorator is returned.
        options: numba's.

    Example:
        >>> @njit(nogil=True)
        ... def total(numbers):
        ...     found = 0.0
        ...     for number in numbers:
        ...         found += number
        ...     return found
        >>> import numpy as np
        >>> total(np.arange(4.0))
        6.0
    """
    if function is None:
        return functools.partial(njit, **options)
    cached = options.pop("cache", False)
    made: Any = numba.njit(**options)(function)
    if cached and isinstance(made, Dispatcher):  # NUMBA_DISABLE_JIT leaves functions as they are
        try:
            setattr(made, "_cache", _Cache(function))  # noqa: B010 -- as its enable_caching does
        except RuntimeError:  # numba found no folder that it can write
            _LISTENER.uncached.add(made)
    return made


class _Cache(FunctionCache):
    """Compiled code on disk; what can't be read is not there, what can't be written is not kept."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except (OSError, EOFError, pickle.UnpicklingError):
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:
            _LISTENER.say_once()


class _Listener(event.Listener):
    """Hears of every function when its compiling begins and ends; numba compiles one at a time."""

    def __init__(self) -> None:
        self.uncached: set[Any] = set()
        self.said = False
        self._open: list[AbstractContextManager[None]] = []
        self._depth = 0

    def on_start(self, event: Any) -> None:
        dispatcher = event.data["dispatcher"]
        name = dispatcher.py_func.__module__
        if not self._depth and not name.startswith("whydeep."):
            return
        self._depth += 1
        if self._depth > 1:
            return  # a function that another one calls
        if dispatcher in self.uncached:
            self.say_once()
        again = "in this process" if self.said else "once on this machine"
        showing = phase(f"compiling {name.rpartition('.')[0]}, {again}")
        showing.__enter__()
        self._open.append(showing)

    def on_end(self, event: Any) -> None:  # noqa: ARG002 -- numba's signature
        if self._depth:
            self._depth -= 1
            if not self._depth:
                self._open.pop().__exit__(None, None, None)

    def say_once(self) -> None:
        if not self.said:
            self.said = True
            print(_ANEW, file=sys.stderr, flush=True)  # noqa: T201


_LISTENER = _Listener()
event.register("numba:compile", _LISTENER)
