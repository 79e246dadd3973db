"""Positively homogeneous activations with biases and any norms: the closed form, layer by layer.

With g_a = sqrt(q_a), r = g_a g_b and y = (1 - c) / 2 a layer s = alpha z + beta |z| takes

    4 r' y' = C_W r (4 alpha^2 y + 2 beta^2 G(y)) + 2 C_b C_W k (g_a - g_b)^2 / (r' + C_b + C_W k r)

where k = alpha^2 + beta^2 and G = 1 - <|u_a u_b|> of unit variances: sums of positive terms, so
that near-coincident inputs stay as near as they are. Angles and G are polynomials in min(y, 1 - y).

Source: Cho and Saul 2009, Eqs. 5 and 6, with the differences carried.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
# ruff: noqa: FURB136 -- its min and max look at NaN, which takes twice the time
from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import no_type_check

import numpy as np
from numpy.polynomial import chebyshev

from whydeep.compiled import njit
from whydeep.theory.infinite._error import Error
from whydeep.theory.infinite._threads import Block
from whydeep.theory.infinite.dense._chebyshev import chebyshev_coefficients, chebyshev_nodes
from whydeep.theory.infinite.dense._cosines import PRODUCT_ERROR, Rows, best_limit
from whydeep.theory.infinite.dense._deep_table import deep_table
from whydeep.theory.infinite.dense._row_output import bounded, mirrored, scaled
from whydeep.theory.infinite.dense._stack import DenseStack

__all__ = ["RecursionPlan", "recursion_plan"]

_STRIP = 16
_DEGREE = 23


@dataclass(frozen=True)
class RecursionPlan:
    """What the closed form reads.

    Args:
        layers: C_W, C_b, lambda_W, lambda_b, (L + 1, 4).
        parts: alpha^2 and beta^2.
        row_roots: sqrt(q_a) at every layer, (L + 1, N1).
        column_roots: likewise, (L + 1, N2).
        row_ends: K_aa and Theta_aa of the output, (2, N1).
        column_ends: likewise, (2, N2).
        symmetric: whether columns are rows.
        limit: distance below which a product is not precise enough.
        error: of both kernels.
    """

    layers: np.ndarray
    parts: tuple[float, float]
    row_roots: np.ndarray
    column_roots: np.ndarray
    row_ends: np.ndarray
    column_ends: np.ndarray
    symmetric: bool
    limit: float
    error: Error

    def mapper(
        self, nngp: np.ndarray, ntk: np.ndarray | None
    ) -> Callable[[np.ndarray, Block], None]:
        """For one thread: writes the block of both kernels that belongs to signed distances."""
        angle, gap = _polynomials()
        with_ntk = ntk is not None
        tangent = ntk if ntk is not None else nngp
        scratch = np.empty((5, 0))
        row_ends, column_ends = (
            ends.astype(nngp.dtype) for ends in (self.row_ends, self.column_ends)
        )

        def mapped(signed: np.ndarray, block: Block) -> None:
            nonlocal scratch
            if scratch.shape[1] < signed.shape[1]:
                scratch = np.empty((5, signed.shape[1]))
            _map_block(
                signed, block[0], block[2], self.symmetric, self.layers, *self.parts, angle, gap,
                self.row_roots, self.column_roots, row_ends, column_ends,
                nngp, tangent, with_ntk, scratch,
            )  # fmt: skip

        return mapped


def recursion_plan(
    stack: DenseStack, rows: Rows, columns: Rows, dtype: np.dtype
) -> RecursionPlan | None:
    """The closed form, where the activation has one and variances stay finite, else None."""
    if stack.activation.slopes is None:
        return None
    minus, plus = stack.activation.slopes
    odd, even = ((plus + minus) / 2.0) ** 2, ((plus - minus) / 2.0) ** 2
    layers = np.array([stack.weight_var, stack.bias_var, stack.weight_lr, stack.bias_lr]).T
    layers = np.ascontiguousarray(layers)
    sides = [_diagonals(layers, odd + even, side.variance) for side in (rows, columns)]
    if not all(np.all(np.isfinite(part)) for side in sides for part in side):
        return None
    steepness = _steepness(stack)
    limit = best_limit(steepness, dtype)
    lost = steepness(limit) * PRODUCT_ERROR[dtype]
    error = lost + 4.0 * np.finfo(dtype).eps + 4e-16 * len(layers)
    return RecursionPlan(
        layers, (odd, even), sides[0][0], sides[1][0], sides[0][1], sides[1][1],
        columns is rows, limit, Error(float(error[0]), float(error[1])),
    )  # fmt: skip


def _diagonals(
    layers: np.ndarray, total: float, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """sqrt(q_a) at every layer, and K_aa and Theta_aa of the output."""
    c_w, c_b, l_w, l_b = layers[0]
    roots = [np.sqrt(variance)]
    tangent = l_b + l_w * (variance - c_b) / c_w
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused
        for c_w, c_b, l_w, l_b in layers[1:]:
            tangent = l_b + total * (l_w * variance + c_w * tangent)
            variance = c_b + c_w * total * variance
            roots.append(np.sqrt(variance))
    return np.array(roots), np.stack([variance, tangent])


def _steepness(stack: DenseStack) -> Callable[[float], np.ndarray]:
    """Largest |df/d(1 - |c|)| from a distance on, relative to the diagonal.

    That of the network without biases: they only make the kernels flatter.
    """
    none = (0.0,) * len(stack.bias_var)
    free = deep_table(replace(stack, bias_var=none, bias_lr=none), 1.0, np.dtype(np.float32))
    if free is not None:
        return free.table.slope
    # <s' s'> of each layer falls like sqrt(2 d) / pi
    count = len(none) - 1
    return lambda distance: np.array([1.0, 1.0 + count / np.sqrt(2.0 * distance)])


@functools.cache
def _polynomials() -> tuple[np.ndarray, np.ndarray]:
    """What theta and G need: theta / sqrt(y) and (2/pi)(sin theta - theta cos theta) / y^(3/2).

    With theta = 2 asin(sqrt(y)), as polynomials in t = 4 y - 1 for y in [0, 1/2], highest power
    first; to a rounding unit.
    """
    nodes = (chebyshev_nodes(2 * (_DEGREE + 1)) + 1.0) / 4.0
    # asin(s)/s and the rest from their power series, whose terms are positive: no digit is lost
    first, second = np.zeros_like(nodes), np.zeros_like(nodes)
    for n in range(120, -1, -1):
        first = first * nodes + _arcsine_term(n)
        second = second * nodes + _gap_term(n)
    out = []
    for values in (2.0 * first, second):
        powers = chebyshev.cheb2poly(chebyshev_coefficients(values)[: _DEGREE + 1])
        out.append(np.ascontiguousarray(powers[::-1]))
    return out[0], out[1]


@functools.cache
def _arcsine_term(n: int) -> float:
    """asin(s)/s = sum_n a_n s^(2 n) with a_n = (2n)! / (4^n n!^2 (2n + 1))."""
    ratio = 1.0
    for k in range(1, n + 1):
        ratio *= (2.0 * k - 1.0) / (2.0 * k)
    return ratio / (2.0 * n + 1.0)


def _gap_term(n: int) -> float:
    """Of (2/pi)(sin t - t cos t)/s^3 with s = sin(t/2).

    d/dy (sin t - t cos t) = t sin(t) dt/dy = 2 t with dt/dy = 2/sin(t), and t = 2 s sum a_n y^n:
    so the term of y^(n + 3/2) is 4 a_n / (n + 3/2).
    """
    return 2.0 / np.pi * 4.0 * _arcsine_term(n) / (n + 1.5)


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _map_block(
    signed, i0, j0, mirror, layers, odd, even, angle, gap, row_roots, column_roots, row_ends,
    column_ends, nngp, ntk, with_ntk, scratch,
):  # fmt: skip
    """Writes a block of both kernels, and its mirror image (see `RecursionPlan`)."""
    rows, columns = signed.shape
    j1 = j0 + columns
    y, theta = scratch[0], scratch[1]
    for first in range(0, rows, _STRIP):
        last = min(first + _STRIP, rows)
        start = max(0, i0 + first - j0) if mirror else 0
        count = columns - start
        for i in range(first, last):
            row = i0 + i
            _first_layer(
                signed[i, start:], layers[0], row_roots[0, row],
                column_roots[0, j0 + start : j1], scratch,
            )  # fmt: skip
            for layer in range(1, layers.shape[0]):
                _angles(y, scratch[2], angle, gap, scratch[3], scratch[4], count)
                _next_layer(
                    layers[layer], odd, even, row_roots[layer - 1, row], row_roots[layer, row],
                    column_roots[layer - 1, j0 + start : j1],
                    column_roots[layer, j0 + start : j1], scratch,
                )  # fmt: skip
            _cosines(y, scratch[3], count)
            scaled(scratch[3], row_roots[-1, row], column_roots[-1, j0 + start : j1])
            others = column_ends[0, j0 + start : j1]
            bounded(scratch[3], row_ends[0, row], others, nngp[row, j0 + start : j1])
            if with_ntk:
                others = column_ends[1, j0 + start : j1]
                bounded(theta, row_ends[1, row], others, ntk[row, j0 + start : j1])
        if mirror:
            mirrored(nngp, row_ends[0], i0 + first, i0 + last, j0 + start, j1)
            if with_ntk:
                mirrored(ntk, row_ends[1], i0 + first, i0 + last, j0 + start, j1)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _cosines(y, out, count):
    for j in range(count):
        out[j] = 1.0 - 2.0 * y[j]


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _first_layer(signed, layer, root, roots, scratch):
    """y, min(y, 1 - y) and Theta of one row from its signed distances."""
    y, theta, near = scratch[0], scratch[1], scratch[2]
    rate = layer[2] / layer[0]
    rest = layer[3] - rate * layer[1]
    for j in range(signed.size):
        distance = np.float64(signed[j])
        half = 0.5 * abs(distance)
        near[j] = half  # of opposite inputs too: 1 - y would lose it
        y[j] = half if distance > 0.0 else 1.0 - half
        theta[j] = rest + rate * root * roots[j] * (1.0 - 2.0 * y[j])


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _angles(y, near, angle, gap, sign, absolute, count):
    """<sgn u_a sgn u_b> and 1 - <|u_a u_b|> of unit variances."""
    for j in range(count):
        sign[j] = 0.0
        absolute[j] = 0.0
    for m in range(0, angle.size, 6):
        a0, a1, a2 = angle[m], angle[m + 1], angle[m + 2]
        a3, a4, a5 = angle[m + 3], angle[m + 4], angle[m + 5]
        b0, b1, b2, b3, b4, b5 = gap[m], gap[m + 1], gap[m + 2], gap[m + 3], gap[m + 4], gap[m + 5]
        for j in range(count):
            t = 4.0 * near[j] - 1.0
            sign[j] = (((((sign[j] * t + a0) * t + a1) * t + a2) * t + a3) * t + a4) * t + a5
            absolute[j] = (
                ((((absolute[j] * t + b0) * t + b1) * t + b2) * t + b3) * t + b4
            ) * t + b5
    for j in range(count):
        root = np.sqrt(near[j])
        value = 1.0 - (2.0 / np.pi) * root * sign[j]
        sign[j] = value if y[j] <= 0.5 else -value
        absolute[j] = near[j] * (2.0 - root * absolute[j])


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _next_layer(layer, odd, even, root, root_after, roots, roots_after, scratch):
    """Replaces y, min(y, 1 - y) and Theta of one row by those of the next layer."""
    y, theta, near, sign, absolute = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    c_w, c_b, l_w, l_b = layer[0], layer[1], layer[2], layer[3]
    total = c_w * (odd + even)
    for j in range(roots.size):
        r = root * roots[j]
        r_after = root_after * roots_after[j]
        images = r * (odd * (1.0 - 2.0 * y[j]) + even * (1.0 - absolute[j]))
        theta[j] = l_b + l_w * images + c_w * (odd + even * sign[j]) * theta[j]
        apart = c_w * r * (4.0 * odd * y[j] + 2.0 * even * absolute[j])
        difference = root - roots[j]
        share = r_after + c_b + total * r
        apart += 2.0 * c_b * total * difference * difference / (share if share > 0.0 else 1.0)
        after = 0.25 * apart / (r_after if r_after > 0.0 else 1.0)
        after = after if after < 1.0 else 1.0
        y[j] = after
        near[j] = after if after < 0.5 else 1.0 - after
