"""Corrections of mean kernels against width: gelu's are there, relu's on one input are not.

    E K = K + K^{1} / n,   E H = Theta + Theta^{1} / n

Source: Roberts, Yaida and Hanin 2022, Eq. 4.136; Guillen, Misof and Gerken 2025 (the tangent
kernel's, and the figure).
"""

from __future__ import annotations

import numpy as np

from whydeep.comparison import compare
from whydeep.ensemble import measure
from whydeep.experiments._result import Check, Curve, Findings, Panel
from whydeep.network import mlp
from whydeep.theory.finite import predict

__all__ = ["find"]

_DEPTH = 3
_NARROW, _RUNGS = 6, 6
_DRAWS = 20_000
_SLOPE_WIDTH, _SLOPE_DRAWS = 16, 250_000
_KERNEL = 0.5  # of the first layer: at the fixed point, 3.56, the corrections nearly vanish
_NAMES = {"kernel": "kernel_correction", "ntk": "ntk_correction"}
_TITLES = {"kernel": "kernel", "ntk": "tangent kernel"}


def find(seed: int, effort: float) -> Findings:
    """Gelu and relu at criticality on one input, three hidden layers of widths 6 to 192."""
    checks: list[Check] = []
    panels = []
    first = mlp(_DEPTH, _NARROW, "gelu").dense[0]
    x = np.full((1, 4), np.sqrt((_KERNEL - first.bias_var) / first.weight_var))
    for offset, name in enumerate(_NAMES):
        curves = []
        for series, activation in enumerate(("gelu", "relu"), start=1):
            network = mlp(_DEPTH, _NARROW, activation)
            predicted = predict(network, x, observables=(name, _NAMES[name]))
            unit = float(predicted[name].values[-1, 0, 0])
            slope = float(predicted[_NAMES[name]].values[-1, 0, 0]) / unit
            measured = measure(
                network, x, draws=max(int(effort * _DRAWS), 2_000),
                seed=1_000 * seed + 10 * offset + series, rungs=_RUNGS, observables=name,
                layers="all" if name == "kernel" else "output", dtype="float64",
            )  # fmt: skip
            batches = measured.batches[name][:, :, -1, 0] / unit
            widths = _NARROW * np.array(measured.factors)
            count = batches.shape[1]
            mean, error = batches.mean(axis=1), batches.std(axis=1, ddof=1) / np.sqrt(count)
            title = f"{activation}: {_TITLES[name]}"
            if activation == "relu":
                checks += [
                    Check(f"{title} over its limit, width {w}", 1.0, float(m), float(e),
                          1e-6, count)
                    for w, m, e in zip(widths, mean, error, strict=True)
                ]  # fmt: skip
            else:
                checks.append(_slope_check(title, name, x, effort, 1_000 * seed + 10 * offset))
            grid = np.linspace(0.0, 1.0 / _NARROW, 40)
            curves += [
                Curve(f"{activation}, first order", grid, 1.0 + slope * grid, series=series),
                Curve(activation, 1.0 / widths, mean, "measured", error, series),
            ]
        panels.append(
            Panel(
                f"Mean {_TITLES[name]} over its limit",
                f"The mean {_TITLES[name]} of the output over that of infinite width, against 1/n.",
                "1 / width", "measured / infinite width", tuple(curves),
            )
        )  # fmt: skip
    return Findings(
        tuple(checks), tuple(panels),
        "The lines are first-order theory: they touch the points where these set out, at 1/n = 0. "
        "For relu on one input nothing corrects the mean, at any width.",
        ((f"One input, gelu's first kernel {_KERNEL}, {_DEPTH} hidden layers, critical "
          "initialisation."),),
    )  # fmt: skip


def _slope_check(title: str, name: str, x: np.ndarray, effort: float, seed: int) -> Check:
    """The slope in 1/n, from three widths that share their random numbers."""
    network = mlp(_DEPTH, _SLOPE_WIDTH, "gelu")
    predicted = predict(network, x, observables=(name, _NAMES[name]))
    measured = measure(
        network, x, draws=max(int(effort * _SLOPE_DRAWS), 2_000), seed=seed,
        observables=name, dtype="float64",
    )  # fmt: skip
    row = next(r for r in compare(predicted, measured).of(_NAMES[name]) if r.layer is None)
    return Check(
        f"{title}'s correction, measured over predicted, all layers", 1.0, row.ratio, row.stderr,
        row.neglected, measured.batches[name].shape[1], "orders of 1/n beyond those fitted",
    )  # fmt: skip
