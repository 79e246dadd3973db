"""Promises of the package as a whole, none of them about a number."""

import os
import subprocess
import sys
from importlib import resources

import pytest


def run_python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


HEAVY = ("jax", "torch", "scipy", "sklearn", "xarray", "plotly")


@pytest.mark.parametrize("module", ["whydeep", "whydeep.cli"])
def test_import_brings_in_nothing_heavy(module):
    loaded = run_python(f"import sys, {module}; print(*[m for m in {HEAVY} if m in sys.modules])")
    assert loaded == ""


@pytest.mark.lanes
def test_using_every_room_leaves_the_global_settings_of_jax_alone():
    code = """
import importlib, pkgutil, jax
before = dict(jax.config.values)
import whydeep
for room in pkgutil.walk_packages(whydeep.__path__, "whydeep."):
    if not room.name.endswith("__main__"):
        importlib.import_module(room.name)
after = dict(jax.config.values)
print({k: (before[k], after[k]) for k in before if before[k] != after[k]})
"""
    assert run_python(code) == "{}"


@pytest.mark.lanes
def test_this_process_has_the_precision_it_was_started_with():
    import jax

    import whydeep  # noqa: F401

    started_with = os.environ.get("JAX_ENABLE_X64", "0").lower() in {"1", "true"}
    assert bool(jax.config.jax_enable_x64) is started_with


def test_annotations_are_checked_at_run_time_in_these_tests():
    import whydeep

    assert "jaxtyping" in type(whydeep.__loader__).__module__


def test_the_package_says_that_it_is_typed():
    assert resources.files("whydeep").joinpath("py.typed").is_file()


def test_every_name_of_the_stub_is_found_and_listed():
    import whydeep

    for name in whydeep.__all__:
        assert getattr(whydeep, name).__name__.split(".")[-1] == name
    assert dir(whydeep) == sorted(whydeep.__all__)
    with pytest.raises(AttributeError, match="preddict"):
        whydeep.preddict  # noqa: B018
