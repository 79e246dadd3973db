"""Products of matrices some of which are diagonal.

A matrix stands as (n, n), a diagonal one as its diagonal (n,). Rows may be fewer: (1, n) is one
row that stands for every row.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

__all__ = [
    "apply_right",
    "columns",
    "entries",
    "onto",
    "row_products",
    "rows",
    "times",
    "trace",
    "transpose",
    "triple_sum",
]


def apply_right(matrices: Any, right: Any) -> Any:
    """The products matrices @ right, with right sides (..., n, n), or diagonal ones (..., n)."""
    if right.ndim < matrices.ndim:
        return matrices * right[..., None, :]
    return matrices @ right


def times(left: Any, right: Any) -> Any:
    """The product left @ right, either of them diagonal or not."""
    if left.ndim == 1 and right.ndim == 1:
        return left * right
    if left.ndim == 1:
        return left[:, None] * right
    if right.ndim == 1:
        return left * right
    return left @ right


def transpose(matrix: Any) -> Any:
    """The transposed matrix."""
    return matrix if matrix.ndim == 1 else matrix.T


def rows(vector: Any, matrix: Any) -> Any:
    """The product diag(vector) @ matrix."""
    return vector * matrix if matrix.ndim == 1 else vector[:, None] * matrix


def columns(matrix: Any, vector: Any) -> Any:
    """The product matrix @ diag(vector)."""
    return matrix * vector


def onto(matrix: Any, vector: Any) -> Any:
    """The vector matrix @ vector."""
    return matrix * vector if matrix.ndim == 1 else matrix @ vector


def entries(left: Any, right: Any) -> Any:
    """The matrix of left_kl right_kl; diagonal where one of them is."""
    if left.ndim == right.ndim:
        return left * right
    full, diagonal = (left, right) if left.ndim == 2 else (right, left)
    return jnp.diagonal(full) * diagonal


def trace(matrix: Any) -> Any:
    """The sum of the diagonal."""
    return jnp.sum(matrix if matrix.ndim == 1 else jnp.diagonal(matrix))


def row_products(left: Any, right: Any) -> Any:
    """sum_k left[q, k] right[q, k], for every q."""
    if left.ndim == 1 and right.ndim == 1:
        return left * right
    if left.ndim == 1:
        return left * _diagonal_of(right)
    if right.ndim == 1:
        return _diagonal_of(left) * right
    return jnp.sum(left * right, axis=1)


def triple_sum(one: Any, two: Any, three: Any) -> Any:
    """sum_qk one[q, k] two[q, k] three[q, k]."""
    diagonal = [m for m in (one, two, three) if m.ndim == 1]
    if not diagonal:
        return jnp.sum(one * two * three)
    parts = [m if m.ndim == 1 else _diagonal_of(m) for m in (one, two, three)]
    return jnp.sum(parts[0] * parts[1] * parts[2])


def _diagonal_of(matrix: Any) -> Any:
    """The diagonal of (n, n); a single row (1, n) stands for all rows."""
    return matrix[0] if matrix.shape[0] == 1 else jnp.diagonal(matrix)
