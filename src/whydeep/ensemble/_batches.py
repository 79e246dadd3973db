"""From draws to batch estimates: means and covariances of one batch, as sums that never grow.

A batch is some hundreds of draws reduced to one estimate of every observable. Batches are
independent, so their scatter gives standard errors and covariances of anything that is linear in
them, with no assumption on the law of a draw.

The vertex at width n is n times the covariance of two entries of the conditional kernel. On a
ladder, a network of width 2n shares its numbers with two *independent* networks A and B of width
n, and its kernel is close to their mean; the covariance of A with B, which is known to vanish, is
measured on the same draws and subtracted. This is exact (its expectation is zero), and removes
most of the noise of the differences between widths.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.ensemble._blocks import sum_blocks
from whydeep.ensemble._conditional import Plan, Shape, draw_kernels, draw_tangent_kernels
from whydeep.ensemble._normals import key_of
from whydeep.ensemble._plain import draw_plain, draw_plain_tangent_kernels
from whydeep.network import Network

__all__ = ["DENSITY_POINTS", "Work", "conditional_batch", "plain_batch", "summarise"]

# Where the density of an output preactivation is measured, in standard deviations.
DENSITY_POINTS = np.linspace(-5.0, 5.0, 101)
_SHARPEST = 1e-4


@dataclass(frozen=True)
class Work:
    """What a batch is to compute: hashable, part of what compiled code depends on.

    Args:
        vertex: whether second moments of the kernels are wanted.
        tops: hidden layers above which tangent kernels are wanted; empty for none.
        average_last: for plain draws: average each layer exactly over its own weights.
    """

    vertex: bool
    tops: tuple[int, ...]
    average_last: bool = True


@functools.partial(jax.jit, static_argnames=("shape", "work"))
def conditional_batch(
    shape: Shape, work: Work, blocks: Any, numbers: tuple[Any, Any, Any], center: Any,
    seed: Any, batch: Any,
) -> dict[str, Any]:  # fmt: skip
    """Sums over the draws of one batch of the conditional sampler: `blocks` times `Shape.lanes`.

    `center` (rungs, L, P) is subtracted from kernels, so that float32 sums of squares keep their
    digits; it comes from a pilot batch of the same ensemble.
    """
    plan = Plan(shape, *numbers)

    def block(index: Any) -> dict[str, Any]:
        key = key_of(seed, batch * blocks + index)
        if work.tops:
            kernels, tangents = draw_tangent_kernels(plan, key, work.tops)
        else:
            kernels, tangents = draw_kernels(plan, key), ()
        out: dict[str, Any] = {}
        deviations = [k - center[r][:, :, None, None] for r, k in enumerate(kernels)]
        for rung, d in enumerate(deviations):
            out[f"sum{rung}"] = d.sum(-1)
            if work.vertex:
                out[f"square{rung}"] = jnp.einsum("lpmt,lqmt->lmpq", d, d)
                if rung:
                    narrow = deviations[rung - 1]
                    out[f"cross{rung}"] = jnp.einsum(
                        "lpmt,lqmt->lmpq", narrow[:, :, ::2], narrow[:, :, 1::2]
                    )
        for rung, tangent in enumerate(tangents):
            out[f"tangent{rung}"] = tangent.mean(-2).sum(-1)
        # The output preactivation of the first input is Gaussian given the layer below: its
        # density is the mean of Gaussian densities, in units of the pilot's standard deviation.
        # A narrow relu network may die: the floor stands for a density too sharp for the grid.
        variance = jnp.maximum(kernels[0][-1, 0] / center[0][-1, 0], _SHARPEST)
        points = jnp.asarray(DENSITY_POINTS, shape.dtype)[:, None, None]
        density = jnp.exp(-(points**2) / (2 * variance)) / jnp.sqrt(2 * np.pi * variance)
        out["density"] = density.mean(-2).sum(-1)
        return out

    return sum_blocks(block, blocks)


@functools.partial(jax.jit, static_argnames=("network", "work", "lanes"))
def plain_batch(
    network: Network,
    work: Work,
    lanes: int,
    blocks: Any,
    x: Any,
    center: Any,
    seed: Any,
    batch: Any,
) -> dict[str, Any]:
    """The same sums for one network of the plain sampler (one rung, one network a draw)."""

    def block(index: Any) -> dict[str, Any]:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), batch), index)
        keys = jax.random.split(key, lanes)
        kernels, fourth = jax.vmap(
            functools.partial(draw_plain, network, x, average_last=work.average_last)
        )(keys)
        d = kernels - center[0]
        out = {"sum0": d.sum(0)[:, :, None]}
        if work.vertex:
            out["square0"] = jnp.einsum("tlp,tlq->lpq", d, d)[:, None]
        if work.vertex and not work.average_last:
            out["fourth0"] = fourth.sum(0)
        if work.tops:
            tangent = functools.partial(draw_plain_tangent_kernels, network, x, tops=work.tops)
            out["tangent0"] = jax.vmap(tangent)(keys).sum(0)
        return out

    return sum_blocks(block, blocks)


def summarise(
    sums: dict[str, Any], center: np.ndarray, draws: int, widths: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """The estimates of one batch: kernels, vertices, tangent kernels and density by rung.

    Args:
        sums: of `conditional_batch` or `plain_batch`.
        center: what was subtracted from kernels, (rungs, L, P).
        draws: in the batch.
        widths: of hidden layers 1 ... L on the first rung.

    Returns:
        "kernel" (rungs, L, P), and where asked for "four_point" (rungs, L, P, P), "ntk" (rungs,
        tops, P), "density" (points,).
    """
    values = {name: np.asarray(value, dtype=np.float64) for name, value in sums.items()}
    rungs = len(center)
    means = [values[f"sum{r}"] / draws for r in range(rungs)]
    out = {"kernel": np.stack([center[r] + means[r].mean(-1) for r in range(rungs)])}
    if "square0" in values:
        vertices = []
        known = np.zeros(1)
        for rung in range(rungs):
            first = np.moveaxis(means[rung], 1, 2)  # (L, nets, P)
            covariance = _covariance(values[f"square{rung}"], first, first, draws).mean(1)
            if rung:
                narrow = np.moveaxis(means[rung - 1], 1, 2)
                cross = _covariance(
                    values[f"cross{rung}"], narrow[:, ::2], narrow[:, 1::2], draws
                ).mean(1)
                known = (cross + np.swapaxes(cross, 1, 2)) / 4 + known / 2
            scale = np.asarray(widths, dtype=np.float64)[:, None, None] * (1 << rung)
            if "fourth0" in values:
                # Pairs of different neurons: E[z z z z] minus the product of the means, whose own
                # sampling error within the batch is removed by the covariance of the mean.
                shifted = center[0] + means[0][..., 0]
                product = shifted[:, :, None] * shifted[:, None] - covariance / draws
                covariance = values["fourth0"] / draws - product
            vertices.append(scale * (covariance - known))
        out["four_point"] = np.stack(vertices)
    if "tangent0" in values:
        out["ntk"] = np.stack([values[f"tangent{r}"] / draws for r in range(rungs)])
    if "density" in values:
        out["density"] = values["density"] / draws
    return out


def _covariance(product: np.ndarray, left: np.ndarray, right: np.ndarray, draws: int) -> np.ndarray:
    """Unbiased covariances (L, nets, P, P) from sums of products and the two means."""
    return (product - draws * left[..., :, None] * right[..., None, :]) / (draws - 1)
