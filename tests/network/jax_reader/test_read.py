"""Networks read from JAX functions.

The oracle of every import: the user's own parameters, put into the network, give the user's own
outputs, and the squared gradient of a random combination of the outputs is the same, where a
parameter's rate counts in the network and every leaf has rate 1. The first says that values are
read right, the second that scalings are.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, nn

from whydeep.ensemble._apply import apply_network
from whydeep.ensemble._draw import learning_rates, parameters_of
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import Activation, Conv, Dense, DotProductAttention, Embedding, read_jax
from whydeep.network.jax_reader import read

IMAGE = ("NHWC", "HWIO", "NHWC")
FIRST = ("NCHW", "OIHW", "NCHW")


def normal(*shape, seed=0, scale=1.0):
    """Numbers of variance scale^2 / fan_in."""
    numbers = np.random.default_rng([seed, *shape]).normal(size=shape)
    return jnp.asarray(scale * numbers / np.sqrt(np.prod(shape[:-1])), jnp.float32)


def conv(x, w, stride=1, padding="SAME", numbers=IMAGE, **options):
    return lax.conv_general_dilated(
        x, w, (stride, stride), padding, dimension_numbers=numbers, **options
    )


def layer_norm(x, scale, shift, axis=-1):
    centred = x - jnp.mean(x, axis, keepdims=True)
    return scale * centred / jnp.sqrt(jnp.mean(centred**2, axis, keepdims=True) + 1e-5) + shift


def rms_norm(x, scale):
    return x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * scale


# -- the oracle ------------------------------------------------------------------------------------


def shaken(params, seed=1):
    """The parameters, all numbers moved: constants of an initialisation hide what they do."""
    rng = np.random.default_rng(seed)

    def move(leaf):
        if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return leaf + jnp.asarray(0.1 * rng.normal(size=leaf.shape), leaf.dtype)

    return jax.tree.map(move, params)


def difference(reading, fn, params, x):
    """Relative differences of outputs, and of squared gradients."""
    network = reading.frozen.network
    shape = x.shape[1:]
    full = []
    for given, spec in zip(reading.parameters(params), parameters_of(network, shape), strict=True):
        assert set(given) <= set(spec)
        assert all(given[n].shape == tuple(spec[n].shape) for n in given)
        full.append({n: jnp.asarray(given[n], jnp.float32) if n in given
                     else jnp.full(p.shape, p.mean) for n, p in spec.items()})  # fmt: skip
    weights = np.random.default_rng(2).normal(size=fn(params, x).size).astype(np.float32)

    def combined(function):
        def loss(own):
            outputs = function(own)
            return jnp.vdot(outputs.ravel(), weights), outputs

        return jax.jit(jax.grad(loss, has_aux=True))

    gradients, mine = combined(lambda own: apply_network(network, own, x))(full)
    own, theirs = combined(lambda p: reading.arranged(fn(p, x)))(params)
    assert mine.shape == theirs.shape
    squared = sum(
        rate[name] * float(jnp.sum(gradient[name] ** 2))
        for rate, gradient in zip(learning_rates(network, shape), gradients, strict=True)
        for name in gradient
    )
    wanted = sum(float(jnp.sum(g**2)) for g in reading.leaves(own))
    size = float(jnp.max(jnp.abs(theirs)))
    return float(jnp.max(jnp.abs(mine - theirs))) / size, abs(squared - wanted) / wanted


def batch(example, seed=3, vocabulary=7):
    rng = np.random.default_rng(seed)
    if jnp.issubdtype(example.dtype, jnp.integer):
        return jnp.asarray(rng.integers(0, vocabulary, example.shape))
    return jnp.asarray(rng.normal(size=example.shape), example.dtype)


def check(fn, params, example):
    """Read, compare, and return the network's layers."""
    reading = read(fn, params, example)
    outputs, gradients = difference(reading, fn, shaken(params), batch(example))
    # Single precision: a few hundred roundings of 6e-8 in outputs, twice as many in gradients.
    assert outputs < 1e-5
    assert gradients < 1e-4
    drawn = reading.draw(jax.random.key(0))
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, params)
    return reading.frozen.network.layers


def kinds(layers):
    return [type(layer).__name__ for layer in layers]


# -- plain functions -------------------------------------------------------------------------------

VECTORS = jnp.zeros((3, 8))
IMAGES = jnp.zeros((3, 6, 6, 3))
CHANNELS_FIRST = jnp.zeros((3, 3, 6, 6))
SEQUENCES = jnp.zeros((3, 5, 16))
TOKENS = jnp.zeros((3, 5), jnp.int32)


def mlp_ntk(p, x):
    h = jnp.tanh(x @ p["w"] / jnp.sqrt(8) + 0.5 * p["b"])
    return jnp.sqrt(2.0) * h @ p["v"] / 4.0


MLP = {"w": normal(8, 16, scale=8**0.5), "b": normal(16), "v": normal(16, 2, scale=4.0)}


def mlp_with_views(p, x):
    h = nn.gelu(x.reshape(len(x), -1) @ p["w"].T + p["b"], approximate=False)
    h = h.reshape(-1, 4, 4).swapaxes(1, 2).swapaxes(1, 2).reshape(-1, 16)
    return jnp.squeeze(jnp.einsum("bi,oi->bo", h, p["v"])[:, None, :] @ p["u"], 1)


def residual_cnn(p, x):
    h = conv(x, p["w0"]) + p["b0"]
    for w, v, scale, shift in p["blocks"]:
        h = h + conv(nn.relu(conv(nn.relu(layer_norm(h, scale, shift)), w)), v)
    return jnp.mean(conv(h, p["w1"], 2), (1, 2)) @ p["out"]


