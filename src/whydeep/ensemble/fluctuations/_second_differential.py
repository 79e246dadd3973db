"""The second differentials of the tangent kernel, ddI and ddII, traced over pairs of neurons.

    ddI_klmp;0123  = sum lambda^3 d3z_k0/(dm1 dm2 dm3) dz_l1/dm1 dz_m2/dm2 dz_p3/dm3
    ddII_klmp;1234 = sum lambda^3 d2z_k1/(dm1 dm2) d2z_l2/(dm1 dm3) dz_m3/dm2 dz_p4/dm3

The average over the last layer's weights needs them with two pairs of neurons summed. Going down
the network a pair of equal neurons becomes a pair tied by a matrix, W^T A W and then s' W^T A W s',
and stays one; what falls off on the way are contractions of dH and products of H:

    ddI:  sum A_kl B_mp ddI_klmp;        ddII:  sum A_kl B_mp ddII_klmp   (pairs 12, 34: S)
                                                sum A_km B_lp ddII_klmp   (pairs 13, 24: T)
                                                sum A_kp B_lm ddII_klmp   (pairs 14, 23: U)

All cost n^3. Each term is one of Leibniz' rule; tests compare with derivatives of derivatives by
automatic differentiation, number for number.

Source: Roberts, Yaida and Hanin 2022, Chapter "infinity" (forward equations of ddI and ddII), read
backwards.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from whydeep.ensemble.fluctuations._diagonal import (
    columns,
    entries,
    onto,
    row_products,
    rows,
    times,
    trace,
    transpose,
)
from whydeep.ensemble.fluctuations._first_differential import activations_dh, preactivations_dh
from whydeep.ensemble.fluctuations._states import State

__all__ = ["activations_first", "activations_second"]

Quadruple = tuple[Any, Any, Any, Any]


def activations_first(states: list[State], samples: Quadruple, a: Any, b: Any) -> Any:
    """The sum of A_kl B_mp ddI_klmp of the activations of the last of `states`."""
    top, (i, j, k, l) = states[-1], samples
    _, slope, curvature, third = top.values[:4]
    h1, h2, h3 = (top.tangent[i, other] for other in (j, k, l))
    a = columns(a, slope[j])
    b = columns(rows(slope[k], b), slope[l])
    own = row_products(a, h1)  # sum_l A_kl s'_l H_kl
    hb, hc = times(h2, b), times(h3, transpose(b))
    one = jnp.ones_like(own)
    total = jnp.sum(third[i] * own * row_products(hb, h3))
    total += preactivations_dh(states, (i, k, l), (curvature[i] * own)[None], one, b)
    total += preactivations_dh(states, (i, j, l), curvature[i], a, hb)
    total += preactivations_dh(states, (i, j, k), curvature[i], a, hc)
    return total + _preactivations_first(states, samples, rows(slope[i], a), b)


def _preactivations_first(states: list[State], samples: Quadruple, a: Any, b: Any) -> Any:
    top, (i, j, k, l) = states[-1], samples
    if top.weights is None:
        return 0.0
    below = states[:-1]
    s = below[-1].values[0]
    one = jnp.ones(s.shape[1], s.dtype)

    def moved(matrix: Any) -> Any:
        return times(transpose(top.weights), times(matrix, top.weights))

    inner = moved(b)
    ab, ac = moved(times(transpose(a), b)), moved(times(transpose(a), transpose(b)))
    total = trace(a) * activations_dh(below, (i, k, l), s[j][None], one, inner)
    total += activations_dh(below, (i, j, l), s[k][None], one, ab)
    total += activations_dh(below, (i, j, k), s[l][None], one, ac)
    return top.rate * total + activations_first(below, samples, moved(a), inner)


def activations_second(states: list[State], samples: Quadruple, pairs: str, a: Any, b: Any) -> Any:
    """The sum of A B ddII of the activations of the last of `states`, A and B tying `pairs`.

    Args:
        states: layers 1 to the one in question.
        samples: 1, 2, 3, 4 of ddII.
        pairs: "S" for A_kl B_mp, "T" for A_km B_lp, "U" for A_kp B_lm.
        a: (n, n) or diagonal (n,).
        b: likewise.
    """
    top, (i, j, k, l) = states[-1], samples
    _, slope, curvature = top.values[:3]
    h_own, h_left, h_right = top.tangent[i, j], top.tangent[i, k], top.tangent[j, l]
    one = jnp.ones_like(slope[i])
    left, right = (i, j, k), (j, i, l)  # samples of dH_klm;123 and of dH_lkp;214
    if pairs == "S":
        b = columns(rows(slope[k], b), slope[l])
        across = times(b, transpose(h_right))  # (m, l): sum_p B_mp H_lp
        along = times(h_left, b)  # (k, p): sum_m H_km B_mp
        first = rows(slope[i], a)  # s'_k A_kl
        second = columns(a, slope[j])  # A_kl s'_l
        total = preactivations_dh(states, left, transpose(first), curvature[j], transpose(across))
        total += preactivations_dh(states, right, second, curvature[i], along)
        both = times(along, transpose(h_right))  # (k, l): sum_mp H_km B_mp H_lp
        weighted = columns(rows(curvature[i], a), curvature[j])
        total += jnp.sum(row_products(entries(weighted, h_own), both))
        a = columns(first, slope[j])
    elif pairs == "T":
        a, b = columns(a, slope[k]), columns(b, slope[l])
        on_left = curvature[i] * row_products(a, h_left)
        on_right = curvature[j] * row_products(b, h_right)
        a, b = rows(slope[i], a), rows(slope[j], b)
        # dH_klm;123 with A_km and a vector on l; dH_lkp;214 with B_lp and a vector on k.
        total = preactivations_dh(states, left, one, on_right[None], a)
        total += preactivations_dh(states, right, one, on_left[None], b)
        total += jnp.sum(on_left * onto(h_own, on_right))
    else:
        a, b = columns(a, slope[l]), columns(b, slope[k])
        on_right = times(a, transpose(h_right))  # (k, l): sum_p A_kp H_lp
        on_left = times(b, transpose(h_left))  # (l, k): sum_m B_lm H_km
        total = preactivations_dh(
            states, left, transpose(rows(slope[i], on_right)), curvature[j], b
        )
        total += preactivations_dh(
            states, right, transpose(rows(slope[j], on_left)), curvature[i], a
        )
        weighted = columns(rows(curvature[i], on_right), curvature[j])
        total += jnp.sum(row_products(entries(weighted, h_own), transpose(on_left)))
        a, b = rows(slope[i], a), rows(slope[j], b)
    return total + _preactivations_second(states, samples, pairs, a, b)


def _preactivations_second(
    states: list[State], samples: Quadruple, pairs: str, a: Any, b: Any
) -> Any:
    top, (i, j, k, l) = states[-1], samples
    if top.weights is None:
        return 0.0
    below, weights, rate = states[:-1], top.weights, top.rate
    s, slope = below[-1].values[:2]
    tangent = below[-1].tangent

    def moved(matrix: Any) -> Any:
        return times(transpose(weights), times(matrix, weights))

    def h(x: Any, y: Any) -> Any:
        return columns(rows(slope[x], tangent[x, y]), slope[y])

    if pairs == "S":
        # which matrices are left when k = l, when k = m, when l = p, and the number when both
        same = trace(a), moved(b)
        third, fourth = moved(times(transpose(a), b)), moved(times(a, transpose(b)))
        number = jnp.sum(row_products(a, b))
        scales = 1.0, 1.0
    elif pairs == "T":
        same = 1.0, moved(times(transpose(a), b))
        third, fourth = moved(b), moved(a)
        scales = trace(a), trace(b)
        number = scales[0] * scales[1]
    else:
        same = 1.0, moved(times(transpose(b), a))
        third, fourth = moved(times(b, a)), moved(times(a, b))
        number = jnp.sum(row_products(a, transpose(b)))
        scales = 1.0, 1.0
    one = jnp.ones(s.shape[1], s.dtype)
    # k = l: sum_q (H_13)_qm M_mp (H_24)_qp
    total = rate * same[0] * jnp.sum(row_products(times(h(i, k), same[1]), h(j, l)))
    # k = m: sum s_q3 M_rt dH_rqt;214;  l = p: sum s_q4 M_rt dH_rqt;123
    total += rate * scales[0] * activations_dh(below, (j, i, l), one, s[k][None], third)
    total += rate * scales[1] * activations_dh(below, (i, j, k), one, s[l][None], fourth)
    total += rate**2 * number * jnp.sum(s[k] * onto(h(i, j), s[l]))
    return total + activations_second(below, samples, pairs, moved(a), moved(b))
