"""How the parameters of a PyTorch module are drawn: read off its classes, its numbers or its user.

The rule of every class of ``torch.nn`` is known exactly (most are uniform, and their variance is
not 1/fan_in). It is believed where the numbers do not exclude it; what is constant is constant;
other numbers are measured, provided that they look like independent ones of mean zero (see
`_laws`). Whatever is read off one module's numbers keeps the error that so many numbers leave. The
user's constructor, called again and again, gives as many numbers as are needed.

Source: the classes' ``reset_parameters``.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from whydeep.errors import InputError, UnsupportedError
from whydeep.network._checks import check_number
from whydeep.network._laws import (
    Law,
    NoLaw,
    expected_law,
    fixed_law,
    independent_law,
    orthogonal_law,
)
from whydeep.network.torch_reader._draws import drawn_by_function, numbers_of, rounding_of

__all__ = ["Init", "Laws", "read_laws", "reinitialise", "require_torch"]

Init = Mapping[str, float] | Callable[[Any], Any] | None


def require_torch() -> Any:
    """PyTorch, or an error that says how to get it."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise UnsupportedError(
            "PyTorch is not installed, so its modules can't be read.",
            needed="torch",
            suggestion="pip install torch, or pip install 'whydeep[torch]'",
        ) from error
    return torch


def read_laws(
    module: Any, init: Init = None, *, draws: Mapping[str, np.ndarray] | None = None
) -> Laws:
    """The law of every parameter of a ``torch.nn.Module``, by name.

    Args:
        module: it is not changed.
        init: variances by name or by a pattern of names (``"*.bias"``), or a function that
            initialises a module, or None.
        draws: numbers ``(draws, *shape)`` of every parameter from calls of a constructor.

    Raises:
        InputError: numbers that no law explains; a pattern that matches no name; a function that
            changes nothing.
    """
    return Laws(module, init, draws)


class Laws(Mapping[str, Law]):
    """Laws by name, read when they are asked for: what a network does not use need not have one."""

    def __init__(
        self, module: Any, init: Init, draws: Mapping[str, np.ndarray] | None = None
    ) -> None:
        self._module = module
        self._parameters = dict(module.named_parameters())
        self._known: dict[str, Law] = {}
        self._draws = {} if draws is None else dict(draws)
        self._origin = "numbers" if draws is None else "factory"
        self._drawn = dict.fromkeys(self._draws, self._origin)
        if isinstance(init, Mapping):
            self._known = _given(init, list(self._parameters))
        elif init is not None:
            found = drawn_by_function(module, init)
            self._draws |= found
            self._drawn |= dict.fromkeys(found, "function")

    def __getitem__(self, name: str) -> Law:
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    def _read(self, name: str) -> Law:
        origin = self._drawn.get(name, "numbers")
        parameter = self._parameters[name]
        draws = self._draws[name] if name in self._draws else numbers_of(parameter)[None]
        whole = draws[0] if draws[0].shape == tuple(parameter.shape) else numbers_of(parameter)
        draws = _without_padding(self._module, name, draws.astype(np.float64))
        fixed = fixed_law(draws, origin=origin)
        rule = class_rule(self._module, name)
        if rule is not None and (fixed is None or rule.variance == 0):
            found = expected_law(draws, rule, rounding_of(parameter))
            if found is not None:
                return found
        if fixed is not None:
            return fixed
        if parameter.ndim > 1:
            found = orthogonal_law(whole.astype(np.float64), origin=origin)
            if found is not None:
                return found
        try:
            return independent_law(draws, _simple(_fans(self._module, name)), origin=origin)
        except NoLaw as why:
            raise _unexplained(name, draws, str(why), origin) from None


def _unexplained(name: str, draws: np.ndarray, why: str, origin: str) -> InputError:
    who = {"numbers": "its numbers", "factory": "the factory's modules", "function": "init's draws"}
    return InputError(
        f"How {name} is initialised can't be read off {who[origin]}: {why}.",
        received=f"{draws.size} numbers of mean {draws.mean():.3g} and variance {draws.var():.3g}",
        needed="independent numbers of mean zero and one variance, or equal ones"
        + (", enough to tell" if origin == "numbers" else ""),
        cause="it may have been trained, or set by hand" if origin == "numbers" else "",
        suggestion=f'init={{"{name}": variance}}'
        + (
            "; or from_torch(factory, example), where factory() gives a fresh module"
            if origin == "numbers"
            else ""
        ),
    )


def reinitialise(module: Any) -> None:
    """Draw a module's numbers again, in place, by the rules of its classes."""
    for part in _innermost_first(module):
        for name in ("reset_parameters", "_reset_parameters"):
            if callable(getattr(part, name, None)):
                getattr(part, name)()
                break


def _innermost_first(module: Any) -> Iterator[Any]:
    # As constructors do: a container may overrule what its parts have drawn.
    for child in module.children():
        yield from _innermost_first(child)
    yield module


