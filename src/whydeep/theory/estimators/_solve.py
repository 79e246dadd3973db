"""Systems of equations with a kernel matrix: Cholesky, and an exact way out where it is singular.

With noise 0 and coincident inputs, or a kernel of low rank, K has no inverse. The limit of noise
to 0, and of gradient flow as t goes to infinity, is then its pseudo-inverse: equal inputs get the
mean of their targets, directions that the kernel does not reach stay where they are.

Source: Rasmussen and Williams 2006, Algorithm 2.1; Penrose 1956 (least squares of smallest norm).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from whydeep.errors import InputError
from whydeep.progress import phase

__all__ = ["Cholesky", "Factor", "PseudoInverse", "factorise"]

_NAMES = ("potrf", "potri", "pocon", "lange")
_potrf, _potri, _pocon, _lange = linalg.get_lapack_funcs(_NAMES, dtype=np.float64)


@dataclass(frozen=True)
class Cholesky:
    """A = K + noise I through ``S A S = L L^T``, S powers of two that make diagonals about one.

    Args:
        lower: L; what stands above its diagonal means nothing.
        scale: the diagonal of S.
    """

    lower: np.ndarray
    scale: np.ndarray

    def solve(self, b: np.ndarray) -> np.ndarray:
        """``A^-1 b``."""
        scaled = self.scale[:, None] * b
        inner = linalg.cho_solve((self.lower, True), scaled, overwrite_b=True, check_finite=False)
        return self.scale[:, None] * inner

    def whiten(self, b: np.ndarray) -> np.ndarray:
        """``W b`` with ``W^T W = A^-1``."""
        scaled = self.scale[:, None] * b
        return linalg.solve_triangular(
            self.lower, scaled, lower=True, overwrite_b=True, check_finite=False
        )

    def log_determinant(self) -> float:
        """``log det A``."""
        return 2.0 * float(np.sum(np.log(np.diagonal(self.lower)) - np.log(self.scale)))

    def inverse(self) -> np.ndarray:
        """``A^-1``, (N, N)."""
        lower, _ = _potri(self.lower, lower=1)
        inverse = np.tril(lower) + np.tril(lower, -1).T
        return inverse * self.scale[:, None] * self.scale

    def unreached(self, b: np.ndarray) -> np.ndarray:
        """The part of b that no A v equals: nothing."""
        return np.zeros_like(b)


@dataclass(frozen=True)
class PseudoInverse:
    """A = V diag(values) V^T without the directions that vanish to rounding.

    Args:
        vectors: V, (N, rank).
        values: (rank,), positive.
    """

    vectors: np.ndarray
    values: np.ndarray

    def solve(self, b: np.ndarray) -> np.ndarray:
        """``A^+ b``."""
        return self.vectors @ ((self.vectors.T @ b) / self.values[:, None])

    def whiten(self, b: np.ndarray) -> np.ndarray:
        """``W b`` with ``W^T W = A^+``."""
        return (self.vectors.T @ b) / np.sqrt(self.values)[:, None]

    def log_determinant(self) -> float:
        """It has none: the law is degenerate.

        Raises:
            InputError: always.
        """
        raise InputError(
            "The kernel matrix is singular, so the targets have no density.",
            received=f"rank {len(self.values)} of {len(self.vectors)}",
            needed="noise > 0, large against rounding: 1e-10 of the kernel's diagonal and more",
            cause="coincident inputs, more inputs than the kernel's rank, or hardly any noise",
        )

    def inverse(self) -> np.ndarray:
        """``A^+``, (N, N)."""
        return self.solve(np.eye(len(self.vectors)))

    def unreached(self, b: np.ndarray) -> np.ndarray:
        """The part of b that no A v equals."""
        return b - self.vectors @ (self.vectors.T @ b)


Factor = Cholesky | PseudoInverse


def factorise(kernel: np.ndarray, noise: float, *, error: float = 0.0) -> Factor:
    """A = K + noise I, ready to be solved with.

    Args:
        kernel: K, (N, N), symmetric; it is overwritten.
        noise: added to the diagonal, >= 0.
        error: of K, relative to sqrt(K_aa K_bb).

    Returns:
        `Cholesky`, unless A's reciprocal condition number (after scaling to unit diagonals) is
        below max(N eps, error): then `PseudoInverse`, without eigenvalues below that share of the
        largest.

    Cost: N^3 / 3 operations in the memory of K; the way out about 25 times as much, and N^2
    numbers twice over.
    """
    size = len(kernel)
    least = max(size * np.finfo(np.float64).eps, error)
    a = np.asfortranarray(kernel.T)
    a[np.diag_indices(size)] += noise
    diagonal = np.diagonal(a).copy()
    if not np.all(np.isfinite(diagonal)):
        raise InputError("The kernel matrix is not finite.", received="infinite or NaN entries")
    scale = np.exp2(-np.round(np.log2(np.where(diagonal > 0, diagonal, 1.0)) / 2.0))
    _rescale(a, scale)
    norm = _lange("1", a)
    # Only the lower triangle is overwritten, so the upper one and the diagonal restore the matrix.
    lower, failed = _potrf(a, lower=1, clean=0, overwrite_a=1)
    if not failed:
        share, _ = _pocon(lower, norm, uplo="L")
        if share > least:
            return Cholesky(lower, scale)
    _rescale(lower, 1.0 / scale)
    lower[np.diag_indices(size)] = diagonal
    with phase("a singular kernel matrix: its eigenvectors"):
        values, vectors = linalg.eigh(lower, lower=False, overwrite_a=True, check_finite=False)
    kept = values > least * max(values[-1], 0.0)
    return PseudoInverse(vectors[:, kept], values[kept])


def _rescale(a: np.ndarray, scale: np.ndarray) -> None:
    a *= scale[:, None]
    a *= scale
