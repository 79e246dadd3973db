"""What an estimator says of clouds whose dimension is known: the bias, measured and taken out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from whydeep.arguments import COUNT, SEED, check_memory, choice, count, instance, takes
from whydeep.errors import InputError, UnsupportedError
from whydeep.geometry.dimension._dimension import METHODS, read_neighbours
from whydeep.geometry.dimension._estimators import ESTIMATORS
from whydeep.geometry.dimension._neighbours import neighbours
from whydeep.geometry.dimension._result import Dimension
from whydeep.network import check_whole
from whydeep.progress import phase

__all__ = ["CalibratedDimension", "Reference", "calibrated_dimension", "reference_dimension"]

LAWS = ("gaussian", "uniform")
_MOST = 400


@dataclass(frozen=True)
class Reference:
    """What an estimator gives for a law of known dimension.

    Args:
        dims: the true dimension.
        value: the mean estimate.
        stderr: of that mean.
        spread: standard deviation of a single estimate: its true standard error.
        method: which estimator, with how many neighbours: "mle, k=20".
        law: "gaussian" or "uniform" (in a cube).
        points: N.
        draws: how many clouds.
    """

    dims: int
    value: float
    stderr: float
    spread: float
    method: str
    law: str
    points: int
    draws: int


@dataclass(frozen=True)
class CalibratedDimension:
    """The dimension at which a law of reference gives the estimate that the data gave.

    Args:
        value: that dimension, interpolated between whole numbers.
        low: where the estimate less two standard errors leads.
        high: where the estimate plus two standard errors leads.
        law: the reference.
        estimate: the raw one.
    """

    value: float
    low: float
    high: float
    law: str
    estimate: Dimension

    def __float__(self) -> float:
        return self.value


_ESTIMATE = instance(
    Dimension, needed="an estimate", suggestion="whydeep.geometry.intrinsic_dimension(x) makes one"
)


@takes(
    points=count(4), dims=COUNT, method=choice(*METHODS), k=COUNT, law=choice(*LAWS),
    draws=count(2), seed=SEED,
)  # fmt: skip
def reference_dimension(
    points: int,
    dims: int,
    method: str = "twonn",
    *,
    k: int | None = None,
    law: str = "gaussian",
    draws: int = 10,
    seed: int = 0,
) -> Reference:
    """What an estimator gives for as many points of a law whose dimension is known.

    Beside an estimate for data this says how much of a shortfall is the method's own.

    Args:
        points: N.
        dims: the true dimension.
        method: "twonn", "twonn_slope", "mle" or "gride".
        k: neighbours, as in `intrinsic_dimension`.
        law: "gaussian", of unit covariance, or "uniform", in a cube: whose boundary bends
            estimates further down.
        draws: clouds, 2 or more.
        seed: of the clouds.

    Raises:
        InputError: bad numbers or names.

    Accuracy: `stderr` of the mean. Cost: `draws` searches for neighbours.

    Source: the estimators'; the bias is noted in Facco et al. 2017, figure 3, and Camastra and
    Staiano 2016.

    Example:
        >>> found = reference_dimension(500, 10, draws=4)
        >>> found.value < 10  # it falls low
        True
    """
    _check_name("method", method, METHODS)
    _check_name("law", law, LAWS)
    n, d = check_whole("points", points, least=4), check_whole("dims", dims)
    count = check_whole("draws", draws, least=2)
    check_whole("seed", seed, least=0)
    kept = read_neighbours(method, k)
    with phase("clouds of known dimension"):
        values = np.array([_estimate(n, d, method, kept, law, seed, draw) for draw in range(count)])
    spread = float(values.std(ddof=1))
    return Reference(d, float(values.mean()), spread / float(np.sqrt(count)), spread,
                     f"{method}, k={kept}", law, n, count)  # fmt: skip


@takes(estimate=_ESTIMATE, law=choice(*LAWS), draws=COUNT, seed=SEED)
def calibrated_dimension(
    estimate: Dimension, *, law: str = "gaussian", draws: int = 4, seed: int = 0
) -> CalibratedDimension:
    """The true dimension for which this estimator, with as many points, gives what it gave.

    The data are compared with clouds of a known law: by whole dimensions up, and linearly between
    them. The answer is as good as the law is like the data: curvature, noise and uneven density
    are not in it.

    Args:
        estimate: what `intrinsic_dimension` returned, by one of our methods.
        law: as in `reference_dimension`.
        draws: clouds a dimension.
        seed: of the clouds.

    Raises:
        InputError: bad numbers or names.
        UnsupportedError: an estimate by scikit-dimension, or beyond what 400 dimensions give.

    Accuracy: `low` and `high` carry two standard errors of the estimate; those of the reference
    are smaller by sqrt(draws). Cost: `draws` searches for neighbours for each of some log2(d)
    dimensions.

    Source: as `reference_dimension`.

    Example:
        >>> from whydeep.geometry.dimension import intrinsic_dimension
        >>> cloud = np.random.default_rng(1).normal(size=(500, 12))
        >>> raw = intrinsic_dimension(cloud, "mle")
        >>> known = calibrated_dimension(raw)
        >>> raw.value < 10, 11 < known.value < 13
        (True, True)
    """
    if estimate.method not in ESTIMATORS:
        raise UnsupportedError(
            "Only our own estimators are calibrated.", received=f"method {estimate.method!r}",
            needed=", ".join(METHODS),
        )  # fmt: skip
    _check_name("law", law, LAWS)
    count = check_whole("draws", draws, least=1)
    check_whole("seed", seed, least=0)

    @cache
    def mean(d: int) -> float:
        n, method, k = estimate.points, estimate.method, estimate.neighbours
        return float(
            np.mean([_estimate(n, d, method, k, law, seed, draw) for draw in range(count)])
        )

    def invert(value: float) -> float:
        low, high = 1, 2
        if value <= mean(1):
            return value / mean(1)
        while mean(high) < value:
            low, high = high, 2 * high
            if high > _MOST:
                raise UnsupportedError(
                    "The estimate is beyond what the law of reference gives.",
                    received=f"{estimate.value:.3g} with {estimate.points} points",
                    needed=f"a dimension up to {_MOST}",
                )
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if mean(middle) < value else (low, middle)
        return low + (value - mean(low)) / (mean(high) - mean(low))

    error = 2.0 * (estimate.stderr if np.isfinite(estimate.stderr) else 0.0)
    with phase("clouds of known dimension"):
        ends = [invert(estimate.value + shift) for shift in (0.0, -error, error)]
    return CalibratedDimension(ends[0], ends[1], ends[2], law, estimate)


def _estimate(n: int, d: int, method: str, k: int, law: str, seed: int, draw: int) -> float:
    if n <= k + 1:
        raise InputError("There are not enough points.", received=f"points={n}",
                         needed=f"more than {k + 1}")  # fmt: skip
    check_memory(8.0 * n * (d + k), "The clouds of points", received=f"{n:,} points, {d} dims",
                 suggestion="fewer points")  # fmt: skip
    rng = np.random.default_rng([seed, draw, d])
    cloud = rng.normal(size=(n, d)) if law == "gaussian" else rng.uniform(size=(n, d))
    return ESTIMATORS[method](neighbours(cloud, k).distances)


def _check_name(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(
            f"There is no {name} of this name.",
            received=f"{name}={value!r}",
            needed=" or ".join(choices),
        )
