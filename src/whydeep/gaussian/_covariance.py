"""The joint law of N zero-mean Gaussian samples, with small differences kept apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whydeep.errors import InputError

__all__ = ["Covariance", "pairs"]

# Rounding may leave a covariance this much, relative to its scale, outside the allowed cone.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Covariance:
    """Covariance of N zero-mean Gaussian samples z_a, as variances, differences and totals.

    The correlation of nearby inputs differs from 1 by less than a rounding unit of the covariance
    itself, so the variance of the difference is a field of its own and 1 - c is never obtained by
    subtracting c from 1.

    Args:
        variance: E z_a^2, shape (N,).
        difference: E (z_a - z_b)^2, shape (N, N), zero on the diagonal.
        total: E (z_a + z_b)^2, shape (N, N), four variances on the diagonal.

    Raises:
        InputError: wrong shapes, NaN or infinite entries, an asymmetric array, or a pair that no
            two Gaussian samples can have.

    Example:
        >>> cov = Covariance.from_matrix(np.array([[1.0, 0.5], [0.5, 2.0]]))
        >>> cov.difference[0, 1], cov.total[0, 1], cov.matrix[0, 1]
        (np.float64(2.0), np.float64(4.0), np.float64(0.5))
    """

    variance: np.ndarray
    difference: np.ndarray
    total: np.ndarray

    def __post_init__(self) -> None:
        for name in ("variance", "difference", "total"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        _check(self.variance, self.difference, self.total)

    @property
    def size(self) -> int:
        """The number N of samples."""
        return self.variance.size

    @property
    def matrix(self) -> np.ndarray:
        """E z_a z_b, shape (N, N), with `variance` on the diagonal exactly."""
        matrix = (self.total - self.difference) / 4.0
        matrix[self.variance == 0] = matrix[:, self.variance == 0] = 0.0
        np.fill_diagonal(matrix, self.variance)
        return matrix

    @property
    def deviation_difference(self) -> np.ndarray:
        """sqrt(q_a) - sqrt(q_b), shape (N, N), from the difference of the variances."""
        deviation = np.sqrt(self.variance)
        sums = deviation[:, None] + deviation[None, :]
        differences = self.variance[:, None] - self.variance[None, :]
        return np.divide(differences, sums, out=np.zeros_like(sums), where=sums > 0)

    def half_angles(self) -> tuple[np.ndarray, np.ndarray]:
        """(cos(theta/2), sin(theta/2)) of every pair, c = cos(theta) the correlation: (N, N) each.

        1 - c = [E(z_a - z_b)^2 - (sqrt q_a - sqrt q_b)^2] / (2 sqrt(q_a q_b)), and 1 + c from the
        totals; whichever is smaller is computed, the other is its complement. A sample of zero
        variance counts as perfectly correlated with all others, and so do samples of unequal
        variances whose 1 - |c| is below the rounding of that subtraction (about 1e-15).
        """
        deviation = np.sqrt(self.variance)
        product = 4.0 * deviation[:, None] * deviation[None, :]
        gap = self.deviation_difference
        noise = 16.0 * np.finfo(float).eps * np.abs(gap) * np.add.outer(deviation, deviation)
        squares = []
        for distance in (self.difference, self.total):
            excess = distance - gap**2
            excess = np.where(excess > noise, excess, 0.0)
            squares.append(np.divide(excess, product, out=np.zeros_like(gap), where=product > 0))
        sine2, cosine2 = np.clip(squares[0], 0.0, 1.0), np.clip(squares[1], 0.0, 1.0)
        near = (sine2 <= cosine2) | (product == 0)
        sine2, cosine2 = np.where(near, sine2, 1.0 - cosine2), np.where(near, 1.0 - sine2, cosine2)
        np.fill_diagonal(sine2, 0.0)
        np.fill_diagonal(cosine2, 1.0)
        return np.sqrt(cosine2), np.sqrt(sine2)

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> Covariance:
        """From E z_a z_b, shape (N, N): symmetric and positive semidefinite up to rounding.

        Differences are obtained by subtraction: use `from_points` where inputs nearly coincide.

        Raises:
            InputError: not square, not symmetric, not finite, or a negative eigenvalue.
        """
        matrix = np.asarray(matrix, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
            raise InputError(
                "A covariance is a square matrix.",
                received=f"shape {matrix.shape}",
                needed="shape (N, N) with N >= 1",
            )
        variance = np.diagonal(matrix)
        sums = variance[:, None] + variance[None, :]
        cov = cls(variance, sums - 2.0 * matrix, sums + 2.0 * matrix)
        lowest = np.linalg.eigvalsh(matrix)[0]
        if lowest < -_ROUNDING * max(variance.max(), 1e-300):
            raise InputError(
                "A covariance can't have a negative eigenvalue.",
                received=f"smallest eigenvalue {lowest:g}, largest variance {variance.max():g}",
                needed="a positive semidefinite matrix",
            )
        return cov

    @classmethod
    def from_points(cls, x: np.ndarray, weight_var: float, bias_var: float) -> Covariance:
        """Of the first preactivations: K_ab = bias_var + weight_var x_a.x_b / n_0.

        Args:
            x: inputs, shape (N, n_0).
            weight_var: C_W, at least 0.
            bias_var: C_b, at least 0.

        Example:
            >>> x = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-9]])
            >>> cov = Covariance.from_points(x, weight_var=1.0, bias_var=0.1)
            >>> f"{cov.difference[0, 1]:.3g}"
            '5e-19'
        """
        x = np.asarray(x, dtype=np.float64)
        if x.ndim != 2 or x.size == 0:
            raise InputError(
                "Inputs are rows of a matrix.",
                received=f"shape {x.shape}",
                needed="shape (N, n_0) with N, n_0 >= 1",
                suggestion="x[None, :] for one input, x.reshape(len(x), -1) for images",
            )
        for name, value in (("weight_var", weight_var), ("bias_var", bias_var)):
            if not (np.isfinite(value) and value >= 0):
                raise InputError(
                    "A variance is a finite number, at least 0.", received=f"{name}={value}"
                )
        scale = weight_var / x.shape[1]
        variance = bias_var + scale * np.einsum("ai,ai->a", x, x)
        difference = np.empty((len(x), len(x)))
        total = np.empty((len(x), len(x)))
        for a, row in enumerate(x):  # a row at a time: memory stays that of x
            minus, plus = row - x, row + x
            difference[a] = scale * np.einsum("bi,bi->b", minus, minus)
            total[a] = 4.0 * bias_var + scale * np.einsum("bi,bi->b", plus, plus)
        np.fill_diagonal(total, 4.0 * variance)
        return cls(variance, difference, total)


def pairs(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (a, b) of all pairs a < b of `size` samples."""
    return np.triu_indices(size, 1)


