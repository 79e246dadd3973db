"""Shares of test points inside the hull of real training data."""

import math

import numpy as np
import pytest

import whydeep as wd
from whydeep.errors import InputError
from whydeep.geometry.hull import check_hull, extrapolation

DIGITS = {2: 0.992, 4: 0.858, 6: 0.564, 8: 0.219, 10: 0.047, 15: 0.003, 20: 0.0}
"""Published for one random split of 1,437 to 360: notes of the project, by linear programming."""


def split(seed):
    x, _ = wd.data.load("digits", scale=False)
    order = np.random.default_rng(seed).permutation(len(x))
    return x[order[:1437]], x[order[1437:]]


def test_digits_by_principal_components():
    splits = 5
    found = [extrapolation(*split(seed), dims=list(DIGITS)) for seed in range(splits)]
    mean = np.mean([e.inside for e in found], axis=0)
    for k, (d, expected) in enumerate(DIGITS.items()):
        # Of one split and of the mean of five; at a share of 0, that of half a point.
        share = max(expected, 0.5 / 360)
        error = math.sqrt(share * (1 - share) / 360 * (1 + 1 / splits))
        assert abs(mean[k] - expected) < 2 * error, d
    assert all((np.diff(e.inside) <= 0).all() for e in found)


def test_every_answer_has_a_proof():
    train, test = split(0)
    found = extrapolation(train, test, dims=8)
    mean = train.mean(axis=0)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:8]
    # Principal axes are unique up to sign, which is an affine map: the weights prove it there too.
    inside = found.memberships[0].inside
    weights, support = found.memberships[0].weights, found.memberships[0].support
    reached = np.einsum("mk,mkd->md", weights, ((train - mean) @ axes.T)[support])
    apart = np.linalg.norm(reached - (test - mean) @ axes.T, axis=1)
    assert apart[inside].max() < 1e-7
    assert found.stderr[0] == pytest.approx(
        math.sqrt(found.inside[0] * (1 - found.inside[0]) / 360)
    )


def test_all_of_the_space_and_an_embedding():
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(300, 5)), rng.normal(size=(100, 5))
    plain = extrapolation(train, test)
    every = extrapolation(train, test, dims=[5])  # a rotation
    np.testing.assert_array_equal(plain.inside, every.inside)
    assert plain.space == ("all",)
    first = extrapolation(train, test, embedding=lambda x: x[:, :2])
    assert first.dims == (2,)
    assert first.inside[0] > plain.inside[0]
    assert check_hull(plain.memberships[0], test, train).all()
    assert abs(plain.inside[0] - plain.gaussian[0]) < 4 * plain.stderr[0]  # z = 4: 6e-5
    assert "100 test points in the hull of 300" in str(plain)


def test_an_interval_at_shares_of_none_and_all():
    corners = [[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]
    none = extrapolation(corners, [[9.0, 9.0]] * 10)
    assert (none.low[0], none.stderr[0]) == (0.0, 0.0)
    assert none.high[0] == pytest.approx(1.959964**2 / (10 + 1.959964**2), rel=1e-6)
    everything = extrapolation(corners, [[1.0, 1.0]] * 10)
    assert everything.high[0] == 1.0
    assert everything.low[0] < 1.0


def test_refusals():
    for options in ({"dims": 9}, {"dims": []}, {"dims": 0}):
        with pytest.raises(InputError):
            extrapolation(np.eye(4), np.eye(4), **options)
    with pytest.raises(InputError, match="different spaces"):
        extrapolation(np.eye(4), np.eye(3))


def test_raw_pixels_of_mnist(data_dir):
    """No image of 100 is a mean of 4,000 others (nor of 10,000, docs/benchmarks/hull.md)."""
    assert (data_dir / "mnist").is_dir()
    x, _ = wd.data.load("mnist", scale=False)
    found = extrapolation(x[:4_000], x[-100:])
    assert found.inside[0] == 0.0
    assert check_hull(found.memberships[0], x[-100:], x[:4_000]).all()
