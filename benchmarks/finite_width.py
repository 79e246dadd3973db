"""All tensors of first order in 1/width: how long they take, and next to scipy's cubature.

``whydeep.predict(net, x, order=1, observables="all")``: kernel, tangent kernel, V, their
corrections, A, B, D, F, P, Q, R, S, T and U at every layer. Two parts:

- two inputs and three layers, tanh and gelu; eight inputs and depth 10, tanh: time, and the largest
  error relative to the largest entry of a tensor at a layer, as the library states it;
- the same recursions written out plainly (`_tensor_reference`), every mean a two-dimensional
  integral by ``scipy.integrate.cubature`` (many points at once) or ``scipy.integrate.nquad`` (point
  by point) at relative tolerances 1e-3 and 1e-6, all tensors of two inputs and three layers; and
  how far the results are apart.

Times are processor time of one process, since others may share the machine; wall time beside it.

    python benchmarks/finite_width.py            the tables
    python benchmarks/finite_width.py --write    and docs/benchmarks/finite_width.md
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
from _page import load_average, machine, markdown, show, write_page
from _tensor_reference import TanhDerivatives, by_cubature, by_nquad, recursion

import whydeep as wd
from whydeep.observables import OBSERVABLES

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "finite_width.md"
X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1]])
REPEATS = 21
NEWLINE = "\n"


def network(activation="tanh"):
    return wd.mlp(
        2, 32, activation, weight_var=1.4, bias_var=0.1,
        bias_lr=(0.5, 0.7, 1.1), weight_lr=(1.0, 0.8, 1.3),
    )  # fmt: skip


def eight_inputs():
    x = np.random.default_rng(0).normal(size=(8, 10))
    return x * np.sqrt(10) / np.linalg.norm(x, axis=1, keepdims=True)


def timed(call):
    """What a call returns, its wall time and its processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    out = call()
    return out, time.perf_counter() - wall, time.process_time() - cpu


def stated_error(predicted):
    """The largest error over tensors and layers, relative to the tensor's largest entry there."""
    worst = 0.0
    for name, values in predicted.items():
        for value, error in zip(values.values, predicted.tolerance[name].values, strict=True):
            if value.any():
                worst = max(worst, float(error.max() / np.abs(value).max()))
    return worst


def times():
    cases = [
        ("2 inputs, 3 layers, tanh", network("tanh"), X, REPEATS),
        ("2 inputs, 3 layers, gelu", network("gelu"), X, REPEATS),
        ("8 inputs, depth 10, tanh", wd.mlp(10, 64, "tanh"), eight_inputs(), 1),
    ]
    rows = []
    for title, net, x, repeats in cases:
        run = functools.partial(wd.predict, net, x, observables="all")
        if repeats > 1:
            _, first, _ = timed(run)
            note = f"{first:.2f} s"
        else:
            note = "compiled before"
        runs = [timed(run) for _ in range(repeats)]
        wall, cpu = (median(r[k] for r in runs) for k in (1, 2))
        error = stated_error(runs[0][0])
        rows.append([title, note, f"{wall:.3g} s", f"{cpu:.3g} s", f"{error:.0e}"])
    return rows


def apart(predicted, reference, names):
    """The largest difference, relative to the tensor's largest entry at that layer."""
    worst = 0.0
    for name in names:
        for value, layer in zip(predicted[name].values, reference, strict=True):
            size = np.abs(value).max()
            if size > 0:
                worst = max(worst, float(np.abs(value - layer[name]).max() / size))
    return worst


def side_by_side():
    net = network()
    names = [name for name, o in OBSERVABLES.items() if o.order == 1]
    run = functools.partial(wd.predict, net, X, observables="all")
    predicted = run()
    rows = []
    for title, rule in (("cubature", by_cubature), ("nquad", by_nquad)):
        for rtol in (1e-3, 1e-6):
            ours = median(timed(run)[2] for _ in range(REPEATS))
            plain = functools.partial(
                recursion, net, X, TanhDerivatives, functools.partial(rule, rtol=rtol)
            )
            reference, _, theirs = timed(plain)
            rows.append(
                [
                    title, f"{rtol:.0e}", f"{theirs:.3g} s", f"{ours:.3g} s",
                    f"{theirs / ours:,.0f}", f"{apart(predicted, reference, names):.0e}",
                ]
            )  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the page")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    time_head = ["task", "first call", "wall", "processor", "stated error"]
    side_head = ["scipy", "rtol", "scipy's time", "whydeep's", "ratio", "apart by"]
    time_rows = times()
    show(time_head, time_rows, "All tensors of first order")
    side_rows = side_by_side()
    show(side_head, side_rows, "Two inputs, three layers, tanh: processor time")
    if options.write:
        write_page(PAGE, page(time_head, time_rows, side_head, side_rows, before))


def page(time_head, time_rows, side_head, side_rows, before):
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "jax", "numba"))
    return f"""# Tensors of first order in 1/width

`python benchmarks/finite_width.py --write` made this page.

All tensors are what `predict(net, x, order=1, observables="all")` returns: kernel, tangent kernel,
V, both corrections, A, B, D, F, P, Q, R, S, T and U at every layer. The first call compiles; of the
small tasks the median of {REPEATS} calls, with new means each time. The stated error is the
library's own, relative to a tensor's largest entry at a layer.

{NEWLINE.join(markdown(time_head, time_rows))}

## Next to scipy's cubature

The same recursions, written out plainly, every mean a two-dimensional integral over the
preactivations of two inputs: `scipy.integrate.cubature` (Genz and Malik's rule, many points at
once) and `scipy.integrate.nquad` (point by point). Each mean is integrated once. Processor time;
the last column is the largest difference between both sides' results, relative to a tensor's
largest entry at a layer. Adaptive rules may stop too early: a tolerance of 1e-3 is no promise.

{NEWLINE.join(markdown(side_head, side_rows))}

{machine()}, {versions}; {load_average(before)}.
"""


if __name__ == "__main__":
    main()
