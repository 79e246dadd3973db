"""Modules read from PyTorch: their own weights in the description give their own outputs."""

import copy
import dataclasses
import doctest
import sys

import numpy as np
import pytest

from tests.support import require
from whydeep.activations import get
from whydeep.ensemble import parameters_of
from whydeep.ensemble._torch import reading_deviation
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import (
    Activation,
    BatchNorm,
    Conv,
    Dense,
    DotProductAttention,
    Dropout,
    Embedding,
    Network,
    PositionalEmbedding,
    Recurrent,
    read_torch,
)
from whydeep.network.torch_reader import read_module

torch = require("torch")
nn = torch.nn

from tests.network import torch_modules as modules  # noqa: E402 -- needs torch

# Both sides compute in float64; a description that is read rightly differs by roundings only.
ROUNDING = 1e-11


def made(name):
    torch.manual_seed(0)
    module, x = modules.READ[name]()
    return module.eval(), x


@pytest.mark.parametrize("name", modules.READ)
def test_own_weights_give_own_outputs(name):
    module, x = made(name)
    reading = read_module(module, x)
    declared = parameters_of(reading.network, tuple(x.shape[1:]))
    own = reading.parameters(module)
    for here, there in zip(own, declared, strict=True):
        assert {k: v.shape for k, v in here.items()} == {k: p.shape for k, p in there.items()}
    assert reading_deviation(reading, module, x) < ROUNDING
    # Every parameter is somewhere, once.
    assert set(reading.laws) == {name for name, _ in module.named_parameters()}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (Activation, {"function": get("tanh")}),
        (Conv, {"padding": "CIRCULAR"}),
        (BatchNorm, {"eps": 0.5}),
    ],
)
def test_a_wrong_reading_does_not_pass(kind, changes):
    module, x = made("ResNet v2")
    reading = read_module(module, x)
    nodes = list(reading.network.nodes)
    spot = [isinstance(node.layer, kind) for node in nodes].index(True)
    wrong = copy.copy(nodes[spot].layer)
    for name, value in changes.items():
        object.__setattr__(wrong, name, value)
    nodes[spot] = dataclasses.replace(nodes[spot], layer=wrong)
    other = dataclasses.replace(reading, network=Network(tuple(nodes)))
    assert reading_deviation(reading, module, x) < ROUNDING
    assert reading_deviation(other, module, x) > 1e-3


@pytest.mark.parametrize("named", modules.REFUSED)
def test_what_can_not_be_read_is_refused_by_name(named):
    torch.manual_seed(0)
    module, x, why = modules.REFUSED[named]()
    if named not in ("batch_norm", "dropout"):
        module.eval()
    with pytest.raises(UnsupportedError) as refusal:
        read_module(module, x)
    text = str(refusal.value)
    assert named in text
    assert why in text


def test_a_refusal_names_the_place_and_what_is_read():
    module = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.LSTM(8, 8, batch_first=True)))
    with pytest.raises(UnsupportedError) as refusal:
        read_module(modules.Module(lambda m, x: m.part(x)[0], part=module), modules.sequences())
    assert refusal.value.received == "lstm in part.1.0 (LSTM)"
    assert "scaled_dot_product_attention" in refusal.value.needed
    assert refusal.value.cause.startswith("torch_modules.py line ")


def test_labels_are_paths_of_modules():
    module, x = made("post-norm encoder")
    labels = [node.label for node in read_module(module, x).network.nodes]
    assert "encoder.layers.1.linear2" in labels
    assert labels.count("encoder.layers.0.self_attn") == 4  # queries, keys, values, attention


def test_a_linear_layer_in_pieces_is_one_layer_for_each():
    module, x = made("GPT")
    layers = read_module(module, x).network.layers
    core = [layer for layer in layers if isinstance(layer, DotProductAttention)]
    assert core == [DotProductAttention(2, "1/sqrt(d)", softmax=True, causal=True)]
    assert [layer.width for layer in layers if isinstance(layer, Dense)] == [8, 8, 8, 8, 20]


def test_patches_by_views_are_a_convolution():
    (one, x), (other, y) = made("ViT"), made("ViT by views")
    first, second = (
        next(n for n in read_module(m, v).network.layers if isinstance(n, Conv))
        for m, v in ((one, x), (other, y))
    )
    assert first == second


def test_an_elementwise_chain_is_one_activation():
    module = modules.Module(
        lambda m, x: m.b(m.a(x) * torch.sigmoid(m.a(x))), a=nn.Linear(3, 8), b=nn.Linear(8, 1)
    )
    reading = read_module(module, modules.images(3))
    assert reading.network.layers[1] == Activation("silu")
    assert reading.network.fully_connected


def test_training_mode_keeps_dropout():
    module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.25), nn.Linear(8, 1))
    kinds = [type(layer) for layer in read_module(module.train(), modules.images(3)).network.layers]
    assert kinds == [Dense, Dropout, Dense]
    kinds = [type(layer) for layer in read_module(module.eval(), modules.images(3)).network.layers]
    assert kinds == [Dense, Dense]


