"""Every experiment by name: what it claims, where that was published, and how long it takes."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whydeep.errors import InputError

if TYPE_CHECKING:
    from whydeep.experiments._result import Result

__all__ = ["EXPERIMENTS", "Experiment", "find_experiment", "run"]


@dataclass(frozen=True)
class Experiment:
    """One published claim, and the file that reproduces it.

    Args:
        name: as in ``whydeep run NAME``; its file has underscores for hyphens.
        title: a few words.
        claim: what theory says, in a sentence.
        source: where.
        seconds: what it takes on two cores, about.
    """

    name: str
    title: str
    claim: str
    source: str
    seconds: int


_BOOK = "Roberts, Yaida and Hanin 2022"

EXPERIMENTS: Mapping[str, Experiment] = {
    e.name: e
    for e in (
        Experiment(
            "vertex-width",
            "the vertex against width",
            "Outputs are Gaussian up to V/n: n times their excess fourth moment tends to V.",
            f"{_BOOK}, Eq. 4.90",
            7,
        ),
        Experiment(
            "depth-to-width",
            "depth over width is what counts",
            "V/(n K²) of networks of any width falls on one curve in l/n.",
            f"{_BOOK}, Sections 5.2 and 5.4; Hanin and Nica 2020",
            30,
        ),
        Experiment(
            "kernel-flow",
            "kernels and nearby inputs through depth",
            "Off criticality signals and differences are lost exponentially, at it as powers.",
            f"{_BOOK}, Chapter 5; Poole et al. 2016",
            5,
        ),
        Experiment(
            "gelu-corrections",
            "corrections of mean kernels",
            "Mean kernels and tangent kernels move by a known number over n; relu's don't.",
            f"{_BOOK}, Eq. 4.136; Guillen, Misof and Gerken 2025",
            25,
        ),
        Experiment(
            "ntk-variance",
            "scatter of the tangent kernel",
            "Its variance over its squared mean is a function of depth over width.",
            f"{_BOOK}, Section 8.2; Hanin and Nica 2020",
            100,
        ),
        Experiment(
            "ntk-drift",
            "drift of the tangent kernel while training",
            "Training moves the tangent kernel by a number over n that first-order theory knows.",
            f"{_BOOK}, Chapter 11",
            60,
        ),
        Experiment(
            "ntk-depth",
            "the tangent kernel against depth",
            "Linear growth at criticality, exponential off it.",
            "Jacot, Gabriel and Hongler 2018; Guillen, Misof and Gerken 2025",
            3,
        ),
        Experiment(
            "jacobian-spectrum",
            "singular values of the Jacobian",
            "Gaussian weights spread them in proportion to depth, orthogonal ones don't.",
            "Pennington, Schoenholz and Ganguli 2017",
            15,
        ),
        Experiment(
            "correlation-map",
            "correlations through a relu network",
            "Two inputs become one with depth l, as 9π²/(2 l²).",
            "Cho and Saul 2009; Poole et al. 2016; Hayou, Doucet and Rousseau 2019",
            15,
        ),
        Experiment(
            "residual-vertex",
            "fluctuations of residual networks",
            "A skip remembers every layer: the exact first order, not the recursion, is measured.",
            f"{_BOOK}, Appendix B, for the recursion; derived here for the exact theory",
            3,
        ),
    )
}
"""Every experiment by name."""


def find_experiment(name: str) -> Experiment:
    """The experiment of a name.

    Raises:
        InputError: there is none.
    """
    if name not in EXPERIMENTS:
        raise InputError(
            "There is no experiment of this name.",
            received=repr(name),
            needed="one of " + ", ".join(EXPERIMENTS),
            suggestion="whydeep list",
        )
    return EXPERIMENTS[name]


def run(name: str, *, seed: int = 0, effort: float = 1.0) -> Result:
    """Reproduce one published claim.

    Args:
        name: one of `EXPERIMENTS`.
        seed: of all random numbers.
        effort: the share of the draws that are made; errors grow like its inverse root.

    Raises:
        InputError: a name that is not there, a seed or an effort that is none.

    Cost: see ``EXPERIMENTS[name].seconds``.

    Source: ``EXPERIMENTS[name].source``.

    Example:
        >>> run("ntk-depth", effort=0.5).verdict
        'agrees'
    """
    about = find_experiment(name)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise InputError(
            "A seed is a whole number.", received=f"{seed=}", needed="0 <= seed < 2**31"
        )
    if not 0 < effort <= 100:
        raise InputError(
            "effort is a share of the draws.", received=f"{effort=}", needed="0 to 100"
        )
    from whydeep.experiments._result import Result

    module = importlib.import_module(f"whydeep.experiments.{name.replace('-', '_')}")
    begin = time.perf_counter()
    findings = module.find(seed, effort)
    return Result(
        name=about.name,
        title=about.title,
        claim=about.claim,
        source=about.source,
        findings=findings,
        seed=seed,
        seconds=time.perf_counter() - begin,
        effort=effort,
    )
