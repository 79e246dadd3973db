"""Trained moments at order 1/n: closed form, descent by brute force, limits, invariances."""

import dataclasses

import numpy as np
import pytest
from scipy import integrate

from tests.theory.training.finite.support import LETTERS, brute_force, random_tensors
from whydeep.theory.training import Descent, Flow, evolve
from whydeep.theory.training.finite import CAUSES, OutputTensors, expand_training

RNG = np.random.default_rng(8)


def correction(found):
    return sum(found.mean_correction[cause] for cause in CAUSES)


def changed(tensors, change):
    fields = {f.name: change(getattr(tensors, f.name)) for f in dataclasses.fields(tensors)}
    return OutputTensors(**fields)


def test_one_input_and_one_output_in_closed_form():
    # Derived apart from this code, and checked by Monte Carlo: with u = (1 - e^(-Theta t)) / Theta,
    # C_3 = 3 R + 2 (S + T + U) and PQ = P + 2 Q.
    values = dict(zip(LETTERS, RNG.normal(size=len(LETTERS)), strict=True))
    k, theta, k1, h1, y = 0.7, 1.3, 0.2, 0.4, 2.5
    tensors = OutputTensors(
        *(np.full((1, 1), v) for v in (k, theta, k1, h1)),
        **{letter: np.full((1,) * 4, v) for letter, v in values.items()},
    )
    pq = values["P"] + 2 * values["Q"]
    cubic = 3 * values["R"] + 2 * sum(values[x] for x in "STU")
    spread = values["A"] + 2 * values["B"]

    def u(s):
        return (1 - np.exp(-theta * s)) / theta

    times = np.array([0.1, 0.6, 3.0])
    found = expand_training(tensors, np.array([[y]]), times, Flow())
    for i, t in enumerate(times):
        once = integrate.quad(u, 0, t)[0]
        twice = integrate.quad(lambda s: u(s) ** 2, 0, t)[0]
        mean = y * np.exp(-theta * t) * (
            h1 * t - spread * t**2 / 2 - 4 * pq * once + cubic * (y**2 + 3 * k) * twice
        )  # fmt: skip
        drift = -2 * u(t) * pq + cubic * (k + y**2) * u(t) ** 2
        assert correction(found)[i, 0, 0] == pytest.approx(mean, rel=1e-11)
        assert found.ntk_change[i].item() == pytest.approx(drift, rel=1e-11)


@pytest.mark.parametrize(
    ("outputs", "samples", "trained"), [(1, 2, 1), (1, 3, 2), (2, 2, 1), (2, 3, 2)]
)
def test_descent_by_brute_force(outputs, samples, trained):
    # Three steps, a random symmetric tensor in every place, and test inputs.
    tensors = random_tensors(3 + samples, samples)
    y = RNG.normal(size=(trained, outputs))
    steps, step = 3, 0.2
    mean, covariance, drift = brute_force(tensors, y, samples, outputs, steps, step)
    found = expand_training(tensors, y, [steps * step], Descent(step))
    for value, wanted in (
        (correction(found)[0], mean),
        (found.covariance_correction[0], covariance),
        (found.ntk_change[0], drift),
    ):
        # The extrapolation leaves (1/n)^2 = 1e-8 times coefficients of three orders more.
        np.testing.assert_allclose(value, wanted, atol=2e-5 * np.abs(wanted).max())


