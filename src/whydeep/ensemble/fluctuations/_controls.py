"""Numbers of known mean that carry most of the scatter of a draw.

A draw differs from the mean, to leading order in 1/n, by averages over the neurons of a layer of
functions of their N standard normal numbers u. Waves have exactly known moments whatever the
activation,

    E cos(t.u) = e(t),   Cov(cos t.u, cos v.u) = (e(t-v) + e(t+v)) / 2 - e(t) e(v),
    E sin(t.u) = 0,      Cov(sin t.u, sin v.u) = (e(t-v) - e(t+v)) / 2,       e(t) = exp(-t.t / 2),

and they are bounded, so that no single draw can spoil what is fitted to them (polynomials of a
degree high enough for tanh do). The controls are combinations of waves, averaged over neurons,
with mean 0 and covariance delta / n. Nothing is taken from theory but that u is normal.

Source: control variates, Hammersley and Handscomb 1964; the characteristic function of the normal
law.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = ["averages", "count"]

_RADII = (0.6, 1.2, 1.9, 2.8, 3.8)
_MOST = 48
# Combinations whose variance is below this share of the largest are left out.
_SMALLEST = 1e-3


@functools.cache
def _waves(size: int) -> np.ndarray:
    """The frequencies t, (waves, N): along the axes and between any two of them."""
    if size == 2:
        angles = np.arange(8) * np.pi / 8
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    else:
        axes = np.eye(size)
        between = [
            (axes[a] + sign * axes[b]) / np.sqrt(2)
            for a, b in itertools.combinations(range(size), 2)
            for sign in (1, -1)
        ]
        directions = np.array([*axes, *between])[:_MOST]
    radii = _RADII[: max(_MOST // len(directions), 1)]
    return np.concatenate([r * directions for r in radii])


@functools.cache
def _combinations(size: int, sign: int) -> np.ndarray:
    """Combinations (controls, waves) of cosines (sign 1) or sines (-1) with unit covariance."""
    t = _waves(size)

    def e(v: np.ndarray) -> np.ndarray:
        return np.exp(-np.sum(v**2, axis=-1) / 2)

    covariance = (e(t[:, None] - t[None]) + sign * e(t[:, None] + t[None])) / 2
    if sign > 0:
        covariance = covariance - np.outer(e(t), e(t))
    values, vectors = np.linalg.eigh(covariance)
    kept = values > _SMALLEST * values[-1]
    return (vectors[:, kept] / np.sqrt(values[kept])).T


def count(size: int, *, odd: bool) -> int:
    """How many controls a layer has: for an odd activation everything is even in u."""
    return sum(len(_combinations(size, sign)) for sign in ((1,) if odd else (1, -1)))


def averages(u: Any, *, odd: bool) -> Any:
    """The controls of a layer with normal numbers u (N, n)."""
    t = _waves(u.shape[0])
    phases = jnp.asarray(t, u.dtype) @ u
    means = np.exp(-np.sum(t**2, axis=1) / 2)
    even = jnp.mean(jnp.cos(phases), axis=1) - jnp.asarray(means, u.dtype)
    out = jnp.asarray(_combinations(u.shape[0], 1), u.dtype) @ even
    if odd:
        return out
    uneven = jnp.asarray(_combinations(u.shape[0], -1), u.dtype) @ jnp.mean(jnp.sin(phases), axis=1)
    return jnp.concatenate([out, uneven])
