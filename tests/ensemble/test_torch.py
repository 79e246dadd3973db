"""Kernels of real PyTorch modules: exact identities, and the description drawn for itself."""

import copy
import dataclasses
import math

import numpy as np
import pytest

from tests.support import require
from whydeep.ensemble import measure_kernels
from whydeep.ensemble._torch import measure_torch_kernels
from whydeep.errors import InputError
from whydeep.network import Activation, Dense, Network
from whydeep.network.torch_reader import read_module

torch = require("torch")
nn = torch.nn

from tests.network import torch_modules as modules  # noqa: E402 -- needs torch

# Batch means of kernels are not quite Gaussian: six standard errors for some thirty entries, a
# false alarm in ten million if they were.
SIGMAS = 6.0


def worst(one, other):
    """The largest deviation of two measurements in standard errors."""
    out = 0.0
    for kernel in ("nngp", "ntk"):
        error = np.hypot(getattr(one, f"{kernel}_stderr"), getattr(other, f"{kernel}_stderr"))
        difference = np.abs(getattr(one, kernel) - getattr(other, kernel))
        assert np.all(difference[error == 0] < 1e-9)
        out = max(out, float(np.max(difference[error > 0] / error[error > 0], initial=0.0)))
    return out


def test_a_linear_layer_is_known_exactly():
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    samples = measure_torch_kernels(nn.Linear(6, 50), x, draws=400, seed=1)
    gram = (x @ x.T).double().numpy()
    np.testing.assert_allclose(samples.ntk, gram + 1.0, rtol=1e-6)  # the same in every draw
    assert np.all(samples.ntk_stderr < 1e-6)
    expected = gram / (3 * 6) + 1 / (3 * 6)
    assert np.all(np.abs(samples.nngp - expected) < SIGMAS * samples.nngp_stderr)


def test_frozen_parameters_add_nothing_to_the_tangent_kernel():
    torch.manual_seed(0)
    x = torch.randn(3, 6)
    layer = nn.Linear(6, 5)
    layer.bias.requires_grad_(False)
    samples = measure_torch_kernels(layer, x, draws=8)
    np.testing.assert_allclose(samples.ntk, (x @ x.T).double().numpy(), rtol=1e-5, atol=1e-6)


READ = (
    "residual CNN with LayerNorm", "post-norm encoder", "gelu and views", "ResNet v2", "ViT", "GPT",
    "SwiGLU", "Elman", "Elman, last state", "own norm: layer", "layer scale", "average pools",
    "ConvTranspose2d", "Conv1d, dilated", "own weights",
)  # fmt: skip
INIT = {"ViT": {"positions": 4e-4}, "own weights": {"w": 1 / 64, "v": 1.0}}


@pytest.mark.parametrize("name", READ)
def test_the_module_and_its_description_have_the_same_kernels(name):
    torch.manual_seed(0)
    module, _ = modules.READ[name]()
    x = modules.READ[name]()[1][:2]
    module.eval()
    init = INIT.get(name)
    reading = read_module(module, x, init=init)
    draws = 60 if name in ("ConvTranspose2d", "GPT") else 160
    ntk_draws = 0 if name == "ConvTranspose2d" else draws  # it has 256 positions
    real = measure_torch_kernels(
        module, x, draws=draws, ntk_draws=ntk_draws, seed=1, init=init,
        channel_axes=reading.channel_axes,
    )  # fmt: skip
    drawn = measure_kernels(
        reading.network, x.numpy(), draws=draws, ntk_draws=ntk_draws, seed=2, law="uniform"
    )
    assert real.nngp.shape == drawn.nngp.shape
    if ntk_draws == 0:
        error = np.hypot(real.nngp_stderr, drawn.nngp_stderr)
        assert np.all(np.abs(real.nngp - drawn.nngp) <= SIGMAS * error)
    else:
        assert worst(real, drawn) < SIGMAS


