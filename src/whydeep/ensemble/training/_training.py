"""What trained ensembles show: labelled means with standard errors, and every network's numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from whydeep.arguments import choice
from whydeep.brief import brief
from whydeep.errors import InputError
from whydeep.network import Network
from whydeep.observables import ByName
from whydeep.results import by_content

__all__ = ["OBSERVABLES", "Recorded", "Training"]


@dataclass(frozen=True)
class Recorded:
    """A quantity that training records.

    Args:
        name: as in ``trained[name]``.
        dims: its labelled dimensions after draw and step; outputs have "position_1", ... between
            input and neuron where there are positions.
        meaning: its definition in one line.
        costly: whether it is recorded when named only, and of the first networks only.
    """

    name: str
    dims: tuple[str, ...]
    meaning: str
    costly: bool = False

    __repr__ = brief


_PAIR = ("input_1", "input_2")
OBSERVABLES: Mapping[str, Recorded] = {
    o.name: o
    for o in (
        Recorded("outputs", ("input_1", "neuron"), "f(x) on the training inputs"),
        Recorded("test_outputs", ("input_1", "neuron"), "f(x) on the test inputs"),
        Recorded("loss", (), "the sum over training examples"),
        Recorded("test_loss", (), "the sum over test examples"),
        Recorded("accuracy", (), "the share of right answers on the training inputs"),
        Recorded("test_accuracy", (), "the share of right answers on the test inputs"),
        Recorded("weight_movement", ("layer",), "|W - W_0|, Frobenius, biases left out"),
        Recorded("weight_movement_relative", ("layer",), "|W - W_0| / |W_0|"),
        Recorded("preactivation_movement", ("layer",), "mean over inputs of |z - z_0|"),
        Recorded("preactivation_movement_rms", ("layer",), "the same, over sqrt(neurons)"),
        Recorded("preactivation_movement_relative", ("layer",), "mean of |z - z_0| / |z_0|"),
        Recorded("kernel", ("layer", *_PAIR), "mean over neurons of z(a) z(b)", costly=True),
        Recorded("kernel_change", ("layer",), "|K - K_0| / |K_0|, Frobenius", costly=True),
        Recorded("ntk", _PAIR, "sum rate df(a) df(b), mean over outputs", costly=True),
        Recorded("ntk_change", (), "|Theta - Theta_0| / |Theta_0|, Frobenius", costly=True),
        Recorded(
            "hessian_norm", ("input_1",), "spectral norm of d^2 f / du^2, first output", costly=True
        ),
        Recorded(
            "hessian_residual", ("input_1",), "Lanczos's |H v - theta v| / |theta|", costly=True
        ),
        Recorded("hessian_along_update", ("input_1",), "|H d| / |d|, d = -dL/du", costly=True),
    )
}
"""Everything that `train` records, by name. Layers are those with weights, 1, 2, ...; u = w /
sqrt(rate) are the parameters in which the tangent kernel has rate 1."""


@by_content
@dataclass(frozen=True)
class Training(ByName):
    """An ensemble of networks while it is trained: from observable to mean over networks.

    ``trained[name]`` is the mean over networks at every recorded step, ``trained.stderr[name]``
    its standard error, ``trained.draws_of(name)`` the networks themselves. Where a network has
    diverged, a mean that includes it is not finite: ``trained.diverged`` counts them, and
    ``trained.finite()`` is the same of those that stayed finite.

    Args:
        network: what was trained.
        inputs: training inputs.
        steps: (R,) at which was recorded.
        samples: by observable ``(draws, R, ...)``: fewer draws of costly ones.
        numbers: (draws,), which draws of the seed these are.
        drawn: how many networks were trained; more than `draws` after `finite`.
        seed: of all random numbers.
        step: of the optimiser; None where it has its own.
        optimizer: in words.
        loss: in words.
        batch: examples a step, None for all.
        dtype: of the arithmetic; means are float64.
        seconds: what it took, compilation included.
        stable_step: the largest measured at initialisation, 2 / lambda_max of a few networks
            times the optimiser's margin; None where it was not needed or is not known.
    """

    network: Network
    inputs: np.ndarray
    steps: np.ndarray
    samples: Mapping[str, np.ndarray]
    numbers: np.ndarray
    drawn: int
    seed: int
    step: float | None
    optimizer: str
    loss: str
    batch: int | None
    dtype: str
    seconds: float
    stable_step: float | None = None

    def __getitem__(self, name: str) -> xr.DataArray:
        with np.errstate(invalid="ignore", over="ignore"):
            return self._labelled(name, self._values(name).mean(axis=0))

    @property
    def _held(self) -> Mapping[str, np.ndarray]:
        return self.samples

    def __repr__(self) -> str:
        rate = "" if self.step is None else f" of step {self.step:.4g}"
        batch = "all examples" if self.batch is None else f"batches of {self.batch}"
        of = "" if self.drawn == self.draws else f" of {self.drawn}"
        head = (
            f"<training of {self.draws}{of} networks {self.network} on {len(self.inputs)} inputs: "
            f"{self.steps[-1]} steps, {self.optimizer}{rate}, {batch}, {self.loss} loss, seed "
            f"{self.seed}, {self.dtype}, {self.seconds:.1f} s>"
        )
        lines = [head]
        errors = self.stderr
        for name in ("loss", "test_loss", "accuracy", "test_accuracy"):
            if name in self:
                first, last = (float(self[name][i]) for i in (0, -1))
                error = float(errors[name][-1])
                lines.append(
                    f"  {name:<14} from {first:.4g} to {last:.4g}, standard error {error:.1g}"
                )
        if count := int(self.diverged[-1]):
            lines.append(f"  {count} of {self.draws} networks have diverged")
        return "\n".join(lines)

    @property
    def draws(self) -> int:
        """How many networks these are."""
        return len(self.numbers)

    @property
    def stderr(self) -> Mapping[str, xr.DataArray]:
        """Standard errors of ``trained[name]``, same labels."""
        return _Errors(self)

    @property
    def diverged(self) -> xr.DataArray:
        """How many networks have a loss that is not finite, by step."""
        lost = ~np.isfinite(self.samples["loss"])
        return xr.DataArray(lost.sum(axis=0), dims="step", coords=self._steps(), name="diverged")

    def finite(self) -> Training:
        """The networks whose loss stayed finite.

        Raises:
            InputError: fewer than two did.
        """
        kept = np.all(np.isfinite(self.samples["loss"]), axis=1)
        if kept.sum() < 2:
            raise InputError(
                "Too few networks stayed finite for a mean with an error.",
                received=f"{int(kept.sum())} of {self.draws}",
                needed="at least 2",
                suggestion="a smaller step",
            )
        values = {name: value[kept[: len(value)]] for name, value in self.samples.items()}
        return dataclasses.replace(self, samples=values, numbers=self.numbers[kept])

    def draws_of(self, name: str) -> xr.DataArray:
        """The numbers of every network, with a leading dimension ``draw``."""
        value = self._values(name, np.dtype(self.dtype))
        return self._labelled(name, value, lead=("draw", "step")).assign_coords(
            draw=self.numbers[: len(value)]
        )

    def covariance(
        self, name: str = "outputs", other: str | None = None
    ) -> tuple[xr.DataArray, xr.DataArray]:
        """Covariance over networks of the outputs, and its standard error.

        ``sum (f(a) - <f(a)>) (f(b) - <f(b)>) / (draws - 1)`` of each output neuron, with
        dimensions ``(step, neuron, input_1, input_2)``; the error is that of the mean of the
        products, without assuming that they are Gaussian.

        Args:
            name: "outputs" or "test_outputs", for input_1.
            other: likewise for input_2; the same by default.

        Raises:
            InputError: an observable that is no output or was not recorded.
        """
        both = [name, name if other is None else other]
        for one in both:
            choice("outputs", "test_outputs")("name", one)
            if self._values(one).ndim != 4:
                raise InputError(
                    "The covariance is that of outputs without positions.",
                    received=one,
                    needed='"outputs" or "test_outputs"',
                )
        left, right = (self._values(one) for one in both)
        left, right = left - left.mean(axis=0), right - right.mean(axis=0)
        count = len(left)
        mean = np.einsum("dsac,dsbc->scab", left, right) / count
        square = np.einsum("dsac,dsbc->scab", left**2, right**2) / count
        scale = count / (count - 1)
        error = scale * np.sqrt(np.maximum(square - mean**2, 0) / (count - 1))
        dims = ("step", "neuron", "input_1", "input_2")
        mean, error = (
            xr.DataArray(array, dims=dims, coords=self._steps(), name=f"{name}_covariance")
            for array in (scale * mean, error)
        )
        return mean, error

    def _values(self, name: str, dtype: np.dtype | None = None) -> np.ndarray:
        known = isinstance(name, str) and name in OBSERVABLES
        again = f"train(..., observables=[{name!r}])" if known else ""
        values = self._found(name, "This training did not record that observable.", again)
        return values.astype(np.float64 if dtype is None else dtype)

    def _labelled(
        self, name: str, array: np.ndarray, lead: tuple[str, ...] = ("step",)
    ) -> xr.DataArray:
        own = OBSERVABLES[name].dims
        between = array.ndim - len(lead) - len(own)
        if between:  # outputs with positions
            own = (own[0], *(f"position_{k + 1}" for k in range(between)), *own[1:])
        coords = self._steps()
        if "layer" in own:
            layers = array.shape[len(lead) + own.index("layer")]
            coords["layer"] = ("layer", np.arange(1, layers + 1))
        return xr.DataArray(
            array, dims=(*lead, *own), coords=coords, name=name,
            attrs={"long_name": OBSERVABLES[name].meaning},
        )  # fmt: skip

    def _steps(self) -> dict[str, tuple[str, np.ndarray]]:
        coords = {"step": ("step", self.steps)}
        if self.step is not None:
            coords["time"] = ("step", self.steps * self.step)
        return coords


class _Errors(ByName):
    """Standard errors, each computed when it is asked for."""

    def __init__(self, training: Training) -> None:
        self.training = training

    def __getitem__(self, name: str) -> xr.DataArray:
        values = self.training._values(name)  # noqa: SLF001
        count = len(values)
        with np.errstate(invalid="ignore", over="ignore"):
            square = np.square(values - values.mean(axis=0)).sum(axis=0)
            error = np.sqrt(square / (count * (count - 1) if count > 1 else np.nan))
        return self.training._labelled(name, error)  # noqa: SLF001

    @property
    def _held(self) -> Mapping[str, np.ndarray]:
        return self.training.samples
