"""Breakpoints along segments: exact places, closed forms, brute force."""

import numpy as np
import pytest

from tests.geometry.pieces.support import drawn, layers
from tests.support import require
from whydeep.errors import InputError
from whydeep.geometry import breakpoints, from_layers, regions


def tent(depth):
    """The tent map applied `depth` times: 2 relu(x) - 4 relu(x - 1/2) on [0, 1]."""
    first, inner = np.ones((2, 1)), np.array([[2.0, -4.0], [2.0, -4.0]])
    bias = np.array([0.0, -0.5])
    weights = [first, *[inner] * (depth - 1), np.array([[2.0, -4.0]])]
    return from_layers(weights, [*[bias] * depth, np.zeros(1)])


@pytest.mark.parametrize("depth", [1, 4, 10, 18])
def test_the_tent_map_has_all_dyadic_numbers(depth):
    found = breakpoints(tent(depth), np.zeros(1), np.ones(1))
    np.testing.assert_array_equal(found.positions, np.arange(1, 2**depth) / 2**depth)
    if depth <= 10:
        assert found.linear_count == found.count == 2**depth
        signs = (-1.0) ** np.arange(2**depth)
        np.testing.assert_array_equal(found.slopes[:, 0], 2.0**depth * signs)


def test_positions_are_those_where_a_fine_grid_changes_pattern():
    f = drawn([12, 12, 12], inputs=5, bias=0.3)
    start, end = np.random.default_rng(0).normal(size=(2, 5))
    found = breakpoints(f, start, end)
    t = (np.arange(200_000) + 0.5) / 200_000
    patterns = f.pattern(found.inputs(t))
    changes = np.flatnonzero((patterns[1:] != patterns[:-1]).any(axis=1))
    near = found.positions[np.searchsorted(found.positions, t[changes])]
    assert (near < t[changes + 1]).all()
    assert np.unique(near).size == changes.size
    assert len(found) >= changes.size > 5
    missed = np.setdiff1d(found.positions, near)
    gaps = np.diff(np.concatenate([[0], found.positions, [1]]))
    assert all(gaps[np.searchsorted(found.positions, m)] < 1e-5 for m in missed)


def test_every_crossing_is_a_zero_of_its_own_unit():
    f = drawn([12, 12], inputs=4, bias=0.3)
    start, end = np.random.default_rng(1).normal(size=(2, 4))
    found = breakpoints(f, start, end)
    for layer, state in zip(range(2), f.states(found.inputs(found.crossings)), strict=False):
        mine = found.layers == layer
        values = state[mine, found.units[mine]]
        assert np.abs(values).max() < 1e-13


def test_a_segment_of_a_plane_meets_the_edges_of_its_regions():
    f = drawn([15, 15], seed=7)
    found = breakpoints(f, np.array([-1.0, 0.1]), np.array([1.0, 0.1]))
    above = regions(f, np.zeros(2), *np.eye(2), window=(-1, 1, 0.1, 1))
    a, b = above.edges()[:, 0], above.edges()[:, 1]
    touching = (np.minimum(a[:, 1], b[:, 1]) < 0.1 + 1e-12) & (np.maximum(a[:, 1], b[:, 1]) > 0.1)
    low = np.where(a[:, 1] < b[:, 1], a[:, 0], b[:, 0])[touching]
    np.testing.assert_allclose(
        np.unique(np.round((low + 1) / 2, 10)), np.round(found.positions, 10)
    )


@pytest.mark.parametrize("activation", ["relu", "abs", "hard_tanh", "leaky_relu", "soft_shrink"])
def test_slopes_integrate_to_the_function(activation):
    f = drawn([20, 20], inputs=3, outputs=4, activation=activation, bias=0.3)
    start, end = np.random.default_rng(2).normal(size=(2, 3))
    found = breakpoints(f, start, end)
    lengths = np.diff(np.concatenate([[0], found.positions, [1]]))
    rise = lengths @ found.slopes
    values = f(np.stack([start, end]))
    np.testing.assert_allclose(rise, values[1] - values[0], atol=1e-12 * np.abs(found.slopes).max())


def test_units_that_reach_no_output_bend_no_line():
    w, b = layers([10, 10], inputs=3, bias=0.3)
    w[2][:, 4:] = 0.0
    less = from_layers([w[0], w[1][:4], w[2][:, :4]], [b[0], b[1][:4], b[2]])
    ends = np.full(3, -3.0), np.array([3.0, 3.0, -1.0])
    found, kept = breakpoints(from_layers(w, b), *ends), breakpoints(less, *ends)
    assert found.linear_count == kept.linear_count
    assert found.count > kept.count


def test_coincident_neurons_make_one_breakpoint():
    f = from_layers([np.ones((3, 1)), np.ones((1, 3))], [np.full(3, -0.3), np.zeros(1)])
    found = breakpoints(f, np.zeros(1), np.ones(1))
    assert len(found) == 1
    assert found.units.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(np.asarray(found), found.positions)


def test_max_pooling_bends_where_the_largest_changes():
    torch = require("torch")
    f = torch.nn.Sequential(torch.nn.MaxPool1d(4))
    start, end = np.array([[0.0, 1.0, 0.7, -5.0]]), np.array([[2.0, 0.0, 0.8, -4.0]])
    found = breakpoints(f, start, end)
    # 1 - t = 0.7 + 0.1 t, and 2 t = 0.7 + 0.1 t after that, before t = 0.3684 = 0.7 / 1.9
    np.testing.assert_allclose(found.positions, [0.3 / 1.1, 0.7 / 1.9], rtol=1e-14)


def test_one_point_or_another_shape_is_refused():
    with pytest.raises(InputError, match="one point"):
        breakpoints(drawn([3]), np.ones(2), np.ones(2))
    with pytest.raises(InputError, match="end is not one input"):
        breakpoints(drawn([3]), np.ones(2), np.ones(3))
