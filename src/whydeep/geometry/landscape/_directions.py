"""Directions in the space of parameters: random and normalised by filter, or along training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import COUNT, anything, shown, takes
from whydeep.brief import brief
from whydeep.errors import InputError
from whydeep.geometry.landscape._losses import Loss, read_loss
from whydeep.network import check_whole
from whydeep.results import by_content

__all__ = ["NORMALISATIONS", "Trajectory", "random_directions", "trajectory_directions"]

NORMALISATIONS = ("filter", "layer", "none")


@by_content
@dataclass(frozen=True, eq=False)
class Trajectory:
    """Points of training in the plane that holds most of their way.

    Args:
        directions: unit vectors, trees like the parameters.
        coordinates: (points, directions) of every point, relative to the last.
        explained: the share of the sum of squares of each direction.
        random_walk: what it would be for a random walk in many dimensions, 8 / (pi (2k - 1))^2:
            0.81 and 0.09. Shares like these say nothing about the landscape.
    """

    directions: tuple[Any, ...]
    coordinates: np.ndarray
    explained: np.ndarray
    random_walk: np.ndarray

    __repr__ = brief


def random_directions(
    loss: Loss, count: int, normalise: str, *, biases: bool, filter_axis: int | None, seed: int
) -> np.ndarray:
    """Gaussian directions (count, P), each filter as long as that of the parameters.

    ``d_f <- d_f |w_f| / |d_f|`` for every filter f, what one output neuron or channel receives.
    Arrays of one dimension (biases, norms) stay put, or with `biases` are scaled as a whole.

    Source: Li, Xu, Taylor, Studer and Goldstein 2018, section 4.
    """
    axis = loss.filter_axis if filter_axis is None else filter_axis
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        parts = []
        for w in loss.leaves:
            d = rng.normal(size=w.shape)
            if normalise == "none":
                pass
            elif w.ndim < 2:
                d = d * (_ratio(w, d, None) if biases else 0.0)
            elif normalise == "layer":
                d = d * _ratio(w, d, None)
            else:
                if not -w.ndim <= axis < w.ndim:
                    raise InputError(
                        "An array has no such axis of filters.",
                        received=f"filter_axis={axis}, shape {w.shape}",
                    )
                others = tuple(a for a in range(w.ndim) if a != axis % w.ndim)
                d = d * _ratio(w, d, others)
            parts.append(d.ravel())
        found.append(np.concatenate(parts))
    return np.stack(found)


def _ratio(w: np.ndarray, d: np.ndarray, axes: tuple[int, ...] | None) -> np.ndarray:
    """|w| / |d|, over all axes or over some; Gaussian numbers are not 0."""
    own = np.sqrt(np.sum(w**2, axis=axes, keepdims=True))
    return own / np.sqrt(np.sum(d**2, axis=axes, keepdims=True))


@takes(loss=anything, trajectory=anything, count=COUNT)
def trajectory_directions(loss: Any, trajectory: Sequence[Any], *, count: int = 2) -> Trajectory:
    """The directions along which parameters moved most on their way to where they ended.

    The leading right singular vectors of the rows ``theta_t - theta_T``: the plane through the
    last point that comes closest to all others.

    Args:
        loss: the loss that was trained; it is not evaluated beyond its shape.
        trajectory: parameters at successive times, trees; the last is the centre.
        count: how many directions, fewer than there are points.

    Returns:
        A `Trajectory`; give it to `loss_slice` as `along`.

    Raises:
        InputError: too few points, or points of other forms; points that do not move.

    Accuracy: rounding. Cost: the square of the number of points times that of the parameters.

    Source: Li et al. 2018, section 7; Antognini and Sohl-Dickstein 2018 (random walks).

    Example:
        >>> def bowl(w):
        ...     return (w @ w) / 2
        >>> path = [np.array([2.0**-t, 0.5**(2 * t), 0.0]) for t in range(8)]
        >>> found = trajectory_directions(bowl, path)
        >>> found.coordinates.shape, bool(found.explained[0] > 0.9)
        ((8, 2), True)
    """
    count = check_whole("count", count)
    if not isinstance(trajectory, Sequence) or len(trajectory) <= count:
        raise InputError(
            "The trajectory is too short.",
            received=str(len(trajectory))
            if isinstance(trajectory, Sequence)
            else shown(trajectory),
            needed=f"more than {count} points: trees of parameters",
        )
    read = read_loss(loss, trajectory[-1])
    last = np.concatenate([w.ravel() for w in read.leaves])
    rows = np.stack([read.vector(point) for point in trajectory]) - last
    values, vectors = np.linalg.eigh(rows @ rows.T)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    total = float(np.sum(rows**2))
    if not values[-1] > 1e-24 * total or total == 0:
        raise InputError(
            "The points do not span that many directions.",
            received=f"{len(rows)} points, {count} directions",
            suggestion="a smaller count",
        )
    coordinates = vectors * np.sqrt(values)
    directions = (vectors / np.sqrt(values)).T @ rows
    k = np.arange(1, count + 1)
    return Trajectory(
        tuple(read.tree(d) for d in directions), coordinates, values / total,
        8.0 / (np.pi * (2 * k - 1)) ** 2,
    )  # fmt: skip
