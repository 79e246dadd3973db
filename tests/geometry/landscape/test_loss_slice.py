"""Slices, trajectories and curvature: exact on quadratics, and what must not change them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from whydeep.errors import InputError, UnsupportedError
from whydeep.geometry.landscape import (
    hessian_top,
    loss_slice,
    torch_loss,
    trajectory_directions,
)

N = 90


@pytest.fixture(scope="module")
def quadratic():
    """1/2 theta' H theta + g' theta + 3 on a tree of arrays, with H known."""
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(N, N)))
    values = np.concatenate([[-30.0, -4.0], np.linspace(0, 1, N - 5), [10.0, 20.0, 50.0]])
    hessian = turn * values @ turn.T
    slope = rng.normal(size=N)
    params = {"w": rng.normal(size=(8, 10)), "b": rng.normal(size=10)}

    def loss(p):
        theta = jnp.concatenate([p["b"], p["w"].ravel()])
        return theta @ hessian @ theta / 2 + slope @ theta + 3

    return loss, params, hessian, slope, values, turn


def vector(tree):
    return np.concatenate([np.asarray(tree["b"]).ravel(), np.asarray(tree["w"]).ravel()])


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("chunk", [None, 1, 7, 1000])
def test_a_quadratic_is_exact_on_every_point(quadratic, dims, chunk):
    loss, params, hessian, slope, _, _ = quadratic
    found = loss_slice(loss, params, dims=dims, points=5, span=2.0, chunk=chunk, biases=True)
    theta, ways = vector(params), [vector(d) for d in found.directions]
    grid = np.stack(np.meshgrid(*found.axes, indexing="ij"), axis=-1)
    at = theta + grid @ np.stack(ways)
    expected = np.einsum("...i,ij,...j->...", at, hessian, at) / 2 + at @ slope + 3
    np.testing.assert_allclose(found.values, expected, rtol=1e-11)
    np.testing.assert_allclose(found.centre, found.values[(2,) * dims], rtol=1e-13)
    assert [a.tolist() for a in found.axes] == [[-2.0, -1.0, 0.0, 1.0, 2.0]] * dims


@pytest.mark.parametrize(
    ("which", "expected"),
    [("largest", [50, 20, 10]), ("smallest", [-30, -4]), ("magnitude", [50, -30, 20])],
)
def test_eigenvectors_of_the_hessian(quadratic, which, expected):
    loss, params, hessian, _, values, turn = quadratic
    found = hessian_top(loss, params, count=len(expected), which=which)
    np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-10)
    assert found.residuals.max() < 1e-9
    assert found.products < 3 * N
    for value, tree in zip(found.eigenvalues[:2], found.eigenvectors, strict=False):
        v = vector(tree)
        np.testing.assert_allclose(hessian @ v, value * v, atol=1e-9)
        own = turn[:, np.argmin(np.abs(values - value))]
        assert abs(v @ own) == pytest.approx(1, abs=1e-10)


def test_small_hessians_are_formed():
    found = hessian_top(lambda w: jnp.sum(jnp.arange(5.0) * w**2) / 2, np.zeros(5), count=5)
    np.testing.assert_allclose(found.eigenvalues, [4, 3, 2, 1, 0], atol=1e-12)


def test_along_eigenvectors_the_curvature_is_the_eigenvalue(quadratic):
    loss, params, *_ = quadratic
    found = loss_slice(loss, params, "hessian", points=3, span=0.5)
    for k, value in enumerate(found.eigenvalues):
        line = np.take(found.values, 1, axis=1 - k)
        np.testing.assert_allclose((line[0] - 2 * line[1] + line[2]) / 0.25, value, rtol=1e-9)
    assert found.lengths == pytest.approx((1.0, 1.0))
    assert abs(found.cosine) < 1e-10


def relu_loss(params):
    x = jnp.asarray(np.random.default_rng(1).normal(size=(20, 6)))
    hidden = jax.nn.relu(x @ params["w1"])
    return jnp.mean((jax.nn.relu(hidden @ params["w2"]) @ params["w3"]) ** 2)


def relu_params():
    rng = np.random.default_rng(2)
    shapes = {"w1": (6, 9), "w2": (9, 7), "w3": (7, 2)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def test_filters_keep_their_lengths():
    params = relu_params()
    found = loss_slice(relu_loss, params, points=2)
    for direction in found.directions:
        for name, w in params.items():
            np.testing.assert_allclose(
                np.linalg.norm(direction[name], axis=0), np.linalg.norm(w, axis=0), rtol=1e-12
            )
    by_layer = loss_slice(relu_loss, params, points=2, normalise="layer").directions[0]
    for name, w in params.items():
        assert np.linalg.norm(by_layer[name]) == pytest.approx(np.linalg.norm(w))
    rows = loss_slice(relu_loss, params, points=2, filter_axis=0).directions[0]
    np.testing.assert_allclose(
        np.linalg.norm(rows["w2"], axis=1), np.linalg.norm(params["w2"], axis=1), rtol=1e-12
    )


def test_rescaling_relu_layers_changes_no_picture():
    """And changes it without normalisation: the invariance is the normalisation's doing."""
    params = relu_params()
    scaled = {"w1": params["w1"] * 100, "w2": params["w2"] / 25, "w3": params["w3"] / 4}
    for normalise, same in (("filter", True), ("layer", True), ("none", False)):
        one = loss_slice(relu_loss, params, points=5, normalise=normalise, seed=3)
        other = loss_slice(relu_loss, scaled, points=5, normalise=normalise, seed=3)
        assert np.allclose(one.values, other.values, rtol=1e-9) is same
        np.testing.assert_allclose(one.centre, other.centre, rtol=1e-11)


