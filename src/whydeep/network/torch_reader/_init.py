"""How the parameters of a PyTorch module are drawn: read off its classes, its numbers or its user.

The rule of every class of ``torch.nn`` is known exactly (most are uniform, and their variance is
not 1/fan_in). The module's own numbers are tested against it. Where they do not fit, the user has
initialised them otherwise: then the user says how, or their variance is measured, provided that
they look like independent numbers of mean zero. Sample variances that agree with a simple rule
(2/fan_in, 0.02^2, ...) within their error are read as that rule.

Source: the classes' ``reset_parameters``; Marchenko and Pastur 1967 and Johnstone 2001 for the
largest singular value of independent entries.
"""

from __future__ import annotations

import copy
import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.errors import InputError, UnsupportedError
from whydeep.network._checks import check_number
from whydeep.network.torch_reader._seed import seeded

__all__ = ["Init", "Law", "read_laws", "reinitialise", "require_torch"]

Init = Mapping[str, float] | Callable[[Any], Any] | None

# A sample that deviates by more standard errors than this does not follow the rule.
_SIGMAS = 5.0
_FEWEST_NUMBERS = 32
_MOST_NUMBERS = 2**23
# What an initialisation given as a function is measured on: numbers a parameter, and calls.
_NUMBERS, _MOST_CALLS = 400_000, 400


@dataclass(frozen=True)
class Law:
    """How one parameter is drawn.

    Args:
        variance: of each of its numbers.
        mean: of each.
        bound: of a uniform law, else None.
        origin: "rule" (of its class), "given" (by the user), "function" (measured on calls of the
            user's function), or "numbers" (measured on the module's own numbers).
        error: standard error of the variance, 0 where it is exact.
        text: the rule in words.
    """

    variance: float
    mean: float = 0.0
    bound: float | None = None
    origin: str = "rule"
    error: float = 0.0
    text: str = ""


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


def read_laws(module: Any, init: Init = None) -> Laws:
    """The law of every parameter of a ``torch.nn.Module``, by name.

    Args:
        module: it is not changed.
        init: variances by name or by a pattern of names (``"*.bias"``), or a function that
            initialises a module, or None.

    Raises:
        InputError: numbers that no rule explains; a pattern that matches no name; a function that
            changes nothing.
    """
    return Laws(module, init)


class Laws(Mapping[str, Law]):
    """Laws by name, read when they are asked for: what a network does not use need not have one."""

    def __init__(self, module: Any, init: Init) -> None:
        self._module = module
        self._parameters = dict(module.named_parameters())
        self._known: dict[str, Law] = {}
        if isinstance(init, Mapping):
            self._known = _given(init, list(self._parameters))
        elif init is not None:
            self._known = _drawn(module, init)

    def __getitem__(self, name: str) -> Law:
        if name not in self._known:
            numbers = _numbers(self._parameters[name])
            self._known[name] = _law(self._module, name, numbers)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)


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


