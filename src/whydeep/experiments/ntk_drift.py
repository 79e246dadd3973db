"""Representation learning: how far training moves the tangent kernel, at first order in 1/n.

One input, one output, gradient flow on (z - y)^2 / 2; with u = (1 - exp(-Theta t)) / Theta,

    n (E H(t) - E H(0)) = -2 u (P + 2 Q) + (3 R + 2 (S + T + U)) (K + y^2) u^2

Source: Roberts, Yaida and Hanin 2022, Chapter 11 and the chapter on infinity (the tensors); the
closed form is derived from their dynamics.
"""

from __future__ import annotations

import numpy as np

from whydeep.ensemble.training import train
from whydeep.experiments._result import Check, Curve, Findings, Panel
from whydeep.network import Network, mlp
from whydeep.theory.finite import predict

__all__ = ["find"]

_WIDTHS = (16, 32, 64)
_DRAWS, _BATCHES = 12_000, 40
_TARGET, _STEP, _STEPS = 2.5, 0.004, 300
_RECORD = (25, 50, 100, 150, 225, 300)
_INPUT = np.array([[1.0, 0.3, -0.5]])
_LETTERS = ("dntk_P", "dntk_Q", "ddntk_R", "ddntk_S", "ddntk_T", "ddntk_U")


def find(seed: int, effort: float) -> Findings:
    """Tanh, two hidden layers of widths 16 to 64, trained on one input."""
    draws = max(int(effort * _DRAWS) // _BATCHES, 10) * _BATCHES
    target = np.array([[_TARGET]])
    moved, curves = [], []
    times = _STEP * np.array(_RECORD)
    for series, width in enumerate(_WIDTHS, start=1):
        trained = train(
            _network(width), _INPUT, target, draws=draws, costly_draws=draws,
            seed=1_000 * seed + series, steps=_STEPS, step=_STEP, record=[0, *_RECORD],
            observables=["ntk"], dtype="float64",
        )  # fmt: skip
        h = np.asarray(trained.samples["ntk"]).reshape(draws, -1)
        change = width * (h[:, 1:] - h[:, :1])
        batches = change.reshape(_BATCHES, -1, len(times)).mean(axis=1)
        moved.append(batches)
        curves.append(Curve(f"n = {width}", times, batches.mean(axis=0), "measured",
                            batches.std(axis=0, ddof=1) / np.sqrt(_BATCHES), series))  # fmt: skip
    predicted = predict(_network(64), _INPUT, observables=("kernel", "ntk", *_LETTERS))
    theory = _drift(predicted, np.array(_RECORD))
    curves.insert(0, Curve("theory, 1/n to 0", times, theory))
    # three widths continued to 1/n = 0; half of what the narrowest changes may be left
    limit = (8 * moved[2] - 6 * moved[1] + moved[0]) / 3
    two = 2 * moved[2] - moved[1]
    curves.append(Curve("continued to 1/n = 0", times, limit.mean(axis=0), "measured",
                        limit.std(axis=0, ddof=1) / np.sqrt(_BATCHES)))  # fmt: skip
    checks = tuple(
        Check(
            f"n (E H(t) - E H(0)) at t = {t:g}, continued to 1/n = 0", float(theory[k]),
            float(limit[:, k].mean()), float(limit[:, k].std(ddof=1) / np.sqrt(_BATCHES)),
            0.5 * abs(float((limit[:, k] - two[:, k]).mean())) + 0.02 * abs(float(theory[k])),
            _BATCHES, "orders of 1/n beyond those fitted, and the size of a step",
        )
        for k, t in enumerate(times)
        if _RECORD[k] >= 100
    )  # fmt: skip
    panel = Panel(
        "Drift of the tangent kernel while training",
        "n times the mean change of the tangent kernel against time, at three widths and continued "
        "to infinite width, with theory.",
        "time", "n (E H(t) − E H(0))", tuple(curves),
    )  # fmt: skip
    return Findings(
        checks, (panel,),
        "At infinite width the tangent kernel never moves, and nothing is learned but a linear "
        "model. At width n it moves by a number over n, which theory knows.",
        (f"Gradient descent with steps of {_STEP}, whose own discrete time the theory takes.",
         f"Target {_TARGET}; {draws} networks a width."),
    )  # fmt: skip


def _network(width: int) -> Network:
    return mlp(
        2, width, "tanh", weight_var=1.4, bias_var=0.1, weight_lr=[1.0, 0.8, 1.3],
        bias_lr=[0.5, 0.7, 1.1],
    )  # fmt: skip


def _drift(predicted: object, steps: np.ndarray) -> np.ndarray:
    """The formula above, with u of gradient descent: (1 - (1 - eta Theta)^k) / Theta."""
    k, theta, p, q, r, s, t, u4 = (
        float(predicted[name].values[-1].item())  # pyright: ignore[reportIndexIssue]
        for name in ("kernel", "ntk", *_LETTERS)
    )
    u = (1.0 - (1.0 - _STEP * theta) ** steps) / theta
    return -2.0 * u * (p + 2.0 * q) + (3.0 * r + 2.0 * (s + t + u4)) * (k + _TARGET**2) * u**2
