"""Membership in a convex hull: seconds and certificates beside linear programming, and shares.

10,000 Gaussian data points in 64 dimensions (and 1,000 in 16), 1,000 queries of each class:

- ``Gaussian``: of the same law, nearly all far outside;
- ``.90 .99 1.01 1.10``: on random rays from the mean, at these multiples of the distance to the
  boundary. The boundary on a ray is found by a linear program, the gauge; 1,000 of those would take
  an hour, so a ray's boundary is bracketed to 1e-6 by bisection with certified answers of
  `in_hull`, and checked against the program on a sample.

Then what is asked of it: the share of new Gaussian points inside, by dimension and number of
points, beside the exact one; of test digits by principal components, over random splits; and of
MNIST, in raw pixels and by principal components (from WHYDEEP_DATA, left out without it).

The other side is scipy's HiGHS: one linear program a query on all data, on a sample of the
queries, which also judges our answers. All certificates are checked anew.

    python benchmarks/hull.py            the table
    python benchmarks/hull.py --write    and docs/benchmarks/hull.md
    python benchmarks/hull.py --quick    in seconds, to see that it works
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
from _page import load_average, machine, markdown, show_columns, write_page
from scipy.optimize import linprog

import whydeep as wd
from whydeep.geometry.hull import (
    ball_threshold,
    check_hull,
    extrapolation,
    gaussian_inside,
    in_hull,
)

CASES = ((10_000, 64), (1_000, 16))
FACTORS = (0.90, 0.99, 1.01, 1.10)
DIGITS = {2: 0.992, 4: 0.858, 6: 0.564, 8: 0.219, 10: 0.047, 15: 0.003, 20: 0.0}  # known before
SPLITS, TRAIN = 10, 1437
ASKED = 20.0  # seconds for 1,000 queries at 10,000 x 64
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "hull.md"
HEAD = ("data", "queries", "inside", "wall, s", "processor, s", "certified", "largest residual",
        "linear programs", "agree", "s a program", "times faster")  # fmt: skip


def by_program(x, data):
    """Whether a point is in the hull, by a linear program on all data."""
    equations = np.vstack([data.T, np.ones(len(data))])
    found = linprog(np.zeros(len(data)), A_eq=equations, b_eq=np.append(x, 1.0), method="highs-ds")
    if found.status not in (0, 2):  # solved, infeasible
        raise RuntimeError(found.message)
    return found.status == 0


def gauge(ray, data, mean):
    """The boundary on a ray from the mean, by a linear program."""
    n = len(data)
    equations = np.vstack(
        [np.column_stack([(data - mean).T, -ray]), np.append(np.ones(n), 0.0)],
    )
    right = np.append(np.zeros(len(ray)), 1.0)
    found = linprog(np.append(np.zeros(n), -1.0), A_eq=equations, b_eq=right, method="highs-ds")
    return -found.fun


def boundaries(rays, data, mean):
    """Of every ray, by bisection with answers that are certified."""
    low, high = np.zeros(len(rays)), np.full(len(rays), 2 * np.linalg.norm(data, axis=1).max())
    while ((high - low) / high).max() > 1e-6:
        middle = (low + high) / 2
        inside = in_hull(mean + middle[:, None] * rays, data).inside
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return (low + high) / 2


def measured(name, x, data, sample, rng):
    walls, cpus = [], []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        answer = in_hull(x, data)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    certified = int(check_hull(answer, x, data).sum())
    chosen = rng.choice(len(x), sample, replace=False)
    wall = time.perf_counter()
    agree = sum(by_program(x[i], data) == answer.inside[i] for i in chosen)
    program = (time.perf_counter() - wall) / sample
    wall, cpu = float(np.median(walls)), float(np.median(cpus))
    residual = f"{np.nanmax(answer.residual):.0e}" if answer.inside.any() else ""
    row = (
        f"{len(data):,} x {data.shape[1]}", name, f"{answer.inside.sum():,} of {len(x):,}",
        f"{wall:.2f}", f"{cpu:.2f}", f"{certified:,}", residual, f"{sample}",
        f"{agree} of {sample}", f"{program:.2f}", f"{program * len(x) / wall:,.0f}",
    )  # fmt: skip
    print(f"{row[0]}, {name}: {wall:.2f} s", file=sys.stderr, flush=True)
    return row, wall, certified == len(x) and agree == sample, answer


def case(n, d, queries, sample):
    """Rows of a table, the slowest class, whether all is proved and agreed."""
    rng = np.random.default_rng([n, d])
    data = rng.normal(size=(n, d))
    mean = data.mean(axis=0)
    found = [measured("Gaussian", rng.normal(size=(queries, d)), data, sample, rng)]
    share, expected = found[0][3].fraction, gaussian_inside(n, d)
    rays = rng.normal(size=(queries, d))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    ends = boundaries(rays, data, mean)
    exact = np.array([gauge(ray, data, mean) for ray in rays[:2]])
    apart = float(np.abs(ends[:2] / exact - 1).max())
    for factor in FACTORS:
        x = mean + factor * ends[:, None] * rays
        row, wall, good, answer = measured(f"{factor:.2f} of the boundary", x, data, sample, rng)
        good &= bool((answer.inside == (factor < 1)).all())
        found.append((row, wall, good, answer))
    here, right = f"- {n:,} x {d}", "yes" if all(f[2] for f in found) else "NO"
    lines = [
        f"{here}: every answer certified, as by linear program, on its side of its ray: {right}.",
        f"{here}: the boundary of two rays by linear program is within {apart:.0e} of bisection's.",
        f"{here}: Gaussian queries inside: {share:.4f}; expected exactly {expected:.3g}.",
    ]
    good = all(f[2] for f in found) and apart < 1e-5
    return [f[0] for f in found], max(f[1] for f in found), good, lines


def gaussian_shares():
    """Measured and exact shares of new points inside, by dimension, for three numbers of points."""
    sizes, hulls, queries = (100, 1_000, 10_000), 8, 250
    head = ["dimension", *(f"N = {n:,}: {w}" for n in sizes for w in ("measured", "exact")),
            "2^(d/2)/d"]  # fmt: skip
    rows, worst = [], 0.0
    for d in (2, 4, 6, 8, 10, 12, 16, 20):
        row = [str(d)]
        for n in sizes:
            rng = np.random.default_rng([d, n])
            shares = [
                in_hull(rng.normal(size=(queries, d)), rng.normal(size=(n, d))).fraction
                for _ in range(hulls)
            ]
            mean, exact = float(np.mean(shares)), gaussian_inside(n, d)
            # At least that of independent queries, which is known.
            error = max(np.std(shares, ddof=1), np.sqrt(exact * (1 - exact) / queries))
            worst = max(worst, abs(mean - exact) / (error / np.sqrt(hulls)))
            row += [f"{mean:.4f} ± {error / np.sqrt(hulls):.4f}", f"{exact:.4f}"]
        rows.append((*row, f"{ball_threshold(d):.3g}"))
    line = f"- Gaussian shares: the largest of 24 deviations is {worst:.1f} standard errors."
    return head, rows, line, worst < 4


def digit_shares():
    """Shares by principal components, over random splits, beside what was known of one."""
    x, _ = wd.data.load("digits", scale=False)
    orders = [np.random.default_rng(seed).permutation(len(x)) for seed in range(SPLITS)]
    found = [extrapolation(x[o[:TRAIN]], x[o[TRAIN:]], dims=DIGITS) for o in orders]
    shares = np.array([e.inside for e in found])
    head, rows, good = ("components", "inside", "known", "apart, in 2 se", "Gaussian"), [], True
    for k, (d, known) in enumerate(DIGITS.items()):
        mean, tests = float(shares[:, k].mean()), found[0].test
        share = max(known, 0.5 / tests)
        allowed = 2 * np.sqrt(share * (1 - share) / tests * (1 + 1 / SPLITS))
        good &= abs(mean - known) <= allowed
        spread = shares[:, k].std(ddof=1)
        apart, gaussian = abs(mean - known) / allowed, found[0].gaussian[k]
        numbers = (f"{mean:.3f} ± {spread:.3f}", f"{known:.3f}", f"{apart:.2f}", f"{gaussian:.3f}")
        rows.append((str(d), *numbers))
    said = "yes" if good else "NO"
    line = f"- Digits: within two binomial standard errors of what was known, everywhere: {said}."
    return head, rows, line, good


def mnist_shares():
    """The share of test images inside the hull of 10,000 training images."""
    head = ("space", "inside", "95%", "Gaussian", "seconds")
    try:
        x, _ = wd.data.load("mnist", scale=False)
    except wd.errors.InputError:
        return head, [], "- MNIST: left out, WHYDEEP_DATA is not set.", True
    rows = []
    for dims in ([5, 10, 15, 20, 30, 50], None):
        began = time.perf_counter()
        found = extrapolation(x[:10_000], x[-1000:], dims=dims)
        seconds = (time.perf_counter() - began) / len(found.dims)
        for k, space in enumerate(found.space):
            name = "all 784 pixels" if space == "all" else space
            span = f"{found.low[k]:.3f} to {found.high[k]:.3f}"
            gaussian = f"{found.gaussian[k]:.3g}"
            rows.append((name, f"{found.inside[k]:.3f}", span, gaussian, f"{seconds:.1f}"))
    line = f"- MNIST: of the last 1,000 images, {rows[-1][1]} are in the hull of the first 10,000."
    return head, rows, line, True


SHARES = {
    "New Gaussian points inside the hull of N, and Barany and Furedi's threshold": gaussian_shares,
    f"Digits: {TRAIN:,} to train, 360 to test, {SPLITS} random splits": digit_shares,
    "MNIST": mnist_shares,
}


def page(rows, lines, shares, load):
    return "\n".join(
        [
            "# Membership in a convex hull",
            "",
            "Gaussian data; 1,000 queries of each class, by `wd.geometry.in_hull` and by scipy's",
            "linear programming (HiGHS, dual simplex) on all data, one query at a time, on a",
            "sample. Queries on rays are at a multiple of the exact distance to the boundary.",
            "",
            *markdown(HEAD, rows, left=3),
            "",
            *lines,
            "",
            "Wall and processor seconds are medians of three calls, all queries of a class in one;",
            "the check of every certificate against the data is part of the call. `certified`",
            "counts the answers that `check_hull` proves anew from the data. Times faster: seconds",
            "a program times the number of queries, over the wall time. The compiled code was",
            "warm: compiling takes some ten seconds once per installation.",
            "",
            *(line for title, table in shares for line in ("## " + title, "", *table, "")),
            f"{machine()};",
            f"{load}: other work was going on",
            "if it is above 2, and then the processor times say more.",
            "",
            "Shares: ± is the standard error over hulls (Gaussian) and the spread over splits",
            "(digits). `known` is the table of one random split by linear programming; it and the",
            "mean over splits differ by two binomial standard errors where `apart` is 1.",
            "`2^(d/2)/d`: where the share of uniform points of a ball turns from 0 to 1 as d",
            "grows: an asymptotic statement, beside what holds at these d. `Gaussian` in the last",
            "two tables is the exact share for as many Gaussian points in that dimension.",
            "",
            "Again: `python benchmarks/hull.py --write`.",
            "",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--sample", type=int, default=8, help="linear programs a class")
    parser.add_argument("--quick", action="store_true", help="the small case, 100 queries")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    if options.write and (options.quick or options.queries != 1000):
        parser.error("--write needs the whole table: no --quick, --queries")
    before = os.getloadavg()[0]
    queries = 100 if options.quick else options.queries
    cases = CASES[1:] if options.quick else CASES
    rng = np.random.default_rng(0)
    in_hull(rng.normal(size=(300, 3)), rng.normal(size=(100, 3)))  # compiles
    rows, lines, good = [], [], True
    for n, d in cases:
        found, slowest, proved, said = case(n, d, queries, options.sample)
        rows += found
        lines += said
        good &= proved
        if (n, d, queries) == (10_000, 64, 1000):
            good &= slowest <= ASKED
            lines.append(
                f"- {n:,} x {d}: the slowest class takes {slowest:.2f} s (asked: at most "
                f"{ASKED:g}): {'yes' if slowest <= ASKED else 'NO'}."
            )
    show_columns(HEAD, rows, left=3)
    shares = []
    if not options.quick:
        for title, make in SHARES.items():
            head, table, line, right = make()
            show_columns(head, table)
            lines.append(line)
            good &= right
            shares.append((title, markdown(head, table)))
    print("\n".join(lines))
    if options.write:
        write_page(PAGE, page(rows, lines, shares, load_average(before)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
