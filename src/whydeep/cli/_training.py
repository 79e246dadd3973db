"""`whydeep verify --training`: predict training, train ensembles, compare."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from whydeep.cli._console import output, plain_table
from whydeep.cli._document import finite
from whydeep.comparison import coloured, number_with_error

if TYPE_CHECKING:
    from whydeep.comparison.training import TrainingOutcome
    from whydeep.network import Network

__all__ = ["show_training", "training_outcome"]

_TEST_INPUTS = 2


def training_outcome(
    network: Network, data: str, n: int, *, scale: bool, draws: int, seed: int, alpha: float
) -> TrainingOutcome:
    """Train on n inputs, watch two more; targets are labels of mean 0 and variance 1."""
    import numpy as np

    from whydeep.comparison.training import TrainingPlan, verify_training
    from whydeep.data import load
    from whydeep.errors import InputError

    x, y = load(data, n=n + _TEST_INPUTS, scale=scale)
    if y is None or np.ndim(y) != 1:
        raise InputError(
            "Training is verified on one target an input.",
            received=f"{data}, " + ("without labels" if y is None else f"labels {np.shape(y)}"),
            needed="a data set with one label a row",
            suggestion="--data digits, or a file with a column of labels",
        )
    targets = np.asarray(y, dtype=np.float64)[:n]
    spread = targets.std()
    if spread == 0:
        raise InputError("All targets are equal.", received=f"the first {n} labels of {data}")
    plan = TrainingPlan(draws=draws, seed=seed)
    targets = (targets - targets.mean()) / spread
    return verify_training(network, x[:n], targets, x[n:], plan, alpha=alpha)


def show_training(outcome: TrainingOutcome, about: str, status: int, *, as_json: bool) -> None:
    """Print the table, or one JSON document."""
    if as_json:
        content = {"exit_status": status, "about": about, **outcome.as_dict()}
        typer.echo(json.dumps(finite(content), indent=2, allow_nan=False))
        return
    console = output()
    widths = " → ".join(map(str, outcome.widths))
    drawn = f"{outcome.plan.draws:,} networks each, three times as many at the middle one"
    console.print(
        escape(f"{about}\nwidth {widths}, {drawn}, seed {outcome.plan.seed}"),
        style="dim", highlight=False,
    )  # fmt: skip
    console.print()
    console.print(_rows(outcome))
    console.print()
    console.print(_catapults(outcome))
    console.print()
    for row in outcome.rows:
        if row.verdict in ("not resolved", "disagrees"):
            words = f"{escape(row.claim)}: {escape(row.reason)}."
            console.print(coloured(row.verdict, words), highlight=False)
    tests = sum(row.tests for row in outcome.rows if row.predicted is not None)
    console.print(f"{coloured(outcome.verdict)}: {outcome.reason}.", highlight=False)
    console.print(
        f"[dim]± is one standard error; a row that agrees would see a theory that is off by a "
        f"tenth. {tests} tests share a false-alarm rate of {outcome.alpha:.2g}; "
        f"{outcome.seconds:.0f} s[/]", highlight=False,
    )  # fmt: skip


def _rows(outcome: TrainingOutcome) -> Table:
    table = plain_table()
    for name in ("training", "theory", "measured", "sees", "verdict"):
        table.add_column(name, no_wrap=True, justify="right" if name == "theory" else "left")
    for row in outcome.rows:
        predicted = "" if row.predicted is None else f"{row.predicted:g}"
        sees = "" if row.predicted is None else f"{row.visible:.2g}"
        measured = number_with_error(row.measured, row.stderr)
        table.add_row(row.claim, predicted, measured, sees, coloured(row.verdict))
    return table


def _catapults(outcome: TrainingOutcome) -> Table:
    stable = outcome.predicted.largest_stable_step.value
    table = plain_table(
        title_justify="left", title_style="",
        title=f"Steps around the largest stable one, {stable:.4g}: networks of width "
        f"{outcome.widths[-1]}",
    )  # fmt: skip
    for name in ("step / stable", "linear model", "loss grew", "converged", "diverged",
                 "step / stable at the end"):  # fmt: skip
        table.add_column(name, no_wrap=True, justify="right")
    for c in outcome.catapults:
        end = "" if math.isnan(c.curvature) else f"{c.curvature:.2f}"
        table.add_row(
            f"{c.factor:g}", "diverges" if c.factor > 1 else "converges", f"{c.grew:.0%}",
            f"{c.converged:.0%}", f"{c.diverged:.0%}", end,
        )  # fmt: skip
    return table
