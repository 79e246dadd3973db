"""The law that parameters are drawn from, measured on draws and read as a rule where one fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from whydeep.network._laws import (
    EXACT,
    fixed_law,
    orthogonal_law,
    settled_law,
    variances_read,
)
from whydeep.network._laws import Law as LawOfNumbers
from whydeep.network.jax_reader._leaves import Use

__all__ = ["Draws", "Law"]

_MEAN_ERRORS = 5.0


@dataclass(frozen=True)
class Law:
    """Mean and variance of the numbers of a leaf that a layer uses, and how they were read.

    Args:
        mean: of the numbers as they stand in the leaf.
        variance: likewise.
        note: how it was read.
        error: standard error of the variance.
    """

    mean: float
    variance: float
    note: str
    error: float = 0.0


class Draws:
    """Several draws of all leaves, or the one tree there is.

    Args:
        leaves: of every leaf its draws, ``(draws, *shape)``.
        factory: whether a factory made them.
        errors: how many standard errors every variance is taken higher.
    """

    def __init__(self, leaves: Sequence[np.ndarray], *, factory: bool, errors: float = 0.0) -> None:
        self.leaves = leaves
        self.factory = factory
        self.errors = errors
        self.laws: dict[Any, tuple[str, Law]] = {}

    def law(self, use: Use, rules: dict[str, float]) -> Law:
        """The law of the leaf's numbers behind `use`; `rules` are variances by name."""
        view = use.parameter.view
        key = (view.key, tuple(rules.items()))
        if key not in self.laws:
            stack = self.leaves[view.leaf.number]
            flat = stack.reshape(len(stack), -1)
            numbers = flat if view.whole else flat[:, view.positions().ravel()]
            shape = stack.shape[1:] if view.whole else view.shape
            numbers = numbers.reshape(len(stack), *shape).astype(np.float64)
            law = _read(numbers, rules, factory=self.factory)
            law = replace(law, variance=law.variance + self.errors * law.error)
            self.laws[key] = view.leaf.path, law
        return self.laws[key][1]

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What a description rests on where variances are not known exactly, in a sentence."""
        worst: dict[str, Law] = {}
        for path, law in self.laws.values():
            if law.error > EXACT * law.variance and path not in worst:
                worst[path] = law
        whose = "draws of init" if self.factory else "the given numbers"
        return variances_read(whose, {n: (w.variance, w.error, "") for n, w in worst.items()})


def _read(numbers: np.ndarray, rules: dict[str, float], *, factory: bool) -> Law:
    draws = len(numbers)
    source = f"{draws} draws" if factory else "the given numbers"
    if numbers.size == 0:
        return Law(0.0, 0.0, "no numbers")
    fixed = fixed_law(numbers, origin="factory" if factory else "numbers")
    if fixed is None and numbers.size == 1 and numbers.ndim == 1:
        fixed = LawOfNumbers(0.0, float(numbers.flat[0]))  # a number by itself is no layer's weight
    if fixed is not None and fixed.family != "fixed":
        return Law(fixed.mean, 0.0, f"{fixed.mean:g} always")
    if fixed is not None and draws > 1:
        numbers = numbers[:1]  # one table, however often it is drawn
    if numbers.ndim > 2:
        found = orthogonal_law(numbers[0].reshape(-1, numbers.shape[-1]), origin="numbers")
        if found is not None:
            variance = found.variance
            return Law(0.0, variance, f"variance {variance:.4g}: {found.text} ({source})")
    n = numbers.size
    mean, spread = float(numbers.mean()), float(numbers.std())
    if abs(mean) < _MEAN_ERRORS * spread / math.sqrt(n) or n == 1:
        mean = 0.0
    found = settled_law(
        (numbers - mean).ravel(), [(v, name) for name, v in rules.items()], origin="numbers"
    )
    text = f"{found.variance:.4g} +- {found.error:.2g} in {source}"
    if found.text.startswith("variance"):
        return Law(mean, found.variance, f"variance {text}, kept as measured", found.error)
    return Law(mean, found.variance, f"variance {found.text} ({text})", found.error)
