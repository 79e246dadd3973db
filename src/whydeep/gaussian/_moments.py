"""The front of the room: every Gaussian mean of an activation that the recursions need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whydeep import activations
from whydeep.activations import ScalarFunction
from whydeep.errors import InputError, UnsupportedError
from whydeep.gaussian import _closed_forms, _tables
from whydeep.gaussian._covariance import Covariance, pairs
from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._pair_tables import PairMeans, any_pair_means, degree_of
from whydeep.gaussian._products import four_products
from whydeep.gaussian._refine import ROUNDOFF

__all__ = [
    "SecondMoments",
    "pair_derivatives",
    "product_moments",
    "second_moments",
    "self_derivatives",
    "slopes",
]

_PAIR_TOLERANCE = 1e-12
_PRODUCT_TOLERANCE = 1e-9
_CANCELLING = 0.05
_WIDE = 25.0  # a variance from which means over pairs come from tables


@dataclass(frozen=True)
class SecondMoments:
    """Second moments of the images s_a = s(z_a), with small differences kept apart.

    The next layer's covariance has variance C_b + C_W <s_a^2>, difference C_W <(s_a - s_b)^2> and
    total 4 C_b + C_W <(s_a + s_b)^2>.

    Args:
        variance: <s_a^2>, shape (N,).
        difference: <(s_a - s_b)^2>, shape (N, N).
        total: <(s_a + s_b)^2>, shape (N, N).
        error: absolute error of `matrix`, shape (N, N).
    """

    variance: np.ndarray
    difference: np.ndarray
    total: np.ndarray
    error: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """<s_a s_b>, shape (N, N)."""
        matrix = (self.total - self.difference) / 4.0
        matrix[self.variance == 0] = matrix[:, self.variance == 0] = 0.0
        np.fill_diagonal(matrix, self.variance)
        return matrix


@np.errstate(over="ignore", invalid="ignore")  # what overflows is infinite, or NaN if subtracted
def second_moments(
    activation: str | ScalarFunction, cov: Covariance, *, tolerance: float = _PAIR_TOLERANCE
) -> SecondMoments:
    """<s_a^2>, <(s_a - s_b)^2> and <(s_a + s_b)^2> for all pairs of samples.

    Args:
        activation: a name or a function s.
        cov: law of the preactivations z_a of N samples.
        tolerance: relative to the mean magnitude of the integrand.

    Accuracy: 1e-12 relative to sqrt(<s_a^2><s_b^2>), smooth or kinked, at any correlation; the
    differences keep that accuracy relative to themselves for all but even smooth functions of
    nearly opposite samples. Cost: closed forms where there are any (relu and its kin, step, erf,
    gelu, sin, cos, exp, gaussian, monomial), else about 1e4 evaluations of s a pair.

    **Sources:** Cho and Saul 2009, Eq. 6; Williams 1997, Eq. 11; Tsuchida et al. 2021.

    Example:
        >>> cov = Covariance.from_matrix(np.array([[1.0, 0.5], [0.5, 1.0]]))
        >>> second_moments("relu", cov).matrix.round(6)
        array([[0.5     , 0.304499],
               [0.304499, 0.5     ]])
    """
    s = activations.get(activation)
    closed = _closed_forms.image_squares(s, cov)
    if closed is None and (found := _by_tables(s, cov)) is not None:
        variance = np.diagonal(found.image).copy()
        sums = np.sqrt(np.multiply.outer(variance, variance))
        return SecondMoments(variance, found.difference, found.total, found.error * sums)
    if closed is not None:
        return SecondMoments(*closed, 2.0 * ROUNDOFF * (np.abs(closed[2]) + closed[1]))
    a, b = pairs(cov.size)
    product = _closed_forms.image_product(s, cov)
    if product is None:
        squares = _tables.self_table(s, cov, 0, tolerance)[1]
        variance = squares.value[0]
        difference, total = np.zeros((2, cov.size, cov.size))
        error = np.diag(squares.error[0])
    else:
        variance = np.diagonal(product).copy()
        sums = np.add.outer(variance, variance)
        difference, total = sums - 2.0 * product, sums + 2.0 * product
        error = 4.0 * ROUNDOFF * np.sqrt(np.multiply.outer(variance, variance))
        # Subtraction is right where it does not cancel; the other pairs go to quadrature.
        left = (np.minimum(difference, total) < _CANCELLING * sums)[a, b]
        a, b = a[left], b[left]
    np.fill_diagonal(difference, 0.0)
    np.fill_diagonal(total, 4.0 * variance)
    minus, plus = _tables.pair_second_moments(s, cov, (a, b), tolerance)
    difference[a, b] = difference[b, a] = minus.value
    total[a, b] = total[b, a] = plus.value
    error[a, b] = error[b, a] = (minus.error + plus.error) / 4.0
    return SecondMoments(variance, difference, total, error)


def slopes(
    activation: str | ScalarFunction, cov: Covariance, *, tolerance: float = _PAIR_TOLERANCE
) -> Estimate:
    """<s'_a s'_b> for all pairs, shape (N, N), with <s'^2> on the diagonal.

    Args:
        activation: a name or a function s.
        cov: law of the preactivations z_a of N samples.
        tolerance: relative to the mean magnitude of the integrand.

    Raises:
        UnsupportedError: s jumps, so <s'^2> is infinite and there is no tangent kernel.

    Accuracy: 1e-12. For kinked s the mean falls like sqrt(1 - c) off coincidence; samples of
    unequal variance have 1 - c to 1e-16 only, so there nearly (not exactly) collinear samples are
    right to 1e-8.

    Example:
        >>> cov = Covariance.from_matrix(np.array([[1.0, 0.5], [0.5, 1.0]]))
        >>> slopes("relu", cov).value.round(6)
        array([[0.5     , 0.333333],
               [0.333333, 0.5     ]])
    """
    s = activations.get(activation)
    if not s.continuous:
        raise UnsupportedError(
            f"The slopes of {s.name} have no second moment: it jumps, so <s'^2> is infinite.",
            cause="the tangent kernel of a discontinuous activation does not exist; automatic "
            "differentiation returns 0, which is wrong",
            suggestion='a continuous activation, such as "hard_tanh" or "erf"',
        )
    closed = _closed_forms.slope_product(s, cov)
    if closed is not None:
        variance = np.diagonal(closed)
        scale = np.sqrt(np.multiply.outer(variance, variance))
        return Estimate(closed, 4.0 * ROUNDOFF * scale)
    found = _by_tables(s, cov)
    if found is not None:
        variance = np.diagonal(found.slope)
        return Estimate(found.slope, found.error * np.sqrt(np.multiply.outer(variance, variance)))
    table = pair_derivatives(s, cov, 2, tolerance=tolerance)
    return Estimate(table.value[1, 1], table.error[1, 1])


def pair_derivatives(
    activation: str | ScalarFunction,
    cov: Covariance,
    order: int,
    *,
    tolerance: float = _PAIR_TOLERANCE,
) -> Estimate:
    """<s^(i)(z_a) s^(j)(z_b)> for i + j <= order (NaN beyond): (order+1, order+1, N, N).

    By Price's theorem d<s_a s_b>/dK_ab = <s'_a s'_b> and d<s_a s_b>/dK_aa = <s''_a s_b>/2, across
    kinks too: derivatives are those of distributions, so that a kink adds a delta function to s''.

    Args:
        activation: a name or a function s.
        cov: law of the preactivations z_a of N samples.
        order: 1 to 4.
        tolerance: relative to the mean magnitude of the integrand.

    Returns:
        value[i, j, a, b] and its error. On the diagonal a = b the product of two distributions at
        one point may not exist (delta times step): NaN; use `self_derivatives` there. Off it,
        deltas at exactly coincident samples are infinite or NaN, as are those at a kink at 0 of a
        sample without variance.

    Raises:
        InputError: an order that is not there.

    Accuracy: 1e-12 of the mean magnitude. Cost: about 1e4 evaluations a pair, 3e4 with kinks.

    **Source:** Price 1958.

    Example:
        >>> cov = Covariance.from_matrix(np.array([[1.0, 0.5], [0.5, 1.0]]))
        >>> float(pair_derivatives("relu", cov, 4).value[2, 2, 0, 1].round(6))  # density at 0, 0
        0.183776
    """
    s = activations.get(activation)
    _check_order(order)
    diagonal, _ = _tables.self_table(s, cov, order, tolerance)
    off = _tables.pair_table(s, cov, order, tolerance)
    return Estimate(_assembled(off.value, diagonal.value), _assembled(off.error, diagonal.error))


def self_derivatives(
    activation: str | ScalarFunction,
    cov: Covariance,
    order: int,
    *,
    tolerance: float = _PAIR_TOLERANCE,
) -> Estimate:
    """<(s^2)^(m)> for m = 0 to order, of every sample: shape (order+1, N).

    The derivatives of s^2 as one distribution: d<s^2>/dK = <(s^2)''>/2.

    Args:
        activation: a name or a function s.
        cov: law of the preactivations z_a of N samples.
        order: 1 to 4.
        tolerance: relative to the mean magnitude of the integrand.

    Raises:
        InputError: an order that is not there.

    Example:
        >>> cov = Covariance.from_matrix(np.array([[2.0]]))
        >>> self_derivatives("relu", cov, 4).value[:, 0].round(6)
        array([1.      , 1.128379, 1.      , 0.56419 , 0.      ])
    """
    s = activations.get(activation)
    _check_order(order)
    return _tables.self_table(s, cov, order, tolerance)[1]


def product_moments(
    activation: str | ScalarFunction,
    cov: Covariance,
    indices: np.ndarray,
    *,
    tolerance: float = _PRODUCT_TOLERANCE,
) -> Estimate:
    """<s_a s_b s_c s_d> for rows (a, b, c, d) of sample indices: shape (Q,).

    Args:
        activation: a name or a function s.
        cov: law of the preactivations z_a of N samples.
        indices: whole numbers, shape (Q, 4); each distinct product is computed once.
        tolerance: relative to the mean magnitude of the integrand.

    Raises:
        InputError: indices of another shape or type, or out of range.

    Accuracy: relu and its kin 1e-12; step 1e-9; linear, monomial and exp exact; other smooth
    functions `tolerance` for variances of a few units (variances of 10 and more: as the error
    says); other kinked functions 1e-12 for two distinct samples and 1e-5 for three or four, where
    the true error is mostly below 1e-6. Cost: 1e5 evaluations of s a product of four distinct
    samples, 1e6 with kinks.

    Example:
        >>> cov = Covariance.from_matrix(np.array([[1.0, 0.5], [0.5, 1.0]]))
        >>> product_moments("abs", cov, np.array([[0, 0, 1, 1]])).value.round(9)
        array([1.5])
    """
    s = activations.get(activation)
    indices = _check_indices(indices, cov.size)
    rows, back = np.unique(np.sort(indices, axis=1), axis=0, return_inverse=True)
    means = four_products(s, cov, rows, tolerance)
    back = back.reshape(-1)
    return Estimate(means.value[back], means.error[back])


def _by_tables(s: ScalarFunction, cov: Covariance) -> PairMeans | None:
    """Means of all pairs, (N, N) each, where lattices and panels of one width are too coarse."""
    if not np.any(cov.variance > _WIDE) and degree_of(s) is None:
        return None
    a, b = np.triu_indices(cov.size)
    cosine, sine = cov.half_angles()
    minus, plus = 2.0 * sine[a, b] ** 2, 2.0 * cosine[a, b] ** 2
    found = any_pair_means(s, cov.variance[a], cov.variance[b], minus, plus)
    if found is None:
        return None
    parts = []
    for values in (found.image, found.slope, found.difference, found.total, found.bend):
        full = np.empty((cov.size, cov.size))
        full[a, b] = full[b, a] = values
        parts.append(full)
    return PairMeans(parts[0], parts[1], parts[2], parts[3], parts[4], found.error)


def _check_order(order: int) -> None:
    if order not in range(1, 5):
        raise InputError("Derivatives are available up to fourth order.", received=f"{order=}")


def _check_indices(indices: np.ndarray, size: int) -> np.ndarray:
    indices = np.asarray(indices)
    good = indices.ndim == 2 and indices.shape[1] == 4 and np.issubdtype(indices.dtype, np.integer)
    if not good or np.any(indices < 0) or np.any(indices >= size):
        raise InputError(
            "Products of four samples are named by four indices each.",
            received=f"an array of shape {indices.shape} and type {indices.dtype}",
            needed=f"whole numbers from 0 to {size - 1}, shape (Q, 4)",
        )
    return indices


def _assembled(off: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    size = diagonal.shape[-1]
    out = np.empty((*diagonal.shape, size))
    a, b = pairs(size)
    out[..., a, b] = off
    out[..., b, a] = np.swapaxes(off, 0, 1)
    out[..., np.arange(size), np.arange(size)] = diagonal
    return out
