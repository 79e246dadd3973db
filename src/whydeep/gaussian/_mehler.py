"""Means of products of two smooth functions' derivatives as series in the correlation.

    <s^(m)(z_a) s^(n)(z_b)> = sum_j a_mj(q_a) a_nj(q_b) c^j,   a_mj(q) = E[s^(m)(sqrt(q) u) h_j(u)]

with h_j the normalised Hermite polynomials (Mehler 1866). At c = 1 and m = n the sum is a mean over
one sample, which quadrature knows: what a truncated series leaves out is known, not guessed.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations import ScalarFunction

__all__ = ["NO_WEIGHT", "Series", "coefficients", "hermite_functions", "summed", "weighted"]

_REACH = 9.0  # standard deviations, beyond which a Gaussian weight is below 1e-17
NO_WEIGHT = 1e-20


@functools.lru_cache(maxsize=16)
def hermite_functions(length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes u, roots of the trapezoid rule's Gaussian weights, and those times h_n(u).

    The rule is spectrally accurate for smooth functions, over as far as h_n reaches.
    """
    reach = math.sqrt(4.0 * length) + _REACH
    step = min(0.05, 2.0 / math.sqrt(length))
    u = np.arange(-reach, reach + step, step)
    weight = np.exp(-u * u / 4.0) * (step / math.sqrt(2.0 * math.pi)) ** 0.5
    rows = [weight, weight * u]
    for n in range(1, length - 1):
        rows.append((u * rows[-1] - math.sqrt(n) * rows[-2]) / math.sqrt(n + 1))
    return u, weight, np.stack(rows[:length], -1)


def weighted(value: Any, weight: Any) -> Any:
    """Values times roots of weights; what overflows has no weight."""
    return jnp.where(weight > NO_WEIGHT, value, 0.0) * weight


class Series(NamedTuple):
    """Coefficients (length, ...), and for each law (...) what they leave out.

    Args:
        terms: a_j(q).
        tail: what is missing from the mean of the square, relative to it.
        alias: error of the coefficients as nodes are too few, likewise: the square of that of
            half as many nodes.
    """

    terms: Any
    tail: Any
    alias: Any


def coefficients(s: ScalarFunction, order: int, q: Any, functions: Any) -> Series:
    """a_j(q) of s^(order) for variances q (...), with what `hermite_functions` returns."""
    u, weight, basis = functions
    value = weighted(s.derivative(jnp.sqrt(q)[..., None] * u, order), weight)
    terms = jnp.moveaxis(value @ basis, -1, 0)
    even, odd = jnp.sum(value[..., ::2] ** 2, -1), jnp.sum(value[..., 1::2] ** 2, -1)
    square = even + odd
    safe = jnp.where(square > 0, square, 1.0)
    tail = jnp.abs(square - jnp.sum(terms**2, 0)) / safe
    return Series(terms, tail, ((even - odd) / safe) ** 2)


def summed(left: Any, right: Any, c: Any) -> Any:
    """sum_j left_j right_j c^j for coefficients (length, ...) that broadcast."""
    length = len(left)
    shape = jnp.broadcast_shapes(c.shape, left.shape[1:], right.shape[1:])

    def term(n: Any, total: Any) -> Any:
        return total * c + left[length - 1 - n] * right[length - 1 - n]

    return jax.lax.fori_loop(0, length, term, jnp.zeros(shape, c.dtype))
