"""Hull membership against linear programming, exact arithmetic, and what must not change it."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog

from whydeep.errors import InputError
from whydeep.geometry.hull import _in_hull, check_hull, in_hull
from whydeep.geometry.hull._least_squares import by_least_squares
from whydeep.geometry.hull._minimum_norm import NearestPoints

pytestmark = pytest.mark.bounds


def gauge(x, data):
    """The largest s such that s x is in the hull of the data: a linear program of its own."""
    n = len(data)
    equations = np.vstack(
        [np.column_stack([data.T, -x]), np.append(np.ones(n), 0.0)],
    )
    right = np.append(np.zeros(len(x)), 1.0)
    cost = np.append(np.zeros(n), -1.0)
    found = linprog(cost, A_eq=equations, b_eq=right, method="highs")
    assert found.status == 0
    return -found.fun


@pytest.mark.parametrize(("d", "n"), [(1, 5), (2, 40), (3, 100), (6, 200), (12, 300), (25, 400)])
def test_rays_about_the_boundary_that_a_linear_program_finds(d, n):
    rng = np.random.default_rng(d)
    data = rng.normal(size=(n, d))
    data -= data.mean(axis=0)  # so that the origin is inside
    rays = rng.normal(size=(12, d))
    ends = np.stack([gauge(x, data) * x for x in rays])
    for factor, expected in ((0.9, True), (0.99, True), (0.999999, True), (1.000001, False),
                             (1.01, False), (1.1, False)):  # fmt: skip
        answer = in_hull(factor * ends, data)
        assert (answer.inside == expected).all(), factor
        assert check_hull(answer, factor * ends, data).all()


def test_every_direction_separates_in_exact_arithmetic():
    rng = np.random.default_rng(0)
    data, x = rng.normal(size=(60, 4)), rng.normal(size=(20, 4))
    answer = in_hull(x, data)
    exact = [[Fraction(v) for v in row] for row in data.tolist()]
    outside = np.flatnonzero(~answer.inside)
    assert len(outside) > 3
    for i in outside:
        p = [Fraction(v) for v in answer.direction[i].tolist()]
        point = [Fraction(v) for v in x[i].tolist()]
        least = min(
            sum(a * (b - c) for a, b, c in zip(p, row, point, strict=True)) for row in exact
        )
        assert least >= Fraction(float(answer.margin[i])) > 0


def test_weights_give_the_point_in_exact_arithmetic():
    rng = np.random.default_rng(1)
    data, x = rng.normal(size=(60, 4)), rng.normal(size=(20, 4)) / 4
    answer = in_hull(x, data)
    radius = np.linalg.norm(data - data.mean(axis=0), axis=1).max()
    for i in np.flatnonzero(answer.inside):
        rows, weights = answer.support[i], answer.weights[i]
        assert (rows >= 0).sum() <= 5
        assert (weights >= 0).all()
        exact = [
            sum(
                Fraction(float(w)) * Fraction(float(data[r, j]))
                for r, w in zip(rows, weights, strict=True)
            )
            for j in range(4)
        ]
        distance = np.linalg.norm(
            [float(e - Fraction(v)) for e, v in zip(exact, x[i].tolist(), strict=True)]
        )
        assert distance <= 1e-9 * radius


def test_margin_is_below_the_distance_and_reaches_it_at_a_wall():
    grid = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), axis=-1).reshape(-1, 3)
    answer = in_hull([[1.5, 1.5, 3.0 + 2.0], [4.0, 4.0, 4.0]], grid)
    assert not answer.inside.any()
    assert 0 < answer.margin[0] <= 2.0
    assert 0 < answer.margin[1] <= np.sqrt(3.0)


def test_a_lattice_full_of_ties():
    """Points of the boundary, of the data, and of many faces at once."""
    grid = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), axis=-1).reshape(-1, 3)
    halves = np.stack(np.meshgrid(*[np.arange(-0.5, 4.0, 0.5)] * 3), axis=-1).reshape(-1, 3)
    answer = in_hull(halves, grid)
    expected = ((halves >= 0) & (halves <= 3)).all(axis=1)
    np.testing.assert_array_equal(answer.inside, expected)
    assert check_hull(answer, halves, grid).all()


def test_corners_of_a_cube_and_of_a_cross_polytope():
    corners = 2.0 * np.stack(np.meshgrid(*[[0, 1]] * 8), axis=-1).reshape(-1, 8) - 1.0
    cross = np.vstack([np.eye(8), -np.eye(8)])
    assert in_hull(corners, corners).inside.all()
    assert not in_hull(corners, cross).inside.any()
    assert in_hull(cross, corners).inside.all()
    assert in_hull(corners / 8, cross).inside.all()  # the middles of its facets
    assert not in_hull(corners / 8 * (1 + 1e-7), cross).inside.any()


def test_points_at_a_facet_are_inside_to_the_tolerance_and_no_further():
    triangle = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    radius = np.linalg.norm(np.array(triangle) - 1 / 3, axis=1).max()
    offsets = radius * np.array([-1e-6, 0.0, 1e-11, 1e-7, 1e-6])
    answer = in_hull(np.column_stack([np.full(5, 0.3), -offsets]), triangle)
    np.testing.assert_array_equal(answer.inside, [True, True, True, False, False])
    loose = in_hull(np.column_stack([np.full(5, 0.3), -offsets]), triangle, tolerance=1e-4)
    assert loose.inside.all()


@pytest.mark.parametrize("spread", [1.0, 1e3, 1e6])
def test_an_affine_map_of_both_changes_no_answer(spread):
    rng = np.random.default_rng(3)
    data, x = rng.normal(size=(300, 6)), rng.normal(size=(100, 6)) * 0.8
    expected = in_hull(x, data).inside
    assert 10 < expected.sum() < 90
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    other, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    matrix = turn * np.geomspace(1.0, spread, 6) @ other
    moved = rng.normal(size=6) * 10
    answer = in_hull(x @ matrix + moved, data @ matrix + moved)
    np.testing.assert_array_equal(answer.inside, expected)


@pytest.mark.parametrize("kind", ["binary", "cauchy", "almost flat", "clusters", "sparse"])
@pytest.mark.parametrize(("d", "n"), [(2, 12), (5, 60), (12, 150)])
def test_data_of_other_laws(kind, d, n):
    """Weighted means of few data points are inside; all else has a proof or is refused."""
    rng = np.random.default_rng([d, n])
    data = {
        "binary": lambda: rng.integers(0, 2, size=(n, d)).astype(float),
        "cauchy": lambda: rng.standard_cauchy(size=(n, d)),
        "almost flat": lambda: rng.normal(size=(n, d)) * np.append(np.ones(d - 1), 1e-8),
        "clusters": lambda: (
            rng.normal(size=(5, d))[rng.integers(0, 5, n)] + 1e-4 * rng.normal(size=(n, d))
        ),
        "sparse": lambda: rng.normal(size=(n, d)) * (rng.uniform(size=(n, d)) < 0.2),
    }[kind]()
    weights = rng.dirichlet(np.full(4, 0.5), size=30)
    x = np.einsum("mk,mkd->md", weights, data[rng.integers(0, n, size=(30, 4))])
    away = data.mean(axis=0) + 1.3 * (x - data.mean(axis=0))
    assert in_hull(x, data).inside.all()
    answer = in_hull(np.vstack([x, away]), data)
    assert check_hull(answer, np.vstack([x, away]), data).all()


def test_far_from_the_origin():
    rng = np.random.default_rng(4)
    data, x = rng.normal(size=(200, 5)), rng.normal(size=(50, 5))
    expected = in_hull(x, data).inside
    np.testing.assert_array_equal(in_hull(x + 1e6, data + 1e6).inside, expected)


def test_data_in_a_subspace():
    rng = np.random.default_rng(5)
    basis, _ = np.linalg.qr(rng.normal(size=(20, 4)))
    low, x = rng.normal(size=(150, 4)), rng.normal(size=(40, 4))
    data, points = low @ basis.T, x @ basis.T
    answer = in_hull(points, data)
    np.testing.assert_array_equal(answer.inside, in_hull(x, low).inside)
    normal = np.linalg.svd(basis.T)[2][-1]
    off = in_hull(points + 1e-3 * normal, data)
    assert not off.inside.any()
    assert off.settled_by == {"outside the span of the data": 40}
    assert check_hull(off, points + 1e-3 * normal, data).all()


def test_few_equal_and_repeated_data():
    rng = np.random.default_rng(6)
    data = rng.normal(size=(3, 10))  # a triangle in ten dimensions
    assert in_hull([data.mean(axis=0), data[0], 2 * data[0] - data[1]], data).inside.tolist() == [
        True, True, False
    ]  # fmt: skip
    one = np.ones((5, 3))
    assert in_hull([[1.0, 1.0, 1.0], [1.0, 1.0, 1.1]], one).inside.tolist() == [True, False]
    repeated = np.repeat(rng.normal(size=(20, 3)), 30, axis=0)
    x = rng.normal(size=(30, 3))
    np.testing.assert_array_equal(in_hull(x, repeated).inside, in_hull(x, repeated[::30]).inside)


def test_the_order_of_data_and_threads_change_no_answer():
    rng = np.random.default_rng(7)
    data, x = rng.normal(size=(400, 8)), rng.normal(size=(100, 8)) * 0.8
    first = in_hull(x, data, threads=1)
    np.testing.assert_array_equal(first.inside, in_hull(x, data, threads=3).inside)
    np.testing.assert_array_equal(first.inside, in_hull(x, data[::-1]).inside)
    np.testing.assert_array_equal(first.inside[::-1], in_hull(x[::-1], data).inside)


def test_least_squares_settle_what_the_nearest_points_leave(monkeypatch):
    rng = np.random.default_rng(8)
    data, x = rng.normal(size=(200, 5)), rng.normal(size=(40, 5)) * 0.8
    expected = in_hull(x, data).inside

    def at_a_loss(_, queries, *__):
        m, r = queries.shape
        nothing = np.zeros((m, r + 2))
        return NearestPoints(np.full(m, 3), np.full((m, r + 2), -1), nothing, np.zeros((m, r)))

    monkeypatch.setattr(_in_hull, "nearest_points", at_a_loss)
    answer = in_hull(x, data)
    np.testing.assert_array_equal(answer.inside, expected)
    assert answer.settled_by["least squares"] >= expected.sum() > 5
    assert check_hull(answer, x, data).all()


def test_least_squares_grow_their_working_set():
    rng = np.random.default_rng(9)
    data = rng.normal(size=(2000, 3))
    found = by_least_squares(data, np.array([0.1, 0.2, 2.0]), np.arange(4))
    assert found is not None
    assert np.linalg.norm(found.difference) < 1e-12
    found = by_least_squares(data, np.array([4.0, 3.0, 2.0]), np.arange(4))
    assert found is not None
    assert found.final
    least = float(np.min((data - [4.0, 3.0, 2.0]) @ found.difference))
    assert least == pytest.approx(float(found.difference @ found.difference))


@pytest.mark.parametrize("error", ["verdict", "weight", "row", "direction", "negative"])
def test_a_planted_error_is_caught(error):
    rng = np.random.default_rng(10)
    data, x = rng.normal(size=(100, 4)), rng.normal(size=(30, 4)) * 0.9
    answer = in_hull(x, data)
    inside, outside = np.flatnonzero(answer.inside)[0], np.flatnonzero(~answer.inside)[0]
    arrays = {
        name: getattr(answer, name).copy() for name in ("inside", "support", "weights", "direction")
    }
    if error == "verdict":
        arrays["inside"] = ~arrays["inside"]
        expected = np.zeros(len(x), bool)
    else:
        expected = np.ones(len(x), bool)
        expected[outside if error == "direction" else inside] = False
    if error == "weight":
        arrays["weights"][inside, :2] += [1e-6, -1e-6]
    if error == "row":
        arrays["support"][inside, 0] = (arrays["support"][inside, 0] + 1) % 100
    if error == "negative":
        arrays["weights"][inside, 0] *= -1
    if error == "direction":
        arrays["direction"][outside] *= -1
    planted = dataclasses.replace(answer, **arrays)
    np.testing.assert_array_equal(check_hull(planted, x, data), expected)


@pytest.mark.parametrize(
    ("points", "data", "options"),
    [
        ([[np.nan, 0.0]], np.eye(2), {}),
        ([[0.0, 0.0]], [[np.inf, 0.0]], {}),
        (np.ones((2, 3)), np.eye(2), {}),
        (np.ones(2), np.eye(2), {}),
        (np.ones((0, 2)), np.eye(2), {}),
        (np.eye(2), np.eye(2), {"tolerance": 0.1}),
        (np.eye(2), np.eye(2), {"tolerance": 0.0}),
        (np.eye(2), np.eye(2), {"threads": 0}),
    ],
)
def test_what_is_refused(points, data, options):
    with pytest.raises(InputError):
        in_hull(points, data, **options)


def test_answers_of_other_points_are_refused():
    answer = in_hull(np.eye(3), np.eye(3))
    with pytest.raises(InputError, match="do not belong"):
        check_hull(answer, np.eye(3)[:2], np.eye(3))
