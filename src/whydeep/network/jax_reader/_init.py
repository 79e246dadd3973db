"""The law that parameters are drawn from, measured on draws and read as a rule where one fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.network.jax_reader._leaves import Use

__all__ = ["Draws", "Law"]

_ENOUGH = 200  # numbers below which a measured variance says too little for a rule
_STANDARD_ERRORS = 4.0


@dataclass(frozen=True)
class Law:
    """Mean and variance of the numbers of a leaf that a layer uses, and how they were read.

    Args:
        mean: of the numbers as they stand in the leaf.
        variance: likewise.
        note: how it was read.
    """

    mean: float
    variance: float
    note: str


class Draws:
    """Several draws of all leaves, or the one tree there is.

    Args:
        trees: the leaves of every draw.
        factory: whether a factory made them.
    """

    def __init__(self, trees: Sequence[Sequence[Any]], *, factory: bool) -> None:
        self.trees = trees
        self.factory = factory
        self._laws: dict[Any, Law] = {}

    def law(self, use: Use, rules: dict[str, float]) -> Law:
        """The law of the leaf's numbers behind `use`; `rules` are variances by name."""
        view = use.parameter.view
        key = (view.key, tuple(rules.items()))
        if key not in self._laws:
            numbers = np.concatenate(
                [np.ravel(view.of(tree[view.leaf.number])).astype(np.float64)
                 for tree in self.trees]
            )  # fmt: skip
            self._laws[key] = _read(numbers, rules, len(self.trees), factory=self.factory)
        return self._laws[key]


def _read(numbers: np.ndarray, rules: dict[str, float], draws: int, *, factory: bool) -> Law:
    n = numbers.size
    source = f"{draws} draws" if factory else "the given numbers"
    if n == 0 or np.all(numbers == numbers[0]):
        return Law(float(numbers[0]) if n else 0.0, 0.0, f"{float(numbers[0]):g} always")
    mean, spread = float(numbers.mean()), float(numbers.std())
    if abs(mean) < 5.0 * spread / math.sqrt(n):
        mean = 0.0
    squares = (numbers - mean) ** 2
    variance = float(squares.mean())
    error = float(squares.std()) / math.sqrt(n)
    text = f"{variance:.4g} +- {error:.2g} in {source}"
    fits = {
        name: value
        for name, value in rules.items()
        if abs(value - variance) <= _STANDARD_ERRORS * error + 1e-6 * variance
    }
    distinct = {f"{value:.9g}" for value in fits.values()}
    if n >= _ENOUGH and len(distinct) == 1:
        name, value = next(iter(fits.items()))
        return Law(mean, value, f"variance {name} ({text})")
    return Law(mean, variance, f"variance {text}, kept as measured")
