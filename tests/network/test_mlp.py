import numpy as np
import pytest

from whydeep.errors import InputError, UnsupportedError
from whydeep.network import Activation, Dense, chain, mlp


def test_one_number_or_one_a_layer():
    net = mlp(3, (4, 5, 6), "relu", weight_var=(1, 2, 3, 4), bias_var=0.5, outputs=2)
    assert net.widths == (4, 5, 6)
    assert net.outputs == 2
    assert [d.weight_var for d in net.dense] == [1, 2, 3, 4]
    assert {d.bias_var for d in net.dense} == {0.5}
    assert mlp(2, 7, "tanh").widths == (7, 7)


@pytest.mark.parametrize(
    ("activation", "weight_var", "bias_var"),
    [
        ("tanh", 1.0, 0.0),
        ("relu", 2.0, 0.0),
        ("erf", np.pi / 4, 0.0),
        ("gelu", 1.9830582574, 0.1729223908),
        ("silu", 1.9880046783, 0.5551431707),
        ("mish", 2.0135240697, 0.0945217874),
    ],
)
def test_critical_is_the_default(activation, weight_var, bias_var):
    # The numbers of the half-stable points are those of the formula sheet (notes, 2.5).
    first = mlp(1, 4, activation).dense[0]
    assert first.weight_var == pytest.approx(weight_var, rel=1e-9)
    assert first.bias_var == pytest.approx(bias_var, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("activation", ["sigmoid", "softplus", "exp", "cos", "step"])
def test_no_critical_point_is_refused_with_numbers_to_use(activation):
    with pytest.raises(UnsupportedError, match=r"weight_var") as refusal:
        mlp(2, 4, activation)
    assert activation in str(refusal.value)


def test_learning_rates_follow_the_parameterization():
    ntk = mlp(2, (4, 5), "relu", weight_var=2.0, bias_var=0.1)
    assert ntk.learning_rates(3) == ((0.1, 2.0),) * 3
    standard = mlp(2, (4, 5), "relu", parameterization="standard")
    assert standard.learning_rates(3) == ((1.0, 3.0), (1.0, 4.0), (1.0, 5.0))
    own = mlp(2, (4, 5), "relu", weight_lr=(1, 2, 3), bias_lr=0.25)
    assert own.learning_rates(3) == ((0.25, 1), (0.25, 2), (0.25, 3))


def test_scaling_keeps_learning_rates():
    net = mlp(2, (4, 5), "relu", parameterization="standard")
    wide = net.scaled(4, inputs=3)
    assert wide.widths == (16, 20)
    assert wide.outputs == net.outputs
    assert wide.learning_rates(3) == net.learning_rates(3)


@pytest.mark.parametrize(
    "bad",
    [
        {"depth": 0},
        {"depth": True},
        {"width": 0},
        {"width": (4, 4, 4)},
        {"outputs": 0},
        {"weight_var": -1.0},
        {"weight_var": float("nan")},
        {"weight_var": float("inf")},
        {"weight_var": "large"},
        {"weight_var": (1.0, 2.0)},
        {"bias_var": "0.1"},
        {"weight_lr": -0.5},
        {"parameterization": "mup2"},
        {"activation": "tanhh"},
        {"activation": lambda z: z.sum()},
        {"activation": np.tanh},
    ],
)
def test_bad_descriptions_are_refused(bad):
    with pytest.raises(InputError) as refusal:
        mlp(**({"depth": 2, "width": 8, "activation": "tanh"} | bad))
    assert "received" in str(refusal.value) or "needed" in str(refusal.value)


def test_what_only_fully_connected_networks_have_is_refused_to_others():
    with pytest.raises(UnsupportedError, match="fully connected"):
        _ = chain(Dense(4), Dense(4), Dense(1)).widths
    mixed = chain(Dense(4), Activation("tanh"), Dense(4), Activation("relu"), Dense(1))
    with pytest.raises(UnsupportedError, match="different activations"):
        _ = mixed.activation


def test_networks_compare_and_hash_by_value():
    assert mlp(2, 8, "relu") == mlp(2, 8, "relu")
    assert hash(mlp(2, 8, "relu")) == hash(mlp(2, 8, "relu"))
    assert mlp(2, 8, "relu") != mlp(2, 9, "relu")
