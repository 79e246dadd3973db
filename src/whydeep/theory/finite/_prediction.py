"""A prediction: labelled values with their numerical error, assumptions and sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from whydeep.arguments import instance
from whydeep.errors import InputError
from whydeep.network import Network
from whydeep.observables import OBSERVABLES, ByName
from whydeep.results import by_content

__all__ = ["PREDICTION", "Prediction"]


@by_content
@dataclass(frozen=True)
class Prediction(ByName):
    """What theory says of a network on given inputs: a mapping from observable to labelled array.

    Args:
        network: what the prediction is about.
        inputs: (N, n_0).
        arrays: by observable: ``(layer, input_1, input_2)`` for kernels and their corrections,
            ``(layer, input_1, ..., input_4)`` for vertices; layers 1 to L + 1.
        tolerance: a bound on the numerical error of each value (quadrature, carried through the
            recursion to first order), same labels.
        valid: for each observable of first order, where the expansion in 1/width holds at the
            network's own width: False where the kinks of fewer than four neurons tell two inputs
            apart. Same labels.
        assumptions: what is taken for granted.
        sources: by observable.
        missing: observables that this network does not have, and why.
    """

    network: Network
    inputs: np.ndarray
    arrays: Mapping[str, xr.DataArray]
    tolerance: Mapping[str, xr.DataArray]
    valid: Mapping[str, xr.DataArray]
    assumptions: tuple[str, ...]
    sources: Mapping[str, str]
    missing: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> xr.DataArray:
        if isinstance(name, str) and name in self.missing:
            raise InputError(
                f"There is no {OBSERVABLES[name].title} for this network.",
                cause=self.missing[name],
                suggestion="one of " + ", ".join(self.arrays),
            )
        return self._found(
            name,
            "This prediction does not hold that observable.",
            "predict(network, inputs, order=1) for the first corrections in 1/width",
        )

    @property
    def _held(self) -> Mapping[str, xr.DataArray]:
        return self.arrays

    def __repr__(self) -> str:
        lines = [f"<prediction for {self.network} on {len(self.inputs)} inputs>"]
        for name, value in self.arrays.items():
            observable = OBSERVABLES[name]
            size = f"order {observable.order}, numerical error <= {self.tolerance[name].max():.1e}"
            lines.append(f"  {name:<18} {observable.symbol:<5} {size}")
            del value
        lines += [f"  {name:<18} none: {reason}" for name, reason in self.missing.items()]
        return "\n".join(lines)

    def cite(self) -> str:
        """The sources of the formulas and what they assume, as text."""
        lines = [f"{name}: {source}" for name, source in self.sources.items()]
        return "\n".join([*lines, "Assumptions:", *(f"- {a}" for a in self.assumptions)])


PREDICTION = instance(
    Prediction, needed="a prediction", suggestion="whydeep.predict(network, inputs) makes one"
)
"""The kind of arguments that are predictions."""
