"""Kernels of convolutional networks, one displacement diagonal at a time, for compiled code.

A convolution shifts both positions of a covariance alike, so that it maps every displacement
(dy, dx) to itself; an activation acts on each covariance alone. All layers up to a pooling run on
one diagonal, a few thousand numbers in the innermost cache. Rows are cyclic in dx (displacement dx
and, behind a gap of zeros, dx - width), so that all rows have one length. A pooling adds the
diagonal to the covariance of pooled positions, which is small, and goes on likewise.

Variances at every position are needed first: they come from the same run on an image with itself,
where coincident positions have the correlation 1 exactly.

Source: Novak et al. 2019; Arora et al. 2019, Sec. 4 (the recursion).
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

from typing import Any, NamedTuple, no_type_check

import numpy as np

from whydeep.compiled import njit
from whydeep.theory.infinite.conv._disjoint import borrowed, source_version
from whydeep.theory.infinite.conv._layout import LANES
from whydeep.theory.infinite.conv._passes import (
    add_rows,
    affine,
    at,
    coincide,
    correlate,
    fold_rows,
    gather,
    put,
    rectify,
    rectify_kernel,
    scaled,
    split_rows,
    window_sum,
)

__all__ = ["Room", "Settings", "run_pairs"]


class Room(NamedTuple):
    """Places in the working array of a thread.

    Args:
        k: covariance along a diagonal.
        theta: tangent kernel along it.
        sums: window sums.
        first: one image's pixels and variances, in rows of the displacement.
        second: the other image's.
        first_mask: columns of displacement dx.
        second_mask: columns of displacement dx - width.
        totals: diagonals added up for two neighbours among pooled vertical displacements, of
            covariance and tangent kernel: four in all.
        pooled: covariance of pooled positions, all levels.
        pooled_theta: their tangent kernel.
        end: size of the array.
    """

    k: int
    theta: int
    sums: int
    first: int
    second: int
    first_mask: int
    second_mask: int
    totals: int
    pooled: int
    pooled_theta: int
    end: int


class Settings(NamedTuple):
    """What is the same for all pairs.

    Args:
        front: where the first image's numbers begin.
        image_size: from one image to the next.
        tangent: whether the tangent kernel is wanted.
        per_channel: one over the number of channels.
        snap: 1 - |c| up to which two positions coincide.
    """

    front: int
    image_size: int
    tangent: bool
    per_channel: float
    snap: float


@njit
@no_type_check
def _clear(work, begin, end):
    for i in range(begin, end):
        put(work, i, work.dtype.type(0))


@njit
@no_type_check
def _copy(work, target, source, n):
    for i in range(n):
        put(work, target + i, at(work, source + i))


@njit
@no_type_check
def _clear_gaps(work, k, rows, dx, level):
    """Zeros where a row has no position."""
    width, margin = level.width, level.margin
    for row in range(k, k + rows * level.stride, level.stride):
        if level.circular:
            _clear(work, row, row + margin)
            _clear(work, row + margin + width, row + level.stride)
        else:
            _clear(work, row + width - dx, row + width - dx + margin)
            _clear(work, row + width + margin, row + level.stride)


@njit
@no_type_check
def _border(work, k, rows, n, level):
    """What stands beyond the border: zeros, or copies from the other side."""
    width, margin, stride = level.width, level.margin, level.stride
    if not level.circular:
        _clear(work, k + rows * stride, k + n + margin * (stride + 1))
        return
    for row in range(k, k + rows * stride, stride):
        for j in range(margin):
            left, right = (j - margin) % width, j % width
            put(work, row + j, at(work, row + margin + left))
            put(work, row + margin + width + j, at(work, row + margin + right))
    for j in range(margin):
        _copy(work, k - (j + 1) * stride, k + (rows - 1 - j) % rows * stride, stride)
        _copy(work, k + (rows + j) * stride, k + j % rows * stride, stride)


@njit
@no_type_check
def _record(work, k, level, images, roots):
    """Keep the roots of the variances of an image's positions, and their inverses."""
    inset = level.margin if level.circular else 0
    for h in range(level.height):
        for w in range(level.width):
            i = h * level.stride + inset + w
            variance = work[k + i]
            root = np.sqrt(variance)
            images[roots + i] = root
            images[roots + level.plane + i] = 1 / root if variance > 0 else 1


@njit
@no_type_check
def _load(work, room, n, level, before, images, s1, s2, plane, block, settings):
    """A diagonal as it enters a level: of the images, or of the level before, pooled."""
    if level.channels > 0:
        scale = settings.per_channel
        correlate(work, room.k, images, s1, s2, plane, level.channels, scale, n)
        _clear(work, room.theta, room.theta + n)
    else:
        mean = work.dtype.type(1) / work.dtype.type((before.window_y * before.window_x) ** 2)
        place = before.pooled + block
        scaled(work, room.k, room.pooled + place, mean, n)
        scaled(work, room.theta, room.pooled_theta + place, mean, n)


