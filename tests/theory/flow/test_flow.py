"""Flows, fixed points, exponents, learning rates and information, each by another way."""

import math

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy import optimize, stats

import whydeep as wd
from whydeep.errors import InputError, UnsupportedError
from whydeep.theory.exact import exact_moments
from whydeep.theory.flow import (
    critical_exponents,
    equivalent_rates,
    fixed_points,
    flow,
    mutual_information,
    optimal_aspect_ratio,
)

# -- the flow --------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "gelu", "relu", "elu"])
def test_one_input_is_as_predicted_layer_by_layer(activation):
    net = wd.mlp(5, 64, activation, weight_var=1.4, bias_var=0.1, weight_lr=0.8, bias_lr=0.3)
    x = np.array([[1.0, -0.5, 0.7]])
    predicted = wd.predict(net, x, order=1)
    start = float(predicted["kernel"][0, 0, 0])
    found = flow(
        activation, 6, kernel=start, weight_var=1.4, bias_var=0.1, weight_lr=0.8, bias_lr=0.3
    )
    for name in ("kernel", "ntk", "four_point", "kernel_correction"):
        np.testing.assert_allclose(
            getattr(found, name), predicted[name].squeeze(), rtol=1e-9, atol=1e-11, err_msg=name
        )


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_nearby_inputs_flow_as_two_inputs_do(activation):
    # x_+- = x_0 +- dx/2: what the expansion leaves out is of order dx^2 of what is compared.
    x0, dx = np.array([1.0, 0.3, -0.5, 0.8]), 1e-3 * np.array([0.4, -1.0, 0.2, 0.7])
    net = wd.mlp(7, 8, activation, weight_var=1.3, bias_var=0.2)
    kernel = wd.predict(net, np.stack([x0 + dx / 2, x0 - dx / 2]), order=0)["kernel"].values
    found = flow(
        activation, 8, weight_var=1.3, bias_var=0.2, kernel=0.2 + 1.3 * np.mean(x0**2),
        parallel=1.3 * np.mean(x0 * dx), perpendicular=1.3 * np.mean(dx**2) / 4,
    )  # fmt: skip
    plus, minus, mixed = kernel[:, 0, 0], kernel[:, 1, 1], kernel[:, 0, 1]
    np.testing.assert_allclose((plus - minus) / 2, found.parallel, rtol=2e-6)
    across = (plus + minus - 2 * mixed) / 4
    np.testing.assert_allclose(across, found.perpendicular, rtol=2e-6, atol=1e-16)


def test_scale_invariant_networks_in_closed_form():
    label = np.arange(1, 31)
    for activation, a2, a4 in (("linear", 1, 1), ("relu", 0.5, 0.5), ("leaky_relu(0.5)", 0.625,
                                                                     0.53125)):  # fmt: skip
        found = flow(activation, 30, kernel=1.7, weight_lr=1.0, bias_lr=0.3)
        nu = 3 * a4 / a2**2 - 1
        np.testing.assert_allclose(found.vertex_ratio, nu * (label - 1), rtol=1e-12)
        np.testing.assert_allclose(found.kernel_correction, 0, atol=1e-12)
        theta = 0.3 + 1.7 * a2  # a layer adds this; C_W = 1/A_2
        np.testing.assert_allclose(found.ntk, theta * label, rtol=1e-13)
        squares = np.cumsum(label**2) - label**2
        np.testing.assert_allclose(found.ntk_B, a4 / a2**2 * theta**2 * squares, rtol=1e-12)
    assert round(flow("linear", 30, weight_lr=2.0).ntk_B[-1]) == 34220


def test_tangent_kernel_fluctuations_have_the_measured_values():
    # (A + 2B) at layer 6, lambda = 1, K = 1: 35.05 and 740.0 against networks of width 16 to 128.
    for activation, expected in (("tanh", 35.05), ("relu", 740.0)):
        found = flow(activation, 6, weight_lr=1.0, bias_lr=1.0)
        np.testing.assert_allclose(
            found.ntk_A[-1] + 2 * found.ntk_B[-1], expected, rtol=2e-4, err_msg=activation
        )


