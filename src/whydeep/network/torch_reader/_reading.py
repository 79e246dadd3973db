"""What reading a PyTorch module gives: a description, and where its parameters stand in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.network._convolution import Conv, ConvTranspose
from whydeep.network._layers import Dense, Shape
from whydeep.network._network import Network
from whydeep.network._normalisation import BatchNorm, LayerNorm, _Norm
from whydeep.network._sequence import Recurrent
from whydeep.network.torch_reader._draft import Sources
from whydeep.network.torch_reader._init import Law

__all__ = ["TorchReading", "notes_on"]


@dataclass(frozen=True)
class TorchReading:
    """A module as a description, and where each of its parameters stands in it.

    Args:
        network: the description.
        sources: for every node, where the numbers of its parameters stand in the module.
        laws: how the module's parameters are drawn, by name.
        notes: what was measured and not known, in sentences.
        inputs: the shape of one input.
        channel_axes: which axes of the module's output hold channels; the others, but the first
            and those of size 1, are the positions of the network's output, in the same order.
    """

    network: Network
    sources: Sources
    laws: dict[str, Law]
    notes: tuple[str, ...]
    inputs: tuple[int, ...]
    channel_axes: tuple[int, ...]

    def arranged(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs of the module as the network gives them, (N, *positions, channels)."""
        last = [a for a in range(1, outputs.ndim) if a in self.channel_axes]
        rest = [a for a in range(1, outputs.ndim) if a not in self.channel_axes]
        sizes = [outputs.shape[a] for a in rest if outputs.shape[a] > 1]
        return outputs.transpose(0, *rest, *last).reshape(len(outputs), *sizes, -1)

    def parameters(self, module: Any) -> tuple[dict[str, np.ndarray], ...]:
        """The numbers of a module of this structure, in the shapes that drawn ones have."""
        numbers = {name: p.detach().cpu().double().numpy() for name, p in module.named_parameters()}
        shapes = self.network.shapes(self.inputs)
        out = []
        for node, own, shape in zip(self.network.nodes, self.sources, shapes, strict=True):
            filled = _neutral(node.layer, shape)
            for role, parts in own.items():
                filled[role] = sum(
                    s.scale * numbers[s.name].ravel()[s.index()] + s.shift for s in parts
                )
            out.append(filled)
        return tuple(out)


def _neutral(layer: Any, shape: Shape) -> dict[str, Any]:
    """What a layer has where the module has no parameter: no bias, scale 1, shift 0."""
    channels = (shape.channels,)
    if isinstance(layer, (Dense, Conv, ConvTranspose, Recurrent)):
        return {"bias": np.zeros(channels)}
    if isinstance(layer, _Norm):
        whole = isinstance(layer, LayerNorm) and layer.over == "all"
        size = (*shape.positions, *channels) if whole else channels
        first = (layer.scale, layer.shift) if isinstance(layer, BatchNorm) else (1.0, 0.0)
        return {"scale": np.full(size, first[0]), "shift": np.full(size, first[1])}
    return {}


def notes_on(laws: Mapping[str, Law]) -> tuple[str, ...]:
    """What is said of laws that were read off the module's own numbers, one sentence a rule."""
    found: dict[str, list[str]] = {}
    worst = 0.0
    for name, law in laws.items():
        if law.origin == "numbers" and law.variance > 0:
            found.setdefault("" if law.error else law.text, []).append(name)
            worst = max(worst, law.error / law.variance)
    out = []
    for text, names in found.items():
        listed = ", ".join(names[:3]) + (f", ... ({len(names)} in all)" if len(names) > 3 else "")
        how = f"their numbers fit {text}, which is taken" if text else (
            f"the variance of their numbers is taken, with errors of up to {worst:.1%}"
        )  # fmt: skip
        out.append(f"No rule is known for {listed}: {how}. init={{pattern: variance}} states it.")
    return tuple(out)
