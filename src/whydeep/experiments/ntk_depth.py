"""The tangent kernel against depth: linear growth at criticality, exponential off it.

    Theta^(l+1) = lambda_b + lambda_W <s^2> + C_W <s'^2> Theta^(l),   relu: C_W <s'^2> = C_W / 2

Source: Jacot, Gabriel and Hongler 2018; Guillen, Misof and Gerken 2025 (the figure).
"""

from __future__ import annotations

import numpy as np

from whydeep.ensemble import measure
from whydeep.experiments._result import Check, Curve, Findings, Panel
from whydeep.network import mlp
from whydeep.theory.finite import predict

__all__ = ["find"]

_DEPTH, _WIDTH, _NETWORKS = 30, 200, 1_024
_VARIANCES = (1.8, 2.0, 2.2)
_CHECKED = (10, 20, 30)


def find(seed: int, effort: float) -> Findings:
    """Relu, width 200, 30 hidden layers, 1,024 networks."""
    checks, curves = [], []
    for series, variance in enumerate(_VARIANCES, start=1):
        network = mlp(
            _DEPTH, _WIDTH, "relu", weight_var=variance, bias_var=0.0, weight_lr=1.0, bias_lr=0.0
        )
        x = np.ones((1, 4))
        theory = predict(network, x, order=0, observables="ntk")["ntk"].values[:, 0, 0]
        measured = measure(
            network, x, draws=max(int(effort * _NETWORKS), 128), seed=1_000 * seed + series,
            rungs=1, observables="ntk",
        )  # fmt: skip
        batches = measured.batches["ntk"][0][:, :, 0]
        mean, error = batches.mean(axis=0), batches.std(axis=0, ddof=1) / np.sqrt(len(batches))
        layers = np.arange(1, _DEPTH + 2)
        curves.append(Curve(f"theory, C_W = {variance}", layers, theory, series=series))
        curves.append(Curve(f"C_W = {variance}", layers, mean, "measured", error, series))
        checks += [
            Check(
                f"C_W = {variance}: tangent kernel of layer {layer}", float(theory[layer - 1]),
                float(mean[layer - 1]), float(error[layer - 1]), 1e-5 * float(theory[layer - 1]),
                len(batches),
            )
            for layer in _CHECKED
        ]  # fmt: skip
    panel = Panel(
        "Tangent kernel against depth",
        "The tangent kernel of a neuron of every layer for three weight variances, measured and "
        "predicted.",
        "layer", "tangent kernel", tuple(curves), log_y=True,
    )  # fmt: skip
    return Findings(
        tuple(checks), (panel,),
        "At the critical variance 2 every layer adds as much as any other, and the tangent kernel "
        "grows in proportion to depth; below and above it decays or explodes.",
        (("On one input the mean tangent kernel of relu networks has no correction in 1/width: it "
          "agrees at depth over width 0.15, though single networks scatter by their own size."),
         f"Learning rates 1 for weights and 0 for biases; {_NETWORKS} networks."),
    )  # fmt: skip