def _numbers(parameter: Any) -> np.ndarray:
    """A parameter's numbers; of a very large one, rows from all over it."""
    table = parameter.detach()
    step = max(1, table.numel() // _MOST_NUMBERS)
    return (table[::step] if step > 1 and len(table) > 64 * step else table).cpu().double().numpy()


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
    return Law(bound**2 / 3.0, bound=bound, text=text)


# -- the module's own numbers ----------------------------------------------------------------------


def _law(module: Any, name: str, numbers: np.ndarray) -> Law:
    rule = class_rule(module, name)
    if rule is not None and _follows(numbers, rule):
        return rule
    return _measured(name, numbers, _fans(module, name))


def _follows(numbers: np.ndarray, law: Law) -> bool:
    """Whether numbers may have been drawn by a law."""
    if law.variance == 0:
        return bool(np.all(numbers == np.float32(law.mean)) or np.all(numbers == law.mean))
    count = numbers.size
    if law.bound is not None and np.abs(numbers).max() > law.bound * (1 + 1e-5):
        return False
    kurtosis = 3.0 if law.bound is None else 1.8
    mean_error = math.sqrt(law.variance / count)
    variance_error = law.variance * math.sqrt((kurtosis - 1.0) / count)
    deviation = abs(np.mean((numbers - law.mean) ** 2) - law.variance)
    near = abs(np.mean(numbers) - law.mean) <= _SIGMAS * mean_error
    # The sample variance of a few numbers is skewed: below 30, it is held to twice the distance.
    return bool(near and deviation <= _SIGMAS * (1 if count >= 30 else 2) * variance_error)


def _measured(name: str, numbers: np.ndarray, fans: tuple[int, int] | None) -> Law:
    first = float(numbers.flat[0]) if numbers.size else 0.0
    if np.all(numbers == first):
        return Law(0.0, first, origin="numbers", text="zeros" if first == 0 else "all equal")
    why = _not_independent(numbers)
    if why:
        raise InputError(
            f"How {name} is initialised can't be read off its numbers: {why}.",
            received=f"{numbers.size} numbers of mean {numbers.mean():.3g} and variance "
            f"{numbers.var():.3g}",
            needed="a module as its constructor makes it, or its initialisation",
            cause="it may have been trained, or set by hand",
            suggestion=f'init={{"{name}": variance}}, or init=a function that initialises a module',
        )
    return _settled(numbers.ravel(), fans, "numbers")


def _not_independent(numbers: np.ndarray) -> str:
    """Why numbers do not look like independent ones of mean zero and one variance, or ""."""
    count = numbers.size
    if count < _FEWEST_NUMBERS:
        return "there are too few"
    variance = float(np.mean(numbers**2))
    kurtosis = float(np.mean(numbers**4)) / variance**2
    if abs(numbers.mean()) > _SIGMAS * math.sqrt(variance / count):
        return "their mean is not zero"
    if kurtosis > 3.0 + _SIGMAS * math.sqrt(24.0 / count):
        return "a few are far larger than the others"
    table = numbers.reshape(len(numbers), -1)
    for rows in (table, table.T):
        if min(rows.shape) < 2:
            continue
        spread = np.mean(rows**2, axis=1) / variance - 1.0
        unit = spread**2 * rows.shape[1] / (kurtosis - 1.0)
        if unit.mean() > 1.0 + _SIGMAS * math.sqrt((2.0 + 12.0 / rows.shape[1]) / len(rows)):
            return "their variance differs from row to row"
    if min(table.shape) >= 8 and _largest_singular(table) > _singular_edge(*table.shape, variance):
        return "their largest singular value is not that of independent numbers"
    return ""


def _largest_singular(table: np.ndarray) -> float:
    """From below, by power iteration: enough to see what stands out."""
    v = np.random.default_rng(0).normal(size=table.shape[1])
    size = 0.0
    for _ in range(20):
        v = table.T @ (table @ (v / np.linalg.norm(v)))
        size = float(np.linalg.norm(v))
    return math.sqrt(size)


def _singular_edge(rows: int, columns: int, variance: float) -> float:
    """The edge of the spectrum of independent entries, and six times its fluctuation."""
    a, b = math.sqrt(rows), math.sqrt(columns)
    largest = (a + b) ** 2 + 6.0 * (a + b) * (1.0 / a + 1.0 / b) ** (1.0 / 3.0)
    return math.sqrt(variance * largest)


def _settled(numbers: np.ndarray, fans: tuple[int, int] | None, origin: str) -> Law:
    """A law from many numbers: a simple rule within their error, or the variance they have."""
    count = numbers.size
    variance = float(np.mean(numbers**2))
    kurtosis = float(np.mean(numbers**4)) / variance**2
    error = variance * math.sqrt(max(kurtosis - 1.0, 0.1) / count)
    bound = None
    spread = _SIGMAS / math.sqrt(count)
    if abs(kurtosis - 1.8) < spread and kurtosis < 3.0 - math.sqrt(24.0) * spread:
        # The largest of uniform numbers tells the bound, far better than their variance does.
        top = float(np.abs(numbers).max()) * (1.0 + 1.0 / count)
        if abs(top**2 / 3.0 - variance) < _SIGMAS * error:
            bound, variance, error = top, top**2 / 3.0, 2.0 * top**2 / (3.0 * count)
    within = [(v, text) for v, text in _simple(fans) if abs(v - variance) <= 4.0 * error]
    if within and error < 0.5 * variance:
        exact, text = min(within, key=lambda pair: abs(pair[0] - variance))
        alone = all(v == exact for v, _ in within)
        if alone or error < 0.02 * variance:
            limit = None if bound is None else math.sqrt(3.0 * exact)
            return Law(exact, bound=limit, origin=origin, error=0.0, text=text)
    return Law(variance, bound=bound, origin=origin, error=error, text=f"variance {variance:.4g}")


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


def _drawn(module: Any, init: Callable[[Any], Any]) -> dict[str, Law]:
    """Laws measured on a copy that `init` initialises again and again; PyTorch's seed is kept."""
    out: dict[str, Law] = {}
    with seeded(module, 0):
        work = copy.deepcopy(module)
        before = {name: _numbers(p).copy() for name, p in work.named_parameters()}
        init(work)
        touched = [
            n for n, p in work.named_parameters() if not np.array_equal(_numbers(p), before[n])
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
        samples: dict[str, list[np.ndarray]] = {name: [] for name in touched}
        smallest = min(before[name].size for name in touched)
        for _ in range(min(_MOST_CALLS, max(2, math.ceil(_NUMBERS / smallest)))):
            init(work)
            for name, parameter in work.named_parameters():
                kept = samples.get(name)
                if kept is not None and sum(k.size for k in kept) < 2 * _NUMBERS:
                    kept.append(_numbers(parameter).copy())
    for name, drawn in samples.items():
        numbers = np.concatenate([d.ravel() for d in drawn])
        if np.all(numbers == numbers[0]):
            out[name] = Law(0.0, float(numbers[0]), origin="function", text="all equal")
            continue
        spread = math.sqrt(np.mean(numbers**2) / numbers.size)
        if abs(numbers.mean()) > _SIGMAS * spread or any(
            np.array_equal(drawn[0], d) for d in drawn[1:]
        ):
            raise InputError(
                f"init does not draw {name} as independent numbers of mean zero.",
                received=f"mean {numbers.mean():.3g}, variance {numbers.var():.3g}",
                needed="numbers of mean zero, other ones at each call, or equal ones",
            )
        out[name] = _settled(numbers, _fans(module, name), "function")
    return out
