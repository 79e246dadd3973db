"""Which wrong theories of training `whydeep verify --training` calls wrong, and how often.

Every row's measurement is kept, and judged again against an altered theory: a limit off by a tenth
of itself, a power by a tenth, in both directions, one row at a time, with the rates of the whole
table. An alteration may be "agrees" in one of ten ensembles.

    python benchmarks/training_power.py --seeds 4 --write
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
from _page import markdown, write_page

import whydeep as wd
from whydeep.comparison.training import DRAWS, TrainingPlan, verify_training
from whydeep.comparison.training import _verify as verifying
from whydeep.comparison.training._rows import judge

_ALTERED = 0.1
_FIRST = 1_000  # seed of the first run, and from one to the next


def kept_rows(seed: int, draws: int, activation: str):
    """The rows of one run, each with the function that makes it again for another prediction."""
    again = []

    def keeping(make):
        def kept(claim, values, predicted):
            again.append((claim, lambda wanted: make(claim, values, wanted), predicted))
            return make(claim, values, predicted)

        return kept

    x, y = wd.data.load("digits", n=6)
    targets = np.asarray(y, dtype=float)[:4]
    targets = (targets - targets.mean()) / targets.std()
    network = wd.mlp(2, 64, activation)
    plan = TrainingPlan(draws=draws, catapult_draws=8, seed=seed)
    with (
        mock.patch.object(verifying, "limit_row", keeping(verifying.limit_row)),
        mock.patch.object(verifying, "power_row", keeping(verifying.power_row)),
    ):
        outcome = verify_training(network, x[:4], targets, x[4:], plan)
    return outcome, again


def altered(predicted, sign: int):
    """A theory that is off by a tenth."""
    if isinstance(predicted, float):
        return predicted + sign * _ALTERED
    return np.asarray(predicted) * (1.0 + sign * _ALTERED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--activation", default="tanh")
    parser.add_argument(
        "--write", action="store_true", help="write docs/benchmarks/training_power.md"
    )
    given = parser.parse_args()
    right: dict[str, Counter] = {}
    wrong: dict[str, Counter] = {}
    visible: dict[str, list[float]] = {}
    begin = time.perf_counter()
    for seed in range(given.seeds):
        outcome, again = kept_rows(_FIRST * (seed + 1), given.draws, given.activation)
        rows = list(outcome.rows)
        for place, (claim, make, predicted) in enumerate(again):
            right.setdefault(claim, Counter())[rows[place].verdict] += 1
            if predicted is None:
                continue
            visible.setdefault(claim, []).append(rows[place].visible)
            for sign in (-1, 1):
                theory = [*rows[:place], make(altered(predicted, sign)), *rows[place + 1 :]]
                verdict = judge(theory, outcome.alpha)[place].verdict
                wrong.setdefault(claim, Counter())[verdict] += 1
        print(f"seed {seed}: {outcome.verdict}, {outcome.seconds:.0f} s", flush=True)
    seeds = ", ".join(str(_FIRST * (number + 1)) for number in range(given.seeds))
    kinds = ("agrees", "not resolved", "disagrees")
    lines = [
        (
            f"{given.activation}, depth 2, widths 64 to 256, {given.draws:,} networks a width, "
            f"three times as many at the middle one; seeds {seeds}. "
            "Each row: what the right theory was called, and what one was called that is off by a "
            "tenth (of a limit, its tenth; of a power, 0.1), in either direction."
        ),
        "",
    ]
    table = []
    for claim, found in right.items():
        seen = f"{np.median(visible[claim]):.2g}" if claim in visible else "reported"
        one, two = (
            " / ".join(str(c[k]) for k in kinds) if claim in visible else ""
            for c in (found, wrong.get(claim, Counter()))
        )
        table.append((claim, seen, one, two))
    total = Counter()
    for counter in wrong.values():
        total += counter
    order = "agrees / not resolved / disagrees"
    lines += markdown(("row", "sees", f"right theory: {order}", f"off by a tenth: {order}"), table)
    lines += [
        "",
        (
            f"Of {total.total()} wrong theories {total['disagrees']} disagree, "
            f"{total['not resolved']} are not resolved, {total['agrees']} agree."
        ),
    ]
    print("\n".join(lines))
    print(f"{time.perf_counter() - begin:.0f} s")
    if given.write:
        head = (
            "# Power of the check of training\n\n"
            "`python benchmarks/training_power.py --write` made this page.\n\n"
        )
        target = Path(__file__).parents[1] / "docs" / "benchmarks" / "training_power.md"
        write_page(target, head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
