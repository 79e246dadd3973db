"""Kernels of convolutional networks: against all covariances written out, and against networks."""

import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

from whydeep.errors import InputError, UnsupportedError
from whydeep.theory.infinite.conv._map import (
    AvgPoolStep,
    ConvStep,
    HomogeneousStep,
    ReadoutStep,
    conv_kernels,
)

RELU, LEAKY, ABS = (HomogeneousStep(s) for s in ((0.0, 1.0), (-0.4, 1.3), (-1.0, 1.0)))
POOL = AvgPoolStep(2)
FLAT = ReadoutStep("flatten", 1.9, 0.2, 1.1, 0.4)
GLOBAL = ReadoutStep("global_average", 1.9, 0.2, 1.1, 0.4)


def conv(size=3, padding="SAME", bias=0.1, bias_lr=0.3):
    return ConvStep(size, 2.1, bias, 1.7, bias_lr, padding)


def round_conv(size=3):
    return conv(size, "CIRCULAR")


MYRTLE = (conv(), RELU, conv(), RELU, POOL, conv(), RELU, POOL, conv(), RELU, POOL, FLAT)
NETWORKS = {
    "flat": (conv(), RELU, conv(5), LEAKY, conv(1), ABS, FLAT),
    "pooled": (conv(), RELU, conv(), RELU, POOL, conv(), RELU, POOL, FLAT),
    "pool then flatten": (conv(), RELU, POOL, FLAT),
    "global average": (conv(), RELU, conv(), LEAKY, GLOBAL),
    "pool, large filter, global average": (conv(), RELU, POOL, conv(5), ABS, GLOBAL),
    "linear convolutions": (conv(), conv(), RELU, POOL, conv(1), conv(), POOL, FLAT),
    "pool of three": (conv(5), RELU, AvgPoolStep(3), conv(), RELU, FLAT),
    "activation of pooled Gaussians": (conv(), POOL, RELU, conv(), POOL, FLAT),
    "images pooled first": (POOL, conv(), RELU, conv(), RELU, GLOBAL),
    "two pools in a row": (conv(), RELU, POOL, POOL, conv(), RELU, FLAT),
    "only a readout": (FLAT,),
    "only a global average": (GLOBAL,),
    "circular": (round_conv(), RELU, round_conv(5), RELU, FLAT),
    "circular, pooled": (round_conv(), RELU, round_conv(), RELU, POOL, round_conv(), RELU, FLAT),
    "circular, then zeros": (round_conv(), RELU, POOL, conv(), RELU, GLOBAL),
    "zeros, then circular": (conv(), RELU, POOL, round_conv(5), RELU, POOL, conv(), RELU, GLOBAL),
}


def images(shape, seed=0):
    """Normal numbers, a zero pixel in the first image."""
    x = np.random.default_rng(seed).standard_normal(shape)
    x[0, 0, 0] = 0.0
    return x


def smooth(shape, seed=0):
    """Images whose neighbouring pixels resemble each other, as those of photographs do."""
    noise = np.fft.fft2(images(shape, seed), axes=(1, 2))
    squares = [np.fft.fftfreq(n) ** 2 for n in shape[1:3]]
    filtered = noise / (0.02 + np.add.outer(*squares))[..., None]
    x = np.fft.ifft2(filtered, axes=(1, 2)).real
    return x / x.std()


