"""Pieces followed while a network trains: Hanin and Rolnick's picture of few regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import COUNT, POSITIVE, RATE, SEED, anything, array, count, each, takes
from whydeep.brief import brief
from whydeep.data import INPUTS, check_inputs
from whydeep.errors import InputError
from whydeep.geometry.complexity import (
    Trainer,
    check_classes,
    drawn_start,
    mean_loss,
    record_steps,
    share_right,
)
from whydeep.geometry.counts._crossings import expected_regions
from whydeep.geometry.counts._density import segment_density
from whydeep.geometry.partition import plane, region_statistics
from whydeep.geometry.pieces import PiecewiseLinear
from whydeep.geometry.segment import breakpoints
from whydeep.network import check_number, check_whole
from whydeep.progress import progress_bar
from whydeep.results import by_content

__all__ = ["PieceHistory", "pieces_during_training"]


@by_content
@dataclass(frozen=True, eq=False)
class PieceHistory:
    """What was counted at recorded steps.

    Args:
        steps: (records,).
        loss: (records,) mean cross-entropy on the examples.
        accuracy: (records,) on them.
        breakpoints: (records, segments): exact counts.
        regions: (records,): activation cells on the window of the plane, exact.
        neurons: N of all hidden layers.
        expected: (segments,): breakpoints of networks drawn as this one was, on average.
        expected_stderr: (segments,): the standard errors of that.
        network: as trained.
        seed: of everything.
    """

    steps: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    breakpoints: np.ndarray
    regions: np.ndarray
    neurons: int
    expected: np.ndarray
    expected_stderr: np.ndarray
    network: PiecewiseLinear
    seed: int

    __repr__ = brief

    @property
    def region_ratio(self) -> np.ndarray:
        """(records,): regions over N^2 / 2, what the whole plane has at initialisation."""
        return self.regions / expected_regions(self.neurons)

    @property
    def breakpoint_ratio(self) -> np.ndarray:
        """(records,): breakpoints of all segments over those that drawn networks have."""
        return self.breakpoints.sum(axis=1) / self.expected.sum()

    def __str__(self) -> str:
        head = f"{'step':>8}{'loss':>11}{'right':>8}{'breakpoints':>13}{'/ drawn':>9}"
        lines = [head + f"{'regions':>10}{'/ (N^2/2)':>11}"]
        columns = (self.steps, self.loss, self.accuracy, self.breakpoints.sum(axis=1),
                   self.breakpoint_ratio, self.regions, self.region_ratio)  # fmt: skip
        lines.extend(
            f"{s:>8}{loss:>11.3g}{right:>8.3f}{k:>13,}{a:>9.2f}{r:>10,}{b:>11.2f}"
            for s, loss, right, k, a, r, b in zip(*columns, strict=True)
        )
        return "\n".join(lines)


@takes(
    x=INPUTS, y=anything, segments=anything, corners=array(dims=2), margin=RATE,
    widths=each(COUNT, least=1), steps=COUNT, record=each(count(0), least=1),
    weight_var=POSITIVE, bias_var=POSITIVE, learning_rate=POSITIVE, weight_decay=RATE,
    batch=COUNT, networks=count(2), seed=SEED,
)  # fmt: skip
def pieces_during_training(
    x: Any,
    y: Any,
    *,
    segments: Any = None,
    corners: Any = None,
    margin: float = 1.0,
    widths: Sequence[int] = (32, 32),
    steps: int = 1000,
    record: Sequence[int] | None = None,
    weight_var: float = 2.0,
    bias_var: float = 0.01,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    batch: int | None = None,
    networks: int = 200,
    seed: int = 0,
) -> PieceHistory:
    """Train a relu network on classes; count its breakpoints on segments and regions on a plane.

    Weights begin as ``N(0, weight_var / fan_in)``, biases as ``N(0, bias_var)``; AdamW on the mean
    cross-entropy. The claim of the source is that the regions stay within a small factor of those
    at initialisation, far below what the network could have, even when it learns random labels by
    heart: to be seen or not to be seen in what this returns. With 30 normal points of the plane,
    random labels of two classes, `widths=(24, 24)`, `bias_var=1.0`, `margin=20.0` and 3,000 steps
    of `learning_rate=3e-3`, all are right from step 1,000 on, while regions over N^2/2 go from 0.92
    to 1.09 (one seed); some network of these widths has 34 times as many (`montufar_lower`).

    Args:
        x: (N, d) inputs, d at least 2.
        y: (N,) classes 0, 1, ...
        segments: (segments, 2, d), start and end of each; by default from each of the first eight
            examples to the next.
        corners: (3, d), three inputs that the plane goes through; by default the first three
            examples.
        margin: of the window about the three inputs, as in `plane`.
        widths: of the hidden layers.
        steps: of AdamW.
        record: at which steps to count; by default 0 and 16 more, evenly in the logarithm.
        weight_var: at initialisation.
        bias_var: at initialisation, positive.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        batch: examples a step, drawn with replacement; None for all.
        networks: that the expected number at initialisation is averaged over.
        seed: of weights, batches and these networks.

    Returns:
        A `PieceHistory`; it prints as a table.

    Raises:
        InputError: bad inputs, classes or numbers.

    Accuracy: training is in float32; the counts are exact, of the weights as they are. Cost:
        training, and `breakpoints` and `region_statistics` at every record.

    Source: Hanin and Rolnick 2019 (NeurIPS), Sec. 5.

    Example:
        >>> x = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
        >>> found = pieces_during_training(x, [0, 0, 1, 1], widths=(16,), steps=200,
        ...                                record=[0, 200], learning_rate=0.03)
        >>> found.breakpoints.shape, found.accuracy[-1].item()
        ((2, 3), 1.0)
    """
    rows = check_inputs(x)
    classes = check_classes(y, len(rows), "y")
    if len(np.unique(classes)) < 2:
        raise InputError("There is one class only.", needed="two or more")
    sizes = (rows.shape[1], *(check_whole("widths", n) for n in widths), int(classes.max()) + 1)
    at = record_steps(record, check_whole("steps", steps))
    check_number("weight_var", weight_var, positive=True)
    check_number("bias_var", bias_var, positive=True)
    check_number("margin", margin)
    trainer = Trainer(learning_rate, weight_decay, batch, seed)
    lines = _segments(segments, rows)
    through = rows[:3] if corners is None else np.asarray(corners, np.float64)
    if through.shape != (3, rows.shape[1]) or rows.shape[1] < 2:
        raise InputError("A plane goes through three inputs.", received=f"shape {through.shape}",
                         needed=f"(3, {rows.shape[1]}), of two numbers or more each")  # fmt: skip
    origin, u, v, window = plane(*through, margin=margin)
    drawn = [
        segment_density(
            widths, p, q, weight_var=weight_var, bias_var=bias_var, networks=networks, seed=seed
        )
        for p, q in lines
    ]
    start = drawn_start(
        sizes, math.sqrt(weight_var / 2), math.sqrt(bias_var), np.random.default_rng(seed)
    )
    seen, bends, cells = [], [], []
    newest: list[PiecewiseLinear] = []  # alone
    with progress_bar("training", len(at)) as advance:
        for network in trainer.networks(start, rows, classes, at):
            newest[:] = [network]
            own = network(rows)
            seen.append((mean_loss(own, classes), share_right(own, classes)))
            bends.append([len(breakpoints(network, p, q)) for p, q in lines])
            cells.append(region_statistics(network, origin, u, v, window).count)
            advance()
    table = np.array(seen)
    return PieceHistory(
        np.array(at), table[:, 0], table[:, 1], np.array(bends), np.array(cells),
        sum(sizes[1:-1]), np.array([d.expected for d in drawn]),
        np.array([d.expected_stderr for d in drawn]), newest[-1], seed,
    )  # fmt: skip


def _segments(segments: Any, rows: np.ndarray) -> np.ndarray:
    """Start and end of every segment, (segments, 2, d)."""
    if segments is None:
        return np.stack([rows[:8][:-1], rows[:8][1:]], axis=1)
    found = array()("segments", segments)
    if found.ndim != 3 or found.shape[1:] != (2, rows.shape[1]) or len(found) == 0:
        raise InputError("Segments are given by start and end.", received=f"shape {found.shape}",
                         needed=f"(segments, 2, {rows.shape[1]})")  # fmt: skip
    return found
