"""Bayesian networks of finite width: drawn ensembles against the first order in 1/width.

Networks of four widths, n, 2n, 4n and 8n on shared random numbers, are weighted by the likelihood
of the labels. Twice a width times the difference of an estimate there and at the next width is the
coefficient of 1/n plus terms of higher order, which three differences separate from it (a fit of
first degree in 1/n); errors are jackknifed over 64 batches of draws.

    python benchmarks/posterior.py [--draws 100000] [--seed 0] [--write]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from _page import machine, markdown, show, write_page
from scipy import stats

import whydeep as wd

WIDTH, RUNGS = 64, 4
X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1], [-0.7, 0.5, 0.6]])
X_TEST = np.array([[0.4, 0.8, -0.2], [0.9, -0.1, 0.3]])
Y = np.array([[0.9, -0.6], [-0.4, 1.2], [0.3, 0.5]])
CASES = [("tanh", 1, 0.0), ("tanh", 3, 0.2), ("gelu", 2, 0.2), ("relu", 1, 0.2), ("relu", 2, 0.2)]
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "posterior.md"
HEAD = [
    "network", "noise", "quantity", "predicted", *(f"n = {WIDTH << k}" for k in range(RUNGS - 1)),
    "at 1/n = 0", "components", "largest z", "p", "effective draws",
]  # fmt: skip


def rows_of(activation, depth, noise, draws, seed):
    net = wd.mlp(depth, WIDTH, activation, outputs=2, weight_var=1.4, bias_var=0.1)
    wide = wd.mlp(depth, 1 << 20, activation, outputs=2, weight_var=1.4, bias_var=0.1)
    found = wd.posterior(wide, X, Y, X_TEST, noise=noise)
    measured = wd.measure_posterior(
        net, X, Y, X_TEST, noise=noise, draws=draws, seed=seed, rungs=RUNGS
    )
    widths = float(WIDTH) * np.array(measured.factors)
    scale = 2 * widths[:-1]
    fit = np.linalg.pinv(np.stack([np.ones(RUNGS - 1), 1 / widths[:-1]], axis=1))[0]
    quantities = {
        "mean": ("mean", ...),
        "covariance of an output": ("covariance", (slice(None), 0, 0)),
        "covariance between outputs": ("covariance", (slice(None), 0, 1)),
        "log evidence": ("log_evidence", ...),
    }
    rows = []
    for title, (name, part) in quantities.items():
        gained = np.asarray(getattr(found, name) - getattr(found, f"infinite_{name}")) * (1 << 20)
        wanted = gained[None][part].ravel()
        alone = measured.leave_one_out[name]
        values = np.stack([v[part].reshape(RUNGS, -1) for v in [measured.estimates[name], *alone]])
        steps = scale[:, None] * (values[:, :-1] - values[:, 1:])
        ends = np.tensordot(steps, fit, ((1,), (0,)))
        spread = np.sqrt((len(alone) - 1) * ends[1:].var(axis=0))
        errors = np.sqrt((len(alone) - 1) * steps[1:].var(axis=0))
        z = np.abs(ends[0] - wanted) / spread
        top = int(np.abs(wanted).argmax())
        cells = [
            f"{m:.4f} ({e:.4f})" for m, e in zip(steps[0, :, top], errors[:, top], strict=True)
        ]
        p = min(1.0, 2 * stats.norm.sf(z.max()) * len(z))
        rows.append([
            f"{activation}, depth {depth}", f"{noise:g}", title, f"{wanted[top]:.4f}", *cells,
            f"{ends[0, top]:.4f} ({spread[top]:.4f})", str(len(z)), f"{z.max():.1f}", f"{p:.2g}",
            f"{measured.effective.min():.3g}",
        ])  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    begin = time.perf_counter()
    rows = []
    for number, case in enumerate(CASES):
        rows += rows_of(*case, options.draws, options.seed + number)
    show(HEAD, rows, "coefficients of 1/n", width=200)
    seconds = time.perf_counter() - begin
    if options.write:
        command = f"python benchmarks/posterior.py --draws {options.draws} --write"
        text = "\n".join([
            "# Posterior and evidence at finite width",
            "",
            f"`{command}` made this page ({machine()}, {seconds:.0f} s, seed {options.seed}).",
            "",
            *(__doc__ or "").strip().splitlines()[2:6],
            "",
            ("Three training inputs, two test inputs, two outputs; weight_var 1.4, bias_var 0.1. "
             "Of each quantity the largest component is shown, standard errors in brackets; the "
             "largest z is that of all components at 1/n = 0, and p the probability of one so "
             "large, times the number of components. Infinite width has no covariance between "
             "outputs."),
            "",
            *markdown(HEAD, rows, left=3),
            "",
        ])  # fmt: skip
        write_page(PAGE, text)


if __name__ == "__main__":
    main()
