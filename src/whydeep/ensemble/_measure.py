"""The front door of measurement: draws of real networks, streamed into means with errors."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from whydeep.arguments import (
    COUNT,
    DTYPE,
    FLAG,
    SEED,
    check_time,
    choice,
    choices,
    count,
    or_word,
    takes,
)
from whydeep.data import INPUTS
from whydeep.ensemble._blocks import Run, all_batches, check_finite
from whydeep.ensemble._choices import Sampling
from whydeep.ensemble._kernel_batches import kernel_batches, slopes
from whydeep.ensemble._measurement import Measurement
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
from whydeep.network import NETWORK, Network
from whydeep.observables import BASIC, OBSERVABLES, pair_indices
from whydeep.progress import phase

__all__ = ["FEWEST_DRAWS", "MOST_RUNGS", "measure"]

FEWEST_DRAWS = 64
MOST_RUNGS = 40
# Of what costs more: a tenth of the draws, and as many as make a standard error.
_FEWER, _FEW = 10, 1_000
_MOST_INPUTS_FOR_VERTEX = 40


@takes(
    network=NETWORK, inputs=INPUTS, draws=count(FEWEST_DRAWS), ntk_draws=count(FEWEST_DRAWS),
    seed=SEED, observables=or_word(choices(OBSERVABLES), "all"), rungs=COUNT,
    sampler=choice("conditional", "plain"), average_last=FLAG, layers=choice("all", "output"),
    dtype=DTYPE,
)  # fmt: skip
def measure(
    network: Network,
    inputs: Any,
    *,
    draws: int = 20_000,
    ntk_draws: int | None = None,
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
        ntk_draws: likewise, for tangent kernels and for their differentials (dntk_P ... ddntk_U),
            which cost ten times as much and more and scatter less. By default a tenth of `draws`,
            a thousand at least and `draws` at most, where other observables are asked for too;
            all `draws` where they are all that is asked for.
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
    each of N^4 / 2 entries and each layer. For tanh of depth 8 and width 128 on four inputs, at
    three widths, 20,000 draws of the kernel and 2,000 of the tangent kernel take some 3 and 5
    seconds of one core, and compiling as long again.

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
    x = inputs
    names = _names(network, observables, rungs)
    _check(sampler, len(x), names, average_last=average_last)
    _check_cost(network, x, draws, rungs)
    tensors = tuple(name for name in names if name in TENSORS)
    check_tensors(tensors, len(x), sampler, layers, average_last=average_last)
    basic = [name for name in names if name not in TENSORS]
    if sampler == "conditional" and "ntk_correction" in names and len(x) <= MOST_INPUTS:
        # Slopes in 1/width want the sharpest means there are: averaged over free weights.
        tensors = ("ntk", *tensors)
        basic = [name for name in basic if name not in ("ntk", "ntk_correction")]
    costly = [n for n in names if "dntk" in n or (n == "ntk" and "ntk_correction" not in names)]
    few = _fewer(ntk_draws, draws, alone=len(costly) == len(names))
    batches: dict[str, np.ndarray] = {}
    density, drawn = None, {}
    kind = np.dtype(dtype).type
    how = Sampling(network, x, draws, seed, rungs, sampler, layers, kind, average_last=average_last)
    less = dataclasses.replace(how, draws=few)
    with jax.enable_x64(dtype == "float64"):
        for some, sampling in _parts(basic, costly, how, less):
            found, law, made = kernel_batches(sampling, list(some))
            batches, density = batches | found, density or law
            drawn |= dict.fromkeys(some, made)
        for some, sampling in _parts(list(tensors), costly, how, less):
            found, made = _measure_tensors(sampling, tuple(some))
            batches |= found
            if "ntk" in some and "ntk_correction" in names:
                batches["ntk_correction"] = slopes(network, found["ntk"])
                drawn["ntk_correction"] = made
            drawn |= dict.fromkeys(some, made)
    every = tuple(range(1, network.depth + 2))
    output_only = {name for name in names if "ntk" in name and layers == "output"}
    return Measurement(
        network=network,
        inputs=x,
        batches={name: batches[name] for name in names},
        layers={name: every[-1:] if name in output_only else every for name in names},
        draws=max(drawn[name] for name in names),
        drawn={name: drawn[name] for name in names},
        seed=seed,
        sampler=sampler,
        dtype=dtype,
        seconds=time.perf_counter() - begin,
        density=density,
    )


def _fewer(ntk_draws: int | None, draws: int, *, alone: bool) -> int:
    """The draws of what costs more."""
    if ntk_draws is not None:
        return ntk_draws
    return draws if alone else min(draws, max(draws // _FEWER, _FEW))


def _parts(
    names: list[str], costly: list[str], how: Sampling, less: Sampling
) -> list[tuple[list[str], Sampling]]:
    """What is measured together: all at once where the draws are as many."""
    if how.draws == less.draws:
        return [(names, how)] if names else []
    cheap = [name for name in names if name not in costly]
    dear = [name for name in names if name in costly]
    return [part for part in ((cheap, how), (dear, less)) if part[0]]


def _measure_tensors(how: Sampling, names: tuple[str, ...]) -> tuple[dict[str, np.ndarray], int]:
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
        check_finite(how.network, pilots[0])
        if work.pilots > 1:
            pilots += all_batches(work.pilot, work.pilots - 1, f"{title}: pilot", wide=how.wide)
        run, count, each = functools.partial(work.run, work.plan(pilots)), work.count, work.each
    results = all_batches(run, count, title, wide=how.wide)
    rows, cols = pair_indices(len(how.x))
    bias_lr, weight_lr = how.network.learning_rates(how.x.shape[1])[0]
    gram = (how.x @ how.x.T / how.x.shape[1])[rows, cols]
    first = {"ntk": bias_lr + weight_lr * gram} if how.layers == "all" else None
    return tensor_batches(results, first), count * each


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
    wanted = set(observables)
    for name in sorted(wanted & missing.keys()):
        raise UnsupportedError(
            f"The {OBSERVABLES[name].title} can't be measured.", cause=missing[name]
        )
    if not wanted:
        raise InputError(
            "No observable was asked for.", needed='"all", or any of ' + ", ".join(OBSERVABLES)
        )
    return [name for name in OBSERVABLES if name in wanted]


def _check_cost(network: Network, x: np.ndarray, draws: int, rungs: int) -> None:
    """Refuse draws that would never end."""
    if rungs > MOST_RUNGS:
        raise InputError(
            "A ladder of so many widths can't be drawn.", received=f"{rungs=}",
            needed=f"at most {MOST_RUNGS}: each is twice as wide as the one before",
        )  # fmt: skip
    neurons = sum(network.widths) << (rungs - 1)
    # Every neuron's value is drawn and bent, at 1e10 a second.
    check_time(
        1e-10 * draws * len(x) * neurons, "This many draws",
        received=f"draws={draws}, {neurons:,} neurons on the widest rung",
        suggestion="fewer draws: the standard error falls with their square root",
    )  # fmt: skip


def _check(sampler: str, size: int, names: list[str], *, average_last: bool) -> None:
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
