import numpy as np
import pytest

from whydeep.errors import InputError
from whydeep.gaussian import Covariance


def test_points_give_the_first_kernel():
    x = np.random.default_rng(0).normal(size=(5, 3))
    cov = Covariance.from_points(x, weight_var=1.7, bias_var=0.2)
    expected = 0.2 + 1.7 * x @ x.T / 3
    np.testing.assert_allclose(cov.matrix, expected, rtol=1e-13)
    np.testing.assert_allclose(
        cov.difference, np.add.outer(*[np.diag(expected)] * 2) - 2 * expected, atol=1e-14
    )
    again = Covariance.from_matrix(expected)
    np.testing.assert_allclose(again.total, cov.total, rtol=1e-13)


@pytest.mark.parametrize("eps", [1e-2, 1e-7, 1e-12])
def test_half_angle_of_nearby_points_keeps_its_digits(eps):
    x = np.array([[1.0, 0.0], [np.cos(eps), np.sin(eps)]])
    x[1] = x[0] + [-2 * np.sin(eps / 2) ** 2, np.sin(eps)]
    cosine, sine = Covariance.from_points(x, 1.0, 0.0).half_angles()
    assert sine[0, 1] == pytest.approx(np.sin(eps / 2), rel=1e-9 if eps < 1e-9 else 1e-13)
    assert cosine[0, 1] == pytest.approx(np.cos(eps / 2), rel=1e-13)
    cosine, sine = Covariance.from_points(x * [[1], [-1]], 1.0, 0.0).half_angles()
    assert cosine[0, 1] == pytest.approx(np.sin(eps / 2), rel=1e-9 if eps < 1e-9 else 1e-13)


def test_collinear_points_of_unequal_length_are_perfectly_correlated():
    x = np.random.default_rng(0).normal(size=7)
    cov = Covariance.from_points(np.stack([x, 1.7 * x, -0.3 * x]), 1.9, 0.0)
    cosine, sine = cov.half_angles()
    assert (sine[0, 1], cosine[0, 2], cosine[1, 2]) == (0, 0, 0)


def test_zero_variance_counts_as_correlated():
    cov = Covariance.from_points(np.array([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]]), 1.0, 0.0)
    cosine, sine = cov.half_angles()
    assert np.all(cosine[0] == 1)
    assert np.all(sine[0] == 0)


@pytest.mark.parametrize(
    "matrix",
    [
        [[1.0, 2.0], [2.0, 1.0]],
        [[1.0, 0.1], [0.2, 1.0]],
        [[1.0, np.nan], [np.nan, 1.0]],
        [[-1.0]],
        [[1.0, 0.5]],
        [[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]],
    ],
)
def test_impossible_covariances_are_refused(matrix):
    with pytest.raises(InputError):
        Covariance.from_matrix(np.array(matrix))


def test_impossible_points_are_refused():
    for x, c_w, c_b in [(np.ones(3), 1.0, 0.0), (np.ones((2, 3)), -1.0, 0.0)]:
        with pytest.raises(InputError):
            Covariance.from_points(x, c_w, c_b)
    with pytest.raises(InputError, match="not finite"):
        Covariance(np.array([np.inf]), np.zeros((1, 1)), np.array([[np.inf]]))
    with pytest.raises(InputError, match="contradict"):
        Covariance(np.ones(2), np.zeros((2, 2)), np.full((2, 2), 3.0))


def test_fields_can_not_be_written():
    cov = Covariance.from_matrix(np.eye(2))
    with pytest.raises(ValueError, match="read-only"):
        cov.variance[0] = 2.0
