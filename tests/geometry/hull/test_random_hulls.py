"""Expected hulls of random points: exact integrals, closed forms, and our own membership."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln, ndtr
from scipy.stats import norm

from whydeep.errors import InputError, UnsupportedError
from whydeep.geometry.hull import (
    ball_threshold,
    expected_gaussian_vertices,
    gaussian_inside,
    in_hull,
    symmetric_inside,
)
from whydeep.geometry.hull._random_hulls import _log_external_angle, _log_vertex_angle


def integral(power, scale):
    """E Phi(h)^power for h of standard deviation `scale`."""
    value, _ = quad(lambda h: ndtr(h) ** power * norm.pdf(h, scale=scale), -15, 15, epsabs=1e-14,
                    epsrel=1e-12, points=(0, 2, 4), limit=200)  # fmt: skip
    return value


@pytest.mark.parametrize("n", [4, 10, 100, 1000, 10_000])
def test_the_plane_and_space_by_renyi_and_sulanke(n):
    plane = n * (n - 1) * integral(n - 2, math.sqrt(1 / 2))
    np.testing.assert_allclose(expected_gaussian_vertices(n, 2), plane, rtol=1e-9)
    facets = (
        2
        * math.exp(gammaln(n + 1) - gammaln(4) - gammaln(n - 2))
        * integral(n - 3, math.sqrt(1 / 3))
    )
    np.testing.assert_allclose(expected_gaussian_vertices(n, 3), 2 + facets / 2, rtol=1e-9)


@pytest.mark.parametrize("n", [2, 3, 50, 10**6])
def test_a_line_has_two_ends(n):
    np.testing.assert_allclose(gaussian_inside(n, 1), 1 - 2 / (n + 1), rtol=1e-11)


def test_four_points_of_the_plane():
    """Sylvester's question for Gaussian points: Blatter 2008."""
    convex = 6 / math.pi * math.asin(1 / 3)
    np.testing.assert_allclose(expected_gaussian_vertices(4, 2), 3 + convex, rtol=1e-12)


def test_simplices_have_all_their_vertices():
    for d in (1, 5, 40):
        assert expected_gaussian_vertices(d + 1, d) == d + 1
        assert gaussian_inside(d, d) == 0.0


def test_angles_of_regular_simplices():
    angles = [math.exp(_log_vertex_angle(m)) for m in (1, 2, 3, 4)]
    tetrahedron = (3 * math.acos(1 / 3) - math.pi) / (4 * math.pi)
    np.testing.assert_allclose(angles, [1, 1 / 2, 1 / 6, tetrahedron], rtol=1e-11)
    np.testing.assert_allclose(math.exp(_log_external_angle(4, 3)), 1 / 2, rtol=1e-11)  # at a facet
    edge = (math.pi - math.acos(1 / 3)) / (2 * math.pi)
    np.testing.assert_allclose(math.exp(_log_external_angle(4, 2)), edge, rtol=1e-11)


@pytest.mark.parametrize("n", [5, 12, 30])
def test_angle_sums(n):
    """Over the faces at a vertex, internal times external angles add to 1 (McMullen 1975)."""
    terms = [
        math.exp(
            gammaln(n) - gammaln(m) - gammaln(n - m + 1)
            + _log_vertex_angle(m) + _log_external_angle(n, m)
        )
        for m in range(1, n + 1)
    ]  # fmt: skip
    np.testing.assert_allclose(sum(terms[::2]), 1 / 2, rtol=1e-10)
    np.testing.assert_allclose(sum(terms[1::2]), 1 / 2, rtol=1e-10)


@pytest.mark.parametrize(("d", "n"), [(4, 100), (6, 300), (8, 1000), (10, 400)])
def test_our_membership_has_the_expected_rate(d, n):
    """Four tests at z = 4: 3e-4 to fail for nothing. Hulls anew, so that trials are independent."""
    rng = np.random.default_rng(d)
    trials, expected = 80, gaussian_inside(n, d)
    shares = [
        in_hull(rng.normal(size=(40, d)), rng.normal(size=(n, d)), threads=1).fraction
        for _ in range(trials)
    ]
    error = np.std(shares, ddof=1) / math.sqrt(trials)
    assert abs(np.mean(shares) - expected) < 4 * error
    assert error < 0.15 * expected + 0.01


def test_wendel():
    for d in (1, 5, 50):
        assert symmetric_inside(2 * d, d) == pytest.approx(0.5, rel=1e-13)
    by_hand = 1 - sum(math.comb(29, k) for k in range(10)) / 2**29
    np.testing.assert_allclose(symmetric_inside(30, 10), by_hand, rtol=1e-13)
    rng = np.random.default_rng(0)
    draws = [
        in_hull(np.zeros((1, 5)), rng.uniform(-1, 1, size=(10, 5)), threads=1).inside[0]
        for _ in range(200)
    ]
    assert abs(np.mean(draws) - 0.5) < 4 * 0.5 / math.sqrt(200)  # z = 4: 6e-5


def test_the_threshold_of_the_ball():
    np.testing.assert_allclose(ball_threshold(20), 1024 / 20, rtol=1e-13)
    assert ball_threshold(5000) == math.inf


def test_refusals():
    for function in (symmetric_inside, gaussian_inside, expected_gaussian_vertices):
        for arguments in ((0, 2), (10, 0)):
            with pytest.raises(InputError):
                function(*arguments)
    with pytest.raises(InputError):
        ball_threshold(0)
    with pytest.raises(UnsupportedError):
        gaussian_inside(10_000, 5000)
