"""What a network's hidden layers say about the layer above, averaged over that layer's own weights.

Given the last of the hidden layers (n neurons, activations s) and all parameters below, the
preactivations above are ``z_i = b_i + sum_k W_ik s_k`` with Gaussian W and b, whose mean squares
are C_W / n and C_b and whose learning rates lambda_W / n and lambda_b. Wick's theorem then gives
every observable of `whydeep.observables` exactly, with H^s_kl;ab = s'_ka s'_lb H_kl;ab and dH^s,
ddI^s, ddII^s the objects of the activations (k, l, m, p are summed):

    G_ab    = C_b + C_W/n s_ka s_kb
    Hbar_ab = lambda_b + lambda_W/n s_ka s_kb + C_W/n H^s_kk;ab
    A = n Cov(Hbar_ab, Hbar_cd)                 D = n Cov(G_ab, Hbar_cd)
    B = C_W^2/n E H^s_kl;ac H^s_kl;bd           F = C_W^2/n E s_ka H^s_kl;bd s_lc
    P = C_W^2/n E s_k3 dH^s_kll;012
    Q = E [C_W^2/n dH^s_kkl;012 s_l3 + lambda_W C_W/n s_k1 H^s_kl;02 s_l3]
    R = E [C_W^2/n ddI^s_kkll;0123 + lambda_W C_W/n s_k1 dH^s_kll;023]
    S = E [C_W^2/n ddII^s_kkll;1234 + lambda_W C_W/n H^s_kl;13 H^s_kl;24]
    T = E [C_W^2/n ddII^s_klkl;1234 + lambda_W C_W/n (dH^s_kkl;241 s_l3 + dH^s_kkl;132 s_l4)
           + lambda_W^2/n s_k3 H^s_kl;12 s_l4]
    U = C_W^2/n E ddII^s_kllk;1234

A derivative with respect to an output weight W_ik is s_k; a second or third one is not zero where
exactly one of its indices is an output weight.

Source: derived from the definitions in `whydeep.observables`; Wick 1950.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.ensemble.fluctuations._first_differential import outer_pairs_p, outer_pairs_q
from whydeep.ensemble.fluctuations._second_differential import (
    activations_first,
    activations_second,
)
from whydeep.ensemble.fluctuations._states import State
from whydeep.observables import component_indices, pair_indices, positions

__all__ = ["KERNELS", "conditional_means"]

KERNELS = ("kernel", "drawn ntk")
"""The kernels of the layer above given those below: G and Hbar."""

# Components side by side: more would outgrow the processor's cache.
_AT_ONCE = 16


def conditional_means(
    states: list[State], variance: Any, rates: Any, names: Sequence[str]
) -> dict[str, Any]:
    """Independent components, averaged over the weights of the layer above `states`.

    Args:
        states: hidden layers 1 to the one below.
        variance: C_b and C_W of the layer above.
        rates: its lambda_b and lambda_W.
        names: observables, without ntk_A and ntk_D, or `KERNELS`.
    """
    below = _Below(states, *variance, *rates)
    return {name: _MEANS[name](below) for name in names}


@dataclass(frozen=True)
class _Below:
    """The hidden layers, the numbers of the layer above, and sums that several observables share.

    Full arrays over four samples are stored with axes that the attributes name.
    """

    states: list[State]
    bias_var: Any
    weight_var: Any
    bias_lr: Any
    weight_lr: Any

    @functools.cached_property
    def s(self) -> Any:
        return self.states[-1].values[0]

    @functools.cached_property
    def size(self) -> int:
        return self.s.shape[0]

    @functools.cached_property
    def ones(self) -> Any:
        """The identity over neurons, as a diagonal."""
        return jnp.ones(self.states[-1].width, self.s.dtype)

    @functools.cached_property
    def tangent(self) -> Any:
        """H^s, (N, N, n, n) or diagonal (N, N, n)."""
        slope, tangent = self.states[-1].values[1], self.states[-1].tangent
        if tangent.ndim == 3:
            return slope[:, None] * slope[None] * tangent
        return slope[:, None, :, None] * slope[None, :, None, :] * tangent

    @property
    def pairs(self) -> Any:
        """What two pairs of output weights carry: n (C_W / n)^2."""
        return self.weight_var**2 / self.states[-1].width

    @property
    def outer(self) -> Any:
        """What an output weight that is differentiated and a pair carry: n (l_W / n) (C_W / n)."""
        return self.weight_lr * self.weight_var / self.states[-1].width

    @functools.cached_property
    def squares(self) -> Any:
        """[a, b, c, d]: sum_kl H^s_kl;ab H^s_kl;cd."""
        flat = self.tangent.reshape(self.size**2, -1)
        return (flat @ flat.T).reshape((self.size,) * 4)

    @functools.cached_property
    def between(self) -> Any:
        """[a, b, c, d]: sum_kl s_ka H^s_kl;cd s_lb."""
        if self.tangent.ndim == 3:
            return jnp.einsum("ak,cdk,bk->abcd", self.s, self.tangent, self.s)
        return jnp.einsum("ak,cdkl,bl->abcd", self.s, self.tangent, self.s)

    @functools.cached_property
    def p(self) -> Any:
        """[0, 1, 2, 3]: sum_kl s_k3 dH^s_kll;012."""

        def one(a: Any, b: Any, c: Any, d: Any) -> Any:
            return outer_pairs_p(self.states, (a, b, c), d)

        return _each("dntk_P", self.size, one)[positions("dntk_P", self.size)]

    @functools.cached_property
    def q(self) -> Any:
        """[0, 1, 2, 3]: sum_kl dH^s_kkl;012 s_l3."""

        def one(a: Any, b: Any, c: Any, d: Any) -> Any:
            return outer_pairs_q(self.states, (a, b, c), d)

        return _each("dntk_Q", self.size, one)[positions("dntk_Q", self.size)]


def _kernel(below: _Below) -> Any:
    s = below.s
    gram = (s @ s.T) / s.shape[1]
    return (below.bias_var + below.weight_var * gram)[pair_indices(below.size)]


def _tangent_kernel(below: _Below) -> Any:
    s, moved = below.s, below.tangent
    diagonal = moved if moved.ndim == 3 else jnp.diagonal(moved, axis1=2, axis2=3)
    mean = below.weight_lr * (s @ s.T) / s.shape[1] + below.weight_var * diagonal.mean(-1)
    return (below.bias_lr + mean)[pair_indices(below.size)]


def _b(below: _Below) -> Any:
    return below.pairs * _pick("ntk_B", below.squares, (0, 2, 1, 3))


def _f(below: _Below) -> Any:
    return below.pairs * _pick("ntk_F", below.between, (0, 2, 1, 3))


def _p(below: _Below) -> Any:
    return below.pairs * _pick("dntk_P", below.p, (0, 1, 2, 3))


def _q(below: _Below) -> Any:
    own = below.outer * _pick("dntk_Q", below.between, (1, 3, 0, 2))  # s_k1 H_kl;02 s_l3
    return below.pairs * _pick("dntk_Q", below.q, (0, 1, 2, 3)) + own


def _r(below: _Below) -> Any:
    def one(*samples: Any) -> Any:
        return activations_first(below.states, samples, below.ones, below.ones)

    own = below.outer * _pick("ddntk_R", below.p, (0, 2, 3, 1))  # s_k1 dH_kll;023
    return below.pairs * _each("ddntk_R", below.size, one) + own


def _second(below: _Below, letter: str, order: tuple[int, int, int, int]) -> Any:
    """The part of S, T or U that is made of ddII; `order` of its axes are samples 1, 2, 3, 4."""

    def one(*axes: Any) -> Any:
        samples = axes[order[0]], axes[order[1]], axes[order[2]], axes[order[3]]
        return activations_second(below.states, samples, letter, below.ones, below.ones)

    return below.pairs * _each(f"ddntk_{letter}", below.size, one)


def _s(below: _Below) -> Any:
    own = below.outer * _pick("ddntk_S", below.squares, (0, 2, 1, 3))  # H_kl;13 H_kl;24
    return _second(below, "S", (0, 1, 2, 3)) + own


def _t(below: _Below) -> Any:
    # The axes a, b, c, d of T are samples 1, 3, 4, 2.
    inner = _pick("ddntk_T", below.q, (3, 2, 0, 1))  # dH_kkl;241 s_l3
    inner += _pick("ddntk_T", below.q, (0, 1, 3, 2))  # dH_kkl;132 s_l4
    own = below.weight_lr**2 / below.states[-1].width
    last = own * _pick("ddntk_T", below.between, (1, 2, 0, 3))  # s_k3 H_kl;12 s_l4
    return _second(below, "T", (0, 3, 1, 2)) + below.outer * inner + last


def _u(below: _Below) -> Any:
    return _second(below, "U", (0, 2, 3, 1))  # the axes of U are samples 1, 4, 2, 3


_MEANS: dict[str, Callable[[_Below], Any]] = {
    "kernel": _kernel,
    "drawn ntk": _tangent_kernel,
    "ntk_B": _b,
    "ntk_F": _f,
    "dntk_P": _p,
    "dntk_Q": _q,
    "ddntk_R": _r,
    "ddntk_S": _s,
    "ddntk_T": _t,
    "ddntk_U": _u,
}


def _pick(name: str, full: Any, order: tuple[int, int, int, int]) -> Any:
    """The components of an observable whose axes a, b, c, d stand in `full` in this order."""
    index = component_indices(name, full.shape[0])
    return full[tuple(index[:, k] for k in order)]


def _each(name: str, size: int, function: Callable[..., Any]) -> Any:
    """A function of four samples for every independent component."""
    index = np.asarray(component_indices(name, size), dtype=np.int32)

    def one(row: Any) -> Any:
        return function(*row)

    if len(index) <= _AT_ONCE:
        return jax.vmap(one)(jnp.asarray(index))
    return jax.lax.map(one, jnp.asarray(index), batch_size=_AT_ONCE)
