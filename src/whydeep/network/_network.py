"""A network: a frozen graph of layers, described once and read by theory and by measurement."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from whydeep.activations import ScalarFunction
from whydeep.arguments import COUNT, anything, each, instance, takes
from whydeep.errors import InputError, UnsupportedError
from whydeep.network._layers import Activation, Dense, Layer, Shape
from whydeep.network._sequence import Embedding

__all__ = ["INPUT", "NETWORK", "Network", "Node", "chain"]

INPUT = -1
"""Where a node takes the network's input instead of another node's value."""


@dataclass(frozen=True)
class Node:
    """One application of a layer.

    Args:
        layer: what is applied. Two nodes never share weights, whatever their layers.
        inputs: which nodes' values it takes, by number; `INPUT` for the network's input.
        label: where it comes from (a module path, a source line), for errors and tables.
    """

    layer: Layer
    inputs: tuple[int, ...]
    label: str = dataclasses.field(default="", compare=False)


_NODES = each(instance(Node, needed="a Node", suggestion="whydeep.chain(...) makes them"))


@dataclass(frozen=True)
class Network:
    """Layers applied in the order of their nodes; the value of the last one is the output.

    Made by `mlp` and its like, by `chain` and the combinators, or read from a user's model.

    Args:
        nodes: each takes values of earlier ones.
        assumptions: what a description that was read rests on, in words: variances that its
            model's numbers tell with an error.

    Raises:
        InputError: no nodes, a reference to a later node, a wrong number of values.

    Example:
        >>> net = chain(Dense(8, 2.0), Activation("relu"), Dense(1, 2.0))
        >>> net.depth, net.widths, net.outputs
        (1, (8,), 1)
    """

    nodes: tuple[Node, ...]
    assumptions: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", _NODES("nodes", self.nodes))
        if not self.nodes:
            raise InputError("A network needs at least one layer.", received="none")
        for number, node in enumerate(self.nodes):
            arity = node.layer.arity
            right = len(node.inputs) == arity if arity is not None else len(node.inputs) > 0
            if not right or not all(INPUT <= i < number for i in node.inputs):
                raise InputError(
                    f"Node {number} ({type(node.layer).__name__}) does not fit.",
                    received=f"inputs {node.inputs}",
                    needed=f"{'one or more' if arity is None else arity} of the earlier nodes",
                )

    def __repr__(self) -> str:
        rests = "; variances with errors, see .assumptions" if self.assumptions else ""
        return f"<{self._described()}{rests}>"

    def _described(self) -> str:
        if not self.fully_connected:
            kinds = [type(node.layer).__name__ for node in self.nodes]
            shown = kinds if len(kinds) <= 8 else [*kinds[:4], "...", *kinds[-3:]]
            return f"network of {len(kinds)} nodes: {', '.join(shown)}"
        widths = sorted(set(self.widths))
        width = str(widths[0]) if len(widths) == 1 else "-".join(map(str, self.widths))
        first = self.dense[0]
        functions = dict.fromkeys(
            n.layer.function.name for n in self.nodes if isinstance(n.layer, Activation)
        )
        return (
            f"network: {', '.join(functions)}, depth {self.depth}, width {width}, "
            f"weight_var {_short(first.weight_var)}, bias_var {_short(first.bias_var)}, "
            f"{first.parameterization}"
        )

    @takes(self=anything, inputs=each(COUNT))
    def shapes(self, inputs: tuple[int, ...]) -> tuple[Shape, ...]:
        """The shape of every node's value, for inputs of shape ``(*positions, channels)``.

        Raises:
            InputError: a layer can't be applied, saying which.
        """
        given = Shape(tuple(inputs[:-1]), inputs[-1]) if inputs else Shape((), 1)
        shapes: list[Shape] = []
        for number, node in enumerate(self.nodes):
            before = [given if i == INPUT else shapes[i] for i in node.inputs]
            try:
                shapes.append(node.layer.output_shape(*before))
            except InputError as error:
                where = f" at {node.label}" if node.label else ""
                raise InputError(
                    f"Node {number} ({type(node.layer).__name__}{where}) can't be applied: "
                    f"{error.problem}",
                    received=error.received, needed=error.needed, cause=error.cause,
                    suggestion=error.suggestion,
                ) from None  # fmt: skip
        return tuple(shapes)

    @property
    def takes_tokens(self) -> bool:
        """Whether inputs are whole numbers that an embedding looks up."""
        return any(isinstance(n.layer, Embedding) and n.inputs == (INPUT,) for n in self.nodes)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in order."""
        return tuple(node.layer for node in self.nodes)

    @property
    def fully_connected(self) -> bool:
        """Whether it is a chain Dense, Activation, Dense, ..., Dense with a hidden layer."""
        expected = [Dense if k % 2 == 0 else Activation for k in range(len(self.nodes))]
        chained = all(node.inputs == (k - 1,) for k, node in enumerate(self.nodes))
        kinds = [type(layer) for layer in self.layers]
        return chained and len(kinds) >= 3 and len(kinds) % 2 == 1 and kinds == expected

    @property
    def dense(self) -> tuple[Dense, ...]:
        """The L + 1 layers of a fully connected network.

        Raises:
            UnsupportedError: it is another kind of network.
        """
        if not self.fully_connected:
            raise UnsupportedError(
                "This is known for fully connected networks only.",
                received=repr(self),
                needed="Dense, Activation, Dense, ..., Dense: at least one hidden layer",
                suggestion="whydeep.mlp(depth, width, activation); whydeep.kernel takes any",
            )
        return tuple(layer for layer in self.layers if isinstance(layer, Dense))

    @property
    def depth(self) -> int:
        """L, the number of hidden layers of a fully connected network."""
        return len(self.dense) - 1

    @property
    def widths(self) -> tuple[int, ...]:
        """n_1 ... n_L of a fully connected network."""
        return tuple(layer.width for layer in self.dense[:-1])

    @property
    def outputs(self) -> int:
        """n_(L+1) of a fully connected network."""
        return self.dense[-1].width

    @property
    def activation(self) -> ScalarFunction:
        """The one activation of every hidden layer of a fully connected network.

        Raises:
            UnsupportedError: the layers have different activations, or there is none.
        """
        functions = {layer.function for layer in self.layers if isinstance(layer, Activation)}
        if not functions:
            raise UnsupportedError(
                "This network has no activation.",
                received=repr(self),
                needed="a hidden layer with one",
                suggestion='whydeep.mlp(depth, width, "linear") is a deep linear network',
            )
        if len(functions) > 1:
            names = ", ".join(sorted(f.name for f in functions))
            raise UnsupportedError(
                "The layers of this network have different activations.",
                received=names,
                needed="one activation for all hidden layers",
            )
        return next(iter(functions))

    @takes(self=anything, inputs=COUNT)
    def learning_rates(self, inputs: int) -> tuple[tuple[float, float], ...]:
        """``(lambda_b, lambda_W)`` of the L + 1 layers, for `inputs` input dimensions."""
        fan_ins = (inputs, *self.widths)
        return tuple(
            layer.learning_rates(fan_in) for layer, fan_in in zip(self.dense, fan_ins, strict=True)
        )

    @takes(self=anything, factor=COUNT, inputs=COUNT)
    def scaled(self, factor: int, inputs: int) -> Network:
        """The network with every hidden width times `factor` and the same learning rates.

        The rates are those of this network even where the parameterization would tie them to the
        width, so that a ladder of widths has one limit.
        """
        rates = self.learning_rates(inputs)
        dense = [
            dataclasses.replace(layer, bias_lr=bias_lr, weight_lr=weight_lr)
            for layer, (bias_lr, weight_lr) in zip(self.dense, rates, strict=True)
        ]
        dense = [dataclasses.replace(d, width=factor * d.width) for d in dense[:-1]] + dense[-1:]
        layers = list(self.layers)
        layers[::2] = dense
        return chain(*layers)


