"""Which numbers a window of a pooling takes, as indices."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from whydeep.geometry.pieces import Maximum, Threshold

__all__ = ["largest_of", "over_axes", "pooled", "units_threshold"]


def pooled(
    shape: Sequence[int],
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    starts: Sequence[int],
    dilation: Sequence[int],
) -> np.ndarray:
    """Members of every window, (units, window): flat indices into an array of this shape.

    Args:
        shape: of the array; windows run over its last axes, as many as `window` has.
        sizes: windows along each of these.
        window: its size along each.
        strides: from one window to the next.
        starts: padding before the first number.
        dilation: steps within a window.
    """
    rank = len(window)
    spatial = tuple(shape[len(shape) - rank :])
    flat = np.arange(int(np.prod(shape))).reshape(-1, *spatial)
    offsets = list(itertools.product(*(range(w) for w in window)))
    members = np.full((len(flat), *sizes, len(offsets)), -1)
    for m, offset in enumerate(offsets):
        places = [
            np.arange(n) * s - p + o * d
            for n, s, p, o, d in zip(sizes, strides, starts, offset, dilation, strict=True)
        ]
        inside = [(q >= 0) & (q < n) for q, n in zip(places, spatial, strict=True)]
        clipped = [np.clip(q, 0, n - 1) for q, n in zip(places, spatial, strict=True)]
        found = flat[(slice(None), *np.ix_(*clipped))]
        valid = np.ones(found.shape[1:], bool)
        for axis, good in enumerate(inside):
            valid &= good.reshape((1,) * axis + (-1,) + (1,) * (rank - axis - 1))
        members[..., m] = np.where(valid, found, -1)
    members = members.reshape(-1, len(offsets))
    first = members[np.arange(len(members)), (members >= 0).argmax(axis=1)]
    return np.where(members >= 0, members, first[:, None])


def over_axes(shape: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    """Members of every unit where whole axes are reduced: (units, members)."""
    flat = np.arange(int(np.prod(shape))).reshape(tuple(shape))
    kept = [a for a in range(len(shape)) if a not in axes]
    count = int(np.prod([shape[a] for a in axes]))
    return flat.transpose(*kept, *axes).reshape(-1, count)


def largest_of(name: str, width: int, members: np.ndarray, *, smallest: bool = False) -> Maximum:
    """The kink node with these members."""
    members = np.ascontiguousarray(members, np.int64)
    return Maximum(name, width, len(members), members.size, members, smallest)


def units_threshold(
    name: str,
    thresholds: Sequence[np.ndarray],
    slopes: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
) -> Threshold:
    """A kink node of one variable whose numbers differ from unit to unit."""
    t, s, i = (np.asarray(np.stack(v), np.float64) for v in (thresholds, slopes, intercepts))
    units = t.shape[1]
    return Threshold(name, units, units, len(t) * units, t, s, i)
