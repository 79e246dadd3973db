"""The register of PyTorch operations that can be read, and what they are called with.

Each reader is a small function under the operation's name in ATen. It is called with a `Reader`
and the operation's arguments by name (``self`` and ``input`` are both ``x``): values, tensors of
fixed numbers, and plain Python numbers. It returns a value, or raises `Refusal`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from whydeep.network._layers import Layer
from whydeep.network.torch_reader._draft import Drafts, Entry, Value
from whydeep.network.torch_reader._layout import Layout

__all__ = ["READERS", "Missing", "Reader", "operation"]

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
        rounds: whether it makes whole numbers of real ones.
    """

    drafts: Drafts
    shape: Any = ()
    name: str = ""
    call: Callable[[Any], Any] = lambda x: x
    rounds: bool = False

    def layered(self, layer: Layer, value: Value) -> Value:
        """A layer that works entry by entry, put behind a value."""
        node = self.drafts.emit(value.base)
        raw = self.drafts.raw(node)
        return Value(Entry(self.drafts.add(layer, (node,), raw=raw)), value.layout)

    def at(self, node: int, layout: Layout) -> Value:
        """A node's value under a layout."""
        del self
        return Value(Entry(node), layout)
