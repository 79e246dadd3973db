"""Means of products of four derivatives: closed forms, thirty digits, other rules, invariances."""

import itertools

import mpmath
import numpy as np
import pytest

from whydeep import activations
from whydeep.gaussian import (
    Covariance,
    derivative_products,
    pair_derivatives,
    product_moments,
)

KINDS = ((0, 0, 0, 0), (1, 1, 0, 0), (1, 1, 1, 1), (2, 1, 1, 0), (2, 2, 1, 1), (3, 1, 1, 1))
ALL = [orders for kind in KINDS for orders in sorted(set(itertools.permutations(kind)))]
SLOPES = [orders for orders in ALL if max(orders) <= 1]


def covariance(size, seed=0, scale=1.3):
    x = np.random.default_rng(seed).normal(size=(size, 6))
    return Covariance.from_matrix(0.05 + scale * x @ x.T / 6)


def products(name, cov):
    return derivative_products(activations.get(name), cov)


def sine_product(matrix, orders):
    """E prod sin(z_i + k_i pi/2), a sum of sixteen exponentials."""
    total = 0
    for signs in itertools.product((1, -1), repeat=4):
        e = np.array(signs)
        phase = np.exp(1j * np.pi / 2 * (e @ np.array(orders)))
        total += np.prod(e) * phase * np.exp(-e @ matrix @ e / 2)
    return (total / 16).real


@pytest.mark.parametrize("size", [1, 2, 4])
def test_sine_in_closed_form(size):
    cov = covariance(size)
    found = products("sin", cov)
    for orders in ALL:
        means = found.full(*orders)
        for at in itertools.product(range(size), repeat=4):
            exact = sine_product(cov.matrix[np.ix_(at, at)], orders)
            assert abs(means.value[at] - exact) <= means.error[at]
            assert means.error[at] < 2e-9


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_one_sample_to_thirty_digits(name):
    variance = 1.7
    found = products(name, Covariance.from_matrix(np.array([[variance]])))
    mpmath.mp.dps = 30
    q = mpmath.mpf(variance)

    def derivative(z, order):
        if name == "tanh":
            t = mpmath.tanh(z)
            return (t, 1 - t**2, 2 * t**3 - 2 * t, (1 - t**2) * (6 * t**2 - 2))[order]
        p = mpmath.exp(-(z**2) / 2) / mpmath.sqrt(2 * mpmath.pi)
        return (z * mpmath.ncdf(z), mpmath.ncdf(z) + z * p, (2 - z**2) * p, (z**3 - 4 * z) * p)[
            order
        ]

    # The trapezoid rule at step 1/8 and poles at pi/2 or none: below 1e-26 for this variance.
    nodes = [mpmath.mpf(k) / 8 for k in range(-100, 101)]
    weights = [mpmath.npdf(u) / 8 for u in nodes]
    table = [[derivative(mpmath.sqrt(q) * u, k) for u in nodes] for k in range(4)]
    for kind in KINDS:
        products_there = [
            mpmath.fprod(values) for values in zip(*(table[k] for k in kind), strict=True)
        ]
        exact = float(mpmath.fdot(weights, products_there))
        mean = found.full(*kind)
        assert abs(mean.value.item() - exact) <= mean.error.item()
        assert mean.error.item() < 1e-11


def test_two_samples_of_tanh_by_a_plain_grid():
    # A product of trapezoid rules along the Cholesky axes, not turned, not cut at a radius.
    cov = covariance(2, seed=3)
    found = products("tanh", cov)
    u = np.arange(-9, 9.01, 0.1)
    grid = np.stack(np.meshgrid(u, u, indexing="ij")).reshape(2, -1)
    weights = np.exp(-(grid**2).sum(axis=0) / 2) * 0.01 / (2 * np.pi)
    t = np.tanh(np.linalg.cholesky(cov.matrix) @ grid)
    table = np.stack([t, 1 - t**2, 2 * t**3 - 2 * t, (1 - t**2) * (6 * t**2 - 2)])
    for orders in ALL:
        means = found.full(*orders)
        for at in itertools.product(range(2), repeat=4):
            plain = (
                np.prod([table[k, a] for k, a in zip(orders, at, strict=True)], axis=0) @ weights
            )
            assert abs(means.value[at] - plain) <= means.error[at] + 1e-13


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu"])
def test_four_images_by_the_rule_for_them_alone(name):
    cov = covariance(4, seed=1)
    rows = np.array(list(itertools.combinations_with_replacement(range(4), 4)))
    other = product_moments(name, cov, rows)
    means = products(name, cov).full(0, 0, 0, 0)
    at = tuple(rows.T)
    assert np.all(np.abs(means.value[at] - other.value) <= means.error[at] + other.error)


@pytest.mark.parametrize(("name", "power"), [("linear", 1), ("monomial(2)", 2)])
def test_powers_by_exact_gauss_hermite(name, power):
    cov = covariance(4, seed=2)
    found = products(name, cov)
    nodes, factors = np.polynomial.hermite_e.hermegauss(6)
    grid = np.stack(np.meshgrid(*[nodes] * 4, indexing="ij")).reshape(4, -1)
    weights = np.prod(np.meshgrid(*[factors / factors.sum()] * 4, indexing="ij"), axis=0).ravel()
    z = np.linalg.cholesky(cov.matrix) @ grid
    table = [z**power]
    for k in range(1, 4):
        factor = np.prod(np.arange(power, power - k, -1))
        table.append(factor * z ** max(power - k, 0))
    for orders in ALL:
        means = found.full(*orders)
        for at in ((0, 1, 2, 3), (2, 0, 2, 1), (3, 3, 1, 1), (0, 0, 0, 0)):
            exact = (
                np.prod([table[k][a] for k, a in zip(orders, at, strict=True)], axis=0) @ weights
            )
            assert means.value[at] == pytest.approx(exact, rel=1e-12, abs=1e-12)


