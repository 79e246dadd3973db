"""The layers of a network: frozen descriptions that hold numbers and know nothing of any theory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from whydeep.activations import ScalarFunction, get
from whydeep.errors import InputError

__all__ = ["Activation", "Dense", "check_number", "check_whole"]


def check_number(name: str, value: Any, *, positive: bool = False) -> float:
    """`value` as a finite number that is not negative (or is positive), or an `InputError`."""
    needed = "a finite number > 0" if positive else "a finite number >= 0"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{name} is not a number.", received=f"{name}={value!r}", needed=needed)
    number = float(value)
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        raise InputError(
            f"{name} is out of range.", received=f"{name}={value!r}", needed=needed,
            cause="it is a variance or a rate, not a standard deviation with a sign",
        )  # fmt: skip
    return number


def check_whole(name: str, value: Any) -> int:
    """`value` as a whole number >= 1, or an `InputError`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise InputError(
            f"{name} must count something.",
            received=f"{name}={value!r}",
            needed="a whole number >= 1",
        )
    return int(value)


@dataclass(frozen=True)
class Dense:
    """A fully connected layer ``z_i = b_i + sum_j W_ij s_j``.

    ``Var W_ij = weight_var / fan_in`` and ``Var b_i = bias_var`` (C_W and C_b of Roberts, Yaida
    and Hanin 2022; sigma_w^2 and sigma_b^2 of the mean-field papers). `weight_lr` and `bias_lr`
    are the tangent kernel's learning rates lambda_W and lambda_b: the layer adds
    ``lambda_b + lambda_W <s s>`` to it. None takes what the parameterization implies: for "ntk"
    ``weight_var`` and ``bias_var``, for "standard" fan_in and 1 (every parameter with rate 1).

    Raises:
        InputError: a width below 1, a negative or non-finite number.
    """

    width: int
    weight_var: float = 1.0
    bias_var: float = 0.0
    weight_lr: float | None = None
    bias_lr: float | None = None
    parameterization: str = "ntk"

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", check_whole("width", self.width))
        for name in ("weight_var", "bias_var"):
            object.__setattr__(self, name, check_number(name, getattr(self, name)))
        for name in ("weight_lr", "bias_lr"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_number(name, getattr(self, name)))
        if self.parameterization not in ("ntk", "standard"):
            raise InputError(
                "There is no parameterization of this name.",
                received=repr(self.parameterization),
                needed='"ntk" or "standard"',
            )

    def learning_rates(self, fan_in: int) -> tuple[float, float]:
        """``(lambda_b, lambda_W)`` with what the parameterization implies filled in."""
        ntk = self.parameterization == "ntk"
        bias = (self.bias_var if ntk else 1.0) if self.bias_lr is None else self.bias_lr
        weight = self.weight_var if ntk else float(fan_in)
        return bias, weight if self.weight_lr is None else self.weight_lr


@dataclass(frozen=True)
class Activation:
    """An activation applied to every neuron: a name or a function of one variable."""

    function: ScalarFunction

    def __init__(self, function: Any) -> None:
        object.__setattr__(self, "function", get(function))
