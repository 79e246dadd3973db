import numpy as np
import pytest

from whydeep.observables import OBSERVABLES, expand, reduce


@pytest.mark.parametrize("name", OBSERVABLES)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_expand_and_reduce_are_inverse(name, size):
    pairs = size * (size + 1) // 2
    count = pairs if OBSERVABLES[name].samples == 2 else pairs * (pairs + 1) // 2
    components = np.random.default_rng(0).normal(size=(3, count))
    full = expand(name, components, size)
    assert full.dims == OBSERVABLES[name].dims
    assert list(full.layer.values) == [1, 2, 3]
    np.testing.assert_array_equal(reduce(name, full.values), components)


def test_the_vertex_has_its_symmetries():
    components = np.random.default_rng(0).normal(size=(2, 21))
    v = expand("four_point", components, 3).values
    np.testing.assert_array_equal(v, v.transpose(0, 2, 1, 3, 4))
    np.testing.assert_array_equal(v, v.transpose(0, 1, 2, 4, 3))
    np.testing.assert_array_equal(v, v.transpose(0, 3, 4, 1, 2))
