"""The tangent kernel between two sets of examples, from their features."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from whydeep.ensemble.tangent._features import Features
from whydeep.ensemble.tangent._terms import (
    Added,
    Gradient,
    LookedUp,
    Positions,
    Product,
    Separable,
    Term,
)

__all__ = ["contract"]

# Indices: a, b examples; i, j outputs; g groups; p, q positions; n, m entries.
_GRAM = {"trace": "aim,bim->ab", "diagonal": "aim,bim->abi"}
_LAST = {"full": "imbq,bjqm->ibj", "trace": "imbq,biqm->b", "diagonal": "imbq,biqm->bi"}

_einsum = partial(jnp.einsum, precision="highest")


@partial(jax.jit, static_argnames=("terms", "labels", "outputs"))
def contract(
    left: Features,
    right: Features,
    rates: dict[int, Any],
    *,
    terms: tuple[Term, ...],
    labels: tuple[int, ...],
    outputs: str,
) -> list[Any]:
    """Blocks of the kernel, one a label.

    Args:
        left: of b1 examples and c1 outputs.
        right: of b2 examples and c2 outputs, the same ones unless `outputs` is "full".
        rates: of every term's leaf, a number or (k,) for `Gradient`.
        terms: of the plan.
        labels: the group of every term, 0, 1, ...
        outputs: "full", "trace" or "diagonal".

    Returns:
        (b1, c1, b2, c2), (b1, b2) or (b1, b2, c1); a number where a label has no term.
    """
    blocks: list[Any] = [0.0] * (max(labels, default=0) + 1)
    taps: dict[int, dict[int, Any]] = {}  # by tap and label: what multiplies its Gram matrix
    streams = [iter(zip(s, t, strict=True)) for s, t in zip(left[1:], right[1:], strict=True)]
    factors, gradients, positions, lookups, separable = streams
    for term, label in zip(terms, labels, strict=True):
        rate = term.scale * rates[term.leaf]
        if isinstance(term, (Product, Added)):
            weight: Any = rate
            if isinstance(term, Product):
                h1, h2 = next(factors)
                weight = rate * _einsum("an,bn->ab", h1, h2)
            own = taps.setdefault(term.tap, {})
            own[label] = own.get(label, 0.0) + weight
        elif isinstance(term, Gradient):
            g1, g2 = next(gradients)
            blocks[label] += _gram(g1 * rate, g2, outputs)
        elif isinstance(term, Positions):
            blocks[label] += rate * _positions(*next(positions), outputs)
        elif isinstance(term, LookedUp):
            blocks[label] += rate * _lookups(*next(lookups), outputs)
        elif isinstance(term, Separable):
            blocks[label] += rate * _separated(*next(separable), outputs)
    for tap, weights in taps.items():
        gram = _gram(left.deltas[tap], right.deltas[tap], outputs)
        for label, weight in weights.items():
            blocks[label] += gram * _spread(jnp.asarray(weight), outputs)
    return blocks


def _gram(one: Any, other: Any, outputs: str) -> Any:
    """Products of (b1, c1, m) and (b2, c2, m)."""
    if outputs != "full":
        return _einsum(_GRAM[outputs], one, other)
    flat = [g.reshape(-1, g.shape[-1]) for g in (one, other)]  # one product of matrices
    return _einsum("xm,ym->xy", *flat).reshape(*one.shape[:2], *other.shape[:2])


def _spread(weight: Any, outputs: str) -> Any:
    """A matrix over examples beside the axes of outputs."""
    if weight.ndim == 0 or outputs == "trace":
        return weight
    return weight[:, None, :, None] if outputs == "full" else weight[:, :, None]


def _positions(left: Any, right: Any, outputs: str) -> Any:
    """``sum_pq (h_p . h_q') (delta_ip . delta_jq')``, one example of the left at a time."""
    h2, delta2 = right

    def one(point: Any) -> Any:
        h1, delta1 = point  # (g, p, n), (i, g, p, m)
        total: Any = 0.0
        for g in range(h1.shape[0]):
            gram = _einsum("pn,bqn->pbq", h1[g], h2[:, g])
            moved = _einsum("ipm,pbq->imbq", delta1[:, g], gram)
            total += _einsum(_LAST[outputs], moved, delta2[:, :, g])
        return total

    return jax.lax.map(one, left)


def _separated(left: Any, right: Any, outputs: str) -> Any:
    """``sum_m V_mi V_mj sum_n A_anm A_bnm``."""
    (a1, head1), (a2, head2) = left, right
    gram = _einsum("amn,bmn->mab", a1, a2)
    if outputs == "full":
        pairs = head1[0][:, :, None] * head2[0][:, None, :]
        return _einsum("mab,mij->aibj", gram, pairs)
    both = head1[0] * head2[0]
    return _einsum("mab,mi->abi" if outputs == "diagonal" else "mab,mi->ab", gram, both)


def _lookups(left: Any, right: Any, outputs: str) -> Any:
    """The same where ``h_p . h_q'`` is 1 for the same row and 0 otherwise."""
    rows2, exist2, delta2 = right

    def one(point: Any) -> Any:
        rows1, exist1, delta1 = point
        same = rows1[:, None, None] == rows2[None]
        same &= exist1[:, None, None] & exist2[None]
        moved = _einsum("ipm,pbq->imbq", delta1, same.astype(delta1.dtype))
        return _einsum(_LAST[outputs], moved, delta2)

    return jax.lax.map(one, left)
