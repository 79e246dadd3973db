"""Which theory of a residual network's vertex do draws of it agree with?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from whydeep.arguments import anything, takes
from whydeep.brief import brief
from whydeep.comparison._compare import LEVEL, RESOLUTION
from whydeep.comparison._judge import share_text
from whydeep.comparison._ladder import Ladder
from whydeep.comparison._sides import check_rungs, check_same
from whydeep.ensemble import Measurement
from whydeep.errors import InputError
from whydeep.observables import component_indices, reduce
from whydeep.results import by_content
from whydeep.theory.finite import Prediction

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
        neglected: bound on what the first neglected order in 1/width adds to `measured`.
        alpha: the probability to call any correct prediction "disagrees", over the whole table.
        limit: standard errors that an entry may be off, beside what is neglected.
        resolution: the share of a layer's vertex that its entries are asked to be known to.
        draws: behind the noise.
        floor: the part of `neglected` that no number of draws removes.
    """

    layers: tuple[int, ...]
    components: np.ndarray
    measured: np.ndarray
    stderr: np.ndarray
    predicted: dict[str, np.ndarray]
    z: dict[str, np.ndarray]
    neglected: np.ndarray
    alpha: float
    limit: float
    resolution: float
    draws: int
    floor: np.ndarray

    __repr__ = brief

    @property
    def verdicts(self) -> dict[str, str]:
        """By name: "disagrees" where any entry is farther off than noise and neglected orders.

        "agrees" only where every entry is then known to `resolution` of its layer's vertex, else
        "not resolved".
        """
        return {name: self._judged(name)[0] for name in self.predicted}

    @property
    def reasons(self) -> dict[str, str]:
        """By name: why, in words; for "not resolved" with the draws that would resolve it."""
        return {name: self._judged(name)[1] for name in self.predicted}

    def _judged(self, name: str) -> tuple[str, str]:
        value = self.predicted[name]
        off = np.abs(self.measured - value)
        reach = self.limit * self.stderr + self.neglected
        size = np.sqrt(np.mean(value**2, axis=1, keepdims=True))
        size = np.where(size > 0, size, np.abs(self.measured).max(axis=1, keepdims=True))
        known = (off + reach) / size
        if np.any(off > reach):
            at = np.unravel_index(np.argmax(off - reach), off.shape)
            return "disagrees", (
                f"off by {off[at] / size[at[0], 0]:.0%} at layer {self.layers[at[0]]}, "
                f"{abs(self.z[name][at]):.1f} standard errors"
            )
        worst = share_text(float(known.max()))
        if known.max() <= self.resolution:
            return "agrees", f"every entry within {worst} of its layer's vertex"
        said = f"known to {worst} of a layer's vertex only"
        floor = float((self.floor / size).max())
        if floor >= self.resolution:
            return "not resolved", (
                f"{said}: orders of 1/width that theory leaves out may add {share_text(floor)}: "
                "more width for this depth"
            )
        unkind = max(float(((reach + 2 * self.stderr) / size).max()), float(known.max()))
        # Far from its limit the bound on neglected orders falls faster than noise.
        factor = ((unkind - floor) / (self.resolution - floor)) ** 2
        needed = f"{math.ceil(self.draws * min(factor, 1e12)):,}"
        return "not resolved", f"{said}: about {needed} draws would resolve {self.resolution:.0%}"

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
        for name, verdict in self.verdicts.items():
            lines.append(f"{name} {verdict}: {self.reasons[name]}")
        lines.append(
            f"±: noise; {self.limit:.1f} standard errors and neglected orders are allowed, at a "
            f"false-alarm rate of {self.alpha:g}"
        )
        return "\n".join(lines)


@takes(measured=anything, alpha=LEVEL, resolution=RESOLUTION, predicted=anything)
def compare_residual(
    measured: Any,
    *,
    alpha: float = 0.05,
    resolution: float = 0.25,
    **predicted: Any,
) -> ResidualComparison:
    """Set vertices measured at a ladder of widths beside predictions, by name.

    What was measured is a polynomial in 1/width, taken through all rungs to infinite width: with
    three rungs what is left is of order 1/n^3 of the narrowest, times the depth's third power. It
    is bounded from the measured expansion, as `compare` does, and put inside the interval.

    Args:
        measured: from `whydeep.measure_residual`, with two rungs or more.
        alpha: the error rate of the whole table (Bonferroni, with a factor of 5 to spare).
        resolution: a prediction agrees only where every entry is then known to this share of its
            layer's vertex (root mean square); else it is "not resolved".
        predicted: predictions of `whydeep.predict_residual` by the name to show.

    Raises:
        InputError: nothing to compare, what is no prediction or measurement, other networks or
            inputs, one rung, alpha or resolution out of range.

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
        {'trajectories': 'not resolved', 'closure': 'disagrees'}
        >>> found.reasons["trajectories"].split(":")[0]
        "known to 4...% of a layer's vertex only"
    """
    if not predicted:
        raise InputError(
            "There is nothing to compare with.",
            needed="predictions by name",
            suggestion="compare_residual(measured, trajectories=predict_residual(network, x))",
        )
    for name, prediction in predicted.items():
        _check_kinds(name, prediction, measured)
        check_same(prediction, measured, name)
    check_rungs(measured)
    batches = measured.batches["four_point"][:, :, 1:]  # layer 1 is exactly Gaussian
    ladder = Ladder(measured.factors)
    layers, components = batches.shape[2:]
    limit_of, stderr, neglected, floor = np.zeros((4, layers, components))
    for at in np.ndindex(layers, components):
        found = ladder.expand(batches[:, :, *at])
        ratio = ladder.ratio(found)
        limit_of[at], stderr[at] = found.coefficients[0], found.errors[0]
        neglected[at] = ladder.neglected(0, found, ratio)
        floor[at] = ladder.inherent(0, found, ratio)
    values = {n: reduce("four_point", p["four_point"].values)[1:] for n, p in predicted.items()}
    level = alpha / (_SAFETY * limit_of.size * len(values))
    return ResidualComparison(
        layers=measured.layers["four_point"][1:],
        components=component_indices("four_point", len(measured.inputs)),
        measured=limit_of,
        stderr=stderr,
        predicted=values,
        z={n: (limit_of - value) / stderr for n, value in values.items()},
        neglected=neglected,
        alpha=alpha,
        limit=float(stats.t.isf(level / 2, batches.shape[1] - 1)),
        resolution=resolution,
        draws=measured.draws,
        floor=floor,
    )


def _check_kinds(name: str, predicted: Any, measured: Any) -> None:
    for given, kind, maker in (
        (measured, Measurement, "measure_residual"), (predicted, Prediction, "predict_residual"),
    ):  # fmt: skip
        if not isinstance(given, kind) or "four_point" not in given:
            raise InputError(
                "Only vertices predicted and measured of a residual network are compared.",
                received=f"{name}: an object of type {type(given).__name__}",
                needed=f"a {kind.__name__} of whydeep.{maker}, with its four_point",
                suggestion="compare_residual(measured, trajectories=predict_residual(network, x))",
            )