RESIDUAL = {
    "w0": normal(3, 3, 3, 8), "b0": jnp.zeros(8), "w1": normal(3, 3, 8, 8), "out": normal(8, 2),
    "blocks": [(normal(3, 3, 8, 8, seed=k), normal(3, 3, 8, 8, seed=-k % 9), jnp.ones(8),
                jnp.zeros(8)) for k in (1, 2)],
}  # fmt: skip


def vgg(p, x):
    for w, b in p["convs"]:
        x = nn.relu(conv(x, w, numbers=FIRST) + b[:, None, None])
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return x.reshape(len(x), -1) @ p["out"]


VGG = {"convs": [(normal(8, 3, 3, 3), jnp.zeros(8)), (normal(8, 8, 3, 3), jnp.zeros(8))],
       "out": normal(8, 2)}  # fmt: skip


def normalised_resnet(p, x):
    def batch_norm(h, scale, shift):  # fresh running statistics
        return (h - 0.0) / jnp.sqrt(1.0 + 1e-5) * scale + shift

    h = conv(x, p["w"])
    short = conv(h, p["s"], 2)
    h = short + conv(nn.relu(batch_norm(h, p["scale"], p["shift"])), p["v"], 2)
    return jnp.mean(nn.relu(h), (1, 2))


RESNET = {"w": normal(3, 3, 3, 8), "s": normal(1, 1, 8, 8), "v": normal(3, 3, 8, 8),
          "scale": jnp.ones(8), "shift": jnp.zeros(8)}  # fmt: skip


def heads(x, count):
    return x.reshape(*x.shape[:2], count, -1).swapaxes(1, 2)


def attention(p, x, *, causal=False):
    n, t, c = x.shape
    q, k, v = (heads(x @ p[name], 4) for name in "qkv")
    logits = q @ k.swapaxes(-1, -2) / jnp.sqrt(c // 4)
    if causal:
        logits = jnp.where(jnp.tril(jnp.ones((t, t), bool)), logits, -1e9)
    return (nn.softmax(logits) @ v).swapaxes(1, 2).reshape(n, t, c) @ p["o"]


BLOCK = {name: normal(16, 16, seed=k) for k, name in enumerate("qkvo")} | {
    "w": normal(16, 32), "b": jnp.zeros(32), "down": normal(32, 16), "norm1": jnp.ones(16),
    "norm2": jnp.ones(16), "shift": jnp.zeros(16),
}  # fmt: skip


def encoder(p, x):
    h = p["tokens"][x] + p["positions"]
    for b in p["blocks"]:
        h = h + attention(b, layer_norm(h, b["norm1"], b["shift"]))
        h = h + nn.gelu(layer_norm(h, b["norm2"], 0.0) @ b["w"] + b["b"]) @ b["down"]
    return jnp.mean(h, 1) @ p["out"]


ENCODER = {
    "tokens": normal(7, 16), "positions": normal(5, 16), "out": normal(16, 2),
    "blocks": [BLOCK, jax.tree.map(lambda a: 1.0 * a, BLOCK)],
}  # fmt: skip


def gpt(p, x):
    n, t = x.shape
    h = jnp.take(p["tokens"], x, axis=0) * 4.0 + p["positions"][:t]
    q, k, v = jnp.transpose((h @ p["qkv"] + p["b"]).reshape(n, t, 3, 4, 4), (2, 0, 3, 1, 4))
    logits = jnp.einsum("bhtd,bhsd->bhts", q, k) * 4**-0.5
    logits = logits + jnp.where(jnp.arange(t)[:, None] >= jnp.arange(t), 0.0, -1e10)
    h = h + jnp.einsum("bhts,bhsd->bthd", nn.softmax(logits), v).reshape(n, t, 16) @ p["o"]
    return layer_norm(h, p["norm"], 0.0)[:, -1]


GPT = {"tokens": normal(7, 16), "positions": normal(9, 16), "qkv": normal(16, 48),
       "b": jnp.zeros(48), "o": normal(16, 16), "norm": jnp.ones(16)}  # fmt: skip


def vit(p, x):
    n = len(x)
    patches = x.reshape(n, 2, 3, 2, 3, 3).transpose(0, 1, 3, 2, 4, 5).reshape(n, 4, 27)
    first = jnp.broadcast_to(p["first"], (n, 1, 16))
    h = jnp.concatenate([first, patches @ p["patch"]], 1) + p["positions"]
    return (h + attention(p, h))[:, 0] @ p["out"]


VIT = {"patch": normal(27, 16), "first": jnp.zeros((1, 1, 16)), "positions": normal(1, 5, 16),
       "out": normal(16, 2)}  # fmt: skip
VIT |= {n: normal(16, 16, seed=k) for k, n in enumerate("qkvo")}


def swiglu(p, x):
    h = x @ p["i"]
    n = rms_norm(h, p["scale"])
    h = h + (nn.silu(n @ p["w"]) * (n @ p["gate"])) @ p["v"]
    return h @ p["out"]


SWIGLU = {"i": normal(8, 16), "scale": jnp.ones(16), "w": normal(16, 24), "gate": normal(16, 24),
          "v": normal(24, 16), "out": normal(16, 2)}  # fmt: skip


def gated_by_split(p, x):
    a, b = jnp.split(x @ p["w"] + p["b"], 2, -1)
    return (a * nn.sigmoid(b)) @ p["out"]


def sine_layers(p, x):
    return jnp.sin(30.0 * jnp.sin(30.0 * (x @ p["w"] + p["b"])) @ p["u"]) @ p["v"]


def scanned_layers(p, x):
    def body(h, layer):
        return h + jnp.tanh(h @ layer["w"] + layer["b"]) / jnp.sqrt(3.0), None

    return lax.scan(jax.checkpoint(body), x, p)[0]


def elman(p, x):
    def step(h, s):
        h = jnp.tanh(h @ p["w"] + s @ p["u"] + p["b"])
        return h, h

    return lax.scan(step, jnp.zeros((len(x), 8)), x.swapaxes(0, 1))[1].swapaxes(0, 1) @ p["v"]


def elman_driven_outside(p, x):
    driven = (x @ p["u"] + p["b"]).swapaxes(0, 1)
    return lax.scan(lambda h, s: (jnp.tanh(s + h @ p["w"]), None), jnp.zeros((len(x), 8)), driven)[
        0
    ]


ELMAN = {"w": normal(8, 8), "u": normal(16, 8), "b": jnp.zeros(8), "v": normal(8, 2)}


def densenet(p, x):
    h = conv(x, p[0])
    h = jnp.concatenate([h, conv(nn.relu(h), p[1])], -1)
    return jnp.max(h, (1, 2)) @ p[2]


def unet(p, x):
    a = nn.relu(conv(x, p[0]))
    up = lax.conv_transpose(nn.relu(conv(a, p[1], 2)), p[2], (2, 2), "SAME")
    return conv(jnp.concatenate([a, up], -1), p[3])


def padded_and_sliced(p, x):
    h = conv(jnp.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0))), p[0], padding="VALID")
    h = conv(h, p[1], padding=[(2, 2), (2, 2)], rhs_dilation=(2, 2))
    return h[:, ::2, 1:].mean(2).reshape(len(x), -1) @ p[2]