def _without_padding(module: Any, name: str, draws: np.ndarray) -> np.ndarray:
    """The rows of an embedding but that of its padding, which is zero."""
    from torch import nn

    owner = module.get_submodule(name.rpartition(".")[0])
    row = owner.padding_idx if isinstance(owner, nn.Embedding) else None
    if row is None or draws.shape[1] != owner.num_embeddings or np.any(draws[:, row]):
        return draws
    return np.delete(draws, row, axis=1)


# -- the rules of torch.nn -------------------------------------------------------------------------


def class_rule(module: Any, name: str) -> Law | None:
    """The law that the class of a parameter's module draws it by."""
    from torch import nn

    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    parent = module.get_submodule(path.rpartition(".")[0]) if path else None
    shape = tuple(getattr(owner, leaf).shape)
    if len(shape) > 1 and any(isinstance(m, nn.Transformer) for m in _above(module, path)):
        return _xavier(shape)
    if isinstance(owner, nn.MultiheadAttention):
        return _attention_rule(leaf, shape)
    if leaf == "bias" and isinstance(parent, nn.MultiheadAttention):
        return Law(0.0, text="zeros")  # of its output layer
    kind = _plain(owner, nn)
    return None if kind is None else _layer_rule(owner, kind, leaf)


def _layer_rule(owner: Any, kind: type, leaf: str) -> Law:
    from torch import nn

    if issubclass(kind, nn.Embedding):
        return Law(1.0, text="normal")
    if issubclass(kind, nn.RNNBase):
        return _uniform(1.0 / math.sqrt(owner.hidden_size), "uniform within 1/sqrt(hidden_size)")
    if issubclass(kind, (nn.Linear, nn.modules.conv._ConvNd)):  # noqa: SLF001 -- conv's base class
        fan_in = math.prod(owner.weight.shape[1:])
        return _uniform(1.0 / math.sqrt(fan_in), "uniform within 1/sqrt(fan_in)")
    value = owner.init if issubclass(kind, nn.PReLU) else float(leaf == "weight")
    return Law(0.0, value, text=f"{value:g}")


def _plain(owner: Any, nn: Any) -> type | None:
    """The class of torch.nn whose rule an object follows, if no subclass has changed it."""
    norms = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)  # noqa: SLF001
    convolution = nn.modules.conv._ConvNd  # noqa: SLF001 -- the base class has no public name
    for kind in (nn.Linear, convolution, nn.Embedding, nn.RNNBase, nn.PReLU, *norms):
        if isinstance(owner, kind):
            same = type(owner).reset_parameters is kind.reset_parameters
            return kind if same else None
    return None


def _attention_rule(leaf: str, shape: tuple[int, ...]) -> Law | None:
    if leaf == "in_proj_bias":
        return Law(0.0, text="zeros")
    if len(shape) != 2 or leaf.startswith("bias"):
        return None
    return _xavier(shape)


def _xavier(shape: tuple[int, ...]) -> Law:
    window = math.prod(shape[2:])
    return _uniform(math.sqrt(6.0 / (window * (shape[0] + shape[1]))), "Xavier uniform")


def _above(module: Any, path: str) -> Iterator[Any]:
    """A module and the parts of it on the way to a path."""
    names = path.split(".") if path else []
    return (module.get_submodule(".".join(names[:i])) for i in range(len(names) + 1))


def _uniform(bound: float, text: str) -> Law:
    return Law(bound**2 / 3.0, bound=bound, text=text, family="uniform")


# -- simple rules ----------------------------------------------------------------------------------


def _simple(fans: tuple[int, int] | None) -> list[tuple[float, str]]:
    rules = [(s * s, f"standard deviation {s:g}") for s in (1.0, 0.1, 0.05, 0.02, 0.01, 1e-3)]
    if fans is None:
        return rules
    fan_in, fan_out = fans
    for gain, name in ((1.0, "1"), (2.0, "2"), (1.0 / 3.0, "1/3"), (25.0 / 9.0, "25/9")):
        counts = (fan_in, fan_out, (fan_in + fan_out) / 2.0)
        rules += [(gain / n, f"{name} / {n:g}") for n in counts]
    return rules


def _fans(module: Any, name: str) -> tuple[int, int] | None:
    """``(fan_in, fan_out)`` as ``torch.nn.init`` counts them."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    weight = getattr(owner, leaf)
    if weight.ndim < 2:
        weight = getattr(owner, "weight", None)
    if weight is None or weight.ndim < 2:
        return None
    window = math.prod(weight.shape[2:])
    return weight.shape[1] * window, weight.shape[0] * window


# -- what the user says ----------------------------------------------------------------------------


def _given(init: Mapping[str, float], names: list[str]) -> dict[str, Law]:
    out: dict[str, Law] = {}
    for pattern, value in init.items():
        found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            raise InputError(
                "init names a parameter that the module does not have.",
                received=repr(pattern),
                needed="a pattern that matches one of "
                + ", ".join(names[:8])
                + (f", ... ({len(names)} in all)" if len(names) > 8 else ""),
            )
        variance = check_number(f"init[{pattern!r}]", value)
        out |= {name: Law(variance, origin="given", text="given") for name in found}
    return out
