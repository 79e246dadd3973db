"""What a kernel's numbers may be: within reach of their precision, and as exact as they say."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from whydeep.errors import UnsupportedError

__all__ = ["in_range", "refuse_out_of_range", "vanishes", "warn_if_rough"]

_ROUGH = {"float64": 1e-6, "float32": 1e-5}


def vanishes(network: Any, x: np.ndarray, nngp: Any) -> bool:
    """Whether a variance is 0 only because it is too small to be a number."""
    variances = [v for layer in network.layers if (v := getattr(layer, "weight_var", None))]
    if not variances or x.dtype.kind in "iu" or np.ndim(nngp) != 2:
        return False
    rows = x.reshape(len(x), -1)
    lost = (np.diagonal(nngp) == 0.0) & np.any(rows != 0.0, axis=1)
    if not np.any(lost):
        return False
    sizes = np.log10(np.abs(rows[lost]).max(axis=1)) * 2.0
    return bool(np.any(sizes + np.sum(np.log10(variances)) < np.log10(_limits("float64")[0])))


def in_range(parts: list[Any], dtype: str, *, own: bool) -> bool:
    """Whether results are finite and their diagonals are not lost below the smallest numbers.

    Args:
        parts: kernels, the first two axes of inputs.
        dtype: whose range is meant.
        own: whether these are inputs against themselves: then diagonals say what is lost.
    """
    least, most = _limits(dtype)
    for part in parts:
        values = np.asarray(part)
        if not _within(values, most):
            return False
        if own and values.ndim == 2:
            diagonal = np.diagonal(values)
            if np.any((diagonal > 0) & (diagonal < least)):
                return False
    return True


def _within(values: np.ndarray, most: float) -> bool:
    """Whether all sizes are at most the largest number of a precision; NaN are not."""
    if not values.size:
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        if float(np.finfo(values.dtype).max) <= most and np.isfinite(values.sum()):
            return True  # one pass without a copy; a sum of finite numbers may overflow, though
    return bool(values.min() >= -most and values.max() <= most)


def refuse_out_of_range(network: Any, parts: list[Any], dtype: str) -> None:
    """Say why there is no result."""
    least, most = _limits(dtype)
    sizes = [np.abs(np.asarray(part, np.float64)) for part in parts]
    small = all(np.all(size <= most) for size in sizes)
    wider = ' or dtype="float64",' if dtype == "float32" else ""
    raise UnsupportedError(
        f"The kernel of this network is {'smaller' if small else 'larger'} than {dtype} holds.",
        received=repr(network),
        needed=f"variances between {least:.0e} and {most:.0e}, in {dtype}",
        cause="values shrink from layer to layer, or inputs and weight_var are small" if small else
        "values grow from layer to layer, inputs, weight_var or bias_var are large, or a "
        "normalisation divides by zero (eps=0 on an input of zeros)",
        suggestion=f"{'larger' if small else 'smaller'} variances,{wider} or inputs of unit scale",
    )  # fmt: skip


def warn_if_rough(error: float, dtype: str) -> None:
    """A kernel whose stated error is large is not handed over in silence."""
    if error > _ROUGH[dtype]:
        warnings.warn(
            f"This kernel is only known to {error:.1e} of its scale (`.error`). Inputs that nearly "
            "coincide in a deep network with large variances, or a function that is not smooth "
            "where it says so (`kinks=` of a user's own), can be the cause; so can float32.",
            stacklevel=4,
        )


def _limits(dtype: str) -> tuple[float, float]:
    """The smallest number with all its digits, with room for sums below it, and the largest."""
    about = np.finfo(dtype)
    return float(about.tiny) / float(about.eps), float(about.max)
