"""Every layer against an independent formula: torch's own functions, or NumPy loops, in float64.

Both sides compute the same sums of at most some hundred products in float64: they agree to 1e-12
of the largest value.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import whydeep.network as nw
from tests.support import require
from whydeep.activations import get
from whydeep.ensemble import apply_network, draw_parameters, learning_rates, node_values
from whydeep.ensemble._draw import LAWS, parameters_of
from whydeep.errors import InputError, UnsupportedError
from whydeep.network._layers import Array

torch = require("torch")
F = torch.nn.functional
RNG = np.random.default_rng(7)


def run(layer, x, seed=0, key=None):
    """Value and parameters (as NumPy) of one layer on float64 inputs, by way of a network."""
    with jax.enable_x64(True):
        shape = x.shape[1:]
        node = layer if isinstance(layer, nw.Network) else nw.chain(layer)
        value, parameters = one(node, shape, x, jax.random.key(seed), key)
        return np.asarray(value), jax.tree.map(np.asarray, parameters)


@functools.partial(jax.jit, static_argnums=(0, 1))
def one(net, shape, x, draw_key, key):
    parameters = draw_parameters(net, shape, draw_key, np.float64)
    return apply_network(net, parameters, x, key), parameters


def first(x):
    """Channels first, as torch has them."""
    return torch.tensor(np.moveaxis(x, -1, 1).copy())


def last(x):
    return np.moveaxis(x.numpy(), 1, -1)


def equal(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_dense_at_every_position():
    x = RNG.normal(size=(3, 4, 5))
    y, (own,) = run(nw.Dense(6, 2.0, 0.5), x)
    equal(y, np.einsum("ntc,co->nto", x, own["weight"]) + own["bias"])


CONVS = [
    ({"padding": "SAME"}, (7, 6)),
    ({"padding": "VALID"}, (7, 6)),
    ({"padding": ((1, 2), (0, 3))}, (7, 6)),
    ({"padding": "CIRCULAR"}, (7, 6)),
    ({"padding": "SAME", "strides": (2, 3)}, (7, 6)),
    ({"padding": "VALID", "dilation": (2, 1)}, (7, 6)),
    ({"padding": "SAME", "dilation": 2, "size": (2, 3)}, (7, 6)),
    ({"padding": "CIRCULAR", "strides": 2, "size": (4, 3)}, (8, 6)),
    ({"padding": "SAME", "size": (4,), "strides": 3}, (11,)),
    ({"padding": "VALID", "size": (2, 3, 2)}, (4, 5, 3)),
]


@pytest.mark.parametrize(("options", "positions"), CONVS)
def test_conv_is_torchs(options, positions):
    layer = nw.Conv(4, **{"bias_var": 0.3, "size": (3, 3), **options})
    x = RNG.normal(size=(2, *positions, 3))
    y, (own,) = run(layer, x)
    pads = nw.window_pads(positions, layer.size, layer.strides, layer.padding, layer.dilation)
    flat = [p for pair in reversed(pads) for p in pair]
    mode = "circular" if layer.padding == "CIRCULAR" else "constant"
    padded = F.pad(first(x), flat, mode=mode)
    function = (F.conv1d, F.conv2d, F.conv3d)[len(positions) - 1]
    weight = torch.tensor(np.moveaxis(own["weight"], (-1, -2), (0, 1)).copy())
    bias = torch.tensor(own["bias"])
    expected = function(padded, weight, bias, stride=layer.strides, dilation=layer.dilation)
    equal(y, last(expected))


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR"])
@pytest.mark.parametrize("strides", [1, 2])
def test_windows_are_jaxs(padding, strides):
    # Where torch has no names for paddings: XLA's own convolution.
    x = RNG.normal(size=(2, 6, 8, 3))
    y, (own,) = run(nw.Conv(4, (3, 2), strides, padding), x)
    with jax.enable_x64(True):
        if padding == "CIRCULAR":
            pads = nw.window_pads((6, 8), (3, 2), (strides,) * 2, padding)
            x = np.pad(x, ((0, 0), *pads, (0, 0)), mode="wrap")
        expected = jax.lax.conv_general_dilated(
            jnp.asarray(x), own["weight"], (strides,) * 2,
            "VALID" if padding == "CIRCULAR" else padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
    equal(y, np.asarray(expected))


@pytest.mark.parametrize(
    ("padding", "strides"), [("SAME", 1), ("SAME", 2), ("VALID", 1), ("VALID", 2)]
)
def test_unshared_convolution_by_loops(padding, strides):
    layer = nw.ConvLocal(4, (3, 2), strides, padding, bias_var=0.2)
    x = RNG.normal(size=(2, 5, 6, 3))
    y, (own,) = run(layer, x)
    pads = nw.window_pads((5, 6), layer.size, layer.strides, padding)
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    expected = np.empty_like(y)
    for i, j in np.ndindex(y.shape[1:3]):
        window = padded[:, strides * i : strides * i + 3, strides * j : strides * j + 2]
        expected[:, i, j] = window.reshape(2, -1) @ own["weight"][i, j] + own["bias"][i, j]
    equal(y, expected)


@pytest.mark.parametrize(
    ("size", "strides"), [((3, 3), 1), ((3, 2), 2), ((2, 4), (3, 1)), ((5, 1), 2)]
)
@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", ((1, 0), (0, 0))])
def test_transposed_convolution_by_loops(size, strides, padding):
    layer = nw.ConvTranspose(4, size, strides, padding, bias_var=0.2)
    positions = (4, 5)
    x = RNG.normal(size=(2, *positions, 3))
    y, (own,) = run(layer, x)
    counts = [s * (n - 1) + k for n, k, s in zip(positions, size, layer.strides, strict=True)]
    full = np.zeros((2, *counts, 4))
    for (i, j), (a, b) in itertools.product(np.ndindex(positions), np.ndindex(size)):
        place = layer.strides[0] * i + a, layer.strides[1] * j + b
        full[:, place[0], place[1]] += x[:, i, j] @ own["weight"][a, b]
    for axis, (n, k, s) in enumerate(zip(positions, size, layer.strides, strict=True), start=1):
        full = _cropped(full, axis, padding, n, k, s)
    equal(y, full + own["bias"])
    if isinstance(padding, str) and padding != "CIRCULAR":
        with jax.enable_x64(True):
            flipped = own["weight"][::-1, ::-1]
            theirs = jax.lax.conv_transpose(jnp.asarray(x), flipped, layer.strides, padding)
        equal(y, np.asarray(theirs) + own["bias"])


def _cropped(full, axis, padding, n, k, s):
    full = np.moveaxis(full, axis, 0)
    if not isinstance(padding, str):
        low, high = padding[axis - 1]
        out = full[low : len(full) - high]
    elif padding == "CIRCULAR":
        out = np.zeros((n * s, *full.shape[1:]))
        for place in range(len(full)):
            out[place % (n * s)] += full[place]
    else:
        low = 0 if padding == "VALID" or s > k - 1 else (k - s) // 2
        length = n * s + (max(k - s, 0) if padding == "VALID" else 0)
        out = np.zeros((length, *full.shape[1:]))
        part = full[low : low + length]
        out[: len(part)] = part
    return np.moveaxis(out, 0, axis)


@pytest.mark.parametrize("padding", ["VALID", "SAME", ((1, 1), (1, 0))])
@pytest.mark.parametrize(("size", "strides"), [((2, 2), None), ((3, 3), (2, 1))])
def test_pools_are_torchs(padding, size, strides):
    x = RNG.normal(size=(2, 6, 7, 3))
    options = {"size": size, "strides": strides, "padding": padding}
    layer = nw.AvgPool(**options)
    pads = nw.window_pads((6, 7), layer.size, layer.strides, layer.padding)
    flat = [p for pair in reversed(pads) for p in pair]
    zeros = F.pad(first(x), flat)
    mean = F.avg_pool2d(zeros, size, layer.strides)
    share = F.avg_pool2d(
        F.pad(torch.ones(1, 1, 6, 7, dtype=torch.float64), flat), size, layer.strides
    )
    equal(run(layer, x)[0], last(mean))
    equal(run(nw.AvgPool(**options, count_padding=False), x)[0], last(mean / share))
    equal(run(nw.SumPool(**options), x)[0], last(mean * math.prod(size)))
    low = F.pad(first(x), flat, value=-math.inf)
    equal(run(nw.MaxPool(**options), x)[0], last(F.max_pool2d(low, size, layer.strides)))


def test_circular_pools_wrap_around():
    x = RNG.normal(size=(2, 6, 3))
    rolled = np.stack([np.roll(x, shift, axis=1) for shift in (1, 0, -1)])
    for layer, expected in (
        (nw.AvgPool((3,), (1,), "CIRCULAR", count_padding=False), rolled.mean(0)),
        (nw.SumPool((3,), (1,), "CIRCULAR"), rolled.sum(0)),
        (nw.MaxPool((3,), (1,), "CIRCULAR"), rolled.max(0)),
    ):
        equal(run(layer, x)[0], expected)


def test_layers_without_weights():
    x = RNG.normal(size=(2, 4, 5, 3))
    matrix = RNG.normal(size=(6, 20))
    equal(run(nw.GlobalAvgPool(), x)[0], x.mean((1, 2)))
    equal(run(nw.GlobalSumPool(), x)[0], x.sum((1, 2)))
    equal(run(nw.Flatten(), x)[0], x.reshape(2, -1))
    equal(run(nw.Affine(0.5, -2.0), x)[0], 0.5 * x - 2.0)
    equal(run(nw.ChannelsLast(), x)[0], np.moveaxis(x, 1, -1))
    equal(run(nw.Identity(), x)[0], x)
    mixed = run(nw.Mix(matrix, (2, 3)), x)[0]
    equal(mixed, np.einsum("pq,nqc->npc", matrix, x.reshape(2, 20, 3)).reshape(2, 2, 3, 3))
    equal(run(nw.index((4, 5), np.s_[1:3, ::2]), x)[0], x[:, 1:3, ::2])
    equal(run(nw.Activation("gelu"), x)[0], F.gelu(torch.tensor(x)).numpy())


def test_neighbours_in_a_graph_of_each_input():
    x, graph = RNG.normal(size=(3, 4, 2)), RNG.normal(size=(3, 4, 4))
    net = nw.chain(nw.Aggregate())
    with jax.enable_x64(True):
        found = np.asarray(apply_network(net, ({},), x, graph=graph))
    equal(found, np.stack([g.T @ s for g, s in zip(graph, x, strict=True)]))
    for wrong in (None, graph[:, :3]):
        with pytest.raises(InputError, match="neighbours in a graph"):
            apply_network(net, ({},), x, graph=wrong)


def test_combinators():
    x = RNG.normal(size=(2, 4, 5))
    encoding = RNG.normal(size=(4, 5))
    equal(run(nw.Residual(nw.Affine(2.0)), x)[0], 3 * x)
    equal(run(nw.Multiply(nw.Affine(2.0), nw.Activation("tanh")), x)[0], 2 * x * np.tanh(x))
    equal(run(nw.Concatenate(nw.Affine(2.0), nw.Identity()), x)[0], np.concatenate([2 * x, x], -1))
    side = run(nw.Concatenate(nw.GlobalAvgPool(), nw.GlobalSumPool()), x)[0]
    equal(side, np.concatenate([x.mean(1), x.sum(1)], -1))
    equal(run(nw.Concatenate(nw.Identity(), nw.Affine(0.0, 1.0), axis=0), x)[0],
          np.concatenate([x, np.ones_like(x)], 1))  # fmt: skip
    equal(run(nw.Add(nw.Identity(), nw.Constant(encoding)), x)[0], x + encoding)
    equal(run(nw.Add(nw.Identity(), nw.GlobalAvgPool()), x)[0], x + x.mean(1, keepdims=True))
    one = nw.chain(nw.GlobalAvgPool(), nw.Dense(1), nw.Activation("sigmoid"))
    with pytest.raises(InputError, match="can't be multiplied"):
        run(nw.Multiply(nw.Identity(), one), x)


def test_norms_are_torchs():
    x = 3 * RNG.normal(size=(2, 4, 5, 6)) + 1
    t = torch.tensor(x)
    equal(run(nw.LayerNorm(0.1), x)[0], F.layer_norm(t, (6,), eps=0.1).numpy())
    equal(run(nw.LayerNorm(0.1, over="all"), x)[0], F.layer_norm(t, (4, 5, 6), eps=0.1).numpy())
    rows, own = run(nw.LayerNorm(0.1, over=(1,)), x)
    equal(rows, F.layer_norm(t, (5, 6), eps=0.1).numpy())
    assert own[0]["scale"].shape == (1, 5, 6)
    equal(run(nw.RMSNorm(0.1), x)[0], F.rms_norm(t, (6,), eps=0.1).numpy())
    equal(run(nw.GroupNorm(0.1, groups=3), x)[0], last(F.group_norm(first(x), 3, eps=0.1)))
    y = run(nw.BatchNorm(0.1, mean=0.5, var=2.0, scale=1.5, shift=-1.0), x)[0]
    numbers = [torch.full((6,), v, dtype=torch.float64) for v in (0.5, 2.0, 1.5, -1.0)]
    equal(y, last(F.batch_norm(first(x), *numbers, eps=0.1)))
    with pytest.raises(InputError, match="divided into groups"):
        run(nw.GroupNorm(groups=4), x)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("scaling", ["1/d", "1/sqrt(d)"])
def test_attention_is_torchs(causal, softmax, scaling):
    core = nw.DotProductAttention(2, scaling, softmax, causal)
    nodes = [nw.Node(nw.Dense(8), (nw.INPUT,)) for _ in range(3)]
    net = nw.Network((*nodes, nw.Node(core, (0, 1, 2))))
    x = RNG.normal(size=(3, 5, 7))
    y, own = run(net, x)
    heads = [(x @ p["weight"]).reshape(3, 5, 2, 4).transpose(0, 2, 1, 3) for p in own[:3]]
    q, k, v = (torch.tensor(h) for h in heads)
    scale = {"1/d": 1 / 4, "1/sqrt(d)": 1 / 2}[scaling]
    if softmax:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
    else:
        logits = scale * q @ k.transpose(-1, -2)
        out = (torch.tril(logits) if causal else logits) @ v
    equal(y, out.numpy().transpose(0, 2, 1, 3).reshape(3, 5, 8))


def test_a_function_of_the_logits():
    core = nw.DotProductAttention(1, "1/d", softmax=False, function=get("relu"))
    nodes = [nw.Node(nw.Affine(), (nw.INPUT,)) for _ in range(3)]
    x = RNG.normal(size=(2, 4, 3))
    y, _ = run(nw.Network((*nodes, nw.Node(core, (0, 1, 2)))), x)
    equal(y, np.maximum(x @ x.transpose(0, 2, 1) / 3, 0) @ x)


def test_recurrence_is_torchs():
    x = RNG.normal(size=(2, 5, 3))
    y, (own,) = run(nw.Recurrent(4, "tanh", 1.5, 2.0, 0.3), x)
    cell = torch.nn.RNN(3, 4, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        cell.weight_ih_l0.copy_(torch.tensor(own["input"].T.copy()))
        cell.weight_hh_l0.copy_(torch.tensor(own["weight"].T.copy()))
        cell.bias_ih_l0.copy_(torch.tensor(own["bias"]))
        cell.bias_hh_l0.zero_()
        expected = cell(torch.tensor(x))[0].numpy()
    equal(y, expected)


def test_embeddings():
    tokens = np.array([[0, 3, 3], [2, 1, 0]])
    net = nw.Add(nw.Embedding(4, 5), nw.PositionalEmbedding((3,), 5))
    y, own = run(net, tokens)
    equal(y, own[0]["table"][tokens] + own[1]["table"])
    assert net.takes_tokens
    with pytest.raises(InputError, match="whole numbers"):
        run(net, tokens + 0.5)
    covariance = np.array([[2.0, 1.0], [1.0, 1.0]])
    layer = nw.PositionalEmbedding((2,), 4, covariance=Array(covariance))
    y, own = run(nw.Add(nw.Affine(0.0), layer), RNG.normal(size=(3, 2, 4)))
    root = np.linalg.lstsq(own[1]["table"].T, y[0].T, rcond=None)[0].T  # y = root @ table
    equal(root @ root.T, covariance)


def test_dropout_keeps_the_mean_and_masks_every_input_alone():
    x = np.ones((4, 50, 100))
    with pytest.raises(InputError, match="Dropout draws masks"):
        run(nw.Dropout(0.3), x)
    y = run(nw.Dropout(0.3), x, key=jax.random.key(1))[0]
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7])
    # A sum of 20,000 independent masks; false alarm 1e-6.
    score = ((y > 0).mean() - 0.7) / math.sqrt(0.21 / y.size)
    assert abs(score) < stats.norm.isf(5e-7)
    assert not np.array_equal(y[0], y[1])
    equal(run(nw.Dropout(0.0), x)[0], x)


EVERY = [
    (nw.chain(nw.Dense(40, 1.5, 0.5), nw.Dense(30, 2.0, 0.3, 0.7, 0.9)), (50,)),
    (nw.Conv(40, (3, 2), weight_var=1.5, bias_var=0.5), (6, 7, 8)),
    (nw.ConvLocal(20, (2,), weight_var=1.5, bias_var=0.5), (6, 8)),
    (nw.ConvTranspose(40, (3, 2), 2, weight_var=1.5, bias_var=0.5), (6, 7, 8)),
    (nw.Embedding(30, 40, 0.7), (9,)),
    (nw.PositionalEmbedding((30,), 40, 0.7), (30, 4)),
    (nw.Recurrent(40, "tanh", 1.5, 0.7, 0.5), (5, 30)),
]


@pytest.mark.parametrize(("layer", "shape"), EVERY)
@pytest.mark.parametrize("law", LAWS)
def test_parameters_have_their_variance(layer, shape, law):
    net = layer if isinstance(layer, nw.Network) else nw.chain(layer)
    draw = jax.jit(draw_parameters, static_argnums=(0, 1, 3, 4))
    drawn = draw(net, shape, jax.random.key(3), np.float32, law)
    rules = parameters_of(net, shape)
    fan_in = {"weight": 8 * 6, "input": 30, "bias": 1, "table": 1}
    for own, expected in zip(drawn, rules, strict=True):
        assert own.keys() == expected.keys()
        for name, values in own.items():
            z = np.asarray(values, dtype=np.float64).ravel() / math.sqrt(expected[name].variance)
            # Two moments of independent numbers, of kurtosis at most 3; false alarm 1e-6 each.
            allowed = stats.norm.isf(5e-7)
            assert abs(z.mean()) * math.sqrt(z.size) < allowed
            assert abs(np.mean(z**2) - 1) < allowed * math.sqrt(2 / z.size)
            bound = {"uniform": math.sqrt(3), "truncated": 2 / 0.8796256610342398}.get(law)
            if bound is not None and not expected[name].normal:
                assert np.abs(z).max() <= bound * (1 + 1e-6)
    if isinstance(layer, nw.Conv):
        assert rules[0]["weight"].variance == pytest.approx(1.5 / fan_in["weight"])


def test_numbers_do_not_repeat_within_a_draw_or_between_keys():
    net = nw.chain(nw.Dense(10, bias_var=1.0), nw.Dense(10, bias_var=1.0))
    draw = jax.jit(draw_parameters, static_argnums=(0, 1))
    draws = [draw(net, (10,), jax.random.key(k)) for k in (1, 2)]
    numbers = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(draws)])
    assert len(np.unique(numbers)) == numbers.size
    again = draw(net, (10,), jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, again, draws[0])
    with pytest.raises(InputError, match="no law"):
        draw_parameters(net, (10,), jax.random.key(1), law="cauchy")


def test_rates_are_those_of_the_description():
    net = nw.chain(
        nw.Conv(8, (3, 3), weight_var=2.0, bias_var=0.5),
        nw.LayerNorm(scale_lr=0.3, shift_lr=0.4),
        nw.Flatten(),
        nw.Dense(6, 2.0, 0.5, parameterization="standard"),
        nw.Dense(1, 2.0, 0.5, 3.0, 4.0),
    )
    rates = learning_rates(net, (4, 4, 3))
    assert rates[0] == {"weight": 2.0 / 27, "bias": 0.5}
    assert rates[1] == {"scale": 0.3, "shift": 0.4}
    assert rates[2] == {}
    assert rates[3] == {"weight": 1.0, "bias": 1.0}
    assert rates[4] == {"weight": 3.0 / 6, "bias": 4.0}
    recurrent = learning_rates(nw.chain(nw.Recurrent(5, "tanh", 1.5, 0.7, 0.2)), (4, 3))[0]
    assert recurrent == {"input": 0.7 / 3, "weight": 1.5 / 5, "bias": 0.2}


def test_values_of_all_nodes_and_compiled_code():
    net = nw.chain(nw.Dense(6), nw.Activation("tanh"), nw.Residual(nw.Dense(6)), nw.Dense(2))
    parameters = jax.jit(draw_parameters, static_argnums=(0, 1))(net, (3,), jax.random.key(0))
    x = jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32)
    values = node_values(net, parameters, x)
    assert [v.shape for v in values] == [(4, 6)] * 5 + [(4, 2)]
    compiled = jax.jit(lambda p, x: apply_network(net, p, x))(parameters, x)
    np.testing.assert_allclose(compiled, values[-1], atol=1e-6)
    gradients = jax.jit(jax.grad(lambda p: apply_network(net, p, x).sum()))(parameters)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))


def test_a_layer_without_a_rule_is_refused():
    class Strange(nw.Layer):
        pass

    net = nw.chain(nw.Dense(2), Strange())
    with pytest.raises(UnsupportedError, match="no rule to apply"):
        apply_network(net, ({"weight": np.ones((3, 2)), "bias": np.ones(2)}, {}), np.ones((1, 3)))
