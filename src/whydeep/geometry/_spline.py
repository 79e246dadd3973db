"""The spline view of a network at one input: the affine map in force, its code, its boundary.

Source: Balestriero and Baraniuk 2018, "A Spline Theory of Deep Learning": a piecewise-linear
network is an affine spline, the signs of its units are a vector quantisation of the input, and the
rows of the map are templates that the input is matched with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import anything, array, as_array, count, takes
from whydeep.brief import brief
from whydeep.errors import InputError
from whydeep.geometry.pieces import Maximum, PiecewiseLinear
from whydeep.geometry.readers import function_at
from whydeep.results import by_content

__all__ = ["Spline", "code_distance", "spline"]

_BUDGET = 1 << 26  # bytes of the widest state


@by_content
@dataclass(frozen=True, eq=False)
class Spline:
    """The affine piece of a network at one input: ``A x + b = f(x)`` on the cell of x.

    Args:
        x: the input, (*shape).
        A: (outputs, inputs): row k is the template of output k.
        b: (outputs,).
        code: (words,): the signs of all splits, packed in words of 64.
        distance: from x to the boundary of its cell, the nearest input where a unit changes sign;
            infinite if there is none.
        layer: the layer of this unit, or -1.
        unit: its number in the layer, or -1.
        nearest: a point on that boundary, (*shape), at this distance.
    """

    x: np.ndarray
    A: np.ndarray
    b: np.ndarray
    code: np.ndarray
    distance: float
    layer: int
    unit: int
    nearest: np.ndarray

    __repr__ = brief

    @takes(self=anything, output=count(0))
    def template(self, output: int) -> np.ndarray:
        """Row `output` of A in the shape of an input: what this output is the product with."""
        output = count(0, len(self.A) - 1)("output", output)
        return self.A[output].reshape(self.x.shape)


@takes(f=anything, x=array())
def spline(f: Any, x: Any) -> Spline:
    """The affine map in force at one input, its code, and the distance to the nearest boundary.

    The cell of x is the polytope where all units keep their signs, so that its boundary is nearest
    on one of their hyperplanes: ``min |z_k(x)| / |grad z_k|`` over all units of all layers.

    Args:
        f: a torch module, a JAX function of a batch, or a `PiecewiseLinear`.
        x: one input.

    Raises:
        InputError: another shape.
        UnsupportedError: a function that is not piecewise linear.

    Accuracy: ``A x + b`` is f(x) up to rounding, about 1e-15 of the sum of its terms.
    Cost: the network at as many points as x has numbers.

    Source: Balestriero and Baraniuk 2018 (affine spline operators, templates).

    Example:
        >>> from whydeep.geometry import from_layers
        >>> f = from_layers([np.eye(2), np.array([[2.0, 3.0]])], [np.zeros(2), np.ones(1)])
        >>> found = spline(f, np.array([0.5, -2.0]))
        >>> found.A, found.b, found.distance
        (array([[2., 0.]]), array([1.]), 0.5)
    """
    function, point = function_at(f, np.shape(x)), x
    row = function.rows(point[None])
    state = function.maps[0](row)
    signs, values = [], []
    for layer, kink in enumerate(function.kinks):
        signs.append(kink.signs(state))
        values.append(_gaps(function, layer, state, signs[-1])[0])
        state = function.next_state(layer, state)
    inputs = row.shape[1]
    squares = [np.zeros_like(v) for v in values]
    widest = max([k.width for k in function.kinks], default=1)
    size = max(_BUDGET // (8 * widest), 1)
    *gaps, shift = _piece(function, np.zeros((1, inputs)), signs)
    rows = []
    for begin in range(0, inputs, size):
        units = np.eye(min(size, inputs - begin), inputs, begin)
        *found, outputs = _piece(function, units, signs)
        rows.append(outputs - shift)
        for n, (one, zero) in enumerate(zip(found, gaps, strict=True)):
            squares[n] += ((one - zero) ** 2).sum(axis=0)
    weight = np.concatenate(rows).T
    best = (np.inf, -1, -1, 0.0)
    for layer, (value, square) in enumerate(zip(values, squares, strict=True)):
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.where(square > 0, np.abs(value) / np.sqrt(square), np.inf)
        column = int(np.argmin(distance))
        if distance[column] < best[0]:
            best = (float(distance[column]), layer, column, float(value[column]))
    distance, layer, column, value = best
    nearest = np.full(point.shape, np.nan)
    if layer >= 0:
        gradient = _gradient(function, signs, layer, column, inputs, size)
        nearest = point - (value * gradient / (gradient @ gradient)).reshape(point.shape)
        column = function.kinks[layer].unit(column)
    code = function.pattern(point[None])[0]
    return Spline(point, weight, shift[0], code, distance, layer, column, nearest)


def _gaps(f: PiecewiseLinear, layer: int, state: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Affine functions that are zero on the boundary: splits, or what is missing to the largest."""
    kink = f.kinks[layer]
    if not isinstance(kink, Maximum):
        return kink.splits(state)
    ranked = kink.ranked(state)
    best = signs.reshape(len(signs), *kink.members.shape).argmax(axis=-1)
    top = np.take_along_axis(ranked, best[..., None], axis=-1)
    return (top - ranked).reshape(len(state), -1)


def _piece(f: PiecewiseLinear, rows: np.ndarray, signs: list[np.ndarray]) -> list[np.ndarray]:
    """The boundary functions of every layer, and the outputs, of one affine piece anywhere."""
    state, found = f.maps[0](rows), []
    for layer, one in enumerate(signs):
        here = np.repeat(one, len(rows), axis=0)
        found.append(_gaps(f, layer, state, here))
        state = f.extended(layer, state, here)
    return [*found, state]


def _gradient(
    f: PiecewiseLinear, signs: list[np.ndarray], layer: int, column: int, inputs: int, size: int
) -> np.ndarray:
    parts = []
    zero = _piece(f, np.zeros((1, inputs)), signs)[layer][0, column]
    for begin in range(0, inputs, size):
        units = np.eye(min(size, inputs - begin), inputs, begin)
        parts.append(_piece(f, units, signs)[layer][:, column] - zero)
    return np.concatenate(parts)


_CODE = "an array of numpy.uint64"


def code_distance(first: Any, second: Any) -> Any:
    """In how many signs two codes differ: 0 in one cell, 1 across one edge.

    Args:
        first: codes, (..., words), of `Spline.code`, `Regions.patterns` or
            `PiecewiseLinear.pattern`.
        second: others of the same function; shapes broadcast.

    Raises:
        InputError: codes of different lengths.

    Source: Balestriero and Baraniuk 2018 (vector quantisation of signals by a network).

    Example:
        >>> code_distance(np.array([5], np.uint64), np.array([6], np.uint64))
        np.int64(2)
    """
    one, two = as_array("first", first, _CODE), as_array("second", second, _CODE)
    for name, code in (("first", one), ("second", two)):
        if code.dtype != np.uint64:
            raise InputError(f"{name} is no code.", received=f"{code.dtype}", needed=_CODE,
                             suggestion="whydeep.geometry.spline(f, x).code")  # fmt: skip
    if one.shape[-1:] != two.shape[-1:]:
        raise InputError("The codes are of different functions.",
                         received=f"{one.shape[-1:]} and {two.shape[-1:]} words")  # fmt: skip
    return np.bitwise_count(one ^ two).sum(axis=-1, dtype=np.int64)[()]
