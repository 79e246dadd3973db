"""Strided convolutions as plain ones, so that their derivatives are plain convolutions too.

The derivative of a convolution of stride s with respect to what it takes is a convolution of an
array that is mostly zeros, which XLA multiplies on a CPU like any others. With the s x s phases of
the input beside its channels the stride is one.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["convolved", "strided"]


def strided(options: dict[str, Any]) -> bool:
    """Whether a convolution has strides and nothing else that is special."""
    return (
        max(options["window_strides"], default=1) > 1
        and len(options["window_strides"]) <= 3
        and set(options["lhs_dilation"]) <= {1}
        and set(options["rhs_dilation"]) <= {1}
        and options["feature_group_count"] == options["batch_group_count"] == 1
    )


def convolved(value: Any, kernel: Any, options: dict[str, Any]) -> Any:
    """The same numbers as ``conv_general_dilated``, up to roundings."""
    numbers, strides = options["dimension_numbers"], options["window_strides"]
    value, kernel = value.transpose(numbers.lhs_spec), kernel.transpose(numbers.rhs_spec)
    sizes = kernel.shape[2:]
    counts = [
        (n + low + high - k) // s + 1
        for n, (low, high), k, s in zip(
            value.shape[2:], options["padding"], sizes, strides, strict=True
        )
    ]
    reach = [math.ceil(k / s) for k, s in zip(sizes, strides, strict=True)]
    # As many rows as the phases of all windows take: some at the end are met by zeros only.
    rows = [(c + r - 1) * s for c, r, s in zip(counts, reach, strides, strict=True)]
    margins = [
        (low, full - n - low, 0)
        for n, full, (low, _) in zip(value.shape[2:], rows, options["padding"], strict=True)
    ]
    value = _phases(value, margins, strides)
    ends = [(0, r * s - k, 0) for r, s, k in zip(reach, strides, sizes, strict=True)]
    kernel = _phases(kernel, ends, strides)
    dims = "HWD"[: len(sizes)]
    found = jax.lax.conv_general_dilated(
        value, jnp.moveaxis(kernel, 0, -1), (1,) * len(sizes), "VALID",
        dimension_numbers=(f"N{dims}C", f"{dims}IO", f"N{dims}C"), precision=options["precision"],
        preferred_element_type=options["preferred_element_type"],
    )  # fmt: skip
    back = [0, len(sizes) + 1, *range(1, len(sizes) + 1)]  # to (batch, channels, *positions)
    order = sorted(range(len(back)), key=lambda axis: numbers.out_spec[axis])
    return found.transpose([back[axis] for axis in order])


def _phases(array: Any, margins: list[Any], strides: Any) -> Any:
    """(A, B, *n) to (A, *n / s, s * ... * B)."""
    zero = jnp.zeros((), array.dtype)
    array = jax.lax.pad(array, zero, [(0, 0, 0), (0, 0, 0), *margins])
    sizes = array.shape[2:]
    split = [k for n, s in zip(sizes, strides, strict=True) for k in (n // s, s)]
    array = array.reshape(*array.shape[:2], *split)
    dims = len(sizes)
    outer, inner = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
    array = array.transpose(0, *outer, *inner, 1)
    return array.reshape(array.shape[0], *array.shape[1 : 1 + dims], -1)
