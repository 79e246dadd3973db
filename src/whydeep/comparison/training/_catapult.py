"""Steps above the largest stable one: growth mode by mode, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whydeep.ensemble.training import Training

__all__ = ["Catapult", "catapult_of", "growth"]


@dataclass(frozen=True)
class Catapult:
    """What became of networks trained with a step above or below the largest stable one.

    Args:
        factor: the step over 2 / lambda_max of the tangent kernel at infinite width.
        grew: share of networks whose loss was larger after three steps than before.
        converged: share whose loss ended below a hundredth of where it began.
        diverged: share whose loss did not stay finite, or ended above where it began.
        curvature: step * lambda_max / 2 of the converged ones at the end, mean; below 1 is stable.
    """

    factor: float
    grew: float
    converged: float
    diverged: float
    curvature: float


def catapult_of(trained: Training, factor: float) -> Catapult:
    """Read off a training that recorded loss and ntk at the start, after 3 steps, at the end."""
    loss = trained.samples["loss"]
    first, early, last = loss[:, 0], loss[:, 1], loss[:, -1]
    with np.errstate(invalid="ignore"):
        lost = ~np.isfinite(last) | (last > first)
        done = np.isfinite(last) & (last < 0.01 * first)
        grew = ~np.isfinite(early) | (early > first)
    kernels = trained.samples["ntk"][:, -1].astype(np.float64)
    settled = done[: len(kernels)] & np.all(np.isfinite(kernels), axis=(1, 2))
    step = trained.step or 0.0
    top = np.linalg.eigvalsh(kernels[settled])[:, -1] if settled.any() else np.array([np.nan])
    return Catapult(
        factor, float(grew.mean()), float(done.mean()), float(lost.mean()),
        float(step * top.mean() / 2.0),
    )  # fmt: skip


def growth(trained: Training, targets: np.ndarray, batches: int) -> np.ndarray:
    """Growth of the top mode over what each network's own kernel predicts, (batches, 1).

    With v the top eigenvector of a network's own tangent kernel and lambda its eigenvalue, its
    linearisation has ``v . (f - y)`` grow by ``(1 - step lambda)^k`` in k steps. The ratio is a
    regression through the origin, batch by batch: no network divides by a small number.
    """
    count = len(trained.samples["ntk"])
    outputs = trained.samples["outputs"][:count, :, :, 0].astype(np.float64)
    values, vectors = np.linalg.eigh(trained.samples["ntk"][:, 0].astype(np.float64))
    step, steps = trained.step or 0.0, int(trained.steps[-1])
    top = vectors[:, :, -1]
    before, after = (np.einsum("di,di->d", top, outputs[:, k] - targets) for k in (0, -1))
    expected = before * (1.0 - step * values[:, -1]) ** steps
    parts = np.array_split(np.arange(count), batches)
    return np.array([[after[p] @ expected[p] / (expected[p] @ expected[p])] for p in parts])
