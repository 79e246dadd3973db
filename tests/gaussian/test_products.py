import itertools

import mpmath as mp
import numpy as np
import pytest

from tests.gaussian.oracle import SPELLED
from whydeep import activations
from whydeep.errors import InputError
from whydeep.gaussian import Covariance, _orthant, _products, product_moments, second_moments

pytestmark = pytest.mark.bounds

ALL = [*SPELLED, "monomial(3)"]
SMOOTH = [n for n in ALL if activations.get(n).smooth]
KINKED = [n for n in ALL if not activations.get(n).smooth]
EVERY = np.array(list(itertools.combinations_with_replacement(range(4), 4)))


def some(size=4, features=6, seed=0, weight_var=1.0):
    x = np.random.default_rng(seed).normal(size=(size, features))
    return Covariance.from_points(x, weight_var, 0.1)


def tolerance(name):
    s = activations.get(name)
    if s.slopes is not None:
        return 1e-11
    if name == "step":
        return 1e-8
    return 2e-5 if s.kinks else 2e-9


@pytest.mark.parametrize("name", ALL)
def test_independent_samples_factorise(name):
    variance = np.array([0.5, 1.0, 1.4, 0.8])
    cov = Covariance.from_matrix(np.diag(variance))
    s = activations.get(name)
    moments = [_one(s, q, power) for q, power in itertools.product(variance, (1, 2, 3, 4))]
    moments = np.array(moments).reshape(4, 4)
    indices = np.array([[0, 1, 2, 3], [1, 1, 2, 3], [0, 0, 3, 3], [2, 2, 2, 1], [3, 3, 3, 3]])
    expected = [
        np.prod([moments[a, row.count(a) - 1] for a in set(row)]) for row in indices.tolist()
    ]
    found = product_moments(name, cov, indices)
    scale = np.prod(np.sqrt(moments[:, 1])[indices], axis=1) + np.abs(expected)
    assert np.all(np.abs(found.value - expected) <= tolerance(name) * scale)
    assert np.all(np.abs(found.value - expected) <= found.error + 1e-14 * scale)


def _one(s, variance, power):
    """<s^power>, panel by panel."""
    edges = np.unique(np.concatenate([np.linspace(-16, 16, 65), np.array(s.kinks) / variance**0.5]))
    points, weights = np.polynomial.legendre.leggauss(24)
    half = np.diff(edges)[:, None] / 2
    u = edges[:-1, None] + half * (points + 1)
    f = s.derivatives(np.sqrt(variance) * u, 0)[0] ** power
    return np.sum(f * half * weights * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi))


@pytest.mark.parametrize("name", ALL)
def test_repeated_and_coincident_samples_agree(name):
    """A sample named twice, and two samples that coincide, are the same thing."""
    x = np.random.default_rng(1).normal(size=(2, 5))
    cov = Covariance.from_points(x[[0, 0, 1, 1]], 1.0, 0.1)
    names = np.array([[0, 0, 2, 2], [0, 0, 0, 2], [0, 0, 0, 0], [0, 2, 2, 2]])
    twins = np.array([[0, 1, 2, 3], [0, 1, 1, 3], [0, 1, 0, 1], [1, 2, 3, 3]])
    repeated, coincident = (product_moments(name, cov, i) for i in (names, twins))
    doubt = repeated.error + coincident.error
    assert np.all(np.abs(repeated.value - coincident.value) <= doubt)
    assert np.all(doubt <= 10 * tolerance(name) * np.abs(repeated.value).max())


@pytest.mark.parametrize("name", ALL)
def test_order_of_indices_is_irrelevant(name):
    cov = some()
    rows = np.array(list(itertools.permutations(range(4))))
    value = product_moments(name, cov, rows).value
    assert np.all(value == value[0])


@pytest.mark.parametrize("name", ["tanh", "gelu", "cos", "gaussian"])
def test_smooth_products_against_another_lattice(name):
    """A product grid on Cholesky coordinates, whose own error is below 1e-9."""
    x = np.random.default_rng(3).normal(size=(4, 6))
    cov = Covariance.from_points(x, 0.5, 0.1)
    axis = 0.45 * np.arange(-15, 16)
    weights = 0.45 * np.exp(-(axis**2) / 2) / np.sqrt(2 * np.pi)
    u = np.stack(np.meshgrid(*[axis] * 4, indexing="ij"))
    z = np.einsum("ij,jabcd->iabcd", np.linalg.cholesky(cov.matrix), u)
    f = np.prod(activations.get(name).derivatives(z, 0)[0], axis=0)
    exact = np.einsum("abcd,a,b,c,d->", f, *[weights] * 4, optimize=True)
    found = product_moments(name, cov, np.array([[0, 1, 2, 3]]))
    scale = np.einsum("abcd,a,b,c,d->", np.abs(f), *[weights] * 4, optimize=True)
    assert abs(found.value[0] - exact) <= 4e-9 * scale


def test_trigonometric_products_in_closed_form():
    cov = some(weight_var=0.8)
    matrix = cov.matrix
    exact = 0.0
    for signs in itertools.product((1, -1), repeat=4):
        v = np.array(signs)
        exact += np.exp(-v @ matrix @ v / 2) / 16
    found = product_moments("cos", cov, np.array([[0, 1, 2, 3]]))
    assert abs(found.value[0] - exact) <= found.error[0]
    assert found.error[0] <= 2e-9


def test_gaussian_bump_in_closed_form():
    cov = some(weight_var=0.8)
    exact = 1 / np.sqrt(np.linalg.det(np.eye(4) + 2 * cov.matrix))
    found = product_moments("gaussian", cov, np.array([[0, 1, 2, 3]]))
    assert abs(found.value[0] - exact) <= found.error[0]
    assert found.error[0] <= 2e-9


