"""Gaussian means of products of derivatives, and the rules that differentiate them.

With M_mn = <s^(m)(z_a) s^(n)(z_b)>, for variances q_a, q_b and a covariance K,

    dM_mn = M_(m+1)(n+1) dK + M_(m+2)n dq_a / 2 + M_m(n+2) dq_b / 2

(Price 1958; the density solves the heat equation), so that derivatives of all orders are means of
the same kind: nothing is divided by a variance, which may be 0, nor by the sine of an angle. Where
s has kinks its derivatives hold delta functions (`_deltas`).

Where M_mn grows beyond all bounds or has a cusp, at coincident and opposite samples of a kinked s
and at a variance of 0, what diverges is left out: M is a series in the angle theta between the
samples there, with odd powers from the delta functions, and the term of theta^0 is taken. That is
the derivative at a fixed angle (the mean of those in opposite directions), and where two samples
coincide for good it is exact. Without variance a sample is at a right angle to all others.
"""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.errors import UnsupportedError
from whydeep.gaussian import _deltas, _mehler, _panels

__all__ = ["pair_mean", "sample_mean"]

_SEARCHED, _CELLS = 12.0, 4096  # for kinks
_TERMS = (256, 1024)
_LEFT_OUT = 1e-12
_COINCIDENT = 4.0  # 1 - |c| below this many roundings is perfect correlation


def pair_mean(s: ScalarFunction, orders: tuple[int, int], qa: Any, qb: Any, k: Any) -> Any:
    """<s^(m)(z_a) s^(n)(z_b)> for arrays that broadcast, differentiable to any order in all.

    Args:
        s: the activation.
        orders: m and n.
        qa: E z_a^2 >= 0.
        qb: E z_b^2 >= 0.
        k: E z_a z_b.
    """
    _refuse_hidden_kinks(s)
    dtype = jnp.result_type(qa, qb, k, jnp.float32)
    return _pair(s, *orders, *(jnp.asarray(v, dtype) for v in (qa, qb, k)))


def sample_mean(s: ScalarFunction, order: int, q: Any) -> Any:
    """<s^(n)(z)> for variances `q`, differentiable likewise: dM_n = M_(n+2) dq / 2."""
    _refuse_hidden_kinks(s)
    return _sample(s, order, jnp.asarray(q))


@functools.lru_cache(maxsize=256)
def _refuse_hidden_kinks(s: ScalarFunction) -> None:
    """Refuse a user's function that jumps, or whose slope does, where no kink was named.

    The rise of s and of s' over each cell of a grid must be the integral of the next derivative:
    what automatic differentiation leaves out is a delta function.
    """
    if s.family != "custom" or not s.smooth:
        return
    edges = np.linspace(-_SEARCHED, _SEARCHED, _CELLS + 1) + 1e-4 * math.pi
    nodes, weights = np.polynomial.legendre.leggauss(4)
    half = (edges[1] - edges[0]) / 2.0
    inner = s.derivatives(edges[:-1, None] + half * (1.0 + nodes), 2)
    ends = s.derivatives(edges, 1)
    for order in (0, 1):
        missing = np.diff(ends[order]) - half * (inner[order + 1] @ weights)
        scale = 1e-3 * max(1e-3, float(np.abs(ends[1]).max()))
        if np.all(np.abs(missing) <= scale):
            continue
        where = edges[int(np.argmax(np.abs(missing)))] + half
        what = "slope" if order else "value"
        raise UnsupportedError(
            f"The {what} of the activation {s.name!r} jumps near z = {where:.3g}, and no kink was "
            "named there.",
            cause="automatic differentiation leaves such a jump out, so that derivatives of its "
            "kernels would be wrong",
            suggestion="whydeep.activations.custom(function, kinks=(...,)) with the exact place, "
            "or an activation that has a name",
        )


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _pair(s: ScalarFunction, m: int, n: int, qa: Any, qb: Any, k: Any) -> Any:
    if n > m:  # one program for both
        return _value(s, n, m, qb, qa, k)
    return _value(s, m, n, qa, qb, k)


