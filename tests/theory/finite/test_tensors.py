"""Tensors of first order: linear networks in closed form, thirty digits, records, invariances."""

import functools
import itertools

import jax
import mpmath
import numpy as np
import pytest
from numpy.polynomial import Polynomial

from benchmarks._tensor_reference import (
    TERMS,
    Means,
    Step,
    TanhDerivatives,
    by_grid,
    recursion,
)
from whydeep import memory, observables
from whydeep.activations import custom
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import mlp
from whydeep.theory.finite import predict
from whydeep.theory.finite._kernel import infinite_width, tangent_kernels
from whydeep.theory.finite._recursion import first_order, needed

# The setting in which the formula sheet's numbers were measured by Monte Carlo (notes, record).
X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1]])
TENSORS = [name for name, o in observables.OBSERVABLES.items() if o.order == 1]
SMOOTH_ONLY = [name for name in TENSORS if name.startswith(("dntk", "ddntk"))]


def network(activation, widths=(32, 32), **changes):
    rates = {"bias_lr": (0.5, 0.7, 1.1), "weight_lr": (1.0, 0.8, 1.3)}
    return mlp(2, widths, activation, **({"weight_var": 1.4, "bias_var": 0.1} | rates | changes))


def test_linear_networks_without_biases_from_wishart_moments():
    # z = W3 W2 W1 x with u = W1 x, v = W2 u, M = W2 W2^T, w_i the rows of W3, G = x_a.x_b/n_0:
    #     H_ij;ab = lambda_3 d_ij v_a.v_b/n + lambda_2 u_a.u_b/n w_i.w_j + lambda_1 G_ab w_i M w_j.
    # Averaged over W3 first, then W2 and W1, by E tr N = n C, E tr N^2 = C^2 (2n + 1),
    # E N^2 = C^2 (2 + 1/n) for N = W2^T W2, and n Cov(u_a.u_b/n, u_c.u_d/n) = C^2 S_abcd. The
    # differentials have a derivative by each of two layers; only the sums of order n are kept.
    c, (l1, l2, l3) = 1.3, (1.0, 0.8, 1.7)
    net = mlp(
        2, 16, "linear", weight_var=c, bias_var=0.0, bias_lr=0.0, weight_lr=(l1, l2, l3)
    )  # fmt: skip
    found = predict(net, X, observables="all")
    g = X @ X.T / 3

    def two(path):
        return np.einsum(path, g, g)

    s = two("ac,bd->abcd") + two("ad,bc->abcd")
    expected = {
        "four_point": 2 * c**6 * s,
        "ntk_D": c**5 * s * (2 * l3 + l2),
        "ntk_F": c**5 * two("ac,bd->abcd") * (l2 + 2 * l1),
        "ntk_A": c**4 * s * (2 * l3**2 + 2 * l2 * l3 + l2**2),
        "ntk_B": c**4 * two("ac,bd->abcd") * (l2**2 + 2 * l1 * l2 + 2 * l1**2),
        "dntk_P": 0 * s,
        "dntk_Q": c**4 * two("ac,bd->abcd") * (l3 * l2 + 2 * l3 * l1 + l2 * l1),
        "ddntk_R": 0 * s,
        "ddntk_S": c**3 * two("ac,bd->abcd") * (l3 * ((l1 + l2) ** 2 + l1**2) + l2 * l1**2),
        "ddntk_T": c**3 * two("ad,bc->abcd")
        * (l3**2 * (2 * l1 + l2) + 2 * l1 * l2 * l3 + l1 * l2**2),
        "ddntk_U": 0 * s,
        "kernel_correction": 0 * g,
        "ntk_correction": 0 * g,
    }  # fmt: skip
    assert set(expected) == set(TENSORS)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].values[2], value, rtol=1e-12, atol=1e-12)
        assert not np.any(found[name].values[0])


