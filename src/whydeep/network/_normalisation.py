"""Normalisation over channels (and positions), which at infinite width divides by a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from whydeep.arguments import count, each
from whydeep.errors import InputError
from whydeep.network._checks import check_choice, check_number, check_whole
from whydeep.network._layers import Layer, Shape

__all__ = ["BatchNorm", "GroupNorm", "LayerNorm", "RMSNorm"]


@dataclass(frozen=True)
class _Norm(Layer):
    """What all share: an own scale, drawn as 1, and shift, drawn as 0."""

    eps: float = 1e-5
    scale_lr: Any = 0.0
    shift_lr: Any = 0.0

    def __post_init__(self) -> None:
        for name in ("eps", "scale_lr", "shift_lr"):
            object.__setattr__(self, name, check_number(name, getattr(self, name)))


@dataclass(frozen=True)
class LayerNorm(_Norm):
    """``(s - mean) / sqrt(var + eps)`` over the channels, or over channels and positions.

    Args:
        eps: added to the variance.
        scale_lr: learning rate of its own scale in the tangent kernel. 0: not counted.
        shift_lr: of its own shift.
        over: "channels", "all" for channels and positions together, or numbers of spatial
            dimensions that are taken together with the channels.

    Source: Ba, Kiros and Hinton 2016. At infinite width mean and variance are Gaussian means,
    and their own gradients vanish like 1/width.
    """

    over: str | tuple[int, ...] = "channels"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.over, str):
            check_choice("over", self.over, ("channels", "all"))
        else:
            object.__setattr__(self, "over", each(count(0))("over", self.over))


@dataclass(frozen=True)
class RMSNorm(_Norm):
    """``s / sqrt(mean(s^2) + eps)`` over the channels (Zhang and Sennrich 2019)."""


@dataclass(frozen=True)
class GroupNorm(_Norm):
    """`LayerNorm` over all positions and one group of channels (Wu and He 2018).

    The number of groups stays, and each grows with the width.
    """

    groups: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "groups", check_whole("groups", self.groups))

    def output_shape(self, *shapes: Shape) -> Shape:
        """The same shape, whose channels are divided evenly."""
        if shapes[0].channels % self.groups:
            raise InputError(
                "The channels can't be divided into groups.",
                received=f"{shapes[0].channels} channels, groups={self.groups}",
                needed="a number of groups that divides the channels",
            )
        return shapes[0]


@dataclass(frozen=True)
class BatchNorm(_Norm):
    """Batch normalisation in evaluation mode: ``scale * (s - mean) / sqrt(var + eps) + shift``.

    The stored numbers are the same for all channels: those of a fresh module are 0 and 1.

    Args:
        eps: added to the variance.
        scale_lr: learning rate of its scale in the tangent kernel. 0: not counted.
        shift_lr: of its shift.
        mean: the running mean.
        var: the running variance.
        scale: gamma.
        shift: beta.
    """

    mean: float = 0.0
    var: float = 1.0
    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "var", check_number("var", self.var))
        for name in ("mean", "scale", "shift"):
            object.__setattr__(self, name, check_number(name, getattr(self, name), signed=True))
