"""Local complexity followed while a network trains: the picture of grokking, in small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import (
    COUNT,
    POSITIVE,
    RATE,
    SEED,
    anything,
    choice,
    count,
    each,
    takes,
)
from whydeep.brief import brief
from whydeep.data import INPUTS, check_inputs
from whydeep.errors import InputError
from whydeep.geometry.complexity._local import local_complexity
from whydeep.geometry.complexity._loop import (
    Trainer,
    check_classes,
    drawn_start,
    mean_loss,
    record_steps,
    share_right,
)
from whydeep.geometry.complexity._result import LocalComplexity
from whydeep.geometry.pieces import PiecewiseLinear
from whydeep.network import check_number, check_whole
from whydeep.progress import progress_bar
from whydeep.results import by_content

__all__ = ["ComplexityHistory", "complexity_during_training"]


@by_content
@dataclass(frozen=True, eq=False)
class ComplexityHistory:
    """What was seen at recorded steps.

    Args:
        steps: (records,).
        loss: (records,) mean cross-entropy on the training examples.
        accuracy: (records,) on them.
        test_accuracy: (records,).
        complexity: by the set of points, "training", "test" and "random": one `LocalComplexity`
            a record.
        network: as trained.
        seed: of everything.
    """

    steps: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    test_accuracy: np.ndarray
    complexity: dict[str, tuple[LocalComplexity, ...]]
    network: PiecewiseLinear
    seed: int

    __repr__ = brief

    def mean(self, points: str) -> np.ndarray:
        """Mean complexity at one set of points: (records,)."""
        return np.array([c.mean for c in self._at(points)])

    def stderr(self, points: str) -> np.ndarray:
        """Its standard errors over the points: (records,)."""
        return np.array([c.stderr for c in self._at(points)])

    def _at(self, points: str) -> tuple[LocalComplexity, ...]:
        return self.complexity[choice(*self.complexity)("points", points)]

    def __str__(self) -> str:
        lines = [f"{'step':>8}{'loss':>11}{'train':>8}{'test':>8}"
                 + "".join(f"{name:>18}" for name in self.complexity)]  # fmt: skip
        for k, step in enumerate(self.steps):
            own = "".join(f"{f'{c[k].mean:.1f} ± {c[k].stderr:.1f}':>18}"
                          for c in self.complexity.values())  # fmt: skip
            lines.append(f"{step:>8}{self.loss[k]:>11.3g}{self.accuracy[k]:>8.3f}"
                         f"{self.test_accuracy[k]:>8.3f}{own}")  # fmt: skip
        return "\n".join(lines)


@takes(
    x=INPUTS, y=anything, x_test=INPUTS, y_test=anything, widths=each(COUNT, least=1),
    steps=COUNT, record=each(count(0), least=1), radius=POSITIVE, points=COUNT,
    directions=COUNT, init_scale=POSITIVE, learning_rate=POSITIVE, weight_decay=RATE,
    batch=COUNT, method=choice("vertices", "square", "segments"), seed=SEED,
)  # fmt: skip
def complexity_during_training(
    x: Any,
    y: Any,
    x_test: Any,
    y_test: Any,
    *,
    widths: Sequence[int] = (100, 100, 100),
    steps: int = 1000,
    record: Sequence[int] | None = None,
    radius: float = 0.1,
    points: int = 100,
    directions: int = 25,
    init_scale: float = 1.0,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    batch: int | None = None,
    method: str = "vertices",
    seed: int = 0,
) -> ComplexityHistory:
    """Train a relu network on classes, and follow its local complexity near three kinds of points.

    Weights begin as ``N(0, 2/fan_in)`` times `init_scale`, biases at 0; AdamW on the mean
    cross-entropy. Networks that begin large (`init_scale` above 1) fit the training examples long
    before they generalise, and their complexity near the data falls, rises and falls while it
    moves away from training points towards the decision boundary: the claim of the source, to be
    seen or not to be seen in what this returns. With 200 of the digits (pixels over 16),
    `init_scale=4`, `weight_decay=0.1` and 40,000 steps, 40 seconds, all training examples are right
    from step 100 on; test accuracy goes from 0.70 there to 0.91, while the complexity at training
    points goes from 13.8 up to 15.4 and down to 6.9 (one seed, standard errors 0.3 to 0.7).

    Args:
        x: (N, d) training inputs.
        y: (N,) classes 0, 1, ...
        x_test: (M, d).
        y_test: (M,).
        widths: of the hidden layers.
        steps: of AdamW.
        record: at which steps to look; by default 0 and 16 more, evenly in the logarithm.
        radius: as in `local_complexity`, which says how complexity is counted.
        points: of each kind: the first training and test points, and as many that are uniform in
            the box that the training points span.
        directions: about each point.
        init_scale: multiplies the initial weights.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        batch: examples a step, drawn with replacement; None for all.
        method: as in `local_complexity`.
        seed: of weights, batches, points and directions.

    Returns:
        A `ComplexityHistory`; it prints as a table.

    Raises:
        InputError: bad inputs, classes or numbers.

    Accuracy: training is in float32; the counts are of the weights as they are, in float64, with
    the same directions at every record. Cost: training, and `local_complexity` three times a
    record.

    Source: Humayun, Balestriero and Baraniuk 2024; Liu, Michaud and Tegmark 2023 (large initial
    weights delay generalisation).

    Example:
        >>> x = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
        >>> found = complexity_during_training(x, [0, 0, 1, 1], x, [0, 0, 1, 1], widths=(16,),
        ...                                    steps=200, learning_rate=0.03)
        >>> float(found.accuracy[-1]), int(found.steps[-1])
        (1.0, 200)
    """
    rows, other = check_inputs(x), check_inputs(x_test, name="x_test")
    classes = check_classes(y, len(rows), "y")
    other_classes = check_classes(y_test, len(other), "y_test")
    if other.shape[1] != rows.shape[1]:
        raise InputError("Training and test inputs differ in shape.",
                         received=f"{rows.shape}, {other.shape}")  # fmt: skip
    outputs = int(max(classes.max(), other_classes.max())) + 1
    if outputs < 2 or len(np.unique(classes)) < 2:
        raise InputError("There is one class only.", needed="two or more")
    sizes = (rows.shape[1], *(check_whole("widths", n) for n in widths), outputs)
    last = check_whole("steps", steps)
    at = record_steps(record, last)
    scale = check_number("init_scale", init_scale, positive=True)
    trainer = Trainer(learning_rate, weight_decay, batch, seed)
    count = check_whole("points", points)
    rng = np.random.default_rng(seed)
    start = drawn_start(sizes, scale, 0.0, rng)
    low, high = rows.min(axis=0), rows.max(axis=0)
    watched = {
        "training": rows[:count],
        "test": other[:count],
        "random": rng.uniform(low, high, size=(count, rows.shape[1])),
    }
    seen: list[tuple[float, float, float]] = []
    kinds: dict[str, list[LocalComplexity]] = {name: [] for name in watched}
    networks: list[PiecewiseLinear] = []  # the newest alone
    with progress_bar("training", len(at)) as advance:
        for network in trainer.networks(start, rows, classes, at):
            networks[:] = [network]
            own, tested = network(rows), network(other)
            seen.append(
                (mean_loss(own, classes), share_right(own, classes),
                 share_right(tested, other_classes))
            )  # fmt: skip
            for name, where in watched.items():
                found = local_complexity(
                    network, where, radius, method=method, directions=directions, seed=seed
                )
                kinds[name].append(found)
            advance()
    table = np.array(seen)
    return ComplexityHistory(
        np.array(at), table[:, 0], table[:, 1], table[:, 2],
        {name: tuple(found) for name, found in kinds.items()}, networks[-1], seed,
    )  # fmt: skip
