"""Kernels and tangent kernels of any network at infinite width, step by step.

For steps i and j, inputs a and b, positions p and q, channels alike:

    C(i, j) = E[v_i(a, p) v_j(b, q)]                           second moment of the values
    T(i, j) = sum over parameters E[dv_i(a, p) dv_j(b, q)]     tangent kernel, rates included
    M(i)    = E[v_i(a, p)]                                     mean

Values whose sources differ are independent: C = M M, T = 0. All others are reduced to earlier
steps by a rule: of fresh weights, of a linear map, of a function of one Gaussian, of a product of
independent values, of attention, of recurrence; or, where the law is of several Gaussians, by
draws (Yang 2019 and 2020, Tensor Programs I and II).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from whydeep.errors import InputError, UnsupportedError
from whydeep.gaussian import series_length
from whydeep.network import (
    Aggregate,
    DotProductAttention,
    GlobalAvgPool,
    Product,
    Recurrent,
    Sum,
)
from whydeep.theory.infinite._attention import attention_kernels
from whydeep.theory.infinite._fresh import fresh_kernels, joined_kernels
from whydeep.theory.infinite._functions import IDENTITY
from whydeep.theory.infinite._known import gram, known_values
from whydeep.theory.infinite._linear import is_linear, linear_kernel
from whydeep.theory.infinite._masks import mask_of
from whydeep.theory.infinite._moments import affine_of, mean_of
from whydeep.theory.infinite._nonlinear import function_kernel, product_against, product_kernel
from whydeep.theory.infinite._plan import FRESH, Plan, Step, own_rates
from whydeep.theory.infinite._positions import matrices, mixed
from whydeep.theory.infinite._recurrent import recurrent_kernels
from whydeep.theory.infinite._sampled import sampled_kernels

__all__ = ["CROSS", "SELF", "Propagation", "Side"]

_SERIES = 1e-13
_NESTED = 16  # values that wait for one another on Python's own stack: about ten frames each


class _TooNestedError(Exception):
    """A value is asked for below so many others that it has to be found before them."""

    def __init__(self, key: Any, make: Callable[[], Any]) -> None:
        self.key, self.make = key, make


@dataclass(frozen=True)
class Side:
    """Which inputs are paired: all of x1 with all of x2 (A, B), or each with itself (A,)."""

    left: int
    right: int
    pairs: int

    def spread(self, value: Any, *, right: bool, full: bool) -> Any:
        """A quantity (A, P) of one input, to broadcast against (pairs..., P[, Q])."""
        if full:
            value = value[:, None, :] if right else value[:, :, None]
        if self.pairs == 2:
            value = value[None] if right else value[:, None]
        return value


CROSS = Side(0, 1, 2)
SELF = (Side(0, 0, 1), Side(1, 1, 1))


@dataclass
class Propagation:
    """The kernels of one block of inputs against another, computed when first asked for.

    A rule asks for the values that it needs, whose rules ask for others, down to the input. Where
    these lie deep, rules are left and begun again once what they asked for is known, so that a
    network's depth never meets Python's stack: a rule asks before it computes.

    Args:
        plan: of the network.
        inputs: x1 and x2, (A, *dims) and (B, *dims).
        same: (A, B), whether a and b are one and the same input, so that they share dropout masks.
        ntk: whether tangent kernels exist and are wanted; if not they are None everywhere.
        seed: of the draws, where a law is known from draws only.
        draws: how many.
        masks: which positions of x1 and x2 are there, (A, *positions) of 0 and 1; None for all.
        graphs: weights (A, P, P) from position to position, where a layer aggregates over them.
        differentiated: whether derivatives are wanted, of whatever numbers are known or not.
    """

    plan: Plan
    inputs: tuple[Any, Any]
    same: Any
    ntk: bool = True
    seed: int = 0
    draws: int = 1024
    masks: tuple[Any, Any] = (None, None)
    graphs: tuple[Any, Any] = (None, None)
    differentiated: bool = False
    error: float = 0.0
    memo: dict[Any, Any] = field(default_factory=dict)
    nested: int = 0

    def second(self, i: int, j: int, side: Side, *, full: bool) -> Any:
        """C(i, j): (pairs..., P, Q), or (pairs..., P) for equal positions."""
        return self.asked("second", i, j, side, full=full)

    def tangent(self, i: int, j: int, side: Side, *, full: bool) -> Any:
        """T(i, j), likewise; None where it is zero."""
        return self.asked("tangent", i, j, side, full=full)

    def variance(self, i: int, which: int) -> Any:
        """C(i, i) of equal inputs and positions: (A, P)."""
        return self.second(i, i, SELF[which], full=False)

    def mean(self, i: int, which: int) -> Any:
        """M(i): (A, P)."""
        return self._once(("mean", i, which), lambda: self._masked_mean(i, which))

    def mask(self, i: int, which: int) -> Any:
        """Which positions of a step are there, (A, P) of 0 and 1; None where all are."""
        return self._once(("mask", i, which), lambda: mask_of(self, i, which))

    def mixed(self, value: Any, step: Step, which: int, axis: int, side: Side) -> Any:
        """`value` with the positions along `axis` (negative) of one input mixed by a step."""
        if not isinstance(step.layer, Aggregate):
            positions = self.plan.steps[step.inputs[0]].positions
            return mixed(value, matrices(step.layer, positions), positions, axis)
        graph = self.graphs[which]
        if graph is None:
            raise InputError(
                "This network aggregates over graphs, and there are none.",
                needed=f"graph{which + 1}=: (inputs, positions, positions) weights",
            )
        count = self.plan.steps[step.inputs[0]].count
        if graph.shape[-1] != count:
            raise InputError(
                f"graph{which + 1} is of another number of positions.",
                received=f"{graph.shape[-1]} positions",
                needed=f"{count}: as many as whydeep.Aggregate() meets",
                cause=""
                if count > 1
                else "inputs (N, channels) have one position; those of a "
                "graph are (N, positions, channels)",
            )
        graph = jnp.swapaxes(graph, -1, -2)
        if side.pairs == 2:
            graph = graph[None] if which else graph[:, None]
        if axis == -1 and value.ndim > side.pairs + 1:
            return value @ jnp.swapaxes(graph, -1, -2)
        return graph @ value if axis == -2 else (graph @ value[..., None])[..., 0]

    def rescaled(self, step: Step, which: int) -> Any:
        """What a mean over all positions is multiplied by, where some are padding: (A, 1)."""
        mask = self.mask(step.inputs[0], which)
        if mask is None or type(step.layer) is not GlobalAvgPool:
            return jnp.ones((len(self.inputs[which]), 1))
        return mask.shape[1] / jnp.maximum(mask.sum(1, keepdims=True), 1.0)

    def data(self, i: int, which: int) -> Any:
        """The values themselves, (A or 1, P, channels), of a step that has no weights below."""
        return self._once(("data", i, which), lambda: known_values(self, i, which))

    def affine(self, step: Step, which: int) -> tuple[Any, Any]:
        """Scale and shift (A, P) of a norm or an affine map; None for no shift."""
        return self._once(("affine", id(step), which), lambda: affine_of(self, step, which))

    def joined(self, i: int, side: Side, *, full: bool) -> tuple[Any, Any]:
        """C and T of values side by side, as the next layer's weights see them."""
        return joined_kernels(self, i, side, full=full)

    def output(self, kind: str, i: int, side: Side) -> Any:
        """C or T of a step as a reader sees it: positions that were flattened are averaged."""
        step = self.plan.steps[i]
        value = self.asked(kind, i, i, side, full=step.full and not step.flat)
        return value if value is None or not step.flat else value.mean(-1, keepdims=True)

    def series(self, function: Any, variances: tuple[Any, ...]) -> int | None:
        """The length of the series for these variances; its error is added up."""
        if self.differentiated:
            return None
        q = np.concatenate([np.asarray(v).ravel() for v in variances])
        length, error = series_length(function, q, _SERIES)
        self.error += error
        return length

    def pairs(self, side: Side) -> tuple[int, ...]:
        """How many inputs are paired."""
        sizes = (len(self.inputs[side.left]), len(self.inputs[side.right]))
        return sizes if side.pairs == 2 else sizes[:1]

    def paired(self, value: Any, side: Side, *, right: bool) -> Any:
        """A quantity (A, ...) of one input, for every pair in a row: (pairs, ...)."""
        sizes = len(self.inputs[side.left]), len(self.inputs[side.right])
        value = jnp.broadcast_to(value, (sizes[int(right)], *value.shape[1:]))
        if side.pairs == 1:
            return value
        return jnp.tile(value, (sizes[0], *(1,) * (value.ndim - 1))) if right else (
            jnp.repeat(value, sizes[1], 0)
        )  # fmt: skip

    def self_of(self, which: int) -> Side:
        """Each of the inputs x1 (0) or x2 (1) paired with itself."""
        return SELF[which]

    def like_self(self, i: int, side: Side, c: Any, t: Any) -> tuple[Any, Any]:
        """C and T from draws, where a pair is one input twice replaced by that input's own."""
        if side.pairs == 1:
            return c, t
        same = self.same[..., None, None]
        own_c, own_t = self.second(i, i, SELF[0], full=True), self.tangent(i, i, SELF[0], full=True)
        c = jnp.where(same, own_c[:, None], c)
        return c, None if t is None else jnp.where(same, own_t[:, None], t)

    # -- how a kernel is found ------------------------------------------------------------------

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key in self.memo:
            return self.memo[key]
        if self.nested >= _NESTED:
            raise _TooNestedError(key, make)
        waiting = [(key, make)] if self.nested == 0 else []
        self.nested += 1
        try:
            if not waiting:
                self.memo[key] = make()
            while waiting:
                below, rule = waiting[-1]
                try:
                    self.memo[below] = rule()
                    waiting.pop()
                except _TooNestedError as deeper:
                    waiting.append((deeper.key, deeper.make))
        finally:
            self.nested -= 1
        return self.memo[key]

    def asked(self, kind: str, i: int, j: int, side: Side, *, full: bool) -> Any:
        """`second` or `tangent`, remembered."""
        return self._once(
            (kind, i, j, side, full), lambda: self._masked(kind, i, j, side, full=full)
        )

    def _masked(self, kind: str, i: int, j: int, side: Side, *, full: bool) -> Any:
        if kind == "tangent" and not self.ntk:
            return None
        value = self._found(kind, i, j, side, full=full)
        for k, which, right in ((i, side.left, False), (j, side.right, True)):
            mask = self.mask(k, which)
            if mask is not None and value is not None:
                value = value * side.spread(mask, right=right, full=full)
        return value

    def _masked_mean(self, i: int, which: int) -> Any:
        mean, mask = mean_of(self, i, which), self.mask(i, which)
        return mean if mask is None else mean * mask

    def _found(self, kind: str, i: int, j: int, side: Side, *, full: bool) -> Any:
        one, two = self.plan.steps[i], self.plan.steps[j]
        if full and one.count == two.count == 1:
            value = self.asked(kind, i, j, side, full=False)
            return None if value is None else value[..., None]
        known = self.memo.get((kind, i, j, side, True))
        if known is not None:
            return jnp.diagonal(known, axis1=-2, axis2=-1)
        if not one.sources & two.sources:
            if kind == "tangent" and not (i == j and own_rates(one.layer) != (0.0, 0.0)):
                return None
            if kind == "second" and (one.sources or two.sources):
                left = side.spread(self.mean(i, side.left), right=False, full=full)
                return left * side.spread(self.mean(j, side.right), right=True, full=full)
        if one.data and two.data:
            return gram(self.data(i, side.left), self.data(j, side.right), side, full=full)
        return self._by_rule(kind, i, j, side, full=full)

    def _by_rule(self, kind: str, i: int, j: int, side: Side, *, full: bool) -> Any:
        one, two = self.plan.steps[i], self.plan.steps[j]
        which = int(kind == "tangent")
        if one.sampled or two.sampled:
            return self._from_full(sampled_kernels, (i, j), side, full=full)[which]
        if i == j and isinstance(one.layer, FRESH):
            key = ("fresh", i, side, full)
            return self._once(key, lambda: fresh_kernels(self, i, side, full=full))[which]
        if i == j and isinstance(one.layer, DotProductAttention | Recurrent):
            attends = isinstance(one.layer, DotProductAttention)
            rule = attention_kernels if attends else recurrent_kernels
            return self._from_full(rule, (i,), side, full=full)[which]
        return self._reduced(kind, i, j, side, full=full)

    def _reduced(self, kind: str, i: int, j: int, side: Side, *, full: bool) -> Any:
        """By what the steps are functions of."""
        one, two = self.plan.steps[i], self.plan.steps[j]
        if i == j and isinstance(one.layer, Product) and one.unary is None:
            return product_kernel(self, kind, i, side, full=full)
        if i != j or not _composite(self.plan, one):
            if is_linear(one) and (i >= j or not is_linear(two)):
                return linear_kernel(self, kind, i, j, side, full=full, right=False)
            if is_linear(two):
                return linear_kernel(self, kind, i, j, side, full=full, right=True)
        if one.unary is not None and two.unary is not None:
            left, right = one.unary, two.unary  # which many steps may share
            return self._once(
                (kind, left, right, side, full),
                lambda: function_kernel(self, kind, left, right, side, full=full),
            )
        for step, right in ((one, False), (two, True)):
            if isinstance(step.layer, Product) and step.unary is None:
                return product_against(self, kind, i, j, side, full=full, right=right)
        raise UnsupportedError(
            "The covariance of two values of this network has no rule.",
            received=f"{one.described} and {two.described}",
            cause="they depend on the same weights in different ways",
        )

    def _from_full(
        self, rule: Any, steps: tuple[int, ...], side: Side, *, full: bool
    ) -> tuple[Any, Any]:
        """Rules that give all positions at once."""
        c, t = self._once((rule, *steps, side), lambda: rule(self, *steps, side))
        if full:
            return c, t
        near = jnp.diagonal(c, axis1=-2, axis2=-1)
        return near, None if t is None else jnp.diagonal(t, axis1=-2, axis2=-1)


def _composite(plan: Plan, step: Step) -> bool:
    """Whether it is best taken as one function of its Gaussian, not as a sum of several."""
    if step.unary is None or step.gaussian or not isinstance(step.layer, Sum):
        return False
    functions = {known[1] for k in step.inputs if (known := plan.steps[k].unary)}
    return isinstance(step.layer, Product) or len(functions - {IDENTITY}) > 1