def test_wick_and_exponential():
    cov = some()
    k = cov.matrix
    found = product_moments("linear", cov, np.array([[0, 1, 2, 3]])).value[0]
    assert found == pytest.approx(k[0, 1] * k[2, 3] + k[0, 2] * k[1, 3] + k[0, 3] * k[1, 2])
    assert product_moments("monomial(3)", cov, np.array([[0, 0, 0, 0]])).value[0] == pytest.approx(
        10395 * k[0, 0] ** 6
    )
    assert product_moments("exp", cov, np.array([[0, 1, 2, 3]])).value[0] == pytest.approx(
        np.exp(k.sum() / 2)
    )
    for name in ("monomial(2)", "monomial(3)", "linear"):
        closed = product_moments(name, cov, EVERY)
        lattice = _products._by_groups(activations.get(name), cov, EVERY, 1e-9)
        assert np.all(np.abs(closed.value - lattice.value) <= closed.error + lattice.error)


@pytest.mark.parametrize("name", ["relu", "abs", "leaky_relu(0.2)"])
def test_orthant_integral_against_quadrature_in_the_plane(name):
    """One and two distinct samples are independent two-dimensional integrals."""
    s, cov = activations.get(name), some()
    rows = EVERY[[len(set(row)) <= 2 for row in EVERY.tolist()]]
    found = _orthant.homogeneous_products(s.slopes, cov, rows)
    other = _products._by_groups(s, cov, rows, 1e-12)
    np.testing.assert_allclose(found.value, other.value, rtol=1e-11)
    assert np.all(np.abs(found.value - other.value) <= found.error + other.error)


@pytest.mark.parametrize("name", ["relu", "abs", "step"])
def test_orthant_integral_against_folded_quadrature(name):
    s, cov = activations.get(name), some()
    rows = EVERY[[len(set(row)) > 2 for row in EVERY.tolist()]]
    found = product_moments(name, cov, rows)
    other = _products._by_groups(s, cov, rows, 1e-9)
    assert np.all(np.abs(found.value - other.value) <= found.error + other.error)
    assert np.all(found.error <= 1e-8)


def test_orthant_probability_of_equal_correlations():
    """P(all positive) = 1/5 for four samples of mutual correlation 1/2."""
    cov = Covariance.from_matrix((np.eye(4) + 1) / 2)
    found = product_moments("step", cov, np.array([[0, 1, 2, 3], [0, 1, 2, 2]]))
    np.testing.assert_allclose(found.value, [1 / 5, 1 / 4], atol=1e-12)


def test_abs_of_one_factor():
    """z_a = f + e_a: given f the samples are independent, so four-fold means are 1-D integrals."""
    c = 0.3
    cov = Covariance.from_matrix((1 - c) * np.eye(4) + c)
    with mp.workdps(25):
        spread = mp.sqrt(1 - mp.mpf(c))

        def absolute(m):
            return spread * mp.sqrt(2 / mp.pi) * mp.exp(-((m / spread) ** 2) / 2) + m * mp.erf(
                m / (spread * mp.sqrt(2))
            )

        def positive(m):
            return (absolute(m) + m) / 2

        def mean(f):
            points = [-10, -3, 0, 3, 10]
            return mp.quad(lambda x: f(mp.sqrt(mp.mpf(c)) * x) ** 4 * mp.npdf(x), points)

        exact = {"abs": mean(absolute), "relu": mean(positive)}
    for name, value in exact.items():
        found = product_moments(name, cov, np.array([[0, 1, 2, 3]]))
        assert abs(found.value[0] - float(value)) <= 1e-12
        assert abs(found.value[0] - float(value)) <= found.error[0]


@pytest.mark.parametrize("eps", [1e-3, 1e-6, 1e-10, 1e-14])
def test_nearly_coincident_samples_have_a_limit(eps):
    x = np.random.default_rng(2).normal(size=(4, 6))
    x[1] = x[0] + eps * x[1]
    x[3] = x[0] - eps * x[3]
    cov = Covariance.from_points(x, 1.0, 0.0)
    for name, rough in (("relu", 1e-10), ("abs", 1e-10), ("step", 1e-7), ("tanh", 1e-8)):
        near = product_moments(name, cov, np.array([[0, 1, 2, 3]])).value[0]
        limit = product_moments(name, cov, np.array([[0, 0, 2, 0]])).value[0]
        assert near == pytest.approx(limit, rel=rough + 30 * eps), name


@pytest.mark.parametrize("name", ALL)
def test_pairs_within_a_fourth_moment_obey_cauchy_schwarz(name):
    found = product_moments(name, some(), EVERY)
    fourth = {a: v for (a, b, c, d), v in zip(EVERY.tolist(), found.value, strict=True) if a == d}
    for row, value, error in zip(EVERY.tolist(), found.value, found.error, strict=True):
        bound = np.prod([fourth[a] ** 0.25 for a in row])
        assert abs(value) <= bound * (1 + 1e-9) + error


@pytest.mark.parametrize("name", ALL)
def test_zero_variance(name):
    cov = Covariance.from_points(np.array([[0.0], [1.0]]), 1.3, 0.0)
    found = product_moments(name, cov, np.array([[0, 0, 1, 1], [0, 0, 0, 0]]))
    origin = activations.get(name).derivatives(np.zeros(1), 0)[0][0]
    square = second_moments(name, cov).variance[1]
    np.testing.assert_allclose(found.value, [origin**2 * square, origin**4], rtol=1e-9, atol=1e-14)


def test_bad_indices_are_refused():
    for bad in (np.array([[0, 1, 2]]), np.array([[0, 1, 2, 9]]), np.array([[0.0, 1, 2, 3]])):
        with pytest.raises(InputError):
            product_moments("tanh", some(), bad)
