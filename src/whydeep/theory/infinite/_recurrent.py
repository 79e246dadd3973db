"""Kernels of an Elman network: the same weights at every time, so times are positions.

    C_z(t, t') = C_b + C_U C_x(t, t') + C_W C_h(t-1, t'-1),   C_h = <s s> under C_z,

and the tangent kernel likewise (Yang 2019, Tensor Programs I, Sec. 6; Alemohammad et al. 2021,
Theorem 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from whydeep.gaussian import image_mean, mean_image, slope_mean

if TYPE_CHECKING:
    from whydeep.theory.infinite._propagate import Propagation, Side

__all__ = ["recurrent_kernels", "recurrent_mean"]


def recurrent_kernels(run: Propagation, i: int, side: Side) -> tuple[Any, Any]:
    """C and T of the state at all pairs of times: (pairs..., T, T)."""
    variances = [_variances(run, i, which) for which in (side.left, side.right)]
    rows = _rows(run, i, side, variances)
    c = jnp.stack([c for c, _ in rows], -2)
    return c, jnp.stack([t for _, t in rows], -2) if run.ntk else None


def recurrent_mean(run: Propagation, i: int, which: int) -> Any:
    """The mean of the state: (A, T)."""
    layer: Any = run.plan.steps[i].layer
    return mean_image(layer.activation, _variances(run, i, which))


def _variances(run: Propagation, i: int, which: int) -> Any:
    """Variances of the preactivations (A, T)."""
    layer: Any = run.plan.steps[i].layer
    key = ("recurrent", i, which)
    if key not in run.memo:
        inputs = run.variance(run.plan.steps[i].inputs[0], which)
        state = jnp.zeros_like(inputs[:, 0])
        out = []
        for t in range(inputs.shape[1]):
            q = layer.bias_var + layer.input_var * inputs[:, t] + layer.weight_var * state
            length = run.series(layer.activation, (q,))
            state = image_mean(layer.activation, q, q, q, length)
            out.append(q)
        run.memo[key] = jnp.stack(out, -1)
    return run.memo[key]


def _rows(run: Propagation, i: int, side: Side, variances: list[Any]) -> list[tuple[Any, Any]]:
    """(C_h, T_h) of one time against all times, time after time."""
    step = run.plan.steps[i]
    layer: Any = step.layer
    before = run.plan.steps[step.inputs[0]]
    given = run.second(step.inputs[0], step.inputs[0], side, full=True)
    tangent = run.tangent(step.inputs[0], step.inputs[0], side, full=True)
    bias_lr, input_lr, weight_lr = layer.learning_rates(before.channels)
    q2 = side.spread(variances[1], right=True, full=False)
    length = run.series(layer.activation, tuple(variances))
    zero = jnp.zeros_like(given[..., 0, :])
    c = t = zero
    rows = []
    for time in range(step.count):
        # The state before: zero at the first time.
        past_c = jnp.concatenate([zero[..., :1], c[..., :-1]], -1)
        past_t = jnp.concatenate([zero[..., :1], t[..., :-1]], -1)
        x = given[..., time, :]
        z = layer.bias_var + layer.input_var * x + layer.weight_var * past_c
        rate = bias_lr + input_lr * x + weight_lr * past_c + layer.weight_var * past_t
        if tangent is not None:
            rate = rate + layer.input_var * tangent[..., time, :]
        q1 = side.spread(variances[0][:, time : time + 1], right=False, full=False)
        c = image_mean(layer.activation, q1, q2, z, length)
        t = slope_mean(layer.activation, q1, q2, z, length) * rate if run.ntk else zero
        rows.append((c, t))
    return rows
