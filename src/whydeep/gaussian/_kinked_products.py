"""Means of products of images and slopes of four samples, for activations with kinks.

A positively homogeneous activation is s = (alpha + beta sgn z) z with slope alpha + beta sgn z, so
that a product of two images and two slopes is z_a z_b g, with g a product of four slopes. By parts

    E[z_a z_b g] = K_ab E g + sum_ij K_ai K_bj E[d_i d_j g],

and the derivatives of g are densities at 0 times means of at most two signs, all closed. Equal
samples, and collinear ones, share one sign. Other kinked activations go through the quadrature
that knows where kinks and jumps are.

**Sources:** Stein 1981 (by parts); Price 1958; for the mean of four signs see `_orthant`.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.gaussian._covariance import Covariance
from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._folded import folded_means
from whydeep.gaussian._orthant import homogeneous_products, step_products
from whydeep.gaussian._product_lattice import PRODUCTS
from whydeep.gaussian._tables import pair_means, self_means
from whydeep.gaussian._trapezoid import root

__all__ = ["KINKED_PRODUCTS", "kinked_products"]

KINKED_PRODUCTS = tuple(orders for orders in PRODUCTS if max(orders) <= 1)
"""The derivative orders for which no delta function appears."""

_MIXED = KINKED_PRODUCTS[1:-1]
_ROUNDING = 1e-14
_FEW_TOLERANCE, _FOLDED_TOLERANCE = 1e-11, 1e-5


def kinked_products(activation: ScalarFunction, cov: Covariance, rows: np.ndarray) -> Estimate:
    """<s^(i)_a s^(j)_b s^(k)_c s^(l)_d> for `KINKED_PRODUCTS` of sorted rows: (Q, products).

    Accuracy: 1e-12 for homogeneous activations, and 1e-8 for four slopes of distinct samples;
    1e-11 for up to two distinct samples of the others, and as the error says for more.
    """
    if activation.slopes is None:
        return _by_quadrature(activation, cov, rows)
    images = homogeneous_products(activation.slopes, cov, rows)
    rest = _homogeneous(activation.slopes, cov, rows)
    value = np.concatenate([images.value[:, None], rest.value], axis=1)
    return Estimate(value, np.concatenate([images.error[:, None], rest.error], axis=1))


# -- homogeneous ---------------------------------------------------------------------------------


def _homogeneous(slopes: tuple[float, float], cov: Covariance, rows: np.ndarray) -> Estimate:
    """The six products of two images and two slopes, and that of four slopes: (Q, 7)."""
    cosine, sine = cov.half_angles()
    apart = (sine > 0) & (cosine > 0)
    label = np.array([np.flatnonzero(~apart[i])[0] for i in range(cov.size)])
    sign = np.where(sine[np.arange(cov.size), label] > 0, -1.0, 1.0)
    labels = label[rows]
    first = np.array([[np.flatnonzero(row == r)[0] for r in row] for row in labels])
    value, error = np.empty((2, len(rows), len(_MIXED) + 1))
    for partition in np.unique(first, axis=0):
        where = np.flatnonzero(np.all(first == partition, axis=1))
        group = _Signs.of(slopes, cov, rows[where], sign[rows[where]], partition)
        value[where], error[where] = group.products(slopes)
    return Estimate(value, error)


@dataclass(frozen=True)
class _Signs:
    """Rows of four samples with the same ones collinear; k signs of representatives differ.

    Args:
        matrix: covariance of the four samples, (Q, 4, 4).
        chosen: which of the four represent the k signs.
        even, odd: the product of the slopes that share sign i is even_i + odd_i sgn_i, (Q, k).
        signs: E sgn_i sgn_j, (Q, k, k).
        determinant: of pairs of representatives, (Q, k, k).
        four: E of the product of four signs and its error, (Q,); 0 for fewer.
    """

    matrix: np.ndarray
    chosen: np.ndarray
    even: np.ndarray
    odd: np.ndarray
    signs: np.ndarray
    determinant: np.ndarray
    four: Estimate

    @classmethod
    def of(
        cls,
        slopes: tuple[float, float],
        cov: Covariance,
        rows: np.ndarray,
        turned: np.ndarray,
        partition: np.ndarray,
    ) -> _Signs:
        chosen = np.unique(partition)
        alpha, beta = (slopes[1] + slopes[0]) / 2.0, (slopes[1] - slopes[0]) / 2.0
        sides = []
        for side in (1.0, -1.0):
            factors = alpha + beta * side * turned * turned[:, partition]
            parts = [factors[:, partition == i].prod(axis=1) for i in chosen]
            sides.append(np.stack(parts, axis=1))
        even, odd = (sides[0] + sides[1]) / 2.0, (sides[0] - sides[1]) / 2.0
        at = rows[:, chosen]
        variance = cov.variance[at]
        odd = np.where(variance > 0, odd, 0.0)  # without variance: the mean of both sides
        cosine, sine = (half[at[:, :, None], at[:, None, :]] for half in cov.half_angles())
        signs = 1.0 - 4.0 / math.pi * np.arctan2(sine, cosine)
        pairs = variance[:, :, None] * variance[:, None, :]
        four = Estimate(np.zeros(len(rows)), np.zeros(len(rows)))
        if len(chosen) == 4:
            moving = np.flatnonzero(np.all(variance > 0, axis=1))
            orthants = step_products(cov, at[moving])
            both = sum(signs[moving, i, j] for i, j in itertools.combinations(range(4), 2))
            four.value[moving] = 16.0 * orthants.value - 1.0 - both
            four.error[moving] = 16.0 * orthants.error
        matrix = cov.matrix[rows[:, :, None], rows[:, None, :]]
        return cls(matrix, chosen, even, odd, signs, pairs * (2.0 * sine * cosine) ** 2, four)

    def products(self, slopes: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """Values and errors, (Q, 7)."""
        count, k = self.even.shape
        mean, doubt = self._slopes()
        size = max(abs(s) for s in slopes) ** 4
        value, error = np.empty((2, count, len(_MIXED) + 1))
        value[:, -1], error[:, -1] = mean, doubt + _ROUNDING * size
        weights = {
            (i, j): self._density(i, j) * 4.0 * self.odd[:, i] * self.odd[:, j] * self._rest(i, j)
            for i, j in itertools.combinations(range(k), 2)
        }
        m = self.matrix
        deviation = np.sqrt(np.diagonal(m, axis1=1, axis2=2))
        own = [m[:, i, i] for i in self.chosen]
        for column, orders in enumerate(_MIXED):
            a, b = (slot for slot in range(4) if orders[slot] == 0)
            total = m[:, a, b] * mean
            scale = deviation[:, a] * deviation[:, b]
            doubts = scale * (doubt + _ROUNDING * size)
            for (i, j), weight in weights.items():
                p, q = self.chosen[i], self.chosen[j]
                total = total + weight * (
                    m[:, a, p] * m[:, b, q]
                    + m[:, a, q] * m[:, b, p]
                    - m[:, a, p] * m[:, b, p] * _over(m[:, p, q], own[i])
                    - m[:, a, q] * m[:, b, q] * _over(m[:, p, q], own[j])
                )
                doubts = doubts + _ROUNDING * np.abs(weight) * scale * np.sqrt(own[i] * own[j])
            value[:, column], error[:, column] = total, doubts
        return value, error

    def _slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """E g and its error: over which of the signs appear, an even number of them."""
        count, k = self.even.shape
        total = self.even.prod(axis=1)
        for pair in itertools.combinations(range(k), 2):
            others = [n for n in range(k) if n not in pair]
            odd = self.odd[:, pair[0]] * self.odd[:, pair[1]]
            total = total + odd * self.signs[:, *pair] * self.even[:, others].prod(axis=1)
        if k < 4:
            return total, np.zeros(count)
        odd = self.odd.prod(axis=1)
        return total + odd * self.four.value, np.abs(odd) * self.four.error

    def _density(self, i: int, j: int) -> np.ndarray:
        """Of z_i and z_j at 0; 0 where one of them does not move."""
        determinant = self.determinant[:, i, j]
        return _over(np.full(len(determinant), 0.5 / math.pi), np.sqrt(determinant))

    def _rest(self, i: int, j: int) -> np.ndarray:
        """E of the other signs' factors, given z_i = z_j = 0."""
        others = [n for n in range(self.even.shape[1]) if n not in (i, j)]
        plain = self.even[:, others].prod(axis=1)
        if len(others) < 2:
            return plain
        given = self.chosen[[i, j]]
        left = self.chosen[others]
        m = self.matrix
        inner = m[:, left[:, None], left]
        across = m[:, left[:, None], given]
        block = m[:, given[:, None], given]
        adjugate = np.stack(
            [
                np.stack([block[:, 1, 1], -block[:, 0, 1]], axis=-1),
                np.stack([-block[:, 0, 1], block[:, 0, 0]], axis=-1),
            ],
            axis=-2,
        )
        explained = np.einsum("nij,njk,nlk->nil", across, adjugate, across)
        rest = inner - _over(explained, self.determinant[:, i, j, None, None])
        size = np.sqrt(np.maximum(rest[:, 0, 0] * rest[:, 1, 1], 0.0))
        angle = np.arcsin(np.clip(_over(rest[:, 0, 1], size), -1.0, 1.0))
        return plain + self.odd[:, others].prod(axis=1) * angle * 2.0 / math.pi


