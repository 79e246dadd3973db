"""Piecewise-linear JAX functions: cells against a grid of sign patterns, outputs, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import whydeep as wd
from tests.geometry.pieces.support import check_against_grid
from whydeep.ensemble import apply_network, draw_parameters
from whydeep.errors import InputError, UnsupportedError
from whydeep.geometry import piecewise_linear, regions

GENERATOR = np.random.default_rng(0)
W1, W2, W3 = (GENERATOR.normal(size=s).astype(np.float32) for s in ((3, 8), (8, 6), (6, 2)))
K = GENERATOR.normal(size=(3, 3, 1, 2)).astype(np.float32)


def convolved(x):
    layout = ("NHWC", "HWIO", "NHWC")
    z = jax.lax.conv_general_dilated(x, K, (1, 1), "SAME", dimension_numbers=layout)
    pooled = jax.lax.reduce_window(z, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return jax.nn.relu(pooled - 0.5).reshape(len(x), -1) @ np.ones((18, 1), np.float32)


def pairs(x):
    z = x @ W1
    return jnp.maximum(z, -0.5 * z + 1) @ W2 - jnp.minimum(z[:, :6], x[:, :1])


FUNCTIONS = {
    "relu": (lambda x: jax.nn.relu(jax.nn.relu(x @ W1) @ W2) @ W3, (3,)),
    "where": (lambda x: jax.nn.hard_tanh(jax.nn.leaky_relu(x @ W1, 0.25) @ W2) @ W3, (3,)),
    "residual abs clip": (lambda x: jnp.clip(jnp.abs(x @ W1) + x @ W1 - 0.7, -0.5, 2) @ W2, (3,)),
    "maximum minimum": (pairs, (3,)),
    "maxout": (lambda x: (x @ W1).reshape(len(x), 2, 4).max(axis=-1), (3,)),
    "convolution": (convolved, (6, 6, 1)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_cells_are_those_that_a_grid_meets_and_outputs_the_functions_own(name):
    function, shape = FUNCTIONS[name]
    f = piecewise_linear(function, np.zeros((1, *shape)))
    generator = np.random.default_rng(1)
    x = generator.normal(size=(20, *shape)).astype(np.float32)
    expected = np.asarray(function(jnp.asarray(x)))
    np.testing.assert_allclose(f(x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    origin, u, v = generator.normal(size=(3, *shape))
    found = regions(f, origin, u, v)
    assert found.count > 5
    assert abs(found.areas.sum() / 4 - 1) < 1e-12
    check_against_grid(found, side=150)


@pytest.mark.lanes
def test_regions_do_not_depend_on_the_precision_of_the_session():
    function, shape = FUNCTIONS["relu"]
    found = regions(function, *np.random.default_rng(1).normal(size=(3, *shape)))
    z = np.maximum(np.maximum(found.plane.inputs(found.middles) @ W1.astype(float), 0) @ W2, 0) @ W3
    np.testing.assert_allclose(found.maps.at(found.middles), z, rtol=0, atol=1e-12 * abs(z).max())


def test_a_drawn_network_of_ours():
    net = wd.chain(
        wd.Conv(2, (3, 3)), wd.Activation("relu"), wd.MaxPool((2, 2)), wd.Conv(2, (2, 2)),
        wd.Activation("hard_tanh"), wd.GlobalAvgPool(), wd.Dense(2),
    )  # fmt: skip
    parameters = draw_parameters(net, (6, 6, 1), jax.random.key(0))
    origin, u, v = np.random.default_rng(1).normal(size=(3, 6, 6, 1))
    found = regions(lambda x: apply_network(net, parameters, x), origin, u, v)
    assert found.plane.function.outputs == (2,)
    check_against_grid(found, side=120)
    with pytest.raises(InputError, match="without parameters"):
        piecewise_linear(net, origin[None])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: jnp.tanh(x @ W1), "tanh is smooth"),
        (lambda x: jax.nn.softmax(x @ W1), "exp is smooth"),
        (lambda x: (x @ W1) * x[:, :1], "mul multiplies two values"),
        (lambda x: jnp.sort(x @ W1), "operation sort is not one"),
        (lambda x: 1.0 / (x @ W1), "quotient is smooth"),
    ],
)
def test_what_has_no_affine_pieces_is_refused_by_name(function, message):
    with pytest.raises(UnsupportedError, match=message):
        piecewise_linear(function, np.zeros((2, 3)))


def test_a_jump_is_found_where_the_pieces_meet():
    with pytest.raises(UnsupportedError, match="jumps"):
        regions(lambda x: jnp.where(x @ W1 > 0, x @ W1 + 1, 0.0), *np.eye(3))


def test_an_example_is_a_batch_and_one_input_is_refused_in_words():
    weights = np.array([[1.0, -1.0, 2.0], [2.0, 0.5, 1.0]])

    def function(x):
        return jnp.maximum(x @ weights, 0.0)

    f = piecewise_linear(function, np.zeros((5, 2)))
    assert (f.shape, f.outputs) == ((2,), (3,))
    with pytest.raises(InputError, match=r"(?s)no batch.*one input.*example\[None\]"):
        piecewise_linear(function, np.zeros(2))
    with pytest.raises(InputError, match="no batch"):
        piecewise_linear(function, np.zeros((0, 2)))
