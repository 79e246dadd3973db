"""Steps that are linear in earlier values: their kernels are sums of kernels of those."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from whydeep.errors import UnsupportedError
from whydeep.network import (
    Affine,
    BatchNorm,
    Dropout,
    Flatten,
    Identity,
    Join,
    Product,
    Sum,
)
from whydeep.theory.infinite._plan import MIXING, NORMS, Step, own_rates

if TYPE_CHECKING:
    from whydeep.theory.infinite._propagate import Propagation, Side

__all__ = ["is_linear", "linear_kernel", "total"]

Inner = Callable[..., Any]


def is_linear(step: Step) -> bool:
    """Whether a step is a linear map of earlier values, channel by channel."""
    linear = (Identity, Flatten, Sum, Join, Dropout, Affine, BatchNorm, *MIXING, *NORMS)
    return isinstance(step.layer, linear) and not isinstance(step.layer, Product)


def total(values: list[Any]) -> Any:
    """The sum, where None is zero."""
    known = [v for v in values if v is not None]
    return sum(known[1:], known[0]) if known else None


def linear_kernel(
    run: Propagation, kind: str, i: int, j: int, side: Side, *, full: bool, right: bool
) -> Any:
    """C or T (`kind`) of steps i and j, by what i (or j, if `right`) is linear in."""
    step = run.plan.steps[j if right else i]
    layer: Any = step.layer

    def inner(k: int, *, full: bool = full) -> Any:
        return run.asked(kind, i if right else k, k if right else j, side, full=full)

    if isinstance(layer, Identity | Flatten | Sum):
        return total([inner(k) for k in step.inputs])
    if isinstance(layer, MIXING):
        return _mixed(run, step, inner, side, full=full, right=right)
    if isinstance(layer, Join) and layer.axis != "channels":
        return _side_by_side(run, step, inner, full=full, right=right)
    if isinstance(layer, Join):
        return _joined(run, kind, i, j, side, full=full)
    if isinstance(layer, Dropout):
        value = inner(step.inputs[0])
        return value if i != j or value is None else _dropped(run, value, layer, side, full=full)
    return _scaled(run, kind, i, j, side, inner, full=full, right=right)


def _mixed(
    run: Propagation, step: Step, inner: Inner, side: Side, *, full: bool, right: bool
) -> Any:
    value = inner(step.inputs[0], full=True)
    if value is None:
        return None
    which = side.right if right else side.left
    value = run.mixed(value, step, which, -1 if right else -2, side)
    value = value if full else jnp.diagonal(value, axis1=-2, axis2=-1)
    if run.masks[which] is None:
        return value
    return value * side.spread(run.rescaled(step, which), right=right, full=full)


def _joined(run: Propagation, kind: str, i: int, j: int, side: Side, *, full: bool) -> Any:
    if i != j:
        raise UnsupportedError(
            "Values side by side meet others that are not.",
            received=f"{run.plan.steps[i].described} and {run.plan.steps[j].described}",
            cause="their channels are not alike",
        )
    return run.joined(i, side, full=full)[kind == "tangent"]


def _side_by_side(run: Propagation, step: Step, inner: Inner, *, full: bool, right: bool) -> Any:
    """Values whose positions stand side by side: blocks of a covariance."""
    layer: Any = step.layer
    parts = [run.plan.steps[k] for k in step.inputs]
    values = [inner(k, full=True) for k in step.inputs]
    known = next((v for v in values if v is not None), None)
    if known is None:
        return None
    where = known.ndim - (1 if right else 2)
    blocks = []
    for value, part in zip(values, parts, strict=True):
        shape = [*known.shape[:where], part.count, *known.shape[where + 1 :]]
        block = jnp.zeros(shape, known.dtype) if value is None else value
        blocks.append(block.reshape(*shape[:where], *part.positions, *shape[where + 1 :]))
    out = jnp.concatenate(blocks, where + int(layer.axis))
    out = out.reshape(*known.shape[:where], step.count, *known.shape[where + 1 :])
    return out if full else jnp.diagonal(out, axis1=-2, axis2=-1)


def _dropped(run: Propagation, value: Any, layer: Dropout, side: Side, *, full: bool) -> Any:
    """A mask shared by a value and itself only: the diagonal grows by 1 / (1 - rate)."""
    kept = 1.0 / (1.0 - layer.rate)
    factor = jnp.where(run.same, kept, 1.0) if side.pairs == 2 else jnp.asarray(kept)
    factor = factor[..., None]
    if not full:
        return value * factor
    eye = jnp.eye(value.shape[-1], dtype=value.dtype)
    return value * (1.0 + (factor[..., None] - 1.0) * eye)


def _scaled(
    run: Propagation, kind: str, i: int, j: int, side: Side, inner: Inner, *, full: bool,
    right: bool,
) -> Any:  # fmt: skip
    """A norm or an affine map: a scale and a shift for each input and position."""
    step = run.plan.steps[j if right else i]
    scale, shift = run.affine(step, side.right if right else side.left)
    value = inner(step.inputs[0])
    value = None if value is None else value * side.spread(scale, right=right, full=full)
    if kind == "second":
        if shift is None:
            return value
        other = run.mean(i if right else j, side.left if right else side.right)
        shift = side.spread(shift, right=right, full=full)
        return value + shift * side.spread(other, right=not right, full=full)
    if i == j and own_rates(step.layer) != (0.0, 0.0):
        normal = _normal(run, i, side, full=full)
        scale_lr, shift_lr = own_rates(step.layer)
        return total([value, scale_lr * normal, jnp.full_like(normal, shift_lr)])
    return value


def _normal(run: Propagation, i: int, side: Side, *, full: bool) -> Any:
    """Second moments of a norm's value before its own scale and shift."""
    layer: Any = run.plan.steps[i].layer
    if isinstance(layer, NORMS):  # drawn as 1 and 0
        return run.second(i, i, side, full=full)
    k = run.plan.steps[i].inputs[0]
    c = run.second(k, k, side, full=full)
    left = side.spread(run.mean(k, side.left), right=False, full=full)
    right = side.spread(run.mean(k, side.right), right=True, full=full)
    return (c - layer.mean * (left + right) + layer.mean**2) / (layer.var + layer.eps)
