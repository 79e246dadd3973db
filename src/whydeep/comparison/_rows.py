"""One row of the table: an observable at one layer (or all), measured over predicted.

Two questions are asked of a row. *Size*: the mean over components of measured / predicted, each
weighted by its precision, must be 1 (where theory predicts exactly nothing: the mean itself, in
units of the kernel, must be 0). *Pattern*: what is left of the components once their common size
is taken out must be noise (`Pattern`). Components that are measured without noise, as those of a
zero input are, take part in neither: each must be right by itself (`Row.fixed`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from whydeep.brief import brief
from whydeep.comparison._ladder import Ladder
from whydeep.comparison._pattern import Pattern

__all__ = ["ROUNDINGS", "ZERO", "Row", "Series", "exact_row", "noisy"]

# A prediction below this share of the kernel is exactly zero up to quadrature.
ZERO = 1e-7
# How many roundings a number may be off that should be exact.
ROUNDINGS = 16.0


@dataclass(frozen=True)
class Row:
    """A line of the comparison.

    Args:
        observable: its name.
        layer: its label, or None for all layers together.
        predicted: root mean square of the predicted components.
        ratio: measured over predicted, or, where `absolute`, the measured mean in units of the
            kernel (predicted: 0).
        stderr: standard error of `ratio`.
        neglected: bound on what the neglected order in 1/width, quadrature and rounding add.
        inherent: the part of `neglected` that more draws would not remove.
        absolute: whether theory predicts exactly zero.
        z: deviation of `ratio` in standard errors.
        p_value: two-sided, from the noise alone, Student's t with batches - 1 degrees.
        pattern: of the components about their common size; None where there is one component or
            all layers are taken together.
        fixed: of the components that are measured without noise, beside others that are not: the
            one that is farthest off.
        known_to: the share of the prediction (of the kernel, where `absolute`) within which the
            truth lies, at the declared error rate.
        pattern_known_to: likewise, for components one by one.
        verdict: "agrees", "disagrees" or "not resolved".
        reason: why, in words.
        draws_needed: for "not resolved": how many draws would resolve it, if draws can.
        series: the numbers at every width behind the ratio.
    """

    observable: str
    layer: int | None
    predicted: float
    ratio: float
    stderr: float
    neglected: float
    inherent: float
    absolute: bool
    z: float
    p_value: float
    pattern: Pattern | None = field(default=None, repr=False)
    fixed: Row | None = field(default=None, repr=False)
    known_to: float = 0.0
    pattern_known_to: float | None = None
    verdict: str = ""
    reason: str = ""
    draws_needed: int | None = None
    series: Series | None = field(default=None, repr=False, compare=False)

    __repr__ = brief

    @property
    def deviation(self) -> float:
        """Of the ratio from what theory says."""
        return self.ratio - (0.0 if self.absolute else 1.0)

    @property
    def exact(self) -> bool:
        """Whether nothing in the row is random: measured without noise."""
        return self.stderr == 0.0

    @property
    def pattern_p_value(self) -> float | None:
        """That components deviate from their common size by noise alone, where there are any."""
        return None if self.pattern is None else self.pattern.p_value

    @property
    def pattern_bound(self) -> float | None:
        """The same, once what the neglected order may add is taken off: the verdict's."""
        return None if self.pattern is None else self.pattern.bound


@dataclass(frozen=True)
class Series:
    """Batch values of one row's number at every width, and what is known of it.

    Args:
        values: (R, batches): the precision-weighted mean over components of measured / predicted.
        power: which coefficient of the expansion is tested: 0 (leading order) or 1.
        unit: by what the coefficient is multiplied to become the ratio.
        predicted: root mean square of the predicted components.
        absolute: whether theory predicts zero.
        floor: rounding and quadrature, in units of the ratio.
        growth: rho, the ratio of successive orders in x for the size of the row.
        slope: what theory predicts for the coefficient of x = 1/factor of `values`, where it does.
    """

    values: np.ndarray
    power: int
    unit: float
    predicted: float
    absolute: bool
    floor: float
    growth: float
    slope: float | None = None

    __repr__ = brief

    def tested(self, ladder: Ladder) -> np.ndarray:
        """The tested number of every batch."""
        return self.unit * ladder.coefficient(self.power, self.values)

    def row(self, observable: str, layer: int | None, ladder: Ladder) -> Row:
        """The row without its pattern and its verdict."""
        tested = self.tested(ladder)
        batches = len(tested)
        ratio = float(tested.mean())
        stderr = float(tested.std(ddof=1) / np.sqrt(batches))
        deviation = ratio - (0.0 if self.absolute else 1.0)
        expansion = ladder.expand(self.values)
        neglected = self.unit * ladder.neglected(self.power, expansion, self.growth) + self.floor
        inherent = self.unit * ladder.inherent(self.power, expansion, self.growth) + self.floor
        if stderr <= self.floor:  # the scatter is rounding: nothing random is left
            stderr, neglected = 0.0, neglected + ROUNDINGS * self.floor
        z = deviation / stderr if stderr > 0 else 0.0
        p_value = float(2 * stats.t.sf(abs(z), batches - 1)) if stderr > 0 else 1.0
        return Row(
            observable, layer, self.predicted, ratio, stderr, neglected, inherent,
            self.absolute, z, p_value, series=self,
        )  # fmt: skip


def noisy(tested: np.ndarray, rounding: float) -> np.ndarray:
    """Which components (batches, components) scatter by more than rounding does."""
    return tested.std(axis=0, ddof=1) / np.sqrt(len(tested)) > rounding


def exact_row(
    observable: str,
    layer: int | None,
    measured: np.ndarray,
    predicted: np.ndarray,
    doubt: np.ndarray,
    unit: float,
) -> Row:
    """The row of components without noise: that of the one which is farthest off.

    Args:
        observable: its name.
        layer: its label.
        measured: (components,).
        predicted: (components,).
        doubt: (components,) that each may be off.
        unit: the size of what was measured, which stands for a prediction of zero.
    """
    absolute = np.abs(predicted) <= ZERO * unit
    sizes = np.where(absolute, unit, np.abs(predicted))
    sizes = np.where(sizes > 0, sizes, 1.0)
    off = (measured - predicted) * np.where(absolute, 1.0, np.sign(predicted)) / sizes
    allowed = doubt / sizes
    worst = int(np.argmax(np.abs(off) - allowed))
    nothing = bool(absolute[worst])
    return Row(
        observable, layer, float(np.sqrt(np.mean(predicted**2))),
        float(off[worst]) + (0.0 if nothing else 1.0), 0.0, float(allowed[worst]),
        float(allowed[worst]), nothing, 0.0, 1.0,
    )  # fmt: skip