def circular(p, x):
    wrapped = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
    return conv(wrapped, p, padding="VALID").sum((1, 2))


def mean_of_what_is_seen(p, x):
    h = conv(x, p)

    def add(a):
        return lax.reduce_window(a, 0.0, lax.add, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")

    return add(h) / add(jnp.ones_like(h))


def squeeze_and_excite(p, x):
    h = conv(x, p[0])
    gate = nn.sigmoid(nn.relu(h.mean((1, 2)) @ p[1]) @ p[2])
    return (h * gate[:, None, None, :]).mean((1, 2))


def scaled_input(p, x):
    mean = np.array([0.4, 0.5, 0.6], np.float32)[:, None, None]
    return conv((x - mean) / (1.0 + mean), p, numbers=FIRST)


def layer_scale(p, x):
    h = x @ p["a"]
    return h + p["small"] * jnp.tanh(h @ p["w"]) + p["zero"] * nn.relu(h @ p["v"])


def random_scale(p, x):
    return nn.relu((x @ p["w"]) * (1.0 + p["g"])) @ p["v"]


def highway(p, x):
    h = x @ p["a"]
    gate = nn.sigmoid(h @ p["w"] + p["b"])
    return gate * jnp.tanh(h @ p["v"]) + (1.0 - gate) * h


def group_norm(p, x):
    h = conv(x, p["w"]).reshape(len(x), 6, 6, 2, 4)
    mean, square = jnp.mean(h, (1, 2, 4), keepdims=True), jnp.mean(h * h, (1, 2, 4), keepdims=True)
    h = (h - mean) * lax.rsqrt(jnp.maximum(square - mean**2, 0.0) + 1e-6)
    return h.reshape(len(x), 6, 6, 8) * p["scale"] + p["shift"]


def after_the_activation(p, x):
    h = nn.relu(x @ p["w"])
    return (h - h.mean(-1, keepdims=True)) / (h.var(-1, keepdims=True) + 1e-5) ** 0.5 @ p["v"]


def unit_vectors(p, x):
    h = x @ p["w"]
    return h / jnp.linalg.norm(h, axis=-1, keepdims=True) @ p["v"]


def on_a_graph(p, x):
    edges = np.abs(np.random.default_rng(0).normal(size=(5, 5))).astype(np.float32)
    return (edges @ nn.relu(edges @ (x @ p["w"])) @ p["v"]).mean(1)


def one_hot(p, x):
    return jnp.tanh(nn.one_hot(x, 7) @ p["tokens"]).sum(1)


def fixed_positions(p, x):
    waves = np.sin(np.arange(5)[:, None] / 10 ** np.linspace(0, 2, 16)).astype(np.float32)
    return nn.relu((p["tokens"][x] + waves) @ p["w"])


def text_cnn(p, x):
    h = p["tokens"][x]
    numbers = ("NWC", "WIO", "NWC")
    found = [jnp.max(nn.relu(lax.conv_general_dilated(h, w, (1,), "VALID",
                                                      dimension_numbers=numbers)), 1)
             for w in p["convs"]]  # fmt: skip
    return jnp.concatenate(found, -1)


def relu_attention(p, x):
    return nn.relu(x @ p["q"] @ (x @ p["k"]).swapaxes(1, 2) / 4.0 - 0.1) @ (x @ p["v"])


def library_attention(p, x):
    q, k, v = ((x @ p[n]).reshape(*x.shape[:2], 4, 4) for n in "qkv")
    return nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape) @ p["o"]


def general_heads(p, x):
    q, k, v = (jnp.einsum("btc,chd->bthd", x, p[n].reshape(16, 4, 4)) for n in "qkv")
    weights = nn.softmax(jnp.einsum("bthd,bshd->bhts", q / 4.0, k))
    out = jnp.einsum("bhts,bshd->bthd", weights, v)
    return jnp.einsum("bthd,hdc->btc", out, p["o"].reshape(4, 4, 16))


def stacked_streams(p, x):
    return nn.relu(jnp.stack([x @ p["w"], x @ p["v"]], 1)) @ p["u"]


def unstacked_heads(p, x):
    a, b = jnp.unstack((x @ p["w"]).reshape(len(x), 2, 16), axis=1)
    return (a * nn.sigmoid(b)) @ p["v"]


