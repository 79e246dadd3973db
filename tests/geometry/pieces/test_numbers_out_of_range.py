"""Networks whose numbers are not finite, enormous or tiny: refused, or as at unit scale."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.support import require
from whydeep.errors import InputError, UnsupportedError
from whydeep.geometry import breakpoints, from_layers, piecewise_linear, regions

RNG = np.random.default_rng(0)
WEIGHTS = [RNG.normal(size=(6, 2)), RNG.normal(size=(6, 6)), RNG.normal(size=(1, 6))]
BIASES = [RNG.normal(size=6), RNG.normal(size=6), RNG.normal(size=1)]
BAD = [
    pytest.param(layer, what, bad)
    for layer in range(3)
    for what in "wb"
    for bad in (np.nan, np.inf)
]


def spoiled(layer, what, bad):
    weights, biases = [w.copy() for w in WEIGHTS], [b.copy() for b in BIASES]
    (weights if what == "w" else biases)[layer].flat[0] = bad
    return weights, biases


@pytest.mark.parametrize(("layer", "what", "bad"), BAD)
def test_layers_that_are_not_finite_are_refused(layer, what, bad):
    name = {"w": "weights", "b": "biases"}[what]
    words = rf"not finite[^§]*1 such of [^§]*{name}\[{layer}\]\[0(, 0)?\] = {bad}[^§]*diverged"
    with pytest.raises(InputError, match=words):
        from_layers(*spoiled(layer, what, bad))


@pytest.mark.parametrize(("layer", "what", "bad"), BAD)
def test_functions_that_are_not_finite_are_refused(layer, what, bad):
    weights, biases = spoiled(layer, what, bad)

    def f(x):
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            x = jnp.maximum(x @ w.T + b, 0.0)
        return x @ weights[-1].T + biases[-1]

    with pytest.raises(InputError, match="not finite"):
        piecewise_linear(f, np.zeros((1, 2)))


def test_modules_that_are_not_finite_are_refused_for_that():
    torch = require("torch")
    for layer in (0, 2):
        for name in ("weight", "bias"):
            for bad in (np.nan, np.inf):
                module = torch.nn.Sequential(
                    torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1)
                ).eval()
                with torch.no_grad():
                    getattr(module[layer], name).view(-1)[0] = bad
                with pytest.raises(
                    InputError, match=f"not finite[^§]*1 of . numbers of {layer}.{name}"
                ):
                    piecewise_linear(module, np.zeros((1, 2)))


def test_no_layers_and_layers_without_units_are_refused():
    with pytest.raises(InputError, match="one layer or more"):
        from_layers([], [])
    with pytest.raises(InputError, match="Layer 1 does not fit"):
        from_layers([np.ones((0, 2)), np.ones((1, 0))], [np.zeros(0), np.zeros(1)])


@pytest.mark.parametrize("size", [1e-60, 1e-90, 1e60, 1e90])
def test_pieces_do_not_depend_on_the_size_of_weights(size):
    """Layer by layer z_l is multiplied by size^l: relu passes that on."""
    scaled = [b * size**number for number, b in enumerate(BIASES, start=1)]
    f, g = from_layers(WEIGHTS, BIASES), from_layers([w * size for w in WEIGHTS], scaled)
    one, other = (breakpoints(h, [-3.0, -3.0], [3.0, 2.0]) for h in (f, g))
    np.testing.assert_allclose(other.positions, one.positions, rtol=1e-9)
    assert other.linear_count == one.linear_count
    window = (-3.0, 3.0, -3.0, 3.0)
    counts = [regions(h, [0, 0], [1, 0], [0, 1], window=window).count for h in (f, g)]
    assert counts[0] == counts[1] > 20


@pytest.mark.parametrize("unit", [1e-200, 1e-100, 1e100, 1e200])
def test_pieces_do_not_depend_on_the_unit_of_inputs(unit):
    f = from_layers(WEIGHTS, BIASES)
    g = from_layers([WEIGHTS[0] / unit, *WEIGHTS[1:]], BIASES)
    ends = np.array([[-3.0, -3.0], [3.0, 2.0]])
    one, other = breakpoints(f, *ends), breakpoints(g, *(ends * unit))
    np.testing.assert_allclose(other.positions, one.positions, rtol=1e-9)
    window = (-3.0, 3.0, -3.0, 3.0)
    plain = regions(f, [0, 0], [1, 0], [0, 1], window=window)
    scaled = regions(g, [0, 0], [unit, 0], [0, unit], window=window)
    assert scaled.count == plain.count
    np.testing.assert_allclose(np.sort(scaled.areas), np.sort(plain.areas), rtol=1e-6)


@pytest.mark.parametrize("size", [1e-200, 1e160])
def test_values_out_of_range_are_refused(size):
    f = from_layers([w * size for w in WEIGHTS], [np.zeros_like(b) for b in BIASES])
    with pytest.raises(UnsupportedError, match="leave the range of float64"):
        breakpoints(f, [-3.0, -3.0], [3.0, 2.0])
    with pytest.raises(UnsupportedError, match="leave the range of float64"):
        regions(f, [0, 0], [1, 0], [0, 1])


@pytest.mark.parametrize("side", [1e-200, 1e200])
def test_windows_whose_areas_are_no_numbers_are_refused(side):
    with pytest.raises(InputError, match="Areas"):
        regions(from_layers(WEIGHTS, BIASES), [0, 0], [1, 0], [0, 1], window=(0, side, 0, side))


def test_dead_units_bend_nothing():
    weights = [np.vstack([WEIGHTS[0], np.zeros((2, 2))]),
               np.hstack([WEIGHTS[1], np.zeros((6, 2))]), WEIGHTS[2]]  # fmt: skip
    biases = [np.append(BIASES[0], [-1.0, 0.0]), *BIASES[1:]]
    ends = [-3.0, -3.0], [3.0, 2.0]
    plain, dead = from_layers(WEIGHTS, BIASES), from_layers(weights, biases)
    np.testing.assert_allclose(
        breakpoints(dead, *ends).positions, breakpoints(plain, *ends).positions, rtol=1e-12
    )
