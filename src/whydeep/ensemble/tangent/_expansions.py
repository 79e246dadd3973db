"""A network as a polynomial in its parameters, around those it has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.arguments import TREE, anything, called, count, is_traced, shown, takes
from whydeep.ensemble.tangent._inputs import check_function
from whydeep.errors import InputError

__all__ = ["linearize", "taylor_expand"]


@takes(fn=anything, params=TREE)
def linearize(fn: Any, params: Any) -> Callable[..., Any]:
    """The network that is linear in its parameters: what an infinitely wide one trains as.

    ``f_lin(p, x) = f(params, x) + df(params, x)/dp . (p - params)``

    Args:
        fn: ``fn(params, x)``, any JAX function.
        params: any tree of arrays: the point it is linearised at. What is no array or number in it
            (functions in an equinox model) stays as it is.

    Returns:
        ``f_lin(p, x)``, with more arguments if `fn` takes more: a JAX function like `fn`, to be
        compiled, differentiated, batched and trained.

    Raises:
        InputError: `fn` can't be called; when called, parameters of another tree or shape.

    Accuracy: exact up to roundings. Cost: about two calls of `fn`; no Jacobian.

    Source: Lee et al. 2019, Eq. 5.

    Example:
        >>> import jax.numpy as jnp
        >>> square = linearize(lambda p, x: p**2 * x, jnp.array(3.0))
        >>> float(square(jnp.array(4.0), 1.0))  # 9 + 6 (4 - 3)
        15.0
    """
    return taylor_expand(fn, params, 1)


@takes(fn=anything, params=TREE, degree=count(0))
def taylor_expand(fn: Any, params: Any, degree: int) -> Callable[..., Any]:
    """The network's Taylor polynomial in its parameters.

    ``f_d(p, x) = sum_(k=0)^d 1/k! d^k/dt^k f(params + t (p - params), x)`` at t = 0

    Args:
        fn: ``fn(params, x)``, any JAX function with that many derivatives.
        params: any tree of arrays: the point it is expanded around.
        degree: d, 0 or more; whole-number arrays in `params` stay as they are.

    Returns:
        ``f_d(p, x)``, a JAX function like `fn`: see `linearize`.

    Raises:
        InputError: a degree that is none; when called, parameters of another tree or shape.

    Accuracy: exact up to roundings; it differs from `fn` by order |p - params|^(d+1). A kinked
    activation such as relu has no derivatives beyond the first, and its polynomial is that of the
    linear piece that `params` lie on. Cost: at most 2^d calls of `fn`.

    Source: Dyer and Gur-Ari 2020 (evolution beyond the linear order).

    Example:
        >>> import jax.numpy as jnp
        >>> cube = taylor_expand(lambda p, x: p**3 * x, jnp.array(1.0), 2)
        >>> float(cube(jnp.array(3.0), 1.0))  # 1 + 3 * 2 + 3 * 2^2
        19.0
    """
    check_function(fn)
    with called("params", "a tree (dicts, lists, tuples ...) of arrays of numbers"):
        params = jax.tree.map(_array, params)

    def expanded(moved: Any, *arguments: Any, **options: Any) -> Any:
        step = _difference(moved, params)

        def along(t: Any) -> Any:
            return fn(_moved(params, t, step), *arguments, **options)

        def with_derivatives(order: int) -> Callable[[Any], Any]:
            if order == 0:
                return lambda t: (along(t),)
            below = with_derivatives(order - 1)

            def both(t: Any) -> Any:
                values, slopes = jax.jvp(below, (t,), (jnp.ones_like(t),))
                return (*values, slopes[-1])

            return both

        terms = with_derivatives(degree)(jnp.zeros((), _real(params)))
        total = terms[0]
        for k, term in enumerate(terms[1:], start=1):
            total = jax.tree.map(lambda a, b, k=k: a + b / math.factorial(k), total, term)
        return total

    return expanded


def _difference(moved: Any, params: Any) -> Any:
    """What the real arrays are moved by, None for the others."""
    leaves, tree = jax.tree.flatten(params)
    try:
        others = tree.flatten_up_to(moved)
    except ValueError as error:
        raise InputError(
            "The parameters are not those that the function was expanded around.",
            received=str(error).splitlines()[0],
            needed=f"the tree {tree}",
        ) from error
    steps = []
    for leaf, other in zip(leaves, others, strict=True):
        if not hasattr(leaf, "dtype"):  # a function, say: equinox keeps them among arrays
            steps.append(None)
            continue
        if jnp.shape(other) != leaf.shape:
            raise InputError(
                "The parameters are not those that the function was expanded around.",
                received=f"an array of shape {jnp.shape(other)}",
                needed=f"shape {leaf.shape}",
            )
        real = jnp.issubdtype(leaf.dtype, jnp.inexact)
        steps.append(other - leaf if real else None)
    return steps


def _moved(params: Any, t: Any, steps: list[Any]) -> Any:
    leaves, tree = jax.tree.flatten(params)
    new = [
        leaf if step is None else leaf + t.astype(leaf.dtype) * step
        for leaf, step in zip(leaves, steps, strict=True)
    ]
    return jax.tree.unflatten(tree, new)


def _array(leaf: Any) -> Any:
    if not hasattr(leaf, "dtype") and not isinstance(leaf, (int, float)):
        return leaf
    with np.errstate(over="ignore"):  # of numbers beyond the precision that JAX is set to
        made = jnp.asarray(leaf)
    if is_traced(leaf) or made.dtype == getattr(leaf, "dtype", None):
        return made
    if bool(jnp.any(jnp.isinf(made))) and not bool(np.any(np.isinf(np.asarray(leaf)))):
        raise InputError(
            "params has numbers that are too large.",
            received=shown(leaf),
            needed=f"numbers that {made.dtype} holds",
            suggestion='jax.config.update("jax_enable_x64", True)',
        )
    return made


def _real(params: Any) -> Any:
    found = [v.dtype for v in jax.tree.leaves(params) if hasattr(v, "dtype")]
    kinds = [kind for kind in found if jnp.issubdtype(kind, jnp.floating)]
    return jnp.result_type(*kinds) if kinds else jnp.result_type(float)
