"""The moments of smooth activations, as integrands for the trapezoid rule."""

from __future__ import annotations

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.gaussian._covariance import Covariance, pairs
from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._trapezoid import gaussian_means, pair_rows, root

__all__ = [
    "PATTERNS",
    "group_means",
    "leibniz_square",
    "pair_second_moments",
    "pair_table",
    "self_table",
    "stable_difference",
]

# Below this half-distance s(m + d) - s(m - d) is expanded; the term left out is d^4/120 of it.
_NEAR = 1e-3

PATTERNS = {
    1: ((4,),),
    2: ((3, 1), (2, 2), (1, 3)),
    3: ((2, 1, 1), (1, 2, 1), (1, 1, 2)),
    4: ((1, 1, 1, 1),),
}
"""How four factors are shared among k distinct samples."""


def pair_second_moments(
    activation: ScalarFunction, cov: Covariance, tolerance: float
) -> tuple[Estimate, Estimate]:
    """<(s_a - s_b)^2> and <(s_a + s_b)^2> of all pairs a < b, each of shape (pairs,)."""

    def integrand(z: np.ndarray) -> tuple[np.ndarray, ...]:
        a, b = np.moveaxis(activation.derivatives(z[:, :2], 0)[0], 1, 0)
        return stable_difference(activation, z, a - b) ** 2, (a + b) ** 2

    both = gaussian_means(integrand, _rows(cov), tolerance)
    return Estimate(both.value[0], both.error[0]), Estimate(both.value[1], both.error[1])


def stable_difference(
    activation: ScalarFunction, z: np.ndarray, difference: np.ndarray
) -> np.ndarray:
    """s(z_a) - s(z_b), expanded about the midpoint where the arguments are close.

    Args:
        activation: the function s.
        z: z_a, z_b, (z_a + z_b)/2, (z_a - z_b)/2 along axis 1.
        difference: s(z_a) - s(z_b) by subtraction.
    """
    middle, half = z[:, 2], z[:, 3]
    near = np.abs(half) < _NEAR
    if activation.kinks:  # no kink in between: a step across one is not small
        kinks = np.asarray(activation.kinks)
        near &= np.searchsorted(kinks, z[:, 0], "right") == np.searchsorted(
            kinks, z[:, 1], "right"
        )
    if not near.any():
        return difference
    _, first, _, third = activation.derivatives(middle[near], 3)
    out = difference.copy()
    out[near] = 2.0 * half[near] * (first + third * half[near] ** 2 / 6.0)
    return out


def pair_table(
    activation: ScalarFunction, cov: Covariance, order: int, tolerance: float
) -> Estimate:
    """<s^(i)(z_a) s^(j)(z_b)>, i + j <= order, for all pairs a < b: (order+1, order+1, pairs)."""
    which = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]

    def integrand(z: np.ndarray) -> list[np.ndarray]:
        table = activation.derivatives(z, order)
        return [table[i][:, 0] * table[j][:, 1] for i, j in which]

    return _table(gaussian_means(integrand, _rows(cov)[:, :2], tolerance), which, order)


def self_table(
    activation: ScalarFunction, cov: Covariance, order: int, tolerance: float
) -> tuple[Estimate, Estimate]:
    """<s^(i) s^(j)> of one sample, (order+1, order+1, N), and <(s^2)^(m)>, (order+1, N)."""
    which = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]

    def integrand(z: np.ndarray) -> list[np.ndarray]:
        table = [d[:, 0] for d in activation.derivatives(z, order)]
        products = [table[i] * table[j] for i, j in which]
        return products + [leibniz_square(table, m) for m in range(order + 1)]

    both = gaussian_means(integrand, np.sqrt(cov.variance)[:, None, None], tolerance)
    split = len(which)
    products = Estimate(both.value[:split], both.error[:split])
    return _table(products, which, order), Estimate(both.value[split:], both.error[split:])


def leibniz_square(table: list[np.ndarray], m: int) -> np.ndarray:
    """(s^2)^(m) from the derivatives of s."""
    total = np.zeros_like(table[0])
    binomial = 1
    for k in range(m + 1):
        total += binomial * table[k] * table[m - k]
        binomial = binomial * (m - k) // (k + 1)
    return total


def group_means(
    activation: ScalarFunction, cov: Covariance, groups: np.ndarray, tolerance: float
) -> Estimate:
    """<prod_a s_a^p_a> for groups of k distinct samples and all `PATTERNS` of k.

    Args:
        activation: a smooth function s.
        cov: law of all samples.
        groups: their indices, shape (groups, k).
        tolerance: relative to the mean magnitude.

    Returns:
        Shape (patterns, groups).
    """
    patterns = PATTERNS[groups.shape[1]]

    def integrand(z: np.ndarray) -> list[np.ndarray]:
        s = activation.derivatives(z, 0)[0]
        return [np.prod([s[:, a] ** p for a, p in enumerate(powers)], axis=0) for powers in patterns]

    roots = [_group_root(cov, group) for group in groups]
    value, error = np.empty((2, len(patterns), len(groups)))
    ranks = np.array([r.shape[1] for r in roots])
    for rank in set(ranks):
        where = np.flatnonzero(ranks == rank)
        part = gaussian_means(integrand, np.stack([roots[i] for i in where]), tolerance)
        value[:, where], error[:, where] = part.value, part.error
    return Estimate(value, error)


def _group_root(cov: Covariance, group: np.ndarray) -> np.ndarray:
    if len(group) == 2:
        return _rows(cov, group[:1], group[1:])[0, :2]
    return root(cov.matrix[np.ix_(group, group)])


def _rows(
    cov: Covariance, a: np.ndarray | None = None, b: np.ndarray | None = None
) -> np.ndarray:
    if a is None or b is None:
        a, b = pairs(cov.size)
    cosine, sine = cov.half_angles()
    deviation = np.sqrt(cov.variance)
    gap = cov.deviation_difference
    return pair_rows(deviation[a], deviation[b], gap[a, b], cosine[a, b], sine[a, b])


def _table(estimate: Estimate, which: list[tuple[int, int]], order: int) -> Estimate:
    shape = (order + 1, order + 1, estimate.value.shape[1])
    value, error = np.full(shape, np.nan), np.full(shape, np.nan)
    for (i, j), v, e in zip(which, estimate.value, estimate.error, strict=True):
        value[i, j], error[i, j] = v, e
    return Estimate(value, error)
