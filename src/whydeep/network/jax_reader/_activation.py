"""Which layers an elementwise expression is: affine maps, a named activation, or a custom one.

Named activations are recognised by their values, so that it does not matter how they were written;
kinks are found where a maximum, an absolute value or a condition switches, and kept where the
function really is not smooth (``logaddexp`` switches, and is).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from whydeep import activations
from whydeep.activations import ScalarFunction, get
from whydeep.errors import InputError, UnsupportedError
from whydeep.network._layers import Activation, Affine, Layer
from whydeep.network.jax_reader._expression import (
    VALUE,
    Expression,
    affine_form,
    evaluate,
    number,
    substitute,
)

__all__ = ["dominators", "elementwise_layers", "single_function"]

_GRID = np.linspace(-6.0, 6.0, 241) + 0.0123  # off 0, where functions with a kink differ in taste
_PLAIN = (  # noqa: SIM905 -- twenty quotes less
    "relu abs tanh gelu gelu_tanh silu sigmoid softplus erf mish step hard_tanh selu sin cos exp "
    "gaussian monomial(2) monomial(3) monomial(4) monomial(5) monomial(6)"
).split()
_SWITCHING = {"max", "min", "gt", "ge", "lt", "le", "ne", "eq"}
_STEPS = {"floor", "ceil", "rem", "nextafter"}


@functools.lru_cache(maxsize=512)
def elementwise_layers(expression: Expression, tolerance: float = 1e-6) -> tuple[Layer, ...]:
    """The layers that apply `expression`, which has no statistics, to a value.

    Args:
        expression: of one value.
        tolerance: how far a named activation may be off, relative to its size: the rounding of
            the constants in the user's code.

    Raises:
        UnsupportedError: it has steps without end, or is not finite on the real line.
    """
    form = affine_form(expression)
    if form is not None:
        return _affine(*form)
    found = _named(expression, tolerance)
    if found is not None:
        return found
    for inner in reversed(dominators(expression)):
        form = affine_form(inner)
        if form is not None and inner is not VALUE:
            found = _named(substitute(expression, inner, VALUE), tolerance)
            if found is not None:
                return (*_affine(*form), *found)
            break
    return (Activation(_custom(expression)),)


def single_function(expression: Expression, tolerance: float) -> tuple[ScalarFunction, float]:
    """The function that an expression is, up to a factor behind it."""
    found = _named(expression, tolerance)
    layers = list(found or ())
    if len(layers) not in (1, 2):
        return _custom(expression), 1.0
    first, last = layers[0], layers[-1]
    factor = last.scale if isinstance(last, Affine) and last.shift == 0.0 else 1.0
    if isinstance(first, Activation) and (len(layers) == 1 or factor != 1.0):
        return first.function, factor
    return _custom(expression), 1.0


def dominators(expression: Expression) -> list[Expression]:
    """Parts of an expression through which alone it depends on the value, innermost first."""
    zero = number(0.0)
    return [
        part
        for part in expression.parts()
        if part.has_value
        and not part.statistics
        and not _mentions_value(substitute(expression, part, zero))
    ]


def _mentions_value(expression: Expression) -> bool:
    return any(part is VALUE for part in expression.parts())


def _affine(scale: float, shift: float) -> tuple[Layer, ...]:
    return () if (scale, shift) == (1.0, 0.0) else (Affine(scale, shift),)


def _values(expression: Expression, z: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
        return np.asarray(evaluate(expression, np.asarray(z, np.float64)), np.float64)


def _named(expression: Expression, tolerance: float) -> tuple[Layer, ...] | None:
    values = _values(expression, _GRID)
    if not np.all(np.isfinite(values)):
        return None
    size = np.abs(values) + np.sqrt(np.mean(values[np.abs(_GRID) < 2.0] ** 2))
    for function in _candidates(values):
        basis = np.stack([_reference(function), np.ones_like(_GRID)], axis=1)
        scale, shift = np.linalg.lstsq(basis / size[:, None], values / size, rcond=None)[0]
        if np.all(np.abs(basis @ (scale, shift) - values) <= tolerance * size):
            scale = 1.0 if abs(scale - 1.0) < tolerance else float(scale)
            shift = 0.0 if abs(shift) < tolerance else float(shift)
            return (Activation(function), *_affine(scale, shift))
    return None


def _candidates(values: np.ndarray) -> list[ScalarFunction]:
    names: list[str] = [*_PLAIN]
    below, above = values[_GRID < 0], values[_GRID > 0]
    left = np.polyfit(_GRID[_GRID < 0], below, 1)[0]
    right = np.polyfit(_GRID[_GRID > 0], above, 1)[0]
    if right != 0.0 and left / right not in (0.0, 1.0):
        names.append(f"leaky_relu({_short(left / right)!r})")
        # Where z > 0 is right * z: alpha is what is left of the other side, far out.
        alpha = -(below[0] - (above[0] - right * _GRID[_GRID > 0][0])) / right
        alpha /= -np.expm1(_GRID[0])
        if 1e-6 < abs(alpha) < 1e3:
            names.append(f"elu({_short(alpha)!r})")
    return [get(name) for name in names]


def _short(value: float) -> float:
    """A number that single precision can't tell from `value`, with few digits if there is one."""
    rounded = float(f"{value:.6g}")
    return rounded if abs(rounded - value) <= 2e-7 * abs(value) else float(value)


