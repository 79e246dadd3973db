"""Kernels of convolutional networks at infinite width, on a CPU: the fast way where there is one.

    images         K[p, p'] = sum_c x_c(p) x'_c(p') / C       Theta = 0
    convolution    K' = C_b + C_W <K>        Theta' = lambda_b + lambda_W <K> + C_W <Theta>
    activation     K' = E[s s']              Theta' = E[s. s.'] Theta
    pooling        K and Theta averaged over the pairs of positions of two windows

where <K> is the mean of K[p + d, p' + d] over the displacements d of the filter.

Source: Novak et al. 2019; Arora et al. 2019.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from whydeep.errors import InputError, UnsupportedError
from whydeep.theory.infinite._error import Error
from whydeep.theory.infinite.conv._job import means
from whydeep.theory.infinite.conv._layout import Plan, make_plan
from whydeep.theory.infinite.conv._levels import (
    AvgPoolStep,
    ConvStep,
    HomogeneousStep,
    ReadoutStep,
    Step,
)

__all__ = ["AvgPoolStep", "ConvStep", "HomogeneousStep", "ReadoutStep", "conv_kernels"]

# Sizes of inputs whose squares the precision holds, with some room.
_FLOAT32 = (1e-15, 1e15)
_FLOAT64 = (1e-150, 1e150)


def conv_kernels(
    steps: tuple[Step, ...],
    x1: np.ndarray,
    x2: np.ndarray | None = None,
    *,
    ntk: bool = True,
    dtype: Any = np.float64,
) -> tuple[np.ndarray, np.ndarray | None, Error] | None:
    """Kernel and tangent kernel of a chain of convolutions, or None where this way does not apply.

    It applies to filters of odd size and stride 1, positively homogeneous activations of Gaussian
    values, average pooling, and a readout; not to "SAME" and "CIRCULAR" between the same two
    poolings, nor to a circular convolution whose images the next pooling does not divide.

    Args:
        steps: of the network, a `ReadoutStep` at the end.
        x1: images, (N1, H, W, C).
        x2: images, (N2, H, W, C); x1 again if None.
        ntk: whether the tangent kernel is wanted.
        dtype: float64, or float32 for half the time and memory.

    Returns:
        K and Theta, each (N1, N2), and their estimated errors.

    Raises:
        InputError: arrays of other shapes, numbers that are not finite, images smaller than a
            pooling window, or images too large for the memory there is.
        UnsupportedError: the kernel overflows.

    Accuracy: float64 1e-14 and float32 1e-6, relative to sqrt(K_aa K_bb). An image with itself has
    correlation 1 exactly where positions coincide, and equal images are one image. Other positions
    count as one where 1 - |c| is below 4 rounding units, as those of one colour do. Just above, the
    slope of a kinked activation has an error of up to 3e-4 (float32) or 1e-8 (float64), which is
    that of Theta where whole images nearly coincide: the estimate then says so. K does not suffer.

    Cost: all (H W)^2 pairs of positions up to the first pooling; without a pooling, H W of them.
    Memory: results, H W (C + 2 activations) numbers an image, and for each thread the covariance of
    pooled positions: 2 (H W / p^2)^2 numbers after a first pooling by p.

    Source: Novak et al. 2019; Arora et al. 2019, Sec. 4; Cho and Saul 2009.
    """
    dtype = np.dtype(dtype)
    x1 = _checked(x1, "x1")
    x2 = None if x2 is None else _checked(x2, "x2")
    if x2 is not None and x2.shape[1:] != x1.shape[1:]:
        raise InputError(
            "x1 and x2 are images of different shapes.",
            received=f"{x1.shape[1:]} and {x2.shape[1:]}",
        )
    largest = max(float(np.abs(x).max(initial=0.0)) for x in (x1, x2) if x is not None)
    if largest > 0 and not _FLOAT64[0] < largest < _FLOAT64[1]:
        raise InputError(
            "The squares of these inputs are not numbers in float64.",
            received=f"a largest pixel of {largest:.3g}",
            needed=f"one between {_FLOAT64[0]:.0e} and {_FLOAT64[1]:.0e}",
        )
    wide = largest > 0 and not _FLOAT32[0] < largest < _FLOAT32[1]
    working = np.dtype(np.float64) if wide else dtype
    plan = make_plan(tuple(steps), *x1.shape[1:], working.type)
    if plan is None:
        return None
    if x2 is not None and np.array_equal(x1, x2):
        x2 = None
    shape = len(x1), len(x1 if x2 is None else x2)
    if 0 in shape:
        empty = np.zeros(shape, dtype)
        return empty, empty.copy() if ntk else None, Error(0.0, 0.0 if ntk else None)
    found = means(plan, x1, x2, ntk=ntk, dtype=working)
    last = plan.readout
    with np.errstate(over="ignore"):
        nngp = (last.bias_var + last.weight_var * found.nngp).astype(dtype)
        tangent = None
        if found.ntk is not None:
            tangent = last.bias_lr + last.weight_lr * found.nngp + last.weight_var * found.ntk
            tangent = tangent.astype(dtype)
    if not all(np.all(np.isfinite(k)) for k in (nngp, tangent) if k is not None):
        raise UnsupportedError(
            "The kernel of this network overflows.",
            received=f"inputs up to {largest:.3g}, {dtype}",
            suggestion='smaller weight_var and bias_var, inputs of unit scale, or dtype="float64"',
        )
    return nngp, tangent, _error(plan, dtype, found.nearest, ntk=ntk)


def _checked(x: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(x, np.float64)
    if array.ndim != 4 or 0 in array.shape[1:]:
        raise InputError(
            f"{name} is not a set of images.",
            received=f"shape {array.shape}",
            needed="(images, height, width, channels)",
        )
    if not np.all(np.isfinite(array)):
        raise InputError(f"{name} has numbers that are not finite.")
    return array


def _error(plan: Plan, dtype: np.dtype, nearest: float, *, ntk: bool) -> Error:
    """Rounding as measured, with room, and what it does to the slope of a kinked activation.

    The slope varies with c as the angle, so that an error of 1 - c is divided by sqrt(2 (1 - c)),
    up to the angle at which positions count as one. Positions are taken as far apart as images.
    """
    unit = float(np.finfo(dtype).eps)
    rounding = (8 + plan.nonlinear) * unit
    if not ntk:
        return Error(rounding, None)
    distance = max(nearest - 32 * unit, 0.0)  # that of rounded products
    most = math.sqrt(8 * unit) / math.pi
    slope = min(most, unit / math.sqrt(2 * distance)) if distance > 0 else most
    return Error(rounding, rounding + plan.nonlinear * slope)
