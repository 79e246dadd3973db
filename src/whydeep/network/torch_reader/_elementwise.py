"""Sums, products and functions of one variable."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from whydeep.network._join import Product, Sum
from whydeep.network._layers import Dropout
from whydeep.network._network import INPUT
from whydeep.network._normalisation import BatchNorm
from whydeep.network.torch_reader._align import align
from whydeep.network.torch_reader._attention import Logits, masked, scaled
from whydeep.network.torch_reader._draft import Entry, Refusal, Value
from whydeep.network.torch_reader._layout import CHANNELS, REPEAT, Layout
from whydeep.network.torch_reader._moments import Moment, combined
from whydeep.network.torch_reader._operations import Missing, Reader, operation
from whydeep.network.torch_reader._parameter import Parameter

__all__ = ["applied", "joined", "joined_sum", "scalar"]

_UNARY = (
    "neg", "abs", "sign", "square", "reciprocal", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p",
    "sin", "cos", "tan", "atan", "sinh", "cosh", "asinh", "tanh", "erf", "erfc", "sigmoid",
    "log_sigmoid", "relu", "relu6", "leaky_relu", "gelu", "silu", "mish", "softplus", "elu",
    "selu", "celu", "hardtanh", "clamp", "clamp_min", "clamp_max", "hardsigmoid", "hardswish",
    "threshold", "hardshrink", "softshrink", "pow", "arctan", "arcsinh", "clip", "absolute",
    "sgn", "negative",
)  # fmt: skip
_SPELLINGS = {
    "arctan": "atan", "arcsinh": "asinh", "clip": "clamp", "absolute": "abs", "sgn": "sign",
    "negative": "neg", "subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div",
    "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le", "max": "maximum",
    "min": "minimum",
}  # fmt: skip


@operation(*_UNARY)
def _function(r: Reader, x: Any, **arguments: Any) -> Any:
    """A function of one variable, by its name in `OPERATIONS`."""
    name = _SPELLINGS.get(r.name, r.name)
    numbers = [_plain(a) for a in arguments.values()]
    while numbers and numbers[-1] is None:
        numbers.pop()
    if not isinstance(x, Value):  # pow of a number
        msg = "a number is raised to a value"
        raise Refusal(msg)
    return applied(r, x, lambda f: (name, f, *numbers))


def _plain(argument: Any) -> Any:
    if isinstance(argument, Value):
        msg = "its parameters depend on the input"
        raise Refusal(msg)
    number = scalar(argument)
    return argument if number is None else number


@operation("rrelu")
def _rrelu(r: Reader, x: Value, lower: Any, upper: Any, training: bool, **_: Any) -> Any:  # noqa: FBT001 -- PyTorch's argument
    if training:
        msg = "in training mode its slopes are random"
        raise Refusal(msg, "module.eval()")
    return applied(r, x, lambda f: ("rrelu", f, float(lower), float(upper)))


@operation("glu")
def _glu(r: Reader, x: Value, dim: int = -1) -> Any:
    axis = dim % len(x.shape)
    half = x.shape[axis] // 2
    first, second = (x.seen(x.layout.sliced(axis, start, half, 1)) for start in (0, half))
    return _combine(r, "mul", first, applied(r, second, lambda f: ("sigmoid", f)))


@operation("prelu")
def _prelu(r: Reader, x: Value, weight: Any) -> Any:
    name = weight.base.name if isinstance(weight, Value) else "its slope"
    slope = scalar(weight)
    if slope is None:
        msg = f"{name} is trained: one number for many channels, whose kernel does not settle"
        raise Refusal(msg, "freeze it with requires_grad_(False), or take nn.LeakyReLU")
    return applied(r, x, lambda f: ("leaky_relu", f, slope))


def applied(r: Reader, x: Value, wrap: Callable[[Any], tuple[Any, ...]]) -> Value:
    """A value with one more function around what it has."""
    if isinstance(x.base, (Entry, Moment)):
        base = dataclasses.replace(x.base, function=wrap(x.base.function))
        if isinstance(base, Entry):
            base = dataclasses.replace(base, label=r.drafts.label)
        return Value(base, x.layout)
    msg = f"a function is applied to {x.base}"
    raise Refusal(msg)


def scalar(operand: Any) -> float | None:
    """The one number that an operand has everywhere, or None."""
    if isinstance(operand, (bool, int, float)):
        return float(operand)
    if isinstance(operand, Value) or not hasattr(operand, "numel") or operand.numel() == 0:
        return None
    first = operand.reshape(-1)[0]
    return float(first) if bool((operand == first).all()) else None


# -- two operands ----------------------------------------------------------------------------------


@operation(
    "add", "sub", "mul", "div", "maximum", "minimum", "gt", "ge", "lt", "le", "subtract",
    "multiply", "divide", "true_divide", "greater", "greater_equal", "less", "less_equal",
)  # fmt: skip
def _binary(
    r: Reader, x: Any, other: Any, alpha: Any = 1, rounding_mode: Any = None
) -> Any:  # fmt: skip
    if rounding_mode is not None:
        msg = "it rounds"
        raise Refusal(msg)
    if alpha != 1:
        other = _combine(r, "mul", other, alpha)
    return _combine(r, _SPELLINGS.get(r.name, r.name), x, other)


@operation("rsub")
def _reversed(r: Reader, x: Any, other: Any, alpha: Any = 1) -> Any:
    return _combine(r, "sub", other, x if alpha == 1 else _combine(r, "mul", x, alpha))


_FIXED = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv}


def _combine(r: Reader, name: str, a: Any, b: Any) -> Any:
    if not isinstance(a, Value) and not isinstance(b, Value):
        return _FIXED[name](a, b)
    one, two = scalar(a), scalar(b)
    shape = _broadcast(a, b)
    if one is not None or two is not None:
        value, number = (b, one) if two is None else (a, two)
        value = value.seen(value.layout.expanded(shape))
        return _with_number(r, name, value, float(number or 0.0), first=two is None)
    bases = [o.base for o in (a, b) if isinstance(o, Value)]
    if any(isinstance(base, Logits) for base in bases):
        return masked(name, a, b)
    if any(isinstance(base, Moment) for base in bases):
        return combined(r, name, a, b)
    return _one_entry(r, name, a, b) or _two_values(r, name, a, b)


def _one_entry(r: Reader, name: str, a: Any, b: Any) -> Value | None:
    """Two functions of one value in one layout, as one function."""
    if not (isinstance(a, Value) and isinstance(b, Value)):
        return None
    one, two = a.base, b.base
    if not isinstance(one, Entry) or not isinstance(two, Entry) or one.node != two.node:
        return None
    shape = _broadcast(a, b)
    layout = a.layout.expanded(shape).simplified()
    if layout != b.layout.expanded(shape).simplified():
        return None
    return Value(Entry(one.node, (name, one.function, two.function), r.drafts.label), layout)


def _two_values(r: Reader, name: str, a: Any, b: Any) -> Value:
    shape = _broadcast(a, b)
    if name in ("add", "sub"):
        return joined(r, Sum(), [a, _combine(r, "mul", b, -1.0) if name == "sub" else b], shape)
    if name == "mul":
        return _product(r, a, b, shape)
    if name == "div" and not isinstance(b, Value):
        return _product(r, a, b.double().reciprocal(), shape)
    msg = "it joins two different values in a way that has no kernel"
    raise Refusal(msg, "sums and products of values are read")


def _broadcast(*operands: Any) -> tuple[int, ...]:
    shapes = [tuple(o.shape) for o in operands if hasattr(o, "shape")]
    return tuple(np.broadcast_shapes(*shapes))


def _with_number(r: Reader, name: str, value: Value, number: float, *, first: bool) -> Any:
    base = value.base
    if isinstance(base, Logits):
        return scaled(value, name, number, first=first)
    if isinstance(base, Parameter):
        return _scaled_parameter(name, value, number, first=first)
    if isinstance(base, (Entry, Moment)):
        order = (number, base.function) if first else (base.function, number)
        return applied(r, value, lambda _: (name, *order))
    msg = f"a number joins {base}"
    raise Refusal(msg)


def _scaled_parameter(name: str, value: Value, number: float, *, first: bool) -> Value:
    p = value.base
    scale, shift = p.scale, p.shift
    if name == "mul" or (name == "div" and not first):
        factor = number if name == "mul" else 1.0 / number
        scale, shift = scale * factor, shift * factor
    elif name == "add":
        shift += number
    elif name == "sub":
        scale, shift = (-scale, number - shift) if first else (scale, shift - number)
    else:
        msg = f"the parameter {p.name} is changed before it is used"
        raise Refusal(msg)
    return Value(dataclasses.replace(p, scale=scale, shift=shift), value.layout)


def joined(r: Reader, layer: Sum, operands: Sequence[Any], shape: Sequence[int]) -> Value:
    """Operands as one sum or product."""
    drafts = r.drafts
    together = align(drafts, operands, shape)
    varying = [n for n in together.nodes if n == INPUT or drafts.varies(n)]
    raw = len(varying) == 1 and drafts.raw(varying[0])
    return Value(Entry(drafts.add(layer, together.nodes, raw=raw)), together.layout)


def joined_sum(r: Reader, a: Any, b: Any) -> Any:
    """The sum of two operands."""
    return _combine(r, "add", a, b)


def _product(r: Reader, a: Any, b: Any, shape: Sequence[int]) -> Value:
    for value, other in ((a, b), (b, a)):
        parameter = other.base if isinstance(other, Value) else None
        if isinstance(parameter, Parameter) and isinstance(value, Value):
            if parameter.variance == 0:
                return _learned_scale(r, value, other, shape)
            if parameter.mean != 0:
                msg = f"{parameter.name} multiplies a value and has a mean beside its variance"
                raise Refusal(msg)
    return joined(r, Product(), [a, b], shape)


def _learned_scale(r: Reader, value: Value, scale: Value, shape: Sequence[int]) -> Value:
    """A learned factor a channel that begins as one number: a batch norm that only scales."""
    parameter = scale.base
    if not isinstance(value.base, Entry):
        msg = f"the parameter {parameter.name} multiplies {value.base}"
        raise Refusal(msg)
    seen = value.layout.expanded(shape).simplified()
    modes = scale.layout.expanded(shape).simplified()
    node = r.drafts.emit(value.base)
    channels = [
        mode for axis, own_axis in zip(modes.axes, seen.axes, strict=True)
        if any(m.dim == CHANNELS for m in own_axis) for mode in axis
    ]  # fmt: skip
    others = [m for m in modes.modes if m.dim != REPEAT]
    size = r.drafts.shape(node).channels
    right = others == channels and len(channels) == 1 and channels[0].size == size
    if not right or not seen.whole(CHANNELS, size):
        msg = f"{parameter.name} multiplies a value otherwise than once a channel"
        raise Refusal(msg, f"{parameter.name}.requires_grad_(False), if it is not trained")
    index = Layout((tuple(channels),), modes.start)
    layer = BatchNorm(0.0, parameter.rate, 0.0, 0.0, 1.0, parameter.mean, 0.0)
    sources = {"scale": parameter.source(lambda: index.flat(parameter.dims))}
    new = r.drafts.add(layer, (node,), sources=sources, label=parameter.name)
    return Value(Entry(new), seen)


# -- choices ---------------------------------------------------------------------------------------


@operation("where")
def _where(r: Reader, condition: Any, x: Any, other: Any) -> Any:
    if isinstance(x, Value) and isinstance(x.base, Logits) and not isinstance(condition, Value):
        return masked("where", x, condition, scalar(other))
    if not isinstance(condition, Value):
        return _kept(r, condition, x, other)
    parts = [condition, x, other]
    values = [p for p in parts if isinstance(p, Value)]
    bases = [v.base for v in values]
    same = all(isinstance(b, Entry) and b.node == bases[0].node for b in bases)
    plain = [p for p in parts if not isinstance(p, Value)]
    if not same or any(scalar(p) is None for p in plain):
        msg = "it chooses between different values"
        raise Refusal(msg)
    layouts = {v.layout.simplified() for v in values}
    if len(layouts) > 1:
        msg = "it chooses between values of different shapes"
        raise Refusal(msg)
    arguments = [p.base.function if isinstance(p, Value) else scalar(p) for p in parts]
    return Value(Entry(bases[0].node, ("where", *arguments), r.drafts.label), layouts.pop())


def _kept(r: Reader, mask: Any, x: Any, other: Any) -> Any:
    """``x`` where a fixed mask is true: products with zeros and ones."""
    total = None
    for part, share in ((x, mask.double()), (other, 1.0 - mask.double())):
        number = scalar(part)
        if number is not None and not math.isfinite(number):
            msg = "it fills in what is not finite"
            raise Refusal(msg)
        if number != 0:
            product = _combine(
                r, "mul", part if number is None else share, share if number is None else number
            )
            total = product if total is None else _combine(r, "add", total, product)
    return total


@operation("masked_fill")
def _masked_fill(r: Reader, x: Any, mask: Any, value: Any) -> Any:
    if isinstance(x, Value) and isinstance(x.base, Logits) and not isinstance(mask, Value):
        return masked("fill", x, mask, scalar(value))
    return _where(r, mask, value, x)


@operation("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
def _dropout(r: Reader, x: Value, p: float, train: bool) -> Any:  # noqa: FBT001 -- PyTorch's
    if not train or p == 0:
        return x
    if r.name != "dropout" or not isinstance(x.base, Entry):
        msg = "in training mode it drops whole channels, or attention's weights"
        raise Refusal(msg, "module.eval()")
    return r.layered(Dropout(float(p)), x)


@operation("native_dropout")
def _native_dropout(r: Reader, x: Value, p: float, train: bool) -> Any:  # noqa: FBT001 -- PyTorch's
    r.name = "dropout"
    return _dropout(r, x, p, train), Missing("the mask of dropout")
