"""On the same kernels our predictions of training are those of neural-tangents.

The values, and what they are, are those of benchmarks/neural_tangents_training.py.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from whydeep.theory.training import (
    Flow,
    HeavyBallFlow,
    evolve,
    evolve_outputs,
    largest_stable_step,
)

REFERENCE = json.loads((Path(__file__).parent / "neural_tangents.json").read_text())
N = REFERENCE["train"]
NNGP, NTK, Y, CLASSES = (np.array(REFERENCE[k]) for k in ("nngp", "ntk", "y", "classes"))
TIMES = REFERENCE["times"]


@pytest.mark.parametrize("get", ["ntk", "nngp"])
def test_means_and_covariances_of_the_ensemble_to_nine_digits(get):
    theirs = REFERENCE["ensemble"][get]
    trains = {"ntk": NTK, "nngp": NNGP}[get]
    ours = evolve(NNGP, trains, Y, [*TIMES, np.inf], scale=1 / Y.size)
    for side, end in (("train", None), ("test", "end")):
        for what in ("mean", "covariance"):
            found = getattr(ours, f"{side}_{what}")
            np.testing.assert_allclose(found[:-1], theirs[side][what], rtol=0, atol=1e-9)
            if end:
                np.testing.assert_allclose(found[-1], theirs[end][what], rtol=0, atol=1e-9)


def test_outputs_from_given_ones_under_a_squared_loss():
    # Ours is an ODE here, whose tolerance is asked for below the nine digits.
    ours = evolve_outputs(
        NTK, REFERENCE["start"], Y, TIMES, loss="squared", reduction="mean", tolerance=1e-11
    )
    np.testing.assert_allclose(ours, REFERENCE["outputs"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("which", ["cross_entropy", "heavy_ball"])
def test_cross_entropy_as_far_as_their_solver_reaches(which):
    # Their mean is over N C and ours over N: time runs C times as fast. Their ODE is solved to
    # 1.4e-8 in each step; a hundred times that is what its path can be off.
    times, classes = np.array(REFERENCE["ode_times"]), CLASSES.shape[1]
    dynamics = Flow()
    if which == "heavy_ball":
        root = np.sqrt(REFERENCE["learning_rate"])
        friction = (1 - REFERENCE["momentum"]) / root
        # theta'' = -friction theta' - grad L / C: t counts in units of sqrt(C)
        dynamics = HeavyBallFlow(friction * np.sqrt(classes))
        times = times * root / np.sqrt(classes)
    else:
        times = times / classes
    ours = evolve_outputs(
        NTK, REFERENCE["logits"], CLASSES, times, reduction="mean", dynamics=dynamics
    )
    np.testing.assert_allclose(ours, REFERENCE[which], rtol=0, atol=1.4e-6)


def test_largest_learning_rates():
    for momentum, theirs in zip((0.0, 0.9), REFERENCE["max_learning_rate"], strict=True):
        ours = largest_stable_step(
            NTK[:N, :N], reduction="mean", outputs=Y.shape[1], momentum=momentum
        )
        assert ours.value == pytest.approx(theirs, rel=1e-9)


def test_the_comparison_tells_one_kernel_from_the_other():
    ours = evolve(NNGP, NNGP, Y, TIMES, scale=1 / Y.size)
    theirs = REFERENCE["ensemble"]["ntk"]["test"]
    assert np.abs(ours.test_mean - theirs["mean"]).max() > 1e-2
