"""Which theory of a residual network's vertex do draws of it agree with?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from whydeep.arguments import takes
from whydeep.comparison._compare import LEVEL
from whydeep.ensemble import MEASUREMENT, Measurement
from whydeep.errors import InputError
from whydeep.observables import component_indices, reduce
from whydeep.results import by_content
from whydeep.theory.finite import PREDICTION, Prediction

__all__ = ["ResidualComparison", "compare_residual"]

_SAFETY = 5.0  # batch means are a little less Gaussian in their tails than the t law takes them


@by_content
@dataclass(frozen=True)
class ResidualComparison:
    """Vertices measured at a ladder of widths, taken to infinite width, against predictions.

    Args:
        layers: labels, 2 to L + 1.
        components: samples (a, b, c, d) of the independent entries, (components, 4).
        measured: the limit of V, (layers, components).
        stderr: its standard error.
        predicted: by name, (layers, components).
        z: (measured - predicted) / stderr, by name.
        alpha: the probability to call any correct prediction "disagrees", over the whole table.
        limit: |z| beyond which an entry disagrees.
    """

    layers: tuple[int, ...]
    components: np.ndarray
    measured: np.ndarray
    stderr: np.ndarray
    predicted: dict[str, np.ndarray]
    z: dict[str, np.ndarray]
    alpha: float
    limit: float

    @property
    def verdicts(self) -> dict[str, str]:
        """By name: "agrees", or "disagrees" where any entry is beyond the limit."""
        return {
            name: "disagrees" if np.any(np.abs(z) > self.limit) else "agrees"
            for name, z in self.z.items()
        }

    def __str__(self) -> str:
        names = list(self.predicted)
        lines = ["layer  inputs    measured          " + "".join(f"{n:>16}       z" for n in names)]
        for k, layer in enumerate(self.layers):
            for c, samples in enumerate(self.components.tolist()):
                inputs = "".join(str(i + 1) for i in samples)
                value, error = self.measured[k, c], self.stderr[k, c]
                row = f"{layer:<6} {inputs:<9} {value:<9.4g} ± {error:<6.2g}"
                row += "".join(
                    f"{self.predicted[n][k, c]:>16.4g} {self.z[n][k, c]:>7.1f}" for n in names
                )
                lines.append(row)
        verdicts = ", ".join(f"{name} {verdict}" for name, verdict in self.verdicts.items())
        return "\n".join([*lines, f"{verdicts} (|z| <= {self.limit:.1f}, alpha = {self.alpha:g})"])


@takes(measured=MEASUREMENT, alpha=LEVEL, predicted=PREDICTION)
def compare_residual(
    measured: Measurement, *, alpha: float = 0.05, **predicted: Prediction
) -> ResidualComparison:
    """Set vertices measured at a ladder of widths beside predictions, by name.

    What was measured is a polynomial in 1/width, taken through all rungs to infinite width: with
    three rungs what is left is of order 1/n^3 of the narrowest, times the depth's third power.

    Args:
        measured: from `whydeep.measure_residual`, with two rungs or more.
        alpha: the error rate of the whole table (Bonferroni, with a factor of 5 to spare).
        predicted: predictions of `whydeep.predict_residual` by the name to show.

    Raises:
        InputError: nothing to compare, other networks or inputs, one rung, alpha out of range.

    Source: Bonferroni's inequality; Richardson 1911 for the limit.

    Example:
        >>> from whydeep.comparison._compare import LEVEL
        >>> from whydeep.ensemble import measure_residual
        >>> from whydeep.network import residual_mlp
        >>> from whydeep.theory.residual import predict_residual
        >>> net, x = residual_mlp(4, 32, "relu", skip=0.9), [[1.0, 1.0]]
        >>> found = compare_residual(
        ...     measure_residual(net, x, draws=40_000, seed=3),
        ...     trajectories=predict_residual(net, x),
        ...     closure=predict_residual(net, x, method="closure"),
        ... )
        >>> found.verdicts
        {'trajectories': 'agrees', 'closure': 'disagrees'}
    """
    if not predicted:
        raise InputError(
            "There is nothing to compare with.",
            needed="predictions by name",
            suggestion="compare_residual(measured, trajectories=predict_residual(network, x))",
        )
    for name, prediction in predicted.items():
        _check_pair(name, prediction, measured)
    if measured.rungs < 2:
        raise InputError(
            "One width can't tell orders in 1/width apart.",
            received="rungs=1",
            needed="two rungs or more",
        )
    batches = measured.batches["four_point"][:, :, 1:]  # layer 1 is exactly Gaussian
    weights = _limit_weights(np.array(measured.factors, dtype=np.float64))
    mean = np.einsum("r,rlc->lc", weights, batches.mean(axis=1))
    variance = batches.var(axis=1, ddof=1) / batches.shape[1]
    stderr = np.sqrt(np.einsum("r,rlc->lc", weights**2, variance))
    values = {n: reduce("four_point", p["four_point"].values)[1:] for n, p in predicted.items()}
    tests = mean.size * len(values)
    level = alpha / (_SAFETY * tests)
    z = {n: (mean - value) / stderr for n, value in values.items()}
    return ResidualComparison(
        layers=measured.layers["four_point"][1:],
        components=component_indices("four_point", len(measured.inputs)),
        measured=mean,
        stderr=stderr,
        predicted=values,
        z=z,
        alpha=alpha,
        limit=float(stats.t.isf(level / 2, batches.shape[1] - 1)),
    )


def _limit_weights(factors: np.ndarray) -> np.ndarray:
    """Weights of widths that take a polynomial in 1/width to its constant (Lagrange at 0)."""
    h = 1.0 / factors
    return np.array(
        [math.prod(o / (o - own) for o in h.tolist() if o != own) for own in h.tolist()]
    )


def _check_pair(name: str, predicted: Prediction, measured: Measurement) -> None:
    same = predicted.inputs.shape == measured.inputs.shape
    if not same or not np.array_equal(predicted.inputs, measured.inputs):
        raise InputError("Prediction and measurement are about different inputs.", received=name)
    if predicted.network != measured.network:
        raise InputError(
            "Prediction and measurement are about different networks.",
            received=f"{name}: {predicted.network} and {measured.network}",
        )
