"""A timed call in a process of its own: the same for both sides of a comparison.

A side provides ``prepare(case, x)``: it returns a function without arguments that computes both
kernels as numpy arrays, the seconds that compilation took (None where that is part of the first
call), and, where it has such, those of imports that were put off to the first call. The job is a
JSON file; the answer is one line of JSON and an .npz of samples.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np


def resident(kind: str) -> float:
    """Memory of this process in MiB: "VmRSS" now, "VmHWM" at most so far."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(kind))
    except (OSError, StopIteration):  # no /proc: the most so far stands for both
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def timed(call):
    """Wall and processor seconds of a call, and what it returned."""
    wall, cpu = time.perf_counter(), time.process_time()
    out = call()
    return time.perf_counter() - wall, time.process_time() - cpu, out


def main(prepare):
    """Run the job that the command line names."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job["threads"]])
    x = np.load(job["inputs"])
    begin = time.perf_counter()
    call, compiling, *starting = prepare(job["case"], x)
    preparing = time.perf_counter() - begin
    before = resident("VmRSS")
    first_wall, first_cpu, out = timed(call)
    since_start = time.time() - job["started"]
    walls, cpus = [first_wall], [first_cpu]
    if first_wall < job["long"]:  # a long call's own warm-up is lost in it
        walls, cpus = [], []
        while len(walls) < 3 or (sum(walls) < job["seconds"] and len(walls) < 200):
            del out  # its pages go back, as they would in a user's program
            wall, cpu, out = timed(call)
            walls.append(wall)
            cpus.append(cpu)
    nngp, ntk = out
    rows = np.array(job["rows"])
    np.savez(
        job["out"],
        nngp=nngp[rows], ntk=ntk[rows], nngp_diagonal=nngp.diagonal(), ntk_diagonal=ntk.diagonal(),
    )  # fmt: skip
    answer = {
        "walls": walls,
        "cpus": cpus,
        "first": first_wall,
        "since_start": since_start,
        "compiling": max(first_wall - median(walls), 0.0) if compiling is None else compiling,
        "preparing": preparing,
        "starting": sum(starting),
        "before": before,
        "peak": resident("VmHWM"),
        "dtype": str(nngp.dtype),
        "versions": {m: sys.modules[m].__version__ for m in job["modules"] if m in sys.modules},
    }
    print(json.dumps(answer))
