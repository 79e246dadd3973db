"""What one layer does to a pair of samples of a common variance, as functions of their correlation.

    D = <(s_a - s_b)^2>     T = <(s_a + s_b)^2>     G = <(s'_a - s'_b)^2> / 2 = <s'^2> - <s'_a s'_b>

Near c = 1 D and G are accurate relative to themselves, and so is T near c = -1 where it vanishes
there: distances are carried through many layers and never obtained by subtraction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["LayerMap"]


@dataclass(frozen=True)
class LayerMap:
    """The means of one layer.

    Args:
        square: <s^2>.
        slope_square: <s'^2>.
        gaps: maps (1 - c, 1 + c), each (points,), to D, T and G.
        error: of the means, relative to <s^2> and <s'^2>.
        elasticity: d log <s^2> / d log q, or a bound on it: how the errors of q pass on.
        terms: of the series, if there is one: what to begin with at the next layer.
    """

    square: float
    slope_square: float
    gaps: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
    error: float
    elasticity: float = 1.0
    terms: int = 64
