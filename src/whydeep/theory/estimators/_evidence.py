"""The log marginal likelihood of kernel regression, and its gradient.

    log p(y) = -1/2 y^T A^-1 y - 1/2 log det A - N/2 log(2 pi),   A = K + noise I
    d log p / dp = 1/2 tr((a a^T - A^-1) dA/dp),                   a = A^-1 y

summed over outputs. The kernel is differentiated by JAX, block by block of the matrix, contracted
at once with its factor: no derivative of a whole matrix is ever stored.

Source: Rasmussen and Williams 2006, Eqs. 2.30 and 5.9.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import numpy as np

from whydeep.network import Network
from whydeep.theory.estimators._solve import Factor
from whydeep.theory.estimators._variances import variances, with_variances
from whydeep.theory.infinite import kernel

__all__ = ["log_density", "slopes"]

_TILE = 512


def log_density(factor: Factor, y: np.ndarray) -> float:
    """``log p(y)`` of targets (N, outputs), summed over outputs.

    Raises:
        InputError: A is singular.
    """
    count, outputs = y.shape
    white = factor.whiten(y)
    constant = outputs * (factor.log_determinant() + count * math.log(2.0 * math.pi))
    return -0.5 * (float(np.einsum("ij,ij->", white, white)) + constant)


def slopes(
    network: Network,
    x: np.ndarray,
    y: np.ndarray,
    factor: Factor,
    noise: float,
    *,
    tangent: bool,
) -> np.ndarray:
    """Gradient of `log_density` in the logarithms of weight_var, bias_var and noise, (3,).

    All layers' weight_var move by one factor, and all layers' bias_var by another.
    """
    dual = factor.solve(y)
    weight = 0.5 * (dual @ dual.T - y.shape[1] * factor.inverse())
    along_noise = noise * float(np.trace(weight))
    w, b = variances(network)
    # One compiled function for all values: the network is compiled with ones in their place.
    blank = with_variances(network, [1.0] * len(w), [1.0] * len(b))
    total = np.zeros(2)
    side = min(_TILE, 1 << (len(x) - 1).bit_length())
    with jax.enable_x64(True):  # noqa: FBT003
        for i in range(0, len(x), side):
            for j in range(i, len(x), side):
                own = i == j
                part = weight[i : i + side, j : j + side] * (1.0 if own else 2.0)
                total += np.asarray(
                    _slope_of(blank, tangent, own)(
                        np.zeros(2), np.array(w), np.array(b), _filled(x[i : i + side], side),
                        _filled(x[j : j + side], side), _padded(part, side),
                    )
                )  # fmt: skip
    return np.array([*total, along_noise])


@functools.lru_cache(maxsize=16)
def _slope_of(blank: Network, tangent: bool, own: bool) -> Any:  # noqa: FBT001
    """A compiled function: the gradient in two logarithms of a weighted sum over a block."""

    def weighted(logs: Any, w: Any, b: Any, left: Any, right: Any, weight: Any) -> Any:
        grown, shifted = w * jax.numpy.exp(logs[0]), b * jax.numpy.exp(logs[1])
        network = with_variances(blank, list(grown), list(shifted))
        found = kernel(network, left, None if own else right, ntk=tangent)
        return jax.numpy.sum(weight * (found.ntk if tangent else found.nngp))

    return jax.jit(jax.grad(weighted))


def _filled(x: np.ndarray, side: int) -> np.ndarray:
    """As many inputs as a block has: the last one again where there are fewer."""
    return x[np.minimum(np.arange(side), len(x) - 1)]


def _padded(part: np.ndarray, side: int) -> np.ndarray:
    return np.pad(part, ((0, side - part.shape[0]), (0, side - part.shape[1])))
