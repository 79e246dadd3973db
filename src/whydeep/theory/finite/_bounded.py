"""Arithmetic of numbers that carry a bound on their numerical error, to first order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.gaussian import Estimate

__all__ = ["Bounded", "contract"]


@dataclass(frozen=True)
class Bounded:
    """Values and, elementwise, a bound on their absolute error; products to first order in it."""

    value: np.ndarray
    error: np.ndarray

    @classmethod
    def of(cls, estimate: Estimate | np.ndarray | float) -> Bounded:
        """An estimate with its error, or numbers taken as exact."""
        if isinstance(estimate, Estimate):
            return cls(estimate.value, estimate.error)
        value = np.asarray(estimate, dtype=np.float64)
        return cls(value, np.zeros_like(value))

    @classmethod
    def zeros(cls, *shape: int) -> Bounded:
        """Exact zeros."""
        return cls(np.zeros(shape), np.zeros(shape))

    def estimate(self) -> Estimate:
        """The same as an `Estimate`."""
        return Estimate(self.value, self.error)

    def __add__(self, other: Bounded) -> Bounded:
        return Bounded(self.value + other.value, self.error + other.error)

    def __sub__(self, other: Bounded) -> Bounded:
        return Bounded(self.value - other.value, self.error + other.error)

    def __mul__(self, factor: float) -> Bounded:
        return Bounded(factor * self.value, abs(factor) * self.error)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Bounded:
        return self * (1.0 / divisor)

    def transpose(self, *axes: int) -> Bounded:
        """Axes in another order."""
        return Bounded(self.value.transpose(axes), self.error.transpose(axes))


def contract(subscripts: str, *operands: Bounded) -> Bounded:
    """``numpy.einsum`` of bounded numbers, in which 0 times infinity is 0.

    What multiplies nothing adds nothing: derivatives of a kinked activation are infinite where two
    samples coincide, and that is harmless where no fluctuation tells them apart. Elsewhere the
    result is NaN.
    """
    values = [operand.value for operand in operands]
    errors = [operand.error for operand in operands]
    if all(np.all(np.isfinite(part)) for part in (*values, *errors)):
        return _finite(subscripts, values, errors)
    clean = [np.where(np.isfinite(v), v, 0.0) for v in values]
    doubts = [np.where(np.isfinite(e), e, 0.0) for e in errors]
    out = _finite(subscripts, clean, doubts)
    lost = np.zeros(out.value.shape, dtype=bool)
    for k, (value, error) in enumerate(zip(values, errors, strict=True)):
        bad = ~np.isfinite(value) | ~np.isfinite(error)
        others = [(v != 0) | (e != 0) for v, e in zip(values, errors, strict=True)]
        counts = [bad if i == k else other for i, other in enumerate(others)]
        lost |= _einsum(subscripts, [c.astype(np.float64) for c in counts]) > 0
    return Bounded(np.where(lost, np.nan, out.value), np.where(lost, np.inf, out.error))


def _finite(subscripts: str, values: list[np.ndarray], errors: list[np.ndarray]) -> Bounded:
    value = _einsum(subscripts, values)
    sizes = [np.abs(v) for v in values]
    error = np.zeros_like(value)
    for k, doubt in enumerate(errors):
        if np.any(doubt):
            error = error + _einsum(subscripts, [*sizes[:k], doubt, *sizes[k + 1 :]])
    return Bounded(value, error)


def _einsum(subscripts: str, operands: list[np.ndarray]) -> Any:
    return np.einsum(subscripts, *operands, optimize=len(operands) > 2)