@_pair.defjvp
def _pair_jvp(s: ScalarFunction, m: int, n: int, primals: Any, tangents: Any) -> tuple[Any, Any]:
    da, db, dk = tangents
    out = _pair(s, m + 1, n + 1, *primals) * dk
    out += 0.5 * (_pair(s, m + 2, n, *primals) * da + _pair(s, m, n + 2, *primals) * db)
    return _pair(s, m, n, *primals), out


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _sample(s: ScalarFunction, n: int, q: Any) -> Any:
    return _deltas.given(s, n, jnp.zeros_like(q), jnp.sqrt(q))


@_sample.defjvp
def _sample_jvp(s: ScalarFunction, n: int, primals: Any, tangents: Any) -> tuple[Any, Any]:
    return _sample(s, n, *primals), 0.5 * _sample(s, n + 2, *primals) * tangents[0]


def _value(s: ScalarFunction, m: int, n: int, qa: Any, qb: Any, k: Any) -> Any:
    """By a series that is long enough, or by panels, whatever the scale.

    What is long enough is decided by the numbers, where there are some already.
    """
    if s.slopes is not None or not s.smooth:
        return _by_panels(s, m, n, qa, qb, k)
    for terms in _TERMS:
        left, right = (_coefficients(s, order, q, terms) for order, q in ((m, qa), (n, qb)))
        everywhere, apart = _left_out(left, right, qa, qb, k)
        if isinstance(everywhere, jax.core.Tracer):  # pyright: ignore[reportAttributeAccessIssue]
            return _compiled_value(s, m, n, qa, qb, k)
        if everywhere <= _tolerance(k.dtype):
            return _series(left.terms, right.terms, qa, qb, k)
        if apart <= _tolerance(k.dtype):
            value = _series(left.terms, right.terms, qa, qb, k)
            return _where_one(s, m, n, value, qa, qb, k)
    return _by_panels(s, m, n, qa, qb, k)


def _compiled_value(s: ScalarFunction, m: int, n: int, qa: Any, qb: Any, k: Any) -> Any:
    """Inside a program: by series alone, as panels for every mean would take minutes to compile."""

    def longest(*law: Any) -> Any:
        left, right = (_coefficients(s, o, q, _TERMS[-1]) for o, q in ((m, law[0]), (n, law[1])))
        value = _where_one(s, m, n, _series(left.terms, right.terms, *law), *law)
        enough = _left_out(left, right, *law)[1] <= _tolerance(k.dtype)
        return jax.lax.cond(enough, lambda: value, lambda: _beyond(s, value))

    left, right = (_coefficients(s, order, q, _TERMS[0]) for order, q in ((m, qa), (n, qb)))
    enough = _left_out(left, right, qa, qb, k)[0] <= _tolerance(k.dtype)
    return jax.lax.cond(
        enough, lambda *law: _series(left.terms, right.terms, *law), longest, qa, qb, k
    )


def _beyond(s: ScalarFunction, k: Any) -> Any:
    def warn() -> None:
        warnings.warn(
            f"A compiled derivative of a kernel of {s.name} is NaN: preactivations are too large "
            "and too much alike for a series. The same without jax.jit has no such limit, nor has "
            "a kernel of inputs of unit scale.",
            stacklevel=2,
        )

    jax.debug.callback(warn)
    return jnp.full_like(k, jnp.nan)


def _tolerance(dtype: Any) -> float:
    return max(_LEFT_OUT, 50.0 * float(jnp.finfo(dtype).eps))


def _coefficients(s: ScalarFunction, order: int, q: Any, terms: int) -> _mehler.Series:
    functions = _functions(terms, q.dtype)
    found = _flat_coefficients(s, order, q.ravel(), *functions)
    return _mehler.Series(*(v.reshape(*v.shape[:-1], *q.shape) for v in found))


