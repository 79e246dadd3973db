"""Which four-sample observables of the tangent kernel can be measured, and for which networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.errors import InputError
from whydeep.observables import OBSERVABLES

__all__ = [
    "DIFFERENTIALS",
    "MOST_INPUTS",
    "TENSORS",
    "check_tensors",
    "derivatives_needed",
    "missing_tensors",
]

TENSORS = tuple(n for n, o in OBSERVABLES.items() if o.samples == 4 and n != "four_point")
"""Observables of four samples beside the vertex."""

DIFFERENTIALS = tuple(n for n in TENSORS if not n.startswith("ntk_"))
"""Those of them that are made of differentials of the tangent kernel."""

MOST_INPUTS = 16
"""Above this many inputs the N^4 entries of the tensors are too many to measure."""

_MOST_INPUTS_FOR_DIFFERENTIALS = 4


def derivatives_needed(names: Sequence[str]) -> int:
    """The highest derivative of the activation among what the names are made of."""
    if "ddntk_R" in names:
        return 3
    return 2 if set(names) & set(DIFFERENTIALS) else 1


def missing_tensors(activation: ScalarFunction) -> dict[str, str]:
    """The observables that this activation does not have, each with its reason.

    A kink of s^(k-1) is a delta function in s^(k), which no draw ever meets.
    """
    if not activation.continuous:
        reason = f"{activation.name} jumps, so its tangent kernel diverges on the diagonal"
        return dict.fromkeys(TENSORS, reason)
    out = {}
    for name in DIFFERENTIALS:
        order = derivatives_needed((name,))
        jumps = np.abs(activation.jumps(order - 1)[:, 1:]).max(axis=0, initial=0) > 1e-12
        if jumps.any():
            first = 1 + int(np.argmax(jumps))
            out[name] = (
                f"derivative number {first} of {activation.name} jumps, so derivative number "
                f"{first + 1} holds delta functions, which the derivatives of drawn networks miss"
            )
    return out


def check_tensors(
    names: Sequence[str], size: int, sampler: str, layers: str, *, average_last: bool
) -> None:
    """Refuse too many inputs, and the plain sampler where it would average.

    Raises:
        InputError: saying which.
    """
    if not names:
        return
    differentials = [name for name in names if name in DIFFERENTIALS]
    most = _MOST_INPUTS_FOR_DIFFERENTIALS if differentials else MOST_INPUTS
    if size > most:
        raise InputError(
            "Observables of four samples have too many entries for this many inputs.",
            received=f"{size} inputs for {(differentials or list(names))[0]}",
            needed=f"at most {most}: N^4 entries a layer, each measured on every network",
            suggestion="fewer inputs",
        )
    if sampler == "plain" and average_last:
        raise InputError(
            "The plain sampler measures this observable by its bare definition only.",
            received=f"{names[0]} with sampler='plain' and average_last=True",
            needed="average_last=False, or the conditional sampler",
            suggestion='measure(..., sampler="plain", average_last=False)',
        )
    if sampler == "plain" and layers != "all":
        raise InputError(
            "The plain sampler measures this observable in all layers.",
            received=f"layers={layers!r}",
            needed='layers="all"',
        )
