"""Do the entries of a row scatter about their common size as noise does, and what would be seen?

The entries, their common size taken out, are compared with the prediction by Hotelling's T^2 on the
scatter of batches. Where theory predicts exactly nothing there is no common size to take out.

The length of a wrong theory's deviation in the metric of the noise says whether it would be seen.
The wrong theory is taken to have every entry off by the share r of what is predicted for it, each
up or down by chance: its squared length is then r^2 S^2 on average, S^2 the trace of the inverse
covariance between what is predicted. By the inequality of the triangle the deviation of the truth
is no longer than what was measured plus what noise may do at the level of the test (Scheffe), plus
what neglected orders and quadrature add: the pattern is known to the sum of these over S.

Source: Hotelling 1931 (T^2); Scheffe 1953 (simultaneous intervals).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

__all__ = ["Pattern", "pattern"]

# Directions whose variance is below this share of the largest are rounding, not signal.
_SMALLEST_VARIANCE = 1e-5


@dataclass(frozen=True)
class Pattern:
    """Entries about their common size, in units of the noise of their mean.

    Args:
        distance: length of what was measured.
        allowed: length of what neglected orders and quadrature may add.
        inherent: the part of `allowed` that is more than noise.
        scale: S, the length of entries that are all off by what is predicted; 0 where their
            common size is all there is.
        directions: how many directions were looked at.
        batches: behind them.
    """

    distance: float
    allowed: float
    inherent: float
    scale: float
    directions: int
    batches: int

    @property
    def p_value(self) -> float:
        """That noise alone gives such a distance."""
        return self._p_value(self.distance)

    @property
    def bound(self) -> float:
        """The same once what may be added is taken off: what the verdict goes by."""
        return self._p_value(max(self.distance - self.allowed, 0.0))

    def known_to(self, level: float) -> float:
        """The share of the prediction to which entries are known, one by one, at a level."""
        return self._share(level, self.distance)

    def expected(self, level: float, more: float) -> float:
        """The same for a right theory whose distance is `more` standard errors above its mean."""
        return self._share(level, np.sqrt(self.directions) + more * np.sqrt(0.5))

    def _share(self, level: float, distance: float) -> float:
        if self.scale == 0:
            return 0.0
        k, n = self.directions, self.batches
        noise = np.sqrt(stats.f.isf(level, k, n - k) * k * (n - 1) / (n - k))
        return float((distance + noise + self.allowed) / self.scale)

    @property
    def floor(self) -> float:
        """The share that no number of draws goes below."""
        return self.inherent / self.scale if self.scale > 0 else 0.0

    def _p_value(self, distance: float) -> float:
        k, n = self.directions, self.batches
        return float(stats.f.sf(distance**2 * (n - k) / (k * (n - 1)), k, n - k))


def pattern(
    tested: np.ndarray, predicted: np.ndarray, neglected: np.ndarray, sure: np.ndarray,
    doubt: np.ndarray, unit: float = 0.0,
) -> Pattern | None:  # fmt: skip
    """The pattern of entries that all have noise; None where there are fewer than two.

    Args:
        tested: (batches, entries) of the tested coefficient.
        predicted: (entries,).
        neglected: (entries,), an estimate of what the neglected order adds to each; its length
            in the metric of the noise is allowed for.
        sure: (entries,), the part of that estimate which is more than noise.
        doubt: (entries,), a bound on quadrature and rounding, likewise; no draw removes it.
        unit: what stands for the prediction where that is zero: the wrong theory's size.
    """
    batches, entries = tested.shape
    errors = tested.std(axis=0, ddof=1)
    if entries < 2 or batches < 4 or not np.all(errors > 0):
        return None
    scaled = (tested - predicted) / errors
    own = np.diag(np.full(entries, unit) / errors if unit else predicted / errors)
    off = np.stack([neglected, sure, doubt]) / errors
    direction = np.zeros(entries) if unit else predicted / errors
    length = np.linalg.norm(direction)
    if length > 0:
        direction = direction / length
        scaled, own, off = (
            part - np.outer(part @ direction, direction) for part in (scaled, own, off)
        )
    variance, vectors = np.linalg.eigh(np.cov(scaled, rowvar=False))
    most = max(batches // 4, 1)
    kept = np.flatnonzero(variance > _SMALLEST_VARIANCE * variance[-1])[-most:]
    metric = vectors[:, kept] / np.sqrt(variance[kept] / batches)
    scale = float(np.linalg.norm(own @ metric))
    added, stays, doubted = (float(np.linalg.norm(part @ metric)) for part in off)
    # One entry that is not zero has no pattern, but what rounding leaves of its own size.
    whole = float(np.linalg.norm(np.diag(predicted / errors) @ metric)) if not unit else 0.0
    return Pattern(
        distance=float(np.linalg.norm(scaled.mean(axis=0) @ metric)),
        allowed=added + doubted,
        inherent=stays + doubted,
        scale=scale if scale > 1e-9 * whole else 0.0,
        directions=kept.size,
        batches=batches,
    )
