"""The parts of the fast kernels: series, maps of one layer, tables, products of unit rows."""

from dataclasses import replace

import mpmath as mp
import numpy as np
import pytest

from whydeep.activations import get
from whydeep.gaussian import Covariance, second_moments, slopes
from whydeep.theory.infinite.dense import _hermite, _tensor_table
from whydeep.theory.infinite.dense._chebyshev import chebyshev_coefficients, chebyshev_nodes
from whydeep.theory.infinite.dense._cosine_table import Sampled, tabulate
from whydeep.theory.infinite.dense._cosines import Correlator, prepare
from whydeep.theory.infinite.dense._deep_table import deep_table
from whydeep.theory.infinite.dense._layers import layer_map
from whydeep.theory.infinite.dense._recursion import _polynomials
from whydeep.theory.infinite.dense._stack import DenseStack

pytestmark = pytest.mark.bounds

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
RNG = np.random.default_rng(4)


def stack(name, depth, c_w, c_b):
    return DenseStack(get(name), *([(c_w,) * (depth + 1), (c_b,) * (depth + 1)] * 2))


# ---------------------------------------------------------------------------------------- series


def test_chebyshev_coefficients_are_exact_to_a_rounding_unit():
    nodes = chebyshev_nodes(48)
    for k in (0, 1, 7, 47):
        wanted = np.zeros(48)
        wanted[k] = 1.0
        found = chebyshev_coefficients(np.cos(k * np.arccos(nodes)))
        np.testing.assert_allclose(found, wanted, atol=1e-14)


def test_hermite_coefficients_of_a_polynomial_and_an_exponential():
    # z^3 = q^(3/2) (h_3 sqrt(6) + 3 h_1); exp(z) has a_n = q^(n/2) exp(q/2) / sqrt(n!).
    found = _hermite.expand(get("monomial(3)"), np.array([0.0, 4.0]))
    np.testing.assert_allclose(found.images[1, :5], [0, 24, 0, 8 * 6**0.5, 0], atol=1e-12)
    np.testing.assert_array_equal(found.images[0], 0.0)
    found = _hermite.expand(get("exp"), np.array([0.7]))
    wanted = [float(mp.sqrt(mp.mpf(0.7) ** n / mp.factorial(n)) * mp.exp(0.35)) for n in range(6)]
    np.testing.assert_allclose(found.images[0, :6], wanted, rtol=1e-13)


@pytest.mark.parametrize("variance", [0.05, 1.0, 9.0])
def test_what_a_series_leaves_out_is_known(variance):
    # Parseval: a series cut short says so, by what <s^2> has more than it.
    full = _hermite.expand(get("tanh"), np.array([variance]))
    assert full.error.max() < 2e-14
    cut = _hermite._expand(get("tanh"), np.array([np.sqrt(variance)]), 16)
    rest = 1.0 - np.sum(full.images[0, :16] ** 2) / full.square[0]
    assert cut.error[0, 0] == pytest.approx(rest, rel=1e-3, abs=1e-14)  # on a coarser grid


def test_waves_too_fast_for_the_first_nodes_are_seen():
    # sin(sqrt(q) u): sum_n a_n^2 c^n = exp(-q) sinh(q c), 64 terms of it or not
    for root in (20.0, 30.0, 31.4, 62.8, 70.0):
        found = _hermite.expand(get("sin"), np.array([root**2]))
        if found is None:
            continue
        c = np.array([0.0, 0.5, 1.0 - 1.0 / root**2, 1.0])
        value = _hermite.power_series(found.images**2, c)[0]
        wanted = (np.exp(-(root**2) * (1 - c)) - np.exp(-(root**2) * (1 + c))) / 2
        np.testing.assert_allclose(value, wanted, atol=1e-12)


def test_a_series_that_does_not_converge_is_refused():
    assert _hermite.expand(get("tanh"), np.array([1e6])) is None


def test_polynomials_of_the_closed_form_to_50_digits():
    angle, gap = _polynomials()
    for y in (0.0, 1e-9, 0.03, 0.21, 0.5):
        with mp.workdps(50):
            s = mp.sqrt(mp.mpf(y)) if y else mp.mpf(10) ** -15
            theta = 2 * mp.asin(s)
            wanted = theta / s, 2 / mp.pi * (mp.sin(theta) - theta * mp.cos(theta)) / s**3
        for polynomial, value in zip((angle, gap), wanted, strict=True):
            assert np.polyval(polynomial, 4 * y - 1) == pytest.approx(float(value), rel=2e-15)