@functools.lru_cache(maxsize=128)
def _reference(function: ScalarFunction) -> np.ndarray:
    return function.derivatives(_GRID, 0)[0]


class _Fused:
    """An expression as a function; equal expressions are equal functions."""

    def __init__(self, expression: Expression) -> None:
        self.expression = expression
        text = repr(expression)
        self.__name__ = text if len(text) <= 60 else "user function"

    def __call__(self, z: Any) -> Any:
        return evaluate(self.expression, z)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Fused) and other.expression is self.expression

    def __hash__(self) -> int:
        return hash(self.expression)


def _custom(expression: Expression) -> ScalarFunction:
    for part in expression.parts():
        if part.operation in _STEPS:
            raise UnsupportedError(
                "An activation with steps without end can't be read.",
                received=f"{part.operation} applied to a value",
                needed="a function that is smooth between a few kinks",
            )
    try:
        return activations.custom(_Fused(expression), kinks=_kinks(expression))
    except InputError as error:
        raise UnsupportedError(
            error.problem, received=error.received, needed=error.needed, cause=error.cause
        ) from error


def _kinks(expression: Expression) -> tuple[float, ...]:
    near = np.concatenate([np.linspace(-40.0, 40.0, 80_001), np.geomspace(1e-6, 1e3, 2001)])
    grid = np.unique(np.concatenate([near, -near]))
    found: set[float] = set()
    for part in expression.parts():
        if part.operation in ("abs", "sign"):
            switch = part.arguments[0]
        elif part.operation in _SWITCHING:
            if any(_is_truth(a) for a in part.arguments):
                continue
            switch = Expression("sub", part.arguments)
        else:
            continue
        found.update(_roots(switch, grid))
    return tuple(sorted(root for root in found if _is_kink(expression, root)))


def _is_truth(part: Expression) -> bool:
    return part.operation in {"truth", *_SWITCHING, "not", "and", "or", "xor", "is_finite"} - {
        "max",
        "min",
    }


def _roots(switch: Expression, grid: np.ndarray) -> list[float]:
    values = _values(switch, grid)
    signs = np.sign(values)
    isolated = (signs[1:-1] == 0) & (signs[:-2] != 0) & (signs[2:] != 0)
    roots = list(grid[1:-1][isolated])
    low, high = grid[:-1], grid[1:]
    change = signs[:-1] * signs[1:] < 0
    low, high, sign = low[change], high[change], signs[:-1][change]
    for _ in range(60 if low.size else 0):
        middle = 0.5 * (low + high)
        same = np.sign(_values(switch, middle)) == sign
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    roots += list(0.5 * (low + high))
    return [0.0 + (round(r, 6) if abs(r - round(r, 6)) < 1e-9 else float(r)) for r in roots]


def _is_kink(expression: Expression, root: float) -> bool:
    step = 1e-7 * max(1.0, abs(root))
    with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature

        def derivative(z: Any) -> Any:
            return evaluate(expression, z)

        for _ in range(5):
            left, right = float(derivative(root - step)), float(derivative(root + step))
            if not abs(right - left) <= 1e-4 * (1.0 + abs(left)):
                return True
            derivative = jax.grad(derivative)
    return False
