"""Products of four powers or exponentials of Gaussians, in closed form."""

from __future__ import annotations

import functools

import numpy as np

__all__ = ["exponential_products", "power_products"]


def power_products(matrix: np.ndarray, power: int | tuple[int, ...]) -> np.ndarray:
    """E prod_i z_i^power for covariances of shape (Q, k, k): shape (Q,).

    The power is one number, or one for each of the k variables.

    By parts: E z_i f = sum_j K_ij E f_j, where f_j is the derivative of f by z_j.

    **Source:** Isserlis 1918. Cost: (largest power + 1)^k states of Q numbers at most.
    """
    slots = matrix.shape[1]

    @functools.cache
    def moment(powers: tuple[int, ...]) -> np.ndarray:
        if sum(powers) == 0:
            return np.ones(len(matrix))
        i = next(j for j in range(slots) if powers[j])
        rest = _less(powers, i)
        total = np.zeros(len(matrix))
        for j in range(slots):
            if rest[j]:
                total += rest[j] * matrix[:, i, j] * moment(_less(rest, j))
        return total

    powers = (power,) * slots if isinstance(power, int) else power
    return np.zeros(len(matrix)) if sum(powers) % 2 else moment(powers)


def exponential_products(matrix: np.ndarray) -> np.ndarray:
    """E exp(sum_i z_i) = exp(sum_ij K_ij / 2) for covariances of shape (Q, k, k): shape (Q,)."""
    with np.errstate(over="ignore"):
        return np.exp(matrix.sum(axis=(1, 2)) / 2.0)


def _less(powers: tuple[int, ...], index: int) -> tuple[int, ...]:
    return (*powers[:index], powers[index] - 1, *powers[index + 1 :])