def unpacked_projections(p, x):
    q, k, v = jnp.moveaxis((x @ p["qkv"]).reshape(*x.shape[:2], 3, 16), 2, 0)
    return nn.softmax(q @ k.swapaxes(1, 2) / 4.0) @ v


def polynomial_layers(p, x):
    return jnp.polyval(jnp.array([0.5, -1.0, 2.0]), jnp.log2(1.0 + (x @ p["w"]) ** 2)) @ p["v"]


QKVO = {n: normal(16, 16, seed=k) for k, n in enumerate("qkvo")}
PAIR = {"w": normal(8, 16), "v": normal(16, 2)}
FUNCTIONS = [
    (mlp_ntk, MLP, VECTORS, "Dense Activation Dense"),
    (mlp_with_views, {"w": normal(16, 108), "b": jnp.zeros(16), "v": normal(16, 16),
                      "u": normal(16, 2)}, IMAGES, "Flatten Dense Activation Dense Dense"),
    (residual_cnn, RESIDUAL, IMAGES, None),
    (vgg, VGG, CHANNELS_FIRST,
     "ChannelsLast Conv Activation MaxPool Conv Activation MaxPool Flatten Dense"),
    (normalised_resnet, RESNET, IMAGES,
     "Conv Conv BatchNorm Activation Conv Sum Activation GlobalAvgPool"),
    (encoder, ENCODER, TOKENS, None),
    (gpt, GPT, TOKENS, None),
    (vit, VIT, IMAGES, None),
    (swiglu, SWIGLU, VECTORS,
     "Dense RMSNorm Dense Activation Dense Product Dense Sum Dense"),
    (gated_by_split, {"w": normal(8, 32), "b": jnp.zeros(32), "out": normal(16, 2)}, VECTORS,
     "Dense Dense Activation Product Dense"),
    (sine_layers, {"w": normal(8, 16, scale=0.03), "b": jnp.zeros(16),
                   "u": normal(16, 16, scale=0.03), "v": normal(16, 2)}, VECTORS,
     "Dense Activation Dense Activation Dense"),
    (scanned_layers, {"w": normal(3, 8, 8), "b": jnp.zeros((3, 8))}, VECTORS, None),
    (elman, ELMAN, SEQUENCES, "Recurrent Dense"),
    (elman_driven_outside, ELMAN, SEQUENCES, "Recurrent Mix"),
    (densenet, [normal(3, 3, 3, 8), normal(3, 3, 8, 4), normal(12, 2)], IMAGES, None),
    (unet, [normal(3, 3, 3, 8), normal(3, 3, 8, 8), normal(3, 3, 8, 8, seed=1),
            normal(1, 1, 16, 2)], IMAGES, None),
    (padded_and_sliced, [normal(3, 3, 3, 8), normal(3, 3, 8, 8), normal(24, 2)], IMAGES, None),
    (circular, normal(3, 3, 3, 8), IMAGES, None),
    (mean_of_what_is_seen, normal(3, 3, 3, 8), IMAGES, "Conv AvgPool"),
    (squeeze_and_excite, [normal(3, 3, 3, 8), normal(8, 4), normal(4, 8)], IMAGES, None),
    (scaled_input, normal(4, 3, 3, 3), CHANNELS_FIRST, None),
    (layer_scale, {"a": normal(8, 16), "w": normal(16, 16), "v": normal(16, 16, seed=1),
                   "small": 1e-2 * jnp.ones(16), "zero": jnp.zeros(16)}, VECTORS, None),
    (random_scale, {**PAIR, "g": 0.3 * normal(16)}, VECTORS, None),
    (highway, {"a": normal(8, 16), "w": normal(16, 16), "v": normal(16, 16, seed=1),
               "b": -2.0 * jnp.ones(16)}, VECTORS, None),
    (group_norm, {"w": normal(3, 3, 3, 8), "scale": jnp.ones(8), "shift": jnp.zeros(8)}, IMAGES,
     "Conv GroupNorm"),
    (after_the_activation, PAIR, VECTORS, "Dense Activation LayerNorm Dense"),
    (unit_vectors, PAIR, VECTORS, "Dense RMSNorm Dense"),
    (on_a_graph, {"w": normal(16, 16), "v": normal(16, 2)}, SEQUENCES,
     "Dense Mix Activation Mix Dense GlobalAvgPool"),
    (one_hot, {"tokens": normal(7, 16)}, TOKENS, "Embedding Activation GlobalSumPool"),
    (fixed_positions, {"tokens": normal(7, 16), "w": normal(16, 2)}, TOKENS,
     "Embedding Constant Sum Dense Activation"),
    (text_cnn, {"tokens": normal(7, 16), "convs": [normal(k, 16, 4) for k in (2, 3)]}, TOKENS,
     None),
    (relu_attention, QKVO, SEQUENCES, "Dense Dense Dense DotProductAttention"),
    (library_attention, QKVO, SEQUENCES, "Dense Dense Dense DotProductAttention Dense"),
    (general_heads, QKVO, SEQUENCES, "Dense Dense Dense DotProductAttention Dense"),
    (stacked_streams, {"w": normal(8, 16), "v": normal(8, 16, seed=1), "u": normal(16, 2)}, VECTORS,
     None),
    (unstacked_heads, {"w": normal(8, 32), "v": normal(16, 2)}, VECTORS,
     "Dense Dense Activation Product Dense"),
    (unpacked_projections, {"qkv": normal(16, 48)}, SEQUENCES,
     "Dense Dense Dense DotProductAttention"),
    (polynomial_layers, PAIR, VECTORS, "Dense Activation Dense"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fn", "params", "example", "layers"), FUNCTIONS, ids=[f[0].__name__ for f in FUNCTIONS]
)
def test_plain_functions(fn, params, example, layers):
    found = check(fn, params, example)
    if layers is not None:
        assert kinds(found) == layers.split()


def test_a_planted_error_is_caught():
    """A weight, or a rate, that is off by 1 per cent fails the oracle."""
    reading = read(mlp_ntk, MLP, VECTORS)
    assert difference(reading, mlp_ntk, MLP, batch(VECTORS))[0] < 1e-6
    wrong = dict(reading.frozen.uses[0])
    wrong["weight"] = wrong["weight"].times(1.01)
    object.__setattr__(reading.frozen, "uses", (wrong, *reading.frozen.uses[1:]))
    outputs, gradients = difference(reading, mlp_ntk, MLP, batch(VECTORS))
    assert outputs > 1e-3
    assert gradients > 1e-3


# -- equinox ---------------------------------------------------------------------------------------


class ConvNet(eqx.Module):
    first: eqx.nn.Conv2d
    group: eqx.nn.GroupNorm
    second: eqx.nn.Conv2d
    norm: eqx.nn.LayerNorm
    out: eqx.nn.Linear

    def __init__(self, key):
        k = jax.random.split(key, 3)
        self.first = eqx.nn.Conv2d(3, 8, 3, padding=1, key=k[0])
        self.group = eqx.nn.GroupNorm(2, 8)
        self.second = eqx.nn.Conv2d(8, 8, 3, padding=1, key=k[1])
        self.norm = eqx.nn.LayerNorm((8, 3, 3))
        self.out = eqx.nn.Linear(8, 2, key=k[2])

    def __call__(self, x):
        h = eqx.nn.MaxPool2d(2, 2)(nn.relu(self.group(self.first(x))))
        h = h + self.second(nn.relu(self.norm(h)))
        return self.out(eqx.nn.AvgPool2d(3, 3)(h).reshape(-1))


class Block(eqx.Module):
    attention: eqx.nn.MultiheadAttention
    norm1: eqx.nn.LayerNorm
    norm2: eqx.nn.LayerNorm
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, key):
        k = jax.random.split(key, 3)
        self.attention = eqx.nn.MultiheadAttention(4, 16, use_query_bias=True, key=k[0])
        self.norm1, self.norm2 = eqx.nn.LayerNorm(16), eqx.nn.LayerNorm(16)
        self.up = eqx.nn.Linear(16, 32, key=k[1])
        self.down = eqx.nn.Linear(32, 16, key=k[2])

    def __call__(self, x, mask):
        n = jax.vmap(self.norm1)(x)
        x = x + self.attention(n, n, n, mask=mask)
        return x + jax.vmap(lambda s: self.down(nn.gelu(self.up(self.norm2(s)))))(x)


