"""The law of one output: how far from Gaussian networks of finite width are."""

from __future__ import annotations

import math

import numpy as np

from whydeep.ensemble import Measurement
from whydeep.report._figure import MEASURED, THEORY, Figure, Group, Plot, axis, band, line
from whydeep.theory import Prediction, preactivation_density

__all__ = ["density_group"]

_SIGMAS = 2.0


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
    curves = [("Gaussian, infinite width", gauss, "dot", "var(--muted)")]
    if corrected is not None:
        curves.append(("theory, first order in 1/n", corrected, "solid", THEORY))
    width = predicted.network.widths[-1]
    notes = []
    if corrected is not None:
        notes.append(
            "What is left between the line and the band is of second order in depth/width, which "
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
        "integrated exactly; bands are two standard errors.",
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


def _measured(x: np.ndarray, mean: np.ndarray, error: np.ndarray) -> list[Figure]:
    half = _SIGMAS * error
    return [
        band(x, mean - half, mean + half, "", "var(--measured-soft)"),
        line(x, mean, "measured", MEASURED, width=2.5),
    ]


def _density(
    x: np.ndarray, seen: np.ndarray, error: np.ndarray, curves: Curves, kind: str
) -> Figure:
    if kind == "log":
        tiny = float(seen[seen > 0].min()) if np.any(seen > 0) else 1e-12
        error = np.minimum(error, (seen - tiny / 2) / _SIGMAS)
        curves = [(n, np.where(y > 0, y, np.nan), d, c) for n, y, d, c in curves]
    data = _measured(x, seen, np.maximum(error, 0.0))
    data += [line(x, y, name, color, dash=dash) for name, y, dash, color in curves]
    shape = {"type": "log", "exponentformat": "power"} if kind == "log" else {"rangemode": "tozero"}
    return {"data": data, "layout": {"xaxis": _x_axis(), "yaxis": axis("density", **shape)}}


def _difference(x: np.ndarray, seen: np.ndarray, error: np.ndarray, curves: Curves) -> Figure:
    gauss = curves[0][1]
    data = _measured(x, seen - gauss, error)
    data += [line(x, y - gauss, name, color, dash=dash) for name, y, dash, color in curves]
    layout = {"xaxis": _x_axis(), "yaxis": axis("density − Gaussian", zeroline=False)}
    return {"data": data, "layout": layout}


def _ratio(x: np.ndarray, seen: np.ndarray, error: np.ndarray, curves: Curves) -> Figure:
    gauss = curves[0][1]
    data = _measured(x, seen / gauss, error / gauss)
    data += [line(x, y / gauss, name, color, dash=dash) for name, y, dash, color in curves]
    layout = {"xaxis": _x_axis(), "yaxis": axis("density / Gaussian", zeroline=False)}
    return {"data": data, "layout": layout}


def _x_axis() -> dict[str, object]:
    return axis("z / √K, output in units of its predicted standard deviation", zeroline=False)
