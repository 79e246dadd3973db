"""The front doors: a partition that is held, its statistics alone, and the decision regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from whydeep.errors import InputError
from whydeep.geometry.partition._cells import Cells
from whydeep.geometry.partition._regions import Regions
from whydeep.geometry.partition._work import Slice, run
from whydeep.geometry.pieces import PiecewiseLinear, Threshold
from whydeep.memory import available
from whydeep.progress import phase

__all__ = ["check_window", "held", "make_slice"]

_LONGEST = 1e150


def make_slice(
    f: PiecewiseLinear,
    origin: Any,
    u: Any,
    v: Any,
    window: Sequence[float],
    layers: int | None,
) -> Slice:
    """A checked slice.

    Raises:
        InputError: shapes that do not fit, directions that span no plane, an empty window.
        UnsupportedError: values that overflow.
    """
    points = []
    for name, value in (("origin", origin), ("u", u), ("v", v)):
        array = np.asarray(value, dtype=np.float64)
        if array.shape != f.shape or not np.isfinite(array).all():
            raise InputError(
                f"{name} is not one input of the function.",
                received=f"shape {array.shape}",
                needed=f"finite numbers of shape {f.shape}",
            )
        points.append(array)
    directions = np.stack([points[1].ravel(), points[2].ravel()])
    largest = np.abs(directions).max(axis=1, keepdims=True)
    units = directions / np.where(largest > 0, largest, 1.0)  # squares of any size are numbers
    lengths = np.linalg.norm(units, axis=1)
    singular = np.linalg.svd(units / np.maximum(lengths, 1.0)[:, None], compute_uv=False)
    lengths = lengths * largest[:, 0]
    if not (lengths > 0).all() or singular[-1] < 1e-12:
        raise InputError(
            "The two directions do not span a plane.",
            received=f"lengths {lengths[0]:.3g} and {lengths[1]:.3g}, parallel or zero",
            needed="two directions that are not parallel",
            suggestion="whydeep.geometry.plane(a, b, c) through three points",
        )
    sides = check_window(window)
    kept = len(f.kinks) if layers is None else layers
    if not 0 <= kept <= len(f.kinks):
        raise InputError(
            "There are not so many layers.",
            received=f"layers={layers}",
            needed=f"a whole number from 0 to {len(f.kinks)}: {', '.join(f.names)}",
        )
    corners = [points[0] + s * points[1] + t * points[2] for s in sides[:2] for t in sides[2:]]
    f.check_range(np.stack(corners))
    return Slice(f, points[0], points[1], points[2], sides, kept)


def check_window(window: Sequence[float]) -> tuple[float, float, float, float]:
    """Smallest and largest s, smallest and largest t, or an `InputError`."""
    sides = tuple(float(side) for side in window)
    if len(sides) != 4 or not np.isfinite(sides).all():
        raise InputError("The window has four sides.", received=repr(window)[:80],
                         needed="(smallest s, largest s, smallest t, largest t)")  # fmt: skip
    if not (sides[0] < sides[1] and sides[2] < sides[3]):
        raise InputError("The window is empty.", received=str(sides),
                         needed="(smallest s, largest s, smallest t, largest t)")  # fmt: skip
    lengths = sides[1] - sides[0], sides[3] - sides[2]
    if max(map(abs, (*sides, *lengths))) > _LONGEST or min(lengths) < 1.0 / _LONGEST:
        raise InputError("Areas in this window are no float64.", received=str(sides),
                         needed=f"sides from {1 / _LONGEST:g} to {_LONGEST:g}",
                         suggestion="other directions u and v, of which s and t are the "
                         "multiples")  # fmt: skip
    return sides[0], sides[1], sides[2], sides[3]


def held(plane: Slice) -> Regions:
    """All cells of a slice.

    Raises:
        InputError: they take more memory than there is.
    """
    found: list[tuple[tuple[int, ...], tuple[np.ndarray, ...]]] = []
    taken, most = [0], available() // 3

    def take(cells: Cells) -> None:
        parts = (
            cells.positions[cells.corners], np.diff(cells.offsets), cells.labels, cells.patterns,
        )  # fmt: skip
        taken[0] += sum(p.nbytes for p in parts)
        if taken[0] > most:
            raise InputError(
                "The partition is too large to be held.",
                received=f"{sum(len(p[1][1]) for p in found):,} regions so far",
                needed=f"at most {most / 2**30:.1f} GiB",
                suggestion="whydeep.geometry.region_statistics, which holds none, or a smaller "
                "window",
            )
        found.append((cells.path, parts))

    with phase("splitting the window into regions"):
        run(plane, take)
    found.sort(key=lambda item: item[0])
    vertices, sizes, labels, patterns = (
        np.concatenate([parts[i] for _, parts in found]) for i in range(4)
    )
    found.clear()
    layers = np.where(labels >= 0, labels >> 32, -1).astype(np.int16)
    units = np.where(labels >= 0, labels & 0xFFFFFFFF, -1 - labels).astype(np.int32)
    for number, kink in enumerate(plane.function.kinks[: plane.layers]):
        if isinstance(kink, Threshold):
            mine = layers == number
            units[mine] = units[mine] % kink.width
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return Regions(plane, vertices, offsets, layers, units, patterns)
