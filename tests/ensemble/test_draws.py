"""How many networks each observable is measured on, by default and when asked."""

import numpy as np
import pytest

from whydeep.comparison import compare
from whydeep.ensemble import measure
from whydeep.errors import InputError
from whydeep.network import mlp
from whydeep.theory.finite import predict

NET, X = mlp(2, 8, "relu"), np.eye(2)


def drawn(**given):
    measured = measure(NET, X, **given)
    return {name: measured.draws_of(name) for name in measured}


def test_tangent_kernels_are_drawn_less_often_than_activations():
    # 20,000 draws of both took minutes for the first example of the README.
    found = drawn(draws=12_000)
    assert found["kernel"] == found["four_point"]
    assert found["kernel"] >= 12_000
    assert 1_200 <= found["ntk"] < 1_500


def test_few_draws_and_a_tangent_kernel_alone_are_as_many_as_asked_for():
    assert set(drawn(draws=512).values()) == {512}
    assert drawn(draws=2_048, observables=("ntk",)) == {"ntk": 2_048}
    found = drawn(draws=512, ntk_draws=64)
    assert found["ntk"] < 100
    assert found["kernel"] >= 512
    with pytest.raises(InputError, match=r"ntk_draws is too small(.|\n)*>= 64"):
        measure(NET, X, ntk_draws=5)


def test_what_is_drawn_apart_is_what_is_drawn_together():
    apart = measure(NET, X, draws=2_000, seed=3)
    np.testing.assert_array_equal(
        apart.batches["ntk"], measure(NET, X, draws=1_000, seed=3, observables="ntk").batches["ntk"]
    )
    alone = measure(NET, X, draws=2_000, seed=3, observables=("kernel", "four_point"))
    for name in alone:
        np.testing.assert_array_equal(apart.batches[name], alone.batches[name])


def test_a_comparison_counts_the_draws_of_each():
    found = compare(predict(NET, X), measure(NET, X, draws=4_000, seed=1))
    assert found.draws["ntk"] < 1_200
    assert found.draws["kernel"] >= 4_000
    row = next(r for r in found.of("kernel_correction") if r.verdict == "not resolved")
    assert row.draws_needed is not None
    assert row.draws_needed > 4_000