class Transformer(eqx.Module):
    tokens: eqx.nn.Embedding
    positions: jax.Array
    blocks: list
    norm: eqx.nn.RMSNorm
    out: eqx.nn.Linear
    dropout: eqx.nn.Dropout

    def __init__(self, key):
        k = jax.random.split(key, 5)
        self.tokens = eqx.nn.Embedding(7, 16, key=k[0])
        self.positions = jax.random.normal(k[1], (5, 16))
        self.blocks = [Block(k[2]), Block(k[3])]
        self.norm = eqx.nn.RMSNorm(16)
        self.out = eqx.nn.Linear(16, 2, key=k[4])
        self.dropout = eqx.nn.Dropout(0.1, inference=True)

    def __call__(self, x):
        h = self.dropout(jax.vmap(self.tokens)(x) + self.positions)
        for block in self.blocks:
            h = block(h, jnp.tril(jnp.ones((5, 5), bool)))
        return self.out(jax.vmap(self.norm)(h).mean(0))


class Cell(eqx.Module):
    state: eqx.nn.Linear
    drive: eqx.nn.Linear

    def __init__(self, key):
        k = jax.random.split(key)
        self.state = eqx.nn.Linear(16, 16, key=k[0])
        self.drive = eqx.nn.Linear(16, 16, key=k[1])

    def __call__(self, x):
        step = lambda h, s: (jnp.tanh(self.state(h) + self.drive(s)), None)  # noqa: E731
        return lax.scan(step, jnp.zeros(16), x)[0]


EQUINOX = [
    (lambda key: eqx.nn.MLP(8, 2, 16, 2, nn.gelu, key=key), VECTORS),
    (ConvNet, CHANNELS_FIRST),
    (Transformer, TOKENS),
    (Cell, SEQUENCES),
]


@pytest.mark.parametrize(("make", "example"), EQUINOX, ids=["mlp", "cnn", "transformer", "rnn"])
def test_equinox_modules(make, example):
    params, static = eqx.partition(make(jax.random.key(0)), eqx.is_inexact_array)
    check(lambda p, x: jax.vmap(eqx.combine(p, static))(x), params, example)


def test_an_equinox_module_is_taken_whole_and_is_no_factory():
    model = eqx.nn.MLP(8, 2, 16, 1, key=jax.random.key(0))
    network, draw = read_jax(lambda m, x: jax.vmap(m)(x), model, VECTORS)
    assert kinds(network.layers) == ["Dense", "Activation", "Dense"]
    drawn = draw(jax.random.key(1))
    assert drawn.activation is model.activation
    assert not jnp.array_equal(drawn.layers[0].weight, model.layers[0].weight)
    # The rule of equinox: uniform, variance 1 / (3 fan_in); 128 numbers are too few to tell.
    assert "kept as measured" in network.nodes[0].label
    network, _ = read_jax(
        lambda m, x: jax.vmap(m)(x),
        lambda key: eqx.nn.MLP(8, 2, 16, 1, key=key),
        VECTORS,
    )
    first, last = network.dense
    assert first.weight_var == pytest.approx(1 / 3, rel=1e-15)
    assert first.bias_var == pytest.approx(1 / 24, rel=1e-15)
    assert (first.weight_lr, first.bias_lr, last.weight_lr) == (8.0, 1.0, 16.0)


