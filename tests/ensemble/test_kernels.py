"""Measured kernels: exact identities at any width, known limits, rates, reproducibility, refusals.

Networks are chosen so that the mean over draws is known exactly at finite width: linear ones, and
those of one hidden layer, whose preactivations are Gaussian. A test of k numbers allows |t| up to
the two-sided quantile of 1e-5 / k of Student's t, batches less one degrees; seeds are fixed.
"""

import math

import jax
import numpy as np
import pytest
from scipy import stats

import whydeep.network as nw
from whydeep.ensemble import (
    apply_network,
    draw_parameters,
    learning_rates,
    measure_function_kernels,
    measure_kernels,
)
from whydeep.ensemble._samples import KernelSamples, in_batches
from whydeep.errors import InputError, UnsupportedError

X = np.random.default_rng(3).normal(size=(3, 5))


def agree(batches, expected, rounding=1e-5):
    """Whether a mean over batches is `expected`, to its standard error and float32 rounding."""
    mean = batches.mean(0)
    error = batches.std(0, ddof=1) / math.sqrt(len(batches))
    assert mean.shape == np.shape(expected)
    allowed = stats.t.isf(1e-5 / (2 * mean.size), len(batches) - 1)
    floor = rounding * np.abs(expected).max()
    worst = np.max(np.abs(mean - expected) - floor - allowed * error)
    assert worst <= 0, (mean, expected, error)


def arccos(k, order):
    """Cho and Saul 2009: <relu relu> and <relu' relu'> for covariance k, from the angle."""
    scale = np.sqrt(np.outer(np.diag(k), np.diag(k)))
    c = np.clip(k / scale, -1, 1)
    angle = np.arccos(c)
    if order == 0:
        return (np.pi - angle) / (2 * np.pi)
    return scale * (np.sin(angle) + (np.pi - angle) * c) / (2 * np.pi)


@pytest.mark.parametrize("widths", [(3, 4), (16, 5)])
def test_linear_networks_are_exact_at_any_width(widths):
    c_w, l_w = (1.5, 0.8, 1.2), (0.3, 2.0, 0.7)
    net = nw.chain(
        *(nw.Dense(n, c, 0.0, l) for n, c, l in zip((*widths, 2), c_w, l_w, strict=True))
    )
    samples = measure_kernels(net, X, draws=4000, seed=1)
    gram = X @ X.T / 5
    whole = math.prod(c_w)
    agree(samples.nngp_batches, whole * gram)
    agree(samples.ntk_batches, sum(whole / c * l for c, l in zip(c_w, l_w, strict=True)) * gram)


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_one_hidden_layer_is_exact_at_any_width(parameterization):
    net = nw.chain(
        nw.Dense(7, 1.6, 0.3, parameterization=parameterization),
        nw.Activation("relu"),
        nw.Dense(3, 2.0, 0.1, parameterization=parameterization),
    )
    samples = measure_kernels(net, X, draws=4000, seed=2)
    gram = X @ X.T / 5
    k = 0.3 + 1.6 * gram
    standard = parameterization == "standard"
    rates = ((1.0, 5.0), (1.0, 7.0)) if standard else ((0.3, 1.6), (0.1, 2.0))
    agree(samples.nngp_batches, 0.1 + 2.0 * arccos(k, 1))
    first = rates[0][0] + rates[0][1] * gram
    expected = rates[1][0] + rates[1][1] * arccos(k, 1) + 2.0 * first * arccos(k, 0)
    agree(samples.ntk_batches, expected)


def test_a_convolution_with_pooling_is_exact_at_any_width():
    x = np.random.default_rng(4).normal(size=(2, 4, 3))
    net = nw.chain(
        nw.Conv(6, (3,), weight_var=1.5, bias_var=0.2, weight_lr=0.7, bias_lr=0.4),
        nw.Activation("relu"),
        nw.GlobalAvgPool(),
        nw.Dense(2, 1.3),
    )
    samples = measure_kernels(net, x, draws=4000, seed=3)
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    windows = np.stack([padded[:, p : p + 3].reshape(2, -1) for p in range(4)], 1).reshape(8, -1)
    gram = windows @ windows.T / 9
    k = 0.2 + 1.5 * gram

    def pooled(matrix):
        return matrix.reshape(2, 4, 2, 4).mean((1, 3))

    agree(samples.nngp_batches, 1.3 * pooled(arccos(k, 1)))
    tangent = (0.4 + 0.7 * gram) * arccos(k, 0)
    agree(samples.ntk_batches, 1.3 * pooled(arccos(k, 1)) + 1.3 * pooled(tangent))


