"""Figures that can be read: series told apart, labels that do not overlap, tables on a phone."""

import numpy as np
import pytest

from tests.geometry.pieces.support import AXES, drawn
from whydeep.errors import InputError
from whydeep.experiments import Check, Curve, Findings, Panel, Result
from whydeep.geometry import regions
from whydeep.report import _partition, write_experiment, write_partition
from whydeep.report._experiment import _plot
from whydeep.report._figure import log_axis

X = np.array([1.0, 2.0, 4.0])
CURVES = (
    Curve("theory", X, X),
    *(Curve(f"n = {16 * k}", X, k * X, "measured", 0.1 * X, k) for k in (1, 2, 3)),
    Curve("continued", X, X, "measured", 0.1 * X),
)


def test_no_two_things_of_a_picture_share_colour_and_marker():
    """The widest network's points and those continued to 1/n = 0 did."""
    (figure,) = _plot(Panel("", "", "x", "y", CURVES)).figures
    seen = [(d["marker"]["color"], d["marker"]["symbol"]) for d in figure["data"] if "marker" in d]
    assert len(set(seen)) == len(seen) == 4
    assert len({symbol for _, symbol in seen}) == 4  # in print, without colours


@pytest.mark.parametrize("decades", [0.3, 1.0, 1.9, 3.0, 12.0, 80.0])
def test_labels_of_logarithmic_axes_are_few(decades):
    """One to six of them in sight, for any span."""
    values = 10.0 ** np.linspace(-0.35, decades - 0.35, 50)
    found = log_axis("K", [*values, -1.0, 0.0, np.nan])
    low, high = values.min(), values.max()
    if "dtick" in found:
        shown = decades / found["dtick"]
    else:
        shown = sum(low <= tick <= high for tick in found["tickvals"])
    assert 1 <= shown <= 6


def result():
    checks = tuple(Check(f"a claim of some words, {k}", 1.0, 1.01, 0.02) for k in range(3))
    panel = Panel("Title", "Summary.", "x", "y", CURVES, log_x=True, log_y=True)
    return Result("name", "title", "claim", "source", Findings(checks, (panel,), "lead"), 0, 1.0)


@pytest.mark.browser
def test_a_table_can_be_read_on_a_phone(page, tmp_path):
    """Every cell is in sight, with the name of its column, and nothing has to be scrolled to."""
    path = write_experiment(tmp_path / "page.html", result())
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-drawn=yes]")
    places = page.evaluate(
        "[...document.querySelectorAll('tbody tr:first-child td')].filter(td => td.clientWidth)"
        ".map(td => [td.getBoundingClientRect().right, td.dataset.label])"
    )
    assert len(places) >= 5
    assert all(right <= 390 and label for right, label in places)
    assert page.evaluate("document.querySelector('.scroll').scrollWidth") <= 390


def test_inputs_are_marked_at_their_feet():
    plane = regions(drawn([12]), *AXES).plane
    origin, u, v = (np.asarray(a, np.float64).reshape(-1) for a in AXES)
    off = np.linalg.svd(np.stack([u, v]))[2][-1]  # at right angles to the plane
    inputs = np.stack([origin + 0.3 * u - 0.6 * v, origin + 0.25 * off])
    inside, outside = _partition._marks(plane, inputs)
    assert inside == pytest.approx([0.3, -0.6, 0.0], abs=1e-6)
    if origin.size > 2:
        assert outside == pytest.approx([0.0, 0.0, 0.25], abs=1e-6)
    with pytest.raises(InputError, match="can't be marked"):
        _partition._marks(plane, np.ones((1, origin.size + 1)))


@pytest.mark.browser
def test_axes_and_marks_are_drawn(page, tmp_path):
    found = regions(drawn([12]), *AXES)
    inputs = np.asarray(AXES[0], np.float64).reshape(1, -1) + 0.4 * np.asarray(AXES[1]).reshape(-1)
    path = write_partition(tmp_path / "regions.html", found, inputs=inputs)
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-drawn=yes]")
    page.evaluate(
        "window.told = []; const old = pen.fillText.bind(pen);"
        "pen.fillText = (text, x, y) => { told.push(text); old(text, x, y); }; show()"
    )
    told = page.evaluate("told")
    assert {"s", "t", "input 0", "0.5", "-0.4"} <= set(told)
