"""Threads of our own, with BLAS on one: one limit and one lock for the process."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

__all__ = ["on_threads", "one_blas_thread"]

_TURN = threading.RLock()
_ALLOWED: list[int] = []  # of whoever holds the turn


@contextmanager
def one_blas_thread() -> Iterator[int]:
    """BLAS, in the whole process, runs on one thread; gives how many it was allowed before.

    Calls from several threads take turns: each uses all the processors, and only the thread that
    set a limit may take it back. Inside one that it began, a thread is told the same number.

    What comes before our own threads belongs inside too: BLAS's threads wait for more work by
    spinning, and for tens of milliseconds take processors from ours.
    """
    with _TURN:
        if _ALLOWED:
            yield _ALLOWED[0]
            return
        blas = _controller().select(user_api="blas")
        allowed = [library["num_threads"] for library in blas.info()]
        with blas.limit(limits=1):
            _ALLOWED.append(max(allowed, default=os.cpu_count() or 1))
            try:
                yield _ALLOWED[0]
            finally:
                _ALLOWED.clear()


def on_threads(count: int, work: Callable[[], None], stop: Callable[[BaseException], None]) -> None:
    """Do the same work on this thread and on `count` - 1 others until all are done.

    Args:
        count: of threads, this one included.
        work: called once a thread.
        stop: called with the first error, here or there: it must make the others return.
    """
    if count <= 1:
        work()
        return
    with ThreadPoolExecutor(count - 1) as pool:
        others = [pool.submit(work) for _ in range(count - 1)]
        try:
            work()
            for other in others:
                other.result()
        except BaseException as error:
            stop(error)
            raise


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes milliseconds, limiting them none
