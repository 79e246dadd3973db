"""One layer's means at variances where series are too long: from tables of smoothed functions."""

from __future__ import annotations

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.gaussian import any_pair_means
from whydeep.theory.infinite.dense._layer_maps import LayerMap

__all__ = ["tabled_layer"]

_STEP = 1e-3


def tabled_layer(activation: ScalarFunction, variance: float) -> LayerMap | None:
    """D, T and G of any continuous activation at variance q; None where it is out of reach."""
    near = variance * np.array([1.0, 1.0 + _STEP])
    own = any_pair_means(activation, near, near, np.zeros(2), np.full(2, 2.0))
    if own is None or not own.image[0] > 0:
        return None
    elasticity = abs(float(np.log(own.image[1] / own.image[0]))) / np.log1p(_STEP)

    def gaps(minus: np.ndarray, plus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        both = np.full(minus.size, variance)
        found = any_pair_means(activation, both, both, minus, plus)
        if found is None:  # it was there for the diagonal, whose variance is the same
            raise AssertionError
        return found.difference, found.total, found.bend / 2.0

    return LayerMap(float(own.image[0]), float(own.slope[0]), gaps, own.error, elasticity)
