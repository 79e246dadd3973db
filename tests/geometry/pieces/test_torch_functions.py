"""Piecewise-linear PyTorch modules: cells against a grid of sign patterns, outputs, refusals."""

import copy

import numpy as np
import pytest

from tests.geometry.pieces.support import check_against_grid
from tests.support import require
from whydeep.errors import InputError, UnsupportedError
from whydeep.geometry import piecewise_linear, regions

torch = require("torch")
nn = torch.nn


class Residual(nn.Module):
    def __init__(self, main):
        super().__init__()
        self.main = main

    def forward(self, x):
        return x + self.main(x)


class Maxout(nn.Module):
    def __init__(self, inputs, outputs, members):
        super().__init__()
        self.linear, self.shape = nn.Linear(inputs, outputs * members), (outputs, members)

    def forward(self, x):
        return self.linear(x).view(x.size(0), *self.shape).amax(-1)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.out = nn.Linear(3, 5), nn.Linear(3, 5), nn.Linear(15, 2)

    def forward(self, x):
        a, b = self.one(x), self.two(x)
        top = torch.maximum(a, b) - a.clamp(min=-0.5)
        return self.out(torch.cat([top, torch.relu(a), b.abs()], dim=1))


def normalised(size):
    layer = nn.BatchNorm1d(size)
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2.0)
    return layer


def modules():
    torch.manual_seed(0)
    linear, conv = nn.Linear, nn.Conv2d
    block = nn.Sequential(linear(10, 8), nn.ReLU(), linear(8, 10))
    first = (linear(3, 10), normalised(10), Residual(block), nn.Hardtanh(), linear(10, 1))
    pooled = (conv(1, 2, 3, padding=1), nn.MaxPool2d(2), nn.PReLU(2), conv(2, 3, 2), nn.ReLU())
    return {
        "leaky": ((linear(3, 10), nn.LeakyReLU(0.2), linear(10, 2)), (3,)),
        "residual, batch norm, hard tanh": (first, (3,)),
        "maxout": ((Maxout(3, 5, 3), Maxout(5, 4, 4), linear(4, 1)), (3,)),
        "branches": ((Branches(),), (3,)),
        "in place": ((linear(3, 6), nn.ReLU6(), linear(6, 6), nn.ReLU(inplace=True)), (3,)),
        "convolution": ((*pooled, nn.AvgPool2d(2), nn.Flatten(), linear(3, 2)), (1, 6, 6)),
        "padded pool": ((nn.Conv1d(2, 3, 3), nn.MaxPool1d(3, 2, 1), nn.Flatten()), (2, 8)),
    }


MODULES = modules()


@pytest.mark.parametrize("name", MODULES)
def test_cells_are_those_that_a_grid_meets_and_outputs_the_modules_own(name):
    layers, shape = MODULES[name]
    module = nn.Sequential(*layers).eval()
    f = piecewise_linear(module, np.zeros((1, *shape)))
    generator = np.random.default_rng(1)
    x = generator.normal(size=(20, *shape))
    with torch.no_grad():
        expected = copy.deepcopy(module).double()(torch.as_tensor(x)).numpy()
    np.testing.assert_allclose(f(x), expected, rtol=0, atol=1e-13 * np.abs(expected).max())
    origin, u, v = generator.normal(size=(3, *shape))
    found = regions(f, origin, u, v)
    assert found.count > 5
    assert abs(found.areas.sum() / 4 - 1) < 1e-12
    check_against_grid(found, side=150)


def test_a_large_convolution_stays_a_function_and_gives_the_same():
    torch.manual_seed(0)
    one, two = nn.Conv2d(1, 11, 3, padding=1), nn.Conv2d(11, 11, 3, padding=1)
    head = nn.Flatten(), nn.Linear(11 * 196, 1)
    module = nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), *head).eval()
    f = piecewise_linear(module, np.zeros((2, 1, 14, 14)))
    assert not f.dense
    origin, u, v = np.random.default_rng(0).normal(size=(3, 1, 14, 14))
    found = regions(f, origin, u, v, window=(0, 0.05, 0, 0.05))
    assert found.count > 100
    assert abs(found.areas.sum() / 0.0025 - 1) < 1e-12
    some = np.arange(0, found.count, 37)
    x = found.plane.inputs(found.middles)
    np.testing.assert_allclose(
        found.maps.at(found.middles)[some], f(x)[some], rtol=0, atol=1e-12 * np.abs(f(x)).max()
    )
    np.testing.assert_array_equal(f.pattern(x)[some], found.patterns[some])


def test_the_module_is_left_as_it_was():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).train()
    before = copy.deepcopy(module.state_dict())
    piecewise_linear(module, np.zeros((2, 3)))
    assert module.training
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert module[0].weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.GELU(), "gelu is smooth"),
        (nn.Tanh(), "tanh is smooth"),
        (nn.LayerNorm(4), "layer_norm is smooth"),
        (nn.Threshold(0.5, 0.0), "threshold jumps"),
    ],
)
def test_what_has_no_affine_pieces_is_refused_by_name(layer, message):
    with pytest.raises(UnsupportedError, match=message):
        piecewise_linear(nn.Sequential(nn.Linear(3, 4), layer), np.zeros((2, 3)))


def test_products_and_unknown_operations_are_refused_by_name():
    class Gate(nn.Module):
        def forward(self, x):
            return x * x

    class Sort(nn.Module):
        def forward(self, x):
            return torch.sort(x, dim=1).values

    with pytest.raises(UnsupportedError, match="mul multiplies two values"):
        piecewise_linear(Gate(), np.zeros((2, 3)))
    with pytest.raises(UnsupportedError, match="operation sort is not one"):
        piecewise_linear(Sort(), np.zeros((2, 3)))


def test_training_mode_and_mixed_examples_are_refused():
    class Centred(nn.Module):
        def forward(self, x):
            return torch.relu(x - x.mean(dim=0))

    with pytest.raises(InputError, match="training mode"):
        piecewise_linear(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), np.zeros((2, 3)))
    with pytest.raises(UnsupportedError, match="other examples"):
        piecewise_linear(Centred(), np.zeros((2, 3)))
