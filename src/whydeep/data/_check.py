"""The check at the public boundary: anything that holds numbers becomes a float64 matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from whydeep.arguments import anything, array, as_array, as_numbers, shown, takes, text
from whydeep.errors import InputError

__all__ = ["BATCH", "INPUTS", "LABELS", "check_inputs"]

_NEEDED = "a matrix of finite real numbers, (inputs, n_0): one row an input"


@takes(x=anything, name=text)
def check_inputs(x: Any, *, name: str = "x") -> np.ndarray:
    """Inputs as a float64 matrix (N, n_0), or an error that says what is wrong with them.

    Args:
        x: N inputs of n_0 numbers each: a list of rows, an array of NumPy, JAX or PyTorch, a
            pandas DataFrame or an xarray DataArray. Whole numbers and booleans are numbers.
        name: what the errors call it.

    Returns:
        (N, n_0), float64, N >= 1 and n_0 >= 1, all finite. A float64 NumPy array comes back
        itself, not a copy.

    Raises:
        InputError: NaN or infinite numbers, no rows or no columns, another number of dimensions
            than two, rows of different lengths, masked entries, complex numbers, anything that
            is not a number.

    Cost: one pass over the data.

    Example:
        >>> check_inputs([[1, 2], [3, 4]])
        array([[1., 2.],
               [3., 4.]])
        >>> check_inputs([1.0, 2.0], name="x_test")
        Traceback (most recent call last):
            ...
        whydeep.errors.InputError: x_test has one dimension, and inputs have two.
          received: shape (2,)
          needed:   a matrix of finite real numbers, (inputs, n_0): one row an input
          try:      [x_test] if it is one input of 2 numbers, ...
    """
    array = as_numbers(name, x, _NEEDED)
    _check_shape(array, x, name)
    _check_finite(array, name)
    return array


def _check_shape(array: np.ndarray, x: Any, name: str) -> None:
    shape = array.shape
    if array.ndim == 2 and array.size:
        return
    if array.ndim == 1 and array.size:
        n = shape[0]
        as_row, as_column = f"{name}[None]", f"{name}[:, None]"
        if isinstance(x, (list, tuple)):
            as_row, as_column = f"[{name}]", f"[[number] for number in {name}]"
        raise InputError(
            f"{name} has one dimension, and inputs have two.",
            received=f"shape {shape}",
            needed=_NEEDED,
            suggestion=f"{as_row} if it is one input of {_count(n, 'number')}, "
            f"{as_column} if it is {_count(n, 'input')} of one number",
        )
    if array.ndim != 2 and array.size and array.ndim:
        raise InputError(
            f"{name} has {array.ndim} dimensions, and inputs have two.",
            received=f"shape {shape}",
            needed=_NEEDED,
            cause="images or sequences, not yet flattened",
            suggestion=f"{name}.reshape({shape[0]}, {array.size // shape[0]})",
        )
    if array.ndim:
        raise InputError(f"{name} is empty.", received=f"shape {shape}", needed=_NEEDED)
    raise InputError(
        f"{name} is a single number, not a set of inputs.",
        received=shown(x),
        needed=_NEEDED,
        suggestion=f"[[{name}]] for one input of one number",
    )


def _check_finite(array: np.ndarray, name: str) -> None:
    bad = ~np.isfinite(array)
    if not bad.any():
        return
    nan = int(np.isnan(array).sum())
    infinite = int(bad.sum()) - nan
    found = [f"{nan} NaN"] * bool(nan) + [f"{infinite} infinite"] * bool(infinite)
    row, column = (int(i) for i in np.argwhere(bad)[0])
    rows = int(bad.any(axis=1).sum())
    raise InputError(
        f"{name} has numbers that are not finite.",
        received=f"{' and '.join(found)} of {array.size} numbers, in {_count(rows, 'row')}; "
        f"the first is {name}[{row}, {column}] = {array[row, column]} (counting from 0)",
        needed=_NEEDED,
        cause="missing values" if nan else "an overflow or a division by zero",
        suggestion=f"{name}[numpy.isfinite({name}).all(axis=1)] leaves those rows out",
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def INPUTS(name: str, x: Any) -> np.ndarray:
    """The kind of arguments that are inputs, one row each."""
    return check_inputs(x, name=name)


LABELS = array(dims=(1, 2), needed="(N,) or (N, C) finite numbers")
"""The kind of labels and targets: a number, or a row of C numbers, for each input."""


def BATCH(name: str, x: Any) -> np.ndarray:
    """The kind of inputs that may be images or sequences: (N, *positions, channels).

    Whole numbers stay whole, as they may be tokens.
    """
    found = as_array(name, x, _NEEDED)
    if found.ndim < 3 or not found.size or found.dtype.kind not in "biuf":
        checked = check_inputs(x, name=name)
        return found if found.dtype.kind in "biu" else checked
    return check_inputs(found.reshape(len(found), -1), name=name).reshape(found.shape)
