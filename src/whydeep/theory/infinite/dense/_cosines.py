"""Correlations of the first preactivations, with the distance from 1 kept apart.

Rows u_a = (x_a sqrt(C_W / n_0), sqrt(C_b)) / sqrt(q_a) have unit length, and c_ab = u_a . u_b. With
rows measured from their common centre, 1 - c = (|u_a|^2 + |u_b|^2) / 2 - u_a . u_b has a rounding
error relative to their distances from it, however narrow the cone they lie in. Deep networks
amplify what is left, so pairs that nearly coincide (or are nearly opposite) take
|u_a -+ u_b|^2 / 2 from the inputs in float64. Where those are many, as in several clusters, a
block is multiplied once more about its own centre, in float64.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import no_type_check

import numpy as np

from whydeep.compiled import njit
from whydeep.theory.infinite._threads import Block

__all__ = ["PRODUCT_ERROR", "Correlator", "Rows", "best_limit", "prepare"]

PRODUCT_ERROR = {np.dtype(np.float32): 5e-7, np.dtype(np.float64): 1e-15}
"""Of a product of unit rows: 1e-7 and 2e-16 for strangers, this for several narrow clusters."""
_ALLOWED = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 3e-13}
_LIMITS = {
    np.dtype(np.float32): np.geomspace(1e-2, 0.1, 5),
    np.dtype(np.float64): np.geomspace(1e-6, 1e-3, 13),
}

# Stands for a distance of zero, which must keep a sign: its root is below every rounding unit.
_ZERO = 1e-36
_CHUNK = 256  # rows prepared at once
_CROWDED = 0.1  # share of near pairs from which a block is measured from its centre


@dataclass(frozen=True)
class Rows:
    """Inputs as unit rows.

    Args:
        centred: u_a - centre, shape (N, n_0 + 1), in the precision of the products.
        half: |u_a - centre|^2 / 2, shape (N,).
        centre: mean of the rows that the matrix has, (n_0 + 1,).
        x: the inputs, (N, n_0), float64, contiguous and writeable (one type for compiled code).
        scale: sqrt(C_W / n_0 / q_a), shape (N,); 0 where q_a = 0.
        offset: sqrt(C_b / q_a), shape (N,).
        variance: q_a = C_b + C_W |x_a|^2 / n_0, shape (N,).
    """

    centred: np.ndarray
    half: np.ndarray
    centre: np.ndarray
    x: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    variance: np.ndarray

    def unit(self, first: int, last: int) -> np.ndarray:
        """u_a of some rows in float64."""
        out = np.empty((last - first, self.x.shape[1] + 1))
        np.multiply(self.x[first:last], self.scale[first:last, None], out=out[:, :-1])
        out[:, -1] = self.offset[first:last]
        return out


def prepare(
    x: np.ndarray,
    weight_var: float,
    bias_var: float,
    dtype: np.dtype,
    centre: np.ndarray | None = None,
) -> Rows:
    """Unit rows of inputs (N, n_0), about a given centre or their own."""
    x = np.ascontiguousarray(x)
    if not x.flags.writeable:
        x = x.copy()
    count, inputs = x.shape
    per_input = weight_var / inputs
    variance = bias_var + per_input * np.einsum("ai,ai->a", x, x)
    inverse = np.divide(1.0, np.sqrt(variance), out=np.zeros(count), where=variance > 0)
    scale, offset = np.sqrt(per_input) * inverse, np.sqrt(bias_var) * inverse
    middle = np.append(scale @ x, offset.sum()) / max(count, 1) if centre is None else centre
    rows = Rows(
        np.empty((count, inputs + 1), dtype), np.empty(count, dtype), middle,
        x, scale, offset, variance,
    )  # fmt: skip
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        unit = rows.unit(start, min(start + _CHUNK, count))
        unit -= middle
        rows.centred[part] = unit
        # of what is multiplied: then a row's distance from itself is 0 to a rounding unit
        np.einsum("ai,ai->a", unit, unit, out=unit[:, 0])
        rows.half[part] = unit[:, 0] / 2.0
    return rows


def best_limit(slope: Callable[[float], np.ndarray], dtype: np.dtype) -> float:
    """The smallest distance from which on products of unit rows are precise enough.

    Args:
        slope: largest |df/d(1 - |c|)| of the kernels from a distance on.
        dtype: of the products.
    """
    for limit in _LIMITS[dtype]:
        if np.all(slope(float(limit)) * PRODUCT_ERROR[dtype] <= _ALLOWED[dtype]):
            return float(limit)
    return float(_LIMITS[dtype][-1])


class Correlator:
    """Makes blocks of signed distances: 1 - |c| with the sign of c.

    Args:
        rows: of the matrix.
        columns: of the matrix; `rows` itself for a symmetric one.
        limit: distance below which a product is not precise enough.
        tile: of the blocks; memory is tile^2 numbers, and twice that and 2 tile n_0 in float64
            where most pairs of a block are near.
    """

    def __init__(self, rows: Rows, columns: Rows, limit: float, tile: int) -> None:
        self.rows, self.columns, self.limit = rows, columns, limit
        dtype = rows.centred.dtype
        self.products = np.empty(tile * tile, dtype)
        self.still = bool(np.any(rows.variance == 0) or np.any(columns.variance == 0))

    def __call__(self, block: Block) -> np.ndarray:
        """Signed distances of a block; zero ones are 1e-36. Valid until the next call."""
        i0, i1, j0, j1 = block
        rows, columns = self.rows, self.columns
        out = self.products[: (i1 - i0) * (j1 - j0)].reshape(i1 - i0, j1 - j0)
        np.matmul(rows.centred[i0:i1], columns.centred[j0:j1].T, out=out)
        corner = rows is columns and i0 == j0
        halves = rows.half[i0:i1], columns.half[j0:j1]
        near = _signed_distances(out, *halves, self.limit, corner)
        if near > max(64.0, _CROWDED * out.size):
            near = self._again(block, out, corner=corner)
        if near:
            _sharpen(
                out, corner, i0, j0, rows.x, rows.scale, rows.offset,
                columns.x, columns.scale, columns.offset,
            )  # fmt: skip
        if self.still:  # an input without variance counts as perfectly correlated with all others
            out[rows.variance[i0:i1] == 0] = _ZERO
            out[:, columns.variance[j0:j1] == 0] = _ZERO
        return out

    def rehearse(self) -> None:
        """Compile what is only needed where inputs nearly coincide."""
        one = np.ones((1, 1), self.products.dtype)
        rows, columns = self.rows, self.columns
        _sharpen(
            one, False, 0, 0, rows.x, rows.scale, rows.offset,  # noqa: FBT003
            columns.x, columns.scale, columns.offset,
        )  # fmt: skip
        self._again((0, 1, 0, 1), one, corner=False)

    def _again(self, block: Block, out: np.ndarray, *, corner: bool) -> int:
        """Distances from products in float64 of rows about the centre of the block."""
        i0, i1, j0, j1 = block
        a, b = self.rows.unit(i0, i1), self.columns.unit(j0, j1)
        centre = (a.sum(axis=0) + b.sum(axis=0)) / (len(a) + len(b))
        a -= centre
        b -= centre
        halves = [np.einsum("ai,ai->a", z, z) / 2.0 for z in (a, b)]
        # float32 results need no more than distances of 1e-9 of those squares from products
        limit = self.limit if out.dtype == np.float64 else 1e-9
        products = a @ b.T
        near = _signed_distances(products, halves[0], halves[1], limit, corner)
        out[...] = products
        return near


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _signed_distances(out, row_halves, column_halves, limit, corner):
    """Replaces products by 1 - |c| with the sign of c, near ones by 0 with that sign: how many.

    Args:
        out: a . b of rows about a centre.
        row_halves: |a|^2 / 2.
        column_halves: |b|^2 / 2.
        limit: 1 - |c| below which a pair is near, where rows are of unit length.
        corner: whether the block's diagonal is that of a symmetric matrix.
    """
    one, zero = out.dtype.type(1.0), out.dtype.type(0.0)
    bound = out.dtype.type(limit)
    near = 0
    for i in range(out.shape[0]):
        count = 0
        own = row_halves[i]
        for j in range(out.shape[1]):
            size = own + column_halves[j]
            distance = size - out[i, j]
            opposite = distance > one
            rest = one - abs(one - distance)
            distance = rest if opposite else distance
            # Or equal: rows that are both the centre have a size of 0.
            close = distance <= bound * (one if opposite else size)
            count += close
            out[i, j] = np.copysign(zero if close else distance, -one if opposite else one)
        if corner and i < out.shape[1]:
            count -= abs(out[i, i]) == zero
            out[i, i] = _ZERO
        near += count
    return near


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _sharpen(out, corner, i0, j0, x, scale, offset, y, other_scale, other_offset):
    """Distances of the pairs that are marked by 0, from the inputs themselves."""
    for i in range(out.shape[0]):
        for j in range(i + 1 if corner else 0, out.shape[1]):
            if out[i, j] == 0.0:
                sign = np.copysign(1.0, out[i, j])
                value = _half_square(
                    x[i0 + i], scale[i0 + i], y[j0 + j], sign * other_scale[j0 + j]
                )
                gap = offset[i0 + i] - sign * other_offset[j0 + j]
                value = max(value + 0.5 * gap * gap, _ZERO)
                out[i, j] = np.copysign(value, sign)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
@no_type_check
def _half_square(x, a, y, b):
    total = 0.0
    for k in range(x.size):
        gap = x[k] * a - y[k] * b
        total += gap * gap
    return 0.5 * total