def test_output_positions_are_kept():
    x = np.random.default_rng(4).normal(size=(2, 4, 3))
    samples = measure_kernels(nw.chain(nw.Dense(6, 1.5), nw.Dense(2, 0.5)), x, draws=3000, seed=4)
    gram = np.einsum("apc,bqc->abpq", x, x) / 3
    agree(samples.nngp_batches, 0.75 * gram)
    agree(samples.ntk_batches, 1.5 * gram)
    one = measure_kernels(nw.chain(nw.Dense(6, 1.5), nw.Dense(2)), x[:, :1], draws=4, seed=4)
    assert one.nngp.shape == (2, 2)


def test_a_recurrent_network_shares_its_weights_in_time():
    # z = v . h_2, h_2 = W U x_1 + U x_2: cross terms vanish in the mean.
    x = np.random.default_rng(4).normal(size=(3, 2, 4))
    net = nw.chain(
        nw.Recurrent(6, "linear", 0.8, 1.2, weight_lr=0.5, input_lr=0.3, bias_lr=0.2),
        nw.index((2,), np.s_[1:]),
        nw.Flatten(),
        nw.Dense(1, 1.5, weight_lr=0.9),
    )
    samples = measure_kernels(net, x, draws=6000, seed=5)
    one, two = (x[:, t] @ x[:, t].T / 4 for t in (0, 1))
    state = 0.8 * 1.2 * one + 1.2 * two
    agree(samples.nngp_batches, 1.5 * state)
    inner = 0.5 * 1.2 * one + 0.3 * (0.8 * one + two) + 0.2 * (0.8 + 1.0)
    agree(samples.ntk_batches, 0.9 * state + 1.5 * inner)


def test_linear_attention_is_exact_at_any_width():
    # Queries, keys and values of fixed inputs are Gaussian: <A A'> = Q K, whatever d and heads.
    x = np.random.default_rng(4).normal(size=(2, 3, 4))
    dense = [nw.Dense(6, c) for c in (1.5, 0.7, 1.2)]
    nodes = [nw.Node(layer, (nw.INPUT,)) for layer in dense]
    core = nw.Node(nw.DotProductAttention(3, softmax=False), (0, 1, 2))
    samples = measure_kernels(nw.Network((*nodes, core)), x, draws=6000, seed=6)
    gram = np.einsum("apc,bqc->abpq", x, x) / 4
    summed = np.einsum("abrs,abrs->ab", 0.7 * gram, 1.2 * gram)
    agree(samples.nngp_batches, 1.5 * gram * summed[:, :, None, None])


def test_softmax_attention_tends_to_its_limit_as_heads_and_their_size_grow():
    # At infinite size of heads logits are Gaussian with covariance Q(p, p') K(r, r'). On inputs
    # directly the mean kernel does not depend on the number of heads: only on their size.
    rng = np.random.default_rng(5)
    x = 1.5 * rng.normal(size=(1, 3, 3))
    net = nw.chain(nw.Attention(2, width=4, query_var=4.0, key_var=4.0), nw.Dense(4))
    kernels = [
        measure_kernels(net, x, draws=8000, ntk_draws=0, seed=7, width_factor=f) for f in (2, 4)
    ]
    gram = x[0] @ x[0].T / 3
    root = np.linalg.cholesky(np.kron(4.0 * gram, 4.0 * gram) + 1e-12 * np.eye(9))
    logits = (rng.normal(size=(200_000, 9)) @ root.T).reshape(-1, 3, 3)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    draws = np.einsum("tpr,rs,tqs->tpq", weights, gram, weights)
    limit = draws.mean(0)
    noise = draws.std(0) / math.sqrt(len(draws))
    batches = 2 * kernels[1].nngp_batches - kernels[0].nngp_batches
    error = np.hypot(batches.std(0, ddof=1) / math.sqrt(len(batches)), noise)[0, 0]
    score = np.abs(batches.mean(0)[0, 0] - limit) / error
    assert score.max() < stats.norm.isf(1e-5 / 18)
    # And it is the size that matters: two channels a head are visibly not infinitely many.
    plain = measure_kernels(net, x, draws=30_000, ntk_draws=0, seed=8)
    off = np.abs(plain.nngp[0, 0] - limit) / np.hypot(plain.nngp_stderr[0, 0], noise)
    assert off.max() > 5


