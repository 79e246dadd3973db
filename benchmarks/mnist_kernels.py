"""ReLU networks of infinite width on MNIST: accuracy and time of `whydeep.NNGPClassifier`.

The first 1,000 and 10,000 training images, the 10,000 test images, pixels divided by 255 and
nothing else. Depth, weight_var, bias_var and noise come from a small grid, chosen on the first
1,000 training images alone, by marginal likelihood and, separately, by a split of them.

    WHYDEEP_DATA=folder python benchmarks/mnist_kernels.py [--sizes 1000 10000] [--write]
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time
from pathlib import Path

import numpy as np
from _page import markdown, write_page

import whydeep as wd
from whydeep.theory.estimators import NNGPClassifier, NTKClassifier

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks" / "mnist_kernels.md"
SEARCH_ROWS = 1000
GRID = {
    "depth": (1, 2, 3, 5, 10, 20),
    "weight_var": (1.0, 1.5, 2.0, 3.0),
    "bias_var": (0.0, 0.1, 0.5),
    "noise": (1e-4, 1e-3, 1e-2, 1e-1),
}
ASKED = {1000: 0.915, 10_000: 0.970}
PUBLISHED = {1000: 0.9279, 10_000: 0.9765}
SEARCHES = ("marginal_likelihood", "split")
MOST_SECONDS = 60.0


def load():
    folder = os.environ.get("WHYDEEP_DATA")
    if not folder:
        sys.exit("Set WHYDEEP_DATA to the folder of real data sets.")
    with np.load(Path(folder).expanduser() / "mnist" / "mnist_20k_10k.npz") as data:
        x, test = (data[name].reshape(-1, 784) / 255.0 for name in ("x_train", "x_test"))
        return x, data["y_train"], test, data["y_test"]


def timed(call):
    wall, cpu = time.perf_counter(), time.process_time()
    out = call()
    return out, time.perf_counter() - wall, time.process_time() - cpu


def chosen(search, data):
    """The numbers that a search on the first training images prefers, and its seconds."""
    x, y = (part[:SEARCH_ROWS] for part in data[:2])
    model = NNGPClassifier(wd.mlp(1, activation="relu"), search=search, grid=GRID)
    best, wall, cpu = timed(lambda: model.fit(x, y).best_params_)
    return {name: best[name] for name in GRID}, wall, cpu


def measured(size, search, choice, data):
    """One row: what was chosen, how long fit and predict took, how right it is."""
    x, y, test, answers = data
    values, search_wall, search_cpu = choice
    model = NNGPClassifier(wd.mlp(1, activation="relu"), **values)
    predicted, wall, cpu = timed(lambda: model.fit(x[:size], y[:size]).predict(test))
    return {
        "size": size, "search": search, "chosen": values,
        "accuracy": float(np.mean(predicted == answers)),
        "search_wall": search_wall, "search_cpu": search_cpu, "wall": wall, "cpu": cpu,
    }  # fmt: skip


def tangent(size, row, data):
    """The trained ensemble with the same numbers: nothing is chosen for it."""
    x, y, test, answers = data
    model = NTKClassifier(wd.mlp(1, activation="relu"), **row["chosen"])
    return float(np.mean(model.fit(x[:size], y[:size]).predict(test) == answers))


def table(rows):
    head = ("images", "chosen by", "depth", "weight_var", "bias_var", "noise", "test accuracy",
            "asked", "NTK, same numbers", "fit + predict, s", "processor s",
            "search, processor s")  # fmt: skip
    lines = []
    for row in rows:
        chosen = (f"{value:g}" for value in row["chosen"].values())
        cells = (
            f"{row['size']:,}", row["search"].replace("_", " "), *chosen,
            f"{row['accuracy']:.4f}", f"{ASKED.get(row['size'], 0):.3f}", f"{row['ntk']:.4f}",
            f"{row['wall']:.1f}", f"{row['cpu']:.1f}", f"{row['search_cpu']:.0f}",
        )  # fmt: skip
        lines.append(cells)
    return markdown(head, lines, left=2)


def page(rows):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    published = "; ".join(f"{size:,} images {value}" for size, value in PUBLISHED.items())
    grid = "; ".join(f"{name} {', '.join(f'{v:g}' for v in GRID[name])}" for name in GRID)
    error = 100 * np.sqrt(0.03 * 0.97 / 10_000)
    return "\n".join([
        "# Kernels of ReLU networks on MNIST",
        "",
        "`whydeep.NNGPClassifier`: a Bayesian ReLU network of infinite width that regresses on",
        "labels. The first training images, all 10,000 test images, pixels / 255. The grid was",
        "searched on the first 1,000 training images, for both sizes; the test images had no part",
        "in it.",
        "",
        *table(rows),
        "",
        f"Grid: {grid}.",
        "",
        f"Published after a large search (Lee et al. 2018, ReLU): {published}. The standard error",
        f"of an accuracy from 10,000 test images is {error:.1f} points at 97%, and the draw of",
        "1,000 training images moves it by about half a point. 'NTK, same numbers' is",
        "`whydeep.NTKClassifier` with the network and noise that were chosen for the other.",
        "",
        f"Fit + predict: one network, float64, {os.cpu_count()} processors shared with other work,",
        f"so processor seconds are the steadier figure. Peak memory of the process {peak:.1f} GiB.",
        "",
        f"Python {platform.python_version()}, numpy {np.__version__}, whydeep {wd.__version__}.",
        "",
        "Again: `WHYDEEP_DATA=folder python benchmarks/mnist_kernels.py --write`.",
        "",
    ])  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(ASKED))
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=list(SEARCHES))
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    data, rows = load(), []
    choices = {search: chosen(search, data) for search in options.searches}
    for size in options.sizes:
        for search in options.searches:
            row = measured(size, search, choices[search], data)
            row["ntk"] = tangent(size, row, data)
            rows.append(row)
            print(row, flush=True)
    print("\n".join(table(rows)))
    if options.write:
        write_page(PAGE, page(rows))
    reached = all(row["accuracy"] >= ASKED.get(row["size"], 0.0) for row in rows)
    quick = all(row["wall"] < MOST_SECONDS for row in rows)
    print("reached" if reached else "NOT REACHED", "in time" if quick else "NOT IN TIME")
    return 0 if reached and quick else 1


if __name__ == "__main__":
    sys.exit(main())
