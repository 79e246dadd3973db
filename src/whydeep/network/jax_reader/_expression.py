"""Elementwise arithmetic of one value, kept as an expression until something else needs it.

Equal expressions are the same object, so that a mean computed in one place and the value it
belongs to, computed in another, are recognised. An expression is evaluated with any numbers, in
float64 or under JAX's transformations, through the public functions of ``jax.lax``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "ELEMENTWISE",
    "VALUE",
    "Expression",
    "affine_form",
    "apply",
    "evaluate",
    "number",
    "statistic",
    "substitute",
]

_SAME_NAME = (  # noqa: SIM905 -- sixty quotes less
    "abs acos acosh add asin asinh atan atan2 atanh cbrt ceil cos cosh digamma div eq erf erf_inv "
    "erfc exp exp2 expm1 floor ge gt is_finite le lgamma log log1p logistic lt max min mul ne neg "
    "nextafter pow rem rsqrt select_n sign sin sinh sqrt square sub tan tanh"
).split()


_NEWER = ("log2", "one_minus_square")  # JAX 0.12 has them, JAX 0.10 has not

ELEMENTWISE: dict[str, Callable[..., Any]] = {name: getattr(jax.lax, name) for name in _SAME_NAME}
"""Elementwise primitives by name, as functions of arrays of equal shape."""
ELEMENTWISE.update({name: getattr(jax.lax, name) for name in _NEWER if hasattr(jax.lax, name)})
ELEMENTWISE.update(
    {
        "not": jax.lax.bitwise_not,
        "and": jax.lax.bitwise_and,
        "or": jax.lax.bitwise_or,
        "xor": jax.lax.bitwise_xor,
        "add_any": jax.lax.add,
        "to_real": lambda x: x,
        "softplus_pair": jnp.logaddexp,
    }
)


_KNOWN: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()


class Expression:
    """A node of elementwise arithmetic: an operation, its arguments and its options.

    Attributes:
        operation: in `ELEMENTWISE`, or "integer_pow", "value", "number", "truth", "statistic".
        arguments: expressions.
        options: exponents, numbers, what a statistic is taken over.
        has_value: whether the value itself occurs outside statistics.
        statistics: those that occur in it, outside of other statistics.
    """

    __slots__ = ("__weakref__", "arguments", "has_value", "operation", "options", "statistics")

    operation: str
    arguments: tuple[Expression, ...]
    options: Any
    has_value: bool
    statistics: frozenset[Expression]

    def __new__(  # noqa: PYI034 -- the run-time checks of the tests can't read Self
        cls, operation: str, arguments: tuple[Expression, ...] = (), options: Hashable = None
    ) -> Expression:
        """The one expression of these parts."""
        key = (operation, arguments, options)
        found = _KNOWN.get(key)
        if found is not None:
            return found
        self = super().__new__(cls)
        self.operation, self.arguments, self.options = key
        if operation == "statistic":
            self.has_value = False
            self.statistics = frozenset((self,))
        else:
            self.has_value = operation == "value" or any(a.has_value for a in arguments)
            self.statistics = frozenset().union(*(a.statistics for a in arguments))
        _KNOWN[key] = self
        return self

    def __reduce__(self) -> Any:
        return Expression, (self.operation, self.arguments, self.options)

    def __repr__(self) -> str:
        if self.operation == "value":
            return "s"
        if self.operation in ("number", "truth"):
            return f"{self.options:g}" if isinstance(self.options, float) else str(self.options)
        inside = ", ".join(map(repr, self.arguments))
        return f"{self.operation}({inside}{'' if self.options is None else ', ...'})"

    @property
    def kind(self) -> str:
        """Of a statistic: "sum" or "max"."""
        return self.options[0]

    @property
    def over(self) -> tuple[Any, ...]:
        """Of a statistic: the atoms it is taken over."""
        return self.options[1]

    @property
    def count(self) -> int:
        """Of a statistic: how many elements it is taken over."""
        return self.options[2]

    def parts(self) -> list[Expression]:
        """This expression and all inside it, statistics' own included, arguments first."""
        order: dict[Expression, None] = {}

        def visit(node: Expression) -> None:
            if node not in order:
                for argument in node.arguments:
                    visit(argument)
                order[node] = None

        visit(self)
        return list(order)


