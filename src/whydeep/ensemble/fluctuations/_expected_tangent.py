"""The tangent kernel averaged over all weights that the preactivations leave free.

Given the normal numbers u of all layers, the weights of a layer are known along N directions and
standard normal orthogonal to them (`_states`). The average of the tangent kernel over the latter
keeps the form

    H_kl;ab = u_k . A_ab u_l + delta_kl h_ab,

N x N matrices A_ab and numbers h_ab, from layer to layer: with P the projector on what is known and
M_ab = diag(s'_a) H_ab diag(s'_b),

    A_ab <- C_W/n E M_ab E^T,    h_ab <- lambda_b + lambda_W s_a.s_b / n + C_W/n tr (1 - P) M_ab.

So the mean tangent kernel, and its covariance with the kernel, which u alone decides, need no
weights at all, and no n x n matrix.

Source: derived here; the conditional law is that of Roberts, Yaida and Hanin 2022, Eq. 4.72.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from whydeep.ensemble.fluctuations._states import Numbers, State

__all__ = ["expected_tangents"]


def expected_tangents(numbers: Numbers, states: list[State]) -> list[Any]:
    """The tangent kernel (N, N) of one neuron of layers 2 ... L + 1, averaged as said."""
    size = numbers.gram.shape[0]
    spread = jnp.zeros((size,) * 4, numbers.gram.dtype)
    (bias_lr, weight_lr) = numbers.rates[0]
    own = bias_lr + weight_lr * numbers.gram
    out = []
    for layer, state in enumerate(states, 1):
        (bias_lr, weight_lr), c_w = numbers.rates[layer], numbers.variances[layer][1]
        s, slope = state.values[:2]
        both = slope[:, None] * slope[None]
        along = jnp.einsum("ek,abef,fk->abk", state.u, spread, state.u)
        scale = c_w / state.width
        total = scale * jnp.sum(both * (along + own[:, :, None]), axis=-1)
        mean = bias_lr + weight_lr * (s @ s.T) / state.width
        out.append(mean + total)
        if layer == len(states):
            break
        basis = states[layer].basis[:, :-1]  # without the bias
        turned = jnp.einsum("fk,ak,ek->afe", basis, slope, state.u)
        known = jnp.einsum("aec,abcd,bfd->abef", turned, spread, turned)
        known += own[:, :, None, None] * jnp.einsum("ek,abk,fk->abef", basis, both, basis)
        spread = scale * known
        own = out[-1] - jnp.trace(spread, axis1=2, axis2=3)
    return out
