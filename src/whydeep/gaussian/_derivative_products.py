"""Means of products of derivatives of four samples, over any four of N samples.

Each multiset of four samples has one lattice, of as many dimensions as its samples are linearly
independent, on which all its products are summed in one compiled pass. Lattices are refined until
two in a row agree; what is left out beyond their radius is bounded.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from whydeep.activations import ScalarFunction
from whydeep.errors import UnsupportedError
from whydeep.gaussian._covariance import Covariance
from whydeep.gaussian._derivative_table import DERIVATIVES, DerivativeTable, derivative_table
from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._kinked_products import KINKED_PRODUCTS, kinked_products
from whydeep.gaussian._product_lattice import PRODUCTS, lattice_products
from whydeep.gaussian._refine import ROUNDOFF
from whydeep.gaussian._trapezoid import root
from whydeep.gaussian._wick import power_products
from whydeep.threads import processors

__all__ = ["DerivativeProducts", "derivative_products"]

# Steps: a Gaussian alone is integrated to 4e-14 by a step of 0.8; a feature of unit size, as seen
# along an axis, gets this many steps a unit at first, and 1.2 times more at each level.
_LARGEST_STEP, _FEATURE, _FINER = 0.8, 0.36, 1.2
_MARGIN = 0.4  # half of the largest step: the cells of the nodes in a ball end about there
_LARGEST_RADIUS = 12.0
_MOST_NODES = 1 << 23
_MOST_LEVELS = 8
_LARGEST_ARGUMENT = 1 << 14
_FEW = 16  # multisets, which are done before threads have started
_SINGLE_TOLERANCE = 1e-12  # in one and two dimensions, where it costs nothing
_ORDERS = [list(orders) for orders in PRODUCTS]
_SLOTS = [0, 1, 2, 3]
_LINE = np.linspace(-_LARGEST_RADIUS, _LARGEST_RADIUS, 481)  # for means of one sample


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

    Raises:
        UnsupportedError: variances above 1e6.

    Accuracy: as the error says; linear and monomial exact; relu and its kin 1e-12 (1e-8 for four
    slopes of distinct samples). Cost: N (N + 1) (N + 2) (N + 3) / 24
    lattices; one of four distinct samples takes about 1e6 nodes (half for an odd function), 40 ms.

    **Source:** Trefethen and Weideman 2014, Theorem 5.1 (the trapezoid rule).

    Example:
        >>> from whydeep import activations
        >>> cov = Covariance.from_matrix(np.array([[1.0, 0.5], [0.5, 1.0]]))
        >>> products = derivative_products(activations.get("erf"), cov)
        >>> float(products.full(1, 1, 1, 1).value[0, 0, 1, 1].round(9))  # 16 / (pi^2 sqrt(21))
        0.353761519
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
    table = _table(activation, cov)
    rule = _Rule(table, cov.variance, tolerance, even=activation.odd)

    def one(index: int) -> None:
        distinct, slots = np.unique(rows[index], return_inverse=True)
        forms = root(cov.matrix[np.ix_(distinct, distinct)])[slots]
        value[index], error[index] = rule.means(forms, rows[index])

    if len(rows) < _FEW:
        for index in range(len(rows)):
            one(index)
    else:
        with ThreadPoolExecutor(processors()) as pool:
            for _ in pool.map(one, range(len(rows))):
                pass
    return DerivativeProducts(cov.size, value, error)


def _table(activation: ScalarFunction, cov: Covariance) -> DerivativeTable:
    """The table of s as far as any lattice may reach."""
    largest = float(np.sqrt(cov.variance.max()))
    half = 1 << int(np.ceil(np.log2(max(_LARGEST_RADIUS * largest, 4.0))))
    if half > _LARGEST_ARGUMENT:
        raise UnsupportedError(
            "Products of derivatives are not tabulated for variances as large as these.",
            received=f"a preactivation of variance {largest**2:.3g}",
            needed=f"at most {(_LARGEST_ARGUMENT / _LARGEST_RADIUS) ** 2:.3g}",
            suggestion="smaller weight_var and bias_var, or inputs of unit scale",
        )
    return derivative_table(activation, half)


class _Rule:
    """Lattices for the samples of one law, and how far their means may be wrong.

    By Hölder |<f_1 f_2 f_3 f_4>| <= prod <f_i^4>^(1/4), also where the means are taken outside a
    ball only: that bounds the tail, and sets the radius.
    """

    def __init__(
        self, table: DerivativeTable, variance: np.ndarray, tolerance: float, *, even: bool
    ) -> None:
        self.table, self.even = table, even
        density = np.exp(-(_LINE**2) / 2.0) * (_LINE[1] - _LINE[0]) / math.sqrt(2.0 * math.pi)
        fourth = table.derivatives(np.sqrt(variance)[:, None] * _LINE) ** 4 * density
        whole = fourth.sum(axis=-1)
        self.norms = whole**0.25  # (4, N)
        self.tolerance, self.radius, self.tails = {}, {}, {}
        for dimension in range(1, min(variance.size, 4) + 1):
            wanted = tolerance if dimension > 2 else _SINGLE_TOLERANCE
            radius, tail = 5.0, whole
            while radius < _LARGEST_RADIUS and np.any(tail > 0.1 * wanted * whole):
                radius += 0.25
                tail = fourth @ _outside(radius - _MARGIN, dimension)
            self.tolerance[dimension], self.radius[dimension] = wanted, radius
            self.tails[dimension] = tail**0.25

    def means(self, forms: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The thirty means of one multiset and their errors.

        Three times the difference of the last two lattices, the tail, the table's error, rounding.
        """
        dimension = forms.shape[1]
        norms, tails = self.norms[:, samples], self.tails[dimension][:, samples]
        sizes = np.array([norms[p, _SLOTS].prod() for p in _ORDERS])
        fixed = np.array([tails[p, _SLOTS].prod() for p in _ORDERS]) + ROUNDOFF * sizes
        read = norms + self.table.error[:, None]
        fixed += np.array([read[p, _SLOTS].prod() for p in _ORDERS]) - sizes
        before: np.ndarray | None = None
        mean = step = np.full(len(sizes), np.inf)
        table, radius = self.table, self.radius[dimension]
        for steps in _lattices(forms, radius):
            mean = lattice_products(
                forms, steps, radius, table.coefficients, table.low, table.per_unit, even=self.even
            )
            if before is not None:
                step = 3.0 * np.abs(mean - before)
                if np.all(step <= self.tolerance[dimension] * sizes):
                    break
            before = mean
        return mean, step + fixed


