"""Linear maps over positions, applied to covariances between positions.

A covariance is an array (pairs..., P, Q) over the positions of two values, or (pairs..., P) where
only equal positions are needed. A window that slides moves both positions together; pooling mixes
the positions of each value by a matrix of its own.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.arguments import check_time
from whydeep.network import (
    AvgPool,
    Conv,
    ConvLocal,
    ConvTranspose,
    GlobalAvgPool,
    GlobalSumPool,
    Layer,
    Mix,
    SumPool,
    window_pads,
)

__all__ = ["matrices", "mixed", "slid", "unslid"]

_SECONDS_OF_AN_ENTRY = 3.5e-4  # of a filter, along each dimension: measured, JAX's own time


@functools.partial(jax.jit, static_argnums=(1, 2), static_argnames=("full",))
def slid(k: Any, layer: Conv | ConvLocal, positions: tuple[int, ...], *, full: bool) -> Any:
    """The mean of `k` over the window of a convolution, both positions moving together."""
    _check_filter(layer)
    dims = len(positions)
    lead = k.ndim - (2 if full else 1)
    k = k.reshape(*k.shape[:lead], *positions * (2 if full else 1))
    dilation = layer.dilation if isinstance(layer, Conv) else (1,) * dims
    pads = window_pads(positions, layer.size, layer.strides, layer.padding, dilation)
    for d in range(dims):
        axes = (lead + d, lead + dims + d) if full else (lead + d,)
        k = _slid_along(
            k, axes, layer.size[d], layer.strides[d], dilation[d], pads[d],
            circular=layer.padding == "CIRCULAR",
        )  # fmt: skip
    k = k / math.prod(layer.size)
    count = math.prod(k.shape[lead : lead + dims])
    return k.reshape(*k.shape[:lead], *(count,) * (2 if full else 1))


def _check_filter(layer: Conv | ConvLocal | ConvTranspose) -> None:
    check_time(
        _SECONDS_OF_AN_ENTRY * sum(layer.size), "A convolution", most_days=10.0 / 1440.0,
        received=f"a filter of {' x '.join(map(str, layer.size))} entries",
        suggestion="a filter no larger than its inputs: beyond their border it meets zeros",
    )  # fmt: skip


def _slid_along(
    k: Any, axes: tuple[int, ...], size: int, stride: int, dilation: int, pads: tuple[int, int],
    *, circular: bool,
) -> Any:  # fmt: skip
    width = [pads if axis in axes else (0, 0) for axis in range(k.ndim)]
    k = jnp.pad(k, width, mode="wrap" if circular else "constant")
    count = (k.shape[axes[0]] - dilation * (size - 1) - 1) // stride + 1
    total: Any = 0.0
    for t in range(size):
        part = k
        for axis in axes:
            part = jax.lax.slice_in_dim(
                part, t * dilation, t * dilation + stride * (count - 1) + 1, stride, axis
            )
        total = total + part
    return total


@functools.partial(jax.jit, static_argnums=(1, 2, 3), static_argnames=("full",))
def unslid(
    k: Any, layer: ConvTranspose, positions: tuple[int, ...], after: tuple[int, ...], *, full: bool
) -> Any:
    """The same for a transposed convolution: windows are laid down instead of read."""
    _check_filter(layer)
    dims = len(positions)
    lead = k.ndim - (2 if full else 1)
    k = k.reshape(*k.shape[:lead], *positions * (2 if full else 1))
    for d in range(dims):
        axes = (lead + d, lead + dims + d) if full else (lead + d,)
        size, stride = layer.size[d], layer.strides[d]
        # Output o = stride p + offset: where jax.lax.conv_transpose puts its windows.
        long = positions[d] * stride + max(size - stride, 0)
        if layer.padding == "SAME":
            low = size - 1 if stride > size - 1 else math.ceil((size + stride - 2) / 2)
            first = low - size + 1
        elif isinstance(layer.padding, str):
            first = 0
        else:
            first = -layer.padding[d][0]
        circular = layer.padding == "CIRCULAR"
        k = _unslid_along(k, axes, size, stride, first, after[d], long, circular=circular)
    k = k / math.prod(layer.size)
    count = math.prod(after)
    return k.reshape(*k.shape[:lead], *(count,) * (2 if full else 1))


def _unslid_along(
    k: Any, axes: tuple[int, ...], size: int, stride: int, first: int, after: int, long: int,
    *, circular: bool,
) -> Any:  # fmt: skip
    before = k.shape[axes[0]]
    total: Any = 0.0
    for t in range(size):
        place = np.zeros((after, before))
        for p in range(before):
            o = stride * p + first + t
            o = o % after if circular and o < long else o
            if 0 <= o < after:
                place[o, p] = 1.0
        part = k
        for axis in axes:
            part = jnp.moveaxis(
                jnp.tensordot(jnp.asarray(place, k.dtype), part, (1, axis)), 0, axis
            )
        total = total + part
    return total


@functools.lru_cache(maxsize=256)
def _matrices(layer: Layer, positions: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    if isinstance(layer, Mix):
        return (layer.matrix.values,)
    if isinstance(layer, GlobalAvgPool):
        weight = 1.0 if isinstance(layer, GlobalSumPool) else 1.0 / math.prod(positions)
        return (np.full((1, math.prod(positions)), weight),)
    if not isinstance(layer, AvgPool | SumPool):
        raise TypeError(layer)
    pads = window_pads(positions, layer.size, layer.strides, layer.padding)
    out = []
    for n, k, s, (low, high) in zip(positions, layer.size, layer.strides, pads, strict=True):
        count = (n + low + high - k) // s + 1
        matrix = np.zeros((count, n))
        for o in range(count):
            for t in range(k):
                p = o * s + t - low
                if layer.padding == "CIRCULAR":
                    matrix[o, p % n] += 1.0
                elif 0 <= p < n:
                    matrix[o, p] += 1.0
        if isinstance(layer, AvgPool):
            matrix /= k if layer.count_padding else matrix.sum(1, keepdims=True)
        out.append(matrix)
    return tuple(out)


def matrices(layer: Layer, positions: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """The matrix of a pooling or `Mix` layer: one, or one for each spatial dimension."""
    return _matrices(layer, positions)


def mixed(k: Any, maps: tuple[np.ndarray, ...], positions: tuple[int, ...], axis: int) -> Any:
    """`k` with the positions along `axis` (negative) mixed by `maps`."""
    axis += k.ndim
    shape = k.shape
    if len(maps) == 1:
        positions = (math.prod(positions),)
    k = k.reshape(*shape[:axis], *positions, *shape[axis + 1 :])
    for d, matrix in enumerate(maps):
        k = jnp.moveaxis(jnp.tensordot(jnp.asarray(matrix, k.dtype), k, (1, axis + d)), 0, axis + d)
    count = math.prod(k.shape[axis : axis + len(maps)])
    return k.reshape(*shape[:axis], count, *shape[axis + 1 :])
