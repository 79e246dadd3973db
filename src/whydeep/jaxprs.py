"""Jaxprs as every version of JAX writes them: whatever differs between versions is known here.

Names of primitives come and go, and parameters of equations are JAX's own affair: what can be seen
from the shapes of an equation's arguments is not taken from them.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import jax
import jax.extend.core

from whydeep.errors import UnsupportedError

__all__ = [
    "CUSTOM_CALLS",
    "PLAIN_CALLS",
    "Options",
    "inner_jaxpr",
    "is_dropped",
    "is_literal",
    "scan_counts",
]

PLAIN_CALLS = frozenset({
    "jit", "pjit", "closed_call", "core_call", "eval_jaxpr", "remat", "remat2", "checkpoint",
    "xla_call",
})  # fmt: skip
"""Calls of a function inside a function."""
CUSTOM_CALLS = frozenset({"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"})
"""Calls of a function that has a derivative of its own."""


def inner_jaxpr(equation: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """The jaxpr that a call runs, and its constants; None where the equation is no call.

    Example:
        >>> import jax.numpy as jnp
        >>> twice = jax.make_jaxpr(jax.jit(lambda x: x + x))(1.0)
        >>> jaxpr, constants = inner_jaxpr(twice.eqns[0])
        >>> [str(e.primitive) for e in jaxpr.eqns], constants
        (['add'], ())
    """
    if equation.primitive.name not in PLAIN_CALLS | CUSTOM_CALLS:
        return None
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(key)
        if inner is not None:
            # Closed or not: JAX 0.12 has one class for both.
            return getattr(inner, "jaxpr", inner), tuple(getattr(inner, "consts", ()))
    return None


def is_literal(atom: Any) -> bool:
    """Whether an operand is a number written into the jaxpr."""
    return isinstance(atom, jax.extend.core.Literal)


def is_dropped(variable: Any) -> bool:
    """Whether nothing uses a result."""
    return isinstance(variable, jax.extend.core.DropVar)


def scan_counts(equation: Any) -> tuple[int, int]:
    """How many operands of a scan are constants, and how many are carried; the rest is run over.

    What a scan runs over, and what it gives for every step, has one axis less inside than outside.
    What it carries and what it closes over has as many.

    Example:
        >>> def steps(x, rows):
        ...     return jax.lax.scan(lambda c, row: (c + x * row, c), x, rows)
        >>> traced = jax.make_jaxpr(steps)(1.0, jax.numpy.arange(3.0))
        >>> scan_counts(traced.eqns[-1])
        (1, 1)
    """
    body = equation.params["jaxpr"]
    over, returned = (
        sum(len(a.aval.shape) != len(b.aval.shape) for a, b in zip(outside, inside, strict=True))
        for outside, inside in (
            (equation.invars, body.jaxpr.invars),
            (equation.outvars, body.jaxpr.outvars),
        )
    )
    carried = len(equation.outvars) - returned
    return len(equation.invars) - over - carried, carried


class Options(dict[str, Any]):
    """The parameters of an equation; one that isn't there is a refusal that names JAX's version.

    Example:
        >>> Options(jax.make_jaxpr(jax.numpy.sin)(1.0).eqns[0], {"accuracy": None})["accuracy"]
    """

    def __init__(self, equation: Any, options: dict[str, Any] | None = None) -> None:
        super().__init__(equation.params if options is None else options)
        self._equation = equation

    def __missing__(self, name: Hashable) -> Any:
        raise UnsupportedError(
            f"The primitive {self._equation.primitive.name!r} is written in a way that is not "
            "known here.",
            received=f"JAX {jax.__version__}, without the parameter {name!r}",
            cause="this version of JAX is newer than whydeep's tests",
            suggestion="a version of JAX that constraints.txt or constraints-newest.txt names",
        )