# ------------------------------------------------------------------------------------- one layer


@pytest.mark.parametrize("name", ["relu", "leaky_relu(0.3)", "abs", "tanh", "silu", "elu", "selu"])
def test_maps_of_one_layer_against_quadrature(name):
    s, q = get(name), 1.7
    minus = np.array([0.0, 1e-14, 1e-8, 1e-3, 0.4, 1.0])
    minus, plus = np.concatenate([minus, 2 - minus]), np.concatenate([2 - minus, minus])
    found = layer_map(s, q)
    apart, together, gap = found.gaps(minus, plus)
    for n, (m, p) in enumerate(zip(minus, plus, strict=True)):
        off = q * np.array([[0, 2 * m], [2 * m, 0]]), q * np.array([[4, 2 * p], [2 * p, 4]])
        law = Covariance(np.array([q, q]), *off)
        wanted, slope = second_moments(s, law), slopes(s, law).value
        assert found.square == pytest.approx(wanted.variance[0], rel=2e-12)
        assert found.slope_square == pytest.approx(slope[0, 0], rel=2e-12)
        assert apart[n] == pytest.approx(wanted.difference[0, 1], rel=1e-11)
        assert together[n] == pytest.approx(wanted.total[0, 1], rel=1e-10, abs=1e-12)
        assert gap[n] == pytest.approx(slope[0, 0] - slope[0, 1], abs=2e-12)
    assert found.error < 1e-12


@pytest.mark.parametrize("name", ["tanh", "hard_tanh"])
def test_odd_functions_of_nearly_opposite_samples_keep_their_total(name):
    minus = np.array([1e-12, 1e-6, 0.3])
    near, far = layer_map(get(name), 0.8).gaps(minus, 2 - minus), None
    far = layer_map(get(name), 0.8).gaps(2 - minus, minus)
    np.testing.assert_allclose(far[1], near[0], rtol=1e-12)
    np.testing.assert_allclose(far[0], near[1], rtol=1e-12)


# ---------------------------------------------------------------------------------------- tables


def evaluated(table, c):
    """A table at correlations c, straight from its definition."""
    distance = 1.0 - np.abs(c)
    out = np.empty((2, c.size))
    for n in range(c.size):
        piece, sides = 0, range(1, table.positive + 1)
        if c[n] < 0:
            sides = range(table.positive + 1, len(table.edges))
        for k in sides:
            if distance[n] < table.edges[k]:
                piece = k
        w = np.sqrt(distance[n]) if piece else c[n]
        t = table.line[piece, 0] * w + table.line[piece, 1]
        for f in (0, 1):
            value = np.polyval(table.coefficients[piece, f], t)
            anchored = piece == table.positive
            out[f, n] = table.base[f] - w ** (2 - f) * value if anchored else value
    return out


@pytest.mark.parametrize("dtype", [F32, F64])
def test_tables_of_functions_with_singular_ends(dtype):
    # sqrt(1 - c) at one end and (1 + c)^(3/2) at the other, steep within 1e-3 of c = 1
    def sample(minus, plus):
        gaps = np.stack([minus, np.sqrt(minus) / (0.03 + np.sqrt(minus))])
        values = np.stack([1.0 - minus + plus**1.5, 2.0 - gaps[1]])
        gaps[0] = minus + 2**1.5 - plus**1.5
        return Sampled(values, gaps)

    table = tabulate(sample, (1.0 + 2**1.5, 2.0), dtype)
    assert np.all(table.error < (1e-7 if dtype == F32 else 5e-14))
    c = np.concatenate([np.linspace(-1, 1, 401), 1 - np.geomspace(1e-15, 0.1, 40)])
    wanted = sample(1 - c, 1 + c).values
    scale = np.array([[1.0 + 2**1.5], [2.0]])
    assert np.abs((evaluated(table, c) - wanted) / scale).max() < (4e-7 if dtype == F32 else 1e-13)


def test_what_is_not_analytic_inside_has_no_table():
    def sample(minus, plus):
        kink = np.abs(minus - 0.9)
        return Sampled(np.stack([2 - kink, 2 - kink]), np.stack([minus, np.sqrt(minus)]) + 0 * plus)

    assert tabulate(sample, (1.1, 1.1), F64) is None


