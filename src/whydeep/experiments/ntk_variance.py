"""How much the tangent kernel of one network differs from the next: a matter of depth over width.

    Var H / (E H)^2 = (A + 2 B) / (n Theta^2) + O(1/n^2);   relu, at fixed b = L / n and n to
    infinity:   e^(5b) [1/3 + 2/(9b) - (1 - e^(-6b)) / (27 b^2)] - 1

Source: Roberts, Yaida and Hanin 2022, Section 8.2 (A and B); Hanin and Nica 2020 (the rate e^(5b));
the limit and the exact value at any width are those of ``whydeep.exact_moments``.
"""

from __future__ import annotations

import numpy as np

from whydeep.ensemble.training import train
from whydeep.experiments._result import Check, Curve, Findings, Panel
from whydeep.network import Network, mlp
from whydeep.progress import progress_bar
from whydeep.theory.exact import exact_moments
from whydeep.theory.finite import predict

__all__ = ["find"]

_DEPTHS = (1, 2, 4, 8, 16)
_WIDTHS = (16, 32, 64)
_DRAWS, _BATCHES = 8_000, 40
_CHECKED = 8  # the deepest where so many draws know the variance
_WIDE = 100_000


def find(seed: int, effort: float) -> Findings:
    """Relu on one input, 1 to 16 hidden layers of widths 16 to 64."""
    checks, points = [], []
    x = np.ones((1, 4))
    draws = max(int(effort * _DRAWS) // _BATCHES, 10) * _BATCHES
    with progress_bar("drawing tangent kernels", len(_DEPTHS) * len(_WIDTHS)) as advance:
        for row, depth in enumerate(_DEPTHS):
            predicted = predict(_network(depth, 64), x, observables=("ntk", "ntk_A", "ntk_B"))
            ntk, a, b = (float(predicted[name].values[-1].item()) for name in predicted)
            checks.append(
                Check(
                    f"{depth} hidden layers: (A + 2 B) / Theta², by n Var H / (E H)² at {_WIDE:,}",
                    (a + 2 * b) / ntk**2, _WIDE * _exact(depth, _WIDE, x), 0.0,
                    10 * depth**2 / _WIDE * (a + 2 * b) / ntk**2,
                    left_out="depth squared over the width",
                )
            )  # fmt: skip
            for column, width in enumerate(_WIDTHS):
                number = 1_000 * seed + 10 * row + column
                seen = _ratios(_network(depth, width), x, draws, number)
                error = float(seen.std(ddof=1) / np.sqrt(_BATCHES))
                points.append((depth / width, float(seen.mean()), error, column))
                advance()
                if depth <= _CHECKED and width >= 4 * depth:
                    checks.append(
                        Check(
                            f"{depth} hidden layers of {width}: Var H / (E H)²",
                            _exact(depth, width, x), float(seen.mean()), error, batches=_BATCHES,
                        )
                    )  # fmt: skip
    grid = np.geomspace(1.0 / 64, 1.0, 60)
    curves = [
        Curve("limit at fixed depth over width", grid, _joint_limit(grid)),
        Curve("first order, 11/3 of it", grid, 11.0 / 3.0 * grid, dash="dash"),
    ]
    for column, width in enumerate(_WIDTHS):
        own = sorted(p[:3] for p in points if p[3] == column)
        ratio, mean, error = (np.array(v) for v in zip(*own, strict=True))
        exact = [_exact(depth, width, x) for depth in _DEPTHS]
        curves.append(Curve(f"exact, n = {width}", ratio, exact, series=column + 1, dash="dot"))
        curves.append(Curve(f"n = {width}", ratio, mean, "measured", error, column + 1))
    panel = Panel(
        "Scatter of the tangent kernel",
        "The variance of the tangent kernel over its squared mean, against depth over width.",
        "depth / width", "Var H / (E H)²", tuple(curves), log_x=True, log_y=True,
    )  # fmt: skip
    return Findings(
        tuple(checks), (panel,),
        "The infinite-width theory of training takes the tangent kernel for a number. In networks "
        "as deep as they are wide its scatter is many times its mean.",
        (("Where depth nears width a few networks hold most of the variance, and the error bars of "
         "any number of draws are too small."),),
    )  # fmt: skip


def _exact(depth: int, width: int, x: np.ndarray) -> float:
    return float(exact_moments(_network(depth, width), x).ntk_ratio.values[-1, 0])


def _joint_limit(b: np.ndarray) -> np.ndarray:
    return np.exp(5 * b) * (1 / 3 + 2 / (9 * b) + np.expm1(-6 * b) / (27 * b**2)) - 1


def _network(depth: int, width: int) -> Network:
    return mlp(depth, width, "relu", weight_lr=1.0, bias_lr=0.0)


def _ratios(network: Network, x: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Var H / (E H)^2 as a jackknife over batches: its mean and scatter are those of the ratio."""
    drawn = train(
        network, x, np.zeros((1, 1)), draws=draws, costly_draws=draws, seed=seed, steps=1,
        step=1e-9, record=[0], observables=["ntk"],
    )  # fmt: skip
    h = np.asarray(drawn.samples["ntk"], dtype=np.float64).reshape(_BATCHES, -1)
    ones, squares, size = h.sum(axis=1), (h**2).sum(axis=1), h.shape[1]

    def ratio(total: np.ndarray, square: np.ndarray, count: int) -> np.ndarray:
        mean = total / count
        return (square / count - mean**2) * count / (count - 1) / mean**2

    whole = ratio(ones.sum(), squares.sum(), h.size)
    without = ratio(ones.sum() - ones, squares.sum() - squares, h.size - size)
    return _BATCHES * whole - (_BATCHES - 1) * without