VALUE = Expression("value")
"""The value itself."""


def number(value: Any) -> Expression:
    """A number, or a truth value (1.0 and True are equal as keys: they need different names)."""
    if isinstance(value, (bool, np.bool_)):
        return Expression("truth", (), bool(value))
    return Expression("number", (), float(value))


def statistic(kind: str, inside: Expression, over: tuple[Any, ...], count: int) -> Expression:
    """The "sum" or "max" of an expression over `count` elements of the atoms `over`."""
    return Expression("statistic", (inside,), (kind, over, count))


def apply(operation: str, *arguments: Expression, options: Hashable = None) -> Expression:
    """An operation on expressions; of numbers, the number."""
    made = Expression(operation, arguments, options)
    if not made.has_value and not made.statistics:
        with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
            result = np.asarray(evaluate(made, np.zeros(())))
        return number(bool(result) if result.dtype == bool else float(result))
    return made


def evaluate(
    expression: Expression, value: Any, statistics: Mapping[Expression, Any] | None = None
) -> Any:
    """The expression at `value`, an array, with the statistics given as arrays or numbers."""
    known: dict[Expression, Any] = dict(statistics or {})
    known[VALUE] = value = jnp.asarray(value)

    def full(result: Any) -> Any:
        return jnp.broadcast_to(jnp.asarray(result, value.dtype), value.shape)

    for node, given in list(known.items()):
        known[node] = full(given)
    stack = [expression]
    while stack:
        node = stack[-1]
        if node in known:
            stack.pop()
        elif node.operation == "number":
            known[node] = full(node.options)
        elif node.operation == "truth":
            known[node] = jnp.full(value.shape, node.options)
        elif missing := [a for a in node.arguments if a not in known]:
            stack += missing
        else:
            known[node] = _operate(node, [known[a] for a in node.arguments], value.dtype)
    return known[expression]


def _operate(node: Expression, arguments: list[Any], dtype: Any) -> Any:
    if node.operation == "integer_pow":
        return jax.lax.integer_pow(arguments[0], node.options)
    if node.operation == "to_real":
        return arguments[0].astype(dtype)
    if node.operation == "statistic":
        raise KeyError(node)
    return ELEMENTWISE[node.operation](*arguments)


def substitute(expression: Expression, old: Expression, new: Expression) -> Expression:
    """The expression with `old` replaced by `new`, inside statistics too."""
    done = {old: new}
    for node in expression.parts():
        if node not in done:
            arguments = tuple(done[a] for a in node.arguments)
            done[node] = Expression(node.operation, arguments, node.options)
    return done[expression]


def affine_form(expression: Expression) -> tuple[float, float] | None:
    """``(scale, shift)`` if the expression is ``scale * value + shift`` by its very operations."""
    forms: dict[Expression, tuple[float, float] | None] = {}
    for node in expression.parts():
        forms[node] = _affine_step(node, [forms[a] for a in node.arguments])
    return forms[expression]


def _affine_step(  # noqa: PLR0911 -- one return a primitive
    node: Expression, forms: list[tuple[float, float] | None]
) -> tuple[float, float] | None:
    if node.operation == "value":
        return 1.0, 0.0
    if node.operation == "number":
        return 0.0, float(node.options)
    known = [f for f in forms if f is not None]
    if len(known) < len(forms) or not known:
        return None
    a, b = known[0], known[-1]
    match node.operation:
        case "neg":
            return -a[0], -a[1]
        case "to_real":
            return a
        case "add" | "add_any":
            return a[0] + b[0], a[1] + b[1]
        case "sub":
            return a[0] - b[0], a[1] - b[1]
        case "mul" if a[0] == 0.0:
            return a[1] * b[0], a[1] * b[1]
        case "mul" | "div" if b[0] == 0.0:
            factor = b[1] if node.operation == "mul" else 1.0 / b[1] if b[1] else float("nan")
            return (a[0] * factor, a[1] * factor) if np.isfinite(factor) else None
        case _:
            return None
