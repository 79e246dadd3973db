"""Kernel and tangent kernel against the layer: lines are theory, points are networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whydeep.ensemble import Measurement
from whydeep.observables import OBSERVABLES, pair_indices, reduce
from whydeep.report._figure import SERIES, Figure, Group, Key, Plot, axis, line, log_axis, points
from whydeep.theory.finite import Prediction

__all__ = ["kernel_group"]

_MOST_PAIRS = 4
# Positive values that span more than this are shown on a logarithmic axis.
_LOGARITHMIC_SPAN = 30.0
_SHIFT = 0.09


@dataclass(frozen=True)
class _Curve:
    """One colour of the figure: a mean over some of the pairs of inputs."""

    name: str
    pairs: np.ndarray


def kernel_group(predicted: Prediction, measured: tuple[Measurement, ...]) -> Group | None:
    """Values and departures from infinite width, on average and pair by pair."""
    names = [
        name for name in ("kernel", "ntk") if name in predicted and any(name in m for m in measured)
    ]
    if not names:
        return None
    size = len(predicted.inputs)
    averages, each = _averages(size), _pairs(predicted[names[0]].values, size)
    choices = [averages] if size == 1 else [averages, each]
    plots = []
    for name in names:
        source = next(m for m in measured if name in m)
        title = OBSERVABLES[name].title
        values = tuple(_values(name, predicted, source, curves) for curves in choices)
        departures = tuple(_departures(name, predicted, source, curves) for curves in choices)
        plots.append(Plot(f"{title.capitalize()}, layer by layer", _summary(title), values))
        plots.append(
            Plot(
                f"{title.capitalize()}: departure from infinite width",
                f"The measured {title} less its value at infinite width, in percent, by layer.",
                departures,
            )
        )
    keys = [Key("line", "ink", "theory, infinite width")]
    corrected = [name for name in names if _correction(name) in predicted]
    if corrected:
        keys.append(Key("dash", "ink", "theory, first order in 1/n"))
    keys.append(Key("point", "ink", "measured, one standard error"))
    notes = [
        f"No first order of the {OBSERVABLES[name].title} is drawn, as it was not predicted here: "
        f'observables=("{_correction(name)}", ...) does.'
        for name in names
        if name not in corrected
    ]
    total = size * (size - 1) // 2
    if total > _MOST_PAIRS:
        notes.append(
            f"{len(each)} of {total} pairs of different inputs are drawn, spread from the least to "
            "the most alike (inputs count from 0); the averages and the table hold all of them."
        )
    widths = ", ".join(map(str, dict.fromkeys(predicted.network.widths)))
    return Group(
        name="kernels",
        title="From layer to layer",
        lead="The kernel is the mean product of two inputs' preactivations; the tangent kernel "
        "says how a step of gradient descent on one input moves the output on another. Lines are "
        f"theory, points are networks of width {widths}.",
        label="Show",
        options=("averages", "pairs of inputs") if size > 1 else (),
        plots=tuple(plots),
        keys=tuple(keys),
        notes=tuple(notes),
    )


def _summary(title: str) -> str:
    return f"The {title} against the layer: predicted lines and measured points with error bars."


def _averages(size: int) -> list[_Curve]:
    rows, cols = pair_indices(size)
    same = np.flatnonzero(rows == cols)
    curves = [_Curve("same input" if size > 1 else "the input", same)]
    if size > 1:
        curves.append(_Curve("different inputs", np.flatnonzero(rows != cols)))
    return curves


def _pairs(kernel: np.ndarray, size: int) -> list[_Curve]:
    """A handful of pairs of different inputs, from the least to the most alike."""
    rows, cols = pair_indices(size)
    different = np.flatnonzero(rows != cols)
    if different.size > _MOST_PAIRS:
        first = kernel[0]
        norm = np.sqrt(np.abs(np.diag(first)))
        alike = first[rows[different], cols[different]] / np.maximum(
            norm[rows[different]] * norm[cols[different]], 1e-300
        )
        places = np.linspace(0, different.size - 1, _MOST_PAIRS).round().astype(int)
        different = different[np.argsort(alike, kind="stable")[places]]
    return [_Curve(f"inputs {rows[p]}, {cols[p]}", np.array([p])) for p in different]


def _values(
    name: str, predicted: Prediction, measured: Measurement, curves: list[_Curve]
) -> Figure:
    theory = reduce(name, predicted[name].values)
    batches = measured.batches[name][0]
    labels = measured.layers[name]
    every = np.arange(1, len(theory) + 1)
    data, seen = [], []
    for curve, color in zip(curves, SERIES, strict=False):
        expected = theory[:, curve.pairs].mean(axis=1)
        mean, error = _mean(batches[..., curve.pairs].mean(axis=-1))
        seen += [*expected, *mean]
        data.append(line(every, expected, curve.name, color, legend=False))
        data.append(points(labels, mean, error, curve.name, color))
    positive = min(seen) > 0 and max(seen) > _LOGARITHMIC_SPAN * min(seen)
    symbol = OBSERVABLES[name].symbol
    y_axis = log_axis(symbol, seen) if positive else axis(symbol, rangemode="tozero")
    return {"data": data, "layout": {"xaxis": _layer_axis(len(theory)), "yaxis": y_axis}}


def _departures(
    name: str, predicted: Prediction, measured: Measurement, curves: list[_Curve]
) -> Figure:
    theory = reduce(name, predicted[name].values)
    rows, cols = pair_indices(len(predicted.inputs))
    # In units of the diagonal: a kernel of different inputs may pass through zero.
    unit = 100 / np.abs(theory[:, rows == cols]).mean(axis=1)
    labels = np.asarray(measured.layers[name])
    every = np.arange(1, len(theory) + 1)
    corrections = None
    if _correction(name) in predicted:
        widths = np.array([1, *predicted.network.widths])[:, None]
        corrections = reduce(name, predicted[_correction(name)].values) / widths
    data = [line(every, 0.0 * every, "infinite width", "var(--muted)", legend=False)]
    # Side by side, so that the error bars of one curve do not hide another's.
    shifts = _SHIFT * (np.arange(len(curves)) - (len(curves) - 1) / 2)
    for curve, color, shift in zip(curves, SERIES, shifts, strict=False):
        difference = measured.batches[name][0] - theory[labels - 1]
        mean, error = _mean(difference[..., curve.pairs].mean(axis=-1) * unit[labels - 1])
        if corrections is not None:
            expected = corrections[:, curve.pairs].mean(axis=1) * unit
            data.append(line(every, expected, curve.name, color, legend=False, dash="dash"))
        data.append(
            points(
                labels + shift,
                mean,
                error,
                curve.name,
                color,
                hover="%{y:.3g} ± %{error_y.array:.2g} %",
            )
        )
    layout = {
        "xaxis": _layer_axis(len(theory)),
        "yaxis": axis("% of the diagonal", ticksuffix=" %", zeroline=False),
    }
    return {"data": data, "layout": layout}


def _correction(name: str) -> str:
    """The name of what a kernel is at first order in 1/n."""
    return f"{name}_correction"


def _mean(batches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of (batches, layers)."""
    return batches.mean(axis=0), batches.std(axis=0, ddof=1) / np.sqrt(len(batches))


def _layer_axis(layers: int) -> dict[str, object]:
    return axis("layer", tick0=1, dtick=-(-layers // 10))
