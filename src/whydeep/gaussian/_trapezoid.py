"""Gaussian means of smooth functions by the trapezoid rule, in one to four dimensions.

For a function analytic in a strip of half-width d the error of step h falls like exp(-2 pi d/h),
with no weights to tabulate; Gauss-Hermite nodes lose to it wherever poles are near (tanh: 22
nodes leave 5e-5). In several dimensions the lattice is turned so that no single-sample direction
lies along an axis: then the shortest lattice wave along that direction is longer, and the step
may be about twice as large at the same error.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._refine import outer_share, reach, refine

__all__ = ["ball", "gaussian_means", "lattice_steps", "pair_rows", "root"]

Integrand = Callable[[np.ndarray], Sequence[np.ndarray]]

# A Gaussian alone is integrated to exp(-2 pi^2/h^2) = 4e-14 by a step of 0.8.
_LARGEST_STEP, _FEATURE = 0.8, 0.6
_MOST_NODES = {1: 1 << 15, 2: 1 << 21, 3: 1 << 21, 4: 1 << 22}
_BLOCK = 1 << 18  # arguments evaluated at once: bounds memory, and fits the compiled lengths
_LARGEST_RADIUS = 40.0

# Orthogonal matrices with entries of equal or nearly equal size.
_TURN = {
    1: np.eye(1),
    2: np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2.0),
    3: (np.full((3, 3), 2.0) - 3.0 * np.eye(3)) / 3.0,
    4: np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2.0,
}


def gaussian_means(
    integrand: Integrand, rows: np.ndarray, tolerance: float, *, even: bool = False
) -> Estimate:
    """E f_m(R_n u) for standard normal u, for n laws and m functions at once.

    Args:
        integrand: maps arguments z = R u, shape (n, k, nodes), to m arrays (n, nodes).
        rows: R, shape (n, k, d): k linear forms of d <= 4 independent standard normals.
        tolerance: relative to E |f|.
        even: whether f(-z) = f(z), which halves the work.

    Returns:
        Values and errors, shape (m, n). The nodes are doubled in number until two successive
        lattices agree, and the radius grows until the tail is small.

    **Source:** Trefethen and Weideman 2014, Theorem 5.1 (the trapezoid rule on the real line).
    """
    count, forms, dimension = rows.shape
    if count == 0:
        empty = np.empty((len(integrand(np.zeros((0, forms, 1)))), 0))
        return Estimate(empty, empty)
    radius, most = reach(1e-2 * tolerance) + 0.1 * dimension, _MOST_NODES[dimension]

    def rule(level: int, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        nonlocal radius
        steps = lattice_steps(rows[active], radius, most) * 2.0 ** (-level / dimension)
        if level > 1 and _volume(dimension, radius) / np.prod(steps) > most:
            return None
        nodes, weights = ball(tuple(steps.tolist()), radius, even=even)
        mean, size, shell = _sums(integrand, rows[active], nodes, weights, radius)
        tail = outer_share(size, shell)
        if np.any(tail > 0.1 * tolerance * size) and radius < _LARGEST_RADIUS:
            radius += 2.0
        return mean, size, tail

    return refine(rule, count, tolerance)


def pair_rows(
    deviation_a: np.ndarray,
    deviation_b: np.ndarray,
    gap: np.ndarray,
    cosine: np.ndarray,
    sine: np.ndarray,
) -> np.ndarray:
    """Rows for z_a, z_b, (z_a + z_b)/2 and (z_a - z_b)/2 in angle-bisector coordinates: (n, 4, 2).

    z_a = sqrt(q_a)(cos(theta/2) p + sin(theta/2) r), z_b = sqrt(q_b)(cos(theta/2) p -
    sin(theta/2) r); `gap` is sqrt(q_a) - sqrt(q_b), so that nothing cancels in the half
    difference.
    """
    sums = deviation_a + deviation_b
    p = np.stack([deviation_a, deviation_b, sums / 2, gap / 2], axis=-1) * cosine[..., None]
    r = np.stack([deviation_a, -deviation_b, gap / 2, sums / 2], axis=-1) * sine[..., None]
    return np.stack([p, r], axis=-1)


def root(matrix: np.ndarray) -> np.ndarray:
    """A with A A^T = matrix, shape (k, d) with d the numerical rank, entries evenly spread."""
    eigenvalues, vectors = np.linalg.eigh(matrix)
    keep = eigenvalues > 1e-15 * max(eigenvalues[-1], 1e-300)
    if not keep.any():
        return np.zeros((len(matrix), 1))
    a = vectors[:, keep] * np.sqrt(eigenvalues[keep])
    if keep.all():
        a = a @ vectors.T  # the symmetric root: samples near the axes, before the turn
    return a @ _TURN[a.shape[1]]


def lattice_steps(rows: np.ndarray, radius: float, most: int) -> np.ndarray:
    """Steps of the coarsest lattice for functions whose features have unit size: shape (d,).

    Wider where that would take more than a quarter of `most` nodes, as for variances far above 1:
    the error estimate then says how rough the answer is.
    """
    amplitude = np.abs(rows).max(axis=(0, 1))
    steps = np.minimum(_LARGEST_STEP, _FEATURE / np.maximum(amplitude, 1e-300))
    crowding = _volume(steps.size, radius) / np.prod(steps) / (most / 4.0)
    return steps * max(1.0, crowding) ** (1.0 / steps.size)


def _volume(dimension: int, radius: float) -> float:
    return math.pi ** (dimension / 2) / math.gamma(dimension / 2 + 1) * radius**dimension


@functools.lru_cache(maxsize=16)
def ball(
    steps: tuple[float, ...], radius: float, *, even: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Lattice points with |u| <= radius, shape (d, nodes), and their Gaussian weights.

    For even functions the half with u_1 >= 0, which counts twice where u_1 > 0.
    """
    points = np.zeros((0, 1))
    square = np.zeros(1)
    for step in steps:
        half = int(radius / step)
        axis = step * np.arange(0 if even and not len(points) else -half, half + 1)
        sums = square[:, None] + axis**2
        old, new = np.nonzero(sums <= radius**2)
        points = np.concatenate([points[:, old], axis[None, new]])
        square = sums[old, new]
    weights = np.exp(-square / 2.0) * np.prod(np.array(steps) / np.sqrt(2.0 * np.pi))
    if even:
        weights[points[0] > 0] *= 2.0
    points.setflags(write=False)
    weights.setflags(write=False)
    return points, weights


