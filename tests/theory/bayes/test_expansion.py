"""The expansion against exact mixtures of Gaussian kernels, limits and invariances."""

import numpy as np
import pytest

from whydeep.errors import InputError
from whydeep.theory.bayes import FullVertex, expand_posterior

RNG = np.random.default_rng(5)
TRAIN, TEST, OUTPUTS, NOISE = 3, 2, 3, 0.2
SIZE = TRAIN + TEST
Y = RNG.normal(size=(TRAIN, OUTPUTS))


def semidefinite(rank):
    root = RNG.normal(size=(SIZE, rank))
    return root @ root.T / rank


KERNEL = semidefinite(3 * SIZE) + np.eye(SIZE)
SHIFT = 0.3 * semidefinite(2)
DIRECTIONS = [0.2 * (t + t.T) for t in RNG.normal(size=(4, SIZE, SIZE))]
VERTEX = sum(np.einsum("ab,cd->abcd", t, t) for t in DIRECTIONS)


def given(kernel):
    """Mean, covariance and log evidence of one Gaussian kernel, as Rasmussen and Williams 2.25."""
    r, t = slice(0, TRAIN), slice(TRAIN, None)
    a = kernel[r, r] + NOISE * np.eye(TRAIN)
    reach = np.linalg.solve(a, kernel[r, t]).T
    log = -0.5 * np.trace(Y.T @ np.linalg.solve(a, Y))
    log -= 0.5 * OUTPUTS * np.linalg.slogdet(2 * np.pi * a)[1]
    return reach @ Y, kernel[t, t] - reach @ kernel[r, t], log


def mixture(share):
    """The exact posterior where G is one of K + share K{1} +- sqrt(share M) T_m."""
    size = np.sqrt(share * len(DIRECTIONS))
    kernels = [KERNEL + share * SHIFT + sign * size * t for t in DIRECTIONS for sign in (1.0, -1.0)]
    means, covariances, logs = zip(*map(given, kernels), strict=True)
    top = max(logs)
    weights = np.exp(np.array(logs) - top)
    evidence = top + np.log(weights.mean())
    weights = weights / weights.sum()
    mean = np.einsum("g,gmi->mi", weights, means)
    second = np.einsum("g,gmi,gkj->ijmk", weights, means, means)
    second += np.einsum("ij,g,gmk->ijmk", np.eye(OUTPUTS), weights, covariances)
    return mean, second - np.einsum("mi,kj->ijmk", mean, mean), evidence


def test_it_is_the_first_order_of_an_exact_mixture():
    found = expand_posterior(KERNEL, Y, NOISE, SHIFT, FullVertex(VERTEX))
    zero = given(KERNEL)
    np.testing.assert_allclose(found.mean, zero[0], rtol=1e-12)
    np.testing.assert_allclose(found.covariance, zero[1], rtol=1e-12)
    np.testing.assert_allclose(found.log_evidence, zero[2], rtol=1e-12)
    corrected = np.einsum("ij,mk->ijmk", np.eye(OUTPUTS), found.shared_correction) + found.wiring
    leading = np.einsum("ij,mk->ijmk", np.eye(OUTPUTS), found.covariance)
    expected = (found.mean_correction, corrected, found.log_evidence_correction)
    for number, (start, value) in enumerate(
        zip((found.mean, leading, found.log_evidence), expected, strict=True)
    ):
        # The mixture is even in sqrt(share): three shares leave an error of order share^3.
        slopes = [(mixture(s)[number] - start) / s for s in (1e-3, 2e-3, 4e-3)]
        first = [2 * slopes[0] - slopes[1], 2 * slopes[1] - slopes[2]]
        limit = (4 * first[0] - first[1]) / 3
        np.testing.assert_allclose(limit, value, atol=2e-5 * np.abs(value).max())


def test_a_test_input_that_is_a_training_input_without_noise_is_its_label():
    take = [*range(TRAIN), 0, TRAIN]
    pair = np.ix_(take, take)
    vertex = VERTEX[np.ix_(take, take, take, take)]
    found = expand_posterior(KERNEL[pair], Y, 0.0, SHIFT[pair], FullVertex(vertex))
    np.testing.assert_allclose(found.mean[0], Y[0], rtol=1e-11)
    np.testing.assert_allclose(found.mean_correction[0], 0, atol=1e-11)
    np.testing.assert_allclose(found.shared_correction[0], 0, atol=1e-11)
    np.testing.assert_allclose(found.wiring[:, :, 0], 0, atol=1e-11)
    assert np.abs(found.mean_correction[1]).max() > 1e-2


def test_outputs_turn_together_and_samples_keep_their_order():
    turn = np.linalg.qr(RNG.normal(size=(OUTPUTS, OUTPUTS)))[0]
    found = expand_posterior(KERNEL, Y, NOISE, SHIFT, FullVertex(VERTEX))
    turned = expand_posterior(KERNEL, Y @ turn, NOISE, SHIFT, FullVertex(VERTEX))
    np.testing.assert_allclose(turned.mean_correction, found.mean_correction @ turn, atol=1e-12)
    np.testing.assert_allclose(
        turned.wiring, np.einsum("ijmk,ip,jq->pqmk", found.wiring, turn, turn), atol=1e-12
    )
    np.testing.assert_allclose(turned.log_evidence_correction, found.log_evidence_correction)
    order = np.array([2, 0, 1, *range(TRAIN, SIZE)])
    pair = np.ix_(order, order)
    other = expand_posterior(
        KERNEL[pair], Y[order[:TRAIN]], NOISE, SHIFT[pair],
        FullVertex(VERTEX[np.ix_(order, order, order, order)]),
    )  # fmt: skip
    np.testing.assert_allclose(other.mean_correction, found.mean_correction, atol=1e-12)
    np.testing.assert_allclose(other.wiring, found.wiring, atol=1e-12)


def test_a_kernel_without_inverse_needs_noise():
    singular = np.ones((3, 3))
    with pytest.raises(InputError, match="no inverse"):
        expand_posterior(singular, Y[:2, :1], 0.0)
    found = expand_posterior(singular, Y[:2, :1], 0.5)
    np.testing.assert_allclose(found.mean, Y[:2, :1].sum() / 2.5)
