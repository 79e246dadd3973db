"""Fast kernels of fully connected networks: to 60 digits, by the exact recursion, at the edges."""

import concurrent.futures
import tracemalloc

import mpmath as mp
import numpy as np
import pytest
import threadpoolctl
from hypothesis import given, settings
from hypothesis import strategies as st

from whydeep.activations import custom, get
from whydeep.network import mlp
from whydeep.theory.finite._kernel import infinite_width, tangent_kernels
from whydeep.theory.infinite.dense import DenseStack, dense_kernels
from whydeep.theory.infinite.dense._deep_map import deep_plan

EPS = float(np.finfo(np.float64).eps)
FLOAT32_ERROR = 3e-7  # what the documentation says
RNG = np.random.default_rng(11)


def stack(name, depth, c_w, c_b=0.0, l_w=None, l_b=None):
    function = get(name)
    layers = depth + 1
    rates = (c_w if l_w is None else l_w, c_b if l_b is None else l_b)
    return DenseStack(function, *(tuple([v] * layers) for v in (c_w, c_b, *rates)))


def exact(s, x):
    """Both kernels by the recursion that theory has for few inputs, and their roots as scales."""
    net = mlp(
        len(s.weight_var) - 1, 8, s.activation, weight_var=s.weight_var, bias_var=s.bias_var,
        weight_lr=s.weight_lr, bias_lr=s.bias_lr,
    )  # fmt: skip
    layers = list(infinite_width(net, x))
    kernels = layers[-1].law.matrix, tangent_kernels(net, x.shape[1], layers)[-1].value
    return [(k, relative_to(k)) for k in kernels]


def relative_to(kernel):
    roots = np.sqrt(np.diagonal(kernel))
    return np.maximum(np.outer(roots, roots), 1e-300)


def arc_cosine(s, x):
    """Both kernels of a homogeneous activation to 60 digits (Cho and Saul 2009, Eqs. 5 and 6)."""
    with mp.workdps(60):
        minus, plus = (mp.mpf(v) for v in s.activation.slopes)
        odd, even = (plus + minus) / 2, (plus - minus) / 2
        rows = [[mp.mpf(float(v)) for v in row] for row in x]
        n, n_0 = len(rows), len(rows[0])
        layers = [
            [mp.mpf(float(v)) for v in c]
            for c in zip(s.weight_var, s.bias_var, s.weight_lr, s.bias_lr, strict=True)
        ]
        c_w, c_b, l_w, l_b = layers[0]
        gram = [[mp.fdot(a, b) / n_0 for b in rows] for a in rows]
        kernel = [[c_b + c_w * g for g in row] for row in gram]
        tangent = [[l_b + l_w * g for g in row] for row in gram]
        for c_w, c_b, l_w, l_b in layers[1:]:
            new_kernel, new_tangent = mp.matrix(n), mp.matrix(n)
            for a in range(n):
                for b in range(a, n):
                    scale = mp.sqrt(kernel[a][a] * kernel[b][b])
                    cosine = kernel[a][b] / scale if scale else mp.mpf(1)
                    cosine = max(min(cosine, mp.mpf(1)), mp.mpf(-1))
                    angle = mp.mpf(0) if a == b else mp.acos(cosine)
                    absolute = mp.sin(angle) + (mp.pi / 2 - angle) * mp.cos(angle)
                    images = odd**2 * kernel[a][b] + even**2 * scale * 2 / mp.pi * absolute
                    slopes = odd**2 + even**2 * (1 - 2 * angle / mp.pi)
                    new_kernel[a, b] = new_kernel[b, a] = c_b + c_w * images
                    new_tangent[a, b] = l_b + l_w * images + c_w * slopes * tangent[a][b]
                    new_tangent[b, a] = new_tangent[a, b]
            kernel, tangent = new_kernel.tolist(), new_tangent.tolist()
        return [np.array(k, dtype=float) for k in (kernel, tangent)]


def hard_inputs(n_0=5):
    """Near duplicates, multiples, opposites, and strangers."""
    x = RNG.normal(size=(9, n_0))
    x[1] = x[0]
    x[2] = x[0] + 1e-7 * RNG.normal(size=n_0)  # 1 - c of about 1e-14
    x[3] = 3.0 * x[0]
    x[4] = -x[0]
    x[5] = -0.7 * x[0] + 1e-6 * RNG.normal(size=n_0)
    x[6] = x[0] + 1e-3 * RNG.normal(size=n_0)
    return x


