"""The partition of a window, part by part: depth first, in threads, in bounded memory.

A part (some thousand cells) is split by one layer and cut into parts again, which go on top of a
stack. So no more than a few parts a layer are ever held, however many cells come out.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from whydeep.brief import brief
from whydeep.geometry.partition._cells import Cells, window_cell, window_corners
from whydeep.geometry.partition._scan import MOST, column_maxima, interpolate, scan
from whydeep.geometry.partition._split import split
from whydeep.geometry.partition._split_largest import scan_largest, split_largest
from whydeep.geometry.pieces import Kink, Matrix, Maximum, PiecewiseLinear, Select, Threshold
from whydeep.results import by_content
from whydeep.threads import on_threads, one_blas_thread

__all__ = ["Slice", "run"]

_BUDGET = 1 << 25  # bytes that the state of one part may take
_PART = 2048  # cells


@by_content
@dataclasses.dataclass(frozen=True, eq=False)
class Slice:
    """A function on a window of a plane: ``x = origin + s u + t v``.

    Args:
        function: on inputs.
        origin: of the plane, (*shape).
        u: its first direction.
        v: its second.
        window: smallest and largest s, then t.
        layers: how many kinks count; the rest of the function is left out.
    """

    function: PiecewiseLinear
    origin: np.ndarray
    u: np.ndarray
    v: np.ndarray
    window: tuple[float, float, float, float]
    layers: int

    __repr__ = brief

    def inputs(self, points: np.ndarray) -> np.ndarray:
        """Points of the plane, (N, 2), as inputs."""
        s, t = (points[:, i].reshape(-1, *(1,) * self.origin.ndim) for i in (0, 1))
        return self.origin + s * self.u + t * self.v

    @property
    def words(self) -> int:
        """Words of 64 signs that a pattern has."""
        return self.function.words[self.layers]

    def start(self) -> Cells:
        """The window as one cell."""
        f = self.function
        rows = f.rows(self.inputs(window_corners(self.window)))
        state = f.maps[0](rows)
        floor = f.maps[0].rounding(np.abs(rows).max(axis=0), state)
        return window_cell(self.window, state, floor, self.words)


def run(plane: Slice, take: Callable[[Cells], None]) -> None:
    """Split the window, and give every finished part to `take`, one at a time.

    Threads: as many as BLAS may use, if the function is made of matrices; else one, as frameworks
    have threads of their own.
    """
    stack = [plane.start()]
    ready = threading.Condition()
    waiting, failed = [1], []  # parts that are not finished; what went wrong

    def stop(error: BaseException) -> None:
        with ready:
            failed.append(error)
            ready.notify_all()

    def work() -> None:
        while True:
            with ready:
                while not stack and waiting[0] and not failed:
                    ready.wait()
                if not stack or failed:
                    return
                cells = stack.pop()
            try:
                parts = _step(plane, cells)
                if not parts:
                    with ready:
                        take(cells)
            except BaseException as error:
                stop(error)
                raise
            with ready:
                stack.extend(reversed(parts))
                waiting[0] += len(parts) - 1
                ready.notify_all()

    with one_blas_thread() as threads:
        on_threads(threads if plane.function.dense else 1, work, stop)


def _step(plane: Slice, cells: Cells) -> list[Cells]:
    """The parts that a part becomes; none if it is finished."""
    if cells.layer == plane.layers:
        return []
    function = plane.function
    if cells.applied:
        cells = _advanced(function, cells)
    kink = function.kinks[cells.layer]
    columns = cells.state.shape[1]
    most = int(np.clip(np.sqrt(_BUDGET / (2 * columns)), 4, MOST))
    patterns = cells.patterns.copy()
    counts = np.empty(len(cells), np.int64)
    first_word = function.words[cells.layer]
    if isinstance(kink, Maximum):
        values = np.ascontiguousarray(kink.ranked(cells.state))
        floor = np.maximum.reduce(cells.floor[kink.members], axis=1) if kink.width else cells.floor
        most = max(most // values.shape[2], 1)
        scanning, splitting = scan_largest, split_largest
    else:
        values = kink.splits(cells.state)
        floor = np.resize(cells.floor[: values.shape[1]], values.shape[1])
        if isinstance(kink, Threshold) and not kink.plain:
            floor = np.tile(cells.floor[: kink.width], len(kink.thresholds))
        scanning, splitting = scan, split
    lists = np.empty((len(cells), most), np.int32)
    scanning(values, cells.offsets, cells.corners, floor, first_word, patterns, lists, counts)
    cells = dataclasses.replace(cells, patterns=patterns)
    if not counts.any():
        return _done(plane, cells)
    listed = np.minimum(counts, most)
    expected = np.cumsum(1 + listed + listed * listed // 4)
    room = max(_BUDGET // (8 * columns), int(expected[0]))
    if expected[-1] > room and len(cells) > 1:
        return cells.parts(_ends(expected, room))
    result: tuple[Any, ...] = splitting(
        values, cells.offsets, cells.corners, cells.labels, patterns, lists,
        listed, floor, first_word, cells.layer,
    )  # fmt: skip
    more = bool((counts > most).any())
    after = _after(cells, kink, result, keep=more or cells.layer + 1 < plane.layers)
    if more:
        return after.parts(_equal(len(after), columns))
    return _done(plane, after)


def _after(cells: Cells, kink: Kink, result: tuple[Any, ...], *, keep: bool) -> Cells:
    """The cells that splitting made, with the state at new vertices if it is kept."""
    offsets, corners, labels, patterns, _, first, second, part, units = result
    positions = interpolate(cells.positions, first, second, part)
    old = len(cells.positions)
    state = np.empty((len(positions), 0))
    if keep or isinstance(kink, Select):
        state = interpolate(cells.state, first, second, part)
    if keep and isinstance(kink, Threshold) and kink.plain:
        state[old + np.arange(len(units)), units] = 0.0
    if isinstance(kink, Select):
        kink.check(state[old:], units)
    return dataclasses.replace(
        cells, positions=positions, state=state, offsets=offsets, corners=corners,
        labels=labels, patterns=patterns,
    )  # fmt: skip


def _done(plane: Slice, cells: Cells) -> list[Cells]:
    """Cells that are ready for the next kink, in parts."""
    after = dataclasses.replace(cells, layer=cells.layer + 1, applied=True)
    if after.layer == plane.layers:
        return [after]
    wider = max(after.state.shape[1], plane.function.kinks[after.layer].width)
    return after.parts(_equal(len(after), wider))


def _advanced(function: PiecewiseLinear, cells: Cells) -> Cells:
    """The same cells with the state of the kink that comes next."""
    before = function.kinks[cells.layer - 1]
    made = before.value(cells.state)
    if cells.state.shape[1] > before.width:
        made = np.concatenate([made, cells.state[:, before.width :]], axis=1)
    affine = function.maps[cells.layer]
    state = affine(made)
    largest = column_maxima(made) if isinstance(affine, Matrix) else np.zeros(0)
    floor = affine.rounding(largest, state)
    return dataclasses.replace(cells, state=state, floor=floor, applied=False)


def _equal(count: int, columns: int) -> np.ndarray:
    """Where parts of about one size end."""
    size = int(np.clip(_BUDGET // (8 * columns), 64, _PART))
    return np.linspace(0, count, -(-count // size) + 1).astype(np.int64)[1:]


def _ends(expected: np.ndarray, room: int) -> np.ndarray:
    """Where parts end that are expected to become at most so many cells, or have one cell."""
    ends, before = [], 0
    while not ends or ends[-1] < len(expected):
        begin = ends[-1] if ends else 0
        end = int(np.searchsorted(expected, before + room, side="right"))
        ends.append(max(end, begin + 1))
        before = int(expected[ends[-1] - 1])
    return np.array(ends)
