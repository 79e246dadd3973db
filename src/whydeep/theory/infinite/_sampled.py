"""Kernels known from draws: a nonlinearity of several Gaussians, or of several positions.

Of each pair of inputs the joint Gaussian law of all sources is known; quasi-random draws of it
(scrambled Sobol points) pass through the layers in between, with the derivative of the result in
every source. With J the derivatives,

    C = E[v v'],   T = sum over sources E[J T_source J'^T].

Independent scrambles give the standard error (Owen 1997).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network import (
    Activation,
    Affine,
    BatchNorm,
    Dropout,
    Flatten,
    Identity,
    MaxPool,
    Product,
    Sum,
    window_pads,
)
from whydeep.theory.infinite._attention import joint_blocks
from whydeep.theory.infinite._plan import FRESH, MIXING, NORMS, own_rates
from whydeep.theory.infinite._positions import matrices, mixed

if TYPE_CHECKING:
    from whydeep.theory.infinite._propagate import Propagation, Side

__all__ = ["sampled_kernels", "sampled_mean"]

_BLOCK = 1 << 22  # numbers in one array of values
_MOST_QUASI = 512  # dimensions, beyond which quasi-random points are no better


@dataclass(frozen=True)
class _Value:
    """Draws of a value (pairs, draws, P) and its derivatives in each source.

    A derivative is (index, weight): each position depends on one position of the source (index
    None: its own), or (None, matrix) with a matrix (pairs, draws, P, P_source). `counts` holds
    P_source of each.
    """

    values: Any
    slopes: dict[Any, tuple[Any, Any]]
    counts: dict[Any, int]

    def scaled(self, values: Any, factor: Any) -> _Value:
        slopes = {k: (i, _times(w, factor)) for k, (i, w) in self.slopes.items()}
        return _Value(values, slopes, self.counts)


def sampled_kernels(run: Propagation, i: int, j: int, side: Side) -> tuple[Any, Any]:
    """C and T of two steps at all pairs of positions: (pairs..., P, Q)."""
    steps = run.plan.steps
    sources = sorted(steps[i].sources | steps[j].sources)
    draws = _Draws(run, side, sources, (i, j))
    tangents: dict[Any, Any] = {}
    for k in sources if run.ntk else ():
        tangent = run.tangent(k, k, side, full=True)
        tangents[k] = tangent.reshape(-1, steps[k].count, steps[k].count)
    c: Any = 0.0
    t: Any = 0.0
    for left, right in draws.blocks():
        one = _evaluate(run, i, side.left, left, side, on_right=False)
        two = _evaluate(run, j, side.right, right, side, on_right=True)
        count = one.values.shape[1]
        c = c + jnp.einsum("nsp,nsq->npq", one.values, two.values) / count / draws.parts
        for k in one.slopes.keys() & two.slopes.keys() if run.ntk else ():
            if k not in tangents:  # a norm's own scale or shift, one number for all positions
                size = one.counts[k]
                tangents[k] = jnp.full((len(c), size, size), own_rates(steps[k[0]].layer)[k[1]])
            t = t + _through(one.slopes[k], tangents[k], two.slopes[k]) / count / draws.parts
    lead = run.pairs(side)
    shape = (*lead, steps[i].count, steps[j].count)
    c = c.reshape(shape)
    t = None if isinstance(t, float) else t.reshape(shape)
    return run.like_self(i, side, c, t) if i == j else (c, t)


def sampled_mean(run: Propagation, i: int, which: int) -> Any:
    """The mean of a step: (A, P)."""
    side = run.self_of(which)
    draws = _Draws(run, side, sorted(run.plan.steps[i].sources), (i,))
    mean: Any = 0.0
    for left, _ in draws.blocks():
        value = _evaluate(run, i, which, left, side, on_right=False)
        mean = mean + value.values.mean(1) / draws.parts
    return mean


class _Draws:
    """Draws of all sources and dropout masks at both inputs of every pair, block by block."""

    def __init__(
        self, run: Propagation, side: Side, sources: list[int], ends: tuple[int, ...]
    ) -> None:
        steps = run.plan.steps
        self.same = run.same.reshape(-1, 1, 1) if side.pairs == 2 else None
        self.masks: dict[int, tuple[Any, int]] = {
            k: (steps[k].layer, steps[k].count) for k in _dropouts(run, ends)
        }
        self.side, self.sources = side, sources
        self.counts = [steps[k].count for k in sources]
        self.roots = []
        for k in sources:
            cross = run.second(k, k, side, full=True)
            values, vectors = jnp.linalg.eigh(joint_blocks(run, k, side, cross))
            self.roots.append(vectors * jnp.sqrt(jnp.maximum(values, 0.0))[..., None, :])
        self.seed, wanted = run.seed, run.draws
        largest = len(self.roots[0]) * max(c * side.pairs for c in self.counts)
        size = min(wanted, max(64, _BLOCK // max(largest, 1)))
        self.size = 1 << int(math.log2(size))
        self.parts = math.ceil(wanted / self.size)

    def blocks(self) -> Any:
        """Values at the left inputs and at the right ones: two dicts of (pairs, draws, P)."""
        from scipy.special import ndtri  # scipy.stats takes a fifth of a second to import
        from scipy.stats import qmc

        dimensions = [c * self.side.pairs for c in self.counts]
        normals = sum(dimensions)
        total = normals + sum(c * self.side.pairs for _, c in self.masks.values())
        rng = np.random.default_rng([self.seed, *self.sources])
        points = qmc.Sobol(total, rng=rng) if total <= _MOST_QUASI else None
        for _ in range(self.parts):
            u = rng.random((self.size, total)) if points is None else points.random(self.size)
            u[:, :normals] = ndtri(np.clip(u[:, :normals], 1e-15, 1.0 - 1e-15))
            left, right, start = {}, {}, 0
            for k, root, count, size in zip(
                self.sources, self.roots, self.counts, dimensions, strict=True
            ):
                z = jnp.einsum("nxy,sy->nsx", root, jnp.asarray(u[:, start : start + size]))
                left[k], right[k] = z[..., :count], z[..., -count:]
                start += size
            for k, (layer, count) in self.masks.items():
                size = count * self.side.pairs
                kept = jnp.asarray(u[None, :, start : start + size] >= layer.rate)
                one, two = (m / (1.0 - layer.rate) for m in (kept[..., :count], kept[..., -count:]))
                # Masks of two inputs are independent; of one input in two batches, the same.
                two = two if self.same is None else jnp.where(self.same, one, two)
                left[k], right[k], start = one, two, start + size
            yield left, right


def _dropouts(run: Propagation, ends: tuple[int, ...]) -> list[int]:
    """The dropout layers between the sources and `ends`."""
    every = {k for end in ends for k in _between(run, end)}
    return sorted(k for k in every if isinstance(run.plan.steps[k].layer, Dropout))


def _evaluate(
    run: Propagation, end: int, which: int, draws: dict[int, Any], side: Side, *, on_right: bool
) -> _Value:
    """A step on the draws of its sources."""
    values: dict[int, _Value] = {}
    for i in _between(run, end):  # in order of application
        values[i] = _on_draws(run, i, which, draws, values, side, on_right=on_right)
    return values[end]


def _between(run: Propagation, end: int) -> list[int]:
    """The steps between the sources and `end`, both included, in order of application."""
    found, left = set(), [end]
    while left:
        k = left.pop()
        if k not in found:
            found.add(k)
            left.extend(() if _begins(run, k) else run.plan.steps[k].inputs)
    return sorted(found)


def _begins(run: Propagation, k: int) -> bool:
    step = run.plan.steps[k]
    return step.data or isinstance(step.layer, FRESH)


def _on_draws(
    run: Propagation, i: int, which: int, draws: dict[int, Any], values: dict[int, _Value],
    side: Side, *, on_right: bool,
) -> _Value:  # fmt: skip
    step = run.plan.steps[i]
    layer: Any = step.layer
    if isinstance(layer, FRESH):
        return _Value(draws[i], {i: (None, jnp.ones_like(draws[i]))}, {i: step.count})
    if step.data:
        raise UnsupportedError(
            "A nonlinearity acts on a sum of Gaussian and known values.",
            received=step.described,
            cause="known values differ from channel to channel",
        )
    before = [values[k] for k in step.inputs]
    if isinstance(layer, (Affine, BatchNorm, *NORMS)):
        return _normalise(run, i, which, before[0], side, on_right=on_right)
    if isinstance(layer, Dropout):
        return before[0].scaled(before[0].values * draws[i], draws[i])
    if isinstance(layer, tuple(_RULES)):
        rule = next(r for kind, r in _RULES.items() if isinstance(layer, kind))
        return rule(before, layer, run.plan.steps[step.inputs[0]].positions)
    raise UnsupportedError(
        f"{type(layer).__name__} stands before a nonlinearity of several Gaussians.",
        received=step.described,
        cause="its law is not Gaussian, and has no rule for draws",
    )


def _normalise(
    run: Propagation, i: int, which: int, value: _Value, side: Side, *, on_right: bool
) -> _Value:
    step = run.plan.steps[i]
    scale, shift = run.affine(step, which)
    scale = run.paired(scale, side, right=on_right)
    shift = None if shift is None else run.paired(shift, side, right=on_right)
    out = value.scaled(value.values * scale[:, None], scale[:, None])
    if shift is not None:
        out = _Value(out.values + shift[:, None], out.slopes, out.counts)
    layer: Any = step.layer
    if own_rates(layer) == (0.0, 0.0):
        return out
    normal = out.values
    if isinstance(layer, BatchNorm):  # before its own scale and shift
        normal = (value.values - layer.mean) / math.sqrt(layer.var + layer.eps)
    own = {(i, 0): (None, normal), (i, 1): (None, jnp.ones_like(normal))}
    return _Value(out.values, out.slopes | own, out.counts | dict.fromkeys(own, step.count))


def _applied(before: list[_Value], layer: Activation, _: Any) -> _Value:
    values = before[0].values
    value, slope = jax.jvp(layer.function, (values,), (jnp.ones_like(values),))
    return before[0].scaled(value, slope)


def _multiplied(before: list[_Value], *_: Any) -> _Value:
    one = before[0]
    for other in before[1:]:
        left = one.scaled(one.values * other.values, other.values)
        right = other.scaled(0.0 * other.values, one.values)
        one = _sum([left, right])
    return one


def _sum(parts: list[_Value], *_: Any) -> _Value:
    values = parts[0].values
    slopes, counts = dict(parts[0].slopes), dict(parts[0].counts)
    for part in parts[1:]:
        counts |= part.counts
        values = values + part.values
        for k, (index, weight) in part.slopes.items():
            if k not in slopes:
                slopes[k] = (index, weight)
            elif slopes[k][0] is None and index is None and slopes[k][1].ndim == weight.ndim:
                slopes[k] = (None, slopes[k][1] + weight)
            else:
                count = part.counts[k]
                both = [_as_matrix(s, count) for s in (slopes[k], (index, weight))]
                slopes[k] = (None, both[0] + both[1])
    return _Value(values, slopes, counts)


def _times(weight: Any, factor: Any) -> Any:
    return weight * (factor[..., None] if weight.ndim == 4 else factor)


def _mix(before: list[_Value], layer: Any, positions: tuple[int, ...]) -> _Value:
    value = before[0]
    maps = matrices(layer, positions)
    slopes = {
        k: (None, mixed(_as_matrix(s, value.counts[k]), maps, positions, -2))
        for k, s in value.slopes.items()
    }
    return _Value(mixed(value.values, maps, positions, -1), slopes, value.counts)


def _largest(before: list[_Value], layer: MaxPool, positions: tuple[int, ...]) -> _Value:
    value = before[0]
    windows = _windows(layer, positions)  # (P_out, size), -1 outside
    inside = jnp.where(windows >= 0, value.values[..., windows], -jnp.inf)
    winner = jnp.argmax(inside, -1)
    place = jnp.take_along_axis(
        jnp.broadcast_to(jnp.asarray(windows), inside.shape), winner[..., None], -1
    )[..., 0]
    slopes = {}
    for k, (index, weight) in value.slopes.items():
        if weight.ndim == 4:
            slopes[k] = (None, jnp.take_along_axis(weight, place[..., None], -2))
        else:
            taken = place if index is None else jnp.take_along_axis(index, place, -1)
            slopes[k] = (taken, jnp.take_along_axis(weight, place, -1))
    return _Value(inside.max(-1), slopes, value.counts)


def _windows(layer: MaxPool, positions: tuple[int, ...]) -> np.ndarray:
    grid = np.arange(math.prod(positions)).reshape(positions)
    pads = window_pads(positions, layer.size, layer.strides, layer.padding)
    if layer.padding == "CIRCULAR":
        grid = np.pad(grid, pads, mode="wrap")
    else:
        grid = np.pad(grid, pads, constant_values=-1)
    view = np.lib.stride_tricks.sliding_window_view(grid, layer.size)
    view = view[tuple(slice(None, None, s) for s in layer.strides)]
    return view.reshape(-1, math.prod(layer.size))


def _through(left: tuple[Any, Any], tangent: Any, right: tuple[Any, Any]) -> Any:
    """Sum over draws of J T J'^T: (pairs, P, Q)."""
    (index, weight), (other, factor) = left, right
    if weight.ndim == 4 or factor.ndim == 4:
        count = tangent.shape[-1]
        a, b = (_as_matrix(s, count) for s in (left, right))
        return jnp.einsum("nspx,nxy,nsqy->npq", a, tangent, b, optimize=True)
    if index is None and other is None:
        return jnp.einsum("nsp,nsq->npq", weight, factor) * tangent
    count = tangent.shape[-1]
    rows = jnp.broadcast_to(jnp.arange(count), weight.shape) if index is None else index
    columns = jnp.broadcast_to(jnp.arange(count), factor.shape) if other is None else other
    pair = jax.vmap(lambda t, r, c: t[r[:, :, None], c[:, None, :]])(tangent, rows, columns)
    return jnp.einsum("nsp,nspq,nsq->npq", weight, pair, factor)


def _as_matrix(slope: tuple[Any, Any], count: int) -> Any:
    index, weight = slope
    if weight.ndim == 4:
        return weight
    places = jnp.broadcast_to(jnp.arange(count), weight.shape) if index is None else index
    return weight[..., None] * jax.nn.one_hot(places, count, dtype=weight.dtype)


_RULES = {
    Identity: _sum,
    Flatten: _sum,
    Activation: _applied,
    Product: _multiplied,  # before Sum, of which it is a kind
    Sum: _sum,
    MaxPool: _largest,
    **dict.fromkeys(MIXING, _mix),
}
