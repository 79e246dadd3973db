"""Layers without parameters that mix positions: pooling, flattening, any fixed linear map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import COUNT, FLAG, anything, choice, count, each, refusal, shown, takes
from whydeep.errors import InputError
from whydeep.memory import available
from whydeep.network._convolution import check_padding, per_dimension, window_size, windows
from whydeep.network._layers import Array, Layer, Shape

_METHODS = (
    "nearest", "linear", "bilinear", "trilinear", "triangle", "cubic", "bicubic", "tricubic",
    "lanczos3", "lanczos5",
)  # fmt: skip

__all__ = [
    "Aggregate",
    "AvgPool",
    "Flatten",
    "GlobalAvgPool",
    "GlobalSumPool",
    "MaxPool",
    "Mix",
    "SumPool",
    "aggregate",
    "index",
    "resize",
]


@dataclass(frozen=True)
class _Pool(Layer):
    size: Any = (2, 2)
    strides: Any = None
    padding: Any = "VALID"

    def __post_init__(self) -> None:
        size = window_size(self)
        strides = self.size if self.strides is None else self.strides
        object.__setattr__(self, "strides", per_dimension("strides", strides, len(size)))
        object.__setattr__(self, "padding", check_padding(self.padding, len(size)))

    def output_shape(self, *shapes: Shape) -> Shape:
        """A position for every window."""
        return Shape(windows(self, shapes[0].positions), shapes[0].channels)


@dataclass(frozen=True)
class AvgPool(_Pool):
    """The mean over windows; `strides` is the window's size unless given.

    Args:
        size: of the window.
        strides: of the window.
        padding: "SAME", "VALID", "CIRCULAR", or (before, after) zeros for each dimension.
        count_padding: whether zeros beyond the border count in the mean (PyTorch's
            ``count_include_pad``); neural-tangents' ``normalize_edges`` is the opposite.
    """

    count_padding: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "count_padding", FLAG("count_padding", self.count_padding))


@dataclass(frozen=True)
class SumPool(_Pool):
    """The sum over windows."""


@dataclass(frozen=True)
class MaxPool(_Pool):
    """The largest value of each window; zeros never win beyond the border.

    Its kernel has no closed form: it is measured on Gaussian draws, with a standard error.
    """


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """The mean over all positions."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """No positions are left."""
        return Shape((), shapes[0].channels)


@dataclass(frozen=True)
class GlobalSumPool(GlobalAvgPool):
    """The sum over all positions."""


@dataclass(frozen=True)
class Flatten(Layer):
    """All positions and channels as one vector."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """No positions are left, the channels of all stand side by side."""
        return Shape((), shapes[0].count * shapes[0].channels)


@dataclass(frozen=True)
class Aggregate(Layer):
    """Sums over neighbours in a graph that each input has: ``s'(p) = sum_q g[q, p] s(q)``.

    The graphs are given with the inputs: ``whydeep.kernel(net, x1, graph1=...)``, an array
    (N, positions, positions) of weights from q to p. A graph that all inputs share is `aggregate`.
    """


@dataclass(frozen=True)
class Mix(Layer):
    """A fixed linear map over positions: ``s'(p) = sum_q matrix[p, q] s(q)``, channel by channel.

    Selection, resizing, averaging over the neighbours in a graph: see `index`, `resize`,
    `aggregate`.

    Args:
        matrix: (positions after, positions before), positions counted row by row.
        positions: the new positions, whose product is the number of rows.
    """

    matrix: Array
    positions: tuple[int, ...]

    def __init__(self, matrix: Any, positions: tuple[int, ...] | None = None) -> None:
        matrix = Array.read("matrix", matrix, dims=2)
        rows = len(matrix.values)
        shape = (rows,) if positions is None else each(count(0))("positions", positions)
        if math.prod(shape) != rows:
            raise InputError(
                "The positions do not match the matrix.",
                received=f"{shape} for {rows} rows",
                needed="positions whose product is the number of rows",
            )
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "positions", shape)

    def output_shape(self, *shapes: Shape) -> Shape:
        """The new positions."""
        if shapes[0].count != self.matrix.values.shape[1]:
            raise InputError(
                "The matrix of this map has another number of positions than its input.",
                received=f"{self.matrix.values.shape[1]} columns, {shapes[0].count} positions",
            )
        return Shape(self.positions, shapes[0].channels)


@takes(positions=each(COUNT), selection=anything)
def index(positions: tuple[int, ...], selection: Any) -> Mix:
    """The positions that a NumPy index selects: ``index((8, 8), np.s_[:, 0])``.

    Example:
        >>> index((4,), slice(1, 3)).output_shape(Shape((4,), 16)).positions
        (2,)
    """
    _check_size(positions, positions)
    try:
        numbers = np.arange(math.prod(positions)).reshape(positions)[selection]
    except Exception as error:
        raise refusal(
            "selection", selection, "This selection does not select positions.",
            f"what NumPy takes in brackets behind an array of shape {positions}",
            cause=str(error)[:200], suggestion="numpy.s_[...] writes one",
        ) from error  # fmt: skip
    return Mix(np.eye(math.prod(positions))[np.ravel(numbers)], np.shape(numbers))


def _check_size(positions: tuple[int, ...], new: tuple[int, ...]) -> None:
    needed, free = 32 * math.prod(positions) * math.prod(new), available()
    if needed > free:
        raise InputError(
            "A map over this many positions does not fit into memory.",
            received=f"positions {shown(positions)} to {shown(new)}",
            needed=f"a matrix of less than {free / 2**30:.1f} GiB",
        )


def aggregate(adjacency: Any) -> Mix:
    """Sums over the neighbours in one graph that all inputs share: rows of `adjacency`."""
    return Mix(adjacency)


@takes(positions=each(COUNT), new=each(COUNT), method=choice(*_METHODS))
def resize(positions: tuple[int, ...], new: tuple[int, ...], method: str = "linear") -> Mix:
    """A resized image, ``jax.image.resize`` with the same `method`, as a linear map."""
    import jax

    if len(new) != len(positions):
        raise InputError(
            "An image keeps its number of dimensions.", received=f"{positions} to {new}",
            needed="as many new positions as there are dimensions",
        )  # fmt: skip
    _check_size(positions, new)
    basis = np.eye(math.prod(positions), dtype=np.float32).reshape(-1, *positions)
    with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
        columns = jax.image.resize(basis.astype(np.float64), (len(basis), *new), method)
    return Mix(np.asarray(columns).reshape(len(basis), -1).T, new)
