"""Laws of JAX parameters, read off draws or one tree: honest errors, and words for what fails."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import whydeep as wd
from whydeep.errors import WhydeepError
from whydeep.network import read_jax
from whydeep.network._laws import CUT_VARIANCE

X = jnp.linspace(-1, 1, 48).reshape(3, 16)


def layer(params, x):
    return x @ params


LAWS = {
    "normal .012": (lambda k, s: 0.012 * jax.random.normal(k, s), 0.012**2),
    "uniform": (lambda k, s: jax.random.uniform(k, s, minval=-0.24, maxval=0.24), 0.24**2 / 3),
    "truncated": (
        lambda k, s: 0.02 * jax.random.truncated_normal(k, -2, 2, s),
        CUT_VARIANCE * 4e-4,
    ),
    "orthogonal": (jax.nn.initializers.orthogonal(2**0.5), 2 / 16),
}  # fmt: skip


@pytest.mark.parametrize("law", LAWS)
def test_one_tree_leaves_an_honest_error(law):
    draw, truth = LAWS[law]
    for seed in range(10):
        network, _ = read_jax(layer, draw(jax.random.key(seed), (16, 16)), X)
        found = network.layers[0].weight_var / 16
        if law == "orthogonal":
            assert network.assumptions == ()
            assert found == pytest.approx(truth, rel=1e-5)
            continue
        (said,) = network.assumptions
        assert said.startswith("variance read off the given numbers: params ")
        share = float(said.split("± ")[1].split("%")[0]) / 100
        assert 0.01 < share < 0.13
        assert abs(found - truth) <= 4.2 * share * found


@pytest.mark.parametrize("law", LAWS)
def test_an_init_tells_the_law(law):
    draw, truth = LAWS[law]
    network, _ = read_jax(layer, lambda key: draw(key, (16, 16)), X)
    assert network.layers[0].weight_var / 16 == pytest.approx(truth, rel=0.01)
    label = network.nodes[0].label
    assert ("cut at two" in label) == (law == "truncated")
    assert ("orthogonal" in label) == (law == "orthogonal")


def test_one_number_is_constant_only_if_it_looks_so():
    def biased(params, x):
        return x @ params["w"] + params["b"]

    w = jax.random.normal(jax.random.key(0), (16, 1))
    for value, drawn in ((0.0, False), (0.1, False), (0.123456, True)):
        network, _ = read_jax(biased, {"w": w, "b": jnp.array([value])}, X)
        assert (network.layers[0].bias_var > 0) == drawn


def test_a_tiled_class_token_is_read_as_a_broadcast_one():
    def make(spread):
        def fn(params, x):
            token = spread(params["token"], len(x))
            values = jnp.concatenate([token, x @ params["w"]], axis=1)
            return jax.nn.relu(values).mean(axis=1) @ params["v"]

        return fn

    def init(key):
        a, b, c = jax.random.split(key, 3)
        return {"token": jax.random.normal(a, (1, 1, 8)), "w": jax.random.normal(b, (4, 8)),
                "v": jax.random.normal(c, (8, 1))}  # fmt: skip

    x = jax.random.normal(jax.random.key(0), (3, 5, 4))
    tiled, plain = (
        read_jax(make(spread), init, x)[0]
        for spread in (lambda t, n: jnp.tile(t, (n, 1, 1)), lambda t, n: jnp.repeat(t, n, axis=0))
    )
    assert tiled == plain


def raises(_key):
    return 1 / 0


W = jnp.ones((16, 2)) * jnp.linspace(-1, 1, 2)
REFUSED = {
    "NaN parameters": (W * jnp.nan, X, r"params holds NaN"),
    "shapes": (jax.ShapeDtypeStruct((16, 2), jnp.float32), X, "shapes without numbers"),
    "an init that fails": (raises, X, "can't be initialised"),
    "an init that takes no key": (lambda: W, X, "can't be initialised"),
    "an init of one tree": (lambda _: W, X, "same numbers for every key"),
    "NaN inputs": (W, X * jnp.nan, "example holds NaN"),
    "one input": (W, X[0], "no batch of inputs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_words(case):
    params, example, words = REFUSED[case]
    with pytest.raises(WhydeepError, match=words) as refusal:
        read_jax(layer, params, example)
    assert refusal.value.received
    assert refusal.value.needed


def test_equinox_models_are_linearised_as_they_are():
    model = eqx.nn.MLP(4, 1, 8, 2, key=jax.random.key(0))
    x = jnp.linspace(-1, 1, 12).reshape(3, 4)

    def fn(model, x):
        return jax.vmap(model)(x)

    linear = wd.linearize(fn, model)
    np.testing.assert_allclose(linear(model, x), fn(model, x), rtol=1e-6)
    arrays, rest = eqx.partition(model, eqx.is_array)
    step = jax.tree.map(lambda a: 0.1 * jnp.ones_like(a), arrays)
    moved = eqx.combine(jax.tree.map(jnp.add, arrays, step), rest)
    _, slope = jax.jvp(lambda a: fn(eqx.combine(a, rest), x), (arrays,), (step,))
    np.testing.assert_allclose(linear(moved, x), fn(model, x) + slope, rtol=1e-5)
