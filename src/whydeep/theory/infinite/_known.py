"""Values that no weights have touched: the input itself, and what fixed layers make of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from whydeep.network import (
    Activation,
    Affine,
    BatchNorm,
    ChannelsLast,
    Constant,
    Flatten,
    Identity,
    Join,
    Product,
    Sum,
)
from whydeep.theory.infinite._plan import MIXING, Input, Step, scale_and_shift

if TYPE_CHECKING:
    from whydeep.theory.infinite._propagate import Propagation, Side

__all__ = ["equal_tokens", "gram", "known_values"]


def known_values(run: Propagation, i: int, which: int) -> Any:
    """The values (A or 1, P, channels) of a step that depends on no weights."""
    step = run.plan.steps[i]
    layer: Any = step.layer
    if isinstance(layer, Input):
        return run.inputs[which].reshape(len(run.inputs[which]), step.count, step.channels)
    if isinstance(layer, Constant):
        return jnp.asarray(layer.array.values).reshape(1, step.count, step.channels)
    before = [run.data(k, which) for k in step.inputs]
    if isinstance(layer, MIXING):
        return run.mixed(before[0], step, which, -2, run.self_of(which))
    return _RULES[type(layer)](run, step, before)


def _channels_last(run: Propagation, step: Step, before: list[Any]) -> Any:
    first = run.plan.steps[step.inputs[0]]
    grid = before[0].reshape(len(before[0]), *first.positions, first.channels)
    return jnp.moveaxis(grid, 1, -1).reshape(len(grid), step.count, step.channels)


def _joined(run: Propagation, step: Step, before: list[Any]) -> Any:
    layer: Any = step.layer
    if layer.axis == "channels":
        return jnp.concatenate(before, -1)
    grids = [
        b.reshape(len(b), *run.plan.steps[k].positions, step.channels)
        for b, k in zip(before, step.inputs, strict=True)
    ]
    whole = jnp.concatenate(grids, 1 + layer.axis)
    return whole.reshape(len(whole), step.count, step.channels)


def _affine(_: Propagation, step: Step, before: list[Any]) -> Any:
    scale, shift = scale_and_shift(step.layer)  # pyright: ignore[reportArgumentType]
    return before[0] * scale + shift


_RULES: dict[type, Callable[[Any, Any, list[Any]], Any]] = {
    Identity: lambda _run, _step, before: before[0],
    Flatten: lambda _run, _step, before: before[0],
    Activation: lambda _run, step, before: step.layer.function(before[0]),
    Product: lambda _run, _step, before: math.prod(before),
    Sum: lambda _run, _step, before: sum(before),
    ChannelsLast: _channels_last,
    Join: _joined,
    Affine: _affine,
    BatchNorm: _affine,
}


def gram(left: Any, right: Any, side: Side, *, full: bool) -> Any:
    """Mean over channels of products of known values: (pairs..., P[, Q])."""
    subscripts = {
        (2, True): "apc,bqc->abpq", (2, False): "apc,bpc->abp",
        (1, True): "apc,aqc->apq", (1, False): "apc,apc->ap",
    }[side.pairs, full]  # fmt: skip
    return jnp.einsum(subscripts, left, right, precision="highest") / left.shape[-1]


def equal_tokens(left: Any, right: Any, side: Side, *, full: bool) -> Any:
    """1 where two tokens are the same, else 0: (pairs..., P[, Q])."""
    left, right = left.reshape(len(left), -1), right.reshape(len(right), -1)
    equal = side.spread(left, right=False, full=full) == side.spread(right, right=True, full=full)
    return equal.astype(float)
