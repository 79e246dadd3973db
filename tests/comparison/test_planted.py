"""What a wrong theory is called: never "agrees" beyond the declared resolution.

Measurements are made up: batches of Gaussian numbers whose mean is a theory's value at every width,
so that a thousand tables cost seconds and the truth is known.
"""

import dataclasses
import re

import numpy as np
import pytest
from scipy import stats

from whydeep.comparison import compare
from whydeep.comparison._judge import PATTERN_SHARE
from whydeep.comparison._pattern import pattern
from whydeep.ensemble import Measurement, measure
from whydeep.errors import InputError
from whydeep.network import mlp
from whydeep.observables import reduce
from whydeep.theory.finite import predict

NET = mlp(2, 32, "tanh", weight_var=1.4, bias_var=0.1)
X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1], [0.4, 0.4, 0.0]])
BATCHES, FACTORS = 200, np.array([1.0, 2.0, 4.0])


@pytest.fixture(scope="module")
def theory():
    return predict(NET, X)


def made_up(predicted, noise, seed=0, dtype="float64", names=None):
    """A measurement of networks that theory describes, of relative noise `noise` in a mean."""
    rng = np.random.default_rng(seed)
    batches, layers = {}, {}
    for name in names or ("kernel", "ntk", "four_point"):
        values = reduce(name, predicted[name].values)[None, None] + np.zeros((3, BATCHES, 1, 1))
        if name == "kernel" and "kernel_correction" in predicted:
            slope = reduce("kernel_correction", predicted["kernel_correction"].values)
            values = values + slope / (32 * FACTORS[:, None, None, None])
        size = np.sqrt((values**2).mean(axis=-1, keepdims=True))
        scale = noise * np.sqrt(BATCHES) * np.where(values == 0, 0, size)
        scale[:, :, 0] = 0  # nothing is random in the first layer
        common = rng.normal(size=(1, *values.shape[1:]))
        own = rng.normal(size=values.shape)
        # Rungs share most of their numbers, as they do on a ladder.
        batches[name] = values + scale * (common + 0.05 * own) / 4
        layers[name] = tuple(range(1, NET.depth + 2))
    return Measurement(
        network=NET, inputs=X, batches=batches, layers=layers, draws=10_000, seed=seed,
        sampler="conditional", dtype=dtype, seconds=0.0,
    )  # fmt: skip


def altered(predicted, name, change):
    values = predicted[name].copy(data=change(predicted[name].values))
    return dataclasses.replace(predicted, arrays={**predicted.arrays, name: values})


def without_noise(measured, name, layer, entries):
    batches = measured.batches[name].copy()
    batches[:, :, layer - 1, entries] = batches[:, :1, layer - 1, entries]
    for rung in range(1, 3):
        batches[rung, :, layer - 1, entries] = batches[0, :, layer - 1, entries]
    return dataclasses.replace(measured, batches={**measured.batches, name: batches})


def signs(values, share):
    """Entries of kernels (layers, N, N) up and down by a share, symmetrically."""
    n = values.shape[-1]
    a, b = np.indices((n, n))
    return values * (1 + share * np.where((a + b) % 2 == 0, 1, -1))


def test_one_entry_without_noise_leaves_the_others_their_pattern(theory):
    measured = made_up(theory, 1e-3, names=("kernel",))
    quiet = without_noise(measured, "kernel", 3, [0])
    # The entry that is exact is as measured: the theory in hand predicts just that.
    exact = quiet.batches["kernel"][0, 0, 2, 0]
    first = np.zeros(theory["kernel"].shape, dtype=bool)
    first[2, 0, 0] = True
    right = altered(theory, "kernel", lambda v: np.where(first, exact, v))
    assert "disagrees" not in {r.verdict for r in compare(right, quiet).of("kernel")}
    for share in (0.05, -0.05):

        def wrong(v, share=share):
            out = v.copy()
            out[2] = signs(v, share)[2]
            out[2, 0, 0] = exact
            return out

        row = compare(altered(right, "kernel", wrong), quiet).of("kernel")[2]
        assert row.layer == 3
        assert row.verdict == "disagrees", row


