"""Probes about points: random orthonormal directions, and signs of units at their ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from whydeep.arguments import as_numbers, called
from whydeep.errors import InputError
from whydeep.geometry.pieces import PiecewiseLinear
from whydeep.geometry.readers import function_at

__all__ = ["frame", "given_units", "read_points", "units_that_change"]


def read_points(x: Any) -> np.ndarray:
    """Points (N, *shape), float64 and finite."""
    points = as_numbers("x", x)
    if points.ndim < 2 or points.size == 0:
        raise InputError("The points are no batch of inputs.", received=f"shape {points.shape}",
                         needed="(N, ...), N >= 1", suggestion="x[None] for one input")  # fmt: skip
    if not np.isfinite(points).all():
        raise InputError("The points have numbers that are not finite.")
    return points


def frame(size: int, count: int, seed: int, point: int) -> np.ndarray:
    """Orthonormal directions (count, size), uniformly random, of one point."""
    rng = np.random.default_rng([seed, point])
    turn, upper = np.linalg.qr(rng.normal(size=(size, count)))
    return (turn * np.sign(np.diag(upper))).T


Units = Callable[[np.ndarray], list[tuple[str, np.ndarray, np.ndarray]]]
"""For inputs (n, *shape): by layer its name, the signs (n, columns), and each column's unit."""


def given_units(f: Any, points: np.ndarray) -> Units:
    """How to find the signs of units: from a function's preactivations, or the network itself."""
    if callable(f) and not hasattr(f, "parameters") and not isinstance(f, PiecewiseLinear):
        with called("f", "a network, or a function of inputs (N, ...)"):
            found = f(points[:1])
        if isinstance(found, (Mapping, Sequence)):
            return _of_preactivations(f)
    network = function_at(f, points[0].shape)

    def units(x: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
        states = network.states(x)
        found = []
        for number, (kink, state) in enumerate(zip(network.kinks, states, strict=False), start=1):
            owners = np.array([kink.unit(c) for c in range(kink.columns)], np.int64)
            found.append((f"{number}: {kink.name}", kink.signs(state), owners))
        return found

    return units


def _of_preactivations(f: Any) -> Units:
    def units(x: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
        found = f(x)
        if isinstance(found, Mapping):
            named = [(str(name), values) for name, values in found.items()]
        else:
            named = [(str(number), values) for number, values in enumerate(found, start=1)]
        made = []
        for name, values in named:
            array = values.detach().cpu().numpy() if hasattr(values, "detach") else values
            rows = np.asarray(array, np.float64)
            if rows.ndim < 2 or len(rows) != len(x) or not np.isfinite(rows).all():
                raise InputError(
                    f"The preactivations of layer {name} can't be read.",
                    received=f"shape {rows.shape} for {len(x)} inputs",
                    needed="finite numbers (N, ...)",
                )
            flat = rows.reshape(len(rows), -1)
            made.append((name, flat > 0, np.arange(flat.shape[1])))
        return made

    return units


def units_that_change(signs: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """How many units have a sign that is not the same at all ends: (points,).

    Args:
        signs: (points, ends, columns).
        owners: (columns,) the unit of each.
    """
    changed = np.asarray(signs.any(axis=1) & ~signs.all(axis=1))
    if not len(owners):
        return np.zeros(len(signs), np.int64)
    count = int(owners.max()) + 1
    if count == len(owners):  # one column a unit
        return changed.sum(axis=1)
    by_unit = np.zeros((len(signs), count), bool)
    for column, owner in enumerate(owners):
        by_unit[:, owner] |= changed[:, column]
    return by_unit.sum(axis=1)
