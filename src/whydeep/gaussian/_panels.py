"""Means over one and two Gaussians between kinks, as JAX programs for arrays of laws.

A mean over z_b at a given z_a, and the mean over z_a of what it is, are sums over panels of
Gauss-Legendre nodes. Panels end at the kinks, where one line of kinks meets another, and at
distances from them that double, so that a function that varies over lengths of 1 is seen whatever
the variances: how many panels there are grows with the logarithm of the deviation.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations import MOST_ORDERS, ScalarFunction

__all__ = ["conditional_mean", "line_pair_mean", "regular_pair_mean"]

_REACH = 12.0  # standard deviations: those of a power of 12 are there
_BASE = np.linspace(-_REACH, _REACH, 9)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_FIRST, _LEVELS = 0.75, 24  # distances from 0.75 to 1e7
_POWERS = _FIRST * 2.0 ** np.arange(_LEVELS)
_DISTANCES = np.concatenate([-_POWERS[::-1], [0.0], _POWERS])
_SOFT = np.array([-9.0, -3.0, -1.0, 0.0, 1.0, 3.0, 9.0])
_SIZES = (16, 64, 256)
_MOST_KEPT = 4096


def conditional_mean(s: ScalarFunction, order: int, mean: Any, deviation: Any) -> Any:
    """`_conditional_mean`, by one program for all orders and for numbers of laws not far apart."""
    mean, deviation = jnp.broadcast_arrays(mean, deviation)
    flat, count = _padded(mean, deviation)
    return _conditional_program(s, _number(order), *flat)[:count].reshape(mean.shape)


def regular_pair_mean(
    s: ScalarFunction, orders: tuple[int, int], qa: Any, slope: Any, deviation: Any
) -> Any:
    """E of the product of the pointwise derivatives s^(m)(z_a) s^(n)(z_b).

    Args:
        s: the activation.
        orders: m and n.
        qa: E z_a^2.
        slope: of the regression of z_b on z_a, K_ab / q_a.
        deviation: of z_b at given z_a.
    """
    law = jnp.broadcast_arrays(jnp.sqrt(qa), slope, deviation)
    flat, count = _padded(*law)
    whole = jnp.stack(flat, -1)
    if count > _MOST_KEPT or isinstance(whole, jax.core.Tracer):  # pyright: ignore[reportAttributeAccessIssue]
        found = _plane_program(s, *map(_number, orders), whole)
    else:
        array = np.asarray(whole)
        found = jnp.asarray(_kept_plane(s, *orders, len(array), array.dtype, array.tobytes()))
    return found[:count].reshape(law[0].shape)


@functools.lru_cache(maxsize=128)
def _kept_plane(
    s: ScalarFunction, m: int, n: int, size: int, dtype: np.dtype, law: bytes
) -> np.ndarray:
    """Nested derivatives ask for the same mean many times over."""
    array = np.frombuffer(law, dtype).reshape(size, -1)
    return np.asarray(_plane_program(s, _number(m), _number(n), array))


def _number(order: int) -> Any:
    """An order as data, as far as one program knows all of them."""
    return jnp.asarray(order) if order <= MOST_ORDERS else order


def _padded(*arrays: Any) -> tuple[list[Any], int]:
    count = arrays[0].size
    size = next((n for n in _SIZES if n >= count), -(-count // _SIZES[-1]) * _SIZES[-1])
    return [jnp.pad(a.ravel(), (0, size - count)) for a in arrays], count


@functools.partial(jax.jit, static_argnums=0)
def _conditional_program(s: ScalarFunction, order: Any, mean: Any, deviation: Any) -> Any:
    return _conditional_mean(s, order, mean, deviation)


@functools.partial(jax.jit, static_argnums=0)
def _plane_program(s: ScalarFunction, m: Any, n: Any, law: Any) -> Any:
    if len(law) <= _SIZES[-1]:
        return _plane(s, (m, n), law)
    parts = law.reshape(-1, _SIZES[-1], law.shape[-1])
    return jax.lax.map(lambda part: _plane(s, (m, n), part), parts).ravel()


def _conditional_mean(s: ScalarFunction, order: Any, mean: Any, deviation: Any) -> Any:
    """E of the pointwise derivative s^(order) at mean + deviation u, u standard normal.

    Where the deviation is 0 and the mean lies on a kink: half of both sides.
    """
    mean, deviation = jnp.broadcast_arrays(mean, deviation)
    still = deviation <= 0
    safe = jnp.where(still, 1.0, deviation)[..., None]
    kinks = jnp.asarray(s.kinks, mean.dtype)
    at = kinks - mean[..., None]
    at = jnp.where(still[..., None], jnp.sign(at) * 2.0 * _REACH, at / safe)
    breaks = [jnp.broadcast_to(jnp.asarray(_BASE, mean.dtype), (*mean.shape, _BASE.size)), at]
    for centre in s.kinks or (0.0,):
        points = centre + jnp.asarray(_DISTANCES, mean.dtype) - mean[..., None]
        breaks.append(jnp.where(still[..., None], _REACH, points / safe))

    def values(u: Any) -> Any:
        middle = u.mean(-1)
        z = mean[..., None] + deviation[..., None] * u
        out = s.piece_derivative(0, z, order)
        for index in range(1, len(s.pieces)):
            beyond = (middle > at[..., index - 1])[..., None]
            out = jnp.where(beyond, s.piece_derivative(index, z, order), out)
        return out

    return _summed(values, breaks)


def line_pair_mean(s: ScalarFunction, orders: tuple[int, int], left: Any, right: Any) -> Any:
    """E of s^(m)(left u) s^(n)(right u) for a smooth s and one standard normal u."""
    left, right = jnp.broadcast_arrays(left, right)
    fastest = jnp.maximum(jnp.maximum(jnp.abs(left), jnp.abs(right)), 2.0 * _FIRST / 3.0)
    edges = jnp.asarray(_DISTANCES, left.dtype) / fastest[..., None]
    edges = jnp.clip(edges, -_REACH, _REACH)
    nodes, weights = (jnp.asarray(a, left.dtype) for a in (_NODES, _WEIGHTS))
    half = (edges[..., 1:] - edges[..., :-1])[..., None] / 2.0
    u = (edges[..., 1:] + edges[..., :-1])[..., None] / 2.0 + half * nodes
    density = jnp.exp(-u * u / 2.0) * (half * weights / math.sqrt(2.0 * math.pi))
    first = s.derivative(left[..., None, None] * u, orders[0])
    second = s.derivative(right[..., None, None] * u, orders[1])
    return jnp.sum(jnp.where(density > 0, first * second, 0.0) * density, (-2, -1))


def _plane(s: ScalarFunction, orders: tuple[Any, Any], law: Any) -> Any:
    root, slope, deviation = law.T
    still = root <= 0
    over = jnp.where(still, 1.0, root)[:, None]
    dtype = law.dtype
    distances = jnp.asarray(_DISTANCES, dtype)

    def placed(z: Any) -> Any:
        return jnp.where(still[:, None], jnp.sign(z) * 2.0 * _REACH, z / over)

    at = placed(jnp.broadcast_to(jnp.asarray(s.kinks, dtype), (len(law), len(s.kinks))))
    steep = jnp.abs(slope)[:, None]
    finest = 1.0 / jnp.maximum(steep, 1.0)
    breaks = [jnp.broadcast_to(jnp.asarray(_BASE, dtype), (len(law), _BASE.size)), at]
    breaks += [placed(centre + finest * distances) for centre in s.kinks or (0.0,)]
    there = jnp.where(steep > 0, slope[:, None], 1.0)
    for kink in s.kinks:  # where the other sample's mean crosses a kink of its own
        around = [deviation[:, None] * jnp.asarray(_SOFT, dtype)]
        around += [distances] if kink else []
        for distance in around:
            soft = jnp.where(steep > 0, (kink + distance) / there, 1e30)
            breaks.append(placed(soft))

    def values(u: Any) -> Any:
        middle = u.mean(-1)
        z = root[:, None] * u
        left = s.piece_derivative(0, z, orders[0])
        for index in range(1, len(s.pieces)):
            beyond = (middle > at[:, index - 1])[:, None]
            left = jnp.where(beyond, s.piece_derivative(index, z, orders[0]), left)
        right = _conditional_mean(s, orders[1], slope[:, None] * z, deviation[:, None])
        return left * right

    return _summed(values, breaks)


def _summed(values: Callable[[Any], Any], breaks: list[Any]) -> Any:
    """The Gaussian mean of values (..., nodes) at u (..., nodes), panel by panel between breaks."""
    edges = jnp.sort(jnp.clip(jnp.concatenate(breaks, -1), -_REACH, _REACH), -1)
    low, high = edges[..., :-1], edges[..., 1:]
    order = jnp.argsort(high <= low, -1, stable=True)  # those with nothing in them come last
    low, high = (jnp.moveaxis(jnp.take_along_axis(e, order, -1), -1, 0) for e in (low, high))
    filled = jnp.any((high > low).reshape(len(high), -1), -1)
    nodes, weights = (jnp.asarray(a, edges.dtype) for a in (_NODES, _WEIGHTS))

    def panel(n: Any, total: Any) -> Any:
        half = (high[n] - low[n])[..., None] / 2.0
        u = (high[n] + low[n])[..., None] / 2.0 + half * nodes
        density = jnp.exp(-u * u / 2.0) * (half * weights / math.sqrt(2.0 * math.pi))
        return total + jnp.sum(jnp.where(density > 0, values(u), 0.0) * density, -1)

    return jax.lax.fori_loop(0, jnp.sum(filled), panel, jnp.zeros(edges.shape[:-1], edges.dtype))
