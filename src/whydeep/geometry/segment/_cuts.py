"""Where the units of one layer change sign between sorted points of a segment."""

from __future__ import annotations

import itertools

import numpy as np

from whydeep.geometry.pieces import Kink, Maximum

__all__ = ["cuts"]

_RELATIVE = 1e-12


def cuts(
    kink: Kink, state: np.ndarray, floor: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intervals, parts of the way in them (between 0 and 1) and units, where a layer bends.

    Args:
        kink: the layer.
        state: of it, at the points: affine in every interval between two of them.
        floor: what rounding may add to each column.
    """
    if isinstance(kink, Maximum):
        return _changes_of_largest(kink, state, floor)
    values = kink.splits(state)
    room = np.resize(floor[: kink.outputs], values.shape[1])
    left, right = values[:-1], values[1:]
    zero = np.maximum(_RELATIVE * np.maximum(np.abs(left), np.abs(right)), room)
    crosses = ((left < -zero) & (right > zero)) | ((left > zero) & (right < -zero))
    interval, column = np.nonzero(crosses)
    a, b = left[interval, column], right[interval, column]
    return interval, a / (a - b), column


def _changes_of_largest(
    kink: Maximum, state: np.ndarray, floor: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where two members are equal and no other is larger."""
    ranked = kink.ranked(state)
    left, right = ranked[:-1], ranked[1:]
    found = []
    for i, j in itertools.combinations(range(ranked.shape[-1]), 2):
        a, b = left[..., i] - left[..., j], right[..., i] - right[..., j]
        room = np.maximum(floor[kink.members[:, i]], floor[kink.members[:, j]])
        zero = np.maximum(_RELATIVE * np.maximum(np.abs(a), np.abs(b)), room)
        crosses = ((a < -zero) & (b > zero)) | ((a > zero) & (b < -zero))
        interval, unit = np.nonzero(crosses)
        one, two = a[interval, unit], b[interval, unit]
        part = one / (one - two)
        before, after = left[interval, unit], right[interval, unit]
        here = before + part[:, None] * (after - before)
        top = here[:, i] >= here.max(axis=1) - zero[interval, unit]
        found.append((interval[top], part[top], unit[top]))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64)
    interval, part, unit = (np.concatenate(column) for column in zip(*found, strict=True))
    return interval, part, unit
