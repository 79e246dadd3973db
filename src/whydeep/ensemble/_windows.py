"""Layers that slide a window over positions, by their definition: gather windows, multiply, add.

A convolution is one matrix product of its windows laid side by side. With many small networks or
one gradient an input, which is what measuring tangent kernels comes to, that is ten times as fast
on a CPU as XLA's own convolution, whose batched form falls back on a slow grouped one.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from whydeep.network import AvgPool, Conv, ConvLocal, ConvTranspose, MaxPool, SumPool, window_pads

__all__ = ["avg_pool", "conv", "conv_local", "conv_transpose", "max_pool", "sum_pool"]


def conv(layer: Conv, parameters: dict[str, Any], x: Any) -> Any:
    """``z(p) = b + sum_d W(d) s(strides p + dilation d)``."""
    patches = _windows(layer, x, dilation=layer.dilation)
    count = len(layer.size)
    patches = patches.reshape(*patches.shape[: 1 + count], -1)
    weight = parameters["weight"]
    return patches @ weight.reshape(-1, weight.shape[-1]) + parameters["bias"]


def conv_local(layer: ConvLocal, parameters: dict[str, Any], x: Any) -> Any:
    """The same with weights ``W(p, d)`` and biases of every position's own."""
    patches = _windows(layer, x)
    count = len(layer.size)
    patches = patches.reshape(*patches.shape[: 1 + count], -1)
    letters = "pqrstu"[:count]
    product = jnp.einsum(f"n{letters}f,{letters}fc->n{letters}c", patches, parameters["weight"])
    return product + parameters["bias"]


def conv_transpose(layer: ConvTranspose, parameters: dict[str, Any], x: Any) -> Any:
    """``z(strides p + d)`` collects ``W(d) s(p)``; then the border is cut, padded or wrapped."""
    weight = parameters["weight"]
    count = len(layer.size)
    # (N, *positions, *size, channels): what every position sends to every place of its window.
    sent = jnp.tensordot(x, weight, axes=(-1, count))
    for axis, (k, s) in enumerate(zip(layer.size, layer.strides, strict=True), start=1):
        sent = _collect(sent, axis, count + 1, k, s)
    for axis, (n, k, s) in enumerate(
        zip(x.shape[1:-1], layer.size, layer.strides, strict=True), start=1
    ):
        sent = _border(sent, axis, layer.padding, n, k, s)
    return sent + parameters["bias"]


def sum_pool(layer: SumPool | AvgPool, x: Any) -> Any:
    """The sum over windows."""
    patches = _windows(layer, x)
    return patches.sum(axis=_window_axes(layer))


def avg_pool(layer: AvgPool, x: Any) -> Any:
    """The mean over windows, zeros beyond the border counted or not."""
    total = sum_pool(layer, x)
    if layer.count_padding or layer.padding == "CIRCULAR":
        return total / math.prod(layer.size)
    return total / sum_pool(layer, jnp.ones((1, *x.shape[1:-1], 1), x.dtype))


def max_pool(layer: MaxPool, x: Any) -> Any:
    """The largest value of each window; nothing beyond the border is ever the largest."""
    return _windows(layer, x, fill=-jnp.inf).max(axis=_window_axes(layer))


def _window_axes(layer: Any) -> tuple[int, ...]:
    return tuple(range(-1 - len(layer.size), -1))


def _windows(
    layer: Any, x: Any, *, dilation: tuple[int, ...] | None = None, fill: float = 0.0
) -> Any:
    """(N, *windows, *size, channels): the values under every window."""
    dilation = dilation or (1,) * len(layer.size)
    pads = window_pads(x.shape[1:-1], layer.size, layer.strides, layer.padding, dilation)
    widths = ((0, 0), *pads, (0, 0))
    if any(p for pair in pads for p in pair):
        if layer.padding == "CIRCULAR":
            x = jnp.pad(x, widths, mode="wrap")
        else:
            x = jnp.pad(x, widths, constant_values=fill)
    for axis, (k, s, d) in enumerate(
        zip(layer.size, layer.strides, dilation, strict=True), start=1
    ):
        count = (x.shape[axis] - (d * (k - 1) + 1)) // s + 1
        parts = [
            jax.lax.slice_in_dim(x, d * i, d * i + s * (count - 1) + 1, s, axis) for i in range(k)
        ]
        x = jnp.stack(parts, axis=-2)
    return x


def _collect(sent: Any, axis: int, window_axis: int, size: int, stride: int) -> Any:
    """Add what arrives at ``stride p + d``: one dimension of positions and of the window."""
    total = 0
    for d in range(size):
        part = jax.lax.index_in_dim(sent, d, window_axis, keepdims=False)
        widths = [(0, 0, 0)] * part.ndim
        widths[axis] = (d, size - 1 - d, stride - 1)
        total = total + jax.lax.pad(part, jnp.zeros((), part.dtype), widths)
    return total


def _border(full: Any, axis: int, padding: Any, n: int, size: int, stride: int) -> Any:
    """What is kept of all ``stride (n - 1) + size`` places along one dimension."""
    length = full.shape[axis]
    if not isinstance(padding, str):
        low, high = padding[axis - 1]
        return jax.lax.slice_in_dim(full, low, length - high, axis=axis)
    target = n * stride
    low = 0
    if padding == "VALID":
        target += max(size - stride, 0)
    elif padding == "SAME":  # as jax.lax.conv_transpose pads the dilated input
        before = size - 1 if stride > size - 1 else math.ceil((size + stride - 2) / 2)
        low = size - 1 - before
    elif length > target:
        target = math.ceil(length / target) * target
    widths = [(0, 0, 0)] * full.ndim
    widths[axis] = (-low, target + low - length, 0)
    full = jax.lax.pad(full, jnp.zeros((), full.dtype), widths)
    if padding != "CIRCULAR":
        return full
    folded = full.reshape(*full.shape[:axis], -1, n * stride, *full.shape[axis + 1 :])
    return folded.sum(axis=axis)
