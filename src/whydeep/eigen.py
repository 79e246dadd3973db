"""Eigenvalues at one end of a spectrum, of a symmetric matrix that is known by its products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from whydeep.errors import UnsupportedError

__all__ = ["ENDS", "extreme_eigenpairs", "linear_operator"]

ENDS = {"largest": "LA", "smallest": "SA", "magnitude": "LM"}  # their names in ARPACK
# Matrices of fewer rows are formed and solved whole.
_DENSE = 64
# The class makes an instance of a subclass from these arguments; its annotations do not say so.
_linear: Any = LinearOperator
_solve: Any = eigsh


def linear_operator(
    product: Callable[[np.ndarray], np.ndarray], size: int, dtype: Any = np.float64
) -> LinearOperator:
    """A symmetric matrix as the functions of ``scipy.sparse.linalg`` take it."""
    return _linear(shape=(size, size), matvec=product, rmatvec=product, dtype=dtype)


def extreme_eigenpairs(
    product: Callable[[np.ndarray], np.ndarray],
    size: int,
    count: int,
    *,
    which: str = "largest",
    dtype: Any = np.float64,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of a symmetric matrix at one end of its spectrum, and their eigenvectors.

    Args:
        product: the matrix times a vector, (size,) to (size,).
        size: of the matrix, 1 or more.
        count: how many, at most `size`.
        which: "largest" and "smallest" by value, or "magnitude": the largest by absolute value.
        dtype: of vectors and results.
        seed: of the vector that the iteration starts from.

    Returns:
        values: (count,), the outermost first.
        vectors: (count, size), unit vectors in rows.

    Raises:
        UnsupportedError: the iteration does not converge.

    Accuracy: to roundings of the dtype, relative to the largest. Cost: some 2 to 10 products an
    eigenvalue; `size` of them where half of all are wanted, or `size` is 64 or less.

    Source: Lehoucq, Sorensen and Yang 1998 (ARPACK: implicitly restarted Lanczos iteration).

    Example:
        >>> values, vectors = extreme_eigenpairs(lambda v: np.array([1.0, 3.0, 2.0]) * v, 3, 2)
        >>> values.round(12).tolist(), np.abs(vectors[0]).round(12).tolist()
        ([3.0, 2.0], [0.0, 1.0, 0.0])
    """
    if size <= _DENSE or 2 * count >= size:
        dense = np.stack([product(row) for row in np.eye(size, dtype=dtype)])
        values, columns = np.linalg.eigh((dense + dense.T) / 2)
    else:
        operator = linear_operator(product, size, dtype)
        start = np.random.default_rng(seed).standard_normal(size).astype(dtype)
        try:
            values, columns = _solve(operator, count, which=ENDS[which], v0=start)
        except ArpackNoConvergence as error:
            raise UnsupportedError(
                "The eigenvalues do not converge.",
                received=f"{len(error.eigenvalues)} of {count} after {10 * size} steps",
                suggestion="fewer of them, or parameters in float64",
            ) from error
    keys = {"largest": -values, "smallest": values, "magnitude": -np.abs(values)}
    order = np.argsort(keys[which], kind="stable")[:count]
    return values[order], columns[:, order].T
