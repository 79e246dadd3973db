"""Steps and what comes of them: a stable one from measured curvature, and words for divergence."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.ensemble.training._curvature import sharpness
from whydeep.ensemble.training._observe import Data
from whydeep.ensemble.training._optimiser import SGD
from whydeep.ensemble.training._steps import Task, compiled_steps, draw_key

__all__ = ["MOST_GROWTH", "curvature_at_start", "stable_step", "warn_of_divergence"]

_NETWORKS = 4
_START = 8
MOST_GROWTH = 1.001
"""Of the training loss: what is more than rounding is told."""


@functools.lru_cache(maxsize=16)
def _compiled(task: Task) -> Any:
    def one(words: Any, index: Any, parameters: Any, x: Any, y: Any) -> Any:
        key = jax.random.fold_in(draw_key(words, index), _START)
        return sharpness(task, parameters, x, y, key)[0]

    return jax.jit(one)


def curvature_at_start(task: Task, data: Data, words: np.ndarray, draws: int) -> float:
    """The largest ``lambda_max`` of the first networks at initialisation; see `sharpness`."""
    # One at a time, and the same however it is trained.
    alone = dataclasses.replace(task, optimiser=SGD, batch=None, lanes=1)
    found = []
    with jax.enable_x64(task.dtype == "float64"):
        steps, measure = compiled_steps(alone), _compiled(alone)
        x, y, seed = jnp.asarray(data.x), jnp.asarray(data.y), jnp.asarray(words)
        for index in range(min(_NETWORKS, draws)):
            number = jnp.full(1, index, jnp.uint32)
            parameters = steps.draw(seed, number)
            found.append(float(measure(seed, number[0], parameters, x, y)))
    return max(found)


def stable_step(task: Task, curvature: float) -> float | None:
    """Below it the linearised network converges, full batch; None where that is not known.

    ``2 / lambda_max`` for gradient descent, ``2 (1 + m) / lambda_max`` with momentum m (heavy
    ball, torch's convention). Adam has no threshold before training.

    Source: Polyak 1964; Cohen et al. 2022.
    """
    margin = task.optimiser.margin
    return None if margin is None or not curvature > 0 else margin / curvature


def warn_of_divergence(
    losses: np.ndarray, steps: np.ndarray, step: float | None, stable: float | None
) -> None:
    """Say how many networks diverged, or ended above where they began, and the likely cause."""
    lost = ~np.isfinite(losses)
    if lost[:, -1].any():
        first = int(steps[np.argmax(lost.any(axis=0))])
        said = (
            f"{int(lost[:, -1].sum())} of {len(losses)} networks have diverged: a loss that is not "
            f"finite, first seen at step {first}; means that include them are not finite either "
            "(trained.finite() leaves them out)"
        )
    else:
        grown = losses[:, -1] > MOST_GROWTH * losses[:, 0]
        said = (
            f"{int(grown.sum())} of {len(losses)} networks end with a larger training loss than "
            "they began with"
        )
    if step is not None and stable is not None:
        relation = "above" if step > stable else "below"
        said += (
            f"; the step {step:.4g} is {relation} {stable:.4g}, the largest stable one on all "
            f"examples, measured at initialisation"
        )
    warnings.warn(said, RuntimeWarning, stacklevel=3)
