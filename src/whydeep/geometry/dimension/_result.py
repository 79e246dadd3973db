"""An estimated dimension: the number, its error, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["BIAS", "Dimension"]

BIAS = (
    "All estimates from neighbours fall low in high dimension, because neighbourhoods of so few "
    "points are large: true dimensions of 10 and 20 give about 9 and 15 with 2,000 points. "
    "calibrated_dimension says which dimension gives this value."
)


@dataclass(frozen=True)
class Dimension:
    """An intrinsic dimension, as estimated.

    Args:
        value: the estimate.
        stderr: its standard error, from leaving out blocks of space; of sampling only: the bias of
            the method comes on top. NaN for fewer than 32 points and for other people's methods.
        method: by what.
        neighbours: of each point that were used; 0 where that is unknown.
        points: distinct rows.
        duplicates: rows left out because they equal another.
        ties: points whose two nearest neighbours are equally far, to the rounding of the data:
            a continuous law has none, rounded numbers have, and they bias upwards.
        distance: median distance to the farthest neighbour used: the scale that was looked at.
        source: author, year, equation.
    """

    value: float
    stderr: float
    method: str
    neighbours: int
    points: int
    duplicates: int
    ties: int
    distance: float
    source: str

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        left = f", {self.duplicates} duplicates left out" if self.duplicates else ""
        error = f" ± {self.stderr:.2g}" if np.isfinite(self.stderr) else ""
        return (
            f"<intrinsic dimension {self.value:.3g}{error}: {self.method}, "
            f"{self.points} points{left}>"
        )

    def cite(self) -> str:
        """The source of the method, and its known bias, as text."""
        return f"{self.source}.\n{BIAS}"
