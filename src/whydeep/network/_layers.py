"""The layers every network has: frozen descriptions that hold numbers and know no theory.

A value has positions (none, a line, a grid) and channels; a layer says which shape it makes of
which, and which numbers its parameters are drawn with. How a layer is drawn stands in `ensemble`,
what becomes of its kernel at infinite width in `theory`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from whydeep.activations import ScalarFunction, get
from whydeep.arguments import array, refusal
from whydeep.errors import InputError
from whydeep.network._checks import check_choice, check_number, check_whole

__all__ = [
    "PARAMETERIZATIONS",
    "Activation",
    "Affine",
    "Array",
    "ChannelsLast",
    "Constant",
    "Dense",
    "Dropout",
    "Identity",
    "Layer",
    "Shape",
    "check_weights",
]

PARAMETERIZATIONS = ("ntk", "standard", "mup")


@dataclass(frozen=True)
class Shape:
    """The shape of a value for one input: ``(*positions, channels)``.

    Args:
        positions: () for a vector, (T,) for a sequence, (H, W) for an image.
        channels: what widens when a network is made wide.
    """

    positions: tuple[int, ...]
    channels: int

    @property
    def count(self) -> int:
        """How many positions there are."""
        return math.prod(self.positions)

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.positions)) or 'no'} positions, {self.channels} channels"


class Array:
    """Numbers that a description holds: read-only, equal and hashed by content."""

    def __init__(self, values: Any) -> None:
        self.values = np.array(values, dtype=np.float64)
        self.values.setflags(write=False)

    @classmethod
    def read(cls, name: str, values: Any, dims: int | None = None) -> Array:
        """An `Array` of what a user gives, or an `InputError`."""
        return values if isinstance(values, Array) else cls(array(dims=dims)(name, values))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash((self.values.shape, self.values.tobytes()))

    def __reduce__(self) -> tuple[type[Array], tuple[np.ndarray]]:
        return Array, (self.values,)  # read-only again

    def __repr__(self) -> str:
        return f"<array {'x'.join(map(str, self.values.shape))}>"


@dataclass(frozen=True)
class Layer:
    """A step from one value, or from several, to one value.

    Attributes:
        arity: how many values it takes; None for any number.
    """

    arity: ClassVar[int | None] = 1

    def output_shape(self, *shapes: Shape) -> Shape:
        """The shape it makes of these shapes.

        Raises:
            InputError: it can't be applied to them.
        """
        return shapes[0]


@dataclass(frozen=True)
class Identity(Layer):
    """The value itself: the straight branch of a residual block."""


def check_weights(layer: Any, *names: str) -> None:
    """Put checked numbers into the frozen `layer`: variances, and learning rates or None."""
    for name in names or ("weight_var", "bias_var", "weight_lr", "bias_lr"):
        value = getattr(layer, name)
        if value is not None:
            object.__setattr__(layer, name, check_number(name, value))
    check_choice("parameterization", layer.parameterization, PARAMETERIZATIONS)


@dataclass(frozen=True)
class Dense(Layer):
    """A fully connected layer ``z_i = b_i + sum_j W_ij s_j``, at every position alike.

    ``Var W_ij = weight_var / fan_in`` and ``Var b_i = bias_var`` (C_W and C_b of Roberts, Yaida
    and Hanin 2022; sigma_w^2 and sigma_b^2 of the mean-field papers). `weight_lr` and `bias_lr`
    are the tangent kernel's learning rates lambda_W and lambda_b: the layer adds
    ``lambda_b + lambda_W <s s>`` to it. None takes what the parameterization implies: for "ntk"
    and "mup" ``weight_var`` and ``bias_var``, for "standard" fan_in and 1 (every parameter with
    rate 1).

    Raises:
        InputError: a width below 1, a negative or non-finite number.
    """

    width: int
    weight_var: Any = 1.0
    bias_var: Any = 0.0
    weight_lr: Any = None
    bias_lr: Any = None
    parameterization: str = "ntk"

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", check_whole("width", self.width))
        check_weights(self)

    def output_shape(self, *shapes: Shape) -> Shape:
        """The same positions, `width` channels."""
        return Shape(shapes[0].positions, self.width)

    def learning_rates(self, fan_in: int) -> tuple[Any, Any]:
        """``(lambda_b, lambda_W)`` with what the parameterization implies filled in."""
        standard = self.parameterization == "standard"
        bias = (1.0 if standard else self.bias_var) if self.bias_lr is None else self.bias_lr
        weight = float(fan_in) if standard else self.weight_var
        return bias, weight if self.weight_lr is None else self.weight_lr


@dataclass(frozen=True)
class Activation(Layer):
    """An activation applied to every neuron: a name or a function of one variable."""

    function: ScalarFunction

    def __init__(self, function: str | ScalarFunction | Callable[[Any], Any]) -> None:
        object.__setattr__(self, "function", get(function))


@dataclass(frozen=True)
class Affine(Layer):
    """``scale * value + shift``, two fixed numbers: a scaled branch, a normalised input."""

    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        for name in ("scale", "shift"):
            object.__setattr__(self, name, check_number(name, getattr(self, name), signed=True))


@dataclass(frozen=True)
class Dropout(Layer):
    """Every neuron is dropped with probability `rate`, the others divided by ``1 - rate``.

    In training mode: the mask of every input is its own, so it adds to the diagonal. In evaluation
    mode dropout is the identity: leave it out.
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        rate = check_number("rate", self.rate)
        if rate >= 1.0:
            raise InputError(
                "Dropout drops everything.",
                received=f"rate={rate:g}",
                needed="0 <= rate < 1: the probability to drop (neural-tangents' is to keep)",
            )
        object.__setattr__(self, "rate", rate)


@dataclass(frozen=True)
class Constant(Layer):
    """A fixed value added to or multiplied with others: ``(*positions, channels)`` numbers.

    Positional encodings that are not learned. It takes the place of an input: ``arity`` 0.
    """

    array: Array

    arity: ClassVar[int | None] = 0

    def __init__(self, array: Any) -> None:
        numbers = Array.read("array", array)
        if not numbers.values.ndim:
            raise refusal("array", array, "A constant has channels.", "(*positions, channels)")
        object.__setattr__(self, "array", numbers)

    def output_shape(self, *shapes: Shape) -> Shape:
        """The shape of the numbers."""
        del shapes
        return Shape(self.array.values.shape[:-1], self.array.values.shape[-1])


@dataclass(frozen=True)
class ChannelsLast(Layer):
    """Inputs whose channels come first, ``(N, C, H, W)``, are read as ``(N, H, W, C)``."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """The first dimension becomes the channels."""
        dims = (*shapes[0].positions, shapes[0].channels)
        if len(dims) < 2:
            raise InputError(
                "There is no position beside the channels.",
                received=str(shapes[0]),
                needed="inputs (N, C, H, W) or (N, C, T)",
            )
        return Shape(dims[1:], dims[0])