def tanh_oracle(net, x):
    """Every tensor of a tanh network on one input, layer by layer, to thirty digits.

    Functions of z are polynomials in t = tanh z, with d/dz p = p' (1 - t^2); means are sums on a
    lattice whose error exp(-2 pi d / h) is far below thirty digits.
    """
    mpmath.mp.dps = 30
    h = mpmath.mpf(1) / 12
    nodes = [h * k for k in range(-150, 151)]
    weights = [mpmath.npdf(u) * h for u in nodes]
    slope = Polynomial([1, 0, -1])

    def d(p, times=1):
        for _ in range(times):
            p = p.deriv() * slope
        return p

    s = [d(Polynomial([0, 1]), k) for k in range(4)]
    rates, widths = net.learning_rates(1), net.widths
    first = net.dense[0]
    k = mpmath.mpf(first.bias_var) + mpmath.mpf(first.weight_var) * mpmath.mpf(x) ** 2
    th = mpmath.mpf(rates[0][0]) + mpmath.mpf(rates[0][1]) * mpmath.mpf(x) ** 2
    t = dict.fromkeys(TENSORS, mpmath.mpf(0))
    out = [t]
    for layer in range(1, len(net.dense)):
        c, lw = mpmath.mpf(net.dense[layer].weight_var), mpmath.mpf(rates[layer][1])
        r = 0 if layer == 1 else mpmath.mpf(widths[layer - 1]) / widths[layer - 2]
        table = [mpmath.tanh(mpmath.sqrt(k) * u) for u in nodes]

        def mean(p, table=table):
            coefficients = [mpmath.mpf(v) for v in p.coef[::-1]]
            return mpmath.fdot(weights, [mpmath.polyval(coefficients, v) for v in table])

        def four(*orders, mean=mean):
            return mean(np.prod([s[i] for i in orders]))

        om = lambda p, q, lw=lw, c=c, th=th: lw * p + c * th * q  # noqa: E731
        ss, s11 = four(0, 0), four(1, 1)
        m = mean(d(s[0] ** 2, 2)) / 2
        n = mean(d(s[1] ** 2, 2)) / 2
        o = om(m, n)
        e = mean(d(s[0] * s[1]))
        xx = om(mean(d(s[1] * s[0])), mean(d(s[2] * s[1])))
        f0, f1, f2 = four(0, 0, 0, 0), four(0, 0, 1, 1), four(1, 1, 1, 1)
        v, g, a, b = t["four_point"], t["kernel_correction"], t["ntk_A"], t["ntk_B"]
        dd, f, p, q = t["ntk_D"], t["ntk_F"], t["dntk_P"], t["dntk_Q"]
        cov0, cov1, cov2 = f0 - ss**2, f1 - ss * s11, f2 - s11**2
        w = c**2 * four(2, 2, 1, 1) * th**3
        last = four(2, 1, 1, 0)
        t = {
            "four_point": c**2 * (cov0 + r * m**2 * v),
            "kernel_correction": r * c * (m * g + mean(d(s[0] ** 2, 4)) * v / 8),
            "ntk_correction": r * (
                o * g + om(mean(d(s[0] ** 2, 4)), mean(d(s[1] ** 2, 4))) * v / 8
                + c * s11 * t["ntk_correction"] + c * n * (dd + 2 * f)
            ),
            "ntk_D": c * (lw * cov0 + c * th * cov1) + r * (c * m * o * v + c**2 * s11 * m * dd),
            "ntk_F": c**2 * (f1 * th + r * e**2 * f),
            "ntk_A": lw**2 * cov0 + 2 * lw * c * th * cov1 + (c * th) ** 2 * cov2
            + r * (o**2 * v + 2 * c * s11 * o * dd + (c * s11) ** 2 * a),
            "ntk_B": c**2 * (f2 * th**2 + r * s11**2 * b),
            "dntk_P": c**2 * (last * th**2 + r * s11 * (four(2, 0) * b + e * p)),
            "dntk_Q": lw * c * f1 * th + c**2 * last * th**2
            + r * c * (xx * e * f + c * s11 * e * q),
            "ddntk_R": lw * c * last * th**2 + c**2 * four(3, 1, 1, 1) * th**3
            + r * c * s11 * (om(four(2, 0), four(3, 1)) * b + xx * p + c * s11 * t["ddntk_R"]),
            "ddntk_S": lw * c * f2 * th**2 + w
            + r * c * s11 * (om(s11, four(2, 2)) * b + c * s11 * t["ddntk_S"]),
            "ddntk_T": lw**2 * f1 * th + 2 * lw * c * last * th**2 + w
            + r * (xx**2 * f + 2 * c * s11 * xx * q + (c * s11) ** 2 * t["ddntk_T"]),
            "ddntk_U": w + r * (c * s11) ** 2 * t["ddntk_U"],
        }  # fmt: skip
        out.append(t)
        th = mpmath.mpf(rates[layer][0]) + om(ss, s11)
        k = mpmath.mpf(net.dense[layer].bias_var) + c * ss
    return out


