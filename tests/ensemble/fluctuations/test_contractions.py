"""Contractions over neurons, and averages over the last layer, against their bare definitions.

All of these are identities: every number is compared with derivatives of derivatives by automatic
differentiation, at one set of parameters.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats

from whydeep.ensemble.fluctuations._averages import conditional_means
from whydeep.ensemble.fluctuations._controls import averages, count
from whydeep.ensemble.fluctuations._expected_tangent import expected_tangents
from whydeep.ensemble.fluctuations._first_differential import outer_pairs_p, outer_pairs_q
from whydeep.ensemble.fluctuations._names import TENSORS
from whydeep.ensemble.fluctuations._raw import _Raw
from whydeep.ensemble.fluctuations._second_differential import (
    activations_first,
    activations_second,
)
from whydeep.ensemble.fluctuations._states import Numbers, build_states, next_state
from whydeep.network import mlp
from whydeep.observables import component_indices, pair_indices

X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1]])
BIAS_LR, WEIGHT_LR = (0.5, 0.7, 1.1, 0.2), (1.0, 0.8, 1.3, 0.9)
ROUNDING = 1e-11


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def network(widths, activation="gelu"):
    depth = len(widths)
    return mlp(
        depth, widths, activation, outputs=2, weight_var=1.4, bias_var=0.1,
        bias_lr=BIAS_LR[: depth + 1], weight_lr=WEIGHT_LR[: depth + 1],
    )  # fmt: skip


def numbers_of(net):
    variances = [(d.bias_var, d.weight_var) for d in net.dense]
    arrays = X @ X.T / X.shape[1], variances, net.learning_rates(X.shape[1])
    return Numbers(*(jnp.asarray(a) for a in arrays))


def parameters(widths, seed=0):
    rng = np.random.default_rng(seed)
    sizes = itertools.pairwise((X.shape[1], *widths))
    return [
        (1.2 * rng.normal(size=(m, n)) / np.sqrt(n), 0.4 * rng.normal(size=m)) for n, m in sizes
    ]


def states_of(net, drawn, order=3):
    """Hidden layers from explicit parameters."""
    states, s = [], jnp.asarray(X)
    for weights, biases in drawn:
        z = s @ weights.T + biases
        below = None if not states else jnp.asarray(weights)
        states.append(next_state(net.activation, numbers_of(net), states, z, below, order))
        s = states[-1].values[0]
    return states


@pytest.fixture(scope="module")
def brute():
    """Hidden states, and H, dH, ddI and ddII of all activations of the last one, by autodiff."""
    with jax.enable_x64(True):
        widths = (3, 2, 3)
        net, drawn = network(widths), parameters(widths)
        flat, unravel = ravel_pytree(drawn)
        rates = ravel_pytree(
            [
                (np.full(w.shape, l_w / w.shape[1]), np.full(b.shape, l_b))
                for (w, b), l_b, l_w in zip(drawn, BIAS_LR, WEIGHT_LR, strict=False)
            ]
        )[0]

        def activations(theta):
            s = jnp.asarray(X)
            for weights, biases in unravel(theta):
                s = net.activation(s @ weights.T + biases)
            return s

        gradient = jax.jacrev(activations)

        @jax.jit
        def derivatives(theta):
            second = jax.jacfwd(gradient)
            return activations(theta), gradient(theta), second(theta), jax.jacfwd(second)(theta)

        s, first, second, third = map(np.asarray, derivatives(flat))
        v = first * rates
        turned = np.einsum("akmn,bln->akblm", second, v)
        expected = {
            "H": np.einsum("akm,blm->abkl", v, first),
            "dH": np.einsum("akmn,blm,cpn->abcklp", second, v, v, optimize=True),
            "ddI": np.einsum("akmno,blm,cpn,dqo->abcdklpq", third, v, v, v, optimize=True),
            "ddII": np.einsum("akcpm,bldqm,m->abcdklpq", turned, turned, rates, optimize=True),
        }
        return states_of(net, drawn), s, expected


def over_samples(function):
    """A function of four samples, for all of them: (N, N, N, N)."""
    every = jnp.asarray(list(itertools.product((0, 1), repeat=4)))
    return np.asarray(jax.jit(jax.vmap(lambda row: function(*row)))(every)).reshape((2,) * 4)


def test_tangent_kernels_of_neurons(brute):
    states, _, expected = brute
    slope, tangent = states[-1].values[1], states[-1].tangent
    found = slope[:, None, :, None] * slope[None, :, None, :] * tangent
    np.testing.assert_allclose(found, expected["H"], rtol=0, atol=ROUNDING)


def test_first_differentials(brute):
    states, s, expected = brute
    p = np.einsum("abckll,dk->abcd", expected["dH"], s)
    q = np.einsum("abckkl,dl->abcd", expected["dH"], s)
    found = over_samples(lambda a, b, c, d: outer_pairs_p(states, (a, b, c), d))
    np.testing.assert_allclose(found, p, rtol=0, atol=ROUNDING)
    found = over_samples(lambda a, b, c, d: outer_pairs_q(states, (a, b, c), d))
    np.testing.assert_allclose(found, q, rtol=0, atol=ROUNDING)


def test_second_differential_of_the_first_kind(brute):
    states, _, expected = brute
    one = jnp.ones(3)
    found = over_samples(lambda *abcd: activations_first(states, abcd, one, one))
    trace = np.einsum("abcdkkll->abcd", expected["ddI"])
    np.testing.assert_allclose(found, trace, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("letter", "pattern"), [("S", "kkll"), ("T", "klkl"), ("U", "kllk")])
def test_second_differential_of_the_second_kind(brute, letter, pattern):
    states, _, expected = brute
    one = jnp.ones(3)
    found = over_samples(lambda *abcd: activations_second(states, abcd, letter, one, one))
    trace = np.einsum(f"abcd{pattern}->abcd", expected["ddII"])
    np.testing.assert_allclose(found, trace, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("widths", [(2,), (3, 2)])
def test_averages_over_the_last_layer_are_those_of_quadrature(widths):
    """Every product of the definitions is of degree 4 in output weights: 3 nodes are exact."""
    net, drawn = network(widths), parameters(widths, seed=1)
    n = widths[-1]
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    points = np.array(list(itertools.product(nodes, repeat=2 * n + 2)))
    mass = np.prod(list(itertools.product(weights / weights.sum(), repeat=2 * n + 2)), axis=1)
    top = net.dense[-1]

    def one(point):
        last = (
            np.sqrt(top.weight_var / n) * point[: 2 * n].reshape(2, n),
            np.sqrt(top.bias_var) * point[2 * n :],
        )
        raw = _Raw(net, jnp.asarray(X), [*drawn, last])
        rows, cols = pair_indices(2)
        out = {
            "kernel": jnp.outer(raw.z[0], raw.z[0])[rows, cols],
            "drawn ntk": raw.tangent[0, 0][rows, cols],
        }
        out["products"] = jnp.outer(out["drawn ntk"], raw.tangent[1, 1][rows, cols])
        for name in TENSORS:
            if name not in ("ntk_A", "ntk_D"):
                out[name] = n * raw.product(name, 0, 1, component_indices(name, 2).T)
        return out

    values = jax.jit(lambda all_points: jax.lax.map(one, all_points, batch_size=81))(points)
    expected = {name: jnp.tensordot(mass, value, 1) for name, value in values.items()}
    products = expected.pop("products")
    means = jax.jit(
        lambda: conditional_means(
            states_of(net, drawn), (top.bias_var, top.weight_var), net.learning_rates(3)[-1],
            tuple(expected),
        )
    )()  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_allclose(means[name], value, rtol=0, atol=1e-9, err_msg=name)
    # Given what is below, tangent kernels of two output neurons are independent: A is all below.
    np.testing.assert_allclose(
        products, np.outer(means["drawn ntk"], means["drawn ntk"]), atol=1e-9
    )


def test_the_average_over_free_weights_is_exact():
    """Tangent kernels of layer 3 are of degree 2 in the free weights w_0: differences are exact."""
    net, rng = network((3, 2), "gelu"), np.random.default_rng(4)
    us = [jnp.asarray(rng.normal(size=(2, n))) for n in (3, 2)]
    numbers = numbers_of(net)

    def above(rest):
        states = build_states(net.activation, numbers, [(us[0], None), (us[1], rest)], 1)
        top = net.dense[2]
        found = conditional_means(
            states, (top.bias_var, top.weight_var), numbers.rates[2], ("drawn ntk",)
        )
        return found["drawn ntk"], states

    start, states = above(jnp.zeros((2, 4)))
    units = jnp.eye(8).reshape(8, 2, 4)
    ends = jax.vmap(lambda rest: above(rest)[0])(jnp.concatenate([units, -units]))
    mean = start + (ends - start).sum(axis=0) / 2
    expected = expected_tangents(numbers, states)[-1][pair_indices(2)]
    np.testing.assert_allclose(expected, mean, rtol=1e-12)


def test_the_average_over_free_weights_of_several_layers():
    net = network((4, 3, 5), "tanh")
    numbers, rng = numbers_of(net), np.random.default_rng(6)
    us = [jnp.asarray(rng.normal(size=(2, n))) for n in (4, 3, 5)]
    top = net.dense[3]

    def one(key):
        first, second = jax.random.split(key)
        rests = None, jax.random.normal(first, (3, 5)), jax.random.normal(second, (5, 4))
        states = build_states(net.activation, numbers, list(zip(us, rests, strict=True)), 1)
        found = conditional_means(
            states, (top.bias_var, top.weight_var), numbers.rates[3], ("drawn ntk",)
        )
        return found["drawn ntk"], expected_tangents(numbers, states)[-1][pair_indices(2)]

    drawn, expected = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 20_000))
    np.testing.assert_allclose(expected, jnp.broadcast_to(expected[0], expected.shape), rtol=1e-12)
    score = (drawn.mean(0) - expected[0]) / (drawn.std(0) / np.sqrt(len(drawn)))
    assert np.abs(score).max() < stats.norm.isf(1e-4 / 6)


def test_weights_produce_the_preactivations_they_are_drawn_with():
    net = network((4, 6, 3), "tanh")
    rng = np.random.default_rng(3)
    fans = (0, 5, 7)
    normals = [
        (jnp.asarray(rng.normal(size=(2, n))), jnp.asarray(rng.normal(size=(n, fan))))
        for n, fan in zip((4, 6, 3), fans, strict=True)
    ]
    states = build_states(net.activation, numbers_of(net), normals, 1)
    for below, state in itertools.pairwise(states):
        z = np.arctanh(np.asarray(state.values[0]))
        left = z - np.asarray(below.values[0] @ state.weights.T)
        # What the weights leave is the bias: the same for all inputs.
        np.testing.assert_allclose(left[0], left[1], atol=1e-10)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_controls_have_mean_zero_and_unit_covariance(size):
    draws = 20_000
    u = jnp.asarray(np.random.default_rng(5).normal(size=(draws, size)))
    single = np.asarray(jax.vmap(lambda one: averages(one[:, None], odd=False))(u))
    assert single.shape[1] == count(size, odd=False) > count(size, odd=True)
    moments = np.concatenate([np.ones((draws, 1)), single], axis=1)
    gram = moments.T @ moments / draws
    error = np.sqrt(np.maximum((moments**2).T @ (moments**2) / draws - gram**2, 1e-12) / draws)
    scores = (gram - np.eye(len(gram))) / error
    scores[0, 0] = 0.0
    pairs = len(gram) * (len(gram) + 1) // 2
    assert np.abs(scores).max() < stats.norm.isf(1e-5 / pairs)
