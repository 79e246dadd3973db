"""Compiled functions: kept where that is possible, announced when numba compiles and only then."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
from whydeep.compiled import njit

@njit(cache=True)
def total(numbers):
    return numbers.sum()

@njit(cache=True)
def largest(numbers):
    return numbers.max()
"""
PROGRAM = """
import importlib.util, sys
import numpy as np
from whydeep import progress
progress._PATIENCE = 0.0  # as if everything took long
{before}
spec = importlib.util.spec_from_file_location({name!r}, {path!r})
made = importlib.util.module_from_spec(spec)
sys.modules[{name!r}] = made
spec.loader.exec_module(made)
print(made.total(np.arange(5.0)), made.largest(np.arange(5.0)))
print(sum(made.total.stats.cache_hits.values()))
"""
NOWHERE = {  # a folder that no user can make, and no other one allowed
    "NUMBA_CACHE_DIR": "/dev/null/folder",
    "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
}


@pytest.fixture
def run(tmp_path):
    """A function: the lines of output and of errors of a process that uses two functions."""
    (tmp_path / "made.py").write_text(MODULE)

    def run(name="whydeep.room.made", before="", **environment):
        code = PROGRAM.format(before=before, name=name, path=str(tmp_path / "made.py"))
        source = str(Path(__file__).parents[1] / "src")
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, "PYTHONPATH": source, "NUMBA_CACHE_DIR": str(tmp_path / "kept"),
                 **environment},
            capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        results, hits = ran.stdout.splitlines()
        assert results == "10.0 4.0"
        return int(hits), ran.stderr.splitlines()

    return run


def test_compiling_is_announced_and_loading_is_not(run):
    assert run() == (0, ["compiling whydeep.room, once on this machine ..."] * 2)
    assert run() == (1, [])


def test_what_others_compile_is_not_announced(run):
    assert run(name="theirs") == (0, [])


def test_without_a_folder_that_can_be_written_it_compiles_and_says_so_once(run):
    """It was "cannot cache function ...: no locator available", at import."""
    hits, said = run(**NOWHERE)
    assert hits == 0
    assert [line for line in said if "NUMBA_CACHE_DIR" in line] == said[:1]
    assert said[1:] == ["compiling whydeep.room, in this process ..."] * 2


def test_a_full_disk_is_no_error(run):
    full = """
from numba.core.caching import IndexDataCacheFile
def save(self, key, data):
    raise OSError(28, "No space left on device")
IndexDataCacheFile.save = save
"""
    hits, said = run(before=full)
    assert hits == 0
    assert len([line for line in said if "NUMBA_CACHE_DIR" in line]) == 1


def test_every_compiled_function_of_the_package_goes_through_one_door():
    """Only `whydeep.compiled` may ask numba to keep what it compiles."""
    package = Path(__file__).parents[1] / "src" / "whydeep"
    for path in package.rglob("*.py"):
        if path.name != "compiled.py":
            text = path.read_text(encoding="utf-8")
            assert "numba import njit" not in text, path
            assert "numba.njit" not in text, path
