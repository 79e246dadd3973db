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
    Term,
)

__all__ = ["contract"]

# Indices: a, b examples; i, j outputs; g groups; p, q positions; n, m entries.
_GRAM = {"full": "aim,bjm->aibj", "trace": "aim,bim->ab", "diagonal": "aim,bim->abi"}
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
    factors, gradients, positions, lookups = streams
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
            blocks[label] += _einsum(_GRAM[outputs], g1 * rate, g2)
        elif isinstance(term, Positions):
            blocks[label] += rate * _positions(*next(positions), outputs)
        elif isinstance(term, LookedUp):
            blocks[label] += rate * _lookups(*next(lookups), outputs)
    for tap, weights in taps.items():
        gram = _einsum(_GRAM[outputs], left.deltas[tap], right.deltas[tap])
        for label, weight in weights.items():
            blocks[label] += gram * _spread(jnp.asarray(weight), outputs)
    return blocks


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
