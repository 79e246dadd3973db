"""Two laws of functions given training data, which are not the same.

`Posterior`: a network with Gaussian weights, conditioned on y = f(X) + N(0, noise). With A =
K_XX + noise I,

    mean = K_TX A^-1 y                  covariance = K_TT - K_TX A^-1 K_XT

`TrainedEnsemble`: networks drawn at random and then trained by gradient flow to t = infinity on
|f(X) - y|^2 + noise sum (theta - theta_0)^2 / learning rate. With A = Theta_XX + noise I and B =
A^-1 Theta_XT,

    mean = B^T y                        covariance = K_TT + B^T K_XX B - B^T K_XT - K_TX B

Source: Lee et al. 2018, Eqs. 8 and 9; Rasmussen and Williams 2006, Eqs. 2.23 and 2.24. Lee et al.
2019, Eqs. 15 and 16 at t = infinity; Hu et al. 2020 (the pull towards the initial weights).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from whydeep.brief import brief
from whydeep.errors import InputError
from whydeep.network import Network
from whydeep.theory.estimators._memory import check_memory
from whydeep.theory.estimators._rounding import Rounding
from whydeep.theory.estimators._solve import Factor, factorise
from whydeep.theory.infinite import Kernel, kernel

__all__ = ["Posterior", "TrainedEnsemble", "condition", "gram", "matrix_of"]

_BLOCK_NUMBERS = 1 << 26  # 512 MiB of a kernel between test and training inputs
_DIAGONAL_ROWS = 512
_ROUNDINGS = 4.0  # units of rounding in a kernel beside its own error


@dataclass(frozen=True)
class Posterior:
    """The law of a Bayesian network's outputs.

    Args:
        network: of infinite width.
        x: training inputs.
        factor: of K_XX + noise I.
        dual: A^-1 y, (N, outputs).
        rounding: what is known of sizes and errors.
    """

    network: Network
    x: np.ndarray
    factor: Factor
    dual: np.ndarray
    rounding: Rounding

    __repr__ = brief

    def mean(self, x: np.ndarray) -> np.ndarray:
        """(M, outputs)."""
        parts = [
            _cross(self, x[rows], tangent=False).nngp.T @ self.dual for rows in _rows(x, self.x)
        ]
        return np.concatenate(parts)

    def mean_and_variance(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M, outputs), and the variance that all outputs have, (M,)."""
        means, variances = [], []
        prior = _diagonal(self.network, x)
        for rows in _rows(x, self.x):
            cross = _cross(self, x[rows], tangent=False).nngp
            means.append(cross.T @ self.dual)
            white = self.factor.whiten(cross)
            found = prior[rows] - np.einsum("ij,ij->j", white, white)
            variances.append(self.rounding.checked(found, prior[rows], cross, self.factor))
        return np.concatenate(means), np.concatenate(variances)

    def mean_and_covariance(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M, outputs), and the covariance that all outputs have, (M, M)."""
        check_memory(len(x), len(x) + 2 * len(self.x), "predictions with their covariance")
        cross = _cross(self, x, tangent=False).nngp
        white = self.factor.whiten(cross)
        own = gram(self.network, x, tangent=False).nngp
        covariance = own - white.T @ white
        return cross.T @ self.dual, self.rounding.checked_matrix(
            covariance, np.diagonal(own), cross, self.factor
        )


@dataclass(frozen=True)
class TrainedEnsemble:
    """The law of a trained network's outputs over its initialisation.

    Args:
        network: of infinite width.
        x: training inputs.
        factor: of Theta_XX + noise I.
        dual: A^-1 y, (N, outputs).
        nngp: K_XX, (N, N).
        rounding: what is known of sizes and errors.
    """

    network: Network
    x: np.ndarray
    factor: Factor
    dual: np.ndarray
    nngp: np.ndarray
    rounding: Rounding

    __repr__ = brief

    def mean(self, x: np.ndarray) -> np.ndarray:
        """(M, outputs)."""
        parts = [_cross(self, x[rows], tangent=True).ntk.T @ self.dual for rows in _rows(x, self.x)]
        return np.concatenate(parts)

    def mean_and_variance(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M, outputs), and the variance that all outputs have, (M,)."""
        means, variances = [], []
        prior = _diagonal(self.network, x)
        for rows in _rows(x, self.x):
            cross = _cross(self, x[rows], tangent=True)
            means.append(cross.ntk.T @ self.dual)
            reached = self.factor.solve(cross.ntk)
            inner = self.nngp @ reached - 2.0 * cross.nngp
            found = prior[rows] + np.einsum("ij,ij->j", reached, inner)
            variances.append(self.rounding.checked(found, prior[rows], cross.ntk, self.factor))
        return np.concatenate(means), np.concatenate(variances)

    def mean_and_covariance(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M, outputs), and the covariance that all outputs have, (M, M)."""
        check_memory(len(x), 2 * len(x) + 4 * len(self.x), "predictions with their covariance")
        cross = _cross(self, x, tangent=True)
        reached = self.factor.solve(cross.ntk)
        mixed = cross.nngp.T @ reached
        own = gram(self.network, x, tangent=False).nngp
        covariance = own + reached.T @ (self.nngp @ reached) - mixed - mixed.T
        return cross.ntk.T @ self.dual, self.rounding.checked_matrix(
            (covariance + covariance.T) / 2.0, np.diagonal(own), cross.ntk, self.factor
        )


def condition(
    network: Network, x: np.ndarray, y: np.ndarray, noise: float, *, tangent: bool
) -> tuple[Posterior | TrainedEnsemble, np.ndarray]:
    """The law given inputs x and targets y (N, outputs), and what of y no function can reach."""
    check_memory(len(x), (4 if tangent else 2) * len(x), "the kernel of the training inputs")
    found = gram(network, x, tangent=tangent)
    matrix, error = matrix_of(found, tangent=tangent)
    sizes = np.sqrt(np.diagonal(found.nngp))
    rounding = Rounding(
        sizes, error + _ROUNDINGS * np.finfo(np.float64).eps,
        float(np.sqrt(np.mean(y * y))), 0.0 if tangent else noise,
    )  # fmt: skip
    factor = factorise(matrix, noise, error=error)
    dual = factor.solve(y)
    if tangent:
        law = TrainedEnsemble(network, x, factor, dual, found.nngp, rounding)
        return law, factor.unreached(y)
    return Posterior(network, x, factor, dual, rounding), factor.unreached(y)


def gram(network: Network, x: np.ndarray, *, tangent: bool) -> Kernel:
    """Kernels of inputs with themselves.

    Raises:
        InputError: the network's output has positions.
    """
    found = kernel(network, x, ntk=tangent)
    if np.ndim(found.nngp) != 2:
        raise InputError(
            "The outputs of this network have positions.",
            received=f"a kernel of shape {np.shape(found.nngp)}",
            needed="one value an output: Flatten(), GlobalAvgPool() or index(...) before the end",
        )
    return found


def matrix_of(found: Kernel, *, tangent: bool) -> tuple[np.ndarray, float]:
    """The kernel that solves, and its largest error relative to sqrt(K_aa K_bb)."""
    matrix, drawn = (found.ntk, found.ntk_stderr) if tangent else (found.nngp, found.nngp_stderr)
    error = float(found.error)
    if drawn is not None:  # known from draws only
        error += float(np.max(drawn) / np.max(np.diagonal(matrix)))
    return matrix, error


def _cross(law: Posterior | TrainedEnsemble, x: np.ndarray, *, tangent: bool) -> Kernel:
    """Kernels of the training inputs with others, (N, M)."""
    return kernel(law.network, law.x, x, ntk=tangent)


def _diagonal(network: Network, x: np.ndarray) -> np.ndarray:
    """K(x, x) of every input."""
    parts = [
        np.diagonal(kernel(network, x[start : start + _DIAGONAL_ROWS], ntk=False).nngp)
        for start in range(0, len(x), _DIAGONAL_ROWS)
    ]
    return np.concatenate(parts)


def _rows(x: np.ndarray, train: np.ndarray) -> Iterator[slice]:
    size = max(1, _BLOCK_NUMBERS // len(train))
    for start in range(0, len(x), size):
        yield slice(start, start + size)
