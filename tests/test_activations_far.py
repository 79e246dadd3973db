"""Activations and their derivatives far from 1, where formulas overflow: by mpmath and torch.

Both instruments take these functions as given, so neither would see them wrong.
"""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import whydeep as wd
from tests.support import require
from whydeep import activations

FAR = [
    0.0,
    1e-30,
    -1e-30,
    1e-12,
    0.3,
    -0.3,
    6.0,
    -6.0,
    40.0,
    -40.0,
    1e3,
    -1e3,
    1e6,
    -1e6,
    1e30,
    -1e30,
]
SELU = 1.0507009873554805, 1.6732632423543772


def _logistic(z):
    return 1 / (1 + mp.exp(-z))


def _inner(z):
    return mp.sqrt(2 / mp.pi) * (z + mp.mpf(0.044715) * z**3)


BOUNDED = {  # and those that grow linearly: defined everywhere
    "linear": lambda z: z,
    "relu": lambda z: max(z, mp.mpf(0)),
    "leaky_relu(0.2)": lambda z: z if z >= 0 else mp.mpf(0.2) * z,
    "abs": abs,
    "step": lambda z: mp.mpf(z >= 0),
    "sign": lambda z: mp.mpf(1 if z >= 0 else -1),
    "tanh": mp.tanh,
    "hard_tanh": lambda z: max(min(z, mp.mpf(1)), mp.mpf(-1)),
    "erf": mp.erf,
    "gelu": lambda z: z * mp.erfc(-z / mp.sqrt(2)) / 2,
    "gelu_tanh": lambda z: z / (1 + mp.exp(-2 * _inner(z))),
    "silu": lambda z: z * _logistic(z),
    "mish": lambda z: z * mp.tanh(mp.log1p(mp.exp(z)) if z < 100 else z),
    "sigmoid": _logistic,
    "softplus": lambda z: mp.log1p(mp.exp(z)) if z < 100 else z,
    "elu": lambda z: z if z >= 0 else mp.expm1(z),
    "selu": lambda z: SELU[0] * (z if z >= 0 else SELU[1] * mp.expm1(z)),
    "gaussian": lambda z: mp.exp(-z * z),
    "gabor": lambda z: mp.exp(-z * z) * mp.sin(z) if abs(z) < 1e4 else mp.mpf(0),
    "rectified_monomial(2)": lambda z: max(z, mp.mpf(0)) ** 2,
    "monomial(3)": lambda z: z**3,
}
TORCH = {
    "relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "silu": "silu", "mish": "mish",
    "gelu": "gelu", "softplus": "softplus", "elu": "elu", "selu": "selu", "hard_tanh": "hardtanh",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BOUNDED))
def test_values_and_derivatives_far_from_one(name):
    s = activations.get(name)
    found = s.derivatives(np.array(FAR), 3)
    with mp.workdps(60):
        for n, z in enumerate(FAR):
            if abs(z) < 1e-5 and s.kinks:
                continue
            exact = BOUNDED[name](mp.mpf(z))
            assert found[0][n] == pytest.approx(float(exact), rel=1e-13, abs=1e-300), z
            if abs(z) > 1e3:  # straight, or flat, or a power
                degree = {"rectified_monomial(2)": 2, "monomial(3)": 3}.get(name, 1)
                beyond = [d[n] for d in found[degree + 1 :]]
                assert not np.any(beyond), (z, beyond)
                continue
            for order in (1, 2, 3):
                step = mp.mpf(10) ** -12 * max(abs(mp.mpf(z)), mp.mpf(10) ** -6)
                exact = mp.diff(BOUNDED[name], mp.mpf(z), order, h=step)
                value = found[order][n]
                assert value == pytest.approx(float(exact), rel=1e-11, abs=1e-13), (z, order)


@pytest.mark.parametrize("name", [n for n in activations.NAMES if n not in ("polynomial", "exp")])
def test_nan_passes_and_float32_is_float64_rounded(name):
    s = activations.get(name)
    assert np.isnan(np.asarray(s(jnp.asarray([np.nan], jnp.float32)))).all()
    z = np.array([v for v in FAR if abs(v) < 100 and (v or not s.kinks)])
    value = np.asarray(s(jnp.asarray(z, jnp.float32)), np.float64)
    exact = s.derivatives(np.asarray(z, np.float32).astype(np.float64), 0)[0]
    np.testing.assert_allclose(value, exact, rtol=3e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(TORCH))
def test_values_and_slopes_are_those_of_torch(name):
    torch = require("torch")
    z = np.linspace(-30, 30, 601) + 0.0123
    t = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    value = getattr(torch.nn.functional, TORCH[name])(t)
    (slope,) = torch.autograd.grad(value.sum(), t)
    found = activations.get(name).derivatives(z, 1)
    # torch's softplus is the identity beyond 20, which leaves out 2e-9
    for one, two in zip(found, (value.detach().numpy(), slope.numpy()), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=5e-9 if name == "softplus" else 1e-14)


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_rates_are_those_of_a_hand_written_network(parameterization):
    """The last layer's own share of the tangent kernel: lambda_b + lambda_W s.s / n, any draw."""
    net = wd.mlp(1, 32, "tanh", weight_var=1.3, bias_var=0.2, parameterization=parameterization)
    (_, (bias_lr, weight_lr)) = net.learning_rates(5)
    rng = np.random.default_rng(0)
    hidden = np.tanh(rng.normal(size=32))
    scale = {"ntk": np.sqrt(1.3 / 32), "standard": 1.0}[parameterization]
    bias = {"ntk": np.sqrt(0.2), "standard": 1.0}[parameterization]
    weights = rng.normal(size=32)
    slope = jax.grad(lambda w: scale * w @ hidden)(jnp.asarray(weights))
    own = float(slope @ slope) + bias**2
    assert bias_lr + weight_lr * float(hidden @ hidden) / 32 == pytest.approx(own, rel=1e-5)
