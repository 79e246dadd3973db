"""The report in a browser: it draws, follows the reader's scheme, and asks nobody for anything."""

import pytest

from whydeep.report import write_report

pytestmark = pytest.mark.browser


@pytest.fixture
def opened(page, relu, tmp_path):
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    path = write_report(tmp_path / "report.html", *relu, command="whydeep verify --depth 2")
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-drawn=yes]")
    yield page
    assert {url.split(":")[0] for url in requests} <= {"file", "data", "blob"}
    assert [url for url in requests if url.startswith("file:")] == [path.as_uri()]


def test_figures_are_drawn_with_points_and_lines(opened):
    assert opened.locator(".js-plotly-plot").count() == 4 + 3 + 2
    for group in ("kernels", "ladder", "density"):
        assert opened.locator(f"#{group} .scatterlayer .point").count() > 0
        assert opened.locator(f"#{group} .scatterlayer .js-line").count() > 0


def test_a_choice_redraws_its_group(opened):
    kernels = opened.locator("#kernels")
    assert kernels.locator("text=different inputs").first.is_visible()
    kernels.get_by_role("button", name="pairs of inputs").click()
    assert kernels.locator("text=inputs 0, 1").first.is_visible()
    assert kernels.locator("text=different inputs").count() == 0


def test_colours_follow_the_scheme(opened):
    def ink():
        return opened.evaluate("document.querySelector('#kernels .xtick text').style.fill")

    opened.emulate_media(color_scheme="light")
    light = ink()
    opened.emulate_media(color_scheme="dark")
    opened.wait_for_function(
        "light => document.querySelector('#kernels .xtick text').style.fill !== light", arg=light
    )
    assert ink() != light


def test_a_phone_need_not_scroll_sideways(opened):
    opened.set_viewport_size({"width": 390, "height": 844})
    opened.wait_for_function(
        "[...document.querySelectorAll('.plot .main-svg')].every(s => s.clientWidth < 390)"
    )
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
