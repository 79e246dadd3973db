import numpy as np
import pytest

from tests.gaussian.oracle import SPELLED
from whydeep import activations
from whydeep.gaussian import Covariance, pair_derivatives, second_moments, self_derivatives

NAMES = [*SPELLED, "elu(0.5)", "leaky_relu(0.3)"]
Q_A, Q_B, K = 1.3, 0.8, 0.45


def law(da=0.0, db=0.0, dk=0.0):
    return Covariance.from_matrix(np.array([[Q_A + da, K + dk], [K + dk, Q_B + db]]))


def derivative(f, order, h=2e-2):
    """Central differences, twice extrapolated."""

    def once(h):
        if order == 1:
            return (f(h) - f(-h)) / (2 * h)
        return (f(h) - 2 * f(0.0) + f(-h)) / h**2

    first = [(4 * once(h / 2**k) - once(h / 2 ** (k - 1))) / 3 for k in (1, 2)]
    return (16 * first[1] - first[0]) / 15


@pytest.mark.parametrize("name", NAMES)
def test_price(name):
    """d/dK_ab <f> = <f_ab> and d/dK_aa <f> = <f_aa>/2, also across kinks."""

    def product(**shift):
        return second_moments(name, law(**shift), tolerance=1e-13).matrix[0, 1]

    table = pair_derivatives(name, law(), 4).value[:, :, 0, 1]
    found = {
        (1, 1): derivative(lambda e: product(dk=e), 1),
        (2, 0): 2 * derivative(lambda e: product(da=e), 1),
        (0, 2): 2 * derivative(lambda e: product(db=e), 1),
        (2, 2): derivative(lambda e: product(dk=e), 2),
        (4, 0): 4 * derivative(lambda e: product(da=e), 2),
        (0, 4): 4 * derivative(lambda e: product(db=e), 2),
    }
    scale = max(1.0, product())
    for at, expected in found.items():
        assert table[at] == pytest.approx(expected, abs=2e-8 * scale), at


