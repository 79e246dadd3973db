"""x^2 by depth and by width: exact pieces, exact errors."""

import numpy as np
import pytest

from whydeep.errors import InputError
from whydeep.geometry import breakpoints, from_layers
from whydeep.geometry.counts import (
    deep_square,
    interpolant,
    shallow_square,
    square_error,
    square_table,
)

ENDS = np.zeros(1), np.ones(1)


@pytest.mark.parametrize("levels", [1, 2, 3, 6, 10])
def test_sums_of_sawtooths_interpolate(levels):
    f = deep_square(levels)
    assert sum(kink.columns for kink in f.kinks) == 3 * levels - 1
    assert len(f.kinks) == levels
    knots = np.arange(2**levels + 1) / 2**levels  # dyadic, so that all sums are exact
    np.testing.assert_array_equal(f(knots[:, None])[:, 0], knots**2)
    found = breakpoints(f, *ENDS)
    np.testing.assert_array_equal(found.linear_positions, knots[1:-1])
    assert square_error(f) == 2.0 ** (-2 * levels - 2)


@pytest.mark.parametrize("pieces", [1, 2, 7, 40])
def test_one_layer_errs_by_one_over_eight_squares(pieces):
    f = shallow_square(pieces)
    assert breakpoints(f, *ENDS).linear_count == pieces
    assert square_error(f) == pytest.approx(1 / (8 * pieces**2), rel=1e-10)
    assert square_error(interpolant(np.square, pieces)) == pytest.approx(
        1 / (4 * pieces**2), rel=1e-10
    )


def test_no_placing_of_knots_does_better():
    """Interpolants with moved knots, each raised or lowered as suits it best."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        knots = np.sort(np.concatenate([[0, 1], generator.uniform(size=5)]))
        # by hand: half of the error of interpolation, a quarter of the longest piece's square
        own = np.diff(knots).max() ** 2 / 4
        slopes = knots[1:] + knots[:-1]
        weights = [np.ones((6, 1)), np.diff(slopes, prepend=0.0)[None]]
        f = from_layers(weights, [-knots[:-1], np.array([-own / 2])])
        assert square_error(f) == pytest.approx(own / 2, rel=1e-9)
        assert square_error(f) >= square_error(shallow_square(6))


def test_the_error_of_any_function_by_a_fine_grid():
    generator = np.random.default_rng(1)
    f = from_layers(
        [generator.normal(size=(8, 1)), generator.normal(size=(1, 8))],
        [generator.normal(size=8), np.zeros(1)],
    )
    x = np.linspace(0, 1, 200_001)[:, None]
    seen = np.abs(f(x)[:, 0] - x[:, 0] ** 2).max()
    # between points of the grid the difference moves by at most the largest slope times 5e-6 / 2
    slope = np.abs(breakpoints(f, *ENDS).slopes).max() + 2
    assert seen <= square_error(f) * (1 + 1e-12) <= seen + slope * 2.5e-6 + 1e-12


def test_depth_wins_exponentially_and_width_as_a_square():
    found = square_table(9)
    np.testing.assert_array_equal(found.units, 3 * np.arange(1, 10) - 1)
    np.testing.assert_array_equal(found.deep_pieces, 2 ** np.arange(1, 10))
    np.testing.assert_array_equal(found.shallow_pieces, found.units)
    np.testing.assert_allclose(found.deep_error[1:] / found.deep_error[:-1], 0.25, rtol=1e-12)
    np.testing.assert_allclose(8 * found.units**2 * found.shallow_error, 1, rtol=1e-9)
    assert (found.deep_error < found.shallow_error)[3:].all()
    assert (found.deep_error > found.shallow_error)[:3].all()
    assert len(str(found).splitlines()) == 10


def test_square_refusals():
    for make in (deep_square, shallow_square, square_table):
        with pytest.raises(InputError):
            make(0)
    with pytest.raises(InputError, match=r"levels is too large[^§]*levels=21[^§]*from 1 to 20$"):
        square_table(21)
    with pytest.raises(InputError, match="one number"):
        square_error(from_layers([np.eye(2), np.ones((1, 2))], [np.zeros(2), np.zeros(1)]))