@njit
@no_type_check
def _layers(
    work, room, rows, n, dx, level, operations, images, s1, s2, plane, same, record, settings
):
    """All operations of a level on one diagonal.

    ``same``: both positions are one. ``record``: where to keep the variances, or -1.
    """
    k, theta, sums = room.k, room.theta, room.sums
    for index in range(level.first, level.last):
        operation = operations[index]
        if operation.half > 0:
            _border(work, k, rows, n, level)
            window_sum(work, k, sums, n, level.stride, operation.half)
            if settings.tangent and not operation.fresh:
                _border(work, theta, rows, n, level)
                window_sum(work, theta, sums, n, level.stride, operation.half)
        spread = (level.channels + 2 * operation.kink) * plane
        if same or operation.kink < 0:
            affine(work, k, theta, n, operation)
            if operation.kink >= 0:
                if record >= 0:
                    _record(work, k, level, images, record + spread)
                coincide(work, k, theta, n, operation)
            _clear_gaps(work, k, rows, dx, level)
            _clear_gaps(work, theta, rows, dx, level)
        elif settings.tangent:
            rectify(
                work, k, theta, n, images, s1 + spread, s2 + spread, plane, operation, settings.snap
            )
        else:
            rectify_kernel(
                work, k, n, images, s1 + spread, s2 + spread, plane, operation, settings.snap
            )


@njit
@no_type_check
def _shifted(work, room, images, image1, image2, dx, level):
    """Pixels and variances of two images as rows of displacement dx."""
    width, margin, stride, plane = level.width, level.margin, level.stride, level.plane
    one, zero = work.dtype.type(1), work.dtype.type(0)
    begin = margin if level.circular else 0
    gap = 0 if level.circular else margin
    for row in range(0, plane, stride):
        for j in range(stride):
            first = j >= begin and j < begin + width - dx
            second = j >= begin + width - dx + gap and j < begin + width + gap
            put(work, room.first_mask + row + j, one if first else zero)
            put(work, room.second_mask + row + j, one if second else zero)
    copies = 2 if level.circular else 1
    masks = (room.first_mask, room.second_mask)
    for p in range(level.planes):
        s1, s2 = image1 + p * plane, image2 + p * plane + dx
        for copy in range(copies * p, copies * (p + 1)):
            target = copy * plane
            gather(work, room.first + target, images, s1, s1 - gap, *masks, plane)
            gather(work, room.second + target, images, s2, s2 - width - gap, *masks, plane)


@njit
@no_type_check
def _deliver(work, room, dx, shift, level, runs, run_index, settings):
    """Give rows added up for one vertical displacement to the pooled positions; forget them."""
    height, stride, window = level.pooled_y, level.stride, level.window_y
    size = level.plane + LANES
    total = room.totals + shift % 2 * size
    low, high = (0, height) if level.circular else (max(0, -shift), min(height, height - shift))
    block = shift % height
    if level.blocks_y == 1 and (block != 0 if level.circular else shift != 0):
        high = low
    begin, end = run_index[level.runs + dx], run_index[level.runs + dx + 1]
    theta = room.pooled_theta - room.pooled
    for y in range(low, high):
        first = total + y * window * stride
        fold_rows(work, first, window, stride)
        fold_rows(work, first + 2 * size, window, stride)
        target = room.pooled + level.pooled + (block * height + y) * level.pooled_stride
        for r in range(begin, end):
            column = first + at(runs, 3 * r)
            value, tangent = at(work, column), at(work, column + 2 * size)
            for j in range(1, at(runs, 3 * r + 1)):
                value += at(work, column + j)
                tangent += at(work, column + 2 * size + j)
            cell = target + at(runs, 3 * r + 2)
            put(work, cell, at(work, cell) + value)
            put(work, cell + theta, at(work, cell + theta) + tangent)
    _clear(work, total, total + level.plane)
    if settings.tangent:
        _clear(work, total + 2 * size, total + 2 * size + level.plane)


@njit
@no_type_check
def _collect(work, total, near, far, k, n, rest, place, level, masks):
    """Add a diagonal to the sums for two neighbours among pooled vertical displacements.

    Row i of a window goes to dy // window, or to the next where i + rest reaches over its end.
    """
    if rest == 0:
        add_rows(work, total + near + place, k, n)
    else:
        first_mask = level.masks + rest * level.plane + place
        split_rows(work, total + near + place, total + far + place, k, masks, first_mask, n)


