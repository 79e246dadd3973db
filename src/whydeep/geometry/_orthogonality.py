"""The penalty that makes the templates of a classifier orthogonal, for use in training."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from whydeep.arguments import array, is_traced
from whydeep.errors import InputError

__all__ = ["orthogonality_penalty"]


def orthogonality_penalty(weight: Any) -> Any:
    """The sum of squared products of different rows of the last layer's weight.

    ``sum_{a != b} <w_a, w_b>^2``: add it, times a small factor, to the loss, and the templates of
    different classes are pushed towards right angles. Zero for orthogonal rows.

    Args:
        weight: (classes, features) of the last layer, a JAX array; PyTorch's layout. Of a weight
            (features, classes), its transpose.

    Returns:
        A number that JAX can differentiate.

    Raises:
        InputError: not a matrix.

    Source: Balestriero and Baraniuk 2018 (the penalty on squared inner products of templates).

    Example:
        >>> float(orthogonality_penalty(jnp.array([[1.0, 0.0], [1.0, 2.0]])))
        2.0
    """
    weight = weight if is_traced(weight) else array(dims=2)("weight", weight)
    if weight.ndim != 2:
        raise InputError("The weight of the last layer is a matrix.",
                         received=f"shape {getattr(weight, 'shape', None)}",
                         needed="(classes, features)")  # fmt: skip
    if is_traced(weight):
        return _penalty(weight)
    with np.errstate(over="ignore", invalid="ignore"):
        found = _penalty(weight)
    if not np.isfinite(found):
        raise InputError(
            "The penalty is out of range.",
            received=f"a weight with numbers up to {np.abs(weight).max():.3g}",
            needed="squares of products of rows that a number holds",
        )
    return found


def _penalty(weight: Any) -> Any:
    products = weight @ weight.T
    return jnp.sum(products**2) - jnp.sum(jnp.diagonal(products) ** 2)
