"""Variances that roundings of the kernel leave unknown: not said to be 0, but not said at all.

A posterior variance is a small difference of large numbers where training inputs tell much. With
the weights a = A^-1 K_XT of a prediction it is

    E (f_T - a.f_X)^2 + noise |a|^2

where both terms are at least 0, and errors e of kernels, relative to sqrt(K_aa K_bb), change the
first one by up to e (sqrt K_TT + sum_i |a_i| sqrt K_ii)^2. Inputs far from 0 have large kernels
that are nearly equal, and all that distinguishes them may be less than this.

Source: Higham 2002, Section 3.1 (errors of a sum of products).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from whydeep.theory.estimators._solve import Factor

__all__ = ["Rounding"]

_KNOWN = 0.02  # of a variance: what its error may be
_NEGLIGIBLE = 1e-5  # of targets and noise: an error of the standard deviation that is none
# Without noise a standard deviation falls to 0 at every training input, where no share of it can be
# known: what is told there, and said in the docstrings, is a thousandth of the targets.
_CERTAIN = 1e-3
_SUSPICIOUS = 100.0  # times an error with weights of sum 1: variances above it need no look


@dataclass(frozen=True, eq=False)
class Rounding:
    """What a law knows of the sizes and errors of its kernels.

    Args:
        sizes: sqrt K_ii of the training inputs.
        error: of kernels, relative to sqrt(K_aa K_bb).
        targets: their root mean square.
        noise: variance of the targets' errors, 0 for trained networks.
    """

    sizes: np.ndarray
    error: float
    targets: float
    noise: float

    def checked(
        self, variance: np.ndarray, prior: np.ndarray, cross: np.ndarray, factor: Factor
    ) -> np.ndarray:
        """Variances (M,), at least 0 and at least those of the noise; NaN where they are unknown.

        Args:
            variance: as computed, from terms that cancel.
            prior: K_TT, (M,).
            cross: the kernel that A is made of, training inputs with others, (N, M).
            factor: of A.

        Warns:
            UserWarning: some are unknown.
        """
        out = np.maximum(variance, 0.0)
        unit = max(self.targets, np.sqrt(self.noise))
        share = (_NEGLIGIBLE if self.noise else _CERTAIN) ** 2
        fine = share * unit**2 if unit > 0 else share * prior
        look = np.flatnonzero(variance < _SUSPICIOUS * 4.0 * self.error * prior)
        if not len(look):
            return out
        weights = factor.solve(cross[:, look])
        reach = np.sqrt(prior[look]) + self.sizes @ np.abs(weights)
        doubt = self.error * reach**2
        least = self.noise * np.einsum("ij,ij->j", weights, weights)
        out[look] = np.maximum(out[look], least)
        limit = np.broadcast_to(fine, prior.shape)[look]
        unknown = look[(doubt > _KNOWN * out[look]) & (doubt > limit)]
        out[unknown] = np.nan
        if len(unknown):
            largest = float(np.sqrt(doubt.max()))
            warnings.warn(
                f"The standard deviation of {len(unknown)} of {len(prior)} predictions is not "
                f"known, and is NaN: roundings of the kernel, whose size is "
                f"{float(prior[look].max()):.3g}, could change it by up to {largest:.3g}. Inputs "
                "far from 0 beside what distinguishes them have such kernels: centre and scale "
                "them (x - x.mean(axis=0)) / x.std(axis=0), or use more noise.",
                stacklevel=5,
            )
        return out

    def checked_matrix(
        self, covariance: np.ndarray, prior: np.ndarray, cross: np.ndarray, factor: Factor
    ) -> np.ndarray:
        """A covariance (M, M) with the diagonal of `checked`; NaN in rows where it is unknown."""
        own = np.diagonal(covariance).copy()
        known = self.checked(own, prior, cross, factor)
        lost = np.isnan(known)
        covariance[lost], covariance[:, lost] = np.nan, np.nan
        raised = np.flatnonzero(known > np.maximum(own, 0.0))
        covariance[raised, raised] = known[raised]
        return covariance
