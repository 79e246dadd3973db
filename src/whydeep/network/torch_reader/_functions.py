"""Chains of elementwise PyTorch operations on one value, as one function of one variable.

``x * torch.sigmoid(x)``, ``F.gelu(2 * x) + 1``, ``torch.where(x > 0, x, 0.1 * x)``: each is an
expression, a tuple ``(operation, *arguments)`` over the variable `Z`. Fixed scales and shifts at
both ends are split off, what is left is compared with the named activations on a grid (whose
kernels are known in closed form), and otherwise becomes a user's function with its kinks found.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations import Held, ScalarFunction, custom, get

__all__ = ["OPERATIONS", "Expression", "Z", "inner_affine", "outer_affine", "read_function"]

Expression = tuple[Any, ...]
Z: Expression = ("z",)


def _threshold(z: Any, edge: float, value: float) -> Any:
    return jnp.where(z > edge, z, value)


def _softplus(z: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    del threshold  # beyond it PyTorch drops log(1 + exp(-beta z)), 2e-9 at most
    return jnp.logaddexp(beta * z, 0.0) / beta


def _elu(z: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    low = alpha * jnp.expm1(input_scale * jnp.minimum(z, 0.0))
    return scale * jnp.where(z > 0, z, low)


def _clamp(z: Any, low: float | None = None, high: float | None = None) -> Any:
    z = z if low is None else jnp.maximum(z, low)
    return z if high is None else jnp.minimum(z, high)


def _gelu(z: Any, form: str = "none") -> Any:
    return get("gelu_tanh" if form == "tanh" else "gelu")(z)


def _power(z: Any, exponent: float) -> Any:
    whole = int(exponent) == exponent
    return jax.lax.integer_pow(z, int(exponent)) if whole else jnp.power(z, exponent)


def _hardshrink(z: Any, edge: float = 0.5) -> Any:
    return jnp.where(jnp.abs(z) > edge, z, 0.0)


def _softshrink(z: Any, edge: float = 0.5) -> Any:
    return jnp.sign(z) * jnp.maximum(jnp.abs(z) - edge, 0.0)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": jnp.add, "sub": jnp.subtract, "mul": jnp.multiply, "div": jnp.divide,
    "maximum": jnp.maximum, "minimum": jnp.minimum,
    "gt": jnp.greater, "ge": jnp.greater_equal, "lt": jnp.less, "le": jnp.less_equal,
    "where": jnp.where,
    "neg": jnp.negative, "abs": jnp.abs, "sign": jnp.sign, "square": jnp.square,
    "pow": _power, "reciprocal": jnp.reciprocal, "sqrt": jnp.sqrt, "rsqrt": jax.lax.rsqrt,
    "exp": jnp.exp, "expm1": jnp.expm1, "log": jnp.log, "log1p": jnp.log1p,
    "sin": jnp.sin, "cos": jnp.cos, "tan": jnp.tan, "atan": jnp.arctan,
    "sinh": jnp.sinh, "cosh": jnp.cosh, "asinh": jnp.arcsinh, "tanh": jnp.tanh,
    "erf": jax.scipy.special.erf, "erfc": jax.scipy.special.erfc,
    "sigmoid": jax.nn.sigmoid, "log_sigmoid": lambda z: -jnp.logaddexp(-z, 0.0),
    "relu": lambda z: jnp.maximum(z, 0.0), "relu6": lambda z: _clamp(z, 0.0, 6.0),
    "leaky_relu": lambda z, slope=0.01: jnp.where(z > 0, z, slope * z),
    "rrelu": lambda z, low=1 / 8, high=1 / 3: jnp.where(z > 0, z, (low + high) / 2 * z),
    "gelu": _gelu, "silu": lambda z: z * jax.nn.sigmoid(z),
    "mish": lambda z: z * jnp.tanh(jnp.logaddexp(z, 0.0)),
    "softplus": _softplus, "elu": _elu, "selu": get("selu"),
    "celu": lambda z, alpha=1.0: _elu(z, alpha, 1.0, 1.0 / alpha),
    "hardtanh": lambda z, low=-1.0, high=1.0: _clamp(z, low, high),
    "clamp": _clamp,
    "clamp_min": _clamp, "clamp_max": lambda z, high: _clamp(z, None, high),
    "hardsigmoid": lambda z: _clamp(z / 6.0 + 0.5, 0.0, 1.0),
    "hardswish": lambda z: z * _clamp(z / 6.0 + 0.5, 0.0, 1.0),
    "threshold": _threshold, "hardshrink": _hardshrink, "softshrink": _softshrink,
}  # fmt: skip
"""What each operation computes, in `jax.numpy`, by the name it has in ATen."""

# Where an operation has a kink, in its first argument; by its other arguments where it has some.
_KINKS: dict[str, Callable[..., tuple[float | None, ...]]] = {
    "abs": lambda: (0.0,), "sign": lambda: (0.0,), "relu": lambda: (0.0,),
    "relu6": lambda: (0.0, 6.0), "selu": lambda: (0.0,),
    "leaky_relu": lambda *_: (0.0,), "rrelu": lambda *_: (0.0,),
    "elu": lambda *_: (0.0,), "celu": lambda *_: (0.0,),
    "hardtanh": lambda low=-1.0, high=1.0: (low, high),
    "clamp": lambda low=None, high=None: (low, high),
    "clamp_min": lambda low: (low,), "clamp_max": lambda high: (high,),
    "hardsigmoid": lambda: (-3.0, 3.0), "hardswish": lambda: (-3.0, 3.0),
    "threshold": lambda edge, _: (edge,),
    "hardshrink": lambda edge=0.5: (-edge, edge), "softshrink": lambda edge=0.5: (-edge, edge),
}  # fmt: skip
_COMPARED = ("maximum", "minimum", "gt", "ge", "lt", "le")

# Kinks are looked for between these arguments: preactivations beyond are never met.
_REACH = 50.0
# Without 0, where conventions for jumps differ.
_GRID = np.concatenate(
    [sign * np.geomspace(1e-3, 8.0, 60) for sign in (-1.0, 1.0)]
    + [sign * np.arange(0.05, 8.0, 0.1) for sign in (-1.0, 1.0)]
)
_SAME = 1e-12
_CANDIDATES = (
    "linear", "relu", "tanh", "gelu", "gelu_tanh", "silu", "sigmoid", "softplus", "mish", "elu",
    "selu", "abs", "step", "sign", "hard_tanh", "erf", "sin", "cos", "exp", "gaussian",
    "monomial(2)", "monomial(3)", "monomial(4)", "rectified_monomial(2)",
)  # fmt: skip


def outer_affine(e: Expression) -> tuple[float, float, Expression]:
    """``(a, b, inner)`` with ``e = a inner + b``, as much of it as there is."""
    scale, shift = 1.0, 0.0
    while True:
        step = _affine_step(e)
        if step is None:
            return scale, shift, e
        a, b, e = step
        scale, shift = scale * a, scale * b + shift


def _affine_step(e: Expression) -> tuple[float, float, Expression] | None:
    name, *args = e
    if name == "neg":
        return -1.0, 0.0, args[0]
    if name not in ("add", "sub", "mul", "div"):
        return None
    left, right = args
    if isinstance(right, float):
        return {
            "add": (1.0, right, left), "sub": (1.0, -right, left),
            "mul": (right, 0.0, left), "div": (1.0 / right if right else math.nan, 0.0, left),
        }[name]  # fmt: skip
    if isinstance(left, float):
        signs = {"add": (1.0, left, right), "sub": (-1.0, left, right), "mul": (left, 0.0, right)}
        return signs.get(name)
    if left[0] == "z" or right[0] == "z" or left == right:
        a, b, inner = outer_affine(left)
        c, d, other = outer_affine(right)
        if inner == other and name in ("add", "sub"):
            sign = 1.0 if name == "add" else -1.0
            return a + sign * c, b + sign * d, inner
    return None


def inner_affine(e: Expression) -> tuple[float, float, Expression] | None:
    """``(a, b, outer)`` with ``e(z) = outer(a z + b)``, if the variable enters in one such form."""
    forms = set(_leaves(e))
    if len(forms) != 1 or forms == {(1.0, 0.0)}:
        return None
    a, b = forms.pop()
    return a, b, _without(e)


def _leaves(e: Expression) -> Iterator[tuple[float, float]]:
    a, b, inner = outer_affine(e)
    if inner == Z:
        yield a, b
        return
    for part in inner[1:]:
        if isinstance(part, tuple):
            yield from _leaves(part)


def _without(e: Expression) -> Expression:
    if outer_affine(e)[2] == Z:
        return Z
    return tuple(_without(part) if isinstance(part, tuple) else part for part in e)


def evaluate(e: Any, z: Any) -> Any:
    """The expression's value, in `jax.numpy`."""
    if not isinstance(e, tuple):
        return e
    if e == Z:
        return z
    return OPERATIONS[e[0]](*(evaluate(part, z) for part in e[1:]))


