"""How finely a network cuts its inputs near given points: the numbers and what they rest on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from whydeep.results import by_content

__all__ = ["LocalComplexity"]


@by_content
@dataclass(frozen=True, eq=False)
class LocalComplexity:
    """How many units of a network change sign near each of N points.

    Args:
        by_layer: (N, layers) units whose zero set meets the probe about a point.
        layers: their names.
        pieces: (N,) activation pieces: the mean over segments, or the cells of the square. NaN for
            "vertices", which do not see pieces.
        radius: of the probe.
        method: "vertices", "segments" or "square".
        directions: how many, of each probe.
        seed: of the directions.
    """

    by_layer: np.ndarray
    layers: tuple[str, ...]
    pieces: np.ndarray
    radius: float
    method: str
    directions: int
    seed: int

    @property
    def units(self) -> np.ndarray:
        """All layers together: (N,)."""
        return self.by_layer.sum(axis=1)

    @property
    def mean(self) -> float:
        """Over the points."""
        return float(self.units.mean())

    @property
    def stderr(self) -> float:
        """Of the mean, over the points; NaN for one point."""
        n = len(self.units)
        return float(self.units.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan

    def __repr__(self) -> str:
        return (
            f"<local complexity {self.mean:.4g} ± {self.stderr:.2g} units within "
            f"{self.radius:g} of {len(self.units)} points, by {self.method}>"
        )
