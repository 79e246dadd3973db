"""The tangent kernel block by block: memory that does not grow, symmetric blocks once."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import check_memory
from whydeep.ensemble.tangent._contract import contract
from whydeep.ensemble.tangent._features import Features
from whydeep.ensemble.tangent._terms import Term
from whydeep.errors import UnsupportedError

__all__ = ["Side", "assembled", "block_sizes"]

# Of the features of one block, and of those of all blocks that are kept for another use.
_BLOCK_BYTES = 128 << 20
_KEPT_BYTES = 1 << 30
# Fewer examples are quicker than more once their features outgrow a processor's cache.
_CACHE_BYTES = 16 << 20
# Rows of a block of the kernel: few enough to leave out half of the rest, enough to be quick.
_ROWS = 512


@dataclass(frozen=True, eq=False)
class Side:
    """One set of examples.

    Args:
        count: how many.
        features: of the examples and the outputs of two slices, padded to a block's size.
    """

    count: int
    features: Callable[[slice, slice], Features]


def block_sizes(
    count: int, size: int, alone: int, an_output: int, outputs: str, batch: int | None
) -> tuple[int, int]:
    """Examples and outputs of a block.

    Args:
        count: of examples.
        size: of outputs.
        alone: bytes of an example's features at least.
        an_output: more for each output.
        outputs: "full", "trace" or "diagonal".
        batch: examples, if the caller says so.
    """
    together = min(size, max(1, (_BLOCK_BYTES - alone) // max(an_output, 1)))
    if batch is None:
        rows = max(1, _ROWS // together) if outputs == "full" else _ROWS
        each = max(alone + together * an_output, 1)
        batch = min(rows, max(1, min(_BLOCK_BYTES, _CACHE_BYTES) // each))
        batch = math.ceil(count / math.ceil(count / batch))
    else:
        batch = min(batch, count)
    return batch, math.ceil(size / math.ceil(size / together))


def assembled(
    left: Side,
    right: Side | None,
    size: int,
    block: tuple[int, int],
    block_bytes: int,
    rates: dict[int, Any],
    terms: tuple[Term, ...],
    labels: tuple[int, ...],
    groups: int,
    outputs: str,
    dtype: Any,
) -> list[np.ndarray]:
    """The whole kernel, one array a group: (N1, C, N2, C), (N1, N2) or (N1, N2, C).

    Args:
        left: examples.
        right: others; None: the same.
        size: of outputs, C.
        block: examples and outputs of a block.
        block_bytes: of one block's features.
        rates: of leaves.
        terms: of the plan.
        labels: of the terms.
        groups: how many labels there are.
        outputs: "full", "trace" or "diagonal".
        dtype: of the kernel.
    """
    other = right or left
    shape = {
        "full": (left.count, size, other.count, size),
        "trace": (left.count, other.count),
        "diagonal": (left.count, other.count, size),
    }[outputs]
    check_memory(
        groups * math.prod(shape) * np.dtype(dtype).itemsize + 4 * block_bytes,
        "The tangent kernels of these examples",
        received=f"{left.count:,} x {other.count:,} examples, {size:,} outputs each",
        suggestion='outputs="trace", fewer examples at a time, or whydeep.tangent_operator, which '
        "forms no matrix",
    )  # fmt: skip
    kernels = [np.zeros(shape, dtype) for _ in range(groups)]
    ranges = [_slices(side.count, block[0]) for side in (left, other)]
    parts = _slices(size, block[1])
    number = len(parts) * (len(ranges[1]) + (0 if right is None else len(ranges[0])))
    stores = [_Store(side, keep=number * block_bytes <= _KEPT_BYTES) for side in (left, other)]
    if right is None:
        stores[1] = stores[0]
    waiting: deque[tuple[Any, list[Any]]] = deque()
    first: Any = None
    held: tuple[slice, slice] | None = None
    for place in _places(ranges, parts, outputs, symmetric=right is None):
        rows, outs, columns, others = place
        if held != (rows, outs):
            first, held = stores[0](rows, outs), (rows, outs)
        same = right is None and held == (columns, others)
        second = first if same else stores[1](columns, others)
        found = contract(first, second, rates, terms=terms, labels=labels, outputs=outputs)
        waiting.append((place, found))
        if len(waiting) > 2:  # the next ones are computed while this one is copied
            _put(kernels, *waiting.popleft(), outputs, symmetric=right is None)
    while waiting:
        _put(kernels, *waiting.popleft(), outputs, symmetric=right is None)
    return kernels


def _slices(count: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _places(
    ranges: Sequence[list[slice]], parts: list[slice], outputs: str, *, symmetric: bool
) -> Iterator[tuple[slice, slice, slice, slice]]:
    """Rows, their outputs, columns and their outputs, of every block that is computed."""
    lefts = list(itertools.product(ranges[0], parts))
    rights = list(itertools.product(ranges[1], parts))
    for k, (rows, outs) in enumerate(lefts):
        for columns, others in rights[k:] if symmetric else rights:
            if outputs == "full" or outs == others:
                yield rows, outs, columns, others


class _Store:
    """Features of blocks, kept for another use if there is room."""

    def __init__(self, side: Side, *, keep: bool) -> None:
        self.side = side
        self.keep = keep
        self.found: dict[tuple[int, int], Features] = {}

    def __call__(self, rows: slice, outs: slice) -> Features:
        key = (rows.start, outs.start)
        if key not in self.found:
            features = self.side.features(rows, outs)
            if not self.keep:
                return features
            self.found[key] = features
        return self.found[key]


def _put(
    kernels: list[np.ndarray], place: Any, blocks: list[Any], outputs: str, *, symmetric: bool
) -> None:
    rows, outs, columns, others = place
    mirrored = symmetric and (rows, outs) != (columns, others)
    for kernel, block in zip(kernels, blocks, strict=False):  # the last groups may have no term
        array = np.asarray(block)
        if array.ndim == 0:
            continue
        if not np.all(np.isfinite(array)):
            raise UnsupportedError(
                "The tangent kernel overflows, or is not a number.",
                received="values or derivatives that are not finite",
                suggestion="parameters and inputs of smaller scale, or in float64",
            )
        lengths = [s.stop - s.start for s in (rows, outs, columns, others)]
        if outputs == "full":
            array = array[: lengths[0], : lengths[1], : lengths[2], : lengths[3]]
            turned = array.transpose(2, 3, 0, 1)
            here = (rows, outs, columns, others)
            there = (columns, others, rows, outs)
        else:
            array = array[: lengths[0], : lengths[2]]
            here, there = (rows, columns), (columns, rows)
            if outputs == "diagonal":
                array = array[..., : lengths[1]]
                here, there = (*here, outs), (*there, outs)
            turned = array.swapaxes(0, 1)
        if symmetric and not mirrored:
            array = (array + turned) / 2
        kernel[here] += array
        if mirrored:
            kernel[there] += turned