def _sums(
    integrand: Integrand, rows: np.ndarray, nodes: np.ndarray, weights: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted sums of f, of |f|, and of |f| over the outermost unit of the radius: (m, n)."""
    count, forms, _ = rows.shape
    outer = weights * (np.einsum("dp,dp->p", nodes, nodes) > (radius - 1.0) ** 2)
    laws = max(1, _BLOCK // (forms * weights.size))
    block = max(1, _BLOCK // forms)
    parts = []
    for first in range(0, count, laws):
        total: np.ndarray | float = 0.0
        for start in range(0, weights.size, block):
            span = slice(start, start + block)
            inner, rim = weights[span], outer[span]
            z = np.einsum("nkd,dp->nkp", rows[first : first + laws], nodes[:, span])
            functions = integrand(z)
            magnitudes = [np.abs(f) for f in functions]
            total = total + np.array(
                [
                    [_weighted(f, inner), _weighted(g, inner), _weighted(g, rim)]
                    for f, g in zip(functions, magnitudes, strict=True)
                ]
            )
        parts.append(total)
    sums = np.concatenate(parts, axis=2)
    return sums[:, 0], sums[:, 1], sums[:, 2]


def _weighted(f: np.ndarray, weights: np.ndarray) -> np.ndarray:
    # Not a matrix product: for one long row its threads cost more than they bring.
    return np.einsum("np,p->n", f, weights)
