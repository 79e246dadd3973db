"""The front door of measurement: draws of real networks, streamed into means with errors."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from whydeep.ensemble._choices import check_seed, read_wanted
from whydeep.ensemble._conditional import Shape
from whydeep.ensemble._measurement import Density, Measurement
from whydeep.ensemble.fluctuations import (
    MOST_INPUTS,
    TENSORS,
    Fluctuations,
    check_tensors,
    missing_tensors,
    prepare_raw,
    tensor_batches,
)
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import Network, check_choice, check_whole
from whydeep.observables import BASIC, OBSERVABLES, pair_indices, quadruple_indices
from whydeep.progress import phase, progress_bar

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
    observables: Iterable[str] | str | None = None,
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
        observables: names; by default kernel, ntk, four_point and kernel_correction, as far as
            they exist for this network. "all" adds what costs more: ntk_correction, the
            fluctuations of the tangent kernel (ntk_A ... ntk_F) and its differentials (dntk_P ...
            ddntk_U).
        rungs: widths measured together: the network's own, twice that, four times. `compare`
            needs three to separate orders in 1/width.
        sampler: "conditional" (exact in law, n N numbers a layer; networks of the ladder share
            their numbers, so that differences between widths are sharp) or "plain" (weight
            matrices, n^2 numbers a layer, widths independent): the oracle of the first.
        average_last: average each layer exactly over its own weights, given the activations
            below. Only the plain sampler can do without; errors are then larger.
        layers: "all", or "output" for the tangent kernel, and all that is made of it, in the
            output layer only.
        dtype: "float32" or "float64". Sums over draws are always kept in float64 by batch.

    Returns:
        A `Measurement`. ``kernel_correction`` is ``n_(l-1)`` times twice the difference of the
        kernels at widths n and 2n, so its own deviation from theory is of order 1/n;
        ``ntk_correction`` likewise.

    Raises:
        InputError: bad inputs or numbers; a sampler that does not exist.
        UnsupportedError: an observable asked for by name does not exist for this network.

    Accuracy: unbiased in every observable but the corrections (above). Cost: about
    ``draws * 2^(rungs-1) * n * N * L`` normal numbers, times L for tangent kernels of all layers;
    memory does not grow with draws. Fluctuations of the tangent kernel draw weights, ``n^2 L``
    numbers, and multiply ``n x n`` matrices, N^2 a layer; its differentials some fifty of them for
    each of N^4 / 2 entries and each layer.

    Source: Giles 2008 (multilevel); ``whydeep.ensemble._conditional`` for the sampler,
    ``whydeep.ensemble.fluctuations`` for that of the tangent kernel's fluctuations.

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
    tensors = tuple(name for name in names if name in TENSORS)
    check_tensors(tensors, len(x), sampler, layers, average_last=average_last)
    basic = [name for name in names if name not in TENSORS]
    if sampler == "conditional" and "ntk_correction" in names and len(x) <= MOST_INPUTS:
        # Slopes in 1/width want the sharpest means there are: averaged over free weights.
        tensors = ("ntk", *tensors)
        basic = [name for name in basic if name not in ("ntk", "ntk_correction")]
    batches: dict[str, np.ndarray] = {}
    density, drawn = None, []
    kind = np.dtype(dtype).type
    how = _How(network, x, draws, seed, rungs, sampler, layers, kind, average_last=average_last)
    with jax.enable_x64(dtype == "float64"):
        if basic:
            batches, density, made = _measure_kernels(how, basic)
            drawn.append(made)
        if tensors:
            found, made = _measure_tensors(how, tensors)
            batches |= found
            if "ntk" in tensors:
                batches["ntk_correction"] = _slopes(network, found["ntk"])
            drawn.append(made)
    every = tuple(range(1, network.depth + 2))
    output_only = {name for name in names if "ntk" in name and layers == "output"}
    return Measurement(
        network=network,
        inputs=x,
        batches={name: batches[name] for name in names},
        layers={name: every[-1:] if name in output_only else every for name in names},
        draws=min(drawn),
        seed=seed,
        sampler=sampler,
        dtype=dtype,
        seconds=time.perf_counter() - begin,
        density=density,
    )


@dataclass(frozen=True)
class _How:
    """The arguments of `measure`, read and checked."""

    network: Network
    x: np.ndarray
    draws: int
    seed: int
    rungs: int
    sampler: str
    layers: str
    kind: Any
    average_last: bool

    @property
    def wide(self) -> bool:
        return self.kind is np.float64


def _measure_kernels(
    how: _How, names: list[str]
) -> tuple[dict[str, np.ndarray], Density | None, int]:
    """Kernels, tangent kernels, vertices and corrections; the density; how many draws."""
    depth = how.network.depth
    tops: tuple[int, ...] = ()
    if {"ntk", "ntk_correction"} & set(names):
        tops = tuple(range(1, depth + 1)) if how.layers == "all" else (depth,)
    lanes = _lanes(how.network, len(how.x), how.rungs, how.draws, how.kind, tangent=bool(tops))
    blocks = math.ceil(how.draws / lanes)
    per_batch = math.ceil(blocks / _MOST_BATCHES)
    count = math.ceil(blocks / per_batch)
    work = Work("four_point" in names, tops, how.average_last)
    prepare = _prepare_conditional if how.sampler == "conditional" else _prepare_plain
    run = prepare(how.network, how.x, how.rungs, lanes, per_batch, work, how.seed, how.kind)
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


def _measure_tensors(how: _How, names: tuple[str, ...]) -> tuple[dict[str, np.ndarray], int]:
    """Fluctuations of the tangent kernel and its differentials; how many draws."""
    given = how.network, how.x, names, how.rungs, how.draws, how.seed
    title = f"measuring {', '.join(names)}"
    run: Run
    if how.sampler == "plain":
        with phase(f"{title}: compiling"):
            run, count, each = prepare_raw(*given, how.kind)
    else:
        work = Fluctuations(*given, how.layers, how.kind)
        with phase(f"{title}: compiling"):
            pilots = [work.pilot(0)]
        _check_finite(how.network, pilots[0])
        if work.pilots > 1:
            pilots += all_batches(work.pilot, work.pilots - 1, f"{title}: pilot", wide=how.wide)
        run, count, each = functools.partial(work.run, work.plan(pilots)), work.count, work.each
    results = all_batches(run, count, title, wide=how.wide)
    rows, cols = pair_indices(len(how.x))
    bias_lr, weight_lr = how.network.learning_rates(how.x.shape[1])[0]
    gram = (how.x @ how.x.T / how.x.shape[1])[rows, cols]
    first = {"ntk": bias_lr + weight_lr * gram} if how.layers == "all" else None
    return tensor_batches(results, first), count * each


def _slopes(network: Network, means: np.ndarray) -> np.ndarray:
    """Twice the difference of means (rungs, batches, layers, P) at widths n and 2n, times n.

    The layers are the last ones: n is the width of the layer below each, and nothing varies in the
    first.
    """
    widths = np.array([1, *network.widths], dtype=np.float64)[-means.shape[2] :, None]
    factors = np.array([1 << rung for rung in range(len(means) - 1)])
    return 2 * factors[:, None, None, None] * widths * (means[:-1] - means[1:])


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


def _names(network: Network, observables: Iterable[str] | str | None, rungs: int) -> list[str]:
    activation = network.activation
    missing = missing_tensors(activation)
    if not activation.continuous:
        reason = f"{activation.name} jumps, so its tangent kernel diverges on the diagonal"
        missing |= {"ntk": reason, "ntk_correction": reason}
    if rungs < 2:
        reason = "it is a difference of two widths: rungs must be 2 or more"
        missing |= {"kernel_correction": reason, "ntk_correction": reason}
    if observables is None or observables == "all":
        asked = BASIC if observables is None else OBSERVABLES
        return [name for name in asked if name not in missing]
    wanted = read_wanted(observables, OBSERVABLES)
    for name in sorted(wanted & missing.keys()):
        raise UnsupportedError(
            f"The {OBSERVABLES[name].title} can't be measured.", cause=missing[name]
        )
    if not wanted:
        raise InputError(
            "No observable was asked for.", needed='"all", or any of ' + ", ".join(OBSERVABLES)
        )
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
    whole = layers == "all"
    if {"ntk", "ntk_correction"} & set(names):
        tangent = np.stack([r["ntk"] for r in results], axis=1)
        tangent = _with_first(bias_lr + weight_lr * gram, tangent) if whole else tangent
        out |= {"ntk": tangent, "ntk_correction": _slopes(network, tangent)}
    if "four_point" in names:
        one, two = quadruple_indices(len(x))
        vertices = np.stack([r["four_point"] for r in results], axis=1)[..., one, two]
        out["four_point"] = _with_first(np.zeros(one.size), vertices)
    kernel = _with_first(first.bias_var + first.weight_var * gram, kernels)
    out |= {"kernel": kernel, "kernel_correction": _slopes(network, kernel)}
    return {name: out[name] for name in names}


def _with_first(first: np.ndarray, rest: np.ndarray) -> np.ndarray:
    shape = (*rest.shape[:2], 1, rest.shape[-1])
    return np.concatenate([np.broadcast_to(first, shape), rest], axis=2)
