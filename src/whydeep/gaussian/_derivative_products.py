"""Means of products of derivatives of four samples, over any four of N samples.

Each multiset of four samples has one lattice, of as many dimensions as its samples are linearly
independent, on which all its products are summed in one compiled pass. Lattices are refined until
two in a row agree; the coarser one has the smaller radius too, so that its difference from the
finer one contains the tail.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.gaussian._covariance import Covariance
from whydeep.gaussian._derivative_table import DERIVATIVES, DerivativeTable, derivative_table
from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._kinked_products import KINKED_PRODUCTS, kinked_products
from whydeep.gaussian._product_lattice import PRODUCTS, lattice_products
from whydeep.gaussian._refine import ROUNDOFF, reach
from whydeep.gaussian._trapezoid import root
from whydeep.gaussian._wick import power_products

__all__ = ["DerivativeProducts", "derivative_products"]

# Steps: a Gaussian alone is integrated to 4e-14 by a step of 0.8; a feature of unit size, as seen
# along an axis, gets this many steps a unit at first, and 1.2 times more at each level.
_LARGEST_STEP, _FEATURE, _FINER = 0.8, 0.36, 1.2
_WIDER = 0.25  # by which the radius grows at each level: the tail falls five-fold
_MOST_NODES = 1 << 23
_MOST_LEVELS = 8
_SINGLE_TOLERANCE = 1e-12  # in one and two dimensions, where it costs nothing


@dataclass(frozen=True)
class DerivativeProducts:
    """Means <s^(i)_a s^(j)_b s^(k)_c s^(l)_d> of N samples.

    Args:
        size: N.
        value, error: of every multiset a <= b <= c <= d, in the order of
            ``itertools.combinations_with_replacement``, and every product that there is: shape
            (multisets, products).
        products: which derivative orders belong to a column.
    """

    size: int
    value: np.ndarray
    error: np.ndarray
    products: tuple[tuple[int, ...], ...] = PRODUCTS

    def full(self, *orders: int) -> Estimate:
        """All N^4 means for derivative orders (i, j, k, l) of the samples (a, b, c, d).

        The orders are a permutation of 0000, 0011, 1111, 0112, 1122 or 1113; for kinked functions
        of one of the first three.
        """
        n = self.size
        samples = np.indices((n,) * 4).reshape(4, -1)
        sort = np.argsort(samples, axis=0, kind="stable")
        scale = n ** np.arange(3, -1, -1)
        codes = scale @ _multisets(n).T
        row = np.searchsorted(codes, scale @ np.take_along_axis(samples, sort, axis=0))
        digits = DERIVATIVES ** np.arange(3, -1, -1)
        place = np.full(DERIVATIVES**4, -1)
        place[[int(digits @ p) for p in self.products]] = np.arange(len(self.products))
        column = place[digits @ np.asarray(orders)[sort]]
        if np.any(column < 0):
            raise KeyError(orders)
        shape = (n,) * 4
        return Estimate(
            self.value[row, column].reshape(shape), self.error[row, column].reshape(shape)
        )


def derivative_products(
    activation: ScalarFunction, cov: Covariance, *, tolerance: float = 1e-9
) -> DerivativeProducts:
    """The means of products of derivatives that tangent kernels and their differentials need.

    Of four samples a, b, c, d, up to permutations: s s s s, s s s' s', s' s' s' s', s s' s' s'',
    s' s' s'' s'' and s' s' s' s'''.

    Args:
        activation: any continuous one. With kinks there are products of images and slopes only,
            s s s s, s s s' s' and s' s' s' s'.
        cov: law of the preactivations of N samples.
        tolerance: of four and three distinct samples, relative to the product of the norms
            <(s^(k))^4>^(1/4); of fewer samples 1e-12.

    Accuracy: as the error says; linear and monomial exact; relu and its kin 1e-12 (1e-8 for four
    slopes of distinct samples). Cost: N (N + 1) (N + 2) (N + 3) / 24
    lattices; one of four distinct samples takes about 1e6 nodes (half for an odd function), 40 ms.

    **Source:** Trefethen and Weideman 2014, Theorem 5.1 (the trapezoid rule).

    Example:
        >>> from whydeep import activations
        >>> cov = Covariance.from_matrix(np.array([[1.0, 0.5], [0.5, 1.0]]))
        >>> products = derivative_products(activations.get("erf"), cov)
        >>> float(products.full(1, 1, 1, 1).value[0, 0, 1, 1].round(9))
        0.34794488
    """
    rows = _multisets(cov.size)
    if not activation.smooth:
        means = kinked_products(activation, cov, rows)
        return DerivativeProducts(cov.size, means.value, means.error, KINKED_PRODUCTS)
    power = {"linear": 1, "monomial": int((activation.parameters or (0,))[0])}
    if activation.family in power:
        means = _power_products(cov, rows, power[activation.family])
        return DerivativeProducts(cov.size, means.value, means.error)
    value, error = np.empty((2, len(rows), len(PRODUCTS)))
    largest = float(np.sqrt(cov.variance.max()))
    radius = reach(1e-2 * min(tolerance, _SINGLE_TOLERANCE)) + 1.0 + _WIDER * _MOST_LEVELS
    half = 1 << int(np.ceil(np.log2(max(radius * largest, 4.0))))
    table = derivative_table(activation, half)
    norms = _norms(table, cov.variance)

    def one(index: int) -> None:
        samples = rows[index]
        distinct, slots = np.unique(samples, return_inverse=True)
        forms = root(cov.matrix[np.ix_(distinct, distinct)])[slots]
        sizes = np.array([norms[p, samples].prod() for p in PRODUCTS])
        doubt = np.array([(norms[p, samples] + table.error[list(p)]).prod() for p in PRODUCTS])
        wanted = tolerance if forms.shape[1] > 2 else _SINGLE_TOLERANCE
        value[index], error[index] = _refined(forms, wanted, sizes, table, even=activation.odd)
        error[index] += doubt - sizes + ROUNDOFF * sizes

    with ThreadPoolExecutor(_processors()) as pool:
        for _ in pool.map(one, range(len(rows))):
            pass
    return DerivativeProducts(cov.size, value, error)


def _power_products(cov: Covariance, rows: np.ndarray, power: int) -> Estimate:
    """Those of s = z^power, in closed form: (Q, 30)."""
    value, error = np.zeros((2, len(rows), len(PRODUCTS)))
    matrix = cov.matrix[rows[:, :, None], rows[:, None, :]]
    for column, orders in enumerate(PRODUCTS):
        if max(orders) <= power:
            factor = math.prod(math.perm(power, order) for order in orders)
            left = tuple(power - order for order in orders)
            value[:, column] = factor * power_products(matrix, left)
            error[:, column] = ROUNDOFF * factor * power_products(np.abs(matrix), left)
    return Estimate(value, error)


def _refined(
    forms: np.ndarray, tolerance: float, sizes: np.ndarray, table: DerivativeTable, *, even: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The thirty means of one multiset, and three times the difference of the last two lattices."""
    before: np.ndarray | None = None
    error = np.full(len(sizes), np.inf)
    mean = error
    for steps, radius in _lattices(forms, tolerance):
        mean = lattice_products(
            forms, steps, radius, table.coefficients, table.low, table.per_unit, even=even
        )
        if before is not None:
            error = 3.0 * np.abs(mean - before)
            if np.all(error <= np.maximum(tolerance, 2 * ROUNDOFF) * sizes):
                break
        before = mean
    return mean, error


