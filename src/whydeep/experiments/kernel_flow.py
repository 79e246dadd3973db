"""The kernel and the distance of two nearby inputs, layer by layer: off criticality both are lost.

    K' = C_b + C_W <s^2>_K,   K1' = chi_par K1,   K2' = chi_perp K2 + h K1^2

For tanh without biases K goes to zero exponentially where C_W < 1, to a fixed point where C_W > 1,
and like 1 / (2 l) where C_W = 1.

Source: Roberts, Yaida and Hanin 2022, Chapter 5; Poole et al. 2016.
"""

from __future__ import annotations

import numpy as np

from whydeep.ensemble import measure
from whydeep.experiments._result import Check, Curve, Findings, Panel
from whydeep.network import mlp
from whydeep.theory.finite import predict
from whydeep.theory.flow import flow

__all__ = ["find"]

_DEPTH, _WIDTH, _DRAWS = 23, 192, 3_000
_VARIANCES = (0.8, 1.0, 1.3)
# Along the inputs differences die so fast off criticality that noise hides them deeper.
_CHECKED = {"K": (8, 24), "K1": (4, 8), "K2": (8, 24)}
_SHIFT = 0.1
_PARTS = {"K": "kernel", "K1": "parallel perturbation", "K2": "perpendicular perturbation"}


def find(seed: int, effort: float) -> Findings:
    """Tanh, 24 layers, widths 192 and 384, two inputs that differ by a tenth."""
    x = np.array([[1.0 + _SHIFT / 2, _SHIFT / 2], [1.0 - _SHIFT / 2, -_SHIFT / 2]]) * np.sqrt(2.0)
    layers = np.arange(1, _DEPTH + 2)
    checks: list[Check] = []
    curves: dict[str, list[Curve]] = {part: [] for part in _PARTS}
    for series, c_w in enumerate(_VARIANCES, start=1):
        network = mlp(_DEPTH, _WIDTH, "tanh", weight_var=c_w, bias_var=0.0)
        kernel = predict(network, x, order=0, observables="kernel")["kernel"].values
        limit = _parts(kernel[:, 0, 0], kernel[:, 0, 1], kernel[:, 1, 1])
        start = [float(limit[part][0]) for part in _PARTS]
        flowing = flow("tanh", _DEPTH + 1, kernel=start[0], parallel=start[1],
                       perpendicular=start[2], weight_var=c_w, bias_var=0.0)  # fmt: skip
        theory = dict(
            zip(_PARTS, (flowing.kernel, flowing.parallel, flowing.perpendicular), strict=True)
        )
        measured = measure(
            network, x, draws=max(int(effort * _DRAWS), 400), seed=1_000 * seed + series, rungs=2,
            observables="kernel", dtype="float64",
        )  # fmt: skip
        narrow, wide = (_parts(*np.moveaxis(b, -1, 0)) for b in measured.batches["kernel"])
        for part, title in _PARTS.items():
            seen = 2.0 * wide[part] - narrow[part]  # 1/n taken out
            mean, error = seen.mean(axis=0), seen.std(axis=0, ddof=1) / np.sqrt(len(seen))
            # what is left: 1/n^2, about the square of what 1/n was; and inputs that are not close
            first = (wide[part] - narrow[part]).mean(axis=0)
            left = first**2 / np.abs(theory[part]) + np.abs(limit[part] - theory[part])
            curves[part] += [
                Curve(f"theory, C_W = {c_w}", layers, theory[part], series=series),
                Curve(f"C_W = {c_w}", layers, mean, "measured", error, series),
            ]
            checks += [
                Check(
                    f"C_W = {c_w}: {title} at layer {layer}", float(theory[part][layer - 1]),
                    float(mean[layer - 1]), float(error[layer - 1]), float(left[layer - 1]),
                    len(seen), "orders of 1/n beyond the first; inputs at a finite distance",
                )
                for layer in _CHECKED[part]
            ]  # fmt: skip
    curves["K"].append(Curve("1 / (2 l)", layers[2:], 0.5 / layers[2:], dash="dash"))
    panels = tuple(
        Panel(
            title[:1].upper() + title[1:],
            f"The {title} against the layer for three weight variances.",
            "layer", part, tuple(curves[part]), log_x=part == "K", log_y=True,
        )
        for part, title in _PARTS.items()
    )  # fmt: skip
    return Findings(
        tuple(checks), panels,
        "Only at the critical variance do signals of any size, and differences along them and "
        "across them, survive depth: as powers of the layer, not exponentials.",
        ("Points are two widths continued to 1/n = 0.",),
    )  # fmt: skip


def _parts(plus: np.ndarray, mixed: np.ndarray, minus: np.ndarray) -> dict[str, np.ndarray]:
    """K, K1 and K2 from K_++, K_+- and K_--."""
    return {
        "K": (plus + minus + 2.0 * mixed) / 4.0,
        "K1": (plus - minus) / 2.0,
        "K2": (plus + minus - 2.0 * mixed) / 4.0,
    }
