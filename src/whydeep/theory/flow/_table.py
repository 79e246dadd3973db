"""Means over one sample as a table in log K, for what asks for thousands of kernels.

Means of f(sqrt(K) u) are analytic in log K up to an imaginary part of pi (where a pole of f on
the imaginary axis meets the line). On windows from c/2 to 2c their Chebyshev series fall like
9.2^-k: 20 terms leave nothing. A window that is not so smooth is not used.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from numpy.polynomial import chebyshev

from whydeep.activations import ScalarFunction
from whydeep.gaussian import SingleMeans, single_means

__all__ = ["MeansTable", "means_table"]

_TERMS = 20
_SMOOTH = 1e-13  # of the last coefficients, relative to the largest
_LOG_4 = math.log(4.0)


class MeansTable:
    """`single_means` of one activation, from windows that are made when first needed."""

    def __init__(self, activation: ScalarFunction) -> None:
        self.activation = activation
        self.windows: dict[int, tuple[np.ndarray, float] | None] = {}

    def at(self, kernels: np.ndarray) -> SingleMeans:
        """Means at kernels K >= 0, shape (N,)."""
        if self.activation.slopes is not None or np.any(kernels == 0):
            return single_means(self.activation, kernels)
        position = np.log(kernels) / _LOG_4
        which = np.rint(position).astype(int)
        out = np.empty((9, kernels.size))
        for window in np.unique(which).tolist():
            inside = which == window
            found = self._window(window)
            if found is None:
                exact = single_means(self.activation, kernels[inside])
                out[:, inside] = np.stack(dataclasses.astuple(exact))
                continue
            series, error = found
            out[:8, inside] = chebyshev.chebval(2 * (position[inside] - window), series)
            out[8, inside] = error
        return SingleMeans(*out)

    def _window(self, number: int) -> tuple[np.ndarray, float] | None:
        """The series (terms, 8) from 4^number / 2 to 4^number 2, and its error, if smooth."""
        if number not in self.windows:
            points = chebyshev.chebpts1(_TERMS)
            with np.errstate(over="ignore", invalid="ignore"):
                means = single_means(self.activation, np.exp(_LOG_4 * (number + points / 2)))
            values = np.stack(dataclasses.astuple(means))
            self.windows[number] = None
            if np.all(np.isfinite(values)):
                series = np.linalg.solve(chebyshev.chebvander(points, _TERMS - 1), values[:8].T)
                # Derivatives in K may cancel: they are measured against the mean over K.
                size = np.abs(values[[0, 0, 0, 3, 3, 5, 6, 7]]).max(axis=1)
                size /= 4.0 ** (number * np.array([0, 1, 2, 0, 1, 0, 0, 0]))
                tail = float((np.abs(series[-3:]).max(axis=0) / (size + 1e-300)).max())
                if tail <= _SMOOTH:
                    self.windows[number] = series, float(values[8].max()) + tail
        return self.windows[number]


@functools.lru_cache(maxsize=32)
def means_table(activation: ScalarFunction) -> MeansTable:
    """The table of an activation, one for all who ask."""
    return MeansTable(activation)