def test_fluctuations_of_relu_are_the_limit_of_the_exact_ones():
    n, x = 10_000, np.array([[1.0, 1.0]])
    net = wd.mlp(5, n, "relu", weight_lr=0.7, bias_lr=0.2, weight_var=1.9, bias_var=0.1)
    exact = [exact_moments(net.scaled(f, 2), x) for f in (1, 2)]
    found = flow("relu", 6, kernel=2.0, weight_var=1.9, bias_var=0.1, weight_lr=0.7, bias_lr=0.2)
    for name in ("ntk_A", "ntk_B", "ntk_D", "ntk_F", "four_point"):
        limit = 2 * exact[1][name].squeeze() - exact[0][name].squeeze()  # of order 1e-7 is left
        np.testing.assert_allclose(getattr(found, name), limit, rtol=2e-6, err_msg=name)


def test_kernels_of_tanh_die_as_published():
    found = flow("tanh", 1000)
    at = np.array([10, 30, 100, 1000]) - 1
    layer = found.layer[at]
    np.testing.assert_allclose(
        2 * layer * found.kernel[at], [1.160, 1.066, 1.024, 1.003], atol=6e-4
    )
    ratio = found.vertex_ratio[at] / layer
    np.testing.assert_allclose(ratio, [0.5524, 0.6168, 0.6480, 0.6641], atol=6e-5)


# -- fixed points ----------------------------------------------------------------------------------


def _residual(name, kernel):
    """C_b + C_W <s^2>_K - K at criticality, and its sign a little below and above: 30 digits."""
    s = {
        "gelu": lambda z: z * mp.erfc(-z / mp.sqrt(2)) / 2,
        "silu": lambda z: z / (1 + mp.exp(-z)),
        "mish": lambda z: z * mp.tanh(mp.log1p(mp.exp(z))),
    }[name]
    point = wd.critical(name).preferred
    h = mp.mpf(1) / 8
    nodes = [h * (i + mp.mpf(1) / 2) for i in range(-104, 104)]

    def one(k):
        mean = sum(h * mp.npdf(u) * s(mp.sqrt(k) * u) ** 2 for u in nodes)
        return mp.mpf(point.bias_var) + mp.mpf(point.weight_var) * mean - k

    k = mp.mpf(kernel)
    return one(k), mp.sign(one(k * (1 - mp.mpf("1e-3")))), mp.sign(one(k * (1 + mp.mpf("1e-3"))))


@pytest.mark.parametrize("name", ["gelu", "silu", "mish"])
def test_half_stable_points_and_their_neighbours(name):
    found = fixed_points(name)
    half = [p for p in found if p.stability == "half-stable"]
    assert len(half) == 1
    np.testing.assert_allclose(half[0].kernel, wd.critical(name).preferred.kernel, rtol=1e-6)
    assert half[0].attracts == ("above" if name == "gelu" else "below")
    np.testing.assert_allclose(
        (half[0].chi_parallel, half[0].chi_perpendicular), 1, rtol=0, atol=1e-7
    )
    signs = {"both": (1, -1), "below": (1, 1), "above": (-1, -1), "none": (-1, 1)}
    with mp.workdps(30):
        for point in found:
            value, below, above = _residual(name, point.kernel)
            assert abs(value) < 1e-12 * point.kernel
            assert (below, above) == signs[point.attracts]
    if name == "gelu":  # what captures kernels that start below
        assert found[0].stability == "stable"
        assert found[0].chi_perpendicular < 1