def _lattices(forms: np.ndarray, tolerance: float) -> Iterator[tuple[np.ndarray, float]]:
    dimension = forms.shape[1]
    amplitude = np.maximum(np.abs(forms).max(axis=0), 1e-300)
    coarsest = np.minimum(_LARGEST_STEP, _FEATURE / amplitude)
    for level in range(_MOST_LEVELS):
        radius = reach(1e-2 * tolerance) + 0.1 * dimension + _WIDER * (level - 1)
        steps = np.minimum(coarsest, _FEATURE / amplitude / _FINER**level)
        steps = np.minimum(steps, _LARGEST_STEP / _FINER ** (level / 4))
        nodes = np.prod(2.0 * radius / steps)
        if level > 1 and nodes > _MOST_NODES:
            return
        yield steps, radius


def _norms(table: DerivativeTable, variance: np.ndarray) -> np.ndarray:
    """<(s^(k))^4>^(1/4) of every sample: shape (4, N). By Hölder, products bound means."""
    u = np.linspace(-9.0, 9.0, 721)
    weights = np.exp(-(u**2) / 2.0)
    values = table.derivatives(np.sqrt(variance)[:, None] * u)
    return np.asarray((values**4 @ (weights / weights.sum())) ** 0.25)


def _multisets(size: int) -> np.ndarray:
    return np.array(list(itertools.combinations_with_replacement(range(size), 4)))


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