def test_small_steps_are_gradient_flow():
    tensors = random_tensors(1, 3)
    y = RNG.normal(size=(2, 2))
    flow = expand_training(tensors, y, [0.5], Flow())
    coarse, fine = (expand_training(tensors, y, [0.5], Descent(0.5 / k)) for k in (4000, 8000))
    for name in ("covariance_correction", "ntk_change", "mean", "covariance"):
        limit = 2 * getattr(fine, name) - getattr(coarse, name)
        wanted = getattr(flow, name)
        np.testing.assert_allclose(limit, wanted, atol=1e-6 * np.abs(wanted).max())
    for cause in CAUSES:
        limit = 2 * fine.mean_correction[cause] - coarse.mean_correction[cause]
        wanted = flow.mean_correction[cause]
        np.testing.assert_allclose(limit, wanted, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("dynamics", [Flow(), Descent(0.25)])
def test_the_leading_order_is_that_of_infinite_width(dynamics):
    tensors = random_tensors(2, 4)
    y = RNG.normal(size=(3, 2))
    times = np.array([0.0, 0.5, 4.0])
    found = expand_training(tensors, y, times, dynamics)
    exact = evolve(tensors.kernel, tensors.ntk, y, times, dynamics=dynamics)
    assert exact.train_covariance is not None
    assert exact.test_covariance is not None
    np.testing.assert_allclose(found.mean[:, :3], exact.train_mean, atol=1e-12)
    np.testing.assert_allclose(found.mean[:, 3:], exact.test_mean, atol=1e-12)
    np.testing.assert_allclose(found.covariance[:, :3, :3], exact.train_covariance, atol=1e-12)
    np.testing.assert_allclose(found.covariance[:, 3:, 3:], exact.test_covariance, atol=1e-12)
    # Before training only the kernel is corrected.
    np.testing.assert_allclose(correction(found)[0], 0, atol=1e-13)
    np.testing.assert_allclose(found.ntk_change[0], 0, atol=1e-13)
    for i, j in np.ndindex(2, 2):
        wanted = tensors.kernel_correction * (i == j)
        np.testing.assert_allclose(found.covariance_correction[0, i, j], wanted, atol=1e-12)


@pytest.mark.parametrize("dynamics", [Flow(), Descent(0.25)])
def test_outputs_turn_together_and_samples_keep_their_order(dynamics):
    tensors = random_tensors(4, 4)
    y = RNG.normal(size=(3, 2))
    found = expand_training(tensors, y, [0.75], dynamics)
    turn = np.linalg.qr(RNG.normal(size=(2, 2)))[0]
    turned = expand_training(tensors, y @ turn, [0.75], dynamics)
    np.testing.assert_allclose(correction(turned), correction(found) @ turn, atol=1e-10)
    for name in ("covariance_correction", "ntk_change"):
        wanted = np.einsum("tijab,ip,jq->tpqab", getattr(found, name), turn, turn)
        np.testing.assert_allclose(getattr(turned, name), wanted, atol=1e-9)
    order = [2, 0, 1, 3]
    mixed = changed(tensors, lambda x: x[np.ix_(*[order] * x.ndim)])
    other = expand_training(mixed, y[order[:3]], [0.75], dynamics)
    np.testing.assert_allclose(correction(other), correction(found)[:, order], atol=1e-10)
    wanted = found.covariance_correction[..., order, :][..., order]
    np.testing.assert_allclose(other.covariance_correction, wanted, atol=1e-9)


def test_a_test_input_that_is_a_training_input_goes_its_way():
    take = [0, 1, 0, 2]
    tensors = changed(random_tensors(5, 3), lambda x: x[np.ix_(*[take] * x.ndim)])
    y = RNG.normal(size=(2, 2))
    found = expand_training(tensors, y, [0.4, 30.0], Flow())
    np.testing.assert_allclose(correction(found)[:, 2], correction(found)[:, 0], atol=1e-9)
    rows = found.covariance_correction
    np.testing.assert_allclose(rows[..., 2, :], rows[..., 0, :], atol=1e-9)
    np.testing.assert_allclose(found.ntk_change[..., 2], found.ntk_change[..., 0], atol=1e-9)


@pytest.mark.parametrize("dynamics", [Flow(), Descent(0.2)])
def test_the_end_fits_every_label_and_depends_on_the_way(dynamics):
    tensors = random_tensors(6, 3)
    y = RNG.normal(size=(2, 2))
    found = expand_training(tensors, y, [np.inf, 400.0], dynamics)
    for late in (0, 1):
        np.testing.assert_allclose(found.mean[late, :2], y, atol=1e-12)
        np.testing.assert_allclose(correction(found)[late, :2], 0, atol=1e-9)
        np.testing.assert_allclose(found.covariance_correction[late, ..., :2, :], 0, atol=1e-9)
    np.testing.assert_allclose(correction(found)[0], correction(found)[1], atol=1e-9)
    np.testing.assert_allclose(found.ntk_change[0], found.ntk_change[1], atol=1e-9)
    if isinstance(dynamics, Descent):
        flow = expand_training(tensors, y, [np.inf], Flow())
        np.testing.assert_allclose(found.mean[0], flow.mean[0], atol=1e-12)
        assert np.abs(correction(found)[0, 2] - correction(flow)[0, 2]).max() > 1e-2
