"""How far the kernels of a deep network are from what nobody can undercut.

A kernel and a tangent kernel of N inputs need the products of all pairs of inputs, half of them by
symmetry, and both matrices must be written. This prints the time of ``whydeep.kernel`` for a relu
network beside the two: BLAS's symmetric product alone (``syrk``), and filling two matrices that are
there already, each with all threads. Depth is in a table, so time should not grow with it.

Everything runs in one process; in every round each of the three is timed once, one after the other,
so that whatever else the machine does falls on all alike. Medians of the rounds are shown, of the
clock and of the processors' time. A sample of the kernels is held against the recursion, layer by
layer.

    python benchmarks/deep_map_limits.py            the table
    python benchmarks/deep_map_limits.py --write    and docs/benchmarks/deep_map.md
    python benchmarks/deep_map_limits.py --quick    in seconds, to see that it works
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from _page import machine, markdown, show, write_page
from threadpoolctl import threadpool_info

THREADS = 2
WIDTH, WEIGHT_VAR = 64, 2.0
INPUTS = 784
SIZES, DEPTHS = (2000, 4000, 8000), (2, 10, 50)
SAMPLE = 64
# Of the sample, relative to the diagonal: what the documentation promises.
AGREEMENT = {"float64": 1e-12, "float32": 1e-6}
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "deep_map.md"


@dataclass
class Times:
    """Seconds of one piece of work in all rounds: by the clock, and of all processors."""

    wall: list = field(default_factory=list)
    cpu: list = field(default_factory=list)

    def add(self, work):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        return result


@dataclass
class Row:
    dtype: str
    size: int
    product: Times
    write: Times
    kernels: dict  # Times by depth
    errors: dict  # of the sample, by depth


def product_alone(x, buffer):
    """Half of the products of all pairs of rows, by BLAS."""
    from scipy.linalg import blas

    syrk = blas.ssyrk if x.dtype == np.float32 else blas.dsyrk
    return syrk(1.0, x.T, trans=1, c=buffer, overwrite_c=1)


def write_alone(matrices, pool):
    """Both matrices, each filled by as many threads as there are processors."""
    for matrix in matrices:
        list(pool.map(lambda part: part.fill(1.0), np.array_split(matrix, THREADS)))


def recursion(x, depth):
    """Kernels of a relu network layer by layer (Cho and Saul 2009); distances are carried."""
    norms = np.sqrt(np.mean(x**2, axis=1))
    unit = x / (norms[:, None] * np.sqrt(x.shape[1]))
    apart = np.array([np.sum((row - unit) ** 2, axis=1) / 2.0 for row in unit])  # 1 - c
    scale = np.outer(norms, norms)
    variance, tangent = WEIGHT_VAR, WEIGHT_VAR * (1.0 - apart)
    for _ in range(depth):
        theta = 2.0 * np.arcsin(np.sqrt(np.clip(apart / 2.0, 0.0, 1.0)))
        # 1 - c' = (theta cos theta - sin theta + pi (1 - cos theta)) / pi
        small = theta**3 / 3.0 - theta**5 / 30.0 + theta**7 / 840.0
        bend = np.where(theta < 0.05, small, np.sin(theta) - theta * np.cos(theta))
        images = variance / 2.0 * (1.0 - apart + bend / np.pi)
        tangent = WEIGHT_VAR * (images + (np.pi - theta) / (2.0 * np.pi) * tangent)
        apart = apart - bend / np.pi
        variance *= WEIGHT_VAR / 2.0
    return scale * variance * (1.0 - apart), scale * tangent


def deviation(found, wanted):
    """The largest, relative to the diagonal."""
    roots = np.sqrt(np.diagonal(wanted))
    return float(np.max(np.abs(found - wanted) / np.outer(roots, roots)))


def measure(size, dtype, depths, rounds):
    import whydeep as wd

    rng = np.random.default_rng(size)
    x = rng.standard_normal((size, INPUTS))
    rows = np.ascontiguousarray(x, dtype)
    buffer = np.empty((size, size), dtype, order="F")
    matrices = np.zeros((2, size, size), dtype)
    nets = {
        depth: wd.mlp(depth, WIDTH, "relu", weight_var=WEIGHT_VAR, bias_var=0.0) for depth in depths
    }
    row = Row(dtype, size, Times(), Times(), {depth: Times() for depth in depths}, {})
    some = rng.choice(size, SAMPLE, replace=False)
    for depth, net in nets.items():  # untimed: compiles, tabulates, and is checked
        found = wd.kernel(net, x, dtype=dtype)
        pairs = zip((found.nngp, found.ntk), recursion(x[some], depth), strict=True)
        row.errors[depth] = max(deviation(k[np.ix_(some, some)], wanted) for k, wanted in pairs)
        del found
    with ThreadPoolExecutor(THREADS) as pool:
        for number in range(rounds):
            row.product.add(lambda: product_alone(rows, buffer))
            row.write.add(lambda: write_alone(matrices, pool))
            # The first to ask for new memory may pay for what the next ones find ready.
            for k in range(len(depths)):
                depth = depths[(number + k) % len(depths)]
                row.kernels[depth].add(lambda d=depth: wd.kernel(nets[d], x, dtype=dtype))
    return row


# ----------------------------------------------------------------------------- running and telling


def milliseconds(times, kind):
    return 1e3 * median(getattr(times, kind))


def table(rows, depths):
    head = (
        "precision", "N", "products alone", "writing alone",
        *(f"kernels, depth {d}" for d in depths), "over the limits", "deepest over shallowest",
    )  # fmt: skip
    lines = []
    for kind in ("wall", "cpu"):
        block = []
        for r in rows:
            limit = milliseconds(r.product, kind) + milliseconds(r.write, kind)
            kernels = [milliseconds(r.kernels[d], kind) for d in depths]
            block.append(
                (
                    r.dtype,
                    f"{r.size:,}",
                    f"{milliseconds(r.product, kind):,.0f}",
                    f"{milliseconds(r.write, kind):,.0f}",
                    *(f"{k:,.0f}" for k in kernels),
                    f"{median(kernels) / limit:.2f}",
                    f"{kernels[-1] / kernels[0]:.2f}",
                )
            )
        lines.append(block)
    return head, lines


def libraries():
    """The BLAS libraries in use, and the processors they take this one for."""
    return ", ".join(
        dict.fromkeys(
            f"{i['internal_api']} {i['version']} ({i.get('architecture', 'one kind of processor')})"
            for i in threadpool_info()
            if i["user_api"] == "blas"
        )
    )


def verdict(rows, depths):
    worst = {
        dtype: max(r.errors[d] for r in rows for d in depths if r.dtype == dtype)
        for dtype in {r.dtype: None for r in rows}
    }
    agree = all(worst[dtype] <= AGREEMENT[dtype] for dtype in worst)
    told = "; ".join(f"{dtype} {error:.1e}" for dtype, error in worst.items())
    lines = [
        f"Largest deviation of {SAMPLE} inputs from the recursion, layer by layer: {told}.",
        "They agree." if agree else "THEY DISAGREE.",
    ]
    return agree, lines


def page(head, blocks, told, depths, rounds):
    import whydeep as wd

    return "\n".join(
        [
            "# Deep kernels beside their limits",
            "",
            f"Kernel and tangent kernel of a relu network without biases, {INPUTS} inputs, as",
            "`whydeep.kernel` returns them; half of all products of pairs by BLAS (`syrk`) alone;",
            "and filling two matrices that are there already. Milliseconds, medians of",
            f"{rounds} rounds in which each was timed once, {THREADS} processors.",
            "",
            "By the clock, which other work on the machine slows:",
            "",
            *markdown(head, blocks[0]),
            "",
            "Processor time, summed over threads:",
            "",
            *markdown(head, blocks[1]),
            "",
            '"Over the limits": the median over depths, divided by products and writing together.',
            f"Depths {', '.join(map(str, depths))} are one table each, made once and not timed",
            "again: time does not grow with depth.",
            "",
            *told,
            "",
            f"{machine()}, numpy {np.__version__},",
            f"whydeep {wd.__version__}; {libraries()}.",
            "",
            "Again: `python benchmarks/deep_map_limits.py --write`.",
            "",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="timings of everything, in turn")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of inputs")
    parser.add_argument("--quick", action="store_true", help="small and few, to see that it works")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.sizes = 2, [500]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    rows = [
        measure(size, dtype, DEPTHS, options.rounds)
        for dtype in ("float32", "float64")
        for size in options.sizes
    ]
    head, blocks = table(rows, DEPTHS)
    for title, block in zip(("clock, ms", "all processors, ms"), blocks, strict=True):
        show(head, block, f"relu network, {INPUTS} inputs: {title}", width=150)
    agree, told = verdict(rows, DEPTHS)
    print("\n".join(told))
    if options.write:
        write_page(PAGE, page(head, blocks, told, DEPTHS, options.rounds))
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
