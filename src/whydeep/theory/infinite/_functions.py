"""Functions of one variable made of others: a nonlinearity after a nonlinearity is one function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations import ScalarFunction, custom, get

__all__ = ["IDENTITY", "affine", "composed", "euler", "multiplied", "summed"]

IDENTITY = get("linear")
_GRID = np.linspace(-40.0, 40.0, 16_001)


def composed(outer: ScalarFunction, inner: ScalarFunction) -> ScalarFunction:
    """Z -> outer(inner(z))."""
    return outer if inner is IDENTITY else _composed(outer, inner)


@functools.lru_cache(maxsize=256)
def _composed(outer: ScalarFunction, inner: ScalarFunction) -> ScalarFunction:
    if outer.slopes and inner.slopes:
        left, right = inner.slopes
        return _homogeneous(outer.slopes[left < 0] * left, outer.slopes[right > 0] * right)
    kinks = {*inner.kinks}
    for kink in outer.kinks:
        kinks |= set(_crossings(inner, kink))
    return custom(
        lambda z: outer(inner(z)), kinks=tuple(kinks), name=f"{outer.name} of {inner.name}"
    )


@functools.lru_cache(maxsize=256)
def summed(first: ScalarFunction, second: ScalarFunction) -> ScalarFunction:
    """Z -> first(z) + second(z)."""
    if first.slopes and second.slopes:
        return _homogeneous(first.slopes[0] + second.slopes[0], first.slopes[1] + second.slopes[1])
    return custom(
        lambda z: first(z) + second(z), kinks=_both(first, second),
        name=f"({first.name} + {second.name})",
    )  # fmt: skip


@functools.lru_cache(maxsize=256)
def multiplied(first: ScalarFunction, second: ScalarFunction) -> ScalarFunction:
    """Z -> first(z) second(z)."""
    return custom(
        lambda z: first(z) * second(z), kinks=_both(first, second),
        name=f"({first.name} x {second.name})",
    )  # fmt: skip


@functools.lru_cache(maxsize=256)
def affine(function: ScalarFunction, scale: float, shift: float) -> ScalarFunction:
    """Z -> scale function(z) + shift."""
    if function.slopes and shift == 0.0:
        return _homogeneous(scale * function.slopes[0], scale * function.slopes[1])
    return custom(
        lambda z: scale * function(z) + shift, kinks=function.kinks,
        name=f"({scale:g} {function.name} + {shift:g})",
    )  # fmt: skip


@functools.lru_cache(maxsize=256)
def euler(function: ScalarFunction) -> ScalarFunction:
    """The function z f'(z): itself if it is positively homogeneous (Euler)."""
    if function.slopes:
        return function
    return custom(
        lambda z: z * jax.jvp(function, (z,), (jnp.ones_like(z),))[1], kinks=function.kinks,
        name=f"z {function.name}'",
    )  # fmt: skip


@functools.lru_cache(maxsize=256)
def _homogeneous(left: float, right: float) -> ScalarFunction:
    def piece(z: Any, slope: float) -> Any:
        return slope * z

    if left == right == 1.0:
        return IDENTITY
    return ScalarFunction(
        f"homogeneous({left:g}, {right:g})",
        (functools.partial(piece, slope=left), functools.partial(piece, slope=right)),
        kinks=(0.0,), slopes=(left, right), odd=left == right,
    )  # fmt: skip


def _both(first: ScalarFunction, second: ScalarFunction) -> tuple[float, ...]:
    return tuple(sorted({*first.kinks, *second.kinks}))


def _crossings(function: ScalarFunction, level: float) -> list[float]:
    """Where `function` crosses `level`, between -40 and 40."""

    def gap(z: Any) -> float:
        return float(function.derivatives(np.asarray([z]), 0)[0][0] - level)

    values = function.derivatives(_GRID, 0)[0] - level
    signs = np.sign(values)
    found = [float(z) for z in _GRID[1:-1][(signs[1:-1] == 0) & (signs[:-2] * signs[2:] <= 0)]]
    found = [z for z in found if not _flat(function, z)]
    changes = np.flatnonzero(signs[:-1] * signs[1:] < 0)
    found += [_root(gap, _GRID[k], _GRID[k + 1]) for k in changes]
    return found


def _root(gap: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq  # scipy.optimize takes a tenth of a second to import

    return float(brentq(gap, low, high, xtol=1e-15))  # pyright: ignore[reportArgumentType]


def _flat(function: ScalarFunction, z: float) -> bool:
    near = function.derivatives(np.array([z - 1e-3, z, z + 1e-3]), 0)[0]
    return bool(np.ptp(near) == 0.0)