def unit(x):
    return x / np.sqrt(np.mean(x**2, axis=1, keepdims=True))


# ------------------------------------------------------------------------------------ to 60 digits


@pytest.mark.parametrize("name", ["relu", "leaky_relu(0.3)", "abs"])
@pytest.mark.parametrize("depth", [1, 5, 50])
def test_homogeneous_without_biases_to_60_digits(name, depth):
    s = stack(name, depth, 2.0, l_w=0.7)
    x = hard_inputs()
    found = dense_kernels(s, x, None)
    for kernel, wanted, bound in zip(found, arc_cosine(s, x), (1e-13, 1e-12), strict=False):
        assert np.abs((kernel - wanted) / relative_to(wanted)).max() < bound
    assert found[2].nngp < 1e-12
    assert found[2].ntk < 2e-12


@pytest.mark.parametrize("name", ["relu", "leaky_relu(0.3)", "abs"])
@pytest.mark.parametrize("c_b", [0.1, 1e-12])
def test_homogeneous_with_biases_to_60_digits(name, c_b):
    s = stack(name, 6, 1.7, c_b, l_w=0.7, l_b=0.2)
    x = hard_inputs()
    found = dense_kernels(s, x, None)
    for kernel, wanted in zip(found, arc_cosine(s, x), strict=False):
        assert np.abs((kernel - wanted) / relative_to(wanted)).max() < 2e-13


def test_layers_may_differ():
    s = DenseStack(get("relu"), (2.0, 1.5, 0.7), (0.0, 0.1, 0.4), (1.0, 0.3, 64.0), (0.5, 0.0, 1.0))
    x = hard_inputs()
    for kernel, wanted in zip(dense_kernels(s, x, None), arc_cosine(s, x), strict=False):
        assert np.abs((kernel - wanted) / relative_to(wanted)).max() < 2e-13


def test_relu_tangent_kernel_of_coincident_inputs():
    # At criticality every layer adds C_W |x|^2 / n_0: Theta = (L + 1) C_W |x|^2 / n_0.
    x = unit(RNG.normal(size=(3, 700)))
    x = x[[0, 1, 2, 1, 0]]
    for depth in (1, 10, 50):
        ntk = dense_kernels(stack("relu", depth, 2.0), x, None)[1]
        coincident = np.array([ntk[0, 4], ntk[1, 3], *np.diagonal(ntk)])
        np.testing.assert_allclose(coincident, 2.0 * (depth + 1), rtol=1e-13)


# ------------------------------------------------------------- positive (semi)definite, as promised


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c_b", [0.0, 0.05])
def test_near_duplicates_at_depth_50_stay_positive(dtype, c_b):
    base = RNG.normal(size=(40, 60))
    x = np.concatenate([base, base + 1.4e-7 * RNG.normal(size=base.shape), base[:9] * 2.0])
    nngp, ntk, _ = dense_kernels(stack("relu", 50, 2.0, c_b), x, None, dtype=dtype)
    eps = np.finfo(dtype).eps
    for kernel in (nngp, ntk):
        assert kernel.dtype == dtype
        exact_sums = kernel.astype(np.float64)
        diagonal = np.diagonal(exact_sums)
        assert np.all(diagonal[:, None] + diagonal - 2.0 * exact_sums >= 0.0)
        np.testing.assert_array_equal(kernel, kernel.T)
        least = np.linalg.eigvalsh(exact_sums)[0]
        assert least >= -4.0 * len(x) * eps * diagonal.mean()


@pytest.mark.parametrize("name", ["tanh", "relu", "silu"])
def test_every_pair_of_a_crowd_keeps_its_order(name):
    # One tight cluster: all products are near, and are taken about the cluster's centre.
    x = 1.0 + 1e-4 * RNG.normal(size=(80, 30))
    for dtype in (np.float32, np.float64):
        for kernel in dense_kernels(stack(name, 5, 1.8, 0.1), x, None, dtype=dtype)[:2]:
            diagonal = np.diagonal(kernel.astype(np.float64))
            assert np.all(diagonal[:, None] + diagonal - 2.0 * kernel.astype(np.float64) >= 0.0)


