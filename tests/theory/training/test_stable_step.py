"""The largest stable step: brute force on both sides of it, for each loss and optimiser."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

import whydeep as wd
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


WIDTH, INPUTS = 64, np.random.default_rng(50).normal(size=(5, 3))


class _Relu:
    """One hidden layer of width 64 in the NTK parameterization, by hand, C_W = 2."""

    def __init__(self, rng):
        self.inner, self.outer = rng.normal(size=(3, WIDTH)), rng.normal(size=WIDTH)
        self.scale = np.sqrt(2 / 3), np.sqrt(2 / WIDTH)

    def outputs(self):
        z = self.scale[0] * INPUTS @ self.inner
        return self.scale[1] * np.maximum(z, 0) @ self.outer, z

    def jacobian(self):
        _, z = self.outputs()
        slopes = self.scale[0] * self.scale[1] * (z > 0) * self.outer
        first = np.einsum("ni,nj->nij", INPUTS, slopes).reshape(5, -1)
        return np.hstack([first, self.scale[1] * np.maximum(z, 0)])

    def kernel(self):
        jacobian = self.jacobian()
        return jacobian @ jacobian.T

    def trained(self, y, step, steps):
        losses = []
        for _ in range(steps):
            f, _ = self.outputs()
            losses.append(0.5 * float(np.sum((f - y) ** 2)))
            if losses[-1] > 1e6:
                break
            change = step * (f - y) @ self.jacobian()
            self.inner -= change[: 3 * WIDTH].reshape(3, WIDTH)
            self.outer -= change[3 * WIDTH :]
        return np.array(losses)


def _widths_interval():
    kernels = [_Relu(np.random.default_rng([51, i])).kernel() for i in range(32)]
    theta = np.asarray(
        wd.kernel(wd.mlp(1, WIDTH, "relu", weight_var=2.0, bias_var=0.0), INPUTS).ntk
    )
    return largest_stable_step(theta, networks=np.stack(kernels))


def test_the_interval_holds_the_thresholds_of_nine_in_ten_networks():
    """200 others: a binomial share of 0.9 (the interval itself is of 32), four deviations."""
    found = _widths_interval()
    low, high = found.interval
    assert low < found.value < high
    other = np.array([
        2 / np.linalg.eigvalsh(_Relu(np.random.default_rng([52, i])).kernel())[-1]
        for i in range(200)
    ])  # fmt: skip
    share = np.mean((low < other) & (other < high))
    assert abs(share - 0.9) < 4 * np.sqrt(0.09 / 200) + 0.03
    assert "90% of networks of this width" in repr(found)


def test_networks_train_below_the_interval_and_rise_above_it():
    """Small residuals, so that the kernel hardly moves: above 2 / lambda the loss must rise.

    A network has its threshold above the interval with probability 5%: 5 of 40 or fewer with
    probability 0.986, 8 or fewer with 0.9999; likewise below it.
    """
    low, high = _widths_interval().interval
    fell, rose = 0, 0
    for i in range(40):
        rng = np.random.default_rng([53, i])
        net = _Relu(rng)
        y = net.outputs()[0] + 1e-4 * rng.normal(size=5)
        losses = net.trained(y, low, 60)
        fell += losses[-1] < losses[0]
        other = _Relu(np.random.default_rng([54, i]))
        y = other.outputs()[0] + 1e-4 * rng.normal(size=5)
        rose += other.trained(y, high, 200).max() > 2 * 0.5 * 25e-8
    assert fell >= 32
    assert rose >= 32


def test_what_an_interval_rests_on_is_said():
    plain = largest_stable_step(np.eye(3))
    assert plain.interval is None
    assert "networks=" in plain.cite()
    for networks in (np.eye(3), np.ones((3, 3, 3)), np.ones((9, 2, 2))):
        with pytest.raises(InputError, match="networks"):
            largest_stable_step(np.eye(3), networks=networks)
