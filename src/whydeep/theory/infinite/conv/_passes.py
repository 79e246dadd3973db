"""Passes over one displacement diagonal of the covariance of two images, for compiled code.

A diagonal is the covariance K[(h, w), (h + dy, w + dx)] for one displacement (dy, dx), stored as
rows of ``stride`` numbers with zeros between them, so that every pass is one loop over a flat
array and a window sum needs no case for the border.

All numbers a thread works on stand in one array, ``work``: ``k``, ``theta`` and so on are places
in it, which never overlap. Images, with their variances, stand in another.

Source: arc-cosine kernels: Cho and Saul 2009; with two slopes: Tsuchida, Roosta and Gallagher 2018.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

from typing import no_type_check

from whydeep.compiled import njit
from whydeep.theory.infinite.conv._arccos import angle, angle_moment
from whydeep.theory.infinite.conv._disjoint import accessors

__all__ = [
    "add_rows",
    "affine",
    "at",
    "coincide",
    "correlate",
    "fold_rows",
    "gather",
    "put",
    "rectify",
    "rectify_kernel",
    "scaled",
    "split_rows",
    "window_sum",
]

_FLOAT = {"contract", "nsz"}  # multiply and add in one rounding; the sign of a zero is no matter

# One pair a loop: what it writes it never reads. Numbers changed in place are read plainly.
at, put = accessors("place", hint=False)
_read_images, _write_product = accessors("correlate")
_read_source, _write_copy = accessors("copy")
_read_rows, _write_rows = accessors("rows")
_read_columns, _write_columns = accessors("columns")
_read_spread, _write_image = accessors("rectify")
_read_diagonal, _write_total = accessors("split")
_read_others, _write_first = accessors("fold")


@njit(fastmath=_FLOAT)
@no_type_check
def correlate(work, k, images, x1, x2, plane, channels, scale, n):
    """Make k = scale * sum_c x1_c x2_c; a channel is a plane."""
    for i in range(n):
        product = _read_images(images, x1 + i) * _read_images(images, x2 + i)
        _write_product(work, k + i, scale * product)
    for c in range(1, channels):
        p1, p2 = x1 + c * plane, x2 + c * plane
        for i in range(n):
            product = _read_images(images, p1 + i) * _read_images(images, p2 + i)
            _write_product(work, k + i, at(work, k + i) + scale * product)


@njit(fastmath=_FLOAT)
@no_type_check
def scaled(work, k, source, scale, n):
    """Make k = scale * source."""
    for i in range(n):
        _write_copy(work, k + i, scale * _read_source(work, source + i))


@njit(fastmath=_FLOAT)
@no_type_check
def gather(work, target, images, first, second, first_mask, second_mask, n):
    """Two shifted pieces of a plane side by side, zeros between them."""
    for i in range(n):
        value = _read_source(images, first + i) * _read_source(work, first_mask + i)
        value += _read_source(images, second + i) * _read_source(work, second_mask + i)
        _write_copy(work, target + i, value)


@njit(fastmath=_FLOAT)
@no_type_check
def window_sum(work, k, sums, n, stride, half):
    """Make k = sums of k over windows of (2 half + 1)^2 positions, rows first."""
    if half == 1:
        for i in range(-1, n + 1):
            beside = _read_rows(work, k + i - stride) + _read_rows(work, k + i + stride)
            _write_rows(work, sums + i, beside + _read_rows(work, k + i))
        for i in range(n):
            beside = _read_columns(work, sums + i - 1) + _read_columns(work, sums + i + 1)
            _write_columns(work, k + i, beside + _read_columns(work, sums + i))
        return
    for i in range(-half, n + half):
        _write_rows(work, sums + i, _read_rows(work, k + i))
    for d in range(1, half + 1):
        for i in range(-half, n + half):
            beside = _read_rows(work, k + i - d * stride) + _read_rows(work, k + i + d * stride)
            _write_rows(work, sums + i, at(work, sums + i) + beside)
    for i in range(n):
        _write_columns(work, k + i, _read_columns(work, sums + i))
    for d in range(1, half + 1):
        for i in range(n):
            beside = _read_columns(work, sums + i - d) + _read_columns(work, sums + i + d)
            _write_columns(work, k + i, at(work, k + i) + beside)


@njit(fastmath=_FLOAT)
@no_type_check
def affine(work, k, theta, n, operation):
    """A convolution after its window sums: C_b + C_W k, lambda_b + lambda_W k + C_W theta."""
    bias, weight = operation.bias, operation.weight
    bias_lr, weight_lr = operation.bias_lr, operation.weight_lr
    for i in range(n):
        total = at(work, k + i)
        put(work, theta + i, bias_lr + weight_lr * total + weight * at(work, theta + i))
        put(work, k + i, bias + weight * total)


@njit(fastmath=_FLOAT)
@no_type_check
def rectify(work, k, theta, n, images, s1, s2, plane, operation, snap):
    """The same convolution, then a positively homogeneous activation.

        <s s'>   = r r' (bend (sin a - a cos a) + plus c)          c >= 0, cos a = |c|
        <s. s.'> = plus - bend a

    and with -a, and minus for plus, where c < 0. At ``s1`` and ``s2`` stand the roots of the
    variances and a plane further their inverses; an inverse of 0 marks what is no position.
    """
    zero, one = work.dtype.type(0), work.dtype.type(1)
    bias, weight = operation.bias, operation.weight
    bias_lr, weight_lr = operation.bias_lr, operation.weight_lr
    bend, plus, minus = operation.bend, operation.plus, operation.minus
    for i in range(n):
        total = at(work, k + i)
        inverse1 = _read_spread(images, s1 + plane + i)
        inverse2 = _read_spread(images, s2 + plane + i)
        c = (bias + weight * total) * inverse1 * inverse2
        gap = one - abs(c)
        gap = gap if gap > snap else zero
        same = c >= zero
        linear = plus if same else minus
        signed = bend if same else -bend
        roots = _read_spread(images, s1 + i) * _read_spread(images, s2 + i)
        tangent = bias_lr + weight_lr * total + weight * at(work, theta + i)
        tangent *= linear - signed * angle(gap)
        _write_image(work, k + i, roots * (bend * angle_moment(gap) + linear * c))
        _write_image(work, theta + i, tangent if inverse1 * inverse2 != zero else zero)


@njit(fastmath=_FLOAT)
@no_type_check
def rectify_kernel(work, k, n, images, s1, s2, plane, operation, snap):
    """`rectify` without the tangent kernel."""
    zero, one = work.dtype.type(0), work.dtype.type(1)
    bias, weight = operation.bias, operation.weight
    bend, plus, minus = operation.bend, operation.plus, operation.minus
    for i in range(n):
        inverse1 = _read_spread(images, s1 + plane + i)
        inverse2 = _read_spread(images, s2 + plane + i)
        c = (bias + weight * at(work, k + i)) * inverse1 * inverse2
        gap = one - abs(c)
        gap = gap if gap > snap else zero
        linear = plus if c >= zero else minus
        roots = _read_spread(images, s1 + i) * _read_spread(images, s2 + i)
        _write_image(work, k + i, roots * (bend * angle_moment(gap) + linear * c))


@njit(fastmath=_FLOAT)
@no_type_check
def coincide(work, k, theta, n, operation):
    """An activation where both positions are one: correlation 1, or no variance at all."""
    zero = work.dtype.type(0)
    plus = operation.plus
    still = (operation.plus + operation.minus) * work.dtype.type(0.5)  # the slope at 0, squared
    for i in range(n):
        variance = at(work, k + i)
        put(work, theta + i, at(work, theta + i) * (plus if variance > zero else still))
        put(work, k + i, variance * plus)


@njit(fastmath=_FLOAT)
@no_type_check
def add_rows(work, total, k, n):
    """Add a diagonal to a sum."""
    for i in range(n):
        _write_total(work, total + i, at(work, total + i) + _read_diagonal(work, k + i))


@njit(fastmath=_FLOAT)
@no_type_check
def split_rows(work, near, far, k, masks, first_mask, n):
    """Add a diagonal to two sums: its rows where the mask is 1, and the others."""
    for i in range(n):
        value = _read_diagonal(work, k + i)
        kept = value * _read_diagonal(masks, first_mask + i)
        _write_total(work, near + i, at(work, near + i) + kept)
        _write_total(work, far + i, at(work, far + i) + (value - kept))


@njit(fastmath=_FLOAT)
@no_type_check
def fold_rows(work, first, rows, stride):
    """Add the rows of a window up in the first of them."""
    for row in range(1, rows):
        for i in range(first, first + stride):
            _write_first(work, i, at(work, i) + _read_others(work, i + row * stride))
