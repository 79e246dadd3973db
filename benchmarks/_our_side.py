"""whydeep's side of `vs_neural_tangents.py`: the public front door, and nothing else."""

from __future__ import annotations

import itertools
import time

import numpy as np
from _child import main


def network(case, weight_var):
    import whydeep as wd

    a, b = weight_var, case["bias_var"]
    if case["kind"] == "mlp":
        return wd.mlp(case["depth"], 64, case["activation"], weight_var=a, bias_var=b)
    conv = wd.Conv(64, (3, 3), padding="SAME", weight_var=a, bias_var=b)
    steps = {"conv": [conv, wd.Activation("relu")], "pool": [wd.AvgPool((2, 2), strides=(2, 2))]}
    layers = [layer for step in case["layers"] for layer in steps[step]]
    return wd.chain(*layers, wd.Flatten(), wd.Dense(1, weight_var=a, bias_var=b))


def start_numba():
    """Seconds of what numba puts off to the first compiled function of a process: imports."""
    from numba.core.registry import cpu_target

    begin = time.perf_counter()
    cpu_target.target_context.refresh()
    return time.perf_counter() - begin


def prepare(case, x):
    import whydeep as wd

    x = x.astype(case["dtype"])
    network(case, case["weight_var"]), wd.kernel  # imported, as theirs are
    starting = start_numba()
    rounding = itertools.count()

    def call():
        # Every call has variances one rounding apart: what one call tabulates serves no other.
        net = network(case, case["weight_var"] * (1 + next(rounding) * 2.0**-52))
        found = wd.kernel(net, x, dtype=case["dtype"])
        return np.asarray(found.nngp), np.asarray(found.ntk)

    return call, None, starting


if __name__ == "__main__":
    main(prepare)
