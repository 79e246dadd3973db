"""Refine a quadrature rule until two successive resolutions agree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whydeep.gaussian._estimate import Estimate

__all__ = ["ROUNDOFF", "Rule", "outer_share", "reach", "refine"]

ROUNDOFF = 8e-15
"""Rounding of a weighted sum, relative to the sum of magnitudes."""

_STALL = 1e-9  # an error above this is never put down to rounding

Rule = Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray] | None]


@np.errstate(over="ignore", invalid="ignore")  # what overflows has an infinite error
def refine(rule: Rule, count: int, tolerance: float) -> Estimate:
    """Values of m functions under n laws, refined until the estimated error is below tolerance.

    Args:
        rule: maps a level and the indices of unfinished laws to the means of f, of |f|, and what
            the cut tail may hold, each (m, laws); None when it can't be refined further.
        count: the number n of laws.
        tolerance: relative to the mean of |f|.

    Returns:
        Shape (m, n). The error is three times the last difference (enough even where an
        undeclared kink makes convergence algebraic), plus tail and rounding.
    """
    active = np.arange(count)
    outcome = rule(0, active)
    if outcome is None:
        raise ValueError("the coarsest rule must exist")
    mean, size, tail = outcome
    value, error = mean.copy(), np.full(mean.shape, np.inf)
    step = np.full(mean.shape, np.inf)
    level = 0
    while active.size:
        level += 1
        outcome = rule(level, active)
        if outcome is None:
            break
        previous, previous_step = mean, step
        mean, size, tail = outcome
        step = np.abs(mean - previous)
        bound = 3.0 * step + tail + ROUNDOFF * size
        finite = np.isfinite(mean)
        value[:, active], error[:, active] = mean, np.where(finite, bound, np.inf)
        # No further progress means that the function's own rounding is reached.
        stalled = (step >= 0.5 * previous_step) & (bound <= _STALL * size) & (tail < 0.1 * bound)
        done = (bound <= max(tolerance, 2.0 * ROUNDOFF) * size) | stalled | ~finite
        left = ~np.all(done, axis=0)
        active, mean, step = active[left], mean[:, left], step[:, left]
    return Estimate(value, error)


def reach(share: float) -> float:
    """The radius beyond which a Gaussian has about this share of its mass."""
    return float(np.sqrt(-2.0 * np.log(share)))


def outer_share(size: np.ndarray, shell: np.ndarray) -> np.ndarray:
    """What lies beyond the radius, if the integrand falls off like a (shifted) Gaussian.

    The share exp(-x^2/2) of the last unit of the radius continues as exp(-(x + 1)^2/2) beyond it,
    up to a factor that 2 covers.
    """
    share = np.divide(shell, size, out=np.zeros_like(size), where=(size > 0) & (size < np.inf))
    depth = np.sqrt(-2.0 * np.log(np.clip(share, 1e-300, 1.0)))
    return 2.0 * size * np.where(share > 0, np.exp(-0.5 * (depth + 1.0) ** 2), 0.0)
