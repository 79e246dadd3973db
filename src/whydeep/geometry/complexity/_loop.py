"""AdamW on the mean cross-entropy: the loop that what is followed during training shares."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import as_array
from whydeep.errors import InputError
from whydeep.geometry.pieces import PiecewiseLinear, from_layers
from whydeep.network import check_number, check_whole

__all__ = ["Trainer", "check_classes", "drawn_start", "mean_loss", "record_steps", "share_right"]


@dataclass(frozen=True, eq=False)
class Trainer:
    """How a relu network is trained on classes: full batches or drawn ones, in float32.

    Args:
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        batch: examples a step, drawn with replacement; None for all.
        seed: of the batches.

    Raises:
        InputError: numbers out of range.
    """

    learning_rate: float
    weight_decay: float
    batch: int | None
    seed: int

    def __post_init__(self) -> None:
        check_number("learning_rate", self.learning_rate, positive=True)
        check_number("weight_decay", self.weight_decay)
        check_whole("seed", self.seed, least=0)
        if self.batch is not None:
            check_whole("batch", self.batch)

    def networks(
        self, start: list[Any], rows: np.ndarray, classes: np.ndarray, at: Sequence[int]
    ) -> Iterator[PiecewiseLinear]:
        """The network at the steps `at`, from the parameters (weight, bias) of each layer."""
        import jax
        import jax.numpy as jnp
        import optax

        inputs, targets = jnp.asarray(rows, jnp.float32), jnp.asarray(classes, jnp.int32)
        optimiser = optax.adamw(self.learning_rate, weight_decay=self.weight_decay)

        def loss(params: Any, x: Any, y: Any) -> Any:
            for w, b in params[:-1]:
                x = jax.nn.relu(x @ w.T + b)
            logits = x @ params[-1][0].T + params[-1][1]
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))

        def step(number: Any, carry: Any) -> Any:
            params, state = carry
            own = (inputs, targets)
            if self.batch is not None:
                key = jax.random.fold_in(jax.random.key(self.seed), number)
                chosen = jax.random.randint(key, (self.batch,), 0, len(rows))
                own = (inputs[chosen], targets[chosen])
            updates, state = optimiser.update(jax.grad(loss)(params, *own), state, params)
            return optax.apply_updates(params, updates), state

        @jax.jit
        def run(carry: Any, first: Any, last: Any) -> Any:
            return jax.lax.fori_loop(first, last, step, carry)

        carry, before = (start, optimiser.init(start)), 0
        for number in at:
            if number > before:  # nothing is compiled for a look at the start
                carry, before = run(carry, before, number), number
            weights, biases = ([np.asarray(p[i]) for p in carry[0]] for i in (0, 1))
            yield from_layers(weights, biases)


def drawn_start(
    sizes: Sequence[int], weight_scale: float, bias_scale: float, rng: np.random.Generator
) -> list[Any]:
    """Initial weights ``N(0, 2 weight_scale^2 / fan_in)`` and biases ``N(0, bias_scale^2)``."""
    weights = [
        np.float32(weight_scale * np.sqrt(2 / n) * rng.normal(size=(m, n)))
        for n, m in itertools.pairwise(sizes)
    ]
    biases = [np.zeros(m, np.float32) for m in sizes[1:]]
    if bias_scale:
        biases = [np.float32(bias_scale * rng.normal(size=m)) for m in sizes[1:]]
    return list(zip(weights, biases, strict=True))


def mean_loss(logits: np.ndarray, classes: np.ndarray) -> float:
    """The mean cross-entropy."""
    top = logits.max(axis=1)
    total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float(np.mean(total - logits[np.arange(len(classes)), classes]))


def share_right(logits: np.ndarray, classes: np.ndarray) -> float:
    """The share of examples whose largest output is that of their class."""
    return float(np.mean(logits.argmax(axis=1) == classes))


def check_classes(y: Any, rows: int, name: str) -> np.ndarray:
    """Classes 0, 1, ... of so many examples, or an `InputError`."""
    labels = as_array(name, y, f"whole numbers 0, 1, ..., shape ({rows},)")
    if labels.shape != (rows,) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise InputError(
            f"{name} holds no classes.", received=f"dtype {labels.dtype}, shape {labels.shape}",
            needed=f"whole numbers 0, 1, ..., shape ({rows},)",
        )  # fmt: skip
    return labels.astype(np.int64)


def record_steps(record: Sequence[int] | None, last: int) -> list[int]:
    """The steps to look at; by default 0 and up to 16 more, evenly in the logarithm."""
    if record is None:
        even = np.unique(np.round(np.geomspace(1, last, 16)).astype(int))
        return [0, *even.tolist()]
    at = [check_whole("record", int(n), least=0) for n in record]
    if not at or sorted(set(at)) != at or at[-1] > last:
        raise InputError("The recorded steps are not in order.", received=f"record={record!r}",
                         needed=f"rising numbers up to steps={last}")  # fmt: skip
    return at
