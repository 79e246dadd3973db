"""Layers with weights of their own, whose outputs are Gaussian and new.

    C' = C_b + C_W <C>,   T' = lambda_b + lambda_W <C> + C_W <T>,

with <.> the mean over the window that slides, both positions together (Novak et al. 2019, Eq. 9;
Arora et al. 2019, Sec. 4; Jacot, Gabriel and Hongler 2018, Theorem 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from whydeep.network import (
    ConvLocal,
    ConvTranspose,
    Dense,
    Embedding,
    Join,
    PositionalEmbedding,
)
from whydeep.theory.infinite._known import equal_tokens
from whydeep.theory.infinite._moments import shares
from whydeep.theory.infinite._plan import Step
from whydeep.theory.infinite._positions import slid, unslid

if TYPE_CHECKING:
    from whydeep.theory.infinite._propagate import Propagation, Side

__all__ = ["fresh_kernels", "joined_kernels"]


def fresh_kernels(run: Propagation, i: int, side: Side, *, full: bool) -> tuple[Any, Any]:
    """C and T of a fresh layer's output: (pairs..., P[, P]) each."""
    step = run.plan.steps[i]
    layer: Any = step.layer
    if isinstance(layer, Embedding):
        left, right = run.inputs[side.left], run.inputs[side.right]
        alike = equal_tokens(left, right, side, full=full)
        return layer.var * alike, layer.rate * alike
    if isinstance(layer, PositionalEmbedding):
        eye = jnp.eye(step.count) if layer.covariance is None else layer.covariance.values
        eye = jnp.asarray(eye if full else jnp.diagonal(eye))
        alike = jnp.broadcast_to(eye, (*run.pairs(side), *eye.shape))
        return layer.var * alike, layer.rate * alike
    k = step.inputs[0]
    before = run.plan.steps[k]
    inner = full and not before.flat and not isinstance(layer, ConvLocal)
    side_by_side = isinstance(before.layer, Join) and before.layer.axis == "channels"
    c, t = run.joined(k, side, full=inner) if side_by_side else _seen(run, k, side, full=inner)
    c, t = (None if v is None else _window(v, layer, before, step, full=inner) for v in (c, t))
    both = [layer.bias_var + layer.weight_var * c]
    if run.ntk:
        bias_lr, weight_lr = layer.learning_rates(before.fan_in_shape.channels)
        own = bias_lr + weight_lr * c
        both.append(own if t is None else own + layer.weight_var * t)
    if full and isinstance(layer, ConvLocal):  # weights of their own at every position
        both = [v[..., None] * jnp.eye(step.count) for v in both]
    return both[0], both[1] if run.ntk else None


def joined_kernels(run: Propagation, k: int, side: Side, *, full: bool) -> tuple[Any, Any]:
    """C and T of values side by side, as fresh weights see them: weighted by their channels."""
    step = run.plan.steps[k]
    both = [_seen(run, i, side, full=full) for i in step.inputs]
    weights = shares(run.plan, step)
    c = sum(w * c for w, (c, _) in zip(weights, both, strict=True))
    known = [w * t for w, (_, t) in zip(weights, both, strict=True) if t is not None]
    return c, sum(known) if known else None


def _seen(run: Propagation, k: int, side: Side, *, full: bool) -> tuple[Any, Any]:
    """C and T of a step; positions that were flattened stand among the channels: their mean."""
    flat = run.plan.steps[k].flat
    full = full and not flat
    c, t = run.second(k, k, side, full=full), run.tangent(k, k, side, full=full)
    if flat:
        c, t = (None if v is None else v.mean(-1, keepdims=True) for v in (c, t))
    return c, t


def _window(value: Any, layer: Any, before: Step, step: Step, *, full: bool) -> Any:
    if isinstance(layer, Dense):
        return value
    if isinstance(layer, ConvTranspose):
        return unslid(value, layer, before.positions, step.positions, full=full)
    return slid(value, layer, before.positions, full=full)
