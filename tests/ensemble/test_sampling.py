"""The samplers: exact moments, agreement in law with each other, reproducibility, refusals.

Statistical tests compare with exact numbers or with an independent sampler, with fixed seeds. A
test of k numbers allows |z| below the two-sided Gaussian quantile of 1e-4 / k.
"""

import jax
import jax.extend.random
import numpy as np
import pytest
from scipy import stats

from whydeep.ensemble import measure
from whydeep.ensemble._normals import key_of, normals, threefry
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import mlp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5))
X[2] = X[0]  # a singular kernel: the sampler must not notice


def allowed(count):
    return stats.norm.isf(1e-4 / (2 * count))


def test_bits_are_those_of_jax():
    key = (np.uint32(17), np.uint32(4))
    counts = np.arange(64, dtype=np.uint32)
    ours = threefry(key, counts[:32], counts[32:])
    theirs = jax.extend.random.threefry_2x32(np.array(key), counts)
    np.testing.assert_array_equal(np.concatenate(ours), np.asarray(theirs))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normals_have_normal_moments(dtype):
    with jax.enable_x64(dtype is np.float64):
        key = key_of((np.uint32(1), np.uint32(0)), 5)
        z = np.asarray(normals(key, 2, (2_000_000,), dtype)).astype(np.float64)
    moments = [np.mean(z**k) for k in (1, 2, 3, 4, 6)]
    variances = np.array([1, 2, 15, 96, 10395 - 225]) / z.size
    scores = (np.array(moments) - [0, 1, 0, 3, 15]) / np.sqrt(variances)
    assert np.abs(scores).max() < allowed(5)
    assert stats.kstest(z[:100_000], "norm").pvalue > 1e-4


@pytest.mark.parametrize(("activation", "widths"), [("relu", (8, 8, 8)), ("linear", (6, 9, 5))])
def test_fourth_moments_are_exact_at_any_width(activation, widths):
    # E X^2 = 1 + nu / n a layer (notes 2.10): V / n = K^2 (prod (1 + nu / n_l) - 1).
    nu = {"relu": 5.0, "linear": 2.0}[activation]
    measured = measure(
        mlp(3, widths, activation), np.ones((1, 1)), draws=60_000, rungs=2, seed=1,
        observables=("kernel", "four_point"),
    )  # fmt: skip
    kernel = {"relu": 2.0, "linear": 1.0}[activation]
    mean, error = measured.ladder("four_point")
    for rung, factor in enumerate(measured.factors):
        for layer in range(2, 5):
            below = [factor * n for n in widths[: layer - 1]]
            exact = below[-1] * kernel**2 * (np.prod([1 + nu / n for n in below]) - 1)
            score = (mean.values[rung, layer - 1] - exact) / error.values[rung, layer - 1]
            assert abs(score.item()) < allowed(6)
    deviation = measured["kernel"].values - kernel
    assert np.abs(deviation[1:] / measured.stderr["kernel"].values[1:]).max() < allowed(3)


def test_relu_tangent_kernel_has_no_correction_on_one_input():
    net = mlp(4, 6, "relu", weight_lr=(1, 0.8, 1.3, 0.7, 2.0), bias_lr=(0.5, 0.7, 1.1, 0.2, 0.1))
    measured = measure(net, np.ones((1, 1)), draws=40_000, rungs=1, observables=("ntk",), seed=3)
    theta, exact = 0.5 + 1.0, []
    for bias_lr, weight_lr in ((0.7, 0.8), (1.1, 1.3), (0.2, 0.7), (0.1, 2.0)):
        theta = bias_lr + weight_lr * 1.0 + theta  # <s^2> = K / 2 = 1, C_W <s'^2> = 1
        exact.append(theta)
    found = measured["ntk"].values[1:].squeeze()
    error = measured.stderr["ntk"].values[1:].squeeze()
    assert np.abs((found - exact) / error).max() < allowed(4)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("widths", [(6, 6, 6), (4, 7, 3)])
def test_conditional_and_plain_sampler_agree_in_law(activation, widths):
    net = mlp(
        3, widths, activation, weight_var=1.4, bias_var=0.3,
        weight_lr=(1, 0.8, 1.3, 0.7), bias_lr=(0.5, 0.7, 1.1, 0.2),
    )  # fmt: skip
    names = ("kernel", "ntk", "four_point")
    one = measure(net, X, draws=20_000, rungs=2, seed=1, observables=names)
    two = measure(net, X, draws=10_000, rungs=2, seed=2, observables=names, sampler="plain")
    for name in names:
        (mean1, error1), (mean2, error2) = one.ladder(name), two.ladder(name)
        spread = np.sqrt(error1.values**2 + error2.values**2)
        random = spread > 1e-6
        scores = (mean1.values - mean2.values)[random] / spread[random]
        assert np.abs(scores).max() < allowed(scores.size), name
    # Covariances of single draws, layer by layer: the tangent kernel's too.
    for name in ("kernel", "ntk"):
        for layer in (2, 3, 4):
            # A draw holds two networks of the first rung, which share nothing with each other.
            first = 2 * one.draws * one.covariance(name, layer)
            second = two.draws * two.covariance(name, layer)
            scale = np.sqrt(np.outer(np.diag(first), np.diag(first)))
            count = two.batches[name].shape[1]
            assert np.abs((first - second) / scale).max() < 6 * np.sqrt(2 / count), name


