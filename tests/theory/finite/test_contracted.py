"""The contracted vertex is the vertex, contracted."""

import numpy as np
import pytest

from whydeep.errors import InputError, UnsupportedError
from whydeep.network import mlp
from whydeep.theory.finite import contracted_vertex, predict

X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1], [0.5, 0.5, 0.2]])
B = np.array([[1.0, 0.7, -0.2], [-0.1, -0.5, 0.1], [-0.2, 0.1, 0.7]])


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("layer", [1, 2, 4])
def test_against_the_vertex_in_full(activation, layer):
    # Six numbers in each of six cases; the error is known from 16 sequences: Student's t with 15
    # degrees of freedom exceeds 6 with probability 2.4e-5.
    net = mlp(3, (24, 36, 20), activation, weight_var=1.4, bias_var=0.1)
    full = predict(net, X, observables=["four_point"])["four_point"].values[layer - 1]
    exact = np.einsum("abcd,cd->ab", full, B)
    found = contracted_vertex(net, X, B, layer=layer)
    assert np.all(np.abs(found.value - exact) <= 6 * found.error)
    assert np.all(found.error <= 1e-2 * np.abs(exact).max())
    np.testing.assert_allclose(found.value, found.value.T, rtol=1e-12, atol=1e-15)


def test_a_repeated_input_gives_a_repeated_row():
    x = np.random.default_rng(0).normal(size=(10, 5))
    found = contracted_vertex(
        mlp(2, 64, "tanh"), np.concatenate([x, x[:1]]), np.eye(11), points=1 << 8
    )
    np.testing.assert_allclose(found.value[10], found.value[0], rtol=1e-9, atol=1e-12)


def test_refusals():
    net = mlp(2, 8, "tanh")
    with pytest.raises(InputError, match="contracted with a matrix"):
        contracted_vertex(net, X, np.eye(2))
    with pytest.raises(InputError, match="no such layer"):
        contracted_vertex(net, X, B, layer=4)
    with pytest.raises(InputError, match="power of 2"):
        contracted_vertex(net, X, B, points=100)
    with pytest.raises(UnsupportedError, match="feasible"):
        contracted_vertex(mlp(2, 8, "exp", weight_var=0.1, bias_var=0.0), X, B)