def test_embeddings_and_their_rates():
    tokens = np.array([[0, 1, 1], [1, 2, 0]])
    net = nw.chain(
        nw.Add(nw.Embedding(3, 8, 0.7, 0.4), nw.PositionalEmbedding((3,), 8, 0.5, 0.3)),
        nw.GlobalAvgPool(),
        nw.Dense(2, 1.5, weight_lr=0.9),
    )
    samples = measure_kernels(net, tokens, draws=4000, seed=8)
    same = (tokens[:, None, :, None] == tokens[None, :, None, :]).sum((2, 3)) / 9
    value = 0.7 * same + 0.5 / 3
    agree(samples.nngp_batches, 1.5 * value)
    agree(samples.ntk_batches, 0.9 * value + 1.5 * (0.4 * same + 0.3 / 3))
    for wrong in (tokens + 1, tokens - 1, tokens + 0.5):
        with pytest.raises(InputError, match="does not hold tokens"):
            measure_kernels(net, wrong, draws=10)


def test_every_input_has_its_own_graph():
    rng = np.random.default_rng(7)
    x, graph = rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 4, 4))
    net = nw.chain(nw.Dense(6, 1.5), nw.Aggregate(), nw.GlobalAvgPool(), nw.Dense(2))
    samples = measure_kernels(net, x, draws=4000, seed=19, graph=graph)
    pooled = np.einsum("nqp,nqc->nc", graph, x) / 4
    agree(samples.nngp_batches, 1.5 * pooled @ pooled.T / 5)
    agree(samples.ntk_batches, 3.0 * pooled @ pooled.T / 5)
    block = measure_kernels(net, x[:1], x[1:], draws=40, seed=19, graph=graph[:1], graph2=graph[1:])
    few = measure_kernels(net, x, draws=40, seed=19, graph=graph)
    np.testing.assert_allclose(block.ntk_batches, few.ntk_batches[:, :1, 1:], rtol=1e-3, atol=1e-5)


def test_dropout_adds_to_the_diagonal():
    net = nw.chain(nw.Dropout(0.4), nw.Dense(1, 2.0))
    samples = measure_kernels(net, X, draws=20_000, seed=9)
    gram = 2.0 * X @ X.T / 5
    gram[np.diag_indices(3)] /= 0.6
    agree(samples.nngp_batches, gram)
    agree(samples.ntk_batches, gram)


