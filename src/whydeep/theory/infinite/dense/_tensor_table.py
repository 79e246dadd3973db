"""The output kernels of a smooth network as functions of two variances and a correlation.

K_ab / sqrt(K_aa K_bb) and Theta_ab / sqrt(Theta_aa Theta_bb) are analytic in the correlation c of
the first preactivations and in t = log(sqrt(q) + shift) of both inputs: Chebyshev series in all
three, from values at their nodes, where each layer is a Mehler series (`_hermite`).

    f(t_a, t_b, c) = sum_j T_j(c) sum_kl U_k(t_a) core_jkl U_l(t_b)

U are few combinations of Chebyshev polynomials, those that matter (Tucker's decomposition). What is
hard in c lies near c = 1 and c = -1, so the series is written anew on five segments of c, of a
quarter of the terms each.

Source: Trefethen 2013; Hashemi and Trefethen 2017 (compressed series in three variables).
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import no_type_check

import numpy as np
from numpy.polynomial import chebyshev

from whydeep.compiled import njit
from whydeep.theory.infinite.dense import _hermite
from whydeep.theory.infinite.dense._chebyshev import chebyshev_coefficients, chebyshev_nodes
from whydeep.theory.infinite.dense._stack import DenseStack

__all__ = ["SEGMENTS", "TensorTable", "tensor_table"]

SEGMENTS = (-1.0, -(0.75**0.5), -0.5, 0.5, 0.75**0.5, 1.0)
"""Ends of the segments of c: sixths of the half circle."""

_TOLERANCE = 1e-12  # for what the series leave out
_LEFT_OUT = 1e-11  # for small terms of the result
_ENOUGH = 1e-10  # beyond that there is no table
_MOST_NORMS, _MOST_CORRELATIONS = 40, 400
_MOST_WORK = 2e9  # of one layer: correlations times terms


@dataclass(frozen=True)
class TensorTable:
    """Both functions, and the diagonals.

    Args:
        span: lowest and highest t.
        shift: added to sqrt(q) under the logarithm.
        basis: Chebyshev coefficients of U, (norm nodes, rank).
        cores: of K and Theta on every segment of c, (segments, 2, terms, rank, rank).
        ranks: how many U matter to each T_j, fours of them, (segments, 2, terms); 0 beyond the last
            term that matters.
        diagonal: Chebyshev coefficients in t of the logarithms of K_aa and Theta_aa, each over
            origin + q, (2, norm nodes).
        origin: K_aa and Theta_aa at q = 0, (2,).
        nodes: of c, decreasing, (correlation nodes,).
        rates: largest |df/dc| between neighbouring nodes, (2, correlation nodes - 1).
        error: of both functions, measured at points off the nodes, (2,).
    """

    span: tuple[float, float]
    shift: float
    basis: np.ndarray
    cores: np.ndarray
    ranks: np.ndarray
    diagonal: np.ndarray
    origin: np.ndarray
    nodes: np.ndarray
    rates: np.ndarray
    error: np.ndarray

    def features(self, variance: np.ndarray) -> np.ndarray:
        """U(t), shape (N, rank)."""
        polynomials = chebyshev.chebvander(self._scaled(variance), len(self.basis) - 1)
        return polynomials @ self.basis

    def diagonals(self, variance: np.ndarray) -> np.ndarray:
        """K_aa and Theta_aa, shape (2, N)."""
        values = chebyshev.chebval(self._scaled(variance), self.diagonal.T)
        return np.exp(values) * (self.origin[:, None] + variance)

    def slope(self, distance: float) -> np.ndarray:
        """Largest |df/dc| where 1 - |c| >= distance, (2,)."""
        nearest = np.minimum(np.abs(self.nodes[1:]), np.abs(self.nodes[:-1]))
        return self.rates[:, nearest <= 1.0 - distance].max(axis=1, initial=0.0)

    def _scaled(self, variance: np.ndarray) -> np.ndarray:
        low, high = self.span
        t = np.log(np.sqrt(variance) + self.shift)
        return np.clip((2.0 * t - low - high) / (high - low), -1.0, 1.0)


def tensor_table(stack: DenseStack, least: float, most: float) -> TensorTable | None:
    """A table for first variances between two numbers, or None where 1e-10 is out of reach.

    Args:
        stack: with a smooth activation.
        least: the smallest variance q, at least 0.
        most: the largest, above `least`.
    """
    roots = np.sqrt(least), np.sqrt(most)
    # a range that comes near 0 is cut off where everything is linear in sqrt(q)
    shift = 0.0 if 30.0 * roots[0] >= roots[1] else 0.05 * roots[1]
    span = float(np.log(roots[0] + shift)), float(np.log(roots[1] + shift))
    origin = _propagate(stack, np.zeros(1), _NO_PAIRS, np.zeros((0, 1)))
    if origin is None:
        return None
    norms, correlations = int(np.clip(6 + 8 * (span[1] - span[0]), 6, 24)), 32
    while True:
        t = (span[0] + span[1] + (span[1] - span[0]) * chebyshev_nodes(norms)) / 2.0
        variance = (np.exp(t) - shift) ** 2
        pairs = np.stack(np.triu_indices(norms), axis=1)
        c = np.tile(chebyshev_nodes(correlations), (len(pairs), 1))
        found = _propagate(stack, variance, pairs, c)
        if found is None:
            return None
        coefficients = _series_of(found, pairs, norms, correlations)
        ratios = np.maximum(found.diagonals / (origin.diagonals + variance), 1e-300)
        diagonal = chebyshev_coefficients(np.log(ratios))
        size = np.abs(coefficients)
        along_norms = np.maximum(size.max(axis=(0, 2, 3)), np.abs(diagonal).max(axis=0))
        along_norms[0] = 1.0  # errors of a logarithm are relative ones already
        wanted = (
            _needed(along_norms, _MOST_NORMS),
            _needed(size.max(axis=(0, 1, 2)), _MOST_CORRELATIONS),
        )
        if wanted[0] <= norms and wanted[1] <= correlations:
            break
        norms, correlations = max(wanted[0], norms), max(wanted[1], correlations)
    basis, cores = _compressed(coefficients)
    segments = np.stack([_on_segment(cores, low, high) for low, high in pairwise(SEGMENTS)])
    ranks = _ranks(segments)
    segments = segments[:, :, : int(np.max(np.nonzero(ranks.any(axis=(0, 1)))[0], initial=0)) + 1]
    ranks = ranks[:, :, : segments.shape[2]]
    rates = np.abs(np.diff(found.kernels) / np.diff(c)).max(axis=1)
    table = TensorTable(
        span, shift, basis, segments, ranks, diagonal, origin.diagonals[:, 0], c[0], rates,
        np.zeros(2),
    )  # fmt: skip
    error = _measured(stack, table)
    if error is None or np.any(error > _ENOUGH):
        return None
    return replace(table, error=error + found.error)


@dataclass(frozen=True)
class _Propagated:
    kernels: np.ndarray  # K and Theta of pairs, over the roots of the diagonals, (2, pairs, c)
    diagonals: np.ndarray  # (2, variances)
    error: float


def _propagate(
    stack: DenseStack, variance: np.ndarray, pairs: np.ndarray, c: np.ndarray
) -> _Propagated | None:
    """Output kernels of pairs (P, 2) of variances (Q,), at correlations (P, M) each."""
    c_w, c_b, l_w, l_b = _layer(stack, 0)
    a, b = pairs.T
    kernel = (np.sqrt(variance[a]) * np.sqrt(variance[b]))[:, None] * c
    tangent = l_b + l_w * (kernel - c_b) / c_w
    diagonal, tangents = variance, l_b + l_w * (variance - c_b) / c_w
    error, terms = 0.0, 64
    for number in range(1, len(stack.weight_var)):
        c_w, c_b, l_w, l_b = _layer(stack, number)
        found = _hermite.expand(stack.activation, diagonal, terms)
        if found is None or c.size * found.images.shape[1] > _MOST_WORK:
            return None
        lengths = _lengths(found, pairs)
        terms = 1 << int(np.ceil(np.log2(max(lengths.max(initial=1), 64))))
        images, slopes = _mehler(found.images, found.slopes, lengths, pairs, c)
        kernel = c_b + c_w * images
        tangent = l_b + l_w * images + c_w * slopes * tangent
        tangents = l_b + l_w * found.square + c_w * found.slope_square * tangents
        diagonal = c_b + c_w * found.square
        if not (np.all(np.isfinite(diagonal)) and np.all(np.isfinite(tangents))):
            return None
        scale = _over_roots(diagonal, pairs)
        c = np.clip(kernel * scale, -1.0, 1.0)
        error += float(found.error.max()) + 1e-15
    kernels = np.stack([c, tangent * _over_roots(tangents, pairs)])
    return _Propagated(kernels, np.stack([diagonal, tangents]), error)


def _needed(size: np.ndarray, most: int) -> int:
    """How many terms a series needs, from the sizes of those it has, which fall geometrically."""
    have, top = len(size), size.max()
    if not top > 0.0:
        return have
    tail = size[-3:].max() / top
    if tail <= _TOLERANCE or have >= most:
        return have
    more = have * min(np.log(_TOLERANCE) / np.log(tail), 2.5)
    return min(int(1.1 * more) + 3, most)


def _layer(stack: DenseStack, number: int) -> tuple[float, float, float, float]:
    return (
        stack.weight_var[number],
        stack.bias_var[number],
        stack.weight_lr[number],
        stack.bias_lr[number],
    )


def _lengths(found: _hermite.Hermite, pairs: np.ndarray) -> np.ndarray:
    """How many terms of each pair's series matter to a rounding unit."""
    needed = []
    for share in (1e-17, 1e-34):  # of both samples, or of one alone
        counts = np.zeros(len(found.images), dtype=np.int64)
        for part in (found.images, found.slopes):
            rest = np.cumsum(np.square(part[:, ::-1]), axis=1)[:, ::-1]
            counts = np.maximum(counts, np.sum(rest > share * rest[:, :1], axis=1))
        needed.append(counts)
    both = np.maximum(needed[0][pairs[:, 0]], needed[0][pairs[:, 1]])
    either = np.minimum(needed[1][pairs[:, 0]], needed[1][pairs[:, 1]])
    return np.minimum(both, either)