def test_rates_are_those_of_one_step_size_and_frozen_parameters_have_none():
    module = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 8, bias=False), nn.Tanh(),
        nn.Linear(8, 2),
    ).eval()  # fmt: skip
    module[3].weight.requires_grad_(False)
    module[1].bias.requires_grad_(False)
    net = read_module(module, modules.images(4)).network
    first, norm, _, second, _, last = net.layers
    assert first.learning_rates(4) == (1.0, 4.0)
    assert isinstance(norm, BatchNorm)
    assert (norm.scale_lr, norm.shift_lr) == (1.0, 0.0)
    assert second.learning_rates(8) == (0.0, 0.0)
    assert second.weight_var == 1 / 3
    assert last.learning_rates(8) == (1.0, 8.0)


def test_recurrent_biases_add_up():
    module, x = made("Elman, last state")
    layer = read_module(module, x).network.layers[0]
    assert isinstance(layer, Recurrent)
    assert layer.bias_var == pytest.approx(2 / (3 * 8), rel=1e-14)
    assert layer.learning_rates(4) == (2.0, 4.0, 8.0)
    assert layer.input_var == pytest.approx(4 / (3 * 8), rel=1e-14)
    assert layer.weight_var == pytest.approx(1 / 3, rel=1e-14)


def test_a_factor_on_a_parameter_is_in_its_variance_and_its_rate():
    module, x = made("own weights")
    reading = read_module(module, x, init={"w": 1 / 64, "v": 1.0})
    last = reading.network.layers[-1]
    assert last.weight_var == pytest.approx(1.0, rel=1e-12)
    assert last.learning_rates(40)[1] == pytest.approx(1.0, rel=1e-12)


def test_the_module_and_the_random_state_stay_as_they_are():
    module, x = made("ViT")
    before = copy.deepcopy(module.state_dict())
    state = torch.random.get_rng_state()
    fused = torch.backends.mha.get_fastpath_enabled()

    def init(part):
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, 0, 0.3)

    read_module(module, x, init=lambda m: m.apply(init))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.backends.mha.get_fastpath_enabled() == fused
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert not module.training


def test_a_frozen_encoder_is_read_like_a_trained_one():
    # Without gradients PyTorch runs encoder layers as one fused operation.
    module, x = made("post-norm encoder")
    trained = read_module(module, x).network
    frozen = read_module(module.requires_grad_(False), x)
    assert [type(a) for a in frozen.network.layers] == [type(a) for a in trained.layers]
    assert reading_deviation(frozen, module, x) < ROUNDING
    assert not any(p.rate for node in parameters_of(frozen.network, (6,)) for p in node.values())


def test_embeddings_and_positions_are_normal_of_variance_one():
    module, x = made("post-norm encoder")
    layers = read_module(module, x).network.layers
    assert layers[0] == Embedding(20, 8, 1.0, 1.0, "standard")
    assert layers[1] == PositionalEmbedding((6,), 8, 1.0, 1.0, "standard")


def test_variances_that_were_measured_are_told():
    torch.manual_seed(0)
    module = modules.Module(
        lambda m, x: m.embed(x) + m.table, embed=nn.Embedding(20, 128),
        table=nn.Parameter(0.02 * torch.randn(6, 128)),
    )  # fmt: skip
    with pytest.warns(UserWarning, match=r"No rule is known for table: .* up to 6\.0%"):
        net = read_torch(module, modules.tokens())
    numbers = module.table.detach().numpy().astype(np.float64)
    assert net.layers[1].var == pytest.approx(np.mean(numbers**2), rel=1e-6)
    assert abs(net.layers[1].var / 0.02**2 - 1) < 4 * np.sqrt(2 / numbers.size)
    assert any("table 0.000378 ± 6.0%" in said for said in net.assumptions)


@pytest.mark.parametrize(
    ("module", "example"),
    [
        (lambda x: x, torch.zeros(2, 3)),
        (nn.Linear(3, 1), [[0.0] * 3] * 2),
        (nn.Linear(3, 1), np.zeros((2, 3), complex)),
        (nn.Linear(3, 1), np.full((2, 3), "a")),
        (nn.Linear(3, 1), torch.zeros(3)),
        (nn.Linear(3, 1), torch.zeros(0, 3)),
    ],
)
def test_bad_arguments_are_refused(module, example):
    with pytest.raises(InputError):
        read_torch(module, example)


def test_an_array_is_an_example_as_a_tensor_is():
    module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    expected = read_torch(module, torch.zeros(2, 3))
    for kind in (np.float32, np.float64):
        assert read_torch(module, np.zeros((2, 3), kind)) == expected


def test_the_example_in_the_documentation_is_true():
    (example,) = doctest.DocTestFinder().find(read_torch, "read_torch", globs={})
    for part in example.examples:
        part.options.clear()  # it is skipped where torch may be missing
    example.globs["read_torch"] = read_torch
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(example).failed == 0
    assert runner.tries == 2


def test_a_missing_torch_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UnsupportedError, match="pip install torch"):
        read_torch(None, None)
