"""Runs before anything imports whydeep: every annotation becomes a run-time check in the tests.

pytest reads this file first in the main process and in each worker, before it collects tests or
doctests, so the hook sees every module of the package.
"""

import sys

from jaxtyping import install_import_hook

import tests.support  # noqa: F401 -- the hook names its `typechecked`

if "whydeep" in sys.modules:
    msg = "whydeep was imported before the run-time type checks were installed: see conftest.py"
    raise RuntimeError(msg)

install_import_hook("whydeep", "tests.support.typechecked")