# -- scalings --------------------------------------------------------------------------------------


def draws(*shapes, scales=None):
    """A factory of normal numbers with the standard deviations `scales`."""
    scales = scales or [1.0] * len(shapes)

    def init(key):
        keys = jax.random.split(key, len(shapes))
        return [s * jax.random.normal(k, n) for s, k, n in zip(scales, keys, shapes, strict=True)]

    return init


def first_layer(fn, init, example=VECTORS):
    return next(
        layer for layer in read_jax(fn, init, example)[0].layers if isinstance(layer, (Dense, Conv))
    )


def scaling(layer):
    return layer.weight_var, layer.bias_var, layer.weight_lr, layer.bias_lr


@pytest.mark.parametrize(
    ("fn", "scales", "wanted"),
    [
        (lambda p, x: x @ p[0] / jnp.sqrt(8) + p[1], (1, 1), (1, 1, 1, 1)),
        (lambda p, x: x @ p[0] + p[1], (8**-0.5, 0), (1, 0, 8, 1)),
        (lambda p, x: x @ (p[0] * np.sqrt(2 / 8)) + 0.1 * p[1], (1, 1), (2, 0.01, 2, 0.01)),
        (lambda p, x: 3.0 * (x @ p[0] / jnp.sqrt(8) + p[1]), (1, 1), (9, 9, 9, 9)),
        (lambda p, x: (x / 2.0) @ p[0] - p[1] / 2, (1, 0.02), (2, 1e-4, 2, 0.25)),
        (lambda p, x: x @ lax.stop_gradient(p[0]) + p[1], (8**-0.5, 1), (1, 1, 0, 1)),
        (lambda p, x: -(x @ p[0]), ((2 / 8) ** 0.5, 1), (2, 0, 8, 0)),
    ],
    ids=["ntk", "standard", "he", "behind", "before", "frozen", "minus"],
)
def test_the_scaling_is_read_from_the_code(fn, scales, wanted):
    layer = first_layer(fn, draws((8, 256), (256,), scales=scales))
    assert scaling(layer) == pytest.approx(wanted, rel=1e-12)


def test_fan_in_of_a_convolution_counts_the_window():
    layer = first_layer(
        lambda p, x: conv(x, p[0]), draws((3, 3, 3, 64), scales=[(2 / 27) ** 0.5]), IMAGES
    )
    assert scaling(layer) == pytest.approx((2, 0, 27, 0), rel=1e-12)


def test_a_variance_that_is_no_rule_is_kept_as_measured():
    """Laplace: 2. A standard error is 0.16 per cent."""
    init = lambda key: [jax.random.laplace(key, (8, 256)) / 3]  # noqa: E731
    network, _ = read_jax(lambda p, x: x @ p[0], init, VECTORS)
    assert network.layers[0].weight_var == pytest.approx(8 * 2 / 9, rel=0.01)
    assert "kept as measured" in network.nodes[0].label
    assert "[0]" in network.nodes[0].label


def test_offsets_that_are_not_drawn_around_zero_keep_their_mean():
    network, _ = read_jax(
        lambda p, x: x @ p[0] + p[1], [normal(8, 64), -2.0 * jnp.ones(64)], VECTORS
    )
    assert kinds(network.layers) == ["Dense", "Affine"]
    assert network.layers[1].shift == -2.0
    assert network.layers[0].bias_var == 0.0
    assert network.layers[0].bias_lr == 1.0


def test_embeddings_have_the_variance_of_their_entries():
    network, _ = read_jax(
        lambda p, x: 4.0 * p[0][x] + 0.5 * p[1], draws((7, 64), (5, 64), scales=[0.02, 1.0]), TOKENS
    )
    table, positions, _ = network.layers
    assert isinstance(table, Embedding)
    assert (table.var, table.lr) == pytest.approx((16 * 0.02**2, 16.0))
    assert (positions.var, positions.lr) == pytest.approx((0.25, 0.25))


def test_the_scale_of_an_attention_goes_into_its_queries():
    params = {n: normal(16, 16, seed=k) for k, n in enumerate("qkv")}

    def read_at(scale):
        def fn(p, x):
            q, k, v = (x @ p[n] for n in "qkv")
            return nn.softmax(scale * (q @ k.swapaxes(1, 2))) @ v

        return read_jax(fn, params, SEQUENCES)[0].layers

    plain, flat, other = (read_at(s) for s in (1 / 4, 1 / 16, 0.75))
    assert isinstance(plain[3], DotProductAttention)
    assert (plain[3].scaling, flat[3].scaling) == ("1/sqrt(d)", "1/d")
    assert other[0].weight_var == pytest.approx(9 * plain[0].weight_var)


def test_draws_have_the_law_that_was_read():
    """The variance of 2^16 normal numbers has a relative standard error of 0.55 per cent."""
    fn = lambda p, x: jnp.split(x @ p[0], 2, -1)[0] @ p[1]  # noqa: E731
    params = [normal(8, 2 * 2**13), normal(2**13, 1)]
    _, draw = read_jax(fn, params, VECTORS)
    drawn = draw(jax.random.key(0))
    half = np.asarray(drawn[0])[:, : 2**13]
    assert np.var(half) == pytest.approx(1 / 8, rel=5 * 0.0055)
    assert jnp.array_equal(drawn[0][:, 2**13 :], params[0][:, 2**13 :])  # no layer uses it


