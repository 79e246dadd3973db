"""Normalisations, recognised by what they compute from a value, its mean and its mean square.

Whatever way a mean and a variance are written, an expression of a value ``u`` and of sums of
quadratic polynomials of ``u`` is a function of ``u``, the mean m and the mean square q. It is
evaluated at a few of these, and compared with ``a (u - m) / sqrt(q - m^2 + eps)`` and
``a u / sqrt(q + eps)``.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network._layers import Affine, Layer
from whydeep.network._normalisation import GroupNorm, LayerNorm, RMSNorm
from whydeep.network.jax_reader._axes import Atom, refine
from whydeep.network.jax_reader._draft import Draft, Value
from whydeep.network.jax_reader._expression import VALUE, Expression, evaluate, number, substitute
from whydeep.network.jax_reader._reader import Reader

__all__ = ["normalised"]

_U = np.linspace(-3.0, 3.0, 7)
_MOMENTS = ((0.3, 1.7), (-1.2, 2.0), (2.0, 4.5), (0.0, 1e-3))


def normalised(reader: Reader, value: Value) -> Value:
    """The value as that of a normalisation, if it is one; else as it is."""
    expression = value.expression
    if not expression.statistics or not expression.has_value or not isinstance(value.base, Draft):
        return value
    if not any(s.kind == "sum" for s in expression.statistics):
        return value
    for inner in reversed(_inner(expression)):
        plain = substitute(expression, inner, VALUE)
        fit = _fit(plain)
        if fit is not None:
            centred, scale, eps = fit
            source = reader.materialise(Value(value.base, value.axes, inner))
            layer = _layer(source, plain, eps, centred=centred)
            made = reader.liked(layer, source)
            if scale != 1.0:
                made = reader.like(Affine(scale), made)
            return Value(made, value.axes, VALUE, value.gain)
    return value


def _inner(expression: Expression) -> list[Expression]:
    """Parts through which alone the expression, statistics included, depends on the value."""
    zero = number(0.0)
    parts = [p for p in expression.parts() if p.has_value and not p.statistics]
    return [p for p in parts if VALUE not in substitute(expression, p, zero).parts()]


def _fit(expression: Expression) -> tuple[bool, float, float] | None:
    """``(centred, a, eps)`` of the normalisation that the expression is."""
    try:
        high, low = _slope(expression, 1.0), _slope(expression, 1e-6)
    except _NotQuadraticError:
        return None
    if not (math.isfinite(high) and math.isfinite(low)) or high == 0.0:
        return None
    ratio = (low / high) ** 2
    if ratio <= 1.0 + 1e-9:
        return None
    eps = (1.0 - ratio * 1e-6) / (ratio - 1.0)
    eps = 0.0 if abs(eps) < 1e-13 else eps
    scale = high * math.sqrt(1.0 + eps)
    if eps < 0:
        return None
    short = float(f"{eps:.2g}")
    eps = short if abs(short - eps) < 1e-5 * eps else eps
    scale = 1.0 if abs(scale - 1.0) < 1e-6 else scale
    for centred in (True, False):
        if all(_agrees(expression, m, q, scale, eps, centred=centred) for m, q in _MOMENTS):
            return centred, scale, eps
    return None


def _slope(expression: Expression, square: float) -> float:
    values = _at(expression, 0.0, square)
    return float(values[-1] - values[0]) / float(_U[-1] - _U[0])


def _agrees(
    expression: Expression, mean: float, square: float, scale: float, eps: float, *, centred: bool
) -> bool:
    values = _at(expression, mean, square)
    shift, spread = (mean, square - mean**2) if centred else (0.0, square)
    wanted = scale * (_U - shift) / math.sqrt(spread + eps)
    return bool(np.allclose(values, wanted, rtol=2e-6, atol=2e-6 * abs(scale)))


class _NotQuadraticError(Exception):
    pass


def _at(expression: Expression, mean: float, square: float) -> np.ndarray:
    """The expression at `_U` where the value has this mean and mean square."""
    with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
        known: dict[Expression, Any] = {}
        for part in expression.parts():
            if part.operation == "statistic":
                known[part] = _sum(part, known, mean, square)
        return np.asarray(evaluate(expression, _U, known))


def _sum(part: Expression, known: dict[Expression, Any], mean: float, square: float) -> float:
    if part.kind != "sum":
        raise _NotQuadraticError
    inside = part.arguments[0]
    given = {s: known[s] for s in inside.statistics}
    at = np.array([0.0, 1.0, -1.0, 2.0])
    zero, plus, minus, two = np.asarray(evaluate(inside, at, given))
    linear, quadratic = (plus - minus) / 2.0, (plus + minus) / 2.0 - zero
    if abs(zero + 2 * linear + 4 * quadratic - two) > 1e-9 * (1.0 + abs(two)):
        raise _NotQuadraticError
    return float(part.count * (zero + linear * mean + quadratic * square))


def _layer(source: Draft, expression: Expression, eps: float, *, centred: bool) -> Layer:
    over = {
        frozenset(refine(part.over)) for part in expression.parts() if part.operation == "statistic"
    }
    atoms: frozenset[Atom] = over.pop()
    channels, positions = source.channel_atoms, source.position_atoms
    inner = [a for a in channels if a in atoms]
    outer = channels[: len(channels) - len(inner)]
    if over or tuple(inner) != channels[len(outer) :] or not inner:
        raise UnsupportedError("A normalisation runs over axes that can't be read.")
    everywhere = set(atoms) == {*inner, *positions}
    here = set(atoms) == set(inner)
    if not outer and here:
        return LayerNorm(eps) if centred else RMSNorm(eps)
    whole = [k for k, axis in enumerate(source.positions) if set(refine(axis)) <= atoms]
    if centred and not outer:
        if everywhere:
            return LayerNorm(eps, over="all")
        dimensions = [a for k in whole for a in refine(source.positions[k])]
        if set(atoms) == {*inner, *dimensions}:
            return LayerNorm(eps, over=tuple(whole))
    if centred and everywhere:
        return GroupNorm(eps, groups=math.prod(a.size for a in outer))
    raise UnsupportedError(
        "A normalisation over a part of the channels, or of the positions.",
        needed="LayerNorm over the channels, or channels and all positions; GroupNorm over blocks "
        "of channels and all positions; RMSNorm over the channels",
        cause="the norm of queries and keys head by head, for example, is not supported",
    )
