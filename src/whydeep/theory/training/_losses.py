"""Losses as functions of the outputs: value, gradient, curvature.

    squared          1/2 sum (f - y)^2;                 mean: divided by N C
    cross-entropy    -sum y log softmax(f);             mean: divided by N
    any other        a function of (f, y) in jax.numpy, which says its own norm

torch's ``MSELoss()`` is twice the mean of "squared"; its ``CrossEntropyLoss()`` is the mean here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax

from whydeep.arguments import anything, called, choice, either
from whydeep.errors import InputError, UnsupportedError

__all__ = ["LOSS", "REDUCTIONS", "Loss", "one_hot", "resolve_loss"]

REDUCTIONS = ("sum", "mean")
_NEEDED = "a function of outputs and targets (N, C), in jax.numpy, that gives one number"
Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Loss:
    """A loss of the outputs (..., N, C) on fixed labels; leading axes are separate networks.

    Args:
        name: its formula, norm included.
        value: outputs (..., N, C) to (...).
        gradient: outputs (..., N, C) to the same shape.
        curvature: the Hessian at outputs (N, C) as a function of a direction (N, C).
        scale: s where the loss is ``s/2 sum (f - y)^2``; None for any other.
    """

    name: str
    value: Function
    gradient: Function
    curvature: Callable[[np.ndarray], Function]
    scale: float | None = None


LOSS = either(
    anything,
    choice("squared", "cross_entropy", other="a function of outputs and targets in jax.numpy"),
    when=lambda loss: callable(loss) or isinstance(loss, Loss),
)
"""The kind of losses: a name, or a function of (f, y) in jax.numpy."""


def resolve_loss(loss: Any, reduction: str, labels: np.ndarray) -> Loss:
    """The loss of this name, or of this function, on labels (N, C); a `Loss` is returned as it is.

    Raises:
        InputError: an unknown name, labels that are no probabilities for cross-entropy.
    """
    if isinstance(loss, Loss):
        return loss
    if reduction not in REDUCTIONS:
        raise InputError("There is no reduction of this name.", received=f"reduction={reduction!r}",
                         needed='"sum" or "mean"')  # fmt: skip
    n, c = labels.shape
    mean = reduction == "mean"
    if callable(loss):
        return _custom(loss, labels)
    if loss == "squared":
        return _squared(labels, 1.0 / (n * c) if mean else 1.0, mean=mean)
    if loss == "cross_entropy":
        return _cross_entropy(labels, 1.0 / n if mean else 1.0, mean=mean)
    raise InputError(
        "There is no loss of this name.",
        received=f"loss={loss!r}",
        needed='"squared", "cross_entropy", or a function of (f, y) in jax.numpy',
    )


def one_hot(y: np.ndarray) -> np.ndarray:
    """Class labels (N,), whole numbers from 0, as (N, C) zeros and ones.

    Raises:
        InputError: negative or fractional labels, or one class only.
    """
    known = y.dtype.kind in "biuf" and y.size > 0 and bool(np.isfinite(y).all())
    if not known or np.any(y != np.floor(y)) or y.min() < 0:
        raise InputError(
            "These are no class labels.",
            received=f"y of shape {y.shape}, {y.dtype}"
            + (f", smallest {y.min()}" if known else ""),
            needed="whole numbers from 0, or probabilities (N, C)",
            suggestion="numpy.unique(y, return_inverse=True)[1] numbers classes of any name",
        )
    if len(np.unique(y)) < 2:
        raise InputError(
            "There is one class only.",
            received=f"every label is {y.flat[0]:g}",
            needed="two or more classes: with one, the loss never moves an output",
        )
    return np.eye(int(y.max()) + 1)[y.astype(np.intp)]


def _squared(labels: np.ndarray, scale: float, *, mean: bool) -> Loss:
    return Loss(
        name="1/(2 N C) sum (f - y)^2" if mean else "1/2 sum (f - y)^2",
        value=lambda f: 0.5 * scale * ((f - labels) ** 2).sum(axis=(-2, -1)),
        gradient=lambda f: scale * (f - labels),
        curvature=lambda _: lambda v: scale * v,
        scale=scale,
    )


def _cross_entropy(labels: np.ndarray, scale: float, *, mean: bool) -> Loss:
    c = labels.shape[1]
    if c < 2:
        raise InputError(
            "Cross-entropy needs two or more classes.", received=f"labels of shape {labels.shape}",
            needed="whole numbers from 0 (N,), or probabilities (N, C) with C >= 2",
        )  # fmt: skip
    total = labels.sum(axis=1)
    if labels.min() < 0 or np.abs(total - 1).max() > 1e-8:
        raise InputError(
            "The labels of a cross-entropy are no probabilities.",
            received=f"smallest {labels.min():g}, rows that add up to {total.min():g} ... "
            f"{total.max():g}",
            needed="rows >= 0 that add up to 1, or class labels (N,)",
        )

    def curvature(f: np.ndarray) -> Function:
        p = softmax(f, axis=-1)
        return lambda v: scale * p * (v - (p * v).sum(axis=-1, keepdims=True))

    return Loss(
        name="-1/N sum y log softmax(f)" if mean else "-sum y log softmax(f)",
        value=lambda f: -scale * (labels * log_softmax(f, axis=-1)).sum(axis=(-2, -1)),
        gradient=lambda f: scale * (softmax(f, axis=-1) - labels),
        curvature=curvature,
    )


def _custom(loss: Any, labels: np.ndarray) -> Loss:
    """Value, gradient and curvature of a jax.numpy function, in float64."""
    import jax
    import jax.numpy as jnp

    def alone(f: Any, y: Any) -> Any:
        with called("loss", _NEEDED):
            found = jnp.asarray(loss(f, y))
        if found.shape != ():
            raise UnsupportedError(
                "A loss must be one number for the whole training set.",
                received=f"shape {found.shape}",
                needed="a scalar, for instance (...).sum()",
            )
        return found

    values = jax.jit(jax.vmap(alone, in_axes=(0, None)))
    gradients = jax.jit(jax.vmap(jax.grad(alone), in_axes=(0, None)))
    turned = jax.jit(lambda f, v, y: jax.jvp(lambda g: jax.grad(alone)(g, y), (f,), (v,))[1])

    def batched(function: Any, f: np.ndarray, tail: tuple[int, ...]) -> np.ndarray:
        with called("loss", _NEEDED), jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
            found = np.asarray(function(f.reshape(-1, *labels.shape), labels))
        return found.reshape(*f.shape[:-2], *tail)

    def curvature(f: np.ndarray) -> Function:
        def along(v: np.ndarray) -> np.ndarray:
            with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
                return np.asarray(turned(f, v, labels))

        return along

    return Loss(
        name=getattr(loss, "__name__", type(loss).__name__),
        value=lambda f: batched(values, f, ()),
        gradient=lambda f: batched(gradients, f, labels.shape),
        curvature=curvature,
    )
