import itertools
import sys
from pathlib import Path

import pytest

from tests import support

_MOST_MAPPINGS = 25_000  # Linux gives a process 65,530
_TESTS = itertools.count(1)


@pytest.fixture(autouse=True)
def _few_compiled_functions():
    """Forget compiled functions before a process has too many.

    Every function that JAX has compiled keeps three memory mappings, and a process that has run out
    of mappings crashes; thousands of tests compile tens of thousands.
    """
    yield
    mappings, jax = Path("/proc/self/maps"), sys.modules.get("jax")
    if next(_TESTS) % 20 == 0 and jax is not None and mappings.exists():
        with mappings.open("rb") as lines:
            count = sum(1 for _ in lines)
        if count > _MOST_MAPPINGS:
            jax.clear_caches()


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
