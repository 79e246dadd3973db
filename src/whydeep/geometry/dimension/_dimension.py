"""The front door of intrinsic dimension."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from whydeep.arguments import COUNT, choice, takes
from whydeep.data import INPUTS
from whydeep.errors import InputError
from whydeep.geometry.dimension._estimators import ESTIMATORS, jackknife
from whydeep.geometry.dimension._neighbours import blocks, neighbours
from whydeep.geometry.dimension._other import OTHERS, other_dimension
from whydeep.geometry.dimension._result import Dimension
from whydeep.network import check_whole

__all__ = ["METHODS", "from_distances", "intrinsic_dimension", "read_neighbours"]

METHODS = tuple(ESTIMATORS)

_MANY = 1 / 3  # share of ties at which there is no estimate
_SOME = 0.02  # share of ties that is worth a warning

SOURCES = {
    "twonn": "Facco, d'Errico, Rodriguez and Laio 2017, Scientific Reports 7:12140",
    "twonn_slope": "Facco, d'Errico, Rodriguez and Laio 2017, Scientific Reports 7:12140",
    "mle": "Levina and Bickel 2004, Eq. 8; MacKay and Ghahramani 2005 (the average)",
    "gride": "Denti, Doimo, Laio and Mira 2022, Scientific Reports 12:20005, Eq. 5",
}
_NEIGHBOURS = {"twonn": 2, "twonn_slope": 2, "mle": 20, "gride": 4}


@takes(x=INPUTS, method=choice(*METHODS, *OTHERS), k=COUNT)
def intrinsic_dimension(x: Any, method: str = "twonn", *, k: int | None = None) -> Dimension:
    """The dimension of the manifold that a cloud of points lies on, with an error bar.

    With T_1 < T_2 < ... the distances of a point to its neighbours, and sums over all N points::

        twonn         (N - 1) / sum log(T_2/T_1)
        twonn_slope   slope of -log(1 - F) on log(T_2/T_1), without the largest tenth
        mle           (N (k-1) - 1) / sum_i sum_{j<k} log(T_k/T_j)
        gride         maximum likelihood from T_k / T_(k/2): (T_(k/2)/T_k)^d ~ Beta(k/2, k/2)

    "twonn" sees the smallest scale, and noise there; "mle" and "gride" with larger k look at
    larger scales with smaller error (`dimension_over_scales` shows all of them).

    Args:
        x: (N, D) points, one a row. Equal rows count once.
        method: as above, or a class of scikit-dimension, if that is installed: "lPCA",
            "CorrInt", "DANCo", "ESS", "FisherS", "KNN", "MADA", "MiND_ML", "MOM", "TLE".
        k: neighbours: 2 for "twonn"; by default 20 for "mle" and 4 for "gride" (even).

    Returns:
        A `Dimension`: `value`, `stderr`, `duplicates`, `ties`, `distance`, `cite()`.

    Raises:
        InputError: bad numbers; too few distinct points; an unknown method; more than a third of
            the points with two nearest neighbours at one distance, as on a grid.
        UnsupportedError: a method of scikit-dimension where that is not installed.

    Warns:
        UserWarning: more than 2% of the points are like that.

    Accuracy: the laws are exact for constant density on a flat manifold. **Known bias**: with
    2,000 points true dimensions of 2, 5, 10 and 20 come out as about 2, 5, 9 and 15, by all of
    these: see `reference_dimension` and `calibrated_dimension`. Standard errors are of sampling,
    by a jackknife over blocks of space; they allow for neighbours that points share. On Gaussian
    clouds of 5 to 20 dimensions they are within a fifth of the spread of estimates.
    Cost: one search for neighbours: N log N for few columns, N^2 D for many.

    Source: Facco et al. 2017; Levina and Bickel 2004; MacKay and Ghahramani 2005; Denti et al.
    2022.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> plane = rng.normal(size=(1000, 2)) @ rng.normal(size=(2, 50))
        >>> intrinsic_dimension(plane)
        <intrinsic dimension 1.99 ± 0.077: twonn, 1000 points>
        >>> round(intrinsic_dimension(plane, "mle").value, 1)
        2.0
    """
    if method in OTHERS:
        return other_dimension(x, method)
    if method not in ESTIMATORS:
        raise InputError(
            "There is no such estimator of dimension.", received=f"method={method!r}",
            needed=", ".join((*METHODS, *OTHERS)),
        )  # fmt: skip
    count = read_neighbours(method, k)
    found = neighbours(x, count)
    return from_distances(
        method, found.distances, blocks(found.points), len(found.points), found.duplicates,
        found.ties,
    )  # fmt: skip


def read_neighbours(method: str, k: int | None) -> int:
    """How many neighbours a method uses, or an `InputError`."""
    if k is None:
        return _NEIGHBOURS[method]
    count = check_whole("k", k, least=2)
    if method.startswith("twonn") and count != 2:
        raise InputError("TwoNN has two neighbours.", received=f"k={k}", needed="k=2, or no k",
                         suggestion=f'method="gride", k={count}')  # fmt: skip
    if method == "gride" and count % 2:
        raise InputError("Gride compares k neighbours with k/2.", received=f"k={k}",
                         needed="an even number")  # fmt: skip
    return count


def from_distances(
    method: str, distances: np.ndarray, number: np.ndarray, points: int, duplicates: int, ties: int
) -> Dimension:
    """An estimate from distances (N, k) and the blocks (N,) of the points."""
    estimate = ESTIMATORS[method]
    value = estimate(distances) if ties <= _MANY * points else np.inf
    if not np.isfinite(value):
        raise InputError(
            "The nearest neighbours are equally far: no dimension follows from them.",
            received=f"{points} distinct points, {ties} of them with two nearest neighbours at one "
            "distance, to rounding",
            needed="points of a continuous law, for which that never happens",
            cause="points of a regular grid, numbers rounded to few digits, or a simplex",
            suggestion="the numbers before they were rounded, or x + uniform noise as large as "
            "the step of the rounding: the dimension is then that of larger scales",
        )
    if ties > _SOME * points:
        warnings.warn(
            f"{ties} of {points} points have two nearest neighbours at one distance, as rounded "
            "numbers have: the estimate is too large, by some per cent for every per cent of them "
            'if it is "twonn". Numbers before they were rounded, fewer points, or "mle" with more '
            "neighbours have less of this.",
            stacklevel=3,
        )
    return Dimension(
        value, jackknife(estimate, distances, number), method, distances.shape[1], points,
        duplicates, ties, float(np.median(distances[:, -1])), SOURCES[method],
    )  # fmt: skip
