"""Seconds to the first answer: every public function and class at its documented example.

Each example of a docstring runs in processes of its own, counted from the start of the interpreter:

- **cold**: nothing was ever compiled (an empty cache of compiled code);
- **second**: a new process, with the cache that the first one left;
- **warm**: the same example once more in that second process.

What a second process pays is the interpreter, imports, and JAX's tracing and compiling, which no
cache keeps by default. Nothing is compared with another program here: what counts is what a person
waits for.

    python benchmarks/first_answer.py                  the table, slowest first
    python benchmarks/first_answer.py --write          and docs/benchmarks/first_answer.md
    python benchmarks/first_answer.py --only kernel    one name
"""

from __future__ import annotations

import argparse
import doctest
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

from _page import load_average, machine, markdown, show, versions_of, write_page

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "first_answer.md"
AIM = 5.0  # seconds, in a second process
ROOMS = ("whydeep", "whydeep.geometry", "whydeep.data")
LONGEST = 600  # seconds that an example may take


def examples():
    """Names of rooms and public objects that have an example, each object once."""
    found = {}
    finder = doctest.DocTestFinder(recurse=False)
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in sorted(getattr(module, "__all__", None) or vars(module)):
            value = getattr(module, name)
            if name.startswith("_") or not callable(value):
                continue
            if any(test.examples for test in finder.find(value, name, module=False)):
                found.setdefault(id(value), (room, name))
    return list(found.values())


def child(room, name):
    """Run an example twice; print the seconds since the process began, and those of the second."""
    import numpy as np

    import whydeep as wd

    value = getattr(importlib.import_module(room), name)
    test = doctest.DocTestFinder(recurse=False).find(value, name, module=False)[0]
    given = {**vars(importlib.import_module(value.__module__)), "wd": wd, "np": np, "whydeep": wd}
    if any("jax." in example.source or "jnp." in example.source for example in test.examples):
        import jax

        given |= {"jax": jax, "jnp": jax.numpy}

    def answer():
        names = dict(given)
        for example in test.examples:
            exec(compile(example.source, name, "single"), names)  # noqa: S102 -- our own docstrings

    sys.displayhook = lambda _: None
    with redirect_stdout(io.StringIO()):
        answer()
        first = time.time() - float(os.environ["WHYDEEP_STARTED"]), time.process_time()
        wall, cpu = time.perf_counter(), time.process_time()
        answer()
        warm = time.perf_counter() - wall, time.process_time() - cpu
    modules = ("jax", "numpy", "numba")
    versions = {m: sys.modules[m].__version__ for m in modules if m in sys.modules}
    print(json.dumps({"first": first, "warm": warm, "versions": versions}))


def run(room, name, cache):
    """What a child said, or its error's last line."""
    environment = os.environ | {
        "NUMBA_CACHE_DIR": cache,
        "JAX_PLATFORMS": "cpu",
        "WHYDEEP_STARTED": repr(time.time()),
    }
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, __file__, "--child", room, name],
        env=environment, capture_output=True, text=True, check=False, timeout=LONGEST,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{room}.{name}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(only):
    """One entry a name: cold, second and warm, each wall and processor seconds."""
    chosen = [(room, name) for room, name in examples() if only in (None, name)]
    if not chosen:
        raise SystemExit(f"No public name with an example is called {only!r}.")
    entries = []
    for place, (room, name) in enumerate(chosen, 1):
        with tempfile.TemporaryDirectory() as cache:
            cold, second = run(room, name, cache), run(room, name, cache)
        full = f"{room.replace('whydeep', 'wd')}.{name}"
        entries.append(
            {"name": full, "cold": cold["first"], "second": second["first"],
             "warm": second["warm"], "versions": second["versions"]}
        )  # fmt: skip
        seconds = (cold["first"][0], second["first"][0], second["warm"][0])
        print(f"{place}/{len(chosen)} {full}:", *(f"{s:.3g}" for s in seconds), "s", flush=True)
    return sorted(entries, key=lambda entry: -entry["second"][0])


def main():
    """The table, and the page where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=2, help="room and name (for children)")
    parser.add_argument("--only", help="one name")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    before = os.getloadavg()[0]
    entries = measure(options.only)
    head = ("example of", "cold", "processor", "second", "processor", "warm")
    rows = [
        (f"`{e['name']}`", *(f"{s:.2f}" for s in (*e["cold"], *e["second"])), f"{e['warm'][0]:.3f}")
        for e in entries
    ]
    show(head, rows, "seconds to the first answer")
    late = sum(e["second"][0] > AIM for e in entries)
    said = f"{late} of {len(entries)} take more than {AIM:g} s in a second process."
    print(said)
    if options.write:
        versions = versions_of([entry["versions"] for entry in entries])
        lines = [
            "# Seconds to the first answer", "",
            "Every public name at the example of its docstring, from the start of the interpreter:",
            "cold (nothing was ever compiled), in a second process, and once more in that process.",
            "JAX's own cache of compiled programs is off, as it comes; a user may switch it on",
            "(`JAX_COMPILATION_CACHE_DIR`).", "",
            *markdown(head, rows), "", said, "",
            f"{machine()}, {versions}; {load_average(before)}.",
            "", "Again: `python benchmarks/first_answer.py --write`.", "",
        ]  # fmt: skip
        write_page(PAGE, "\n".join(lines))


if __name__ == "__main__":
    main()
