"""From layer to layer: the tensors that are asked for, with those they depend on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from whydeep.gaussian import Estimate
from whydeep.network import Network
from whydeep.observables import OBSERVABLES
from whydeep.progress import progress_bar
from whydeep.theory.finite import _ddntk, _dntk, _ntk_correction, _ntk_fluctuations, _vertex
from whydeep.theory.finite._bounded import Bounded
from whydeep.theory.finite._kernel import Layer
from whydeep.theory.finite._means import Step

__all__ = ["first_order", "needed"]


@dataclass(frozen=True)
class _Rule:
    """How a tensor goes from one layer to the next, and which others of the layer below it takes.

    Args:
        next: from a step and the tensors below.
        takes: their names, its own aside.
        derivatives: whether it takes means of four derivatives.
    """

    next: Callable[[Step, Mapping[str, Bounded]], Bounded]
    takes: tuple[str, ...] = ()
    derivatives: bool = True


_RULES: Mapping[str, _Rule] = {
    "four_point": _Rule(_vertex.next_vertex, (), derivatives=False),
    "kernel_correction": _Rule(_vertex.next_correction, ("four_point",), derivatives=False),
    "ntk_correction": _Rule(
        _ntk_correction.next_tangent_correction,
        ("kernel_correction", "four_point", "ntk_D", "ntk_F"),
        derivatives=False,
    ),
    "ntk_A": _Rule(_ntk_fluctuations.next_a, ("four_point", "ntk_D")),
    "ntk_B": _Rule(_ntk_fluctuations.next_b),
    "ntk_D": _Rule(_ntk_fluctuations.next_d, ("four_point",)),
    "ntk_F": _Rule(_ntk_fluctuations.next_f),
    "dntk_P": _Rule(_dntk.next_p, ("ntk_B",)),
    "dntk_Q": _Rule(_dntk.next_q, ("ntk_F",)),
    "ddntk_R": _Rule(_ddntk.next_r, ("ntk_B", "dntk_P")),
    "ddntk_S": _Rule(_ddntk.next_s, ("ntk_B",)),
    "ddntk_T": _Rule(_ddntk.next_t, ("ntk_F", "dntk_Q")),
    "ddntk_U": _Rule(_ddntk.next_u),
}


def needed(names: Iterable[str]) -> list[str]:
    """The tensors of first order among `names`, and all that they depend on."""
    out: set[str] = set()
    left = [name for name in names if name in _RULES]
    while left:
        name = left.pop()
        if name not in out:
            out.add(name)
            left.extend(_RULES[name].takes)
    return [name for name in OBSERVABLES if name in out]


def first_order(
    network: Network, layers: list[Layer], tangents: list[Estimate] | None, names: list[str]
) -> dict[str, list[Estimate]]:
    """The tensors `names`, closed under `needed`, of all layers.

    Args:
        network: fully connected.
        layers: at infinite width.
        tangents: tangent kernels of the layers; None if nothing here needs them.
        names: what to compute.
    """
    size = layers[0].law.size
    state = {name: Bounded.zeros(*(size,) * OBSERVABLES[name].samples) for name in names}
    out = {name: [tensor.estimate()] for name, tensor in state.items()}
    joint = any(_RULES[name].derivatives for name in names)
    with progress_bar("tensors of first order", len(layers) - 1) as advance:
        for below, layer in itertools.pairwise(layers):
            tangent = None if tangents is None else tangents[below.number - 1]
            step = _step(network, below, layer, tangent, joint=joint)
            state = {name: _RULES[name].next(step, state) for name in names}
            for name, tensor in state.items():
                out[name].append(tensor.estimate())
            advance()
    return out


def _step(
    network: Network, below: Layer, layer: Layer, tangent: Estimate | None, *, joint: bool
) -> Step:
    dense, widths = network.dense[layer.number - 1], network.widths
    ratio = 0.0
    if below.number > 1:
        ratio = widths[below.number - 1] / widths[below.number - 2]
    return Step(
        activation=network.activation,
        law=below.law,
        weight_var=dense.weight_var,
        weight_lr=dense.learning_rates(widths[below.number - 1])[1],
        ratio=ratio,
        images=Bounded.of(layer.images),
        joint=joint,
        slopes=None if layer.slopes is None else Bounded.of(layer.slopes),
        tangent=None if tangent is None else Bounded.of(tangent),
    )