@functools.lru_cache(maxsize=8)
def _functions(terms: int, dtype: Any) -> list[Any]:
    with jax.ensure_compile_time_eval():  # numbers, also while a program is traced
        return [jnp.asarray(b, dtype) for b in _mehler.hermite_functions(terms)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _flat_coefficients(
    s: ScalarFunction, order: int, q: Any, u: Any, weight: Any, basis: Any
) -> _mehler.Series:
    return _mehler.coefficients(s, order, q, (u, weight, basis))


@jax.jit
def _left_out(
    left: _mehler.Series, right: _mehler.Series, qa: Any, qb: Any, k: Any
) -> tuple[Any, Any]:
    """What the series leaves out at worst, relative to its scale; and where two samples differ."""
    law = _law(qa, qb, k)
    tail = jnp.sqrt(left.tail * right.tail)
    alias = jnp.maximum(jnp.max(left.alias, initial=0.0), jnp.max(right.alias, initial=0.0))
    reach = jnp.where(law.one, 0.0, jnp.abs(law.cosine) ** len(left.terms))
    worst = (jnp.max(left_out, initial=0.0) for left_out in (tail, tail * reach))
    return tuple(jnp.maximum(alias, left_out) for left_out in worst)  # pyright: ignore[reportReturnType]


@jax.jit
def _series(left: Any, right: Any, qa: Any, qb: Any, k: Any) -> Any:
    return _mehler.summed(left, right, _law(qa, qb, k).cosine)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _where_one(s: ScalarFunction, m: int, n: int, value: Any, qa: Any, qb: Any, k: Any) -> Any:
    """The mean over one sample, perhaps at two scales, where that is what two samples are."""
    law = _law(qa, qb, k)
    root = jnp.where(law.plus == 0.0, -1.0, 1.0) * jnp.sqrt(qb)
    return jnp.where(law.one, _panels.line_pair_mean(s, (m, n), jnp.sqrt(qa), root), value)


def _by_panels(s: ScalarFunction, m: int, n: int, qa: Any, qb: Any, k: Any) -> Any:
    law = _law(qa, qb, k)
    out = jnp.zeros(law.shape, k.dtype)
    if s.slopes is not None:
        if m == n and m < 2:
            out = _deltas.homogeneous(s.slopes, m, law.scale, law.minus, law.plus)
    elif not (_deltas.vanishes(s, m) or _deltas.vanishes(s, n)):
        out = _panels.regular_pair_mean(s, (m, n), qa, law.slope_on_a, law.spread_of_b)
    # Deltas of the first meet all of the second; those of the second only what is left.
    out += _deltas.against(s, m, n, 0, qa, law.slope_on_a, law.spread_of_b)
    return out + _deltas.against(s, n, m, m, qb, law.slope_on_b, law.spread_of_a)


class _Law(NamedTuple):
    """Two Gaussians, by distances from perfect correlation.

    Args:
        scale: sqrt(q_a q_b).
        minus: 1 - c; 1 without variance.
        plus: 1 + c.
        slope_on_a: of the regression of z_b on z_a.
        slope_on_b: of the other.
        spread_of_a: deviation of z_a at given z_b.
        spread_of_b: of the other.
    """

    scale: Any
    minus: Any
    plus: Any
    slope_on_a: Any
    slope_on_b: Any
    spread_of_a: Any
    spread_of_b: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all pairs."""
        return self.minus.shape

    @property
    def cosine(self) -> Any:
        """The correlation; 0 without variance."""
        near = self.minus <= self.plus
        return jnp.clip(jnp.where(near, 1.0 - self.minus, self.plus - 1.0), -1.0, 1.0)

    @property
    def one(self) -> Any:
        """Whether both are one sample, up to scale."""
        return (self.minus == 0.0) | (self.plus == 0.0)


@jax.jit
def _law(qa: Any, qb: Any, k: Any) -> _Law:
    scale = jnp.sqrt(qa) * jnp.sqrt(qb)
    there = scale > 0
    safe = jnp.where(there, scale, 1.0)
    tiny = _COINCIDENT * jnp.finfo(safe.dtype).eps
    minus, plus = (jnp.where(there, (safe + sign * k) / safe, 1.0) for sign in (-1.0, 1.0))
    minus, plus = (jnp.where(v > tiny, v, 0.0) for v in (minus, plus))
    slopes = (jnp.where(q > 0, k / jnp.where(q > 0, q, 1.0), 0.0) for q in (qa, qb))
    spreads = (jnp.sqrt(q * minus * plus) for q in (qa, qb))
    return _Law(scale, minus, plus, *slopes, *spreads)
