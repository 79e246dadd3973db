"""The probability that one of several independent Gaussians of equal variance is the largest.

    p_c = integral phi(t - m_c / s) prod_(k != c) Phi(t - m_k / s) dt

The trapezoid rule is accurate to rounding here: the integrand is entire and falls like a Gaussian.

Source: Girolami and Rogers 2006, Eq. 4 (the multinomial probit); Trefethen and Weideman 2014.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

__all__ = ["largest_of_gaussians"]

_REACH, _STEP = 9.0, 0.25
_FAR = 30.0  # standard deviations: a probability of 1e-100
_NUMBERS = 1 << 22  # worked on at once


def largest_of_gaussians(means: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Probabilities (M, C) that output c of a row is its largest.

    Args:
        means: (M, C).
        std: of all outputs of a row, (M,), >= 0. Where it is 0 the largest mean has probability
            one, shared equally between equals.

    Example:
        >>> largest_of_gaussians(np.array([[0.0, 2.0**0.5]]), np.array([1.0])).round(4)
        array([[0.1587, 0.8413]])
    """
    gap = means - means.max(axis=1, keepdims=True)
    out = (gap == 0.0) / (gap == 0.0).sum(axis=1, keepdims=True)
    t = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    rows = np.flatnonzero(std > 0)
    size = max(1, _NUMBERS // (means.shape[1] * len(t)))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        with np.errstate(over="ignore"):
            a = gap[part] / std[part, None]
        out[part] = _shares(np.maximum(a, -_FAR), t)
    return out


def _shares(a: np.ndarray, t: np.ndarray) -> np.ndarray:
    below = ndtr(t - a[..., None])  # (rows, classes, points)
    density = np.exp(-((t - a[..., None]) ** 2) / 2.0)
    shares = (density / below * below.prod(axis=1, keepdims=True)).sum(axis=2)
    return shares / shares.sum(axis=1, keepdims=True)
