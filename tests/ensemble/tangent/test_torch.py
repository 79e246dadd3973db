"""The tangent kernel of PyTorch modules: against gradients of each output by PyTorch itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support import require
from whydeep.ensemble.tangent import _torch, _torch_structure, tangent_kernel
from whydeep.errors import InputError, UnsupportedError

torch = require("torch")
nn = torch.nn

# Sums of some thousand products in float64, of different order: 1e-13 relative to the largest.
ROUNDING = 1e-12


def defined(module, x):
    """(N, C, N, C): a backward pass an example and output."""
    trained = [p for p in module.parameters() if p.requires_grad]
    rows = []
    for a in range(len(x)):
        for value in module(x[a : a + 1].clone()).reshape(-1):
            parts = torch.autograd.grad(value, trained, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([g.reshape(-1) for g in parts]))
    table = torch.stack(rows).numpy()
    return (table @ table.T).reshape(len(x), -1, len(x), len(rows) // len(x))


class Tokens(nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.table = nn.Embedding(7, 4, padding_idx=0)
        self.norm = nn.LayerNorm(4)
        self.last = nn.Linear(4, 7, bias=False)
        if tied:
            self.last.weight = self.table.weight

    def forward(self, x):
        return self.last(self.norm(self.table(x)).sin()).mean(1)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)


class SequenceFirst(Two):
    def forward(self, x):
        return self.two(torch.tanh(self.one(x.transpose(0, 1)))).mean(0)


class InARow(Two):
    def forward(self, x):
        return self.two(torch.tanh(self.one(x.reshape(-1, 3)))).reshape(len(x), -1, 2).mean(1)


class Branching(Two):
    def forward(self, x):
        h = self.one(x)
        h = torch.tanh(h) if x.sum() > 0 else h * self.two.weight[:1]
        h = h + 0.1
        h.mul_(2)  # in place
        return self.two(h)


class Looping(Two):
    def forward(self, x):
        h, turns = self.one(x), 0
        while turns < int(10 * x.abs().max()) % 5:
            h, turns = torch.sin(h), turns + 1
        return self.two(h)


class Again(Two):
    def forward(self, x):
        h = torch.tanh(self.one(x))
        return self.two(h) + torch.tanh(self.two(h.flip(1)))


class Aside(Two):
    def forward(self, x):
        return self.two(torch.tanh(self.one(x))) + torch.sin(self.one.weight).sum()


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(3, 4, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0][:, -1]


def convolutions():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, dilation=2), nn.BatchNorm2d(4),
        nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, groups=2, padding="same"), nn.GroupNorm(3, 6),
        nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    ).eval()  # fmt: skip


def encoder():
    layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 2))


def partly_frozen():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    module = nn.Sequential(layer, nn.Tanh(), nn.Linear(4, 2))
    module[2].bias.requires_grad_(requires_grad=False)
    return module


def dense():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 5, bias=False),
                         nn.Tanh(), nn.Linear(5, 3))  # fmt: skip


# The module, the shape of its inputs, whether examples run together, and how many layers have
# structure.
CASES = {
    "dense": (dense, (5, 4), True, 3),
    "convolutions and norms": (convolutions, (4, 2, 8, 7), True, 5),
    "embedding": (lambda: Tokens(tied=False), (4, 5), True, 3),
    "tied embedding": (lambda: Tokens(tied=True), (4, 5), True, 1),
    "attention": (encoder, (3, 4, 6), True, 5),
    "sequence first": (SequenceFirst, (4, 5, 3), False, 2),
    "examples in a row": (InARow, (4, 5, 3), True, 2),
    "a branch that depends on data": (Branching, (6, 3), False, 1),
    "a loop that depends on data": (Looping, (6, 3), False, 2),
    "a layer called twice": (Again, (4, 3), True, 1),
    "a weight used beside its layer": (Aside, (4, 3), True, 1),
    "recurrent": (Recurrent, (3, 4, 3), True, 0),
    "normalised weight, frozen bias": (partly_frozen, (4, 3), True, 1),
}


def made(name):
    torch.manual_seed(0)
    make, shape, *_ = CASES[name]
    module = make().double()
    for each in module.modules():  # statistics that change something
        if isinstance(each, nn.BatchNorm2d):
            each.running_mean.normal_()
            each.running_var.uniform_(0.5, 2)
    tokens = isinstance(module, Tokens)
    x = torch.randint(0, 7, shape) if tokens else torch.randn(*shape, dtype=torch.float64)
    return module, x


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_product_of_gradients(name, monkeypatch):
    seen = []
    found_by = _torch.find_structure
    monkeypatch.setattr(
        _torch, "find_structure", lambda *given: seen.append(found_by(*given)) or seen[0]
    )
    module, x = made(name)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    expected = defined(module, x)
    found = tangent_kernel(module, None, x, batch=2)
    np.testing.assert_allclose(found, expected, atol=ROUNDING * np.abs(expected).max())
    assert found.dtype == np.float64
    _, _, together, structured = CASES[name]
    assert (seen[0].together, len(seen[0].units)) == (together, structured)
    for key, value in module.state_dict().items():  # it stays as it is
        assert torch.equal(value, before[key])
    assert not any(m._forward_hooks for m in module.modules())


@pytest.mark.parametrize("name", ["dense", "convolutions and norms", "embedding"])
def test_parts_and_pairs(name):
    module, x = made(name)
    full = tangent_kernel(module, None, x)
    scale = np.abs(full).max()
    trace = tangent_kernel(module, None, x, outputs="trace")
    np.testing.assert_allclose(trace, np.einsum("aibi->ab", full), atol=10 * ROUNDING * scale)
    diagonal = tangent_kernel(module, None, x, x[1:], outputs="diagonal")
    expected = np.einsum("aibi->abi", full)[:, 1:]
    np.testing.assert_allclose(diagonal, expected, atol=ROUNDING * scale)
    leaves = tangent_kernel(module, None, x, groups="leaf")
    assert set(leaves) == {n for n, _ in module.named_parameters()}
    np.testing.assert_allclose(sum(leaves.values()), full, atol=ROUNDING * scale)


def test_a_branch_that_other_examples_decide_is_taken_for_each_alone():
    torch.manual_seed(0)
    module, x = Branching().double(), torch.randn(8, 3, dtype=torch.float64)
    x = x * (torch.sign(x.sum(1)))[:, None]  # all of one branch: all together, too
    x[1] = -x[1]
    x[0] += 3.0  # the sum over all of them, and over any two others, is positive
    expected = defined(module, x)
    for batch in (1, 2, 8):
        found = tangent_kernel(module, None, x, batch=batch)
        np.testing.assert_allclose(found, expected, atol=ROUNDING * np.abs(expected).max())


class Choosing(Two):
    def forward(self, x):
        h = self.one(x)
        return self.two(torch.tanh(h) if x.sum() > 0 else torch.sin(3 * h))


def test_blocks_are_compared_with_each_example_alone(monkeypatch):
    # The check of larger batches is made to find nothing: blocks must find it again.
    torch.manual_seed(0)
    module, x = Choosing().double(), torch.randn(8, 3, dtype=torch.float64)
    assert len(set(torch.sign(x.sum(1)).tolist())) == 2
    expected = defined(module, x)
    monkeypatch.setattr(_torch_structure._Checks, "_batched", lambda *_: True)
    found = tangent_kernel(module, None, x, batch=4)
    np.testing.assert_allclose(found, expected, atol=ROUNDING * np.abs(expected).max())


def test_groups_and_rates_by_name():
    module, x = made("dense")
    leaves = tangent_kernel(module, None, x, groups="leaf")
    layers = tangent_kernel(module, None, x, groups="layer")
    assert list(layers) == ["0", "2", "4"]
    np.testing.assert_allclose(layers["4"], leaves["4.weight"] + leaves["4.bias"], atol=1e-12)
    rates = dict.fromkeys(leaves, 0.0) | {"0.weight": 2.0, "4.bias": np.array([1.0, 0.0, 3.0])}
    weighed = tangent_kernel(module, None, x, rates=rates)
    expected = 2 * leaves["0.weight"] + np.diag([1.0, 0.0, 3.0])[None, :, None]
    np.testing.assert_allclose(weighed, expected, atol=1e-12)


def test_a_module_and_a_jax_function_of_the_same_weights():
    module, x = made("dense")
    params = {n: p.detach().numpy() for n, p in module.named_parameters()}

    def fn(p, x):
        h = jax.nn.relu(x @ p["0.weight"].T + p["0.bias"])
        return jnp.tanh(h @ p["2.weight"].T) @ p["4.weight"].T + p["4.bias"]

    ours = tangent_kernel(fn, params, x.numpy(), groups="leaf")
    theirs = tangent_kernel(module, None, x, groups="leaf")
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_allclose(theirs[name], ours[name], atol=1e-12)


def test_other_parameters_than_the_modules_own():
    module, x = made("dense")
    other = dense().double()
    found = tangent_kernel(module, dict(other.named_parameters()), x)
    np.testing.assert_allclose(found, tangent_kernel(other, None, x), atol=1e-13)


def test_what_cannot_be_computed_is_refused():
    x = torch.randn(4, 3)

    def refused(match, kind, module, *arguments):
        with pytest.raises(kind, match=match):
            tangent_kernel(module, *arguments)

    refused("other outputs each time", InputError,
            nn.Sequential(nn.Linear(3, 9), nn.Dropout(0.5)), None, x)  # fmt: skip
    refused("by the batch", InputError, nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), None, x)
    refused("not those of the module", InputError, nn.Linear(3, 2), {"no": x}, x)
    refused("of one precision", UnsupportedError, nn.Linear(3, 2).half(), None, x)
    refused("no parameters", InputError, nn.ReLU(), None, x)
    refused("one row of outputs", InputError, nn.GRU(3, 4), None, torch.randn(4, 2, 3))
    refused("no examples", InputError, nn.Linear(3, 2), None, x[:0])
    refused("not finite", InputError, nn.Linear(3, 2), None, x * torch.nan)
    refused("not of one shape", InputError, nn.Linear(3, 2), None, x, x[:, :2])
    refused(r"examples \(1, 2\); parameters \(2, 3\), \(2,\)(.|\n)*RuntimeError: mat1",
            InputError, nn.Linear(3, 2), None, x[:, :2])  # fmt: skip
