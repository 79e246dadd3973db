"""PyTorch's operations that bend, as kink nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.geometry.pieces import Kink, named_kink
from whydeep.geometry.readers._windows import largest_of, over_axes, pooled, units_threshold

__all__ = ["KINKS", "SMOOTH"]

Shape = tuple[int, ...]


def _size(shape: Shape) -> int:
    return math.prod(shape)


def _named(name: str) -> Callable[..., Kink]:
    return lambda shape, _out, *parameters, **_: named_kink(name, _size(shape), *parameters)


def _clamp(shape: Shape, _out: Shape, low: Any = None, high: Any = None, **other: Any) -> Kink:
    low, high = other.get("min", low), other.get("max", high)
    low = -math.inf if low is None else float(low)
    high = math.inf if high is None else float(high)
    return named_kink("clip", _size(shape), low, high)


def _limited(key: str) -> Callable[..., Kink]:
    def make(shape: Shape, _out: Shape, limit: Any = None, **other: Any) -> Kink:
        limit = float(other.get(key, limit))
        low, high = (limit, math.inf) if key == "min" else (-math.inf, limit)
        return named_kink("clip", _size(shape), low, high)

    return make


def _hardtanh(shape: Shape, _out: Shape, min_val: float = -1.0, max_val: float = 1.0) -> Kink:
    return named_kink("clip", _size(shape), float(min_val), float(max_val))


def _leaky(shape: Shape, _out: Shape, negative_slope: float = 0.01) -> Kink:
    return named_kink("leaky_relu", _size(shape), float(negative_slope))


def _rrelu(
    shape: Shape, _out: Shape, lower: float = 0.125, upper: float = 1 / 3, *_: Any, **__: Any
) -> Kink:
    return named_kink("leaky_relu", _size(shape), (lower + upper) / 2)


def _prelu(shape: Shape, _out: Shape, weight: Any = None) -> Kink:
    slopes = np.asarray(weight.detach().cpu().double().numpy()).ravel()
    if len(slopes) > 1:
        slopes = np.repeat(slopes, _size(shape[1:]))
    slopes = np.resize(slopes, _size(shape))
    zero, one = np.zeros_like(slopes), np.ones_like(slopes)
    return units_threshold("prelu", [zero], [slopes, one], [zero, zero])


def _threshold(shape: Shape, _out: Shape, threshold: float = 0.0, value: float = 0.0) -> Kink:
    if threshold != value:
        raise UnsupportedError(
            "threshold jumps: a continuous function is needed.",
            received=f"threshold={threshold}, value={value}",
            needed="the value at the threshold: value == threshold",
        )
    return named_kink("clip", _size(shape), float(threshold), math.inf)


def _pair(name: str, *, smallest: bool) -> Callable[..., Kink]:
    def make(shape: Shape, _out: Shape, **_: Any) -> Kink:
        n = _size(shape)
        members = np.stack([np.arange(n), n + np.arange(n)], axis=1)
        return largest_of(name, 2 * n, members, smallest=smallest)

    return make


def _each(value: Any, rank: int) -> list[int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return [int(n) for n in (numbers * rank if len(numbers) == 1 else numbers)]


def _max_pool(rank: int) -> Callable[..., Kink]:
    def make(
        shape: Shape, out: Shape, kernel_size: Any = 2, stride: Any = (), padding: Any = 0,
        dilation: Any = 1, ceil_mode: bool = False,  # noqa: FBT001, FBT002 -- PyTorch's
    ) -> Kink:  # fmt: skip
        del ceil_mode  # the shape of the output says it
        window = _each(kernel_size, rank)
        strides = window if stride in ((), [], None) else _each(stride, rank)
        members = pooled(
            shape, out[-rank:], window, strides, _each(padding, rank), _each(dilation, rank)
        )
        return largest_of(f"max_pool{rank}d", _size(shape), members)

    return make


def _adaptive(rank: int) -> Callable[..., Kink]:
    def make(shape: Shape, out: Shape, *_: Any, **__: Any) -> Kink:
        sizes, spatial = out[-rank:], shape[-rank:]
        if any(n % m for n, m in zip(spatial, sizes, strict=True)):
            raise UnsupportedError(
                "Adaptive max-pooling with windows of unequal size can't be read.",
                received=f"{spatial} to {sizes}",
                needed="output sizes that divide the input's",
            )
        window = [n // m for n, m in zip(spatial, sizes, strict=True)]
        members = pooled(shape, sizes, window, window, [0] * rank, [1] * rank)
        return largest_of(f"adaptive_max_pool{rank}d", _size(shape), members)

    return make


def _reduced(name: str, *, smallest: bool) -> Callable[..., Kink]:
    def make(shape: Shape, _out: Shape, dim: Any = None, keepdim: bool = False) -> Kink:  # noqa: FBT001, FBT002
        del keepdim
        given = [dim] if isinstance(dim, int) else list(dim or [])
        axes = [d % (len(shape) + 1) - 1 for d in given]
        if not axes or min(axes) < 0:
            raise UnsupportedError(f"{name} over examples can't be read.", received=f"dim={dim}")
        return largest_of(name, _size(shape), over_axes(shape, axes), smallest=smallest)

    return make


KINKS: dict[str, Callable[..., Kink]] = {
    "abs": _named("abs"),
    "adaptive_max_pool1d": _adaptive(1),
    "adaptive_max_pool2d": _adaptive(2),
    "amax": _reduced("amax", smallest=False),
    "amin": _reduced("amin", smallest=True),
    "clamp": _clamp,
    "clamp_max": _limited("max"),
    "clamp_min": _limited("min"),
    "hardsigmoid": _named("hard_sigmoid"),
    "hardtanh": _hardtanh,
    "leaky_relu": _leaky,
    "max": _reduced("max", smallest=False),
    "max_pool1d": _max_pool(1),
    "max_pool2d": _max_pool(2),
    "max_pool2d_with_indices": _max_pool(2),
    "max_pool3d": _max_pool(3),
    "maximum": _pair("maximum", smallest=False),
    "min": _reduced("min", smallest=True),
    "minimum": _pair("minimum", smallest=True),
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "relu": _named("relu"),
    "relu6": _named("relu6"),
    "rrelu": _rrelu,
    "softshrink": _named("soft_shrink"),
    "threshold": _threshold,
}

SMOOTH = frozenset({
    "celu", "cos", "elu", "erf", "exp", "gelu", "hardswish", "layer_norm", "log_sigmoid",
    "log_softmax", "_log_softmax", "logsigmoid", "mish", "native_layer_norm", "norm", "pow",
    "reciprocal", "rms_norm", "rsqrt", "selu", "sigmoid", "silu", "sin", "softmax", "_softmax",
    "softplus", "softsign", "sqrt", "square", "tanh", "tanhshrink", "group_norm", "instance_norm",
})  # fmt: skip
