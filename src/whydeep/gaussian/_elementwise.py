"""Means over pairs, elementwise on JAX arrays: what kernels of many inputs and positions need.

The other files of this room take one covariance and are exact to the last digits; this one takes
arrays of any shape, runs on any device and can be differentiated. Homogeneous activations, erf,
gelu and elementary functions are closed; other smooth ones are a Mehler series

    <s_a s_b> = sum_n a_n(q_a) a_n(q_b) c^n,   a_n(q) = E[s(sqrt(q) u) h_n(u)],

with h_n the normalised Hermite polynomials (Mehler 1866): at c = 1 the sum is <s^2>, which
quadrature knows, so what a truncated series leaves out is known, not guessed.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.errors import UnsupportedError
from whydeep.gaussian._differentiable_means import pair_mean, sample_mean
from whydeep.gaussian._mehler import NO_WEIGHT, hermite_functions, summed, weighted
from whydeep.gaussian._pair_tables import any_pair_means
from whydeep.gaussian._smoothed import single_images

__all__ = ["image_mean", "mean_image", "mean_slope", "series_length", "slope_mean"]

# 1 - |c| below this many roundings is perfect correlation: what is left is rounding.
_COINCIDENT = 4.0
_REACH = 9.0  # standard deviations, beyond which a Gaussian weight is below 1e-17
_PANEL = np.polynomial.legendre.leggauss(64)
_LENGTHS = (16, 32, 64, 128, 256, 512)
_MOST_PAIRS = 1_000_000
_BY_TABLES_ERROR = 1e-13
_CROWDED = 9.0  # variance from which one panel no longer resolves what happens at unit scale

BY_TABLES = 0
"""The length of a series that is too long: tables of smoothed functions take its place."""


# -- front ------------------------------------------------------------------------------------


def image_mean(s: ScalarFunction, qa: Any, qb: Any, k: Any, length: int | None = None) -> Any:
    """<s(z_a) s(z_b)> for variances `qa`, `qb` and covariances `k`, arrays that broadcast.

    Args:
        s: the activation.
        qa: E z_a^2 >= 0.
        qb: E z_b^2 >= 0.
        k: E z_a z_b.
        length: of the Mehler series, from `series_length`; only where one is needed.

    Differentiable in all three where no length is given: see `_differentiable_means`.
    """
    if _by_rules(s, length, qa, qb, k):
        return pair_mean(s, (0, 0), qa, qb, k)
    if _closed(s):
        return _closed_image(s, qa, qb, k)
    if s.smooth and length != BY_TABLES:
        return _mehler(s, qa, qb, k, length or _LENGTHS[-2], slope=False)
    return _quadrature(s, qa, qb, k, 0)


def slope_mean(s: ScalarFunction, qa: Any, qb: Any, k: Any, length: int | None = None) -> Any:
    """<s'(z_a) s'(z_b)>, likewise.

    At coincident samples it has a cusp where s has a kink: its subgradient there is 0.
    """
    if _by_rules(s, length, qa, qb, k) and s.continuous:
        return pair_mean(s, (1, 1), qa, qb, k)
    if _closed(s):
        return _closed_slope(s, qa, qb, k)
    if s.smooth and length != BY_TABLES:
        return _mehler(s, qa, qb, k, length or _LENGTHS[-2], slope=True)
    return _quadrature(s, qa, qb, k, 1)


def mean_image(s: ScalarFunction, q: Any) -> Any:
    """<s(z)> for variances `q`, an array."""
    if s.odd:
        return jnp.zeros_like(q)
    if _traced(q):
        return sample_mean(s, 0, q)
    if s.slopes is not None:
        return (s.slopes[1] - s.slopes[0]) * _root(q / (2.0 * math.pi))
    found = _single_by_tables(s, q)
    return _single(s, q, slope=False) if found is None else found[0]


def mean_slope(s: ScalarFunction, q: Any) -> Any:
    """<s'(z)> for variances `q`, an array; jumps of s count."""
    if _traced(q) and s.slopes is None:
        return sample_mean(s, 1, q)
    if s.slopes is not None:
        return jnp.full_like(q, (s.slopes[0] + s.slopes[1]) / 2.0)
    found = _single_by_tables(s, q) if s.continuous else None
    return _single(s, q, slope=True) if found is None else found[1]