def test_numbers_that_are_not_trained_stay_constant():
    params = {
        "params": {"w": normal(8, 64), "scale": jnp.ones(64)},
        "batch_stats": {"mean": jnp.zeros(64), "var": jnp.ones(64)},
    }

    def fn(p, x):
        own, stored = p["params"], p["batch_stats"]
        h = x @ own["w"] - stored["mean"]
        return h * (lax.rsqrt(stored["var"] + 1e-5) * own["scale"])

    network, _ = read_jax(fn, params, VECTORS)
    assert kinds(network.layers) == ["Dense", "BatchNorm"]
    assert network.layers[1].scale == pytest.approx(1 / np.sqrt(1 + 1e-5), rel=1e-6)
    trained = {"w": normal(8, 64), "v": jnp.ones(64)}
    with pytest.raises(UnsupportedError, match="computed from parameters"):
        read_jax(lambda p, x: x @ p["w"] * lax.rsqrt(p["v"]), trained, VECTORS)


# -- activations -----------------------------------------------------------------------------------

WRITTEN = {
    "relu": lambda z: jnp.where(z > 0, z, 0.0),
    "leaky_relu(0.2)": lambda z: nn.leaky_relu(z, 0.2),
    "abs": jnp.abs,
    "tanh": lambda z: (jnp.exp(z) - jnp.exp(-z)) / (jnp.exp(z) + jnp.exp(-z)),
    "sigmoid": lambda z: 1.0 / (1.0 + jnp.exp(-z)),
    "hard_tanh": lambda z: jnp.clip(z, -1.0, 1.0),
    "erf": jax.scipy.special.erf,
    "gelu": lambda z: 0.5 * z * (1.0 + jax.scipy.special.erf(z / jnp.sqrt(2.0))),
    "gelu_tanh": lambda z: nn.gelu(z, approximate=True),
    "silu": lambda z: z * nn.sigmoid(z),
    "mish": lambda z: z * jnp.tanh(nn.softplus(z)),
    "softplus": lambda z: jnp.log1p(jnp.exp(z)),
    "elu": nn.elu,
    "elu(0.5)": lambda z: jnp.where(z > 0, z, 0.5 * jnp.expm1(jnp.minimum(z, 0.0))),
    "selu": nn.selu,
    "sin": jnp.sin,
    "cos": jnp.cos,
    "gaussian": lambda z: jnp.exp(-(z**2)),
    "monomial(3)": lambda z: z * z * z,
}


def function_of(fn):
    network, _ = read_jax(lambda p, x: fn(x @ p[0]), [normal(8, 16)], VECTORS)
    return network.layers[1:]


@pytest.mark.parametrize("name", WRITTEN)
def test_named_activations_are_recognised_however_they_are_written(name):
    (layer,) = function_of(WRITTEN[name])
    assert isinstance(layer, Activation)
    assert layer.function.name == name


@pytest.mark.parametrize(
    ("fn", "kinks"),
    [
        (nn.relu6, (0.0, 6.0)),
        (nn.hard_swish, (-3.0, 3.0)),
        (lambda z: z * nn.sigmoid(1.702 * z), ()),
        (lambda z: jnp.tanh(z) * nn.softplus(z), ()),  # logaddexp switches, and is smooth
        (lambda z: jnp.maximum(z, 0.3 * z - 0.7), (-1.0,)),
    ],
)
def test_other_activations_keep_their_kinks(fn, kinks):
    (layer,) = function_of(fn)
    assert layer.function.kinks == pytest.approx(kinks)
    z = np.linspace(-7.0, 7.0, 57)
    assert np.allclose(layer.function(jnp.asarray(z, jnp.float32)), fn(jnp.asarray(z)), atol=1e-6)


def test_factors_around_an_activation():
    layers = function_of(lambda z: 1.5 * nn.sigmoid(z) - 0.5)
    assert kinds(layers) == ["Activation", "Affine"]
    assert (layers[1].scale, layers[1].shift) == pytest.approx((1.5, -0.5))
    assert layers[0].function.name == "sigmoid"


def test_equal_functions_are_equal_layers():
    fn = lambda p, x: nn.relu6(nn.relu6(x @ p[0]) @ p[1]) @ p[2]  # noqa: E731
    network, _ = read_jax(fn, [normal(8, 8), normal(8, 8, seed=1), normal(8, 2)], VECTORS)
    assert network.activation.kinks == (0.0, 6.0)


# -- refusals --------------------------------------------------------------------------------------


@jax.custom_vjp
def straight_through(z):
    return jnp.sign(z)


straight_through.defvjp(lambda z: (jnp.sign(z), None), lambda _, g: (g,))
SQUARE = [normal(8, 8), normal(8, 8, seed=1), jnp.ones(8), jnp.ones(())]


def dropped(p, x):
    h = x @ p[0]
    return jnp.where(jax.random.bernoulli(jax.random.key(0), 0.9, h.shape), h / 0.9, 0.0)


def gru(p, x):
    def step(h, s):
        gate = nn.sigmoid(s @ p[0] + h @ p[1])
        return (1.0 - gate) * h + gate * jnp.tanh(s), None

    return lax.scan(step, jnp.zeros((len(x), 8)), x.swapaxes(0, 1))[0]


