"""The check of an import: right ones agree, planted errors are caught and named, noise is not.

The function that was imported is played by networks drawn through the black-box door, with other
seeds than the description's, every output weight drawn and none averaged.
"""

import dataclasses
import json

import numpy as np
import pytest
import rich
from scipy import stats

import whydeep.network as nw
from whydeep.comparison import check_import
from whydeep.comparison._import_rows import (
    components,
    judged,
    limit_answer,
    reading_answer,
    rebatched,
)
from whydeep.comparison._imports import extrapolation_factors
from whydeep.ensemble import (
    KernelSamples,
    apply_network,
    draw_parameters,
    learning_rates,
    measure_function_kernels,
)
from whydeep.errors import InputError, UnsupportedError
from whydeep.theory.infinite import Kernel, kernel

X = np.random.default_rng(1).normal(size=(3, 12))


def net_of(activation="relu", *, hidden_var=1.8, bias_var=0.3, inputs=None):
    return nw.chain(
        nw.Dense(64, 1.8, 0.3),
        nw.Activation(activation),
        nw.Dense(64, hidden_var, bias_var),
        nw.Activation(inputs or activation),
        nw.Dense(8, 1.5),
    )


def real_of(net, x=X, *, law="normal", draws=1000, ntk_draws=250, seed=77):
    shape = x.shape[1:]
    return measure_function_kernels(
        lambda key: draw_parameters(net, shape, key, np.float32, law),
        lambda p, x: apply_network(net, p, x),
        x, rates=learning_rates(net, shape), draws=draws, ntk_draws=ntk_draws, seed=seed,
    )  # fmt: skip


def check(described, real, x=X, **options):
    return check_import(described, real, x, draws=1500, ntk_draws=400, **options)


@pytest.fixture(scope="module")
def real():
    return real_of(net_of())


def test_a_right_import_agrees_and_says_how_well(real):
    found = check(net_of(), real)
    assert found.verdict == "agrees", str(found)
    assert found.law == "normal"
    assert {(a.question, a.kernel) for a in found.answers} == {
        (q, k) for q in ("reading", "limit") for k in ("nngp", "ntk")
    }
    text = str(found)
    assert "NNGP kernel" in text
    assert "agrees: the function is what was read" in text
    assert "8 tests share a false-alarm rate of 0.01" in " ".join(text.split())
    parsed = json.loads(json.dumps(found.as_dict()))
    assert parsed["verdict"] == "agrees"
    assert set(parsed["kernels"]["ntk"]["description"]) == {"1", "2"}


def test_it_prints_as_a_table(real, capsys):
    rich.print(check(net_of(), real))
    shown = capsys.readouterr().out
    assert "tangent kernel" in shown
    assert "n → ∞" in shown
    assert "…" not in shown  # it fits into 80 columns


