"""Prediction against measurement: the one place where the two instruments meet."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from whydeep.arguments import anything, number, takes
from whydeep.comparison._comparison import Comparison
from whydeep.comparison._judge import judge
from whydeep.comparison._ladder import Ladder
from whydeep.comparison._pattern import Pattern, pattern
from whydeep.comparison._rows import ROUNDINGS, ZERO, Row, Series, exact_row, noisy
from whydeep.comparison._sides import sides
from whydeep.comparison._weights import apply_crossed, crossed_weights
from whydeep.ensemble import Measurement
from whydeep.errors import InputError
from whydeep.observables import OBSERVABLES, reduce
from whydeep.theory.finite import Prediction

__all__ = ["LEVEL", "RESOLUTION", "SHARE", "compare"]

SHARE = 0.1
"""The share of a prediction that its size is asked to be known to by default."""

# What a correction to a mean is measured by: the slope in 1/width of that mean.
_SLOPE_OF = {"kernel_correction": "kernel", "ntk_correction": "ntk"}
_CORRECTION_OF = {mean: correction for correction, mean in _SLOPE_OF.items()}
# The laws of t and T^2 hold where batch means are Gaussian; far tails are less Gaussian than the
# middle, so the declared rate is met with this factor to spare.
_TAIL_SAFETY = 5.0


LEVEL = number(least=1e-12, below=1)
"""The kind of alpha: the probability that a correct theory disagrees anywhere in a table."""

RESOLUTION = number(above=0, most=1)
"""The kind of resolution: the share of a prediction that a row must be able to see."""


@takes(predicted=anything, measured=anything, alpha=LEVEL, resolution=RESOLUTION)
def compare(
    predicted: Any,
    *measured: Any,
    alpha: float = 0.05,
    resolution: float = SHARE,
) -> Comparison:
    """Whether measured networks agree with theory, observable by observable, layer by layer.

    What was measured at a ladder of widths is expanded in 1/width. The intercept is compared with
    the leading order, and for the kernel the slope with the predicted ``kernel_correction``, for
    the tangent kernel with ``ntk_correction``. A
    prediction claims no more than its order: what the first neglected order can add is bounded
    from the measured expansion and put inside the interval.

    A row agrees only where its size is then known to `resolution` of the prediction, and its
    components one by one to 2.5 times that: a theory that is off by as much is called "agrees" no
    more often than a right one is called "disagrees". Where nothing is predicted, a tenth of the
    share is asked for, of the kernel.

    Args:
        predicted: from `whydeep.predict`.
        measured: from `whydeep.measure`, of the same network on the same inputs, with two rungs
            or more; an observable is taken from the first that holds it. Either order will do.
        alpha: probability that a correct theory is called "disagrees" anywhere in the table
            at most (Bonferroni over all tests of the table, with a factor of 5 to spare).
        resolution: a row that is not known to this share of the prediction can't see what it
            should, and is "not resolved", with the draws that would resolve it.

    Returns:
        A `Comparison`: ``print`` shows the table. What was predicted and not measured, or the other
        way round, and components left out are named in it.

    Raises:
        InputError: no prediction or several, no measurement, other types, different networks or
            inputs, one width only, nothing in common.

    Accuracy: the bound on neglected orders is itself an estimate, from as many widths as were
        measured. Half a million draws and more at widths near 8 see what it misses: they want four
        widths (``rungs=4``), or larger ones.

    Example:
        >>> import numpy as np
        >>> from whydeep import ensemble, network
        >>> from whydeep.theory.finite import predict
        >>> net = network.mlp(2, 32, "tanh")
        >>> x = np.array([[1.0, 1.0]])
        >>> found = compare(predict(net, x, order=0), ensemble.measure(net, x, draws=2_000))
        >>> found.verdict, found.left_out[0]
        ('agrees', 'four-point vertex: measured, not predicted')
    """
    theory, found = sides((predicted, *measured))
    rows: list[Row] = []
    left_out: list[str] = []
    for name in theory:
        measurement = next((m for m in found if _SLOPE_OF.get(name, name) in m), None)
        if measurement is not None:
            some, notes = _rows(name, theory, measurement)
            rows += some
            left_out += notes
    left_out = _one_sided(theory, found) + left_out
    if not rows:
        raise InputError(
            "Prediction and measurement share no observable.",
            received=f"{', '.join(theory)} against {', '.join(k for m in found for k in m)}",
            cause="; ".join(left_out),
        )
    tests = sum((not r.exact) + (r.pattern is not None) for r in rows)
    draws = {name: m.draws_of(name) for m in reversed(found) for name in m}
    draws |= {name: draws.get(mean, 0) for name, mean in _SLOPE_OF.items()}
    batches = min(b.shape[1] for m in found for b in m.batches.values())
    level = alpha / (_TAIL_SAFETY * max(tests, 1))
    limit = float(stats.t.isf(level / 2, batches - 1))
    judged = [judge(r, level, limit, resolution, draws[r.observable]) for r in rows]
    return Comparison(
        rows=tuple(judged),
        alpha=alpha,
        resolution=resolution,
        tests=tests,
        limit=limit,
        missing=dict(theory.missing),
        left_out=tuple(left_out),
        network=theory.network,
        widths=tuple(f * max(theory.network.widths) for f in found[0].factors),
        draws={m: d for m, d in draws.items() if m in {r.observable for r in rows}},
    )


def _one_sided(predicted: Prediction, measured: tuple[Measurement, ...]) -> list[str]:
    """What only one of the two holds, in words."""
    held = {name for m in measured for name in m}
    held |= {correction for correction, mean in _SLOPE_OF.items() if mean in held}
    out = []
    for name, observable in OBSERVABLES.items():
        if name in predicted and name not in held:
            out.append(f"{observable.title}: predicted, not measured")
        given = any(name in m for m in measured)
        if given and name not in predicted and name not in predicted.missing:
            out.append(f"{observable.title}: measured, not predicted")
    return out


def _rows(name: str, predicted: Prediction, measured: Measurement) -> tuple[list[Row], list[str]]:
    """The rows of an observable, without verdicts, and what was left out of them, in words."""
    source = _SLOPE_OF.get(name, name)
    batches = measured.batches[source]
    layers = measured.layers[source]
    chosen = [k - 1 for k in layers]
    values = reduce(name, predicted[name].values)[chosen]
    tolerances = reduce(name, predicted.tolerance[name].values)[chosen]
    slopes = None
    if _CORRECTION_OF.get(name) in predicted:
        slopes = reduce(name, predicted[_CORRECTION_OF[name]].values)[chosen]
    known = np.isfinite(values) & np.isfinite(tolerances)
    valid = np.ones(values.shape, dtype=bool)
    if name in predicted.valid:
        valid = reduce(name, predicted.valid[name].values)[chosen]
    good = known & valid
    title = OBSERVABLES[name].title
    notes = _gaps(title, layers, known, valid)
    absent = len(predicted[name]) - len(layers)
    if absent:
        notes.insert(0, f"{title}: {absent} of {len(predicted[name])} layers not measured")
    ladder = Ladder(measured.factors)
    # Batches, ladder and weights are float64 whatever was drawn: dozens of roundings.
    epsilon = max(float(np.finfo(measured.dtype).eps), 64 * float(np.finfo(np.float64).eps))
    rows: list[Row] = []
    series: list[Series] = []
    for index, layer in enumerate(layers):
        if layer == 1 and OBSERVABLES[name].order > 0:
            continue  # zero by definition on both sides
        fine = good[index]
        if not fine.any():
            continue
        width = 1 if layer == 1 else predicted.network.widths[layer - 2]
        at = _Layer(
            name, layer, batches[:, :, index][..., fine], values[index][fine],
            tolerances[index][fine], ladder, width, epsilon,
            None if slopes is None else slopes[index][fine],
        )  # fmt: skip
        row, one = at.row()
        rows.append(row)
        if one is not None:
            series.append(one)
    if len(series) > 1:
        rows.append(_together(series, ladder).row(name, None, ladder))
    return rows, notes


def _gaps(
    title: str, layers: tuple[int, ...], known: np.ndarray, valid: np.ndarray
) -> list[str]:  # fmt: skip
    """Entries (layers, components) that are not compared, in words."""
    out = []
    kinks = (
        "are left out, as the kinks of fewer than four neurons tell these inputs apart, which does "
        "not expand in 1/width"
    )
    for missing, why in ((~known, "have no finite prediction"), (known & ~valid, kinks)):
        counts = missing.sum(axis=1)
        if counts.any():
            where = [str(layer) for layer, count in zip(layers, counts, strict=True) if count]
            out.append(
                f"{title}: {counts.sum()} of {missing.size} entries, in layers {', '.join(where)}, "
                f"{why}"
            )
    return out


@dataclass(frozen=True)
class _Layer:
    """What is known of an observable at one layer, for one row.

    Args:
        name: of the observable.
        layer: its label.
        batches: (R, batches, components).
        predicted: (components,).
        tolerance: (components,).
        ladder: the widths.
        width: by which a coefficient of 1/width is multiplied.
        epsilon: of the arithmetic.
        slopes: the predicted coefficients of 1/width, where theory has them.
    """

    name: str
    layer: int
    batches: np.ndarray
    predicted: np.ndarray
    tolerance: np.ndarray
    ladder: Ladder
    width: int
    epsilon: float
    slopes: np.ndarray | None

    @property
    def power(self) -> int:
        """Which coefficient of the expansion is tested."""
        return 1 if self.name in _SLOPE_OF else 0

    @property
    def unit(self) -> float:
        """By what it is multiplied."""
        return float(self.width) if self.power else 1.0

    @functools.cached_property
    def tested(self) -> np.ndarray:
        """The tested number of every batch and component."""
        return self.unit * self.ladder.coefficient(self.power, self.batches)

    @functools.cached_property
    def level(self) -> float:
        """The size of what was measured."""
        return float(np.abs(self.batches[-1].mean(axis=0)).max())

    @property
    def rounding(self) -> float:
        """Of means over draws: one unit of the last place is far more than was ever seen."""
        return self.epsilon * self.level * self.unit

    def only(self, mask: np.ndarray) -> _Layer:
        """The same for some of the components; sizes stay those of all."""
        out = dataclasses.replace(
            self, batches=self.batches[..., mask], predicted=self.predicted[mask],
            tolerance=self.tolerance[mask],
            slopes=None if self.slopes is None else self.slopes[mask],
        )  # fmt: skip
        out.__dict__["level"] = self.level
        return out

    def row(self) -> tuple[Row, Series | None]:
        """The row, and its series where it is to be averaged over layers."""
        random = noisy(self.tested, self.rounding)
        fixed = None if random.all() else self.only(~random).fixed()
        if fixed is not None and not random.any():
            return fixed, None
        part = self.only(random)
        one = part.series()
        row = one.row(self.name, self.layer, self.ladder)
        if row.exact:
            return self.fixed(), None
        row = dataclasses.replace(row, pattern=part.pattern(absolute=one.absolute), fixed=fixed)
        return row, None if one.absolute else one

    def fixed(self) -> Row:
        """The row of components without noise."""
        neglected = self.unit * np.array(
            [
                self.ladder.neglected(self.power, found, self.ladder.ratio(found))
                for found in map(self.ladder.expand, np.moveaxis(self.batches, -1, 0))
            ]
        )
        doubt = self.tolerance + (1 + ROUNDINGS) * self.rounding + neglected
        found = self.tested.mean(axis=0)
        return exact_row(self.name, self.layer, found, self.predicted, doubt, self.level)

    def series(self) -> Series:
        """The precision-weighted mean over components of measured / predicted."""
        absolute = bool(np.abs(self.predicted).max() <= ZERO * max(self.level, 1e-300))
        target = np.full_like(self.predicted, self.level) if absolute else self.predicted
        weights = crossed_weights(self.tested, target, self.rounding)
        mean = np.mean(weights, axis=0)
        size = self.batches @ (self.batches[-1].mean(axis=0) / self.level)
        return Series(
            values=apply_crossed(self.batches, weights),
            power=self.power,
            unit=self.unit,
            predicted=float(np.sqrt(np.mean(self.predicted**2))),
            absolute=absolute,
            floor=float(self.rounding * np.abs(mean).max() + np.abs(mean) @ self.tolerance),
            growth=self.ladder.ratio(self.ladder.expand(size)),
            slope=None if self.slopes is None else float(mean @ self.slopes) / self.width,
        )

    def pattern(self, *, absolute: bool) -> Pattern | None:
        """Components about their common size; about zero where nothing is predicted."""
        ladder = self.ladder
        last = ladder.coefficient(len(ladder.factors) - 1, self.batches)
        mean = last.mean(axis=0)
        noise = last.std(axis=0, ddof=1) / np.sqrt(len(last))
        seen = np.sign(mean) * np.sqrt(np.maximum(mean**2 - (2 * noise) ** 2, 0))
        if self.name in _SLOPE_OF or self.name in _CORRECTION_OF:
            # Corrections to a mean are a series of their own, of which few terms are seen: the
            # neglected one is taken to be as large as the last (Richardson), where that is not
            # noise.
            neglected = sure = seen
        else:
            # It continues the last measured one by the ratio of the whole row.
            ratio = ladder.ratio(ladder.expand(self.batches.mean(axis=2)))
            neglected, sure = ratio * mean, ratio * seen
        scale = self.unit * ladder.leak(self.power)
        return pattern(
            self.tested, self.predicted, scale * neglected, scale * sure,
            self.tolerance + self.rounding, unit=self.level if absolute else 0.0,
        )  # fmt: skip


def _together(series: list[Series], ladder: Ladder) -> Series:
    """The precision-weighted mean over layers."""
    tested = np.stack([s.tested(ladder) for s in series], axis=1)
    weights = crossed_weights(tested, np.ones(len(series)), 0.0)
    values = np.stack([s.unit * s.values for s in series], axis=2)
    mean = np.mean(weights, axis=0)
    slopes = [
        w * s.unit * s.slope for w, s in zip(mean, series, strict=True) if s.slope is not None
    ]
    return Series(
        values=apply_crossed(values, weights),
        power=series[0].power,
        unit=1.0,
        predicted=float(np.sqrt(np.mean([s.predicted**2 for s in series]))),
        absolute=False,
        floor=float(np.abs(mean) @ np.array([s.floor for s in series])),
        growth=max(s.growth for s in series),
        slope=float(sum(slopes)) if slopes else None,
    )