def test_own_parameters_of_norms_count_with_their_rate():
    layer = nw.LayerNorm(0.0, scale_lr=0.3, shift_lr=0.2)
    samples = measure_kernels(
        nw.chain(layer, nw.Dense(1, 2.0, weight_lr=0.0)), X, draws=4000, seed=10
    )
    centred = X - X.mean(1, keepdims=True)
    normal = centred / centred.std(1, keepdims=True)
    agree(samples.nngp_batches, 2.0 * normal @ normal.T / 5)
    agree(samples.ntk_batches, 2.0 * (0.3 * normal @ normal.T / 5 + 0.2))
    silent = measure_kernels(nw.chain(nw.LayerNorm(), nw.Dense(1, weight_lr=0.0)), X, draws=10)
    assert np.all(silent.ntk == 0)


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_a_function_and_its_description_have_the_same_tangent_kernel(parameterization):
    # The same keys give the same parameters and channels: equal draw by draw, to rounding.
    net = nw.chain(
        nw.Conv(5, (2,), bias_var=0.3, parameterization=parameterization),
        nw.Activation("tanh"),
        nw.Residual(nw.chain(nw.LayerNorm(), nw.Dense(5, parameterization=parameterization))),
        nw.Flatten(),
        nw.Dense(4, 2.0, parameterization=parameterization),
    )
    x = np.random.default_rng(4).normal(size=(3, 4, 2))
    rates = None if parameterization == "standard" else learning_rates(net, (4, 2))
    if rates is None:  # what a norm's own parameters add is not in the description
        rates = jax.tree.map(lambda _: 1.0, learning_rates(net, (4, 2)))
        rates[3].update(scale=0.0, shift=0.0)
    found = measure_function_kernels(
        lambda key: draw_parameters(net, (4, 2), key),
        lambda p, x: apply_network(net, p, x),
        x, rates=rates, draws=20, seed=11,
    )  # fmt: skip
    expected = measure_kernels(net, x, draws=20, seed=11)
    np.testing.assert_allclose(found.ntk_batches, expected.ntk_batches, rtol=2e-5, atol=1e-5)
    # The function's last layer is not averaged over its own weights.
    agree(found.nngp_batches, expected.nngp, rounding=0.1)


def test_draws_that_jax_can_not_trace_are_called_as_they_are():
    def draw(key):
        seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
        return {"w": np.random.default_rng(seed).normal(size=5).astype(np.float32), "n": 3}

    samples = measure_function_kernels(draw, lambda p, x: x @ p["w"], X, draws=1000, seed=12)
    agree(samples.nngp_batches, X @ X.T)
    np.testing.assert_allclose(samples.ntk, X @ X.T, rtol=1e-5)
    with pytest.raises(InputError, match="do not match the parameters"):
        measure_function_kernels(draw, lambda p, x: x @ p["w"], X, rates={"w": 1.0}, draws=10)
    with pytest.raises(InputError, match="one output a row"):
        measure_function_kernels(draw, lambda p, _: p["w"], X, draws=10)


def test_two_sets_of_inputs_are_a_block_of_one():
    net = nw.chain(nw.Dense(6, bias_var=0.3), nw.Activation("tanh"), nw.Dense(3))
    whole = measure_kernels(net, X, draws=30, seed=13)
    block = measure_kernels(net, X[:1], X[1:], draws=30, seed=13)
    assert block.nngp.shape == (1, 2)
    np.testing.assert_allclose(block.nngp_batches, whole.nngp_batches[:, :1, 1:], rtol=1e-5)
    np.testing.assert_allclose(
        block.ntk_batches, whole.ntk_batches[:, :1, 1:], rtol=1e-4, atol=1e-6
    )
    with pytest.raises(InputError, match="different shapes"):
        measure_kernels(net, X, X[:, 1:], draws=10)


def test_a_draw_does_not_depend_on_what_is_drawn_beside_it():
    net = nw.chain(nw.Dense(6), nw.Activation("tanh"), nw.Dense(3))
    few, more = (measure_kernels(net, X, draws=n, seed=14) for n in (7, 150))
    np.testing.assert_allclose(more.nngp_batches[:7], few.nngp_batches, rtol=1e-6)
    np.testing.assert_allclose(more.ntk_batches[:7], few.ntk_batches, rtol=1e-5, atol=1e-6)
    again = measure_kernels(net, X, draws=7, seed=14)
    np.testing.assert_array_equal(again.ntk_batches, few.ntk_batches)
    other = measure_kernels(net, X, draws=7, seed=14 + 2**32)
    assert not np.allclose(other.nngp_batches, few.nngp_batches)
    many = measure_kernels(net, X, draws=1001, ntk_draws=0, seed=14)
    assert many.draws == 1002  # 334 batches of three
    assert many.ntk is None
    np.testing.assert_allclose(
        many.nngp_batches[:2], more.nngp_batches[:6].reshape(2, 3, 3, 3).mean(1), rtol=1e-5
    )


