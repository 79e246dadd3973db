"""Bad input to every public function: an answer, or a refusal in whydeep's words.

Fuzzed calls run in processes of their own, without the run-time check of annotations that these
tests have: what a user meets is what is tried.
"""

import json

import numpy as np
import pytest

from tests.fuzz import calls, run, worker


def shown(results):
    return "\n".join(json.dumps(r) for r in results)


def test_every_public_callable_is_fuzzed():
    assert calls.uncovered() == []


def test_some_fuzzed_calls_are_answered_or_refused_in_words():
    results = run.run(150, workers=1, first=1_000_000)
    assert len(results) == 150
    assert not run.faults(results), shown(run.faults(results))


def leaky(x):
    return np.float32(x) * np.float32(1e38)


@pytest.mark.parametrize(
    ("planted", "outcome"),
    [
        (len, "raw"),
        (lambda x: leaky(x + 1e3), "leak"),
        (lambda x: np.array([x, np.nan]), "nan"),
        (lambda x: {"value": (x, float("nan"))}, "nan"),
        (lambda x: x, "ok"),
    ],
)
def test_a_planted_fault_is_seen(planted, outcome):
    assert worker.judge("planted", planted, [1.0], {})[0] == outcome


@pytest.mark.slow
def test_many_fuzzed_calls_are_answered_or_refused_in_words():
    results = run.run(20_000, workers=2)
    assert len(results) == 20_000
    assert not run.faults(results), shown(run.faults(results))
    assert len({r["name"] for r in results}) == len(calls.CALLS)
