"""A measurement: labelled means with standard errors, covariances, and what produced them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from whydeep.arguments import count, instance
from whydeep.brief import brief
from whydeep.errors import InputError
from whydeep.network import Network
from whydeep.observables import OBSERVABLES, ByName, expand
from whydeep.results import by_content

__all__ = ["MEASUREMENT", "Density", "Measurement"]


@dataclass(frozen=True)
class Density:
    """The density of an output preactivation of the first input, on the first rung.

    Args:
        points: z in units of `unit`.
        unit: the standard deviation that a pilot batch found.
        mean: the density of z / unit at the points; the Gaussian law of the last layer's own
            weights is integrated exactly.
        stderr: its standard error.
    """

    points: np.ndarray
    unit: float
    mean: np.ndarray
    stderr: np.ndarray

    __repr__ = brief


@by_content
@dataclass(frozen=True)
class Measurement(ByName):
    """What an ensemble of networks shows: a mapping from observable to labelled mean.

    ``measured[name]`` is at the network's own width, ``measured.stderr[name]`` beside it,
    ``measured.ladder(name)`` at every width of the ladder.

    Args:
        network: what was drawn.
        inputs: (N, n_0).
        batches: by observable, estimates of independent batches ``(rungs, batches, layers,
            components)``, in the order of `whydeep.observables`.
        layers: by observable, the labels of its layers.
        draws: of the widest network of the ladder; a rung of half the width has twice as many.
            The most, where observables were drawn apart.
        seed: of all random numbers.
        sampler: "conditional" or "plain".
        dtype: of the arithmetic; sums over batches are float64.
        seconds: what it took, compilation included.
        density: of an output preactivation, or None.
        drawn: by observable, the draws of each; `draws` of all where it is empty.
    """

    network: Network
    inputs: np.ndarray
    batches: Mapping[str, np.ndarray]
    layers: Mapping[str, tuple[int, ...]]
    draws: int
    seed: int
    sampler: str
    dtype: str
    seconds: float
    density: Density | None = None
    drawn: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> xr.DataArray:
        return self._expand(name, self._batches(name)[0].mean(axis=0))

    @property
    def _held(self) -> Mapping[str, np.ndarray]:
        return self.batches

    def __repr__(self) -> str:
        head = (
            f"<measurement of {self.network} on {len(self.inputs)} inputs: {self.draws} draws, "
            f"widths {', '.join(f'{f}x' for f in self.factors)}, seed {self.seed}, "
            f"{self.sampler} sampler, {self.dtype}, {self.seconds:.1f} s>"
        )
        lines = [head]
        for name in self.batches:
            last = self.batches[name][0][:, -1]
            scale = np.abs(last.mean(0)).max()
            error = last.std(0, ddof=1).max() / np.sqrt(len(last))
            lines.append(f"  {name:<18} last layer up to {scale:.4g}, standard error {error:.1g}")
        return "\n".join(lines)

    def draws_of(self, name: str) -> int:
        """How many networks of the widest rung an observable was measured on."""
        self._batches(name)
        return self.drawn.get(name, self.draws)

    @property
    def rungs(self) -> int:
        """How many widths were measured."""
        return max(batches.shape[0] for batches in self.batches.values())

    @property
    def factors(self) -> tuple[int, ...]:
        """The widths of the ladder, as multiples of the network's own."""
        return tuple(1 << rung for rung in range(self.rungs))

    @property
    def stderr(self) -> Mapping[str, xr.DataArray]:
        """Standard errors of ``measured[name]``, same labels."""
        return {name: self._expand(name, _error(self.batches[name][0])) for name in self.batches}

    def ladder(self, name: str) -> tuple[xr.DataArray, xr.DataArray]:
        """Means and standard errors at every width, with a leading dimension ``width``.

        The label is the multiple of the network's own widths.
        """
        rungs = self._batches(name)
        dim = xr.DataArray(list(self.factors[: len(rungs)]), dims="width", name="width")
        mean = xr.concat([self._expand(name, r.mean(axis=0)) for r in rungs], dim)
        return mean, xr.concat([self._expand(name, _error(r)) for r in rungs], dim)

    def covariance(self, name: str, layer: int) -> np.ndarray:
        """Covariance of the independent components of a mean at a layer (components squared)."""
        self._batches(name)
        layer = count(0)("layer", layer)
        if layer not in self.layers[name]:
            raise InputError(
                "That layer was not measured.",
                received=f"layer={layer}",
                needed=f"one of {list(self.layers[name])}",
            )
        batches = self.batches[name][0][:, self.layers[name].index(layer)]
        return np.atleast_2d(np.cov(batches, rowvar=False)) / len(batches)

    def _batches(self, name: str) -> np.ndarray:
        again = (
            f"measure(..., observables=[{name!r}])"
            if isinstance(name, str) and name in OBSERVABLES
            else ""
        )
        return self._found(name, "This measurement does not hold that observable.", again)

    def _expand(self, name: str, components: np.ndarray) -> xr.DataArray:
        return expand(name, components, len(self.inputs), self.layers[name])


def _error(batches: np.ndarray) -> np.ndarray:
    return batches.std(axis=0, ddof=1) / np.sqrt(len(batches))


MEASUREMENT = instance(
    Measurement, needed="a measurement", suggestion="whydeep.measure(network, inputs) makes one"
)
"""The kind of arguments that are measurements."""
