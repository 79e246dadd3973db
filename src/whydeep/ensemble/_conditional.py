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

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.ensemble._normals import Key, normals

__all__ = ["Plan", "Shape", "draw_kernels", "draw_tangent_kernels"]

# Streams of normal numbers within a draw: forward, bias column, output row, backward.
_FORWARD, _OUTPUT, _BACKWARD, _BIAS = range(4)


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
    """Sums over neurons of left_a right_b: (N, nets, neurons, lanes) twice to (N, N, nets, lanes)."""
    return jnp.einsum("amnt,bmnt->abmt", left, right, precision=jax.lax.Precision.HIGHEST)


def _forward_normals(plan: Plan, key: Key) -> Any:
    """All normal numbers of the forward pass, (L, N, total, lanes).

    They are made before the scan over layers and handed to it: inside, the compiler would fuse
    them into each of their N uses and make every number N times.
    """
    shape = (plan.depth, plan.size, plan.total, plan.lanes)
    return normals(key, _FORWARD, shape, plan.dtype)


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

    def step(kernels: tuple[Any, ...], at: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        layer, u = at
        new = []
        for rung, kernel in enumerate(kernels):
            factor, _ = _cholesky(kernel, plan.size, plan.dtype)
            s = plan.activation(_combine(factor, plan.split(u, rung)))
            mask = plan.mask(layer, rung)
            s = s if mask is None else s * mask
            c_b, c_w = variances[layer + 1, 0], variances[layer + 1, 1]
            neurons = jnp.asarray(plan.widths, plan.dtype)[layer] * (1 << rung)
            new.append(c_b + c_w / neurons * _products(s, s))
        return tuple(new), tuple(kernel[rows, cols] for kernel in new)

    layers = jnp.arange(plan.depth, dtype=jnp.int32)
    return jax.lax.scan(step, _start(plan), (layers, _forward_normals(plan, key)))[1]


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

    def forward(kernels: tuple[Any, ...], at: Any) -> tuple[tuple[Any, ...], Any]:
        layer, u = at
        new, states = [], []
        for rung, kernel in enumerate(kernels):
            factor, inverse = _cholesky(kernel, size, dtype)
            split = plan.split(u, rung)
            s, slope = jax.jvp(
                plan.activation, (z := _combine(factor, split),), (jnp.ones_like(z),)
            )
            mask = plan.mask(layer, rung)
            s, slope = (s, slope) if mask is None else (s * mask, slope * mask)
            gram = _products(s, s) / (widths[layer] * (1 << rung))
            new.append(variances[layer + 1, 0] + variances[layer + 1, 1] * gram)
            states.append({"u": split, "s": s, "slope": slope, "gram": gram, "inverse": inverse})
        return tuple(new), (states, tuple(kernel[rows, cols] for kernel in new))

    layers = jnp.arange(plan.depth, dtype=jnp.int32)
    states, kernels = jax.lax.scan(
        forward, _start(plan), (layers, _forward_normals(plan, key))
    )[1]
    first = jnp.asarray(plan.gram, dtype)[:, :, None, None]

    def weight(rung: int, layer: Any) -> Any:
        """lambda_b + lambda_W g of the layer below: what delta_l . delta_l is multiplied by."""
        below = jnp.where(layer > 0, states[rung]["gram"][jnp.maximum(layer - 1, 0)], first)
        return rates[layer, 0] + rates[layer, 1] * below

    def one_top(_: Any, top: Any) -> tuple[Any, tuple[Any, ...]]:
        # `top` counts hidden layers from 0: the neuron lives in layer top + 2 of the network.
        stream = top * 4
        output = normals(key, stream + _OUTPUT, (1, plan.total, plan.lanes), dtype)
        shape = (plan.depth, size, plan.total, plan.lanes)
        backward = normals(key, stream + _BACKWARD, shape, dtype)
        bias = normals(key, stream + _BIAS, (plan.depth, size, plan.nets(0), plan.lanes), dtype)
        carry = []
        for rung in rungs:
            scale = jnp.sqrt(variances[top + 1, 1] / (widths[top] * (1 << rung)))
            delta = scale * plan.split(output, rung) * states[rung]["slope"][top]
            carry.append((delta, weight(rung, top + 1)))

        def down(step: Any, carry: list[Any]) -> list[Any]:
            layer = top - step  # from delta of hidden layer `layer` to that of the one below
            new = []
            for rung, (delta, ntk) in enumerate(carry):
                gamma = _products(delta, delta)
                ntk = ntk + weight(rung, layer) * gamma
                below = {k: v[layer - 1] for k, v in states[rung].items()}
                here = {k: states[rung][k][layer] for k in ("u", "inverse")}
                c_b, c_w = variances[layer, 0], variances[layer, 1]
                neurons = widths[layer - 1] * (1 << rung)
                root, _ = _cholesky(gamma, size, dtype)
                noise = plan.split(backward[layer], rung)
                mask = plan.mask(layer - 1, rung)
                noise = noise if mask is None else noise * mask
                extra = bias[layer][:, : plan.nets(rung)]
                # s~^T G: the columns of s and the bias column sqrt(C_b n / C_W).
                overlap = jnp.sqrt(c_w / neurons) * jnp.einsum(
                    "cbmt,abmt->camt", _products(below["s"], noise), root
                ) + jnp.sqrt(c_b) * jnp.einsum("bmt,abmt->amt", extra, root)
                inverse = here["inverse"]
                inner = _products(here["u"], delta) - jnp.einsum(
                    "bcmt,camt->bamt", inverse, overlap
                )
                known = c_w / neurons * jnp.einsum("bcmt,bamt->acmt", inverse, inner)
                product = _combine(known, below["s"]) + jnp.sqrt(c_w / neurons) * _combine(
                    root, noise
                )
                new.append((below["slope"] * product, ntk))
            return new

        carry = jax.lax.fori_loop(0, top, down, carry)
        out = []
        for rung, (delta, ntk) in enumerate(carry):
            ntk = ntk + weight(rung, jnp.int32(0)) * _products(delta, delta)
            out.append(ntk[rows, cols])
        return None, tuple(out)

    tangent = jax.lax.scan(one_top, None, jnp.asarray([t - 1 for t in tops], jnp.int32))[1]
    return kernels, tangent
