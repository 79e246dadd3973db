"""Verdicts of experiments: what agrees, what is planted, what can't be seen, and how often."""

import dataclasses
import math

import numpy as np
import pytest

from whydeep.errors import InputError
from whydeep.experiments import EXPERIMENTS, Check, Findings, Result, run


def judged(*checks, alpha=0.05):
    findings = Findings(checks, (), "")
    return Result("a", "b", "c", "d", findings, seed=0, seconds=0.0, alpha=alpha)


def test_verdicts():
    near = Check("near", 1.0, 1.01, 0.01)
    off = dataclasses.replace(near, measured=1.1)
    blind = dataclasses.replace(near, stderr=0.2)
    exact = Check("exact", 2.0, 2.0 + 1e-12, 0.0, neglected=1e-11)
    assert judged(near, exact).verdict == "agrees"
    assert judged(near, blind).verdict == "not resolved"
    assert judged(near, blind, off).verdict == "disagrees"
    assert judged(dataclasses.replace(exact, measured=2.1)).verdict == "disagrees"
    assert judged(dataclasses.replace(near, measured=math.nan)).verdict == "disagrees"


def test_what_theory_leaves_out_is_no_failure_but_may_hide_everything():
    assert judged(Check("bent", 1.0, 1.1, 0.001, neglected=0.12)).verdict == "agrees"
    assert judged(Check("bent", 1.0, 1.1, 0.001, neglected=0.5)).verdict == "not resolved"


def test_false_alarms_are_as_rare_as_declared():
    # 20 checks of 40 batches each, 2,000 tables: at a rate of 0.05 the count is below 130 but
    # for one seed in a million; the factor for far tails makes it about a fifth of that.
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(2_000):
        batches = rng.standard_normal((20, 40))
        checks = [
            Check("", 1.0, 1.0 + b.mean(), b.std(ddof=1) / np.sqrt(40), batches=40) for b in batches
        ]
        alarms += judged(*checks).verdict == "disagrees"
    assert alarms < 130


@pytest.mark.parametrize("bad", [0.0, 1.0, -1.0, math.nan])
def test_a_rate_that_is_none_is_refused(bad):
    with pytest.raises(InputError, match="probability"):
        judged(alpha=bad)


@pytest.mark.parametrize(
    "bad", [{"name": "none"}, {"seed": -1}, {"seed": 2**31}, {"effort": 0.0}, {"effort": math.nan}]
)
def test_bad_input_is_refused_before_any_work(bad):
    arguments = {"name": "ntk-depth", "seed": 0, "effort": 1.0} | bad
    with pytest.raises(InputError):
        run(**arguments)


def test_every_experiment_says_what_it_claims_and_where_that_was_published():
    for name, experiment in EXPERIMENTS.items():
        assert experiment.name == name
        assert experiment.claim.endswith(".")
        assert any(c.isdigit() for c in experiment.source)
        assert 0 < experiment.seconds < 300
