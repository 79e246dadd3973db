"""Sums and maxima: pooling over positions, statistics over channels or over keys."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network._convolution import window_pads
from whydeep.network._layers import Shape
from whydeep.network._positions import GlobalSumPool, MaxPool, Mix, SumPool
from whydeep.network.jax_reader._axes import Atom, fresh, refine, sizes
from whydeep.network.jax_reader._draft import Draft, Pad, Scores, Value
from whydeep.network.jax_reader._expression import apply, number, statistic
from whydeep.network.jax_reader._reader import Reader

__all__ = ["reduction", "window"]


def reduction(reader: Reader, kind: str, value: Value, axes: tuple[int, ...]) -> Value:
    """The "sum" or "max" of a value over some axes."""
    gone = tuple(a for k in axes for a in refine(value.axes[k]))
    kept = tuple(axis for k, axis in enumerate(value.axes) if k not in axes)
    if any(reader.is_batch(a) for a in gone):
        raise UnsupportedError(
            "A sum or maximum runs over the inputs of the batch.",
            cause="batch normalisation in training mode",
            suggestion="evaluation mode, with stored statistics",
        )
    if value.gain is not None:
        raise UnsupportedError("A sum runs over a value in the middle of a normalisation.")
    own = tuple(a for a in gone if reader.owns(value, a))
    repeats = math.prod(a.size for a in gone if a not in own)
    expression = value.expression
    if kind == "sum" and repeats > 1:
        expression = apply("mul", number(float(repeats)), expression)
    value = Value(value.base, value.axes, expression)
    base = value.base
    if isinstance(base, Scores):
        if set(own) != set(refine(base.columns)):
            raise UnsupportedError(
                "Attention logits are normalised over something else than the keys."
            )
    elif set(own) <= set(base.position_atoms) and not expression.statistics:
        if not own:
            return Value(base, kept, expression)
        return Value(_pooled(reader, kind, reader.materialise(value), own), kept)
    if not own:
        return Value(base, kept, expression)
    count = math.prod(a.size for a in own)
    return Value(base, kept, statistic(kind, expression, own, count))


def _pooled(reader: Reader, kind: str, draft: Draft, own: tuple[Atom, ...]) -> Draft:
    everything = set(own) == set(draft.position_atoms)
    rest = tuple(tuple(a for a in refine(d) if a not in own) for d in draft.positions)
    rest = tuple(d for d in rest if d)
    if kind == "sum":
        if everything:
            return reader.node(GlobalSumPool(), (draft,), (), draft.channels)
        return _summed(reader, draft, own, rest)
    dims = tuple(math.prod(a.size for a in refine(d) if a in own) for d in draft.positions)
    whole = all(set(refine(d)) <= set(own) or not set(refine(d)) & set(own)
                for d in draft.positions)  # fmt: skip
    if not whole:
        raise UnsupportedError("A maximum over a part of a dimension.")
    ones = tuple(() if set(refine(d)) <= set(own) else refine(d) for d in draft.positions)
    made = reader.node(MaxPool(dims, dims), (draft,), ones, draft.channels)
    return reader.arranged(made, rest)


def _summed(reader: Reader, draft: Draft, own: tuple[Atom, ...], rest: Any) -> Draft:
    old = draft.position_atoms
    order = [old.index(a) for d in rest for a in d] + [old.index(a) for a in old if a in own]
    count = math.prod(a.size for a in old)
    grid = np.arange(count).reshape([a.size for a in old]).transpose(order)
    grid = grid.reshape(-1, math.prod(a.size for a in own))
    if grid.shape[0] * count > 2**24:
        raise UnsupportedError("A sum over some dimensions of very many positions.")
    matrix = np.zeros((len(grid), count))
    np.put_along_axis(matrix, grid, 1.0, axis=1)
    return reader.node(Mix(matrix, sizes(rest)), (draft,), rest, draft.channels)


def window(reader: Reader, kind: str, value: Value, options: Any) -> Value:
    """The "sum" or "max" over windows of positions."""
    settled = reader.settled(value)
    draft: Draft = settled.base
    size, strides = options["window_dimensions"], options["window_strides"]
    pads = tuple((int(a), int(b)) for a, b in options["padding"])
    if set(options["base_dilation"]) != {1} or set(options["window_dilation"]) != {1}:
        raise UnsupportedError("A pool with dilation.")
    moving = [k for k in range(len(size)) if (size[k], strides[k], pads[k]) != (1, 1, (0, 0))]
    spatial = []
    for axis, atoms in enumerate(settled.axes):
        inside = refine(atoms)
        on_positions = bool(inside) and set(inside) <= set(draft.position_atoms)
        if axis in moving and not on_positions and inside:
            raise UnsupportedError("A pool runs over channels or inputs.")
        if on_positions or axis in moving:
            spatial.append(axis)
    positions = tuple(refine(settled.axes[k]) for k in spatial)
    source = reader.arranged(draft, positions)
    if isinstance(draft.layer, Pad) and kind == "max":
        raise UnsupportedError("A maximum over windows that reach into zeros of padding.")
    windows = tuple(int(size[k]) for k in spatial)
    steps = tuple(int(strides[k]) for k in spatial)
    around: Any = tuple(pads[k] for k in spatial)
    for name in ("VALID", "SAME"):
        if window_pads(sizes(positions), windows, steps, name) == around:
            around = name
            break
    layer = MaxPool(windows, steps, around) if kind == "max" else SumPool(windows, steps, around)
    shape = layer.output_shape(Shape(sizes(positions), 1))
    made = reader.once(
        (source, layer),
        lambda: reader.node(
            layer, (source,), tuple(fresh(n) for n in shape.positions), source.channels
        ),
    )
    axes = list(settled.axes)
    for axis, atoms in zip(spatial, made.positions, strict=True):
        axes[axis] = atoms
    return Value(made, tuple(axes))
