"""The affine map in force at an input, codes, distances to the boundary, the penalty."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.geometry.pieces.support import AXES, drawn
from tests.support import require
from whydeep.errors import InputError
from whydeep.geometry import (
    code_distance,
    from_layers,
    orthogonality_penalty,
    regions,
    spline,
    zero_sets,
)


@pytest.mark.parametrize("activation", ["relu", "abs", "hard_tanh"])
def test_the_map_is_the_function_at_the_input(activation):
    f = drawn([30, 30], inputs=40, outputs=5, activation=activation, bias=0.3)
    for x in np.random.default_rng(0).normal(size=(5, 40)):
        found = spline(f, x)
        value = f(x[None])[0]
        scale = np.abs(value).max()
        np.testing.assert_allclose(found.A @ x + found.b, value, rtol=0, atol=1e-12 * scale)


def test_the_templates_are_the_jacobian():
    weights = [np.random.default_rng(n).normal(size=s) for n, s in enumerate([(6, 8), (8, 3)])]
    x = np.random.default_rng(5).normal(size=6)
    with jax.enable_x64(True):
        first, second = (jnp.asarray(w) for w in weights)
        expected = jax.jacobian(lambda z: jax.nn.relu(z @ first) @ second)(jnp.asarray(x))
    found = spline(from_layers([w.T for w in weights], [np.zeros(8), np.zeros(3)]), x)
    np.testing.assert_allclose(found.A, np.asarray(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "hard_tanh"])
def test_the_nearest_boundary_is_that_of_the_exact_polygon(activation):
    f = drawn([15, 15], activation=activation, bias=0.4, seed=3)
    found = regions(f, *AXES, window=(-3, 3, -3, 3))
    checked = 0
    for cell in np.argsort(found.areas)[:-200:-1]:
        corners, x = found.polygons[cell], found.middles[cell]
        if np.abs(corners).max() > 2.9 or checked == 12:
            continue
        edges = np.roll(corners, -1, axis=0) - corners
        normal = np.stack([-edges[:, 1], edges[:, 0]], axis=1)
        normal /= np.linalg.norm(normal, axis=1)[:, None]
        expected = ((x - corners) * normal).sum(axis=1)
        view = spline(f, x)
        assert abs(view.distance - expected.min()) < 1e-12
        edge = found.offsets[cell] + int(np.argmin(expected))
        assert (view.layer, view.unit) == (found.edge_layers[edge], found.edge_units[edge])
        assert abs(np.linalg.norm(view.nearest - x) - view.distance) < 1e-12
        np.testing.assert_array_equal(view.code, found.patterns[cell])
        checked += 1
    assert checked > 3


def test_the_boundary_of_a_maximum_is_where_two_members_are_equal():
    torch = require("torch")
    view = spline(torch.nn.MaxPool1d(3), np.array([[3.0, 1.0, 2.0]]))
    assert view.distance == pytest.approx(1 / np.sqrt(2), rel=1e-14)
    np.testing.assert_allclose(view.nearest, [[2.5, 1.0, 2.5]], rtol=1e-14)
    np.testing.assert_array_equal(view.A, [[1.0, 0.0, 0.0]])


def test_an_affine_function_has_no_boundary():
    found = spline(from_layers([np.ones((1, 2))], [np.ones(1)]), np.zeros(2))
    assert (found.distance, found.layer) == (np.inf, -1)


def test_codes_differ_by_the_edges_between_them():
    f = drawn([10, 10], seed=1)
    found = regions(f, *AXES)
    one, two = found.patterns[found.neighbours[:, 0]], found.patterns[found.neighbours[:, 1]]
    distances = code_distance(one, two)
    # across an edge of the last layer one sign changes; of the first, others may come and go too
    assert distances.min() == 1
    assert (code_distance(found.patterns, found.patterns) == 0).all()
    with pytest.raises(InputError, match="different functions"):
        code_distance(np.zeros(1, np.uint64), np.zeros(2, np.uint64))


def test_the_penalty_is_zero_for_right_angles_and_its_gradient_leads_there():
    w = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)))
    products = np.asarray(w) @ np.asarray(w).T
    expected = (products**2).sum() - (np.diag(products) ** 2).sum()
    assert float(orthogonality_penalty(w)) == pytest.approx(expected, rel=1e-5)
    step = jax.jit(lambda w: w - 0.01 * jax.grad(orthogonality_penalty)(w))
    for _ in range(300):
        w = step(w)
    assert float(orthogonality_penalty(w)) < 1e-3 * expected
    assert float(jnp.linalg.norm(w)) > 1.0


def test_zero_sets_of_affine_functions_are_their_lines():
    segments = zero_sets(lambda x: x @ np.array([[1.0, 2.0], [3.0, -1.0]]) + 0.1, *AXES)
    for column, (a, b) in zip(segments, ([1.0, 3.0], [2.0, -1.0]), strict=True):
        assert np.abs(column @ np.array([a, b]) + 0.1).max() < 1e-13
        assert np.linalg.norm(column[:, 1] - column[:, 0], axis=1).sum() > 1.5
    with pytest.raises(InputError, match="finite values"):
        zero_sets(lambda x: x[:3], *AXES)