def _check(variance: np.ndarray, difference: np.ndarray, total: np.ndarray) -> None:
    n = variance.size
    if variance.shape != (n,) or n == 0 or difference.shape != (n, n) or total.shape != (n, n):
        raise InputError(
            "The parts of a covariance do not fit together.",
            received=f"variance {variance.shape}, difference {difference.shape}, "
            f"total {total.shape}",
            needed="(N,), (N, N), (N, N) with N >= 1",
        )
    for name, array in (("variance", variance), ("difference", difference), ("total", total)):
        if not np.all(np.isfinite(array)):
            raise InputError(
                f"The {name} of a covariance is not finite.",
                received=f"{array[~np.isfinite(array)][0]}",
                cause="variances overflow in deep networks with a large weight variance",
                suggestion="a smaller weight_var, or fewer layers",
            )
    scale = np.maximum.outer(variance, variance).clip(0) + 1e-300
    if np.any(variance < 0):
        raise InputError("A variance is negative.", received=f"{variance.min():g}")
    for name, array in (("difference", difference), ("total", total)):
        if np.any(np.abs(array - array.T) > _ROUNDING * scale):
            raise InputError(f"The {name} of a covariance is not symmetric.")
    if np.any(np.abs(difference + total - 2.0 * np.add.outer(variance, variance)) > 1e-8 * scale):
        raise InputError(
            "The parts of a covariance contradict each other.",
            needed="difference + total = 2 (q_a + q_b)",
        )
    deviation = np.sqrt(variance)
    gap = np.subtract.outer(deviation, deviation) ** 2
    if np.any(np.minimum(difference, total) - gap < -_ROUNDING * scale):
        raise InputError(
            "A correlation lies outside [-1, 1].",
            needed="|E z_a z_b| <= sqrt(E z_a^2 E z_b^2) for every pair",
        )
