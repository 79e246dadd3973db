"""The page of a partition in a browser: it draws, zooms, tells of regions, and stays responsive."""

import numpy as np
import pytest

from tests.geometry.pieces.support import AXES, drawn
from whydeep.geometry import decision_regions, regions
from whydeep.report import write_partition

pytestmark = pytest.mark.browser


def opened(page, found, tmp_path):
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    path = write_partition(tmp_path / "regions.html", found, title="<b> & pieces")
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-drawn=yes]")
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    return page


def pixel(page, x, y):
    return page.evaluate(
        f"[...document.getElementById('plane').getContext('2d').getImageData({x}, {y}, 1, 1).data]"
    )


def test_classes_are_drawn_where_they_are_and_told(page, tmp_path):
    found = decision_regions(drawn([12], outputs=3, bias=0.5, seed=4), *AXES)
    page = opened(page, found, tmp_path)
    assert page.title() == "<b> & pieces"
    page.uncheck("#lines")
    size = page.evaluate("[plane.width, plane.height, view.scale]")
    shades = ["#3b76c4", "#d4722c", "#3c9a5f"]
    cells = np.argsort(found.areas)[-6:]
    for cell in cells:
        s, t = found.middles[cell]
        x, y = size[0] / 2 + size[2] * s, size[1] / 2 - size[2] * t
        expected = [int(shades[found.classes[cell]][i : i + 2], 16) for i in (1, 3, 5)]
        assert pixel(page, int(x), int(y))[:3] == expected
        page.locator("#plane").hover(position={"x": x, "y": y})
        assert f"Region {cell}:" in page.inner_text("#told")
        assert f"class {found.classes[cell]}" in page.inner_text("#told")
    assert page.locator("#legend li").count() == len(np.unique(found.classes))


def test_it_zooms_and_moves_and_comes_back(page, tmp_path):
    page = opened(page, regions(drawn([12]), *AXES), tmp_path)
    before = page.evaluate("view.scale")
    page.locator("#plane").focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("view.scale") == pytest.approx(1.4 * before)
    assert page.evaluate("view.x") > 0
    page.mouse.move(400, 400)
    page.mouse.wheel(0, -200)
    page.wait_for_function(f"view.scale > {1.5 * before}")
    page.click("#whole")
    assert page.evaluate("view.scale") == pytest.approx(before)
    page.check("input[value=layer]")
    assert "layer 1 (relu)" in page.inner_text("#legend")


def test_a_hundred_thousand_regions_stay_responsive(page, tmp_path):
    found = regions(drawn([450], bias=1.0), *AXES, window=(-1e3, 1e3, -1e3, 1e3))
    assert found.count > 100_000
    page = opened(page, found, tmp_path)
    page.evaluate("whole()")
    # On software rendering and shared processors; a frame while moving only moves the last picture.
    assert int(page.evaluate("document.body.dataset.milliseconds")) < 10_000
    start = page.evaluate("performance.now()")
    page.evaluate("for (let i = 0; i < 10; i++) show()")
    assert page.evaluate("performance.now()") - start < 2_000
