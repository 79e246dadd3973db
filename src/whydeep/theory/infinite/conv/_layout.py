"""Where compiled code finds the numbers of a convolutional network and of its images.

A diagonal of the covariance, all pairs of positions of one displacement, is stored in rows. For
"SAME" padding a row holds displacement dx and then dx - width, with ``margin`` zeros behind each;
as pairs of columns

    (0, dx) .. (width - dx - 1, width - 1)  0 .. 0  (width - dx, 0) .. (width - 1, dx - 1)  0 .. 0

so that all rows are equally long. For "CIRCULAR" padding columns wrap around without a gap, and
``margin`` copies stand before and after. Where displacement 0 is all that is needed, a "SAME" row
has one gap.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from whydeep.theory.infinite.conv._levels import Level, ReadoutStep, Step, make_levels, make_radii

__all__ = ["LANES", "Plan", "make_plan"]

LANES = 32  # passes run over whole groups of so many numbers
_SLACK = 2 * LANES

# Whole numbers of a level:
#   stride, margin          as above
#   plane                   height * stride: numbers of one quantity of an image
#   planes, channels        such quantities, and those of them that are pixels
#   image                   where the level begins in an image's numbers
#   radius_*, window_*      displacements needed; the pooling's window
#   first, last             operations
#   pooled_*, blocks_*      pooled positions, and displacements kept of them
#   pooled, pooled_stride   where their covariance begins in a thread's memory, and its rows
#   runs, masks             where the level's parts of `Plan.run_index` and `Plan.masks` begin
_LEVEL = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("height", "width", "stride", "margin", "circular", "plane", "planes", "channels"),
            *("image", "radius_y", "radius_x", "window_y", "window_x", "first", "last"),
            *("pooled_y", "pooled_x", "blocks_y", "blocks_x", "pooled", "pooled_stride"),
            *("runs", "masks"),
        )
    ]
)


def _operation_type(dtype: np.dtype) -> np.dtype:
    """Weights are divided by the number of positions in the window, slopes are combined.

    bend = (a+ - a-)^2 / 2 pi, plus = (a+^2 + a-^2) / 2, minus = a+ a-; kink counts activations in
    the level, and is -1 where there is none; fresh says that the tangent kernel before it is zero.
    """
    whole = [(name, np.int64) for name in ("half", "kink", "fresh")]
    names = ("bias", "weight", "bias_lr", "weight_lr", "bend", "plus", "minus")
    return np.dtype(whole + [(name, dtype) for name in names])


@dataclass(frozen=True)
class Plan:
    """What compiled code needs to know; it reads records by their names.

    Args:
        prepool: window by which the images themselves are averaged first.
        levels: one record a level, see `_LEVEL`.
        operations: one record an operation of all levels in order, see `_operation_type`.
        runs: (start, length, target), flat: columns of a row that add up to one pooled pair.
        run_index: where the runs of each level and displacement dx begin, in threes.
        masks: which rows of a diagonal belong to the nearer pooled displacement, for each rest of
            dy in the window.
        channels: of the images.
        image_size: numbers of an image: its pixels, and at each activation the roots of the
            variances and their inverses.
        side_size: those of one level, shifted.
        pooled_size: the covariance of pooled positions of all levels.
        work: numbers handled a pair, about.
        nonlinear: number of activations.
        readout: the last layer.
    """

    prepool: tuple[int, int]
    levels: np.ndarray
    operations: np.ndarray
    runs: np.ndarray
    run_index: np.ndarray
    masks: np.ndarray
    channels: int
    image_size: int
    side_size: int
    pooled_size: int
    work: float
    nonlinear: int
    readout: ReadoutStep


@lru_cache(maxsize=32)
def make_plan(
    steps: tuple[Step, ...], height: int, width: int, channels: int, dtype: type
) -> Plan | None:
    """The plan of a network on images (height, width, channels), or None if there is none here.

    Raises:
        InputError: an image is smaller than a pooling window.
    """
    levels = make_levels(steps, height, width) if steps else None
    if levels is None:
        return None
    prepool = (1, 1)
    if not levels[0].operations and len(levels) > 1:
        prepool = levels.pop(0).window
    table = _table(levels, channels)
    runs: list[int] = []
    run_index: list[int] = []
    masks = [np.zeros(0, bool)]
    for level, following in itertools.pairwise(table):
        level["runs"], level["masks"] = len(run_index), sum(map(len, masks))
        for dx in range(level["width"]):
            run_index.append(len(runs) // 3)
            runs.extend(_runs(level, following, dx))
        run_index.append(len(runs) // 3)
        residue = np.repeat(np.arange(level["height"]) % level["window_y"], level["stride"])
        masks.extend(residue < level["window_y"] - rest for rest in range(level["window_y"]))
    last = table[-1]
    doubled = table["planes"] * table["plane"] * (1 + table["circular"])
    diagonals = (2 * table["radius_y"] + 1) * (2 * table["radius_x"] + 1)
    positions = table["height"] * table["width"]
    handled = np.minimum(diagonals, positions) * positions * (1 + table["last"] - table["first"])
    readout = steps[-1]
    assert isinstance(readout, ReadoutStep)  # noqa: S101 -- make_levels has seen to it
    return Plan(
        prepool=prepool,
        levels=table,
        operations=_operations(levels, np.dtype(dtype)),
        runs=np.array([*runs, 0], np.int64),
        run_index=np.array([*run_index, 0], np.int64),
        masks=np.concatenate([*masks, np.zeros(_SLACK, bool)]).astype(dtype),
        channels=channels,
        image_size=int(last["image"] + last["planes"] * last["plane"]),
        side_size=int(doubled.max()) + _SLACK,
        pooled_size=int(last["pooled"]) + _SLACK,
        work=float(handled.sum()),
        nonlinear=sum(v.kinks for v in levels),
        readout=readout,
    )


def _table(levels: list[Level], channels: int) -> np.ndarray:
    """Everything but runs and masks. ``pooled`` of the last level is the size of all."""
    table = np.zeros(len(levels), _LEVEL)
    image = pooled = first = 0
    for n, (level, radius) in enumerate(zip(levels, make_radii(levels), strict=True)):
        row = table[n]
        spread = radius != (0, 0) or level.circular
        row["height"], row["width"], row["margin"] = level.height, level.width, level.margin
        row["stride"] = level.width + level.margin * (2 if spread else 1)
        row["circular"] = level.circular
        row["plane"] = level.height * row["stride"]
        row["channels"] = 0 if n else channels
        row["planes"] = row["channels"] + 2 * level.kinks
        row["image"] = image
        row["radius_y"], row["radius_x"] = radius
        row["window_y"], row["window_x"] = level.window
        row["first"], row["last"] = first, first + len(level.operations)
        if n > 0:
            before = table[n - 1]
            before["pooled_y"], before["pooled_x"] = level.height, level.width
            every = radius != (0, 0)
            before["blocks_y"], before["blocks_x"] = (
                (level.height, level.width) if every else (1, 1)
            )
            before["pooled_stride"] = row["stride"]
            pooled += int(before["blocks_y"] * before["blocks_x"] * row["plane"])
        row["pooled"] = pooled
        image += int(row["planes"] * row["plane"])
        first += len(level.operations)
    return table


def _runs(level: Any, following: Any, dx: int) -> list[int]:
    """Columns of a row of displacement dx or dx - width that belong to one pooled pair each."""
    width, wide = int(level["width"]), int(level["window_x"])
    pooled, margin = int(following["width"]), int(following["margin"])
    block = int(level["blocks_y"] * following["plane"])
    runs: list[int] = []
    before = None
    for w in range(width):
        first, second = w // wide, (w + dx) % width // wide
        shift, behind = (second - first) % pooled, w >= width - dx
        if max(first, second) >= pooled or shift >= level["blocks_x"]:
            before = None
            continue
        key = first, second, behind
        if key == before:
            runs[-2] += 1
        else:
            gap = following["circular"] or first >= pooled - shift
            column = w + int(level["margin"] if level["circular"] or behind else 0)
            runs += column, 1, shift * block + first + (margin if gap else 0)
        before = key
    return runs


def _operations(levels: list[Level], dtype: np.dtype) -> np.ndarray:
    rows = []
    for level in levels:
        kink = 0
        for operation in level.operations:
            conv = operation.conv
            low, high = operation.slopes or (1.0, 1.0)
            rows.append(
                (
                    conv.size // 2,
                    kink if operation.slopes else -1,
                    not rows,
                    conv.bias_var,
                    conv.weight_var / conv.size**2,
                    conv.bias_lr,
                    conv.weight_lr / conv.size**2,
                    (high - low) ** 2 / (2 * math.pi),
                    (high**2 + low**2) / 2,
                    high * low,
                )
            )
            kink += operation.slopes is not None
    return np.array(rows, _operation_type(dtype))