class Covariance:
    """K and Theta of two images at all pairs of positions, (H, W, H, W), by definition."""

    def __init__(self, x, y):
        self.same = np.array_equal(x, y)
        self.k = np.einsum("hwc,ijc->hwij", x, y) / x.shape[2]
        self.theta = np.zeros_like(self.k)

    @property
    def diagonal(self):
        return np.einsum("hwhw->hw", self.k)

    def convolve(self, step):
        k, theta = (self._window_mean(a, step) for a in (self.k, self.theta))
        self.k = step.bias_var + step.weight_var * k
        self.theta = step.bias_lr + step.weight_lr * k + step.weight_var * theta

    @staticmethod
    def _window_mean(a, step):
        half = step.size // 2
        mode = {"SAME": "constant", "CIRCULAR": "wrap"}[step.padding]
        padded = np.pad(a, [(half, half)] * 4, mode=mode)
        height, width = a.shape[:2]
        shifts = itertools.product(range(step.size), repeat=2)
        windows = (
            padded[i : i + height, j : j + width, i : i + height, j : j + width] for i, j in shifts
        )
        return sum(windows) / step.size**2

    def activate(self, step, variance, other_variance):
        low, high = step.slopes
        roots = np.sqrt(np.multiply.outer(variance, other_variance))
        c = np.divide(self.k, roots, out=np.zeros_like(roots), where=roots > 0)
        c = np.clip(c, -1.0, 1.0)
        if self.same:
            here = np.einsum("hwhw->hw", c)
            here[variance > 0] = 1.0
        angle = np.arccos(c)
        bend, square = (high - low) ** 2 / (2 * np.pi), (high**2 + low**2) / 2
        self.k = roots * (bend * (np.sin(angle) - angle * c) + square * c)
        self.theta = self.theta * (square - bend * angle)

    def pool(self, high, wide):
        for name in ("k", "theta"):
            a = getattr(self, name)
            h, w = a.shape[0] // high, a.shape[1] // wide
            a = a[: h * high, : w * wide, : h * high, : w * wide]
            a = a.reshape(h, high, w, wide, h, high, w, wide).mean(axis=(1, 3, 5, 7))
            setattr(self, name, a)

    def readout(self, step):
        if step.kind == "global_average":
            self.pool(*self.k.shape[:2])
        k, theta = (np.einsum("hwhw->hw", a).mean() for a in (self.k, self.theta))
        return (
            step.bias_var + step.weight_var * k,
            step.bias_lr + step.weight_lr * k + step.weight_var * theta,
        )


def reference_pair(steps, x, y):
    covariances = [Covariance(x, x), Covariance(y, y), Covariance(x, y)]
    for step in steps[:-1]:
        if isinstance(step, ConvStep):
            for c in covariances:
                c.convolve(step)
        elif isinstance(step, HomogeneousStep):
            first, second = (c.diagonal.copy() for c in covariances[:2])
            pairs = ((first, first), (second, second), (first, second))
            for c, pair in zip(covariances, pairs, strict=True):
                c.activate(step, *pair)
        else:
            for c in covariances:
                c.pool(step.size, step.size)
    return covariances[2].readout(steps[-1])


def reference(steps, x1, x2):
    return np.moveaxis([[reference_pair(steps, x, y) for y in x2] for x in x1], -1, 0)


def relative(found, expected):
    return max(np.abs(f / e - 1).max() for f, e in zip(found[:2], expected[:2], strict=True))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(3, 8, 8, 3), (2, 4, 8, 1)], ids=str)
def test_equals_all_covariances_written_out(name, shape):
    x = images(shape)
    found = conv_kernels(NETWORKS[name], x)
    assert relative(found, reference(NETWORKS[name], x, x)) < 1e-13
    assert relative(found, reference(NETWORKS[name], x, x)) < 10 * found[2].nngp


@pytest.mark.parametrize("name", [n for n in NETWORKS if "circular" not in n])
def test_sizes_that_windows_do_not_divide(name):
    x, y = images((2, 7, 9, 2)), images((1, 7, 9, 2), seed=1)
    found = conv_kernels(NETWORKS[name], x, y)
    assert found[0].shape == found[1].shape == (2, 1)
    assert relative(found, reference(NETWORKS[name], x, y)) < 1e-13


@pytest.mark.bounds
def test_one_image():
    x = images((1, 4, 4, 2), seed=3)
    for name in ("flat", "pooled", "circular"):
        assert relative(conv_kernels(NETWORKS[name], x), reference(NETWORKS[name], x, x)) < 1e-13