NETWORK = instance(
    Network,
    needed="a network",
    suggestion="whydeep.mlp(...), whydeep.chain(...), whydeep.from_torch(module, example) or "
    "whydeep.from_jax(function, parameters, example) makes one",
)
"""The kind of arguments that are networks."""

PART = instance(
    Layer, Network,
    needed="a layer or a network",
    suggestion="whydeep.Dense(...), whydeep.Activation(...), whydeep.chain(...), ...",
)  # fmt: skip
"""The kind of what networks are made of."""


@takes(parts=PART)
def chain(*parts: Layer | Network) -> Network:
    """Layers and networks one after the other.

    Raises:
        InputError: something else than layers and networks, or none.

    Example:
        >>> block = chain(Dense(8, 2.0), Activation("relu"))
        >>> chain(block, block, Dense(1)).depth
        2
    """
    nodes: list[Node] = []
    last = INPUT
    for part in parts:
        last = append(nodes, part, last)
    return Network(tuple(nodes))


def append(nodes: list[Node], part: Any, source: int) -> int:
    """Put `part` behind node `source` at the end of `nodes`; the number of its output."""
    if isinstance(part, Layer):
        nodes.append(Node(part, () if part.arity == 0 else (source,) * (part.arity or 1)))
    else:
        start = len(nodes)
        nodes += [
            dataclasses.replace(
                node, inputs=tuple(source if i == INPUT else start + i for i in node.inputs)
            )
            for node in part.nodes
        ]
    return len(nodes) - 1


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, (int, float)) else str(value)