WRONG = {
    "a variance, 1.1 times": net_of(hidden_var=1.8 * 1.1),
    "a bias, missing": net_of(bias_var=0.0),
    "another activation": net_of("gelu"),
    "a kink elsewhere": net_of(inputs="leaky_relu(0.3)"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_function_that_is_not_what_was_read_is_caught(wrong):
    found = check(net_of(), real_of(WRONG[wrong]))
    assert found.verdict == "disagrees", str(found)
    assert {a.row.verdict for a in found.of("limit")} == {"agrees"}
    assert "not what was read" in found.reason


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_prediction_is_caught(wrong, real):
    def kernel_of(net, x):
        del net
        return kernel(WRONG[wrong], x)

    found = check(net_of(), real, kernel_of=kernel_of)
    assert found.verdict == "disagrees", str(found)
    assert {a.row.verdict for a in found.of("reading")} == {"agrees"}
    assert "does not tend to the prediction" in found.reason


def test_one_wrong_entry_is_a_wrong_pattern(real):
    def kernel_of(net, x):
        right = kernel(net, x)
        nngp = np.array(right.nngp)
        nngp[0, 1] = nngp[1, 0] = nngp[0, 1] * 1.1
        return dataclasses.replace(right, nngp=nngp)

    found = check(net_of(), real, kernel_of=kernel_of)
    bad = [a for a in found.answers if a.row.verdict == "disagrees"]
    assert {(a.question, a.kernel) for a in bad} == {("limit", "nngp")}


def test_a_convolutional_network_with_norms_and_output_positions():
    main = nw.chain(nw.LayerNorm(), nw.Activation("relu"), nw.Conv(32, (3,), weight_var=1.7))
    net = nw.chain(nw.Conv(32, (3,)), nw.Residual(main), nw.AvgPool((2,)), nw.Dense(6))
    x = np.random.default_rng(2).normal(size=(2, 4, 3))
    found = check(net, real_of(net, x), x, factors=(1, 2))
    assert found.verdict == "agrees", str(found)
    assert found.drawn[1].nngp.shape == (2, 2, 2, 2)


def test_uniform_weights_are_recognised_and_reported_where_they_show():
    # Three inputs of a neuron: their uniform sum is visibly not Gaussian.
    x = np.random.default_rng(3).normal(size=(3, 3)) * 1.5
    net = nw.chain(nw.Dense(64, 2.0), nw.Activation("tanh"), nw.Dense(32, 1.5))
    mild = check(net, real_of(net, x, law="uniform", draws=2000, ntk_draws=0), x)
    assert mild.law == "uniform"
    assert mild.verdict == "agrees", str(mild)
    assert "weights are uniform, not Gaussian, which moves the NNGP kernel by +" in mild.reason
    # One input of a neuron and a step of its own: far from Gaussian, whatever the width.
    x = np.array([[1.0], [-2.0]])
    net = nw.chain(nw.Dense(64, 9.0), nw.Activation("gaussian"), nw.Dense(32, 1.5))
    strong = check(net, real_of(net, x, law="uniform", draws=2000, ntk_draws=0), x)
    assert strong.law == "uniform"
    assert strong.verdict == "disagrees"
    assert "too few meet in a sum" in strong.reason


def test_too_few_draws_are_not_resolved_and_say_how_many_would_do():
    net = nw.chain(nw.Dense(48, 1.8), nw.Activation("relu"), nw.Dense(1, 1.5))
    few = check(net, real_of(net, draws=100, ntk_draws=0))
    assert few.verdict == "not resolved"
    assert "No tangent kernel was measured of the function." in few.notes
    (answer,) = few.of("reading")
    assert answer.row.draws_needed is not None
    enough = check(net, real_of(net, draws=2 * answer.row.draws_needed, ntk_draws=0, seed=5))
    assert enough.verdict == "agrees", str(enough)


def test_a_kernel_that_is_not_predicted_is_left_out(real):
    def kernel_of(net, x):
        return kernel(net, x, ntk=False)

    found = check(net_of(), real, kernel_of=kernel_of)
    assert found.notes == ("No tangent kernel was predicted.",)
    assert {a.kernel for a in found.answers} == {"nngp"}
    assert found.tests == 4


def synthetic(rng, batches, mean, spread, root):
    return mean + spread * rng.standard_normal((batches, len(mean))) @ root.T


@pytest.mark.parametrize("question", ["reading", "limit"])
def test_p_values_of_right_imports_are_uniform(question):
    # Correlated Gaussian batches, the law that batch means tend to; 400 repetitions.
    rng = np.random.default_rng(4)
    mean = np.array([1.0, 0.4, 0.7, 1.2, 0.1, 0.9])
    root = np.linalg.cholesky(0.7 + 0.3 * np.eye(6))
    slope = np.array([0.3, 0.2, 0.1, 0.3, 0.0, 0.2])
    size, pattern = [], []
    for _ in range(400):
        if question == "reading":
            pair = synthetic(rng, 60, mean, 0.1, root), synthetic(rng, 60, mean, 0.02, root)
            answer = reading_answer("nngp", *pair)
        else:
            drawn = [synthetic(rng, 60, mean + slope / f, 0.1, root) for f in (1, 2)]
            answer = limit_answer("nngp", np.stack(drawn), (1, 2), mean, np.zeros(6))
        size.append(answer.row.p_value)
        pattern.append(answer.row.pattern_p_value)
    for values in (size, pattern):
        assert stats.kstest(values, "uniform").pvalue > 1e-4
        assert stats.binomtest(int(np.sum(np.array(values) < 0.02)), 400, 0.02).pvalue > 1e-4


def test_the_next_order_in_width_is_allowed_for():
    # K + a / n + b / n^2 with b no larger than the series suggests is no disagreement, at any
    # number of draws; an error of the leading order is.
    rng = np.random.default_rng(5)
    mean, root = np.array([1.0, 0.4, 0.7]), np.eye(3)
    for b in (0.005, -0.005):
        series = [1 + 0.1 / f + b / f**2 for f in (1, 2)]
        drawn = [synthetic(rng, 60, mean * value, 1e-4, root) for value in series]
        right = limit_answer("nngp", np.stack(drawn), (1, 2), mean, np.zeros(3))
        assert judged(right, 1e-3, 0.15, 1000).row.verdict == "agrees"
    wrong = limit_answer("nngp", np.stack(drawn), (1, 2), 0.98 * mean, np.zeros(3))
    assert judged(wrong, 1e-3, 0.15, 1000).row.verdict == "disagrees"


def test_noise_free_kernels_are_compared_to_rounding():
    same = np.tile(np.array([1.0, 0.5, 2.0]), (60, 1))
    assert judged(reading_answer("ntk", same, same), 1e-3, 0.15, 60).row.verdict == "agrees"
    off = judged(reading_answer("ntk", same * 1.01, same), 1e-3, 0.15, 60).row
    assert off.verdict == "disagrees"
    assert off.exact
    silent = np.zeros((60, 3))
    assert judged(reading_answer("ntk", silent, silent), 1e-3, 0.15, 60).row.verdict == "agrees"


def test_components_are_the_independent_entries():
    square = np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(components(square), [0, 1, 2, 4, 5, 8])
    many = np.random.default_rng(6).normal(size=(7, 20, 20))
    chosen = np.unique(np.linspace(0, 19, 8).astype(int))
    first, second = np.triu_indices(8)
    np.testing.assert_array_equal(components(many), many[:, chosen[first], chosen[second]])
    placed = np.random.default_rng(7).normal(size=(5, 2, 2, 3, 3))
    flat = placed.transpose(0, 1, 3, 2, 4).reshape(5, 6, 6)
    np.testing.assert_array_equal(components(placed), components(flat))
    kernels = rebatched(np.arange(333.0)[:, None], np.arange(200.0)[:, None])
    assert {len(k) for k in kernels} == {len(kernels[0])}
    assert 50 <= len(kernels[0]) <= 100
    np.testing.assert_array_equal(kernels[1][0], [(200 // len(kernels[1]) - 1) / 2])


def test_narrow_networks_are_extrapolated_from_wider_ones():
    def dense(width):
        return nw.chain(nw.Dense(width), nw.Activation("relu"), nw.Dense(2))

    assert extrapolation_factors(dense(64), (5,)) == (1, 2)
    assert extrapolation_factors(dense(20), (5,)) == (4, 8)
    assert extrapolation_factors(dense(4), (5,)) == (4, 8)
    assert extrapolation_factors(nw.chain(nw.Dense(2)), (5,)) == (1, 2)
    heads = nw.chain(nw.Dense(64), nw.Attention(4, width=64), nw.Dense(2))
    assert extrapolation_factors(heads, (5, 5)) == (2, 4)


def test_what_can_not_be_checked_is_refused(real):
    with pytest.raises(InputError, match="different shapes"):
        check(net_of(), real, X[:2])
    with pytest.raises(InputError, match="Widths must grow"):
        check(net_of(), real, factors=(2, 2))
    with pytest.raises(InputError, match="alpha"):
        check(net_of(), real, alpha=2.0)
    empty = KernelSamples.of_draws(real.nngp_batches, None, seed=0, seconds=0.0)
    with pytest.raises(UnsupportedError, match="nothing to compare"):
        check(net_of(), empty, kernel_of=lambda *_: Kernel(None, real.ntk))
