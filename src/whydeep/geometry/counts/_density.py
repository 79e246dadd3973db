"""Hanin and Rolnick's densities: how much boundary a drawn network has, at any width and depth.

By the formula of Kac and Rice the zeros of a neuron ``z(x) = w . h(x) + b`` have the mean density
``E[|grad z(x)| p(-w . h(x))]`` with p the density of its bias. The expectation is over networks
that are drawn; the bias itself is integrated, so that no zero has to be found: nothing here is
shared with `breakpoints` and `regions`, which count.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import (
    COUNT,
    NUMBER,
    POSITIVE,
    SEED,
    array,
    check_memory,
    check_time,
    count,
    each,
    takes,
)
from whydeep.errors import InputError
from whydeep.geometry.partition import check_window
from whydeep.network import check_number, check_whole
from whydeep.progress import progress_bar
from whydeep.results import by_content

__all__ = ["BoundaryDensity", "plane_density", "segment_density"]


@by_content
@dataclass(frozen=True, eq=False)
class BoundaryDensity:
    """Boundary in a segment or a window, by layer, averaged over drawn networks.

    On a segment the density is of breakpoints, a unit of length; on a plane, of the length of
    zero lines, a unit of area.

    Args:
        draws: (networks, layers): each network's own density of sign changes; its mean estimates.
        felt: (layers,): the share of those that the output feels, because some unit of every later
            layer is active there: ``prod (1 - 2^-n)`` over the later widths, exactly, as every unit
            is off with probability 1/2 whatever the layers below do.
        size: the length of the segment or the area of the window.
    """

    draws: np.ndarray
    felt: np.ndarray
    size: float

    def __repr__(self) -> str:
        return f"<density {self.mean:.6g} ± {self.stderr:.2g}, {len(self.draws)} networks>"

    @property
    def by_layer(self) -> np.ndarray:
        """(layers,): the density of sign changes of all neurons of a layer."""
        return self.draws.mean(axis=0)

    @property
    def by_layer_stderr(self) -> np.ndarray:
        """(layers,): its standard errors over networks."""
        return self.draws.std(axis=0, ddof=1) / np.sqrt(len(self.draws))

    @property
    def mean(self) -> float:
        """Of all layers."""
        return float(self.by_layer.sum())

    @property
    def stderr(self) -> float:
        """Its standard error."""
        return float(self.draws.sum(axis=1).std(ddof=1) / np.sqrt(len(self.draws)))

    @property
    def bending(self) -> float:
        """The density of places where the function itself bends."""
        return float(self.by_layer @ self.felt)

    @property
    def bending_stderr(self) -> float:
        """Its standard error."""
        return float((self.draws @ self.felt).std(ddof=1) / np.sqrt(len(self.draws)))

    @property
    def expected(self) -> float:
        """Breakpoints on the segment, or the length of zero lines in the window."""
        return self.mean * self.size

    @property
    def expected_stderr(self) -> float:
        """Its standard error."""
        return self.stderr * self.size


@takes(
    widths=each(COUNT, least=1), start=array(), end=array(), weight_var=POSITIVE,
    bias_var=POSITIVE, networks=count(2), points=COUNT, seed=SEED,
)  # fmt: skip
def segment_density(
    widths: Sequence[int],
    start: Any,
    end: Any,
    *,
    weight_var: float = 2.0,
    bias_var: float,
    networks: int = 400,
    points: int = 16,
    seed: int = 0,
) -> BoundaryDensity:
    """Expected breakpoints a unit of length on a segment, of drawn relu networks of finite width.

    ``sum over neurons of int E[|dz/dx| p(z = 0 by its bias)] dx / length``; weights are
    ``N(0, weight_var / fan_in)``, biases ``N(0, bias_var)``.

    Args:
        widths: n_1 ... n_L of the hidden layers.
        start: one input, (d,).
        end: another.
        weight_var: of every layer.
        bias_var: of every layer, positive: the bias must have a density.
        networks: how many are drawn.
        points: of the segment for each network, uniform.
        seed: of networks and points.

    Returns:
        A `BoundaryDensity`.

    Raises:
        InputError: inputs of different shapes, bad sizes or variances.

    Accuracy: unbiased at every width; the standard error over networks is in the result.
    Cost: networks times points times the number of weights.

    Source: Hanin and Rolnick 2019 (ICML): the mean volume of the boundary in any dimension; Kac
    1943 and Rice 1944.

    Example:
        >>> from whydeep.geometry.counts import wide_crossings
        >>> p, q = np.array([-1.0, 0.0]), np.array([1.0, 0.0])
        >>> found = segment_density([10], p, q, bias_var=1.0)
        >>> exact = 10 * wide_crossings(p, q, 1, bias_var=1.0)[0]
        >>> bool(abs(found.expected - exact) < 4 * found.expected_stderr)
        True
    """
    p, q = (start, end)
    if p.ndim != 1 or p.shape != q.shape or not (p != q).any():
        raise InputError("A segment is between two different inputs of one shape (d,).",
                         received=f"{p.shape} and {q.shape}")  # fmt: skip
    length = float(np.linalg.norm(q - p))
    ways = ((q - p) / length)[None]
    return _density(widths, p, ways, (0.0, length), weight_var, bias_var, networks, points, seed)


@takes(
    widths=each(COUNT, least=1), origin=array(), u=array(), v=array(), window=each(NUMBER,
    exactly=4), weight_var=POSITIVE, bias_var=POSITIVE, networks=count(2), points=COUNT,
    seed=SEED,
)  # fmt: skip
def plane_density(
    widths: Sequence[int],
    origin: Any,
    u: Any,
    v: Any,
    window: Sequence[float] = (-1, 1, -1, 1),
    *,
    weight_var: float = 2.0,
    bias_var: float,
    networks: int = 400,
    points: int = 16,
    seed: int = 0,
) -> BoundaryDensity:
    """Expected length of zero lines a unit of area on a plane, of drawn relu networks.

    As `segment_density`, with the gradient in the plane. Lengths and areas are in coordinates of
    the plane, ``x = origin + s u + t v``: those of input space if u and v are orthonormal.

    Args:
        widths: n_1 ... n_L of the hidden layers.
        origin: one input, (d,).
        u: a direction.
        v: another.
        window: smallest and largest s, smallest and largest t.
        weight_var: of every layer.
        bias_var: of every layer, positive.
        networks: how many are drawn.
        points: of the window for each network, uniform.
        seed: of networks and points.

    Returns:
        A `BoundaryDensity`: by layer, what `region_statistics` finds as `lengths`, over the area.

    Raises:
        InputError: inputs of different shapes, an empty window, bad sizes or variances.

    Accuracy and cost as `segment_density`.

    Source: Hanin and Rolnick 2019 (ICML).

    Example:
        >>> found = plane_density([20, 20], np.zeros(2), *np.eye(2), bias_var=0.1)
        >>> found.draws.shape, found.size
        ((400, 2), 4.0)
    """
    base, one, two = (origin, u, v)
    if base.ndim != 1 or base.shape != one.shape or base.shape != two.shape:
        raise InputError("A plane is given by an input and two directions of one shape (d,).",
                         received=f"{base.shape}, {one.shape} and {two.shape}")  # fmt: skip
    ways = np.stack([one, two])
    sides = check_window(window)
    return _density(widths, base, ways, sides, weight_var, bias_var, networks, points, seed)


def _density(
    widths: Sequence[int], origin: np.ndarray, ways: np.ndarray, sides: tuple[float, ...],
    weight_var: float, bias_var: float, networks: int, points: int, seed: int,
) -> BoundaryDensity:  # fmt: skip
    """On a segment or a window: its sides, and the directions that the gradient is taken along."""
    if not len(widths):
        raise InputError("There is no hidden layer.", needed="widths (n_1, ..., n_L)")
    sizes = [len(origin), *(check_whole("widths", n) for n in widths)]
    check_number("weight_var", weight_var, positive=True)
    check_number("bias_var", bias_var, positive=True)
    check_whole("networks", networks, least=2)
    check_whole("points", points)
    rng = np.random.default_rng(check_whole("seed", seed, least=0))
    widest = max(sizes[1:])
    check_memory(
        8.0 * points * widest * (3 + 2 * len(ways)) + 8.0 * networks * len(widths),
        "The values of the neurons", received=f"{points:,} points, {widest:,} neurons a layer",
        suggestion="fewer points",
    )  # fmt: skip
    # A network takes tens of microseconds at the least.
    check_time(2e-5 * networks, "So many networks", most_days=0.1,
               received=f"networks={networks:,}", suggestion="fewer: some hundreds")  # fmt: skip
    low, high = np.array(sides[::2]), np.array(sides[1::2])
    draws = np.empty((networks, len(widths)))
    with progress_bar("drawing networks", networks) as advance:
        for number in range(networks):
            weights = [
                np.sqrt(weight_var / n) * rng.normal(size=(m, n))
                for n, m in itertools.pairwise(sizes)
            ]
            biases = [np.sqrt(bias_var) * rng.normal(size=m) for m in sizes[1:]]
            x = origin + rng.uniform(low, high, size=(points, len(low))) @ ways
            draws[number] = _rates(weights, biases, x, ways, bias_var)
            advance()
    alive = 1 - 0.5 ** np.array([*sizes[2:], np.inf])  # of the layers above each one
    felt = np.cumprod(alive[::-1])[::-1]
    return BoundaryDensity(draws, felt, float(np.prod(high - low)))


def _rates(
    weights: list[np.ndarray], biases: list[np.ndarray], x: np.ndarray, ways: np.ndarray,
    bias_var: float,
) -> np.ndarray:  # fmt: skip
    """Of one network, each layer's rate of sign changes: mean over points, sum over neurons."""
    h, slopes = x, np.tile(ways, (len(x), 1, 1))  # (points, ways, inputs)
    found = []
    for w, b in zip(weights, biases, strict=True):
        sums, gradient = h @ w.T, slopes @ w.T
        with np.errstate(over="ignore"):  # a sum that is too far from 0 for so narrow a density
            at_zero = np.exp(-(sums**2) / (2 * bias_var)) / np.sqrt(2 * np.pi * bias_var)
        rates = np.linalg.norm(gradient, axis=1) * at_zero
        found.append(rates.sum(axis=1).mean())
        z = sums + b
        h, slopes = np.maximum(z, 0.0), gradient * (z > 0)[:, None]
    return np.array(found)
