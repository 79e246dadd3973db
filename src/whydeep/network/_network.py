"""A network: a frozen chain of layers, described once and read by theory and by measurement."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from whydeep.activations import ScalarFunction
from whydeep.errors import InputError, UnsupportedError
from whydeep.network._layers import Activation, Dense

__all__ = ["Network"]


@dataclass(frozen=True)
class Network:
    """Layers in the order of application, `Dense` and `Activation` in turn.

    Args:
        layers: ``Dense, Activation, Dense, ..., Dense``; the last one is the output.

    Raises:
        InputError: the layers do not alternate, begin and end with `Dense`.

    Example:
        >>> net = Network((Dense(8, 2.0), Activation("relu"), Dense(1, 2.0)))
        >>> net.depth, net.widths, net.outputs
        (1, (8,), 1)
    """

    layers: tuple[Dense | Activation, ...]

    def __post_init__(self) -> None:
        expected = [Dense if k % 2 == 0 else Activation for k in range(len(self.layers))]
        kinds = [type(layer) for layer in self.layers]
        if len(kinds) < 3 or len(kinds) % 2 == 0 or kinds != expected:
            raise InputError(
                "These layers do not make a fully connected network.",
                received=", ".join(k.__name__ for k in kinds) or "no layers",
                needed="Dense, Activation, Dense, ..., Dense: at least one hidden layer",
                suggestion="whydeep.mlp(depth, width, activation)",
            )

    def __repr__(self) -> str:
        widths = sorted(set(self.widths))
        width = str(widths[0]) if len(widths) == 1 else "-".join(map(str, self.widths))
        first = self.dense[0]
        return (
            f"<network: {self.activation.name}, depth {self.depth}, width {width}, "
            f"weight_var {first.weight_var:.6g}, bias_var {first.bias_var:.6g}, "
            f"{first.parameterization}>"
        )

    @property
    def dense(self) -> tuple[Dense, ...]:
        """The L + 1 fully connected layers."""
        return tuple(layer for layer in self.layers if isinstance(layer, Dense))

    @property
    def depth(self) -> int:
        """L, the number of hidden layers."""
        return len(self.dense) - 1

    @property
    def widths(self) -> tuple[int, ...]:
        """n_1 ... n_L."""
        return tuple(layer.width for layer in self.dense[:-1])

    @property
    def outputs(self) -> int:
        """n_(L+1)."""
        return self.dense[-1].width

    @property
    def activation(self) -> ScalarFunction:
        """The one activation of every hidden layer.

        Raises:
            UnsupportedError: the layers have different activations.
        """
        functions = {layer.function for layer in self.layers if isinstance(layer, Activation)}
        if len(functions) > 1:
            names = ", ".join(sorted(f.name for f in functions))
            raise UnsupportedError(
                "The layers of this network have different activations.",
                received=names,
                needed="one activation for all hidden layers",
            )
        return next(iter(functions))

    def learning_rates(self, inputs: int) -> tuple[tuple[float, float], ...]:
        """``(lambda_b, lambda_W)`` of the L + 1 layers, for `inputs` input dimensions."""
        fan_ins = (inputs, *self.widths)
        return tuple(
            layer.learning_rates(fan_in) for layer, fan_in in zip(self.dense, fan_ins, strict=True)
        )

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
        return Network(tuple(layers))
