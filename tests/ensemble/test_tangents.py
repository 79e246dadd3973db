"""One draw's tangent kernel against products of the Jacobian, in float64."""

import jax
import numpy as np
import pytest

import whydeep.network as nw
from whydeep.ensemble import apply_network, draw_parameters, learning_rates
from whydeep.ensemble._tangents import network_ntk

NETWORKS = {
    "dense": (nw.mlp(2, 6, "tanh", outputs=3, bias_var=0.1), (5, 4)),
    "no bias": (nw.mlp(1, 6, "relu", outputs=3, bias_var=0.0), (5, 4)),
    "positions": (
        nw.chain(nw.Conv(4, (3,), bias_var=0.1), nw.Activation("tanh"), nw.Conv(3, (2,))),
        (5, 4, 2),
    ),
    "shared weights": (
        nw.chain(nw.Dense(4), nw.Activation("tanh"), nw.GlobalAvgPool(), nw.Dense(3)),
        (5, 4, 2),
    ),
}


def by_definition(network, x, key):
    """(channels, N, N, P, P)."""

    def outputs(parameters):
        return apply_network(network, parameters, x)

    parameters = jax.jit(lambda: draw_parameters(network, x.shape[1:], key, np.float64))()
    jacobian = jax.jit(jax.jacrev(outputs))(parameters)
    shape = jax.eval_shape(outputs, parameters).shape
    rows = np.prod(shape[:-1], dtype=int)
    total = 0.0
    for part, rate in zip(
        jax.tree.leaves(jacobian),
        jax.tree.leaves(learning_rates(network, x.shape[1:])),
        strict=True,
    ):
        flat = np.moveaxis(np.asarray(part).reshape(rows, shape[-1], -1), 1, 0)
        total = total + rate * flat @ flat.swapaxes(1, 2)
    places = rows // len(x)
    return total.reshape(-1, len(x), places, len(x), places).transpose(0, 1, 3, 2, 4)


@pytest.mark.parametrize(("first", "together"), [(5, 5), (3, 2)])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_draw_is_the_product_of_gradients_of_one_channel(name, first, together):
    network, shape = NETWORKS[name]
    with jax.enable_x64(True):
        x, key = np.random.default_rng(0).normal(size=shape), jax.random.key(3)
        expected = by_definition(network, x, key)
        compute = jax.jit(
            lambda key: network_ntk(network, first, "normal", together, x, None, np.float64, key)
        )
        found = np.asarray(compute(key))
    if first < len(x):
        expected = expected[:, :first, first:]
    errors = np.abs(expected - found).reshape(len(expected), -1).max(axis=1)
    assert errors.min() <= 1e-13 * np.abs(expected).max()
    assert np.sort(errors)[1] > 1e-3  # channels differ: it is one of them, not their mean
