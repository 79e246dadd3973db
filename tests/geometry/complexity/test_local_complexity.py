"""Local complexity: brute force, identities between probes, invariances, training."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from whydeep.errors import InputError, UnsupportedError
from whydeep.geometry import from_layers
from whydeep.geometry.complexity import complexity_during_training, local_complexity
from whydeep.geometry.complexity._probes import frame, units_that_change


def network(seed=0, sizes=(3, 20, 15, 10, 2), scale=1.0):
    rng = np.random.default_rng(seed)
    pairs = list(itertools.pairwise(sizes))
    weights = [scale * rng.normal(size=(m, n)) * np.sqrt(2 / n) for n, m in pairs]
    return weights, [0.3 * rng.normal(size=m) for _, m in pairs]


def preactivations(weights, biases, x):
    found = []
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        found.append(x @ w.T + b)
        x = np.maximum(found[-1], 0)
    return found


POINTS = np.random.default_rng(1).normal(size=(12, 3))


def test_vertices_by_hand():
    weights, biases = network()
    found = local_complexity(from_layers(weights, biases), POINTS, 0.4, directions=2, seed=5)
    assert found.directions == 2
    for i, x in enumerate(POINTS):
        ways = 0.4 * frame(3, 2, 5, i)
        ends = np.stack([x + ways[0], x + ways[1], x - ways[0], x - ways[1]])
        for layer, z in enumerate(preactivations(weights, biases, ends)):
            expected = sum(len(set(column > 0)) == 2 for column in z.T)
            assert found.by_layer[i, layer] == expected
    np.testing.assert_array_equal(found.units, found.by_layer.sum(axis=1))
    assert found.stderr == pytest.approx(found.units.std(ddof=1) / np.sqrt(12))
    assert np.isnan(found.pieces).all()


def test_frames_are_orthonormal_and_others_for_every_point():
    ways = frame(10, 4, 0, 0)
    np.testing.assert_allclose(ways @ ways.T, np.eye(4), atol=1e-14)
    assert not np.allclose(ways, frame(10, 4, 0, 1))
    assert local_complexity(from_layers(*network()), POINTS, 0.1).directions == 3


@pytest.mark.parametrize("radius", [0.01, 0.3, 3.0])
def test_for_the_first_layer_vertices_and_segments_are_one(radius):
    """An affine function whose sign differs among the ends differs on some opposite pair."""
    f = from_layers(*network(2))
    ends = local_complexity(f, POINTS, radius)
    lines = local_complexity(f, POINTS, radius, method="segments")
    np.testing.assert_array_equal(ends.by_layer[:, 0], lines.by_layer[:, 0])
    assert lines.layers == ends.layers == ("1: relu", "2: relu", "3: relu")


def test_units_on_segments_by_dense_sampling():
    """Signs at 20,000 points of every segment find the same units, but for crossings nearer to
    each other than they are: never more units."""
    weights, biases = network(3)
    found = local_complexity(
        from_layers(weights, biases), POINTS[:4], 1.0, method="segments", directions=2
    )
    t = np.linspace(-1, 1, 20_001)[:, None]
    missed = 0
    for i, x in enumerate(POINTS[:4]):
        lines = [preactivations(weights, biases, x + t * way) for way in frame(3, 2, 0, i)]
        for layer in range(3):
            both = np.stack([z[layer] > 0 for z in lines], axis=1)
            each = (both.any(axis=0) & ~both.all(axis=0)).any(axis=0).sum()
            assert each <= found.by_layer[i, layer]
            missed += found.by_layer[i, layer] - each
    assert missed <= 1


def test_the_square_of_a_shallow_network_is_an_arrangement_of_lines():
    """Lines that meet the square, and 1 + lines + pairs that cross inside (Zaslavsky 1975)."""
    weights, biases = network(4, sizes=(3, 30, 1))
    radius = 0.7
    found = local_complexity(from_layers(weights, biases), POINTS, radius, method="square")
    for i, x in enumerate(POINTS):
        ways = frame(3, 2, 0, i)
        slopes, offsets = weights[0] @ ways.T, weights[0] @ x + biases[0]
        corners = radius * np.array(list(itertools.product([-1, 1], repeat=2)))
        values = corners @ slopes.T + offsets
        lines = np.flatnonzero((values > 0).any(axis=0) & (values < 0).any(axis=0))
        assert found.by_layer[i, 0] == len(lines)
        crossings = 0
        for a, b in itertools.combinations(lines, 2):
            s = np.linalg.solve(slopes[[a, b]], -offsets[[a, b]])
            crossings += bool((np.abs(s) < radius).all())
        assert found.pieces[i] == 1 + len(lines) + crossings


def test_more_radius_more_units_and_none_far_from_all_kinks():
    f = from_layers(*network(5))
    for method in ("segments", "square"):
        small, large = (local_complexity(f, POINTS, r, method=method) for r in (0.1, 1.0))
        assert (small.by_layer <= large.by_layer).all()
        assert (small.pieces <= large.pieces).all()
    shifted = from_layers(
        [np.eye(3), np.eye(3), np.ones((1, 3))], [np.full(3, 50.0), np.full(3, 50.0), np.zeros(1)]
    )
    assert local_complexity(shifted, POINTS, 1.0).mean == 0
    assert local_complexity(shifted, POINTS, 1.0, method="square").pieces.tolist() == [1.0] * 12


@pytest.mark.parametrize("method", ["vertices", "segments", "square"])
def test_permuting_neurons_and_scaling_a_layer_change_nothing(method):
    weights, biases = network(6)
    first = local_complexity(from_layers(weights, biases), POINTS[:5], 0.5, method=method)
    order = np.random.default_rng(0).permutation(20)
    changed = [w.copy() for w in weights]
    changed[0], changed[1] = weights[0][order] * 8, weights[1][:, order] / 8
    moved = [biases[0][order] * 8, *biases[1:]]
    other = local_complexity(from_layers(changed, moved), POINTS[:5], 0.5, method=method)
    np.testing.assert_array_equal(first.by_layer, other.by_layer)


def test_a_function_of_preactivations_and_smooth_activations():
    weights, biases = network(7)
    f = from_layers(weights, biases)
    own = local_complexity(f, POINTS, 0.5)
    given = local_complexity(lambda x: preactivations(weights, biases, x), POINTS, 0.5)
    np.testing.assert_array_equal(own.by_layer, given.by_layer)
    named = local_complexity(
        lambda x: dict(zip("abc", preactivations(weights, biases, x), strict=True)), POINTS, 0.5
    )
    assert named.layers == ("a", "b", "c")

    def smooth(x):
        return jax.nn.gelu(jnp.asarray(x) @ weights[0].T) @ jnp.ones(20)

    with pytest.raises(UnsupportedError):
        local_complexity(smooth, POINTS, 0.5)


def test_torch_modules(require):
    torch = require("torch")
    weights, biases = network(8)
    layers = []
    for w, b in zip(weights, biases, strict=True):
        layer = torch.nn.Linear(w.shape[1], w.shape[0]).double()
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(w))
            layer.bias.copy_(torch.tensor(b))
        layers += [layer, torch.nn.ReLU()]
    module = torch.nn.Sequential(*layers[:-1]).eval()
    for method in ("vertices", "segments"):
        own = local_complexity(module, POINTS[:4], 0.5, method=method)
        same = local_complexity(from_layers(weights, biases), POINTS[:4], 0.5, method=method)
        np.testing.assert_array_equal(own.by_layer, same.by_layer)


def test_units_with_several_thresholds_count_once():
    """Hard tanh bends at -1 and 1: a unit that passes both is one unit."""
    f = from_layers([np.eye(1), np.eye(1)], [np.zeros(1), np.zeros(1)], "hard_tanh")
    found = local_complexity(f, np.zeros((1, 1)), 3.0)
    assert found.units.tolist() == [1]
    assert local_complexity(f, np.zeros((1, 1)), 3.0, method="segments").pieces.tolist() == [3.0]
    signs = np.array([[[True, False, True], [False, False, True]]])
    assert units_that_change(signs, np.array([0, 0, 1])).tolist() == [1]


def test_refusals():
    f = from_layers(*network())
    for options in ({"method": "ball"}, {"directions": 0}, {"seed": -1}):
        with pytest.raises(InputError):
            local_complexity(f, POINTS, 0.1, **options)
    for x, r in ((POINTS[0], 0.1), (POINTS, 0.0), (POINTS * np.nan, 0.1), (POINTS[:0], 0.1)):
        with pytest.raises(InputError):
            local_complexity(f, x, r)
    with pytest.raises(InputError, match="can't be read"):
        local_complexity(lambda x: [x[:1]], POINTS, 0.1)
    line = from_layers([np.eye(1), np.eye(1)], [np.zeros(1), np.zeros(1)])
    with pytest.raises(InputError, match="no squares"):
        local_complexity(line, np.zeros((1, 1)), 0.1, method="square")


def blobs():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(size=(60, 4)) / 4 + np.eye(4)[y]
    return x[:40], y[:40], x[40:], y[40:]


def test_complexity_is_followed_while_a_network_trains():
    options = {"widths": (20, 20), "steps": 100, "record": [0, 10, 100], "learning_rate": 0.01}
    found = complexity_during_training(*blobs(), **options)
    assert found.steps.tolist() == [0, 10, 100]
    assert found.accuracy[-1] == 1.0
    assert (np.diff(found.loss) < 0).all()
    assert list(found.complexity) == ["training", "test", "random"]
    again = local_complexity(found.network, blobs()[0], 0.1, seed=0)
    np.testing.assert_array_equal(again.by_layer, found.complexity["training"][-1].by_layer)
    assert found.mean("training")[-1] == again.mean
    # A run that stops earlier is the same run.
    short = complexity_during_training(*blobs(), **(options | {"steps": 10, "record": [10]}))
    np.testing.assert_allclose(short.loss[0], found.loss[1], rtol=1e-5)
    assert len(str(found).splitlines()) == 4


def test_batches_and_large_weights():
    found = complexity_during_training(
        *blobs(), widths=(16,), steps=50, batch=8, init_scale=4.0, weight_decay=0.1, points=5
    )
    assert found.steps[0] == 0
    assert found.steps[-1] == 50
    assert len(found.complexity["random"][0].units) == 5
    plain = complexity_during_training(*blobs(), widths=(16,), steps=1, init_scale=1.0)
    assert found.loss[0] > plain.loss[0]


def test_training_refusals():
    x, y, x_test, y_test = blobs()
    for arguments in ((x, 0 * y, x_test, 0 * y_test), (x, y[:5], x_test, y_test),
                      (x, y / 2, x_test, y_test), (x, y, x_test[:, :2], y_test)):  # fmt: skip
        with pytest.raises(InputError):
            complexity_during_training(*arguments, steps=1)
    for options in ({"record": [5, 2]}, {"record": []}, {"record": [9]}, {"init_scale": 0.0}):
        with pytest.raises(InputError):
            complexity_during_training(*blobs(), **({"steps": 5} | options))
