"""A number and a bound on its numerical error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Estimate"]


@dataclass(frozen=True)
class Estimate:
    """Values and, elementwise, an estimated bound on their absolute numerical error.

    The error is what the rule observes (two resolutions compared, and the tail left out), not a
    proof. It is infinite where the rule gave up, and NaN goes with values that do not exist.
    """

    value: np.ndarray
    error: np.ndarray
