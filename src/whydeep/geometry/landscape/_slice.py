"""One call: the loss on a line or a plane through a point of parameter space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import COUNT, FLAG, POSITIVE, SEED, TREE, anything, choice, count, takes
from whydeep.errors import InputError
from whydeep.geometry.landscape._directions import (
    NORMALISATIONS,
    Trajectory,
    random_directions,
)
from whydeep.geometry.landscape._hessian import top_vectors
from whydeep.geometry.landscape._losses import Loss, read_loss
from whydeep.network import check_number, check_whole
from whydeep.progress import progress_bar
from whydeep.results import by_content

__all__ = ["LossSlice", "loss_slice"]

_CHUNK_NUMBERS = 1 << 23  # parameters held at once: 64 MB in float64
_MOST_CHUNK = 256
_MARGIN = 0.2  # beyond the trajectory, on each side


@by_content
@dataclass(frozen=True, eq=False)
class LossSlice:
    """The loss on a line or a plane.

    Args:
        values: (points,) or (points, points): ``values[i, j]`` at ``axes[0][i], axes[1][j]``.
            Losses that overflow are inf or NaN, as they come.
        axes: coefficients along each direction.
        centre: the loss at the parameters themselves.
        directions: trees like the parameters.
        normalise: how random directions were scaled; "unit" for eigenvectors and trajectories,
            "given" for directions of the caller.
        lengths: |d| of each direction, beside |theta| of the parameters.
        cosine: between the two directions; NaN for a line.
        eigenvalues: of the Hessian along its directions; empty for others.
        path: (steps, dims) coordinates of a trajectory; None for others.
    """

    values: np.ndarray
    axes: tuple[np.ndarray, ...]
    centre: float
    directions: tuple[Any, ...]
    normalise: str
    lengths: tuple[float, ...]
    cosine: float
    eigenvalues: tuple[float, ...]
    path: np.ndarray | None

    def __repr__(self) -> str:
        shape = " x ".join(str(len(a)) for a in self.axes)
        low, high = np.nanmin(self.values), np.nanmax(self.values)
        return (
            f"<loss on {shape} points, {self.normalise}: {self.centre:.4g} at the centre, "
            f"{low:.4g} to {high:.4g}>"
        )


@takes(
    loss=anything, params=TREE, along=anything, dims=count(1, 2), span=POSITIVE,
    points=count(2, 10_000), normalise=choice(*NORMALISATIONS), biases=FLAG,
    filter_axis=count(-64, 64), seed=SEED, chunk=COUNT,
)  # fmt: skip
def loss_slice(
    loss: Any,
    params: Any,
    along: str | Trajectory | Sequence[Any] = "random",
    *,
    dims: int = 2,
    span: float = 1.0,
    points: int = 51,
    normalise: str = "filter",
    biases: bool = False,
    filter_axis: int | None = None,
    seed: int = 0,
    chunk: int | None = None,
) -> LossSlice:
    """The loss on a line or a plane of parameters, all points of it at once.

    ``values[i, j] = L(theta + a_i d_1 + b_j d_2)``. Random directions are scaled filter by
    filter, ``d_f <- d_f |w_f| / |d_f|``: then a step of 1 changes every filter by its own size,
    and rescaling the layers of a relu network, which changes no output, changes no picture.
    docs/landscape.md says what such pictures can tell and what they can't.

    Args:
        loss: ``loss(params)``, one number: a JAX function, or `torch_loss`'s.
        params: the centre: a tree of arrays (float64 arrays are computed in float64), or
            `torch_loss`'s dict.
        along: "random"; "hessian", the top eigenvectors; a `Trajectory`; or one or two trees like
            `params`.
        dims: 1 or 2, for "random" and "hessian".
        span: coefficients go from -span to span. For a trajectory the axes cover it instead.
        points: along each axis; an odd number has the centre among them.
        normalise: "filter", "layer" (a whole array at a time), or "none": of random directions.
        biases: whether arrays of one dimension move too, scaled as a whole.
        filter_axis: the axis of an array that counts filters: by default the last for JAX
            (inputs, outputs) and the first for PyTorch (outputs, inputs).
        seed: of random directions, and of Lanczos's first vector.
        chunk: points evaluated at once; by default what fits in 64 MB of parameters.

    Returns:
        A `LossSlice`: `values`, `axes`, `centre`, `directions`.

    Raises:
        InputError: bad arguments; trees of another form.
        UnsupportedError: a Hessian that is not finite.

    Accuracy: the dtype of the parameters. Cost: points^dims evaluations of the loss, vectorised.

    Source: Goodfellow, Vinyals and Saxe 2015 (lines); Li, Xu, Taylor, Studer and Goldstein 2018
    (filters, planes, trajectories).

    Example:
        >>> import jax.numpy as jnp
        >>> w = np.array([[3.0, 0.0], [4.0, 1.0]])  # filters, the columns, of lengths 5 and 1
        >>> found = loss_slice(lambda w: jnp.sum(w**2), w, dims=1, points=3)
        >>> found.centre, round(found.lengths[0]**2, 9)
        (26.0, 26.0)
        >>> bool(np.isclose(found.values[0] + found.values[2], 4 * 26))  # a parabola
        True
    """
    read = read_loss(loss, params)
    if normalise not in NORMALISATIONS:
        raise InputError("There is no such normalisation.", received=f"normalise={normalise!r}",
                         needed=", ".join(NORMALISATIONS))  # fmt: skip
    count = check_whole("points", points, least=2)
    width = check_number("span", span, positive=True)
    check_whole("seed", seed, least=0)
    if dims not in (1, 2):
        raise InputError("A slice has one or two dimensions.", received=f"dims={dims!r}")
    axes: tuple[np.ndarray, ...]
    eigenvalues: tuple[float, ...] = ()
    path, how = None, normalise
    if isinstance(along, Trajectory):
        directions = np.stack([read.vector(d) for d in along.directions[:2]])
        path, how = along.coordinates[:, : len(directions)], "unit"
        axes = tuple(_covering(path[:, k], count) for k in range(len(directions)))
    else:
        if isinstance(along, str):
            if along == "random":
                directions = random_directions(
                    read, dims, normalise, biases=biases, filter_axis=filter_axis, seed=seed
                )
            elif along == "hessian":
                values, directions, _ = top_vectors(read, dims, "largest", seed)
                eigenvalues, how = tuple(float(v) for v in values), "unit"
            else:
                raise InputError(
                    "There are no such directions.", received=f"along={along!r}",
                    needed='"random", "hessian", a Trajectory, or one or two trees',
                )  # fmt: skip
        else:
            directions, how = _given(read, along), "given"
        axes = (np.linspace(-width, width, count),) * len(directions)
    lengths = np.linalg.norm(directions, axis=1)
    if not lengths.min() > 0:
        raise InputError(
            "A direction is zero.",
            received=f"lengths {', '.join(f'{v:.3g}' for v in lengths)}",
            cause="only arrays of one dimension, which stay put, or filters that are zero",
            suggestion="biases=True, or normalise='none'",
        )
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    found = _evaluated(read, directions, np.vstack([np.zeros(len(axes)), grid]), chunk)
    cosine = (
        float(directions[0] @ directions[1] / lengths[0] / lengths[1])
        if len(directions) == 2
        else float("nan")
    )
    return LossSlice(
        found[1:].reshape([len(a) for a in axes]), axes, float(found[0]),
        tuple(read.tree(d) for d in directions), how, tuple(float(v) for v in lengths), cosine,
        eigenvalues, path,
    )  # fmt: skip


def _given(read: Loss, along: Sequence[Any]) -> np.ndarray:
    if not isinstance(along, Sequence) or not 1 <= len(along) <= 2:
        raise InputError(
            "A slice has one or two directions.", received=type(along).__name__,
            needed="a list of one or two trees like the parameters",
        )  # fmt: skip
    return np.stack([read.vector(tree) for tree in along])


def _covering(coordinates: np.ndarray, count: int) -> np.ndarray:
    """An axis that covers a path and some more."""
    low, high = float(coordinates.min()), float(coordinates.max())
    more = _MARGIN * ((high - low) or 1.0)
    return np.linspace(low - more, high + more, count)


def _evaluated(
    read: Loss, directions: np.ndarray, coefficients: np.ndarray, chunk: int | None
) -> np.ndarray:
    """Losses chunk by chunk, all of one size, so that one function is compiled."""
    if chunk is None:
        size = max(1, min(_MOST_CHUNK, _CHUNK_NUMBERS // directions.shape[1]))
    else:
        size = check_whole("chunk", chunk)
    size = min(size, len(coefficients))
    found = np.empty(len(coefficients))
    starts = range(0, len(coefficients), size)
    with progress_bar("loss slice", len(starts)) as advance:
        for start in starts:
            part = coefficients[start : start + size]
            padded = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            found[start : start + size] = read.on_points(directions, padded)[: len(part)]
            advance()
    return found
