"""Breakpoints and regions followed in training: the counts are those of the networks."""

import numpy as np
import pytest

from whydeep.errors import InputError
from whydeep.geometry import breakpoints, plane, regions
from whydeep.geometry.counts import (
    montufar_lower,
    pieces_during_training,
    segment_density,
)


def random_labels():
    rng = np.random.default_rng(0)
    return rng.normal(size=(30, 2)), rng.integers(0, 2, 30)


def test_counts_are_those_of_the_network():
    x, y = random_labels()
    options = {"widths": (12, 10), "record": [0, 50, 400], "steps": 400, "learning_rate": 0.01}
    found = pieces_during_training(x, y, **options, networks=20, seed=3)
    assert found.breakpoints.shape == (3, 7)
    for k in range(7):
        assert found.breakpoints[-1, k] == len(breakpoints(found.network, x[k], x[k + 1]))
    assert found.regions[-1] == regions(found.network, *plane(*x[:3], margin=1.0)).count
    assert found.neurons == 22
    np.testing.assert_allclose(found.region_ratio, found.regions / 242)
    density = segment_density((12, 10), x[1], x[2], bias_var=0.01, networks=20, seed=3)
    assert found.expected[1] == density.expected
    assert found.expected_stderr[1] == density.expected_stderr
    assert len(str(found).splitlines()) == 4
    # A run that is not trained further is the same run.
    short = pieces_during_training(x, y, **(options | {"record": [50]}), networks=20, seed=3)
    np.testing.assert_array_equal(short.breakpoints[0], found.breakpoints[1])


def test_learning_random_labels_keeps_regions_within_a_small_factor():
    """The claim of Hanin and Rolnick 2019, that counts stay within a small factor, here 3,
    where some network of these widths has tens of times as many."""
    x, y = random_labels()
    found = pieces_during_training(
        x, y, widths=(24, 24), steps=3000, record=[0, 100, 1000, 3000], learning_rate=3e-3,
        bias_var=1.0, margin=20.0, networks=20,
    )  # fmt: skip
    assert found.accuracy[-1] > 0.95
    assert (found.region_ratio > 1 / 3).all()
    assert (found.region_ratio < 3).all()
    assert montufar_lower(2, [24, 24]) > 20 * found.regions.max()


def test_the_start_is_drawn_as_the_density_says():
    """Over seeds: counts before training, against the expected number; 6e-5 of seeds fail."""
    x, y = random_labels()
    ratios = [
        pieces_during_training(
            x, y, segments=np.array([[[-2.0, 0.0], [2.0, 1.0]]]), widths=(20, 15), steps=1,
            record=[0], weight_var=1.5, bias_var=0.2, networks=40, seed=seed,
        )
        for seed in range(30)
    ]  # fmt: skip
    counts = np.array([r.breakpoints[0, 0] for r in ratios])
    expected = np.array([r.expected[0] for r in ratios])
    error = np.hypot(counts.std(ddof=1), expected.std(ddof=1)) / np.sqrt(30)
    assert abs(counts.mean() - expected.mean()) < 4 * error
    assert error < 0.06 * expected.mean()


def test_piece_refusals():
    x, y = random_labels()
    for options in (
        {"segments": x[:2]}, {"segments": np.zeros((0, 2, 2))}, {"corners": x[:2]},
        {"bias_var": 0.0}, {"record": [3, 1]}, {"margin": -1.0}, {"learning_rate": 0.0},
    ):  # fmt: skip
        with pytest.raises(InputError):
            pieces_during_training(x, y, **({"steps": 3} | options))
    for arguments in ((x, 0 * y), (x, y[:4]), (x[:, :1], y)):
        with pytest.raises(InputError):
            pieces_during_training(*arguments, steps=1)
