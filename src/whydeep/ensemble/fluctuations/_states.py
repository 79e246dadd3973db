"""One network drawn layer by layer, with its tangent kernel over all pairs of hidden neurons.

Given the activations s of a layer, the rows of the next layer's weights are independent and
Gaussian. A row is drawn in two parts: its products with the N vectors s_a, which are the
preactivations, and the rest, orthogonal to them:

    z = G^(1/2) u,    w = w_0 - E (E^T w_0) + E u,    E = s G^(-1/2),

u and w_0 standard normal, G the kernel of the layer, and w the weights in units of their standard
deviation, with the bias as one more of them. The law of w is that of its definition whatever s is.
Networks of different width can then share u, so that they have nearly the same preactivations
neuron by neuron, and what is linear in fluctuations cancels between them.

The tangent kernel of neurons k, l is carried as matrices H_ab (n, n), one a pair of inputs:

    H_ab <- (lambda_b + lambda_W s_a.s_b / n) 1 + W diag(s'_a) H_ab diag(s'_b) W^T.

Source: Roberts, Yaida and Hanin 2022, Eqs. 4.72 (conditional law) and 8.12 (forward equation of
the tangent kernel).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.ensemble.fluctuations._diagonal import apply_right

__all__ = ["Numbers", "State", "build_states", "next_state"]


@dataclass(frozen=True)
class Numbers:
    """What is not drawn: ``variances[l] = (C_b, C_W)`` and ``rates[l] = (lambda_b, lambda_W)``.

    Args:
        gram: x.x / n_0, (N, N).
        variances: (L + 1, 2).
        rates: (L + 1, 2).
    """

    gram: Any
    variances: Any
    rates: Any


@dataclass(frozen=True)
class State:
    """A hidden layer of one network.

    Args:
        values: s and its derivatives at the preactivations, each (N, n).
        tangent: H of the preactivations: (N, N, n, n), or (N, N, n) where it is diagonal; None
            where no weights were drawn.
        weights: W that produced the preactivations (n, n_below); None in layer 1.
        rate: lambda_W / n_below of these weights.
        u: the normal numbers of the preactivations, (N, n).
        basis: E^T of the module's formula, (N, n_below + 1); None in layer 1.
    """

    values: tuple[Any, ...]
    tangent: Any
    weights: Any
    rate: Any
    u: Any = None
    basis: Any = None

    @property
    def width(self) -> int:
        return self.values[0].shape[1]


def build_states(
    activation: ScalarFunction, numbers: Numbers, normals: Sequence[tuple[Any, Any]], order: int
) -> list[State]:
    """Hidden layers 1 ... L of one network, s differentiated `order` times.

    Args:
        activation: of the hidden layers.
        numbers: variances and learning rates.
        normals: by layer, u (N, n_l) and w_0 (n_l, n_(l-1) + 1), which is unused in layer 1; None
            for w_0 where the weights do not matter.
        order: 1 for the tangent kernel, 2 and 3 for its first and second differential.
    """
    states: list[State] = []
    for layer, (u, rest) in enumerate(normals):
        c_b, c_w = numbers.variances[layer]
        if layer == 0:
            root, _ = _roots(c_b + c_w * numbers.gram)
            z, weights, basis = root @ u, None, None
        else:
            s = states[-1].values[0]
            scale = jnp.sqrt(c_w / s.shape[1])
            bias = jnp.broadcast_to(jnp.sqrt(c_b), (s.shape[0], 1)).astype(s.dtype)
            extended = jnp.concatenate([scale * s, bias], axis=1)
            root, inverse = _roots(extended @ extended.T)
            z, basis, weights = root @ u, inverse @ extended, None
            if rest is not None:
                weights = scale * (rest + (u.T - rest @ basis.T) @ basis)[:, :-1]
        state = next_state(activation, numbers, states, z, weights, order)
        states.append(dataclasses.replace(state, u=u, basis=basis))
    return states


def next_state(
    activation: ScalarFunction,
    numbers: Numbers,
    below: Sequence[State],
    z: Any,
    weights: Any,
    order: int,
) -> State:
    """The layer with preactivations z (N, n) that `weights` and a bias made of the one below."""
    bias_lr, weight_lr = numbers.rates[len(below)]
    tangent = None
    if below and weights is None:
        rate = weight_lr / below[-1].width
    elif below:
        tangent = _next_tangent(below[-1], weights, bias_lr, weight_lr)
        rate = weight_lr / below[-1].width
    else:
        kernel = bias_lr + weight_lr * numbers.gram
        tangent = jnp.broadcast_to(kernel[:, :, None], (*kernel.shape, z.shape[1]))
        rate = weight_lr  # never used: preactivations of the first layer are linear in weights
    return State(_derivatives(activation, z, order), tangent, weights, rate)


def _next_tangent(below: State, weights: Any, bias_lr: Any, weight_lr: Any) -> Any:
    """H of the preactivations above: (N, N, n, n)."""
    s, slope = below.values[:2]
    left = weights * slope[:, None]  # (N, n, n_below): W diag(s'_a)
    moved = apply_right(left[:, None], below.tangent)  # W diag(s'_a) H_ab
    full = jnp.einsum("abij,bkj->abik", moved, left)
    own = bias_lr + weight_lr * (s @ s.T) / below.width
    return full + own[:, :, None, None] * jnp.eye(weights.shape[0], dtype=s.dtype)


def _roots(kernel: Any) -> tuple[Any, Any]:
    """The symmetric root of a semidefinite matrix and its inverse on the matrix's range."""
    values, vectors = jnp.linalg.eigh(kernel)
    floor = 64 * np.finfo(kernel.dtype).eps * values[-1]
    positive = values > floor
    root = jnp.sqrt(jnp.where(positive, values, 0))
    inverse = jnp.where(positive, 1 / jnp.where(positive, root, 1), 0)
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T


def _derivatives(activation: ScalarFunction, z: Any, order: int) -> tuple[Any, ...]:
    """s, s', ... at z."""
    functions = [activation]
    for _ in range(order):
        functions.append(_derivative(functions[-1]))
    return tuple(function(z) for function in functions)


def _derivative(function: Any) -> Any:
    return lambda z: jax.jvp(function, (z,), (jnp.ones_like(z),))[1]
