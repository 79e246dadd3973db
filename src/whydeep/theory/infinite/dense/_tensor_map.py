"""Smooth activations with any biases and norms: tables of three variables, block by block.

For every pair the coefficients of T_j(c) are sums over few features of the two norms, and the
series in c is Clenshaw's recurrence; both run over a row of pairs at once.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import no_type_check

import numpy as np

from whydeep.compiled import njit
from whydeep.progress import phase
from whydeep.theory.infinite._error import Error
from whydeep.theory.infinite._threads import Block
from whydeep.theory.infinite.dense._cosines import PRODUCT_ERROR, Rows
from whydeep.theory.infinite.dense._row_output import bounded, mirrored, scaled
from whydeep.theory.infinite.dense._stack import DenseStack
from whydeep.theory.infinite.dense._tensor_table import SEGMENTS, TensorTable, tensor_table

__all__ = ["TensorPlan", "tensor_plan"]

_STRIP = 16
_SPAN = 128  # columns whose features stay in a core's first-level cache


@dataclass(frozen=True)
class TensorPlan:
    """A table of three variables, at given norms.

    Args:
        table: of both kernels.
        row_features: U(t_a), (N1, rank).
        column_features: U(t_b), (rank, N2).
        row_ends: K_aa and Theta_aa of the output, (2, N1).
        column_ends: likewise, (2, N2).
        symmetric: whether columns are rows.
        limit: distance below which a product is not precise enough.
        error: of both kernels.
    """

    table: TensorTable
    row_features: np.ndarray
    column_features: np.ndarray
    row_ends: np.ndarray
    column_ends: np.ndarray
    symmetric: bool
    limit: float
    error: Error

    def mapper(
        self, nngp: np.ndarray, ntk: np.ndarray | None
    ) -> Callable[[np.ndarray, Block], None]:
        """For one thread: writes the block of both kernels that belongs to signed distances."""
        with_ntk = ntk is not None
        tangent = ntk if ntk is not None else nngp
        row_roots, column_roots = np.sqrt(self.row_ends), np.sqrt(self.column_ends)
        row_ends, column_ends = (
            ends.astype(nngp.dtype) for ends in (self.row_ends, self.column_ends)
        )
        table, segments = self.table, np.array(SEGMENTS)
        scratch = np.empty((6, 0))
        weights = np.empty(table.cores.shape[:4])

        def mapped(signed: np.ndarray, block: Block) -> None:
            nonlocal scratch
            if scratch.shape[1] < signed.shape[1]:
                scratch = np.empty((6, signed.shape[1]))
            _map_block(
                signed, block[0], block[2], self.symmetric, segments, table.cores, table.ranks,
                self.row_features, self.column_features, row_roots, column_roots, row_ends,
                column_ends, nngp, tangent, with_ntk, weights, scratch,
            )  # fmt: skip

        return mapped


def tensor_plan(stack: DenseStack, rows: Rows, columns: Rows, dtype: np.dtype) -> TensorPlan | None:
    """A table of three variables, where the activation is smooth and one is accurate, else None."""
    if not stack.activation.smooth:
        return None
    both = np.concatenate([rows.variance, columns.variance])
    least, most = float(both.min()), float(both.max())
    if not most > least:
        return None
    # The same table serves inputs of nearly the same range, such as those of a test set.
    table = _table(stack, least, most)
    if table is None:
        return None
    ends = [table.diagonals(side.variance) for side in (rows, columns)]
    features = [table.features(side.variance) for side in (rows, columns)]
    limit = 0.05 if dtype == np.float32 else 1e-8
    lost = table.slope(limit) * PRODUCT_ERROR[dtype]
    error = table.error + np.minimum(lost, 1.0) + 4.0 * np.finfo(dtype).eps
    return TensorPlan(
        table, features[0], np.ascontiguousarray(features[1].T), ends[0], ends[1],
        columns is rows, limit, Error(float(error[0]), float(error[1])),
    )  # fmt: skip


@functools.lru_cache(maxsize=8)
def _table(stack: DenseStack, least: float, most: float) -> TensorTable | None:
    with phase("tabulating the kernels of all layers"):
        return tensor_table(stack, least, most)


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _map_block(
    signed, i0, j0, mirror, segments, cores, ranks, row_features, features, row_roots,
    column_roots, row_ends, column_ends, nngp, ntk, with_ntk, weights, scratch,
):  # fmt: skip
    """Writes a block of both kernels, and its mirror image (see `TensorPlan`).

    `weights`, for one row: of the features of b in T_j, (segments, 2, terms, rank).
    """
    rows, columns = signed.shape
    j1 = j0 + columns
    for start_row in range(0, rows, _STRIP):
        last_row = min(start_row + _STRIP, rows)
        start = max(0, i0 + start_row - j0) if mirror else 0
        count = columns - start
        for i in range(start_row, last_row):
            row = i0 + i
            present = _places(signed[i, start:], segments, scratch[0], scratch[1])
            _weigh(cores, ranks, row_features[row], present, with_ntk, weights)
            for f in range(2 if with_ntk else 1):
                for first in range(0, count, _SPAN):
                    last = min(first + _SPAN, count)
                    _series(
                        weights, ranks, segments, present, f, features, j0 + start + first,
                        scratch[0, first:last], scratch[1, first:last], scratch[2, first:last],
                        scratch[3, first:last], scratch[4, first:last], scratch[5, first:last],
                    )  # fmt: skip
                scaled(scratch[5], row_roots[f, row], column_roots[f, j0 + start : j1])
                others = column_ends[f, j0 + start : j1]
                out = ntk[row, j0 + start : j1] if f else nngp[row, j0 + start : j1]
                bounded(scratch[5], row_ends[f, row], others, out)
        if mirror:
            mirrored(nngp, row_ends[0], i0 + start_row, i0 + last_row, j0 + start, j1)
            if with_ntk:
                mirrored(ntk, row_ends[1], i0 + start_row, i0 + last_row, j0 + start, j1)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _places(signed, segments, place, cosines):
    """The segment and the correlation of every element; the bits of those that occur."""
    for j in range(signed.size):
        distance = np.float64(signed[j])
        cosine = 1.0 - abs(distance)
        cosine = cosine if distance > 0.0 else -cosine
        cosines[j] = cosine
        place[j] = 0.0
    for k in range(1, segments.size - 1):
        for j in range(signed.size):
            place[j] += 1.0 if cosines[j] >= segments[k] else 0.0
    present = 0
    for k in range(segments.size - 1):
        inside = 0
        for j in range(signed.size):
            inside += place[j] == k
        if inside > 0:
            present |= 1 << k
    return present


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _weigh(cores, ranks, own, present, with_ntk, weights):
    """sum_k U_k(t_a) core_jkl for one row, on the segments that occur."""
    for k in range(cores.shape[0]):
        if present & (1 << k) == 0:
            continue
        for f in range(2 if with_ntk else 1):
            for term in range(cores.shape[2]):
                rank = ranks[k, f, term]
                out = weights[k, f, term]
                for s in range(rank):
                    out[s] = 0.0
                for r in range(rank):
                    core, factor = cores[k, f, term, r], own[r]
                    for s in range(rank):
                        out[s] += factor * core[s]


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _series(
    weights, ranks, segments, present, f, features, first, place, cosines, t, now, before, out
):
    """Function f of one row on a span of columns: into `out`."""
    for k in range(segments.size - 1):
        if present & (1 << k) == 0:
            continue
        inside = 0
        for j in range(place.size):
            inside += place[j] == k
        if inside == 0:
            continue
        scale = 4.0 / (segments[k + 1] - segments[k])
        middle = 0.5 * (segments[k + 1] + segments[k])
        for j in range(place.size):
            t[j] = scale * (cosines[j] - middle)
        _clenshaw(weights[k, f], features, first, ranks[k, f], t, now, before)
        for j in range(place.size):
            out[j] = now[j] if place[j] == k else out[j]


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _clenshaw(weights, features, first, ranks, twice, now, before):
    """sum_j T_j(c) sum_s weights[j, s] features[s, first:] into `now`, from twice the variable.

    b_j = M_j + 2 c b_(j+1) - b_(j+2); the sum is M_0 + c b_1 - b_2.
    """
    count = now.size
    for j in range(count):
        now[j] = 0.0
        before[j] = 0.0
    terms = weights.shape[0]
    while terms > 1 and ranks[terms - 1] == 0:
        terms -= 1
    for term in range(terms - 1, -1, -1):
        half = 0.5 if term == 0 else 1.0
        for j in range(count):
            value = half * twice[j] * now[j] - before[j]
            before[j] = now[j]
            now[j] = value
        for s in range(0, ranks[term], 4):
            w0, w1 = weights[term, s], weights[term, s + 1]
            w2, w3 = weights[term, s + 2], weights[term, s + 3]
            u0 = features[s, first : first + count]
            u1 = features[s + 1, first : first + count]
            u2 = features[s + 2, first : first + count]
            u3 = features[s + 3, first : first + count]
            for j in range(count):
                now[j] += w0 * u0[j] + w1 * u1[j] + w2 * u2[j] + w3 * u3[j]
