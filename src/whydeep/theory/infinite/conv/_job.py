"""Pairs of images through compiled code: how images are stored, what a thread needs, the blocks."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import check_memory
from whydeep.progress import progress_bar
from whydeep.theory.infinite._threads import Block, run_blocks
from whydeep.theory.infinite.conv._layout import LANES, Plan
from whydeep.threads import processors

__all__ = ["Means", "means"]

_READY: set[np.dtype] = set()
_LOCK = threading.Lock()
_BLOCK_WORK = 4e6  # numbers handled in a block of pairs: a few milliseconds
_LONG_WORK = 4e9  # from here on progress is shown: some seconds
_LARGEST_TILE = 32


@dataclass(frozen=True)
class Means:
    """What the last level leaves of pairs of images, averaged over positions.

    Args:
        nngp: covariance, (N1, N2).
        ntk: tangent kernel, (N1, N2), or None.
        nearest: smallest 1 - cos of the angle between two different images; infinite without any.
    """

    nngp: np.ndarray
    ntk: np.ndarray | None
    nearest: float


def means(
    plan: Plan, x1: np.ndarray, x2: np.ndarray | None, *, ntk: bool, dtype: np.dtype
) -> Means:
    """The pairs of N1 images (N1, H, W, C) and N2, or of N1 with themselves.

    Equal images are one image: their covariances are those of an image with itself, exact where
    positions coincide.

    Raises:
        InputError: the images are too large for the memory there is.
    """
    everything = x1 if x2 is None else np.concatenate([x1, x2])
    distinct, numbers = _distinct(everything)
    run = _Run(plan, everything[distinct], ntk=ntk, dtype=dtype)
    run.compile()
    own = np.zeros((len(distinct), 2))
    run.alone(own)
    if x2 is None:
        found = run.pairs(np.arange(len(distinct)), None, own)
        rows = columns = numbers
    else:
        first, rows = np.unique(numbers[: len(x1)], return_inverse=True)
        second, columns = np.unique(numbers[len(x1) :], return_inverse=True)
        found = run.pairs(first, second, own)
    if found.nngp.shape == (len(rows), len(columns)) and x2 is None:
        return found
    spread = np.ix_(rows, columns)
    tangent = None if found.ntk is None else found.ntk[spread]
    return Means(found.nngp[spread], tangent, found.nearest)


class _Run:
    """Distinct images as compiled code reads them, and calls of it.

    Args:
        plan: of the network.
        x: distinct images (U, H, W, C), float64.
        ntk: whether the tangent kernel is wanted.
        dtype: to compute in.
    """

    def __init__(self, plan: Plan, x: np.ndarray, *, ntk: bool, dtype: np.dtype) -> None:
        from whydeep.theory.infinite.conv._diagonals import Settings

        self.plan, self.ntk, self.dtype = plan, ntk, dtype
        front = int(2 * plan.levels["stride"].max()) + LANES  # shifted rows may begin before it
        self.settings = Settings(
            front,
            plan.image_size,
            ntk,
            dtype.type(1.0 / plan.channels),
            dtype.type(4.0 * np.finfo(dtype).eps),
        )
        self.room = _room(plan)
        _check_memory(2 * front + len(x) * plan.image_size, self.room.end, dtype)
        self.images = np.zeros(2 * front + len(x) * plan.image_size, dtype)
        self._store(_pooled(x, plan.prepool), front)
        self.norms = np.linalg.norm(self.pixels, axis=1)

    def _store(self, x: np.ndarray, front: int) -> None:
        level = self.plan.levels[0]
        count, height, width, channels = x.shape
        planes = self.images[front : front + count * self.plan.image_size].reshape(count, -1)
        self.pixels = planes[:, : channels * level["plane"]]
        planes = self.pixels.reshape(count, channels, height, level["stride"])
        inset = level["margin"] if level["circular"] else 0
        planes[..., inset : inset + width] = np.moveaxis(x, -1, 1)

    def compile(self) -> None:
        """Run no pair first, so that what must be compiled is compiled once."""
        with _LOCK:
            if self.dtype not in _READY:
                nothing = np.zeros(0, np.int64)
                self.caller()(nothing, nothing)
                _READY.add(self.dtype)

    def caller(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """For one thread: numbers of pairs of images to their means (pairs, 2)."""
        from whydeep.theory.infinite.conv._diagonals import run_pairs

        plan = self.plan
        work = np.zeros(self.room.end, self.dtype)

        def call(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            out = np.zeros((len(first), 2))
            run_pairs(
                first, second, out, self.images, plan.levels, plan.operations, plan.runs,
                plan.run_index, plan.masks, work, self.room, self.settings,
            )  # fmt: skip
            return out

        return call

    def alone(self, own: np.ndarray) -> None:
        """Every image with itself, which leaves its variances for the pairs."""

        def worker() -> Callable[[Block], None]:
            call = self.caller()

            def block(place: Block) -> None:
                numbers = np.arange(place[0], place[1])
                own[numbers] = call(numbers, numbers)

            return block

        tile = self._tile(len(own))
        run_blocks(len(own), 1, tile * tile, worker, symmetric=False)

    def pairs(self, rows: np.ndarray, columns: np.ndarray | None, own: np.ndarray) -> Means:
        """Images ``rows`` with images ``columns``, or with each other."""
        symmetric = columns is None
        right = rows if columns is None else columns
        nngp = np.empty((len(rows), len(right)), self.dtype)
        tangent = np.empty_like(nngp) if self.ntk else None
        nearest = [math.inf]
        total = self.plan.work * nngp.size
        tile = self._tile(max(nngp.shape))
        count = -(-len(rows) // tile) * -(-len(right) // tile)
        title = "convolutional kernels"
        showing = progress_bar(title, count) if total > _LONG_WORK else nullcontext(lambda: None)

        def worker() -> Callable[[Block], None]:
            call = self.caller()

            def block(place: Block) -> None:
                i, j = np.mgrid[place[0] : place[1], place[2] : place[3]].reshape(2, -1)
                if symmetric:
                    i, j = i[i <= j], j[i <= j]
                first, second = rows[i], right[j]
                values = own[first]
                other = first != second
                values[other] = call(first[other], second[other])
                nearest.append(self._nearest(first[other], second[other]))
                for k, out in enumerate((nngp, tangent)):
                    if out is not None:
                        out[i, j] = values[:, k]
                        if symmetric:
                            out[j, i] = values[:, k]
                advance()
                if symmetric and place[0] != place[2]:
                    advance()

            return block

        with showing as advance:
            run_blocks(*nngp.shape, tile, worker, symmetric=symmetric)
        return Means(nngp, tangent, min(nearest))

    def _nearest(self, first: np.ndarray, second: np.ndarray) -> float:
        norms = self.norms[first] * self.norms[second]
        if not self.ntk or not np.any(norms > 0):
            return math.inf
        a, first = np.unique(first, return_inverse=True)
        b, second = np.unique(second, return_inverse=True)
        products = (self.pixels[a] @ self.pixels[b].T)[first, second]
        return 1.0 - float(np.max(products[norms > 0] / norms[norms > 0]))

    def _tile(self, most: int) -> int:
        """Pairs of a block are tile^2: some milliseconds, and several blocks a thread."""
        fits = math.isqrt(max(1, int(_BLOCK_WORK / self.plan.work)))
        return max(1, min(fits, _LARGEST_TILE, -(-most // 8)))


def _distinct(x: np.ndarray) -> tuple[list[int], np.ndarray]:
    """First of each kind of equal images, and for each image the number of its kind."""
    kinds: dict[bytes, int] = {}
    numbers = np.empty(len(x), np.int64)
    firsts = []
    for n, image in enumerate(x):
        # Adding 0 makes -0 and 0 one number.
        name = hashlib.blake2b((image + 0.0).tobytes(), digest_size=16).digest()
        if name not in kinds:
            firsts.append(n)
        numbers[n] = kinds.setdefault(name, len(kinds))
    return firsts, numbers


def _pooled(x: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Averages over windows of the images themselves."""
    (high, wide), (count, height, width, channels) = window, x.shape
    if window == (1, 1):
        return x
    kept = x[:, : height // high * high, : width // wide * wide]
    shape = count, height // high, high, width // wide, wide, channels
    return kept.reshape(shape).mean(axis=(2, 4))


def _room(plan: Plan) -> Any:
    """Where things stand in a thread's working array."""
    from whydeep.theory.infinite.conv._diagonals import Room

    levels = plan.levels
    border = int((levels["margin"] * (levels["stride"] + 1)).max())
    plane = int(levels["plane"].max()) + LANES
    line = 2 * border + plane  # a diagonal between what stands beyond its borders
    sizes = {
        **dict.fromkeys(("k", "theta", "sums"), line),
        **dict.fromkeys(("first", "second"), plan.side_size),
        **dict.fromkeys(("first_mask", "second_mask"), plane),
        "totals": 4 * plane,
        **dict.fromkeys(("pooled", "pooled_theta"), plan.pooled_size),
    }
    begins = np.cumsum([border, *sizes.values()]).tolist()
    return Room(*begins[:-1], end=begins[-1])


def _check_memory(stored: int, scratch: int, dtype: np.dtype) -> None:
    """Refuse before an allocation that can't fit."""
    needed = (stored + scratch * processors()) * dtype.itemsize
    check_memory(
        needed, "The images and the covariances of their pooled positions",
        suggestion='smaller images, fewer of them, a larger pooling first, or dtype="float32"',
    )  # fmt: skip
