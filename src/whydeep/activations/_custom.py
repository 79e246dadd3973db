"""A user's own activation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.activations._function import ScalarFunction
from whydeep.activations._held import Held, Own
from whydeep.arguments import CALLABLE, NUMBER, each, takes, text
from whydeep.errors import InputError

__all__ = ["custom", "joined"]


@takes(function=CALLABLE, kinks=each(NUMBER), name=text)
def custom(
    function: Callable[[Any], Any], *, kinks: tuple[float, ...] = (), name: str = ""
) -> ScalarFunction:
    """A user's own activation: any ``jax.numpy`` function that maps an array elementwise.

    Args:
        function: maps an array to an array of the same shape; must be traceable by JAX.
        kinks: where its value or a derivative of low order jumps. A kink that is not named makes
            quadrature converge slowly, which the error estimate reports.
        name: shown in tables; the function's own name by default.

    Raises:
        InputError: it can't be traced, changes the shape, or returns NaN, infinite or complex
            numbers for arguments between -8 and 8.

    Example:
        >>> import jax.numpy as jnp
        >>> custom(lambda z: jnp.tanh(z) + 0.1 * z, name="leaky tanh").smooth
        True
    """
    label = name or getattr(function, "__name__", type(function).__name__)
    label = "user function" if label == "<lambda>" else label
    ordered = tuple(sorted(set(kinks)))
    probe = np.linspace(-8.0, 8.0, 65)
    needed = "a function of one variable, written with jax.numpy, applied elementwise"

    def traceable(z: Any) -> Any:  # a NumPy ufunc itself, given to jit, has crashed the process
        return function(z)

    try:
        with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
            values = np.asarray(jax.jit(traceable)(jnp.asarray(probe)))
    except Exception as error:
        raise InputError(
            f"The activation {label!r} can't be traced by JAX.",
            received=f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}",
            needed=needed,
            cause="numpy functions, Python branches on values and math.* do not trace",
            suggestion="use jax.numpy and jnp.where inside it",
        ) from error
    if values.shape != probe.shape or not np.issubdtype(values.dtype, np.floating):
        raise InputError(
            f"The activation {label!r} does not act elementwise on real numbers.",
            received=f"shape {probe.shape} became {values.shape} of {values.dtype}",
            needed=needed,
        )
    if not np.all(np.isfinite(values)):
        where = probe[~np.isfinite(values)][0]
        raise InputError(
            f"The activation {label!r} returns {values[~np.isfinite(values)][0]} at z = {where:g}.",
            needed="finite values for every real argument: preactivations take them all",
            suggestion="guard the domain with jnp.where on both sides (value and argument)",
        )
    return joined(Own(function), ordered, label)


def joined(function: Callable[[Any], Any], kinks: tuple[float, ...], name: str) -> ScalarFunction:
    """A function known to be fit, cut at its `kinks`, which increase."""
    pieces = (function,)
    if kinks:  # a piece is evaluated on its own side of a kink only, up to the kink itself
        edges = (-math.inf, *kinks, math.inf)
        pieces = tuple(
            Held(_inside, (function, a + _smallest_step(a), b - _smallest_step(b)))
            for a, b in itertools.pairwise(edges)
        )
    return ScalarFunction(name, pieces, kinks)


def _smallest_step(kink: float) -> float:
    # Not nextafter: around 0 that is subnormal, which compiled code flushes to 0.
    return 0.0 if math.isinf(kink) else max(abs(kink) * 2.0**-52, 1e-300)


def _inside(z: Any, function: Callable[[Any], Any], low: float, high: float) -> Any:
    # A straight-through clip: the value moves by one rounding unit off the kink, and the
    # derivative is that of the piece inside.
    return function(z + jax.lax.stop_gradient(jnp.clip(z, low, high) - z))
