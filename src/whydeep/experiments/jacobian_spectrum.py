"""Singular values of the input-output Jacobian: Gaussian weights spread them, orthogonal don't.

With J = W^L D^L ... W^1 D^1, mean square normalised to 1 and mu_k = E s'^(2k) at the fixed point,

    (1/n) tr (J J^T)^2 = 1 + L (mu_2 / mu_1^2 - 1 - s),   s = -1 (Gaussian), 0 (orthogonal)

and for linear Gaussian networks the largest squared singular value is (L + 1)^(L+1) / L^L.

Source: Pennington, Schoenholz and Ganguli 2017, Eq. 17; 2018.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whydeep import activations
from whydeep.experiments._result import Check, Curve, Findings, Panel
from whydeep.gaussian import Covariance, second_moments
from whydeep.progress import progress_bar

__all__ = ["find"]

_WIDTHS = (48, 96, 192)
_DEPTHS = (1, 2, 4, 8, 16, 32, 64)
_CHECKED = 8
_NETWORKS = 20
_BIAS = 0.05  # of tanh, whose fixed point is at zero without


def find(seed: int, effort: float) -> Findings:
    """Products of up to 64 layers of widths 48 to 192."""
    rng = np.random.default_rng(seed)
    networks = max(int(effort * _NETWORKS), 2)
    settings = [(a, w) for a in ("linear", "relu", "tanh") for w in ("Gaussian", "orthogonal")]
    checks, moments, tops = [], [], []
    depths = np.array(_DEPTHS)
    with progress_bar("multiplying Jacobians", len(settings) * len(_WIDTHS)) as advance:
        for series, (activation, weights) in enumerate(settings, start=1):
            s, kernel, c_w, c_b = _tuned(activation)
            ladder, largest = [], []
            for width in _WIDTHS:
                drawn = [
                    _spectrum(s, width, kernel, c_w, c_b, rng, orthogonal=weights == "orthogonal")
                    for _ in range(networks)
                ]
                ladder.append([d[0] for d in drawn])
                largest.append([d[1] for d in drawn])
                advance()
            values = np.array(ladder)  # (widths, networks, depths)
            slope = _fourth(s, kernel) + (weights == "Gaussian") - 1.0
            mean = values[-1].mean(axis=0)
            error = values[-1].std(axis=0, ddof=1) / np.sqrt(networks)
            name = f"{activation}, {weights}"
            moments += [
                Curve(f"theory, {name}", depths, 1.0 + slope * depths, series=series),
                Curve(name, depths, mean, "measured", error, series),
            ]
            at = _DEPTHS.index(_CHECKED)
            far = 2.0 * values[2, :, at] - values[1, :, at]  # 1/n taken out
            gap = float(abs(values[2, :, at].mean() - values[1, :, at].mean()))
            checks.append(
                Check(
                    f"{name}: (1/n) tr (J Jᵀ)² at depth {_CHECKED}, continued to 1/n = 0",
                    1.0 + slope * _CHECKED, float(far.mean()),
                    float(far.std(ddof=1) / np.sqrt(networks)), 0.3 * gap + 1e-9, networks,
                    "orders of 1/n beyond the first",
                )
            )  # fmt: skip
            top = np.array(largest)[-1]
            tops.append(Curve(name, depths, top.mean(axis=0), "measured",
                              top.std(axis=0, ddof=1) / np.sqrt(networks), series))  # fmt: skip
    edge = np.exp((depths + 1) * np.log(depths + 1.0) - depths * np.log(depths))
    tops.insert(0, Curve("linear, Gaussian, infinite width", depths, edge, series=1))
    panels = (
        Panel(
            "Spread of squared singular values",
            "The mean fourth power of singular values against depth.",
            "depth", "(1/n) tr (J Jᵀ)²", tuple(moments), log_x=True, log_y=True,
        ),
        Panel(
            "Largest squared singular value", "The largest squared singular value against depth.",
            "depth", "largest squared singular value", tuple(tops), log_x=True, log_y=True,
        ),
    )  # fmt: skip
    return Findings(
        tuple(checks), panels,
        "A critical network keeps lengths on average. How much it stretches some directions and "
        "crushes others grows with depth, unless weights are orthogonal and slopes near 1.",
        ((f"Square layers of width {_WIDTHS[-1]}, {networks} networks; tanh at C_b = {_BIAS} on "
          "its critical line."),
         ("At width n the edge is rounded: the largest value of narrow or deep products lies below "
         "its limit.")),
    )  # fmt: skip


def _tuned(activation: str) -> tuple[activations.ScalarFunction, float, float, float]:
    """The function, the fixed point K*, C_W and C_b with C_W <s'^2> = 1."""
    s = activations.get(activation)
    if activation == "linear":
        return s, 1.0, 1.0, 0.0
    if activation == "relu":
        return s, 1.0, 2.0, 0.0
    low, high = 1e-3, 10.0
    kernel, c_w = 1.0, 1.0
    for _ in range(200):  # C_b = K - C_W <s^2> grows with K
        kernel = (low * high) ** 0.5
        c_w = 1.0 / _mean(lambda z: _slope(s, z) ** 2, kernel)
        square = second_moments(s, Covariance.from_matrix(np.array([[kernel]]))).variance[0]
        low, high = (kernel, high) if kernel - c_w * square < _BIAS else (low, kernel)
    return s, kernel, c_w, _BIAS


def _slope(s: activations.ScalarFunction, z: np.ndarray) -> np.ndarray:
    return s.derivatives(z, 1)[1]


def _mean(f: Callable[[np.ndarray], np.ndarray], kernel: float) -> float:
    u = np.linspace(-10.0, 10.0, 2001)
    weight = np.exp(-u * u / 2.0)
    return float(weight @ f(np.sqrt(kernel) * u) / weight.sum())


def _fourth(s: activations.ScalarFunction, kernel: float) -> float:
    """mu_2 / mu_1^2."""
    if s.slopes is not None:
        minus, plus = s.slopes
        return 2.0 * (minus**4 + plus**4) / (minus**2 + plus**2) ** 2
    second = _mean(lambda z: _slope(s, z) ** 2, kernel)
    return _mean(lambda z: _slope(s, z) ** 4, kernel) / second**2


def _spectrum(
    s: activations.ScalarFunction, width: int, kernel: float, c_w: float, c_b: float,
    rng: np.random.Generator, *, orthogonal: bool,
) -> tuple[list[float], list[float]]:  # fmt: skip
    """(1/n) tr (J J^T)^2 over its mean square, and the largest squared singular value."""
    z = np.sqrt(kernel) * rng.standard_normal(width)
    jacobian = np.eye(width)
    moments, largest = [], []
    for layer in range(1, _DEPTHS[-1] + 1):
        value, slope = s.derivatives(z, 1)
        weight = rng.standard_normal((width, width)) / np.sqrt(width)
        if orthogonal:
            q, r = np.linalg.qr(weight)
            weight = q * np.sign(np.diagonal(r))
        weight = np.sqrt(c_w) * weight
        jacobian = weight @ (slope[:, None] * jacobian)
        z = weight @ value + np.sqrt(c_b) * rng.standard_normal(width)
        if layer in _DEPTHS:
            gram = jacobian @ jacobian.T
            mean = np.trace(gram) / width
            moments.append(float(np.sum(gram**2) / width / mean**2))
            largest.append(float(np.linalg.eigvalsh(gram)[-1] / mean))
    return moments, largest