@njit
@no_type_check
def _sweep(work, room, images, a, b, level, before, operations, runs, run_index, masks, settings):
    """All displacements of a level of two images, into the covariance of pooled positions."""
    height, width, stride, window = level.height, level.width, level.stride, level.window_y
    side = level.plane * (2 if level.circular else 1)
    size = level.plane + LANES
    image1 = settings.front + a * settings.image_size + level.image
    image2 = settings.front + b * settings.image_size + level.image
    lowest = 0 if level.circular else -level.radius_y
    highest = height - 1 if level.circular else level.radius_y
    border = level.margin * (stride + 1)
    _clear(work, room.k - border, room.k)
    _clear(work, room.theta - border, room.theta)
    for dx in range(width):
        if min(dx, width - dx) > level.radius_x:
            continue
        _shifted(work, room, images, image1, image2, dx, level)
        collected = lowest // window
        for dy in range(lowest, highest + 1):
            if level.circular and min(dy, height - dy) > level.radius_y:
                continue
            rows = height if level.circular else height - abs(dy)
            o1 = 0 if level.circular else max(0, -dy) * stride
            o2 = o1 + dy * stride
            n = (rows * stride + LANES - 1) // LANES * LANES
            s1, s2 = room.first + o1, room.second + o2
            block = (dx * height + dy % height) * level.plane + o1
            same = a == b and dx == 0 and dy == 0
            _load(work, room, n, level, before, work, s1, s2, side, block, settings)
            _layers(
                work, room, rows, n, dx, level, operations, work, s1, s2, side, same, -1, settings
            )
            shift, rest = dy // window, dy % window
            if shift != collected:
                _deliver(work, room, dx, collected, level, runs, run_index, settings)
                if shift != collected + 1:
                    _deliver(work, room, dx, collected + 1, level, runs, run_index, settings)
                collected = shift
            near, far = shift % 2 * size, (shift + 1) % 2 * size
            n = rows * stride
            _collect(work, room.totals, near, far, room.k, n, rest, o1, level, masks)
            if settings.tangent:
                total = room.totals + 2 * size
                _collect(work, total, near, far, room.theta, n, rest, o1, level, masks)
        _deliver(work, room, dx, collected, level, runs, run_index, settings)
        _deliver(work, room, dx, collected + 1, level, runs, run_index, settings)


@njit
@no_type_check
def _centre(work, room, images, a, b, level, before, operations, settings):
    """Displacement (0, 0) of a level: its mean covariance and tangent kernel.

    Of an image with itself, it keeps the variances.
    """
    rows, plane = level.height, level.plane
    n = (plane + LANES - 1) // LANES * LANES
    border = level.margin * (level.stride + 1)
    s1 = settings.front + a * settings.image_size + level.image
    s2 = settings.front + b * settings.image_size + level.image
    _clear(work, room.k - border, room.k)
    _clear(work, room.theta - border, room.theta)
    same = a == b
    _load(work, room, n, level, before, images, s1, s2, plane, 0, settings)
    _layers(work, room, rows, n, 0, level, operations, images, s1, s2, plane, same, s1, settings)
    count = rows * level.width
    return _total(work, room.k, plane) / count, _total(work, room.theta, plane) / count


@njit(fastmath={"reassoc", "contract", "nsz"})
@no_type_check
def _total(work, k, n):
    total = 0.0
    for i in range(n):
        total += np.float64(at(work, k + i))
    return total


def _compiled(version: int) -> Any:
    """The entry point. What is compiled is kept on disk under the version of all that goes into it.

    numba itself looks at one file only.
    """

    @njit(nogil=True, cache=True, error_model="numpy")
    @no_type_check
    def run_pairs(
        first, second, out, images, levels, operations, runs, run_index, masks, work, room, settings
    ):
        """Mean covariance and tangent kernel at the last level, for pairs of images.

        out (pairs, 2). An image is paired with itself before it is with others.
        """
        last = len(levels) - 1 if version else 0
        images, work, masks = borrowed(images), borrowed(work), borrowed(masks)
        runs, run_index, operations = borrowed(runs), borrowed(run_index), borrowed(operations)
        for pair in range(len(first)):
            a, b = first[pair], second[pair]
            _clear(work, room.pooled, room.end)
            for n in range(last):
                level, before = levels[n], levels[max(n - 1, 0)]
                if a == b:
                    _centre(work, room, images, a, b, level, before, operations, settings)
                _sweep(
                    work, room, images, a, b, level, before, operations, runs, run_index, masks,
                    settings,
                )  # fmt: skip
            level, before = levels[last], levels[max(last - 1, 0)]
            mean, tangent = _centre(work, room, images, a, b, level, before, operations, settings)
            out[pair, 0] = mean
            out[pair, 1] = tangent

    return run_pairs


run_pairs = _compiled(source_version("_arccos.py", "_disjoint.py", "_passes.py"))