def _over(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """The quotient, 0 where the bottom is 0."""
    top, bottom = np.broadcast_arrays(top, bottom)
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


# -- by quadrature -------------------------------------------------------------------------------


def _by_quadrature(activation: ScalarFunction, cov: Covariance, rows: np.ndarray) -> Estimate:
    value, error = np.empty((2, len(rows), len(KINKED_PRODUCTS)))
    first = np.array([[np.flatnonzero(row == r)[0] for r in row] for row in rows])
    for partition in np.unique(first, axis=0):
        where = np.flatnonzero(np.all(first == partition, axis=1))
        chosen, slots = np.unique(partition, return_inverse=True)
        means = _group(activation, cov, rows[where][:, chosen], slots.tolist())
        value[where], error[where] = means.value.T, means.error.T
    return Estimate(value, error)


def _group(
    activation: ScalarFunction, cov: Covariance, groups: np.ndarray, slots: list[int]
) -> Estimate:
    """The products of rows whose four slots are filled by k distinct samples: (products, G)."""

    def integrand(z: np.ndarray) -> list[np.ndarray]:
        table = activation.derivatives(z, 1)
        return [
            _product([table[order][:, slot] for order, slot in zip(orders, slots, strict=True)])
            for orders in KINKED_PRODUCTS
        ]

    k = groups.shape[1]
    if k == 1:
        means = self_means(activation, cov.variance, integrand, _FEW_TOLERANCE)
        return Estimate(means.value[:, groups[:, 0]], means.error[:, groups[:, 0]])
    if k == 2:
        pair = groups[:, 0], groups[:, 1]
        return pair_means(activation, cov, pair, integrand, _FEW_TOLERANCE)
    value, error = np.empty((2, len(KINKED_PRODUCTS), len(groups)))
    roots = [root(cov.matrix[np.ix_(group, group)]) for group in groups]
    ranks = np.array([r.shape[1] for r in roots])
    for rank in set(ranks.tolist()):
        where = np.flatnonzero(ranks == rank)
        stacked = np.stack([roots[i] for i in where])
        part = folded_means(
            integrand, stacked, activation.kinks, _FOLDED_TOLERANCE, even=activation.odd
        )
        value[:, where], error[:, where] = part.value, part.error
    return Estimate(value, error)


def _product(factors: list[np.ndarray]) -> np.ndarray:
    return functools.reduce(np.multiply, factors)
