"""How much of a test set lies in the convex hull of the training set, space by space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import CALLABLE, COUNT, called, one_or_each, takes
from whydeep.data import INPUTS, check_inputs
from whydeep.errors import InputError
from whydeep.geometry.hull._certificates import HullMembership
from whydeep.geometry.hull._in_hull import in_hull
from whydeep.geometry.hull._random_hulls import gaussian_inside
from whydeep.network import check_whole
from whydeep.results import by_content

__all__ = ["Extrapolation", "extrapolation"]


@by_content
@dataclass(frozen=True, eq=False)
class Extrapolation:
    """The share of test points in the hull of the training points, a row a space.

    Args:
        dims: dimensions of each space.
        space: the name of each: "all" or "first k principal components".
        inside: share of test points inside.
        stderr: its binomial standard error, ``sqrt(p (1 - p) / M)``.
        low: the Wilson interval of 95%, which is no point where the share is 0 or 1.
        high: its other end.
        gaussian: what as many Gaussian points would give, exactly; NaN beyond 2,000 dimensions.
        train: N.
        test: M.
        memberships: each answer with its certificates.
    """

    dims: tuple[int, ...]
    space: tuple[str, ...]
    inside: np.ndarray
    stderr: np.ndarray
    low: np.ndarray
    high: np.ndarray
    gaussian: np.ndarray
    train: int
    test: int
    memberships: tuple[HullMembership, ...]

    def __str__(self) -> str:
        lines = [f"{self.test} test points in the hull of {self.train} training points",
                 f"{'space':<30}{'inside':>8}{'± 1 se':>9}{'95%':>17}{'Gaussian':>11}"]  # fmt: skip
        for k, name in enumerate(self.space):
            span = f"{self.low[k]:.3f} to {self.high[k]:.3f}"
            lines.append(
                f"{name:<30}{self.inside[k]:>8.3f}{self.stderr[k]:>9.3f}{span:>17}"
                f"{self.gaussian[k]:>11.3g}"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        shares = ", ".join(f"{d}: {p:.3f}" for d, p in zip(self.dims, self.inside, strict=True))
        return f"<inside the hull, by dimension: {shares}>"


@takes(train=INPUTS, test=INPUTS, dims=one_or_each(COUNT), embedding=CALLABLE, threads=COUNT)
def extrapolation(
    train: Any,
    test: Any,
    *,
    dims: int | Sequence[int] | None = None,
    embedding: Callable[[np.ndarray], Any] | None = None,
    threads: int | None = None,
) -> Extrapolation:
    """The share of test points inside the convex hull of the training points, in chosen spaces.

    A point inside is interpolated, in one sense of the word: it is a weighted mean of training
    points. Beside each share stands what N Gaussian points would give in that dimension, an exact
    number: the share falls with the dimension of the space in which the hull is taken, whatever
    the intrinsic dimension of the data.

    Args:
        train: (N, d), or whatever `embedding` takes.
        test: (M, d).
        dims: numbers of principal components of the training data to keep, one after the other;
            None for all of the space.
        embedding: a function of a batch of inputs that returns (batch, features), such as the
            hidden layer of a network; None for the inputs themselves.
        threads: as in `in_hull`.

    Raises:
        InputError: bad numbers or shapes; more components than there are.

    Accuracy: every answer is certified, so for these two sets the shares are exact. Standard
    errors are over the choice of test points from a population, given the training points.
    Cost: a call of `in_hull` a space.

    Source: Balestriero, Pesenti and LeCun 2021, definition 1 and section 3; Wilson 1927 (the
    interval).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = extrapolation(rng.normal(size=(200, 8)), rng.normal(size=(100, 8)), dims=[1, 8])
        >>> found.inside.tolist()
        [0.99, 0.13]
        >>> found.gaussian.round(2).tolist()
        [0.99, 0.18]
    """
    if embedding is None:
        rows, x = check_inputs(train, name="train"), check_inputs(test, name="test")
    else:
        rows = check_inputs(_embedded(embedding, train), name="embedding(train)")
        x = check_inputs(_embedded(embedding, test), name="embedding(test)")
    if rows.shape[1] != x.shape[1]:
        raise InputError(
            "Training and test points are in different spaces.",
            received=f"train {rows.shape}, test {x.shape}", needed="as many columns in both",
        )  # fmt: skip
    kept = _dims(dims, *rows.shape)
    mean = rows.mean(axis=0)
    if kept == (None,):
        spaces = [("all", rows, x)]
    else:
        triangle = np.linalg.qr(rows - mean, mode="r")
        axes = np.linalg.svd(triangle, full_matrices=False)[2]
        spaces = [
            (f"first {k} principal components", (rows - mean) @ axes[:k].T, (x - mean) @ axes[:k].T)
            for k in kept
            if k is not None
        ]
    found = tuple(in_hull(points, data, threads=threads) for _, data, points in spaces)
    share = np.array([answer.fraction for answer in found])
    sizes = tuple(data.shape[1] for _, data, _ in spaces)
    low, high = _wilson(share, len(x))
    return Extrapolation(
        sizes, tuple(name for name, _, _ in spaces), share,
        np.sqrt(share * (1 - share) / len(x)), low, high,
        np.array([gaussian_inside(len(rows), d) if d <= 2000 else np.nan for d in sizes]),
        len(rows), len(x), found,
    )  # fmt: skip


def _embedded(embedding: Callable[[np.ndarray], Any], x: Any) -> Any:
    if not callable(embedding):
        raise InputError("The embedding is no function.", received=type(embedding).__name__,
                         needed="a function of a batch of inputs")  # fmt: skip
    with called("embedding", "a function of a batch of inputs"):
        features = embedding(x)
    return features.detach().cpu().numpy() if hasattr(features, "detach") else features


def _dims(dims: int | Sequence[int] | None, n: int, d: int) -> tuple[int | None, ...]:
    if dims is None:
        return (None,)
    listed = tuple(dims) if isinstance(dims, Sequence) else (dims,)
    kept = tuple(check_whole("dims", k) for k in listed)
    most = min(n, d)
    if not kept or max(kept) > most:
        raise InputError(
            "There are not as many principal components.", received=f"dims={dims!r}",
            needed=f"numbers from 1 to {most}",
        )  # fmt: skip
    return kept


def _wilson(share: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The Wilson interval of 95%."""
    z = 1.959963984540054
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low, high = np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
    # Exact at the ends, where the formula leaves a rounding.
    low[share == 0.0], high[share == 1.0] = 0.0, 1.0
    return low, high
