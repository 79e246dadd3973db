"""Correlations of two inputs through a critical relu network: they become one, but slowly.

    rho' = [sqrt(1 - rho^2) + (pi - arccos rho) rho] / pi,   1 - rho_l -> 9 pi^2 / (2 l^2)

Source: Cho and Saul 2009, Eq. 6; Poole et al. 2016; Hayou, Doucet and Rousseau 2019 (the power).
"""

from __future__ import annotations

import numpy as np

from whydeep.comparison import compare
from whydeep.ensemble import measure
from whydeep.experiments._result import Check, Curve, Findings, Panel
from whydeep.network import mlp
from whydeep.theory.finite import predict

__all__ = ["find"]

_DEPTH, _WIDTH, _DRAWS = 30, 240, 1_500
_DEEP = 3_000
_ANGLES = (0.35, 0.9, 1.5, 2.6)


def find(seed: int, effort: float) -> Findings:
    """Pairs at four angles, 30 hidden layers of widths 240 to 960."""
    checks, curves = [], []
    layers = np.arange(1, _DEPTH + 2)
    for series, angle in enumerate(_ANGLES, start=1):
        x = np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]]) * np.sqrt(2.0)
        network = mlp(_DEPTH, _WIDTH, "relu")
        predicted = predict(network, x, observables=("kernel", "kernel_correction"))
        measured = measure(
            network,
            x,
            draws=max(int(effort * _DRAWS), 200),
            seed=1_000 * seed + series,
            observables="kernel",
        )
        table = compare(predicted, measured)
        row = next(r for r in table.of("kernel") if r.layer is None)
        checks.append(
            Check(
                f"angle {angle}: kernels of all layers, measured over predicted", 1.0, row.ratio,
                row.stderr, row.neglected, measured.batches["kernel"].shape[1],
                "orders of 1/n beyond those fitted",
            )
        )  # fmt: skip
        kernel = predicted["kernel"].values
        rho = kernel[:, 0, 1] / np.sqrt(kernel[:, 0, 0] * kernel[:, 1, 1])
        batches = measured.batches["kernel"][-1]  # components (1,1), (1,2), (2,2)
        seen = batches[..., 1] / np.sqrt(batches[..., 0] * batches[..., 2])
        curves.append(Curve(f"theory, angle {angle}", layers, 1.0 - rho, series=series))
        first = kernel + predicted["kernel_correction"].values / (_WIDTH * measured.factors[-1])
        near = first[:, 0, 1] / np.sqrt(first[:, 0, 0] * first[:, 1, 1])
        curves.append(
            Curve(f"first order, angle {angle}", layers, 1.0 - near, series=series, dash="dash")
        )
        curves.append(
            Curve(
                f"angle {angle}", layers, 1.0 - seen.mean(axis=0), "measured",
                seen.std(axis=0, ddof=1) / np.sqrt(len(seen)), series,
            )
        )  # fmt: skip
    law = 4.5 * np.pi**2 / layers[4:] ** 2
    curves.append(Curve("9π²/(2 l²)", layers[4:], law, dash="dot"))
    x = np.array([[1.0, 0.0], [0.0, 1.0]]) * np.sqrt(2.0)
    kernel = predict(mlp(_DEEP, 1, "relu"), x, order=0, observables="kernel")["kernel"].values
    rest = 1.0 - kernel[-1, 0, 1] / kernel[-1, 0, 0]
    checks.append(
        Check(
            f"1 - rho at layer {_DEEP + 1} over 9 pi^2 / (2 l^2): corrections fall like log(l)/l",
            1.0, float(rest * (_DEEP + 1) ** 2 / (4.5 * np.pi**2)), 0.0,
            3.0 * np.log(_DEEP) / _DEEP + 0.01, left_out="terms like log(l)/l",
        )
    )  # fmt: skip
    panel = Panel(
        "One minus the correlation, layer by layer",
        "1 - rho of two inputs at four angles against the layer, measured and predicted.",
        "layer", "1 − ρ", tuple(curves), log_x=True, log_y=True,
    )  # fmt: skip
    return Findings(
        tuple(checks), (panel,),
        "Whatever the angle of two inputs, a deep relu network at criticality sees them ever more "
        "alike, by a power of depth; off criticality tanh does so exponentially.",
        ((f"Points are of the widest network, {4 * _WIDTH}, dashed lines the first order in 1/n "
          "there; the checks continue three widths to "
         "1/n = 0."),
         "At 30 layers the power law is still off by half: the last check looks at 3,000 layers."),
    )  # fmt: skip