def _by_rules(s: ScalarFunction, length: int | None, *law: Any) -> bool:
    """Whether a mean is to be differentiated, and its closed form does not do so everywhere."""
    kinked = s.slopes is not None or s.family in ("step", "sign")
    return _traced(*law) if kinked else length is None and s.family not in _IMAGE


def _closed(s: ScalarFunction) -> bool:
    return s.slopes is not None or s.family in _IMAGE


@functools.partial(jax.jit, static_argnums=0)
def _closed_image(s: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    if s.slopes is not None:
        return _homogeneous_image(s.slopes, qa, qb, k)
    return _IMAGE[s.family](s, qa, qb, k)


@functools.partial(jax.jit, static_argnums=0)
def _closed_slope(s: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    if s.slopes is not None:
        return _homogeneous_slope(s.slopes, qa, qb, k)
    if s.family not in _SLOPE:
        raise UnsupportedError(
            f"The slopes of {s.name} have no second moment: it jumps, so <s'^2> is infinite.",
            cause="the tangent kernel of a discontinuous activation does not exist; automatic "
            "differentiation returns 0, which is wrong",
            suggestion='a continuous activation, such as "hard_tanh" or "erf"',
        )
    return _SLOPE[s.family](s, qa, qb, k)


# -- positively homogeneous: relu and its kin (Cho and Saul 2009, Eq. 6) -----------------------


def _angle(qa: Any, qb: Any, k: Any) -> tuple[Any, Any, Any]:
    """sqrt(qa qb), theta and sin(theta); without variance, a right angle."""
    scale = _root(qa) * _root(qb)
    safe = jnp.where(scale > 0, scale, 1.0)
    tiny = _COINCIDENT * jnp.finfo(jnp.result_type(scale)).eps
    minus = jnp.where(scale > 0, (safe - k) / safe, 1.0)
    plus = jnp.where(scale > 0, (safe + k) / safe, 1.0)
    minus = jnp.where(minus > tiny, minus, 0.0)
    plus = jnp.where(plus > tiny, plus, 0.0)
    theta = 2.0 * jnp.arctan2(jnp.sqrt(minus), jnp.sqrt(plus))
    return scale, theta, jnp.sqrt(minus * plus)


def _homogeneous_image(slopes: tuple[float, float], qa: Any, qb: Any, k: Any) -> Any:
    even, odd = (slopes[1] - slopes[0]) / 2.0, (slopes[1] + slopes[0]) / 2.0
    scale, theta, sine = _angle(qa, qb, k)
    rest = sine + (math.pi / 2.0 - theta) * jnp.cos(theta)
    return even**2 * (2.0 / math.pi) * scale * rest + odd**2 * k


def _homogeneous_slope(slopes: tuple[float, float], qa: Any, qb: Any, k: Any) -> Any:
    even, odd = (slopes[1] - slopes[0]) / 2.0, (slopes[1] + slopes[0]) / 2.0
    _, theta, _ = _angle(qa, qb, k)
    return even**2 * (1.0 - 2.0 / math.pi * theta) + odd**2


def _root(q: Any) -> Any:
    """sqrt(q) with derivative 0 at 0, where that of a variance in its parameters vanishes too."""
    return jnp.where(q > 0, jnp.sqrt(jnp.where(q > 0, q, 1.0)), 0.0)


# -- other closed forms -----------------------------------------------------------------------


def _determinant(qa: Any, qb: Any, k: Any) -> Any:
    """The difference qa qb - k^2 >= 0, without the rounding of two products that nearly cancel."""
    scale, _, sine = _angle(qa, qb, k)
    plain = qa * qb - k * k
    return plain + jax.lax.stop_gradient((scale * sine) ** 2 - plain)


def _erf_image(_: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    # Williams 1997, Eq. 11, with arctan for arcsin: nothing cancels for large variances.
    det = 1.0 + 2.0 * (qa + qb) + 4.0 * _determinant(qa, qb, k)
    return (2.0 / math.pi) * jnp.arctan2(2.0 * k, jnp.sqrt(det))


def _erf_slope(_: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    det = 1.0 + 2.0 * (qa + qb) + 4.0 * _determinant(qa, qb, k)
    return (4.0 / math.pi) / jnp.sqrt(det)


def _gelu_image(_: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    # Tsuchida et al. 2021.
    det = 1.0 + qa + qb + _determinant(qa, qb, k)
    both = 0.25 + jnp.arctan2(k, jnp.sqrt(det)) / (2.0 * math.pi)
    rest = _determinant(qa, qb, k) + k * k / (1.0 + qa) + k * k / (1.0 + qb)
    return k * both + rest / (2.0 * math.pi * jnp.sqrt(det))


def _gelu_slope(_: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    det = 1.0 + qa + qb + _determinant(qa, qb, k)
    both = 0.25 + jnp.arctan2(k, jnp.sqrt(det)) / (2.0 * math.pi)
    rest = k * (1.0 / (1.0 + qa) + 1.0 / (1.0 + qb) + 1.0 / det)
    return both + rest / (2.0 * math.pi * jnp.sqrt(det))


def _sine_image(_: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    # Of small variances the difference would cancel; of large ones the sine would overflow.
    middle = (qa + qb) / 2.0
    near = jnp.abs(k) < 1.0
    sine = jnp.exp(-middle) * jnp.sinh(jnp.where(near, k, 0.0))
    return jnp.where(near, sine, (jnp.exp(k - middle) - jnp.exp(-k - middle)) / 2.0)


def _cosine_image(_: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    middle = (qa + qb) / 2.0
    return (jnp.exp(k - middle) + jnp.exp(-k - middle)) / 2.0


def _exponential_image(_: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    return jnp.exp((qa + qb) / 2.0 + k)


def _gaussian_image(_: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    return 1.0 / jnp.sqrt(1.0 + 2.0 * (qa + qb) + 4.0 * _determinant(qa, qb, k))


def _gaussian_slope(s: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    return 4.0 * k * _gaussian_image(s, qa, qb, k) ** 3


def _step_image(_: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    return 0.5 - _angle(qa, qb, k)[1] / (2.0 * math.pi)


def _sign_image(_: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    return 1.0 - 2.0 / math.pi * _angle(qa, qb, k)[1]


def _rbf_image(s: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    # sqrt(2) sin(sqrt(2 gamma) z + pi/4): Rahimi and Recht 2007.
    return jnp.exp(-s.parameters[0] * (qa + qb - 2.0 * k))


def _rbf_slope(s: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    return 2.0 * s.parameters[0] * _rbf_image(s, qa, qb, k)


def _polynomial_image(s: ScalarFunction, qa: Any, qb: Any, k: Any, drop: int = 0) -> Any:
    # <p_a p_b> = sum_n k^n / n! <p^(n)>_a <p^(n)>_b, a finite sum (Price 1958).
    p = np.polynomial.Polynomial(_coefficients(s)).deriv(drop)
    total = jnp.zeros(jnp.broadcast_shapes(jnp.shape(qa), jnp.shape(qb), jnp.shape(k)))
    for n in range(p.degree() + 1):
        d = p.deriv(n)
        total += k**n / math.factorial(n) * _moment(d.coef, qa) * _moment(d.coef, qb)
    return total


def _polynomial_slope(s: ScalarFunction, qa: Any, qb: Any, k: Any) -> Any:
    return _polynomial_image(s, qa, qb, k, drop=1)


def _coefficients(s: ScalarFunction) -> np.ndarray:
    if s.family == "polynomial":
        return np.array(s.parameters)
    return np.eye(int(s.parameters[0]) + 1)[-1]


def _moment(coefficients: np.ndarray, q: Any) -> Any:
    """E p(sqrt(q) u) = sum over even powers of c_m q^(m/2) (m-1)!!."""
    total = jnp.zeros(jnp.shape(q))
    double = 1.0
    for power in range(0, len(coefficients), 2):
        double *= max(power - 1, 1)
        total += float(coefficients[power]) * double * q ** (power // 2)
    return total


_IMAGE = {
    "erf": _erf_image,
    "gelu": _gelu_image,
    "sin": _sine_image,
    "cos": _cosine_image,
    "exp": _exponential_image,
    "gaussian": _gaussian_image,
    "step": _step_image,
    "sign": _sign_image,
    "rbf": _rbf_image,
    "monomial": _polynomial_image,
    "polynomial": _polynomial_image,
}
_SLOPE = {
    "erf": _erf_slope,
    "gelu": _gelu_slope,
    "sin": _cosine_image,
    "cos": _sine_image,
    "exp": _exponential_image,
    "gaussian": _gaussian_slope,
    "rbf": _rbf_slope,
    "monomial": _polynomial_slope,
    "polynomial": _polynomial_slope,
}


# -- Mehler series ----------------------------------------------------------------------------


def series_length(s: ScalarFunction, q: np.ndarray, tolerance: float) -> tuple[int | None, float]:
    """How many terms the series needs for these variances, and the relative error it leaves.

    Returns:
        (None, 0) where no series is needed; BY_TABLES where none is short enough.

    The tail at c = 1, relative to <s^2> (and to q <s'^2> for slopes), bounds that at any c.
    """
    if _closed(s) or q.size == 0:
        return None, 0.0
    if not s.smooth:
        return BY_TABLES, _BY_TABLES_ERROR
    ends = np.unique(np.array([q.max(), np.median(q)]))
    u, weight, basis = hermite_functions(_LENGTHS[-1])
    z = np.sqrt(ends)[:, None] * u
    errors = np.zeros(len(_LENGTHS))
    with np.errstate(over="ignore", invalid="ignore"):
        for value in s.derivatives(z, 1):
            value = np.where(weight > NO_WEIGHT, value, 0.0) * weight  # noqa: PLW2901
            total = np.sum(value**2, -1)
            summed = np.cumsum((value @ basis) ** 2, -1)[:, np.array(_LENGTHS) - 1]
            left = np.abs(total[:, None] - summed) / np.maximum(total[:, None], 1e-300)
            errors = np.maximum(errors, left.max(0))
    if not (errors < tolerance).any():
        return BY_TABLES, _BY_TABLES_ERROR
    best = int(np.argmax(errors < tolerance))
    return _LENGTHS[best], float(errors[best])


def _hermite(s: ScalarFunction, q: Any, length: int, *, slope: bool) -> Any:
    """a_n(q) for n < length, of s or of s': (length, ...)."""
    dtype = jnp.result_type(q)
    u, weight, basis = (jnp.asarray(v, dtype) for v in hermite_functions(length))
    z = _root(q)[..., None] * u
    value = jax.jvp(s, (z,), (jnp.ones_like(z),))[int(slope)]
    return jnp.moveaxis(weighted(value, weight) @ basis, -1, 0)


@functools.partial(jax.jit, static_argnums=(0, 4), static_argnames=("slope",))
def _mehler(s: ScalarFunction, qa: Any, qb: Any, k: Any, length: int, *, slope: bool) -> Any:
    left, right = (_hermite(s, q, length, slope=slope) for q in (qa, qb))
    scale = _root(qa) * _root(qb)
    c = jnp.where(scale > 0, k / jnp.where(scale > 0, scale, 1.0), 0.0)
    # Rounding may leave c beyond 1; it is moved back without a say in the derivative.
    c = c + jax.lax.stop_gradient(jnp.clip(c, -1.0, 1.0) - c)
    return summed(left, right, c)


# -- one sample, and pairs with kinks -----------------------------------------------------------


@functools.partial(jax.jit, static_argnums=(0,), static_argnames=("slope",))
def _single(s: ScalarFunction, q: Any, *, slope: bool) -> Any:
    """E s or E s' by Gauss-Legendre between kinks; E s' = E[s u] / sqrt(q) counts jumps too."""
    deviation = _root(q)[..., None]
    safe = jnp.where(deviation > 0, deviation, 1.0)
    inner = [jnp.full_like(deviation, b) for b in (-_REACH, -3.0, 0.0, 3.0, _REACH)]
    inner += [jnp.clip(kink / safe, -_REACH, _REACH) for kink in s.kinks]
    breaks = jnp.sort(jnp.concatenate(inner, -1), -1)
    nodes, weights = (jnp.asarray(a, q.dtype) for a in _PANEL)
    half = (breaks[..., 1:] - breaks[..., :-1])[..., None] / 2.0
    middle = (breaks[..., 1:] + breaks[..., :-1])[..., None] / 2.0
    u = middle + half * nodes
    density = jnp.exp(-u * u / 2.0) / math.sqrt(2.0 * math.pi) * half * weights
    z = deviation[..., None] * u
    if not slope:
        return jnp.sum(s(z) * density, (-2, -1))
    mean = jnp.sum(s(z) * u * density, (-2, -1))
    at_zero = jax.grad(s)(jnp.zeros((), mean.dtype))
    return jnp.where(deviation[..., 0] > 0, mean / safe[..., 0], at_zero)


def _traced(*arrays: Any) -> bool:
    return any(isinstance(a, jax.core.Tracer) for a in arrays)  # pyright: ignore[reportAttributeAccessIssue]


def _single_by_tables(s: ScalarFunction, q: Any) -> Any:
    """<s> and <s'> where a variance is large; else None."""
    if _traced(q) or not np.any(np.asarray(q) > _CROWDED):
        return None
    values, back = np.unique(np.asarray(q, np.float64), return_inverse=True)
    if not np.all(np.isfinite(values)):
        return None
    found = single_images(s, values)
    return None if found is None else jnp.asarray(found[:, back.reshape(-1)].reshape(2, *q.shape))


def _quadrature(s: ScalarFunction, qa: Any, qb: Any, k: Any, order: int) -> Any:
    """Means over pairs that have no closed form and no series, from tables (`any_pair_means`)."""
    if _traced(qa, qb, k):
        raise UnsupportedError(
            f"Kernels of {s.name} can't be differentiated.",
            cause="its means over pairs are computed by quadrature between kinks",
            suggestion="relu, leaky_relu, abs, gelu, or any smooth activation",
        )
    shape = np.broadcast_shapes(np.shape(qa), np.shape(qb), np.shape(k))
    a, b, c = (np.broadcast_to(np.asarray(v, np.float64), shape).ravel() for v in (qa, qb, k))
    triples, back = np.unique(np.stack([a, b, c], -1), axis=0, return_inverse=True)
    if len(triples) > _MOST_PAIRS:
        raise UnsupportedError(
            f"The kernel of {s.name} on this many pairs takes too long.",
            received=f"{len(triples):,} different pairs of preactivations",
            needed=f"at most {_MOST_PAIRS:,}: each is an integral of its own",
            suggestion="fewer inputs, inputs of unit scale, or an activation with a closed form",
        )
    a, b, c = triples.T
    scale = np.sqrt(a) * np.sqrt(b)
    safe = np.where(scale > 0, scale, 1.0)
    tiny = _COINCIDENT * np.finfo(jnp.result_type(k).name).eps
    minus, plus = (np.where(scale > 0, (safe - sign * c) / safe, 1.0 - sign) for sign in (1, -1))
    minus, plus = (np.where(part > tiny, part, 0.0) for part in (minus, plus))
    near = minus <= plus
    minus, plus = np.where(near, minus, 2.0 - plus), np.where(near, 2.0 - minus, plus)
    found = any_pair_means(s, a, b, minus, plus)
    if found is None:
        raise UnsupportedError(
            f"Means of {s.name} are out of reach at this variance of preactivations.",
            received=f"a variance of {max(a.max(), b.max()):.3g}",
            cause="there it is not finite, changes too often, or grows so fast that the rarest "
            "preactivations decide",
            suggestion="smaller weight_var and bias_var, or inputs of unit scale",
        )
    values = found.slope if order else found.image
    return jnp.asarray(values[back.reshape(-1)].reshape(shape), jnp.result_type(k))