@functools.lru_cache(maxsize=256)
def read_function(e: Expression) -> tuple[float, ScalarFunction]:
    """``(a, f)`` with ``e = a f``: a named activation where there is one.

    Raises:
        InputError: it is not finite for every argument.
    """
    values = _values(e, _GRID)
    for name in _CANDIDATES:
        if _same(values, _named_values(name)):
            return 1.0, get(name)
    kinks = _kinks(e)
    if kinks == (0.0,):
        minus, plus = (float(_values(e, np.array([x]))[0]) / x for x in (-1.0, 1.0))
        if plus != 0 and _same(values, np.where(_GRID < 0, minus, plus) * _GRID):
            return plus, get(f"leaky_relu({minus / plus!r})")
        alpha = -minus / math.expm1(-1.0)
        if _same(values, np.where(_GRID < 0, alpha * np.expm1(np.minimum(_GRID, 0)), _GRID)):
            return 1.0, get(f"elu({alpha!r})")
    return 1.0, custom(Held(_evaluated, (e,)), kinks=kinks, name=_spell(e))


def _evaluated(z: Any, e: Any) -> Any:
    return evaluate(e, z)


@functools.cache
def _named_values(name: str) -> np.ndarray:
    with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
        return np.asarray(get(name)(jnp.asarray(_GRID)))


