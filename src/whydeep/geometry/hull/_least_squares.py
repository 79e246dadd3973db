"""The point of a hull nearest to one query by non-negative least squares, on a growing working set.

    minimise |sum_i w_i (X_i - y)|^2 + (1 - sum_i w_i)^2    where   w >= 0

With w = s v and sum v = 1 the minimum over s falls with |sum v_i (X_i - y)|, so that v are the
weights of the nearest point. The orthogonal factors of the method lose nothing where Wolfe's
squared ones do. Points that the direction does not oppose join the working set until there are
none.

Source: Lawson and Hanson 1974, chapter 23 (NNLS; least distance programming); Dantzig 1963 (column
generation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

__all__ = ["Nearest", "by_least_squares"]

_ROUNDS = 200
_OPTIMAL = 1e-7  # of |p|^2: what data points may fall short of it


@dataclass(frozen=True)
class Nearest:
    """The nearest point reached.

    Args:
        rows: of the data points with weight.
        weights: theirs; they sum to 1.
        difference: p, that point minus the query.
        final: whether no data point has p.(X_i - y) below |p|^2, so that none is nearer.
    """

    rows: np.ndarray
    weights: np.ndarray
    difference: np.ndarray
    final: bool


def by_least_squares(data: np.ndarray, query: np.ndarray, start: np.ndarray) -> Nearest | None:
    """The point of the hull of `data` (N, r) nearest to a query (r,); None where none was found.

    Args:
        data: of radius about 1.
        query: where.
        start: rows of a first working set.
    """
    n, r = data.shape
    apart = data - query
    nearest = np.argsort(np.einsum("ij,ij->i", apart, apart))[: 2 * (r + 1)]
    working = np.unique(np.concatenate([start, nearest]))
    found = None
    for _ in range(_ROUNDS):
        system = np.vstack([apart[working].T, np.ones(len(working))])
        try:
            weights, _ = nnls(system, np.append(np.zeros(r), 1.0), maxiter=30 * len(working))
        except RuntimeError:  # it went in circles: roundings decide
            return found
        if not weights.sum() > 0:
            return found
        kept = weights > 0
        rows, weights = working[kept], weights[kept] / weights.sum()
        p = _normal(apart[rows], weights)
        prices, square = apart @ p, float(p @ p)
        final = bool(prices.min() >= (1.0 - _OPTIMAL) * square)
        found = Nearest(rows, weights, p, final)
        worst = np.argsort(prices)[: min(n, 3 * (r + 1))]
        grown = np.union1d(working, worst[prices[worst] < square])
        if final or len(grown) == len(working):
            return found
        working = grown
    return found


def _normal(apart: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The p of the nearest point, orthogonal to all between the points with weight.

    Close to the hull the weighted mean is all rounding, and its direction with it; a projection,
    done twice, is not.
    """
    first = int(np.argmax(weights))
    p = weights @ apart
    between = np.delete(apart, first, axis=0) - apart[first]
    if not 0 < len(between) < apart.shape[1]:
        return p
    basis, sizes, _ = np.linalg.svd(between.T, full_matrices=False)
    basis = basis[:, sizes > 1e-15 * sizes[0]]
    for _ in range(2):
        p = p - basis @ (basis.T @ p)
    return p
