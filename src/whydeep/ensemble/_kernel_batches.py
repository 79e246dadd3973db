"""Kernels, tangent kernels and vertices of drawn networks: batches of one sampler or the other."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from whydeep.arguments import check_memory
from whydeep.ensemble._batches import (
    DENSITY_POINTS,
    Work,
    conditional_batch,
    plain_batch,
    summarise,
)
from whydeep.ensemble._blocks import Run, all_batches, check_finite
from whydeep.ensemble._choices import Sampling
from whydeep.ensemble._conditional import Shape
from whydeep.ensemble._measurement import Density
from whydeep.errors import InputError
from whydeep.network import Network
from whydeep.observables import pair_indices, quadruple_indices

__all__ = ["kernel_batches", "slopes"]

_MOST_BATCHES = 400
# Draws side by side: as many as keep the numbers of a block in the processor's cache.
_BLOCK_BYTES = 4 << 20
_LANES = (16, 128)
_MOST_BLOCKS = 2**32
_VALUES_OF_A_CALL = 1 << 30


def kernel_batches(
    how: Sampling, names: list[str]
) -> tuple[dict[str, np.ndarray], Density | None, int]:
    """Kernels, tangent kernels, vertices and corrections; the density; how many draws."""
    depth = how.network.depth
    tops: tuple[int, ...] = ()
    if {"ntk", "ntk_correction"} & set(names):
        tops = tuple(range(1, depth + 1)) if how.layers == "all" else (depth,)
    lanes = _lanes(how.network, len(how.x), how.rungs, how.draws, how.kind, tangent=bool(tops))
    blocks = math.ceil(how.draws / lanes)
    if blocks >= _MOST_BLOCKS:  # they are numbered by 32 bits, from which their draws follow
        raise InputError(
            "These are more draws than there are.", received=f"draws={how.draws}",
            needed=f"fewer than {_MOST_BLOCKS * lanes:.0e}",
        )  # fmt: skip
    per_batch = math.ceil(blocks / _MOST_BATCHES)
    # A call of compiled code answers no Ctrl-C: it is done within seconds.
    neurons = len(how.x) * sum(how.network.widths) << (how.rungs - 1)
    pieces = math.ceil(per_batch / max(_VALUES_OF_A_CALL // (lanes * neurons), 1))
    per_batch = math.ceil(per_batch / pieces) * pieces
    count = math.ceil(blocks / per_batch)
    work = Work("four_point" in names, tops, how.average_last)
    prepare = _prepare_conditional if how.sampler == "conditional" else _prepare_plain
    run = prepare(
        how.network, how.x, how.rungs, lanes, (per_batch // pieces, pieces), work, how.seed,
        how.kind,
    )  # fmt: skip
    results = all_batches(run, count, f"measuring {', '.join(names)}", wide=how.wide)
    batches = _assemble(how.network, how.x, names, results, how.layers)
    spread = results[0].get("unit")
    density = None
    if spread is not None:
        values = np.stack([r["density"] for r in results])
        density = Density(
            DENSITY_POINTS, float(spread), values.mean(0), values.std(0, ddof=1) / math.sqrt(count)
        )
    return batches, density, count * per_batch * lanes


def slopes(network: Network, means: np.ndarray) -> np.ndarray:
    """Twice the difference of means (rungs, batches, layers, P) at widths n and 2n, times n.

    The layers are the last ones: n is the width of the layer below each, and nothing varies in the
    first.
    """
    widths = np.array([1, *network.widths], dtype=np.float64)[-means.shape[2] :, None]
    factors = np.array([1 << rung for rung in range(len(means) - 1)])
    return 2 * factors[:, None, None, None] * widths * (means[:-1] - means[1:])


def _lanes(network: Network, size: int, rungs: int, draws: int, kind: Any, *, tangent: bool) -> int:
    # Forward numbers live for one layer; a backward pass keeps s, s' and u of every layer.
    arrays = 3 * rungs * network.depth if tangent else 1
    neurons = max(network.widths) << (rungs - 1)
    one = size * neurons * np.dtype(kind).itemsize * arrays
    low, high = _LANES
    check_memory(
        low * one, "The values of the fewest draws side by side",
        received=f"{low} draws, {size:,} inputs, {neurons:,} neurons a layer",
        suggestion="a smaller width, fewer rungs or inputs",
    )  # fmt: skip
    wanted = min(max(_BLOCK_BYTES // one, low), high, max(draws // 100, low))
    return 1 << int(math.log2(wanted))


def _prepare_conditional(
    network: Network, x: np.ndarray, rungs: int, lanes: int, calls: tuple[int, int], work: Work,
    seed: int, kind: Any,
) -> Run:  # fmt: skip
    shape = Shape(network.activation, len(x), network.widths, rungs, lanes, kind)
    with np.errstate(over="ignore"):  # what overflows is refused with what was drawn
        numbers = tuple(
            np.asarray(a, dtype=kind)
            for a in (
                x @ x.T / x.shape[1],
                [(d.bias_var, d.weight_var) for d in network.dense],
                network.learning_rates(x.shape[1]),
            )
        )
    pairs = len(x) * (len(x) + 1) // 2
    seeds = (np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32))
    # Batch 0 is the pilot: its mean is subtracted from all others before squaring.
    center = np.ones((rungs, network.depth, pairs), dtype=kind)
    pilot = Work(vertex=False, tops=())
    sums = conditional_batch(
        shape, pilot, np.uint32(1), numbers, center, seeds, np.uint32(0xFFFFFFFF)
    )
    check_finite(network, sums)
    center = summarise(sums, center, lanes, network.widths)["kernel"].astype(kind)

    blocks, pieces = calls

    def run(batch: int) -> dict[str, np.ndarray]:
        sums = _added(
            conditional_batch(
                shape, work, np.uint32(blocks), numbers, center, seeds, np.uint32(number)
            )
            for number in range(batch * pieces, (batch + 1) * pieces)
        )
        out = summarise(sums, center.astype(np.float64), blocks * pieces * lanes, network.widths)
        return out | {"unit": np.sqrt(center[0, -1, 0])}

    return run


def _prepare_plain(
    network: Network, x: np.ndarray, rungs: int, lanes: int, calls: tuple[int, int], work: Work,
    seed: int, kind: Any,
) -> Run:  # fmt: skip
    networks = [network.scaled(1 << rung, x.shape[1]) for rung in range(rungs)]
    points = np.asarray(x, dtype=kind)
    pairs = len(x) * (len(x) + 1) // 2
    zero = np.zeros((1, network.depth, pairs), dtype=kind)
    pilot = Work(vertex=False, tops=(), average_last=work.average_last)
    centers = []
    for net in networks:
        sums = plain_batch(
            net, pilot, lanes, np.uint32(1), points, zero, seed % 2**31, np.int32(2**31 - 1)
        )
        check_finite(network, sums)
        centers.append(summarise(sums, zero, lanes, net.widths)["kernel"].astype(kind))

    blocks, pieces = calls
    each = blocks * pieces * lanes

    def run(batch: int) -> dict[str, np.ndarray]:
        parts = []
        for rung, (net, center) in enumerate(zip(networks, centers, strict=True)):
            sums = _added(
                plain_batch(
                    net, work, lanes, np.uint32(blocks), points, center, seed % 2**31,
                    np.int32(number * rungs + rung),
                )
                for number in range(batch * pieces, (batch + 1) * pieces)
            )  # fmt: skip
            parts.append(summarise(sums, center.astype(np.float64), each, net.widths))
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    return run


def _added(calls: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The sums of several calls; those of one stay as they are."""
    first, *rest = calls
    if not rest:
        return first
    every = [{k: np.asarray(v, np.float64) for k, v in one.items()} for one in (first, *rest)]
    return {k: sum(one[k] for one in every) for k in first}