@pytest.mark.parametrize("name", NAMES)
def test_price_mixed(name):
    h = 5e-3

    def cross(h, key):
        def at(x, y):
            return second_moments(name, law(**{key: x, "dk": y}), tolerance=1e-13).matrix[0, 1]

        return 2 * (at(h, h) - at(h, -h) - at(-h, h) + at(-h, -h)) / (4 * h * h)

    table = pair_derivatives(name, law(), 4).value[:, :, 0, 1]
    scale = max(1.0, np.nanmax(np.abs(table)))
    for at, key in (((3, 1), "da"), ((1, 3), "db")):
        expected = (4 * cross(h, key) - cross(2 * h, key)) / 3
        assert table[at] == pytest.approx(expected, abs=2e-7 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_price_of_one_sample(name):
    table = self_derivatives(name, law(), 4).value

    def square(e):
        return second_moments(name, law(da=e)).variance[0]

    scale = max(1.0, square(0.0))
    assert table[0, 0] == pytest.approx(square(0.0), rel=1e-12)
    assert table[2, 0] == pytest.approx(2 * derivative(square, 1), abs=2e-8 * scale)
    assert table[4, 0] == pytest.approx(4 * derivative(square, 2), abs=2e-6 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_hermite_form(name):
    """<s^(i) s^(j)> is the mean of s s times Hermite polynomials of K^-1 z: no derivative."""
    table = pair_derivatives(name, law(), 2).value[:, :, 0, 1]
    s = activations.get(name)
    points, weights = np.polynomial.legendre.leggauss(140)
    # polar coordinates around 0, where the kinks of most functions are rays; others are smooth
    # enough for 1e-4
    radius, radial = 5.5 * (points + 1), 5.5 * weights
    total = np.zeros((3, 3))
    covariance = law().matrix
    root = np.linalg.cholesky(covariance)
    cuts = [np.arctan2(-root[0, 0], 0), np.arctan2(-root[1, 0], root[1, 1])]
    cuts = np.sort(np.mod(np.concatenate([cuts, np.array(cuts) + np.pi]), 2 * np.pi))
    for low, high in zip(cuts, [*cuts[1:], cuts[0] + 2 * np.pi], strict=True):
        nodes, w = np.polynomial.legendre.leggauss(48)
        phi, w = low + (nodes + 1) / 2 * (high - low), w * (high - low) / 2
        u = radius * np.stack([np.cos(phi), np.sin(phi)])[..., None]
        z = np.einsum("ij,jpr->ipr", root, u)
        y = np.einsum("ij,jpr->ipr", np.linalg.inv(covariance), z)
        inverse = np.linalg.inv(covariance)
        f = s.derivatives(z[0], 0)[0] * s.derivatives(z[1], 0)[0]
        density = np.exp(-(radius**2) / 2) * radius * radial / (2 * np.pi)
        for (i, j), factor in {
            (0, 0): 1.0,
            (1, 0): y[0],
            (0, 1): y[1],
            (2, 0): y[0] ** 2 - inverse[0, 0],
            (0, 2): y[1] ** 2 - inverse[1, 1],
            (1, 1): y[0] * y[1] - inverse[0, 1],
        }.items():
            total[i, j] += np.einsum("pr,p,r->", f * factor, w, density)
    exact = s.smooth or s.kinks == (0.0,)
    scale = max(1.0, abs(total[0, 0]))
    for i in range(3):
        for j in range(3 - i):
            assert table[i, j] == pytest.approx(
                total[i, j], abs=(1e-11 if exact else 1e-3) * scale
            ), (i, j)


def test_relu_terms_in_closed_form():
    """<s''_a s''_b> is the density of both at 0, <s''_a s_b> the conditional mean there."""
    table = pair_derivatives("relu", law(), 4).value[:, :, 0, 1]
    determinant = Q_A * Q_B - K * K
    assert table[2, 2] == pytest.approx(1 / (2 * np.pi * np.sqrt(determinant)), rel=1e-12)
    spread = np.sqrt(determinant / Q_A)
    conditional = spread / np.sqrt(2 * np.pi) / np.sqrt(2 * np.pi * Q_A)
    assert table[2, 0] == pytest.approx(conditional, rel=1e-12)
    assert table[1, 1] == pytest.approx(0.25 + np.arcsin(K / np.sqrt(Q_A * Q_B)) / (2 * np.pi))


def test_products_on_one_sample_exist_or_are_nan():
    table = pair_derivatives("relu", law(), 4).value[:, :, 0, 0]
    assert table[2, 0] == pytest.approx(0, abs=1e-15)  # delta(z) relu(z)
    assert np.isnan(table[2, 1])  # delta(z) step(z)
    assert np.isnan(table[2, 2])  # delta(z)^2
    density = np.exp(-1 / (2 * Q_A)) / np.sqrt(2 * np.pi * Q_A)
    hard = pair_derivatives("hard_tanh", law(), 2).value[:, :, 0, 0]
    assert hard[2, 0] == pytest.approx(-2 * density, rel=1e-12)  # kinks of -1 and 1 at -1 and 1
    assert np.all(np.isfinite(pair_derivatives("elu", law(), 4).value[4, 0, 0]))


def test_coincident_samples_diverge_only_where_they_must():
    cov = Covariance.from_points(np.array([[1.0, 0.5], [1.0, 0.5]]), 1.0, 0.0)
    table = pair_derivatives("relu", cov, 4).value[:, :, 0, 1]
    assert np.isinf(table[2, 2])
    assert table[1, 1] == pytest.approx(0.5)
    assert table[2, 0] == pytest.approx(0.0, abs=1e-15)
    hard = pair_derivatives("hard_tanh", cov, 2).value
    assert hard[2, 0, 0, 1] == pytest.approx(hard[2, 0, 0, 0], rel=1e-12)


@pytest.mark.parametrize("less", [1e-6, 1e-10, 1e-14])
def test_nearly_coincident_deltas(less):
    """<s''_a s''_b> of hard_tanh: four densities, those of the same kink nearly singular."""
    q = 0.9
    difference, total = 2 * q * less, 2 * q * (2 - less)
    cov = Covariance(
        np.array([q, q]),
        np.array([[0, difference], [difference, 0]]),
        np.array([[4 * q, total], [total, 4 * q]]),
    )
    table = pair_derivatives("hard_tanh", cov, 4).value[:, :, 0, 1]
    determinant = q**2 * less * (2 - less)
    same = np.exp(-1 / (q * (2 - less))) / (2 * np.pi * np.sqrt(determinant))
    assert table[2, 2] == pytest.approx(2 * same, rel=1e-11)
    limit = pair_derivatives("hard_tanh", cov, 4).value[2, 0, 0, 0]
    assert table[2, 0] == pytest.approx(limit, abs=10 * np.sqrt(less))
