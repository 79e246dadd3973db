"""Normalisation by layers of ``torch.nn``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from whydeep.network._normalisation import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from whydeep.network.torch_reader._align import own
from whydeep.network.torch_reader._draft import Entry, Refusal, Source, Value
from whydeep.network.torch_reader._elementwise import scalar
from whydeep.network.torch_reader._layout import CHANNELS, Layout
from whydeep.network.torch_reader._operations import Missing, Reader, operation
from whydeep.network.torch_reader._parameter import Parameter, parameter_of
from whydeep.network.torch_reader._spatial import spatial

__all__: list[str] = []


def _norm_numbers(operand: Any, neutral: float) -> tuple[float, float]:
    """``(value, rate)`` of a norm's own scale or shift."""
    if operand is None:
        return neutral, 0.0
    parameter = parameter_of(operand)
    if parameter is None:
        value = scalar(operand)
        if value is None:
            msg = "its fixed scales or shifts differ from channel to channel"
            raise Refusal(msg)
        return value, 0.0
    if parameter.variance != 0:
        msg = f"{parameter.name} is drawn at random, or has been trained"
        raise Refusal(msg, "a norm as its constructor makes it: scales 1, shifts 0")
    return parameter.mean, parameter.rate


def _norm_sources(scale: Any, shift: Any, shape: Any = None) -> dict[str, tuple[Source, ...]]:
    """Where a norm's scale and shift stand; `shape` orders their entries as channels."""
    out: dict[str, tuple[Source, ...]] = {}
    for name, operand in (("scale", scale), ("shift", shift)):
        parameter = parameter_of(operand)
        if parameter is not None:
            out[name] = parameter.source(_ordered(operand, shape))
    return out


def _ordered(operand: Value, columns: np.ndarray | None) -> Any:
    def index() -> np.ndarray:
        table = operand.layout.flat(operand.base.dims)
        if columns is None:
            return table
        out = np.empty(columns.size, dtype=np.int64)
        out[columns.ravel()] = table.ravel()
        return out.reshape(columns.shape)

    return index


def _normed(
    r: Reader, x: Value, layer: Any, scale: Any, shift: Any, columns: np.ndarray | None = None
) -> Value:
    """A norm whose own numbers are 1 and 0, and what they are instead as a further layer."""
    (gamma, gamma_lr), (beta, beta_lr) = _norm_numbers(scale, 1.0), _norm_numbers(shift, 0.0)
    plain = (gamma, beta) == (1.0, 0.0)
    rates = {"scale_lr": gamma_lr, "shift_lr": beta_lr} if plain else {}
    sources = _norm_sources(scale, shift, columns)
    new = r.drafts.add(
        type(layer)(**(vars(layer) | rates)), (x.base.node,), sources=sources if plain else {}
    )
    if not plain:
        if columns is not None and columns.ndim > 1:
            msg = "its scales or shifts are not 1 and 0 and run over positions"
            raise Refusal(msg)
        second = BatchNorm(0.0, gamma_lr, beta_lr, 0.0, 1.0, gamma, beta)
        new = r.drafts.add(second, (new,), sources=sources)
    return Value(Entry(new), x.layout)


@operation("layer_norm")
def _layer_norm(
    r: Reader, x: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None,
    eps: float = 1e-5, **_: Any,
) -> Value:  # fmt: skip
    value, over, columns = _last_axes(r, x, len(normalized_shape))
    return _normed(r, value, LayerNorm(eps, over=over), weight, bias, columns)


@operation("rms_norm")
def _rms_norm(
    r: Reader, x: Any, normalized_shape: Sequence[int], weight: Any = None, eps: Any = None
) -> Value:
    value, over, columns = _last_axes(r, x, len(normalized_shape))
    if over == "all":
        msg = "it divides by a mean over channels and positions"
        raise Refusal(msg, "a norm over channels")
    small = float(np.finfo(np.float32).eps) if eps is None else eps
    return _normed(r, value, RMSNorm(small), weight, None, columns)


