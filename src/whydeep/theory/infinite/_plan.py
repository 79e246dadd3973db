"""What must be known of a network before its kernels are computed: which value depends on what.

At infinite width a value is, channel by channel and at every position, one function of Gaussian
vectors: the *sources*, made by layers with fresh weights (Yang 2019, Tensor Programs). Values
whose sources differ are independent; a value with one source is one function of one Gaussian.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.errors import UnsupportedError
from whydeep.network import (
    Activation,
    Affine,
    Aggregate,
    AvgPool,
    BatchNorm,
    Constant,
    Conv,
    ConvLocal,
    ConvTranspose,
    Dense,
    DotProductAttention,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool,
    GroupNorm,
    Identity,
    Join,
    Layer,
    LayerNorm,
    MaxPool,
    Mix,
    Network,
    PositionalEmbedding,
    Product,
    Recurrent,
    RMSNorm,
    Shape,
    Sum,
    SumPool,
)
from whydeep.theory.infinite._functions import IDENTITY, affine, composed, multiplied, summed

__all__ = [
    "FRESH",
    "MIXING",
    "NORMS",
    "Input",
    "Plan",
    "Step",
    "own_rates",
    "plan",
    "scale_and_shift",
]

FRESH = (Dense, Conv, ConvLocal, ConvTranspose, Embedding, PositionalEmbedding)
MIXING = (AvgPool, SumPool, GlobalAvgPool, Mix, Aggregate)
NORMS = (LayerNorm, RMSNorm, GroupNorm)
# Layers that act on every component of values side by side.
_DISTRIBUTED = (Activation, Affine, BatchNorm, Dropout, Identity, Flatten, *MIXING)


@dataclass(frozen=True)
class Input(Layer):
    """The network's input, as a step of the plan."""


@dataclass
class Step:
    """One value and what is known of it.

    Args:
        layer: what makes it.
        inputs: numbers of the steps it takes.
        positions: of the value; a flattened one keeps them until a layer sums over them.
        channels: at each position.
        node: number of the network's node it belongs to; -1 for the input.
        label: the node's.
        flat: whether positions stand side by side as channels.
        data: whether the value is known without any weights.
        sources: steps with fresh weights on which it depends, channel by channel.
        gaussian: whether it is a centred Gaussian.
        unary: (source-like step, function) where it is one function of one Gaussian.
        sampled: whether its law is known from draws only.
        scaled: whether it is a Gaussian times a scale of its own that is learned.
        learned: whether such a scale is in it in any other way: a nonlinearity of it then needs
            the joint law of the Gaussian and of what the scale multiplies.
        full: whether covariances between different positions are needed.
    """

    layer: Layer
    inputs: tuple[int, ...]
    positions: tuple[int, ...]
    channels: int
    node: int
    label: str
    flat: bool = False
    data: bool = False
    sources: frozenset[int] = frozenset()
    gaussian: bool = False
    unary: tuple[int, ScalarFunction] | None = None
    sampled: bool = False
    scaled: bool = False
    learned: bool = False
    full: bool = False

    @property
    def count(self) -> int:
        return math.prod(self.positions)

    @property
    def fan_in_shape(self) -> Shape:
        """The shape that the next layer sees."""
        if self.flat:
            return Shape((), self.count * self.channels)
        return Shape(self.positions, self.channels)

    @property
    def described(self) -> str:
        """How errors name it."""
        name = type(self.layer).__name__
        name = "the input" if self.node < 0 else f"node {self.node} ({name})"
        return f"{name} at {self.label}" if self.label else name


@dataclass(frozen=True)
class Plan:
    """The steps of a network in order of application; the first is the input."""

    steps: tuple[Step, ...]
    step_of_node: tuple[int, ...]

    @property
    def sampled(self) -> bool:
        """Whether anything is known from draws only."""
        return any(
            step.sampled
            or (isinstance(layer := step.layer, DotProductAttention)
                and layer.softmax and layer.scaling == "1/sqrt(d)")
            for step in self.steps
        )  # fmt: skip


def plan(network: Network, inputs: tuple[int, ...], wanted: tuple[int, ...] = ()) -> Plan:
    """The plan for inputs of shape ``(*positions, channels)``.

    Args:
        network: any.
        inputs: the shape of one input.
        wanted: nodes whose own kernels are asked for, besides the output's.

    Raises:
        UnsupportedError: a layer has no infinite-width limit where it stands.
    """
    network.shapes(inputs)  # says what does not fit
    builder = _Builder()
    shape = Shape(tuple(inputs[:-1]), inputs[-1]) if inputs else Shape((), 1)
    builder.steps.append(Step(Input(), (), shape.positions, shape.channels, -1, "", data=True))
    of_node: list[int] = []
    for number, node in enumerate(network.nodes):
        sources = tuple(0 if i < 0 else of_node[i] for i in node.inputs)
        builder.node, builder.label = number, node.label
        of_node.append(builder.add(node.layer, sources))
    _mark_full(builder.steps, {of_node[i] for i in wanted} | {of_node[-1]})
    return Plan(tuple(builder.steps), tuple(of_node))