@pytest.mark.parametrize("padding", ["SAME", "CIRCULAR"])
def test_a_filter_larger_than_the_image(padding):
    steps = (conv(5, padding), RELU, conv(3, padding), RELU, GLOBAL)
    for shape in ((2, 1, 1, 4), (2, 2, 1, 1), (2, 1, 3, 1)):
        x = images(shape, seed=3) + 1.0
        assert relative(conv_kernels(steps, x), reference(steps, x, x)) < 1e-13


def test_the_definition_catches_a_planted_error():
    # The reference is sensitive to what could go wrong: a border, a slope, a learning rate.
    x = images((2, 6, 6, 1))
    found = conv_kernels((conv(), RELU, POOL, conv(), RELU, FLAT), x)
    for wrong in (
        (conv(), RELU, POOL, round_conv(), RELU, FLAT),
        (conv(), RELU, POOL, conv(), HomogeneousStep((1e-6, 1.0)), FLAT),
        (conv(bias_lr=0.3 + 1e-9), RELU, POOL, conv(), RELU, FLAT),
    ):
        assert relative(found, reference(wrong, x, x)) > 1e-11


def test_zero_images_and_positions_without_variance():
    bare = conv(bias=0.0)  # variance 0 where a window sees zeros only, but not the tangent kernel
    x = images((3, 8, 8, 2))
    x[0, :6] = 0.0
    x[1] = 0.0
    for steps in (
        (bare, RELU, bare, LEAKY, POOL, bare, ABS, FLAT),
        (bare, LEAKY, bare, RELU, FLAT),
    ):
        found = conv_kernels(steps, x)
        assert relative(found, reference(steps, x, x)) < 1e-13
        single = conv_kernels(steps, x, dtype=np.float32)
        assert relative(single, found) < 2e-6


@pytest.mark.bounds
def test_two_sets_of_images():
    x, y = images((3, 8, 8, 2)), images((4, 8, 8, 2), seed=1)
    y[2] = x[1]
    every = conv_kernels(MYRTLE, np.concatenate([x, y]))
    for steps in (MYRTLE, NETWORKS["flat"]):
        every = conv_kernels(steps, np.concatenate([x, y]))
        found, turned = conv_kernels(steps, x, y), conv_kernels(steps, y, x)
        for n in (0, 1):
            np.testing.assert_allclose(found[n], every[n][:3, 3:], rtol=1e-14)
            np.testing.assert_allclose(turned[n], found[n].T, rtol=1e-13)
            np.testing.assert_array_equal(every[n], every[n].T)
            assert np.linalg.eigvalsh(every[n]).min() > -1e-12 * np.trace(every[n])


