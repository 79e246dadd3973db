"""Layers of sequences: embeddings, attention between positions, recurrence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from whydeep.activations import ScalarFunction, get
from whydeep.arguments import COUNT, FLAG, one_or_each
from whydeep.errors import InputError
from whydeep.network._checks import check_choice, check_number, check_whole
from whydeep.network._layers import PARAMETERIZATIONS, Array, Layer, Shape, check_weights

__all__ = ["SCALINGS", "DotProductAttention", "Embedding", "PositionalEmbedding", "Recurrent"]

SCALINGS = ("1/sqrt(d)", "1/d")


@dataclass(frozen=True)
class Embedding(Layer):
    """A row of ``N(0, var)`` numbers for every token; inputs are whole numbers ``(N, T)``.

    Args:
        size: of the vocabulary.
        width: channels.
        var: variance of the entries.
        lr: learning rate of the entries in the tangent kernel; None: ``var`` in the "ntk"
            parameterization, 1 in the "standard" one.
        parameterization: "ntk", "standard" or "mup".
    """

    size: int
    width: int
    var: Any = 1.0
    lr: Any = None
    parameterization: str = "ntk"

    def __post_init__(self) -> None:
        for name in ("size", "width"):
            object.__setattr__(self, name, check_whole(name, getattr(self, name)))
        check_weights(self, "var", "lr")

    @property
    def rate(self) -> Any:
        """The learning rate, with what the parameterization implies filled in."""
        implied = 1.0 if self.parameterization == "standard" else self.var
        return implied if self.lr is None else self.lr

    def output_shape(self, *shapes: Shape) -> Shape:
        """The positions of the tokens."""
        return Shape((*shapes[0].positions, shapes[0].channels), self.width)


@dataclass(frozen=True)
class PositionalEmbedding(Layer):
    """Learned numbers ``N(0, var)`` for every position, the same for all inputs.

    It takes the place of an input (``arity`` 0): `Add` it to an embedding; a class token is one of
    one position, put beside the others by `Concatenate`.

    Args:
        positions: their shape, or how many.
        width: channels.
        var: variance of the entries.
        lr: learning rate of the entries in the tangent kernel; None: ``var`` in the "ntk"
            parameterization, 1 in the "standard" one.
        parameterization: "ntk", "standard" or "mup".
        covariance: (P, P), between positions, in units of `var`; independent unless given.
    """

    positions: Any
    width: int
    var: Any = 1.0
    lr: Any = None
    parameterization: str = "ntk"
    covariance: Any = None

    arity: ClassVar[int | None] = 0

    def __post_init__(self) -> None:
        positions = one_or_each(COUNT)("positions", self.positions)
        positions = positions if isinstance(positions, tuple) else (positions,)
        if self.covariance is not None:
            count = math.prod(positions)
            matrix = Array.read("covariance", self.covariance)
            if matrix.values.shape != (count, count):
                raise InputError(
                    "The covariance between positions has the wrong shape.",
                    received=f"{matrix.values.shape}",
                    needed=f"{(count, count)}",
                )
            object.__setattr__(self, "covariance", matrix)
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "width", check_whole("width", self.width))
        check_weights(self, "var", "lr")

    @property
    def rate(self) -> Any:
        """The learning rate, with what the parameterization implies filled in."""
        implied = 1.0 if self.parameterization == "standard" else self.var
        return implied if self.lr is None else self.lr

    def output_shape(self, *shapes: Shape) -> Shape:
        """Its own."""
        del shapes
        return Shape(self.positions, self.width)


@dataclass(frozen=True)
class DotProductAttention(Layer):
    """``out(p) = sum_r A(p, r) v(r)`` of queries, keys and values, head by head.

    Logits are ``scale * q(p) . k(r)`` within a head; A is their softmax over r, or the logits.

    Args:
        heads: among which the channels are divided.
        scaling: "1/sqrt(d)" with d the channels of a head: logits fluctuate, and the output is
            Gaussian only as heads grow without bound (Hron et al. 2020); or "1/d": logits tend to
            fixed numbers, zero unless queries and keys share their weights.
        softmax: whether A is the softmax of the logits, or the logits themselves.
        causal: whether position p sees positions r <= p only.
        function: applied to the logits where there is no softmax.
    """

    heads: int = 8
    scaling: str = "1/sqrt(d)"
    softmax: bool = True
    causal: bool = False
    function: ScalarFunction | None = None

    arity: ClassVar[int | None] = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", check_whole("heads", self.heads))
        check_choice("scaling", self.scaling, SCALINGS)
        for name in ("softmax", "causal"):
            object.__setattr__(self, name, FLAG(name, getattr(self, name)))
        if self.function is not None:
            object.__setattr__(self, "function", get(self.function))

    def output_shape(self, *shapes: Shape) -> Shape:
        """The positions of the queries, the channels of the values."""
        query, key, value = shapes
        if query.channels != key.channels or key.positions != value.positions:
            raise InputError(
                "Queries, keys and values do not fit.",
                received="; ".join(map(str, shapes)),
                needed="queries and keys of equal channels, keys and values of equal positions",
            )
        if query.channels % self.heads or value.channels % self.heads:
            raise InputError(
                "The channels can't be divided among the heads.",
                received=f"{query.channels} and {value.channels} channels, {self.heads} heads",
            )
        return Shape(query.positions, value.channels)


@dataclass(frozen=True)
class Recurrent(Layer):
    """An Elman network over a sequence: ``h_t = s(b + W h_(t-1) + U x_t)``, weights shared in time.

    Args:
        width: of the state, which begins at zero.
        activation: s.
        weight_var: variance of ``W`` times the width.
        input_var: variance of ``U`` times the channels of the input.
        bias_var: variance of b.
        weight_lr: learning rates of W, U and b in the tangent kernel; None: what the
            parameterization implies.
        input_lr: see `weight_lr`.
        bias_lr: see `weight_lr`.
        parameterization: "ntk", "standard" or "mup".

    Source: Yang 2019 (Tensor Programs I), Sec. 6; Alemohammad et al. 2021 (the recurrent NTK).
    """

    width: int
    activation: ScalarFunction
    weight_var: Any = 1.0
    input_var: Any = 1.0
    bias_var: Any = 0.0
    weight_lr: Any = None
    input_lr: Any = None
    bias_lr: Any = None
    parameterization: str = "ntk"

    def __init__(
        self,
        width: int,
        activation: str | ScalarFunction | Callable[[Any], Any] = "tanh",
        weight_var: Any = 1.0,
        input_var: Any = 1.0,
        bias_var: Any = 0.0,
        *,
        weight_lr: Any = None,
        input_lr: Any = None,
        bias_lr: Any = None,
        parameterization: str = "ntk",
    ) -> None:
        put = object.__setattr__
        put(self, "width", check_whole("width", width))
        put(self, "activation", get(activation))
        put(self, "parameterization", parameterization)
        check_choice("parameterization", parameterization, PARAMETERIZATIONS)
        numbers = {
            "weight_var": weight_var, "input_var": input_var, "bias_var": bias_var,
            "weight_lr": weight_lr, "input_lr": input_lr, "bias_lr": bias_lr,
        }  # fmt: skip
        for name, value in numbers.items():
            put(self, name, None if value is None else check_number(name, value))

    def learning_rates(self, fan_in: int) -> tuple[Any, Any, Any]:
        """``(lambda_b, lambda_U, lambda_W)`` with what the parameterization implies filled in."""
        standard = self.parameterization == "standard"
        implied = (
            (1.0, float(fan_in), float(self.width))
            if standard
            else (self.bias_var, self.input_var, self.weight_var)
        )
        given = (self.bias_lr, self.input_lr, self.weight_lr)
        b, u, w = (i if g is None else g for g, i in zip(given, implied, strict=True))
        return b, u, w

    def output_shape(self, *shapes: Shape) -> Shape:
        """The state at every time."""
        if len(shapes[0].positions) != 1:
            raise InputError(
                "A recurrent layer runs along one dimension.",
                received=str(shapes[0]),
                needed="a sequence (N, T, channels)",
            )
        return Shape(shapes[0].positions, self.width)
