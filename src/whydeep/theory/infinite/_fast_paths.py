"""Networks that compiled code knows: chains of dense layers, chains of convolutions.

What is found here is the same as what `Propagation` finds, faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from whydeep.errors import InputError
from whydeep.network import (
    Activation,
    AvgPool,
    ChannelsLast,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Layer,
    Network,
    Shape,
)

__all__ = ["fast_kernels"]

Found = tuple[np.ndarray, np.ndarray | None, float] | None


def fast_kernels(
    network: Network,
    x1: np.ndarray,
    x2: np.ndarray | None,
    *,
    ntk: bool,
    dtype: str,
    tile: int | None,
) -> tuple[Found, str]:
    """(nngp, ntk, error), or None where no compiled way applies; and the way, or why none does."""
    if network.fully_connected and x1.ndim == 2:
        found = _dense(network, x1, x2, ntk=ntk, dtype=dtype, tile=tile)
        if found is not None:
            return found, "compiled: a fully connected network is one map of each correlation"
        if _activations(network) > 1:
            return None, "the layers have different activations"
        return None, "tables of this activation do not reach the accuracy, or the scale"
    if x1.ndim == 4 and isinstance(network.layers[-1], Dense):
        found = _convolutions(network, x1, x2, ntk=ntk, dtype=dtype, tile=tile)
        if found is not None:
            return found, "compiled: a chain of convolutions, diagonal by diagonal"
        return None, (
            "a convolutional chain has a compiled way with odd square filters of stride 1, "
            "piecewise linear activations, average pools and one Dense at the end"
        )
    return None, "compiled ways are of chains: Dense and activations, or convolutions of images"


def _activations(network: Network) -> int:
    return len({layer.function for layer in network.layers if isinstance(layer, Activation)})


def _dense(
    network: Network, x1: np.ndarray, x2: np.ndarray | None, *, ntk: bool, dtype: str,
    tile: int | None,
) -> Found:  # fmt: skip
    if _activations(network) > 1:
        return None
    from whydeep.theory.infinite.dense import DenseStack, dense_kernels

    rates = network.learning_rates(x1.shape[1])
    stack = DenseStack(
        network.activation,
        tuple(layer.weight_var for layer in network.dense),
        tuple(layer.bias_var for layer in network.dense),
        tuple(weight for _, weight in rates),
        tuple(bias for bias, _ in rates),
    )
    return _with_one_error(dense_kernels(stack, x1, x2, ntk=ntk, dtype=np.dtype(dtype), tile=tile))


def _with_one_error(found: Any) -> Found:
    if found is None:
        return None
    nngp, tangent, error = found
    return nngp, tangent, max(error.nngp, error.ntk or 0.0)


def _convolutions(
    network: Network, x1: np.ndarray, x2: np.ndarray | None, *, ntk: bool, dtype: str,
    tile: int | None,
) -> Found:  # fmt: skip
    from whydeep.theory.infinite.conv import conv_kernels

    chained = all(node.inputs == (k - 1,) for k, node in enumerate(network.nodes))
    layers, shapes = list(network.layers), list(network.shapes(x1.shape[1:]))
    if chained and isinstance(layers[0], ChannelsLast):
        x1, x2 = np.moveaxis(x1, 1, -1), None if x2 is None else np.moveaxis(x2, 1, -1)
        layers, before = layers[1:], shapes[0]
        shapes = shapes[1:]
    else:
        before = Shape(x1.shape[1:-1], x1.shape[-1])
    readout = layers[-2] if len(layers) > 1 else layers[-1]
    # By type: a GlobalSumPool is a GlobalAvgPool too.
    if not chained or type(readout) not in (Flatten, GlobalAvgPool):
        return None
    steps = [
        _step(layer, shape)
        for layer, shape in zip(layers[:-2], [before, *shapes[: len(layers) - 3]], strict=True)
    ]
    if any(step is None for step in steps) or not any(isinstance(k, Conv) for k in layers):
        return None
    steps.append(_readout(layers[-1], readout, shapes[-2]))
    if tile is not None:
        raise InputError(
            "tile is given, and the compiled way of convolutions does not read it.",
            received=f"{tile=}",
            needed="no tile: this way bounds its working memory by itself",
        )
    return _with_one_error(conv_kernels(tuple(steps), x1, x2, ntk=ntk, dtype=np.dtype(dtype)))


def _step(layer: Layer, before: Shape) -> Any:
    """What the compiled code calls a layer; None if it does not know it."""
    from whydeep.theory.infinite.conv import AvgPoolStep, ConvStep, HomogeneousStep

    if isinstance(layer, Conv):
        size = layer.size[0]
        plain = layer.strides == layer.dilation == (1, 1) and layer.size == (size, size)
        if not plain or size % 2 == 0 or layer.padding not in ("SAME", "CIRCULAR"):
            return None
        bias_lr, weight_lr = layer.learning_rates(before.channels)
        return ConvStep(size, layer.weight_var, layer.bias_var, weight_lr, bias_lr, layer.padding)
    if isinstance(layer, Activation) and layer.function.slopes is not None:
        return HomogeneousStep(layer.function.slopes)
    if isinstance(layer, AvgPool):
        size = layer.size[0]
        plain = layer.size == layer.strides == (size, size) and layer.padding == "VALID"
        return AvgPoolStep(size) if plain else None
    return None


def _readout(layer: Any, before: Layer, shape: Shape) -> Any:
    from whydeep.theory.infinite.conv import ReadoutStep

    bias_lr, weight_lr = layer.learning_rates(shape.channels)
    kind = "flatten" if isinstance(before, Flatten) else "global_average"
    return ReadoutStep(kind, layer.weight_var, layer.bias_var, weight_lr, bias_lr)