def test_clusters_and_their_opposites_are_as_accurate_as_strangers():
    centres = RNG.normal(size=(3, 20))
    x = np.concatenate([c + 1e-5 * RNG.normal(size=(30, 20)) for c in (*centres, -centres[0])])
    s = stack("relu", 20, 2.0)
    pick = [0, 1, 29, 30, 31, 60, 90, 119]
    wanted = arc_cosine(s, x[pick])
    for dtype, bound in ((np.float64, 1e-12), (np.float32, 2.0 * FLOAT32_ERROR)):
        for kernel, k in zip(dense_kernels(s, x, None, dtype=dtype), wanted, strict=False):
            assert np.abs((kernel[np.ix_(pick, pick)] - k) / relative_to(k)).max() < bound


# ------------------------------------------------------------------- against the exact recursion


@pytest.mark.parametrize("name", ["tanh", "gelu", "elu", "selu", "hard_tanh"])
def test_inputs_of_one_norm_for_any_activation(name):
    s = stack(name, 2, 1.5, 0.2, l_w=0.7, l_b=0.3)
    x = unit(hard_inputs())
    found = dense_kernels(s, x, None)
    for n, (wanted, scale) in enumerate(exact(s, x)):
        error = np.abs((found[n] - wanted) / scale).max()
        assert error < 2e-12  # the recursion's own error is 1e-12
        assert error < max((found[2].nngp, found[2].ntk)[n], 2e-12)


SMOOTH = [
    "tanh", "gelu", "gelu_tanh", "silu", "mish", "sigmoid", "softplus", "erf", "sin", "cos",
    "gaussian", "monomial(2)", "linear",
]  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations_with_biases_and_unequal_norms(name):
    s = stack(name, 2, 1.2, 0.2, l_w=0.7, l_b=0.3)
    x = hard_inputs()
    found = dense_kernels(s, x, None)
    for n, (wanted, scale) in enumerate(exact(s, x)):
        error = np.abs((found[n] - wanted) / scale).max()
        assert error < 1e-10
        assert error < (found[2].nngp, found[2].ntk)[n] + 2e-12


@pytest.mark.parametrize("equal", [False, True])
def test_smooth_layers_may_differ(equal):
    rates = (1.1, 1.7, 0.9), (0.1, 0.0, 0.3), (5.0, 32.0, 64.0), (1.0, 0.0, 1.0)
    s = DenseStack(get("gelu"), *rates)
    x = unit(hard_inputs()) if equal else hard_inputs()
    found = dense_kernels(s, x, None)
    for n, (wanted, scale) in enumerate(exact(s, x)):
        assert np.abs((found[n] - wanted) / scale).max() < (2e-12 if equal else 1e-10)


@pytest.mark.parametrize("name", ["tanh", "silu"])
def test_norms_spread_widely(name):
    x = RNG.normal(size=(10, 6)) * np.geomspace(0.05, 2.5, 10)[:, None]
    s = stack(name, 2, 1.1, 0.0, l_w=1.0, l_b=0.0)
    found = dense_kernels(s, x, None)
    for n, (wanted, scale) in enumerate(exact(s, x)):
        assert np.abs((found[n] - wanted) / scale).max() < 1e-10


def test_a_user_function_goes_the_same_way():
    import jax.numpy as jnp

    s = stack("linear", 2, 1.3, 0.1)
    function = custom(lambda z: jnp.tanh(z) + 0.1 * z, name="leaky tanh")
    s = DenseStack(function, s.weight_var, s.bias_var, s.weight_lr, s.bias_lr)
    x = RNG.normal(size=(6, 4))
    found = dense_kernels(s, x, None)
    for n, (wanted, scale) in enumerate(exact(s, x)):
        assert np.abs((found[n] - wanted) / scale).max() < 1e-10


@pytest.mark.parametrize(
    ("name", "c_b", "norm"),
    [("relu", 0.0, False), ("relu", 0.1, False), ("tanh", 0.1, False), ("elu", 0.1, True)],
)
def test_float32_errs_by_what_it_says(name, c_b, norm):
    x = RNG.normal(size=(150, 300)) * RNG.uniform(0.5, 2.0, size=(150, 1))
    x = unit(x) if norm else x
    s = stack(name, 4, 1.6, c_b)
    single, double = (dense_kernels(s, x, None, dtype=t) for t in (np.float32, np.float64))
    for n in (0, 1):
        assert single[n].dtype == np.float32
        error = np.abs((single[n] - double[n]) / relative_to(double[n])).max()
        assert error < FLOAT32_ERROR
        assert error < (single[2].nngp, single[2].ntk)[n] < 3e-6


# ---------------------------------------------------------------------------------------- the edges


CASES = [("relu", 0.0), ("relu", 0.1), ("tanh", 0.0), ("silu", 0.2)]


