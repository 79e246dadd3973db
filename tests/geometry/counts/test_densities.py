"""Densities of drawn networks against exact counts, and their limits at infinite width."""

import itertools
import math

import numpy as np
import pytest

from whydeep.errors import InputError
from whydeep.geometry import breakpoints, from_layers, region_statistics
from whydeep.geometry.counts import (
    plane_density,
    segment_density,
    wide_crossings,
    wide_lengths,
)

AXES = np.zeros(2), np.array([1.0, 0.0]), np.array([0.0, 1.0])


def drawn(widths, inputs, weight_var, bias_var, rng):
    sizes = [inputs, *widths, 1]
    weights = [
        rng.normal(size=(m, n)) * math.sqrt(weight_var / n) for n, m in itertools.pairwise(sizes)
    ]
    return from_layers(weights, [math.sqrt(bias_var) * rng.normal(size=m) for m in sizes[1:]])


def agree(one, one_error, two, two_error):
    """Each of at most six comparisons fails by chance in 6e-5 of seeds."""
    return np.abs(one - two) < 4 * np.hypot(one_error, two_error)


@pytest.mark.parametrize(("weight_var", "bias_var"), [(2.0, 0.3), (3.0, 0.05)])
def test_breakpoints_on_a_segment(weight_var, bias_var):
    """Narrow networks, where units die and the limit of infinite width is far."""
    widths, rng = (4, 3, 5), np.random.default_rng(0)
    p, q = rng.normal(size=(2, 3)) * 2
    found = segment_density(
        widths, p, q, weight_var=weight_var, bias_var=bias_var, networks=2500, points=8, seed=1
    )
    counts = np.zeros((1000, 4))
    for row in counts:
        own = breakpoints(drawn(widths, 3, weight_var, bias_var, rng), p, q)
        row[:3] = np.bincount(own.layers, minlength=3)
        row[3] = own.linear_count - 1
    mean, error = counts.mean(axis=0), counts.std(axis=0, ddof=1) / math.sqrt(len(counts))
    ours, ours_error = found.by_layer * found.size, found.by_layer_stderr * found.size
    assert agree(mean[:3], error[:3], ours, ours_error).all()
    # Crossings that the output does not feel, a paired difference: some, and as many.
    np.testing.assert_array_equal(found.felt, [7 / 8 * 31 / 32, 31 / 32, 1.0])
    unfelt = counts[:, :3].sum(axis=1) - counts[:, 3]
    missed, missed_error = unfelt.mean(), unfelt.std(ddof=1) / math.sqrt(len(unfelt))
    lost = found.draws @ (1 - found.felt) * found.size
    lost_error = lost.std(ddof=1) / math.sqrt(len(lost))
    assert agree(missed, missed_error, lost.mean(), lost_error)
    assert missed > 6 * math.hypot(missed_error, lost_error)
    assert found.bending * found.size == pytest.approx(found.expected - lost.mean(), rel=1e-12)
    assert (error < 0.06 * mean).all()
    assert found.expected == pytest.approx(ours.sum(), rel=1e-12)


def test_lengths_of_zero_lines_on_a_plane():
    """By layer, uncut: later layers cut an edge in parts and leave its length."""
    widths, weight_var, bias_var = (6, 5), 2.5, 0.2
    rng = np.random.default_rng(2)
    window = (-1.0, 2.0, -0.5, 1.5)
    found = plane_density(
        widths, *AXES, window, weight_var=weight_var, bias_var=bias_var, networks=4000, points=8
    )
    lengths = np.array([
        region_statistics(drawn(widths, 2, weight_var, bias_var, rng), *AXES, window).lengths
        for _ in range(500)
    ])  # fmt: skip
    error = lengths.std(axis=0, ddof=1) / math.sqrt(len(lengths))
    ours, ours_error = found.by_layer * found.size, found.by_layer_stderr * found.size
    assert found.size == 6.0
    assert agree(lengths.mean(axis=0), error, ours, ours_error).all()
    assert (error < 0.05 * ours).all()


