"""The tangent kernel against its definition: Jacobians by JAX, in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from whydeep.ensemble import apply_network, draw_parameters
from whydeep.ensemble.tangent import _blocks, tangent_kernel, tangent_operator
from whydeep.ensemble.tangent._inputs import read_parameters
from whydeep.ensemble.tangent._plan import plan_of
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import Activation, Conv, Dense, Flatten, GlobalAvgPool, chain

# Sums of some thousand products in float64, of different order: 1e-13 relative to the largest.
ROUNDING = 1e-12


def arrays(seed, **shapes):
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=shape) for name, shape in shapes.items()}


def jacobian(fn, params, x):
    """(N, C, P), every example by itself."""
    with jax.enable_x64(True):
        one = jax.jacrev(lambda p, example: fn(p, example[None]).ravel())
        parts = jax.tree.leaves(jax.jit(jax.vmap(one, (None, 0)))(params, x))
        flat = [np.asarray(j).reshape(*j.shape[:2], -1) for j in parts]
        return np.concatenate(flat, axis=2)


def defined(fn, params, x1, x2=None, outputs="full"):
    first = jacobian(fn, params, x1)
    second = first if x2 is None else jacobian(fn, params, x2)
    full = np.einsum("aip,bjp->aibj", first, second)
    return {"full": full, "trace": np.einsum("aibi->ab", full),
            "diagonal": np.einsum("aibi->abi", full)}[outputs]  # fmt: skip


def ways(fn, params, x, outputs="full"):
    """The way chosen for every leaf: (term, use) by path."""
    with jax.enable_x64(True):
        parameters = read_parameters(params)
        plan = plan_of(fn, parameters, x, [x], parameters.real, (), outputs)
    return {parameters.paths[t.leaf]: (type(t).__name__, type(t.use).__name__) for t in plan.terms}


def mlp(p, x):
    h = jnp.tanh(x @ p["w1"] / 5**0.5 + p["b1"])
    h = jax.nn.relu(h @ p["w2"] + 0.5 * p["b2"])
    return h @ p["w3"] - p["b3"]


def convolutions(p, x):
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        x, p["k1"], (2, 1), ((1, 2), (0, 1)), rhs_dilation=(1, 2), dimension_numbers=numbers
    )
    y = jax.nn.gelu(y + p["b1"])
    y = jax.lax.conv_general_dilated(
        y, p["k2"], (1, 1), "SAME", feature_group_count=2, dimension_numbers=numbers
    )
    return jax.nn.silu(y).mean((1, 2)) @ p["w"]


def transposed(p, x):
    y = jax.lax.conv_transpose(
        x, p["k"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jnp.sin(y).sum((1, 2))


def attention(p, x):
    q, k, v = (jnp.einsum("btd,dhe->bhte", x, p[name]) for name in "qkv")
    weights = jax.nn.softmax(jnp.einsum("bhte,bhse->bhts", q, k) / 2)
    y = jnp.einsum("bhts,bhse,hed->btd", weights, v, p["o"])
    y = (y - y.mean(-1, keepdims=True)) / jnp.sqrt(y.var(-1, keepdims=True) + 1e-5)
    return (y * p["scale"] + p["shift"]).mean(1)


def embedded(p, x):
    return jnp.tanh(p["table"][x] @ p["w"]).mean(1)


def embedded_or_not(p, x):
    return jnp.tanh(jnp.take(p["table"], x, axis=0, mode="fill", fill_value=0) @ p["w"]).mean(1)


def scanned(p, x):
    return jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, p["w"])[0][:, :2]


def adapter(p, x):
    return jnp.tanh(x @ (p["w"] + p["a"] @ p["b"])) @ p["o"] + x @ p["a2"] @ p["b2"]


def by_head(p, x):
    return (
        jnp.einsum("bhd,hde->bhe", x, p["w"]).sum(1) * jnp.einsum("bhd,hed->bhe", x, p["v"])[:, 0]
    )


def normalised_weight(p, x):
    return jnp.tanh(x @ (p["g"] * p["v"] / jnp.linalg.norm(p["v"], axis=0))) @ p["w"]


def rematerialised(p, x):
    return jax.checkpoint(lambda h: jnp.sin(h @ p["w"]) * 3.0 + p["b"])(x) @ p["v"].T


def wide_and_short(p, x):
    return jnp.sin(jnp.tanh(x @ p["w"]).mean(1) @ p["v"])


def pooled(p, x):
    def conv(x, k, stride):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, k, (stride, stride), "SAME", dimension_numbers=numbers
        )

    y = jax.nn.relu(conv(x, p["k1"], 1) + p["b1"])
    y = jax.nn.gelu(conv(y, p["k2"], 2) + p["b2"])
    return 0.5 * (y.mean((1, 2)) @ p["w"] / 3) - p["b"]


def gated(p, x):
    h = x @ p["e"]
    h = h + jnp.tanh(h @ p["a"])
    y = jax.nn.silu(h @ p["m"]) * h.sum(-1, keepdims=True)
    return jnp.einsum("oc,bc->bo", p["h"], jnp.tanh(y.sum(1) / 3)) + x.sum((1, 2))[:, None]


W = {"w": (4, 5), "a": (4, 2), "b": (2, 5), "o": (5, 2), "a2": (4, 2), "b2": (2, 2)}
CASES = {
    "mlp": (mlp, {"w1": (5, 6), "b1": (6,), "w2": (6, 7), "b2": (7,), "w3": (7, 3), "b3": (3,)},
            (5, 5)),
    "one output": (lambda p, x: jnp.tanh(x @ p["w"]) @ p["v"], {"w": (3, 4), "v": (4,)}, (5, 3)),
    "outputs in two axes": (lambda p, x: jnp.tanh(x @ p["w"]), {"w": (3, 2)}, (3, 4, 3)),
    "strides, padding, dilation, groups": (
        convolutions, {"k1": (3, 2, 2, 4), "b1": (4,), "k2": (3, 3, 2, 6), "w": (6, 2)},
        (3, 7, 6, 2)),
    "head": (
        pooled, {"k1": (3, 3, 2, 4), "b1": (4,), "k2": (3, 3, 4, 6), "b2": (6,), "w": (6, 3),
                 "b": (3,)}, (4, 7, 6, 2)),
    "gated head": (gated, {"e": (3, 4), "a": (4, 4), "m": (4, 5), "h": (2, 5)}, (4, 6, 3)),
    "transposed convolution": (transposed, {"k": (3, 3, 2, 3)}, (3, 4, 4, 2)),
    "attention and a norm": (
        attention, {"q": (4, 2, 3), "k": (4, 2, 3), "v": (4, 2, 3), "o": (2, 3, 5), "scale": (5,),
                    "shift": (5,)}, (3, 6, 4)),
    "tied weights": (lambda p, x: jnp.tanh(x @ p["w"]) @ p["w"].T, {"w": (4, 5)}, (4, 4)),
    "loop": (scanned, {"w": (3, 4, 4)}, (4, 4)),
    "stacked": (lambda p, x: jnp.tanh(x @ p["w"][0]) @ p["w"][1], {"w": (2, 3, 3)}, (4, 3)),
    "adapter": (adapter, W, (4, 4)),
    "a weight for each head": (by_head, {"w": (3, 4, 2), "v": (3, 2, 4)}, (4, 3, 4)),
    "normalised weight": (normalised_weight, {"g": (5,), "v": (4, 5), "w": (5, 2)}, (4, 4)),
    "checkpoint": (rematerialised, {"w": (3, 4), "b": (1, 4), "v": (2, 4)}, (5, 3)),
    "few positions": (wide_and_short, {"w": (30, 40), "v": (40, 3)}, (3, 2, 30)),
    "weights twice, once unused": (
        lambda p, x: jax.nn.relu(x @ p["w"]) @ p["v"] + p["c"] + 0 * p["v"].sum(),
        {"w": (3, 4), "v": (4, 2), "c": (), "unused": (3,)}, (4, 3)),
}  # fmt: skip


# Each way to compute a part, in each of the ways to ask for it; the other cases once.
ALL_WAYS = ("mlp", "gated head", "strides, padding, dilation, groups", "few positions", "loop")
PAIRS = [(name, "full") for name in CASES] + list(
    itertools.product(ALL_WAYS, ("trace", "diagonal"))
)


@pytest.mark.parametrize(("name", "outputs"), PAIRS)
def test_it_is_the_product_of_jacobians(name, outputs):
    fn, shapes, shape = CASES[name]
    params = arrays(0, **shapes)
    x = np.random.default_rng(1).normal(size=shape)
    expected = defined(fn, params, x, outputs=outputs)
    scale = np.abs(expected).max()
    found = tangent_kernel(fn, params, x, outputs=outputs, batch=2)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=ROUNDING * scale)
    between = tangent_kernel(fn, params, x, x[1:], outputs=outputs, batch=2)
    columns = expected[:, :, 1:] if outputs == "full" else expected[:, 1:]
    np.testing.assert_allclose(between.reshape(columns.shape), columns, atol=ROUNDING * scale)


@pytest.mark.parametrize(
    ("fn", "outputs"),
    [(embedded, "full"), (embedded_or_not, "full"), (embedded, "trace"), (embedded, "diagonal")],
)
def test_embeddings(fn, outputs):
    low, high = (-9, 9) if fn is embedded else (0, 12)  # the other gives zero from row 9 on
    tokens = np.random.default_rng(0).integers(low, high, (5, 6))
    params = arrays(1, table=(9, 5), w=(5, 3))
    assert ways(fn, params, tokens)["table"] == ("LookedUp", "Lookup")
    expected = defined(fn, params, tokens, outputs=outputs)
    found = tangent_kernel(fn, params, tokens, outputs=outputs, batch=2)
    np.testing.assert_allclose(found, expected, atol=ROUNDING * np.abs(expected).max())


def test_structure_is_found():
    fn, shapes, shape = CASES["mlp"]
    x = np.zeros(shape)
    assert ways(fn, arrays(0, **shapes), x) == {
        "w1": ("Product", "Outer"), "b1": ("Added", "Offset"),
        "w2": ("Product", "Outer"), "b2": ("Added", "Offset"),
        "w3": ("Product", "Outer"), "b3": ("Added", "Offset"),
    }  # fmt: skip
    fn, shapes, shape = CASES["strides, padding, dilation, groups"]
    found = ways(fn, arrays(0, **shapes), np.zeros(shape))
    assert found["k1"] == found["k2"] == ("Gradient", "Convolution")
    assert found["b1"] == ("Gradient", "Offset")
    fn, shapes, shape = CASES["head"]
    found = ways(fn, arrays(0, **shapes), np.zeros(shape))
    assert found["k1"] == ("Gradient", "Convolution")  # the second mixes its channels
    assert found["k2"] == ("Separable", "Convolution")
    fn, shapes, shape = CASES["gated head"]
    found = ways(fn, arrays(0, **shapes), np.zeros(shape))
    assert found["m"] == ("Separable", "Outer")
    assert found["a"] == ("Gradient", "Outer")
    fn, shapes, shape = CASES["few positions"]
    assert ways(fn, arrays(0, **shapes), np.zeros(shape))["w"] == ("Positions", "Outer")
    fn, shapes, shape = CASES["adapter"]
    found = ways(fn, arrays(0, **shapes), np.zeros(shape))
    assert found["w"] == ("Product", "Outer")
    assert found["a"] == ("Gradient", "Whole")
    assert found["a2"] == found["b2"] == ("Product", "Outer")
    fn, shapes, shape = CASES["weights twice, once unused"]
    assert "unused" not in ways(fn, arrays(0, **shapes), np.zeros(shape))


@pytest.mark.parametrize(
    ("name", "outputs"),
    [("mlp", "full"), ("few positions", "full"), ("mlp", "trace"), ("few positions", "diagonal")],
)
def test_blocks_change_roundings_only(monkeypatch, name, outputs):
    fn, shapes, _ = CASES[name]
    params, shape = arrays(0, **shapes), CASES[name][2]
    x = np.random.default_rng(1).normal(size=(7, *shape[1:]))
    at_once = tangent_kernel(fn, params, x, outputs=outputs, batch=7)
    scale = np.abs(at_once).max()
    for batch in (1, 3, 100):
        found = tangent_kernel(fn, params, x, outputs=outputs, batch=batch)
        np.testing.assert_allclose(found, at_once, atol=ROUNDING * scale)
    monkeypatch.setattr(_blocks, "_BLOCK_BYTES", 1500)  # outputs in parts, nothing kept
    monkeypatch.setattr(_blocks, "_KEPT_BYTES", 0)
    found = tangent_kernel(fn, params, x, outputs=outputs)
    np.testing.assert_allclose(found, at_once, atol=ROUNDING * scale)
    if outputs == "full":
        rows = found.reshape(int(np.sqrt(found.size)), -1)
        np.testing.assert_array_equal(rows, rows.T)


def test_groups_add_up_to_the_whole():
    fn, shapes, shape = CASES["adapter"]
    params, x = arrays(0, **shapes), np.random.default_rng(1).normal(size=shape)
    whole = tangent_kernel(fn, params, x)
    by_leaf = tangent_kernel(fn, params, x, groups="leaf")
    assert set(by_leaf) == set(params)
    np.testing.assert_allclose(sum(by_leaf.values()), whole, rtol=1e-10, atol=1e-10)
    named = tangent_kernel(
        fn, params, x, groups=lambda path: {"w": "base", "o": None}.get(path, "adapter")
    )
    assert list(named) == ["adapter", "base"]
    rest = by_leaf["a"] + by_leaf["b"] + by_leaf["a2"] + by_leaf["b2"]
    np.testing.assert_allclose(named["adapter"], rest, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(named["base"], by_leaf["w"], rtol=1e-10, atol=1e-10)


def test_layers_are_paths_without_their_last_part():
    params = {"one": arrays(0, w=(3, 4), b=(4,)), "two": arrays(1, w=(4, 2), b=(2,), unused=(3,))}

    def fn(p, x):
        h = jnp.tanh(x @ p["one"]["w"] + p["one"]["b"])
        return h @ p["two"]["w"] + p["two"]["b"]

    x = np.random.default_rng(2).normal(size=(4, 3))
    layers = tangent_kernel(fn, params, x, groups="layer")
    leaves = tangent_kernel(fn, params, x, groups="leaf")
    assert list(layers) == ["one", "two"]
    np.testing.assert_allclose(layers["one"], leaves["one/w"] + leaves["one/b"], atol=1e-12)
    assert not leaves["two/unused"].any()


def test_learning_rates_weigh_the_sum():
    fn, shapes, shape = CASES["mlp"]
    params, x = arrays(0, **shapes), np.random.default_rng(1).normal(size=shape)
    leaves = tangent_kernel(fn, params, x, groups="leaf")
    rates = {"w1": 2.0, "b1": 0.0, "w2": 0.5, "b2": 1.0, "w3": 3.0, "b3": np.full(3, 0.25)}
    expected = sum(np.mean(rates[name]) * kernel for name, kernel in leaves.items())
    np.testing.assert_allclose(tangent_kernel(fn, params, x, rates=rates), expected, atol=1e-11)
    rows = np.array([1.0, 0.0, 0.0, 0.0, 0.0])[:, None]
    one = tangent_kernel(fn, params, x, rates=dict.fromkeys(params, 0.0) | {"w1": rows})
    part = defined(
        lambda p, x: mlp({**params, "w1": jnp.concatenate([p, params["w1"][1:]])}, x),
        params["w1"][:1], x,
    )  # fmt: skip
    np.testing.assert_allclose(one, part, atol=1e-11)


def test_trees_of_inputs():
    def masked(p, x):
        return (jnp.tanh(x["value"] @ p) * x["mask"][..., None]).sum(1)

    generator = np.random.default_rng(0)
    p, value = generator.normal(size=(3, 2)), generator.normal(size=(4, 5, 3))
    mask = generator.integers(0, 2, (4, 5)).astype(bool)
    found = tangent_kernel(masked, p, {"value": value, "mask": mask})
    for a in range(4):
        one = tangent_kernel(lambda p, x: jnp.tanh(x @ p).sum(1), p, value[a : a + 1, mask[a]])
        np.testing.assert_allclose(found[a, :, a], one[0, :, 0], atol=1e-12)


@pytest.mark.lanes
def test_precision_follows_the_parameters_and_the_setting_stays():
    fn, shapes, shape = CASES["mlp"]
    params, x = arrays(0, **shapes), np.random.default_rng(1).normal(size=shape)
    before = jax.config.jax_enable_x64
    exact = tangent_kernel(fn, params, x)
    single = tangent_kernel(fn, {k: v.astype(np.float32) for k, v in params.items()}, x)
    assert jax.config.jax_enable_x64 == before
    assert (exact.dtype, single.dtype) == (np.float64, np.float32)
    # 2^-24 times the few hundred operations behind each number.
    np.testing.assert_allclose(single, exact, atol=3e-5 * np.abs(exact).max())
    assert np.abs(single - exact).max() > 0


NETWORKS = {
    "dense": (chain(Dense(9, 2.0, 0.1), Activation("relu"), Dense(2)), (4,)),
    "conv": (
        chain(Conv(4, (3, 3), padding="SAME"), Activation("tanh"), Conv(3, (2, 2), strides=2),
              Activation("gelu"), GlobalAvgPool(), Flatten(), Dense(2)),
        (6, 6, 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_our_own(name):
    network, shape = NETWORKS[name]
    with jax.enable_x64(True):
        params = draw_parameters(network, shape, jax.random.key(0), np.float64)
    x = np.random.default_rng(0).normal(size=(4, *shape))

    def fn(p, x):
        return apply_network(network, p, x)

    expected = defined(fn, params, x)
    found = tangent_kernel(fn, params, x)
    np.testing.assert_allclose(found, expected, atol=ROUNDING * np.abs(expected).max())


def test_what_cannot_be_computed_is_refused():
    fn, shapes, shape = CASES["mlp"]
    params, x = arrays(0, **shapes), np.random.default_rng(1).normal(size=shape)

    def refused(match, kind, *arguments, **options):
        with pytest.raises(kind, match=match):
            tangent_kernel(*arguments, **options)

    refused("no function", InputError, 3, params, x)
    refused("no output of this name", InputError, fn, params, x, outputs="half")
    refused("no such way to group", InputError, fn, params, x, groups="neuron")
    refused("not finite", InputError, fn, params, np.full_like(x, np.nan))
    refused("has no examples", InputError, fn, params, x[:0])
    refused("not a batch", InputError, fn, params, 1.0)
    refused("not of one shape", InputError, fn, params, x, x[:, :3])
    refused("batch", InputError, fn, params, x, batch=0)
    refused("no parameters", InputError, fn, {}, x)
    refused("Parameters are arrays", InputError, fn, {**params, "w1": "relu"}, x)
    refused("do not match", InputError, fn, params, x, rates={"w1": 1.0})
    refused("is no rate", InputError, fn, params, x, rates=dict.fromkeys(params, -1.0))
    refused("do not fit", InputError, fn, params, x, rates=dict.fromkeys(params, np.ones(17)))
    refused("one row of outputs", InputError, lambda p, x: mlp(p, x).sum(), params, x)
    refused("one row of outputs", InputError, lambda p, x: (mlp(p, x), x), params, x)
    refused("no derivatives", InputError, lambda p, x: mlp(p, x).argmax(-1), params, x)


def test_examples_that_meet_are_refused():
    x = np.random.default_rng(0).normal(size=(4, 3))
    normalised = lambda p, x: (x - x.mean(0)) @ p  # noqa: E731
    with pytest.raises(InputError, match="depend on the others"):
        tangent_kernel(normalised, np.ones((3, 2)), x)

    def masked(p, x):
        return jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, x.shape), x, 0) @ p

    with pytest.raises(InputError, match="depend on the others"):
        tangent_kernel(masked, np.ones((3, 2)), x)


def test_a_function_that_looks_at_numbers_is_refused():
    def branching(p, x):
        return x @ p if x.sum() > 0 else x @ p * 2

    with pytest.raises(UnsupportedError, match="decides by the numbers"):
        tangent_kernel(branching, np.ones((3, 2)), np.ones((2, 3)))


def test_what_the_function_raises_is_said_with_what_it_was_given():
    """Inputs of three numbers for weights of four, a missing parameter, a batch of one only."""
    params = {"w": np.ones((4, 2)), "b": np.ones(2)}
    for compute in (tangent_kernel, tangent_operator):
        with pytest.raises(InputError, match="fails on these inputs") as caught:
            compute(lambda p, x: x @ p["w"] + p["b"], params, np.ones((5, 3)))
        said = str(caught.value)
        assert "examples (1, 3); parameters (2,), (4, 2)" in said
        assert "TypeError: dot_general" in said
        assert "fn(params, x[:1])" in said
        assert isinstance(caught.value.__cause__, TypeError)
        with pytest.raises(InputError, match="KeyError: 'c'"):
            compute(lambda p, x: x @ p["c"], params, np.ones((5, 4)))
        with pytest.raises(InputError, match=r"examples \(2, 4\)"):
            compute(lambda p, x: x.reshape(1, 4) @ p["w"], params, np.ones((5, 4)))


def test_a_function_that_uses_numpy_is_refused():
    with pytest.raises(UnsupportedError, match="to numpy"):
        tangent_kernel(lambda p, x: np.sin(np.asarray(x)) @ p, np.ones((3, 2)), np.ones((2, 3)))


def test_it_is_not_for_transformed_functions():
    x = np.ones((2, 3))
    with pytest.raises(InputError, match="that JAX transforms"):
        jax.jit(lambda p: tangent_kernel(lambda p, x: x @ p, p, x))(np.ones((3, 2)))


def test_overflow_is_an_error():
    params = {"w": np.full((3, 3), 1e20, np.float32), "v": np.full((3, 2), 1e25, np.float32)}
    with pytest.raises(UnsupportedError, match="overflow"):
        tangent_kernel(lambda p, x: x @ p["w"] @ p["v"], params, np.ones((2, 3)))


def test_the_second_call_traces_nothing():
    calls = []

    def fn(p, x):
        calls.append(1)
        return jnp.tanh(x @ p)

    x = np.random.default_rng(0).normal(size=(4, 3))
    first = tangent_kernel(fn, np.ones((3, 2)), x)
    before = len(calls)
    second = tangent_kernel(fn, np.full((3, 2), 0.5), x)
    assert len(calls) == before
    assert np.abs(first - second).max() > 0.1