@pytest.mark.parametrize(("name", "c_b"), CASES)
def test_blocks_of_any_shape_agree(name, c_b):
    x = RNG.normal(size=(45, 8))
    x[7] = 0.0
    s = stack(name, 3, 1.4, c_b)
    whole = dense_kernels(s, x, None)
    for tile in (1, 7, 16, 33, 1000):
        for kernel, part in zip(whole[:2], dense_kernels(s, x, None, tile=tile)[:2], strict=True):
            np.testing.assert_allclose(part, kernel, rtol=1e-12, atol=1e-13)
    cross = dense_kernels(s, x[:13], x[5:], tile=9)
    for kernel, part in zip(whole[:2], cross[:2], strict=True):
        # other norms, another table: to its own accuracy
        np.testing.assert_allclose(part, kernel[:13, 5:], rtol=1e-10, atol=1e-11)
        assert part.shape == (13, 40)


@pytest.mark.parametrize(("name", "c_b"), CASES)
def test_inputs_without_variance(name, c_b):
    x = RNG.normal(size=(5, 4))
    x[2] = 0.0
    s = stack(name, 3, 1.4, c_b, l_w=0.5, l_b=0.2)
    found = dense_kernels(s, x, None)
    for n, (wanted, scale) in enumerate(exact(s, x)):
        assert np.all(np.isfinite(found[n]))
        assert np.all(np.abs(found[n] - wanted) <= 1e-10 * np.maximum(scale, 1e-3 * scale.max()))


@pytest.mark.parametrize(("name", "c_b"), CASES)
def test_one_input_none_and_read_only_ones(name, c_b):
    s = stack(name, 2, 1.4, c_b)
    x = RNG.normal(size=(3, 4))
    alone = dense_kernels(s, x[:1], None)
    pair = dense_kernels(s, x, None)
    np.testing.assert_allclose(alone[0][0, 0], pair[0][0, 0], rtol=1e-11)
    np.testing.assert_allclose(alone[1][0, 0], pair[1][0, 0], rtol=1e-11)
    nothing = dense_kernels(s, x, np.zeros((0, 4)))
    assert nothing[0].shape == nothing[1].shape == (3, 0)
    frozen = x.copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(dense_kernels(s, frozen, None)[0], pair[0])
    np.testing.assert_array_equal(dense_kernels(s, np.asfortranarray(x), None)[0], pair[0])


@pytest.mark.parametrize(("name", "c_b"), CASES)
def test_without_the_tangent_kernel(name, c_b):
    x = RNG.normal(size=(20, 4))
    s = stack(name, 2, 1.4, c_b)
    nngp, ntk, error = dense_kernels(s, x, None, ntk=False)
    assert ntk is None
    assert error.ntk is None
    np.testing.assert_array_equal(nngp, dense_kernels(s, x, None)[0])


def test_opposite_inputs_of_odd_networks_are_opposite():
    x = unit(RNG.normal(size=(4, 6)))
    for name in ("tanh", "erf", "linear", "hard_tanh"):
        s = stack(name, 4, 1.3, 0.0)
        nngp, ntk, _ = dense_kernels(s, np.concatenate([x, -x]), None)
        for kernel in (nngp, ntk):
            np.testing.assert_allclose(kernel[:4, 4:], -kernel[:4, :4], rtol=0, atol=3e-13)


def test_what_has_no_fast_way_is_left_to_others():
    x = RNG.normal(size=(4, 3))
    assert dense_kernels(stack("step", 2, 1.0), x, None) is None
    assert dense_kernels(stack("relu", 0, 1.0), x, None) is None
    assert dense_kernels(stack("exp", 8, 2.0, 1.0), x, None) is None  # it overflows
    assert dense_kernels(stack("relu", 2, 1.0), 1e200 * x, None) is None
    assert dense_kernels(stack("relu", 2, 0.0, 1.0), x, None) is None
    assert dense_kernels(stack("elu", 2, 1.0), RNG.normal(size=(600, 3)), None) is None


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 40),
    n_0=st.integers(1, 12),
    c_b=st.sampled_from([0.0, 0.3]),
    power=st.floats(-30.0, 30.0),
)
def test_scaling_the_inputs_of_relu(seed, rows, n_0, c_b, power):
    # relu is homogeneous: inputs times a and biases times a^2 are kernels times a^2, if lambda_b
    # goes along (Cho and Saul 2009)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, n_0)) * rng.integers(0, 2, size=(rows, 1))
    a = 10.0**power
    s = stack("relu", 3, 1.8, c_b, l_w=0.6, l_b=c_b)
    t = stack("relu", 3, 1.8, a**2 * c_b, l_w=0.6, l_b=a**2 * c_b)
    one, other = dense_kernels(s, x, None), dense_kernels(t, a * x, None)
    for k, scaled in zip(one[:2], other[:2], strict=True):
        np.testing.assert_allclose(scaled / a**2, k, rtol=1e-11, atol=1e-13 * max(k.max(), 1e-300))