@pytest.mark.parametrize(("weight_var", "bias_var"), [(2.0, 1.0), (0.7, 0.4), (3.5, 0.4)])
def test_the_limit_of_infinite_width(weight_var, bias_var):
    """Layers of 150: the corrections are of the order of 1/150, beside four standard errors."""
    variances = {"weight_var": weight_var, "bias_var": bias_var}
    rng = np.random.default_rng(3)
    p, q = rng.normal(size=(2, 5))
    line = segment_density([150] * 3, p, q, networks=60, points=6, seed=2, **variances)
    wide = wide_crossings(p, q, 3, **variances)
    each = line.size / 150
    slack = 4 * line.by_layer_stderr * each + wide * np.arange(3) * 2 / 150
    assert (np.abs(line.by_layer * each - wide) < slack).all()
    origin, u, v = rng.normal(size=(3, 5))  # not orthonormal: coordinates of the plane
    window = (-1.0, 0.5, -0.5, 1.0)
    area = plane_density([150] * 3, origin, u, v, window, networks=60, points=6, **variances)
    wide = wide_lengths(origin, u, v, window, 3, **variances)
    each = area.size / 150
    slack = 4 * area.by_layer_stderr * each + wide * np.arange(3) * 2 / 150
    assert (np.abs(area.by_layer * each - wide) < slack).all()
    assert (slack < 0.15 * wide).all()


def test_croftons_formula_at_one_place():
    """The length of lines in a small window is pi/2 times the crossings of a short segment,
    averaged over directions; by quadrature, which is exact for a smooth periodic function."""
    origin, u, v = np.random.default_rng(4).normal(size=(3, 4))
    u /= np.linalg.norm(u)
    v -= (v @ u) * u
    v /= np.linalg.norm(v)
    variances, half = {"weight_var": 1.4, "bias_var": 0.3}, 1e-3
    area = wide_lengths(origin, u, v, (-half, half, -half, half), 2, **variances) / (4 * half**2)
    lines = [
        wide_crossings(origin - half * w, origin + half * w, 2, **variances) / (2 * half)
        for w in (math.cos(a) * u + math.sin(a) * v for a in np.arange(64) * math.pi / 64)
    ]
    # the window is not one point: relative differences of the order of half^2
    np.testing.assert_allclose(area, np.mean(lines, axis=0) * math.pi / 2, rtol=1e-4)


def test_without_biases_no_variance_of_weights_matters():
    p, q = np.random.default_rng(5).normal(size=(2, 7))
    angle = math.acos(p @ q / np.linalg.norm(p) / np.linalg.norm(q)) / math.pi
    for weight_var in (0.3, 2.0, 9.0):
        np.testing.assert_allclose(wide_crossings(p, q, 4, 0.0, weight_var), angle, rtol=1e-7)


def test_one_scale_of_all_weights_and_biases_changes_nothing():
    """A layer's weights and bias times c: the same zeros. For one layer q -> c^2 q is all there is;
    for several, weight_var c^2 and bias_var c^2 keep the zeros of the first layer only."""
    p, q = np.random.default_rng(6).normal(size=(2, 3))
    one, two = wide_crossings(p, q, 2, 0.3, 1.0), wide_crossings(p, q, 2, 1.2, 4.0)
    assert one[0] == pytest.approx(two[0], rel=1e-9)
    assert abs(one[1] - two[1]) > 1e-3
    three = segment_density([5], p, q, bias_var=0.3, weight_var=1.0, networks=50)
    four = segment_density([5], p, q, bias_var=1.2, weight_var=4.0, networks=50)
    np.testing.assert_allclose(three.draws, four.draws, rtol=1e-12)


def test_refusals():
    p, q = np.zeros(2), np.ones(2)
    for arguments, options in (
        (([3], p, p), {}), (([3], p, np.ones(3)), {}), (([], p, q), {}), (([0], p, q), {}),
        (([3], p, q), {"bias_var": 0.0}), (([3], p, q), {"networks": 1}),
        (([3], p, q), {"weight_var": -1.0}),
    ):  # fmt: skip
        with pytest.raises(InputError):
            segment_density(*arguments, **({"bias_var": 1.0} | options))
    with pytest.raises(InputError, match="empty"):
        plane_density([3], *AXES, (1, 0, 0, 1), bias_var=1.0)
    for window, problem in (
        ((0, 1, 0), r"window has 3 entries[^§]*\(0, 1, 0\)[^§]*list or tuple of 4"),
        ((0, 1, 0, np.inf), r"window\[3\] is out of range[^§]*inf[^§]*a finite number"),
    ):
        with pytest.raises(InputError, match=problem):
            plane_density([3], *AXES, window, bias_var=1.0)
    with pytest.raises(InputError, match="two directions"):
        plane_density([3], np.zeros(3), *AXES[1:], bias_var=1.0)
    with pytest.raises(InputError, match="empty"):
        wide_lengths(*AXES, (0, 0, 0, 1), 1, 1.0)
    with pytest.raises(InputError):
        wide_lengths(*AXES, (0, 1, 0, 1), 1, 0.0)
    with pytest.raises(InputError, match="three inputs"):
        wide_lengths(np.zeros(3), *AXES[1:], (0, 1, 0, 1), 1, 1.0)
