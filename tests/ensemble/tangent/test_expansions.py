"""Polynomials in the parameters: exact where the network is one, and of the right order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from whydeep.ensemble.tangent import linearize, tangent_kernel, taylor_expand
from whydeep.errors import InputError


def drawn(seed, **shapes):
    generator = np.random.default_rng(seed)
    return {name: jnp.asarray(generator.normal(size=shape)) for name, shape in shapes.items()}


SHAPES = {"w1": (4, 5), "w2": (5, 6), "w3": (6, 2)}


def deep_linear(p, x):
    return x @ p["w1"] @ p["w2"] @ p["w3"]


def smooth(p, x):
    return jnp.sin(jnp.tanh(x @ p["w1"]) @ p["w2"]) @ p["w3"]


def test_a_polynomial_is_its_own_expansion():
    with jax.enable_x64(True):
        here, there, x = drawn(0, **SHAPES), drawn(1, **SHAPES), drawn(2, x=(3, 4))["x"]
        expected = deep_linear(there, x)
        for degree in (3, 4):
            found = taylor_expand(deep_linear, here, degree)(there, x)
            np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)
        assert not np.allclose(taylor_expand(deep_linear, here, 2)(there, x), expected, rtol=0.01)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_the_rest_is_of_the_next_order(degree):
    with jax.enable_x64(True):
        here, step, x = drawn(0, **SHAPES), drawn(1, **SHAPES), drawn(2, x=(3, 4))["x"]
        expanded = taylor_expand(smooth, here, degree)
        sizes = np.array([2.0**-6, 2.0**-7])
        rest = [
            np.abs(expanded(moved, x) - smooth(moved, x)).max()
            for moved in (jax.tree.map(lambda p, s, h=h: p + h * s, here, step) for h in sizes)
        ]
        # Twice as far, 2^(d+1) times the error; the order after that adds some 2^-6 of it times
        # the ratio of derivatives, here below 20.
        slope = np.log2(rest[0] / rest[1])
        assert abs(slope - (degree + 1)) < 0.35


def test_the_linearisation_has_the_value_and_the_tangent_kernel():
    with jax.enable_x64(True):
        here, there, x = drawn(0, **SHAPES), drawn(1, **SHAPES), drawn(2, x=(3, 4))["x"]
        linear = linearize(smooth, here)
        np.testing.assert_array_equal(linear(here, x), smooth(here, x))
        kernel = tangent_kernel(smooth, here, x)
        np.testing.assert_allclose(tangent_kernel(linear, there, x), kernel, atol=1e-11)
        twice = jax.jit(jax.grad(lambda t: linear(
            jax.tree.map(lambda a, b: a + t * (b - a), here, there), x).sum()))  # fmt: skip
        np.testing.assert_allclose(twice(0.0), twice(0.7), rtol=1e-11)


def test_whole_numbers_stay_and_more_arguments_pass():
    def fn(p, x, shift, *, scale):
        return {"y": scale * (x * p["w"] ** 2)[p["place"]] + shift}

    params = {"w": jnp.arange(3.0), "place": jnp.array([2, 0])}
    moved = {"w": jnp.arange(3.0) + 1, "place": jnp.array([2, 0])}
    found = linearize(fn, params)(moved, 2.0, 1.0, scale=3.0)["y"]
    np.testing.assert_allclose(found, [1 + 6 * (4 + 4 * 1), 1.0])


def test_bad_input_is_refused():
    params = {"w": jnp.ones(3)}
    with pytest.raises(InputError, match="function"):
        linearize(None, params)
    with pytest.raises(InputError):
        taylor_expand(lambda p, x: p["w"] * x, params, -1)
    linear = linearize(lambda p, x: p["w"] * x, params)
    with pytest.raises(InputError, match="not those"):
        linear({"v": jnp.ones(3)}, 1.0)
    with pytest.raises(InputError, match="not those"):
        linear({"w": jnp.ones(4)}, 1.0)
