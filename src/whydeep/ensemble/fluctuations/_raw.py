"""The observables straight from their definitions: two output neurons, automatic derivatives.

The oracle of everything else in this room. Every parameter is drawn, nothing is averaged, and

    v_ja = lambda dz_ja,    u_ia;jb = d(v_jb . dz_ia) at fixed v,

are vectors over all parameters: dH_ijk;abc = u_ia;jb . v_kc, ddII_ijkl;abcd is the product of
u_ia;kc with u_jb;ld, and ddI a third derivative along three directions. Cost: N^3 passes through
the network with all its parameters, and errors as large as those of single networks: for widths of
some ten neurons.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from whydeep.ensemble._blocks import sum_blocks
from whydeep.ensemble._plain import draw_parameters, preactivations
from whydeep.network import Network, chain
from whydeep.observables import component_indices

__all__ = ["prepare_raw", "raw_values"]

_LANES = 32
_MOST_BATCHES = 400


def prepare_raw(
    network: Network,
    x: np.ndarray,
    names: tuple[str, ...],
    rungs: int,
    draws: int,
    seed: int,
    kind: Any,
) -> tuple[Callable[[int], dict[str, np.ndarray]], int, int]:
    """The function that draws batch 1, 2, ..., how many there are, and the draws of each."""
    lanes = min(_LANES, max(draws // 100, 2))
    blocks = math.ceil(draws / lanes)
    per_batch = math.ceil(blocks / _MOST_BATCHES)
    count = math.ceil(blocks / per_batch)
    points = np.asarray(x, dtype=kind)
    parts = [
        _truncated(network.scaled(1 << rung, x.shape[1]), top)
        for rung in range(rungs)
        for top in range(1, network.depth + 1)
    ]
    trials = per_batch * lanes
    for part in parts:  # compiled here, once, and not by every thread that needs it
        _batch(part, names, lanes, points, jax.random.key(0), np.uint32(0))

    def run(batch: int) -> dict[str, np.ndarray]:
        found = []
        for number, part in enumerate(parts):
            key = jax.random.fold_in(jax.random.key(seed % 2**31), batch * len(parts) + number)
            sums = _batch(part, names, lanes, points, key, np.uint32(per_batch))
            found.append(_summarise(names, sums, trials, part.widths[-1]))
        shape = (rungs, network.depth, -1)
        return {name: np.stack([f[name] for f in found]).reshape(shape) for name in names}

    return run, count, trials


def _truncated(network: Network, top: int) -> Network:
    """Layers 1 to top + 1, the last one with two neurons."""
    layers = network.layers[: 2 * top]
    return chain(*layers, dataclasses.replace(network.dense[top], width=2))


@functools.partial(jax.jit, static_argnames=("network", "names", "lanes"))
def _batch(
    network: Network, names: tuple[str, ...], lanes: int, x: Any, key: Any, blocks: Any
) -> dict[str, Any]:
    def block(index: Any) -> dict[str, Any]:
        keys = jax.random.split(jax.random.fold_in(key, index), lanes)
        values = jax.vmap(lambda k: raw_values(network, x, k, names))(keys)
        return {name: value.sum(0) for name, value in values.items()}

    return sum_blocks(block, blocks)


def raw_values(network: Network, x: Any, key: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The products whose means, or covariances, are the observables over n, of one network.

    For ntk_A and ntk_D three arrays: "left", "right" and their product.
    """
    raw = _Raw(network, x, draw_parameters(network, x.shape[1], key, x.dtype))
    out: dict[str, Any] = {}
    for name in names:
        axes = component_indices(name, x.shape[0]).T
        if name in ("ntk_A", "ntk_D"):
            first = raw.tangent[0, 0] if name == "ntk_A" else jnp.outer(raw.z[0], raw.z[0])
            left, right = first[axes[0], axes[1]], raw.tangent[1, 1][axes[2], axes[3]]
            out |= {f"{name} left": left, f"{name} right": right, name: left * right}
        else:  # the same under an exchange of the two neurons: both orders are used
            out[name] = (raw.product(name, 0, 1, axes) + raw.product(name, 1, 0, axes)) / 2
    return out