def test_an_exact_entry_beside_random_ones_must_be_right_by_itself(theory):
    measured = without_noise(made_up(theory, 1e-3, names=("kernel",)), "kernel", 3, [0])
    exact = measured.batches["kernel"][0, 0, 2, 0]
    wrong = theory["kernel"].values.copy()
    wrong[2, 0, 0] = 1.001 * exact
    row = compare(altered(theory, "kernel", lambda _: wrong), measured).of("kernel")[2]
    assert row.verdict == "disagrees"
    assert "measured without noise" in row.reason


def test_entries_of_an_exact_row_do_not_make_up_for_each_other(theory):
    def wrong(v):
        return np.concatenate([signs(v[:1], 0.05), v[1:]])

    row = compare(altered(theory, "kernel", wrong), made_up(theory, 1e-3)).of("kernel")[0]
    assert row.exact
    assert row.verdict == "disagrees"


def test_nothing_predicted_where_there_is_something_is_no_agreement(theory):
    zero = altered(theory, "kernel_correction", np.zeros_like)
    seen = {}
    for noise in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1):
        rows = compare(zero, made_up(theory, noise)).of("kernel_correction")
        seen[noise] = {r.layer: r.verdict for r in rows if r.layer == 3}
    assert {v[3] for v in seen.values()} <= {"disagrees", "not resolved"}, seen
    assert seen[1e-5][3] == "disagrees"


def test_nothing_predicted_has_a_pattern():
    # Entries of either sign, whose mean is zero: their size alone would not tell.
    rng = np.random.default_rng(3)
    truth = np.array([0.3, -0.3, 0.3, -0.3])
    tested = truth + rng.normal(size=(100, 4))
    found = pattern(tested, np.zeros(4), np.zeros(4), np.zeros(4), np.zeros(4), unit=1.0)
    assert found is not None
    assert found.bound < 1e-3
    quiet = pattern(tested - truth, np.zeros(4), np.zeros(4), np.zeros(4), np.zeros(4), unit=1.0)
    assert quiet is not None
    assert quiet.bound > 1e-3


@pytest.mark.parametrize("name", ["kernel", "ntk", "four_point", "kernel_correction"])
@pytest.mark.parametrize("share", [0.101, -0.101, 0.3, 1.0, -2 / 3])
def test_a_theory_off_by_the_resolution_never_agrees(theory, name, share):
    # Whatever the noise: what can't be seen is "not resolved". Of 5 x 4 x 6 tables a share of
    # alpha / 5 may fail at the edge; these seeds do not.
    wrong = altered(theory, name, lambda v: v * (1 + share))
    for seed, noise in enumerate((1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 0.1)):
        rows = compare(wrong, made_up(theory, noise, seed=seed)).of(name)
        changed = [r.verdict for r in rows if not (r.exact or r.absolute)]
        assert "agrees" not in changed, (noise, [str(r) for r in rows])
    assert {r.verdict for r in compare(wrong, made_up(theory, 1e-6)).of(name)
            if not r.absolute} == {"disagrees"}  # fmt: skip


@pytest.mark.parametrize("name", ["kernel", "ntk", "kernel_correction"])
def test_a_pattern_off_by_what_it_is_asked_for_never_agrees(theory, name):
    share = 1.2 * PATTERN_SHARE * 0.1
    wrong = altered(theory, name, lambda v: signs(v, share))
    for seed, noise in enumerate((1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 0.1)):
        rows = compare(wrong, made_up(theory, noise, seed=seed)).of(name)
        random = [r.verdict for r in rows if not r.exact and r.layer == 3]
        assert "agrees" not in random, (noise, random)


def test_the_draws_that_are_said_to_resolve_a_row_do(theory):
    few = compare(theory, made_up(theory, 2e-2))
    unresolved = [r for r in few.rows if r.verdict == "not resolved"]
    assert unresolved
    for row in unresolved:
        assert row.draws_needed is not None
        assert re.search(r"known to .* only: about [\d,]+ draws would resolve", row.reason)
        noise = 2e-2 * np.sqrt(10_000 / row.draws_needed)
        again = compare(theory, made_up(theory, noise, seed=5))
        same = next(r for r in again.of(row.observable) if r.layer == row.layer)
        assert same.verdict == "agrees", (row, same)


def test_a_right_theory_is_called_wrong_as_seldom_as_declared(theory):
    # 60 tables of some 20 tests each, at alpha = 0.5: with the factor of 5 to spare a tenth of them
    # disagree at most. More than 16 have a probability of 1e-4.
    alarms = sum(
        compare(theory, made_up(theory, 1e-3, seed=100 + k), alpha=0.5).verdict == "disagrees"
        for k in range(60)
    )
    assert alarms <= stats.binom.isf(1e-4, 60, 0.5 / 5)


