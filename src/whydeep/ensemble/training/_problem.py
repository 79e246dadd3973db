"""What is learned: targets from labels, the loss of every example, and when an answer is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.arguments import anything, as_array, called, choice, either
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import Shape

__all__ = ["Loss", "Targets", "check_loss", "read_loss", "read_targets", "right"]

_LOSSES = ("squared", "cross_entropy")


@dataclass(frozen=True)
class Loss:
    """The loss of every example; their sum is what is descended.

    Args:
        name: in words.
        each: (N,) from outputs (N, *positions, channels) and targets.
    """

    name: str
    each: Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Targets:
    """What the outputs should be.

    Args:
        values: (N, ...), what the loss takes.
        labels: (N,) the classes, or None where there are none.
        middle: for one output and two classes: beyond it, the answer is class 1.
    """

    values: np.ndarray
    labels: np.ndarray | None
    middle: float | None = None


LOSS = either(
    anything,
    choice("squared", "cross_entropy", other="a function of outputs and targets in jax.numpy"),
    when=callable,
)
"""The kind of losses: a name, or a function of outputs and targets in jax.numpy."""


def read_loss(loss: Any) -> Loss:
    """A loss from its name or from a function."""
    if isinstance(loss, str):
        return Loss(loss, _squared if loss == "squared" else _cross_entropy)
    return Loss(getattr(loss, "__name__", type(loss).__name__), loss)


def check_loss(loss: Loss, outputs: tuple[int, ...], targets: np.ndarray, dtype: str) -> None:
    """Refuse a function that does not give one number an example."""
    with called("loss", "a function of outputs and targets, in jax.numpy: one number an example"):
        shape = jax.eval_shape(
            loss.each, jax.ShapeDtypeStruct(outputs, np.dtype(dtype)), jnp.asarray(targets)
        )
    if getattr(shape, "shape", None) != outputs[:1] or not jnp.issubdtype(
        getattr(shape, "dtype", np.dtype(object)), np.floating
    ):
        raise InputError(
            "A loss gives one number an example: their sum is descended.",
            received=f"{getattr(shape, 'dtype', '')} {getattr(shape, 'shape', shape)}",
            needed=f"{dtype} {outputs[:1]} for outputs {outputs}",
            suggestion="sum over channels, and not over examples",
        )


def read_targets(
    y: Any, rows: int, shape: Shape, loss: str, dtype: str, name: str, like: Targets | None = None
) -> Targets:
    """Targets and classes from y: see `train`.

    Args:
        y: (N,) classes or numbers, (N, *positions, channels) numbers.
        rows: N.
        shape: of one output.
        loss: its name; anything but "squared" and "cross_entropy" takes y as it is.
        dtype: of the arithmetic.
        name: what errors call y.
        like: targets of the training inputs, whose classes these are.
    """
    array = _numbers(y, rows, name)
    whole = array.dtype.kind in "iu"
    if loss == "cross_entropy":
        return _classes(array, shape, dtype, name, several=like is None)
    if whole and array.ndim == 1 and not shape.positions and shape.channels > 1:
        labels = _labels(array, shape.channels, name)
        one_hot = np.eye(shape.channels, dtype=dtype)[labels]
        return Targets(one_hot if loss == "squared" else labels, labels)
    if loss != "squared":
        return Targets(array.astype(np.int32 if whole else dtype), None)
    wanted = (rows, *shape.positions, shape.channels)
    if array.shape == wanted[:-1] and shape.channels == 1:
        array = array[..., None]
    if array.shape != wanted:
        raise InputError(
            f"{name} does not have the shape of the outputs.",
            received=f"shape {array.shape}",
            needed=f"shape {wanted}"
            + (f", or {rows} classes from 0 to {shape.channels - 1}" if shape.channels > 1 else ""),
        )
    return _with_classes(array.astype(dtype), shape, like)


def right(outputs: Any, labels: Any, middle: float | None) -> Any:
    """Whether the answers are right, (N,)."""
    if middle is None:
        return jnp.argmax(outputs, axis=-1) == labels
    return (outputs[:, 0] > middle) == (labels == 1)


def _squared(outputs: Any, targets: Any) -> Any:
    return 0.5 * jnp.sum((outputs - targets) ** 2, axis=tuple(range(1, outputs.ndim)))


def _cross_entropy(outputs: Any, targets: Any) -> Any:
    return -jnp.sum(targets * jax.nn.log_softmax(outputs, axis=-1), axis=-1)


def _numbers(y: Any, rows: int, name: str) -> np.ndarray:
    array = as_array(name, y, "classes 0, 1, 2, ... or numbers")
    if array.dtype.kind == "b":
        array = array.astype(np.int64)
    if array.dtype.kind not in "iuf":
        raise InputError(
            f"{name} does not hold numbers.",
            received=f"{array.dtype}",
            needed="classes 0, 1, 2, ... or numbers",
            suggestion=f"numpy.unique({name}, return_inverse=True)[1] numbers the classes",
        )
    if array.ndim == 0 or len(array) != rows:
        raise InputError(
            f"{name} does not belong to the inputs.",
            received=f"shape {array.shape} for {rows} inputs",
            needed=f"one target an input: ({rows}, ...)",
        )
    if not np.all(np.isfinite(array)):
        bad = ~np.isfinite(array)
        raise InputError(
            f"{name} is not finite.",
            received=f"{int(bad.sum())} NaN or infinite, the first in row "
            f"{int(np.argwhere(bad)[0][0])} (counting from 0)",
            needed="finite numbers",
        )
    return array


def _labels(array: np.ndarray, classes: int, name: str) -> np.ndarray:
    whole = np.equal(array, np.round(array)).all()
    if not whole or array.min() < 0 or array.max() >= classes:
        raise InputError(
            f"{name} does not hold the classes of these outputs.",
            received=f"{array.dtype} numbers from {array.min():g} to {array.max():g}",
            needed=f"whole numbers from 0 to {classes - 1}: one output a class",
        )
    return array.astype(np.int32)


def _classes(array: np.ndarray, shape: Shape, dtype: str, name: str, *, several: bool) -> Targets:
    """For cross-entropy: labels, or a probability of every class."""
    if shape.positions:
        raise UnsupportedError(
            "Cross-entropy is known for one answer an input.",
            received=f"outputs with {shape}",
            suggestion="a function as loss: one number an example from (N, *positions, channels)",
        )
    if shape.channels < 2:
        raise InputError(
            "Cross-entropy needs an output for every class.",
            received="1 output",
            needed="at least 2",
            suggestion='outputs=2, or loss="squared" with targets -1 and 1',
        )
    if array.ndim == 1:
        labels = _labels(array, shape.channels, name)
        values = np.eye(shape.channels, dtype=dtype)[labels]
    elif array.shape != (len(array), shape.channels):
        raise InputError(
            f"{name} does not have the shape of the outputs.",
            received=f"shape {array.shape}",
            needed=f"({len(array)},) classes or {(len(array), shape.channels)} probabilities",
        )
    elif array.min() < 0 or np.abs(array.sum(axis=1) - 1).max() > 1e-6:
        raise InputError(
            f"{name} does not hold probabilities.",
            received=f"numbers from {array.min():g} to {array.max():g}, rows that sum to "
            f"{array.sum(axis=1).min():g} to {array.sum(axis=1).max():g}",
            needed="numbers >= 0, and 1 in sum over classes",
        )
    else:
        labels, values = array.argmax(axis=1).astype(np.int32), array.astype(dtype)
    if several and len(np.unique(labels)) < 2:
        raise InputError(
            f"{name} has one class only.",
            received=f"class {labels[0]} in all {len(labels)} rows",
            needed="at least two classes",
        )
    return Targets(values, labels)


def _with_classes(values: np.ndarray, shape: Shape, like: Targets | None) -> Targets:
    """Squared loss: two values of one output, or one-hot rows, are classes too."""
    if shape.positions or (like is not None and like.labels is None):
        return Targets(values, None)
    if shape.channels == 1:
        two = np.unique(values if like is None else like.values)
        if len(two) > 2 or not np.isin(values, two).all():
            return Targets(values, None)
        return Targets(values, (values[:, 0] == two[-1]).astype(np.int32), float(two.mean()))
    top = values == values.max(axis=1, keepdims=True)
    low = values == values.min()
    if np.all(top.sum(axis=1) == 1) and np.all(top | low):
        return Targets(values, values.argmax(axis=1).astype(np.int32))
    return Targets(values, None)
