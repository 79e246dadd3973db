"""Does the comparison catch a wrong theory, and leave a right one alone?

Power: off criticality (bias_var 0.1, weight_var 1.4, learning rates that differ by layer, so that
every term matters), each coefficient inside each recursion is altered, one at a time, in all
layers; the measurement stays as it is. The recursion runs on with the altered coefficient: it is
never the output that is rescaled.

False alarms: the unaltered theory over many seeds, with a tenth of the draws: how often anything
in the table disagrees (with the 95% upper bound on that share), and whether the p-values of single
rows are uniform (Kolmogorov-Smirnov).

    python benchmarks/power.py [--seeds 200] [--tables 8,3x100] [--write]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from pathlib import Path
from unittest import mock

import numpy as np
from scipy import stats

import whydeep as wd
from whydeep.comparison import Plan, compare, verify
from whydeep.theory.finite import _kernel, _predict, _recursion

DEPTH = 8
ACTIVATIONS = ("tanh", "relu", "gelu")


def network(activation, depth=DEPTH):
    steps = np.linspace(0.0, 1.0, depth + 1)
    return wd.mlp(
        depth, 16 * depth, activation, weight_var=1.4, bias_var=0.1,
        weight_lr=tuple(1.0 + 0.5 * steps), bias_lr=tuple(1.1 - 0.6 * steps),
    )  # fmt: skip


def with_dense(net, **changes):
    """The network with numbers of every dense layer multiplied."""
    layers = [
        dataclasses.replace(layer, **{k: getattr(layer, k) * f for k, f in changes.items()})
        if isinstance(layer, wd.Dense)
        else layer
        for layer in net.layers
    ]
    return wd.chain(*layers)


def rule(name, change):
    """A patch of the recursion of one tensor: `change` gets it, a step, and the tensors below."""
    right = _recursion._RULES[name]
    altered = dataclasses.replace(right, next=lambda step, below: change(right.next, step, below))
    return mock.patch.dict(_recursion._RULES, {name: altered})


def whole(name, factor):
    """A patch that multiplies all of what a layer gives."""
    return rule(name, lambda right, step, below: factor * right(step, below))


def carried(name, taken, factor):
    """A patch that multiplies a tensor of the layer below, for this recursion alone."""
    return rule(
        name, lambda right, step, below: right(step, {**below, taken: factor * below[taken]})
    )


def step_with(change):
    """A patch of the means of every step."""
    right = _recursion._step

    def wrapped(*arguments, **named):
        return change(right(*arguments, **named))

    return mock.patch.object(_recursion, "_step", wrapped)


def step_entry(factor, *, pair=(), single=None):
    """A patch that multiplies entries of the tables of derivatives: pair [i, j], single [m]."""

    def change(step):
        pairs, squares = step.pairs.value.copy(), step.squares.value.copy()
        for i, j in pair:
            pairs[i, j] *= factor
        if single is not None:
            squares[single] *= factor
        step.__dict__["pairs"] = dataclasses.replace(step.pairs, value=pairs)
        step.__dict__["squares"] = dataclasses.replace(step.squares, value=squares)
        return step

    return step_with(change)


def four_images(factor):
    """A patch of <s s s s>."""

    def change(step):
        step.__dict__["four_images"] = factor * step.four_images
        return step

    return step_with(change)


def two_images(factor):
    """A patch of <s s><s s>: nothing else of first order takes <s s> itself."""
    return step_with(lambda step: dataclasses.replace(step, images=factor**0.5 * step.images))


def kernel_network(**changes):
    """A patch after which only the kernel recursion sees the altered numbers."""
    original = _kernel.infinite_width
    return mock.patch.object(
        _predict, "infinite_width", lambda net, x: original(with_dense(net, **changes), x)
    )


def tangent_network(**changes):
    original = _kernel.tangent_kernels
    return mock.patch.object(
        _predict, "tangent_kernels",
        lambda net, inputs, layers: original(with_dense(net, **changes), inputs, layers),
    )  # fmt: skip


def alterations(small, large):
    """(recursion, coefficient, relative size, patch): one coefficient each."""
    f, g = 1 + small, 1 + large
    off = ((2, 0), (0, 2))
    return [
        ("kernel", "C_b", small, kernel_network(bias_var=f)),
        ("kernel", "C_W of <s s>", small, kernel_network(weight_var=f)),
        ("ntk", "lambda_b", small, tangent_network(bias_lr=f)),
        ("ntk", "lambda_W of <s s>", small, tangent_network(weight_lr=f)),
        ("ntk", "C_W of Theta <s' s'>", small, tangent_network(weight_var=f)),
        ("four_point", "C_W^2 of everything", small, whole("four_point", f)),
        ("four_point", "1 of <s s s s>", small, four_images(f)),
        ("four_point", "1 of <s s><s s>", small, two_images(f)),
        ("four_point", "r of M M V", small,
         carried("four_point", "four_point", f)),
        ("four_point", "1/2 of <(s_a^2)''> in M", small, step_entry(f, single=2)),
        ("four_point", "1/2 of <s''_a s_b> in M", small, step_entry(f, pair=off)),
        ("four_point", "1/2 of <s'_a s'_b> in M", small, step_entry(f, pair=((1, 1),))),
        ("kernel_correction", "C_W of everything", large, whole("kernel_correction", g)),
        ("kernel_correction", "1 of M G", large,
         carried("kernel_correction", "kernel_correction", g)),
        ("kernel_correction", "1/8 of <D^4> V", large,
         carried("kernel_correction", "four_point", g)),
        ("kernel_correction", "1 of <(s_a^2)''''>", large, step_entry(g, single=4)),
        ("kernel_correction", "6 of <s''_a s''_b>", large,
         step_entry(g, pair=((2, 2),))),
        ("kernel_correction", "4 of <s'''_a s'_b>", large,
         step_entry(g, pair=((3, 1), (1, 3)))),
    ]  # fmt: skip


def power_table(activation, x, plan, large=0.5, depth=DEPTH):
    net = network(activation, depth)
    outcome = verify(net, x, plan)
    rows = [(activation, "unaltered", "", "", 0.0, outcome.comparison)]
    for recursion, coefficient, size, patch in alterations(0.05, large):
        with contextlib.ExitStack() as stack:
            stack.enter_context(patch)
            altered = wd.predict(net, x)
        changed = relative_change(outcome.predicted[recursion], altered[recursion])
        found = compare(altered, *outcome.measured)
        rows.append((activation, recursion, coefficient, size, changed, found))
    return rows


def relative_change(old, new):
    last_old, last_new = old.values[-1], new.values[-1]
    return float(np.linalg.norm(last_new - last_old) / np.linalg.norm(last_old))


def largest_z(comparison, observable):
    return max((abs(r.z) for r in comparison.of(observable) if not r.exact), default=0.0)


def false_alarms(activation, x, plan, seeds):
    """Share of tables that disagree, and the p-values of single rows over seeds."""
    net = network(activation)
    alarms, rows = 0, {}
    predicted = wd.predict(net, x)
    for seed in range(seeds):
        one = dataclasses.replace(plan, seed=1_000_000 + seed)
        measured = [
            wd.measure(net, x, draws=draws, seed=one.seed, observables=names, rungs=one.rungs)
            for names, draws in one.calls(predicted)
        ]
        comparison = compare(predicted, *measured)
        alarms += comparison.verdict == "disagrees"
        for row in comparison.rows:
            if row.exact:
                continue
            rows.setdefault((row.observable, row.layer, "size"), []).append(row.p_value)
            if row.pattern_p_value is not None:
                rows.setdefault((row.observable, row.layer, "pattern"), []).append(
                    row.pattern_p_value
                )
    return alarms, rows


def upper_bound(alarms, trials):
    """Clopper and Pearson 1934, 95% one-sided."""
    return 1.0 if alarms == trials else float(stats.beta.ppf(0.95, alarms + 1, trials - alarms))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--activations", default=",".join(ACTIVATIONS))
    parser.add_argument("--tables", default="8,3x100", help="of 8, 3, 3x100, 8x100")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/power.md")
    arguments = parser.parse_args()
    lines = []

    def say(text=""):
        print(text, flush=True)
        lines.append(text)

    x, _ = wd.data.load("digits", n=4)
    plan = Plan()
    names = arguments.activations.split(",")
    begin = time.perf_counter()
    many = Plan(draws=100 * plan.draws, ntk_draws=plan.ntk_draws)
    tables = {
        "8": ("Depth 8, the default draws", DEPTH, 0.5, plan),
        "3": ("Depth 3, the default draws", 3, 0.1, plan),
        "3x100": ("Depth 3, a hundred times the draws", 3, 0.1, many),
        "8x100": ("Depth 8, a hundred times the draws", DEPTH, 0.1, many),
    }
    chosen = [tables[key] for key in arguments.tables.split(",") if key]
    for title, depth, large, plan_here in chosen:
        say(f"\n## {title} ({plan_here.draws:,}; tangent kernel {plan_here.ntk_draws:,})\n")
        say("| activation | recursion | coefficient altered | by | its output changes by "
            "| largest z | verdict |")  # fmt: skip
        say("|---|---|---|---|---|---|---|")
        for activation in names:
            for row in power_table(activation, x, plan_here, large, depth):
                name, recursion, coefficient, size, changed, found = row
                if recursion == "unaltered":
                    z = max(largest_z(found, o) for o in found.observables)
                    say(f"| {name} | (unaltered) | | | | {z:.1f} | {found.verdict} |")
                    continue
                z = largest_z(found, recursion)
                say(f"| {name} | {recursion} | {coefficient} | {size:.0%} | {changed:.1%} "
                    f"| {z:.1f} | {found.verdict} |")  # fmt: skip
    if arguments.seeds:
        tenth = Plan(draws=plan.draws // 10, ntk_draws=plan.ntk_draws // 5)
        say(
            f"\n## False alarms over {arguments.seeds} seeds, a tenth of the draws (ntk: a fifth)\n"
        )
        say("| activation | tables that disagree | 95% upper bound on the share | declared "
            "| rows and tests | smallest KS p | expected smallest |")  # fmt: skip
        say("|---|---|---|---|---|---|---|")
        total = trials = 0
        for activation in names:
            alarms, rows = false_alarms(activation, x, tenth, arguments.seeds)
            total, trials = total + alarms, trials + arguments.seeds
            smallest = min(stats.kstest(p, "uniform").pvalue for p in rows.values())
            say(f"| {activation} | {alarms} of {arguments.seeds} "
                f"| {upper_bound(alarms, arguments.seeds):.3f} | 0.05 | {len(rows)} "
                f"| {smallest:.2g} | {1 / (len(rows) + 1):.2g} |")  # fmt: skip
        say(f"| all | {total} of {trials} | {upper_bound(total, trials):.3f} | 0.05 | | | |")
    say(f"\n{time.perf_counter() - begin:.0f} s in all.")
    if arguments.write:
        head = "# Power and false alarms\n\n`python benchmarks/power.py --write` made this page.\n"
        target = Path(__file__).parents[1] / "docs" / "benchmarks" / "power.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
