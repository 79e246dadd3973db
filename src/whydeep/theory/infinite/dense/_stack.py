"""What the fast kernels of fully connected networks know of a network: numbers, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.theory.infinite._error import Error
from whydeep.theory.infinite._threads import Block

__all__ = ["DenseStack", "Plan"]


@dataclass(frozen=True)
class DenseStack:
    """A fully connected network of L hidden layers and an output layer; L + 1 numbers each.

    Args:
        activation: s, after every hidden layer.
        weight_var: C_W.
        bias_var: C_b.
        weight_lr: lambda_W, as it multiplies <s s> (for the "standard" parameterization, a fan-in).
        bias_lr: lambda_b.
    """

    activation: ScalarFunction
    weight_var: tuple[float, ...]
    bias_var: tuple[float, ...]
    weight_lr: tuple[float, ...]
    bias_lr: tuple[float, ...]


@runtime_checkable
class Plan(Protocol):
    """One way to compute both kernels from the correlations of the first preactivations."""

    @property
    def limit(self) -> float:
        """Distance 1 - |c| below which a product of unit rows is not precise enough."""
        ...

    @property
    def error(self) -> Error:
        """What the kernels' errors may be."""
        ...

    def mapper(
        self, nngp: np.ndarray, ntk: np.ndarray | None
    ) -> Callable[[np.ndarray, Block], None]:
        """For one thread: writes the block of both kernels that belongs to signed distances."""
        ...