def test_tanh_on_one_input_to_thirty_digits():
    net = mlp(
        4, (16, 24, 12, 30), "tanh", weight_var=(1.2, 1.5, 0.9, 1.7, 1.3), bias_var=0.2,
        bias_lr=(0.5, 0.7, 1.1, 0.2, 0.9), weight_lr=(1.0, 0.8, 1.3, 0.6, 1.9),
    )  # fmt: skip
    found = predict(net, np.array([[0.9]]), observables="all")
    for layer, tensors in enumerate(tanh_oracle(net, 0.9)):
        for name, exact in tensors.items():
            value = found[name].values[layer].item()
            bound = found.tolerance[name].values[layer].item()
            assert abs(value - float(exact)) <= bound + 1e-15 * abs(value)
            assert bound < 1e-9 * (1 + abs(value))


def test_record_of_the_tangent_kernel_s_correction():
    # Measured at n = 64 and 128: -.0266, .0943, -.0107 (+-.0007); gelu .1935, .0350, .1758.
    found = predict(network("tanh"), X, observables=["ntk_correction"])["ntk_correction"].values[2]
    np.testing.assert_allclose(found[[0, 0, 1], [0, 1, 1]], (-0.0269, 0.0929, -0.0118), atol=5e-5)
    found = predict(network("gelu"), X, observables=["ntk_correction"])["ntk_correction"].values[2]
    np.testing.assert_allclose(found[[0, 0, 1], [0, 1, 1]], (0.1968, 0.0370, 0.1751), atol=5e-5)


@pytest.mark.parametrize(("activation", "variance"), [("tanh", 35.05), ("relu", 740.0)])
def test_record_of_the_tangent_kernel_s_variance(activation, variance):
    # n Var H_11 = A + 2 B at l = 6, from K = 1, all rates 1.
    net = mlp(5, 8, activation, bias_lr=1.0, weight_lr=1.0)
    x = np.array([[1 / np.sqrt(net.dense[0].weight_var)]])
    found = predict(net, x, observables=["ntk_A", "ntk_B"])
    total = found["ntk_A"] + 2 * found["ntk_B"]
    assert total.values[5].item() == pytest.approx(variance, abs=5e-3)


@pytest.mark.parametrize(
    ("activation", "depth"), [("linear", 29), ("relu", 7), ("abs", 7), ("leaky_relu(0.2)", 7)]
)
def test_scale_invariant_networks_on_one_input(activation, depth):
    # B = (A_4/A_2^2) theta^2 sum_{k<l} k^2 where Theta = theta l, and no mean correction.
    net = mlp(depth, 8, activation, bias_lr=1.0, weight_lr=1.0)
    x = np.array([[1 / np.sqrt(net.dense[0].weight_var)]])
    found = predict(net, x, observables=["ntk", "ntk_B", "ntk_correction"])
    minus, plus = net.activation.slopes
    shape = 2 * (minus**4 + plus**4) / (minus**2 + plus**2) ** 2
    tangent = found["ntk"].values.squeeze()
    layers = np.arange(1, depth + 2)
    np.testing.assert_allclose(tangent, tangent[0] * layers, rtol=1e-12)
    expected = shape * tangent[0] ** 2 * np.cumsum((layers - 1) ** 2)
    np.testing.assert_allclose(found["ntk_B"].values.squeeze(), expected, rtol=1e-11)
    np.testing.assert_allclose(found["ntk_correction"].values, 0, atol=1e-9)
    if activation == "linear":
        assert found["ntk_B"].values[29].item() == pytest.approx(34220, rel=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "relu"])
