"""Coupled draws at a ladder of widths, reduced to one estimate of every observable a batch.

A draw holds the networks of a ladder: two of width n to one of width 2n, which takes the normal
numbers of both for its neurons. From every observable its linear part in the controls of
`_controls` is taken off, with coefficients that a pilot batch found; A and D are covariances of
kernels X = X_0 + beta.c + r, where c has known covariance:

    Cov(X, Y) = sum_l beta_X.beta_Y / n_l + E[r_X beta_Y.c + beta_X.c r_Y] + Cov(r_X, r_Y).

The tangent kernel in them is the one averaged over all weights that are free; to A, the covariance
of what the free weights add is added. Both are exact whatever the coefficients are, so a poor pilot
costs scatter and never truth.

Source: Giles and Szpruch 2014 (antithetic multilevel); the rest is derived here.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.ensemble._blocks import sum_blocks
from whydeep.ensemble.fluctuations._averages import conditional_means
from whydeep.ensemble.fluctuations._controls import averages, count
from whydeep.ensemble.fluctuations._expected_tangent import expected_tangents
from whydeep.ensemble.fluctuations._names import DIFFERENTIALS, derivatives_needed
from whydeep.ensemble.fluctuations._states import Numbers, build_states
from whydeep.network import Network
from whydeep.observables import component_indices, pair_indices, positions

__all__ = ["Fluctuations", "Ladder", "tensor_batches"]

# Whose covariance an observable is, over n.
_COVARIANCES = {"ntk_A": ("ntk", "ntk"), "ntk_D": ("kernel", "ntk")}
_WITHOUT_WEIGHTS = frozenset({"ntk", "ntk_D"})
_BLOCK_BYTES = 32 << 20
_MOST_LANES = 128
_MOST_BATCHES = 400
# The pilot costs an eighth of the draws, and enough for as many unknowns as there are controls.
_PILOT_SHARE = 8
_PILOT_DRAWS_A_CONTROL = 5
_FIRST_PILOT = 1 << 31

Sums = dict[str, Any]
Plan = list[dict[str, tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True)
class Ladder:
    """What compiled code depends on: hashable.

    Args:
        activation: of the hidden layers.
        size: N, the number of inputs.
        widths: n_1 ... n_L of the narrowest rung.
        rungs: networks of width n, 2n, 4n, ... in one draw.
        names: what to measure.
        tops: hidden layers (1 ... L) whose layer above is measured.
        lanes: draws side by side.
        dtype: of all arithmetic.
    """

    activation: ScalarFunction
    size: int
    widths: tuple[int, ...]
    rungs: int
    names: tuple[str, ...]
    tops: tuple[int, ...]
    lanes: int
    dtype: Any

    @property
    def means(self) -> tuple[str, ...]:
        """What is averaged over draws: observables that are means, and kernels for the others."""
        kernels = [k for name in self.names for k in _COVARIANCES.get(name, ())]
        direct = [name for name in self.names if name not in _COVARIANCES]
        return tuple(dict.fromkeys([*kernels, *direct]))

    @property
    def weighted(self) -> bool:
        """Whether weights have to be drawn."""
        return not set(self.names) <= _WITHOUT_WEIGHTS

    @property
    def controls(self) -> int:
        """How many controls a layer has."""
        return count(self.size, odd=self.activation.odd)

    def networks(self, rung: int) -> int:
        """How many networks of a rung a draw holds."""
        return 1 << (self.rungs - 1 - rung)


class Fluctuations:
    """The work of a measurement: a pilot, the plan that follows from it, and batches.

    Args:
        network: fully connected.
        x: inputs (N, n_0).
        names: what to measure.
        rungs: widths measured together.
        draws: networks of the widest rung, at least.
        seed: of all random numbers.
        layers: "all", or "output" for the last one only.
        kind: of the arithmetic.

    Attributes:
        count: how many batches, numbered from 1.
        each: draws of a batch.
        pilots: how many batches of the pilot, numbered from 0.
    """

    def __init__(
        self,
        network: Network,
        x: np.ndarray,
        names: tuple[str, ...],
        rungs: int,
        draws: int,
        seed: int,
        layers: str,
        kind: Any,
    ) -> None:
        tops = tuple(range(1, network.depth + 1)) if layers == "all" else (network.depth,)
        lanes = _lanes(network, len(x), names, rungs, draws, kind)
        self._ladder = Ladder(
            network.activation, len(x), network.widths, rungs, names, tops, lanes, kind
        )
        numbers = (
            x @ x.T / x.shape[1],
            [(d.bias_var, d.weight_var) for d in network.dense],
            network.learning_rates(x.shape[1]),
        )
        self._numbers = tuple(np.asarray(a, dtype=kind) for a in numbers)
        self._key = jax.random.fold_in(jax.random.key(seed & 0x7FFFFFFF), seed >> 31)
        blocks = math.ceil(draws / lanes)
        self._blocks = math.ceil(blocks / _MOST_BATCHES)
        self.count = math.ceil(blocks / self._blocks)
        self.each = self._blocks * lanes
        low = _PILOT_DRAWS_A_CONTROL * network.depth * self._ladder.controls
        self.pilots = math.ceil(max(draws // _PILOT_SHARE, low) / self.each)

    def pilot(self, batch: int) -> Sums:
        """Sums of a batch of the pilot."""
        return self._batch(_no_plan(self._ladder), _FIRST_PILOT + batch)

    def plan(self, pilots: list[Sums]) -> Plan:
        """What the pilot's sums say should be taken off."""
        sums = {name: np.sum([p[name] for p in pilots], axis=0) for name in pilots[0]}
        return _plan(self._ladder, sums, len(pilots) * self.each)

    def run(self, plan: Plan, batch: int) -> dict[str, np.ndarray]:
        """Estimates (rungs, layers, components) of a batch, by observable."""
        return _summarise(self._ladder, plan, self._batch(plan, batch), self.each)

    def _batch(self, plan: Plan, batch: int) -> Sums:
        numbers = np.uint32(batch), np.uint32(self._blocks)
        sums = _batch(self._ladder, self._numbers, plan, self._key, *numbers)
        return {name: np.asarray(value, dtype=np.float64) for name, value in sums.items()}


