"""What compiled loops are told about their arrays: same numbers, and vectors."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from numba import njit

from whydeep.theory.infinite.conv import _disjoint
from whydeep.theory.infinite.conv._disjoint import accessors, borrowed, source_version
from whydeep.theory.infinite.conv._layout import make_plan
from whydeep.theory.infinite.conv._levels import ConvStep, HomogeneousStep, ReadoutStep
from whydeep.theory.infinite.conv._passes import rectify


def loop_over_many_arrays(*, hint):
    read, write = accessors("test", hint=hint)

    @njit(error_model="numpy")
    def loop(a, b, c, d, e, f, g, x, y, n):
        for i in range(n):
            total = read(a, i) + read(b, i) + read(c, i) + read(d, i) + read(e, i) + read(f, i)
            write(x, i, np.sqrt(total))
            write(y, i, total * read(g, i + 1))

    return loop


def run(loop, dtype):
    rng = np.random.default_rng(0)
    arrays = [rng.random(101).astype(dtype) for _ in range(7)]
    outputs = [np.zeros(100, dtype) for _ in range(2)]
    loop(*arrays, *outputs, 100)
    total = sum(a[:100] for a in arrays[:6])
    return outputs, (np.sqrt(total), total * arrays[6][1:])


@pytest.mark.parametrize("hint", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_do_not_depend_on_the_hint(hint, dtype):
    outputs, expected = run(loop_over_many_arrays(hint=hint), dtype)
    for out, want in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(out, want, rtol=8 * np.finfo(dtype).eps)


def test_the_activation_is_vectorised():
    # If this fails with another numba or llvmlite, the convolution is correct and slow.
    steps = (ConvStep(3, 2.0, 0.0, 2.0, 0.0), HomogeneousStep((0.0, 1.0)))
    plan = make_plan((*steps, ReadoutStep("flatten", 1.0, 0.0, 1.0, 0.0)), 8, 8, 1, np.float32)
    work = np.zeros(100, np.float32)

    @njit(fastmath={"contract"})
    def activate(work, operations):
        rectify(work, 0, 20, 16, work, 40, 60, 10, operations[0], work.dtype.type(0.0))

    activate(work, plan.operations)
    (code,) = activate.inspect_llvm().values()
    assert "alias.scope" in code
    assert re.search(r"sqrt\.v\d+f32", code)


def test_a_borrowed_array_is_the_same_array():
    @njit
    def double(a):
        view = borrowed(a)
        for i in range(view.size):
            view[i] *= 2.0
        return view.shape[0]

    a = np.arange(5.0)
    assert double(a) == 5
    np.testing.assert_array_equal(a, 2 * np.arange(5.0))


def test_version_changes_with_the_files(monkeypatch, tmp_path):
    monkeypatch.setattr(_disjoint, "__file__", str(tmp_path / "_disjoint.py"))
    assert source_version("a.py") == 1
    (tmp_path / "a.py").write_text("x = 1")
    first = source_version("a.py")
    (tmp_path / "a.py").write_text("x = 2")
    assert len({1, first, source_version("a.py")}) == 3


@pytest.mark.parametrize(
    "call", ["read(numbers, 3)", "read(numbers, -1)", "write(numbers, 3, 1.0)"]
)
def test_with_numbas_checks_an_index_outside_is_seen(call, tmp_path):
    """They skip these reads and writes, as they are no indexing to numba."""
    code = f"""
import numpy as np
from whydeep.compiled import njit
from whydeep.theory.infinite.conv._disjoint import accessors
read, write = accessors("test")
@njit
def run(numbers):
    {call}
    return 0
try:
    run(np.zeros(3))
except IndexError:
    print("seen")
"""
    path = tmp_path / "program.py"
    path.write_text(code)
    ran = subprocess.run(
        [sys.executable, str(path)], env={**os.environ, "NUMBA_BOUNDSCHECK": "1"},
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert ran.stdout.strip() == "seen", ran.stderr
