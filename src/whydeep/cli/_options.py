"""Options: the kinds of their values, lists of numbers, and errors that speak of options."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from whydeep.errors import InputError, WhydeepError

__all__ = ["check_options", "dashed", "in_options", "number_list"]


# Of whydeep.ensemble and whydeep.comparison.training, so that bad options need no heavy import; a
# test holds them equal.
FEWEST_DRAWS, FEWEST_TRAINED = 64, 512

# Arguments of functions below that the command line has as options, for errors from there.
_ARGUMENTS = (
    "activation", "depth", "width", "weight_var", "bias_var", "weight_lr", "bias_lr",
    "parameterization", "draws", "ntk_draws", "tensor_draws", "differential_draws", "seed", "rungs",
    "order", "observables", "sampler", "dtype", "alpha", "resolution", "effort", "n",
)  # fmt: skip
_ARGUMENT = re.compile(rf"\b({'|'.join(_ARGUMENTS)})=((?:\"[^\"]*\"|'[^']*'|[^\s,;:)])+)")
# Advice in Python that has a word of its own on the command line; all other such advice is dropped.
_ADVICE = (
    (re.compile(r"\bscale=False\b"), "--no-scale"),
    (re.compile(r"^x\.reshape\(.*"), "a file whose rows are flat: one row an input"),
    (re.compile(r"^(\[x\]|x\[None\]|x\[).*"), "a file with one row an input"),
)
_PYTHON = re.compile(r"\w\(|\w\[|\w=")
_FILES = re.compile(r"^numpy\.savez?\(|^export |^whydeep (list|verify|run)")


def dashed(name: str) -> str:
    """The option of an argument.

    Example:
        >>> dashed("weight_var")
        '--weight-var'
    """
    return "--" + name.replace("_", "-")


def in_options(error: WhydeepError) -> WhydeepError:
    """An error in the words of the command line: options for arguments, no advice in Python.

    Example:
        >>> print(in_options(InputError("Too few.", received="draws=3",
        ...                             suggestion="numpy.eye(3), or another")))
        Too few.
          received: --draws 3
    """

    def spoken(text: str) -> str:
        return _ARGUMENT.sub(lambda found: f"{dashed(found[1])} {found[2]}", text)

    suggestion = error.suggestion
    for python, words in _ADVICE:
        suggestion = python.sub(words, suggestion)
    suggestion = spoken(suggestion)
    if _PYTHON.search(suggestion) and not _FILES.match(suggestion):
        suggestion = ""
    return type(error)(
        spoken(error.problem),
        received=spoken(error.received),
        needed=spoken(error.needed),
        cause=spoken(error.cause),
        suggestion=suggestion,
    )


def check_options(given: Mapping[str, Any]) -> None:
    """Refuse values out of the range of their options, before any work.

    Args:
        given: by argument; None is not checked.

    Raises:
        InputError: naming the option.
    """
    from whydeep.arguments import DEPTH, DTYPE, SEED, choice, count, number, text

    training = bool(given.get("training"))
    draws = count(FEWEST_DRAWS)
    kinds = {
        "depth": DEPTH,
        "n": count(),
        "draws": count(FEWEST_TRAINED) if training else draws,
        "ntk_draws": draws,
        "tensor_draws": draws,
        "differential_draws": draws,
        "seed": SEED,
        "rungs": count(2, 16),
        "order": count(0, 1),
        "alpha": number(least=1e-12, below=1),
        "resolution": number(above=0, most=1),
        "effort": number(least=1e-3, most=100),
        "sampler": choice("conditional", "plain"),
        "dtype": DTYPE,
        "parameterization": choice("ntk", "standard"),
        "activation": text,
    }
    for name, kind in kinds.items():
        if given.get(name) is not None:
            kind(dashed(name), given[name])


def number_list(
    option: str,
    text: str,
    convert: Callable[[str], float],
    words: tuple[str, ...] = (),
    kind: Callable[[str, Any], Any] | None = None,
) -> Any:
    """One number, several separated by commas (a list), or a word that stands for numbers.

    Args:
        option: its name, with dashes.
        text: its value.
        convert: int or float.
        words: that stand for numbers.
        kind: what every number must be besides (`whydeep.arguments`).

    Raises:
        InputError: anything else, naming the option.

    Example:
        >>> number_list("--weight-var", "1.5,2", float, ("critical",))
        [1.5, 2.0]
        >>> number_list("--weight-var", "critical", float, ("critical",))
        'critical'
    """
    if text.strip() in words:
        return text.strip()
    values = []
    for part in text.split(","):
        word = part.strip()
        try:
            values.append(convert(word))
        except ValueError:
            what = "whole number" if convert is int else "number"
            others = "".join(f', or "{w}"' for w in words)
            raise InputError(
                f"{option} can't be read.",
                received=f"{option} {text!r}",
                needed=f"a {what}, or one a layer separated by commas{others}",
                cause=f"{word!r} is not a {what}" if word else "a number is missing",
            ) from None
    values = values if kind is None else [kind(option, value) for value in values]
    return values[0] if len(values) == 1 else values