def _last_axes(r: Reader, x: Any, count: int) -> tuple[Value, str, np.ndarray]:
    """What the last axes hold: the channels, or "all" that an example has, and in which order."""
    if not isinstance(x, Value) or not isinstance(x.base, (Entry, Parameter)):
        msg = f"it is applied to {x.base if isinstance(x, Value) else 'fixed numbers'}"
        raise Refusal(msg)
    value = own(r.drafts, x)
    shape = r.drafts.shape(value.base.node)
    modes = [m for axis in value.layout.axes[-count:] for m in axis]
    inside = Layout((tuple(modes),))
    dims = r.drafts.dims(value.base.node)[1:]
    if not all(m.dim > 0 or m.dim == CHANNELS for m in modes):
        msg = "it normalises over examples or repeated numbers"
        raise Refusal(msg)
    if all(inside.whole(d, n) for d, n in dims):
        columns = inside.flat(dims)
        if shape.count == 1:
            return value, "channels", columns.ravel()
        return value, "all", _as_grid(columns, shape.positions, shape.channels)
    if any(m.dim > 0 for m in modes) or not inside.whole(CHANNELS, shape.channels):
        msg = "it normalises over positions, or over a part of the channels"
        raise Refusal(msg, "over all channels, or over channels and positions together")
    return value, "channels", inside.index(CHANNELS, modes)


def _as_grid(columns: np.ndarray, positions: Sequence[int], channels: int) -> np.ndarray:
    return columns.reshape(-1).reshape(*positions, channels)


@operation("group_norm")
def _group_norm(
    r: Reader, x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5,
    **_: Any,
) -> Value:  # fmt: skip
    found = spatial(r, x, len(x.shape) - 2)
    channels = r.drafts.shape(found.node).channels
    if found.lead or (num_groups == channels and num_groups > 1):
        msg = "each of its groups is one channel, or it is applied to frames"
        raise Refusal(msg, "groups of several channels, which grow with the width")
    value = Value(Entry(found.node), found.layout(found.sizes, channels))
    return _normed(r, value, GroupNorm(eps, groups=num_groups), weight, bias)


@operation("batch_norm")
def _batch_norm(
    r: Reader, x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any,
    training: bool, momentum: float, eps: float, **_: Any,  # noqa: FBT001 -- PyTorch's
) -> Value:  # fmt: skip
    del momentum
    if training or running_mean is None:
        msg = "in training mode it mixes examples"
        raise Refusal(msg, "module.eval(): its stored numbers are then used")
    return _stored_norm(r, x, (weight, bias), (running_mean, running_var), eps)


@operation(
    "_native_batch_norm_legit_functional", "_native_batch_norm_legit", "native_batch_norm",
    "instance_norm",
)  # fmt: skip
def _norm_of_data(r: Reader, **_: Any) -> Value:
    if r.name == "instance_norm":
        msg = "it normalises every channel for itself"
        raise Refusal(msg, "GroupNorm with several channels in a group, which grow with the width")
    msg = "in training mode it mixes examples"
    raise Refusal(msg, "module.eval(): its stored numbers are then used")


@operation("_native_batch_norm_legit_no_training")
def _batch_norm_stored(
    r: Reader, x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any,
    momentum: float, eps: float,
) -> tuple[Any, ...]:  # fmt: skip
    del momentum
    r.shape = r.shape[0]
    unused = Missing("statistics of batch normalisation")
    norm = _stored_norm(r, x, (weight, bias), (running_mean, running_var), eps)
    return norm, unused, unused


def _stored_norm(
    r: Reader, x: Any, own_numbers: tuple[Any, Any], stored: tuple[Any, Any], eps: float
) -> Value:
    found = spatial(r, x, len(x.shape) - 2)
    mean, var = (scalar(s) for s in stored)
    if mean is None or var is None:
        msg = "its stored means and variances differ from channel to channel: it has seen data"
        raise Refusal(msg, "a module as its constructor makes it")
    scale, shift = own_numbers
    (gamma, gamma_lr), (beta, beta_lr) = _norm_numbers(scale, 1.0), _norm_numbers(shift, 0.0)
    layer = BatchNorm(eps, gamma_lr, beta_lr, mean, var, gamma, beta)
    channels = r.drafts.shape(found.node).channels
    new = r.drafts.add(layer, (found.node,), sources=_norm_sources(scale, shift))
    return Value(Entry(new), found.layout(found.sizes, channels))
