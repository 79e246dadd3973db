"""The largest stable step: brute force on both sides of it, for each loss and optimiser."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from whydeep.errors import InputError, UnsupportedError
from whydeep.theory.training import largest_stable_step, stable_adam_curvature

RNG = np.random.default_rng(8)
N, C = 8, 3
FEATURES = RNG.normal(size=(N, 30))
NTK = FEATURES @ FEATURES.T / 10
LABELS = RNG.normal(size=(N, C))


def distance_after(gradient, fixed, step, momentum, steps=1500):
    """How far outputs are from a fixed point, in units of where they began, just off it."""
    f = fixed + 1e-6 * np.random.default_rng(1).normal(size=fixed.shape)
    first, before = np.linalg.norm(f - fixed), f
    for _ in range(steps):
        f, before = f + momentum * (f - before) - step * NTK @ gradient(f), f
        if np.linalg.norm(f - fixed) > 1e4 * first:
            break
    return np.linalg.norm(f - fixed) / first


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("reduction", "scale"), [("sum", 1.0), ("mean", 1 / (N * C))])
def test_squared_loss_on_both_sides(momentum, reduction, scale):
    found = largest_stable_step(NTK, momentum=momentum, reduction=reduction, outputs=C)
    top = np.linalg.eigvalsh(NTK)[-1] * scale
    assert found.value == pytest.approx(2 * (1 + momentum) / top, rel=1e-12)
    assert found.everywhere == found.value == float(found)
    sides = [distance_after(lambda f: scale * (f - LABELS), LABELS, found.value * factor, momentum)
             for factor in (0.98, 1.02)]  # fmt: skip
    # Slow modes still die out below; above, one grows by at least 1% a step and soon passes 10^4.
    assert sides[0] < 1.0
    assert sides[1] > 100.0


def test_torchs_mean_of_squares_allows_half_the_step():
    def mse(f, y):
        return jnp.mean((f - y) ** 2)

    ours = largest_stable_step(NTK, reduction="mean", outputs=C)
    torchs = largest_stable_step(NTK, loss=mse, y=LABELS)
    assert torchs.value == pytest.approx(ours.value / 2, rel=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("reduction", "scale"), [("sum", 1.0), ("mean", 1 / N)])
def test_cross_entropy_on_both_sides(momentum, reduction, scale):
    # Labels that equal the predictions at some outputs make these a fixed point.
    fixed = 0.7 * LABELS
    fixed -= fixed.mean(axis=1, keepdims=True)
    soft = softmax(fixed, axis=1)
    found = largest_stable_step(
        NTK, loss="cross_entropy", reduction=reduction, momentum=momentum, at=fixed
    )
    sides = [
        distance_after(lambda f: scale * (softmax(f, axis=1) - soft), fixed,
                       found.value * factor, momentum)
        for factor in (0.98, 1.02)
    ]  # fmt: skip
    assert sides[0] < 1.0
    assert sides[1] > 100.0
    assert found.everywhere < found.value


def test_cross_entropys_curvature_is_that_of_the_full_matrix():
    at = RNG.normal(size=(40, C))  # large enough for the iteration
    points = RNG.normal(size=(40, 60))
    theta = points @ points.T / 10
    p = softmax(at, axis=1)
    hessian = np.zeros((40, C, 40, C))
    for a in range(40):
        hessian[a, :, a] = np.diag(p[a]) - np.outer(p[a], p[a])
    full = np.kron(theta, np.eye(C)) @ hessian.reshape(40 * C, 40 * C)
    exact = np.linalg.eigvals(full).real.max()
    found = largest_stable_step(theta, loss="cross_entropy", at=at)
    assert found.curvature == pytest.approx(exact, rel=1e-10)

    def entropy(f, y):
        return -jnp.sum(y * jax.nn.log_softmax(f))

    own = largest_stable_step(theta, loss=entropy, at=at, y=np.eye(C)[np.arange(40) % C])
    assert own.curvature == pytest.approx(exact, rel=1e-9)


def test_cross_entropy_at_the_start_divides_by_the_classes():
    top = np.linalg.eigvalsh(NTK)[-1]
    for classes in (2, 10):
        found = largest_stable_step(NTK, loss="cross_entropy", outputs=classes)
        assert found.value == pytest.approx(2 * classes / top, rel=1e-10)
        assert found.everywhere == pytest.approx(4 / top, rel=1e-12)


def test_no_outputs_make_cross_entropy_steeper_than_its_bound():
    bound = largest_stable_step(NTK, loss="cross_entropy", outputs=C).everywhere
    for scale in (0.1, 1.0, 3.0, 10.0):
        at = scale * RNG.normal(size=(N, C))
        assert largest_stable_step(NTK, loss="cross_entropy", at=at).value >= bound


@pytest.mark.parametrize("b1", [0.0, 0.9])
def test_adams_bound_on_both_sides_once_its_second_moment_keeps_still(b1):
    step = 0.01
    for factor, grows in ((0.99, False), (1.01, True)):
        curvature = factor * stable_adam_curvature(step, b1)
        x, moment = 1.0, 0.0
        for _ in range(3000):
            moment = b1 * moment + (1 - b1) * curvature * x
            x -= step * moment
            if abs(x) > 1e6:
                break
        assert (abs(x) > 1e3) is grows
    assert stable_adam_curvature(1e-3) == pytest.approx(38000)  # the 38/eta of Cohen et al.


def test_a_loss_without_upward_curvature_has_no_largest_step():
    found = largest_stable_step(NTK, loss=lambda f, y: jnp.sum(f * y), y=LABELS)
    assert found.value == np.inf


def test_the_number_says_what_it_is_about():
    found = largest_stable_step(NTK, momentum=0.9, reduction="mean", outputs=2)
    assert "1/(2 N C) sum (f - y)^2" in repr(found)
    assert "momentum 0.9" in repr(found)
    assert "infinite width" in found.cite()


def test_what_can_not_be_used_is_refused():
    with pytest.raises(UnsupportedError, match="Adam") as caught:
        largest_stable_step(NTK, optimizer="adam")
    assert "stable_adam_curvature" in str(caught.value)
    for arguments in ({"optimizer": "lion"}, {"momentum": 1.0}, {"loss": "hinge"},
                      {"loss": "cross_entropy"}, {"at": np.zeros((3, 2))}):  # fmt: skip
        with pytest.raises(InputError):
            largest_stable_step(NTK, **arguments)
    for matrix in (NTK[:2], -NTK, np.full((2, 2), np.nan), np.zeros((0, 0))):
        with pytest.raises(InputError):
            largest_stable_step(matrix)
    with pytest.raises(InputError):
        stable_adam_curvature(0.1, b1=1.0)
