"""Means of products of four images: each distinct product once, by the best rule it allows."""

from __future__ import annotations

import functools
import itertools

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.gaussian._covariance import Covariance
from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._folded import folded_means
from whydeep.gaussian._orthant import homogeneous_products, step_products
from whydeep.gaussian._refine import ROUNDOFF
from whydeep.gaussian._tables import pair_means, self_means
from whydeep.gaussian._trapezoid import gaussian_means, root
from whydeep.gaussian._wick import exponential_products, power_products

__all__ = ["four_products"]

_FOLDED = 1e-5  # what three or four samples of a kinked function can be asked for

_PATTERNS = {
    1: ((4,),),
    2: ((3, 1), (2, 2), (1, 3)),
    3: ((2, 1, 1), (1, 2, 1), (1, 1, 2)),
    4: ((1, 1, 1, 1),),
}  # how four factors are shared among k distinct samples


def four_products(
    activation: ScalarFunction, cov: Covariance, rows: np.ndarray, tolerance: float
) -> Estimate:
    """<s_a s_b s_c s_d> for rows (a, b, c, d), each sorted and all different: shape (Q,)."""
    closed = _closed(activation, cov, rows)
    return _by_groups(activation, cov, rows, tolerance) if closed is None else closed


def _closed(activation: ScalarFunction, cov: Covariance, rows: np.ndarray) -> Estimate | None:
    if activation.slopes is not None and activation.kinks:
        return homogeneous_products(activation.slopes, cov, rows)
    if activation.family == "step" and np.all(cov.variance[rows] > 0):
        return step_products(cov, rows)
    if activation.family == "sign" and np.all(cov.variance[rows] > 0):
        return _sign_products(cov, rows)
    matrix = cov.matrix[rows[:, :, None], rows[:, None, :]]
    if activation.family == "exp":
        value = exponential_products(matrix)
        return Estimate(value, ROUNDOFF * (1.0 + np.abs(matrix).sum(axis=(1, 2))) * value)
    if activation.family not in ("linear", "monomial"):
        return None
    power = int(activation.parameters[0]) if activation.parameters else 1
    value = power_products(matrix, power)
    return Estimate(value, ROUNDOFF * power_products(np.abs(matrix), power))


def _sign_products(cov: Covariance, rows: np.ndarray) -> Estimate:
    """With s = 2 step - 1, of odd mean zero: <ssss> = 16 <four steps> - 1 - sum of pairs <ss>."""
    orthants = step_products(cov, rows)
    theta = 2.0 * np.arctan2(*cov.half_angles()[::-1])
    pairs = sum(
        1.0 - 2.0 / np.pi * theta[rows[:, i], rows[:, j]]
        for i, j in itertools.combinations(range(4), 2)
    )
    return Estimate(16.0 * orthants.value - 1.0 - pairs, 16.0 * orthants.error)


def _by_groups(
    activation: ScalarFunction, cov: Covariance, rows: np.ndarray, tolerance: float
) -> Estimate:
    value, error = np.empty((2, len(rows)))
    distinct = [tuple(dict.fromkeys(row)) for row in rows.tolist()]
    for size, patterns in _PATTERNS.items():
        where = [q for q, group in enumerate(distinct) if len(group) == size]
        if not where:
            continue
        groups = list(dict.fromkeys(distinct[q] for q in where))
        means = _group_means(activation, cov, np.array(groups), tolerance)
        for q in where:
            powers = tuple(int(np.sum(rows[q] == a)) for a in distinct[q])
            at = patterns.index(powers), groups.index(distinct[q])
            value[q], error[q] = means.value[at], means.error[at]
    return Estimate(value, error)


def _group_means(
    activation: ScalarFunction, cov: Covariance, groups: np.ndarray, tolerance: float
) -> Estimate:
    """<prod_a s_a^p_a> of groups (G, k) of distinct samples, for all patterns p: (patterns, G)."""
    size = groups.shape[1]
    patterns = _PATTERNS[size]

    def integrand(z: np.ndarray) -> list[np.ndarray]:
        s = activation.derivatives(z[:, :size], 0)[0]
        return [
            functools.reduce(np.multiply, [s[:, a] for a in range(size) for _ in range(powers[a])])
            for powers in patterns
        ]

    if size == 1:
        means = self_means(activation, cov.variance, integrand, tolerance)
        return Estimate(means.value[:, groups[:, 0]], means.error[:, groups[:, 0]])
    if size == 2:
        pair = groups[:, 0], groups[:, 1]
        return pair_means(activation, cov, pair, integrand, tolerance)
    roots = [root(cov.matrix[np.ix_(group, group)]) for group in groups]
    value, error = np.empty((2, len(patterns), len(groups)))
    ranks = np.array([r.shape[1] for r in roots])
    for rank in set(ranks.tolist()):
        where = np.flatnonzero(ranks == rank)
        rows = np.stack([roots[i] for i in where])
        if activation.smooth:
            part = gaussian_means(integrand, rows, tolerance, even=activation.odd)
        else:
            part = folded_means(
                integrand,
                rows,
                activation.kinks,
                max(tolerance, _FOLDED),
                even=activation.odd,
            )
        value[:, where], error[:, where] = part.value, part.error
    return Estimate(value, error)
