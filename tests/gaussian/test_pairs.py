import mpmath as mp
import numpy as np
import pytest

from tests.gaussian import oracle
from tests.gaussian.oracle import SPELLED
from whydeep import activations
from whydeep.errors import InputError, UnsupportedError
from whydeep.gaussian import (
    Covariance,
    _closed_forms,
    _tables,
    pair_derivatives,
    second_moments,
    self_derivatives,
    slopes,
)

ALL = [*SPELLED, "monomial(3)", "leaky_relu(0.2)", "elu(0.5)"]


def two(qa, qb, less):
    """The law of a pair of correlation 1 - less."""
    deviation = np.sqrt(qa * qb)
    difference = (np.sqrt(qa) - np.sqrt(qb)) ** 2 + 2 * deviation * less
    total = (np.sqrt(qa) - np.sqrt(qb)) ** 2 + 2 * deviation * (2 - less)
    return Covariance(
        np.array([qa, qb]),
        np.array([[0, difference], [difference, 0]]),
        np.array([[4 * qa, total], [total, 4 * qb]]),
    )


def some(size=4, seed=0):
    x = np.random.default_rng(seed).normal(size=(size, 6))
    return Covariance.from_points(x, 1.3, 0.1)


def check(estimate, error, exact, relative, scale=None):
    exact = float(exact)
    scale = abs(exact) if scale is None else scale
    assert abs(estimate - exact) <= relative * scale
    assert abs(estimate - exact) <= error + 8e-16 * scale  # the error estimate is honest


@pytest.mark.parametrize("name", ["tanh", "silu", "mish", "softplus", "gelu"])
@pytest.mark.parametrize(("qa", "qb", "less"), [(1.0, 0.6, 0.4), (0.7, 0.7, 1e-12), (1.1, 0.9, 2)])
def test_smooth_pairs_against_thirty_digits(name, qa, qb, less):
    with mp.workdps(30):
        square, difference, product = oracle.smooth_pair(name, qa, qb, less)
    moments = second_moments(name, two(qa, qb, less))
    scale = float(square)
    check(moments.variance[0], moments.error[0, 0], square, 1e-12)
    check(moments.matrix[0, 1], moments.error[0, 1], product, 1e-12, scale)
    if difference > 1e-3:
        check(moments.difference[0, 1], 4 * moments.error[0, 1], difference, 1e-12)
    else:
        assert moments.difference[0, 1] == pytest.approx(float(difference), rel=1e-11)


@pytest.mark.parametrize("less", [0.3, 1e-3, 1e-7, 1e-12, 1e-14, 1.0, 1.9, 2 - 1e-9, 2.0])
@pytest.mark.parametrize(("qa", "qb"), [(1.0, 1.0), (2.0, 0.5)])
def test_relu_pairs_against_forty_digits(qa, qb, less):
    with mp.workdps(50):
        product, difference, slope = oracle.relu_pair(qa, qb, less)
    cov = two(qa, qb, less)
    moments, steep = second_moments("relu", cov), slopes("relu", cov)
    check(moments.matrix[0, 1], moments.error[0, 1], product, 1e-12, 1.0)
    assert moments.difference[0, 1] == pytest.approx(float(difference), rel=1e-12)
    # For unequal variances the law itself holds 1 - c to a rounding unit only.
    doubt = 1e-12 + (qa != qb) * 1e-15 / np.sqrt(less * (2 - less) + 1e-30)
    assert steep.value[0, 1] == pytest.approx(float(slope), abs=min(doubt, 1e-8))
    by_quadrature = _tables.pair_second_moments(
        activations.get("relu"), cov, (np.array([0]), np.array([1])), 1e-12
    )[0]
    assert by_quadrature.value[0] == pytest.approx(float(difference), rel=1e-11)


