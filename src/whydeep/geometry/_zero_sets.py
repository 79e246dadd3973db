"""Where the pre-activations of any network change sign on a plane: an approximate view, by a grid.

For a smooth activation there are no affine pieces. Its pre-activations still have zero sets, along
which it bends most; between the points of a grid they are drawn as straight lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from whydeep.arguments import CALLABLE, NUMBER, array, as_numbers, called, count, each, takes
from whydeep.errors import InputError
from whydeep.progress import phase

__all__ = ["zero_sets"]

_BATCH = 4096


@takes(
    g=CALLABLE, origin=array(), u=array(), v=array(), window=each(NUMBER, exactly=4),
    resolution=count(1, 10_000),
)  # fmt: skip
def zero_sets(
    g: Callable[[np.ndarray], Any],
    origin: Any,
    u: Any,
    v: Any,
    window: Sequence[float] = (-1, 1, -1, 1),
    *,
    resolution: int = 200,
) -> list[np.ndarray]:
    """Line segments where each of a function's values changes sign on a window of a plane.

    Not exact: values are known at the points of a grid, and interpolated between them. For
    piecewise-linear networks use `regions`.

    Args:
        g: of a batch (N, *shape): the values whose zeros are wanted, such as the pre-activations of
            a layer, (N, units) or any shape after N. Any function of arrays.
        origin: one input, a point of the plane.
        u: a direction of the same shape.
        v: another.
        window: smallest and largest s, smallest and largest t.
        resolution: intervals along each side of the window.

    Returns:
        For every unit its segments, (segments, 2, 2), in coordinates of the slice.

    Raises:
        InputError: values that are not finite, or not one row an input; a bad resolution.

    Accuracy: a segment is within ``h^2 |g''| / (8 |grad g|)`` of the zero set for a step h; zero
        sets that enter a square and leave it by the same side are missed.
    Cost: (resolution + 1)^2 evaluations; the values of all units are held.

    Source: marching triangles on a grid whose squares are halved.

    Example:
        >>> segments = zero_sets(lambda x: x[:, :1] ** 2 + x[:, 1:] ** 2 - 0.25, np.zeros(2),
        ...                      np.eye(2)[0], np.eye(2)[1])
        >>> bool(abs(np.linalg.norm(segments[0], axis=-1) - 0.5).max() < 1e-4)
        True
    """
    left, right, bottom, top = (float(side) for side in window)
    s, t = np.linspace(left, right, resolution + 1), np.linspace(bottom, top, resolution + 1)
    points = np.stack(np.meshgrid(s, t), axis=-1).reshape(-1, 2)
    base, one, two = origin, u, v
    if not base.shape == one.shape == two.shape:
        raise InputError("An input and directions have one shape.",
                         received=f"{base.shape}, {one.shape} and {two.shape}")  # fmt: skip
    found = []
    with phase("evaluating on a grid"):
        for begin in range(0, len(points), _BATCH):
            part = points[begin : begin + _BATCH]
            a, b = (part[:, i].reshape(-1, *(1,) * base.ndim) for i in (0, 1))
            needed = "a function of inputs (N, ...) that gives (N, units) finite numbers"
            with called("g", needed):
                values = as_numbers("The value of g", g(base + a * one + b * two), needed)
            if values.shape[:1] != (len(part),) or not np.isfinite(values).all():
                raise InputError(
                    "The function does not give finite values for every input.",
                    received=f"shape {values.shape} for {len(part)} inputs",
                    needed="(N, units), finite",
                )
            found.append(values.reshape(len(part), -1))
    values = np.concatenate(found)
    index = np.arange(len(points)).reshape(resolution + 1, resolution + 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = np.concatenate(
        [np.stack(corners, axis=-1).reshape(-1, 3) for corners in ((a, b, c), (a, c, d))]
    )
    return [_segments(points, triangles, column) for column in values.T]


def _segments(points: np.ndarray, triangles: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The zero set of the function that is linear on every triangle."""
    above = values[triangles] > 0
    cut = triangles[above.any(axis=1) & ~above.all(axis=1)]
    above = values[cut] > 0
    # the corner that is alone on its side, then the two others
    alone = np.where(above.sum(axis=1) == 1, above.argmax(axis=1), above.argmin(axis=1))
    rows = np.arange(len(cut))
    apex = cut[rows, alone]
    ends = []
    for other in ((alone + 1) % 3, (alone + 2) % 3):
        far = cut[rows, other]
        part = values[apex] / (values[apex] - values[far])
        ends.append(points[apex] + part[:, None] * (points[far] - points[apex]))
    return np.stack(ends, axis=1)
