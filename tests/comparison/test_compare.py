"""Verdicts: a right theory agrees, a wrong one does not, and what can't be seen is said so."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from whydeep.comparison import Ladder, compare, number_with_error
from whydeep.comparison._weights import apply_crossed, crossed_weights
from whydeep.ensemble import measure
from whydeep.errors import InputError
from whydeep.network import mlp
from whydeep.theory.finite import predict

X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1]])


@pytest.fixture(scope="module")
def gelu():
    net = mlp(2, 32, "gelu", weight_var=1.4, bias_var=0.1)
    return predict(net, X), measure(net, X, draws=150_000, seed=4)


def altered(predicted, name, factor, layer=None):
    values = predicted[name].copy()
    values[slice(None) if layer is None else layer] *= factor
    return dataclasses.replace(predicted, arrays={**predicted.arrays, name: values})


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "elu", "hard_tanh", "sin"])
def test_theory_agrees_with_networks_of_unequal_widths(activation):
    net = mlp(3, (48, 64, 56), activation, weight_var=1.4, bias_var=0.1)
    measured = measure(net, X, draws=6_000, seed=11)
    comparison = compare(predict(net, X), measured, resolution=0.25)
    assert comparison.verdict != "disagrees", str(comparison)
    for name in ("kernel", "ntk", "four_point"):
        assert {r.verdict for r in comparison.of(name)} == {"agrees"}


@pytest.mark.parametrize(
    ("name", "factor"),
    [("kernel", 1.01), ("ntk", 1.02), ("four_point", 1.05), ("kernel_correction", 1.5)],
)
def test_a_planted_error_is_caught(gelu, name, factor):
    predicted, measured = gelu
    assert compare(predicted, measured, resolution=0.25).verdict == "agrees"
    comparison = compare(altered(predicted, name, factor), measured)
    assert comparison.verdict == "disagrees"
    assert {r.observable for r in comparison.rows if r.verdict == "disagrees"} == {name}


def test_an_error_at_one_layer_or_in_one_entry_is_caught(gelu):
    predicted, measured = gelu
    comparison = compare(altered(predicted, "kernel", 1.01, layer=2), measured)
    bad = {r.layer for r in comparison.rows if r.verdict == "disagrees"}
    assert 3 in bad
    assert 2 not in bad
    values = predicted["four_point"].copy()
    values[2, 0, 0, 1, 1] *= 1.5  # breaks a symmetry of the tensor, too: only (00)(11) is read
    wrong = dataclasses.replace(predicted, arrays={**predicted.arrays, "four_point": values})
    assert compare(wrong, measured).verdict == "disagrees"


def test_a_wrong_exact_layer_is_caught(gelu):
    predicted, measured = gelu
    comparison = compare(altered(predicted, "kernel", 1.001, layer=0), measured)
    row = comparison.of("kernel")[0]
    assert row.exact
    assert row.verdict == "disagrees"


def test_too_few_draws_are_not_resolved_and_say_how_many_would_do():
    net = mlp(2, 32, "gelu", weight_var=1.4, bias_var=0.1)
    predicted = predict(net, X, observables=["kernel", "kernel_correction"])
    names = ("kernel", "kernel_correction")
    few = compare(
        predicted, measure(net, X, draws=3_000, seed=1, observables=names), resolution=0.25
    )
    row = next(r for r in few.of("kernel_correction") if r.layer == 3)
    assert row.verdict == "not resolved"
    assert row.draws_needed is not None
    enough = measure(net, X, draws=2 * row.draws_needed, seed=2, observables=names)
    found = compare(predicted, enough, resolution=0.25)
    again = next(r for r in found.of("kernel_correction") if r.layer == 3)
    assert again.verdict == "agrees"


def test_depth_beyond_width_is_never_a_disagreement():
    # relu at L / n = 1, where the vertex is far from its leading order: not a failure of theory.
    net = mlp(8, 8, "relu")
    x = np.ones((1, 1))
    measured = measure(net, x, draws=200_000, seed=3, observables=("kernel", "four_point"))
    comparison = compare(predict(net, x), measured)
    assert comparison.verdict != "disagrees", str(comparison)
    assert any("leaves out" in r.reason for r in comparison.of("four_point"))


def test_an_unclaimed_order_is_never_a_failure_however_many_draws():
    net = mlp(4, 64, "relu")
    x = np.ones((1, 1))
    measured = measure(net, x, draws=1_000_000, seed=3, observables=("kernel", "four_point"))
    comparison = compare(predict(net, x), measured)
    # Its kernel correction is zero, and such noise can't tell it from a percent of the kernel.
    assert comparison.verdict != "disagrees"
    for name in ("kernel", "four_point"):
        assert {r.verdict for r in comparison.of(name)} == {"agrees"}


def test_p_values_of_single_rows_are_uniform():
    # 60 seeds, every row: Kolmogorov-Smirnov at 1e-4 shared by the rows.
    net = mlp(2, 32, "tanh", weight_var=1.4, bias_var=0.1)
    predicted = predict(net, X)
    found = {}
    for seed in range(60):
        comparison = compare(predicted, measure(net, X, draws=1_500, seed=seed))
        for row in comparison.rows:
            if not row.exact:
                found.setdefault((row.observable, row.layer), []).append(row.p_value)
                if row.pattern_p_value is not None:
                    key = (row.observable, row.layer, "pattern")
                    found.setdefault(key, []).append(row.pattern_p_value)
    smallest = min(stats.kstest(values, "uniform").pvalue for values in found.values())
    assert smallest > 1e-4 / len(found)


def test_ladder_recovers_polynomials_and_bounds_the_next_order():
    ladder = Ladder((1, 2, 4))
    rng = np.random.default_rng(0)
    values = (2.0 - 0.7 * ladder.points + 0.3 * ladder.points**2)[:, None] + np.zeros((3, 5))
    np.testing.assert_allclose(ladder.expand(values).coefficients, [2.0, -0.7, 0.3], atol=1e-13)
    # relu's vertex, exactly known: the bound holds, and not by an order of magnitude.
    for depth, n in ((2, 32), (4, 64), (8, 128), (8, 64)):
        widths = n * np.array([1, 2, 4])
        exact = widths * ((1 + 5 / widths) ** depth - 1) / (5 * depth)
        expansion = ladder.expand(exact[:, None] + 1e-15 * rng.normal(size=(3, 40)))
        error = abs(expansion.coefficients[0] - 1)
        bound = ladder.neglected(0, expansion, ladder.ratio(expansion))
        assert error <= bound + 1e-14  # two layers have no third order
        if depth > 3:
            assert bound < 30 * error


def test_crossed_weights_are_unbiased_and_precise():
    rng = np.random.default_rng(1)
    target = np.array([1.0, 2.0, 3.0])
    common, own = rng.normal(size=(400, 1)), rng.normal(size=(400, 3))
    estimates = target + common + 0.05 * own
    weights = crossed_weights(estimates, target, 0.0)
    for w in weights:
        assert w @ target == pytest.approx(1)
    mean = apply_crossed(estimates[None], weights)[0]
    assert mean.std() < 0.3 * (estimates @ target / (target @ target)).std()
    assert abs(mean.mean() - 1) < 4 * mean.std() / 20


def test_numbers_show_the_digits_their_error_allows():
    assert number_with_error(1.00123, 0.00042) == "1.0012 ± 0.0004"
    assert number_with_error(12.3, 4.0) == "12 ± 4"
    assert number_with_error(2.0, 0.0) == "2"


def test_questions_that_make_no_sense():
    net, other = mlp(2, 16, "relu"), mlp(2, 16, "tanh")
    predicted = predict(net, X)
    measured = measure(net, X, draws=200)
    with pytest.raises(InputError, match="different inputs"):
        compare(predicted, measure(net, X + 1, draws=200))
    with pytest.raises(InputError, match="different networks"):
        compare(predicted, measure(other, X, draws=200))
    with pytest.raises(InputError, match="One width"):
        compare(predicted, measure(net, X, draws=200, rungs=1))
    with pytest.raises(InputError, match=r"alpha is out of range[^§]*alpha=0\.0[^§]*and < 1"):
        compare(predicted, measured, alpha=0.0)
    with pytest.raises(InputError, match="nothing to compare"):
        compare(predicted)
    with pytest.raises(InputError, match="no observable"):
        compare(predict(net, X, observables=["ntk"]), measure(net, X, draws=200,
                observables=("kernel",)))  # fmt: skip


def test_the_table_reads_and_travels(gelu):
    comparison = compare(*gelu, resolution=0.25)
    text = str(comparison)
    assert "four_point" in text
    assert text.splitlines()[-1].startswith("agrees: all")
    rows = comparison.as_dict()["rows"]
    assert len(rows) == len(comparison.rows)
