"""A short representation of results, for a prompt or a notebook.

A result holds arrays, rows and networks; what a prompt shows of them is their names and shapes, in
a few lines whatever the size. ``print`` shows tables where there are some, attributes the numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

__all__ = ["brief"]

_WORD, _WHOLE, _FEW = 72, 480, 6


def brief(self: Any) -> str:
    """The ``__repr__`` of a dataclass with fields that may be large: at most some 500 characters.

    Example:
        >>> import numpy as np
        >>> @dataclasses.dataclass(frozen=True)
        ... class Result:
        ...     mean: np.ndarray
        ...     noise: float
        ...     __repr__ = brief
        >>> Result(np.zeros((20, 3)), 0.1)
        <Result: mean=array(20, 3), noise=0.1>
    """
    parts, length = [], 0
    for field in dataclasses.fields(self):
        if field.repr:
            part = f"{field.name}={_shown(getattr(self, field.name, None))}"
            length += len(part) + 2
            if length > _WHOLE:
                parts.append("...")
                break
            parts.append(part)
    return f"<{type(self).__name__}: {', '.join(parts)}>"


def _shown(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and len(shape) > 0:
        return f"array{shape}".replace(",)", ")")
    if isinstance(value, Mapping):
        return "{" + _listed([str(key) for key in value]) + "}"
    if isinstance(value, tuple | list | set | frozenset):
        return _several(value)
    if isinstance(value, float) or (shape == () and hasattr(value, "dtype")):
        return _cut(f"{value:.6g}" if not isinstance(value, complex) else str(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = type(value).__repr__
        return _cut(repr(value)) if own is not brief else f"<{type(value).__name__}>"
    return _cut(repr(value))


def _several(value: Any) -> str:
    kinds = {type(one) for one in value}
    if all(kind in (int, float, bool, str, type(None)) for kind in kinds) and len(value) <= _FEW:
        return "(" + _listed([_shown(one) for one in value]) + ")"
    names = " or ".join(sorted(kind.__name__ for kind in kinds)[:3])
    return f"{len(value)} of {names}" if value else "()"


def _listed(words: list[str]) -> str:
    shown = words if len(words) <= _FEW else [*words[: _FEW - 1], f"{len(words)} in all"]
    return ", ".join(_cut(word) for word in shown)


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WORD else text[: _WORD - 3] + "..."
