"""The most precise mean of correlated estimates, with weights that do not know their own noise.

Components measured on the same networks fluctuate together, and the generalised least-squares
weights ``Sigma^-1 p / (p Sigma^-1 p)`` take the common part out. Sigma has to be estimated from
the same batches; weights tuned to the noise that they average would make standard errors too
small. So batches are split in two halves, and each half is averaged with the weights that the
other half suggests: whatever the weights are, they are then independent of what they weigh, the
mean is unbiased, and its scatter over batches is its standard error.

Source: generalised least squares, Aitken 1936; cross-fitting, Schick 1986.
"""

from __future__ import annotations

import numpy as np

__all__ = ["apply_crossed", "crossed_weights"]


def crossed_weights(
    estimates: np.ndarray, target: np.ndarray, floor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights for even and for odd batches, from the covariance of the others.

    Args:
        estimates: (batches, components).
        target: (components,); weights w are scaled to ``w . target = 1``.
        floor: standard deviation, of the mean over batches, of noise that has no scatter
            (rounding).

    The diagonal of the covariance is raised by components / batches of itself, which keeps the
    inverse stable where batches are few.
    """
    weights = []
    for half in (estimates[1::2], estimates[::2]):
        covariance = np.atleast_2d(np.cov(half, rowvar=False)) / len(estimates)
        diagonal = np.diagonal(covariance)
        ridge = len(target) / len(half) * diagonal + floor**2
        matrix = covariance + np.diag(np.where(ridge > 0, ridge, 1.0))
        scale = np.sqrt(np.diagonal(matrix))
        solved = np.linalg.solve(matrix / np.outer(scale, scale), target / scale) / scale
        weights.append(solved / (solved @ target))
    return weights[0], weights[1]


def apply_crossed(values: np.ndarray, weights: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Weighted means (R, batches) of values (R, batches, components)."""
    out = np.empty(values.shape[:2])
    out[:, ::2] = values[:, ::2] @ weights[0]
    out[:, 1::2] = values[:, 1::2] @ weights[1]
    return out
