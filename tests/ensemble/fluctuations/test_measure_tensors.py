"""Tensors through `measure`: in law those of the bare definitions, on any ladder, and refusals."""

import numpy as np
import pytest
from scipy import stats

from whydeep.ensemble import measure
from whydeep.ensemble.fluctuations import DIFFERENTIALS, TENSORS
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import mlp
from whydeep.observables import OBSERVABLES

X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1]])
KERNEL = TENSORS[:4]


def network(widths, activation="tanh"):
    return mlp(
        2, widths, activation, weight_var=1.4, bias_var=0.1,
        weight_lr=(1, 0.8, 1.3), bias_lr=(0.5, 0.7, 1.1),
    )  # fmt: skip


def largest(one, two, name, rung=0, other=0):
    """The largest |z| between components of two measurements, and the one allowed."""
    first, second = (m.batches[name][r][:, 1:] for m, r in ((one, rung), (two, other)))
    spread = np.sqrt(
        first.var(axis=0, ddof=1) / len(first) + second.var(axis=0, ddof=1) / len(second)
    )
    scores = (first.mean(0) - second.mean(0)) / spread
    return np.abs(scores).max(), stats.norm.isf(1e-4 / (2 * scores.size))


def test_fluctuations_are_in_law_those_of_the_definitions():
    net = network((4, 3), "relu")
    one = measure(net, X, draws=8_000, rungs=1, seed=1, observables=KERNEL)
    two = measure(
        net, X, draws=40_000, rungs=1, seed=2, observables=KERNEL, sampler="plain",
        average_last=False,
    )  # fmt: skip
    for name in KERNEL:
        score, allowed = largest(one, two, name)
        assert score < allowed, name
        errors = [m.stderr[name].values[1:] * np.sqrt(m.draws) for m in (one, two)]
        assert np.linalg.norm(errors[0]) < np.linalg.norm(errors[1]), name


def test_differentials_are_in_law_those_of_the_definitions():
    net = network((3, 4), "gelu")
    one = measure(net, X, draws=2_000, rungs=1, seed=1, observables=DIFFERENTIALS)
    two = measure(
        net, X, draws=10_000, rungs=1, seed=2, observables=DIFFERENTIALS, sampler="plain",
        average_last=False,
    )  # fmt: skip
    for name in DIFFERENTIALS:
        score, allowed = largest(one, two, name)
        assert score < allowed, name


def test_every_network_of_a_ladder_is_an_exact_draw():
    ladder = measure(network((4, 6)), X, draws=6_000, rungs=2, seed=3, observables=KERNEL)
    alone = measure(network((8, 12)), X, draws=6_000, rungs=1, seed=4, observables=KERNEL)
    for name in KERNEL:
        score, allowed = largest(ladder, alone, name, rung=1)
        assert score < allowed, name


def test_errors_are_as_large_as_they_say():
    """Twenty independent small measurements scatter about a large one as their errors say."""
    net = network((5, 5))
    large = measure(net, X, draws=20_000, rungs=1, seed=5, observables=("ntk_D",))
    scores = []
    for seed in range(20):
        small = measure(net, X, draws=1_000, rungs=1, seed=100 + seed, observables=("ntk_D",))
        difference = small["ntk_D"] - large["ntk_D"]
        error = np.hypot(small.stderr["ntk_D"], large.stderr["ntk_D"])
        scores.append((difference / error).values[1:].ravel())
    spread = (np.array(scores) ** 2).sum(0)  # one chi2 of 20 degrees a component
    assert stats.chi2.ppf(1e-6, 20) < spread.min()
    assert spread.max() < stats.chi2.isf(1e-6, 20)


def test_layers_inputs_and_seeds():
    net = network((4, 4))
    asked = {"draws": 256, "rungs": 2, "observables": ("kernel", "ntk_F", "ntk_A")}
    measured = measure(net, X, **asked, seed=7)
    assert list(measured) == ["kernel", "ntk_A", "ntk_F"]
    assert measured["ntk_F"].dims == OBSERVABLES["ntk_F"].dims
    assert measured["ntk_F"].shape == (3, 2, 2, 2, 2)
    assert (measured["ntk_F"][0] == 0).all()
    again = measure(net, X, **asked, seed=7)
    np.testing.assert_array_equal(measured["ntk_A"], again["ntk_A"])
    other = measure(net, X, **asked, seed=8)
    assert (measured["ntk_A"][1:] != other["ntk_A"][1:]).any()
    output = measure(net, X, **asked, seed=7, layers="output")
    assert output.layers == {"kernel": (1, 2, 3), "ntk_A": (3,), "ntk_F": (3,)}


def test_the_correction_of_the_tangent_kernel_is_a_difference_of_widths():
    measured = measure(
        network((4, 6)), X, draws=512, rungs=2, observables=("ntk", "ntk_correction")
    )
    mean, _ = measured.ladder("ntk")
    expected = 2 * np.array([4, 6])[:, None, None] * (mean[0] - mean[1]).values[1:]
    np.testing.assert_allclose(measured["ntk_correction"].values[1:], expected, atol=1e-12)


def test_all_is_all_that_can_be_measured():
    small = {"draws": 64, "rungs": 2, "observables": "all"}
    assert list(measure(network((3, 3), "relu"), X[:1], **small)) == [
        name for name in OBSERVABLES if name not in DIFFERENTIALS
    ]
    step = mlp(1, 4, "step", weight_var=1.0, bias_var=0.1)
    assert list(measure(step, X, **small)) == ["kernel", "four_point", "kernel_correction"]


@pytest.mark.parametrize(
    ("how", "activation", "error", "words"),
    [
        ({"observables": ("dntk_P",)}, "relu", UnsupportedError, "delta functions"),
        ({"observables": ("ntk_A",)}, "step", UnsupportedError, "diverges"),
        ({"observables": ("ddntk_R",)}, "selu", UnsupportedError, "delta functions"),
        ({"observables": ("ntk_C",)}, "tanh", InputError, "no observable of this name"),
        ({"observables": ("ntk_correction",), "rungs": 1}, "tanh", UnsupportedError, "two widths"),
        ({"observables": ("ntk_A",), "sampler": "plain"}, "tanh", InputError, "average_last=False"),
        (
            {
                "observables": ("ntk_A",),
                "sampler": "plain",
                "average_last": False,
                "layers": "output",
            },
            "tanh",
            InputError,
            "all layers",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(how, activation, error, words):
    net = mlp(2, 4, activation, weight_var=1.0, bias_var=0.1)
    with pytest.raises(error, match=words):
        measure(net, X, draws=64, **how)


@pytest.mark.parametrize(("name", "most"), [("ntk_A", 16), ("ddntk_S", 4)])
def test_too_many_inputs_are_refused(name, most):
    net, x = network((4, 4)), np.random.default_rng(0).normal(size=(most + 1, 3))
    with pytest.raises(InputError, match="N\\^4"):
        measure(net, x, draws=64, observables=(name,))