@functools.lru_cache(maxsize=256)
def _outside(radius: float, dimension: int) -> np.ndarray:
    """P(|v| > radius) of a standard normal vector, given one component, for all of `_LINE`."""
    left = radius**2 - _LINE**2
    if dimension == 1:
        return (left < 0).astype(np.float64)
    return np.where(left > 0, chdtrc(dimension - 1, np.maximum(left, 0.0)), 1.0)


def _lattices(forms: np.ndarray, radius: float) -> Iterator[np.ndarray]:
    """Steps, from coarse to fine; at least two, of no more nodes than can be afforded."""
    dimension = forms.shape[1]
    features = _FEATURE / np.maximum(np.abs(forms).max(axis=0), 1e-300)
    ball = math.pi ** (dimension / 2) / math.gamma(dimension / 2 + 1) * radius**dimension
    # Variances far above 1: the second lattice is the finest, and the error says how rough it is.
    crowding = ball / np.prod(np.minimum(_LARGEST_STEP, features / _FINER)) / _MOST_NODES
    features = features * max(1.0, crowding) ** (1.0 / dimension)
    for level in range(_MOST_LEVELS):
        steps = np.minimum(features, _LARGEST_STEP * _FINER ** (0.75 * level)) / _FINER**level
        if level > 1 and ball / np.prod(steps) > _MOST_NODES:
            return
        yield steps


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


def _multisets(size: int) -> np.ndarray:
    return np.array(list(itertools.combinations_with_replacement(range(size), 4)))
