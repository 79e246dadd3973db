"""Layers whose weights slide over positions: convolution, its transpose, and without sharing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from whydeep.arguments import COUNT, choice, count, each, given, one_or_each, refusal
from whydeep.errors import InputError
from whydeep.network._checks import check_whole
from whydeep.network._layers import Layer, Shape, check_weights

__all__ = ["Conv", "ConvLocal", "ConvTranspose", "Padding", "per_dimension", "window_pads"]

Padding = str | tuple[tuple[int, int], ...]


def per_dimension(name: str, value: Any, dims: int) -> tuple[int, ...]:
    """One whole number for every spatial dimension."""
    values = one_or_each(COUNT)(name, value)
    values = values if isinstance(values, tuple) else (values,) * dims
    if len(values) != dims:
        raise InputError(
            f"{name} has the wrong length.",
            received=given(name, value),
            needed=f"one number, or {dims}: one a spatial dimension",
        )
    return values


_PADDING = choice("SAME", "VALID", "CIRCULAR")


def check_padding(padding: Any, dims: int) -> Padding:
    """A name, or how many zeros stand before and after each dimension."""
    if isinstance(padding, str):
        return _PADDING("padding", padding)
    try:
        return each(each(count(0), exactly=2), exactly=dims)("padding", padding)
    except InputError:
        raise refusal(
            "padding", padding, "This padding can't be read.",
            '"SAME", "VALID", "CIRCULAR", or (before, after) zeros for each dimension',
        ) from None  # fmt: skip


def window_size(layer: Any) -> tuple[int, ...]:
    """Put the checked size of a window, one number a dimension, into the frozen `layer`."""
    size = one_or_each(COUNT)("size", layer.size)
    size = size if isinstance(size, tuple) else (size,)
    object.__setattr__(layer, "size", each(COUNT, least=1)("size", size))
    return size


def window_pads(
    positions: tuple[int, ...],
    size: tuple[int, ...],
    strides: tuple[int, ...],
    padding: Padding,
    dilation: tuple[int, ...] | None = None,
) -> tuple[tuple[int, int], ...]:
    """Positions added before and after each dimension, so that windows fit.

    "SAME" makes ceil(positions / strides) windows, the odd zero at the end; "CIRCULAR" adds as
    many, but wraps around.
    """
    if not isinstance(padding, str):
        return padding
    dilation = dilation or (1,) * len(size)
    pads = []
    for n, k, s, d in zip(positions, size, strides, dilation, strict=True):
        reach = d * (k - 1) + 1
        missing = 0 if padding == "VALID" else max((math.ceil(n / s) - 1) * s + reach - n, 0)
        pads.append((missing // 2, missing - missing // 2))
    return tuple(pads)


def windows(
    layer: Any, positions: tuple[int, ...], dilation: tuple[int, ...] | None = None
) -> tuple[int, ...]:
    """How many windows fit in each dimension, or an `InputError`."""
    if len(positions) != len(layer.size):
        raise InputError(
            f"A window of {len(layer.size)} dimensions does not fit.",
            received=f"positions {positions}, size {layer.size}",
            needed="as many spatial dimensions as the window has",
        )
    pads = window_pads(positions, layer.size, layer.strides, layer.padding, dilation)
    counts = []
    for n, k, s, d, (low, high) in zip(
        positions, layer.size, layer.strides, dilation or (1,) * len(positions), pads, strict=True
    ):
        count = (n + low + high - (d * (k - 1) + 1)) // s + 1
        if count < 1:
            raise InputError(
                "The window is larger than what it slides over.",
                received=f"positions {positions}, size {layer.size}, padding {layer.padding!r}",
                needed="at least one window in each dimension",
            )
        counts.append(count)
    return tuple(counts)


@dataclass(frozen=True)
class _Sliding(Layer):
    """What all three share; `size` names the spatial dimensions."""

    channels: int
    size: Any = (3, 3)
    strides: Any = 1
    padding: Any = "SAME"
    weight_var: Any = 1.0
    bias_var: Any = 0.0
    weight_lr: Any = None
    bias_lr: Any = None
    parameterization: str = "ntk"

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", check_whole("channels", self.channels))
        size = window_size(self)
        object.__setattr__(self, "strides", per_dimension("strides", self.strides, len(size)))
        object.__setattr__(self, "padding", check_padding(self.padding, len(size)))
        check_weights(self)

    def learning_rates(self, fan_in: int) -> tuple[Any, Any]:
        """``(lambda_b, lambda_W)``; `fan_in` counts channels, the window is counted here."""
        standard = self.parameterization == "standard"
        bias = (1.0 if standard else self.bias_var) if self.bias_lr is None else self.bias_lr
        weight = float(fan_in * math.prod(self.size)) if standard else self.weight_var
        return bias, weight if self.weight_lr is None else self.weight_lr


@dataclass(frozen=True)
class Conv(_Sliding):
    """A convolution ``z_i(p) = b_i + sum_(j, d) W_ij(d) s_j(strides p + dilation d)``.

    ``Var W = weight_var / (fan_in * prod(size))``, zeros beyond the border counted: with "SAME"
    padding positions at the border have less variance. Inputs ``(N, *positions, channels)``.

    Args:
        channels: of the output.
        size: of the window; its length is the number of spatial dimensions.
        strides: one number or one a dimension.
        padding: "SAME", "VALID", "CIRCULAR", or (before, after) zeros for each dimension.
        weight_var: C_W.
        bias_var: C_b.
        weight_lr: lambda_W: the layer adds ``lambda_W`` times the mean over the window of <s s>
            to the tangent kernel; None takes what the parameterization implies (see `Dense`).
        bias_lr: lambda_b.
        parameterization: "ntk", "standard" or "mup".
        dilation: step between the entries of a window.

    Raises:
        InputError: numbers out of range.

    Source: Novak et al. 2019, Eq. 9; Arora et al. 2019, Sec. 4.
    """

    dilation: Any = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        dilation = per_dimension("dilation", self.dilation, len(self.size))
        object.__setattr__(self, "dilation", dilation)

    def output_shape(self, *shapes: Shape) -> Shape:
        """A position for every window."""
        return Shape(windows(self, shapes[0].positions, self.dilation), self.channels)


@dataclass(frozen=True)
class ConvLocal(_Sliding):
    """A convolution whose weights (and biases) are independent at every position (LCN)."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """A position for every window."""
        return Shape(windows(self, shapes[0].positions), self.channels)


@dataclass(frozen=True)
class ConvTranspose(_Sliding):
    """The transpose of a convolution: ``z_i(strides p + d)`` collects ``W_ij(d) s_j(p)``.

    "SAME" makes ``strides * positions``, "VALID" ``strides * positions + max(size - strides, 0)``,
    and "CIRCULAR" wraps the latter around to the former, as in ``jax.lax.conv_transpose``.
    """

    def output_shape(self, *shapes: Shape) -> Shape:
        """Strides times as many positions."""
        positions = shapes[0].positions
        if len(positions) != len(self.size):
            windows(self, positions)  # says what is wrong
        if not isinstance(self.padding, str):
            counts = tuple(
                (n - 1) * s + k - low - high
                for n, k, s, (low, high) in zip(
                    positions, self.size, self.strides, self.padding, strict=True
                )
            )
            return Shape(counts, self.channels)
        extra = self.padding == "VALID"
        return Shape(
            tuple(
                n * s + (max(k - s, 0) if extra else 0)
                for n, k, s in zip(positions, self.size, self.strides, strict=True)
            ),
            self.channels,
        )