def test_a_nearly_singular_covariance_is_the_limit_of_repeated_samples():
    x = np.array([[1.0, 0.3], [1.0, 0.3 + 1e-7], [-0.4, 0.9]])
    near = products("tanh", Covariance.from_matrix(0.1 + x @ x.T))
    x[1] = x[0]
    same = products("tanh", Covariance.from_matrix(0.1 + x @ x.T))
    for orders in ALL:
        a, b = near.full(*orders), same.full(*orders)
        np.testing.assert_allclose(a.value, b.value, atol=1e-6)
        # and a repeated sample gives the repeated block
        np.testing.assert_allclose(b.value[0], b.value[1], atol=1e-11)


# -- kinked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu", "abs", "leaky_relu(0.3)"])
def test_homogeneous_against_samples(name):
    # 35 x 8 means from 200 000 antithetic pairs of draws: that any one is 5 standard errors away
    # has a probability below 2e-4.
    cov = covariance(4, seed=4)
    s = activations.get(name)
    found = products(name, cov)
    z = np.random.default_rng(7).normal(size=(200_000, 4)) @ np.linalg.cholesky(cov.matrix).T
    table = s.derivatives(np.concatenate([z, -z]), 1)
    for orders in SLOPES:
        means = found.full(*orders)
        for at in itertools.combinations_with_replacement(range(4), 4):
            f = np.prod([table[k][:, a] for k, a in zip(orders, at, strict=True)], axis=0)
            f = f.reshape(2, -1).mean(axis=0)
            noise = f.std() / np.sqrt(f.size) + 1e-12
            assert abs(f.mean() - means.value[at]) < 5 * noise


def test_four_slopes_of_relu_are_orthant_probabilities():
    even = np.full((4, 4), 0.5) + 0.5 * np.eye(4)  # 1 / (k + 1) for correlations of one half
    found = products("relu", Covariance.from_matrix(even)).full(1, 1, 1, 1)
    for at, exact in (((0, 1, 2, 3), 1 / 5), ((0, 1, 2, 2), 1 / 4), ((0, 0, 1, 1), 1 / 3)):
        assert abs(found.value[at] - exact) <= found.error[at]
    assert found.error.max() < 1e-7


def test_independent_pairs_of_relu_factorise():
    # <s_a s'_c> = sigma_a (1 + cos theta) / (2 sqrt(2 pi)) for relu.
    pair = np.array([[1.5, 0.6], [0.6, 0.8]])
    found = products("relu", Covariance.from_matrix(np.kron(np.eye(2), pair)))
    mean = found.full(0, 1, 0, 1).value[0, 1, 2, 3]
    cosine = 0.6 / np.sqrt(1.5 * 0.8)
    assert mean == pytest.approx(1.5 * (1 + cosine) ** 2 / (8 * np.pi), rel=1e-12)


def test_collinear_samples_share_one_sign():
    # z, 2 z and -z/2 have the signs 1, 1, -1 of z: every mean is a Gaussian moment of one side.
    x = np.array([[1.0], [2.0], [-0.5]])
    s = activations.get("leaky_relu(0.2)")
    found = products("leaky_relu(0.2)", Covariance.from_matrix(x @ x.T))
    moments = {0: 0.5, 2: 0.5, 4: 1.5}  # of z > 0
    sides = [s.derivatives(side * x[:, 0], 1) for side in (1.0, -1.0)]
    for orders in SLOPES:
        means = found.full(*orders)
        for at in itertools.product(range(3), repeat=4):
            factors = [
                np.prod([table[k][a] for a, k in zip(at, orders, strict=True)]) for table in sides
            ]
            exact = moments[4 - sum(orders)] * sum(factors)
            assert means.value[at] == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("name", ["hard_tanh", "selu"])
def test_other_kinks_factorise_over_independent_pairs(name):
    # <s_a s'_c><s_b s'_d> and <s'_a s'_c><s'_b s'_d>, each a mean over one pair by quadrature.
    pair = np.array([[1.5, 0.6], [0.6, 0.8]])
    cov = Covariance.from_matrix(np.kron(np.eye(2), pair))
    found = products(name, cov)
    table = pair_derivatives(name, Covariance.from_matrix(pair), 2).value[..., 0, 1]
    for orders in ((0, 1, 0, 1), (1, 1, 1, 1), (0, 0, 1, 1)):
        mean = found.full(*orders)
        exact = table[orders[0], orders[1]] * table[orders[2], orders[3]]
        assert abs(mean.value[0, 1, 2, 3] - exact) <= mean.error[0, 1, 2, 3] < 3e-3
    few = found.full(1, 1, 1, 1)
    assert few.error[0, 1, 1, 0] < 1e-9  # two distinct samples have a rule that knows the jumps


def test_products_with_delta_functions_do_not_exist():
    with pytest.raises(KeyError):
        products("relu", covariance(2)).full(2, 1, 1, 0)
