"""Standard deviations far from the origin: right against 60 digits, or not known and said so."""

import warnings

import mpmath
import numpy as np
import pytest

from whydeep import NNGPRegressor, NTKRegressor


def exact(x, y, at, noise, digits=60):
    """Mean and standard deviation for the default network, by arc-cosine kernels (Cho and Saul)."""
    with mpmath.workdps(digits):
        points = [mpmath.mpf(float(v)) for v in [*x, at]]
        n = len(points)
        kernel = mpmath.matrix(n, n)
        for a in range(n):
            for b in range(n):
                kernel[a, b] = mpmath.mpf("0.2") + 2 * points[a] * points[b]
        for _ in range(3):
            following = mpmath.matrix(n, n)
            for a in range(n):
                for b in range(n):
                    size = mpmath.sqrt(kernel[a, a] * kernel[b, b])
                    c = min(kernel[a, b] / size, mpmath.mpf(1))
                    angle = mpmath.acos(c)
                    image = mpmath.sqrt(1 - c * c) + (mpmath.pi - angle) * c
                    following[a, b] = mpmath.mpf("0.2") + size * image / mpmath.pi
            kernel = following
        own, cross = kernel[: n - 1, : n - 1], kernel[: n - 1, n - 1]
        for i in range(n - 1):
            own[i, i] += mpmath.mpf(noise)
        weights = mpmath.lu_solve(own, cross)
        mean = sum(w * mpmath.mpf(float(t)) for w, t in zip(weights, y, strict=True))
        variance = kernel[n - 1, n - 1] - sum(w * c for w, c in zip(weights, cross, strict=True))
        return float(mean), float(mpmath.sqrt(variance))


def test_the_oracle_knows_the_figure_of_a_clock():
    x = 1.7e9 + np.array([0.0, 3600.0, 7200.0])
    _, std = exact(x, [0.0, 1.0, 0.0], 1.7e9 + 1800, 0.01)
    assert std == pytest.approx(0.05773, abs=1e-5)


@pytest.mark.parametrize("model", [NNGPRegressor, NTKRegressor])
def test_a_clock_is_not_known_and_that_is_said(model):
    x = 1.7e9 + np.array([[0.0], [3600.0], [7200.0]])
    with pytest.warns(UserWarning, match="Not all targets"):
        fitted = model(noise=0.01).fit(x, [0.0, 1.0, 0.0])
    for asked in ({"return_std": True}, {"return_cov": True}):
        with pytest.warns(UserWarning, match="standard deviation of 1 of 1 .* is not known"):
            _, spread = fitted.predict([[1.7e9 + 1800]], **asked)
        assert np.isnan(spread).all()


@pytest.mark.parametrize("offset", [0.0, 10.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e9])
@pytest.mark.parametrize("noise", [1e-6, 0.01, 1.0])
def test_what_is_said_is_right(offset, noise):
    """Within 2%, of which the warning speaks, at any offset and any noise."""
    x = offset + np.array([0.0, 1.0, 2.5, 3.0])
    y, at = np.array([0.0, 1.0, 0.0, -1.0]), offset + 1.7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = NNGPRegressor(noise=noise).fit(x[:, None], y)
        _, std = fitted.predict([[at]], return_std=True)
        _, cov = fitted.predict([[at]], return_cov=True)
    if offset <= 10.0:
        assert np.isfinite(std).all()
    if np.isfinite(std[0]):
        assert std[0] == pytest.approx(exact(x, y, at, noise)[1], rel=0.02)
        assert np.sqrt(cov[0, 0]) == pytest.approx(std[0], rel=0.02)


@pytest.mark.parametrize("unit", [1.0, 1e6])
def test_interpolation_is_still_certain_of_its_targets(unit):
    x = np.random.default_rng(0).normal(size=(20, 3))
    _, std = NNGPRegressor().fit(x, unit * np.sin(x[:, 0])).predict(x, return_std=True)
    assert std.max() < 1e-5


def test_the_noise_is_the_least_that_a_mean_of_equal_inputs_has():
    """n equal inputs with one target each: noise/n to first order in noise over the kernel."""
    x = np.full((50, 1), 1e2)
    _, std = NNGPRegressor(noise=0.01).fit(x, np.ones(50)).predict(x[:1], return_std=True)
    assert std[0] == pytest.approx(np.sqrt(0.01 / 50), rel=0.02)
