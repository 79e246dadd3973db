"""Means over drawn initialisations, for losses under which outputs at time t are not Gaussian."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from whydeep.theory.training._dynamics import Dynamics
from whydeep.theory.training._function_space import evolve_outputs
from whydeep.theory.training._losses import Loss

__all__ = ["drawn_training"]

Arrays = dict[str, np.ndarray]


def drawn_training(
    nngp: np.ndarray, ntk: np.ndarray, labels: np.ndarray, times: np.ndarray, *, loss: Loss,
    dynamics: Dynamics, relative_error: float, full: bool, draws: int, seed: int, tolerance: float,
) -> tuple[Arrays, Arrays]:  # fmt: skip
    """Means over D draws of f_0 ~ N(0, K) of what training makes of them, and standard errors.

    Outputs of different index start independent; the loss may tie them together. Every draw is
    followed exactly (finite steps) or within `tolerance` (flows).
    """
    values, vectors = linalg.eigh(nngp)
    root = vectors * np.sqrt(values.clip(min=0.0))
    rng = np.random.default_rng(seed)
    start = root @ rng.standard_normal((draws, len(nngp), labels.shape[1]))
    outputs = evolve_outputs(
        ntk, start, labels, times, loss=loss, dynamics=dynamics, relative_error=relative_error,
        tolerance=tolerance,
    )  # fmt: skip
    n = len(labels)
    means, errors = {}, {}
    for side, part in (("train", outputs[:, :, :n]), ("test", outputs[:, :, n:])):
        if part.shape[2] == 0:
            continue
        mean = part.mean(axis=0)
        centred = part - mean
        means[f"{side}_mean"], errors[f"{side}_mean"] = mean, _stderr(centred)
        square = centred**2
        means[f"{side}_variance"] = square.sum(axis=0) / (draws - 1)
        errors[f"{side}_variance"] = _stderr(square - square.mean(axis=0))
        if full:
            moved = np.moveaxis(centred, 0, -1).swapaxes(1, 2)  # (T, C, N, D)
            covariance = moved @ moved.swapaxes(-1, -2) / (draws - 1)
            fourth = moved**2 @ (moved**2).swapaxes(-1, -2) / draws
            means[f"{side}_covariance"] = covariance
            spread = (fourth - covariance**2).clip(min=0.0)
            errors[f"{side}_covariance"] = np.sqrt(spread / draws)
    losses = loss.value(outputs[:, :, :n])
    means["train_loss"] = losses.mean(axis=0)
    errors["train_loss"] = _stderr(losses - losses.mean(axis=0))
    return means, errors


def _stderr(centred: np.ndarray) -> np.ndarray:
    draws = len(centred)
    return np.sqrt((centred**2).sum(axis=0) / (draws * (draws - 1)))
