"""Deep kernels that depend on one correlation only: tables evaluated block by block.

For a positively homogeneous activation without biases K_ab = sqrt(q_a q_b) f(c_ab) with c the
cosine of the inputs, and for inputs of one norm K_ab = f(c_ab) whatever the activation: depth is
in the table. Every product of the (half) Gram matrix is mapped and mirrored while it is in cache.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import no_type_check

import numpy as np

from whydeep.compiled import njit
from whydeep.theory.infinite._error import Error
from whydeep.theory.infinite._threads import Block
from whydeep.theory.infinite.dense._cosine_table import Table
from whydeep.theory.infinite.dense._cosines import PRODUCT_ERROR, Rows, best_limit
from whydeep.theory.infinite.dense._deep_table import deep_table
from whydeep.theory.infinite.dense._row_output import bounded, mirrored, scaled
from whydeep.theory.infinite.dense._stack import DenseStack

__all__ = ["DeepPlan", "deep_plan"]

_STRIP = 16  # rows mirrored together: a column of the strip is whole cache lines


@dataclass(frozen=True)
class DeepPlan:
    """Tables of one correlation.

    Args:
        table: K and Theta at unit scale.
        row_scale: K_ab = row_scale_a column_scale_b f(c_ab): (N1,) and (N2,).
        column_scale: likewise.
        symmetric: whether columns are rows.
        limit: distance below which a product is not precise enough.
        error: of both kernels.
    """

    table: Table
    row_scale: np.ndarray
    column_scale: np.ndarray
    symmetric: bool
    limit: float
    error: Error

    def mapper(
        self, nngp: np.ndarray, ntk: np.ndarray | None
    ) -> Callable[[np.ndarray, Block], None]:
        """For one thread: writes the block of both kernels that belongs to signed distances."""
        table, rows, columns = self.table, self.row_scale, self.column_scale
        row_nngp, row_ntk = (rows * rows * end for end in table.base)
        column_nngp, column_ntk = (columns * columns * end for end in table.base)
        with_ntk = ntk is not None
        tangent = ntk if ntk is not None else nngp
        scratch = np.empty((4, 0), nngp.dtype)

        def mapped(signed: np.ndarray, block: Block) -> None:
            nonlocal scratch
            if scratch.shape[1] < signed.shape[1]:
                scratch = np.empty((4, signed.shape[1]), nngp.dtype)
            _map_block(
                signed, block[0], block[2], self.symmetric, rows, columns, table.coefficients,
                table.line, table.base, table.edges, table.positive, row_nngp, column_nngp,
                row_ntk, column_ntk, nngp, tangent, with_ntk, scratch,
            )  # fmt: skip

        return mapped


def deep_plan(stack: DenseStack, rows: Rows, columns: Rows, dtype: np.dtype) -> DeepPlan | None:
    """Tables, where the kernels depend on one correlation up to a scale, else None.

    That is so for positively homogeneous activations without biases, and for any continuous one if
    all inputs have the same norm to rounding.
    """
    spread = 0.0
    homogeneous = stack.activation.slopes is not None and not any(stack.bias_var + stack.bias_lr)
    if homogeneous:
        variance = 1.0
        scales = [np.sqrt(side.variance).astype(dtype) for side in (rows, columns)]
    else:
        both = np.concatenate([rows.variance, columns.variance])
        variance = float(both.mean())
        spread = float(np.ptp(both)) / variance if variance > 0 else np.inf
        # kinked activations have no other way, so there single precision may be enough
        allowed = 2e-7 if dtype == np.float32 and stack.activation.kinks else 1e-13
        if not spread <= allowed:
            return None
        scales = [np.ones(len(side.variance), dtype) for side in (rows, columns)]
    found = deep_table(stack, variance, dtype)
    if found is None:
        return None
    limit = best_limit(found.table.slope, dtype)
    lost = found.table.slope(limit) * PRODUCT_ERROR[dtype]
    error = found.table.error + found.error + lost + 2.0 * spread + 4.0 * np.finfo(dtype).eps
    return DeepPlan(
        found.table, scales[0], scales[1], columns is rows, limit,
        Error(float(error[0]), float(error[1])),
    )  # fmt: skip


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _map_block(
    signed, i0, j0, mirror, row_scale, column_scale, coefficients, line, base, edges, positive,
    row_nngp, column_nngp, row_ntk, column_ntk, nngp, ntk, with_ntk, scratch,
):  # fmt: skip
    """Writes a block of both kernels, and its mirror image.

    Args:
        signed: 1 - |c| with the sign of c, (rows, columns).
        i0: first row of the block in the whole matrix.
        j0: first column.
        mirror: whether the matrix is symmetric and the block on or above its diagonal.
        row_scale: K_ab = row_scale_a column_scale_b f(c); all (N,).
        column_scale: likewise.
        coefficients: of the table, as all up to `positive`.
        line: slope and shift of the pieces.
        base: values at c = 1.
        edges: of the pieces.
        positive: pieces towards c = 1.
        row_nngp: diagonals, as bounds and as the values of a symmetric matrix.
        column_nngp: likewise.
        row_ntk: likewise.
        column_ntk: likewise.
        nngp: K, the whole matrix.
        ntk: Theta, the whole matrix; not touched unless `with_ntk`.
        with_ntk: whether Theta is wanted.
        scratch: four rows of at least as many columns.
    """
    rows, columns = signed.shape
    j1 = j0 + columns
    values = scratch[3]
    for first in range(0, rows, _STRIP):
        last = min(first + _STRIP, rows)
        start = max(0, i0 + first - j0) if mirror else 0
        for i in range(first, last):
            row = i0 + i
            distances = signed[i, start:]
            scales = column_scale[j0 + start : j1]
            mixed = _places(distances, edges, positive, scratch[0], scratch[1])
            for f in range(2 if with_ntk else 1):
                _values(mixed, scratch, coefficients, line, base[f], positive, f, distances.size)
                scaled(values, row_scale[row], scales)
                if f == 0:
                    others = column_nngp[j0 + start : j1]
                    bounded(values, row_nngp[row], others, nngp[row, j0 + start : j1])
                else:
                    others = column_ntk[j0 + start : j1]
                    bounded(values, row_ntk[row], others, ntk[row, j0 + start : j1])
        if mirror:
            mirrored(nngp, row_nngp, i0 + first, i0 + last, j0 + start, j1)
            if with_ntk:
                mirrored(ntk, row_ntk, i0 + first, i0 + last, j0 + start, j1)


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _places(signed, edges, positive, place, w):
    """The piece of every element, and its variable; whether there are others than the middle."""
    one, zero = signed.dtype.type(1), signed.dtype.type(0)
    count = signed.size
    inside = 0
    for j in range(count):
        inside += abs(signed[j]) >= edges[1]
    for j in range(count):
        w[j] = np.copysign(one - abs(signed[j]), signed[j])
    if inside == count:
        return False
    for j in range(count):
        place[j] = zero
    for piece in range(1, edges.size):
        edge = edges[piece]
        if piece <= positive:
            for j in range(count):
                place[j] += one if zero < signed[j] < edge else zero
        else:
            step = signed.dtype.type(piece if piece == positive + 1 else 1)
            for j in range(count):
                place[j] += step if -edge < signed[j] < zero else zero
    for j in range(count):
        root = np.sqrt(abs(signed[j]))
        w[j] = root if place[j] > zero else w[j]
    return True


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _values(mixed, scratch, coefficients, line, top, positive, f, count):
    """Function f at every element, from the polynomials of the pieces that occur."""
    place, w, p, out = scratch[0], scratch[1], scratch[2], scratch[3]
    if not mixed:
        _polynomial(coefficients[0, f], line[0, 0], line[0, 1], w, out, count)
        return
    for piece in range(line.shape[0]):
        here = scratch.dtype.type(piece)
        inside = 0
        for j in range(count):
            inside += place[j] == here
        if inside == 0:
            continue
        _polynomial(coefficients[piece, f], line[piece, 0], line[piece, 1], w, p, count)
        if piece == positive:  # anchored at c = 1
            for j in range(count):
                factor = w[j] if f else w[j] * w[j]
                p[j] = top - factor * p[j]
        for j in range(count):
            out[j] = p[j] if place[j] == here else out[j]


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _polynomial(c, slope, shift, w, out, count):
    """Horner's rule, twelve coefficients at a time."""
    for j in range(count):
        out[j] = 0
    for m in range(0, c.size, 12):
        a0, a1, a2, a3, a4, a5 = c[m], c[m + 1], c[m + 2], c[m + 3], c[m + 4], c[m + 5]
        b0, b1, b2, b3, b4, b5 = c[m + 6], c[m + 7], c[m + 8], c[m + 9], c[m + 10], c[m + 11]
        for j in range(count):
            t = slope * w[j] + shift
            p = (((((out[j] * t + a0) * t + a1) * t + a2) * t + a3) * t + a4) * t + a5
            out[j] = (((((p * t + b0) * t + b1) * t + b2) * t + b3) * t + b4) * t + b5
