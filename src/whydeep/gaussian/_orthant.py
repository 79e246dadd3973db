"""<s_1 s_2 s_3 s_4> for positively homogeneous activations, as one integral over one variable.

With s = alpha z + beta |z| and K(t) = diagonal + t (rest of K), Price's theorem makes F(t) =
<s_1 s_2 s_3 s_4> a function whose second derivative contains only densities at 0 and means of
fewer signs, all closed but one, the mean S(t) of four signs, and S'(t) is closed again. So

    F(1) = F(0) + F'(0) + int_0^1 (1 - t) F''(t) dt,
    int_0^1 (1 - t) S(t) dt = int_0^1 (1 - t)^2/2 S'(t) dt.

Nearly or exactly coincident samples put an integrable singularity at t = 1, where the
double-exponential nodes accumulate; 1 - t c is formed as (1 - t) + t (1 - c).

**Sources:** Price 1958; Plackett 1954 (reduction of orthant probabilities along a path of
correlations); Takahasi and Mori 1974 (double-exponential nodes).
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from whydeep.gaussian._closed_forms import absolute_gap
from whydeep.gaussian._covariance import Covariance
from whydeep.gaussian._estimate import Estimate

__all__ = ["homogeneous_products", "step_products"]

_SLOTS = range(4)
_PAIRS = tuple(itertools.combinations(_SLOTS, 2))
_BLOCK = 1 << 10  # products at once
_STEP, _EXTENT = 1.0 / 32.0, 3.6
_FLOOR = 1e-13
_SIGN_FLOOR = 1e-9  # the path of four signs ends in a square-root singularity
_MEAN = math.sqrt(2.0 / math.pi)  # E |u|


def homogeneous_products(
    slopes: tuple[float, float], cov: Covariance, indices: np.ndarray
) -> Estimate:
    """<s_a s_b s_c s_d> for s = slopes[0] z (z < 0), slopes[1] z (z > 0): shape (Q,).

    Args:
        slopes: left and right.
        cov: law of the samples.
        indices: four samples each, repeated or coincident ones too, shape (Q, 4).

    Accuracy: about 1e-12 of the product of the standard deviations. Cost: 230 nodes a product.
    """
    alpha, beta = (slopes[1] + slopes[0]) / 2.0, (slopes[1] - slopes[0]) / 2.0
    size = (abs(alpha) + abs(beta)) ** 4
    deviation = np.sqrt(cov.variance)
    value, error = np.empty((2, len(indices)))
    for start in range(0, len(indices), _BLOCK):
        span = slice(start, start + _BLOCK)
        path = _path(cov, indices[span])
        start_value = (beta * _MEAN) ** 4 + (alpha * beta * _MEAN) ** 2 * sum(
            path.correlation[:, i, j, 0] for i, j in _PAIRS
        )
        integral, doubt = _integral(_second_derivative(path, alpha, beta))
        scale = np.prod(deviation[indices[span]], axis=1)
        value[span] = scale * (start_value + integral)
        error[span] = scale * (doubt + _FLOOR * size)
    return Estimate(value, error)


def step_products(cov: Covariance, indices: np.ndarray) -> Estimate:
    """P(z_a, z_b, z_c, z_d > 0), shape (Q,), from means of two and of four signs.

    All variances must be positive, and the rows of `indices` sorted: a repeated sample adds
    nothing. Accuracy: about 1e-12, and 1e-9 for samples that nearly coincide.
    """
    value, error = np.empty((2, len(indices)))
    for start in range(0, len(indices), _BLOCK):
        span = slice(start, start + _BLOCK)
        rows = indices[span]
        new = np.diff(rows, axis=1, prepend=-1) != 0
        path = _path(cov, rows)
        theta = 2.0 * np.arctan2(path.sine, path.cosine)[..., 0]
        signs = np.ones(len(rows))
        for i, j in _PAIRS:
            signs += new[:, i] * new[:, j] * (1.0 - 2.0 * theta[:, i, j] / math.pi)
        four, doubt = _integral(np.sum([_sign_derivative(path, i, j) for i, j in _PAIRS], axis=0))
        different = new.all(axis=1)
        signs[different] += four[different]
        value[span] = signs / 2.0 ** new.sum(axis=1)
        error[span] = _FLOOR + np.where(different, doubt / 16.0 + _SIGN_FLOOR, 0.0)
    return Estimate(value, error)


def _path(cov: Covariance, rows: np.ndarray) -> _Path:
    cosine, sine = cov.half_angles()
    at = rows[:, :, None], rows[:, None, :]
    t, rest, _ = _nodes(_STEP)
    return _Path(cosine[at][..., None], sine[at][..., None], t, rest)


def _integral(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over t from 0 to 1, and how far every other node alone misses it."""
    _, _, weights = _nodes(_STEP)
    integral = values @ weights
    return integral, np.abs(integral - 2.0 * values[:, ::2] @ weights[::2])


