"""Kinds of things that are not numbers or words: objects, functions, several of a kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from whydeep.arguments._say import kind_of, refusal
from whydeep.errors import InputError, WhydeepError

__all__ = [
    "CALLABLE", "TREE", "anything", "called", "each", "either", "instance", "is_single", "named",
    "one_or_each", "optional", "or_word",
]  # fmt: skip

_MOST = 1_000_000


def anything(name: str, value: Any) -> Any:
    """The kind of what a function reads for itself: a pytree of parameters, a user's model."""
    del name
    return value


def _tree(name: str, value: Any) -> Any:
    if isinstance(value, Iterator):
        needed = "a tree (dicts, lists, tuples ...) of arrays of numbers"
        raise refusal(
            name, value, f"{name} is an iterator.", needed,
            cause="it can be read but once", suggestion=f"{name}=list({name})",
        )  # fmt: skip
    return value


# What JAX calls a pytree; what its leaves may be, each function says.
TREE = _tree


def instance(*classes: type, needed: str, suggestion: str = "") -> Callable[[str, Any], Any]:
    """The kind of objects of these classes.

    Args:
        classes: one of which it must be an instance of.
        needed: what they are, in words.
        suggestion: how to come by one.
    """

    def check(name: str, value: Any) -> Any:
        if isinstance(value, classes):
            return value
        what = f"a class, {value.__name__}" if isinstance(value, type) else f"a {kind_of(value)}"
        cause = ""
        if isinstance(value, type) and issubclass(value, classes):
            cause = "it is the class, not one of its objects: brackets are missing"
        problem = f"{name} is {what}."
        raise refusal(name, value, problem, needed, cause=cause, suggestion=suggestion)

    return check


def _callable(name: str, value: Any) -> Callable[..., Any]:
    if callable(value):
        return value
    raise refusal(name, value, f"{name} is not a function.", "a function")


CALLABLE = _callable


def each(
    kind: Callable[[str, Any], Any], *, least: int = 0, exactly: int | None = None
) -> Callable[[str, Any], tuple[Any, ...]]:
    """The kind of several things of one kind, in order: a list, a tuple, an array of one dimension.

    Example:
        >>> from whydeep.arguments import COUNT
        >>> each(COUNT)("widths", [8, 16])
        (8, 16)
    """
    size = "" if exactly is None else f" of {exactly}"
    size = f" of at least {least}" if least and exactly is None else size
    needed = f"a list or tuple{size}"

    def check(name: str, value: Any) -> tuple[Any, ...]:
        if isinstance(value, (str, bytes, dict, set, frozenset)) or not hasattr(value, "__len__"):
            raise refusal(name, value, f"{name} is not a list.", needed)
        try:
            length = len(value)
            items = list(value) if length <= _MOST else []
        except TypeError:  # an array without dimensions
            raise refusal(name, value, f"{name} is not a list.", needed) from None
        if length < least or (exactly is not None and length != exactly) or length > _MOST:
            raise refusal(name, value, f"{name} has {length} entries.", needed)
        return tuple(kind(f"{name}[{number}]", item) for number, item in enumerate(items))

    return check


def named(kind: Callable[[str, Any], Any]) -> Callable[[str, Any], dict[str, Any]]:
    """The kind of dictionaries from names to things of one kind."""

    def check(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise refusal(name, value, f"{name} does not name things.", "{name: ...}")
        return {key: kind(f"{name}[{key!r}]", item) for key, item in value.items()}

    return check


def optional(kind: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """The kind `kind`, or None, where None is not the default."""

    def check(name: str, value: Any) -> Any:
        return None if value is None else kind(name, value)

    return check


def one_or_each(kind: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """The kind of one thing, or of several in order."""
    several = each(kind)

    return either(kind, several, when=is_single)


def is_single(value: Any) -> bool:
    """Whether a value is one thing, not several in order."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        return True
    return getattr(value, "ndim", 1) == 0


def or_word(kind: Callable[[str, Any], Any], *words: str) -> Callable[[str, Any], Any]:
    """The kind `kind`, or one of some words that stand for such a thing."""

    def check(name: str, value: Any) -> Any:
        if isinstance(value, str) and value in words:
            return str(value)
        try:
            return kind(name, value)
        except InputError as error:
            spelled = "".join(f', or "{word}"' for word in words)
            raise InputError(
                error.problem,
                received=error.received,
                needed=error.needed + spelled,
                cause=error.cause,
                suggestion=error.suggestion,
            ) from None

    return check


def either(
    first: Callable[[str, Any], Any],
    second: Callable[[str, Any], Any],
    *,
    when: Callable[[Any], bool],
) -> Callable[[str, Any], Any]:
    """The kind `first` where `when(value)`, else `second`."""

    def check(name: str, value: Any) -> Any:
        return first(name, value) if when(value) else second(name, value)

    return check


@contextmanager
def called(name: str, needed: str = "") -> Iterator[None]:
    """Around a call of a user's function: what it raises becomes an `InputError`, with its cause.

    Args:
        name: of the argument that holds the function.
        needed: what it must take and return.
    """
    try:
        yield
    except WhydeepError:
        raise
    except Exception as error:
        said = next(iter(str(error).splitlines()), "")
        raise InputError(
            f"{name} failed when it was called.",
            received=f"{type(error).__name__}: {said}"[:300],
            needed=needed or f"a function that can be called (see {name} in the documentation)",
            cause="an error inside of it, or other arguments than it takes: see the error above",
        ) from error
