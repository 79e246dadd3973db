"""The slope of an activation as a function of its own: what tangent kernels are images of."""

from __future__ import annotations

import functools

import jax

from whydeep.activations import ScalarFunction

__all__ = ["slope_function"]


@functools.lru_cache(maxsize=256)
def slope_function(activation: ScalarFunction) -> ScalarFunction:
    """s', piece by piece, with the kinks of s: for a continuous s it is all of the derivative.

    Its means, and those of its derivatives as distributions, come from `pair_derivatives` and
    `self_derivatives` like those of any activation: ``pair_derivatives(slope_function(s), cov, 4)``
    has <s^(1+i)_a s^(1+j)_b> up to i + j = 4.

    Example:
        >>> from whydeep import activations
        >>> import numpy as np
        >>> slope_function(activations.get("relu")).derivatives(np.array([-1.0, 2.0]), 0)[0]
        array([0., 1.])
    """
    pieces = tuple(jax.grad(piece) for piece in activation.pieces)
    return ScalarFunction(f"slope of {activation.name}", pieces, activation.kinks)
