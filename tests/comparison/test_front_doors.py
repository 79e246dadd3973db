"""Reading and checking in one call: right readings pass, planted misreadings are caught."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import whydeep.network as nw
from tests.support import require
from whydeep.comparison import _front_doors, check_jax, check_torch, from_jax, from_torch
from whydeep.comparison._front_doors import _inputs
from whydeep.network.jax_reader import read
from whydeep.network.torch_reader import read_module

torch = require("torch")
FEW = {"draws": 600, "ntk_draws": 150}


def module(width=64):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(6, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.GELU(),
        torch.nn.Linear(width, 8),
    )  # fmt: skip


EXAMPLE = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


def init(key, width=64):
    keys = jax.random.split(key, 2)
    return {
        "w": jax.random.normal(keys[0], (5, width)) * jnp.sqrt(2 / 5),
        "v": jax.random.normal(keys[1], (width, 8)) / jnp.sqrt(width),
        "activation": jax.nn.relu,
    }


def function(params, x):
    return params["activation"](x @ params["w"]) @ params["v"]


def altered(network, number, **changes):
    nodes = list(network.nodes)
    nodes[number] = dataclasses.replace(
        nodes[number], layer=dataclasses.replace(nodes[number].layer, **changes)
    )
    return nw.Network(tuple(nodes))


def test_a_torch_module_passes(capsys):
    network = from_torch(module(), EXAMPLE, **FEW)
    assert network.depth == 2
    shown = capsys.readouterr().err
    assert "Sequential against its description" in shown
    assert "agrees" in shown
    assert "disagrees" not in shown


def test_a_jax_function_passes_with_functions_among_its_parameters(capsys):
    network = from_jax(function, init, jnp.ones((3, 5)), **FEW)
    assert [round(layer.weight_var, 5) for layer in network.dense] == [2.0, 1.0]
    assert "agrees" in capsys.readouterr().err


def test_a_check_can_be_left_out(capsys):
    assert from_torch(module(), EXAMPLE, check=False).depth == 2
    assert from_jax(function, init, jnp.ones((3, 5)), check=False).depth == 1
    assert capsys.readouterr().err == ""


def test_a_factory_is_checked_at_twice_the_width(capsys):
    from_jax(
        function, init, jnp.ones((3, 5)), draws=300, ntk_draws=0,
        at_width=lambda factor: (function, lambda key: init(key, 64 * factor)),
    )  # fmt: skip
    shown = capsys.readouterr().err
    assert "function, twice the width" in shown
    assert "No tangent kernel was measured of the function." in shown


@pytest.mark.parametrize(
    ("number", "changes"),
    [(2, {"weight_var": 1.5 / 3}), (2, {"bias_var": 0.5}), (2, {"weight_lr": 100.0})],
)
def test_a_misread_law_is_caught(number, changes, monkeypatch):
    def misread(module, example, **options):
        reading = read_module(module, example, **options)
        return dataclasses.replace(reading, network=altered(reading.network, number, **changes))

    monkeypatch.setattr(_front_doors, "read_module", misread)
    ntk_draws = 150 if "weight_lr" in changes else 0
    found = check_torch(module(), EXAMPLE, draws=600, ntk_draws=ntk_draws)
    assert found.identity is not None
    assert found.identity < 1e-12
    assert found.verdict == "disagrees", str(found)
    assert {a.row.verdict for a in found.of("limit")} == {"agrees"}


def test_a_misread_activation_is_exactly_seen(monkeypatch):
    # The tangent approximation of GELU, which no kernel could tell from GELU itself.
    def misread(fn, params, example, **options):
        reading = read(fn, params, example, **options)
        nodes = list(reading.frozen.network.nodes)
        nodes[1] = dataclasses.replace(nodes[1], layer=nw.Activation("gelu_tanh"))
        frozen = dataclasses.replace(reading.frozen, network=nw.Network(tuple(nodes)))
        return dataclasses.replace(reading, frozen=frozen)

    monkeypatch.setattr(_front_doors, "read", misread)

    def gelu(params, x):
        return jax.nn.gelu(x @ params["w"], approximate=False) @ params["v"]

    with pytest.warns(UserWarning, match="with the same numbers as parameters, outputs differ"):
        from_jax(gelu, init, jnp.ones((3, 5)), draws=300, ntk_draws=0)
    monkeypatch.undo()
    found = check_jax(gelu, init, jnp.ones((3, 5)), draws=300, ntk_draws=0)
    assert found.identity is not None
    assert found.identity < 1e-6
    assert found.verdict != "disagrees"


def test_inputs_are_those_of_the_example_where_they_differ():
    net = nw.chain(nw.Dense(3))
    rows = np.arange(20.0, dtype=np.float32).reshape(5, 4)
    np.testing.assert_array_equal(_inputs(rows, net, 0), rows[:3])
    made = _inputs(np.zeros((1, 4), np.float32), net, 0)
    assert made.shape == (3, 4)
    assert made.dtype == np.float32
    assert len(np.unique(made, axis=0)) == 3
    tokens = nw.chain(nw.Embedding(7, 3))
    made = _inputs(np.zeros((2, 5), np.int64), tokens, 0)
    assert made.dtype == np.int64
    assert made.min() >= 0
    assert made.max() < 7


def test_the_module_and_random_numbers_stay_as_they_were():
    one = module()
    before = {name: p.detach().clone() for name, p in one.named_parameters()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_torch(one, EXAMPLE, draws=300, ntk_draws=0)
    assert torch.rand(1) == expected
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, before[name])
    assert jnp.zeros(()).dtype == np.float32
