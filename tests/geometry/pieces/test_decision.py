"""Decision regions, and statistics of partitions that are not held."""

import tracemalloc

import numpy as np
import pytest

from tests.geometry.pieces.support import AXES, check_maps, drawn
from whydeep.errors import InputError
from whydeep.geometry import (
    PiecewiseLinear,
    decision_regions,
    plane,
    region_statistics,
    regions,
)
from whydeep.geometry.partition import _work


def test_every_cell_has_one_class_and_the_boundary_is_where_two_are_equal():
    f = drawn([20, 20], outputs=4, bias=0.3, seed=2)
    found = decision_regions(f, *AXES)
    values = f(found.middles)
    np.testing.assert_array_equal(found.classes, values.argmax(axis=1))
    assert len(np.unique(found.classes)) > 1
    ends = np.sort(f(found.boundary.reshape(-1, 2)), axis=1)
    assert np.abs(ends[:, -1] - ends[:, -2]).max() < 1e-12
    assert abs(found.class_areas().sum() - 4) < 1e-12
    check_maps(found)


def test_the_cells_without_the_decision_are_the_activation_cells():
    f = drawn([20, 20], outputs=3, bias=0.3)
    plain, cut = regions(f, *AXES), decision_regions(f, *AXES)
    words = f.words[-1]
    merged = {}
    for pattern, area in zip(map(bytes, cut.patterns[:, :words]), cut.areas, strict=True):
        merged[pattern] = merged.get(pattern, 0.0) + area
    expected = dict(zip(map(bytes, plain.patterns), plain.areas, strict=True))
    assert merged.keys() == expected.keys()
    assert max(abs(merged[p] - a) for p, a in expected.items()) < 1e-13


def test_no_cell_holds_two_classes_on_a_grid():
    f = drawn([12, 12], outputs=5, bias=0.5, seed=4)
    found = decision_regions(f, *AXES)
    t = (np.arange(200) + 0.5) / 100 - 1
    points = np.stack(np.meshgrid(t, t), axis=-1).reshape(-1, 2)
    areas = np.bincount(f(points).argmax(axis=1), minlength=5) * 1e-4
    # a boundary of length l passes through at most some l / h squares of area h^2
    length = np.linalg.norm(np.diff(found.boundary, axis=1), axis=-1).sum() / 2
    assert np.abs(areas - found.class_areas()).max() < 0.01 * (length + 8)


def test_one_output_decides_by_its_sign():
    f = drawn([15], bias=0.3)
    found = decision_regions(f, *AXES)
    np.testing.assert_array_equal(found.classes, f(found.middles)[:, 0] > 0)
    shape = PiecewiseLinear(f.shape, (1, 1, 1), f.maps, f.kinks)
    with pytest.raises(InputError, match="one dimension"):
        decision_regions(shape, *AXES)


def test_a_classifier_of_digits_trained_in_torch(require):
    torch = require("torch")
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 50), torch.nn.ReLU(), torch.nn.Linear(50, 50), torch.nn.ReLU(),
        torch.nn.Linear(50, 10),
    )  # fmt: skip
    data, target = torch.as_tensor(x / 16, dtype=torch.float32), torch.as_tensor(y)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(data), target).backward()
        optimiser.step()
    images = [x[int(np.flatnonzero(y == k)[0])] / 16 for k in (0, 1, 8)]
    origin, u, v, window = plane(*images)
    found = decision_regions(model, origin, u, v, window)
    with torch.no_grad():
        expected = model.double()(torch.as_tensor(found.plane.inputs(found.middles))).argmax(dim=1)
    np.testing.assert_array_equal(found.classes, expected.numpy())
    assert {0, 1, 8} <= set(found.classes.tolist())
    assert abs(found.areas.sum() / ((window[1] - window[0]) * (window[3] - window[2])) - 1) < 1e-12


def test_statistics_are_those_of_the_partition_that_is_held():
    f = drawn([30, 30], bias=0.3)
    held, streamed = regions(f, *AXES), region_statistics(f, *AXES)
    assert streamed.count == held.count
    assert streamed.area == pytest.approx(4.0, rel=1e-12)
    assert streamed.area_squares == pytest.approx(held.areas @ held.areas, rel=1e-12)
    assert streamed.mean_edges == pytest.approx(len(held.vertices) / held.count, rel=1e-12)
    assert streamed.area_decades.sum() == held.count == streamed.edges.sum()
    for layer in range(2):
        edges = held.edges(layer)
        length = np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1).sum() / 2
        assert streamed.lengths[layer] == pytest.approx(length, rel=1e-12)


def test_memory_does_not_grow_with_the_number_of_regions(monkeypatch):
    # parts small enough that even the smaller partition takes many of them
    monkeypatch.setattr(_work, "_PART", 64)
    monkeypatch.setattr(_work, "_BUDGET", 1 << 18)
    peaks = []
    for window in ((-0.3, 0.3, -0.3, 0.3), (-1, 1, -1, 1)):
        f = drawn([60, 60, 60], bias=1.0)
        region_statistics(f, *AXES, window=(0, 0.01, 0, 0.01))  # what is compiled or imported once
        tracemalloc.start()
        count = region_statistics(f, *AXES, window=window).count
        peaks.append((count, tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()
    assert peaks[1][0] > 5 * peaks[0][0] > 5 * 500
    assert peaks[1][1] < 2 * peaks[0][1]
