"""Posterior and evidence to first order in 1/width, from K, K{1} and the four-point vertex V.

Given the last hidden layer, the outputs of a network are independent Gaussians with one kernel G,
the same for all of them. Over networks G = K + K{1}/n + fluctuations with covariance V/n, so every
average over networks is one over G, to first order in 1/n

    <f(G)> = f(K) + (1/n) [f'(K) : K{1} + (1/2) V : f''(K)].

With A = K_RR + noise I on the training inputs, a = A^-1 y (one column an output), P = (-K_TR A^-1,
1) on training and test inputs together, C outputs and S = a a^T, W = S - C A^-1, averaging the
likelihood of the labels, and mean and covariance given G weighted by it, gives

    direct_pq   = K{1}_pq + (1/2) sum V_(pq)(bc) W_bc
    exchange_pq = sum V_(pb)(cq) A^-1_bc

    mean          K_TR a + (1/n) P (direct - exchange) a
    covariance    delta_ij [K_TT - K_TR A^-1 K_RT + (1/n) P (direct - exchange) P^T]
                  + (1/n) sum P_d P_e V_(da)(eb) a_ia a_jb
    log evidence  sum_i log N(y_i; 0, A) + (1/n) [(1/2) W : K{1} + (1/8) W : V : W
                  - (1/2) (S - (C/2) A^-1) : exchange]

The last term of the covariance joins different outputs: it is what infinite width lacks. The noise
is part of the likelihood, not of the network, so it is in A and nowhere else.

Source: Roberts, Yaida and Hanin 2022, Section 6.4 (mean, without noise); the mean was measured,
covariance and evidence are derived here and measured in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from scipy import linalg

from whydeep.brief import brief
from whydeep.errors import InputError

__all__ = ["Expansion", "FullVertex", "Vertex", "expand_posterior"]


@runtime_checkable
class Vertex(Protocol):
    """A four-point vertex that is only ever contracted with data."""

    def contracted(
        self, weight: np.ndarray, inverse: np.ndarray, dual: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``(1/2) V_pqbc weight_bc``, ``V_pbcq inverse_bc`` and ``V_daeb dual_ai dual_bj`` (ijde).

        b, c, a over the N training inputs, the first; p, q, d, e over all inputs.
        """
        ...


@dataclass(frozen=True)
class FullVertex:
    """A vertex with all its entries, (S, S, S, S)."""

    values: np.ndarray

    def contracted(
        self, weight: np.ndarray, inverse: np.ndarray, dual: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Vertex.contracted`; about ``S^2 N^2`` operations, times C for the last."""
        train = slice(0, len(weight))
        pulled = 0.5 * np.tensordot(self.values[:, :, train, train], weight, 2)
        exchange = np.einsum("pbcq,bc->pq", self.values[:, train, train, :], inverse)
        part = self.values[:, train][:, :, :, train]
        across = np.einsum("daeb,ai,bj->ijde", part, dual, dual, optimize=True)
        return pulled, exchange, across


@dataclass(frozen=True)
class Expansion:
    """Leading orders, and coefficients of 1/n beside them.

    Args:
        mean: (M, C) at infinite width; ``mean_correction`` likewise.
        covariance: (M, M) at infinite width, the same for every output.
        shared_correction: (M, M), what every output's covariance gains.
        wiring: (C, C, M, M), what the covariance of outputs i and j gains from common labels.
        log_evidence: at infinite width; ``log_evidence_correction`` beside it.
    """

    mean: np.ndarray
    mean_correction: np.ndarray
    covariance: np.ndarray
    shared_correction: np.ndarray
    wiring: np.ndarray
    log_evidence: float
    log_evidence_correction: float

    __repr__ = brief


def expand_posterior(
    kernel: np.ndarray,
    y: np.ndarray,
    noise: float,
    correction: np.ndarray | None = None,
    vertex: Vertex | None = None,
) -> Expansion:
    """Everything of first order, given the observables of the output layer.

    Args:
        kernel: K on N training inputs, then M test inputs: (N + M, N + M).
        y: labels (N, C).
        noise: their variance about the outputs.
        correction: K{1}, like K; none for infinite width.
        vertex: V on all inputs; none for infinite width.

    Raises:
        InputError: K_RR + noise I has no inverse.

    Cost: N^3, and what the vertex takes to be contracted.
    """
    n, outputs = y.shape
    train, test = slice(0, n), slice(n, None)
    lower = _cholesky(kernel[train, train] + noise * np.eye(n))
    dual = linalg.cho_solve((lower, True), y)
    inverse = linalg.cho_solve((lower, True), np.eye(n))
    reach = linalg.cho_solve((lower, True), kernel[train, test]).T
    mean = reach @ y
    covariance = kernel[test, test] - reach @ kernel[train, test]
    density = -0.5 * float(np.sum(y * dual)) - outputs * (
        float(np.sum(np.log(np.diagonal(lower)))) + 0.5 * n * np.log(2 * np.pi)
    )
    m = len(reach)
    if correction is None or vertex is None:
        none = np.zeros((outputs, outputs, m, m))
        return Expansion(
            mean, np.zeros_like(mean), covariance, np.zeros((m, m)), none, density, 0.0
        )
    project = np.concatenate([-reach, np.eye(m)], axis=1)
    square = dual @ dual.T
    weight = square - outputs * inverse
    pulled, exchange, across = vertex.contracted(weight, inverse, dual)
    dressed = correction + pulled - exchange
    wiring = project @ across @ project.T
    own = exchange[train, train]
    evidence = (
        0.5 * np.sum(weight * (correction + 0.5 * pulled)[train, train])
        - 0.5 * np.sum(square * own)
        + 0.25 * outputs * np.sum(inverse * own)
    )
    return Expansion(
        mean=mean,
        mean_correction=project @ dressed[:, train] @ dual,
        covariance=covariance,
        shared_correction=project @ dressed @ project.T,
        wiring=wiring,
        log_evidence=density,
        log_evidence_correction=float(evidence),
    )


def _cholesky(matrix: np.ndarray) -> np.ndarray:
    """The lower factor of A, unless rounding would be all there is to see of its inverse."""
    scale = np.sqrt(np.diagonal(matrix))
    try:
        lower = linalg.cholesky(matrix / scale[:, None] / scale, lower=True)
    except (linalg.LinAlgError, ValueError):
        lower = None
    least = np.sqrt(len(matrix) * np.finfo(np.float64).eps)
    if lower is None or np.diagonal(lower).min() < least:
        raise InputError(
            "The kernel of the training inputs with this noise has no inverse.",
            needed="noise > 0, large against rounding: 1e-10 of the kernel's diagonal and more",
            cause="coincident inputs, or more inputs than the kernel's rank",
        )
    return scale[:, None] * lower
