"""Products with the tangent kernel against the kernel itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import whydeep as wd
from tests.support import require
from whydeep.ensemble.tangent import tangent_kernel, tangent_operator
from whydeep.errors import InputError, UnsupportedError

N, C = 30, 3


def fn(p, x):
    return jnp.tanh(jnp.tanh(x @ p["w1"] + p["b1"]) @ p["w2"]) @ p["w3"]


@pytest.fixture(scope="module")
def problem():
    generator = np.random.default_rng(0)
    shapes = {"w1": (5, 16), "b1": (16,), "w2": (16, 17), "w3": (17, C)}
    params = {name: generator.normal(size=shape) / 2 for name, shape in shapes.items()}
    x = generator.normal(size=(N, 5))
    return params, x, tangent_kernel(fn, params, x).reshape(N * C, N * C)


@pytest.fixture(scope="module")
def operator(problem):
    params, x, _ = problem
    return tangent_operator(fn, params, x, batch=7)  # the last batch is not full


def test_products(problem, operator):
    params, x, kernel = problem
    vector = np.random.default_rng(1).normal(size=(N, C))
    expected = (kernel @ vector.ravel()).reshape(N, C)
    scale = np.abs(kernel).max() * N * C
    assert operator.shape == (N * C, N * C)
    np.testing.assert_allclose(operator.matvec(vector), expected, atol=1e-14 * scale)
    flat = operator.matvec(vector.ravel())
    np.testing.assert_array_equal(flat, operator.matvec(vector).ravel())
    at_once = tangent_operator(fn, params, x, batch=100).matvec(vector)
    np.testing.assert_allclose(at_once, expected, atol=1e-14 * scale)


def test_learning_rates(problem):
    params, x, _ = problem
    rates = {"w1": 0.0, "b1": np.arange(16.0), "w2": 2.0, "w3": np.ones((17, 1))}
    kernel = tangent_kernel(fn, params, x, rates=rates).reshape(N * C, N * C)
    operator = tangent_operator(fn, params, x, rates=rates)
    vector = np.random.default_rng(1).normal(size=N * C)
    np.testing.assert_allclose(operator.matvec(vector), kernel @ vector, rtol=1e-9)


@pytest.mark.lanes
def test_precision(problem):
    params, x, kernel = problem
    before = jax.config.jax_enable_x64
    single = tangent_operator(fn, {k: v.astype(np.float32) for k, v in params.items()}, x)
    assert jax.config.jax_enable_x64 == before
    vector = np.random.default_rng(1).normal(size=N * C)
    found = single.matvec(vector)
    assert found.dtype == np.float32
    exact = kernel @ vector
    np.testing.assert_allclose(found, exact, atol=1e-5 * np.abs(kernel).max() * N * C)
    assert single.solve(vector, ridge=1.0).residual <= 1e-4


def test_spectrum(problem, operator):
    values = np.linalg.eigvalsh(problem[2])[::-1]
    for k in (1, 8, 80):  # by Lanczos, and from the kernel itself
        np.testing.assert_allclose(operator.eigenvalues(k), values[:k], atol=1e-10 * values[0])


def test_trace(problem, operator):
    exact = float(np.trace(problem[2]))
    np.testing.assert_allclose(operator.trace(N * C).value, exact, rtol=1e-12)
    found = [operator.trace(24, seed=seed) for seed in range(40)]
    assert found[0] == operator.trace(24, seed=0)
    # Unbiased: the mean of 40 lies within 4 of its standard errors but once in 3,000 (Student,
    # 39 degrees of freedom); the seeds are fixed.
    values = np.array([f.value for f in found])
    spread = values.std(ddof=1)
    assert abs(values.mean() - exact) < 4 * spread / np.sqrt(40)
    # The error stated is that of the values: its square within a factor of 2.5 of their variance,
    # which has 39 degrees of freedom (1 - 1e-4 of chi-squared lies within 0.4 to 2.0).
    stated = np.mean([f.stderr**2 for f in found])
    assert 1 / 2.5 < spread**2 / stated < 2.5


def test_solutions(problem, operator):
    kernel, right = problem[2], np.random.default_rng(2).normal(size=(N, C))
    found = operator.solve(right, ridge=0.5)
    exact = np.linalg.solve(kernel + 0.5 * np.eye(N * C), right.ravel())
    assert found.residual <= 1e-8
    assert found.value.shape == (N, C)
    # |error| <= |residual| / smallest eigenvalue.
    assert np.linalg.norm(found.value.ravel() - exact) <= 1e-8 * np.linalg.norm(right) / 0.5
    assert operator.solve(np.zeros((N, C))).iterations == 0
    with pytest.raises(UnsupportedError, match="do not converge"):
        operator.solve(right, ridge=1e-9, steps=3)


def test_scipy_takes_it(problem, operator):
    vector = np.random.default_rng(3).normal(size=N * C)
    np.testing.assert_allclose(operator.as_linear_operator() @ vector, problem[2] @ vector)


def test_bad_input_is_refused(problem, operator):
    params, x, _ = problem
    for call in (
        lambda: operator.matvec(np.ones(7)),
        lambda: operator.matvec(np.full(N * C, np.nan)),
        lambda: operator.eigenvalues(0),
        lambda: operator.eigenvalues(N * C + 1),
        lambda: operator.trace(3),
        lambda: operator.solve(np.ones(7)),
        lambda: operator.solve(np.ones(N * C), ridge=-1.0),
        lambda: tangent_operator(fn, params, x, batch=0),
        lambda: tangent_operator(None, params, x),
        lambda: tangent_operator(lambda p, x: x - x.mean(0) + p["b1"].sum(), params, x),
    ):
        with pytest.raises(InputError):
            call()


def test_modules_are_refused_where_they_are_not_taken():
    torch = require("torch")
    module = torch.nn.Linear(3, 2)
    for call in (
        lambda: wd.tangent_operator(module, None, np.ones((2, 3))),
        lambda: wd.linearize(module, None),
        lambda: wd.taylor_expand(module, None, 2),
    ):
        with pytest.raises(UnsupportedError, match="JAX function"):
            call()
