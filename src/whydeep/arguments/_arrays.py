"""Kinds of arrays: anything that holds real numbers becomes float64, or is refused in words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from numbers import Real
from typing import Any, NoReturn

import numpy as np

from whydeep.arguments._say import kind_of, shown
from whydeep.errors import InputError

__all__ = ["array", "as_array", "as_numbers", "as_told"]

_NEEDED = "finite real numbers"


def array(
    *,
    dims: int | tuple[int, ...] | None = None,
    needed: str = "",
    empty: bool = False,
    least: float | None = None,
    cause: str = "",
) -> Callable[[str, Any], np.ndarray]:
    """The kind of arrays of finite real numbers, as float64.

    Args:
        dims: how many dimensions it may have; any number unless given.
        needed: what it is, in words.
        empty: whether it may hold no numbers.
        least: the smallest number that it may hold.
        cause: of numbers that are not finite, if it is likely always the same.
    """
    allowed = (dims,) if isinstance(dims, int) else dims
    if not needed:
        needed = _NEEDED if allowed is None else f"{_NEEDED}, {_dimensions(allowed)}"
        needed += "" if least is None else f", all >= {least:g}"

    def check(name: str, value: Any) -> np.ndarray:
        found = as_numbers(name, value, needed)
        if allowed is not None and found.ndim not in allowed:
            said = shown(value) if found.ndim == 0 else f"shape {found.shape}"
            raise InputError(f"{name} has {_dimensions((found.ndim,))}.", received=said,
                             needed=needed)  # fmt: skip
        if not found.size and not empty:
            raise InputError(f"{name} is empty.", received=f"shape {found.shape}", needed=needed)
        finite = np.isfinite(found)
        if not finite.all():
            _refuse_one(name, found, ~finite, "has numbers that are not finite", needed, cause)
        if least is not None and found.size and found.min() < least:
            _refuse_one(name, found, found < least, "has numbers out of range", needed)
        return found

    return check


def _dimensions(allowed: tuple[int, ...]) -> str:
    count = " or ".join("no" if n == 0 else str(n) for n in allowed)
    return f"{count} dimension{'' if allowed == (1,) else 's'}"


def _refuse_one(
    name: str, found: np.ndarray, bad: np.ndarray, problem: str, needed: str, cause: str = ""
) -> NoReturn:
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    where = f"{name}[{', '.join(map(str, place))}]" if place else name
    raise InputError(
        f"{name} {problem}.",
        received=f"{int(bad.sum())} such of {found.size}; the first is {where} = {found[place]} "
        "(counting from 0)",
        needed=needed,
        cause=cause,
    )


def as_numbers(name: str, x: Any, needed: str = _NEEDED) -> np.ndarray:
    """Anything that holds numbers as a float64 array of any shape; whole numbers are numbers.

    Raises:
        InputError: masked entries, a sparse matrix, rows of different lengths, complex numbers,
            dates, texts, objects: whatever can't become float64 without loss.
    """
    found = as_array(name, x, needed)
    if found.dtype.kind not in "biuf" and (found.size or found.dtype.kind != "O"):
        found = _converted(found, x, name, needed)
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite
        return found.astype(np.float64, copy=False)


def as_array(name: str, x: Any, needed: str = _NEEDED) -> np.ndarray:
    """Anything that NumPy makes an array of, of any type; nothing masked, sparse or ragged."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise InputError(
            f"{name} has masked entries.",
            received=f"{np.ma.count_masked(x)} of {x.size} masked",
            needed=needed,
            suggestion="fill the gaps, x.filled(value), or leave those rows out",
        )
    if callable(getattr(x, "toarray", None)) and not hasattr(x, "__array__"):
        raise InputError(
            f"{name} is a sparse matrix.",
            received=kind_of(x),
            needed=needed,
            suggestion=f"{name}.toarray()",
        )
    try:
        return np.asarray(x)
    except Exception as error:  # noqa: BLE001 (every library has its own way of saying no)
        _refuse_unreadable(x, name, needed, error)


