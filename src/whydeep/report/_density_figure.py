"""The law of one output: how far from Gaussian networks of finite width are."""

from __future__ import annotations

import math

import numpy as np

from whydeep.ensemble import Measurement
from whydeep.report._figure import (
    MEASURED,
    THEORY,
    Figure,
    Group,
    Key,
    Plot,
    axis,
    line,
    log_axis,
    points,
)
from whydeep.theory.finite import Prediction, preactivation_density

__all__ = ["density_group"]

_SIGMAS = 2.0
_EVERY = 2  # of the measured points, one in two is drawn


def density_group(predicted: Prediction, measured: tuple[Measurement, ...]) -> Group | None:
    """Density of an output and what is left of it once the Gaussian is taken off."""
    density = next((m.density for m in measured if m.density is not None), None)
    if density is None or "kernel" not in predicted:
        return None
    kernel = float(predicted["kernel"].values[-1, 0, 0])
    if not kernel > 0 or not density.unit > 0:
        return None
    scale = math.sqrt(kernel)
    z = density.points * density.unit
    x = z / scale
    # Densities of x = z / sqrt(K).
    seen, error = density.mean * scale / density.unit, density.stderr * scale / density.unit
    gauss = scale * preactivation_density(predicted, z, order=0)
    corrected = _corrected(predicted, z, scale)
    curves = [("Gaussian", gauss, "dot", "var(--muted)")]
    keys = [Key("dot", "muted", "Gaussian, infinite width")]
    if corrected is not None:
        curves.append(("first order", corrected, "solid", THEORY))
        keys.append(Key("line", "theory", "theory, first order in 1/n"))
    keys.append(Key("point", "measured", "measured, two standard errors"))
    width = predicted.network.widths[-1]
    notes = []
    if corrected is not None:
        notes.append(
            "What is left between line and points is of second order in depth/width, which "
            "the prediction does not claim; no verdict rests on this figure."
        )
    else:
        notes.append("No first correction was predicted here, so only the Gaussian is drawn.")
    return Group(
        name="density",
        title="Not quite Gaussian",
        lead="At infinite width an output of a random network is Gaussian. At width "
        f"{width} it is not quite: some networks come out large, some small. The density of the "
        "output on the first input, over draws of the network, with the last layer's weights "
        "integrated exactly.",
        label="Look at",
        options=("the centre", "the tails"),
        plots=(
            Plot(
                "Density of the output",
                "The measured density of an output, the Gaussian and the corrected density.",
                (
                    _density(x, seen, error, curves, "linear"),
                    _density(x, seen, error, curves, "log"),
                ),
            ),
            Plot(
                "Against the Gaussian",
                "The measured and the predicted density less the Gaussian, or over it.",
                (_difference(x, seen, error, curves), _ratio(x, seen, error, curves)),
            ),
        ),
        keys=tuple(keys),
        notes=tuple(notes),
    )


def _corrected(predicted: Prediction, z: np.ndarray, scale: float) -> np.ndarray | None:
    if "four_point" not in predicted or "kernel_correction" not in predicted:
        return None
    width = predicted.network.widths[-1]
    if not scale**2 + float(predicted["kernel_correction"].values[-1, 0, 0]) / width > 0:
        return None  # the expansion has broken down, which the table says too
    return scale * preactivation_density(predicted, z)


Curves = list[tuple[str, np.ndarray, str, str]]


def _density(
    x: np.ndarray, seen: np.ndarray, error: np.ndarray, curves: Curves, kind: str
) -> Figure:
    if kind == "log":
        # A logarithmic axis has no place for what is not positive.
        error = np.where(_SIGMAS * error < seen, error, 0.0)
        curves = [(n, np.where(y > 0, y, np.nan), d, c) for n, y, d, c in curves]
    if kind == "log":
        drawn = np.concatenate([seen, *(y for _, y, _, _ in curves)])
        return _figure(x, seen, error, curves, log_axis("density", drawn))
    return _figure(x, seen, error, curves, axis("density", rangemode="tozero"))


def _difference(x: np.ndarray, seen: np.ndarray, error: np.ndarray, curves: Curves) -> Figure:
    gauss = curves[0][1]
    less = [(n, y - gauss, d, c) for n, y, d, c in curves]
    return _figure(x, seen - gauss, error, less, axis("density − Gaussian", zeroline=False))


def _ratio(x: np.ndarray, seen: np.ndarray, error: np.ndarray, curves: Curves) -> Figure:
    gauss = curves[0][1]
    over = [(n, y / gauss, d, c) for n, y, d, c in curves]
    return _figure(x, seen / gauss, error / gauss, over, axis("density / Gaussian", zeroline=False))


def _figure(
    x: np.ndarray, seen: np.ndarray, error: np.ndarray, curves: Curves, y_axis: Figure
) -> Figure:
    data = [line(x, y, name, color, dash=dash, legend=False) for name, y, dash, color in curves]
    some = slice(None, None, _EVERY)
    bars = _SIGMAS * error[some]
    data.append(points(x[some], seen[some], bars, "measured", MEASURED, size=6.0, legend=False))
    return {"data": data, "layout": {"xaxis": _x_axis(), "yaxis": y_axis}}


def _x_axis() -> dict[str, object]:
    return axis("output / √K", zeroline=False)
