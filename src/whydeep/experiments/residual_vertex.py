"""Fluctuations of residual networks: a skip remembers every layer, a recursion only the last.

    z^(l+1) = b + W s(z^(l)) + gamma z^(l),   C_W = 2 (1 - gamma^2) for relu

The recursion of networks without skips, with the skip's terms added (Roberts, Yaida and Hanin
2022, Appendix B), closes on the vertex of one layer; the exact first order follows whole
trajectories of neurons. Draws of networks tell them apart from the third layer on.

Source: the exact theory is derived in ``whydeep.theory.residual``.
"""

from __future__ import annotations

import numpy as np

from whydeep.comparison import compare_residual
from whydeep.ensemble import measure_residual
from whydeep.experiments._result import Check, Curve, Findings, Panel
from whydeep.network import residual_mlp
from whydeep.theory.residual import predict_residual

__all__ = ["find"]

_SKIPS = (0.9, 0.5)
_DEPTH, _WIDTH, _DRAWS = 5, 48, 40_000


def find(seed: int, effort: float) -> Findings:
    """Relu on one input, five hidden layers, widths 48 to 192, two strengths of the skip."""
    checks: list[Check] = []
    curves = []
    x = np.ones((1, 4))
    for series, skip in enumerate(_SKIPS, start=1):
        network = residual_mlp(_DEPTH, _WIDTH, "relu", skip=skip)
        predicted = {
            method: predict_residual(network, x, method=method)
            for method in ("trajectories", "closure")
        }
        measured = measure_residual(
            network, x, draws=max(int(effort * _DRAWS), 2_000), seed=1_000 * seed + series
        )
        table = compare_residual(
            measured, trajectories=predicted["trajectories"], closure=predicted["closure"]
        )
        unit = float(predicted["trajectories"]["kernel"].values[0, 0, 0]) ** 2
        layers = np.array(table.layers)
        seen, error = table.measured[:, 0] / unit, table.stderr[:, 0] / unit
        exact, closed = (table.predicted[m][:, 0] / unit for m in ("trajectories", "closure"))
        batches = measured.batches["four_point"].shape[1]
        checks += [
            Check(
                f"skip {skip}: V/K² at layer {layer}, exact first order", float(e), float(m),
                float(s), 1e-6, batches,
            )
            for layer, e, m, s in zip(layers, exact, seen, error, strict=True)
        ]  # fmt: skip
        curves += [
            Curve(f"exact, skip {skip}", layers, exact, series=series),
            Curve(f"recursion, skip {skip}", layers, closed, series=series, dash="dash"),
            Curve(f"skip {skip}", layers, seen, "measured", error, series),
        ]
    panel = Panel(
        "Vertex of residual relu networks",
        "V over K squared against the layer for two strengths of the skip: measured, exact, and by "
        "the recursion.",
        "layer", "V / K²", tuple(curves),
    )  # fmt: skip
    return Findings(
        tuple(checks), (panel,),
        "Both theories agree at the second layer. From the third on the recursion (dashed) forgets "
        "what the skip carries along, and falls short.",
        ("Three widths continued to 1/n = 0.",),
    )  # fmt: skip