@dataclass
class _Builder:
    steps: list[Step] = field(default_factory=list)
    node: int = 0
    label: str = ""

    def add(self, layer: Layer, inputs: tuple[int, ...]) -> int:
        """Append what `layer` makes of these steps; the number of the result."""
        befores = [self.steps[i] for i in inputs]
        joined = [isinstance(b.layer, Join) and b.layer.axis == "channels" for b in befores]
        if isinstance(layer, _DISTRIBUTED) and joined[0]:
            parts = tuple(self.add(layer, (i,)) for i in befores[0].inputs)
            return self.add(Join(), parts)
        if isinstance(layer, Sum) and all(joined):
            splits = {tuple(self.steps[i].channels for i in b.inputs) for b in befores}
            if len(splits) == 1:
                columns = zip(*(b.inputs for b in befores), strict=True)
                return self.add(Join(), tuple(self.add(layer, column) for column in columns))
        if isinstance(layer, Join) and any(joined):
            flat = [
                b.inputs if j else (i,) for b, j, i in zip(befores, joined, inputs, strict=True)
            ]
            inputs = tuple(itertools.chain(*flat))
            befores = [self.steps[i] for i in inputs]
        if isinstance(layer, Sum):
            inputs = self._spread(layer, inputs)
            befores = [self.steps[i] for i in inputs]
        self.steps.append(self._step(layer, inputs, befores))
        return len(self.steps) - 1

    def _spread(self, layer: Layer, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """Repeat values of one position where others have more."""
        positions = layer.output_shape(*(self.steps[i].fan_in_shape for i in inputs)).positions
        count = math.prod(positions)
        out = []
        for i in inputs:
            if not self.steps[i].flat and self.steps[i].positions != positions:
                i = self.add(Mix(np.ones((count, 1)), positions), (i,))  # noqa: PLW2901
            out.append(i)
        if len({(self.steps[i].positions, self.steps[i].flat) for i in out}) > 1:
            raise UnsupportedError(
                "Values flattened from different positions are added or multiplied.",
                received=f"at node {self.node}",
                cause="which channel meets which depends on their order",
            )
        return tuple(out)

    def _step(self, layer: Layer, inputs: tuple[int, ...], befores: list[Step]) -> Step:
        flat = bool(befores) and all(b.flat for b in befores)
        shape = layer.output_shape(*(b.fan_in_shape for b in befores))
        positions, channels = shape.positions, shape.channels
        if isinstance(layer, Flatten):
            flat = bool(befores[0].positions)
        if flat and isinstance(layer, (*_DISTRIBUTED, *NORMS, Sum)):
            positions, channels = befores[0].positions, befores[0].channels
            if isinstance(layer, MIXING):
                raise self._refusal(layer, "positions were flattened before it")
        else:
            flat = False
        number = len(self.steps)
        step = Step(layer, inputs, positions, channels, self.node, self.label, flat)
        if befores and all(b.data for b in befores) and not isinstance(layer, (*FRESH, Recurrent)):
            step.data = not isinstance(layer, (*NORMS, DotProductAttention, MaxPool, Dropout))
            if not step.data and not isinstance(layer, (*NORMS, Dropout)):
                raise self._refusal(layer, "it acts on the input itself")
            return step
        if isinstance(layer, Constant):
            step.data = True
            return step
        if isinstance(layer, (*FRESH, Recurrent, DotProductAttention)):
            step.sources = frozenset({number})
            step.gaussian = isinstance(layer, FRESH)
            step.unary = (number, IDENTITY) if step.gaussian else None
            return step
        step.sources = frozenset().union(*(b.sources for b in befores))
        self._law(step, befores)
        return step

    def _law(self, step: Step, befores: list[Step]) -> None:
        """Whether the value is Gaussian, one function of a Gaussian, or known by draws only."""
        step.sampled = any(b.sampled for b in befores)
        if isinstance(step.layer, Activation | Product | MaxPool):
            self._nonlinear_law(step, befores)
        elif isinstance(step.layer, Affine | BatchNorm):
            self._affine_law(step, befores[0])
        elif isinstance(step.layer, Identity | Flatten):
            step.gaussian, step.unary = befores[0].gaussian, befores[0].unary
        elif isinstance(step.layer, (Sum, Join, *MIXING, *NORMS)):
            side_by_side = isinstance(step.layer, Join) and step.layer.axis == "channels"
            step.gaussian = all(b.gaussian for b in befores) and not side_by_side
            step.unary = (len(self.steps), IDENTITY) if step.gaussian else None
            if isinstance(step.layer, Sum) and not step.gaussian:
                step.unary = _one_source(befores, summed)
        elif not isinstance(step.layer, Dropout):
            raise self._refusal(step.layer, "no rule is known for it")
        self._mark_scales(step, befores)
        if step.sampled:
            self._check_sampled(step)

    def _mark_scales(self, step: Step, befores: list[Step]) -> None:
        if isinstance(step.layer, Identity | Flatten):
            step.scaled, step.learned = befores[0].scaled, befores[0].learned
        elif isinstance(step.layer, Activation | MaxPool):
            step.learned = step.sampled
        else:
            own = own_rates(step.layer)[0] != 0.0
            # A scale drawn as 0 leaves nothing of the Gaussian that it multiplies.
            step.scaled = own and step.gaussian and getattr(step.layer, "scale", 1.0) != 0.0
            step.learned = own and not step.scaled
            passed = any(b.learned or b.scaled for b in befores)
            step.learned |= passed
            if step.scaled and passed:  # a norm of a norm: two scales
                step.scaled, step.learned = False, True

    def _affine_law(self, step: Step, before: Step) -> None:
        layer: Any = step.layer
        scale, shift = scale_and_shift(layer)
        step.gaussian = before.gaussian and shift == 0.0
        if step.gaussian:
            step.unary = (len(self.steps), IDENTITY)
        elif before.unary:
            step.unary = (before.unary[0], affine(before.unary[1], scale, shift))

    def _nonlinear_law(self, step: Step, befores: list[Step]) -> None:
        layer: Any = step.layer
        # What a norm's own scale and shift add to the tangent kernel does not pass through a
        # composition: draws carry it.
        learned = any(b.learned for b in befores)
        first = befores[0]
        if isinstance(layer, Product):
            learned |= any(b.scaled for b in befores)
            step.unary = None if learned else _one_source(befores, multiplied)
            pairs = itertools.combinations(befores, 2)
            step.sampled |= step.unary is None and any(a.sources & b.sources for a, b in pairs)
        elif isinstance(layer, Activation) and first.unary and not learned:
            step.unary = (first.unary[0], composed(layer.function, first.unary[1]))
        else:
            step.sampled = True

    def _check_sampled(self, step: Step) -> None:
        for number in step.sources:
            if not isinstance(self.steps[number].layer, FRESH):
                raise self._refusal(
                    step.layer, f"the law of {self.steps[number].described} is not Gaussian"
                )

    def _refusal(self, layer: Layer, cause: str) -> UnsupportedError:
        where = f" at {self.label}" if self.label else ""
        return UnsupportedError(
            f"Node {self.node} ({type(layer).__name__}{where}) has no kernel at infinite width "
            "where it stands.",
            cause=cause,
        )


def scale_and_shift(layer: Affine | BatchNorm) -> tuple[float, float]:
    """The two numbers of a fixed affine map."""
    if isinstance(layer, Affine):
        return layer.scale, layer.shift
    scale = layer.scale / math.sqrt(layer.var + layer.eps)
    return scale, layer.shift - layer.mean * scale


def own_rates(layer: Layer) -> tuple[Any, Any]:
    """Learning rates of the scale and shift that a norm has of its own."""
    if isinstance(layer, (*NORMS, BatchNorm)):
        return layer.scale_lr, layer.shift_lr
    return 0.0, 0.0


def _one_source(
    befores: list[Step], join: Callable[[ScalarFunction, ScalarFunction], ScalarFunction]
) -> tuple[int, ScalarFunction] | None:
    """The function of the one Gaussian that all of `befores` are functions of, if so."""
    pairs = [b.unary for b in befores]
    if any(p is None for p in pairs):
        return None
    known: list[Any] = pairs
    if len({source for source, _ in known}) > 1:
        return None
    function = known[0][1]
    for _, other in known[1:]:
        function = join(function, other)
    return known[0][0], function


def _mark_full(steps: list[Step], wanted: set[int]) -> None:
    """Walk back from the output: whose covariances between different positions are needed."""
    mixing = (*MIXING, MaxPool, DotProductAttention, Recurrent)
    for i in wanted:
        steps[i].full = not steps[i].flat and steps[i].count > 1
    for step in reversed(steps):
        needed = step.full and not isinstance(step.layer, ConvLocal)
        _mark(steps, step.inputs, needed=needed or step.sampled or isinstance(step.layer, mixing))
        if step.sampled:
            _mark(steps, tuple(step.sources), needed=True)


def _mark(steps: list[Step], numbers: tuple[int, ...], *, needed: bool) -> None:
    for i in numbers:
        steps[i].full |= needed and steps[i].count > 1 and not steps[i].flat
