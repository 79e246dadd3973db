"""Seeds, and observables by name, as `measure` and `train` read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from whydeep.errors import InputError

__all__ = ["check_seed", "read_wanted"]


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
