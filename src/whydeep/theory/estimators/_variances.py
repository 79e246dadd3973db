"""Which network an estimator stands for: its variances and its depth as hyper-parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from whydeep.errors import InputError
from whydeep.network import Network, mlp

__all__ = ["common", "default_network", "settle", "variances", "with_variances"]

_WEIGHTS = ("weight_var", "input_var")
_BIASES = ("bias_var",)


def default_network() -> Network:
    """What ``net=None`` means: relu, three hidden layers, C_W = 2, C_b = 0.2."""
    return mlp(3, activation="relu", weight_var=2.0, bias_var=0.2)


def settle(
    net: Any, depth: int | None, weight_var: float | None, bias_var: float | None
) -> Network:
    """The network of these hyper-parameters, of which None leaves things as they are.

    Raises:
        InputError: `net` is no network, or its depth can't be changed.
    """
    network = default_network() if net is None else net
    if not isinstance(network, Network):
        raise InputError(
            "net is not a network.",
            received=repr(net)[:80],
            needed="None, or a network of whydeep.mlp, whydeep.chain, whydeep.from_torch, ...",
        )
    if depth is not None:
        network = _with_depth(network, depth)
    weights, biases = variances(network)
    if weight_var is not None:
        weights = [weight_var] * len(weights)
    if bias_var is not None:
        biases = [bias_var] * len(biases)
    return with_variances(network, weights, biases)


def variances(network: Network) -> tuple[list[Any], list[Any]]:
    """Every weight_var and every bias_var of a network, in the order of its layers."""
    return _values(network, _WEIGHTS), _values(network, _BIASES)


def with_variances(network: Network, weights: Sequence[Any], biases: Sequence[Any]) -> Network:
    """The network with these instead: numbers, or what JAX traces."""
    weight, bias = iter(weights), iter(biases)
    nodes = []
    for node in network.nodes:
        changes = {name: next(weight) for name in _WEIGHTS if hasattr(node.layer, name)}
        changes |= {name: next(bias) for name in _BIASES if hasattr(node.layer, name)}
        layer = dataclasses.replace(node.layer, **changes) if changes else node.layer
        nodes.append(dataclasses.replace(node, layer=layer))
    return Network(tuple(nodes))


def common(values: Sequence[float]) -> float | None:
    """The one value that all have, or None."""
    return values[0] if len(set(values)) == 1 else None


def _values(network: Network, names: tuple[str, ...]) -> list[Any]:
    layers = network.layers
    return [getattr(layer, name) for layer in layers for name in names if hasattr(layer, name)]


def _with_depth(network: Network, depth: int) -> Network:
    alike = network.fully_connected and len({repr(d) for d in _without_width(network)}) == 1
    if not alike or len({str(layer.function) for layer in network.layers[1::2]}) > 1:  # type: ignore[attr-defined]
        raise InputError(
            "The depth of this network can't be changed.",
            received=f"depth={depth!r} and {network!r}",
            needed="a fully connected network whose layers have the same numbers",
            suggestion='depth=None, or grid={"net": [...]} with networks of several depths',
        )
    last = network.dense[-1]
    return mlp(
        depth, network.widths[0], network.activation, outputs=last.width,
        weight_var=last.weight_var, bias_var=last.bias_var, weight_lr=last.weight_lr,
        bias_lr=last.bias_lr, parameterization=last.parameterization,
    )  # fmt: skip


def _without_width(network: Network) -> list[Any]:
    return [dataclasses.replace(layer, width=1) for layer in network.dense]
