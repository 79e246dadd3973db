from pathlib import Path

import numpy as np
import pytest

from whydeep.observables import (
    OBSERVABLES,
    component_indices,
    expand,
    pair_indices,
    quadruple_indices,
    reduce,
)


@pytest.mark.parametrize("name", OBSERVABLES)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_expand_and_reduce_are_inverse(name, size):
    count = len(component_indices(name, size))
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


@pytest.mark.parametrize("name", OBSERVABLES)
def test_every_declared_symmetry_holds_and_orbits_are_counted(name):
    observable, size = OBSERVABLES[name], 3
    components = np.arange(len(component_indices(name, size)), dtype=float)[None]
    full = expand(name, components, size).values[0]
    for permutation in observable.symmetry:
        np.testing.assert_array_equal(full, full.transpose(permutation))
    # Burnside: the number of orbits is the mean number of entries that a permutation leaves alone.
    group = {tuple(range(observable.samples))}
    while True:
        more = group | {tuple(g[i] for i in p) for g in group for p in observable.symmetry}
        if more == group:
            break
        group = more
    cycles = [_cycles(p) for p in group]
    assert components.size == sum(size**c for c in cycles) / len(group)


def _cycles(permutation):
    left, count = set(range(len(permutation))), 0
    while left:
        at, count = left.pop(), count + 1
        while permutation[at] in left:
            at = permutation[at]
            left.discard(at)
    return count


def test_components_of_kernels_and_vertices_are_in_the_order_of_pairs():
    rows, cols = pair_indices(4)
    np.testing.assert_array_equal(component_indices("kernel", 4), np.stack([rows, cols], 1))
    one, two = quadruple_indices(4)
    quads = np.stack([rows[one], cols[one], rows[two], cols[two]], 1)
    np.testing.assert_array_equal(component_indices("four_point", 4), quads)


@pytest.mark.parametrize("name", OBSERVABLES)
def test_every_observable_has_its_page(name):
    folder = Path(__file__).parent.parent / "docs" / "observables"
    page = (folder / f"{name}.md").read_text(encoding="utf-8")
    assert OBSERVABLES[name].meaning in page
    for part in ("## Formula", "## Measurement", "## Cost", "## Where it stops being valid"):
        assert part in page
    assert f"({name}.md)" in (folder / "README.md").read_text(encoding="utf-8")
