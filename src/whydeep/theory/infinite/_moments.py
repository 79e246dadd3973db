"""Means of values, and the scale and shift that a normalisation amounts to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.gaussian import mean_image
from whydeep.network import (
    Affine,
    BatchNorm,
    DotProductAttention,
    Dropout,
    Flatten,
    Identity,
    Join,
    LayerNorm,
    Product,
    Recurrent,
    RMSNorm,
    Sum,
)
from whydeep.theory.infinite._masks import mean_over
from whydeep.theory.infinite._plan import MIXING, Plan, Step, scale_and_shift
from whydeep.theory.infinite._recurrent import recurrent_mean
from whydeep.theory.infinite._sampled import sampled_mean

if TYPE_CHECKING:
    from whydeep.theory.infinite._propagate import Propagation

__all__ = ["affine_of", "mean_of", "shares"]


def mean_of(run: Propagation, i: int, which: int) -> Any:
    """E[v] of a step: (A, P)."""
    step = run.plan.steps[i]
    count = len(run.inputs[which])
    if step.data:
        return jnp.broadcast_to(run.data(i, which).mean(-1), (count, step.count))
    if step.gaussian:
        return jnp.zeros((count, step.count))
    if step.sampled or isinstance(step.layer, Recurrent):
        return (sampled_mean if step.sampled else recurrent_mean)(run, i, which)
    if step.unary is not None:
        leaf, function = step.unary
        return mean_image(function, run.variance(leaf, which))
    return _linear_mean(run, step, which)


def _linear_mean(run: Propagation, step: Step, which: int) -> Any:
    layer: Any = step.layer
    if isinstance(layer, DotProductAttention):
        return _attention_mean(run, step, len(run.inputs[which]))
    before = [run.mean(k, which) for k in step.inputs]
    if isinstance(layer, Sum):
        return math.prod(before) if isinstance(layer, Product) else sum(before)
    if isinstance(layer, Join):
        return _joined_mean(run, step, before)
    if isinstance(layer, MIXING):
        value = run.mixed(before[0], step, which, -1, run.self_of(which))
        return value * run.rescaled(step, which) if run.masks[which] is not None else value
    if isinstance(layer, Dropout | Identity | Flatten):
        return before[0]
    scale, shift = run.affine(step, which)
    return before[0] * scale + (0.0 if shift is None else shift)


def _joined_mean(run: Propagation, step: Step, before: list[Any]) -> Any:
    layer: Any = step.layer
    parts = [run.plan.steps[k] for k in step.inputs]
    if layer.axis == "channels":
        flat = [
            m.mean(-1, keepdims=True) if p.flat else m for m, p in zip(before, parts, strict=True)
        ]
        return sum(w * m for w, m in zip(shares(run.plan, step), flat, strict=True))
    blocks = [m.reshape(len(m), *p.positions) for m, p in zip(before, parts, strict=True)]
    return jnp.concatenate(blocks, 1 + int(layer.axis)).reshape(len(before[0]), -1)


def shares(plan: Plan, step: Step) -> np.ndarray:
    """The share of the channels that each of the values side by side has."""
    widths = [plan.steps[k].fan_in_shape.channels for k in step.inputs]
    return np.array(widths, dtype=np.float64) / sum(widths)


def _attention_mean(run: Propagation, step: Step, count: int) -> Any:
    if not run.plan.steps[step.inputs[2]].gaussian:
        raise UnsupportedError(
            "The mean of an attention's output has no rule.",
            received=step.described,
            cause="its values are not centred",
            suggestion="a Dense layer for the values, as in whydeep.Attention",
        )
    return jnp.zeros((count, step.count))


def affine_of(run: Propagation, step: Step, which: int) -> tuple[Any, Any]:
    """What a norm or a fixed affine map does: a scale and a shift (A, P), or None for no shift.

    At infinite width the mean over channels is the Gaussian mean, so a norm multiplies by a
    number that depends on input and position alone.
    """
    layer: Any = step.layer
    count = (len(run.inputs[which]), step.count)
    if isinstance(layer, Affine | BatchNorm):
        scale, shift = scale_and_shift(layer)
        return jnp.full(count, scale), None if shift == 0.0 else jnp.full(count, shift)
    k = step.inputs[0]
    square, mean = _square(run, k, which), run.mean(k, which)
    axes = _together(layer, step)
    if axes:
        mask = run.mask(k, which)
        square, mean = (mean_over(v, mask, step.positions, axes) for v in (square, mean))
    if isinstance(layer, RMSNorm):
        return 1.0 / jnp.sqrt(square + layer.eps), None
    scale = 1.0 / jnp.sqrt(jnp.maximum(square - mean**2, 0.0) + layer.eps)
    return scale, None if run.plan.steps[k].gaussian else -mean * scale


def _together(layer: Any, step: Step) -> tuple[int, ...]:
    """Spatial dimensions that are normalised together with the channels."""
    every = tuple(range(len(step.positions)))
    if step.flat:
        return every
    if isinstance(layer, RMSNorm):
        return ()
    over = layer.over if isinstance(layer, LayerNorm) else "all"
    return {"channels": (), "all": every}[over] if isinstance(over, str) else over


def _square(run: Propagation, k: int, which: int) -> Any:
    layer: Any = run.plan.steps[k].layer
    if isinstance(layer, Join) and layer.axis == "channels":
        return run.joined(k, run.self_of(which), full=False)[0]
    return run.variance(k, which)
