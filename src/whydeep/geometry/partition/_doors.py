"""`whydeep.geometry.regions`, and planes through given points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from whydeep.arguments import NUMBER, anything, array, count, each, number, takes
from whydeep.errors import InputError
from whydeep.geometry.partition._front import held, make_slice
from whydeep.geometry.partition._regions import Regions
from whydeep.geometry.readers import function_at

__all__ = ["plane", "regions"]


@takes(
    f=anything, origin=array(), u=array(), v=array(), window=each(NUMBER, exactly=4),
    layers=count(0),
)  # fmt: skip
def regions(
    f: Any,
    origin: Any,
    u: Any,
    v: Any,
    window: Sequence[float] = (-1, 1, -1, 1),
    *,
    layers: int | None = None,
) -> Regions:
    """The exact activation cells of a piecewise-linear network on a window of a plane.

    ``x = origin + s u + t v`` with (s, t) in the window. On a cell no unit changes sign, so that
    the network is affine there.

    Args:
        f: a torch module, a JAX function of a batch, or a `PiecewiseLinear`.
        origin: one input, a point of the plane.
        u: a direction of the same shape.
        v: another; areas are those of input space if u and v are orthonormal.
        window: smallest and largest s, smallest and largest t.
        layers: only the kinks of the first layers, for a view layer by layer; all by default.

    Returns:
        Polygons with areas, sign patterns, affine maps, neighbours, layer and neuron of every edge.

    Raises:
        InputError: shapes that do not fit; a partition too large to be held.
        UnsupportedError: a function that is not piecewise linear.

    Accuracy: float64. A unit that stays within 1e-12 of its largest value on a cell, or within the
        rounding of its own terms, counts as not changing sign there.
    Cost: proportional to the number of cells; some 10^5 a second on two processors.

    Source: cells are split by the lines of each layer in turn (Raghu et al. 2017, Thm 1; Hanin and
    Rolnick 2019).

    Example:
        >>> from whydeep.geometry import from_layers
        >>> f = from_layers([np.eye(2), np.ones((1, 2))], [np.zeros(2), np.zeros(1)])
        >>> found = regions(f, np.zeros(2), np.array([1.0, 0.0]), np.array([0.0, 1.0]))
        >>> found.count, found.areas
        (4, array([1., 1., 1., 1.]))
    """
    function = function_at(f, np.shape(origin))
    return held(make_slice(function, origin, u, v, window, layers))


@takes(a=array(), b=array(), c=array(), margin=number(least=0, most=1e6))
def plane(
    a: Any, b: Any, c: Any, margin: float = 0.25
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float, float, float]]:
    """Origin, two orthonormal directions and a window of the plane through three inputs.

    The arguments of `regions`: ``regions(f, *plane(a, b, c))``. The origin is the mean of the
    three; the window is the smallest that holds them, wider by a part `margin` on every side.

    Raises:
        InputError: points of different shapes, or on one line.

    Example:
        >>> origin, u, v, window = plane(np.zeros(3), np.eye(3)[0], np.eye(3)[1])
        >>> bool(abs(np.vdot(u, v)) < 1e-12)
        True
    """
    points = [a, b, c]
    if len({p.shape for p in points}) != 1:
        raise InputError("The points have different shapes.",
                         received=", ".join(str(p.shape) for p in points))  # fmt: skip
    flat = np.stack([p.ravel() for p in points])
    middle = flat.mean(axis=0)
    _, size, axes = np.linalg.svd(flat - middle, full_matrices=False)
    if len(axes) < 2 or not size[1] > 1e-12 * max(size[0], 1e-300):
        raise InputError("The three points lie on one line.",
                         needed="three points that span a plane")  # fmt: skip
    places = (flat - middle) @ axes[:2].T
    low, high = places.min(axis=0), places.max(axis=0)
    wider = margin * (high - low)
    low, high = low - wider, high + wider
    shape = points[0].shape
    window = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    return middle.reshape(shape), axes[0].reshape(shape), axes[1].reshape(shape), window
