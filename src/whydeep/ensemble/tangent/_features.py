"""What is computed for a few examples and outputs at a time: values and derivatives at taps.

Zeros are added to the values at the taps; the derivatives of the outputs with respect to these
zeros are delta, all from one pass backward an output. Every example is evaluated by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from whydeep.ensemble.tangent._program import Program
from whydeep.ensemble.tangent._terms import (
    Gradient,
    LookedUp,
    Positions,
    Product,
    Separable,
    Term,
    extents,
)
from whydeep.ensemble.tangent._uses import Convolution, Lookup, Offset, Outer, Tapped

__all__ = ["Features", "features_of"]


class Features(NamedTuple):
    """Of b examples and c outputs.

    Args:
        deltas: by tap, (b, c, m): layers of one position.
        factors: of every `Product`, (b, n).
        gradients: of every `Gradient`, (b, c, k).
        positions: of every `Positions`, (b, G, P, n) and (b, c, G, P, m).
        lookups: of every `LookedUp`, rows (b, P), whether they exist, and (b, c, P, m).
        separable: of every `Separable`, (b, m, n), and the head's matrix (b, m, c).
    """

    deltas: dict[int, Any]
    factors: list[Any]
    gradients: list[Any]
    positions: list[tuple[Any, Any]]
    lookups: list[tuple[Any, Any, Any]]
    separable: list[tuple[Any, Any]]


def features_of(program: Program, terms: Sequence[Term]) -> Callable[[Any, Any, Any], Features]:
    """A function of leaves, examples (b, ...) and a basis (c, C) of outputs."""
    uses = [term.use for term in terms if isinstance(term.use, Tapped)]
    taps = sorted({use.tap for use in uses})
    heads = sorted({use.head.features for use in uses if _separates(use, terms) and use.head})
    whole = [t.leaf for t in terms if not isinstance(t.use, Tapped)]

    def one(leaves: Sequence[Any], example: Sequence[Any], basis: Any) -> Features:
        def run(zeros: Any, moved: Any) -> Any:
            own = list(leaves)
            for place, leaf in zip(whole, moved, strict=True):
                own[place] = leaf
            values = program.run(own, example, zeros)
            needed = {number: values[number] for number in _needed(uses)}
            bare = {number: values[number] for number in heads}
            return (values[program.output].reshape(-1), bare), needed

        zeros = {t: jnp.zeros(program.shapes[t].shape, program.shapes[t].dtype) for t in taps}
        out, pull, values = jax.vjp(run, zeros, [leaves[k] for k in whole], has_aux=True)
        none = jax.tree.map(jnp.zeros_like, out)
        deltas, gradients = jax.vmap(lambda row: pull((row, none[1])))(basis)
        # Of the sum over a head's features: each depends on one channel, so that none are mixed.
        single = {
            number: pull((none[0], {**none[1], number: jnp.ones_like(out[1][number])}))[0]
            for number in heads
        }
        moved = dict(zip(whole, gradients, strict=True))
        found = _arranged(program, terms, values, deltas, moved)
        for term in terms:
            if isinstance(term, Separable):
                found.separable.append(_separated(program, term, values, single, basis))
        return found

    return jax.vmap(one, in_axes=(None, 0, None))


def _needed(uses: Sequence[Tapped]) -> set[int]:
    factors = {u.factor for u in uses if isinstance(u, (Outer, Convolution))}
    heads = {u.head.matrix for u in uses if u.head is not None}
    return factors | heads | {u.indices for u in uses if isinstance(u, Lookup)}


def _separates(use: Tapped, terms: Sequence[Term]) -> bool:
    return any(isinstance(term, Separable) and term.use is use for term in terms)


def _separated(
    program: Program, term: Separable, values: Any, single: Any, basis: Any
) -> tuple[Any, Any]:
    """(m, n) and (m, c)."""
    use = term.use
    assert isinstance(use, Tapped)  # noqa: S101
    assert use.head is not None  # noqa: S101
    factor = _factor(program, use, values)[0]
    delta = _placed(program, use, single[use.head.features][use.tap][None])[0, 0]
    matrix = values[use.head.matrix].transpose(use.head.order)
    matrix = matrix.reshape(delta.shape[1], -1)
    return (
        jnp.einsum("pm,pn->mn", delta, factor, precision="highest"),
        jnp.einsum("mk,ck->mc", matrix, basis, precision="highest"),
    )


def _arranged(
    program: Program,
    terms: Sequence[Term],
    values: dict[int, Any],
    deltas: dict[int, Any],
    gradients: dict[int, Any],
) -> Features:
    """Features of one example, without b."""
    found = Features({}, [], [], [], [], [])
    for term in terms:
        use = term.use
        if isinstance(term, Product):
            delta = deltas[term.tap]
            found.deltas[term.tap] = delta.reshape(len(delta), -1)
            assert isinstance(use, Tapped)  # noqa: S101
            found.factors.append(_factor(program, use, values).reshape(-1))
        elif isinstance(term, (Positions, Gradient)) and isinstance(use, (Outer, Convolution)):
            factor, delta = _factor(program, use, values), _placed(program, use, deltas[use.tap])
            if isinstance(term, Positions):
                found.positions.append((factor, delta))
            else:
                outer = jnp.einsum("gpn,cgpm->cgnm", factor, delta, precision="highest")
                found.gradients.append(outer.reshape(len(delta), -1))
        elif isinstance(term, Gradient):
            if isinstance(use, Offset):
                delta = deltas[use.tap]
                gradient = delta.sum(axis=tuple(1 + a for a in use.axes))
            else:
                gradient = gradients[term.leaf]
            found.gradients.append(gradient.reshape(len(gradient), -1))
        elif isinstance(term, LookedUp):
            assert isinstance(use, Lookup)  # noqa: S101
            found.lookups.append(_looked_up(use, values[use.indices], deltas[use.tap]))
    return found


def _factor(program: Program, use: Tapped, values: dict[int, Any]) -> Any:
    """(G, P, n)."""
    groups, places, n, _ = extents(program, use)
    if isinstance(use, Outer):
        order = (*use.axes[0], *use.axes[1], *use.axes[2])
        return values[use.factor].transpose(order).reshape(groups, places, n)
    assert isinstance(use, Convolution)  # noqa: S101
    return patches(values[use.factor], use, program)


def _placed(program: Program, use: Tapped, delta: Any) -> Any:
    """(c, G, P, m)."""
    groups, places, _, m = extents(program, use)
    if isinstance(use, Outer):
        order = (*use.tap_axes[0], *use.tap_axes[1], *use.tap_axes[2])
        moved = delta.transpose(0, *(1 + a for a in order))
        return moved.reshape(len(delta), groups, places, m)
    assert isinstance(use, Convolution)  # noqa: S101
    assert use.step is not None  # noqa: S101
    batch, feature, *spatial = use.step.options["dimension_numbers"].out_spec
    moved = delta.transpose(0, 1 + feature, 1 + batch, *(1 + a for a in spatial))
    moved = moved.reshape(len(delta), groups, m, places)
    return moved.swapaxes(2, 3)


def patches(value: Any, use: Convolution, program: Program) -> Any:
    """What each entry of the kernel meets at each position, (G, P, n)."""
    assert use.step is not None  # noqa: S101
    options = use.step.options
    numbers = options["dimension_numbers"]
    kernel = program.shapes[use.step.ins[1]].shape
    sizes = [kernel[a] for a in numbers.rhs_spec[2:]]
    out = [program.shapes[use.step.outs[0]].shape[a] for a in numbers.out_spec[2:]]
    strides, dilation = options["window_strides"], options["rhs_dilation"]
    value = value.transpose(numbers.lhs_spec)  # (batch, channels, *spatial)
    padding = [
        (low, high, inside - 1)
        for (low, high), inside in zip(options["padding"], options["lhs_dilation"], strict=True)
    ]
    zero = jnp.zeros((), value.dtype)
    value = jax.lax.pad(value, zero, [(0, 0, 0), (0, 0, 0), *padding])
    parts = []
    for number in range(math.prod(sizes)):
        offset, rest = [], number
        for size in reversed(sizes):
            rest, k = divmod(rest, size)
            offset.insert(0, k)
        start = [k * d for k, d in zip(offset, dilation, strict=True)]
        end = [s + (n - 1) * t + 1 for s, n, t in zip(start, out, strides, strict=True)]
        parts.append(
            jax.lax.slice(
                value, (0, 0, *start), (*value.shape[:2], *end), (1, 1, *strides)
            )
        )  # fmt: skip
    groups = options["feature_group_count"]
    stacked = jnp.stack(parts, axis=2)  # (batch, channels, kernel, *spatial)
    batch, channels = stacked.shape[:2]
    stacked = stacked.reshape(batch, groups, channels // groups * len(parts), -1)
    return stacked.transpose(1, 0, 3, 2).reshape(groups, -1, stacked.shape[2])


def _looked_up(use: Lookup, indices: Any, delta: Any) -> tuple[Any, Any, Any]:
    rows = indices.reshape(-1)
    exists = (rows >= 0) & (rows < use.rows) if use.drops else jnp.ones_like(rows, bool)
    places, row = use.tap_axes
    moved = delta.transpose(0, *(1 + a for a in places), *(1 + a for a in row))
    return (
        jnp.clip(rows, 0, use.rows - 1), exists, moved.reshape(len(delta), len(rows), -1)
    )  # fmt: skip
