"""Width against depth in one dimension: the tent map, and interpolation by one layer of relus."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whydeep.arguments import CALLABLE, NUMBER, as_numbers, called, count, takes
from whydeep.errors import InputError
from whydeep.geometry.pieces import PiecewiseLinear, from_layers

__all__ = ["interpolant", "tent_map"]


@takes(depth=count(1, 500))
def tent_map(depth: int) -> PiecewiseLinear:
    """The tent map ``2 relu(x) - 4 relu(x - 1/2)`` applied `depth` times: 2 neurons a layer.

    On [0, 1] it has 2^depth linear pieces; one hidden layer would need 2^depth - 1 relus.

    Args:
        depth: hidden layers.

    Raises:
        InputError: not a whole number from 1 on.

    Source: Telgarsky 2015.

    Example:
        >>> tent_map(3)(np.array([[1 / 8], [1 / 4]])).ravel()
        array([1., 0.])
    """
    inner, bias = np.array([[2.0, -4.0], [2.0, -4.0]]), np.array([0.0, -0.5])
    weights = [np.ones((2, 1)), *[inner] * (depth - 1), np.array([[2.0, -4.0]])]
    return from_layers(weights, [*[bias] * depth, np.zeros(1)])


@takes(target=CALLABLE, pieces=count(1, 10_000), start=NUMBER, end=NUMBER)
def interpolant(
    target: Callable[[np.ndarray], np.ndarray], pieces: int, start: float = 0.0, end: float = 1.0
) -> PiecewiseLinear:
    """One hidden layer of relus that equals a function at equally spaced points of an interval.

    With h the distance of the points, the error on the interval is at most ``h^2 max |f''| / 8``:
    it falls as 1/pieces^2.

    Args:
        target: of an array of numbers.
        pieces: linear pieces; as many relus.
        start: of the interval.
        end: of the interval.

    Raises:
        InputError: no pieces, an empty interval, values that are not finite.

    Source: Cybenko 1989 and Hornik 1989 for the question; the bound is that of linear
    interpolation.

    Example:
        >>> f = interpolant(np.square, 2)
        >>> f(np.array([[0.0], [0.25], [0.5], [1.0]])).ravel()
        array([0.   , 0.125, 0.25 , 1.   ])
    """
    if not start < end:
        raise InputError("The interval is empty.", received=f"{start} to {end}")
    knots = np.linspace(start, end, pieces + 1)
    with called("target", "a function of an array (N,) that gives (N,) finite numbers"):
        values = as_numbers("The value of target", target(knots))
    if values.shape != knots.shape or not np.isfinite(values).all():
        raise InputError("The target does not give a finite number for each point.",
                         received=f"shape {values.shape}")  # fmt: skip
    slopes = np.diff(values) / np.diff(knots)
    jumps = np.diff(slopes, prepend=0.0)
    return from_layers([np.ones((pieces, 1)), jumps[None]], [-knots[:-1], values[:1]])
