"""The check at the public boundary: anything that holds numbers becomes a float64 matrix."""

from __future__ import annotations

from numbers import Real
from typing import Any, NoReturn

import numpy as np

from whydeep.errors import InputError

__all__ = ["check_inputs"]

_NEEDED = "a matrix of finite real numbers, (inputs, n_0): one row an input"


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
    array = _as_array(x, name)
    if array.size and array.dtype.kind not in "biuf":
        array = _as_numbers(array, x, name)
    _check_shape(array, x, name)
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite: refused below
        array = array.astype(np.float64, copy=False)
    _check_finite(array, name)
    return array


def _as_array(x: Any, name: str) -> np.ndarray:
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise InputError(
            f"{name} has masked entries.",
            received=f"{np.ma.count_masked(x)} of {x.size} masked",
            needed=_NEEDED,
            suggestion="fill the gaps, x.filled(value), or leave those rows out",
        )
    if callable(getattr(x, "toarray", None)) and not hasattr(x, "__array__"):
        raise InputError(
            f"{name} is a sparse matrix.",
            received=_kind(x),
            needed=_NEEDED,
            suggestion=f"{name}.toarray()",
        )
    try:
        return np.asarray(x)
    except Exception as error:  # noqa: BLE001 (every library has its own way of saying no)
        _refuse_unreadable(x, name, error)


def _refuse_unreadable(x: Any, name: str, error: Exception) -> NoReturn:
    """An `InputError` for what NumPy can't make an array of."""
    cause = _first_line(error)
    suggestion = f"numpy.asarray({name}) must work"
    if isinstance(x, (list, tuple)):
        lengths = [len(row) if hasattr(row, "__len__") else None for row in x]
        odd = next((i for i, length in enumerate(lengths) if length != lengths[0]), None)
        if odd is not None:
            said = ["a single number" if k is None else f"{k} numbers" for k in lengths]
            raise InputError(
                f"The rows of {name} have different lengths.",
                received=f"row 0 has {said[0]}, row {odd} has {said[odd]} (counting from 0)",
                needed=_NEEDED,
            ) from error
    if type(x).__module__.split(".")[0] == "torch":
        suggestion = f"{name}.detach().cpu().float()"
    elif "Tracer" in type(error).__name__:
        cause = "it is traced by a JAX transformation (jit, vmap, grad): its values are not known"
        suggestion = "call this function outside the transformation"
    raise InputError(
        f"{name} can't be read as an array.",
        received=_kind(x),
        needed=_NEEDED,
        cause=cause,
        suggestion=suggestion,
    ) from error


def _as_numbers(array: np.ndarray, x: Any, name: str) -> np.ndarray:
    """Arrays of other types than bool, int and float: converted without loss, or refused."""
    if array.dtype.kind == "c":
        raise InputError(
            f"{name} is complex.",
            received=f"{array.dtype}, shape {array.shape}",
            needed=_NEEDED,
            suggestion=f"{name}.real if the imaginary part means nothing, "
            f"numpy.hstack([{name}.real, {name}.imag]) if it does",
        )
    if array.dtype.kind == "V" and np.can_cast(array.dtype, np.float64):
        return array.astype(np.float64)  # bfloat16 and its kin
    cause, suggestion = "", ""
    if array.dtype.kind == "O" and array.ndim:
        flat = array.ravel()
        first = next((i for i, v in enumerate(flat) if not isinstance(v, Real)), None)
        if first is None:
            try:
                return array.astype(np.float64)  # whole numbers too large for int64, fractions
            except OverflowError:
                cause = "some are too large for a float (beyond 1.8e308)"
        else:
            where = ", ".join(str(int(i)) for i in np.unravel_index(first, array.shape))
            cause = f"{name}[{where}] is {flat[first]!r} (positions count from 0)"
        columns = getattr(x, "columns", None)
        if columns is not None and first is not None and array.ndim == 2:
            column = columns[first % array.shape[1]]
            suggestion = f"{name}.select_dtypes('number').dropna(), or mend column {column!r}"
    elif isinstance(x, str):
        cause = "it is a text"
        suggestion = f"x, y = whydeep.data.load({x!r})"
    elif array.dtype.kind in "US":
        cause = "they are texts, even where they look like numbers"
        suggestion = f"numpy.asarray({name}, dtype=float)"
    elif array.dtype.kind in "Mm":
        suggestion = "make numbers of the dates: days since the first, for instance"
    raise InputError(
        f"{name} does not hold numbers.",
        received=f"{_kind(x)}, as an array: dtype {array.dtype}, shape {array.shape}",
        needed=_NEEDED,
        cause=cause,
        suggestion=suggestion,
    )


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
        received=repr(x) if isinstance(x, Real) else _kind(x),
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


def _kind(x: Any) -> str:
    kind = type(x)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
