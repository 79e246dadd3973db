"""Intrinsic dimension of the representations of a network, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from whydeep.arguments import COUNT, anything, as_array, called, takes, text
from whydeep.errors import InputError
from whydeep.geometry.dimension._dimension import intrinsic_dimension
from whydeep.geometry.dimension._result import Dimension

__all__ = ["dimension_by_layer"]


@takes(network=anything, x=anything, method=text, k=COUNT)
def dimension_by_layer(
    network: Any, x: Any = None, method: str = "twonn", *, k: int | None = None
) -> dict[str, Dimension]:
    """The intrinsic dimension of data as every layer of a network represents them.

    Trained networks show a hump: the dimension rises in the first layers and falls towards the
    output, the lower the better they generalise.

    Args:
        network: a PyTorch module, whose leaf modules are watched; a function of x that returns
            the activations of its layers, a list or a dict of arrays (N, ...); or those
            activations themselves, and no x.
        x: N inputs, as the network takes them.
        method: as in `intrinsic_dimension`.
        k: as in `intrinsic_dimension`.

    Returns:
        By the name of a layer, in order, "input" first where x is an array: a `Dimension`. Layers
        with fewer distinct points than neighbours are refused by name.

    Raises:
        InputError: no activations, or some that can't be read as numbers, one row an input.

    Accuracy and cost: as `intrinsic_dimension`, a layer. All activations are held in memory.

    Source: Ansuini, Laio, Macke and Zoccolan 2019, "Intrinsic dimension of data representations
    in deep neural networks".

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, w = rng.normal(size=(300, 6)), rng.normal(size=(6, 2))
        >>> found = dimension_by_layer(lambda x: {"bottleneck": x @ w, "output": x @ w @ w.T}, x)
        >>> {name: round(d.value) for name, d in found.items()}
        {'input': 6, 'bottleneck': 2, 'output': 2}
    """
    named = _activations(network, x)
    if x is not None and hasattr(x, "shape"):
        named = {"input": x, **named}
    found = {}
    for name, values in named.items():
        rows = _rows(values, name)
        try:
            found[name] = intrinsic_dimension(rows, method, k=k)
        except InputError as error:
            raise InputError(
                f"{error.problem} In layer {name!r}.", received=error.received,
                needed=error.needed, cause=error.cause, suggestion=error.suggestion,
            ) from error  # fmt: skip
    return found


def _activations(network: Any, x: Any) -> dict[str, Any]:
    if callable(getattr(network, "register_forward_hook", None)):
        return _hooked(network, x)
    given = network
    if callable(network):
        with called("network", "a function of x that returns a list or dict of arrays"):
            given = network(x)
    if isinstance(given, Mapping):
        named = {str(name): values for name, values in given.items()}
    elif isinstance(given, Sequence) and not isinstance(given, str):
        named = {f"layer {i}": values for i, values in enumerate(given, start=1)}
    else:
        named = {}
    if not named:
        raise InputError(
            "There are no activations by layer.",
            received=type(given).__name__,
            needed="a list or dict of arrays, a function that returns one, or a PyTorch module",
            suggestion="intrinsic_dimension(x), for one array",
        )
    return named


def _hooked(module: Any, x: Any) -> dict[str, Any]:
    """Outputs of the leaf modules of a PyTorch module, in the order in which they are called."""
    import torch

    named: dict[str, Any] = {}

    def watch(name: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                named.setdefault(name, output.detach().cpu().numpy())

        return hook

    handles = [
        leaf.register_forward_hook(watch(name or type(leaf).__name__))
        for name, leaf in module.named_modules()
        if not any(True for _ in leaf.children())
    ]
    try:
        with torch.no_grad():
            module(torch.as_tensor(x))
    finally:
        for handle in handles:
            handle.remove()
    return named


def _rows(values: Any, name: str) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = as_array(f"layer {name!r}", values)
    if array.ndim < 2 or array.dtype.kind not in "biuf":
        raise InputError(
            f"The activations of layer {name!r} can't be read.",
            received=f"dtype {array.dtype}, shape {array.shape}", needed="numbers (N, ...)",
        )  # fmt: skip
    return array.reshape(len(array), -1).astype(np.float64)