def test_permuted_repeated_and_fewer_inputs(activation):
    x = np.random.default_rng(5).normal(size=(4, 3))
    names = [n for n in TENSORS if activation != "relu" or n not in SMOOTH_ONLY]
    whole = predict(network(activation, (24, 36)), x, observables=names)
    order = [2, 0, 3, 0]  # one left out, one twice
    part = predict(network(activation, (24, 36)), x[order], observables=names)
    for name in names:
        at = np.ix_(*[order] * observables.OBSERVABLES[name].samples)
        bound = 2 * np.stack([layer[at] for layer in whole.tolerance[name].values]) + 1e-13
        expected = np.stack([layer[at] for layer in whole[name].values])
        assert np.all(np.abs(part[name].values - expected) <= bound + part.tolerance[name].values)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "relu"])
def test_symmetries_hold_before_they_are_imposed(activation):
    net = network(activation, (24, 36))
    layers = list(infinite_width(net, np.random.default_rng(6).normal(size=(3, 3))))
    names = [n for n in TENSORS if activation != "relu" or n not in SMOOTH_ONLY]
    found = first_order(net, layers, tangent_kernels(net, 3, layers), needed(names))
    for name in names:
        raw = found[name][2].value
        assert np.any(raw)
        for permutation in observables.OBSERVABLES[name].symmetry:
            np.testing.assert_allclose(raw, raw.transpose(permutation), rtol=1e-11, atol=1e-12)
        # and no other exchange of two samples does
        others = set(itertools.permutations(range(raw.ndim)))
        equal = {p for p in others if np.allclose(raw, raw.transpose(p), rtol=1e-6, atol=1e-9)}
        assert len(equal) == len(_group(observables.OBSERVABLES[name].symmetry, raw.ndim))


def _group(generators, size):
    found = {tuple(range(size))}
    while True:
        more = {tuple(p[i] for i in g) for p in found for g in generators} | found
        if more == found:
            return found
        found = more


def test_only_what_is_asked_is_computed():
    assert needed(["kernel", "ntk"]) == []
    assert needed(["ddntk_U"]) == ["ddntk_U"]
    assert needed(["dntk_Q"]) == ["ntk_F", "dntk_Q"]
    found = predict(network("tanh"), X, observables=["ddntk_R"])
    assert list(found) == ["ddntk_R"]
    whole = predict(network("tanh"), X, observables="all")
    assert list(whole) == list(observables.OBSERVABLES)
    np.testing.assert_array_equal(found["ddntk_R"].values, whole["ddntk_R"].values)
    assert list(predict(network("tanh"), X)) == list(observables.BASIC)
    assert list(predict(network("tanh"), X, order=0, observables="all")) == ["kernel", "ntk"]


def test_what_kinks_and_jumps_take_away():
    kinked = predict(network("relu"), X, observables="all")
    assert set(kinked.missing) == set(SMOOTH_ONLY)
    with pytest.raises(InputError, match="delta functions"):
        _ = kinked["dntk_P"]
    with pytest.raises(UnsupportedError, match="delta functions"):
        predict(network("relu"), X, observables=["dntk_P"])
    jumping = predict(network("step"), X, observables="all")
    assert set(jumping) == {"kernel", "four_point", "kernel_correction"}
    assert "jumps" in jumping.missing["ntk_A"]
    with pytest.raises(UnsupportedError, match="no feasible number of draws"):
        predict(network("exp"), X, observables=["ntk_B"])


