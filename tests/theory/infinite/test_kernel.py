"""The front door: derivatives, blocks, precision, draws, refusals; networks of every kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import whydeep as wd
from whydeep.arguments import _cost
from whydeep.ensemble import measure_kernels
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import DotProductAttention, Network, Node
from whydeep.theory.infinite import _blocks, kernel

RNG = np.random.default_rng(7)
VECTORS = RNG.normal(size=(3, 6))
IMAGES = RNG.normal(size=(2, 4, 4, 3))
SEQUENCES = RNG.normal(size=(2, 4, 6))
TOKENS = RNG.integers(0, 5, size=(2, 4))


def general(net, x1, x2=None, *, dtype="float64", tile=None):
    """The kernel without any compiled way."""
    return _blocks.propagate(
        net, x1, x2, (None, None), (None, None), ntk=True, dtype=dtype, every=False, tile=tile,
        draws=512, seed=0,
    )  # fmt: skip


# -- against finite networks ----------------------------------------------------------
# Width n and 2n, extrapolated: 2 K(2n) - K(n) has a bias of order 1/n^2. One comparison in 10^4
# passes 3.9 standard errors.

A, D, C = wd.Activation, wd.Dense, wd.Conv
OUT = D(16, 1.0, 0.1)


def hidden(*parts):
    return wd.chain(*parts, OUT)


NETWORKS = {
    "activation after activation": (hidden(D(32, 2.0, 0.1), A("relu"), A("tanh")), VECTORS),
    "norms after activations": (
        hidden(D(32, 2.0, 0.1), A("relu"), wd.LayerNorm(1e-5, 1.0, 1.0), D(32, 2.0), A("gelu"),
               wd.RMSNorm(1e-5, 1.0)), VECTORS),
    "skip around an activation": (hidden(D(32, 2.0, 0.1), wd.Residual(A("relu"))), VECTORS),
    "activation of several Gaussians": (
        hidden(D(32, 2.0, 0.1), A("relu"), wd.Residual(D(32, 1.0)), A("relu")), VECTORS),
    "activation after dropout": (
        hidden(D(32, 2.0, 0.1), wd.Dropout(0.3), A("tanh"), D(32), wd.Residual(
            wd.chain(wd.Dropout(0.2), A("relu")))), VECTORS),
    "gate": (
        hidden(D(32, 2.0, 0.1), A("relu"), wd.Multiply(wd.chain(D(32, 2.0), A("silu")), D(32))),
        VECTORS),
    "product of correlated values": (
        hidden(D(32, 1.0, 0.1), wd.Multiply(A("sigmoid"), wd.Identity())), VECTORS),
    "side by side": (
        hidden(D(32, 2.0, 0.1), wd.Concatenate(A("relu"), wd.chain(A("tanh"), D(16))), A("erf")),
        VECTORS),
    "max pooling": (
        hidden(C(24, (3, 3), weight_var=2.0), A("relu"), wd.MaxPool((2, 2)), wd.Flatten()),
        IMAGES),
    "group norm": (
        hidden(C(32, (3, 3), weight_var=2.0), wd.GroupNorm(1e-5, 1.0, 1.0, 2), A("relu"),
               wd.Flatten()), IMAGES),
    "batch norm in evaluation": (
        hidden(D(32, 2.0, 0.1), wd.BatchNorm(1e-3, 1.0, 1.0, 0.1, 2.0, 1.5, 0.2), A("relu")),
        VECTORS),
    "recurrent": (hidden(wd.Recurrent(32, "tanh", 1.5, 1.0, 0.1), wd.index((4,), 3)), SEQUENCES),
    "softmax attention": (
        hidden(D(32), wd.Residual(wd.Attention(8, width=32)), wd.GlobalAvgPool()), SEQUENCES),
    "transformer before norm": (
        hidden(wd.Add(wd.Embedding(5, 32), wd.PositionalEmbedding(4, 32, 0.5)),
               wd.Residual(wd.chain(wd.LayerNorm(), wd.Attention(8, width=32, causal=True))),
               wd.Residual(wd.chain(wd.LayerNorm(), D(32, 2.0), A("gelu"), D(32))),
               wd.GlobalAvgPool()), TOKENS),
    "transformer after norm": (
        hidden(D(32), wd.Residual(wd.Attention(8, width=32)), wd.LayerNorm(1e-5, 1.0, 1.0),
               wd.Residual(wd.chain(D(32, 2.0), A("relu"), D(32))), wd.LayerNorm(),
               wd.index((4,), 0)), SEQUENCES),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_wide_networks_have_the_kernel(name):
    net, x = NETWORKS[name]
    found = kernel(net, x)
    narrow, wide = (
        measure_kernels(net, x, draws=800, ntk_draws=300, seed=3, width_factor=factor)
        for factor in (2, 4)
    )
    for kind in ("nngp", "ntk"):
        limit = 2 * getattr(wide, kind) - getattr(narrow, kind)
        error = np.hypot(2 * getattr(wide, kind + "_stderr"), getattr(narrow, kind + "_stderr"))
        theory = getattr(found, kind)
        drawn = getattr(found, kind + "_stderr")
        error = np.hypot(error, 0.0 if drawn is None else drawn)
        assert np.all(np.abs(limit - theory) < 3.9 * error), kind
        # A kernel wrong by a quarter would be seen.
        assert np.any(np.abs(1.25 * theory - limit) > 3.9 * error), kind


# -- derivatives ----------------------------------------------------------


def mlp_kernel(numbers, x, activation, kind):
    net = wd.mlp(2, 64, activation, weight_var=numbers[0], bias_var=numbers[1])
    return getattr(kernel(net, x), kind)


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_derivatives_are_those_of_differences(activation, kind):
    x = np.concatenate([VECTORS, VECTORS[:1]])  # two inputs coincide
    numbers = np.array([1.5, 0.1])
    step = 1e-5
    with jax.enable_x64(True):
        slope = jax.jacrev(lambda n: mlp_kernel(n, jnp.asarray(x), activation, kind))(
            jnp.asarray(numbers)
        )
        assert np.all(np.isfinite(slope))
        for k in range(2):
            ahead, behind = (numbers + s * step * np.eye(2)[k] for s in (1, -1))
            difference = (
                mlp_kernel(ahead, x, activation, kind) - mlp_kernel(behind, x, activation, kind)
            ) / (2 * step)
            assert np.allclose(slope[..., k], difference, rtol=1e-7, atol=1e-8)
        for a, b in ((0, 1), (2, 2)):
            slope = jax.grad(lambda z, a=a, b=b: mlp_kernel(numbers, z, activation, kind)[a, b])(
                jnp.asarray(x)
            )
            for i, j in ((0, 0), (1, 3), (2, 5)):
                move = np.zeros_like(x)
                move[i, j] = step
                difference = (
                    mlp_kernel(numbers, x + move, activation, kind)[a, b]
                    - mlp_kernel(numbers, x - move, activation, kind)[a, b]
                ) / (2 * step)
                assert abs(slope[i, j] - difference) < 1e-8


def test_at_coincident_inputs_the_cusp_of_relu_has_subgradient_zero():
    x = jnp.asarray(np.repeat(VECTORS[:1], 2, 0))
    numbers = np.array([2.0, 0.0])
    with jax.enable_x64(True):
        pair = jax.grad(lambda z: mlp_kernel(numbers, z, "relu", "ntk")[0, 1])(x)
        own = jax.grad(lambda z: mlp_kernel(numbers, z, "relu", "ntk")[0, 0])(x)
    # K(x, x') is symmetric and homogeneous: without the cusp's part, each input has half of what
    # K(x, x) has in x.
    assert np.allclose(pair, np.asarray(own[:1]) / 2, rtol=1e-6)


def test_zero_inputs_have_finite_derivatives():
    x = jnp.zeros((2, 3)).at[1].set(1.0)
    for activation in ("relu", "tanh"):
        slope = jax.grad(lambda z, a=activation: mlp_kernel((1.5, 0.0), z, a, "ntk").sum())(x)
        assert np.all(np.isfinite(slope))


# -- blocks, precision, layers ----------------------------------------------------------


def test_tiles_change_nothing():
    x = RNG.normal(size=(7, 4, 4, 2))
    net = wd.chain(C(8, (3, 3)), A("gelu"), wd.AvgPool((2, 2)), wd.Flatten(), D(1))
    whole = kernel(net, x)
    for tile in (1, 3, 100):
        part = kernel(net, x, tile=tile)
        assert np.allclose(part.nngp, whole.nngp, rtol=1e-12)
        assert np.allclose(part.ntk, whole.ntk, rtol=1e-12)
    other = kernel(net, x[:3], x[3:], tile=2)
    assert np.allclose(other.ntk, whole.ntk[:3, 3:], rtol=1e-12)


def test_what_does_not_fit_in_memory_is_refused_before_it_is_computed(monkeypatch):
    monkeypatch.setattr(_cost, "available", lambda: 100)
    monkeypatch.setattr(_cost, "_NOT_ASKED_FOR", 0)
    with pytest.raises(InputError, match="do not fit in memory"):
        general(wd.mlp(2, 8, "gelu"), VECTORS)


@pytest.mark.parametrize("name", ["max pooling", "activation after dropout"])
def test_kernels_from_draws_are_symmetric(name):
    net, x = NETWORKS[name]
    for tile in (None, 1):
        found = kernel(net, x, draws=64, tile=tile)
        np.testing.assert_array_equal(found.nngp, found.nngp.T)
        np.testing.assert_array_equal(found.ntk, found.ntk.T)


def test_layers_are_those_of_predict():
    net = wd.mlp(3, 16, "gelu", weight_var=1.4, bias_var=0.1)
    predicted = wd.predict(net, VECTORS, order=0)
    found = kernel(net, VECTORS, layers="all")
    assert list(found.layers) == [1, 2, 3, 4]
    for number, layer in found.layers.items():
        assert np.allclose(layer.nngp, predicted["kernel"].sel(layer=number), rtol=1e-11)
        assert np.allclose(layer.ntk, predicted["ntk"].sel(layer=number), rtol=1e-11)


def test_float32_is_float64_to_its_digits():
    net, x = NETWORKS["side by side"]
    low, high = kernel(net, x, dtype="float32"), kernel(net, x)
    assert low.nngp.dtype == np.float32
    assert np.allclose(low.ntk, high.ntk, rtol=1e-5)


@pytest.mark.lanes
def test_the_users_precision_is_left_alone():
    before = jax.config.jax_enable_x64
    found = kernel(NETWORKS["side by side"][0], VECTORS)
    assert found.nngp.dtype == np.float64
    assert jax.config.jax_enable_x64 == before


@pytest.mark.parametrize("padding", ["SAME", "CIRCULAR"])
@pytest.mark.parametrize("readout", [wd.Flatten(), wd.GlobalAvgPool()])
def test_compiled_convolutions_are_the_general_ones(padding, readout):
    x = RNG.normal(size=(4, 4, 4, 2))
    layers = [C(8, (3, 3), padding=padding, weight_var=2.0, bias_var=0.1), A("relu")]
    net = wd.chain(*layers, wd.AvgPool((2, 2)), *layers, readout, D(1, 1.2, 0.1))
    for pair in ((x, None), (x[:3], x[1:])):
        fast, slow = kernel(net, *pair), general(net, *pair)
        assert np.allclose(fast.nngp, slow.nngp, rtol=1e-12)
        assert np.allclose(fast.ntk, slow.ntk, rtol=1e-7)


def test_draws_tell_their_error():
    net, x = NETWORKS["activation of several Gaussians"]
    one, other = (kernel(net, x, draws=4096, seed=seed) for seed in (0, 1))
    error = np.hypot(one.ntk_stderr, other.ntk_stderr)
    assert np.all(np.abs(one.ntk - other.ntk) < 6.0 * error)
    assert one.nngp_stderr.max() < 0.02 * one.nngp.max()
    again = kernel(net, x, draws=4096, seed=0)
    assert np.array_equal(one.ntk, again.ntk)


# -- mup ---------------------------------------------------------


def test_mup_has_the_tangent_kernel_of_its_first_step():
    # Yang and Hu 2021: output weights 1/n large; rates n, 1, 1/n from input to output.
    net = wd.mlp(2, 64, "relu", weight_var=2.0, bias_var=0.0, parameterization="mup")
    found = kernel(net, VECTORS)
    assert any("first step" in said for said in found.assumptions)
    n, size = 256, VECTORS.shape[1]
    x = jnp.asarray(VECTORS, jnp.float32)

    def output(weights, x):
        one, two, three = weights
        return jax.nn.relu(jax.nn.relu(x @ one.T) @ two.T) @ three

    def tangent(key):
        keys = jax.random.split(key, 3)
        scales = (2.0 / size) ** 0.5, (2.0 / n) ** 0.5, 2.0**0.5 / n
        shapes = (n, size), (n, n), (n,)
        weights = [
            s * jax.random.normal(k, d) for s, k, d in zip(scales, keys, shapes, strict=True)
        ]
        slopes = jax.jacrev(output)(weights, x)
        rates = 2.0 * n / size, 2.0, 2.0 / n
        flat = [g.reshape(len(x), -1) for g in slopes]
        return sum(r * g @ g.T for r, g in zip(rates, flat, strict=True))

    drawn = jax.lax.map(jax.jit(tangent), jax.random.split(jax.random.key(0), 200))
    error = np.std(drawn, 0) / 200**0.5
    # One entry in 10^4 passes 3.9 errors; the width leaves a few parts in a hundred.
    assert np.all(np.abs(np.mean(drawn, 0) - found.ntk) < 3.9 * error + 4.0 / n * found.ntk.max())


# -- refusals ----------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: kernel(wd.mlp(1, 8), np.full((2, 3), np.nan)),
        lambda: kernel(wd.mlp(1, 8), np.ones(3)),
        lambda: kernel(wd.mlp(1, 8), np.ones((2, 3)), np.ones((2, 4))),
        lambda: kernel(wd.mlp(1, 8), np.ones((2, 3)), dtype="float16"),
        lambda: kernel(wd.mlp(1, 8), np.ones((2, 3)), layers="some"),
        lambda: kernel(wd.chain(C(4, (3, 3)), wd.Flatten(), D(1)), np.ones((2, 5))),
        lambda: kernel(wd.chain(wd.Embedding(3, 4), wd.Flatten(), D(1)), np.ones((2, 5)) / 2),
        lambda: kernel(
            wd.chain(C(4, (3, 3)), A("gelu"), wd.GlobalAvgPool()), np.ones((2, 512, 512, 1))
        ),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError) as refusal:
        call()
    assert "received" in str(refusal.value)


def test_what_has_no_limit_is_refused():
    tied = Network((
        Node(D(8), (-1,)), Node(DotProductAttention(2), (0, 0, 0)), Node(D(1), (1,)),
    ))  # fmt: skip
    with pytest.raises(UnsupportedError, match="share their weights"):
        kernel(tied, SEQUENCES)
    with pytest.raises(UnsupportedError, match="jumps"):
        kernel(wd.chain(D(8), A("step"), D(1)), VECTORS)
    assert kernel(wd.chain(D(8), A("step"), D(1)), VECTORS, ntk=False).ntk is None


@pytest.mark.parametrize(
    ("net", "x", "unused"),
    [
        (wd.mlp(1, 8, "relu"), VECTORS, {"draws": 64}),
        (wd.mlp(1, 8, "relu"), VECTORS, {"seed": 0}),
        (wd.chain(D(8), wd.LayerNorm(), D(1)), VECTORS, {"draws": 64, "seed": 1}),
        (wd.cnn(1, 8), np.ones((2, 6, 6, 1)), {"tile": 2}),
    ],
)
def test_what_this_kernel_does_not_read_is_refused(net, x, unused):
    kernel(net, x)
    with pytest.raises(InputError, match=f"{next(iter(unused))} is given"):
        kernel(net, x, **unused)