def test_precision_is_what_was_asked_for():
    net = nw.chain(nw.Dense(4, 2.0), nw.Dense(1))
    samples = measure_kernels(net, X, draws=10, seed=15, dtype="float64")
    plain = measure_kernels(net, X, draws=10, seed=15)
    assert jax.numpy.zeros(()).dtype == np.float32  # the user's setting is as it was
    difference = np.abs(samples.ntk - plain.ntk).max() / np.abs(plain.ntk).max()
    assert 1e-9 < difference < 1e-5


def test_wider_networks_have_the_rates_of_the_original():
    # Exact at any width, also in the standard parameterization, where rates follow the width.
    net = nw.chain(
        nw.Dense(4, parameterization="standard"), nw.Dense(1, parameterization="standard")
    )
    gram = X @ X.T / 5
    for factor, seed in ((1, 16), (3, 17)):
        samples = measure_kernels(net, X, draws=4000, seed=seed, width_factor=factor)
        agree(samples.ntk_batches, (5.0 + 4.0) * gram + 2.0)


def test_standard_errors_are_those_of_repeated_measurement():
    net = nw.chain(nw.Dense(3), nw.Activation("tanh"), nw.Dense(1))
    runs = [measure_kernels(net, X, draws=50, seed=s) for s in range(100, 160)]
    for name in ("nngp", "ntk"):
        spread = np.std([getattr(r, name) for r in runs], axis=0, ddof=1)
        typical = np.mean([getattr(r, f"{name}_stderr") for r in runs], axis=0)
        # The spread of 60 numbers is known to 1 / sqrt(118) = 9 %; draws are heavier than normal.
        assert np.all(np.abs(np.log(spread / typical)) < 5 * 0.09)


def test_batches_have_equal_weight():
    draws = np.arange(1003.0)
    batches = in_batches(draws)
    assert len(batches) == 334
    np.testing.assert_array_equal(batches, draws[:1002].reshape(334, 3).mean(1))
    few = KernelSamples.of_draws(
        np.random.default_rng(6).normal(size=(5, 2, 2)), None, seed=0, seconds=0.0
    )
    assert (few.draws, few.ntk_draws, few.ntk, few.ntk_stderr) == (5, 0, None, None)
    assert "5 draws" in repr(few)
    with pytest.raises(InputError, match="no standard error"):
        KernelSamples.of_draws(np.zeros((1, 2, 2)), None, seed=0, seconds=0.0)
    with pytest.raises(InputError, match="not finite"):
        KernelSamples.of_draws(np.full((3, 2, 2), np.nan), None, seed=0, seconds=0.0)


def test_what_can_not_be_measured_is_refused():
    net = nw.chain(nw.Dense(4), nw.Dense(1))
    huge = nw.chain(nw.Dense(10**6), nw.Dense(10**6), nw.Dense(1))
    with pytest.raises(InputError, match="do not fit in memory"):
        measure_kernels(huge, X, draws=10)
    steep = nw.chain(nw.Dense(4, 1e6), nw.Activation("exp"), nw.Dense(1))
    with pytest.raises(UnsupportedError, match="overflow"):
        measure_kernels(steep, X, draws=10)
    for x in (np.ones(3), np.full((2, 5), np.nan)):
        with pytest.raises(InputError):
            measure_kernels(net, x, draws=10)
    for options in (
        {"draws": 1},
        {"seed": -1},
        {"dtype": "float16"},
        {"ntk_draws": 1},
        {"law": "t"},
    ):
        with pytest.raises(InputError):
            measure_kernels(net, X, **{"draws": 10, **options})


@pytest.mark.parametrize("name", ["nngp", "ntk"])
def test_a_wrong_variance_would_be_seen(name):
    # The instrument itself: five per cent in one variance is many standard errors.
    net = nw.chain(nw.Dense(32), nw.Dense(1, 1.05, weight_lr=1.05))
    samples = measure_kernels(net, X, draws=4000, seed=18)
    expected = (1.0 if name == "nngp" else 2.0) * X @ X.T / 5
    score = (getattr(samples, name) - expected) / getattr(samples, f"{name}_stderr")
    assert np.abs(np.diag(score)).max() > 6