@pytest.mark.parametrize(
    ("name", "qa", "qb", "less"),
    [
        ("hard_tanh", 1.0, 0.6, 0.4),
        ("hard_tanh", 0.9, 0.9, 1e-9),
        ("elu", 0.9, 0.9, 1e-9),
        ("elu", 1.2, 1.1, 1.7),
        ("step", 1.2, 1.1, 1.7),
    ],
)
def test_kinked_pairs_against_twenty_digits(name, qa, qb, less):
    with mp.workdps(20):
        product, difference = oracle.kinked_pair(oracle.KINKED[name], qa, qb, less)
    moments = second_moments(name, two(qa, qb, less))
    check(moments.matrix[0, 1], moments.error[0, 1], product, 1e-12, 1.0)
    # The inputs of the law, not the quadrature, limit a difference of 1e-9.
    assert moments.difference[0, 1] == pytest.approx(float(difference), rel=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_closed_forms_agree_with_quadrature(name):
    s, cov = activations.get(name), some()
    a, b = np.triu_indices(cov.size, 1)
    minus, plus = _tables.pair_second_moments(s, cov, (a, b), 1e-12)
    moments = second_moments(name, cov)
    scale = np.sqrt(np.multiply.outer(moments.variance, moments.variance))[a, b]
    doubt = minus.error + plus.error + moments.error[a, b] * 4
    assert np.all(doubt <= 5e-11 * scale)
    assert np.all(np.abs(moments.difference[a, b] - minus.value) <= doubt)
    assert np.all(np.abs(moments.total[a, b] - plus.value) <= doubt)
    if (product := _closed_forms.image_product(s, cov)) is not None:
        np.testing.assert_allclose(product[a, b], (plus.value - minus.value) / 4, atol=2e-12)
        variance = _tables.self_table(s, cov, 1, 1e-12)[1].value[0]
        np.testing.assert_allclose(np.diagonal(product), variance, rtol=1e-12)
    if s.continuous:
        steep = slopes(name, cov)
        table = _tables.pair_table(s, cov, 2, 1e-12).value[1, 1]
        diagonal = _tables.self_table(s, cov, 2, 1e-12)[0].value[1, 1]
        np.testing.assert_allclose(steep.value[a, b], table, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(np.diagonal(steep.value), diagonal, rtol=1e-11)


@pytest.mark.parametrize("name", ALL)
def test_coincident_and_opposite_samples(name):
    x = np.array([[1.0, 0.5], [1.0, 0.5], [-1.0, -0.5]])
    cov = Covariance.from_points(x, 1.1, 0.0)
    moments = second_moments(name, cov)
    matrix = moments.matrix
    assert moments.difference[0, 1] == pytest.approx(0, abs=1e-30)
    assert matrix[0, 1] == pytest.approx(matrix[0, 0], rel=1e-12)
    s = activations.get(name)
    u = np.linspace(-10, 10, 4000)
    z, weights = np.sqrt(cov.variance[0]) * u, np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    weights *= u[1] - u[0]
    forward, backward = s.derivatives(z, 0)[0], s.derivatives(-z, 0)[0]
    rough = 1e-5 if s.kinks else 1e-12
    scale = matrix[0, 0]
    assert abs(matrix[0, 2] - np.sum(weights * forward * backward)) <= rough * scale
    even = np.sum(weights * (forward - backward) ** 2)
    assert abs(moments.difference[0, 2] - even) <= rough * scale


@pytest.mark.parametrize("name", ALL)
def test_zero_variances(name):
    cov = Covariance.from_points(np.array([[0.0], [0.0], [1.0]]), 1.5, 0.0)
    origin = activations.get(name).derivatives(np.zeros(1), 0)[0][0]
    moments = second_moments(name, cov)
    assert moments.variance[0] == pytest.approx(origin**2, rel=1e-14)
    assert moments.difference[0, 1] == pytest.approx(0, abs=1e-30)
    mean = moments.matrix[0, 2]
    if origin == 0:
        assert abs(mean) < 1e-15
    assert moments.difference[0, 2] >= 0
    assert np.all(np.isfinite(moments.error))
    both = Covariance.from_points(np.zeros((2, 3)), 1.5, 0.0)
    assert second_moments(name, both).difference[0, 1] == 0


def test_differences_reach_the_slope_limit():
    """<(s_a - s_b)^2> -> <s'^2> E(z_a - z_b)^2 as samples approach."""
    for name in ALL:
        if not activations.get(name).continuous:
            continue
        cov = two(1.2, 1.2, 1e-14)
        ratio = second_moments(name, cov).difference[0, 1] / cov.difference[0, 1]
        assert ratio == pytest.approx(slopes(name, cov).value[0, 0], rel=1e-6), name


def test_step_differs_with_the_angle():
    less = 1e-14
    angle = 2 * np.arcsin(np.sqrt(less / 2))
    difference = second_moments("step", two(1.0, 1.0, less)).difference[0, 1]
    assert difference == pytest.approx(angle / np.pi, rel=1e-12)


@pytest.mark.parametrize("name", ["tanh", "hard_tanh", "gelu", "relu"])
def test_permutation_only_permutes(name):
    cov, order = some(), np.array([2, 0, 3, 1])
    mixed = Covariance(
        cov.variance[order], cov.difference[np.ix_(order, order)], cov.total[np.ix_(order, order)]
    )
    one, other = second_moments(name, cov).matrix, second_moments(name, mixed).matrix
    np.testing.assert_allclose(other, one[np.ix_(order, order)], rtol=1e-12, atol=1e-14)
    p, q = (pair_derivatives(name, c, 4).value for c in (cov, mixed))
    np.testing.assert_allclose(q, p[:, :, order][..., order], rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(p, np.transpose(p, (1, 0, 3, 2)), rtol=1e-12, atol=1e-14)


def test_one_sample_alone():
    cov = Covariance.from_matrix(np.array([[0.8]]))
    for name in ALL:
        moments = second_moments(name, cov)
        assert moments.matrix.shape == (1, 1)
        assert self_derivatives(name, cov, 4).value.shape == (5, 1)
        assert pair_derivatives(name, cov, 2).value.shape == (3, 3, 1, 1)


@pytest.mark.parametrize("less", [1e-12, 1e-14, 0.0, 2.0])
def test_derivatives_of_smooth_functions_have_limits(less):
    value = pair_derivatives("tanh", two(0.8, 0.8, less), 4).value
    same = value[..., 0, 0]
    sign = np.where(np.arange(5)[:, None] % 2, 1, -1) if less == 2 else 1  # tanh is odd
    np.testing.assert_allclose(value[..., 0, 1], same * np.transpose(sign), atol=1e-11)


def test_large_variances_stay_honest():
    cov = Covariance.from_matrix(np.array([[900.0, 300.0], [300.0, 400.0]]))
    for name in ("tanh", "erf", "hard_tanh", "sigmoid"):
        moments = second_moments(name, cov)
        assert np.all(moments.error < 1e-11)
    angle = 2 / np.pi * np.arcsin(0.5)  # tanh is nearly a sign
    assert second_moments("tanh", cov).matrix[0, 1] == pytest.approx(angle, rel=0.02)


def test_overflow_is_infinite_not_a_warning():
    cov = Covariance.from_matrix(np.array([[2000.0, 0.0], [0.0, 1.0]]))
    assert np.isinf(second_moments("exp", cov).variance[0])


def test_an_undeclared_kink_is_reported_in_the_error():
    hidden = activations.custom(lambda z: abs(z - 0.3), name="hidden")
    honest = activations.custom(lambda z: abs(z - 0.3), kinks=(0.3,), name="declared")
    cov = some(2)
    rough, fine = second_moments(hidden, cov), second_moments(honest, cov)
    assert abs(rough.matrix - fine.matrix)[0, 1] <= rough.error[0, 1] < 1e-4
    assert 1e3 * fine.error[0, 1] < rough.error[0, 1]


def test_a_planted_error_is_caught():
    """A quadrature that left out a share of 1e-9 would miss the closed form visibly."""
    cov = some(2)
    minus, plus = _tables.pair_second_moments(
        activations.get("gelu"), cov, (np.array([0]), np.array([1])), 1e-12
    )
    exact = _closed_forms.image_product(activations.get("gelu"), cov)[0, 1]
    planted = (plus.value[0] - minus.value[0]) / 4 * (1 + 1e-9)
    assert abs(planted - exact) > 10 * (plus.error[0] + minus.error[0])


def test_what_does_not_exist_is_refused():
    with pytest.raises(UnsupportedError, match="tangent kernel"):
        slopes("step", some(2))
    with pytest.raises(InputError):
        pair_derivatives("tanh", some(2), 5)
