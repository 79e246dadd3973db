"""What reading a PyTorch module gives: a description, and where its parameters stand in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.network._convolution import Conv, ConvTranspose
from whydeep.network._laws import EXACT, Law, variances_read
from whydeep.network._layers import Dense, Shape
from whydeep.network._network import Network
from whydeep.network._normalisation import BatchNorm, LayerNorm, _Norm
from whydeep.network._sequence import Recurrent
from whydeep.network.torch_reader._draft import Sources
from whydeep.network.torch_reader._given import Given

__all__ = ["TorchReading", "assumptions_of", "notes_on"]


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
        given: the module that was traced, its batch, and its constructor if there is one.
        again: the description with other laws.
    """

    network: Network
    sources: Sources
    laws: dict[str, Law]
    notes: tuple[str, ...]
    inputs: tuple[int, ...]
    channel_axes: tuple[int, ...]
    given: Given
    again: Callable[[Mapping[str, Law]], Network]

    @property
    def higher(self) -> Network | None:
        """The description with every variance one standard error higher, if any has an error."""
        if all(law.relative_error <= EXACT for law in self.laws.values()):
            return None
        moved = {
            name: dataclasses.replace(law, variance=law.variance + law.error)
            for name, law in self.laws.items()
        }
        return self.again(moved)

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
    for name, law in laws.items():
        if law.origin == "numbers" and law.error > 0:
            named = "" if law.text.startswith("variance") else law.text
            found.setdefault(named, []).append(name)
    out = []
    for text, names in found.items():
        worst = max(laws[name].relative_error for name in names)
        how = (
            f"their numbers fit {text}, which is taken, and leave an error of {worst:.1%}"
            if text
            else f"the variance of their numbers is taken, with errors of up to {worst:.1%}"
        )
        out.append(
            f"No rule is known for {_listed(names)}: {how}. from_torch(factory, example) draws "
            "them, init={pattern: variance} states it."
        )
    return tuple(out)


def assumptions_of(laws: Mapping[str, Law], *, constructed: bool) -> tuple[str, ...]:
    """What a description rests on where variances are not known exactly, in a sentence."""
    unsure = {name: law for name, law in laws.items() if law.relative_error > EXACT}
    drawn = any(law.origin in ("factory", "function") for law in unsure.values())
    return variances_read(
        "draws of the constructor"
        if constructed
        else "draws of init"
        if drawn
        else "one module's numbers",
        {n: (w.variance, w.error, w.text if w.origin == "rule" else "") for n, w in unsure.items()},
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f", ... ({len(names)} in all)" if len(names) > 3 else "")
