"""Delta functions in the derivatives of a kinked function, for arrays of laws, as JAX programs.

If the i-th derivative of s jumps by J_i at x, then s^(n) = regular + sum_i J_i delta_x^(n-1-i), and
with N(x; mu, sigma) the density of z = mu + sigma u

    E s^(n)(z) = E regular + sum_i J_i d^(n-1-i) N(x; mu, sigma) / d mu^(n-1-i).

As E s^(n) is the n-th derivative of E s in mu, derivatives in what is given are means of a higher
order. What has no deviation keeps no delta function: see `_differentiable_means` on what is left
out there.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.gaussian._panels import conditional_mean

__all__ = ["against", "given", "homogeneous", "vanishes"]

_PROBES = np.concatenate([np.linspace(-12.0, 12.0, 193), [-30.0, -19.0, 19.0, 30.0]])


@functools.lru_cache(maxsize=512)
def vanishes(s: ScalarFunction, order: int) -> bool:
    """Whether the pointwise derivative is zero everywhere, as that of linear pieces is."""
    if s.slopes is not None:
        return order >= 2
    return not np.any(s.derivatives(_PROBES, order)[order])


def given(s: ScalarFunction, order: int, mean: Any, deviation: Any, first: int = 0) -> Any:
    """E s^(order)(mean + deviation u), with jumps of s^(first) and higher derivatives alone."""
    mean, deviation = jnp.broadcast_arrays(mean, deviation)
    out = jnp.zeros_like(mean)
    if s.slopes is not None:
        out = _homogeneous_mean(s.slopes, order, mean, deviation)
    elif s.smooth or not vanishes(s, order):
        out = conditional_mean(s, order, mean, deviation)
    for kink, jumps in _jumps(s, order):
        for i in range(first, order):
            if jumps[i] != 0.0:
                out += jumps[i] * (-1.0) ** (order - 1 - i) * (
                    _density(kink - mean, deviation, order - 1 - i)
                )  # fmt: skip
    return out


def against(s: ScalarFunction, m: int, n: int, first: int, q: Any, slope: Any, spread: Any) -> Any:
    """E of the delta functions in s^(m)(z_a) times s^(n)(z_b).

    Args:
        s: a kinked function.
        m: order of the first.
        n: order of the second.
        first: of the second, jumps of derivatives of lower orders than this do not count.
        q: E z_a^2.
        slope: of the regression of z_b on z_a.
        spread: deviation of z_b at given z_a.
    """
    out = jnp.zeros(jnp.broadcast_shapes(q.shape, slope.shape, spread.shape), slope.dtype)
    deviation = jnp.sqrt(q)
    for kink, jumps in _jumps(s, m):
        for i in range(m):
            if jumps[i] == 0.0:
                continue
            r = m - 1 - i
            for j in range(r + 1):
                other = given(s, n + j, slope * kink, spread, first)
                density = _density(kink, deviation, r - j)
                factor = (-1.0) ** r * jumps[i] * math.comb(r, j)
                out += factor * density * slope**j * other
    return out


@functools.lru_cache(maxsize=512)
def _jumps(s: ScalarFunction, order: int) -> list[tuple[float, np.ndarray]]:
    """Each kink, and what the derivatives of orders 0 to order - 1 jump by there."""
    if order == 0 or s.smooth:
        return []
    if s.slopes is not None:
        found = np.zeros((1, order))
        found[0, 1:2] = s.slopes[1] - s.slopes[0]
    else:
        found = s.jumps(order - 1)
        # a rounding unit is no jump
        size = np.abs(s.one_sided(order - 1)).max(axis=1)
        found = np.where(np.abs(found) > 64.0 * np.finfo(float).eps * size, found, 0.0)
    return list(zip(s.kinks, found, strict=True))


@functools.partial(jax.jit, static_argnums=2)
def _density(x: Any, deviation: Any, order: int) -> Any:
    """d^order/dx^order of the density of N(0, deviation^2) at x; 0 without a deviation."""
    still = deviation <= 0
    safe = jnp.where(still, 1.0, deviation)
    w = x / safe
    density = jnp.exp(-w * w / 2.0) / math.sqrt(2.0 * math.pi)
    w = jnp.where(density > 0, w, 0.0)
    hermite, before = jnp.ones_like(w), jnp.zeros_like(w)
    for r in range(order):
        hermite, before = w * hermite - r * before, hermite
    out = (-1.0) ** order * hermite * density / safe ** (order + 1)
    return jnp.where(still, 0.0, out)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _homogeneous_mean(slopes: tuple[float, float], order: int, mean: Any, deviation: Any) -> Any:
    minus, plus = slopes
    even, odd = (plus - minus) / 2.0, (plus + minus) / 2.0
    if order >= 2:
        return jnp.zeros_like(mean)
    still = deviation <= 0
    w = mean / jnp.where(still, 1.0, deviation)
    side = jnp.where(still, jnp.sign(mean), jax.scipy.special.erf(w * math.sqrt(0.5)))
    if order == 1:
        return odd + even * side
    return odd * mean + even * (
        mean * side + 2.0 * deviation * jnp.exp(-w * w / 2.0) / math.sqrt(2.0 * math.pi)
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def homogeneous(slopes: tuple[float, float], order: int, scale: Any, minus: Any, plus: Any) -> Any:
    """<s s> (order 0) or <s' s'> (order 1) of linear halves: Cho and Saul 2009, Eq. 6.

    Args:
        slopes: on both sides of 0.
        order: of both derivatives.
        scale: sqrt(q_a q_b).
        minus: 1 - c.
        plus: 1 + c.
    """
    low, high = slopes
    even, odd = (high - low) / 2.0, (high + low) / 2.0
    theta = 2.0 * jnp.arctan2(jnp.sqrt(minus), jnp.sqrt(plus))
    if order == 1:
        return even**2 * (1.0 - 2.0 / math.pi * theta) + odd**2
    cosine = jnp.where(minus <= plus, 1.0 - minus, plus - 1.0)
    rest = jnp.sqrt(minus * plus) + (math.pi / 2.0 - theta) * cosine
    return scale * (even**2 * (2.0 / math.pi) * rest + odd**2 * cosine)
