"""Membership of one query by linear programming, on a working set that grows.

    minimise |t|_1   where   sum_i w_i X_i + t = y,   sum_i w_i = 1,   w >= 0

The minimum is 0 where y is in the hull, and the weights are then a certificate. Otherwise the dual
variables of the first equation are the normal of a separating hyperplane. Points that violate it
join the working set until there are none.

Source: Dantzig 1963 (duality, column generation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog

__all__ = ["Answer", "by_linear_program"]

_STRICT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
_ZERO = 1e-7  # below it, weights are polished before they are judged
_ROUNDS = 200


@dataclass(frozen=True)
class Answer:
    """Weights on rows of the data, or a direction; None for what was not found."""

    rows: np.ndarray | None = None
    weights: np.ndarray | None = None
    direction: np.ndarray | None = None


def by_linear_program(
    data: np.ndarray, query: np.ndarray, inside: float, start: np.ndarray
) -> Answer:
    """Whether a query (r,) is in the hull of `data` (N, r), from a first working set of rows."""
    n, r = data.shape
    radius = float(np.sqrt(np.max(np.einsum("ij,ij->i", data, data))))
    nearest = np.argsort(np.sum((data - query) ** 2, axis=1))[: 2 * (r + 1)]
    working = np.unique(np.concatenate([start, nearest]))
    for _ in range(_ROUNDS):
        found = _program(data[working], query)
        if found is None:
            return Answer()
        weights, direction, distance = found
        if distance <= _ZERO * radius:
            kept = weights > 0
            polished = _polished(data[working[kept]], query, inside)
            if polished is not None:
                return Answer(rows=working[kept], weights=polished)
        values = data @ direction - query @ direction
        size = radius * float(np.linalg.norm(direction))
        if values.min() > 8 * r * np.finfo(np.float64).eps * size:
            return Answer(direction=direction)
        worst = np.argsort(values)[: min(n, 3 * (r + 1))]
        grown = np.union1d(working, worst[values[worst] <= 0])
        if len(grown) == len(working):
            return Answer()
        working = grown
    return Answer()


def _program(points: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Weights, minus the duals, and |t|_1; None where the program has no solution."""
    n, r = points.shape
    equations = np.zeros((r + 1, n + 2 * r))
    equations[:r, :n], equations[r, :n] = points.T, 1.0
    equations[:r, n : n + r], equations[:r, n + r :] = np.eye(r), -np.eye(r)
    cost = np.concatenate([np.zeros(n), np.ones(2 * r)])
    found: Any = linprog(
        cost, A_eq=equations, b_eq=np.append(query, 1.0), method="highs-ds", options=_STRICT
    )
    if found.status != 0:
        return None
    return found.x[:n], -found.eqlin.marginals[:r], float(found.fun)


def _polished(points: np.ndarray, query: np.ndarray, inside: float) -> np.ndarray | None:
    """Weights on these points by least squares, if none is negative and they give the query."""
    if len(points) > len(query) + 1:
        return None
    scale = float(np.abs(points - query).max()) or 1.0
    left = np.vstack([(points - query).T / scale, np.ones(len(points))])
    weights = np.linalg.lstsq(left, np.append(np.zeros(len(query)), 1.0), rcond=None)[0]
    weights = np.where(np.abs(weights) < 1e-13, 0.0, weights)
    if weights.min() < 0:
        return None
    weights = weights / weights.sum()
    return weights if np.linalg.norm(weights @ (points - query)) <= inside else None
