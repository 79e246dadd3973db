"""Processors and threads: how many there are for this process, and BLAS on one of them."""

from __future__ import annotations

import functools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from threadpoolctl import ThreadpoolController

from whydeep.memory import control_groups

__all__ = ["on_threads", "one_blas_thread", "processors"]

_TURN = threading.RLock()
_ALLOWED: list[int] = []  # of whoever holds the turn


def processors(root: Path = Path("/")) -> int:
    """How many processors this process may keep busy, at least 1.

    The smallest of what the machine has, what the process is bound to (``taskset``, batch systems),
    and the share of time that its control groups leave it (containers), rounded up.

    Args:
        root: where the system's ``proc`` and ``sys`` are.

    Source: Linux, sched_setaffinity(2); admin-guide/cgroup-v2.rst (cpu.max) and
    scheduler/sched-bwc.rst (cpu.cfs_quota_us, cpu.cfs_period_us).

    Example:
        >>> processors() >= 1
        True
    """
    bound = getattr(os, "sched_getaffinity", None)  # not on every system
    return min(len(bound(0)) if bound else os.cpu_count() or 1, _share(root))


@functools.cache
def _share(root: Path) -> int:
    """How many processors control groups leave: read once, as it takes a hundred microseconds."""
    most = sys.maxsize
    for folder, version in control_groups(root, "cpu"):
        names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        try:
            texts = [(folder / name).read_text(encoding="ascii") for name in names]
            quota, period = (int(word) for word in " ".join(texts).split())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if quota > 0 and period > 0:  # -1 in the first version: no limit
            most = min(most, math.ceil(quota / period))
    return most


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
            _ALLOWED.append(max(allowed, default=processors()))
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
