"""What is given to be read: it works, or is refused with what was received and what is needed."""

import numpy as np
import pytest

import whydeep as wd
from tests.support import require
from whydeep.ensemble import measure_torch_kernels
from whydeep.errors import InputError, UnsupportedError, WhydeepError
from whydeep.network.torch_reader import read_torch

torch = require("torch")
nn = torch.nn

X = torch.linspace(-1, 1, 24).reshape(4, 6)


def module(**options):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32, **options), nn.ReLU(), nn.Linear(32, 2, **options))


def lazy():
    torch.manual_seed(0)
    return nn.Sequential(nn.LazyLinear(32), nn.ReLU(), nn.LazyLinear(2))


class Cached(nn.Module):
    """Holds a tensor that was computed from its parameters."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.twice = 2 * self.layer.weight

    def forward(self, x):
        """Of the layer only."""
        return self.layer(x)


class Shuffled(nn.Module):
    """Permutes its outputs at random."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        """In another order at each call."""
        return self.layer(x)[:, torch.randperm(3)]


class Graph(nn.Module):
    """A layer on a fixed sparse graph."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.register_buffer("graph", torch.eye(4).to_sparse())

    def forward(self, x):
        """Sums over neighbours."""
        return torch.sparse.mm(self.graph, self.layer(x))


class Two(Cached):
    """Takes two inputs."""

    def forward(self, x, y):
        """Of their sum."""
        return self.layer(x + y)


def broken(number):
    one = module()
    with torch.no_grad():
        one[2].weight[0, 0] = number
    return one


WORKS = {
    "float64 example": (module, X.double()),
    "bfloat16 example": (module, X.bfloat16()),
    "half example": (module, X.half()),
    "array": (module, X.numpy()),
    "float64 array": (module, X.numpy().astype(np.float64)),
    "one row": (module, X[:1]),
    "half module": (lambda: module().half(), X.half()),
    "bfloat16 module": (lambda: module().bfloat16(), X),
    "float64 module": (lambda: module().double(), X),
    "lazy module": (lazy, X),
    "DataParallel": (lambda: nn.DataParallel(module()), X),
    "factory": (lambda: lambda: nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2)), X),
    "factory of lazy modules": (
        lambda: lambda: nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2)), X,
    ),
    "class": (lambda: Cached, X),
}  # fmt: skip


@pytest.mark.parametrize("case", WORKS)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_it_works(case):
    make, example = WORKS[case]
    given = make()
    assert read_torch(given, example).layers[0].weight_var == pytest.approx(1 / 3, rel=1e-9)
    assert np.all(np.isfinite(measure_torch_kernels(given, example, draws=3).nngp_batches))


@pytest.mark.parametrize("case", ["bfloat16 example", "half module", "factory"])
def test_it_is_checked_and_the_table_is_readable(case, capsys):
    make, example = WORKS[case]
    wd.from_torch(make(), example, draws=300, ntk_draws=0)
    shown = capsys.readouterr().err
    assert "disagrees" not in shown
    progress = ("measuring", "compiling", "drawing")
    lines = [line for line in shown.splitlines() if not line.startswith(progress)]
    assert max(map(len, lines)) <= 80
    assert "less the prediction, as a share of it" in shown
    shown = " ".join(shown.split())
    assert ("drawn again by its constructor." in shown) == (case == "factory")
    assert ("the check can't see a law" in shown) == (case != "factory")
    assert "one standard error more of" in shown


def test_what_variances_rest_on_is_said_with_the_kernel():
    network = read_torch(module(), X)
    (said,) = network.assumptions
    assert said.startswith("variances read off one module's numbers: 2.bias 0.0104 ± ")
    assert said in wd.kernel(network, X.numpy(), ntk=False).assumptions
    assert "variances with errors" in repr(network)


REFUSED = {
    "whole numbers": (module, torch.ones(4, 6, dtype=torch.long), "takes real ones"),
    "complex": (module, X.to(torch.complex64), "complex"),
    "sparse": (module, X.to_sparse(), "to_dense"),
    "no numbers": (module, X.to("meta"), "meta device"),
    "NaN": (module, X / 0, "NaN or infinite"),
    "a vector": (module, X[0], r"example\[None\]"),
    "a list": (module, [X], "list"),
    "a dictionary": (module, {"x": X}, "dict"),
    "another shape": (module, X[:, :5], "another shape"),
    "a meta module": (lambda: module(device="meta"), X, "device meta"),
    "a NaN weight": (lambda: broken(torch.nan), X, "2.weight holds NaN"),
    "an infinite weight": (lambda: broken(torch.inf), X, "2.weight holds NaN or infinite"),
    "a number": (lambda: 3, X, "int and Tensor"),
    "a computed tensor": (Cached, X, "can't be copied"),
    "random permutation": (Shuffled, X, "randperm.*random numbers"),
    "sparse graph": (Graph, X, "_sparse_mm"),
    "two inputs": (Two, torch.ones(4, 6), "more than one input"),
    "scripted": (lambda: torch.jit.script(module()), X, "scripted"),
    "tokens that are real": (lambda: nn.Sequential(nn.Embedding(5, 2), nn.Flatten()), X, "tokens"),
    "factory of arguments": (lambda: nn.Linear, X, "lambda: Model"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_is_refused_in_words(case):
    make, example, words = REFUSED[case]
    with pytest.raises(WhydeepError, match=rf"(?s){words}") as refusal:
        wd.from_torch(make(), example, draws=300, ntk_draws=0)
    assert refusal.value.received
    assert isinstance(refusal.value, (InputError, UnsupportedError))


def test_a_computed_tensor_hinders_no_constructor_and_no_reading():
    assert wd.from_torch(Cached(), X, check=False).layers
    assert measure_torch_kernels(Cached, X, draws=3).draws == 3