@pytest.mark.parametrize("change", ["weight_var", "weight_lr", "activation"])
def test_a_wrong_description_is_caught(change):
    torch.manual_seed(0)
    x = torch.randn(3, 6)
    module = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 8))
    nodes = list(read_module(module, x).network.nodes)
    if change == "activation":
        nodes[1] = dataclasses.replace(nodes[1], layer=Activation("gelu"))
    else:
        values = {"weight_var": 2 / 3, "weight_lr": 0.0}
        layer = dataclasses.replace(nodes[0].layer, **{change: values[change]})
        assert isinstance(layer, Dense)
        nodes[0] = dataclasses.replace(nodes[0], layer=layer)
    real = measure_torch_kernels(module, x, draws=1000, seed=1)
    drawn = measure_kernels(Network(tuple(nodes)), x.numpy(), draws=1000, seed=2, law="uniform")
    assert worst(real, drawn) > SIGMAS


def test_an_own_initialisation_is_followed():
    torch.manual_seed(0)
    x = torch.randn(3, 6)
    layer = nn.Linear(6, 60)

    def init(module):
        nn.init.normal_(module.weight, std=0.5)
        nn.init.constant_(module.bias, 2.0)

    expected = 0.25 * (x @ x.T).double().numpy() + 4.0
    by_function = measure_torch_kernels(layer, x, draws=300, seed=1, init=init)
    init(layer)
    by_numbers = measure_torch_kernels(layer, x, draws=300, seed=2)
    nn.init.zeros_(layer.bias)
    given = measure_torch_kernels(layer, x, draws=300, seed=3, init={"weight": 0.25})
    # The variance is measured on 360 numbers: 8% is one standard error.
    slack = 4 * math.sqrt(2 / 360) * 0.25 * np.abs((x @ x.T).double().numpy())
    for samples, target, more in (
        (by_function, expected, 0.0), (by_numbers, expected, slack), (given, expected - 4.0, 0.0),
    ):  # fmt: skip
        assert np.all(np.abs(samples.nngp - target) < SIGMAS * samples.nngp_stderr + more)


def test_draws_are_reproducible_and_leave_everything_as_it_was():
    torch.manual_seed(0)
    module, x = modules.READ["ViT"]()
    module.train()
    before = copy.deepcopy(module.state_dict())
    state = torch.random.get_rng_state()
    init = {"positions": 4e-4}
    one, two, other = (
        measure_torch_kernels(module, x, draws=4, seed=seed, init=init) for seed in (5, 5, 6)
    )
    assert np.array_equal(one.nngp, two.nngp)
    assert np.array_equal(one.ntk, two.ntk)
    assert not np.array_equal(one.nngp, other.nngp)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_stored_numbers_of_norms_are_kept():
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)).eval()
    x = torch.ones(2, 4)
    plain = measure_torch_kernels(module, x, draws=4, seed=0).nngp
    module[1].running_var.fill_(3.0)
    np.testing.assert_allclose(
        measure_torch_kernels(module, x, draws=4, seed=0).nngp, plain / 3, rtol=1e-4
    )


def test_outputs_with_positions_have_kernels_between_positions():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5)
    samples = measure_torch_kernels(nn.Conv2d(3, 6, 1), x, draws=20, channel_axes=(1,))
    assert samples.nngp.shape == samples.ntk.shape == (2, 2, 4, 5, 4, 5)
    dots = np.einsum("achw,bcij->abhwij", x.numpy(), x.numpy())
    np.testing.assert_allclose(samples.ntk, dots + 1.0, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bad", [{"draws": 1}, {"seed": -1}, {"ntk_draws": -1}])
def test_bad_numbers_are_refused(bad):
    with pytest.raises(InputError):
        measure_torch_kernels(nn.Linear(2, 1), torch.ones(2, 2), **bad)


def test_a_module_that_mixes_examples_is_refused():
    with pytest.raises(InputError, match="one output for each input"):
        measure_torch_kernels(
            modules.two(lambda m, x: m.a(x).sum(0, keepdim=True)), torch.ones(2, 8), draws=2
        )
