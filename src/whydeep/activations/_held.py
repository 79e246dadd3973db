"""Functions of one variable that are equal, hashed and pickled by what they are made of."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from whydeep.errors import InputError

__all__ = ["Held", "Own"]


@dataclass(frozen=True)
class Held:
    """A function of z whose other arguments are held; two partials are never equal."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __call__(self, z: Any) -> Any:
        return self.function(z, *self.arguments)


@dataclass(frozen=True, eq=False)
class Own:
    """A user's own function; where it has no name in a module, its code is what it is."""

    function: Callable[[Any], Any]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Own):
            return False
        return self.function is other.function or bool(_code(self) == _code(other))

    def __hash__(self) -> int:
        return hash(_code(self)[:1])

    def __call__(self, z: Any) -> Any:
        return self.function(z)

    def __reduce__(self) -> tuple[type[Own], tuple[Any]]:
        return Own, (_portable(self.function),)

    def __deepcopy__(self, memo: Any) -> Own:
        return self


def _code(own: Own) -> tuple[Any, ...]:
    """What a function does: its code, where that stands, and the values it brings along."""
    function: Any = own.function
    code = getattr(function, "__code__", None)
    if code is None or _numbers(function) is None:
        return (function,)
    return code, code.co_filename, function.__module__, _numbers(function)


def _numbers(function: Any) -> Any:
    """Plain numbers and words among the values that a function brings along; else None."""
    try:
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:  # a cell that is still empty
        return None
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    plain = all(isinstance(v, (int, float, str, type(None))) for v in (*defaults, *cells))
    return (tuple(defaults), tuple(cells)) if plain else None


def _portable(function: Any) -> Any:
    if _pickles(function):
        return function
    # What scikit-learn's parallel searches send functions with.
    from joblib import wrap_non_picklable_objects

    by_code = wrap_non_picklable_objects(function, keep_wrapper=False)
    if _pickles(by_code):
        return by_code
    raise InputError(
        "The function of this activation can't be pickled.",
        received=repr(function)[:80],
        needed="a function whose code and whose values from outside can be written to a file",
        cause="it holds something that belongs to this process: a file, a lock, a device's memory",
        suggestion="a function defined at the top of a module, with numbers as arguments",
    )


def _pickles(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 -- whatever a user's object raises
        return False
    return True
