"""Predict, measure, compare: the whole loop in one call, with a plan of how much to draw."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from whydeep.arguments import DTYPE, SEED, choice, count, takes
from whydeep.brief import brief
from whydeep.comparison._compare import LEVEL, RESOLUTION, SHARE, compare
from whydeep.comparison._comparison import Comparison
from whydeep.data import check_inputs
from whydeep.ensemble import FEWEST_DRAWS, Measurement, measure
from whydeep.network import Network
from whydeep.observables import OBSERVABLES
from whydeep.progress import phase
from whydeep.results import by_content
from whydeep.theory.finite import Prediction, predict

__all__ = ["DIFFERENTIAL_DRAWS", "DRAWS", "NTK_DRAWS", "TENSOR_DRAWS", "Outcome", "Plan", "verify"]

DRAWS = 200_000
"""Networks drawn by default for what one pass forward shows."""

NTK_DRAWS = 2_000
"""Networks drawn by default for tangent kernels, whose draws cost more and scatter less."""

TENSOR_DRAWS = 48_000
"""Networks drawn by default for the fluctuations of the tangent kernel."""

DIFFERENTIAL_DRAWS = 2_000
"""Networks drawn by default for the differentials of the tangent kernel."""


_DRAWS = count(FEWEST_DRAWS)


@takes(
    draws=_DRAWS, ntk_draws=_DRAWS, tensor_draws=_DRAWS, differential_draws=_DRAWS, seed=SEED,
    rungs=count(2, 16), sampler=choice("conditional", "plain"), dtype=DTYPE,
)  # fmt: skip
@dataclass(frozen=True)
class Plan:
    """How much is drawn, and how.

    Args:
        draws: of the widest rung, for kernels, vertices and corrections.
        ntk_draws: likewise, for tangent kernels.
        tensor_draws: likewise, for their fluctuations, ntk_A, ntk_B, ntk_D and ntk_F, and for
            tangent kernels whose slope in 1/width is wanted: ntk_correction.
        differential_draws: likewise, for their differentials: dntk_P ... ddntk_U.
        seed: of all random numbers.
        rungs: widths measured together: n, 2n, 4n for 3.
        sampler: "conditional" or "plain" (see `whydeep.measure`).
        dtype: "float32" or "float64".

    Raises:
        InputError: fewer than 64 draws or two rungs, a sampler or dtype that does not exist.
    """

    draws: int = DRAWS
    ntk_draws: int = NTK_DRAWS
    tensor_draws: int = TENSOR_DRAWS
    differential_draws: int = DIFFERENTIAL_DRAWS
    seed: int = 0
    rungs: int = 3
    sampler: str = "conditional"
    dtype: str = "float32"

    def calls(self, predicted: Prediction) -> tuple[tuple[tuple[str, ...], int], ...]:
        """What is measured together, and with how many draws."""
        mean_of = {"kernel_correction": "kernel", "ntk_correction": "ntk"}
        wanted = {*predicted, *(mean_of[name] for name in predicted if name in mean_of)}
        groups: dict[int, list[str]] = {}
        for name in (n for n in OBSERVABLES if n in wanted):
            group = _group(name)
            if name == "ntk" and "ntk_correction" in wanted:
                group = _group("ntk_correction")  # measured together: it is its slope
            groups.setdefault(group, []).append(name)
        draws = (self.draws, self.ntk_draws, self.tensor_draws, self.differential_draws)
        return tuple((tuple(groups[g]), draws[g]) for g in sorted(groups))


def _group(name: str) -> int:
    """Which of the plan's numbers of draws is for this observable."""
    if name == "ntk" or "ntk" not in name:
        return int(name == "ntk")
    return 2 if name.startswith("ntk_") else 3


@by_content
@dataclass(frozen=True)
class Outcome:
    """What `verify` found.

    Args:
        predicted: what theory says.
        measured: what the ensembles showed, one measurement a call of the plan.
        comparison: the table and its verdict.
        plan: how it was measured.
        seconds: what everything took, compilation included.
    """

    predicted: Prediction
    measured: tuple[Measurement, ...]
    comparison: Comparison
    plan: Plan
    seconds: float

    __repr__ = brief


def verify(
    network: Network,
    inputs: Any,
    plan: Plan | None = None,
    *,
    order: int = 1,
    observables: Iterable[str] | str | None = None,
    alpha: float = 0.05,
    resolution: float = SHARE,
) -> Outcome:
    """Predict, measure at a ladder of widths, and compare.

    Args:
        network: from `whydeep.mlp`, at the narrowest width.
        inputs: (N, n_0).
        plan: how much to draw; `Plan()` by default.
        order: 0 for infinite width only, 1 for the first corrections in 1/width too.
        observables: names, or "all" of that order; by default those that `whydeep.predict` gives.
        alpha: probability that a correct theory disagrees anywhere in the table.
        resolution: the share of a prediction that a row must be known to (see `compare`).

    Raises:
        InputError: bad inputs or numbers, refused before anything is computed.
        UnsupportedError: theory or measurement does not cover the network.

    Cost: see `whydeep.predict` and `whydeep.measure`.

    Source: the quantities are those of Roberts, Yaida and Hanin 2022; ``predicted.cite()``.

    Example:
        >>> import numpy as np
        >>> from whydeep.network import mlp
        >>> outcome = verify(mlp(1, 32, "relu"), np.eye(2), Plan(draws=4000, ntk_draws=1000))
        >>> outcome.comparison.verdict
        'agrees'
    """
    begin = time.perf_counter()
    plan = plan or Plan()
    alpha, resolution = LEVEL("alpha", alpha), RESOLUTION("resolution", resolution)
    x = check_inputs(inputs)
    with phase("predicting"):
        predicted = predict(network, x, order=order, observables=observables)
    measured = tuple(
        measure(
            network, x, draws=draws, ntk_draws=draws, seed=plan.seed, observables=names,
            rungs=plan.rungs, sampler=plan.sampler, dtype=plan.dtype,
            # Beyond the vertex the plain sampler knows the bare definitions only.
            average_last=plan.sampler != "plain" or _group(names[-1]) < 2,
        )
        for names, draws in plan.calls(predicted)
    )  # fmt: skip
    comparison = compare(predicted, *measured, alpha=alpha, resolution=resolution)
    return Outcome(predicted, measured, comparison, plan, time.perf_counter() - begin)