def _assemble(
    network: Network,
    x: np.ndarray,
    names: list[str],
    results: list[dict[str, np.ndarray]],
    layers: str,
) -> dict[str, np.ndarray]:
    """Batch estimates (rungs, batches, layers, components) with the first layer, which is exact."""
    rows, cols = pair_indices(len(x))
    gram = (x @ x.T / x.shape[1])[rows, cols]
    first = network.dense[0]
    bias_lr, weight_lr = network.learning_rates(x.shape[1])[0]
    kernels = np.stack([r["kernel"] for r in results], axis=1)
    out: dict[str, np.ndarray] = {}
    whole = layers == "all"
    if {"ntk", "ntk_correction"} & set(names):
        tangent = np.stack([r["ntk"] for r in results], axis=1)
        tangent = _with_first(bias_lr + weight_lr * gram, tangent) if whole else tangent
        out |= {"ntk": tangent, "ntk_correction": slopes(network, tangent)}
    if "four_point" in names:
        one, two = quadruple_indices(len(x))
        vertices = np.stack([r["four_point"] for r in results], axis=1)[..., one, two]
        out["four_point"] = _with_first(np.zeros(one.size), vertices)
    kernel = _with_first(first.bias_var + first.weight_var * gram, kernels)
    out |= {"kernel": kernel, "kernel_correction": slopes(network, kernel)}
    return {name: out[name] for name in names}


def _with_first(first: np.ndarray, rest: np.ndarray) -> np.ndarray:
    shape = (*rest.shape[:2], 1, rest.shape[-1])
    return np.concatenate([np.broadcast_to(first, shape), rest], axis=2)
