"""Draws of kernels and tangent kernels of finite networks, exact in law, without weight matrices.

Given the activations of one layer, the preactivations of the next are independent across neurons
and Gaussian over the N inputs, with the layer's empirical kernel as covariance. So a draw costs
n N normal numbers a layer, never n^2. The tangent kernel needs products ``W^T delta`` of the same
weights; given ``z = W s`` they are

    W^T delta = s (s^T s)^-1 z^T delta + P_perp G,   rows of G ~ N(0, (C_W / n) delta^T delta),

which is the law of a Gaussian matrix whose product with s is known (exact; the bias is one more
column of s).

One draw holds a *ladder* of networks of width n, 2n, 4n, ...: a network of width 2n takes the
normal numbers of two independent networks of width n. What is linear in the fluctuations then
cancels between the wide network and the mean of the narrow ones, so differences between widths,
which are what the 1/n corrections are made of, have small noise (antithetic multilevel Monte
Carlo). Each network alone is an exact draw.

Source: Roberts, Yaida and Hanin 2022, Eq. 4.72 (conditional law); Giles 2008 and Giles and Szpruch
2014 (multilevel, antithetic).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.ensemble._normals import Key, normal_pairs, normals, threefry

__all__ = ["Plan", "Shape", "draw_kernels", "draw_tangent_kernels"]

# Streams of normal numbers of a layer.
_FORWARD, _OUTPUT, _BACKWARD, _BIAS = range(4)
_STREAMS = 4

_FEW_INPUTS = 8


@dataclass(frozen=True)
class Shape:
    """What compiled code depends on: hashable, the same for all networks of one shape.

    Args:
        activation: of the hidden layers.
        size: N, the number of inputs.
        widths: n_1 ... n_L of the narrowest rung.
        rungs: networks of width n, 2n, 4n, ... in one draw.
        lanes: draws made side by side.
        dtype: of all arithmetic.
    """

    activation: ScalarFunction
    size: int
    widths: tuple[int, ...]
    rungs: int
    lanes: int
    dtype: Any


@dataclass(frozen=True)
class Plan:
    """A shape and its numbers, over layers 1 to L + 1.

    ``variances[l] = (C_b, C_W)``, ``rates[l] = (lambda_b, lambda_W)``, and `gram` = x.x / n_0.
    Layers are padded to the widest, so that one compiled step serves them all.
    """

    shape: Shape
    gram: Any
    variances: Any
    rates: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shape, name)

    @property
    def depth(self) -> int:
        return len(self.widths)

    @property
    def total(self) -> int:
        """Neurons a layer in the widest network, padding included."""
        return max(self.widths) << (self.rungs - 1)

    def nets(self, rung: int) -> int:
        return 1 << (self.rungs - 1 - rung)

    def split(self, u: Any, rung: int) -> Any:
        """(..., total, lanes) as (..., nets, neurons, lanes) of the networks of a rung."""
        nets = self.nets(rung)
        return u.reshape(*u.shape[:-2], nets, self.total // nets, u.shape[-1])

    def mask(self, layer: Any, rung: int) -> Any:
        """1 for neurons that exist, 0 for padding: (neurons, 1); None where nothing is padded."""
        if len(set(self.shape.widths)) == 1:
            return None
        width = jnp.asarray(self.widths)[layer] << rung
        neurons = self.total // self.nets(rung)
        return (jnp.arange(neurons) < width)[:, None].astype(self.dtype)


def _cholesky(gram: Any, size: int, dtype: Any) -> tuple[Any, Any]:
    """Factor C and a generalised inverse of semidefinite (N, N, ...) matrices, leading axes first.

    A pivot that is only rounding belongs to an input that depends on those before it: its column
    is left out, and so are its row and column of the inverse.
    """
    floor = 64 * np.finfo(dtype).eps
    columns, pivots, rest = [], [], gram
    for k in range(size):
        positive = rest[k, k] > floor * gram[k, k]
        pivot = jnp.where(positive, jax.lax.rsqrt(jnp.where(positive, rest[k, k], 1)), 0)
        column = rest[:, k] * pivot
        below = (np.arange(size) >= k).reshape((size,) + (1,) * (column.ndim - 1))
        column = jnp.where(below, column, 0)
        rest = rest - column[:, None] * column[None]
        columns.append(column)
        pivots.append(pivot)
    factor = jnp.stack(columns, axis=1)
    rows: list[Any] = []
    for i in range(size):  # forward substitution against the unit vectors
        unit = [jnp.zeros_like(pivots[0])] * size
        unit[i] = jnp.ones_like(pivots[0])
        row = jnp.stack(unit)
        for k, previous in enumerate(rows):
            row = row - factor[i, k] * previous
        rows.append(row * pivots[i])
    return factor, jnp.stack(rows)


def _combine(matrix: Any, vectors: Any) -> Any:
    """sum_b matrix[a, b] vectors[b]: (N, N, nets, lanes) and (N, nets, neurons, lanes)."""
    terms = [matrix[:, b, :, None] * vectors[b] for b in range(vectors.shape[0])]
    return sum(terms[1:], terms[0])


def _products(left: Any, right: Any) -> Any:
    """Sums over neurons of left_a right_b: (N, nets, neurons, lanes) twice to (N, N, nets, lanes).

    For few inputs one pass a pair beats the matrix product, whose layout has the lanes outside.
    """
    size = left.shape[0]
    if size > _FEW_INPUTS:
        return jnp.einsum("amnt,bmnt->abmt", left, right, precision=jax.lax.Precision.HIGHEST)
    rows = [[jnp.sum(left[a] * right[b], axis=1) for b in range(size)] for a in range(size)]
    return jnp.stack([jnp.stack(row) for row in rows])


def _matmul(left: Any, right: Any) -> Any:
    """sum_b left[a, b] right[b, c]: matrices (N, N, nets, lanes), for each of the networks."""
    size = left.shape[1]
    if size > _FEW_INPUTS:
        highest = jax.lax.Precision.HIGHEST
        return jnp.einsum("abmt,bcmt->acmt", left, right, precision=highest)
    terms = [left[:, b, None] * right[b] for b in range(size)]
    return sum(terms[1:], terms[0])


def _once(layer: Any, make: Callable[[], Any]) -> Any:
    """What `make` returns, made once and kept in memory.

    On a CPU the compiler fuses cheap expressions into all their uses, and so makes small matrices
    again for every neuron, or slices in the innermost loop. It can't look into a branch, and does
    not know that this one is always taken.
    """
    if jax.default_backend() != "cpu":
        return make()
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(make))
    return jax.lax.cond(layer >= 0, make, lambda: nothing)


def _gram(s: Any) -> Any:
    """Sums over neurons of s_a s_b."""
    size = s.shape[0]
    if size > _FEW_INPUTS:
        return _products(s, s)
    sums = {(a, b): jnp.sum(s[a] * s[b], axis=1) for a in range(size) for b in range(a, size)}
    rows = [[sums[min(a, b), max(a, b)] for b in range(size)] for a in range(size)]
    return jnp.stack([jnp.stack(row) for row in rows])


def _materialised_normals(plan: Plan, key: Key, stream: Any) -> Any:
    """Normal numbers (N, total, lanes) of a stream, made by a loop over pairs of inputs.

    The loop is there to have them made once: written as one expression, the compiler would fuse
    them into each of their N uses and make every number N times.
    """
    half = (plan.size + 1) // 2
    first = jnp.asarray(stream, jnp.int32) * plan.size
    pairs = jax.lax.map(
        lambda a: normal_pairs(key, first + a, (plan.total, plan.lanes), plan.dtype),
        jnp.arange(half, dtype=jnp.int32),
    )
    return jnp.concatenate([jnp.real(pairs), jnp.imag(pairs)])[: plan.size]


def _factors(plan: Plan, kernels: tuple[Any, ...]) -> list[tuple[Any, Any]]:
    """Cholesky factors and inverses of every rung, all networks in one pass."""
    factor, inverse = _cholesky(jnp.concatenate(kernels, axis=2), plan.size, plan.dtype)
    ends = np.cumsum([plan.nets(rung) for rung in range(plan.rungs)])
    return [
        (factor[:, :, end - plan.nets(r) : end], inverse[:, :, end - plan.nets(r) : end])
        for r, end in enumerate(ends)
    ]


def _below(
    layer: Any, state: dict[str, Any], *, delta: Any, root: Any, noise: Any, bias: Any, scale: Any
) -> Any:
    """The delta of the layer below: s' times ``W^T delta`` given ``W s``, for one rung.

    ``W^T delta = s K + G`` with ``G = scale noise root^T``, root the factor of delta^T delta, and
    ``K = scale^2 C^-T (u^T delta - C^-1 s~^T G)``, where C is the factor of the kernel above s
    and s~ is s with the column of the bias.
    """

    def slices() -> tuple[Any, ...]:
        below = layer - 1
        return state["s"][below], state["slope"][below], state["u"][layer], state["inverse"][layer]

    s, slope, u, inverse = _once(layer, slices)
    s_noise, u_delta = _once(layer, lambda: (_products(s, noise), _products(u, delta)))

    def coefficients() -> Any:
        across = jnp.swapaxes(root, 0, 1)
        overlap = scale * _matmul(s_noise, across) + _matmul(bias[None], across)
        inner = u_delta - _matmul(inverse, overlap)
        return scale**2 * _matmul(jnp.swapaxes(inner, 0, 1), inverse)

    known = _once(layer, coefficients)
    return slope * (_combine(known, s) + scale * _combine(root, noise))


def _start(plan: Plan) -> tuple[Any, ...]:
    first = plan.variances[0, 0] + plan.variances[0, 1] * plan.gram
    return tuple(
        jnp.broadcast_to(
            jnp.asarray(first, plan.dtype)[:, :, None, None],
            (plan.size, plan.size, plan.nets(rung), plan.lanes),
        )
        for rung in range(plan.rungs)
    )


def draw_kernels(plan: Plan, key: Key) -> tuple[Any, ...]:
    """Conditional kernels of layers 2 to L + 1: for each rung an array (L, P, nets, lanes).

    The kernel of layer l + 1 is ``C_b + C_W (1/n_l) sum_k s_ka s_kb``: the covariance of its
    preactivations given layer l, that is, averaged exactly over that layer's own weights.
    """
    variances = jnp.asarray(plan.variances, plan.dtype)
    rows, cols = np.triu_indices(plan.size)

    def step(kernels: tuple[Any, ...], layer: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        u = _materialised_normals(plan, key, layer * _STREAMS + _FORWARD)
        new = []
        for rung, (factor, _) in enumerate(_once(layer, lambda: _factors(plan, kernels))):
            s = plan.activation(_combine(factor, plan.split(u, rung)))
            mask = plan.mask(layer, rung)
            s = s if mask is None else s * mask
            c_b, c_w = variances[layer + 1, 0], variances[layer + 1, 1]
            neurons = jnp.asarray(plan.widths, plan.dtype)[layer] * (1 << rung)
            new.append(c_b + c_w / neurons * _gram(s))
        return tuple(new), tuple(kernel[rows, cols] for kernel in new)

    layers = jnp.arange(plan.depth, dtype=jnp.int32)
    return jax.lax.scan(step, _start(plan), layers)[1]


def draw_tangent_kernels(
    plan: Plan, key: Key, tops: tuple[int, ...]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Conditional kernels, and tangent kernels of one neuron of the layers above `tops`.

    The kernels are those of `draw_kernels`. Beside them, for every rung an array
    (len(tops), P, nets, lanes): for top t the tangent kernel ``H_ii(a, b)`` of a neuron i of layer
    t + 1, 1 <= t <= L, summed over the parameters of layers 1 to t + 1:

        H = lambda_b + lambda_W g_t + sum_{l <= t} (lambda_b + lambda_W g_{l-1}) delta_l . delta_l,

    with ``g_l = s_l . s_l / n_l``, ``g_0 = x . x / n_0`` and ``delta_l = dz_i / dz_l``. Each
    top's backward pass is exact in law given the activations; two tops of one draw do not share
    their weights, so correlations between layers are not those of one network.
    """
    dtype, size = plan.dtype, plan.size
    rows, cols = np.triu_indices(size)
    variances = jnp.asarray(plan.variances, dtype)
    rates = jnp.asarray(plan.rates, dtype)
    widths = jnp.asarray(plan.widths, dtype)
    rungs = range(plan.rungs)

    def forward(kernels: tuple[Any, ...], layer: Any) -> tuple[tuple[Any, ...], Any]:
        u = _materialised_normals(plan, key, layer * _STREAMS + _FORWARD)
        new, states = [], []
        factors = _once(layer, lambda: _factors(plan, kernels))
        for rung, (factor, inverse) in enumerate(factors):
            split = plan.split(u, rung)
            s, slope = jax.jvp(
                plan.activation, (z := _combine(factor, split),), (jnp.ones_like(z),)
            )
            mask = plan.mask(layer, rung)
            s, slope = (s, slope) if mask is None else (s * mask, slope * mask)
            gram = _gram(s) / (widths[layer] * (1 << rung))
            new.append(variances[layer + 1, 0] + variances[layer + 1, 1] * gram)
            states.append({"u": split, "s": s, "slope": slope, "gram": gram, "inverse": inverse})
        return tuple(new), (states, tuple(kernel[rows, cols] for kernel in new))

    layers = jnp.arange(plan.depth, dtype=jnp.int32)
    states, kernels = jax.lax.scan(forward, _start(plan), layers)[1]
    first = jnp.asarray(plan.gram, dtype)[:, :, None, None]

    def weight(rung: int, layer: Any) -> Any:
        """lambda_b + lambda_W g of the layer below: what delta_l . delta_l is multiplied by."""
        below = jnp.where(layer > 0, states[rung]["gram"][jnp.maximum(layer - 1, 0)], first)
        return rates[layer, 0] + rates[layer, 1] * below

    def one_top(_: Any, top: Any) -> tuple[Any, tuple[Any, ...]]:
        # `top` counts hidden layers from 0: the neuron lives in layer top + 2 of the network.
        # Streams do not depend on the top but through the output's: every top has its own key.
        own = threefry(key, top.astype(jnp.uint32), jnp.uint32(1))
        output = _once(
            top, lambda: normals(own, _OUTPUT * size, (1, plan.total, plan.lanes), dtype)
        )
        slopes = _once(top, lambda: [states[rung]["slope"][top] for rung in rungs])
        carry = []
        for rung, slope in enumerate(slopes):
            scale = jnp.sqrt(variances[top + 1, 1] / (widths[top] * (1 << rung)))
            delta = scale * plan.split(output, rung) * slope
            carry.append((delta, weight(rung, top + 1)))

        def down(step: Any, carry: list[Any]) -> list[Any]:
            layer = top - step  # from delta of hidden layer `layer` to that of the one below
            stream = layer * _STREAMS
            backward = _materialised_normals(plan, own, stream + _BACKWARD)
            bias = normals(own, (stream + _BIAS) * size, (size, plan.nets(0), plan.lanes), dtype)
            gammas = tuple(_gram(delta) for delta, _ in carry)
            roots = _once(layer, lambda: [root for root, _ in _factors(plan, gammas)])
            new = []
            for rung, (delta, ntk) in enumerate(carry):
                scale = jnp.sqrt(variances[layer, 1] / (widths[layer - 1] * (1 << rung)))
                noise = plan.split(backward, rung)
                mask = plan.mask(layer - 1, rung)
                noise = noise if mask is None else noise * mask
                column = jnp.sqrt(variances[layer, 0]) * bias[:, : plan.nets(rung)]
                below = _below(
                    layer, states[rung], delta=delta, root=roots[rung], noise=noise, bias=column,
                    scale=scale,
                )  # fmt: skip
                new.append((below, ntk + weight(rung, layer) * gammas[rung]))
            return new

        carry = jax.lax.fori_loop(0, top, down, carry)
        last = [
            ntk + weight(rung, jnp.int32(0)) * _gram(delta)
            for rung, (delta, ntk) in enumerate(carry)
        ]
        return None, tuple(ntk[rows, cols] for ntk in last)

    tangent = jax.lax.scan(one_top, None, jnp.asarray([t - 1 for t in tops], jnp.int32))[1]
    return kernels, tangent
