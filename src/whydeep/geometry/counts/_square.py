"""Width against depth for x^2: sums of sawtooths, and one hidden layer with as many units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whydeep.arguments import count, instance, takes
from whydeep.brief import brief
from whydeep.errors import InputError
from whydeep.geometry.counts._depth import interpolant
from whydeep.geometry.pieces import Matrix, PiecewiseLinear, from_layers
from whydeep.geometry.segment import breakpoints
from whydeep.results import by_content

__all__ = ["SquareTable", "deep_square", "shallow_square", "square_error", "square_table"]


_FUNCTION = instance(
    PiecewiseLinear, needed="a PiecewiseLinear",
    suggestion="whydeep.geometry.piecewise_linear(f, example) reads one",
)  # fmt: skip


@takes(levels=count(1, 500))
def deep_square(levels: int) -> PiecewiseLinear:
    """x^2 on [0, 1] by `levels` hidden layers: ``x - sum_{s <= m} tent^s(x) / 4^s``, 3 m - 1 relus.

    It equals x^2 at the points ``k / 2^m`` and is linear between them: 2^m pieces, and an error of
    ``2^(-2 m - 2)``, which falls exponentially in the number of units. Each layer makes the next
    tent of two units; a third carries the sum, which is never below x^2 >= 0.

    Args:
        levels: m, hidden layers.

    Raises:
        InputError: not a whole number from 1 on.

    Source: Yarotsky 2017, Proposition 2.

    Example:
        >>> deep_square(2)(np.array([[0.0], [0.25], [0.5], [1.0]])).ravel()
        array([0.    , 0.0625, 0.25  , 1.    ])
    """
    tent, doubled = np.array([2.0, -4.0]), np.array([0.0, -0.5])
    weights, biases = [np.ones((2, 1))], [doubled]
    for level in range(1, levels + 1):
        # what the layer below holds of the sum: x itself, which is its first unit, or a third unit
        before = np.array([1.0, 0.0]) if level == 1 else np.array([0.0, 0.0, 1.0])
        fold = np.resize(tent, 2) if level == 1 else np.append(tent, 0.0)
        total = before - fold / 4.0**level
        if level == levels:
            weights.append(total[None])
            biases.append(np.zeros(1))
        else:
            weights.append(np.stack([fold, fold, total]))
            biases.append(np.append(doubled, 0.0))
    return from_layers(weights, biases)


@takes(pieces=count(1, 10_000))
def shallow_square(pieces: int) -> PiecewiseLinear:
    """x^2 on [0, 1] by one hidden layer, as well as any function of so many linear pieces can.

    Equally spaced knots, where it is ``1 / (8 pieces^2)`` below the interpolated value: that is its
    error too. No function of n linear pieces does better: on some piece of length at least 1/n,
    the best line misses x^2 by an eighth of the length's square.

    Args:
        pieces: linear pieces; as many relus.

    Raises:
        InputError: not a whole number from 1 on.

    Source: Chebyshev's equioscillation, piece by piece.

    Example:
        >>> shallow_square(2)(np.array([[0.0], [0.25], [0.5]])).ravel()
        array([-0.03125,  0.09375,  0.21875])
    """
    f = interpolant(np.square, pieces)
    last = f.maps[-1]
    assert isinstance(last, Matrix)  # noqa: S101 -- for the types: dense layers are matrices
    lowered = Matrix(last.weight, last.bias - 1 / (8 * pieces**2))
    return PiecewiseLinear(f.shape, f.outputs, (*f.maps[:-1], lowered), f.kinks)


@takes(f=_FUNCTION)
def square_error(f: PiecewiseLinear) -> float:
    """The largest ``|f(x) - x^2|`` on [0, 1]; exact.

    On a linear piece of slope a the difference is a parabola: it is largest at an end or at its
    top, ``x = a/2``.

    Args:
        f: of one number, with one output.

    Raises:
        InputError: another number of inputs or outputs.

    Accuracy: rounding, some 1e-16.

    Example:
        >>> square_error(deep_square(3)) == 2.0**-8
        True
    """
    if f.shape != (1,) or f.outputs != (1,):
        raise InputError("That is not a function of one number.",
                         received=f"{f.shape} -> {f.outputs}")  # fmt: skip
    found = breakpoints(f, np.zeros(1), np.ones(1))
    knots = np.concatenate([[0.0], found.positions, [1.0]])
    tops = np.clip(found.slopes[:, 0] / 2, knots[:-1], knots[1:])
    places = np.concatenate([knots, tops])
    return float(np.abs(f(places[:, None])[:, 0] - places**2).max())


@by_content
@dataclass(frozen=True, eq=False)
class SquareTable:
    """Pieces and error at x^2, of depth and of width with equally many units.

    Args:
        units: (levels,): 3 m - 1 relus for m = 1, 2, ...
        deep_pieces: (levels,): linear pieces on [0, 1], counted, with m hidden layers.
        deep_error: (levels,): the largest error, measured.
        shallow_pieces: (levels,): with one hidden layer.
        shallow_error: (levels,): its largest error, measured.
    """

    units: np.ndarray
    deep_pieces: np.ndarray
    deep_error: np.ndarray
    shallow_pieces: np.ndarray
    shallow_error: np.ndarray

    __repr__ = brief

    def __str__(self) -> str:
        lines = [
            f"{'units':>7}{'deep: pieces':>15}{'error':>12}{'shallow: pieces':>18}{'error':>12}"
        ]
        columns = (self.units, self.deep_pieces, self.deep_error, self.shallow_pieces,
                   self.shallow_error)  # fmt: skip
        lines.extend(
            f"{n:>7}{deep:>15,}{error:>12.2e}{shallow:>18,}{other:>12.2e}"
            for n, deep, error, shallow, other in zip(*columns, strict=True)
        )
        return "\n".join(lines)


@takes(levels=count(1, 20))
def square_table(levels: int = 8) -> SquareTable:
    """Pieces against error for x^2: m hidden layers beside one, with equally many relus.

    Args:
        levels: m goes from 1 to this, at most 20: 2^m pieces are counted.

    Raises:
        InputError: not a whole number from 1 to 20.

    Accuracy: counts and errors are measured on the networks' own breakpoints.

    Source: Yarotsky 2017; Telgarsky 2016 for depth separation in general.

    Example:
        >>> print(square_table(3))
          units   deep: pieces       error   shallow: pieces       error
              2              2    6.25e-02                 2    3.12e-02
              5              4    1.56e-02                 5    5.00e-03
              8              8    3.91e-03                 8    1.95e-03
    """
    units = 3 * np.arange(1, levels + 1) - 1
    deep = [_measured(deep_square(m)) for m in range(1, levels + 1)]
    shallow = [_measured(shallow_square(int(n))) for n in units]
    counts, errors = zip(*deep, strict=True)
    other_counts, other_errors = zip(*shallow, strict=True)
    return SquareTable(
        units, np.array(counts), np.array(errors), np.array(other_counts), np.array(other_errors)
    )


def _measured(f: PiecewiseLinear) -> tuple[int, float]:
    return breakpoints(f, np.zeros(1), np.ones(1)).linear_count, square_error(f)
