"""Inputs of different lengths: positions that are padding, through every layer.

Padding is zero in the input and zero again after every layer, whatever the layer makes of 0.
A window's output is padding where the position at its centre (the earlier of two) is; a transposed
convolution's, where any padding reaches it; a sum's, where all its terms are.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from whydeep.network import (
    AvgPool,
    ChannelsLast,
    Constant,
    Conv,
    ConvLocal,
    ConvTranspose,
    GlobalAvgPool,
    Join,
    MaxPool,
    Mix,
    PositionalEmbedding,
    Sum,
    SumPool,
    window_pads,
)
from whydeep.theory.infinite._plan import Input, Step
from whydeep.theory.infinite._positions import unslid

if TYPE_CHECKING:
    from whydeep.theory.infinite._propagate import Propagation

__all__ = ["mask_of", "mean_over"]

_WINDOWS = (Conv, ConvLocal, AvgPool, SumPool, MaxPool)


def mask_of(run: Propagation, i: int, which: int) -> Any:
    """Which positions of a step are there: (A, P) of 0 and 1; None where all are."""
    given = run.masks[which]
    step = run.plan.steps[i]
    layer: Any = step.layer
    if given is None or isinstance(layer, PositionalEmbedding | Constant | GlobalAvgPool):
        return None
    if isinstance(layer, Input):
        return given.reshape(len(given), -1).astype(float)
    before = [run.mask(k, which) for k in step.inputs]
    first = run.plan.steps[step.inputs[0]]
    if isinstance(layer, Sum):
        # What is the same for all inputs is there where the others are.
        told = [b for b, k in zip(before, step.inputs, strict=True) if run.plan.steps[k].inputs]
        told = told or before
        return None if any(b is None for b in told) else functools.reduce(jnp.maximum, told)
    if isinstance(layer, Join) and layer.axis != "channels":
        return _side_by_side(run, step, before, len(given))
    if before[0] is None or (first.flat and not step.flat):  # no positions are left
        return None
    return _moved(layer, before[0], first, step)


def _moved(layer: Any, mask: Any, first: Step, step: Step) -> Any:
    if isinstance(layer, ChannelsLast):
        return mask.reshape(len(mask), step.count)
    if isinstance(layer, _WINDOWS):
        return mask[:, _centres(layer, first.positions)]
    if isinstance(layer, ConvTranspose):
        reached = unslid(1.0 - mask, layer, first.positions, step.positions, full=False)
        return jnp.where(reached > 0, 0.0, 1.0)
    if isinstance(layer, Mix):
        touched = jnp.asarray(layer.matrix.values != 0, mask.dtype)
        return jnp.where(mask @ touched.T > 0, 1.0, 0.0)
    return mask


def _side_by_side(run: Propagation, step: Step, before: list[Any], size: int) -> Any:
    layer: Any = step.layer
    parts = [run.plan.steps[k] for k in step.inputs]
    blocks = [
        jnp.ones((size, *p.positions)) if b is None else b.reshape(size, *p.positions)
        for b, p in zip(before, parts, strict=True)
    ]
    return jnp.concatenate(blocks, 1 + int(layer.axis)).reshape(size, -1)


def _centres(layer: Any, positions: tuple[int, ...]) -> np.ndarray:
    dilation = layer.dilation if isinstance(layer, Conv) else (1,) * len(positions)
    pads = window_pads(positions, layer.size, layer.strides, layer.padding, dilation)
    axes = []
    for n, k, s, d, (low, high) in zip(
        positions, layer.size, layer.strides, dilation, pads, strict=True
    ):
        count = (n + low + high - d * (k - 1) - 1) // s + 1
        axes.append(np.clip(np.arange(count) * s - low + d * ((k - 1) // 2), 0, n - 1))
    grid = np.arange(math.prod(positions)).reshape(positions)
    return grid[np.ix_(*axes)].ravel()


def mean_over(value: Any, mask: Any, positions: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """The mean of (A, P) over spatial dimensions, padding left out, at every position."""
    grid = value.reshape(len(value), *positions)
    places = tuple(1 + axis for axis in axes)
    if mask is None:
        mean = grid.mean(places, keepdims=True)
    else:
        weight = mask.reshape(grid.shape)
        there = jnp.maximum(weight.sum(places, keepdims=True), 1.0)
        mean = (grid * weight).sum(places, keepdims=True) / there
    return jnp.broadcast_to(mean, grid.shape).reshape(value.shape)