class _Raw:
    """One network with two outputs, and the derivatives of its outputs at one set of parameters."""

    def __init__(self, network: Network, x: Any, drawn: Any) -> None:
        self.parameters, unravel = ravel_pytree(drawn)
        rates = [
            (
                jnp.full(w.shape, weight_lr / w.shape[1], x.dtype),
                jnp.full(b.shape, bias_lr, x.dtype),
            )
            for (w, b), (bias_lr, weight_lr) in zip(
                drawn, network.learning_rates(x.shape[1]), strict=True
            )
        ]
        self.rates = ravel_pytree(rates)[0]
        self.outputs: Callable[[Any], Any] = lambda flat: (
            preactivations(network, unravel(flat), x)[-1].T
        )

    @functools.cached_property
    def z(self) -> Any:
        """The outputs (2, N)."""
        return self.outputs(self.parameters)

    @functools.cached_property
    def first(self) -> Any:
        """dz, (2, N, parameters)."""
        return jax.jacrev(self.outputs)(self.parameters)

    @functools.cached_property
    def along(self) -> Any:
        """The directions v = lambda dz, (2, N, parameters)."""
        return self.rates * self.first

    @functools.cached_property
    def tangent(self) -> Any:
        """H_ij;ab, (2, 2, N, N)."""
        return jnp.einsum("iap,jbp->ijab", self.along, self.first)

    @functools.cached_property
    def second(self) -> Any:
        """u_ia;jb, (2, N, 2, N, parameters)."""
        gradient = jax.jacrev(self.outputs)
        directions = self.along.reshape(-1, self.along.shape[-1])
        found = jax.vmap(lambda v: jax.jvp(gradient, (self.parameters,), (v,))[1])(directions)
        return jnp.moveaxis(found.reshape(*self.first.shape[:2], *self.first.shape), (0, 1), (2, 3))

    def third(self, neuron: int, samples: Any, directions: tuple[Any, Any, Any]) -> Any:
        """d3z_ia along three directions, each (components, parameters), for every component."""

        def one(sample: Any, first: Any, second: Any, third: Any) -> Any:
            def along_first(flat: Any) -> Any:
                return jax.jvp(self.outputs, (flat,), (first,))[1]

            def along_both(flat: Any) -> Any:
                return jax.jvp(along_first, (flat,), (second,))[1]

            return jax.jvp(along_both, (self.parameters,), (third,))[1][neuron, sample]

        return jax.vmap(one)(samples, *directions)

    def product(self, name: str, i: int, j: int, axes: Any) -> Any:
        """The product behind an observable, for its neurons i, j and samples `axes`."""
        a, b, c, d = axes
        v, u, tangent = self.along, self.second, self.tangent
        if name == "ntk_B":
            return tangent[i, j][a, c] * tangent[i, j][b, d]
        if name == "ntk_F":
            return self.z[i, a] * self.z[j, c] * tangent[i, j][b, d]
        if name == "dntk_P":
            return jnp.sum(u[i, a, j, b] * v[j, c], -1) * self.z[i, d]
        if name == "dntk_Q":
            return jnp.sum(u[i, a, i, b] * v[j, c], -1) * self.z[j, d]
        if name == "ddntk_R":
            return self.third(i, a, (v[i, b], v[j, c], v[j, d]))
        if name == "ddntk_S":
            left, right = u[i, a, j, c], u[i, b, j, d]
        elif name == "ddntk_T":
            left, right = u[i, a, i, b], u[j, d, j, c]
        else:  # ddntk_U
            left, right = u[i, a, j, d], u[j, c, i, b]
        return jnp.sum(self.rates * left * right, -1)


def _summarise(
    names: tuple[str, ...], sums: dict[str, Any], trials: int, width: int
) -> dict[str, np.ndarray]:
    means = {name: np.asarray(value, dtype=np.float64) / trials for name, value in sums.items()}
    out = {}
    for name in names:
        value = means[name]
        if f"{name} left" in means:
            product = means[f"{name} left"] * means[f"{name} right"]
            value = (value - product) * trials / (trials - 1)
        out[name] = width * value
    return out
