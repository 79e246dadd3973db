"""Wider networks: which widths grow, which stay, and that rates do not change."""

import numpy as np
import pytest

import whydeep.network as nw
from whydeep.ensemble import learning_rates
from whydeep.errors import InputError, UnsupportedError


def channels(net, inputs):
    return [shape.channels for shape in net.shapes(inputs)]


@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mup"])
def test_fully_connected_networks_grow_as_they_always_did(parameterization):
    net = nw.mlp(3, (8, 12, 10), "relu", outputs=2, parameterization=parameterization)
    assert nw.widened(net, 4, (5,)) == net.scaled(4, 5)
    assert nw.widened(net, 1, (5,)) == net


def test_rates_of_every_layer_stay_in_sum():
    # lambda_W / fan_in times fan_in: what a layer adds to the tangent kernel does not change.
    net = nw.chain(
        nw.Conv(8, (3, 3), weight_var=2.0, parameterization="standard"),
        nw.Activation("relu"),
        nw.ConvTranspose(6, (2, 2), 2, parameterization="standard"),
        nw.ConvLocal(6, (3, 3), parameterization="standard"),
        nw.Flatten(),
        nw.Dense(4, parameterization="standard"),
        nw.Dense(3, parameterization="standard"),
    )
    inputs = (4, 4, 3)
    wide = nw.widened(net, 3, inputs)
    assert channels(wide, inputs) == [24, 24, 18, 18, 18 * 64, 12, 3]
    old, new = learning_rates(net, inputs), learning_rates(wide, inputs)
    fan_ins = [1, 1, 3, 3, 1, 3, 3]  # how much each grew; the input's three channels did not
    for before, after, grown in zip(old, new, fan_ins, strict=True):
        assert before.keys() == after.keys()
        if before:
            assert after["weight"] * grown == pytest.approx(before["weight"])
            assert after["bias"] == before["bias"]


def test_sums_grow_together_and_the_inputs_channels_do_not():
    block = nw.Residual(nw.chain(nw.LayerNorm(), nw.Dense(8), nw.Activation("gelu"), nw.Dense(16)))
    net = nw.chain(nw.Dense(16), block, block, nw.Dense(2))
    wide = channels(nw.widened(net, 2, (5,)), (5,))
    assert wide == [2 * c for c in channels(net, (5,))[:-1]] + [2]
    onto = nw.chain(nw.Residual(nw.chain(nw.Dense(8), nw.Dense(5))), nw.Dense(2))
    assert channels(nw.widened(onto, 2, (5,)), (5,)) == [5, 16, 5, 5, 2]


def test_what_reaches_the_output_without_weights_stays():
    net = nw.chain(
        nw.Dense(8),
        nw.Concatenate(nw.Dense(2), nw.chain(nw.Dense(6), nw.Activation("tanh"), nw.Dense(3))),
    )
    assert channels(nw.widened(net, 2, (5,)), (5,)) == [16, 2, 12, 12, 3, 5]
    pooled = nw.chain(nw.Conv(8), nw.Activation("relu"), nw.Conv(10), nw.GlobalAvgPool())
    assert channels(nw.widened(pooled, 2, (4, 4, 1)), (4, 4, 1)) == [16, 16, 10, 10]
    flat = nw.chain(nw.Conv(8), nw.Conv(2), nw.Flatten())
    assert channels(nw.widened(flat, 2, (4, 4, 1)), (4, 4, 1)) == [16, 2, 32]


def test_values_side_by_side_and_fixed_numbers():
    encoding = np.arange(24.0).reshape(3, 8)
    net = nw.chain(
        nw.Embedding(7, 8),
        nw.Add(nw.Identity(), nw.Constant(encoding)),
        nw.Concatenate(nw.Dense(4), nw.Dense(6)),
        nw.Residual(nw.Dense(10)),
        nw.Dense(2),
    )
    wide = nw.widened(net, 2, (3,))
    assert channels(wide, (3,)) == [16, 16, 16, 16, 8, 12, 20, 20, 20, 20, 2]
    constant = next(n.layer for n in wide.nodes if isinstance(n.layer, nw.Constant))
    np.testing.assert_array_equal(constant.array.values, np.tile(encoding, 2))
    # Beside the input's own channels: what joins grows by its own part only.
    skip = nw.chain(
        nw.Concatenate(nw.Identity(), nw.Dense(4)), nw.Residual(nw.Dense(9)), nw.Dense(2)
    )
    assert channels(nw.widened(skip, 3, (5,)), (5,)) == [5, 12, 17, 17, 17, 17, 2]


def test_heads_and_their_size_both_grow():
    net = nw.chain(nw.Embedding(9, 8), nw.Residual(nw.Attention(2, width=8)), nw.Dense(1))
    wide = nw.widened(net, 3, (4,))
    core = next(n.layer for n in wide.nodes if isinstance(n.layer, nw.DotProductAttention))
    assert core.heads == 6
    query, key, value = (wide.layers[i + 2] for i in range(3))
    assert (query.width, key.width, value.width) == (72, 72, 24)
    assert query.width // core.heads == 3 * 4
    tied = nw.chain(
        nw.Embedding(9, 8), nw.Attention(2, width=8, scaling="1/d", tied=True), nw.Dense(1)
    )
    wide = nw.widened(tied, 3, (4,))
    core = next(n.layer for n in wide.nodes if isinstance(n.layer, nw.DotProductAttention))
    assert core.heads == 2
    assert channels(wide, (4,)) == [24] * 5 + [1]
    assert wide.layers[1].width == 24


def test_attention_whose_output_is_the_networks_keeps_its_heads():
    nodes = [nw.Node(nw.Dense(8), (nw.INPUT,)) for _ in range(3)]
    net = nw.Network((*nodes, nw.Node(nw.DotProductAttention(2), (0, 1, 2))))
    wide = nw.widened(net, 2, (4, 5))
    assert wide.layers[3].heads == 2
    assert channels(wide, (4, 5)) == [16, 16, 8, 8]


def test_what_can_not_grow_is_refused():
    class Strange(nw.Layer):
        pass

    with pytest.raises(UnsupportedError, match="not known how the width"):
        nw.widened(nw.chain(nw.Dense(4), Strange(), nw.Dense(1)), 2, (3,))
    with pytest.raises(InputError, match="factor"):
        nw.widened(nw.chain(nw.Dense(4), nw.Dense(1)), 0, (3,))
    two = nw.Add(
        nw.Concatenate(nw.Identity(), nw.Dense(4)), nw.Concatenate(nw.Dense(4), nw.Dense(5))
    )
    with pytest.raises(UnsupportedError, match="can't grow together"):
        nw.widened(nw.chain(two, nw.Dense(1)), 2, (5,))