def test_averaging_the_last_layer_changes_errors_and_not_means():
    net = mlp(2, (5, 6), "tanh", outputs=4, weight_var=1.4, bias_var=0.2)
    names = ("kernel", "four_point")
    exact = measure(net, X[:2], draws=8_000, rungs=1, observables=names)
    raw = measure(
        net, X[:2], draws=20_000, rungs=1, observables=names, sampler="plain", average_last=False,
        seed=5,
    )  # fmt: skip
    for name in names:
        spread = np.hypot(exact.stderr[name].values[1:], raw.stderr[name].values[1:])
        scores = (exact[name].values[1:] - raw[name].values[1:]) / spread
        assert np.abs(scores).max() < allowed(scores.size), name
    assert (exact.stderr["kernel"] < raw.stderr["kernel"] * np.sqrt(2.5)).values[1:].all()


def test_the_ladder_sharpens_differences_between_widths():
    net = mlp(3, 16, "tanh")
    coupled = measure(net, X[:2], draws=4_000, observables=("kernel_correction",))
    plain = measure(net, X[:2], draws=4_000, observables=("kernel_correction",), sampler="plain")
    ratio = plain.stderr["kernel_correction"] / coupled.stderr["kernel_correction"]
    assert ratio.values[2:].min() > 2.5


def test_control_variates_do_not_shift_the_vertex():
    # Unbiased at every rung: the mean over rungs' known exact values, many batches.
    measured = measure(mlp(2, 4, "relu"), np.ones((1, 1)), draws=60_000, rungs=3, seed=9,
                       observables=("four_point",))  # fmt: skip
    mean, error = measured.ladder("four_point")
    for rung, n in enumerate((4, 8, 16)):
        exact = 4.0 * n * ((1 + 5 / n) ** 2 - 1)
        assert abs((mean.values[rung, 2] - exact) / error.values[rung, 2]).item() < allowed(3)


def test_a_seed_fixes_everything_and_another_changes_it():
    net = mlp(2, 8, "gelu")
    a, b, c = (measure(net, X, draws=500, seed=s) for s in (1, 1, 2))
    for name in a:
        np.testing.assert_array_equal(a[name].values, b[name].values)
        assert np.any(a[name].values[1:] != c[name].values[1:])


def test_memory_does_not_grow_with_draws():
    net = mlp(1, 4, "relu")
    few, many = (measure(net, X[:1], draws=d, rungs=1) for d in (20_000, 200_000))
    assert many.draws >= 200_000
    assert many.batches["kernel"].nbytes <= 3 * few.batches["kernel"].nbytes
    assert many.batches["kernel"].shape[1] <= 400


@pytest.mark.lanes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_precision_is_what_was_asked_for(dtype):
    before = jax.config.jax_enable_x64
    net = mlp(2, 8, "tanh")
    a = measure(net, X, draws=500, dtype=dtype)
    assert jax.config.jax_enable_x64 == before
    other = measure(net, X, draws=500, dtype="float32" if dtype == "float64" else "float64")
    np.testing.assert_allclose(a["kernel"], other["kernel"], rtol=2e-5)
    assert a.dtype == dtype


def test_user_functions_are_drawn():
    def wavy(z):
        return jax.numpy.tanh(z) + 0.1 * jax.numpy.sin(3 * z)

    net = mlp(2, 8, wavy, weight_var=1.0, bias_var=0.1)
    measured = measure(net, X, draws=500)
    assert set(measured) == {"kernel", "ntk", "four_point", "kernel_correction"}


def test_density_integrates_to_one():
    density = measure(mlp(2, 16, "tanh"), X, draws=2_000).density
    assert density is not None
    assert np.trapezoid(density.mean, density.points) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "bad",
    [
        {"draws": 10},
        {"draws": 0},
        {"seed": -1},
        {"rungs": 0},
        {"sampler": "other"},
        {"dtype": "float16"},
        {"layers": "some"},
        {"average_last": False},
        {"observables": ("kernal",)},
        {"observables": ()},
    ],
)
def test_bad_questions(bad):
    with pytest.raises(InputError):
        measure(mlp(2, 8, "relu"), X, **({"draws": 500} | bad))


def test_what_does_not_exist_is_refused():
    step = mlp(2, 8, "step", weight_var=1.0, bias_var=0.1)
    with pytest.raises(UnsupportedError, match="jumps"):
        measure(step, X, observables=("ntk",))
    assert "ntk" not in measure(step, X, draws=200)
    with pytest.raises(UnsupportedError, match="rungs"):
        measure(mlp(2, 8, "relu"), X, rungs=1, observables=("kernel_correction",))
    explosive = mlp(12, 8, "exp", weight_var=2.0, bias_var=1.0)
    with pytest.raises(UnsupportedError, match="overflow"):
        measure(explosive, X, draws=200)


def test_too_many_inputs_for_a_vertex():
    with pytest.raises(InputError, match="too many entries"):
        measure(mlp(1, 8, "relu"), RNG.normal(size=(41, 3)), draws=200)