def _lanes(
    network: Network, size: int, names: tuple[str, ...], rungs: int, draws: int, kind: Any
) -> int:
    neurons = max(network.widths) << (rungs - 1)
    matrices = size**2 * 3
    if set(names) & set(DIFFERENTIALS):
        matrices += 10 * min(size**4, 16)
    one = matrices * neurons**2 * np.dtype(kind).itemsize
    # Two or more: a batch holds a covariance.
    wanted = min(max(_BLOCK_BYTES // one, 2), _MOST_LANES, max(draws // 100, 2))
    return 1 << int(math.log2(wanted))


@functools.partial(jax.jit, static_argnames=("ladder",))
def _batch(ladder: Ladder, numbers: Any, plan: Any, key: Any, batch: Any, blocks: Any) -> Sums:
    """Sums over `blocks` times `Ladder.lanes` draws."""
    key = jax.random.fold_in(key, batch)

    def block(index: Any) -> Sums:
        out: Sums = {}
        drawn = _draw(ladder, Numbers(*numbers), jax.random.fold_in(key, index))
        for rung, (values, controls) in enumerate(drawn):
            sums = _sums(ladder, values, controls, plan[rung])
            out |= {f"{name} {rung}": value for name, value in sums.items()}
        return out

    return sum_blocks(block, blocks)


def _draw(ladder: Ladder, numbers: Numbers, key: Any) -> list[tuple[dict[str, Any], Any]]:
    """Values (lanes, networks, tops, components) and controls (lanes, networks, L, p) by rung."""
    order = derivatives_needed(ladder.names)

    drawn = [name for name in ladder.means if name != "ntk"]
    if "ntk_A" in ladder.names:
        drawn.append("drawn ntk")
    pairs = pair_indices(ladder.size)

    def one(normals: Any) -> tuple[dict[str, Any], Any]:
        normals = [(jnp.swapaxes(u, 0, 1), rest) for u, rest in normals]
        states = build_states(ladder.activation, numbers, normals, order)
        tops = [
            conditional_means(states[:top], numbers.variances[top], numbers.rates[top], drawn)
            for top in ladder.tops
        ]
        values = {name: jnp.stack([t[name] for t in tops]) for name in drawn}
        if "ntk" in ladder.means:
            expected = expected_tangents(numbers, states)
            values["ntk"] = jnp.stack([expected[top - 1][pairs] for top in ladder.tops])
        odd = ladder.activation.odd
        return values, jnp.stack([averages(u, odd=odd) for u, _ in normals])

    return [jax.vmap(jax.vmap(one))(normals) for normals in _normals(ladder, key)]


def _normals(ladder: Ladder, key: Any) -> list[list[tuple[Any, Any]]]:
    """By rung and layer, u (lanes, networks, n_l, N) and w_0 (lanes, networks, n_l, n_below + 1).

    All numbers come from one call: a call an array would take as long to compile as all the rest.
    """
    shared = [(width << (ladder.rungs - 1), ladder.size) for width in ladder.widths]
    own = [
        (ladder.networks(rung), above << rung, (below << rung) + 1)
        for rung in range(ladder.rungs if ladder.weighted else 0)
        for below, above in itertools.pairwise(ladder.widths)
    ]
    sizes = [math.prod(shape) for shape in (*shared, *own)]
    numbers = jax.random.normal(key, (ladder.lanes, sum(sizes)), ladder.dtype)
    parts = iter(jnp.split(numbers, np.cumsum(sizes)[:-1], axis=1))
    us = [next(parts) for _ in shared]
    out = []
    for rung in range(ladder.rungs):
        nets = ladder.networks(rung)
        normals = []
        for layer, (width, u) in enumerate(zip(ladder.widths, us, strict=True)):
            neurons = width << rung
            below = (ladder.widths[layer - 1] << rung) + 1 if layer else 0
            shape = (ladder.lanes, nets, neurons, below)
            rest = next(parts).reshape(shape) if layer and ladder.weighted else None
            normals.append((u.reshape(ladder.lanes, nets, neurons, ladder.size), rest))
        out.append(normals)
    return out


def _sums(
    ladder: Ladder, values: dict[str, Any], controls: Any, plan: dict[str, tuple[Any, Any]]
) -> Sums:
    """Sums of what is left of every value without its linear part, and products for A and D."""
    einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    flat = controls.reshape(*controls.shape[:2], -1)
    nets = flat.shape[1]
    out = {"controls": flat.mean(1).sum(0), "gram": einsum("tmc,tmd->cd", flat, flat) / nets}
    left, linear = {}, {}
    for name in ladder.means:
        center, slopes = plan[name]
        linear[name] = einsum("kcp,tmp->tmkc", slopes, flat)
        left[name] = values[name] - center - linear[name]
        out[f"sum {name}"] = left[name].mean(1).sum(0)
        out[f"product {name}"] = einsum("tmkc,tmp->kcp", left[name], flat) / nets
    for name in ladder.names:
        if name in _COVARIANCES:
            x, y = _COVARIANCES[name]
            out[f"rest {name}"] = einsum("tmkp,tmkq->kpq", left[x], left[y]) / nets
            out[f"cross {name}"] = (
                einsum("tmkp,tmkq->kpq", left[x], linear[y])
                + einsum("tmkp,tmkq->kpq", linear[x], left[y])
            ) / nets
    if "ntk_A" in ladder.names:
        free = values["drawn ntk"] - values["ntk"]
        out["free ntk_A"] = einsum("tmkp,tmkq->kpq", free, free) / nets
    return out


def _no_plan(ladder: Ladder) -> Plan:
    """The plan of the pilot: nothing is taken off."""
    one = {}
    for name in ladder.means:
        count = len(component_indices(name, ladder.size))
        shape = (len(ladder.tops), count)
        controls = len(ladder.widths) * ladder.controls
        one[name] = np.zeros(shape, ladder.dtype), np.zeros((*shape, controls), ladder.dtype)
    return [one] * ladder.rungs


def _plan(ladder: Ladder, sums: Sums, draws: int) -> Plan:
    """By rung and name, the centre (tops, components) and coefficients (tops, components, L p).

    Coefficients by least squares: their noise is that of what they leave, which is small.
    """
    every = {name: value / draws for name, value in sums.items()}
    plan = []
    for rung in range(ladder.rungs):
        controls = every[f"controls {rung}"]
        matrix = every[f"gram {rung}"] - np.outer(controls, controls)
        one = {}
        for name in ladder.means:
            center = every[f"sum {name} {rung}"]
            product = every[f"product {name} {rung}"] - center[..., None] * controls
            slopes = np.linalg.solve(matrix, product.reshape(-1, len(controls)).T).T
            slopes = slopes.reshape(product.shape)
            constant = center - slopes @ controls
            one[name] = constant.astype(ladder.dtype), slopes.astype(ladder.dtype)
        plan.append(one)
    return plan


def _summarise(ladder: Ladder, plan: Plan, sums: Sums, draws: int) -> dict[str, np.ndarray]:
    """Estimates (rungs, tops, components) of every observable from the sums of one batch."""
    every = {name: value / draws for name, value in sums.items()}
    out: dict[str, list[np.ndarray]] = {name: [] for name in ladder.names}
    widths = np.asarray(ladder.widths)
    for rung in range(ladder.rungs):
        centers = {n: np.asarray(c, dtype=np.float64) for n, (c, _) in plan[rung].items()}
        slopes = {n: np.asarray(s, dtype=np.float64) for n, (_, s) in plan[rung].items()}
        neurons = np.repeat(widths << rung, ladder.controls)
        trials = draws * ladder.networks(rung)
        for name in ladder.names:
            if name not in _COVARIANCES:
                out[name].append(centers[name] + every[f"sum {name} {rung}"])
                continue
            x, y = _COVARIANCES[name]
            means = every[f"sum {x} {rung}"], every[f"sum {y} {rung}"]
            rest = every[f"rest {name} {rung}"] - means[0][:, :, None] * means[1][:, None]
            known = np.einsum("kpc,kqc->kpq", slopes[x] / neurons, slopes[y])
            covariance = known + every[f"cross {name} {rung}"] + rest * trials / (trials - 1)
            if name == "ntk_A":
                covariance = covariance + every[f"free {name} {rung}"]
            below = (widths[np.asarray(ladder.tops) - 1] << rung)[:, None]
            out[name].append(below * _quadruples(name, covariance, ladder.size))
    return {name: np.stack(values) for name, values in out.items()}


def _quadruples(name: str, pairs: np.ndarray, size: int) -> np.ndarray:
    """The components (tops, components) of a matrix over pairs of inputs (tops, P, P)."""
    place = positions("kernel", size)
    a, b, c, d = component_indices(name, size).T
    return pairs[:, place[a, b], place[c, d]]


def tensor_batches(
    results: list[dict[str, np.ndarray]], first: dict[str, np.ndarray] | None
) -> dict[str, np.ndarray]:
    """Batch estimates (rungs, batches, layers, components).

    Args:
        results: by batch, of `Fluctuations.run`.
        first: what stands in the first layer, 0 for what is not named; None to leave it out.
    """
    out = {}
    for name in results[0]:
        values = np.stack([r[name] for r in results], axis=1)
        if first is not None:
            start = np.zeros_like(values[:, :, :1]) + first.get(name, 0.0)
            values = np.concatenate([start, values], axis=2)
        out[name] = values
    return out
