"""What tests share: optional parts are skipped on a desk, and are a failure in CI."""

import importlib
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest
from beartype import BeartypeConf, beartype

# A whole number is a number: ``float`` in an annotation takes an int (PEP 484's numeric tower).
typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True))

IN_CI = os.environ.get("CI", "").lower() == "true"
LEFT_OUT = frozenset(os.environ.get("WHYDEEP_TESTS_WITHOUT", "").split())
"""Modules that a lane goes without, and says so: their tests are skipped in CI too."""


def missing(what: str, remedy: str) -> NoReturn:
    """Skip the test that needs `what`; with CI=true, fail it."""
    sentence = f"{what} is missing: {remedy}"
    if IN_CI and not any(f"module {name}" in what for name in LEFT_OUT):
        pytest.fail(f"{sentence} (with CI=true nothing may be missing)", pytrace=False)
    pytest.skip(sentence, allow_module_level=True)


def require(module: str) -> ModuleType:
    """Import an optional module, in a test or at the top of a test file."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and something inside it is broken
        missing(f"the module {module}", "pip install 'whydeep[test,torch]'")


def data_folder() -> Path:
    """The folder of real data sets, from WHYDEEP_DATA."""
    value = os.environ.get("WHYDEEP_DATA")
    if not value:
        missing("the folder of real data", "set WHYDEEP_DATA to it")
    folder = Path(value).expanduser().resolve()
    if not folder.is_dir():
        missing(f"the folder of real data WHYDEEP_DATA={value}", "name a folder that exists")
    return folder


def chromium_path() -> str:
    """The program that shows a page: Debian's chromium, or whatever has its name elsewhere."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    missing("Chromium", "install your system's chromium package")
