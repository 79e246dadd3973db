"""Means of products of images and slopes of four samples, for activations with kinks.

A positively homogeneous activation is s = (alpha + beta sgn z) z with slope alpha + beta sgn z, so
that a product of two images and two slopes is z_a z_b g, with g a product of four slopes. By parts

    E[z_a z_b g] = K_ab E g + sum_ij K_ai K_bj E[d_i d_j g],

and the derivatives of g are densities at 0 times means of at most two signs, all closed. Equal
samples, and collinear ones, share one sign. Other kinked activations go through quadrature that
knows where the jumps are for one and two samples, and through quasi-Monte Carlo for more.

**Sources:** Stein 1981 (by parts); Price 1958; for the mean of four signs see `_orthant`.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from whydeep.activations import ScalarFunction
from whydeep.gaussian._covariance import Covariance
from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._orthant import homogeneous_products, step_products
from whydeep.gaussian._product_lattice import PRODUCTS
from whydeep.gaussian._products import four_products
from whydeep.gaussian._tables import pair_means, self_means

__all__ = ["KINKED_PRODUCTS", "kinked_products"]

KINKED_PRODUCTS = tuple(orders for orders in PRODUCTS if max(orders) <= 1)
"""The derivative orders for which no delta function appears."""

_SLOPED = KINKED_PRODUCTS[1:]
_MIXED = KINKED_PRODUCTS[1:-1]
_ROUNDING = 1e-14
_TOLERANCE = 1e-11  # of one and two samples
_IMAGE_TOLERANCE = 1e-9
_SEQUENCES, _POINTS, _BLOCK = 16, 1 << 16, 1 << 14
_DEVIATIONS = 5.0  # with 16 sequences a chance of 2e-4


def kinked_products(activation: ScalarFunction, cov: Covariance, rows: np.ndarray) -> Estimate:
    """<s^(i)_a s^(j)_b s^(k)_c s^(l)_d> for `KINKED_PRODUCTS` of sorted rows: (Q, products).

    Accuracy: 1e-12 for homogeneous activations, and 1e-8 for four slopes of distinct samples. For
    others 1e-11 up to two distinct samples, and for more about 1e-3: five standard errors over
    sixteen scrambled Sobol sequences (Owen 1995).
    """
    if activation.slopes is None:
        images = four_products(activation, cov, rows, _IMAGE_TOLERANCE)
        rest = _others(activation, cov, rows)
    else:
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
    value, error = np.empty((2, len(rows), len(_SLOPED)))
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
        value, error = np.empty((2, count, len(_SLOPED)))
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


# -- others --------------------------------------------------------------------------------------


def _others(activation: ScalarFunction, cov: Covariance, rows: np.ndarray) -> Estimate:
    """The six products of two images and two slopes, and that of four slopes: (Q, 7)."""
    value, error = np.empty((2, len(rows), len(_SLOPED)))
    distinct = np.array([len(set(row)) for row in rows.tolist()])
    if np.any(distinct > 2):
        means = _by_sampling(activation, cov, rows[distinct > 2])
        value[distinct > 2], error[distinct > 2] = means.value, means.error
    few = np.flatnonzero(distinct <= 2)
    first = np.array([[np.flatnonzero(row == r)[0] for r in row] for row in rows[few]])
    for partition in np.unique(first, axis=0):
        where = few[np.all(first == partition, axis=1)]
        chosen, slots = np.unique(partition, return_inverse=True)
        means = _by_quadrature(activation, cov, rows[where][:, chosen], slots.tolist())
        value[where], error[where] = means.value.T, means.error.T
    return Estimate(value, error)


def _by_quadrature(
    activation: ScalarFunction, cov: Covariance, groups: np.ndarray, slots: list[int]
) -> Estimate:
    """Of rows whose four slots are filled by one or two distinct samples: (products, G)."""

    def integrand(z: np.ndarray) -> list[np.ndarray]:
        table = activation.derivatives(z, 1)
        return [
            _product([table[order][:, slot] for order, slot in zip(orders, slots, strict=True)])
            for orders in _SLOPED
        ]

    if groups.shape[1] == 1:
        means = self_means(activation, cov.variance, integrand, _TOLERANCE)
        return Estimate(means.value[:, groups[:, 0]], means.error[:, groups[:, 0]])
    return pair_means(activation, cov, (groups[:, 0], groups[:, 1]), integrand, _TOLERANCE)


def _by_sampling(activation: ScalarFunction, cov: Covariance, rows: np.ndarray) -> Estimate:
    """Of any samples, all on the same scrambled Sobol sequences: (Q, products).

    Where slopes jump no lattice converges fast, in three or four dimensions.
    """
    from scipy.stats import qmc  # scipy.stats takes a third of a second to import

    eigenvalues, vectors = np.linalg.eigh(cov.matrix)
    keep = eigenvalues > 1e-15 * max(eigenvalues[-1], 1e-300)
    forms = (vectors[:, keep] * np.sqrt(eigenvalues[keep]))[:, ::-1]  # the largest one first
    first, second = np.triu_indices(cov.size)
    place = np.zeros((cov.size, cov.size), dtype=np.int64)
    place[first, second] = place[second, first] = np.arange(first.size)
    means = np.empty((_SEQUENCES, len(_SLOPED), len(rows)))
    for k, seed in enumerate(np.random.SeedSequence(0).spawn(_SEQUENCES)):
        sobol = qmc.Sobol(forms.shape[1], rng=np.random.default_rng(seed))
        mixed, slopes = np.zeros((2, first.size, first.size))
        for _ in range(_POINTS // _BLOCK):
            uniform = np.clip(sobol.random(_BLOCK), 1e-16, 1.0 - 1e-16)
            image, slope = activation.derivatives(forms @ ndtri(uniform).T, 1)
            pairs = slope[first] * slope[second]
            mixed += (image[first] * image[second]) @ pairs.T / _POINTS
            slopes += pairs @ pairs.T / _POINTS
        for column, orders in enumerate(_SLOPED):
            a, b, c, d = rows[:, np.argsort(orders, kind="stable")].T  # images before slopes
            among = slopes if min(orders) == 1 else mixed
            means[k, column] = among[place[a, b], place[c, d]]
    error = _DEVIATIONS * means.std(axis=0, ddof=1) / math.sqrt(_SEQUENCES)
    return Estimate(means.mean(axis=0).T, error.T)


def _product(factors: list[np.ndarray]) -> np.ndarray:
    return functools.reduce(np.multiply, factors)