def test_the_slope_of_a_table_bounds_its_differences():
    found = deep_table(stack("relu", 30, 2.0, 0.0), 1.0, F64)
    ends = np.array([found.kernel, found.tangent])[:, None]
    for distance in (1e-8, 1e-5, 1e-2):
        at = distance * np.geomspace(1.0, 20.0, 60)
        values = evaluated(found.table, 1.0 - at) / ends
        steepest = np.abs(np.diff(values) / np.diff(at)).max(axis=1)
        assert np.all(steepest <= 1.01 * found.table.slope(distance))


def test_chaotic_networks_have_tables_too():
    # Neighbours separate exponentially: all that depends on c happens within 1e-9 of c = 1.
    s = stack("tanh", 60, 6.0, 0.0)
    found = deep_table(s, 1.0, F64)
    assert found.table.error.max() < 1e-13
    values = evaluated(found.table, np.array([0.0, 0.9, 1.0 - 1e-9, 1.0 - 1e-15, 1.0]))[0]
    assert values[4] == found.kernel
    assert values[3] == pytest.approx(found.kernel, rel=0.1)
    np.testing.assert_allclose(values[:3], 0.0, atol=0.1 * found.kernel)


def test_a_planted_error_in_a_table_of_three_variables_is_measured():
    s = stack("silu", 2, 1.5, 0.1)
    table = _tensor_table.tensor_table(s, 0.3, 4.0)
    assert np.all(table.error < 1e-10)
    cores = table.cores.copy()
    cores[2, 0, 3, 0, 0] *= 1.0 + 1e-5
    assert _tensor_table._measured(s, replace(table, cores=cores))[0] > 1e-9
    diagonal = table.diagonal.copy()
    diagonal[1, 2] *= 1.0 + 1e-6
    assert _tensor_table._measured(s, replace(table, diagonal=diagonal))[1] > 1e-9


# ----------------------------------------------------------------------------- products of rows


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("bias_var", [0.0, 0.4])
def test_signed_distances_of_unit_rows(dtype, bias_var):
    x = RNG.normal(size=(30, 50))
    x[1] = x[0] * (1 + 1e-9)
    x[2] = x[0] + 1e-9 * RNG.normal(size=50)
    x[3] = -x[0] * (1 + 1e-9)
    x[4:9] = x[9] + 1e-3 * RNG.normal(size=(5, 50))
    rows = prepare(x, 1.3, bias_var, dtype)
    found = Correlator(rows, rows, 1e-2, 30)((0, 30, 0, 30)).astype(float)
    with mp.workdps(40):
        points = [[mp.mpf(v) for v in row] for row in x.tolist()]
        for a, b in ((0, 1), (0, 2), (0, 3), (2, 3), (4, 5), (4, 9), (10, 11), (0, 20)):
            gram = {
                (i, j): bias_var + mp.mpf(1.3) * mp.fdot(points[i], points[j]) / 50
                for i, j in ((a, a), (b, b), (a, b))
            }
            c = gram[a, b] / mp.sqrt(gram[a, a] * gram[b, b])
            wanted = float(1 - abs(c)) * (1 if c > 0 else -1)
            near = abs(wanted) < 1e-2
            tolerance = 1e-7 if dtype == F32 else 1e-15
            assert found[a, b] == pytest.approx(
                wanted, rel=1e-6 if near else 0.0, abs=2e-24 if near else 4 * tolerance
            )


def test_a_crowded_block_is_as_precise_as_a_sparse_one():
    x = RNG.normal(size=20) + 1e-6 * RNG.normal(size=(40, 20))
    x = np.concatenate([x, -x[:15]])
    whole = Correlator(*[prepare(x, 1.0, 0.0, F64)] * 2, 1e-3, 60)((0, 55, 0, 55)).copy()
    rows, columns = prepare(x, 1.0, 0.0, F64), prepare(x, 1.0, 0.0, F64)
    for a, b in ((0, 1), (5, 30), (3, 50), (44, 45)):
        pair = Correlator(rows, columns, 1e-3, 1)((a, a + 1, b, b + 1))
        assert whole[a, b] == pytest.approx(pair[0, 0], rel=1e-8)