def _over_roots(diagonal: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    roots = np.sqrt(diagonal)
    product = (roots[pairs[:, 0]] * roots[pairs[:, 1]])[:, None]
    return np.divide(1.0, product, out=np.zeros_like(product), where=product > 0)


def _series_of(found: _Propagated, pairs: np.ndarray, norms: int, correlations: int) -> np.ndarray:
    """Chebyshev coefficients in t_a, t_b and c: (2, norms, norms, correlations)."""
    values = np.empty((2, norms, norms, correlations))
    values[:, pairs[:, 0], pairs[:, 1]] = found.kernels
    values[:, pairs[:, 1], pairs[:, 0]] = found.kernels
    for axis in (1, 2, 3):
        values = np.moveaxis(chebyshev_coefficients(np.moveaxis(values, axis, -1)), -1, axis)
    return values


def _compressed(coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Basis (norm nodes, rank), a multiple of four, and cores (2, correlations, rank, rank)."""
    norms = coefficients.shape[1]
    unfolded = np.moveaxis(coefficients, 1, 0).reshape(norms, -1)
    vectors, values, _ = np.linalg.svd(unfolded, full_matrices=False)
    rank = max(1, int(np.sum(values > _TOLERANCE)))
    basis = np.pad(vectors[:, :rank], ((0, 0), (0, -rank % 4)))
    return basis, np.einsum("kr,fklj,ls->fjrs", basis, coefficients, basis, optimize=True)


def _on_segment(cores: np.ndarray, low: float, high: float) -> np.ndarray:
    """The series in c written in (2 c - low - high) / (high - low)."""
    terms = cores.shape[1]
    c = (low + high + (high - low) * chebyshev_nodes(terms)) / 2.0
    values = np.einsum("nj,fjrs->frsn", chebyshev.chebvander(c, terms - 1), cores, optimize=True)
    return np.moveaxis(chebyshev_coefficients(values), -1, 1)


def _ranks(segments: np.ndarray) -> np.ndarray:
    """How many features every term needs so that what is left out stays below the tolerance."""
    rank = segments.shape[3]
    size = np.abs(segments)
    ranks = np.full(segments.shape[:3], rank, dtype=np.int64)
    allowed = _LEFT_OUT / segments.shape[2]
    for r in range(rank - 4, -1, -4):
        beyond = size.sum(axis=(3, 4)) - size[..., :r, :r].sum(axis=(3, 4))
        ranks[(beyond <= allowed) & (ranks == r + 4)] = r
    return ranks


def _measured(stack: DenseStack, table: TensorTable) -> np.ndarray | None:
    """Largest deviations of the table from the recursion itself, at points off the nodes."""
    # not at q = 0 itself, where a correlation may have no meaning (it meets a factor 0 there)
    fractions = np.array([0.003, 0.013, 0.11, 0.29, 0.47, 0.66, 0.83, 0.961, 1.0])
    t = table.span[0] + (table.span[1] - table.span[0]) * fractions
    variance = (np.exp(t) - table.shift) ** 2
    pairs = np.stack(np.triu_indices(len(t)), axis=1)
    angles = np.array([0.0, 0.02, 0.17, 0.6, 1.1, 1.53, 2.05, 2.6, 3.02, np.pi])
    c = np.tile(np.cos(angles), (len(pairs), 1))
    found = _propagate(stack, variance, pairs, c)
    if found is None:
        return None
    features = table.features(variance)
    left, right = features[pairs[:, 0]], features[pairs[:, 1]]
    values = np.empty_like(found.kernels)
    for n, point in enumerate(c[0]):
        segment = min(int(np.searchsorted(SEGMENTS[1:], point, "right")), len(SEGMENTS) - 2)
        low, high = SEGMENTS[segment : segment + 2]
        kept = table.cores[segment] * _mask(table.ranks[segment], table.cores.shape[3])
        series = np.einsum("fjrs,pr,ps->jfp", kept, left, right, optimize=True)
        values[..., n] = chebyshev.chebval((2.0 * point - low - high) / (high - low), series)
    deviation = np.abs(values - found.kernels).max(axis=(1, 2))
    apart = np.abs(table.diagonals(variance) / np.where(found.diagonals, found.diagonals, 1.0) - 1)
    apart[found.diagonals == 0] = 0.0
    return 2.0 * (deviation + apart.max(axis=1))


def _mask(ranks: np.ndarray, rank: int) -> np.ndarray:
    inside = np.arange(rank) < ranks[..., None]
    return inside[..., :, None] & inside[..., None, :]


_NO_PAIRS = np.zeros((0, 2), dtype=np.int64)


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _mehler(images, slopes, lengths, pairs, c):
    """sum_n a_n(q_a) a_n(q_b) c^n and the same of the slopes, for pairs (P, 2) at c (P, M)."""
    count, points = c.shape
    first, second = np.zeros((count, points)), np.zeros((count, points))
    for p in range(count):
        a, b = pairs[p, 0], pairs[p, 1]
        x, out, rate = c[p], first[p], second[p]
        for n in range(lengths[p] - 1, -1, -1):
            term = images[a, n] * images[b, n]
            slope = slopes[a, n] * slopes[b, n]
            for m in range(points):
                out[m] = out[m] * x[m] + term
                rate[m] = rate[m] * x[m] + slope
    return first, second
