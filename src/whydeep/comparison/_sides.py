"""Which of the arguments of a comparison was predicted and which measured; refusals in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from whydeep.ensemble import Measurement
from whydeep.errors import InputError
from whydeep.theory.finite import Prediction

__all__ = ["check_pair", "check_rungs", "check_same", "sides"]

_BOTH = "compare(predict(network, inputs), measure(network, inputs))"


def sides(given: tuple[Any, ...]) -> tuple[Prediction, tuple[Measurement, ...]]:
    """The one prediction and the measurements, in whatever order they came.

    Raises:
        InputError: anything else, no prediction or several, no measurement.
    """
    for one in given:
        if not isinstance(one, Prediction | Measurement):
            raise InputError(
                "Only what was predicted and what was measured at initialisation is compared here.",
                received=f"an object of type {type(one).__name__}",
                needed="one Prediction of whydeep.predict, Measurements of whydeep.measure",
                suggestion=_BOTH,
            )
    predicted = [one for one in given if isinstance(one, Prediction)]
    measured = tuple(one for one in given if isinstance(one, Measurement))
    if len(predicted) > 1:
        raise InputError(
            "A prediction is compared with measurements, not with another prediction.",
            received=f"{len(predicted)} predictions and {len(measured)} measurements",
            needed="one prediction, one measurement or more",
            suggestion=_BOTH,
        )
    if not predicted or not measured:
        absent = "measurement" if predicted else "prediction"
        raise InputError(
            "There is nothing to compare with.",
            received=f"no {absent}",
            needed="one prediction, one measurement or more",
            suggestion=_BOTH,
        )
    for one in measured:
        check_pair(predicted[0], one)
    return predicted[0], measured


def check_pair(predicted: Prediction, measured: Measurement, name: str = "") -> None:
    """Refuse a prediction and a measurement of different things, or at one width only."""
    check_same(predicted, measured, name)
    check_rungs(measured)


def check_same(predicted: Prediction, measured: Measurement, name: str = "") -> None:
    """Refuse other inputs and other networks; `name` is what the user calls the prediction."""
    called = f"{name}: " if name else ""
    same = predicted.inputs.shape == measured.inputs.shape
    if not same or not np.array_equal(predicted.inputs, measured.inputs):
        raise InputError(
            "Prediction and measurement are about different inputs.",
            received=f"{called}shapes {predicted.inputs.shape} and {measured.inputs.shape}",
            suggestion="pass the same array to predict and to measure",
        )
    if predicted.network != measured.network:
        raise InputError(
            "Prediction and measurement are about different networks.",
            received=f"{called}{predicted.network} and {measured.network}",
            suggestion="pass the same network to predict and to measure",
        )


def check_rungs(measured: Measurement) -> None:
    """Refuse one width."""
    if measured.rungs < 2:
        raise InputError(
            "One width can't tell orders in 1/width apart.",
            received="a measurement with rungs=1",
            needed="two rungs or more",
            suggestion="measure(network, inputs, rungs=3)",
        )
