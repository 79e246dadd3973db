"""Elementwise primitives: arithmetic of one value, sums and products of several."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable
from typing import Any

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network._join import Product, Sum
from whydeep.network.jax_reader._attention import is_hidden, masked
from whydeep.network.jax_reader._axes import Atom, Axes
from whydeep.network.jax_reader._draft import (
    Computed,
    Draft,
    Gain,
    Known,
    OneHot,
    Scores,
    Source,
    Value,
    refuse_computed,
)
from whydeep.network.jax_reader._expression import VALUE, Expression, apply, number
from whydeep.network.jax_reader._leaves import Parameter
from whydeep.network.jax_reader._norms import normalised
from whydeep.network.jax_reader._reader import Reader
from whydeep.network.jax_reader._structure import broadcast

__all__ = ["elementwise"]


def elementwise(
    reader: Reader, operation: str, operands: list[Any], options: Hashable = None
) -> Any:
    """What an elementwise operation makes of values, parameters and numbers."""
    operands = _same_shape(operands)
    values = [o for o in operands if isinstance(o, Value)]
    parameters = [o for o in operands if isinstance(o, (Parameter, Computed))]
    if not values:
        return _of_parameters(operation, operands, options)
    if parameters:
        return _with_parameter(reader, operation, operands)
    if operation == "select_n" and isinstance(operands[0], Known):
        return _select(reader, operands)
    if operation == "eq" and (rows := _one_hot(reader, operands)) is not None:
        return rows
    same = len({id(v.base) for v in values}) == 1 and reader.aligned(values)
    if same and all(isinstance(o, Value) or o.uniform for o in operands):
        return _fused(reader, operation, operands, options)
    return _several(reader, operation, operands)


def _same_shape(operands: list[Any]) -> list[Any]:
    """Scalars and axes of size 1, repeated."""
    shape = np.broadcast_shapes(*(o.shape for o in operands))
    return [_repeated(o, shape) if o.shape != shape else o for o in operands]


def _repeated(operand: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(operand, Known):
        return Known(np.broadcast_to(operand.array, shape))
    rank = len(operand.shape)
    return broadcast(operand, shape, tuple(range(len(shape) - rank, len(shape))))


def _fused(reader: Reader, operation: str, operands: list[Any], options: Hashable) -> Value:
    values = [o for o in operands if isinstance(o, Value)]
    gains = [v for v in values if v.gain is not None]
    above = operation == "mul" or (operation == "div" and operands[1] not in gains)
    if gains and (not above or len(gains) > 1):
        raise UnsupportedError("A learned factor stands in the middle of a normalisation.")
    expression = apply(operation, *(_expression(o) for o in operands), options=options)
    axes = reader.merged(values)
    gain = gains[0].gain if gains else None
    made = Value(values[0].base, axes, expression, gain)
    if operation in ("mul", "div") and expression.has_value:
        made = normalised(reader, made)
        if made.gain is not None and not made.expression.statistics:
            return _scaled(reader, dataclasses.replace(made, gain=None), made.gain)
    return made


def _expression(operand: Any) -> Expression:
    return operand.expression if isinstance(operand, Value) else number(operand.number)


# -- several values --------------------------------------------------------------------------------


def _several(reader: Reader, operation: str, operands: list[Any]) -> Value:
    for operand in operands:
        if isinstance(operand, Value) and isinstance(operand.base, Scores):
            return _biased_logits(reader, operation, operands)
    if operation == "sub" and isinstance(operands[1], Known):
        return _several(reader, "add", [operands[0], Known(-operands[1].array)])
    if operation in ("add", "add_any", "sub", "mul"):
        parts = [_with_constant(reader, o, operands) for o in operands]
        if operation == "sub":
            second = parts[1]
            minus = apply("neg", second.expression)
            parts[1] = dataclasses.replace(second, expression=minus)
        return reader.joined(Product() if operation == "mul" else Sum(), parts)
    if operation == "div" and isinstance(operands[1], Known):
        inverse = Known(1.0 / np.asarray(operands[1].array, np.float64))
        return _several(reader, "mul", [operands[0], inverse])
    raise UnsupportedError(
        "Two values are combined by something else than a sum or a product.",
        received=operation,
        needed="a + b, a - b, a * b of values; any function of one value",
        cause="maxout, or an activation with a learned shape",
    )


def _with_constant(reader: Reader, operand: Any, operands: list[Any]) -> Value:
    if isinstance(operand, Value):
        return operand
    partner = next(o for o in operands if isinstance(o, Value))
    made = reader.attached(operand, partner.axes, reader.materialise(partner))
    return Value(made, partner.axes)


def _biased_logits(reader: Reader, operation: str, operands: list[Any]) -> Value:
    value = next(o for o in operands if isinstance(o, Value))
    other = next((o for o in operands if isinstance(o, Known)), None)
    if operation in ("add", "add_any") and other is not None:
        hidden = np.asarray(other.array) <= -1e4
        if np.all(hidden | (other.array == 0)):
            return masked(reader, value, Known(hidden))
    raise UnsupportedError(
        "The logits of an attention are combined with numbers or other values.",
        received=operation,
        needed="a constant scale and a causal mask",
    )


def _select(reader: Reader, operands: list[Any]) -> Any:
    which, *cases = operands
    if which.uniform:
        return cases[int(which.number)]
    mask = np.asarray(which.array, bool)
    values = [c for c in cases if isinstance(c, Value)]
    others = [c for c in cases if not isinstance(c, Value)]
    if len(values) == 1 and len(others) == 1 and isinstance(others[0], Known) and others[0].uniform:
        value, fill = values[0], others[0].number
        hidden = ~mask if cases[1] is value else mask
        if isinstance(value.base, Scores):
            if is_hidden(fill):
                return masked(reader, value, Known(hidden))
        elif math.isfinite(fill) and not value.expression.statistics:
            kept = _several(reader, "mul", [value, Known((~hidden).astype(np.float64))])
            if fill == 0.0:
                return kept
            return _several(reader, "add", [kept, Known(hidden * fill)])
    raise UnsupportedError(
        "A value is chosen by a condition that can't be read.",
        needed="conditions on the value itself (kinks), a causal mask of logits, or a fixed mask",
    )


def _one_hot(reader: Reader, operands: list[Any]) -> Value | None:
    """``tokens[..., None] == arange(size)``."""
    known = next((o for o in operands if isinstance(o, Known)), None)
    value = next(o for o in operands if isinstance(o, Value))
    if known is None or not isinstance(value.base, Draft) or value.expression is not VALUE:
        return None
    if not isinstance(value.base.layer, Source) or not value.base.layer.tokens:
        return None
    line = np.asarray(known.array).reshape(-1, known.shape[-1])
    if np.any(line != np.arange(known.shape[-1])):
        return None
    source = value.base
    size = known.shape[-1]
    made = reader.once(
        (source, "one hot", size),
        lambda: reader.node(OneHot(size), (source,), source.positions, (Atom(size),)),
    )
    axes: Axes = (*value.axes[:-1], made.channels)
    return Value(made, axes)


# -- parameters ------------------------------------------------------------------------------------


def _of_parameters(operation: str, operands: list[Any], options: Hashable) -> Any:
    """Arithmetic of one parameter and one number, else something computed."""
    form = None
    if all(isinstance(o, (Parameter, Known)) for o in operands) and options is None:
        form = _scaled_parameter(operation, operands)
    if form is not None:
        return form
    paths: list[str] = []
    for o in operands:
        if isinstance(o, Parameter):
            paths.append(o.view.leaf.path)
        elif isinstance(o, Computed):
            paths += o.paths
    return Computed(operands[0].shape, tuple(dict.fromkeys(paths)), operation)


def _scaled_parameter(  # noqa: PLR0911 -- cases
    operation: str, operands: list[Any]
) -> Parameter | Known | None:
    if operation == "to_real" and isinstance(operands[0], Parameter):
        return operands[0]
    if operation == "neg":
        return operands[0].affine(-1.0, 0.0)
    if len(operands) != 2 or sum(isinstance(o, Parameter) for o in operands) != 1:
        return None
    first = isinstance(operands[0], Parameter)
    parameter, known = operands if first else reversed(operands)
    if not known.uniform:
        return None
    c = known.number
    match operation:
        case "add" | "add_any":
            return parameter.affine(1.0, c)
        case "sub":
            return parameter.affine(1.0, -c) if first else parameter.affine(-1.0, c)
        case "mul" if c == 0.0:
            return Known(np.zeros(parameter.shape, np.float32))
        case "mul":
            return parameter.affine(c, 0.0)
        case "div" if first and c != 0.0:
            return parameter.affine(1.0 / c, 0.0)
        case _:
            return None


def _with_parameter(reader: Reader, operation: str, operands: list[Any]) -> Value:
    for operand in operands:
        if isinstance(operand, Computed):
            raise refuse_computed(operand)
    if len(operands) == 2 and sum(isinstance(o, Parameter) for o in operands) == 1:
        first = isinstance(operands[0], Parameter)
        parameter, value = operands if first else reversed(operands)
        if operation in ("add", "add_any", "sub"):
            if operation == "sub" and first:
                minus = apply("neg", value.expression)
                value = dataclasses.replace(value, expression=minus)
            elif operation == "sub":
                parameter = parameter.affine(-1.0, 0.0)
            return _shifted(reader, value, parameter)
        if operation == "mul":
            return _scaled(reader, value, parameter)
    raise UnsupportedError(
        "A parameter is combined with a value in a way that can't be read.",
        received=operation,
        needed="value + parameter, value - parameter, value * parameter",
        cause="an activation with a learned shape, for example",
    )


def _shifted(reader: Reader, value: Value, parameter: Parameter) -> Value:
    if isinstance(value.base, Scores):
        raise UnsupportedError("The logits of an attention have a learned bias.")
    if value.expression.statistics:
        raise UnsupportedError("A learned shift stands in the middle of a normalisation.")
    settled = reader.settled(value)
    offset = reader.attached(parameter, value.axes, settled.base)
    made = reader.once(
        (settled.base, "shift", _key(offset)),
        lambda: reader.node(
            Sum(), (settled.base, offset), settled.base.positions, settled.base.channels
        ),
    )
    return Value(made, value.axes)


def _key(offset: Draft) -> Any:
    while not offset.uses:
        offset = offset.inputs[0]
    parameter = offset.uses["weight"].parameter
    return (parameter.view.key, parameter.scale, parameter.shift)


def _scaled(reader: Reader, value: Value, parameter: Parameter) -> Value:
    if isinstance(value.base, Scores):
        raise UnsupportedError("The logits of an attention have a learned scale.")
    if value.expression.statistics:
        if value.gain is not None:
            raise UnsupportedError(
                "A learned factor stands in the middle of a normalisation that can't be read.",
                needed="LayerNorm, RMSNorm or GroupNorm, with eps inside the square root",
            )
        return dataclasses.replace(value, gain=parameter)
    settled = reader.settled(value)
    factor = reader.attached(parameter, value.axes, settled.base)
    if factor.uses and not factor.positions:
        made = reader.once(
            (settled.base, "gain", _key(factor)),
            lambda: reader.like(Gain(), settled.base, scale=factor.uses["weight"]),
        )
    else:
        made = reader.node(
            Product(), (settled.base, factor), settled.base.positions, settled.base.channels
        )
    return Value(made, value.axes)
