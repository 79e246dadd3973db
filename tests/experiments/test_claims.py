"""Experiments run small: their numbers agree, their curves are whole, planted errors are caught."""

import importlib

import numpy as np
import pytest

from whydeep.experiments import EXPERIMENTS, run

# What takes seconds runs with a share of its draws in every run of the tests, the rest when slow
# tests are asked for.
QUICK = {"vertex-width": 0.05, "ntk-depth": 0.125}


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in EXPERIMENTS],
)
def test_an_experiment_agrees(name):
    result = run(name, effort=QUICK.get(name, 1.0))
    assert result.verdict != "disagrees", [r for r in result.rows if r.verdict == "disagrees"]
    assert result.rows
    for panel in result.findings.panels:
        roles = {curve.role for curve in panel.curves}
        assert roles == {"theory", "measured"}
        for curve in panel.curves:
            assert len(curve.x) == len(curve.y) > 1
            assert np.all(np.isfinite(curve.y))
    assert result.as_dict()["checks"]


def test_a_planted_error_is_caught(monkeypatch):
    module = importlib.import_module("whydeep.experiments.vertex_width")
    right = module.predict

    def wrong(network, inputs, **how):
        predicted = right(network, inputs, **how)
        predicted["four_point"].values[:] *= 1.15
        return predicted

    monkeypatch.setattr(module, "predict", wrong)
    assert run("vertex-width", effort=0.1).verdict == "disagrees"
