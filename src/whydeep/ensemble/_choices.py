"""All that is asked of `measure`, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.network import Network

__all__ = ["Sampling"]


@dataclass(frozen=True)
class Sampling:
    """The arguments of `measure`, read and checked."""

    network: Network
    x: np.ndarray
    draws: int
    seed: int
    rungs: int
    sampler: str
    layers: str
    kind: Any
    average_last: bool

    @property
    def wide(self) -> bool:
        return self.kind is np.float64
