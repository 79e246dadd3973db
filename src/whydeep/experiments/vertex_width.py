"""The vertex against width: n times the excess fourth moment is a straight line in 1/n.

    n V_hat(n) / K^2 = V / K^2 + O(1/n);   relu, h hidden layers, one input: n [(1 + 5/n)^h - 1]

Source: Roberts, Yaida and Hanin 2022, Eq. 4.90 and Section 5.2; Hanin and Nica 2020 for relu at any
width.
"""

from __future__ import annotations

import numpy as np

from whydeep.comparison import compare
from whydeep.ensemble import measure
from whydeep.experiments._result import Check, Curve, Findings, Panel
from whydeep.network import mlp
from whydeep.theory.finite import predict

__all__ = ["find"]

_DEPTH, _WIDTH, _RUNGS, _DRAWS = 2, 16, 4, 60_000
_ACTIVATIONS = ("tanh", "relu", "gelu")


def find(seed: int, effort: float) -> Findings:
    """One input, two hidden layers, widths 16 to 128, at criticality."""
    checks, curves = [], []
    for series, activation in enumerate(_ACTIVATIONS, start=1):
        network = mlp(_DEPTH, _WIDTH, activation)
        x = np.ones((1, 4))
        predicted = predict(network, x, observables=("kernel", "four_point"))
        measured = measure(
            network, x, draws=max(int(effort * _DRAWS), 1_000), seed=1_000 * seed + series,
            rungs=_RUNGS, observables=("kernel", "four_point"), dtype="float64",
        )  # fmt: skip
        table = compare(predicted, measured)
        row = next(r for r in table.of("four_point") if r.layer == _DEPTH + 1)
        batches = measured.batches["four_point"].shape[1]
        checks.append(
            Check(
                f"{activation}: measured over predicted V, continued to 1/n = 0",
                1.0, row.ratio, row.stderr, row.neglected, batches,
                "orders of 1/n beyond those fitted",
            )
        )  # fmt: skip
        unit = float(predicted["kernel"].values[-1, 0, 0]) ** 2
        level = float(predicted["four_point"].values[-1, 0, 0, 0, 0]) / unit
        widths = _WIDTH * np.array(measured.factors)
        mean, error = (a.values[:, -1, 0, 0, 0, 0] / unit for a in measured.ladder("four_point"))
        grid = np.linspace(0.0, 1.05 / _WIDTH, 40)
        curves.append(Curve(f"{activation} at 1/n = 0", grid, np.full(40, level), series=series))
        if activation == "relu":
            n = 1.0 / np.maximum(grid, 1e-9)
            exact = n * np.expm1(_DEPTH * np.log1p(5.0 / n))
            curves.append(Curve("relu, any width", grid, exact, series=series, dash="dash"))
            checks += [
                Check(
                    f"relu: n V / K² at width {w}, exact at any width",
                    float(w * ((1 + 5 / w) ** _DEPTH - 1)), float(m), float(e), batches=batches,
                )
                for w, m, e in zip(widths, mean, error, strict=True)
            ]  # fmt: skip
        else:
            # No first order of V is predicted: the fit that is continued to the axis.
            fitted = np.polyval(np.polyfit(1.0 / widths, mean, len(widths) - 1), grid)
            curves.append(Curve(f"{activation}, fit", grid, fitted, series=series, dash="dot"))
        curves.append(Curve(activation, 1.0 / widths, mean, "measured", error, series))
    panel = Panel(
        "Excess fourth moment against width",
        "n V / K^2 at the output for tanh, relu and gelu against 1/n, with predictions at 1/n = 0 "
        "and, for relu, at any width.",
        "1 / width", "n V / K²", tuple(curves),
    )  # fmt: skip
    return Findings(
        tuple(checks), (panel,),
        "A network of infinite width has Gaussian outputs. At width n their excess fourth moment "
        "is V/n: times n, it meets the axis where theory says.",
        (f"One input with |x|²/n₀ = 1, {_DEPTH} hidden layers, critical initialisation.",
         ("Solid lines are V at 1/n = 0, where alone it is a prediction; the dashed line is exact "
          "at any width, dotted ones go through the points and claim nothing.")),
    )  # fmt: skip