def test_fixed_points_of_tanh_around_criticality():
    [only] = fixed_points("tanh")
    assert (only.kernel, only.stability, only.chi_parallel) == (0.0, "stable", 1.0)
    assert only.xi_kernel == math.inf
    [low] = fixed_points("tanh", weight_var=0.8, bias_var=0.0)
    assert (low.kernel, low.stability) == (0.0, "stable")
    np.testing.assert_allclose(low.xi_kernel, -1 / math.log(0.8))
    zero, high = fixed_points("tanh", weight_var=1.5, bias_var=0.0)
    assert (zero.stability, high.stability) == ("unstable", "stable")
    assert high.chi_parallel < 1 < high.chi_perpendicular
    assert high.correlation == 0.0  # an odd activation without biases
    [neutral] = fixed_points("relu")
    assert (neutral.stability, math.isnan(neutral.kernel)) == ("neutral", True)
    [grows] = fixed_points("relu", weight_var=2.1, bias_var=0.0)
    assert grows.stability == "unstable"
    [kept] = fixed_points("relu", weight_var=1.5, bias_var=0.5)
    np.testing.assert_allclose(kept.kernel, 0.5 / (1 - 0.75))
    assert fixed_points("relu", weight_var=2.0, bias_var=0.5) == ()
    [elu] = fixed_points("elu")
    assert (elu.kernel, elu.stability) == (0.0, "stable")
    low, high = fixed_points("exp", weight_var=0.1, bias_var=0.1)  # K = 0.1 + 0.1 exp(2K)
    for point, stability in ((low, "stable"), (high, "unstable")):
        np.testing.assert_allclose(0.1 + 0.1 * math.exp(2 * point.kernel), point.kernel, rtol=1e-10)
        assert point.stability == stability


def test_correlation_lengths_are_the_published_and_the_measured_ones():
    for c_w, published in ((1.0, 3.627), (1.3, 7.834)):  # Schoenholz et al. 2017, C_b = 0.05
        [point] = fixed_points("tanh", weight_var=c_w, bias_var=0.05)
        np.testing.assert_allclose(point.xi_correlation, published, atol=5e-4)
    # Chaotic: kernels and correlations of two inputs near c* fall by e in xi layers.
    c_w, c_b = 3.0, 0.1
    [point] = fixed_points("tanh", weight_var=c_w, bias_var=c_b)
    assert 0 < point.correlation < 1 < point.chi_perpendicular
    norm = np.sqrt((point.kernel - c_b) / c_w)
    cosine = (point.kernel * (point.correlation + 1e-4) - c_b) / (point.kernel - c_b)
    angle = math.acos(cosine)
    x = norm * np.sqrt(2) * np.array([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])
    net = wd.mlp(6, 8, "tanh", weight_var=c_w, bias_var=c_b)
    kernel = wd.predict(net, x, order=0)["kernel"].values
    off = kernel[:, 0, 1] / point.kernel - point.correlation
    np.testing.assert_allclose(off[0], 1e-4, rtol=1e-6)
    rate = -1 / np.log(off[1:] / off[:-1])
    np.testing.assert_allclose(rate, point.xi_correlation, rtol=1e-3)
    found = flow("tanh", 6, kernel=point.kernel + 1e-5, weight_var=c_w, bias_var=c_b)
    off = found.kernel - point.kernel
    np.testing.assert_allclose(-1 / np.log(off[1:] / off[:-1]), point.xi_kernel, rtol=1e-4)


# -- exponents -------------------------------------------------------------------------------------


def _lopsided(z):
    return jnp.tanh(z + 0.2 * z**2)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("tanh", (1, 2, 1)), ("sin", (1, 2, 1)), ("erf", (1, 2, 1)), (jnp.arctan, (1, 2, 1)),
        (_lopsided, (1, 2, (-2 + 0.16) / (-2 + 0.12))),
    ],
)  # fmt: skip
def test_exponents_at_kernel_zero(activation, expected):
    found = critical_exponents(activation)
    assert found.universality_class == "K*=0"
    np.testing.assert_allclose(found.predicted, expected, rtol=1e-12)
    np.testing.assert_allclose(found.measured, expected, rtol=1e-7)
    assert max(found.error) < 1e-6


@pytest.mark.parametrize("activation", ["gelu", "mish", "silu"])
def test_exponents_at_half_stable_points(activation):
    found = critical_exponents(activation)
    assert found.predicted[:2] == (1.0, 2.0)
    gap = np.abs(np.subtract(found.measured, found.predicted))
    # The formula's own derivatives are differences of 1e-3 K*, right to 1e-6 of themselves.
    assert np.all(gap < np.array(found.error) + 1e-6 * np.abs(found.predicted))
    assert found.error[0] < (5e-3 if activation == "silu" else 1e-4)


