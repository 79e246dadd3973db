"""Kernels of dot-product attention.

With logits scaled by 1/sqrt(d), logits are Gaussian at infinite width, independent among heads, of
covariance C_q(p, r) C_k(u, w) between (p, u) and (r, w); the output is Gaussian as heads, too, grow
without bound, and has (Hron et al. 2020, Theorem 3 and Eq. 12)

    C(p, r) = sum_(u, w) E[A(p, u) A'(r, w)] C_v(u, w),

with A the softmax of the logits, or the logits. With a fixed number of heads this is the mean of
the kernel, which fluctuates. With logits scaled by 1/d they tend to E[q k], a fixed number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network import DotProductAttention

if TYPE_CHECKING:
    from whydeep.theory.infinite._propagate import Propagation, Side

__all__ = ["attention_kernels"]

_BLOCK = 1 << 22  # numbers in one array of logits


def attention_kernels(run: Propagation, i: int, side: Side) -> tuple[Any, Any]:
    """C and T of the output at all pairs of positions: (pairs..., P, P)."""
    step = run.plan.steps[i]
    layer: Any = step.layer
    query, key, value = step.inputs
    c_v = run.second(value, value, side, full=True)
    t_v = run.tangent(value, value, side, full=True)
    seen = _seen(layer, step.count, run.plan.steps[key].count)
    if layer.scaling == "1/d":
        weights = []
        for which in (side.left, side.right):
            logits = run.second(query, key, run.self_of(which), full=True)
            weights.append(_weights(layer, logits, _there(run, key, which, seen)))
        left = weights[0][:, None] if side.pairs == 2 else weights[0]
        right = weights[1][None] if side.pairs == 2 else weights[1]
        c, t = (None if v is None else left @ v @ jnp.swapaxes(right, -1, -2) for v in (c_v, t_v))
        return c, t
    shared = run.plan.steps[query].sources & run.plan.steps[key].sources
    if shared:
        raise UnsupportedError(
            "Logits of queries and keys that share their weights have no limit.",
            received=f'{step.described}, scaling "1/sqrt(d)"',
            cause="q . k / sqrt(d) grows like sqrt(d)",
            suggestion='scaling="1/d", or queries and keys with weights of their own',
        )
    parts = [run.second(k, k, side, full=True) for k in (query, key)]
    rates = [run.tangent(k, k, side, full=True) for k in (query, key)]
    if not layer.softmax:
        if layer.function is not None:
            raise UnsupportedError(
                "A function of fluctuating logits has no rule.",
                received=f'{step.described}, {layer.function.name}, scaling "1/sqrt(d)"',
                needed='the logits themselves, their softmax, or scaling "1/d"',
            )
        return _linear(parts, rates, c_v, t_v, seen)
    return _softmax(run, i, side, parts, rates, c_v, t_v, seen)


def _seen(layer: DotProductAttention, rows: int, columns: int) -> np.ndarray:
    """Which positions each position sees."""
    return np.tri(rows, columns, dtype=bool) if layer.causal else np.ones((rows, columns), bool)


def _there(run: Propagation, key: int, which: int, seen: np.ndarray) -> Any:
    """The same, without keys that are padding: (A or 1, P, Q)."""
    mask = run.mask(key, which)
    return jnp.asarray(seen)[None] if mask is None else seen[None] & (mask[:, None, :] > 0)


def _weights(layer: DotProductAttention, logits: Any, seen: Any) -> Any:
    if not layer.softmax:
        return jnp.where(seen, logits if layer.function is None else layer.function(logits), 0.0)
    return jax.nn.softmax(jnp.where(seen, logits, -jnp.inf), -1)


def _linear(
    parts: list[Any], rates: list[Any], c_v: Any, t_v: Any, seen: np.ndarray
) -> tuple[Any, Any]:
    """Logits themselves as weights: products of kernels."""
    mask = jnp.asarray(seen, c_v.dtype)

    def total(array: Any) -> Any:
        return mask @ array @ mask.T

    c_q, c_k = parts
    t_q, t_k = rates
    inner = total(c_k * c_v)
    terms = []
    if t_v is not None:
        terms.append(c_q * total(c_k * t_v))
    if t_q is not None:
        terms.append(t_q * inner)
    if t_k is not None:
        terms.append(c_q * total(t_k * c_v))
    return c_q * inner, sum(terms[1:], terms[0]) if terms else None


def _softmax(
    run: Propagation, i: int, side: Side, parts: list[Any], rates: list[Any], c_v: Any, t_v: Any,
    seen: np.ndarray,
) -> tuple[Any, Any]:  # fmt: skip
    """Mean over Gaussian logits, drawn: matrix-normal for queries times keys."""
    query, key, _ = run.plan.steps[i].inputs
    lead = c_v.shape[:-2]
    roots = [_root(run, k, side, part) for k, part in zip((query, key), parts, strict=True)]
    flat = [v if v is None else v.reshape(-1, *v.shape[-2:]) for v in (*parts, *rates, c_v, t_v)]
    rows, columns = seen.shape
    pairs = math.prod(lead)
    size = roots[0].shape[-1], roots[1].shape[-1]
    shown = [
        run.paired(_there(run, key, which, seen), side, right=right)
        for which, right in ((side.left, False), (side.right, True))
    ]
    rng = np.random.default_rng([run.seed, i])
    width = max(1, min(run.draws // 2, _BLOCK // (pairs * rows * columns)))
    c: Any = jnp.zeros((pairs, rows, rows))
    t = c
    count = 0
    while count < run.draws:
        z = rng.standard_normal((width, *size))
        block = _block_sums(*roots, jnp.asarray(np.concatenate([z, -z]), c.dtype), *flat, *shown)
        c, t, count = c + block[0], t + block[1], count + 2 * width
    c, t = ((v / count).reshape(*lead, rows, rows) for v in (c, t))
    return run.like_self(i, side, c, t if run.ntk else None)


def _root(run: Propagation, k: int, side: Side, cross: Any) -> Any:
    """A root of the joint covariance of both inputs: (pairs, 2, P, 2P), or (pairs, 1, P, P)."""
    blocks = joint_blocks(run, k, side, cross)
    values, vectors = jnp.linalg.eigh(blocks)
    root = vectors * jnp.sqrt(jnp.maximum(values, 0.0))[..., None, :]
    both = side.pairs
    return root.reshape(len(root), both, -1, root.shape[-1])


def joint_blocks(run: Propagation, k: int, side: Side, cross: Any) -> Any:
    """The joint covariance of a step at both inputs of every pair: (pairs, 2P, 2P) or (A, P, P)."""
    if side.pairs == 1:
        return cross
    lead = cross.shape[:2]
    left = run.second(k, k, run.self_of(side.left), full=True)[:, None]
    right = run.second(k, k, run.self_of(side.right), full=True)[None]
    left, right = (jnp.broadcast_to(v, (*lead, *v.shape[-2:])) for v in (left, right))
    top = jnp.concatenate([left, cross], -1)
    bottom = jnp.concatenate([jnp.swapaxes(cross, -1, -2), right], -1)
    whole = jnp.concatenate([top, bottom], -2)
    return whole.reshape(-1, *whole.shape[-2:])


@jax.jit
def _block_sums(
    root_q: Any, root_k: Any, z: Any, c_q: Any, c_k: Any, t_q: Any, t_k: Any, c_v: Any, t_v: Any,
    left: Any, right: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Sums over draws of A C_v A'^T, and of the tangent kernel: through values, and logits."""

    def weights(which: int, seen: Any) -> Any:
        logits = jnp.einsum(
            "npx,sxy,nuy->nspu", root_q[:, which], z, root_k[:, which], optimize=True
        )
        return jax.nn.softmax(jnp.where(seen[:, None], logits, -jnp.inf), -1)

    a, b = weights(0, left), weights(-1, right)
    bt = jnp.swapaxes(b, -1, -2)

    def between(x: Any) -> Any:
        return a @ x[:, None] @ bt

    image = between(c_v)
    tangent: Any = jnp.zeros_like(image) if t_v is None else between(t_v)

    def through_logits(x: Any) -> Any:
        # d softmax = (diag a - a a^T) d logits, on both sides.
        av, vb = a @ c_v[:, None], c_v[:, None] @ bt
        ax, xb = a @ x[:, None], x[:, None] @ bt
        return between(x * c_v) - (av * ax) @ bt - a @ (vb * xb) + image * (a @ x[:, None] @ bt)

    if t_q is not None:
        tangent = tangent + t_q[:, None] * through_logits(c_k)
    if t_k is not None:
        tangent = tangent + c_q[:, None] * through_logits(t_k)
    return image.sum(1), tangent.sum(1)