def test_known_to_holds_the_truth(theory):
    # The truth is off by -5%: the share that a row says it is known to covers it.
    wrong = altered(theory, "four_point", lambda v: v / 0.95)
    for seed in range(10):
        for row in compare(wrong, made_up(theory, 1e-2, seed=seed)).of("four_point"):
            assert row.known_to > 0.05


def test_what_only_one_side_has_is_named(theory):
    measured = made_up(theory, 1e-3, names=("kernel", "four_point"))
    found = compare(theory, measured)
    assert "tangent kernel: predicted, not measured" in found.left_out
    assert "not compared: tangent kernel: predicted, not measured" in str(found)
    assert found.as_dict()["left_out"] == list(found.left_out)
    less = predict(NET, X, observables=["kernel"])
    assert "four-point vertex: measured, not predicted" in compare(less, measured).left_out
    whole = made_up(theory, 1e-3)
    assert compare(theory, whole).left_out == ()
    top = dataclasses.replace(
        whole,
        batches={**whole.batches, "ntk": whole.batches["ntk"][:, :, -1:]},
        layers={**whole.layers, "ntk": (3,)},
    )
    assert compare(theory, top).left_out == ("tangent kernel: 2 of 3 layers not measured",)


def test_entries_without_a_finite_prediction_are_named_and_nothing_crashes(theory):
    holes = theory["kernel_correction"].values.copy()
    holes[2, 0, 1] = holes[2, 1, 0] = np.nan
    tolerance = theory.tolerance["four_point"].copy()
    tolerance[2] = np.inf
    wrong = dataclasses.replace(
        altered(theory, "kernel_correction", lambda _: holes),
        tolerance={**theory.tolerance, "four_point": tolerance},
    )
    found = compare(wrong, made_up(theory, 1e-3))
    assert found.verdict != "disagrees"
    assert any("kernel correction: 1 of" in note and "layers 3" in note for note in found.left_out)
    assert any("four-point vertex" in note and "finite" in note for note in found.left_out)
    assert {r.layer for r in found.of("four_point")} == {2}


def test_either_order_will_do_and_everything_else_is_refused_in_words(theory):
    measured = made_up(theory, 1e-3)
    assert compare(measured, theory).as_dict() == compare(theory, measured).as_dict()
    with pytest.raises(InputError, match="not with another prediction"):
        compare(theory, theory)
    with pytest.raises(InputError, match="nothing to compare with"):
        compare(measured, measured)
    with pytest.raises(InputError, match="nothing to compare with"):
        compare(theory)
    for odd in (NET, X, None, "kernel", [theory], {"kernel": 1.0}, theory["kernel"]):
        with pytest.raises(InputError, match=f"of type {type(odd).__name__}"):
            compare(theory, odd)
        with pytest.raises(InputError, match=f"of type {type(odd).__name__}"):
            compare(odd, measured)


def test_a_row_that_agrees_far_off_says_what_was_allowed(theory):
    # An order in 1/width that theory does not claim: large against the noise, and bounded.
    measured = made_up(theory, 1e-6, names=("four_point",))
    batches = measured.batches["four_point"] * (1 + 0.3 / FACTORS**3 + 0.5 / FACTORS**2)[
        :, None, None, None
    ]  # fmt: skip
    moved = dataclasses.replace(measured, batches={"four_point": batches})
    row = compare(theory, moved, resolution=0.9).of("four_point")[0]
    assert abs(row.z) > 10
    assert row.verdict == "agrees"
    assert "neglected orders" in row.reason
    assert row.reason in str(compare(theory, moved, resolution=0.9))


def test_a_zero_row_without_biases_is_compared():
    # "cannot convert float NaN to integer": K^{1} had no prediction there.
    net = mlp(2, 16, "relu", weight_var=1.5, bias_var=0.0)
    x = np.array([[0.0, 0.0], [1.0, 0.5], [0.3, -1.0]])
    names = ("kernel", "kernel_correction")
    predicted = predict(net, x, observables=names)
    comparison = compare(predicted, measure(net, x, draws=20_000, seed=2, observables=names))
    assert comparison.verdict != "disagrees", str(comparison)
    assert comparison.left_out == ()