def test_what_is_known_of_half_stable_points():
    slopes = {"silu": (5.70e-6, 1.733e-3, 4.923), "gelu": (-2.873e-4, 9.334e-3, 4.904),
              "mish": (1.579e-2, 3.458e-2, 4.771)}  # fmt: skip
    for activation, (par, perp, nu) in slopes.items():
        found = critical_exponents(activation)
        np.testing.assert_allclose(found.predicted[2], 2 * perp / par, rtol=2e-3)
        np.testing.assert_allclose(found.vertex_slope, nu, atol=6e-4)


def test_exponents_where_nothing_moves_and_where_the_formulas_fail():
    found = critical_exponents("relu")
    assert found.predicted == (0.0, 0.0, 0.0)
    np.testing.assert_allclose(found.measured, 0, atol=1e-9)
    assert found.vertex_slope == 5
    # A kink of s'' at 0: K' = K (1 - c sqrt(K)), so K falls like l^-2 and K1 like l^-3.
    elu = critical_exponents("elu")
    assert elu.predicted is None
    assert "kink" in elu.reason
    np.testing.assert_allclose(elu.measured, (2, 3, 2), rtol=1e-4)
    late = flow("elu", 3000).kernel
    np.testing.assert_allclose(np.log2(late[1499] / late[2999]), 2, atol=0.03)
    hard = critical_exponents("hard_tanh")  # K - K' is of the order of exp(-1 / 2K)
    assert hard.predicted is None
    assert math.isnan(hard.measured[0])


@pytest.mark.parametrize("activation", ["tanh", "sin"])
def test_slopes_of_vertex_and_correction_are_reached(activation):
    # Logarithmic convergence: deviations at l and 2l nearly halve; Richardson leaves log(l)/l^2.
    found = flow(activation, 2000)
    ratio = np.array([found.vertex_ratio[i - 1] / i for i in (1000, 2000)])
    shift = np.array([(found.kernel_correction / found.kernel)[i - 1] / i for i in (1000, 2000)])
    exponents = critical_exponents(activation)
    np.testing.assert_allclose(2 * ratio[1] - ratio[0], exponents.vertex_slope, rtol=2e-3)
    np.testing.assert_allclose(2 * shift[1] - shift[0], exponents.correction_slope, rtol=2e-3)