def test_equal_images_are_one_image():
    x = images((3, 8, 8, 3))
    x[2] = x[0]
    for dtype in (np.float32, np.float64):
        for steps in (MYRTLE, NETWORKS["flat"]):
            for found in conv_kernels(steps, x, dtype=dtype)[:2]:
                assert found[0, 0] == found[0, 2] == found[2, 2]
                assert found[0, 1] == found[2, 1]
            apart = conv_kernels(steps, x[:2], x[2:], dtype=dtype)
            assert apart[1][0, 0] == conv_kernels(steps, x[:1], dtype=dtype)[1][0, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_image_with_itself_is_exact(dtype):
    # Circular, C_W = 2 and relu: every layer keeps the mean variance k = |x|^2 / H W C, doubled at
    # the first, and the tangent kernel gains one k a layer.
    layer = (ConvStep(3, 2.0, 0.0, 2.0, 0.0, "CIRCULAR"), RELU)
    x = smooth((2, 12, 12, 3))
    nngp, ntk, error = conv_kernels(
        layer * 20 + (ReadoutStep("flatten", 2.0, 0.0, 2.0, 0.0),), x, dtype=dtype
    )
    k = 2 * np.mean(x**2, axis=(1, 2, 3))
    np.testing.assert_allclose(np.diag(nngp), k, rtol=error.nngp)
    np.testing.assert_allclose(np.diag(ntk), 21 * k, rtol=error.ntk)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("draw", [images, smooth])
def test_float32_is_within_its_stated_error(name, draw):
    x = draw((4, 16, 16, 3)).astype(np.float32)
    single, double = (conv_kernels(NETWORKS[name], x, dtype=d) for d in (np.float32, np.float64))
    for n, stated in ((0, single[2].nngp), (1, single[2].ntk)):
        assert single[n].dtype == np.float32
        scale = np.sqrt(np.multiply.outer(np.diag(double[n]), np.diag(double[n])))
        assert np.max(np.abs(single[n] - double[n]) / scale) < stated
        assert stated < 2e-6


def test_flat_regions_of_an_image_keep_float32_accurate():
    # Windows that see one colour coincide exactly, though far apart.
    x = np.ones((3, 16, 16, 2)) * np.array([0.3, 1.1, 2.0])[:, None, None, None]
    x[:, 3:9, 5:7] = images((3, 6, 2, 2), seed=4)
    x = x.astype(np.float32)
    single, double = (conv_kernels(MYRTLE, x, dtype=d) for d in (np.float32, np.float64))
    assert relative(single, double) < 1e-6


def with_40_digits(layers, x, y):
    """NNGP and tangent kernel of convolutions with relu and a flattening readout, for one pair."""
    height, width, channels = x.shape
    positions = list(itertools.product(range(height), range(width)))

    def window(a, p):
        near = ((p[0] + i, p[1] + j) for i, j in itertools.product((-1, 0, 1), repeat=2))
        return sum((a[q] for q in near if q in a), mpmath.mpf(0)) / 9

    def product(u, v):
        return {
            p: sum(map(mpmath.fmul, u[p].tolist(), v[p].tolist())) / channels for p in positions
        }

    with mpmath.workdps(40):
        pairs = [product(u, v) for u, v in ((x, x), (y, y), (x, y))]
        theta = dict.fromkeys(positions, mpmath.mpf(0))
        for step in layers:
            means = [{p: window(a, p) for p in positions} for a in pairs]
            theta = {
                p: step.bias_lr + step.weight_lr * means[2][p] + step.weight_var * window(theta, p)
                for p in positions
            }
            first, second, cross = (
                {p: step.bias_var + step.weight_var * a[p] for p in positions} for a in means
            )
            pairs = [{p: a[p] / 2 for p in positions} for a in (first, second)]
            pairs.append({})
            for p in positions:
                root = mpmath.sqrt(first[p] * second[p])
                angle = mpmath.acos(cross[p] / root)
                bend = mpmath.sin(angle) + (mpmath.pi - angle) * cross[p] / root
                pairs[2][p] = root * bend / (2 * mpmath.pi)
                theta[p] *= (mpmath.pi - angle) / (2 * mpmath.pi)
        k, theta = (sum(a.values()) / len(positions) for a in (pairs[2], theta))
        return (
            float(FLAT.bias_var + FLAT.weight_var * k),
            float(FLAT.bias_lr + FLAT.weight_lr * k + FLAT.weight_var * theta),
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("units", [0.03, 1, 30, 1000])
def test_images_near_each_other(dtype, units):
    # K' varies with 1 - c smoothly, the slope of relu as its root: its error is stated.
    first = smooth((1, 6, 6, 3))
    distance = units * np.sqrt(np.finfo(dtype).eps)
    noise = images(first.shape, seed=5)
    x = np.concatenate([first, first * (1 + distance * noise)]).astype(dtype)
    layers = [conv()] * 3
    steps = (*itertools.chain(*((c, RELU) for c in layers)), FLAT)
    nngp, ntk, error = conv_kernels(steps, x, dtype=dtype)
    exact = with_40_digits(layers, *x.astype(np.float64))
    assert abs(nngp[0, 1] / exact[0] - 1) < error.nngp
    assert abs(ntk[0, 1] / exact[1] - 1) < error.ntk
    far = conv_kernels(steps, images((2, 12, 12, 3)), dtype=dtype)[2]
    assert far.ntk < 2 * far.nngp
    assert far.ntk < error.ntk


def test_sizes_of_inputs():
    x = images((2, 6, 6, 1))
    steps = (conv(bias=0.0, bias_lr=0.0), RELU, POOL, conv(bias=0.0, bias_lr=0.0), RELU)
    steps = (*steps, ReadoutStep("flatten", 1.9, 0.0, 1.1, 0.0))
    plain = conv_kernels(steps, x)
    for scale in (1e-17, 1e17):  # squares of which float32 does not hold, their kernels it does
        found = conv_kernels(steps, scale * x, dtype=np.float32)
        assert relative(found, [scale**2 * k for k in plain[:2]]) < 1e-6
    with pytest.raises(UnsupportedError, match="overflows"):
        conv_kernels(steps, 1e20 * x, dtype=np.float32)
    for scale in (1e-160, 1e160):
        with pytest.raises(InputError, match="squares of these inputs"):
            conv_kernels(steps, scale * x)


def test_kernel_without_tangent_kernel():
    x = smooth((3, 8, 8, 3))
    for steps in (MYRTLE, NETWORKS["flat"], NETWORKS["zeros, then circular"]):
        for dtype in (np.float32, np.float64):
            nngp, ntk, error = conv_kernels(steps, x, ntk=False, dtype=dtype)
            np.testing.assert_allclose(nngp, conv_kernels(steps, x, dtype=dtype)[0], rtol=1e-6)
            assert ntk is None
            assert error.ntk is None


def test_poolings_that_are_one():
    x = images((2, 8, 8, 2))
    body = (conv(), RELU, conv(), LEAKY)
    one = conv_kernels((*body, GLOBAL), x)
    for pools in ((POOL, POOL, POOL), (AvgPoolStep(8),), (AvgPoolStep(4), AvgPoolStep(2))):
        other = conv_kernels((*body, *pools, FLAT), x)
        np.testing.assert_allclose(other[0], one[0], rtol=1e-13)
        np.testing.assert_allclose(other[1], one[1], rtol=1e-13)


def test_threads_do_not_change_a_bit():
    x = smooth((9, 8, 8, 3))
    for steps in (MYRTLE, NETWORKS["flat"]):
        results = []
        for threads in (1, 2):
            with threadpool_limits(threads, user_api="blas"):
                results.append(conv_kernels(steps, x))
        np.testing.assert_array_equal(results[0][1], results[1][1])
        np.testing.assert_array_equal(results[0][0], results[1][0])


def test_no_images():
    x = images((3, 8, 8, 2))
    nngp, ntk, error = conv_kernels(MYRTLE, x, x[:0], dtype=np.float32)
    assert nngp.shape == ntk.shape == (3, 0)
    assert nngp.dtype == np.float32
    assert error.nngp == 0.0
    assert conv_kernels(MYRTLE, x[:0], ntk=False)[0].shape == (0, 0)


@pytest.mark.parametrize(
    "steps",
    [
        (RELU, FLAT),
        (POOL, RELU, conv(), FLAT),
        (conv(), RELU, RELU, FLAT),
        (conv(), RELU, POOL, RELU, FLAT),
        (conv(2), RELU, FLAT),
        (conv(3, "VALID"), RELU, FLAT),
        (conv(), RELU, round_conv(), FLAT),
        (round_conv(), RELU, AvgPoolStep(3), FLAT),
        (conv(), RELU),
        (conv(), FLAT, RELU, FLAT),
        (conv(), RELU, ReadoutStep("sum", 1.0, 0.0, 1.0, 0.0)),
        (),
    ],
)
def test_what_this_way_does_not_cover(steps):
    assert conv_kernels(steps, images((2, 8, 8, 1))) is None


def test_bad_images():
    x = images((2, 8, 8, 1))
    with pytest.raises(InputError, match="too small for the network's poolings"):
        conv_kernels(MYRTLE, x[:, :, :7])
    with pytest.raises(InputError, match="not a set of images"):
        conv_kernels(MYRTLE, x[0])
    with pytest.raises(InputError, match="not a set of images"):
        conv_kernels(MYRTLE, x[..., :0])
    with pytest.raises(InputError, match="different shapes"):
        conv_kernels(MYRTLE, x, x[:, :4])
    x[1, 2, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        conv_kernels(MYRTLE, x)
    with pytest.raises(InputError, match="do not fit in memory"):
        conv_kernels((conv(), RELU, POOL, conv(), RELU, GLOBAL), np.ones((1, 700, 700, 1)))


# Finite networks with relu and normal weights, (3 x 3, n), pool, (3 x 3, n), flatten, 1.
BIAS, SIDE = 0.2, 4


def draw(key, width):
    shapes = [(3, 3, 2, width), (3, 3, width, width), (SIDE**2 // 4 * width, 1)]
    keys = jax.random.split(key, 2 * len(shapes))
    weights = [jax.random.normal(k, s) for k, s in zip(keys[:3], shapes, strict=True)]
    return weights, [jax.random.normal(k, s[-1:]) for k, s in zip(keys[3:], shapes, strict=True)]


def finite_network(parameters, x):
    (w1, w2, w3), (b1, b2, b3) = parameters
    for w, b in ((w1, b1), (w2, b2)):
        z = jax.lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        z = jnp.sqrt(2.0 / (9 * w.shape[2])) * z + jnp.sqrt(BIAS) * b
        x = jax.nn.relu(z)
        if w is w1:
            n, h, _, c = x.shape
            x = x.reshape(n, h // 2, 2, h // 2, 2, c).mean(axis=(2, 4))
    x = jnp.sqrt(2.0 / (x.size // len(x))) * x.reshape(len(x), -1)
    return (x @ w3 + jnp.sqrt(BIAS) * b3)[:, 0], x


def sampled_kernels(width, draws, seed):
    """Means and squared standard errors of two kernels of finite networks.

    The covariance of the outputs given the hidden layers, and the empirical tangent kernel.
    """
    x = jnp.asarray(images((2, SIDE, SIDE, 2), seed=7), jnp.float32)

    @jax.jit
    def one(key):
        parameters = draw(key, width)
        jacobian, hidden = jax.jacrev(finite_network, has_aux=True)(parameters, x)
        rows = jnp.concatenate([j.reshape(2, -1) for j in jax.tree.leaves(jacobian)], axis=1)
        return jnp.stack([BIAS + hidden @ hidden.T, rows @ rows.T])

    found = jax.lax.map(one, jax.random.split(jax.random.key(seed), draws), batch_size=8)
    found = np.asarray(found, np.float64)
    return found.mean(axis=0), found.var(axis=0, ddof=1) / draws


def test_finite_networks_have_these_kernels_at_large_width():
    # Extrapolated in 1/n from two widths: what is left is of order 1/n^2, far below the errors.
    layer = (ConvStep(3, 2.0, BIAS, 2.0, BIAS), RELU)
    steps = (*layer, POOL, *layer, ReadoutStep("flatten", 2.0, BIAS, 2.0, BIAS))
    expected = np.stack(conv_kernels(steps, images((2, SIDE, SIDE, 2), seed=7))[:2])
    (narrow, narrow_error), (wide, wide_error) = (
        sampled_kernels(width, 3000, seed) for width, seed in ((32, 0), (64, 1))
    )
    z = (2 * wide - narrow - expected) / np.sqrt(4 * wide_error + narrow_error)
    distinct = z[:, [0, 0, 1], [0, 1, 1]]
    # A false alarm once in a thousand seeds, over six numbers.
    assert np.abs(distinct).max() < stats.norm.isf(0.5e-3 / distinct.size)
    # And an error of five per cent would be seen.
    assert (0.05 * expected / np.sqrt(4 * wide_error + narrow_error)).min() > 5.0
