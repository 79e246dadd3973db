"""The differential of the tangent kernel, dH, contracted with vectors over neurons.

    dH_klm;abc = sum lambda lambda d2z_ka/(dm1 dm2) dz_lb/dm1 dz_mc/dm2

has n^3 entries for every three samples, and its forward equation costs n^4. What the average over
the last layer's weights needs are contractions with n triples of vectors,

    sum_q sum_klm U_qk V_ql X_qm dH_klm,

and such a sum goes *down* the network with three products of n x n matrices a layer:

    of the preactivations, z = b + W s:   U, V, X  ->  U W, V W, X W,  and two terms where a
        derivative falls on W itself, lambda_W / n [(U_q.V_q) s_1.dH^s_02 X_q + (U_q.X_q) ...];
    of the activations, s(z):   U, V, X  ->  U s'_0, V s'_1, X s'_2,  and one term where both
        derivatives fall on s: U s''_0 (H_01 s'_1 V) (H_02 s'_2 X).

Source: Roberts, Yaida and Hanin 2022, Chapter 11 (forward equation of dH), read backwards.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from whydeep.ensemble.fluctuations._diagonal import (
    columns,
    onto,
    row_products,
    times,
    transpose,
    triple_sum,
)
from whydeep.ensemble.fluctuations._states import State

__all__ = ["Samples", "activations_dh", "outer_pairs_p", "outer_pairs_q", "preactivations_dh"]

Samples = tuple[Any, Any, Any]


def preactivations_dh(states: list[State], samples: Samples, u: Any, v: Any, x: Any) -> Any:
    """The contraction of dH of the preactivations of the last of `states`.

    Args:
        states: layers 1 to the one in question.
        samples: of the three indices of dH.
        u: U of the module's formula, (n, n), diagonal (n,), or one row for all (1, n).
        v: likewise V.
        x: likewise X.
    """
    top = states[-1]
    if top.weights is None:
        return 0.0  # linear in the parameters
    both = row_products(u, v), row_products(u, x)
    u, v, x = (times(matrix, top.weights) for matrix in (u, v, x))
    return _activations(states[:-1], samples, u, v, x, top.rate * both[0], top.rate * both[1])


def activations_dh(states: list[State], samples: Samples, u: Any, v: Any, x: Any) -> Any:
    """The same of the activations of the last of `states`."""
    return _activations(states, samples, u, v, x, None, None)


def _activations(
    states: list[State], samples: Samples, u: Any, v: Any, x: Any, uv: Any, ux: Any
) -> Any:
    """The contraction of dH of the activations, and the terms of the weights above them.

    Args:
        states: layers 1 to the one whose activations these are.
        samples: of the three indices.
        u: U, V and X in terms of the activations.
        v: likewise.
        x: likewise.
        uv: lambda_W / n times U_q.V_q above the weights, or None where there are none.
        ux: likewise U_q.X_q.
    """
    top, (a, b, c) = states[-1], samples
    s, slope, curvature = top.values[:3]
    v, x = columns(v, slope[b]), columns(x, slope[c])
    # sum_l H_kl;ab s'_lb V_ql, and likewise for X: rows q, columns k
    hv, hx = times(v, transpose(top.tangent[a, b])), times(x, transpose(top.tangent[a, c]))
    total = triple_sum(columns(u, curvature[a]), hv, hx)
    u = columns(u, slope[a])
    if uv is not None:
        total += jnp.sum(uv * onto(hx, s[b] * slope[a])) + jnp.sum(ux * onto(hv, s[c] * slope[a]))
    return total + preactivations_dh(states, samples, u, v, x)


def outer_pairs_p(states: list[State], samples: Samples, last: Any) -> Any:
    """What P is made of: sum_kl s_k;last dH_kll of the activations."""
    s = states[-1].values[0]
    one = jnp.ones(s.shape[1], s.dtype)
    return activations_dh(states, samples, s[last][None], one, one)


def outer_pairs_q(states: list[State], samples: Samples, last: Any) -> Any:
    """What Q is made of: sum_kl dH_kkl s_l;last of the activations."""
    s = states[-1].values[0]
    one = jnp.ones(s.shape[1], s.dtype)
    return activations_dh(states, samples, one, one, s[last][None])
