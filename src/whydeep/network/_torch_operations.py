"""The register of PyTorch operations that can be read, and what they are called with.

Each reader is a small function under the operation's name in ATen. It is called with a `Reader`
and the operation's arguments by name (``self`` and ``input`` are both ``x``): values, tensors of
fixed numbers, and plain Python numbers. It returns a value, or raises `Refusal`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from whydeep.network._layers import Layer
from whydeep.network._torch_align import Parameter
from whydeep.network._torch_draft import Drafts, Entry, Refusal, Value
from whydeep.network._torch_layout import Layout

__all__ = ["READERS", "Missing", "Reader", "operation", "tidy", "weights_of"]

READERS: dict[str, Callable[..., Any]] = {}
"""The functions that read an operation, by its name in ATen."""


def operation(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function as the reader of these operations."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        READERS.update(dict.fromkeys(names, function))
        return function

    return enter


@dataclass(frozen=True)
class Missing:
    """A result that can't be read, which matters only if something uses it."""

    why: str


@dataclass
class Reader:
    """What is shared while one graph is read.

    Args:
        drafts: the description so far.
        shape: of the result of the operation being read, or of each of its results.
        name: of that operation.
        call: the operation itself, of another first argument.
    """

    drafts: Drafts
    shape: Any = ()
    name: str = ""
    call: Callable[[Any], Any] = lambda x: x

    def layered(self, layer: Layer, value: Value) -> Value:
        """A layer that works entry by entry, put behind a value."""
        node = self.drafts.emit(value.base)
        raw = self.drafts.raw(node)
        return Value(Entry(self.drafts.add(layer, (node,), raw=raw)), value.layout)

    def at(self, node: int, layout: Layout) -> Value:
        """A node's value under a layout."""
        del self
        return Value(Entry(node), layout)


def weights_of(
    weight: Parameter, bias: Parameter | None, fan_in: int, names: Sequence[str] = ()
) -> dict[str, Any]:
    """The numbers of a layer: variances, and rates for plain gradient descent.

    Args:
        weight: of mean zero.
        bias: or None, which is a bias of zero that is not trained.
        fan_in: what its numbers are summed over.
        names: of the four numbers, if the layer has other ones.
    """
    if weight.mean != 0:
        msg = f"the weights {weight.name} are all equal"
        raise Refusal(msg, "initialise them at random")
    plain = weight.rate == 1.0
    values = (
        tidy(fan_in * weight.variance),
        0.0 if bias is None else bias.variance,
        None if plain else fan_in * weight.rate,
        0.0 if bias is None else None if bias.rate == 1.0 else bias.rate,
    )
    names = names or ("weight_var", "bias_var", "weight_lr", "bias_lr")
    return dict(zip(names, values, strict=True)) | {"parameterization": "standard"}


def tidy(number: float) -> float:
    """The simple fraction that a number is but for its last digits, or the number."""
    simple = float(Fraction(number).limit_denominator(1000))
    return simple if abs(simple - number) <= 1e-14 * abs(number) else number
