"""`verify`: the plan of draws, and that what it measures is what was predicted."""

import dataclasses
import importlib

import numpy as np
import pytest

from whydeep.comparison import Plan, verify
from whydeep.errors import InputError
from whydeep.network import mlp
from whydeep.theory.finite import predict


def test_tangent_kernels_are_measured_apart_with_draws_of_their_own():
    predicted = predict(mlp(1, 8, "relu"), np.eye(2))
    calls = Plan(draws=1000, ntk_draws=100).calls(predicted)
    assert calls == (
        (("kernel", "four_point", "kernel_correction"), 1000),
        (("ntk",), 100),
    )


def test_what_costs_most_is_measured_apart_and_corrections_bring_what_they_correct():
    predicted = predict(
        mlp(1, 8, "tanh"), np.eye(2), observables=("ntk_correction", "ntk_F", "ddntk_U", "dntk_P")
    )
    plan = Plan(draws=1000, ntk_draws=100, tensor_draws=200, differential_draws=300)
    assert plan.calls(predicted) == (
        (("ntk", "ntk_correction", "ntk_F"), 200),
        (("dntk_P", "ddntk_U"), 300),
    )


TENSORS = Plan(ntk_draws=256, tensor_draws=1500, differential_draws=512, rungs=2)


def test_tensors_agree_and_a_planted_error_does_not(monkeypatch):
    x = np.array([[1.0, 0.3], [0.2, -0.9]])
    net = mlp(2, 16, "tanh", weight_var=1.4, bias_var=0.1)
    names = ("ntk_B", "ntk_F")
    right = verify(net, x, TENSORS, observables=names)
    assert right.comparison.verdict == "agrees"
    assert {(row.observable, row.layer) for row in right.comparison.rows} == {
        (name, layer) for name in names for layer in (2, 3, None)
    }
    wrong = dataclasses.replace(
        right.predicted,
        arrays={**right.predicted.arrays, "ntk_F": 1.1 * right.predicted.arrays["ntk_F"]},
    )
    monkeypatch.setattr(
        importlib.import_module("whydeep.comparison._verify"), "predict", lambda *_, **__: wrong
    )
    found = verify(net, x, TENSORS, observables=names).comparison
    assert {r.verdict for r in found.of("ntk_B")} == {"agrees"}
    assert {r.verdict for r in found.of("ntk_F")} == {"disagrees"}


def test_the_plain_sampler_measures_tensors_by_their_definitions():
    plan = dataclasses.replace(TENSORS, sampler="plain", tensor_draws=512)
    outcome = verify(mlp(1, 4, "tanh"), np.eye(2), plan, observables=("ntk_F",), resolution=1.0)
    assert {row.verdict for row in outcome.comparison.rows} <= {"agrees", "not resolved"}


def test_what_theory_does_not_have_is_not_measured():
    predicted = predict(mlp(1, 8, "step", weight_var=1.0, bias_var=0.1), np.eye(2), order=0)
    assert Plan(draws=1000).calls(predicted) == ((("kernel",), 1000),)


@pytest.mark.parametrize(
    "bad",
    [
        {"draws": 10},
        {"ntk_draws": 63},
        {"tensor_draws": 63},
        {"differential_draws": 0},
        {"draws": 0},
        {"rungs": 1},
        {"seed": -1},
        {"sampler": "magic"},
        {"dtype": "float16"},
    ],
)
def test_a_plan_that_cannot_work_is_refused_at_once(bad):
    with pytest.raises(InputError):
        Plan(**bad)


@pytest.mark.parametrize("bad", [{"alpha": 0.0}, {"alpha": 1.0}, {"resolution": 0.0}])
def test_bad_levels_are_refused_before_anything_is_computed(bad, monkeypatch):
    monkeypatch.setattr(importlib.import_module("whydeep.comparison._verify"), "predict", None)
    with pytest.raises(InputError):
        verify(mlp(1, 8, "relu"), np.eye(2), **bad)


def test_the_outcome_holds_what_was_compared():
    x = np.array([[1.0, 1.0], [1.0, -0.5]])
    plan = Plan(draws=512, ntk_draws=64, seed=3, rungs=2)
    outcome = verify(mlp(1, 16, "relu"), x, plan, order=0, resolution=0.5)
    assert [tuple(m) for m in outcome.measured] == [("kernel",), ("ntk",)]
    assert {m.seed for m in outcome.measured} == {3}
    assert outcome.comparison.widths == (16, 32)
    assert outcome.comparison.resolution == 0.5
    assert outcome.seconds > sum(m.seconds for m in outcome.measured)
    assert dataclasses.is_dataclass(outcome)


def test_in_double_precision_what_is_exact_agrees_up_to_rounding():
    x = np.array([[0.1, 0.7, 0.3], [0.9, -0.5, 0.2]])
    net = mlp(1, 24, "tanh", weight_var=1.3, bias_var=0.1)
    plan = Plan(draws=256, ntk_draws=64, rungs=3, dtype="float64")
    rows = verify(net, x, plan, order=0, resolution=0.5).comparison.rows
    exact = [row for row in rows if row.layer == 1]
    assert [row.observable for row in exact] == ["kernel", "ntk"]
    assert all(row.exact and row.verdict == "agrees" for row in exact)