# ------------------------------------------------------------------------------ memory and threads


def test_a_tile_bounds_working_memory():
    x = RNG.normal(size=(1500, 40))
    s = stack("relu", 3, 2.0)
    dense_kernels(s, x[:5], None)
    peaks = []
    for tile in (64, 1500):
        tracemalloc.start()
        found = dense_kernels(s, x, None, tile=tile)
        peaks.append(tracemalloc.get_traced_memory()[1] - sum(k.nbytes for k in found[:2]))
        tracemalloc.stop()
    copy = x.nbytes
    assert peaks[0] < copy + 1.5e6  # chunks of 256 rows, a tile a thread
    assert peaks[1] > peaks[0] + 1500**2 * 8 / 2


def test_calls_at_once_agree_and_give_blas_back():
    x = RNG.normal(size=(300, 30))
    s = stack("relu", 3, 2.0, 0.1)
    alone = dense_kernels(s, x, None, tile=50)
    before = [library["num_threads"] for library in threadpoolctl.threadpool_info()]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(dense_kernels, s, x, None, tile=50) for _ in range(8)]
        for job in jobs:
            np.testing.assert_array_equal(job.result()[1], alone[1])
    assert [library["num_threads"] for library in threadpoolctl.threadpool_info()] == before


def test_several_threads_fill_the_same_matrix():
    x = RNG.normal(size=(120, 20))
    for name, c_b in CASES:
        s = stack(name, 2, 1.4, c_b)
        with threadpoolctl.threadpool_limits(1):
            alone = dense_kernels(s, x, None, tile=16)
        with threadpoolctl.threadpool_limits(3):
            together = dense_kernels(s, x, None, tile=16)
        np.testing.assert_array_equal(together[0], alone[0])
        np.testing.assert_array_equal(together[1], alone[1])


def test_a_failing_worker_is_heard(monkeypatch):
    def broken(*_):
        raise MemoryError

    s = stack("relu", 2, 2.0)
    dense_kernels(s, RNG.normal(size=(3, 4)), None)
    monkeypatch.setattr("whydeep.theory.infinite.dense._deep_map._map_block", broken)
    with threadpoolctl.threadpool_limits(2), pytest.raises(MemoryError):
        dense_kernels(s, RNG.normal(size=(30, 4)), None, tile=8)


def test_the_deep_map_is_what_homogeneous_networks_use():
    from whydeep.theory.infinite.dense._cosines import prepare

    rows = prepare(RNG.normal(size=(3, 4)), 2.0, 0.0, np.dtype(np.float64))
    plan = deep_plan(stack("relu", 400, 2.0), rows, rows, np.dtype(np.float64))
    assert plan is not None
    assert len(plan.table.edges) < 12  # depth is in the table


@pytest.mark.parametrize(
    ("name", "c_b"), [("relu", 0.2), ("relu", 0.0), ("tanh", 0.1), ("gelu", 0.1)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_on_its_own_beside_itself(name, c_b, dtype):
    # One row, or copies of it, is its own centre: nothing is left of it.
    x, s = RNG.normal(size=(5, 6)), stack(name, 3, 1.6, c_b)
    whole = dense_kernels(s, x, None, dtype=dtype)
    for left, right in (([2], range(5)), (range(5), [2]), ([2, 2, 2], [2, 2]), ([2], [2])):
        pick = np.ix_(list(left), list(right))
        part = dense_kernels(s, x[pick[0].ravel()], x[pick[1].ravel()], dtype=dtype)
        for k in (0, 1):
            # Both are as good as they say, relative to sqrt(K_aa K_bb).
            own = np.sqrt(np.diagonal(whole[k]).astype(np.float64))
            claimed = sum((found[2].nngp, found[2].ntk)[k] for found in (part, whole))
            off = np.abs(part[k].astype(np.float64) - whole[k][pick])
            assert np.all(off <= claimed * np.outer(own, own)[pick])
