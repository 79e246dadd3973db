"""The tolerance of a hull, and its units: boxes, whose distances are known in closed form."""

import itertools

import numpy as np
import pytest

from whydeep.geometry.hull import check_hull, in_hull

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
RADIUS = np.sqrt(0.5)


def test_a_point_beside_the_unit_square_is_inside_to_the_tolerance():
    assert in_hull([[0.5, -1e-13]], SQUARE, tolerance=1e-3).inside.all()
    assert in_hull([[-1e-13, -1e-13]], SQUARE, tolerance=1e-12).inside.all()


@pytest.mark.parametrize("tolerance", [1e-12, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("towards", [(0.0, -1.0), (-0.6, -0.8), (-1.0, 0.0)])
def test_the_tolerance_is_a_distance_over_the_radius(tolerance, towards):
    shares = np.array([1e-3, 0.5, 0.9, 0.99, 1.01, 1.1, 10.0])
    start = np.where(np.array(towards) == 0, 0.3, 0.0)
    points = start + np.outer(shares * tolerance * RADIUS, towards)
    answer = in_hull(points, SQUARE, tolerance=tolerance)
    np.testing.assert_array_equal(answer.inside, shares < 1)
    assert check_hull(answer, points, SQUARE).all()


def _boxes(cases):
    """Points about boxes of all shapes, with their distances over tolerance and radius."""
    rng = np.random.default_rng(12)
    for _ in range(cases):
        d, tolerance = int(rng.integers(1, 7)), 10.0 ** rng.integers(-11, -2)
        sides = 10.0 ** rng.uniform(-rng.choice([0, 3, 8]), 0, size=d)
        corners = np.array(list(itertools.product([0, 1], repeat=d))) * sides
        data = np.vstack([corners, rng.uniform(size=(rng.integers(0, 30), d)) * sides])
        reach = tolerance * np.linalg.norm(data - data.mean(axis=0), axis=1).max()
        x = rng.uniform(size=(8, d)) * sides
        for row in x:
            axes = rng.choice(d, rng.integers(1, d + 1), replace=False)
            step = np.abs(rng.normal(size=len(axes)))
            step *= rng.choice([0, 1e-3, 0.5, 0.99, 1.01, 2, 1e3]) * reach / np.linalg.norm(step)
            row[axes] = -step if rng.random() < 0.5 else sides[axes] + step
        yield x, data, tolerance, np.linalg.norm(x - np.clip(x, 0, sides), axis=1) / reach, rng


def _hold(cases):
    for x, data, tolerance, distance, rng in _boxes(cases):
        unit = 10.0 ** rng.choice([-200, -160, -6, 0, 7, 160, 200])
        answer = in_hull(x * unit, data * unit, tolerance=tolerance)
        known = np.abs(distance - 1) > 1e-3
        np.testing.assert_array_equal(answer.inside[known], (distance < 1)[known])
        assert check_hull(answer, x * unit, data * unit).all()


def test_boxes_of_all_shapes_and_units():
    _hold(60)


@pytest.mark.slow
def test_many_boxes_of_all_shapes_and_units():
    _hold(3000)


@pytest.mark.parametrize("unit", [1e-300, 1e-200, 1e-160, 1e160, 1e200, 1e300])
def test_no_unit_changes_an_answer(unit):
    points = np.array([[0.5, 0.5], [1.5, 0.5], [0.5, -0.01]]) * unit
    answer = in_hull(points, SQUARE * unit)
    assert answer.inside.tolist() == [True, False, False]
    np.testing.assert_allclose(answer.margin[1:] / unit, [0.5, 0.01], rtol=1e-12)
    assert check_hull(answer, points, SQUARE * unit).all()


@pytest.mark.parametrize("offset", [1e9, -1e12])
def test_an_offset_costs_nothing(offset):
    steps = np.array([[0.5, 0.5], [0.5, -(2.0**-8)], [1.25, 0.5]])  # exact at both offsets
    answer = in_hull(steps + offset, SQUARE + offset)
    assert answer.inside.tolist() == [True, False, False]


def test_numbers_as_far_apart_as_there_are():
    data = np.array([[1e308, 0.0], [-1e308, 0.0], [0.0, 1e308]])
    points = np.array([[0.0, 0.0], [0.0, 9e307], [1e308, 1e308], [1e-300, -1e300]])
    assert in_hull(points, data).inside.tolist() == [True, True, False, False]
    far = np.array([[1e300, -1e300], [0.25, 0.25]])
    answer = in_hull(far, SQUARE * 1e-200)
    assert not answer.inside.any()
    assert check_hull(answer, far, SQUARE * 1e-200).all()
    np.testing.assert_allclose(answer.margin[1], np.sqrt(0.125), rtol=1e-12)


@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize("count", [1, 3])
def test_one_point_is_the_hull_of_itself(unit, count):
    one = np.full((count, 2), [0.1, 0.2]) * unit
    points = np.array([[0.1, 0.2], [0.1, 0.2 + 1e-11], [0.1, 0.2 + 1e-6], [0.0, 0.0]]) * unit
    assert in_hull(points, one).inside.tolist() == [True, True, False, False]
    assert in_hull(one.mean(axis=0)[None], one).inside.all()
    origin = in_hull([[0.0, 0.0], [1e-250, 0.0]], np.zeros((count, 2)))
    assert origin.inside.tolist() == [True, False]


@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e200])
def test_points_on_a_line(unit):
    line = np.outer([0.0, 1.0, 2.0, 2.0], [1.0, 2.0, 4.0]) * unit
    points = np.outer([0.5, 2.0, 2.1, -1e-3], [1.0, 2.0, 4.0]) * unit
    assert in_hull(points, line).inside.tolist() == [True, True, False, False]
    aside = points[:2] + np.array([2.0, -1.0, 0.0]) * 1e-6 * unit
    assert not in_hull(aside, line).inside.any()
    assert in_hull(aside, line, tolerance=1e-5).inside.all()
