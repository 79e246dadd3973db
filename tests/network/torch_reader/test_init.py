"""How parameters are drawn: the rules of torch.nn, measured on its own constructors."""

import math

import numpy as np
import pytest

from tests.support import require
from whydeep.errors import InputError
from whydeep.network.torch_reader import Law, read_laws

torch = require("torch")
nn = torch.nn

# Tests of single statistics are held to five standard errors: a false alarm in two million.
SIGMAS = 5.0
CLASSES = {
    "Linear": lambda: nn.Linear(7, 30),
    "Conv2d": lambda: nn.Conv2d(3, 20, 3),
    "Conv1d": lambda: nn.Conv1d(4, 20, 5),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(4, 20, 3),
    "Embedding": lambda: nn.Embedding(40, 6),
    "RNN": lambda: nn.RNN(3, 12, 2),
    "MultiheadAttention": lambda: nn.MultiheadAttention(12, 3),
    "MultiheadAttention of other keys": lambda: nn.MultiheadAttention(12, 3, kdim=5, vdim=7),
    "LayerNorm": lambda: nn.LayerNorm(5),
    "BatchNorm2d": lambda: nn.BatchNorm2d(5),
    "GroupNorm": lambda: nn.GroupNorm(2, 6),
    "RMSNorm": lambda: nn.RMSNorm(5),
    "Transformer": lambda: nn.Transformer(12, 2, 1, 1, 20, batch_first=True),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(12, 3, 20),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_rules_are_those_of_the_constructors(kind):
    torch.manual_seed(0)
    drawn = [CLASSES[kind]() for _ in range(200)]
    laws = read_laws(drawn[0])
    for name, law in laws.items():
        numbers = np.stack([dict(m.named_parameters())[name].detach().numpy() for m in drawn])
        assert law.origin == "rule", name
        if law.variance == 0:
            assert np.all(numbers == law.mean), name
            continue
        squares = np.square(numbers.astype(np.float64)).ravel()
        error = squares.std() / math.sqrt(squares.size)
        assert abs(squares.mean() - law.variance) < SIGMAS * error, name
        if law.bound is not None:
            top = np.abs(numbers).max()
            assert (1 - 30 / numbers.size) * law.bound < top <= law.bound * (1 + 1e-6), name


def test_fresh_modules_are_never_refused():
    # Of 2000 parameters, none is taken for another law than its own.
    for seed in range(250):
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Linear(1 + seed % 5, 1 + seed % 7), nn.Conv2d(2, 1 + seed % 3, 3), nn.Linear(40, 30)
        )
        assert {law.origin for law in read_laws(module).values()} == {"rule"}
        bare = nn.ParameterList([torch.randn(20 + seed, 48), 0.3 * torch.rand(64, 40) - 0.15])
        laws = read_laws(bare)
        for (_, law), variance in zip(sorted(laws.items()), (1.0, 0.3**2 / 12), strict=True):
            assert abs(law.variance - variance) < max(SIGMAS * law.error, 1e-12) + 0.02 * variance


def table():
    torch.manual_seed(3)
    return torch.randn(64, 48)


WRONG = {
    "mean is not zero": lambda: table() + 0.3,
    "far larger": lambda: table() ** 3,
    "from row to row": lambda: table() * torch.linspace(0.75, 1.25, 64)[:, None],
    "largest singular value": lambda: (
        table() + 0.35 * torch.outer(table()[:, 0].sign(), table()[0].sign())
    ),
    "too few": lambda: table()[0, :20],
}


@pytest.mark.parametrize("why", WRONG)
def test_numbers_that_no_law_explains_are_refused(why):
    laws = read_laws(nn.ParameterList([WRONG[why]()]))
    with pytest.raises(InputError, match=why) as refusal:
        _ = laws["0"]
    assert 'init={"0": variance}' in refusal.value.suggestion


def test_a_trained_layer_is_refused():
    torch.manual_seed(0)
    layer = nn.Linear(20, 40)
    x = torch.randn(200, 20)
    y = x[:, :1] * torch.ones(1, 40)
    optimiser = torch.optim.SGD(layer.parameters(), 0.5)
    for _ in range(100):
        optimiser.zero_grad()
        (layer(x) - y).square().mean().backward()
        optimiser.step()
    with pytest.raises(InputError, match="weight"):
        _ = read_laws(layer)["weight"]


def test_variances_are_given_by_pattern():
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
    laws = read_laws(module, {"*.weight": 0.04, "2.bias": 0})
    assert laws["0.weight"] == Law(0.04, origin="given", text="given")
    assert laws["2.weight"].variance == 0.04
    assert laws["2.bias"].variance == 0
    assert laws["0.bias"].origin == "rule"


@pytest.mark.parametrize("init", [{"3.weight": 1.0}, {"*": -1.0}, {"*": math.nan}])
def test_bad_variances_are_refused(init):
    with pytest.raises(InputError):
        read_laws(nn.Sequential(nn.Linear(4, 5)), init)


RULES = {
    "2 / 30": lambda p: nn.init.kaiming_normal_(p, nonlinearity="relu"),
    "2 / 40": lambda p: nn.init.kaiming_uniform_(p, mode="fan_out", nonlinearity="relu"),
    "1 / 35": nn.init.xavier_uniform_,
    "25/9 / 35": lambda p: nn.init.xavier_normal_(p, gain=5 / 3),
    "standard deviation 0.02": lambda p: nn.init.trunc_normal_(p, std=0.02),
    "0.0123": lambda p: nn.init.normal_(p, std=0.0123**0.5),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_function_is_measured_and_simple_rules_are_found(rule):
    def init(module):
        RULES[rule](module[0].weight)
        nn.init.zeros_(module[0].bias)

    laws = read_laws(nn.Sequential(nn.Linear(30, 40), nn.LayerNorm(40)), init)
    numerator, _, denominator = rule.partition(" / ")
    if denominator:
        top, _, low = numerator.partition("/")
        expected = float(top) / float(low or 1) / float(denominator)
    else:
        expected = 0.02**2 if "deviation" in rule else float(rule)
    assert laws["0.weight"].variance == pytest.approx(
        expected, rel=1e-12 if rule != "0.0123" else SIGMAS * math.sqrt(2 / 4e5)
    )
    assert (laws["0.bias"].variance, laws["0.bias"].mean) == (0.0, 0.0)
    assert laws["1.weight"].origin == "rule"


def test_a_function_for_single_layers_is_refused_with_the_remedy():
    def init(layer):
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)

    module = nn.Sequential(nn.Linear(4, 5))
    with pytest.raises(InputError, match=r"module\.apply\(function\)"):
        read_laws(module, init)
    assert read_laws(module, lambda m: m.apply(init))["0.bias"].variance == 0


def test_a_function_that_repeats_itself_is_refused():
    def init(module):
        torch.manual_seed(0)
        nn.init.normal_(module.weight)

    with pytest.raises(InputError, match="independent numbers"):
        read_laws(nn.Linear(30, 40), init)


def test_own_initialisation_is_read_off_the_numbers():
    torch.manual_seed(0)
    module = nn.Linear(256, 128)
    nn.init.normal_(module.weight, std=0.02)
    nn.init.constant_(module.bias, 0.5)
    laws = read_laws(module)
    assert laws["weight"].variance == 0.02**2
    assert laws["weight"].origin == "numbers"
    assert (laws["bias"].variance, laws["bias"].mean) == (0.0, 0.5)
