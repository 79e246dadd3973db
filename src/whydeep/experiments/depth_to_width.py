"""Depth over width is what counts: the fluctuation of the kernel collapses onto one curve.

    V / (n K^2) -> nu l / n,   nu = 5 (relu), 2 (linear);   exactly (1 + nu/n)^h - 1 at any width

For tanh nu tends to 2/3 with depth, and V itself is predicted by its recursion.

Source: Roberts, Yaida and Hanin 2022, Sections 5.2 and 5.4; Hanin and Nica 2020 (exact moments).
"""

from __future__ import annotations

import numpy as np

from whydeep.ensemble import measure
from whydeep.experiments._result import Check, Curve, Findings, Panel
from whydeep.network import mlp
from whydeep.theory.finite import predict

__all__ = ["find"]

_WIDTHS = (32, 64, 128, 256)
_LARGEST = {"relu": 0.25, "linear": 0.5, "tanh": 0.5}
_EXACT = {"relu": 5.0, "linear": 2.0}
_DEEPEST = 64
_DRAWS = 40_000
_CHECKED = 0.125


def find(seed: int, effort: float) -> Findings:
    """One input, widths 32 to 256, depths up to half the width, at criticality."""
    checks: list[Check] = []
    panels = []
    for activation, largest in _LARGEST.items():
        curves = []
        ratio = first = np.zeros(0)
        for series, width in enumerate(_WIDTHS, start=1):
            depth = min(int(largest * width), _DEEPEST)
            network, x = mlp(depth, width, activation), np.ones((1, 4))
            measured = measure(
                network, x, draws=max(int(effort * _DRAWS), 1_000), seed=1_000 * seed + series,
                rungs=1, observables=("kernel", "four_point"), dtype="float64",
            )  # fmt: skip
            predicted = predict(network, x, observables=("kernel", "four_point"))
            ratio = np.arange(1, depth + 1) / width
            unit = width * predicted["kernel"].values[1:, 0, 0] ** 2
            seen = measured.batches["four_point"][0][:, 1:, 0] / unit
            mean, error = seen.mean(axis=0), seen.std(axis=0, ddof=1) / np.sqrt(len(seen))
            first = predicted["four_point"].values[1:, 0, 0, 0, 0] / unit
            curves.append(Curve(f"n = {width}", ratio, mean, "measured", error, series))
            at = round(_CHECKED * width) - 1
            if activation in _EXACT:
                exact = np.expm1(np.arange(1, depth + 1) * np.log1p(_EXACT[activation] / width))
                said, neglected, law = exact[at], 0.0, "exact at any width"
            else:
                # what is left out is of the order of the square of what is predicted
                said, neglected, law = first[at], first[at] ** 2, "first order"
            checks.append(
                Check(
                    f"{activation}: V/(n K²) at l/n = 1/8, n = {width}, {law}", float(said),
                    float(mean[at]), float(error[at]), float(neglected), len(seen),
                    "the second order in depth over width",
                )
            )  # fmt: skip
        grid = np.linspace(0.0, largest, 50)
        slope = _EXACT.get(activation, 2.0 / 3.0)
        curves.append(Curve(f"{slope:.3g} l/n", grid, slope * grid))
        if activation in _EXACT:
            curves.append(Curve("infinite width at this l/n", grid, np.expm1(slope * grid),
                                dash="dash"))  # fmt: skip
        else:
            ends = ratio, first  # of the widest network, the last of the loop
            curves.append(Curve("first order, n = 256", *ends, dash="dash"))
        panels.append(
            Panel(
                activation, f"V/(n K²) of {activation} networks against depth over width.",
                "depth / width", "V / (n K²)", tuple(curves),
            )
        )  # fmt: skip
    return Findings(
        tuple(checks), tuple(panels),
        "Points of very different networks fall on one curve: how far a network is from Gaussian "
        "depends on its depth over its width, not on either.",
        (("First order in 1/width is the straight line; what bends away from it is its exponential "
         "growth, which is why depth over width must be small."),),
    )  # fmt: skip
