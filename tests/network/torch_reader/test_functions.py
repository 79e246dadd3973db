"""Chains of elementwise operations as one function, against PyTorch's own operations."""

import functools

import jax
import numpy as np
import pytest

from tests.support import require
from whydeep.activations import get
from whydeep.errors import InputError
from whydeep.network.torch_reader._functions import (
    Z,
    evaluate,
    inner_affine,
    outer_affine,
    read_function,
)

torch = require("torch")
F = torch.nn.functional

X = np.concatenate([np.linspace(-9.0, 9.0, 181) + 0.013, [0.0]])
OPERATIONS = {
    ("tanh",): torch.tanh, ("sigmoid",): torch.sigmoid, ("relu",): F.relu, ("silu",): F.silu,
    ("gelu",): F.gelu, ("gelu", "tanh"): functools.partial(F.gelu, approximate="tanh"),
    ("mish",): F.mish, ("selu",): F.selu, ("elu", 0.7): functools.partial(F.elu, alpha=0.7),
    ("celu", 0.7): functools.partial(F.celu, alpha=0.7), ("relu6",): F.relu6,
    ("leaky_relu", 0.2): functools.partial(F.leaky_relu, negative_slope=0.2),
    ("rrelu",): F.rrelu, ("softplus", 2.0): functools.partial(F.softplus, beta=2.0),
    ("hardtanh", -0.5, 1.5): functools.partial(F.hardtanh, min_val=-0.5, max_val=1.5),
    ("hardsigmoid",): F.hardsigmoid, ("hardswish",): F.hardswish,
    ("log_sigmoid",): F.logsigmoid, ("threshold", 0.3, -1.0): lambda x: F.threshold(x, 0.3, -1.0),
    ("hardshrink", 0.4): functools.partial(F.hardshrink, lambd=0.4),
    ("softshrink", 0.4): functools.partial(F.softshrink, lambd=0.4),
    ("clamp", -1.0, 2.0): lambda x: x.clamp(-1, 2), ("clamp_min", 0.5): lambda x: x.clamp(min=0.5),
    ("clamp_max", 0.5): lambda x: x.clamp(max=0.5), ("abs",): torch.abs, ("sign",): torch.sign,
    ("square",): torch.square, ("pow", 3.0): lambda x: x**3, ("exp",): torch.exp,
    ("expm1",): torch.expm1, ("sin",): torch.sin, ("cos",): torch.cos, ("atan",): torch.atan,
    ("sinh",): torch.sinh, ("asinh",): torch.asinh, ("erf",): torch.erf, ("neg",): torch.neg,
}  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_operations_are_those_of_pytorch(operation):
    name, *numbers = operation
    expected = OPERATIONS[operation](torch.from_numpy(X)).numpy()
    with jax.enable_x64(True):
        found = np.asarray(evaluate((name, Z, *numbers), X))
    # PyTorch's softplus is the identity where that is off by exp(-20) at most.
    slack = 2.1e-9 if name == "softplus" else 0.0
    assert np.all(np.abs(found - expected) <= 4e-14 * (1.0 + np.abs(expected)) + slack)


HALF = ("mul", 0.5, Z)
SPELLINGS = {
    "silu": ("mul", Z, ("sigmoid", Z)),
    "gelu": ("mul", HALF, ("add", 1.0, ("erf", ("div", Z, 2**0.5)))),
    "gelu_tanh": (
        "mul", HALF,
        ("add", 1.0, ("tanh", ("mul", (2 / np.pi) ** 0.5,
                               ("add", Z, ("mul", 0.044715, ("pow", Z, 3.0)))))),
    ),
    "mish": ("mul", Z, ("tanh", ("softplus", Z))),
    "relu": ("clamp", Z, 0.0),
    "leaky_relu(0.1)": ("where", ("gt", Z, 0.0), Z, ("mul", 0.1, Z)),
    "leaky_relu(0.2)": ("maximum", Z, ("mul", Z, 0.2)),
    "elu": ("where", ("gt", Z, 0.0), Z, ("sub", ("exp", Z), 1.0)),
    "elu(0.3)": ("elu", Z, 0.3),
    "hard_tanh": ("hardtanh", Z),
    "abs": ("maximum", Z, ("neg", Z)),
    "sigmoid": ("div", 1.0, ("add", 1.0, ("exp", ("neg", Z)))),
    "monomial(2)": ("mul", Z, Z),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_written_out_activations_are_recognised(name):
    assert read_function(SPELLINGS[name]) == (1.0, get(name))


def test_a_homogeneous_function_is_a_scaled_leaky_relu():
    scale, function = read_function(("add", Z, ("relu", Z)))
    assert (scale, function) == (2.0, get("leaky_relu(0.5)"))


@pytest.mark.parametrize(
    ("e", "kinks"),
    [
        (("relu6", Z), (0.0, 6.0)),
        (("relu", ("sub", ("tanh", Z), 0.5)), (np.arctanh(0.5),)),
        (("abs", ("add", ("mul", Z, 2.0), 1.0)), (-0.5,)),
        (("relu", ("sin", ("mul", Z, 0.06))), tuple(np.arange(0, 1) * np.pi / 0.06)),
        (("minimum", ("relu", Z), ("square", Z)), (0.0, 1.0)),
        (("mul", Z, ("sigmoid", ("mul", 1.702, Z))), ()),
    ],
)
def test_kinks_are_found(e, kinks):
    _, function = read_function(e)
    assert function.kinks == pytest.approx(kinks, abs=1e-12)
    values = function.derivatives(X, 0)[0]
    with jax.enable_x64(True):
        np.testing.assert_allclose(values, np.asarray(evaluate(e, X)), rtol=1e-13, atol=1e-13)


def test_one_expression_is_one_function():
    e = ("mul", Z, ("sigmoid", ("mul", 1.702, Z)))
    assert read_function(e)[1] is read_function(tuple(e))[1]
    assert read_function(e)[1].name == "z * sigmoid(1.702 * z)"


def test_a_function_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="nan"):
        read_function(("sqrt", Z))


@pytest.mark.parametrize(
    "e",
    [
        ("add", ("mul", 3.0, ("tanh", ("sub", 1.0, Z))), 2.0),
        ("sub", 1.0, ("div", ("sin", ("mul", Z, 2.0)), 4.0)),
        ("neg", ("add", ("relu", ("add", Z, 1.0)), ("relu", ("add", Z, 1.0)))),
        ("add", Z, ("mul", Z, 2.0)),
    ],
)
def test_scales_and_shifts_split_off_at_both_ends(e):
    a, b, inner = outer_affine(e)
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            np.asarray(evaluate(e, X)), a * np.asarray(evaluate(inner, X)) + b, rtol=1e-14
        )
        split = inner_affine(inner)
        if split is not None:
            c, d, outer = split
            np.testing.assert_allclose(
                np.asarray(evaluate(inner, X)), np.asarray(evaluate(outer, c * X + d)), rtol=1e-13
            )
            assert inner_affine(outer) is None
