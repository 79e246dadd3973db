"""Blocks of a kernel matrix, shared out between threads.

Each thread takes the next block, multiplies its rows (BLAS, on one thread) and maps the products
while they are still in its cache. The compiled maps release the interpreter lock, so ordinary
threads are enough.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["Block", "one_blas_thread", "run_blocks"]

Block = tuple[int, int, int, int]
"""First row, row after the last, first column, column after the last."""


def blocks(rows: int, columns: int, tile: int, *, symmetric: bool) -> Iterator[Block]:
    """All blocks of a matrix, or those on and above its diagonal."""
    for i in range(0, rows, tile):
        for j in range(i if symmetric else 0, columns, tile):
            yield i, min(i + tile, rows), j, min(j + tile, columns)


def run_blocks(
    rows: int,
    columns: int,
    tile: int,
    make_worker: Callable[[], Callable[[Block], None]],
    *,
    symmetric: bool,
) -> None:
    """Run a worker on every block, in as many threads as BLAS is allowed.

    Args:
        rows: of the matrix.
        columns: of the matrix.
        tile: rows and columns of a block.
        make_worker: called once a thread; what it returns may keep scratch memory between blocks.
        symmetric: whether the worker mirrors what it computes.
    """
    remaining = blocks(rows, columns, tile, symmetric=symmetric)
    lock = threading.Lock()
    stop = threading.Event()

    def work() -> None:
        worker = make_worker()
        while not stop.is_set():
            with lock:
                block = next(remaining, None)
            if block is None:
                return
            worker(block)

    with one_blas_thread() as threads:
        count = min(threads, -(-rows // tile) * -(-columns // tile))
        if count <= 1:
            work()
            return
        with ThreadPoolExecutor(count - 1) as pool:
            others = [pool.submit(work) for _ in range(count - 1)]
            try:
                work()
                for other in others:
                    other.result()
            finally:
                stop.set()


class _Blas:
    """BLAS held to one thread while blocks run, and given back when the last of them is done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._threads = 1
        self._limit: Any = None

    @contextmanager
    def one_thread(self) -> Iterator[int]:
        """Gives the number of threads that BLAS was allowed before."""
        with self._lock:
            if self._users == 0:
                blas = _controller().select(user_api="blas")
                allowed = [library["num_threads"] for library in blas.info()]
                self._threads = max(allowed, default=os.cpu_count() or 1)
                self._limit = blas.limit(limits=1)
                self._limit.__enter__()
            self._users += 1
        try:
            yield self._threads
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._limit.__exit__(None, None, None)


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes milliseconds, limiting them none


_BLAS = _Blas()
one_blas_thread = _BLAS.one_thread
"""A context in which BLAS, in the whole process, runs on one thread."""
