"""Functions inside functions: what they close over, and whether their derivative is their own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr

from whydeep.errors import UnsupportedError
from whydeep.jaxprs import is_literal
from whydeep.network.jax_reader._draft import Known, Random

__all__ = ["check_derivative", "constant"]


def constant(value: Any) -> Known | Random:
    """What an array the function closes over means; keys of random numbers hold none yet."""
    if hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return Random(tuple(value.shape))
    return Known(np.asarray(value))


def check_derivative(equation: Any, jaxpr: Any, constants: tuple[Any, ...]) -> None:
    """Refuse a function whose custom derivative is not that of its values.

    Both derivatives are evaluated at random numbers. A straight-through estimator is refused: its
    tangent kernel is not that of the function.
    """
    variables = list(dict.fromkeys(v for v in equation.invars if not is_literal(v)))
    if any(not np.issubdtype(v.aval.dtype, np.floating) for v in variables):
        return
    generator = np.random.default_rng(0)
    primals, tangents = (
        tuple(generator.normal(size=v.aval.shape).astype(v.aval.dtype) for v in variables)
        for _ in range(2)
    )
    alone = jaxpr.replace(
        constvars=[], invars=variables, outvars=list(equation.outvars), eqns=[equation]
    )

    def own(*arrays: Any) -> Any:
        return eval_jaxpr(alone, (), *arrays)

    def plain(*arrays: Any) -> Any:
        given = dict(zip(variables, arrays, strict=True))
        full = [a.val if is_literal(a) else given[a] for a in equation.invars]
        return eval_jaxpr(jaxpr, constants, *full)

    if "jvp" in equation.primitive.name:
        ours = jax.jvp(own, primals, tangents)[1]
        theirs = jax.jvp(plain, primals, tangents)[1]
    else:
        outputs, pull = jax.vjp(own, *primals)
        weights = [generator.normal(size=np.shape(o)).astype(o.dtype) for o in outputs]
        ours = pull(weights)
        theirs = jax.vjp(plain, *primals)[1](weights)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        if not np.allclose(a, b, rtol=1e-3, atol=1e-3):
            raise UnsupportedError(
                "A function has a custom derivative that is not the derivative of its values.",
                cause="a straight-through estimator or a clipped gradient: its tangent kernel is "
                "not that of the function",
                needed="custom derivatives that only compute better what the values imply",
            )
