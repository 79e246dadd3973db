"""Dimension over scales, beside a Gaussian cloud, and by layer of a network."""

import numpy as np
import pytest

import whydeep as wd
from whydeep.errors import InputError
from whydeep.geometry.dimension import (
    dimension_by_layer,
    dimension_over_scales,
    intrinsic_dimension,
    manifold_test,
)


def test_scales_begin_with_twonn_and_agree_with_single_calls():
    x = np.random.default_rng(0).normal(size=(600, 3))
    found = dimension_over_scales(x, most=32)
    assert [d.neighbours for d in found] == [2, 4, 8, 16, 32]
    assert found[0].value == pytest.approx(intrinsic_dimension(x).value * 600 / 599, rel=1e-10)
    for d in found[1:]:
        single = intrinsic_dimension(x, "gride", k=d.neighbours)
        assert (d.value, d.stderr) == (single.value, single.stderr)
    assert (np.diff([d.distance for d in found]) > 0).all()


def test_noise_shows_at_the_smallest_scale_only():
    rng = np.random.default_rng(1)
    plane = np.column_stack([rng.uniform(size=(2000, 2)), np.zeros((2000, 4))])
    found = dimension_over_scales(plane + 0.01 * rng.normal(size=plane.shape))
    assert found[0].value > 3
    assert found[-1].value < 2.3


def test_a_gaussian_is_not_below_a_gaussian():
    """Its z, over six scales, at 4."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(800, 6)) * np.array([3.0, 2.0, 1.0, 1.0, 0.5, 0.2])
    found = manifold_test(x, most=64)
    assert (np.abs(found.z) < 4).all()
    assert "no evidence" in found.verdict
    variances = np.array([9, 4, 1, 1, 0.25, 0.04])
    assert found.participation == pytest.approx(
        variances.sum() ** 2 / (variances**2).sum(), rel=0.1
    )


def test_a_sphere_in_many_columns_is_below_its_gaussian():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(800, 3))
    sphere = x / np.linalg.norm(x, axis=1, keepdims=True)
    found = manifold_test(sphere @ rng.normal(size=(3, 30)), most=32)
    assert (found.z > 4).all()
    assert "covariance does not explain" in found.verdict
    assert "flat over the scales" in found.verdict


def test_digits_are_below_their_gaussian():
    x, _ = wd.data.load("digits", scale=False)
    found = manifold_test(x, most=64)
    assert (found.z > 10).all()
    assert found.columns == 64
    assert "every scale" in str(found)


def test_by_layer_of_functions_lists_and_torch(require):
    torch = require("torch")
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 8)).astype(np.float32)
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(8, 2), torch.nn.Linear(2, 30), torch.nn.ReLU(), torch.nn.Linear(30, 1)
    )
    by_hooks = dimension_by_layer(module, x, "mle")
    assert list(by_hooks) == ["input", "0", "1", "2", "3"]
    assert round(by_hooks["1"].value) == 2
    assert not any(leaf._forward_hooks for leaf in module.modules())

    def activations(x):
        found = [torch.as_tensor(x)]
        for layer in module:
            found.append(layer(found[-1]))
        return found[1:]

    by_function = dimension_by_layer(activations, x, "mle")
    assert [d.value for d in by_function.values()] == [d.value for d in by_hooks.values()]
    listed = dimension_by_layer([x, x @ np.ones((8, 1))], method="mle")
    assert list(listed) == ["layer 1", "layer 2"]


def test_layers_that_can_not_be_read():
    x = np.random.default_rng(5).normal(size=(100, 3))
    for network, given in ((lambda _: [], x), ("text", None), ({"a": np.ones(5)}, None)):
        with pytest.raises(InputError):
            dimension_by_layer(network, given)
    with pytest.raises(InputError, match="In layer 'dead'"):
        dimension_by_layer({"dead": np.zeros((100, 3))})
