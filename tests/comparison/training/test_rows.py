"""Limits and powers of the width: right ones are believed, wrong ones are not."""

import math

import numpy as np
import pytest

from whydeep.comparison.training._rows import judge, limit_row, power_row

TRUE = np.array([1.0, -0.5, 2.0, 0.1])


def ladder(rng, error=0.05, first=0.2, second=0.1, draws=400, scale=1.0):
    """Batches at three widths whose means have terms in 1/n and 1/n^2."""
    bend = first * TRUE[::-1], second * TRUE
    return [
        scale * TRUE + bend[0] / k + bend[1] / k**2
        + error * math.sqrt(draws) * rng.standard_normal((draws, 4))
        for k in (1, 2, 4)
    ]  # fmt: skip


def test_limits_are_believed_at_the_declared_rate():
    # 400 tables of one row at alpha = 0.05: more than 35 false alarms have probability 0.001.
    rng = np.random.default_rng(0)
    alarms = sum(
        judge([limit_row("", ladder(rng, error=0.01), TRUE)], 0.05)[0].verdict == "disagrees"
        for _ in range(400)
    )
    assert alarms <= 35


@pytest.mark.parametrize("wrong", [0.9, 1.1])
def test_a_limit_off_by_a_tenth_is_seen(wrong):
    rng = np.random.default_rng(1)
    row = judge([limit_row("", ladder(rng, error=0.003), wrong * TRUE)], 0.05)[0]
    assert row.verdict == "disagrees"
    assert row.measured == pytest.approx(1.0 / wrong, abs=0.02)


def test_one_wrong_component_is_seen():
    rng = np.random.default_rng(2)
    wrong = TRUE + np.array([0.0, 0.0, 0.0, 0.2])
    assert judge([limit_row("", ladder(rng, error=0.003), wrong)], 0.05)[0].verdict == "disagrees"


def test_noise_is_not_agreement():
    rng = np.random.default_rng(3)
    assert judge([limit_row("", ladder(rng, error=0.3), TRUE)], 0.05)[0].verdict == "not resolved"


def powers(rng, power, correction, spread=0.5, draws=100_000):
    return [
        k**power * (1 + correction / k) * np.exp(spread * rng.standard_normal(draws))
        for k in (1.0, 2.0, 4.0)
    ]


@pytest.mark.parametrize("correction", [0.0, 0.1, -0.1])
def test_powers_with_corrections_are_believed_and_others_are_not(correction):
    rng = np.random.default_rng(4)
    for true in (-1.0, -0.5, 0.0):
        values = powers(rng, true, correction)
        for claimed in (-1.0, -0.6, -0.5, -0.4, 0.0):
            row = judge([power_row("", values, claimed)], 0.01)[0]
            assert row.verdict == ("agrees" if claimed == true else "disagrees"), row


def test_large_corrections_are_not_agreement():
    rng = np.random.default_rng(7)
    verdicts = {
        claimed: judge([power_row("", powers(rng, -1.0, -0.4), claimed)], 0.01)[0]
        for claimed in (-1.0, -0.9, -0.5)
    }
    assert [row.verdict for row in verdicts.values()] == [
        "not resolved", "not resolved", "disagrees",
    ]  # fmt: skip
    assert "wider networks" in verdicts[-1.0].reason
    assert verdicts[-1.0].draws_factor is None


def test_powers_are_believed_at_the_declared_rate():
    # As above, but the bound of what is neglected makes false alarms rarer than declared.
    rng = np.random.default_rng(5)
    rows = [power_row("", powers(rng, -0.5, 0.2, draws=200), -0.5) for _ in range(400)]
    assert sum(judge([row], 0.05)[0].verdict == "disagrees" for row in rows) <= 35


@pytest.mark.parametrize("sign", [-1, 1])
def test_what_agrees_would_have_seen_a_tenth(sign):
    # Noise from far too little to far too much. Where the right theory agrees, one that is off by
    # a tenth is called wrong in nine of ten ensembles: of 300, 240 or fewer have probability 1e-8.
    rng = np.random.default_rng(8)
    agreed, seen = 0, 0
    while agreed < 300:
        error = 0.002 * 10 ** rng.uniform(0.0, 1.0)
        values = ladder(rng, error=error, first=0.1, second=0.02)
        if judge([limit_row("", values, TRUE)], 0.05)[0].verdict == "agrees":
            agreed += 1
            wrong = judge([limit_row("", values, (1 + 0.1 * sign) * TRUE)], 0.05)[0]
            seen += wrong.verdict == "disagrees"
    assert seen > 240


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_power_that_agrees_would_have_seen_a_tenth(sign):
    rng = np.random.default_rng(9)
    agreed, seen = 0, 0
    while agreed < 300:
        draws = int(10 ** rng.uniform(3.0, 5.0))
        values = powers(rng, -0.5, 0.1, draws=draws)
        if judge([power_row("", values, -0.5)], 0.05)[0].verdict == "agrees":
            agreed += 1
            wrong = judge([power_row("", values, -0.5 + 0.1 * sign)], 0.05)[0]
            seen += wrong.verdict == "disagrees"
    assert seen > 240


def test_what_is_not_resolved_says_how_many_networks_would_do():
    rng = np.random.default_rng(10)
    row = judge([limit_row("", ladder(rng, error=0.03), TRUE)], 0.05)[0]
    assert row.verdict == "not resolved"
    assert f"{row.draws_factor:.2g} times the networks" in row.reason
    less = 0.03 / math.sqrt(1.1 * row.draws_factor)
    assert judge([limit_row("", ladder(rng, error=less), TRUE)], 0.05)[0].verdict == "agrees"


def test_what_is_not_claimed_is_reported():
    rng = np.random.default_rng(6)
    rows = [power_row("", powers(rng, -0.7, 0.0), None), limit_row("", ladder(rng, 0.01), TRUE)]
    assert [row.verdict for row in judge(rows, 0.05)] == ["reported", "agrees"]
