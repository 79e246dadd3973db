"""`whydeep.geometry.breakpoints`: where a network bends on the way from one input to another."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import anything, array, takes
from whydeep.errors import InputError
from whydeep.geometry.pieces import Matrix, PiecewiseLinear, Select, Threshold
from whydeep.geometry.readers import function_at
from whydeep.geometry.segment._cuts import cuts
from whydeep.progress import phase
from whydeep.results import by_content

__all__ = ["Breakpoints", "breakpoints"]

_BUDGET = 1 << 26  # bytes that the state of one part may take
_SAME = 1e-13  # of the segment: closer breakpoints are one


@by_content
@dataclass(frozen=True, eq=False)
class Breakpoints:
    """Where units of a network change sign along ``x(t) = start + t (end - start)``.

    A crossing is one unit's change of sign; several crossings at one place are one breakpoint.

    Args:
        function: that bends.
        start: one input.
        end: another.
        crossings: (crossings,): the places t in (0, 1), increasing.
        layers: (crossings,): the layer of the unit that changes sign there, from 0; named in
            ``function.names``.
        units: (crossings,): its number in the layer.
    """

    function: PiecewiseLinear
    start: np.ndarray
    end: np.ndarray
    crossings: np.ndarray
    layers: np.ndarray
    units: np.ndarray

    def __repr__(self) -> str:
        return f"<{len(self):,} breakpoints in (0, 1), {self.linear_count:,} linear pieces>"

    def __len__(self) -> int:
        return len(self.positions)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001
        return np.array(self.positions, dtype=dtype, copy=copy)

    @functools.cached_property
    def positions(self) -> np.ndarray:
        """The different places where units change sign, increasing."""
        if len(self.crossings) == 0:
            return self.crossings
        return self.crossings[np.concatenate([[True], np.diff(self.crossings) > _SAME])]

    @property
    def count(self) -> int:
        """The number of activation pieces: breakpoints plus one."""
        return len(self.positions) + 1

    @takes(self=anything, t=array(dims=(0, 1)))
    def inputs(self, t: np.ndarray) -> np.ndarray:
        """Inputs (N, *shape) at places t."""
        t = np.asarray(t, np.float64).reshape(-1, *(1,) * self.start.ndim)
        return self.start + t * (self.end - self.start)

    @functools.cached_property
    def slopes(self) -> np.ndarray:
        """The derivative of the outputs by t on every activation piece: (count, *outputs).

        They follow from the signs in the middle of the piece, not from differences.
        """
        ends = np.concatenate([[0.0], self.positions, [1.0]])
        f = self.function
        middles = (ends[:-1] + ends[1:]) / 2
        size = max(_BUDGET // (24 * max([k.width for k in f.kinks], default=1)), 1)
        found = []
        for begin in range(0, len(middles), size):
            part = middles[begin : begin + size]
            state = f.maps[0](f.rows(self.inputs(part)))
            shown = np.tile(f.maps[0](f.rows(self.inputs(np.array([0.0, 1.0])))), (len(part), 1))
            for layer, kink in enumerate(f.kinks):
                signs = kink.signs(state)
                shown = f.extended(layer, shown, np.repeat(signs, 2, axis=0))
                state = f.next_state(layer, state)
            found.append(shown[1::2] - shown[::2])
        return np.concatenate(found).reshape(len(middles), *f.outputs)

    @functools.cached_property
    def linear_positions(self) -> np.ndarray:
        """The places where the function itself bends.

        Accuracy: slopes are equal if they differ by less than 1e-9 of the largest.
        """
        slopes = self.slopes.reshape(self.count, -1)
        scale = np.abs(slopes).max(initial=1e-300)
        return self.positions[np.abs(np.diff(slopes, axis=0)).max(axis=1, initial=0) > 1e-9 * scale]

    @property
    def linear_count(self) -> int:
        """The number of linear pieces: activation pieces with neighbours of equal slope merged."""
        return len(self.linear_positions) + 1


@takes(f=anything, start=array(), end=array())
def breakpoints(f: Any, start: Any, end: Any) -> Breakpoints:
    """All places in (0, 1) where a unit of a network changes sign between two inputs; exact.

    Args:
        f: a torch module, a JAX function of a batch, or a `PiecewiseLinear`.
        start: one input.
        end: another of the same shape.

    Returns:
        Increasing places with the layer and the unit of each, linear pieces and their slopes. As
        an array it is the places.

    Raises:
        InputError: shapes that do not fit, or twice the same input.
        UnsupportedError: a function that is not piecewise linear; values that leave the range of
            float64.

    Accuracy: float64; between two breakpoints every unit is affine, and its zero follows from its
        values at both. Places closer than 1e-13 are one.
    Cost: the network at every breakpoint, layer by layer.

    Source: Raghu, Poole, Kleinberg, Ganguli and Sohl-Dickstein 2017 (trajectories); Hanin and
    Rolnick 2019.

    Example:
        >>> from whydeep.geometry import from_layers
        >>> biases = [np.array([-0.25, -0.5]), np.zeros(1)]
        >>> f = from_layers([np.ones((2, 1)), np.ones((1, 2))], biases)
        >>> breakpoints(f, np.zeros(1), np.ones(1)).positions
        array([0.25, 0.5 ])
    """
    ends = [start, end]
    function = function_at(f, ends[0].shape)
    for name, point in zip(("start", "end"), ends, strict=True):
        if point.shape != function.shape or not np.isfinite(point).all():
            raise InputError(f"{name} is not one input of the function.",
                             received=f"shape {point.shape}",
                             needed=f"finite numbers of shape {function.shape}")  # fmt: skip
    if (ends[0] == ends[1]).all():
        raise InputError("The segment is one point.", needed="two different inputs")
    function.check_range(np.stack(ends))
    state = function.maps[0](function.rows(np.stack(ends)))
    largest = np.abs(np.stack(ends)).reshape(2, -1).max(axis=0)
    floor = function.maps[0].rounding(largest, state)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    with phase("finding breakpoints"):
        _descend(function, 0, np.array([0.0, 1.0]), state, floor, found)
    found.append((np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64)))
    places, layers, units = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((units, layers, places))
    return Breakpoints(function, ends[0], ends[1], places[order], layers[order], units[order])


def _descend(
    f: PiecewiseLinear,
    layer: int,
    t: np.ndarray,
    state: np.ndarray,
    floor: np.ndarray,
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> None:
    """Cut the intervals between sorted places by all layers from this one on, part by part."""
    if layer == len(f.kinks):
        return
    size = max(_BUDGET // (8 * state.shape[1]), 2)
    if len(t) > size:
        for begin in range(0, len(t) - 1, size - 1):
            part = slice(begin, begin + size)
            _descend(f, layer, t[part], state[part], floor, found)
        return
    kink = f.kinks[layer]
    interval, part, columns = cuts(kink, state, floor)
    places = t[interval] + part * (t[interval + 1] - t[interval])
    order = np.lexsort((part, interval))
    interval, part, columns, places = (a[order] for a in (interval, part, columns, places))
    new = state[interval] + part[:, None] * (state[interval + 1] - state[interval])
    if isinstance(kink, Threshold):
        if kink.plain:
            new[np.arange(len(columns)), columns] = 0.0
        units = columns % kink.width
    else:
        units = columns
    if isinstance(kink, Select):
        kink.check(new, columns)
    found.append((places, np.full(len(places), layer), units))
    if layer + 1 == len(f.kinks):
        return
    fresh = np.concatenate([[True], np.diff(places) > _SAME]) if len(places) else np.zeros(0, bool)
    t = np.insert(t, interval[fresh] + 1, places[fresh])
    state = np.insert(state, interval[fresh] + 1, new[fresh], axis=0)
    made = kink.value(state)
    if state.shape[1] > kink.width:
        made = np.concatenate([made, state[:, kink.width :]], axis=1)
    affine = f.maps[layer + 1]
    state = affine(made)
    largest = np.abs(made).max(axis=0) if isinstance(affine, Matrix) else np.zeros(0)
    _descend(f, layer + 1, t, state, affine.rounding(largest, state), found)
