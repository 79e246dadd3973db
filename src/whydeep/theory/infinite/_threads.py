"""Blocks of a kernel matrix, shared out between threads.

Each thread takes the next block, multiplies its rows (BLAS, on one thread) and maps the products
while they are still in its cache. The compiled maps release the interpreter lock, so ordinary
threads are enough.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from whydeep.threads import on_threads, one_blas_thread

__all__ = ["Block", "run_blocks"]

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
        on_threads(count, work, lambda _: stop.set())
