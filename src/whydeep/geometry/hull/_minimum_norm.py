"""Wolfe's minimum-norm points of many queries at once.

A pass over all data is one matrix product for a batch of queries, and gives each the data points
that most oppose its direction p. The compiled part then goes on among those alone, so that some
ten passes are enough where adding one point a pass takes hundreds.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from whydeep.geometry.hull._active_set import INSIDE, OUTSIDE, RUNNING, STUCK, advance
from whydeep.progress import phase, progress_bar

__all__ = [
    "INSIDE",
    "OUTSIDE",
    "NearestPoints",
    "in_threads",
    "nearest_points",
]

_BATCH_BYTES = 1 << 28  # of factors and prices, in each thread
_MOST_QUERIES = 256
_PASSES = 400


@dataclass(frozen=True)
class NearestPoints:
    """What Wolfe's algorithm found, a row a query.

    Args:
        status: INSIDE, OUTSIDE, or another number where it did not come to an end.
        active: rows of the data points that carry weight, -1 beyond the last.
        weights: theirs, 0 beyond the last.
        differences: p, the nearest point reached minus the query.
    """

    status: np.ndarray
    active: np.ndarray
    weights: np.ndarray
    differences: np.ndarray


def nearest_points(
    data: np.ndarray, queries: np.ndarray, inside: float, threads: int
) -> NearestPoints:
    """Go towards the point of the hull of `data` nearest to each query, until the answer is known.

    Args:
        data: (N, r), about centred, of full rank.
        queries: (M, r).
        inside: |p| below which a query is in the hull.
        threads: how many.
    """
    n, r = data.shape
    room = r + 2
    radius = float(np.sqrt(np.max(np.einsum("ij,ij->i", data, data))))
    of_one = 8 * (n + room * room)
    size = int(max(1, min(_MOST_QUERIES, _BATCH_BYTES // of_one, -(-len(queries) // threads))))
    out = NearestPoints(
        np.zeros(len(queries), np.int64), np.full((len(queries), room), -1, np.int64),
        np.zeros((len(queries), room)), np.zeros((len(queries), r)),
    )  # fmt: skip

    def work(start: int) -> None:
        part = slice(start, start + size)
        _batch(data, queries[part], (inside, radius), out, part)

    in_threads(work, range(0, len(queries), size), threads, "nearest points of the hull")
    return out


def in_threads(work: Callable[[int], None], starts: range, threads: int, title: str) -> None:
    """Call `work` on every start, in threads, each with one thread of BLAS; a bar if it is long."""
    if len(starts) <= 1:
        for start in starts:
            with phase(title):
                work(start)
        return
    with (
        _controller().limit(limits=1, user_api="blas"),
        progress_bar(title, len(starts)) as step,
        ThreadPoolExecutor(threads) as pool,
    ):
        for _ in pool.map(work, starts):
            step()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes milliseconds, limiting them none


def _batch(
    data: np.ndarray, queries: np.ndarray, ends: tuple[float, float], out: NearestPoints,
    part: slice,
) -> None:  # fmt: skip
    """A batch of queries, from beginning to end, written to its rows of `out`."""
    (b, r), room = queries.shape, queries.shape[1] + 2
    active, counts = np.zeros((b, room), np.int64), np.zeros(b, np.int64)
    weights, status = np.zeros((b, room)), np.zeros(b, np.int64)
    differences = -queries  # towards the mean
    states = (active, weights, np.zeros((b, room, room)), np.zeros((b, room)), differences)
    candidates = int(min(len(data), max(16, r)))
    for _ in range(_PASSES):
        live = np.flatnonzero(status == RUNNING)
        if not len(live):
            break
        prices = differences[live] @ data.T
        advance(data, queries, live, prices, candidates, ends, states, counts, status)
    status[status == RUNNING] = STUCK
    beyond = np.arange(room) >= counts[:, None]
    out.status[part] = status
    out.active[part] = np.where(beyond, -1, active)
    out.weights[part] = np.where(beyond, 0.0, weights)
    out.differences[part] = differences
