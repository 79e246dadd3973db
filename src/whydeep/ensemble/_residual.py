"""Draws of fully connected residual networks at initialisation: kernels and four-point vertices.

Given the preactivations z of one layer, those of the next are z'_i = gamma z_i + xi_i with xi_i
independent across neurons, of covariance g_ab = C_b + (C_W / n) sum_j s(z_ja) s(z_jb): exact in
law, n N numbers a layer instead of n^2 weights. Averages over the numbers xi of the last layer
looked at are exact too: with m_i = g + gamma^2 z_i z_i^T,

    E[z'_ia z'_ib z'_jc z'_jd | z] = m_i;ab m_j;cd,    i != j.
"""

from __future__ import annotations

import math
import time
from typing import Any

import jax
import numpy as np

from whydeep.arguments import SEED, check_time, count, takes
from whydeep.data import INPUTS
from whydeep.ensemble._measure import FEWEST_DRAWS, MOST_RUNGS
from whydeep.ensemble._measurement import Measurement
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import NETWORK, Network, ResidualChain, residual_chain
from whydeep.observables import pair_indices, quadruple_indices
from whydeep.progress import progress_bar

__all__ = ["measure_residual"]

_BATCHES = 100
_MOST_INPUTS = 20
_BLOCK = 1 << 20  # preactivations held at once


@takes(
    network=NETWORK, inputs=INPUTS, draws=count(FEWEST_DRAWS), seed=SEED, rungs=count(1, MOST_RUNGS)
)
def measure_residual(
    network: Network, inputs: Any, *, draws: int = 20_000, seed: int = 0, rungs: int = 3
) -> Measurement:
    """Draw residual networks and measure their kernels and vertices at a ladder of widths.

    Args:
        network: from `whydeep.residual_mlp`, or any graph z^(l+1) = b + W s(z^(l)) + gamma z^(l).
        inputs: (N, n_0).
        draws: networks of every width; rounded up to 100 batches of equally many.
        seed: makes everything reproducible.
        rungs: widths: the network's own, twice that, four times, ...

    Returns:
        A `Measurement` of ``kernel`` and ``four_point`` in the scaling of `whydeep.measure`.

    Raises:
        InputError: bad inputs or numbers, more than 20 inputs.
        UnsupportedError: another kind of network; values that overflow.

    Accuracy: unbiased at every width; float64. Cost: ``draws * 2^rungs * n * N * L`` normal
    numbers.

    Source: the definition of the network; ``whydeep.ensemble._residual`` for the sampler.

    Example:
        >>> from whydeep.network import residual_mlp
        >>> net = residual_mlp(3, 16, "relu", skip=0.9)
        >>> measured = measure_residual(net, [[1.0, 1.0]], draws=2000, rungs=1)
        >>> measured["four_point"].dims[0], measured["four_point"].shape
        ('layer', (4, 1, 1, 1, 1))
    """
    begin = time.perf_counter()
    x = inputs
    if len(x) > _MOST_INPUTS:
        raise InputError(
            "The vertex of this many inputs has too many entries to measure.",
            received=f"{len(x)} inputs",
            needed=f"at most {_MOST_INPUTS}: it has N^4 entries a layer",
        )
    layers = residual_chain(network)
    network.shapes(x.shape[1:])  # refuses layers that do not fit
    # Every neuron's value is drawn and bent, at 1e10 a second.
    check_time(
        1e-10 * draws * len(x) * (sum(layers.widths) << (rungs - 1)), "This many draws",
        received=f"draws={draws}, rungs={rungs}", suggestion="fewer draws, or fewer widths",
    )  # fmt: skip
    each = max(math.ceil(draws / _BATCHES), 2)
    # Compiled once a shape; the user's 64-bit switch stays where it is.
    image = jax.jit(lambda z: layers.activation(z))  # noqa: PLW0108 -- jit wants a function
    kernels, vertices = [], []
    with (
        progress_bar("measuring a residual network", rungs * _BATCHES) as advance,
        jax.enable_x64(True),  # noqa: FBT003 -- JAX's own signature
    ):
        for rung in range(rungs):
            wide = layers.widened(1 << rung)
            found = []
            for batch in range(_BATCHES):
                rng = np.random.default_rng([seed, rung, batch])
                found.append(_batch(wide, x, each, image, rng))
                advance()
            kernels.append(np.stack([k for k, _ in found]))
            vertices.append(np.stack([v for _, v in found]))
    batches = {"kernel": np.stack(kernels), "four_point": np.stack(vertices)}
    if not all(np.all(np.isfinite(b)) for b in batches.values()):
        raise UnsupportedError(
            "The preactivations of this network overflow.",
            received=repr(network),
            suggestion="smaller variances and skips, fewer layers, or inputs of unit scale",
        )
    every = tuple(range(1, len(layers.dense) + 1))
    return Measurement(
        network=network,
        inputs=x,
        batches=batches,
        layers=dict.fromkeys(batches, every),
        draws=each * _BATCHES,
        seed=seed,
        sampler="conditional",
        dtype="float64",
        seconds=time.perf_counter() - begin,
    )


