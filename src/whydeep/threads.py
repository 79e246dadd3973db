"""BLAS on one thread while threads of our own run: one limit and one lock for the process."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread"]

_TURN = threading.RLock()


@contextmanager
def one_blas_thread() -> Iterator[int]:
    """BLAS, in the whole process, runs on one thread; gives how many it was allowed before.

    Calls from several threads take turns: each uses all the processors, and only the thread that
    set a limit may take it back.
    """
    with _TURN:
        blas = _controller().select(user_api="blas")
        allowed = [library["num_threads"] for library in blas.info()]
        with blas.limit(limits=1):
            yield max(allowed, default=os.cpu_count() or 1)


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes milliseconds, limiting them none
