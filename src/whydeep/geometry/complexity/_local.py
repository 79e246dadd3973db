"""The front door of local complexity."""

from __future__ import annotations

from typing import Any

import numpy as np

from whydeep.arguments import COUNT, POSITIVE, SEED, anything, choice, takes
from whydeep.errors import InputError
from whydeep.geometry.complexity._probes import (
    frame,
    given_units,
    read_points,
    units_that_change,
)
from whydeep.geometry.complexity._result import LocalComplexity
from whydeep.geometry.partition import regions
from whydeep.geometry.readers import function_at
from whydeep.geometry.segment import breakpoints
from whydeep.network import check_number, check_whole
from whydeep.progress import progress_bar

__all__ = ["local_complexity"]

_METHODS = ("vertices", "segments", "square")
_ROWS = 4096  # inputs at a time


@takes(
    f=anything, x=anything, radius=POSITIVE, method=choice(*_METHODS), directions=COUNT,
    seed=SEED,
)  # fmt: skip
def local_complexity(
    f: Any,
    x: Any,
    radius: float,
    *,
    method: str = "vertices",
    directions: int = 25,
    seed: int = 0,
) -> LocalComplexity:
    """How many units of a network change sign near given points, layer by layer.

    With random orthonormal directions v_k about a point x, as many as are asked for (and there
    are)::

        vertices   units whose sign differs among the ends x ± r v_k: those whose zero set is sure
                   to cut the cross-polytope with these vertices. Exact for the first layer; for
                   later ones, whose zero sets bend, a lower bound.
        segments   units that change sign on one of the segments x - r v_k ... x + r v_k: exact
        square     units whose zero set meets the square x + s v_1 + t v_2, |s|, |t| <= r, and the
                   cells that it is cut into: exact

    For the first layer "vertices" and "segments" with the same seed are the same number.

    Args:
        f: a PyTorch module in evaluation mode, a JAX function of a batch, or a
            `PiecewiseLinear`; for "vertices" also a function of a batch that returns the
            preactivations of all layers, a list or dict of arrays (N, ...), whatever the
            activation is.
        x: (N, *shape) points.
        radius: r, in units of the inputs.
        method: as above.
        directions: how many; at most as many as inputs have numbers. "square" takes two.
        seed: of the directions, which are others for every point.

    Returns:
        A `LocalComplexity`: `by_layer`, `units`, `pieces`, `mean`, `stderr`.

    Raises:
        InputError: bad numbers or names.
        UnsupportedError: a network that is not piecewise linear, where its preactivations were
            not given.

    Accuracy: float64; counts are exact, or lower bounds, as said. Cost: "vertices": two passes a
    direction and point; "segments": the network at every breakpoint; "square": its cells.

    Source: Humayun, Balestriero and Baraniuk 2024, "Deep networks always grok and here is why"
    (vertices); Hanin and Rolnick 2019 (counts on lines and in cubes).

    Example:
        >>> from whydeep.geometry import from_layers
        >>> f = from_layers([np.eye(2), np.ones((1, 2))], [np.zeros(2), np.zeros(1)])
        >>> found = local_complexity(f, np.array([[0.1, 3.0], [5.0, 5.0]]), 0.5)
        >>> found.units  # the line x_1 = 0 is near the first point
        array([1, 0])
        >>> local_complexity(f, np.zeros((1, 2)), 0.5, method="square").pieces
        array([4.])
    """
    if method not in _METHODS:
        raise InputError("There is no such probe.", received=f"method={method!r}",
                         needed=", ".join(_METHODS))  # fmt: skip
    points = read_points(x)
    r = check_number("radius", radius, positive=True)
    asked = 2 if method == "square" else check_whole("directions", directions)
    seed = check_whole("seed", seed, least=0)
    size = points[0].size
    count = min(asked, size)
    if method == "square" and size < 2:
        raise InputError("A line has no squares.", received="inputs of one number",
                         suggestion='method="segments"')  # fmt: skip
    if method == "vertices":
        names, by_layer = _vertices(f, points, r, count, seed)
        pieces = np.full(len(points), np.nan)
    else:
        network = function_at(f, points[0].shape)
        names = tuple(f"{n}: {kink.name}" for n, kink in enumerate(network.kinks, start=1))
        by_layer = np.zeros((len(points), len(names)), np.int64)
        pieces = np.zeros(len(points))
        with progress_bar("local complexity", len(points)) as advance:
            for i, point in enumerate(points):
                ways = frame(size, count, seed, i).reshape(count, *point.shape)
                look = _square if method == "square" else _segments
                met, pieces[i] = look(network, point, r, ways)
                for layer, _ in met:
                    by_layer[i, layer] += 1
                advance()
    return LocalComplexity(by_layer, names, pieces, r, method, count, seed)


def _vertices(
    f: Any, points: np.ndarray, r: float, count: int, seed: int
) -> tuple[tuple[str, ...], np.ndarray]:
    units = given_units(f, points)
    ends, shape = 2 * count, points.shape[1:]
    step = max(1, _ROWS // ends)
    names: tuple[str, ...] = ()
    found = []
    starts = range(0, len(points), step)
    with progress_bar("local complexity", len(starts)) as advance:
        for start in starts:
            part = points[start : start + step]
            ways = r * np.stack(
                [frame(part[0].size, count, seed, start + i) for i in range(len(part))]
            ).reshape(len(part), count, *shape)
            at = part[:, None] + np.concatenate([ways, -ways], axis=1)
            layers = units(at.reshape(-1, *shape))
            names = tuple(name for name, _, _ in layers)
            found.append(
                [
                    units_that_change(signs.reshape(len(part), ends, -1), owners)
                    for _, signs, owners in layers
                ]
            )
            advance()
    if not names:
        return (), np.zeros((len(points), 0), np.int64)
    return names, np.concatenate([np.stack(part, axis=1) for part in found])


def _segments(
    network: Any, point: np.ndarray, r: float, ways: np.ndarray
) -> tuple[set[tuple[int, int]], float]:
    """The units, as (layer, number), that change sign on some segment; pieces on the average."""
    met: set[tuple[int, int]] = set()
    pieces = 0
    for way in ways:
        found = breakpoints(network, point - r * way, point + r * way)
        met |= set(zip(found.layers.tolist(), found.units.tolist(), strict=True))
        pieces += found.count
    return met, pieces / len(ways)


def _square(
    network: Any, point: np.ndarray, r: float, ways: np.ndarray
) -> tuple[set[tuple[int, int]], float]:
    """The units whose zero set meets the square; its cells."""
    found = regions(network, point, ways[0], ways[1], (-r, r, -r, r))
    made = found.edge_layers >= 0
    layers, units = found.edge_layers[made].tolist(), found.edge_units[made].tolist()
    return set(zip(layers, units, strict=True)), float(found.count)
