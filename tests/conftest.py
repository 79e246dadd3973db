import pytest

from tests import support


@pytest.fixture(scope="session")
def require():
    """A function: require("torch") is the module, or the test is skipped (in CI, it fails)."""
    return support.require


@pytest.fixture(scope="session")
def data_dir():
    """The folder of real data sets, from WHYDEEP_DATA."""
    return support.data_folder()


@pytest.fixture
def page():
    """A page of a headless Chromium; what the page reports as an error fails the test."""
    executable = support.chromium_path()
    playwright = support.require("playwright.sync_api")
    errors: list[str] = []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("pageerror", lambda error: errors.append(f"exception: {error}"))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("requestfailed", lambda r: errors.append(f"not loaded: {r.url}"))
        yield page
        browser.close()
    assert errors == []