# -- learning rates --------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "relu", _lopsided])
def test_every_layer_adds_alike_to_the_tangent_kernel(activation):
    spreads, totals = [], []
    for depth in (100, 400):
        weight_lr, bias_lr = equivalent_rates(activation, depth, weight_lr=0.7, bias_lr=0.4)
        assert len(weight_lr) == depth + 1
        found = flow(activation, depth + 1)
        # What a layer adds, carried through chi_perp of all layers above it.
        above = np.append(np.cumprod(found.chi_perpendicular[:-1][::-1])[::-1], 1.0)
        image = (found.kernel - found.bias_var) / found.weight_var
        added = (bias_lr + weight_lr * image) * above * (depth + 1)
        upper = added[depth // 4 :]
        spreads.append(upper.max() / upper.min() - 1)
        totals.append(added.mean())
        both = flow(activation, depth + 1, weight_lr=weight_lr, bias_lr=bias_lr)
        np.testing.assert_allclose(both.ntk[-1], totals[-1], rtol=1e-10)
    assert spreads[1] < max(0.5 * spreads[0], 1e-12)
    assert abs(totals[1] / totals[0] - 1) < 0.05
    if activation == "tanh":
        np.testing.assert_allclose(totals[1], 0.4 + 0.7 / 2, rtol=0.02)


# -- information -----------------------------------------------------------------------------------


def _entropy(neurons, variances, weights):
    """Of z in `neurons` dimensions, normal with random variance: by the density of |z|, in nats."""
    edges = np.linspace(-32, np.log(12.0 * np.sqrt(variances.max()) * (neurons + 6)), 6001)
    logs = (edges[1:] + edges[:-1]) / 2
    r = np.exp(logs)
    exponent = -0.5 * r[:, None] ** 2 / variances - neurons / 2 * np.log(2 * np.pi * variances)
    density = np.exp(exponent) @ weights
    log_sphere = math.log(2) + neurons / 2 * math.log(math.pi) - math.lgamma(neurons / 2)
    mass = np.exp(log_sphere + neurons * logs) * density * (edges[1] - edges[0])
    np.testing.assert_allclose(mass.sum(), 1, atol=1e-10)
    return -float(mass @ np.log(np.maximum(density, 1e-300)))


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 2), (3, 2)])
def test_information_of_a_linear_network_by_quadrature(first, second):
    # One hidden layer of n linear neurons: the variance of the outputs is chi-squared over n, so
    # v = 2/n. The expansion leaves out v^4: the deviation over v^4 settles.
    left = []
    for n in (200, 400, 800):
        points, weights = np.polynomial.legendre.leggauss(400)
        quantiles = stats.gamma(n / 2, scale=2 / n)
        low, high = quantiles.ppf([1e-15, 1 - 1e-15])
        g = low + (high - low) * (points + 1) / 2
        w = weights * quantiles.pdf(g) * (high - low) / 2
        entropy = {m: _entropy(m, g, w) for m in (first, second, first + second)}
        exact = entropy[first] + entropy[second] - entropy[first + second]
        v = 2 / n
        assert abs(exact / mutual_information(v, first, second) - 1) < 100 * v**2
        left.append((exact - mutual_information(v, first, second)) / v**4)
    assert abs(left[1] - left[2]) < 0.25 * abs(left[2]) + 1.0


def test_the_optimal_ratio_is_where_information_is_largest():
    for activation, nu in (("relu", 5.0), ("tanh", 2 / 3), ("linear", 2.0)):
        found = optimal_aspect_ratio(activation, outputs=4)
        best = optimize.minimize_scalar(
            lambda r, nu=nu: -mutual_information(nu * r, 2, 2), bounds=(0, 6 / 32 / nu),
            method="bounded", options={"xatol": 1e-12},
        )  # fmt: skip
        np.testing.assert_allclose(found.ratio, best.x, rtol=1e-5)
        np.testing.assert_allclose(found.information, -best.fun, rtol=1e-10)
        assert "order of magnitude" in found.caveat


@pytest.mark.parametrize(("first", "second"), [(1, 1), (2, 5), (40, 1)])
def test_no_information_is_negative(first, second):
    """v^2/8 = (20 + 3 n) v^3/48 at v = 6/(20 + 3 n)."""
    most = 6 / (20 + 3 * (first + second))
    for v in np.linspace(0, most, 50):
        assert mutual_information(float(v), first, second) >= 0
    assert mutual_information(most, first, second) == pytest.approx(0, abs=1e-12)
    for v in (most * 1.001, 10.0, 1e200):
        with pytest.raises(UnsupportedError, match="does not hold"):
            mutual_information(v, first, second)


def test_what_has_no_answer_is_refused():
    with pytest.raises(UnsupportedError, match="no critical"):
        flow("sigmoid", 5)
    with pytest.raises(UnsupportedError, match="no critical"):
        optimal_aspect_ratio("softplus")
    with pytest.raises(UnsupportedError, match="jumps"):
        fixed_points("sign", weight_var=1.0, bias_var=0.0)
    with pytest.raises(InputError, match="wrong length"):
        flow("tanh", 5, weight_lr=[1.0, 1.0])
    with pytest.raises(InputError, match="kernel"):
        flow("tanh", 5, kernel=0.0)
    with pytest.raises(UnsupportedError, match="ends at layer"):
        flow("exp", 50, weight_var=2.0, bias_var=1.0)
    with pytest.raises(InputError, match="outputs"):
        optimal_aspect_ratio("relu", outputs=1)
