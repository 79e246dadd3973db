"""Draws of parameters: from a module's constructor, or from a function that initialises it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from whydeep.errors import InputError
from whydeep.network.torch_reader._seed import seeded

__all__ = [
    "copied",
    "drawn_by_function",
    "fresh",
    "numbers_of",
    "rounding_of",
    "sampled",
]

_MOST_NUMBERS = 2**23
# What initialisations are measured on: numbers a parameter, calls, and numbers of all together.
_NUMBERS, _CALLS, _TOTAL = 400_000, (2, 400), 20_000_000
_ROUNDING = 2.0**-22


def rounding_of(parameter: Any) -> float:
    """Relative error of a parameter's numbers: that of its type."""
    import torch

    kind = parameter.dtype
    return max(_ROUNDING, torch.finfo(kind).eps) if kind.is_floating_point else _ROUNDING


def numbers_of(parameter: Any, most: int = _MOST_NUMBERS) -> np.ndarray:
    """A parameter's numbers; of a very large one, rows from all over it."""
    table = parameter.detach()
    step = max(1, table.numel() // most)
    some = (table[::step] if step > 1 and len(table) > 64 * step else table).cpu()
    return (some if some.element_size() >= 4 else some.float()).numpy()


def copied(module: Any) -> Any:
    """A copy that can be drawn into.

    Raises:
        InputError: the module can't be copied.
    """
    try:
        return copy.deepcopy(module)
    except Exception as error:
        raise InputError(
            "The module can't be copied, so it can't be drawn again.",
            received=f"{type(module).__name__}: {type(error).__name__}: "
            f"{(str(error).splitlines() or [''])[0][:200]}",
            needed="a module that copy.deepcopy takes, or its constructor",
            cause="it holds a tensor that was computed from its parameters, or an open resource",
            suggestion="from_torch(factory, example), where factory() gives a fresh module; or "
            "compute that tensor in forward",
        ) from error


def fresh(factory: Callable[[], Any]) -> Any:
    """One module of a constructor.

    Raises:
        InputError: it fails, or gives something else.
    """
    import torch

    needed = "a callable without arguments that returns a fresh torch.nn.Module at each call"
    try:
        module = factory()
    except Exception as error:
        raise InputError(
            "The factory can't be called.",
            received=f"{_name(factory)}: {type(error).__name__}: "
            f"{(str(error).splitlines() or [''])[0][:200]}",
            needed=needed,
            cause="its constructor takes arguments" if isinstance(error, TypeError) else "",
            suggestion="from_torch(lambda: Model(arguments), example)",
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise InputError(
            "The factory gives no module.",
            received=f"{_name(factory)}() is of type {type(module).__name__}",
            needed=needed,
            suggestion="from_torch(lambda: Model(), example), or from_torch(module, example)",
        )
    return module


def sampled(first: Any, factory: Callable[[], Any]) -> dict[str, np.ndarray]:
    """Numbers ``(draws, *shape)`` of every parameter, from a constructor called again and again.

    Args:
        first: a module that it gave, whose numbers do not count.
        factory: within `seeded`.

    Raises:
        InputError: the same module, or other parameters, at each call; numbers that never change.

    Accuracy: about 400,000 numbers a parameter, or 400 calls, or two calls of a large module:
        variances of independent numbers have a standard error of sqrt(2 / numbers).
    """
    shapes = {name: tuple(p.shape) for name, p in first.named_parameters()}
    sizes = [p.numel() for p in first.parameters() if p.numel()]
    if not sizes:
        return {}
    calls = min(_CALLS[1], math.ceil(_NUMBERS / min(sizes)), _TOTAL // sum(sizes))
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in shapes}
    for _ in range(max(_CALLS[0], calls)):
        module = fresh(factory)
        if module is first:
            raise InputError(
                "The factory gives the same module again.",
                received=f"{_name(factory)}() is the module that it gave before",
                needed="a fresh module at each call",
                suggestion="construct the module inside the factory",
            )
        found = dict(module.named_parameters())
        if {name: tuple(p.shape) for name, p in found.items()} != shapes:
            raise InputError(
                "The factory gives other parameters at each call.",
                received=f"{len(found)} parameters, {len(shapes)} before, or of other shapes",
                needed="modules of one structure",
            )
        _keep(found, drawn)
    out = {name: np.stack(parts) for name, parts in drawn.items()}
    vary = [n for n, a in out.items() if a.size and np.any(a[0] != a[0].flat[0])]
    if vary and all(np.array_equal(out[name][0], out[name][1]) for name in vary):
        raise InputError(
            "The factory draws the same numbers at each call.",
            received=f"equal numbers of {vary[0]} from two calls",
            needed="other random numbers at each call",
            cause="it sets a random seed, or loads stored weights",
            suggestion="a factory that constructs the module and does nothing else",
        )
    return out


def _keep(found: Mapping[str, Any], drawn: dict[str, list[np.ndarray]]) -> None:
    for name, parameter in found.items():
        kept = drawn[name]
        if len(kept) < _CALLS[0] or sum(k.size for k in kept) < _NUMBERS:
            kept.append(numbers_of(parameter, _NUMBERS).copy())


def drawn_by_function(module: Any, init: Callable[[Any], Any]) -> dict[str, np.ndarray]:
    """The same of a copy that `init` initialises, in place; what it does not touch is left out."""
    with seeded(0):
        work = copied(module)
        before = {name: numbers_of(p).copy() for name, p in work.named_parameters()}
        init(work)
        touched = [
            n for n, p in work.named_parameters() if not np.array_equal(numbers_of(p), before[n])
        ]
        # What is set to the numbers it had (zeros, say) is the same by either reading.
        if not touched:
            raise InputError(
                "init changes no parameter.",
                received=repr(init)[:80],
                needed="a function that initialises the whole module it is given, in place",
                cause="a function for single layers has to be applied to each",
                suggestion="init=lambda module: module.apply(function)",
            )
        drawn: dict[str, list[np.ndarray]] = {name: [] for name in touched}
        smallest = min(before[name].size for name in touched)
        for _ in range(min(_CALLS[1], max(_CALLS[0], math.ceil(_NUMBERS / smallest)))):
            init(work)
            found = dict(work.named_parameters())
            _keep({name: found[name] for name in touched}, drawn)
    out = {name: np.stack(parts) for name, parts in drawn.items()}
    for name, numbers in out.items():
        if np.any(numbers != numbers.flat[0]) and np.array_equal(numbers[0], numbers[1]):
            raise InputError(
                f"init does not draw {name} as independent numbers of mean zero.",
                received=f"the same numbers at each call, of variance {numbers.var():.3g}",
                needed="other numbers at each call, or equal ones",
                cause="it sets a random seed",
            )
    return out


def _name(factory: Any) -> str:
    return getattr(factory, "__qualname__", type(factory).__name__)
