"""Exact partitions of a plane by relu networks: `whydeep.geometry.regions`, its counts and times.

He-normal weights, biases of standard deviation 0.1, the window [-1, 1]^2; 784 inputs: the plane
through three images of MNIST. Each network is split several times, and the median counts. Areas
must sum to the window and counts of the published programs must be met.

    WHYDEEP_DATA=folder python benchmarks/partition.py [--repeat 5] [--large] [--write]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from _page import load_average, machine, markdown, show, write_page

import whydeep as wd
from whydeep.geometry import from_layers, plane, region_statistics, regions

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks" / "partition.md"
# Inputs, width, depth: regions known from other programs, seconds of SplineCam and of edge
# subdivision on two processors of this kind, and the seconds that are asked of us.
CASES = {
    (2, 20, 2): (640, 2.94, 0.13, None),
    (2, 20, 4): (2_492, 18.0, 0.09, None),
    (2, 20, 6): (6_124, 39.5, 0.21, None),
    (2, 50, 2): (4_636, 19.8, 0.14, None),
    (2, 50, 4): (17_658, 37.8, 0.86, 0.1),
    (2, 100, 4): (82_896, None, None, None),
    (2, 200, 4): (287_585, None, None, 3.0),
    (784, 200, 4): (None, None, None, 0.6),
}


def network(inputs, width, depth):
    generator = np.random.default_rng(0)
    weights, biases, before = [], [], inputs
    for n in (*[width] * depth, 1):
        weights.append(generator.normal(size=(n, before)) * np.sqrt(2 / before))
        biases.append(generator.normal(size=n) * 0.1)
        before = n
    return from_layers(weights, biases)


def images():
    folder = os.environ.get("WHYDEEP_DATA")
    if not folder:
        return None
    with np.load(Path(folder).expanduser() / "mnist" / "mnist_20k_10k.npz") as data:
        x, y = data["x_train"].reshape(-1, 784) / 255.0, data["y_train"]
    return [x[int(np.flatnonzero(y == digit)[0])] for digit in (0, 1, 7)]


def window_of(inputs, digits):
    if inputs == 2:
        return np.zeros(2), *np.eye(2), (-1, 1, -1, 1)
    return plane(*digits)


def measured(case, repeat, digits):
    inputs, width, depth = case
    known, splinecam, subdivision, asked = CASES[case]
    f, place = network(*case), window_of(inputs, digits)
    walls, cpus = [], []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        found = regions(f, *place)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    left, right, bottom, top = place[3]
    area = abs(found.areas.sum() / ((right - left) * (top - bottom)) - 1)
    if area > 1e-12 or (known is not None and found.count != known):
        sys.exit(f"wrong: {case} gave {found.count} regions and an area off by {area:.1e}")
    wall, best, cpu = statistics.median(walls), min(walls), statistics.median(cpus)
    return {
        "net": f"{inputs}, {width}x{depth}", "regions": found.count, "wall": wall, "best": best,
        "cpu": cpu, "area": area, "splinecam": splinecam, "subdivision": subdivision,
        "asked": asked,
    }  # fmt: skip


def large():
    """Ten million regions in bounded memory: a window of 1e6 and one layer of 4,500 neurons."""
    generator = np.random.default_rng(0)
    f = from_layers(
        [generator.normal(size=(4500, 2)), np.ones((1, 4500))],
        [generator.normal(size=4500), np.zeros(1)],
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    found = region_statistics(f, np.zeros(2), *np.eye(2), window=(-1e3, 1e3, -1e3, 1e3))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    if abs(found.area / 4e6 - 1) > 1e-12:
        sys.exit(f"wrong: areas sum to {found.area}")
    return (
        f"{found.count:,} regions of one layer of 4,500 neurons on [-1000, 1000]^2, counted and "
        f"not held: {seconds:.0f} s ({cpu:.0f} processor seconds), {grown:.2f} GiB of memory "
        "beside what the process had before."
    )


def cells(row):
    def other(seconds):
        return "" if seconds is None else f"{seconds:.3g} ({row['regions'] / seconds:,.0f}/s)"

    return (
        row["net"], f"{row['regions']:,}", f"{row['wall']:.3f}", f"{row['best']:.3f}",
        f"{row['cpu']:.3f}", f"{row['regions'] / row['cpu']:,.0f}",
        "" if row["asked"] is None else f"{row['asked']:g}", f"{row['area']:.0e}",
        other(row["splinecam"]), other(row["subdivision"]),
    )  # fmt: skip


HEAD = (
    "inputs, widths",
    "regions",
    "s, median",
    "s, best",
    "processor s",
    "regions / processor s",
    "asked, s",
    "area off by",
    "SplineCam, s",
    "edge subdivision, s",
)


def page(rows, many, load, repeat):
    return "\n".join([
        "# Exact partitions of a plane",
        "",
        "`whydeep.geometry.regions`: all activation cells of a relu network on a window of a",
        "plane, as polygons with sign patterns, layer and neuron of every edge, in float64.",
        "He-normal weights, biases of standard deviation 0.1, window [-1, 1]^2; with 784 inputs",
        "the plane through three images of MNIST (the first 0, 1 and 7).",
        "",
        *markdown(HEAD, [cells(row) for row in rows]),
        "",
        f"Seconds are of {repeat} runs after compilation, on processors shared with other work:",
        "processor seconds are the steadier figure. The first five counts must be those of both",
        "other programs, the next two those of an earlier program of ours that split every polygon",
        "by itself; areas must sum to the window.",
        "",
        *([many, ""] if many else []),
        "The other programs were measured once, on two processors of this kind, on the same",
        "networks: SplineCam (Humayun et al. 2023) on its processor path, and edge subdivision",
        "(Berzins 2023, float32) with its published program. They are not run again here: neither",
        "can be installed from a package index.",
        "",
        f"{machine()}, numpy {np.__version__}, whydeep {wd.__version__}; {load}.",
        "",
        "Again: `WHYDEEP_DATA=folder python benchmarks/partition.py --large --write`.",
        "",
    ])  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="ten million regions too")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    before, digits = os.getloadavg()[0], images()
    regions(network(2, 20, 2), np.zeros(2), *np.eye(2))  # compiles
    chosen = [case for case in CASES if case[0] == 2 or digits is not None]
    rows = [measured(case, options.repeat, digits) for case in chosen]
    show(HEAD, [cells(row) for row in rows], "Exact partitions of a plane", width=160)
    many = large() if options.large else ""
    if many:
        print(many)
    if options.write:
        write_page(PAGE, page(rows, many, load_average(before), options.repeat))
    late = [r["net"] for r in rows if r["asked"] is not None and r["best"] > r["asked"]]
    print("NOT IN TIME: " + "; ".join(late) if late else "in time")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