def test_rescaling_one_neuron_changes_the_picture():
    """As the guide warns: its outgoing weights are parts of other neurons' filters."""
    params = relu_params()
    scaled = {name: w.copy() for name, w in params.items()}
    scaled["w1"][:, 0] *= 10
    scaled["w2"][0] /= 10
    one, other = (loss_slice(relu_loss, p, points=5) for p in (params, scaled))
    np.testing.assert_allclose(one.centre, other.centre, rtol=1e-11)
    assert not np.allclose(one.values, other.values, rtol=1e-3)


def test_biases_stay_unless_they_are_asked_to_move(quadratic):
    loss, params, *_ = quadratic
    still = loss_slice(loss, params, points=2).directions[0]
    assert (still["b"] == 0).all()
    moved = loss_slice(loss, params, points=2, biases=True).directions[0]
    assert np.linalg.norm(moved["b"]) == pytest.approx(np.linalg.norm(params["b"]))
    with pytest.raises(InputError, match="direction is zero"):
        loss_slice(lambda b: jnp.sum(b**2), np.ones(3))


def test_seeds():
    params = relu_params()
    one, same, other = (
        loss_slice(relu_loss, params, dims=1, points=3, seed=seed).values for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_given_directions_and_single_precision():
    way = np.array([[1.0, 0.0]], np.float32)
    w = np.array([[3.0, 4.0]], np.float32)
    found = loss_slice(lambda w: jnp.sum(w**2), w, [way], points=3, span=1.0)
    np.testing.assert_allclose(found.values, [20.0, 25.0, 32.0], rtol=1e-6)
    assert found.directions[0].dtype == np.float32


def test_a_loss_that_overflows_is_shown_as_it_is():
    found = loss_slice(lambda w: jnp.exp(jnp.sum(w[0])), [np.full((1, 1), 100.0)], dims=1,
                       points=3, span=10.0)  # fmt: skip
    assert np.isinf(found.values).any()
    assert found.values.min() == 0.0


def test_the_path_of_gradient_descent_on_a_quadratic():
    """theta_t = sum of (1 - eta lambda)^t e: two modes move, and their plane is found."""
    path = [np.array([0.9**t, 2 * 0.5**t, 0.0, 1.0]) for t in range(12)]

    def loss(w):
        return jnp.sum(w**2)

    found = trajectory_directions(loss, path)
    np.testing.assert_allclose(found.explained.sum(), 1.0, rtol=1e-12)
    plane = np.stack(found.directions)
    np.testing.assert_allclose(plane @ plane.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(path[-1] + found.coordinates @ plane, np.stack(path), atol=1e-12)
    shown = loss_slice(loss, path[-1], found, points=9)
    assert shown.axes[0].min() < found.coordinates[:, 0].min()
    assert shown.axes[0].max() > found.coordinates[:, 0].max()
    i, j = 3, 6
    at = path[-1] + shown.axes[0][i] * plane[0] + shown.axes[1][j] * plane[1]
    assert shown.values[i, j] == pytest.approx(np.sum(at**2), rel=1e-12)


def test_a_random_walk_explains_what_is_said():
    """8/pi^2 and a ninth of it, in the limit of many dimensions and steps: within 3%."""
    rng = np.random.default_rng(4)
    walk = np.cumsum(rng.normal(size=(200, 5000)), axis=0)
    found = trajectory_directions(jnp.sum, list(walk))
    np.testing.assert_allclose(found.explained, found.random_walk, rtol=0.03)
    np.testing.assert_allclose(found.random_walk, [0.8106, 0.0901], atol=1e-4)


def test_torch_agrees_with_jax(require):
    torch = require("torch")
    params = relu_params()
    module = torch.nn.Sequential(
        torch.nn.Linear(6, 9, bias=False), torch.nn.ReLU(),
        torch.nn.Linear(9, 7, bias=False), torch.nn.ReLU(),
        torch.nn.Linear(7, 2, bias=False),
    ).double()  # fmt: skip
    with torch.no_grad():
        for layer, w in zip(module[::2], params.values(), strict=True):
            layer.weight.copy_(torch.tensor(w.T))
    x = torch.tensor(np.random.default_rng(1).normal(size=(20, 6)))
    loss, tensors = torch_loss(module, lambda f: (f(x) ** 2).mean())
    top = hessian_top(loss, tensors, count=2)
    own = hessian_top(relu_loss, params, count=2)
    np.testing.assert_allclose(top.eigenvalues, own.eigenvalues, rtol=1e-8)
    shown = loss_slice(loss, tensors, points=4, chunk=5)
    for direction in shown.directions:
        for (name, w), d in zip(tensors.items(), direction.values(), strict=True):
            np.testing.assert_allclose(d.numpy().__abs__().max() > 0, True, err_msg=name)
            torch.testing.assert_close(torch.linalg.norm(d, dim=1), torch.linalg.norm(w, dim=1))
    ways = [
        {name: np.asarray(d).T for name, d in zip(params, direction.values(), strict=True)}
        for direction in shown.directions
    ]
    same = loss_slice(relu_loss, params, ways, points=4)
    np.testing.assert_allclose(shown.values, same.values, rtol=1e-10)
    assert shown.centre == pytest.approx(float(loss(tensors)), rel=1e-12)


@pytest.mark.lanes
def test_the_global_switch_of_precision_is_left_alone():
    before = jax.config.jax_enable_x64
    found = loss_slice(relu_loss, relu_params(), points=3)
    assert jax.config.jax_enable_x64 == before
    single = {k: v.astype(np.float32) for k, v in relu_params().items()}
    rough = loss_slice(relu_loss, single, points=3)
    np.testing.assert_allclose(rough.values, found.values, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"along": "gradient"},
        {"along": []},
        {"along": [np.ones(3)]},
        {"dims": 3},
        {"points": 1},
        {"span": 0.0},
        {"span": np.inf},
        {"normalise": "weight"},
        {"filter_axis": 5},
        {"chunk": 0},
        {"seed": -1},
    ],
)
def test_what_is_refused(options):
    with pytest.raises(InputError):
        loss_slice(lambda w: jnp.sum(w**2), np.ones((2, 2)), **options)


def test_losses_and_parameters_that_are_refused():
    w = np.ones((2, 2))
    for loss, params in (
        (lambda w: w, w), (jnp.sum, np.ones((2, 2), int)),
        (jnp.sum, np.full((2, 2), np.nan)), (lambda _: jnp.zeros(()), {}), (3, w),
    ):  # fmt: skip
        with pytest.raises(InputError):
            loss_slice(loss, params)
    with pytest.raises(InputError):
        hessian_top(lambda w: jnp.sum(w**2), w, count=5)
    with pytest.raises(InputError):
        hessian_top(lambda w: jnp.sum(w**2), w, which="middle")
    with pytest.raises(UnsupportedError, match="not finite"):
        hessian_top(lambda w: jnp.sum(w) ** 1.5, 0 * w)
    with pytest.raises(InputError, match="too short"):
        trajectory_directions(jnp.sum, [w, w])
    with pytest.raises(InputError, match="do not span"):
        trajectory_directions(jnp.sum, [w, w, w, w])
    with pytest.raises(InputError, match="other form"):
        trajectory_directions(jnp.sum, [w, {"a": w}, w])