def _values(e: Expression, z: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True), np.errstate(all="ignore"):  # noqa: FBT003 -- JAX's own signature
        return np.broadcast_to(np.asarray(evaluate(e, jnp.asarray(z))), z.shape)


def _same(values: np.ndarray, others: np.ndarray) -> bool:
    return bool(np.all(np.abs(values - others) <= _SAME * (1.0 + np.abs(others))))


def _kinks(e: Expression) -> tuple[float, ...]:
    found: set[float] = set()
    for argument, edge in _edges(e):
        found |= _crossings(argument, edge)
    return tuple(sorted(found))


def _edges(e: Any) -> Iterator[tuple[Expression, float]]:
    """Every ``(argument, value)`` where an operation inside has a kink."""
    if not isinstance(e, tuple) or e == Z:
        return
    name, *args = e
    if name in _KINKS and isinstance(args[0], tuple):
        yield from ((args[0], float(edge)) for edge in _KINKS[name](*args[1:]) if edge is not None)
    if name in _COMPARED:
        yield ("sub", args[0], args[1]), 0.0
    for part in args:
        yield from _edges(part)


def _crossings(argument: Expression, edge: float) -> set[float]:
    """Where the argument passes through `edge`."""
    a, b, inner = outer_affine(argument)
    if inner == Z and a != 0:
        return {(edge - b) / a + 0.0}
    grid = np.linspace(-_REACH, _REACH, 20_001)
    values = _values(argument, grid) - edge
    with np.errstate(invalid="ignore"):
        out = {float(z) for z in grid[1:-1][_touches(values)]}
        changes = np.flatnonzero(values[:-1] * values[1:] < 0)
    for i in changes:
        low, high = grid[i], grid[i + 1]
        sign = np.sign(values[i])
        for _ in range(60):
            middle = (low + high) / 2
            value = _values(argument, np.array([middle]))[0] - edge
            low, high = (middle, high) if np.sign(value) == sign else (low, middle)
        out.add(float(0.0 if abs(high) < 1e-15 else high))
    return out


def _touches(values: np.ndarray) -> np.ndarray:
    """Zeros on the grid whose neighbours are not both zero."""
    zero = values == 0
    return zero[1:-1] & ~(zero[:-2] & zero[2:])


def _spell(e: Any) -> str:
    text = _words(e)
    return text if len(text) <= 60 else text[:57] + "..."


def _words(e: Any) -> str:
    if not isinstance(e, tuple):
        return f"{e:g}" if isinstance(e, (int, float)) else str(e)
    if e == Z:
        return "z"
    name, *args = e
    signs = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
    if name in signs:
        left, right = (_words(a) for a in args)
        loose = (" + ", " - ")
        if name in ("mul", "div"):
            left, right = (f"({t})" if any(s in t for s in loose) else t for t in (left, right))
        return f"{left} {signs[name]} {right}"
    return f"{name}({', '.join(_words(a) for a in args)})"