def _nodes(step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """t, 1 - t and weights on (0, 1)."""
    half = int(_EXTENT / (2.0 * step))
    x = step * np.arange(-2 * half, 2 * half + 1)
    lift = np.pi * np.sinh(x)
    t, rest = 1.0 / (1.0 + np.exp(-lift)), 1.0 / (1.0 + np.exp(lift))
    return t, rest, step * np.pi * np.cosh(x) * t * rest


class _Path:
    """Unit-variance samples with correlations t c_ij, at all nodes t: arrays (Q, 4, 4, nodes)."""

    def __init__(
        self, cosine: np.ndarray, sine: np.ndarray, t: np.ndarray, rest: np.ndarray
    ) -> None:
        self.cosine, self.sine = cosine, sine
        self.correlation = cosine**2 - sine**2
        self.moving = t * self.correlation
        self.rest = rest
        self.below = rest + t * 2.0 * sine**2  # 1 - t c
        self.above = rest + t * 2.0 * cosine**2  # 1 + t c
        self.determinant = self.below * self.above

    def given_one(self, i: int, j: int, k: int) -> np.ndarray:
        """Covariance of z_j and z_k, given z_i = 0."""
        if j == k:
            return self.determinant[:, i, j]
        return self.moving[:, j, k] - self.moving[:, i, j] * self.moving[:, i, k]

    def partial(self, i: int, j: int, k: int) -> np.ndarray:
        """Correlation of z_j and z_k, given z_i = 0."""
        product = self.determinant[:, i, j] * self.determinant[:, i, k]
        return _correlation(self.given_one(i, j, k), product)

    def given_two(
        self, i: int, j: int, k: int, m: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Variances of z_k and z_m and their covariance, given z_i = z_j = 0."""
        # Conditioning on z_i + z_j and z_i - z_j, which are independent.
        above, below = 2.0 * self.above[:, i, j], 2.0 * self.below[:, i, j]
        plus = [self.moving[:, n, i] + self.moving[:, n, j] for n in (k, m)]
        minus = [self.moving[:, n, i] - self.moving[:, n, j] for n in (k, m)]
        variances = [
            np.maximum(1.0 - plus[n] ** 2 / above - minus[n] ** 2 / below, 0.0) for n in (0, 1)
        ]
        both = self.moving[:, k, m] - plus[0] * plus[1] / above - minus[0] * minus[1] / below
        return variances[0], variances[1], both


def _second_derivative(path: _Path, alpha: float, beta: float) -> np.ndarray:
    """(1 - t) F''(t), with the mean of four signs replaced by its integral by parts: (Q, nodes)."""
    c, rest = path.correlation, path.rest
    total = np.zeros(path.moving.shape[:1] + path.moving.shape[3:])
    matchings = 2.0 * (c[:, 0, 1] * c[:, 2, 3] + c[:, 0, 2] * c[:, 1, 3] + c[:, 0, 3] * c[:, 1, 2])
    total += rest * matchings * alpha**4
    for i, j in _PAIRS:
        k, m = (n for n in _SLOTS if n not in (i, j))
        density = 1.0 / (2.0 * math.pi * np.sqrt(path.determinant[:, i, j]))
        vk, vm, both = path.given_two(i, j, k, m)
        rho = _correlation(both, vk * vm)
        image = alpha**2 * both + beta**2 * np.sqrt(vk * vm) * (1.0 - absolute_gap(np.arccos(rho)))
        # the same pair twice: <s''_i s''_j s_k s_m>
        total += rest * c[:, i, j] ** 2 * 4.0 * beta**2 * density * image
        # disjoint pairs: <s'_1 s'_2 s'_3 s'_4>
        signs = 2.0 / math.pi * np.arctan2(path.moving[:, i, j], np.sqrt(path.determinant[:, i, j]))
        total += rest * matchings * alpha**2 * beta**2 * signs
        total += rest**2 / 2.0 * matchings * beta**4 * _sign_derivative(path, i, j)
    for i in _SLOTS:  # two pairs that share i: <s''_i s'_j s'_k s_m>
        for m in _SLOTS:
            if m == i:
                continue
            j, k = (n for n in _SLOTS if n not in (i, m))
            mean = _two_slopes_and_one(path, alpha, beta, i, j, k, m)
            density = 1.0 / math.sqrt(2.0 * math.pi)
            total += rest * 2.0 * c[:, i, j] * c[:, i, k] * 2.0 * beta * density * mean
    return total


def _sign_derivative(path: _Path, i: int, j: int) -> np.ndarray:
    """The part of S'(t) that comes from the correlation of z_i and z_j: (Q, nodes)."""
    k, m = (n for n in _SLOTS if n not in (i, j))
    density = 1.0 / (2.0 * math.pi * np.sqrt(path.determinant[:, i, j]))
    angle = np.arcsin(_third(path, i, j, k, m))
    return path.correlation[:, i, j] * 4.0 * density * (2.0 / math.pi) * angle


def _two_slopes_and_one(
    path: _Path, alpha: float, beta: float, i: int, j: int, k: int, m: int
) -> np.ndarray:
    """E[s'_j s'_k s_m | z_i = 0]."""
    deviation = {n: np.sqrt(path.determinant[:, i, n]) for n in (j, k, m)}
    # E[sgn_j sgn_k |z_m|] by parts in z_m: each derivative of a sign is a density at 0
    three = np.zeros_like(deviation[m])
    for n in (j, k, m):
        others = tuple(o for o in (j, k, m) if o != n)
        link = path.given_one(i, m, n) / deviation[n]
        three += link * (2.0 / math.pi) * np.arcsin(_third(path, i, n, *others))
    three *= _MEAN
    lone = path.given_one(i, j, m) / deviation[j] + path.given_one(i, k, m) / deviation[k]
    return alpha**2 * beta * _MEAN * deviation[m] + beta**3 * three + alpha**2 * beta * _MEAN * lone


def _third(path: _Path, i: int, n: int, o: int, p: int) -> np.ndarray:
    """Correlation of z_o and z_p, given z_i = z_n = 0."""
    vo, vp, both = path.given_two(i, n, o, p)
    return _correlation(both, vo * vp)


def _correlation(covariance: np.ndarray, product: np.ndarray) -> np.ndarray:
    bottom = np.sqrt(product)
    ratio = np.divide(covariance, bottom, out=np.zeros_like(covariance), where=bottom > 0)
    return np.clip(ratio, -1.0, 1.0)