def _batch(
    layers: ResidualChain, x: np.ndarray, draws: int, image: Any, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Kernels (layers, pairs) and vertices (layers, pairs of pairs) of one batch of networks."""
    widths = layers.widths
    size = len(x)
    block = max(1, _BLOCK // (max(widths) * size))
    sums = [_Sums(size) for _ in widths]
    for start in range(0, draws, block):
        _draw_block(layers, x, min(block, draws - start), image, rng, sums)
    rows, cols = pair_indices(size)
    one, two = quadruple_indices(size)
    first = layers.dense[0]
    exact = first.bias_var + first.weight_var * x @ x.T / x.shape[1]
    kernels = np.stack([exact[rows, cols], *(s.mean() for s in sums)])
    zero = np.zeros((rows.size, rows.size))
    scaled = [n * s.vertex() for n, s in zip(widths, sums, strict=True)]
    return kernels, np.stack([zero, *scaled])[:, one, two]


def _draw_block(
    layers: ResidualChain,
    x: np.ndarray,
    draws: int,
    image: Any,
    rng: np.random.Generator,
    sums: list[_Sums],
) -> None:
    size = len(x)
    first = layers.dense[0]
    g = np.broadcast_to(
        first.bias_var + first.weight_var * x @ x.T / x.shape[1], (draws, size, size)
    )
    z = np.zeros((draws, layers.widths[0], size))
    skip = 0.0
    steps = zip(layers.dense[1:], layers.skips[1:], layers.widths, sums, strict=True)
    for dense, after, width, total in steps:
        fresh = rng.standard_normal((draws, width, size)) @ _root(g).transpose(0, 2, 1)
        z = fresh + skip * z if skip else fresh
        s = np.asarray(image(z))
        g = dense.bias_var + dense.weight_var / width * s.transpose(0, 2, 1) @ s
        total.add(g, after**2, z)
        skip = after


def _root(g: np.ndarray) -> np.ndarray:
    """A with A A^T = g for any positive semidefinite g, dependent inputs included."""
    if g.shape[-1] == 1:
        return np.sqrt(g)
    values, vectors = np.linalg.eigh(g)
    return vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]


class _Sums:
    """Over draws: the mean over i of m_i, and the mean over i != j of m_i m_j."""

    def __init__(self, size: int) -> None:
        self.pairs = pair_indices(size)
        count = self.pairs[0].size
        self.draws = 0
        self.first = np.zeros(count)
        self.square = np.zeros((count, count))
        self.product = np.zeros((count, count))

    def add(self, g: np.ndarray, share: float, z: np.ndarray) -> None:
        rows, cols = self.pairs
        common = g[:, rows, cols]
        mean, product = common, common.T @ common
        if share:
            n = z.shape[1]
            own = share * z[:, :, rows] * z[:, :, cols]
            total = own.sum(axis=1)
            mean = common + total / n
            cross = common.T @ total / n
            flat = own.reshape(-1, rows.size)
            apart = (total.T @ total - flat.T @ flat) / (n * (n - 1))
            product = product + cross + cross.T + apart
        self.draws += len(g)
        self.first += mean.sum(axis=0)
        self.square += mean.T @ mean
        self.product += product

    def mean(self) -> np.ndarray:
        return self.first / self.draws

    def vertex(self) -> np.ndarray:
        """The mean product less an unbiased estimate of the squared mean, from pairs of draws."""
        count = self.draws
        apart = (np.outer(self.first, self.first) - self.square) / (count * (count - 1))
        return self.product / count - apart
