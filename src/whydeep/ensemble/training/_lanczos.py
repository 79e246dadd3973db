"""The spectral norm of a symmetric matrix that is known by its products only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["spectral_norm"]


def spectral_norm(product: Callable[[Any], Any], start: Any, iterations: int) -> tuple[Any, Any]:
    """The largest magnitude of an eigenvalue, and how well it is known.

    Lanczos with full reorthogonalisation, twice: in `iterations` dimensions the extreme
    eigenvalues of both signs are found at once. The residual ``|A v - theta v|`` bounds the
    distance from theta to an eigenvalue; its square over the gap that of theta, for the largest
    one is found.

    Args:
        product: ``v -> A v`` for vectors (P,).
        start: (P,), random: an eigenvector orthogonal to it is never seen.
        iterations: at most this many products.

    Returns:
        The norm, and ``|A v - theta v| / |theta|``, 0 where the norm is 0.

    Source: Lanczos 1950; Parlett 1998, chapter 13 (the residual is ``beta_m |s_m|``).
    """
    iterations = min(iterations, start.size)
    tiny = jnp.finfo(start.dtype).eps
    basis = jnp.zeros((iterations, start.size), start.dtype)

    def unit(vector: Any, least: Any) -> tuple[Any, Any]:
        length = jnp.linalg.norm(vector)
        kept = length > least
        return jnp.where(kept, vector / jnp.where(kept, length, 1), 0), jnp.where(kept, length, 0)

    def one(carry: Any, number: Any) -> tuple[Any, Any]:
        basis, vector, scale = carry
        basis = basis.at[number].set(vector)
        image = product(vector)
        alpha = jnp.vdot(vector, image)
        scale = jnp.maximum(scale, jnp.linalg.norm(image))
        for _ in range(2):
            image = image - basis.T @ (basis @ image)
        # What is left of rounding alone is no direction: the space is exhausted.
        following, beta = unit(image, 10 * tiny * scale)
        return (basis, following, scale), (alpha, beta)

    first, _ = unit(start, 0)
    zero = jnp.zeros((), start.dtype)
    _, (alpha, beta) = jax.lax.scan(one, (basis, first, zero), jnp.arange(iterations))
    tridiagonal = jnp.diag(alpha) + jnp.diag(beta[:-1], 1) + jnp.diag(beta[:-1], -1)
    values, vectors = jnp.linalg.eigh(tridiagonal)
    place = jnp.argmax(jnp.abs(values))
    norm = jnp.abs(values[place])
    left = beta[-1] * jnp.abs(vectors[-1, place])
    return norm, jnp.where(norm > 0, left / jnp.where(norm > 0, norm, 1), 0)
