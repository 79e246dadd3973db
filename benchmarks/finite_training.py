"""Training at finite width: ensembles at a ladder of widths against the first order in 1/width.

Every network is trained by gradient descent, and its outputs are compared with those that a
network of infinite width would have had from the same start. n times the mean of that difference,
n times what the covariance gains by it and n times the change of the tangent kernel are
polynomials in 1/n, whose value at 1/n = 0 is predicted. A weighted fit of second degree over four
widths gives that value and its standard error.

    python benchmarks/finite_training.py [--draws 40000] [--seed 0] [--write]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from _page import machine, markdown, show, write_page
from scipy import stats

import whydeep as wd
from whydeep.theory.training import Descent
from whydeep.theory.training.finite import CAUSES, expand_training, output_tensors

WIDTHS = (16, 32, 64, 128)
BATCHES = 50
X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1]])
X_TEST = np.array([[0.4, 0.8, -0.2]])
Y = np.array([[0.9, -0.6], [-0.4, 1.2]])
NONE = np.empty((0, 3))
CASES = {
    "tanh, one input, one output, t = 0.6": ("tanh", X[:1], np.array([[2.5]]), NONE, 0.05, 12),
    "tanh, two inputs, two outputs, a test input, t = 0.6": ("tanh", X, Y, X_TEST, 0.2, 3),
    "gelu, two inputs, two outputs, a test input, t = 0.6": ("gelu", X, Y, X_TEST, 0.1, 6),
}
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "finite_training.md"


def network(activation, width, outputs):
    return wd.mlp(
        2, width, activation, outputs=outputs, weight_var=1.4, bias_var=0.1,
        bias_lr=(0.5, 0.7, 1.1), weight_lr=(1.0, 0.8, 1.3),
    )  # fmt: skip


def limit_map(ntk, y, step, steps):
    """A and b with z = A z_0 + b after these steps at infinite width, on all inputs."""
    n, size = len(y), len(ntk)
    own, other = np.eye(size), np.zeros((size, y.shape[1]))
    for _ in range(steps):
        residual = own[:n], other[:n] - y
        own = own - step * ntk[:, :n] @ residual[0]
        other = other - step * ntk[:, :n] @ residual[1]
    return own, other


def predicted(activation, x, y, x_test, step, steps):
    """Coefficients of 1/n, by name, and the map of infinite width."""
    points = np.concatenate([x, x_test])
    tensors, error = output_tensors(network(activation, 64, y.shape[1]), points)
    found = expand_training(tensors, y, [step * steps], Descent(step), relative_error=error)
    own, other = limit_map(tensors.ntk, y, step, steps)
    at_start = own @ tensors.kernel_correction @ own.T
    same = np.eye(y.shape[1])[:, :, None, None]
    return {
        "mean of the outputs": sum(found.mean_correction[c][0] for c in CAUSES),
        "covariance gained in training": found.covariance_correction[0] - same * at_start,
        "change of the tangent kernel": np.einsum("iiab->ab", found.ntk_change[0])[
            : len(x), : len(x)
        ] / y.shape[1],
    }, (own, other)  # fmt: skip


def measured(activation, x, y, x_test, step, steps, width, draws, seed, limit):
    """n times each quantity, (batches, ...) by name."""
    names = ("outputs", "test_outputs") if len(x_test) else ("outputs",)
    trained = wd.train(
        network(activation, width, y.shape[1]), x, y, x_test if len(x_test) else None,
        draws=draws, costly_draws=draws, seed=seed, steps=steps, step=step, record=[0, steps],
        observables=[*names, "ntk"],
    )  # fmt: skip
    start, end = (
        np.concatenate([trained.samples[n][:, k] for n in names], axis=1).astype(np.float64)
        for k in (0, 1)
    )
    own, other = limit
    there = np.einsum("ab,dbi->dai", own, start) + other
    apart = end - there
    odd = start.reshape(draws, -1)
    quiet = apart - controlled(odd, apart)
    ntk = np.diff(trained.samples["ntk"].astype(np.float64), axis=1)[:, 0]

    def covariance(z):
        z = z - z.mean(axis=1, keepdims=True)
        return np.einsum("kdai,kdbj->kijab", z, z) / (z.shape[1] - 1)

    def batches(values):
        kept = values[: len(values) // BATCHES * BATCHES]
        return kept.reshape(BATCHES, -1, *values.shape[1:])

    return {
        "mean of the outputs": width * batches(quiet).mean(axis=1),
        "covariance gained in training": width
        * (covariance(batches(end)) - covariance(batches(there))),
        "change of the tangent kernel": width * batches(ntk).mean(axis=1),
    }


def controlled(odd, values):
    """What of the values goes with odd numbers of mean zero, each half fitted on the other."""
    flat = values.reshape(len(values), -1)
    out = np.empty_like(flat)
    for fit, use in (
        (slice(0, None, 2), slice(1, None, 2)),
        (slice(1, None, 2), slice(0, None, 2)),
    ):
        centred = flat[fit] - flat[fit].mean(axis=0)
        out[use] = odd[use] @ np.linalg.lstsq(odd[fit], centred, rcond=None)[0]
    return out.reshape(values.shape)


def intercept(means, errors):
    """At 1/n = 0 of a polynomial of second degree in 1/n, weighted: value and standard error."""
    design = np.stack([np.array(WIDTHS, dtype=float) ** -k for k in range(3)], axis=1)
    weights = design.T / errors**2
    inverse = np.linalg.inv(weights @ design)
    return (inverse @ weights @ means)[0], np.sqrt(inverse[0, 0])


def rows_of(case, draws, seed):
    """A row for each quantity: its largest component, and the largest z of all components."""
    wanted, limit = predicted(*CASES[case])
    found = [
        measured(*CASES[case], width, draws, seed + k, limit) for k, width in enumerate(WIDTHS)
    ]
    rows = []
    for name, value in wanted.items():
        means = np.stack([f[name].mean(axis=0).ravel() for f in found])
        errors = np.stack([f[name].std(axis=0, ddof=1).ravel() for f in found]) / np.sqrt(BATCHES)
        flat = value.ravel()
        ends = [intercept(m, e) for m, e in zip(means.T, errors.T, strict=True)]
        z = np.array([(end - v) / error for (end, error), v in zip(ends, flat, strict=True)])
        top = int(np.abs(flat).argmax())
        largest = float(np.abs(z).max())
        p = min(1.0, 2 * stats.norm.sf(largest) * len(z))
        cells = [f"{m:.3f} ({e:.3f})" for m, e in zip(means[:, top], errors[:, top], strict=True)]
        rows.append([
            name, f"{flat[top]:.4f}", *cells, f"{ends[top][0]:.3f} ({ends[top][1]:.3f})",
            str(len(z)), f"{largest:.1f}", f"{p:.2g}",
        ])  # fmt: skip
    return rows


HEAD = [
    "quantity, times n", "predicted", *(f"n = {n}" for n in WIDTHS), "at 1/n = 0", "components",
    "largest z", "p",
]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    begin = time.perf_counter()
    lines = []
    for number, case in enumerate(CASES):
        rows = rows_of(case, options.draws, options.seed + 100 * number)
        show(HEAD, rows, case, width=170)
        lines += [f"## {case}", "", *markdown(HEAD, rows), ""]
    seconds = time.perf_counter() - begin
    if options.write:
        command = f"python benchmarks/finite_training.py --draws {options.draws} --write"
        text = "\n".join([
            "# Training at finite width",
            "",
            f"`{command}` made this page ({machine()}, {seconds:.0f} s, seed {options.seed}).",
            "",
            *(__doc__ or "").strip().splitlines()[2:8],
            "",
            ("Depth 2, weight_var 1.4, bias_var 0.1, learning rates that differ by layer. Of each "
            "quantity the largest component is shown, with standard errors in brackets; the "
            "largest z is that of all components at 1/n = 0, and p the probability of one so "
            "large, times the number of components."),
            "",
            *lines,
        ])  # fmt: skip
        write_page(PAGE, text)


if __name__ == "__main__":
    main()
