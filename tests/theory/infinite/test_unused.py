"""Arguments that nothing reads are refused, and inputs that are read in another way are named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import whydeep as wd

X = np.eye(3)
GRAPH = np.ones((3, 1, 1))
IMAGES = np.random.default_rng(0).normal(size=(2, 2, 3, 2))


@pytest.mark.parametrize("network", [wd.mlp(1, 8, "relu"), wd.chain(wd.Dense(8), wd.LayerNorm())])
def test_graphs_that_no_layer_reads(network: wd.Network) -> None:
    with pytest.raises(wd.errors.InputError, match="graph1 is given, and no layer"):
        wd.kernel(network, X, graph1=GRAPH)
    with pytest.raises(wd.errors.InputError, match="graph2 is given, and no layer"):
        wd.kernel(network, X, X, graph2=GRAPH)
    with pytest.raises(wd.errors.InputError, match="graph is given"):
        wd.measure_kernels(network, X, draws=4, graph=GRAPH)


def test_what_belongs_to_x2_needs_x2() -> None:
    net = wd.chain(wd.Dense(4), wd.Aggregate(), wd.GlobalAvgPool(), wd.Dense(1))
    x, graph = np.ones((3, 2, 4)), np.ones((3, 2, 2))
    with pytest.raises(wd.errors.InputError, match="graph2 is given without x2"):
        wd.kernel(net, x, graph1=graph, graph2=graph)
    with pytest.raises(wd.errors.InputError, match="mask2 is given without x2"):
        wd.kernel(net, x, graph1=graph, mask2=np.ones((3, 2)))
    assert wd.kernel(net, x, graph1=graph).nngp.shape == (3, 3)


def test_what_no_gradient_passes_is_refused() -> None:
    net = wd.chain(wd.Dense(4), wd.GlobalAvgPool(), wd.Dense(1))

    def entry(x: jax.Array) -> jax.Array:
        return wd.kernel(net, x, mask1=np.ones((2, 2))).nngp[0, 1]

    with pytest.raises(wd.errors.InputError, match="mask1 can't be used under"):
        jax.grad(entry)(jnp.ones((2, 2, 3)))


def test_dense_layers_on_images_say_that_positions_stay() -> None:
    net = wd.mlp(1, 8, "relu")
    with pytest.warns(UserWarning, match=r"6 positions of 2 channels.*Flatten\(\)"):
        found = wd.kernel(net, IMAGES)
    assert found.nngp.shape == (2, 2, 2, 3, 2, 3)
    flat = wd.kernel(wd.chain(wd.Flatten(), net), IMAGES).nngp
    np.testing.assert_allclose(flat, wd.kernel(net, IMAGES.reshape(2, -1)).nngp, rtol=1e-12)


def test_dense_layers_among_others_are_meant_to_act_by_position() -> None:
    net = wd.chain(wd.Conv(4, (3, 3)), wd.Dense(4), wd.Activation("relu"), wd.Dense(1))
    assert wd.kernel(net, IMAGES).nngp.shape == (2, 2, 2, 3, 2, 3)


def test_a_kernel_says_which_way_it_was_found() -> None:
    relu, turns = wd.mlp(2, 8, "relu"), wd.chain(
        wd.Dense(8), wd.Activation("relu"), wd.Dense(8), wd.Activation("tanh"), wd.Dense(1)
    )  # fmt: skip
    found = wd.kernel(relu, X)
    assert found.way.startswith("compiled: a fully connected network")
    assert "compiled" in repr(found)
    assert "different activations" in wd.kernel(turns, X).way
    assert "every layer" in wd.kernel(relu, X, layers="all").way
    cnn = wd.cnn(1, 8, "relu")
    assert "chain of convolutions" in wd.kernel(cnn, np.ones((2, 4, 4, 1))).way
    masked = wd.kernel(
        wd.chain(wd.Dense(4), wd.GlobalAvgPool()), IMAGES, mask1=np.ones((2, 2, 3), bool)
    )
    assert "masks" in masked.way
    assert "layer by layer" in repr(masked)
