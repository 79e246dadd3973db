"""Divided differences against thirty digits, derivatives at equal nodes, and limits."""

import math

import mpmath
import numpy as np
import pytest

from whydeep.theory.training.finite._divided import exponential_difference, power_difference


def arrays(nodes):
    return [np.array(float(x)) for x in nodes]


def table(values, nodes):
    """Newton's table, which is exact enough at fifty digits."""
    values = list(values)
    for gap in range(1, len(nodes)):
        values = [
            (values[i + 1] - values[i]) / (nodes[i + gap] - nodes[i])
            for i in range(len(values) - 1)
        ]
    return values[0]


@pytest.mark.parametrize(
    "nodes", [(0.3,), (0.9, 0.2), (0.5, 0.499, 0.1), (0.99, 0.985, 0.2, -0.3), (2.0, 0.5, 1e-9)]
)
def test_against_newtons_table(nodes):
    with mpmath.workdps(50):
        exact = [mpmath.mpf(x) for x in nodes]
        for k in (1, 2, 7, 300):
            wanted = table([x**k for x in exact], exact)
            found = float(power_difference(arrays(nodes), k))
            assert found == pytest.approx(float(wanted), rel=1e-12, abs=1e-300)
        rates = [abs(x) for x in exact]
        for t in (1e-3, 0.7, 20.0, 4e4):
            wanted = (-1) ** (len(rates) - 1) * table([mpmath.exp(-x * t) for x in rates], rates)
            found = float(exponential_difference(arrays(map(abs, nodes)), t))
            assert found == pytest.approx(float(wanted), rel=1e-11, abs=1e-300)


def test_equal_nodes_are_derivatives():
    x, k, t = np.array(0.7), 9, 2.5
    for order in range(4):
        nodes = [x] * (order + 1)
        assert float(power_difference(nodes, k)) == pytest.approx(
            math.comb(k, order) * 0.7 ** (k - order), rel=1e-13
        )
        assert float(exponential_difference(nodes, t)) == pytest.approx(
            t**order / math.factorial(order) * math.exp(-0.7 * t), rel=1e-13
        )


def test_the_end_is_where_late_times_go():
    for last in (0.0, 0.4):
        rates = arrays((1.5, 0.8, 0.8, last))
        end = exponential_difference(rates, np.inf)
        np.testing.assert_allclose(exponential_difference(rates, 400.0), end, atol=1e-12)
        powers = [np.asarray(1.0 - 0.5 * x) for x in rates]
        np.testing.assert_allclose(
            power_difference(powers, 1000), power_difference(powers, np.inf), atol=1e-10
        )
    assert float(exponential_difference(arrays((2.0, 0.0)), np.inf)) == 0.5


def test_nodes_broadcast_and_nothing_happens_at_time_zero():
    rows, columns = np.array([[0.2], [0.5]]), np.array([[0.1, 0.4, 0.9]])
    found = exponential_difference([rows, columns], 1.0)
    assert found.shape == (2, 3)
    assert found[1, 2] == pytest.approx((math.exp(-0.5) - math.exp(-0.9)) / 0.4)
    for t in (0, 0.0):
        np.testing.assert_array_equal(exponential_difference([rows, columns], t), 0.0)
        np.testing.assert_array_equal(power_difference([rows, columns], t), 0.0)
        np.testing.assert_array_equal(power_difference([rows], t), 1.0)
