"""The front door of measurement: draws of real networks, streamed into means with errors."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from whydeep.data import check_inputs
from whydeep.ensemble._batches import (
    DENSITY_POINTS,
    Work,
    conditional_batch,
    plain_batch,
    summarise,
)
from whydeep.ensemble._choices import check_choice, check_seed, read_wanted
from whydeep.ensemble._conditional import Shape
from whydeep.ensemble._measurement import Density, Measurement
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import Network, check_whole
from whydeep.observables import BASIC, OBSERVABLES, pair_indices, quadruple_indices
from whydeep.progress import progress_bar

__all__ = ["check_sampling", "measure"]

_MOST_BATCHES = 400
_MOST_WORKERS = 16
_FEWEST_DRAWS = 64
_MOST_INPUTS_FOR_VERTEX = 40
# Draws side by side: as many as keep the numbers of a block in the processor's cache.
_BLOCK_BYTES = 4 << 20
_LANES = (16, 128)


Run = Callable[[int], dict[str, np.ndarray]]


def measure(
    network: Network,
    inputs: Any,
    *,
    draws: int = 20_000,
    seed: int = 0,
    observables: Iterable[str] | None = None,
    rungs: int = 3,
    sampler: str = "conditional",
    average_last: bool = True,
    layers: str = "all",
    dtype: str = "float32",
) -> Measurement:
    """Draw networks at initialisation and measure what theory predicts, with standard errors.

    Args:
        network: from `whydeep.mlp`.
        inputs: (N, n_0).
        draws: networks of the widest rung; rounded up to whole batches.
        seed: makes everything reproducible, on the same kind of device.
        observables: names; by default all that the sampler can measure for this network.
        rungs: widths measured together: the network's own, twice that, four times. `compare`
            needs three to separate orders in 1/width.
        sampler: "conditional" (exact in law, n N numbers a layer; networks of the ladder share
            their numbers, so that differences between widths are sharp) or "plain" (weight
            matrices, n^2 numbers a layer, widths independent): the oracle of the first.
        average_last: average each layer exactly over its own weights, given the activations
            below. Only the plain sampler can do without; errors are then larger.
        layers: "all", or "output" for the tangent kernel of the output layer only.
        dtype: "float32" or "float64". Sums over draws are always kept in float64 by batch.

    Returns:
        A `Measurement`. ``kernel_correction`` is ``n_(l-1)`` times twice the difference of the
        kernels at widths n and 2n, so its own deviation from theory is of order 1/n.

    Raises:
        InputError: bad inputs or numbers; a sampler that does not exist.
        UnsupportedError: an observable asked for by name does not exist for this network.

    Accuracy: unbiased in every observable but ``kernel_correction`` (above). Cost: about
    ``draws * 2^(rungs-1) * n * N * L`` normal numbers, times L for tangent kernels of all layers;
    memory does not grow with draws.

    Source: Giles 2008 (multilevel); ``whydeep.ensemble._conditional`` for the sampler.

    Example:
        >>> import numpy as np
        >>> from whydeep.network import mlp
        >>> measured = measure(mlp(2, 16, "relu"), np.eye(2), draws=256, rungs=1)
        >>> measured["kernel"].dims
        ('layer', 'input_1', 'input_2')
    """
    begin = time.perf_counter()
    check_sampling(draws, seed, sampler, dtype)
    x = check_inputs(inputs)
    rungs = check_whole("rungs", rungs)
    names = _names(network, observables, rungs)
    _check(sampler, layers, len(x), names, average_last=average_last)
    depth = network.depth
    tops: tuple[int, ...] = ()
    if "ntk" in names:
        tops = tuple(range(1, depth + 1)) if layers == "all" else (depth,)
    vertex = "four_point" in names
    kind = np.dtype(dtype).type
    lanes = _lanes(network, len(x), rungs, draws, kind, tangent=bool(tops))
    blocks = math.ceil(draws / lanes)
    per_batch = math.ceil(blocks / _MOST_BATCHES)
    count = math.ceil(blocks / per_batch)
    work = Work(vertex, tops, average_last)
    prepare = _prepare_conditional if sampler == "conditional" else _prepare_plain
    wide = dtype == "float64"
    with jax.enable_x64(wide):
        run = prepare(network, x, rungs, lanes, per_batch, work, seed, kind)
        results = all_batches(run, count, f"measuring {', '.join(names)}", wide=wide)
    batches = _assemble(network, x, names, results, layers)
    spread = results[0].get("unit")
    density = None
    if spread is not None:
        values = np.stack([r["density"] for r in results])
        density = Density(
            DENSITY_POINTS, float(spread), values.mean(0), values.std(0, ddof=1) / math.sqrt(count)
        )
    every = tuple(range(1, depth + 2))
    return Measurement(
        network=network,
        inputs=x,
        batches=batches,
        layers={n: (every if n != "ntk" or layers == "all" else every[-1:]) for n in batches},
        draws=count * per_batch * lanes,
        seed=seed,
        sampler=sampler,
        dtype=dtype,
        seconds=time.perf_counter() - begin,
        density=density,
    )


def all_batches(run: Run, count: int, title: str, *, wide: bool) -> list[dict[str, np.ndarray]]:
    """The batches in order, as many at once as there are cores.

    Compiled code runs outside Python's lock, and blocks are too small to be worth splitting.
    """

    def one(batch: int) -> dict[str, np.ndarray]:
        with jax.enable_x64(wide):  # a setting of each thread, which others do not inherit
            return run(batch)

    workers = min(os.cpu_count() or 1, count, _MOST_WORKERS)
    with progress_bar(title, count) as advance, ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(one, batch) for batch in range(1, count + 1)]
        try:
            results = []
            for future in futures:
                results.append(future.result())
                advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def _names(network: Network, observables: Iterable[str] | None, rungs: int) -> list[str]:
    activation = network.activation
    missing = {}
    if not activation.continuous:
        missing["ntk"] = f"{activation.name} jumps, so its tangent kernel diverges on the diagonal"
    if rungs < 2:
        missing["kernel_correction"] = "it is a difference of two widths: rungs must be 2 or more"
    if observables is None:
        return [name for name in BASIC if name not in missing]
    wanted = read_wanted(observables, OBSERVABLES)
    for name in sorted(wanted & missing.keys()):
        raise UnsupportedError(
            f"The {OBSERVABLES[name].title} can't be measured.", cause=missing[name]
        )
    if not wanted:
        raise InputError("No observable was asked for.", needed="one of " + ", ".join(OBSERVABLES))
    return [name for name in OBSERVABLES if name in wanted]


def check_sampling(draws: Any, seed: Any, sampler: str, dtype: str) -> None:
    """Refuse draws, seeds and names that no measurement can use."""
    if check_whole("draws", draws) < _FEWEST_DRAWS:
        raise InputError(
            "Too few draws for a standard error.",
            received=f"draws={draws}",
            needed=f"at least {_FEWEST_DRAWS}",
        )
    check_seed(seed)
    check_choice("sampler", sampler, ("conditional", "plain"))
    check_choice("dtype", dtype, ("float32", "float64"))


def _check(sampler: str, layers: str, size: int, names: list[str], *, average_last: bool) -> None:
    check_choice("layers", layers, ("all", "output"))
    if not average_last and sampler == "conditional":
        raise InputError(
            "The conditional sampler averages each layer over its own weights by construction.",
            received="average_last=False",
            suggestion='sampler="plain", average_last=False',
        )
    if "four_point" in names and size > _MOST_INPUTS_FOR_VERTEX:
        raise InputError(
            "The vertex of this many inputs has too many entries to measure.",
            received=f"{size} inputs",
            needed=f"at most {_MOST_INPUTS_FOR_VERTEX}: it has N^4 entries a layer",
            suggestion='observables=("kernel", "ntk"), or fewer inputs',
        )


def _lanes(network: Network, size: int, rungs: int, draws: int, kind: Any, *, tangent: bool) -> int:
    # Forward numbers live for one layer; a backward pass keeps s, s' and u of every layer.
    arrays = 3 * rungs * network.depth if tangent else 1
    neurons = max(network.widths) << (rungs - 1)
    one = size * neurons * np.dtype(kind).itemsize * arrays
    low, high = _LANES
    wanted = min(max(_BLOCK_BYTES // one, low), high, max(draws // 100, low))
    return 1 << int(math.log2(wanted))


def _prepare_conditional(
    network: Network, x: np.ndarray, rungs: int, lanes: int, per_batch: int, work: Work,
    seed: int, kind: Any,
) -> Run:  # fmt: skip
    shape = Shape(network.activation, len(x), network.widths, rungs, lanes, kind)
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
    _check_finite(network, sums)
    center = summarise(sums, center, lanes, network.widths)["kernel"].astype(kind)

    blocks = np.uint32(per_batch)

    def run(batch: int) -> dict[str, np.ndarray]:
        sums = conditional_batch(shape, work, blocks, numbers, center, seeds, np.uint32(batch))
        out = summarise(sums, center.astype(np.float64), per_batch * lanes, network.widths)
        return out | {"unit": np.sqrt(center[0, -1, 0])}

    return run


def _prepare_plain(
    network: Network, x: np.ndarray, rungs: int, lanes: int, per_batch: int, work: Work,
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
        _check_finite(network, sums)
        centers.append(summarise(sums, zero, lanes, net.widths)["kernel"].astype(kind))

    blocks = np.uint32(per_batch)

    def run(batch: int) -> dict[str, np.ndarray]:
        parts = []
        for rung, (net, center) in enumerate(zip(networks, centers, strict=True)):
            number = np.int32(batch * rungs + rung)
            sums = plain_batch(net, work, lanes, blocks, points, center, seed % 2**31, number)
            parts.append(summarise(sums, center.astype(np.float64), per_batch * lanes, net.widths))
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    return run


def _check_finite(network: Network, sums: dict[str, Any]) -> None:
    if not all(np.all(np.isfinite(np.asarray(value))) for value in sums.values()):
        raise UnsupportedError(
            "The preactivations of this network overflow.",
            received=repr(network),
            cause=f"{network.activation.name} amplifies them from layer to layer",
            suggestion="smaller weight_var and bias_var, fewer layers, or inputs of unit scale",
        )


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
    if "kernel" in names:
        out["kernel"] = _with_first(first.bias_var + first.weight_var * gram, kernels)
    if "ntk" in names:
        tangent = np.stack([r["ntk"] for r in results], axis=1)
        whole = _with_first(bias_lr + weight_lr * gram, tangent)
        out["ntk"] = whole if layers == "all" else tangent
    if "four_point" in names:
        one, two = quadruple_indices(len(x))
        vertices = np.stack([r["four_point"] for r in results], axis=1)[..., one, two]
        out["four_point"] = _with_first(np.zeros(one.size), vertices)
    if "kernel_correction" in names:
        widths = np.asarray(network.widths, dtype=np.float64)[:, None]
        scales = widths * np.array([1 << r for r in range(len(kernels) - 1)])[:, None, None, None]
        difference = 2 * scales * (kernels[:-1] - kernels[1:])
        out["kernel_correction"] = _with_first(np.zeros(rows.size), difference)
    return out


def _with_first(first: np.ndarray, rest: np.ndarray) -> np.ndarray:
    shape = (*rest.shape[:2], 1, rest.shape[-1])
    return np.concatenate([np.broadcast_to(first, shape), rest], axis=2)
