"""Prediction against measurement: the one place where the two instruments meet."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy import stats

from whydeep.arguments import number, takes
from whydeep.comparison._comparison import Comparison
from whydeep.comparison._ladder import Ladder
from whydeep.comparison._rows import Row, Series, pattern_p_values
from whydeep.comparison._weights import apply_crossed, crossed_weights
from whydeep.ensemble import MEASUREMENT, Measurement
from whydeep.errors import InputError
from whydeep.observables import OBSERVABLES, reduce
from whydeep.theory.finite import PREDICTION, Prediction

__all__ = ["LEVEL", "RESOLUTION", "compare"]

# What a correction to a mean is measured by: the slope in 1/width of that mean.
_SLOPE_OF = {"kernel_correction": "kernel", "ntk_correction": "ntk"}
_CORRECTION_OF = {mean: correction for correction, mean in _SLOPE_OF.items()}
# A prediction below this share of the kernel is exactly zero up to quadrature.
_ZERO = 1e-7
# The laws of t and T^2 hold where batch means are Gaussian; far tails are less Gaussian than the
# middle, so the declared rate is met with this factor to spare.
_TAIL_SAFETY = 5.0


LEVEL = number(least=1e-12, below=1)
"""The kind of alpha: the probability that a correct theory disagrees anywhere in a table."""

RESOLUTION = number(above=0, most=1)
"""The kind of resolution: the share of a prediction that a row must be able to see."""


@takes(predicted=PREDICTION, measured=MEASUREMENT, alpha=LEVEL, resolution=RESOLUTION)
def compare(
    predicted: Prediction,
    *measured: Measurement,
    alpha: float = 0.05,
    resolution: float = 0.25,
) -> Comparison:
    """Whether measured networks agree with theory, observable by observable, layer by layer.

    What was measured at a ladder of widths is expanded in 1/width. The intercept is compared with
    the leading order, and for the kernel the slope with the predicted ``kernel_correction``, for
    the tangent kernel with ``ntk_correction``. A
    prediction claims no more than its order: what the first neglected order can add is bounded
    from the measured expansion and put inside the interval.

    Args:
        predicted: from `whydeep.predict`.
        measured: from `whydeep.measure`, of the same network on the same inputs, with two rungs
            or more; an observable is taken from the first that holds it.
        alpha: probability that a correct theory is called "disagrees" anywhere in the table
            at most (Bonferroni over all tests of the table, with a factor of 5 to spare).
        resolution: a row whose interval is wider than this share of the prediction can't see what
            it should, and is "not resolved".

    Raises:
        InputError: different networks or inputs, one width only, nothing in common.

    Accuracy: the bound on neglected orders is itself an estimate, from as many widths as were
        measured. Half a million draws and more at widths near 8 see what it misses: they want four
        widths (``rungs=4``), or larger ones.

    Example:
        >>> import numpy as np
        >>> from whydeep import ensemble, network
        >>> from whydeep.theory.finite import predict
        >>> net = network.mlp(2, 32, "tanh")
        >>> x = np.array([[1.0, 1.0], [1.0, -0.5]])
        >>> compare(predict(net, x), ensemble.measure(net, x, draws=20_000)).verdict
        'agrees'
    """
    if not measured:
        raise InputError("There is nothing to compare with.", needed="one measurement or more")
    for measurement in measured:
        _check_pair(predicted, measurement)
    rows: list[Row] = []
    for name in predicted:
        measurement = next((m for m in measured if _SLOPE_OF.get(name, name) in m), None)
        if measurement is not None:
            rows += _rows(name, predicted, measurement)
    if not rows:
        raise InputError(
            "Prediction and measurement share no observable.",
            received=f"{', '.join(predicted)} against {', '.join(k for m in measured for k in m)}",
        )
    tests = sum((not r.exact) + (r.pattern_p_value is not None) for r in rows)
    draws = {name: m.draws for m in reversed(measured) for name in m}
    draws |= {name: draws.get(mean, 0) for name, mean in _SLOPE_OF.items()}
    batches = min(b.shape[1] for m in measured for b in m.batches.values())
    level = alpha / (_TAIL_SAFETY * max(tests, 1))
    limit = float(stats.t.isf(level / 2, batches - 1))
    judged = [_judge(r, level, limit, resolution, draws[r.observable]) for r in rows]
    return Comparison(
        rows=tuple(judged),
        alpha=alpha,
        resolution=resolution,
        tests=tests,
        limit=limit,
        missing=dict(predicted.missing),
        network=predicted.network,
        widths=tuple(f * max(predicted.network.widths) for f in measured[0].factors),
        draws={m: d for m, d in draws.items() if m in {r.observable for r in rows}},
    )


def _check_pair(predicted: Prediction, measured: Measurement) -> None:
    same = predicted.inputs.shape == measured.inputs.shape
    if not same or not np.array_equal(predicted.inputs, measured.inputs):
        raise InputError(
            "Prediction and measurement are about different inputs.",
            received=f"shapes {predicted.inputs.shape} and {measured.inputs.shape}",
            suggestion="pass the same array to predict and to measure",
        )
    if predicted.network != measured.network:
        raise InputError(
            "Prediction and measurement are about different networks.",
            received=f"{predicted.network} and {measured.network}",
            suggestion="pass the same network to predict and to measure",
        )
    if measured.rungs < 2:
        raise InputError(
            "One width can't tell orders in 1/width apart.",
            received="a measurement with rungs=1",
            needed="two rungs or more",
            suggestion="measure(network, inputs, rungs=3)",
        )


def _rows(name: str, predicted: Prediction, measured: Measurement) -> list[Row]:
    source = _SLOPE_OF.get(name, name)
    batches = measured.batches[source]
    layers = measured.layers[source]
    chosen = [k - 1 for k in layers]
    values = reduce(name, predicted[name].values)[chosen]
    tolerances = reduce(name, predicted.tolerance[name].values)[chosen]
    slopes = None
    if _CORRECTION_OF.get(name) in predicted:
        slopes = reduce(name, predicted[_CORRECTION_OF[name]].values)[chosen]
    valid = np.ones(values.shape, dtype=bool)
    if name in predicted.valid:
        valid = reduce(name, predicted.valid[name].values)[chosen]
    ladder = Ladder(measured.factors)
    # Batches, ladder and weights are float64 whatever was drawn: dozens of roundings.
    epsilon = max(float(np.finfo(measured.dtype).eps), 64 * float(np.finfo(np.float64).eps))
    rows: list[Row] = []
    series: list[Series] = []
    for index, layer in enumerate(layers):
        if layer == 1 and OBSERVABLES[name].order > 0:
            continue  # zero by definition on both sides
        good = valid[index]
        if not good.any():
            continue
        width = 1 if layer == 1 else predicted.network.widths[layer - 2]
        one = _series(
            name, batches[:, :, index][..., good], values[index][good], tolerances[index][good],
            ladder, width, epsilon, None if slopes is None else slopes[index][good],
        )  # fmt: skip
        row = one.row(name, layer, ladder)
        if not (one.absolute or row.exact) and good.sum() > 1:
            chosen_batches = batches[:, :, index][..., good]
            plain, bound = _pattern(name, chosen_batches, values[index][good], ladder, width)
            row = dataclasses.replace(row, pattern_p_value=plain, pattern_bound=bound)
        rows.append(row)
        series.append(one)
    random = [s for s, r in zip(series, rows, strict=True) if not r.exact and not s.absolute]
    if len(random) > 1:
        rows.append(_together(random, ladder).row(name, None, ladder))
    return rows


def _series(
    name: str, batches: np.ndarray, predicted: np.ndarray, tolerance: np.ndarray,
    ladder: Ladder, width: int, epsilon: float, slopes: np.ndarray | None,
) -> Series:  # fmt: skip
    """The precision-weighted mean over components (R, batches, C) of measured / predicted.

    `slopes` are the predicted coefficients of 1/width, where theory has them.
    """
    power = 1 if name in _SLOPE_OF else 0
    unit = float(width) if power else 1.0
    tested = unit * ladder.coefficient(power, batches)
    level = np.abs(batches[-1].mean(axis=0)).max()  # the size of what was measured
    # Rounding of means over draws: one unit of the last place is far more than was ever seen.
    rounding = epsilon * level * unit
    absolute = bool(np.abs(predicted).max() <= _ZERO * max(level, 1e-300))
    target = np.full_like(predicted, level) if absolute else predicted
    weights = crossed_weights(tested, target, rounding)
    mean = np.mean(weights, axis=0)
    size = batches @ (batches[-1].mean(axis=0) / level)
    return Series(
        values=apply_crossed(batches, weights),
        power=power,
        unit=unit,
        predicted=float(np.sqrt(np.mean(predicted**2))),
        absolute=absolute,
        floor=float(rounding * np.abs(mean).max() + np.abs(mean) @ tolerance),
        growth=ladder.ratio(ladder.expand(size)),
        slope=None if slopes is None else float(mean @ slopes) / width,
    )


def _pattern(
    name: str, batches: np.ndarray, predicted: np.ndarray, ladder: Ladder, width: int
) -> tuple[float, float]:
    power = 1 if name in _SLOPE_OF else 0
    unit = float(width) if power else 1.0
    tested = unit * ladder.coefficient(power, batches)
    top = len(ladder.factors) - 1
    last = ladder.coefficient(top, batches)
    mean = last.mean(axis=0)
    if name in _SLOPE_OF or name in _CORRECTION_OF:
        # Corrections to a mean are a series of their own, of which few terms are seen: the
        # neglected one is taken to be as large as the last (Richardson), where that is not noise.
        noise = last.std(axis=0, ddof=1) / np.sqrt(len(last))
        neglected = np.sign(mean) * np.sqrt(np.maximum(mean**2 - (2 * noise) ** 2, 0))
    else:
        # It continues the last measured one by the ratio of the whole row.
        neglected = ladder.ratio(ladder.expand(batches.mean(axis=2))) * mean
    return pattern_p_values(tested, predicted, unit * ladder.leak(power) * neglected)


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


def _judge(row: Row, level: float, limit: float, resolution: float, draws: int) -> Row:
    noise = limit * row.stderr
    reach = noise + row.neglected
    if abs(row.deviation) > reach:
        by = f"off by {row.deviation:+.2%}, {abs(row.z):.1f} standard errors"
        if row.exact:
            by = f"off by {row.deviation:+.2%} of a number without noise"
        return _decided(row, "disagrees", by)
    if row.pattern_bound is not None and row.pattern_bound < level:
        return _decided(
            row,
            "disagrees",
            f"right size, wrong pattern over inputs (p = {row.pattern_bound:.1g})",
        )
    if reach <= resolution:
        return _decided(row, "agrees", f"within {reach:.2g} of the prediction, as it should be")
    if row.inherent >= resolution:
        reason = (
            f"orders of 1/width that theory leaves out may add {row.inherent:.0%}: "
            "more width for this depth"
        )
        return _decided(row, "not resolved", reason)
    needed = math.ceil(draws * ((reach - row.inherent) / (resolution - row.inherent)) ** 2)
    reason = f"known to {reach:.0%} only: about {needed:,} draws would resolve {resolution:.0%}"
    return dataclasses.replace(row, verdict="not resolved", reason=reason, draws_needed=needed)


def _decided(row: Row, verdict: str, reason: str) -> Row:
    return dataclasses.replace(row, verdict=verdict, reason=reason)
