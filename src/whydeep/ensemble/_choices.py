"""Seeds, observables by name, and all that is asked of `measure`, read and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.errors import InputError
from whydeep.network import Network

__all__ = ["Sampling", "check_seed", "read_wanted"]


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


def check_seed(seed: Any) -> None:
    """Refuse what is no seed."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise InputError(
            "A seed is a whole number.",
            received=f"seed={seed!r}",
            needed="0 <= seed < 2**63",
        )


def read_wanted(observables: Iterable[str] | str, known: Mapping[str, Any]) -> set[str]:
    """The observables that were asked for: a name, or several.

    Raises:
        InputError: one of them is not known.
    """
    wanted = [observables] if isinstance(observables, str) else list(observables)
    for name in wanted:
        if name not in known:
            raise InputError(
                "There is no observable of this name.",
                received=repr(name),
                needed="one of " + ", ".join(known),
            )
    return set(wanted)
