"""The affine maps between kinks: a matrix, or a function where a matrix would be too large."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whydeep.results import by_content

__all__ = ["AffineMap", "Function", "Matrix"]


class AffineMap(abc.ABC):
    """An affine map of rows."""

    @abc.abstractmethod
    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The images of rows, (points, columns)."""

    @abc.abstractmethod
    def rounding(self, largest: np.ndarray, image: np.ndarray) -> np.ndarray:
        """What rounding may add to each column of the image, from the largest absolute values."""


@by_content
@dataclass(frozen=True, eq=False)
class Matrix(AffineMap):
    """``rows @ weight + bias``.

    Args:
        weight: (columns before, columns after), float64.
        bias: (columns after,).
    """

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        out = rows @ self.weight
        out += self.bias
        return out

    def rounding(self, largest: np.ndarray, image: np.ndarray) -> np.ndarray:
        del image
        terms = largest @ np.abs(self.weight) + np.abs(self.bias)
        return 4.0 * np.finfo(np.float64).eps * terms


@by_content
@dataclass(frozen=True, eq=False)
class Function(AffineMap):
    """Operations of a framework, evaluated as they are in float64.

    Args:
        function: of rows.
    """

    function: Callable[[np.ndarray], np.ndarray]

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.function(rows), dtype=np.float64)

    def rounding(self, largest: np.ndarray, image: np.ndarray) -> np.ndarray:
        del largest
        top = np.abs(image).max(initial=0.0)
        return np.full(image.shape[1], 4.0 * np.finfo(np.float64).eps * top)
