"""Gaussian means of products of kinked functions of three or four samples.

One direction, along which every sample moves, is integrated exactly up to rounding by panels that
end at each kink. That turns kinks of the integrand into jumps of a third derivative where two
kinks meet, and a lattice, turned so that none of those planes lies along it, does the other two or
three directions.
"""

from __future__ import annotations

import numpy as np

from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._piecewise import panels, ratio
from whydeep.gaussian._refine import outer_share, reach, refine
from whydeep.gaussian._trapezoid import Integrand, ball, lattice_steps

__all__ = ["folded_means"]

_INNER_PANELS, _INNER_NODES = 5, 8
_BLOCK = 1 << 18
_CAUTION = 4.0  # the error of a lattice fluctuates where convergence is algebraic
_MOST_OUTER = 1 << 13


def folded_means(
    integrand: Integrand,
    rows: np.ndarray,
    kinks: tuple[float, ...],
    tolerance: float,
    *,
    even: bool = False,
) -> Estimate:
    """E f_m(R_n u), f not smooth at z_a = k for each of the k samples: shape (m, n).

    Args:
        integrand: maps arguments z = R u, shape (n, k, nodes), to m arrays (n, nodes).
        rows: R, shape (n, k, d) with d from 1 to 4, its entries evenly spread.
        kinks: of the function.
        tolerance: relative to E |f|; what can be reached is about 1e-7.
        even: whether f(-z) = f(z), which halves the work.
    """
    count, samples, dimension = rows.shape
    points = np.asarray(kinks)

    def weighted(f: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.einsum("mp,p->m", f, weights)

    radius = reach(1e-2 * tolerance) + 0.1 * dimension

    def one(row: np.ndarray, outer: np.ndarray, weights: np.ndarray) -> np.ndarray:
        sums: np.ndarray | float = 0.0
        block = max(1, _BLOCK // (samples * 200))
        for start in range(0, weights.size, block):
            span = slice(start, start + block)
            drift = np.einsum("kd,dp->kp", row[:, 1:], outer[:, span])  # (k, block)
            top = points - drift[..., None]
            breaks = ratio(top, np.broadcast_to(row[:, 0, None, None], top.shape))
            breaks = np.moveaxis(breaks, 0, 1).reshape(drift.shape[1], -1)
            x, inner = panels(breaks, _INNER_PANELS, radius, _INNER_NODES)
            z = row[:, 0, None, None] * x + drift[..., None]
            all_weights = (inner * weights[span, None]).ravel()
            far = np.abs(x) > radius - 1.0
            far |= (np.einsum("dp,dp->p", *[outer[:, span]] * 2) > (radius - 1.0) ** 2)[:, None]
            functions = np.stack(integrand(z.reshape(1, samples, -1)))[:, 0]
            magnitudes = np.abs(functions)
            sums = sums + np.stack(
                [
                    weighted(functions, all_weights),
                    weighted(magnitudes, all_weights),
                    weighted(magnitudes, all_weights * far.ravel()),
                ]
            )
        return np.asarray(sums)

    def rule(level: int, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        outer_rows = rows[active, :, 1:]
        if dimension == 1:
            outer, weights = np.zeros((0, 1)), np.ones(1)
        else:
            steps = lattice_steps(outer_rows, radius, _MOST_OUTER) * 2.0 ** (
                -level / (dimension - 1)
            )
            outer, weights = ball(tuple(steps.tolist()), radius, even=even)
        if level > 1 and weights.size > _MOST_OUTER:
            return None
        parts = np.stack([one(rows[n], outer, weights) for n in active], axis=2)
        return parts[0], parts[1], outer_share(parts[1], parts[2])

    means = refine(rule, count, tolerance / _CAUTION)
    return Estimate(means.value, _CAUTION * means.error)
