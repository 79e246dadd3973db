"""Exact partitions of fully connected networks: closed forms, invariances, degenerate cases."""

import math

import numpy as np
import pytest

from tests.geometry.pieces.support import AXES, check_against_grid, check_maps, drawn, layers
from whydeep.errors import InputError
from whydeep.geometry import from_layers, plane, regions

pytestmark = pytest.mark.bounds


@pytest.mark.parametrize("n", [5, 20, 50])
def test_lines_in_general_position_cut_the_plane_as_zaslavsky_counts(n):
    found = regions(drawn([n], bias=1.0), *AXES, window=(-1e4, 1e4, -1e4, 1e4))
    assert found.count == 1 + n + math.comb(n, 2)


@pytest.mark.parametrize("n", [20, 250])
def test_one_layer_has_a_cell_for_every_line_and_every_crossing_in_the_window(n):
    f = drawn([n], bias=1.0, seed=3)
    w, b = f.maps[0].weight, f.maps[0].bias
    corners = 3 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    values = corners @ w + b
    hit = np.flatnonzero((values.min(axis=0) < 0) & (values.max(axis=0) > 0))
    i, j = (hit[k] for k in np.triu_indices(len(hit), 1))
    determinant = w[0, i] * w[1, j] - w[0, j] * w[1, i]
    x = (-b[i] * w[1, j] + b[j] * w[1, i]) / determinant
    y = (-w[0, i] * b[j] + w[0, j] * b[i]) / determinant
    inside = (abs(x) < 3) & (abs(y) < 3)
    found = regions(f, *AXES, window=(-3, 3, -3, 3))
    assert found.count == 1 + len(hit) + inside.sum()


@pytest.mark.parametrize("n", [3, 20, 50])
def test_lines_through_one_point_make_cones(n):
    assert regions(drawn([n], bias=0.0), *AXES).count == 2 * n


def test_a_deep_network_without_biases_has_cones_only():
    found = regions(drawn([20, 20, 20], bias=0.0), *AXES)
    at_origin = (np.abs(found.vertices).max(axis=1) < 1e-12).sum()
    assert found.count == at_origin > 60


def test_counts_agree_with_other_programs():
    # The same numbers from edge subdivision and from SplineCam, measured once.
    counts = {(20, 2): 640, (20, 4): 2492, (50, 2): 4636}
    for (width, depth), count in counts.items():
        assert regions(drawn([width] * depth), *AXES).count == count


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "abs", "hard_tanh", "relu6",
                                         "hard_sigmoid", "soft_shrink"])  # fmt: skip
def test_cells_are_those_that_a_grid_meets(activation):
    found = regions(drawn([8, 8], activation=activation, bias=0.5, outputs=3), *AXES)
    assert len(set(map(bytes, found.patterns))) <= found.count
    np.testing.assert_allclose(found.areas.sum(), 4.0, rtol=1e-12)
    check_against_grid(found)


def test_areas_sum_to_the_window_and_maps_are_the_values():
    found = regions(drawn([40, 40, 40], outputs=3), *AXES, window=(-0.5, 2.0, -1.0, 3.0))
    assert abs(found.areas.sum() / 10.0 - 1) < 1e-12
    assert (found.areas > 0).all()
    check_maps(found)


def test_a_slice_of_many_dimensions():
    f = drawn([30, 30], inputs=50, outputs=4)
    points = np.random.default_rng(1).normal(size=(3, 50))
    origin, u, v, window = plane(*points)
    found = regions(f, origin, u, v, window)
    check_maps(found)
    cell = int(np.argmax(found.areas))
    A, b = found.input_map(cell)
    x = found.plane.inputs(found.middles[cell : cell + 1])
    np.testing.assert_allclose(A @ x[0] + b, f(x)[0], rtol=0, atol=1e-12)
    places = np.stack([(points - origin) @ u, (points - origin) @ v], axis=1)
    assert (places > [window[0], window[2]]).all()
    assert (places < [window[1], window[3]]).all()


def geometry_of(found):
    """Cells by area, up to rounding, whatever their order."""
    return np.sort(found.areas)


def test_permuted_neurons_make_the_same_cells():
    w, b = layers([20, 20])
    order = np.random.default_rng(5).permutation(20)
    permuted = from_layers([w[0][order], w[1][:, order], w[2]], [b[0][order], b[1], b[2]])
    one, two = regions(from_layers(w, b), *AXES), regions(permuted, *AXES)
    assert one.count == two.count
    np.testing.assert_allclose(geometry_of(one), geometry_of(two), rtol=0, atol=1e-13)


def test_a_scaled_relu_layer_makes_the_same_cells():
    w, b = layers([20, 20])
    factor = np.exp(np.random.default_rng(5).normal(size=20) * 5)
    scaled = from_layers([w[0] * factor[:, None], w[1] / factor, w[2]], [b[0] * factor, b[1], b[2]])
    one, two = regions(from_layers(w, b), *AXES), regions(scaled, *AXES)
    np.testing.assert_allclose(geometry_of(one), geometry_of(two), rtol=0, atol=1e-13)