def as_told(name: str, x: Any, needed: str = "an array") -> Any:
    """An array, or what tells of one by its `shape` and `dtype`; anything else made an array of."""
    return x if isinstance(getattr(x, "shape", None), tuple) else as_array(name, x, needed)


def _refuse_unreadable(x: Any, name: str, needed: str, error: Exception) -> NoReturn:
    """An `InputError` for what NumPy can't make an array of."""
    cause = next(iter(str(error).splitlines()), "") or type(error).__name__
    suggestion = f"numpy.asarray({name}) must work"
    if isinstance(x, (list, tuple)):
        lengths = [len(row) if hasattr(row, "__len__") else None for row in x]
        odd = next((i for i, length in enumerate(lengths) if length != lengths[0]), None)
        if odd is not None:
            said = ["a single number" if k is None else f"{k} numbers" for k in lengths]
            raise InputError(
                f"The rows of {name} have different lengths.",
                received=f"row 0 has {said[0]}, row {odd} has {said[odd]} (counting from 0)",
                needed=needed,
            ) from error
    if type(x).__module__.split(".")[0] == "torch":
        suggestion = f"{name}.detach().cpu().float()"
    elif "Tracer" in type(error).__name__:
        cause = "it is traced by a JAX transformation (jit, vmap, grad): its values are not known"
        suggestion = "call this function outside the transformation"
    raise InputError(
        f"{name} can't be read as an array.",
        received=kind_of(x),
        needed=needed,
        cause=cause[:200],
        suggestion=suggestion,
    ) from error


def _converted(found: np.ndarray, x: Any, name: str, needed: str) -> np.ndarray:
    """Arrays of other types than bool, int and float: converted without loss, or refused."""
    if found.dtype.kind == "c":
        raise InputError(
            f"{name} is complex.",
            received=f"{found.dtype}, shape {found.shape}",
            needed=needed,
            suggestion=f"{name}.real if the imaginary part means nothing, "
            f"numpy.hstack([{name}.real, {name}.imag]) if it does",
        )
    if found.dtype.kind == "V" and np.can_cast(found.dtype, np.float64):
        return found.astype(np.float64)  # bfloat16 and its kin
    cause, suggestion = "", ""
    if found.dtype.kind == "O" and found.ndim:
        flat = found.ravel()
        first = next((i for i, v in enumerate(flat) if not isinstance(v, Real)), None)
        if first is None:
            try:
                return found.astype(np.float64)  # whole numbers too large for int64, fractions
            except OverflowError:
                cause = "some are too large for a float (beyond 1.8e308)"
        else:
            where = ", ".join(str(int(i)) for i in np.unravel_index(first, found.shape))
            cause = f"{name}[{where}] is {shown(flat[first])} (positions count from 0)"
        columns = getattr(x, "columns", None)
        if columns is not None and first is not None and found.ndim == 2:
            column = columns[first % found.shape[1]]
            suggestion = f"{name}.select_dtypes('number').dropna(), or mend column {column!r}"
    elif isinstance(x, str):
        cause = "it is a text"
        suggestion = f"x, y = whydeep.data.load({shown(x)})"
    elif found.dtype.kind in "US":
        cause, suggestion = _of_texts(name, found)
    elif found.dtype.kind in "Mm" or isinstance(x, (dt.date, dt.timedelta)):
        suggestion = "make numbers of the dates: days since the first, for instance"
    raise InputError(
        f"{name} does not hold numbers.",
        received=f"{kind_of(x)}, as an array: dtype {found.dtype}, shape {found.shape}",
        needed=needed,
        cause=cause,
        suggestion=suggestion,
    )


def _of_texts(name: str, texts: np.ndarray) -> tuple[str, str]:
    """The cause and the way out where an array holds texts: numbers in writing, or classes."""
    try:
        texts.astype(np.float64)
    except ValueError:
        if name.startswith("y"):
            return "they are texts", (
                f"numpy.unique({name}, return_inverse=True)[1] numbers the classes; "
                "a classifier (whydeep.NNGPClassifier) takes them as they are"
            )
    said = "they are texts, even where they look like numbers"
    return said, f"numpy.asarray({name}, dtype=float)"
