"""The tangent kernel on the training inputs in its own axes, and what its zero modes mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from whydeep.errors import InputError

__all__ = ["Eigenbasis", "eigenbasis", "is_symmetric"]


@dataclass(frozen=True)
class Eigenbasis:
    """``Theta = U diag(eigenvalues) U^T`` on N training inputs, largest first.

    Args:
        eigenvalues: (N,), >= 0; those that are zero within their numerical error are exactly 0.
        vectors: U (N, N), one column a mode.
        cutoff: eigenvalues up to this count as zero.
    """

    eigenvalues: np.ndarray
    vectors: np.ndarray
    cutoff: float

    @property
    def trained(self) -> np.ndarray:
        """(N,): whether a mode trains at all. The others keep the values they start with."""
        return self.eigenvalues > 0


def eigenbasis(ntk: np.ndarray, *, relative_error: float = 0.0) -> Eigenbasis:
    """The modes of a tangent kernel (N, N) on the training inputs.

    Args:
        ntk: symmetric.
        relative_error: of its entries, relative to its diagonal. An error of the entries moves
            eigenvalues by at most N times it (Weyl), so those below N max(relative_error, eps)
            max(diagonal) can't be told from zero, and count as zero.

    Raises:
        InputError: not symmetric, or an eigenvalue is negative beyond that error.
    """
    n = len(ntk)
    if not is_symmetric(ntk):
        raise InputError(
            "The tangent kernel on the training inputs is not symmetric.",
            received=f"largest difference {np.abs(ntk - ntk.T).max():g}",
            needed="Theta(a, b) = Theta(b, a)",
        )
    values, vectors = linalg.eigh(ntk)
    values, vectors = values[::-1], vectors[:, ::-1]
    diagonal = float(np.diagonal(ntk).max(initial=0.0))
    cutoff = n * max(relative_error, np.finfo(np.float64).eps) * diagonal
    if values[-1] < -10 * cutoff:
        raise InputError(
            "The tangent kernel on the training inputs has a negative eigenvalue.",
            received=f"smallest {values[-1]:.3g}, largest {values[0]:.3g}",
            needed="a positive semidefinite matrix",
            cause="it is not a kernel, or its numerical error is larger than stated",
            suggestion="kernels in float64",
        )
    return Eigenbasis(np.where(values > cutoff, values, 0.0), vectors, cutoff)


def is_symmetric(matrix: np.ndarray) -> bool:
    """Whether a matrix equals its transpose but for rounding."""
    scale = np.abs(matrix).max(initial=0.0)
    return bool(np.abs(matrix - matrix.T).max(initial=0.0) <= 1e-10 * scale)
