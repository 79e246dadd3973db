"""The check that follows an import: real function, description and prediction, all three.

A description may be read wrongly, and a kernel may be predicted wrongly for it. The function
itself, re-initialised by its own rule, is measured at its own width n; the description is drawn at
n, and at two widths that are extrapolated in 1/width (its own and twice that, or more where the
network is narrow). The three agree in law, as they should, or the difference says which is wrong.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from whydeep.comparison._compare import LEVEL, RESOLUTION
from whydeep.comparison._import_check import TITLES, ImportCheck, Line
from whydeep.comparison._import_rows import (
    Answer,
    components,
    judged,
    limit_answer,
    reading_answer,
    rebatched,
)
from whydeep.ensemble import KernelSamples, measure_kernels, parameters_of
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import DotProductAttention, Network, widened
from whydeep.theory.infinite import kernel as infinite_kernel

__all__ = ["check_import", "extrapolation_factors"]

# As in `compare`: the far tails of batch means are not quite Gaussian.
_TAIL_SAFETY = 5.0
_LAWS = ("normal", "uniform", "truncated")
# What the narrower of the two extrapolated widths should have, and how far it may be widened.
_CHANNELS, _HEADS, _HEAD_SIZE = 64, 8, 16
_WIDEST = 4
_MOST_NUMBERS = 4_000_000
# Standard errors that a prediction known from draws only may be off by.
_DRAWN_ERRORS = 4.0
# Draws of the description at each width: as many as cost about this many numbers, within limits.
_EFFORT = 2e9
_DRAWS = (200, 4000)
_NTK_DRAWS = (60, 1000)


def check_import(
    network: Network,
    real: KernelSamples,
    x: Any,
    *,
    kernel_of: Callable[[Network, Any], Any] | None = None,
    identity: float | None = None,
    alpha: float = 0.01,
    resolution: float = 0.15,
    draws: int | None = None,
    ntk_draws: int | None = None,
    seed: int = 0,
    factors: tuple[int, int] | None = None,
    higher: Network | None = None,
    redrawn: str = "",
) -> ImportCheck:
    """Whether the kernel predicted for a description is that of the function it was read from.

    Args:
        network: the description.
        real: kernels of the function, re-initialised by its own rule, on the same inputs.
        x: the inputs: a few that differ from each other.
        kernel_of: gives the prediction for (network, x): ``nngp`` and ``ntk`` (or None);
            ``whydeep.kernel`` unless given.
        identity: how much outputs of function and description differ with the same numbers as
            parameters, relative to their size, where that is known.
        alpha: probability that a right import is called "disagrees" at most (Bonferroni over all
            tests, with a factor of 5 to spare).
        resolution: the share of a kernel that every row must be able to see.
        draws: of the description at each width, for the NNGP kernel; by the size of the network
            unless given.
        ntk_draws: likewise, for the tangent kernel.
        seed: of the description's random numbers.
        factors: the two widths that are extrapolated, in units of the network's own; chosen from
            the widths unless given.
        higher: the description with every variance that was read off numbers one standard error
            higher.
        redrawn: how the function was re-initialised, in a sentence.

    Raises:
        InputError: kernels of different shapes, bad numbers.
        UnsupportedError: a network that can't be widened.

    Accuracy: the extrapolation ``2 K(2n) - K(n)`` leaves 1/n^2, which is bounded as in `compare`
    and put inside the interval. Weights of the function that are not Gaussian, uniform ones for
    example, are no error of the import: where the difference shows, it is measured and reported,
    and it "disagrees" only if it is larger than `resolution`.

    Cost: draws at two or three widths; see `whydeep.ensemble.measure_kernels`.
    """
    begin = time.perf_counter()
    alpha, resolution = LEVEL("alpha", alpha), RESOLUTION("resolution", resolution)
    points = np.asarray(x)
    shape = points.shape[1:]
    factors = extrapolation_factors(network, shape) if factors is None else factors
    if not 1 <= factors[0] < factors[1]:
        raise InputError("Widths must grow.", received=f"factors={factors}", needed="(1, 2), ...")
    predicted, notes = _predicted((kernel_of or _kernel)(network, points), real)
    if higher is not None:
        moved = _predicted((kernel_of or _kernel)(higher, points), real)[0]
        notes = (_moved(predicted, moved), *network.assumptions, *notes)
    notes = (*notes, redrawn) if redrawn else notes
    draws, ntk_draws = _how_many(network, points, factors[1], draws, ntk_draws)
    ntk_draws = ntk_draws if "ntk" in predicted else 0

    def drawn_at(factor: int, law: str = "normal") -> KernelSamples:
        return measure_kernels(
            network, points, draws=draws, ntk_draws=ntk_draws, width_factor=factor, law=law,
            seed=seed + 16 * factor + _LAWS.index(law),
        )  # fmt: skip

    drawn = {factor: drawn_at(factor) for factor in sorted({1, *factors})}
    tests = 4 * len(predicted)
    level = alpha / (_TAIL_SAFETY * tests)

    def judge(answers: list[Answer], counts: tuple[int, int]) -> list[Answer]:
        return [judged(a, level, resolution, counts[a.kernel == "ntk"]) for a in answers]

    own = (real.draws, real.ntk_draws)
    law, laws = "normal", []
    readings = judge(_readings(predicted, real, drawn[1]), own)
    if _disagree(readings):
        for other in _LAWS[1:]:
            alike = drawn_at(1, other)
            again = judge(_readings(predicted, real, alike), own)
            if not _disagree(again):
                law, readings = other, again
                laws = judge(_readings(predicted, alike, drawn[1], "law"), own)
                break
    limits = []
    for kernel, (value, error) in predicted.items():
        found = rebatched(*(_batches(drawn[f], kernel) for f in factors))
        limits.append(limit_answer(kernel, np.stack(found), factors, value, error))
    limits = judge(limits, (draws, ntk_draws))
    return ImportCheck(
        answers=(*readings, *limits, *laws),
        lines={a.kernel: _line(a, real, drawn) for a in limits},
        network=network,
        law=law,
        real=real,
        drawn=drawn,
        alpha=alpha,
        resolution=resolution,
        tests=tests,
        inputs=points,
        identity=identity,
        notes=notes,
        seconds=time.perf_counter() - begin + real.seconds,
    )


def _kernel(network: Network, x: Any) -> Any:
    # Where a prediction needs draws, a thousand make it ten times as sharp as what it is held to.
    drawn = infinite_kernel(network, x[:1], ntk=False).nngp_stderr is not None
    return infinite_kernel(network, x, draws=1024 if drawn else None)


def extrapolation_factors(network: Network, shape: tuple[int, ...]) -> tuple[int, int]:
    """The two widths of the description, in units of its own, that are extrapolated.

    Its own and twice that; more for a narrow network, whose higher orders of 1/width would blur
    what is to be seen, as far as its size allows.
    """
    shapes, twice = network.shapes(shape), widened(network, 2, shape).shapes(shape)
    grown = [a.channels for a, b in zip(shapes, twice, strict=True) if a.channels < b.channels]
    needed = [_CHANNELS / channels for channels in grown]
    for node in network.nodes:
        if isinstance(node.layer, DotProductAttention):
            size = shapes[node.inputs[0]].channels if node.inputs[0] >= 0 else shape[-1]
            needed += [_HEADS / node.layer.heads, _HEAD_SIZE * node.layer.heads / size]
    factor = 1
    while factor < min(max(needed, default=1), _WIDEST):
        if _numbers(network, 4 * factor, shape) > _MOST_NUMBERS:
            break
        factor *= 2
    return factor, 2 * factor


def _numbers(network: Network, factor: int, shape: tuple[int, ...]) -> int:
    wide = widened(network, factor, shape)
    return sum(p.size for node in parameters_of(wide, shape) for p in node.values())


def _how_many(
    network: Network, x: np.ndarray, factor: int, draws: int | None, ntk_draws: int | None
) -> tuple[int, int]:
    """Draws at each width, by what one costs at the largest."""
    numbers = _numbers(network, factor, x.shape[1:])
    shapes = widened(network, factor, x.shape[1:]).shapes(x.shape[1:])
    values = len(x) * sum(s.count * s.channels for s in shapes)
    rows = len(x) * shapes[-1].count
    one, tangent = 10 * (numbers + values), 10 * rows * (numbers + values / len(x))
    if draws is None:
        draws = int(np.clip(_EFFORT / one, *_DRAWS))
    if ntk_draws is None:
        ntk_draws = int(np.clip(_EFFORT / tangent, *_NTK_DRAWS))
    return draws, ntk_draws


def _predicted(
    kernel: Any, real: KernelSamples
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """Predicted components with their numerical error, for what both sides have."""
    found, notes = {}, []
    for name, samples in (("nngp", real.nngp_batches), ("ntk", real.ntk_batches)):
        value = getattr(kernel, name, None)
        if value is None or samples is None:
            side = "predicted" if value is None else "measured of the function"
            notes.append(f"No {TITLES[name]} was {side}.")
            continue
        value = np.asarray(value, dtype=np.float64)
        if value.shape != samples.shape[1:]:
            raise InputError(
                "Prediction and function have kernels of different shapes.",
                received=f"{value.shape} predicted, {samples.shape[1:]} measured",
                needed="(N, N), or (N, N, *positions, *positions) where outputs have positions",
                cause="the output has other positions than the description says, or other inputs",
            )
        parts = components(value)
        error = float(getattr(kernel, "error", 0.0)) * np.abs(value).max()
        found[name] = parts, np.full_like(parts, error) + _drawn_error(kernel, name)
    if not found:
        raise UnsupportedError("There is nothing to compare.", received=" ".join(notes))
    return found, tuple(notes)


def _moved(predicted: Mapping[str, Any], higher: Mapping[str, Any]) -> str:
    """How far the errors of the variances move the kernels, in a sentence."""
    shares = []
    for kernel, (value, _) in predicted.items():
        size = float(np.abs(value).max())
        share = float(np.abs(higher[kernel][0] - value).max()) / size if size else 0.0
        shares.append(f"the {TITLES[kernel]} by {share:.1%}")
    return (
        "The variances have errors, being read off numbers: one standard error more of each moves "
        f"{' and '.join(shares)}."
    )


def _drawn_error(kernel: Any, name: str) -> Any:
    """What a prediction that rests on draws may be off by."""
    stderr = getattr(kernel, f"{name}_stderr", None)
    return 0.0 if stderr is None else _DRAWN_ERRORS * components(np.asarray(stderr))


def _readings(
    predicted: Mapping[str, Any], real: KernelSamples, drawn: KernelSamples,
    question: str = "reading",
) -> list[Answer]:  # fmt: skip
    answers = []
    for kernel in predicted:
        one, other = rebatched(_batches(real, kernel), _batches(drawn, kernel))
        answers.append(reading_answer(kernel, one, other, question))
    return answers


def _batches(samples: KernelSamples, kernel: str) -> np.ndarray:
    batches = samples.nngp_batches if kernel == "nngp" else samples.ntk_batches
    if batches is None:
        raise UnsupportedError("There are no draws of this kernel.", received=kernel)
    return components(batches)


def _disagree(answers: list[Answer]) -> bool:
    return any(answer.row.verdict == "disagrees" for answer in answers)


def _line(answer: Answer, real: KernelSamples, drawn: Mapping[int, KernelSamples]) -> Line:
    """Deviations from the prediction, weighted over components as the limit's row was."""
    expected = 0.0 if answer.row.absolute else 1.0

    def deviation(samples: KernelSamples) -> tuple[float, float]:
        values = _batches(samples, answer.kernel) @ answer.weights
        return float(values.mean()) - expected, float(values.std(ddof=1) / math.sqrt(len(values)))

    return Line(
        deviation(real),
        {factor: deviation(drawn[factor]) for factor in sorted(drawn)},
        (answer.row.deviation, answer.row.stderr),
    )
