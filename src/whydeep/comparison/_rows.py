"""One row of the table: an observable at one layer (or all), measured over predicted.

Two questions are asked of a row. *Size*: the mean over components of measured / predicted, each
weighted by its precision, must be 1 (where theory predicts exactly nothing: the mean itself, in
units of the kernel, must be 0). *Pattern*: what is left of the components once their common size
is taken out must be noise (Hotelling's T^2 on the scatter of batches).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from whydeep.comparison._ladder import Ladder

__all__ = ["Row", "Series", "pattern_p_values"]

# Directions whose variance is below this share of the largest are rounding, not signal.
_SMALLEST_VARIANCE = 1e-5
# How many roundings a number may be off that should be exact.
_ROUNDINGS = 16.0


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
        pattern_p_value: of Hotelling's T^2 for the components about their common size; None where
            there is one component or all layers are taken together.
        pattern_bound: the same, once what the neglected order may add is taken off: what the
            verdict goes by.
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
    pattern_p_value: float | None
    pattern_bound: float | None = None
    verdict: str = ""
    reason: str = ""
    draws_needed: int | None = None
    series: Series | None = field(default=None, repr=False, compare=False)

    @property
    def deviation(self) -> float:
        """Of the ratio from what theory says."""
        return self.ratio - (0.0 if self.absolute else 1.0)

    @property
    def exact(self) -> bool:
        """Whether nothing in the row is random: measured without noise."""
        return self.stderr == 0.0


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
            stderr, neglected = 0.0, neglected + _ROUNDINGS * self.floor
        z = deviation / stderr if stderr > 0 else 0.0
        p_value = float(2 * stats.t.sf(abs(z), batches - 1)) if stderr > 0 else 1.0
        return Row(
            observable, layer, self.predicted, ratio, stderr, neglected, inherent,
            self.absolute, z, p_value, None, series=self,
        )  # fmt: skip


def pattern_p_values(
    tested: np.ndarray, predicted: np.ndarray, neglected: np.ndarray
) -> tuple[float, float]:
    """p-values that components deviate from their common size by noise alone.

    The first is plain; the second takes off what the neglected order may add.

    Args:
        tested: (batches, components) of the tested coefficient.
        predicted: (components,).
        neglected: (components,), an estimate of what the neglected order adds to each; its length
            in the metric of the noise is taken off the deviation's.
    """
    batches, components = tested.shape
    errors = tested.std(axis=0, ddof=1)
    if components < 2 or not np.all(errors > 0):
        return 1.0, 1.0
    scaled = (tested - predicted) / errors
    direction = predicted / errors
    length = np.linalg.norm(direction)
    if length > 0:
        direction = direction / length
        scaled = scaled - np.outer(scaled @ direction, direction)
        neglected = neglected / errors - direction * (direction @ (neglected / errors))
    else:
        neglected = neglected / errors
    mean = scaled.mean(axis=0)
    variance, vectors = np.linalg.eigh(np.cov(scaled, rowvar=False))
    most = max(batches // 4, 1)
    kept = np.flatnonzero(variance > _SMALLEST_VARIANCE * variance[-1])[-most:]
    scale = np.sqrt(variance[kept] / batches)
    distance = np.linalg.norm((mean @ vectors[:, kept]) / scale)
    allowed = np.linalg.norm((neglected @ vectors[:, kept]) / scale)
    k = kept.size
    scale_f = (batches - k) / (k * (batches - 1))
    plain, bounded = (
        float(stats.f.sf(scale_f * length**2, k, batches - k))
        for length in (distance, max(distance - allowed, 0.0))
    )
    return plain, bounded
