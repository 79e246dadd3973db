"""The slope of an activation as a function of its own: what tangent kernels are images of."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.gaussian._covariance import Covariance, pairs
from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._moments import pair_derivatives, self_derivatives
from whydeep.gaussian._trapezoid import gaussian_means, pair_rows

__all__ = ["TangentTables", "slope_function", "tangent_tables"]

_ORDER = 4
_TOLERANCE = 1e-12
_LOW = [(i, j) for i in range(_ORDER + 1) for j in range(_ORDER + 1 - i)]
_BOTH = sorted({*_LOW, *((i + 1, j + 1) for i, j in _LOW)})  # of s, and of s' as s


@functools.lru_cache(maxsize=256)
def slope_function(activation: ScalarFunction) -> ScalarFunction:
    """s', piece by piece, with the kinks of s: for a continuous s it is all of the derivative.

    Its means, and those of its derivatives as distributions, come from `pair_derivatives` and
    `self_derivatives` like those of any activation: ``pair_derivatives(slope_function(s), cov, 4)``
    has <s^(1+i)_a s^(1+j)_b> up to i + j = 4.

    Example:
        >>> from whydeep import activations
        >>> import numpy as np
        >>> slope_function(activations.get("relu")).derivatives(np.array([-1.0, 2.0]), 0)[0]
        array([0., 1.])
    """
    pieces = tuple(jax.grad(piece) for piece in activation.pieces)
    return ScalarFunction(f"slope of {activation.name}", pieces, activation.kinks)


@dataclass(frozen=True)
class TangentTables:
    """Means of derivatives of s s and of s' s', each as `pair_derivatives` and `self_derivatives`.

    Args:
        pairs: <s^(i)_a s^(j)_b> for i + j <= 4.
        squares: <(s_a^2)^(m)> for m <= 4.
        slope_pairs: <s^(1+i)_a s^(1+j)_b> for i + j <= 4.
        slope_squares: <(s'_a^2)^(m)> for m <= 4.
    """

    pairs: Estimate
    squares: Estimate
    slope_pairs: Estimate
    slope_squares: Estimate


def tangent_tables(activation: ScalarFunction, cov: Covariance) -> TangentTables:
    """All four tables of one law; of a smooth activation in one pass over each pair.

    Args:
        activation: continuous.
        cov: law of the preactivations of N samples.

    Accuracy: 1e-12 of the mean magnitude.

    **Source:** Price 1958 (what the means are for).

    Example:
        >>> from whydeep import activations
        >>> cov = Covariance.from_matrix(np.array([[1.0, 0.5], [0.5, 1.0]]))
        >>> tables = tangent_tables(activations.get("erf"), cov)
        >>> bool(tables.slope_pairs.value[0, 0, 0, 1] == tables.pairs.value[1, 1, 0, 1])
        True
    """
    if not activation.smooth:
        slope = slope_function(activation)
        return TangentTables(
            pair_derivatives(activation, cov, _ORDER),
            self_derivatives(activation, cov, _ORDER),
            pair_derivatives(slope, cov, _ORDER),
            self_derivatives(slope, cov, _ORDER),
        )
    a, b = pairs(cov.size)
    cosine, sine = cov.half_angles()
    deviation, gap = np.sqrt(cov.variance), cov.deviation_difference
    rows = pair_rows(deviation[a], deviation[b], gap[a, b], cosine[a, b], sine[a, b])[:, :2]

    def products(z: np.ndarray) -> list[np.ndarray]:
        table = activation.derivatives(z, _ORDER + 1)
        return [table[i][:, 0] * table[j][:, -1] for i, j in _BOTH]

    off = gaussian_means(products, rows, _TOLERANCE)
    own = gaussian_means(products, deviation[:, None, None], _TOLERANCE)
    found = _full(off.value, own.value), _full(off.error, own.error)
    low = [np.full((_ORDER + 1, _ORDER + 1, cov.size, cov.size), np.nan) for _ in range(4)]
    for i, j in _LOW:
        for shift, target in enumerate((low[:2], low[2:])):
            for part, full in zip(found, target, strict=True):
                full[i, j] = part[i + shift, j + shift]
    tables = Estimate(low[0], low[1]), Estimate(low[2], low[3])
    return TangentTables(tables[0], _squares(tables[0]), tables[1], _squares(tables[1]))


def _full(off: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Means of pairs a < b and of single samples as (6, 6, N, N), NaN where there are none."""
    size = own.shape[1]
    out = np.full((_ORDER + 2, _ORDER + 2, size, size), np.nan)
    a, b = pairs(size)
    for (i, j), mean, single in zip(_BOTH, off, own, strict=True):
        out[i, j, a, b] = out[j, i, b, a] = mean
        out[i, j, np.arange(size), np.arange(size)] = single
    return out


def _squares(table: Estimate) -> Estimate:
    """<(f^2)^(m)> from <f^(i) f^(j)> by the rule of Leibniz: shape (5, N)."""
    value, error = (np.diagonal(part, axis1=2, axis2=3) for part in (table.value, table.error))
    binomials = [[1], [1, 1], [1, 2, 1], [1, 3, 3, 1], [1, 4, 6, 4, 1]]
    return Estimate(
        np.stack([sum(c * value[k, m - k] for k, c in enumerate(binomials[m])) for m in range(5)]),
        np.stack([sum(c * error[k, m - k] for k, c in enumerate(binomials[m])) for m in range(5)]),
    )
