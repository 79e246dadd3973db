"""Views as mixed radices, against NumPy's own views of the same numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whydeep.network.torch_reader._layout import REPEAT, Cut, Layout, Mode, refine

DIMS = ((0, 2), (1, 6), (2, 4), (-1, 12))


def factorisation(draw, total):
    """Sizes whose product is `total`, ones among them."""
    sizes = []
    while total > 1:
        size = draw(st.sampled_from([d for d in range(2, total + 1) if total % d == 0]))
        sizes += [1] * draw(st.integers(0, 1)) + [size]
        total //= size
    return sizes


def viewed(data):
    """A tensor's numbers and its layout after the same random views."""
    draw = data.draw
    numbers = np.arange(math.prod(n for _, n in DIMS)).reshape([n for _, n in DIMS])
    layout = Layout.of(DIMS)
    for _ in range(draw(st.integers(0, 7))):
        step = draw(st.sampled_from(["permute", "reshape", "slice", "select", "expand", "merge"]))
        if step == "permute":
            order = draw(st.permutations(range(numbers.ndim)))
            numbers, layout = numbers.transpose(order), layout.permuted(order)
        elif step == "reshape":
            sizes = factorisation(draw, numbers.size)
            try:
                layout = layout.regrouped(sizes)
            except Cut:
                continue
            numbers = numbers.reshape(sizes)
        elif step == "slice" and numbers.ndim:
            axis = draw(st.integers(0, numbers.ndim - 1))
            size = numbers.shape[axis]
            start = draw(st.integers(0, size - 1))
            stride = draw(st.integers(1, 3))
            count = draw(st.integers(1, len(range(start, size, stride))))
            try:
                layout = layout.sliced(axis, start, count, stride)
            except Cut:
                continue
            picked = range(start, start + count * stride, stride)
            numbers = numbers.take(list(picked), axis)
        elif step == "select" and numbers.ndim:
            axis = draw(st.integers(0, numbers.ndim - 1))
            index = draw(st.integers(0, numbers.shape[axis] - 1))
            numbers, layout = numbers.take(index, axis), layout.moved(axis, index)
        elif step == "expand" and numbers.size < 5000:
            shape = [3 if n == 1 else n for n in (1, *numbers.shape)]
            numbers, layout = np.broadcast_to(numbers, shape), layout.expanded(shape)
        elif step == "merge":
            layout = layout.simplified()
    return numbers, layout


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_layouts_follow_views_exactly(data):
    numbers, layout = viewed(data)
    assert layout.shape == numbers.shape
    np.testing.assert_array_equal(layout.flat(DIMS), numbers)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whole_is_a_bijection(data):
    numbers, layout = viewed(data)
    if all(layout.whole(dim, size) for dim, size in DIMS) and REPEAT not in {
        m.dim for m in layout.modes
    }:
        assert np.array_equal(np.sort(numbers.ravel()), np.arange(numbers.size))
        assert numbers.size == math.prod(n for _, n in DIMS)


def test_refining_cuts_axes_at_common_places():
    one = (Mode(12, 1, 1),)
    two = (Mode(3, 2, 1), Mode(4, -1, 1))
    repeated = (Mode(12, REPEAT, 0),)
    cells = refine([one, two, repeated])
    assert cells[0] == (Mode(3, 1, 4), Mode(4, 1, 1))
    assert cells[1] == two
    assert [m.size for m in cells[2]] == [3, 4]


def test_what_does_not_divide_is_cut():
    with pytest.raises(Cut):
        refine([(Mode(3, 1, 1), Mode(4, 2, 1)), (Mode(4, 1, 1), Mode(3, 2, 1))])
    with pytest.raises(Cut):
        Layout.of([(1, 6), (2, 4)]).regrouped([4, 6])
