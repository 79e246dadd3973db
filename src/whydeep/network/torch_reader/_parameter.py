"""Parameters of a PyTorch module as operands, and the numbers that layers take from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from whydeep.network._laws import Law
from whydeep.network.torch_reader._draft import Refusal, Source, Value

__all__ = ["Parameter", "enter_bias", "parameter_of", "tidy", "weights_of"]

# Dimensions of a parameter, which have no role of their own, are named below all others.
_LOWEST = -10


@dataclass(frozen=True)
class Parameter:
    """A parameter of the module as an operand: ``scale * parameter + shift``.

    Args:
        name: of the parameter.
        size: its own shape.
        laws: how each of the module's parameters is drawn, read when it is asked for.
        trained: whether it has a gradient.
        scale: a fixed factor.
        shift: a fixed summand.
    """

    name: str
    size: tuple[int, ...]
    laws: Mapping[str, Law]
    trained: bool
    scale: float = 1.0
    shift: float = 0.0

    def __str__(self) -> str:
        return f"the parameter {self.name}"

    @property
    def dims(self) -> list[tuple[int, int]]:
        """Its dimensions, as `Layout` names them."""
        return [(_LOWEST - i, n) for i, n in enumerate(self.size)]

    @property
    def law(self) -> Law:
        """How it is drawn."""
        law = self.laws[self.name]
        if law.family == "fixed":
            msg = f"{self} is trained from the same unequal numbers at every draw"
            raise Refusal(msg, f"{self.name}.requires_grad_(False), or a buffer, if it is fixed")
        return law

    @property
    def mean(self) -> float:
        """Of its numbers, scaled."""
        return self.scale * self.law.mean + self.shift

    @property
    def variance(self) -> float:
        """Of its numbers, scaled."""
        return self.scale**2 * self.law.variance

    @property
    def rate(self) -> float:
        """The tangent kernel's rate: 1 for the parameter itself."""
        return self.scale**2 if self.trained else 0.0

    def source(self, index: Any, shift: float = 0.0) -> tuple[Source, ...]:
        """Where its numbers stand, less what the description holds apart."""
        return (Source(self.name, index, self.scale, self.shift - shift),)


def parameter_of(operand: Any) -> Parameter | None:
    """The parameter that an operand reads, or None."""
    base = operand.base if isinstance(operand, Value) else None
    return base if isinstance(base, Parameter) else None


def weights_of(
    weight: Parameter, bias: Parameter | None, fan_in: int, names: Sequence[str] = ()
) -> dict[str, Any]:
    """The numbers of a layer: variances, and rates for plain gradient descent.

    Args:
        weight: of mean zero.
        bias: or None, which is a bias of zero that is not trained.
        fan_in: what its numbers are summed over.
        names: of the four numbers, if the layer has other ones.
    """
    if weight.mean != 0:
        msg = f"the weights {weight.name} are all equal"
        raise Refusal(msg, "initialise them at random")
    plain = weight.rate == 1.0
    values = (
        tidy(fan_in * weight.variance),
        0.0 if bias is None else bias.variance,
        None if plain else fan_in * weight.rate,
        0.0 if bias is None else None if bias.rate == 1.0 else bias.rate,
    )
    names = names or ("weight_var", "bias_var", "weight_lr", "bias_lr")
    return dict(zip(names, values, strict=True)) | {"parameterization": "standard"}


def enter_bias(bias: Any, sources: dict[str, tuple[Source, ...]]) -> float:
    """Enter a bias; the number that all of it begins with."""
    parameter = parameter_of(bias)
    if parameter is None:
        return 0.0
    layout = bias.layout
    sources["bias"] = parameter.source(lambda: layout.flat(parameter.dims), parameter.mean)
    return parameter.mean


def tidy(number: float) -> float:
    """The simple fraction that a number is but for its last digits, or the number."""
    simple = float(Fraction(number).limit_denominator(1000))
    return simple if abs(simple - number) <= 1e-14 * abs(number) else number
