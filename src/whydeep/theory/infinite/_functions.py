"""Functions of one variable made of others: a nonlinearity after a nonlinearity is one function."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations import Held, ScalarFunction, get, joined

__all__ = ["IDENTITY", "affine", "composed", "euler", "multiplied", "summed"]

IDENTITY = get("linear")
_GRID = np.linspace(-40.0, 40.0, 16_001)
_LONGEST_NAME = 60

Line = tuple[Callable[..., Any], tuple[int, ...]]


@dataclass(frozen=True)
class _Program:
    """Functions applied line by line: each to earlier values by number, of which z is the first.

    What is used twice is computed once, and a thousand functions one after the other are no
    deeper than one.
    """

    lines: tuple[Line, ...]

    def __call__(self, z: Any) -> Any:
        values = [z]
        for function, places in self.lines:
            values.append(function(*(values[k] for k in places)))
        return values[-1]


def composed(outer: ScalarFunction, inner: ScalarFunction) -> ScalarFunction:
    """Z -> outer(inner(z))."""
    return outer if inner == IDENTITY else _composed(outer, inner)


@functools.lru_cache(maxsize=256)
def _composed(outer: ScalarFunction, inner: ScalarFunction) -> ScalarFunction:
    if outer.slopes and inner.slopes:
        left, right = inner.slopes
        return _homogeneous(outer.slopes[left < 0] * left, outer.slopes[right > 0] * right)
    kinks = {*inner.kinks}
    for kink in outer.kinks:
        kinks |= set(_crossings(inner, kink))
    return _then(inner, outer, tuple(kinks), f"{outer.name} of {inner.name}")


@functools.lru_cache(maxsize=256)
def summed(first: ScalarFunction, second: ScalarFunction) -> ScalarFunction:
    """Z -> first(z) + second(z)."""
    if first.slopes and second.slopes:
        return _homogeneous(first.slopes[0] + second.slopes[0], first.slopes[1] + second.slopes[1])
    return _both(operator.add, first, second, f"({first.name} + {second.name})")


@functools.lru_cache(maxsize=256)
def multiplied(first: ScalarFunction, second: ScalarFunction) -> ScalarFunction:
    """Z -> first(z) second(z)."""
    return _both(operator.mul, first, second, f"({first.name} x {second.name})")


@functools.lru_cache(maxsize=256)
def affine(function: ScalarFunction, scale: float, shift: float) -> ScalarFunction:
    """Z -> scale function(z) + shift."""
    if function.slopes and shift == 0.0:
        return _homogeneous(scale * function.slopes[0], scale * function.slopes[1])
    before = _lines(function)
    last, places = before[-1]
    if isinstance(last, Held) and last.function is _affine:  # two such maps are one
        inner, moved = last.arguments
        line = Held(_affine, (scale * inner, scale * moved + shift)), places
        return _function((*before[:-1], line), function.kinks, function.name)
    return _then(
        function,
        Held(_affine, (scale, shift)),
        function.kinks,
        f"({scale:g} {function.name} + {shift:g})",
    )


@functools.lru_cache(maxsize=256)
def euler(function: ScalarFunction) -> ScalarFunction:
    """The function z f'(z): itself if it is positively homogeneous (Euler)."""
    if function.slopes:
        return function
    lines = ((Held(_euler, (function,)), (0,)),)
    return _function(lines, function.kinks, f"z {function.name}'")


@functools.lru_cache(maxsize=256)
def _homogeneous(left: float, right: float) -> ScalarFunction:
    if left == right == 1.0:
        return IDENTITY
    return ScalarFunction(
        f"homogeneous({left:g}, {right:g})",
        (Held(_scaled, (left,)), Held(_scaled, (right,))),
        kinks=(0.0,), slopes=(left, right), odd=left == right,
    )  # fmt: skip


def _scaled(z: Any, slope: float) -> Any:
    return slope * z


def _affine(z: Any, scale: float, shift: float) -> Any:
    return scale * z + shift


def _euler(z: Any, function: ScalarFunction) -> Any:
    return z * jax.jvp(function, (z,), (jnp.ones_like(z),))[1]


def _lines(function: ScalarFunction) -> tuple[Line, ...]:
    """The program of a function that this room has made; of another, itself."""
    piece = function.pieces[0]
    whole = piece.arguments[0] if isinstance(piece, Held) else piece
    return whole.lines if isinstance(whole, _Program) else ((function, (0,)),)


def _function(lines: tuple[Line, ...], kinks: tuple[float, ...], name: str) -> ScalarFunction:
    half = _LONGEST_NAME // 2
    shown = name if len(name) <= _LONGEST_NAME else f"{name[:half]} ... {name[-half:]}"
    return joined(_Program(lines), tuple(sorted(kinks)), shown)


def _then(
    inner: ScalarFunction, outer: Callable[[Any], Any], kinks: tuple[float, ...], name: str
) -> ScalarFunction:
    before = _lines(inner)
    return _function((*before, (outer, (len(before),))), kinks, name)


def _both(
    join: Callable[[Any, Any], Any], first: ScalarFunction, second: ScalarFunction, name: str
) -> ScalarFunction:
    """`join` of two functions; the lines that they share stand once."""
    lines = list(_lines(first))
    known = {line: k for k, line in enumerate(lines, start=1)}
    ends = [len(lines)]
    numbers = [0]  # of the second's values among all
    for function, places in _lines(second):
        line = (function, tuple(numbers[k] for k in places))
        if line not in known:
            lines.append(line)
            known[line] = len(lines)
        numbers.append(known[line])
    ends.append(numbers[-1])
    lines.append((join, tuple(ends)))
    return _function(tuple(lines), tuple({*first.kinks, *second.kinks}), name)


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
