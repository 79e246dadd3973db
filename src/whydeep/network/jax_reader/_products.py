"""``dot_general``: weights, attention, or a fixed map over positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network._positions import Mix
from whydeep.network.jax_reader._attention import apply_weights, logits
from whydeep.network.jax_reader._axes import fresh, refine, sizes
from whydeep.network.jax_reader._draft import Computed, Draft, Known, Scores, Value, refuse_computed
from whydeep.network.jax_reader._leaves import Parameter
from whydeep.network.jax_reader._reader import Reader
from whydeep.network.jax_reader._weights import dense

__all__ = ["dot_general"]


def dot_general(reader: Reader, left: Any, right: Any, numbers: Any) -> Any:
    """A contraction of two operands; `numbers` are its dimension numbers."""
    (left_sum, right_sum), (left_batch, right_batch) = (
        tuple(tuple(int(k) for k in side) for side in pair) for pair in numbers
    )
    dims = ((left_sum, right_sum), (left_batch, right_batch))
    if isinstance(left, Value) and isinstance(right, Value):
        if isinstance(left.base, Scores):
            return apply_weights(reader, left, right, dims, weights_first=True)
        if isinstance(right.base, Scores):
            flipped = ((right_sum, left_sum), (right_batch, left_batch))
            return apply_weights(reader, right, left, flipped, weights_first=False)
        return logits(reader, left, right, dims)
    values: list[Value] = [o for o in (left, right) if isinstance(o, Value)]
    if not values:
        return _without_value(left, right, dims)
    if any(isinstance(o, Computed) for o in (left, right)):
        raise refuse_computed(left if isinstance(left, Computed) else right)
    first = values[0] is left
    value: Value = values[0]
    other: Any = right if first else left
    (value_sum, other_sum), (value_batch, other_batch) = (
        dims if first else tuple((b, a) for a, b in dims)
    )
    if isinstance(other, Known):
        return _fixed(reader, value, value_sum, other, other_sum, (value_batch, first))
    if value_batch:
        if any(other.shape[k] > 1 for k in other_batch):
            raise UnsupportedError(
                "A weight is different for every position, input or group of channels.",
                received=f"batch dimensions {[other.shape[k] for k in other_batch]}",
                needed="the same weight at every position",
            )
        order = (*other_batch, *(k for k in range(len(other.shape)) if k not in other_batch))
        view = other.view.transpose(order).reshape(
            tuple(other.shape[k] for k in order[len(other_batch) :])
        )
        other_sum = tuple(order.index(k) - len(other_batch) for k in other_sum)
        other = other.seen(view)
    made, (rest, out) = dense(reader, value, value_sum, other, other_sum)
    kept = [k for k in range(len(value.axes)) if k not in value_sum]
    batch = tuple(rest[kept.index(k)] for k in value_batch)
    rest = tuple(axis for k, axis in zip(kept, rest, strict=True) if k not in value_batch)
    axes = (*batch, *rest, *out) if first else (*batch, *out, *rest)
    return Value(made.base, axes)


def _without_value(left: Any, right: Any, dims: Any) -> Computed | Known:
    """A product of parameters, or of a parameter and numbers."""
    (left_sum, right_sum), (left_batch, right_batch) = dims
    shape = [left.shape[k] for k in left_batch]
    shape += [n for k, n in enumerate(left.shape) if k not in (*left_sum, *left_batch)]
    shape += [n for k, n in enumerate(right.shape) if k not in (*right_sum, *right_batch)]
    if any(isinstance(o, Known) and not o.array.any() for o in (left, right)):
        return Known(np.zeros(shape, np.float32))  # a recurrence that begins with zeros
    paths: list[str] = []
    for operand in (left, right):
        if isinstance(operand, Parameter):
            paths.append(operand.view.leaf.path)
        elif isinstance(operand, Computed):
            paths += operand.paths
    return Computed(tuple(shape), tuple(dict.fromkeys(paths)), "a matrix product")


def _fixed(
    reader: Reader,
    value: Value,
    value_sum: tuple[int, ...],
    known: Known,
    known_sum: tuple[int, ...],
    where: tuple[tuple[int, ...], bool],
) -> Value:
    """A fixed matrix over one dimension of positions."""
    value_batch, first = where
    settled = reader.settled(value)
    draft: Draft = settled.base
    atoms = tuple(a for k in value_sum for a in refine(settled.axes[k]))
    dims = [refine(d) for d in draft.positions]
    if value_batch or len(known_sum) != 1 or known.array.ndim != 2 or atoms not in dims:
        raise UnsupportedError(
            "A fixed matrix is multiplied with something else than one dimension of positions.",
            received=f"an array of shape {known.shape}",
            needed="weights among the parameters; or a fixed map over positions",
            cause="weights that the function closes over instead of taking them as parameters",
            suggestion="pass all weights in `params`",
        )
    number = dims.index(atoms)
    matrix = known.array if known_sum == (1,) else known.array.T
    before, after = math.prod(sizes(dims[:number])), math.prod(sizes(dims[number + 1 :]))
    if matrix.size * (before * after) ** 2 > 2**24:
        raise UnsupportedError("A fixed map over very many positions.")
    full = np.kron(np.kron(np.eye(before), matrix), np.eye(after))
    new = fresh(matrix.shape[0])
    positions = (*dims[:number], new, *dims[number + 1 :])
    made = reader.node(Mix(full, sizes(positions)), (draft,), positions, draft.channels)
    rest = tuple(axis for k, axis in enumerate(settled.axes) if k not in value_sum)
    return Value(made, (*rest, new) if first else (new, *rest))
