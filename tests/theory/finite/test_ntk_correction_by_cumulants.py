"""The first correction to the mean tangent kernel of two hidden layers, by another road.

Given the first layer, whose neurons are independent, the mean of the output's tangent kernel is a
smooth function f of averages over them (s_a s_b and s'_a s'_b Theta_ab), and a term where the
second layer's weights meet the preactivations that they make (Stein's lemma, twice). To order 1/n

    E f(averages) = f(mean) + (1/2n) sum Cov d2f,

with the covariance of one neuron. Nothing of the recursion is used.
"""

import itertools

import numpy as np
import pytest
from scipy.special import erf

import whydeep as wd

X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1]])
C_B, C_W = (0.1, 0.2, 0.3), (1.4, 2.0, 1.2)
L_B, L_W = (0.5, 0.7, 1.1), (1.0, 1.6, 0.9)
PAIRS = ((0, 0), (0, 1), (1, 1))
RATIO = 3  # of the second width to the first
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(110)
U = np.stack([part.ravel() for part in np.meshgrid(NODES, NODES, indexing="ij")])
W = np.outer(WEIGHTS, WEIGHTS).ravel() / WEIGHTS.sum() ** 2


def gelu(z):
    density, law = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), 0.5 * (1 + erf(z / np.sqrt(2)))
    return z * law, law + z * density, (2 - z**2) * density, (z**3 - 4 * z) * density


def tanh(z):
    t = np.tanh(z)
    slope = 1 - t**2
    return t, slope, -2 * t * slope, -2 * slope * (1 - 3 * t**2)


def drawn(kernel):
    return np.linalg.cholesky(kernel) @ U


def matrix(three):
    return np.array([[three[0], three[1]], [three[1], three[2]]])


def mean_tangent(averages, function):
    """f: the output's tangent kernel for given averages of the first layer."""
    s, slope = function(drawn(C_B[1] + C_W[1] * matrix(averages)))[:2]
    out = []
    for k, (a, b) in enumerate(PAIRS):
        below = L_B[1] + L_W[1] * averages[k] + C_W[1] * averages[3 + k]
        out.append(L_B[2] + L_W[2] * (s[a] * s[b]) @ W + C_W[2] * below * (slope[a] * slope[b]) @ W)
    return np.array(out)


def curvature(averages, covariance, function):
    """(1/2) sum Cov d2f, by central differences of fourth order along principal directions."""
    values, vectors = np.linalg.eigh(covariance)
    center, total = mean_tangent(averages, function), 0.0
    for value, direction in zip(values, vectors.T, strict=True):
        step = 1e-2 * np.abs(averages).min() / np.abs(direction).max()
        one, two = (
            sum(mean_tangent(averages + sign * k * step * direction, function) for sign in (1, -1))
            for k in (1, 2)
        )
        total = total + 0.5 * value * (16 * one - two - 30 * center) / (12 * step**2)
    return total


def met_weights(features, s, kernel, function):
    """C_W C_W^2 E[t_k s_kc s_kd] E[d_c d_d (s'_a s'_b)], summed over c and d."""
    derivatives = function(drawn(kernel))[1:]

    def twice(a, b, c, d):
        if a == b:
            first, second, third = (part[a] for part in derivatives)
            return 2 * (second**2 + first * third) @ W if c == d == a else 0.0
        on_a = (c == a) + (d == a)
        return (derivatives[on_a][a] * derivatives[2 - on_a][b]) @ W

    return C_W[2] * C_W[1] ** 2 * np.array([
        sum(
            (features[3 + k] * s[c] * s[d]) @ W * twice(a, b, c, d)
            for c, d in itertools.product((0, 1), repeat=2)
        )
        for k, (a, b) in enumerate(PAIRS)
    ])  # fmt: skip


@pytest.mark.parametrize(("name", "function"), [("gelu", gelu), ("tanh", tanh)])
def test_correction_equals_the_expansion_in_cumulants_of_the_first_layer(name, function):
    gram = X @ X.T / X.shape[1]
    s, slope = function(drawn(C_B[0] + C_W[0] * gram))[:2]
    first = L_B[0] + L_W[0] * gram
    features = np.array(
        [s[a] * s[b] for a, b in PAIRS] + [slope[a] * slope[b] * first[a, b] for a, b in PAIRS]
    )
    averages = features @ W
    covariance = (features * W) @ features.T - np.outer(averages, averages)
    kernel = C_B[1] + C_W[1] * matrix(averages)
    expected = curvature(averages, covariance, function) + met_weights(
        features, s, kernel, function
    )

    network = wd.mlp(
        2, (8, 8 * RATIO), name, weight_var=C_W, bias_var=C_B, weight_lr=L_W, bias_lr=L_B
    )
    found = wd.predict(network, X, order=1, observables=("ntk", "ntk_correction"))
    limit = found["ntk"].values[2]  # poles of tanh keep nodes from being exact
    np.testing.assert_allclose(
        [limit[a, b] for a, b in PAIRS], mean_tangent(averages, function), rtol=1e-8
    )
    correction = found["ntk_correction"].values[2]
    np.testing.assert_allclose(
        [correction[a, b] for a, b in PAIRS], RATIO * expected, atol=2e-6 * np.abs(expected).max()
    )