def test_a_window_in_two_halves_has_the_same_cells_once_merged_across_the_cut():
    f = drawn([20, 20], seed=2)
    whole = regions(f, *AXES)
    halves = [regions(f, *AXES, window=w) for w in ((-1, 0.3, -1, 1), (0.3, 1, -1, 1))]
    areas = {}
    for half in halves:
        for pattern, area in zip(map(bytes, half.patterns), half.areas, strict=True):
            areas[pattern] = areas.get(pattern, 0.0) + area
    assert len(areas) == whole.count == len(set(map(bytes, whole.patterns)))
    expected = dict(zip(map(bytes, whole.patterns), whole.areas, strict=True))
    assert max(abs(areas[p] - expected[p]) for p in expected) < 1e-13


def test_duplicate_and_dead_neurons_change_nothing():
    w, b = layers([10, 10])
    first = np.vstack([w[0], w[0], np.zeros((2, 2))])
    second = np.hstack([w[1] / 2, w[1] / 2, np.ones((10, 2))])
    biases = [np.concatenate([b[0], b[0], [-1.0, 0.0]]), b[1], b[2]]
    doubled = from_layers([first, second, w[2]], biases)
    one, two = regions(from_layers(w, b), *AXES), regions(doubled, *AXES)
    assert one.count == two.count
    np.testing.assert_allclose(geometry_of(one), geometry_of(two), rtol=0, atol=1e-13)


def test_a_unit_that_cancels_up_to_rounding_splits_nothing():
    # A neuron of the third layer is 0.1 * 3 z - 0.3 z: its sign is that of rounding errors.
    w1 = np.array([[0.3, 0.7], [0.1, 0.1], [-0.9, 0.2]])
    sums = np.vstack([np.eye(3), [[0.1 * 3, 0, 0]], [[-0.3, 0, 0]]])
    third = np.array([[1.0, 1.0, 1.0, 0, 0], [0, 0, 0, 1.0, 1.0]])
    cancels = from_layers(
        [w1, sums, third, np.ones((1, 2))],
        [np.zeros(3), np.zeros(5), np.zeros(2), np.zeros(1)], "leaky_relu", 1.0,
    )  # fmt: skip
    found = regions(cancels, *AXES)
    assert not ((found.edge_layers == 2) & (found.edge_units == 1)).any()


def test_a_wide_window_loses_no_cell():
    n = 300
    assert regions(drawn([n], bias=1.0), *AXES, window=(-1e6, 1e6, -1e6, 1e6)).count in range(
        1 + n + math.comb(n, 2) - 2, 2 + n + math.comb(n, 2)
    )


def test_views_by_layer_are_nested():
    f = drawn([10, 10, 10])
    counts = [regions(f, *AXES, layers=n).count for n in range(4)]
    assert counts[0] == 1
    assert counts == sorted(counts)
    fine, coarse = regions(f, *AXES), regions(f, *AXES, layers=2)
    words = f.words[2]
    assert set(map(bytes, fine.patterns[:, :words])) == set(map(bytes, coarse.patterns))


def test_neighbours_differ_by_the_neuron_of_their_common_edge_alone():
    f = drawn([15, 15], seed=4)
    found = regions(f, *AXES)
    inner = (found.edge_layers >= 0).sum()
    assert len(found.neighbours) == inner // 2
    one, two = found.neighbours.T
    for layer in range(2):
        bits = found.signs(layer)
        changed = (bits[one] != bits[two]).sum(axis=1)
        if layer == 0:
            first = changed
    assert (first <= 1).all()
    assert (changed[first == 0] == 1).all()
    # Euler: a partition of a square into cells with c inner edges
    assert len(found.neighbours) >= found.count - 1


def test_neighbours_with_equal_maps_are_one_linear_region():
    w, b = layers([12, 12])
    f = from_layers(w, b)
    assert regions(f, *AXES).linear_count == regions(f, *AXES).count
    w[2] = np.zeros_like(w[2])
    assert regions(from_layers(w, b), *AXES).linear_count == 1
    w[2][0, :3] = 1.0  # nine neurons of the last layer reach no output
    dead = from_layers(w, b)
    kept = from_layers([w[0], w[1][:3], w[2][:, :3]], [b[0], b[1][:3], b[2]])
    assert regions(dead, *AXES).linear_count == regions(kept, *AXES).linear_count


def test_cells_come_in_one_order():
    f = drawn([60, 60])
    one, two = regions(f, *AXES), regions(f, *AXES)
    np.testing.assert_array_equal(one.vertices, two.vertices)
    np.testing.assert_array_equal(one.patterns, two.patterns)


def test_what_spans_no_plane_is_refused():
    f = drawn([5])
    with pytest.raises(InputError, match="do not span a plane"):
        regions(f, np.zeros(2), np.ones(2), np.ones(2))
    with pytest.raises(InputError, match="window is empty"):
        regions(f, *AXES, window=(1, 1, 0, 1))
    with pytest.raises(InputError, match="not one input"):
        regions(f, np.zeros(3), *AXES[1:])
    with pytest.raises(InputError, match="one line"):
        plane(np.zeros(2), np.ones(2), 2 * np.ones(2))
    with pytest.raises(InputError, match="not so many layers"):
        regions(f, *AXES, layers=2)