def test_relu_is_the_limit_of_soft_ones():
    # e softplus(z / e) differs from relu by a bump of area e^2, its slope squared by one of e: each
    # tensor's distributional form must be what the smooth one tends to.
    names = [name for name in TENSORS if name not in SMOOTH_ONLY]
    kinked = predict(network("relu", (24, 36)), X, observables=names)
    apart = {}
    for e in (0.2, 0.1):
        soft = custom(functools.partial(_soft, e=e), name="soft")
        smooth = predict(network(soft, (24, 36)), X, observables=names)
        for name in names:
            exact = kinked[name].values[2]
            difference = np.abs(smooth[name].values[2] - exact).max()
            apart[name, e] = difference / np.abs(exact).max()
    for name in names:
        assert apart[name, 0.1] < 0.3
        assert apart[name, 0.1] < 0.8 * apart[name, 0.2]


def _soft(z, e):
    return e * jax.nn.softplus(z / e)


def test_too_many_inputs_are_refused_before_work_begins(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 10_000_000)
    x = np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(InputError, match="do not fit in memory"):
        predict(network("tanh"), x, observables="all")


def test_a_changed_number_of_the_network_changes_every_tensor():
    # Each is multiplied by something in every tensor but those that cannot depend on it.
    net = network("gelu", (24, 36))
    base = predict(net, X, observables="all")
    cases = {
        "weight_var": {"weight_var": 1.4 * 1.1},
        "first rate": {"weight_lr": (1.1, 0.8, 1.3)},
        "ratio": {"widths": (24, 40)},
    }
    for changes in cases.values():
        other = predict(network("gelu", **({"widths": (24, 36)} | changes)), X, observables="all")
        for name in TENSORS:
            if name in ("four_point", "kernel_correction") and "weight_lr" in changes:
                np.testing.assert_array_equal(other[name].values, base[name].values)
                continue
            moved = np.abs(other[name] - base[name]).values[2].max()
            assert moved > 1e-3 * np.abs(base[name].values[2]).max()


def test_network_s_own_rates_are_taken():
    # "standard" has rates fan_in and 1; written out they are the same network.
    kind = {"weight_var": 1.4, "bias_var": 0.1}
    net = mlp(2, (5, 7), "tanh", parameterization="standard", **kind)
    same = mlp(2, (5, 7), "tanh", bias_lr=1.0, weight_lr=(3.0, 5.0, 7.0), **kind)
    for name in ("ntk_A", "ddntk_T"):
        one, two = (predict(n, X, observables=[name])[name].values for n in (net, same))
        np.testing.assert_allclose(one, two, rtol=1e-12)


@pytest.fixture(scope="module")
def plain():
    """The recursions written out plainly, with other index orders and dense sums."""
    net = mlp(
        3, (24, 36, 20), "tanh", weight_var=1.4, bias_var=0.1,
        bias_lr=(0.5, 0.7, 1.1, 0.6), weight_lr=(1.0, 0.8, 1.3, 0.9),
    )  # fmt: skip
    known = {}

    def run(**alter):
        return recursion(net, X, TanhDerivatives, by_grid, alter=alter, known=known)

    return predict(net, X, observables="all"), run


def test_two_inputs_against_the_recursions_written_out_plainly(plain):
    predicted, run = plain
    for layer, tensors in enumerate(run()):
        for name, exact in tensors.items():
            value, bound = (a[name].values[layer] for a in (predicted, predicted.tolerance))
            assert np.all(np.abs(value - exact) <= bound + 1e-13 * (1 + np.abs(exact)))
            assert np.all(bound <= 1e-11 * (1 + np.abs(exact)))


def test_every_term_altered_by_a_tenth_is_caught(plain):
    predicted, run = plain
    for name, rule in TERMS.items():
        for term in _terms(rule):
            last = run(**{f"{name}: {term}": 1.1})[-1][name]
            value, bound = (a[name].values[-1] for a in (predicted, predicted.tolerance))
            assert np.max(np.abs(value - last) / (bound + 1e-13)) > 1e6, f"{name}: {term}"


def _terms(rule):
    """The names of a recursion's terms."""
    means = Means(np.eye(2), TanhDerivatives, lambda _: 1.0)
    below = {name: np.ones((2,) * (2 if "correction" in name else 4)) for name in TERMS}
    return list(rule(Step(means, below, 1.0, 1.0, 1.0, np.ones((2, 2)))))
