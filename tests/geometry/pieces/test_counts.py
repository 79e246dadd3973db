"""Formulas for the number of pieces, against exact counts."""

import itertools
import math

import numpy as np
import pytest

from tests.geometry.pieces.support import AXES, drawn
from whydeep.errors import InputError
from whydeep.geometry import breakpoints, regions
from whydeep.geometry.counts import (
    conditional_crossings,
    expected_regions,
    interpolant,
    line_arrangement,
    montufar_lower,
    serra_upper,
    tent_map,
    wide_crossings,
)


def test_published_bounds():
    assert [line_arrangement(n) for n in (5, 20, 50)] == [16, 211, 1276]
    assert montufar_lower(2, [20, 20]) == 21_100
    assert montufar_lower(2, [50, 50]) == 625 * 1276
    assert montufar_lower(2, [20] * 4) == pytest.approx(2.11e8, rel=1e-9)
    assert serra_upper(2, [20, 20]) == 211**2
    assert serra_upper(2, [50, 50]) == pytest.approx(1.63e6, rel=0.005)
    assert serra_upper(2, [20] * 4) == pytest.approx(1.98e9, rel=0.005)
    with pytest.raises(InputError, match="at least as wide"):
        montufar_lower(3, [2])


@pytest.mark.parametrize(("inputs", "widths"), [(2, (3, 4)), (3, (2, 5, 3)), (1, (4, 4, 4))])
def test_serras_bound_is_its_sum_written_out(inputs, widths):
    total = 0
    for js in itertools.product(*(range(n + 1) for n in widths)):
        left = [n - j for n, j in zip(widths, js, strict=True)]
        limits = [min([inputs, widths[l], *left[:l]]) for l in range(len(widths))]
        if all(j <= limit for j, limit in zip(js, limits, strict=True)):
            total += math.prod(math.comb(n, j) for n, j in zip(widths, js, strict=True))
    assert serra_upper(inputs, widths) == total


def test_counts_are_between_one_and_the_upper_bound_and_near_the_typical():
    # Window of 1e4: all cells but a few that lie outside. Ratios to N^2 / 2 of drawn networks vary
    # by about 5 % from draw to draw and fall within a tenth of 1 on average.
    ratios = []
    for seed in range(6):
        f = drawn([16, 16], seed=seed, bias=1.0)
        count = regions(f, *AXES, window=(-1e4, 1e4, -1e4, 1e4)).count
        assert count <= serra_upper(2, [16, 16])
        ratios.append(count / expected_regions(32))
    assert abs(np.mean(ratios) - 1) < 0.15


def test_without_biases_the_wide_limit_is_the_angle():
    generator = np.random.default_rng(0)
    p, q = generator.normal(size=(2, 30))
    angle = math.acos(p @ q / np.linalg.norm(p) / np.linalg.norm(q))
    np.testing.assert_allclose(wide_crossings(p, q, 3), angle / math.pi, rtol=1e-7)


def drawn_he(widths, inputs, seed, bias):
    return drawn(widths, seed=seed, inputs=inputs, bias=bias)


def test_wide_networks_have_as_many_breakpoints_as_rice_predicts():
    p, q = np.random.default_rng(1).normal(size=(2, 16))
    predicted = wide_crossings(p, q, 3, bias_var=0.25)
    counts = np.zeros((24, 3))
    for seed in range(24):
        found = breakpoints(drawn_he([300] * 3, 16, seed, 0.5), p, q)
        counts[seed] = np.bincount(found.layers, minlength=3) / 300
    error = counts.std(axis=0, ddof=1) / math.sqrt(24)
    # three layers, two-sided: |t| of 23 degrees of freedom passes 4.2 in 1e-3 of cases; beside it
    # the neglected order 1/width, at most a few crossings a layer of 300
    assert (np.abs(counts.mean(axis=0) - predicted) < 4.2 * error + 3 / 300).all()
    assert (error < 0.01).all()


def test_the_conditional_expectation_is_exact_at_any_width():
    # One fixed first layer; the mean number of zeros of drawn second-layer neurons.
    f = drawn([6, 1], inputs=4, bias=0.5, seed=2)
    p, q = np.random.default_rng(3).normal(size=(2, 4)) * 2
    expected = conditional_crossings(f, 1, p, q, 2.0, 0.25)
    t = breakpoints(drawn([6], inputs=4, bias=0.5, seed=2), p, q).positions
    places = np.concatenate([[0], t, [1]])[:, None]
    h = np.maximum((p + places * (q - p)) @ f.maps[0].weight + f.maps[0].bias, 0)
    generator = np.random.default_rng(4)
    z = h @ (generator.normal(size=(6, 200_000)) * math.sqrt(2 / 6))
    z += 0.5 * generator.normal(size=200_000)
    counts = ((z[1:] > 0) != (z[:-1] > 0)).sum(axis=0)
    error = counts.std(ddof=1) / math.sqrt(counts.size)
    assert abs(counts.mean() - expected) < 4 * error  # 6e-5 of draws fail
    assert error < 0.005 * expected


def test_the_first_layer_needs_no_average():
    p, q = np.random.default_rng(5).normal(size=(2, 12))
    f = drawn([7], inputs=12)
    ours = conditional_crossings(f, 0, p, q, 2.0, 0.3)
    assert ours == pytest.approx(wide_crossings(p, q, 1, bias_var=0.3)[0], rel=1e-8)


def test_depth_folds_and_width_adds():
    for depth in (2, 5, 8):
        assert breakpoints(tent_map(depth), np.zeros(1), np.ones(1)).linear_count == 2**depth
    generator = np.random.default_rng(0)
    for width in (2, 5, 9):
        weights = generator.normal(size=width)
        f = interpolant(lambda x, w=weights: np.interp(x, np.linspace(0, 1, len(w)), w), width - 1)
        assert breakpoints(f, np.zeros(1), np.ones(1)).linear_count <= width


def test_interpolation_errs_by_the_square_of_the_distance():
    x = np.linspace(0, 1, 20_001)[:, None]
    for pieces in (4, 16, 64):
        f = interpolant(lambda t: np.sin(3 * t), pieces)
        error = np.abs(f(x)[:, 0] - np.sin(3 * x[:, 0])).max()
        bound = 9 / (8 * pieces**2)
        assert 0.9 * bound < error <= bound * (1 + 1e-9)
        assert breakpoints(f, np.zeros(1), np.ones(1)).linear_count == pieces
