"""Dot-product attention: logits, masks, softmax, values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network._layers import Affine
from whydeep.network._sequence import DotProductAttention
from whydeep.network.jax_reader._activation import dominators, single_function
from whydeep.network.jax_reader._axes import Atom, pair, refine
from whydeep.network.jax_reader._draft import Draft, Known, Scores, Value
from whydeep.network.jax_reader._expression import (
    VALUE,
    Expression,
    affine_form,
    apply,
    evaluate,
    number,
    substitute,
)
from whydeep.network.jax_reader._reader import Reader

__all__ = ["apply_weights", "logits", "masked"]

_HIDDEN = -1e4  # logits at most this large are a mask, not a bias

Dims = tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[int, ...], tuple[int, ...]]]


def logits(reader: Reader, query: Value, key: Value, dims: Dims) -> Value:
    """``q . k`` over the channels of a head."""
    (query_sum, key_sum), (query_batch, key_batch) = dims
    q, q_scale = _scaled(reader, query)
    k, k_scale = _scaled(reader, key)
    inner = [p for a, b in zip(query_sum, key_sum, strict=True)
             for p in pair(query.axes[a], key.axes[b])]  # fmt: skip
    batch = [p for a, b in zip(query_batch, key_batch, strict=True)
             for p in pair(query.axes[a], key.axes[b])]  # fmt: skip
    heads = [p for p in batch if not reader.is_batch(p[0])]
    for side, draft in enumerate((q, k)):
        mine = [p[side] for p in (*heads, *inner)]
        if set(mine) != set(draft.channel_atoms):
            raise UnsupportedError(
                "Two values are contracted in a way that is no attention.",
                needed="queries and keys multiplied over the channels of a head, at all pairs of "
                "positions",
                cause="linear attention, heads that share keys, windows of positions, or weights "
                "that are themselves computed",
            )
        if mine != list(draft.channel_atoms):
            raise UnsupportedError(
                "The heads of an attention are not blocks of channels.",
                needed="channels reshaped to (heads, channels of a head), queries and keys alike",
            )
    rows = tuple(a for n in range(len(query.axes)) if n not in (*query_sum, *query_batch)
                 for a in refine(query.axes[n]))  # fmt: skip
    seen = tuple(a for n in range(len(key.axes)) if n not in (*key_sum, *key_batch)
                 for a in refine(key.axes[n]))  # fmt: skip
    if rows != q.position_atoms or seen != k.position_atoms:
        raise UnsupportedError(
            "An attention does not compare all positions with all positions.",
            needed="all positions of the queries against all of the keys, in their order",
        )
    columns = tuple(Atom(a.size) for a in seen)
    base = Scores(q, k, tuple(p[0] for p in heads), rows, columns, place=reader.place)
    axes = [query.axes[n] for n in query_batch]
    axes += [query.axes[n] for n in range(len(query.axes)) if n not in (*query_sum, *query_batch)]
    renamed = iter(columns)
    for n in range(len(key.axes)):
        if n not in (*key_sum, *key_batch):
            axes.append(tuple(next(renamed) for _ in refine(key.axes[n])))
    expression = apply("mul", number(q_scale * k_scale), VALUE)
    return Value(base, tuple(axes), expression)


def _scaled(reader: Reader, value: Value) -> tuple[Draft, float]:
    form = affine_form(value.expression)
    if form is not None and form[1] == 0.0 and value.gain is None and isinstance(value.base, Draft):
        return value.base, form[0]
    return reader.materialise(value), 1.0


def masked(reader: Reader, value: Value, hidden: Known) -> Value:
    """Logits of which some are hidden: `hidden` is true there, in the shape of the logits."""
    base: Scores = value.base
    atoms = [a for axis in value.axes for a in refine(axis)]
    table = np.broadcast_to(hidden.array, value.shape).reshape([a.size for a in atoms])
    rows, columns = refine(base.rows), refine(base.columns)
    for k, atom in enumerate(atoms):
        if atom not in (*rows, *columns):
            if np.any(table != table.take([0], axis=k)):
                raise UnsupportedError("A mask of an attention differs between inputs or heads.")
            table = table.take([0], axis=k)
    inner = [k for k, a in enumerate(atoms) if a in (*rows, *columns)]
    order = sorted(inner, key=lambda k: (*rows, *columns).index(atoms[k]))
    rest = [k for k in range(len(atoms)) if k not in inner]
    count = math.prod(a.size for a in rows)
    table = table.transpose(order + rest).reshape(count, -1)
    if not table.any():
        return value
    if not np.array_equal(table, ~np.tri(*table.shape, dtype=bool)):
        raise UnsupportedError(
            "A mask of an attention is not causal.",
            needed="position p sees positions r <= p, or all",
        )
    if base not in reader.causal:
        reader.causal[base] = replace(base, causal=True)
    return replace(value, base=reader.causal[base])


def is_hidden(fill: float) -> bool:
    """Whether a logit of this size is hidden."""
    return fill <= _HIDDEN


def apply_weights(
    reader: Reader, weights: Value, values: Value, dims: Dims, *, weights_first: bool
) -> Value:
    """``sum_r A(p, r) v(r)``, head by head."""
    (weights_sum, values_sum), (weights_batch, values_batch) = dims
    base: Scores = weights.base
    v = reader.materialise(values)
    scale, options, behind = _attention_kind(reader, weights)
    over = [p for a, b in zip(weights_sum, values_sum, strict=True)
            for p in pair(weights.axes[a], values.axes[b])]  # fmt: skip
    batch = [p for a, b in zip(weights_batch, values_batch, strict=True)
             for p in pair(weights.axes[a], values.axes[b])]  # fmt: skip
    heads = [p for p in batch if not reader.is_batch(p[0])]
    columns, theirs = refine(base.columns), v.position_atoms
    at = {a: k for k, a in enumerate(columns)}
    in_order = sorted(over, key=lambda p: at.get(p[0], -1))
    if tuple(p[0] for p in in_order) != columns or tuple(p[1] for p in in_order) != theirs:
        raise UnsupportedError("An attention does not sum over all positions of its values.")
    if tuple(p[0] for p in heads) != refine(base.heads) or (
        tuple(p[1] for p in heads) != v.channel_atoms[: len(heads)]
    ):
        raise UnsupportedError("The heads of logits and values of an attention do not match.")
    count = math.prod(a.size for a in refine(base.heads))
    width = math.prod(a.size for a in base.query.channel_atoms) // count
    query = base.query
    scaling = "1/sqrt(d)"
    left = scale * math.sqrt(width)
    if abs(scale * width - 1.0) < 1e-5:
        scaling, left = "1/d", 1.0
    if abs(left - 1.0) > 1e-5:
        query = reader.like(Affine(left), query)
    layer = DotProductAttention(count, scaling, causal=base.causal, **options)
    made = reader.node(layer, (query, base.key, v), query.positions, v.channels)
    if behind != 1.0:
        made = reader.like(Affine(behind), made)
    to_value = dict(heads)
    axes = [tuple(to_value.get(a, a) for a in refine(weights.axes[n])) for n in weights_batch]
    left_axes = [weights.axes[n] for n in range(len(weights.axes))
                 if n not in (*weights_sum, *weights_batch)]  # fmt: skip
    right_axes = [values.axes[n] for n in range(len(values.axes))
                  if n not in (*values_sum, *values_batch)]  # fmt: skip
    axes += left_axes + right_axes if weights_first else right_axes + left_axes
    return Value(made, tuple(axes))


def _attention_kind(reader: Reader, weights: Value) -> tuple[float, dict[str, Any], float]:
    """The scale of the logits, options of the layer, and a factor behind it."""
    expression = weights.expression
    form = affine_form(expression)
    if form is not None and form[1] == 0.0:
        return form[0], {"softmax": False}, 1.0
    sums = [s for s in expression.statistics if s.kind == "sum"]
    if len(sums) == 1:
        scale = _softmax_scale(expression, sums[0])
        if scale is not None:
            return scale, {"softmax": True}, 1.0
    if not expression.statistics:
        inner = [p for p in dominators(expression) if affine_form(p) is not None][-1]
        scale, shift = affine_form(inner) or (1.0, 0.0)
        plain = substitute(expression, inner, apply("add", VALUE, number(shift)))
        function, behind = single_function(plain, reader.tolerance)
        return scale, {"softmax": False, "function": function}, behind
    raise UnsupportedError(
        "The weights of an attention are neither logits, nor a function or softmax of them.",
        needed="softmax(scale * q . k, axis of the keys), or f(scale * q . k)",
    )


def _softmax_scale(expression: Expression, total: Expression) -> float | None:
    """The slope of the logits in ``exp(scale * s - c) / sum``, or None."""
    grid = np.linspace(-1.5, 2.0, 15)
    inside = total.arguments[0]
    slopes = []
    for top in (0.3, 2.1):  # the maximum, which must cancel
        for shift in (1.0, 3.7):  # the sum
            with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
                known = dict.fromkeys(inside.statistics, top)
                part = np.asarray(evaluate(inside, grid, known))
                known |= dict.fromkeys(expression.statistics, top) | {total: shift}
                whole = np.asarray(evaluate(expression, grid, known))
            if not np.all(part > 0) or not np.allclose(whole * shift, part, rtol=1e-6):
                return None
            logs = np.log(part)
            fit = np.polyfit(grid, logs, 1)
            if not np.allclose(np.polyval(fit, grid), logs, atol=1e-6):
                return None
            slopes.append(fit[0])
    return float(slopes[0]) if np.ptp(slopes) < 1e-6 else None
