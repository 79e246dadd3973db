"""What theory says of training: labelled outputs over initialisations, modes, the stable step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from whydeep.network import Network
from whydeep.observables import ByName
from whydeep.results import by_content
from whydeep.theory.training._stable_step import StableStep

__all__ = ["TrainingPrediction"]


@by_content
@dataclass(frozen=True)
class TrainingPrediction(ByName):
    """Outputs of a network while it trains, over initialisations: a mapping from name to array.

    ``train_mean`` and ``test_mean`` are ``(time, input, output)``. Under a squared loss outputs are
    independent and have one covariance: ``train_variance`` is ``(time, input)`` and
    ``train_covariance`` ``(time, input_1, input_2)``, for each output. Under other losses each
    output has its own: ``(time, input, output)`` and ``(time, output, input_1, input_2)``.
    ``train_loss`` is the expected loss ``(time)``.

    Args:
        network: what the prediction is about.
        arrays: by name.
        stderr: by name, where a mean over drawn initialisations stands for the expectation; empty
            under a squared loss, which has a closed form.
        modes: of the tangent kernel on the training inputs, the fastest first: ``eigenvalue``,
            ``time_constant`` (of gradient flow), ``overlap`` (mode, output) of the labels,
            ``spread``, the variance of initial outputs along it; under a squared loss also
            ``left`` (time, mode), the share of the residual that is left, and ``loss``
            (time, mode), whose sum over modes is ``train_loss``. Modes with eigenvalue 0 do not
            train.
        largest_stable_step: for these labels' loss, with its norm and its assumptions.
        assumptions: what is taken for granted, what t means, and what was noticed.
        source: author, year, equation.
    """

    network: Network
    arrays: Mapping[str, xr.DataArray]
    stderr: Mapping[str, xr.DataArray]
    modes: xr.Dataset
    largest_stable_step: StableStep
    assumptions: tuple[str, ...]
    source: str

    def __getitem__(self, name: str) -> xr.DataArray:
        otherwise = "This prediction does not hold that observable."
        return self._found(name, otherwise, "x_test, or covariance='full', for more")

    @property
    def _held(self) -> Mapping[str, xr.DataArray]:
        return self.arrays

    def __repr__(self) -> str:
        how = "from drawn initialisations" if self.stderr else "closed form"
        times = self.arrays["train_loss"]
        lines = [f"<prediction of training, {how}: {self.network}>"]
        for name, value in self.arrays.items():
            shape = ", ".join(f"{d}: {n}" for d, n in zip(value.dims, value.shape, strict=True))
            lines.append(f"  {name:<17} ({shape})")
        first, last = (float(times[i]) for i in (0, -1))
        lines.append(f"  expected loss {first:.4g} at the first time, {last:.4g} at the last")
        lines.append(f"  {self.largest_stable_step}")
        return "\n".join(lines)

    def cite(self) -> str:
        """The source of the formulas and what they assume, as text."""
        return "\n".join([self.source, "Assumptions:", *(f"- {a}" for a in self.assumptions)])


def labelled(name: str, values: np.ndarray, times: np.ndarray) -> xr.DataArray:
    """An array of this name with its dimensions and the times."""
    kind = name.split("_", 1)[1]
    dims = {
        "loss": ("time",),
        "mean": ("time", "input", "output"),
        "variance": ("time", "input", "output")[: values.ndim],
        "covariance": ("time", "input_1", "input_2")
        if values.ndim == 3
        else ("time", "output", "input_1", "input_2"),
    }[kind]
    return xr.DataArray(values, dims=dims, coords={"time": times}, name=name)
