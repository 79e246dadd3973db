"""Estimators of dimension from distances to neighbours, with the spread of their estimates.

Where the density is constant over the neighbourhoods and the points are on a manifold of dimension
d, the volumes r_1^d, r_2^d, ... of the balls that reach a point's neighbours are the arrivals of a
Poisson process, whatever its rate:

    (r_a / r_b)^d ~ Beta(a, b - a)      for a < b
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["ESTIMATORS", "gride", "jackknife", "likelihood", "slope"]

_KEPT = 0.9  # of the ratios, by Facco et al. 2017: the largest leave the neighbourhood


def likelihood(distances: np.ndarray) -> float:
    """Levina and Bickel's estimate over all points, as MacKay and Ghahramani average it.

    ``(N (k-1) - 1) / sum_i sum_{j<k} log(T_k / T_j)``: every logarithm has mean 1/d. With two
    neighbours this is TwoNN's estimate of maximum likelihood.
    """
    last = np.log(distances[:, -1])
    total = float(np.sum(last[:, None] - np.log(distances[:, :-1])))
    count = distances.shape[0] * (distances.shape[1] - 1)
    return (count - 1) / total if total > 0 else np.inf


def slope(distances: np.ndarray) -> float:
    """TwoNN as published: the slope of -log(1 - F) on log(r_2/r_1), without the largest tenth."""
    ratio = np.sort(np.log(distances[:, 1] / distances[:, 0]))
    n = len(ratio)
    kept = int(np.floor(_KEPT * n))
    rise = -np.log1p(-np.arange(1, kept + 1) / n)
    square = float(ratio[:kept] @ ratio[:kept])
    return float(ratio[:kept] @ rise) / square if square > 0 else np.inf


def gride(distances: np.ndarray) -> float:
    """Gride: maximum likelihood from r_2n / r_n, with 2n neighbours.

    The density of mu = r_b / r_a is ``d (mu^d - 1)^(b-a-1) / (mu^((b-1) d + 1) B(b-a, a))``; its
    logarithm is concave in d, and Newton's method in log d goes to the maximum.
    """
    b = distances.shape[1]
    a = b // 2
    logs = np.log(distances[:, b - 1] / distances[:, a - 1])
    n, total = len(logs), float(np.sum(logs))
    if total <= 0:
        return np.inf
    extra = b - a - 1
    # Mean of log(r_b/r_a) is (1/a + ... + 1/(b-1)) / d.
    d = n * float(np.sum(1.0 / np.arange(a, b))) / total
    for _ in range(100):
        t = np.maximum(d * logs, 1e-12)
        grown = -np.expm1(-t)  # 1 - mu^-d
        score = n + extra * float(np.sum(t / grown)) - (b - 1) * d * total
        bend = (
            extra * float(np.sum(t / grown - t * t * np.exp(-t) / grown**2)) - (b - 1) * d * total
        )
        # d/d(log d) of the score; with extra = 0 it is -(b-1) d total < 0.
        change = float(np.clip(-score / bend, -0.7, 0.7))
        d *= np.exp(change)
        if abs(change) < 1e-13:
            break
    return float(d)


ESTIMATORS: dict[str, Callable[[np.ndarray], float]] = {
    "twonn": likelihood,
    "twonn_slope": slope,
    "mle": likelihood,
    "gride": gride,
}


def jackknife(
    estimate: Callable[[np.ndarray], float], distances: np.ndarray, number: np.ndarray
) -> float:
    """The standard error of log d times d: every block of space left out in turn.

    Source: Tukey 1958; Kunsch 1989 (blocks, for observations that depend on near ones).
    """
    count = int(number.max()) + 1
    value = estimate(distances)
    if count < 2 or not np.isfinite(value):
        return np.nan
    left = np.log([estimate(distances[number != b]) for b in range(count)])
    spread = (count - 1) / count * float(np.sum((left - left.mean()) ** 2))
    return value * float(np.sqrt(spread))