REFUSED = [
    ("tied", lambda p, x: jnp.tanh(x @ p[0]) @ p[0].T, VECTORS, "used more than once"),
    ("twice", lambda p, x: jnp.tanh(jnp.tanh(x @ p[0]) @ p[0]), VECTORS, r"params\[0\]"),
    ("mixer", lambda p, x: jnp.einsum("btc,ts->bsc", x, p[0][:5, :5]) @ p[1],
     jnp.zeros((3, 5, 8)), "mix positions|part of the channels|used more|no part"),
    ("batch", lambda p, x: (x @ p[0]) - jnp.mean(x @ p[0], 0), VECTORS, "training mode"),
    ("dropout", dropped, VECTORS, "dropout in training mode"),
    ("gru", gru, jnp.zeros((3, 5, 8)), "is not an activation of W h"),
    ("softmax", lambda p, x: nn.softmax(x @ p[0]), VECTORS, "return logits"),
    ("mean", lambda p, x: jnp.mean(x @ p[0], -1), VECTORS, "no normalisation"),
    ("eps", lambda p, x: (x @ p[0]) / (1e-3 + jnp.std(x @ p[0], -1, keepdims=True)), VECTORS,
     "eps inside"),
    ("rezero", lambda p, x: x @ p[0] + p[3] * jnp.tanh(x @ p[1]), VECTORS, "several channels"),
    ("prelu", lambda p, x: jnp.where(x @ p[0] > 0, x @ p[0], p[2] * (x @ p[0])), VECTORS,
     "learned shape"),
    ("maxout", lambda p, x: jnp.maximum(x @ p[0], x @ p[1]), VECTORS, "maxout"),
    ("weight norm", lambda p, x: x @ (p[0] / jnp.linalg.norm(p[0], axis=0)), VECTORS,
     r"div of params\[0\]"),
    ("low rank", lambda p, x: x @ (p[0] + p[1] @ p[1]), VECTORS, "computed from parameters"),
    ("closed over", lambda _, x: x @ np.ones((8, 4), np.float32), VECTORS, "closes over"),
    ("straight through", lambda p, x: straight_through(x @ p[0]), VECTORS, "custom derivative"),
    ("stopped", lambda p, x: lax.stop_gradient(x @ p[0]) @ p[1], VECTORS, "gradient is stopped"),
    ("sort", lambda p, x: jnp.sort(x @ p[0]), VECTORS, "'sort'"),
    ("scatter", lambda p, x: (x @ p[0]).at[:, 0].set(0.0), VECTORS, "'scatter'"),
    ("while", lambda p, x: lax.while_loop(lambda h: h.sum() < 0, jnp.tanh, x @ p[0]), VECTORS,
     "'while'"),
    ("steps", lambda p, x: jnp.floor(x @ p[0]), VECTORS, "floor"),
    ("depthwise", lambda p, x: conv(x, p[0].reshape(1, 8, 1, 8), feature_group_count=8),
     jnp.zeros((3, 4, 4, 8)), "feature_group_count=8"),
    ("linear attention", lambda p, x: x @ p[0] @ ((x @ p[1]).swapaxes(1, 2) @ x),
     jnp.zeros((3, 5, 8)), "no attention"),
    ("odd mask", lambda p, x: nn.softmax(jnp.where(jnp.eye(5, dtype=bool), x @ p[0]
     @ x.swapaxes(1, 2), -1e9)) @ x, jnp.zeros((3, 5, 8)), "not causal"),
    ("no channels", lambda p, x: conv(x[..., None], p[0].reshape(8, 1, 1, 8)),
     jnp.zeros((3, 4, 4)), r"shape \(N, H, W, 1\)"),
    ("loss", lambda p, x: jnp.mean((x @ p[0]) ** 2), VECTORS, "inputs of the batch"),
    ("no input", lambda p, _: p[2], VECTORS, "does not depend"),
    ("two arrays", lambda p, x: (x @ p[0], x), VECTORS, "several arrays"),
    ("ones", lambda p, x: x @ (p[0] + 1.0), VECTORS, "mean zero"),
    ("cast", lambda p, x: p[0][(x @ p[0]).astype(int)[:, 0]], VECTORS, "whole numbers"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fn", "example", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_what_has_no_counterpart_is_refused(fn, example, message):
    with pytest.raises(UnsupportedError, match=message):
        read_jax(fn, SQUARE, example)


def test_a_refusal_names_primitive_source_line_and_what_is_supported():
    with pytest.raises(UnsupportedError) as caught:
        read_jax(lambda p, x: jnp.cumsum(x @ p[0], 1), SQUARE, VECTORS)
    assert "cumsum at" in caught.value.received
    assert "test_read.py:" in caught.value.received
    assert "LayerNorm" in caught.value.needed


def test_what_cannot_be_traced_is_an_input_error():
    with pytest.raises(InputError, match="can't be traced"):
        read_jax(lambda p, x: x @ p[0] @ np.zeros((3, 3)), SQUARE, VECTORS)
    with pytest.raises(InputError, match="no batch"):
        read_jax(mlp_ntk, SQUARE, jnp.zeros(8))


# -- invariances -----------------------------------------------------------------------------------


@pytest.mark.lanes
def test_the_64_bit_switch_changes_nothing():
    """The same network, and JAX's global setting as it was."""
    before = jax.config.read("jax_enable_x64")
    network, _ = read_jax(mlp_ntk, MLP, np.zeros((3, 8), np.float32))
    assert jax.config.read("jax_enable_x64") == before
    assert [type(layer) for layer in network.layers] == [Dense, Activation, Dense]
    assert network.layers[2].weight_lr == 2.0


def test_the_batch_does_not_matter():
    """A function for one batch size is read as one for any."""

    def fixed(p, x):
        return x.reshape(4, 8) @ p[0]

    networks = [read_jax(mlp_ntk, MLP, jnp.zeros((n, 8)))[0] for n in (1, 2, 7)]
    assert networks[0] == networks[1] == networks[2]
    assert kinds(read_jax(fixed, SQUARE, jnp.zeros((4, 8)))[0].layers) == ["Dense"]
