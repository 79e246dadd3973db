"""Dimension scale by scale, beside a Gaussian cloud with the same covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import SEED, count, takes
from whydeep.brief import brief
from whydeep.data import INPUTS, check_inputs
from whydeep.geometry.dimension._dimension import from_distances
from whydeep.geometry.dimension._neighbours import blocks, neighbours
from whydeep.geometry.dimension._result import Dimension
from whydeep.network import check_whole
from whydeep.results import by_content

__all__ = ["ManifoldTest", "dimension_over_scales", "manifold_test"]


@by_content
@dataclass(frozen=True)
class ManifoldTest:
    """Dimensions of data and of Gaussian clouds with their covariance, over scales.

    Args:
        data: Gride estimates from the smallest scale to the largest.
        gaussian: those of the Gaussian clouds, the mean over draws.
        gaussian_spread: their standard deviations over draws.
        columns: D, the dimension of the space.
        participation: ``(tr C)^2 / tr C^2``, the effective number of dimensions that the
            covariance C alone implies.
        draws: how many clouds.
        seed: of the clouds.
    """

    data: tuple[Dimension, ...]
    gaussian: np.ndarray
    gaussian_spread: np.ndarray
    columns: int
    participation: float
    draws: int
    seed: int

    __repr__ = brief

    @property
    def z(self) -> np.ndarray:
        """How many standard errors the data lie below the Gaussian, scale by scale."""
        error = np.array([d.stderr for d in self.data])
        own = np.array([d.value for d in self.data])
        return (self.gaussian - own) / np.sqrt(
            error**2 + self.gaussian_spread**2 * (1 + 1 / self.draws)
        )

    @property
    def verdict(self) -> str:
        """In words: is there structure of low dimension beyond the covariance, and does it last.

        "below" where the data are under the Gaussian by 4 standard errors at every scale; "flat"
        where the estimate changes by less than a fifth over the scales.
        """
        values = np.array([d.value for d in self.data])
        drift = float(values.max() / values.min() - 1)
        steady = (
            f"It is flat over the scales, to {drift:.0%}: one manifold of about that dimension."
            if drift < 0.2
            else f"It changes by {drift:.0%} over the scales: "
            + (
                "larger at the smallest, as noise makes it."
                if values[0] > values[-1]
                else "smaller at the smallest, so the dimension is a matter of scale."
            )
        )
        if (self.z > 4).all():
            first = (
                f"Dimension {values.min():.3g} to {values.max():.3g}, below a Gaussian of the "
                f"same covariance ({self.gaussian.min():.3g} to {self.gaussian.max():.3g}) at every"
                " scale: structure that the covariance does not explain."
            )
        elif (self.z > 4).any():
            first = (
                "Below a Gaussian of the same covariance at some scales only: "
                f"{int((self.z > 4).sum())} of {len(values)}."
            )
        else:
            first = (
                "Not below a Gaussian of the same covariance: these estimates give no evidence "
                "of a manifold of lower dimension than the covariance implies."
            )
        return f"{first} {steady}"

    def __str__(self) -> str:
        lines = [f"{'neighbours':>10}{'distance':>11}{'dimension':>18}{'Gaussian':>18}{'z':>8}"]
        for k, d in enumerate(self.data):
            own = f"{d.value:.2f} ± {d.stderr:.2f}"
            other = f"{self.gaussian[k]:.2f} ± {self.gaussian_spread[k]:.2f}"
            lines.append(f"{d.neighbours:>10}{d.distance:>11.3g}{own:>18}{other:>18}"
                         f"{self.z[k]:>8.1f}")  # fmt: skip
        return "\n".join([*lines, self.verdict])


@takes(x=INPUTS, most=count(2))
def dimension_over_scales(x: Any, *, most: int = 128) -> tuple[Dimension, ...]:
    """Gride's estimate from k = 2, 4, 8 ... neighbours: the dimension as the scale grows.

    From one search for neighbours. k = 2 is TwoNN. A plateau is a dimension; a fall from the
    smallest scale on is noise; a rise or fall further up is curvature and boundary.

    Args:
        x: (N, D) points.
        most: neighbours at the largest scale; at most N/8.

    Raises:
        InputError: bad numbers; too few points.

    Accuracy and cost: as `intrinsic_dimension`.

    Source: Denti, Doimo, Laio and Mira 2022.

    Example:
        >>> line = np.random.default_rng(0).uniform(size=(512, 1)) @ np.ones((1, 3))
        >>> noisy = line + 1e-3 * np.random.default_rng(1).normal(size=(512, 3))
        >>> [round(d.value, 1) for d in dimension_over_scales(noisy, most=64)][::5]
        [2.2, 0.9]
    """
    most = check_whole("most", most, least=2)
    rows = check_inputs(x)
    count = max(2, min(most, len(np.unique(rows, axis=0)) // 8))
    ks = [2**j for j in range(1, int(np.log2(count)) + 1)]
    found = neighbours(rows, ks[-1])
    number = blocks(found.points)
    return tuple(
        from_distances(
            "gride", found.distances[:, :k], number, len(found.points), found.duplicates, found.ties
        )
        for k in ks
    )


@takes(x=INPUTS, most=count(2), draws=count(2), seed=SEED)
def manifold_test(x: Any, *, most: int = 128, draws: int = 4, seed: int = 0) -> ManifoldTest:
    """Is the dimension of data lower, scale by scale, than their covariance alone implies?

    The manifold hypothesis says that data fill only few dimensions. Estimates fall low by
    themselves in high dimension, so the number alone proves nothing: beside it stands what the
    same estimator gives for as many Gaussian points with the covariance of the data.

    Args:
        x: (N, D) points.
        most: neighbours at the largest scale.
        draws: Gaussian clouds, 2 or more.
        seed: of the clouds.

    Returns:
        A `ManifoldTest`: `data`, `gaussian`, `z`, `verdict`; it prints as a table.

    Raises:
        InputError: bad numbers; too few points.

    Accuracy: standard errors of both sides; the bias of the estimator is alike on both. Cost:
    `draws` + 1 searches for neighbours.

    Source: Fefferman, Mitter and Narayanan 2016 (the hypothesis and its testing); Pope et al.
    2021 (images); Denti et al. 2022 (the estimator).

    Example:
        >>> angle = np.random.default_rng(0).uniform(0, 6.283, size=600)
        >>> circle = np.column_stack([np.cos(angle), np.sin(angle)])
        >>> print(manifold_test(circle, most=16).verdict)
        Dimension 0.967 to 1.01, below a Gaussian of the same covariance (1.94 to 2.06) at every
        scale: structure that the covariance does not explain. It is flat over the scales, to 4%:
        one manifold of about that dimension.
    """
    check_whole("draws", draws, least=2)
    check_whole("seed", seed, least=0)
    own = dimension_over_scales(x, most=most)
    rows = np.unique(check_inputs(x), axis=0)
    centred = rows - rows.mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    scales = values / np.sqrt(len(rows))
    kept = scales > 0
    clouds = []
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw])
        cloud = rng.normal(size=(own[0].points, int(kept.sum()))) * scales[kept] @ axes[kept]
        clouds.append([d.value for d in dimension_over_scales(cloud, most=own[-1].neighbours)])
    found = np.array(clouds)
    variances = (scales / scales[0]) ** 2
    return ManifoldTest(
        own, found.mean(axis=0), found.std(axis=0, ddof=1), rows.shape[1],
        float(variances.sum() ** 2 / np.sum(variances**2)), draws, seed,
    )  # fmt: skip
