"""Optimisers: how a gradient becomes a change, in parameters whose tangent kernel has rate 1.

The optimiser sees ``u = w / sqrt(rate)``, whose gradient is ``sqrt(rate)`` times that of w. So
gradient descent changes w by ``-step rate dL/dw``, and Adam takes the steps it takes in the
parameterization that the rates belong to: "ntk" is ``w = sqrt(C_W / fan_in) u``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from whydeep.errors import InputError
from whydeep.network import check_number

__all__ = ["SGD", "Optimiser", "read_optimiser"]

_B1, _B2, _EPS = 0.9, 0.999, 1e-8
_NEEDED = '"sgd", ("momentum", 0.9), "adam", or a transformation of optax'


@dataclass(frozen=True)
class Optimiser:
    """A rule that makes changes of gradients.

    Args:
        name: in words.
        init: its state for parameters u.
        update: ``(gradients, state, u, step) -> (changes, state)``.
        margin: it is stable below ``margin / lambda_max``; None where no such number is known.
        takes_step: whether `step` means anything to it.
    """

    name: str
    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Any, Any], tuple[Any, Any]]
    margin: float | None = None
    takes_step: bool = True


def read_optimiser(given: Any) -> Optimiser:
    """An optimiser from a name, a name with a number, or an optax transformation."""
    if given == "sgd":
        return SGD
    if given == "adam":
        return _ADAM
    if isinstance(given, tuple) and len(given) == 2 and given[0] == "momentum":
        decay = check_number("momentum", given[1])
        if decay >= 1:
            raise InputError(
                "This momentum never forgets.",
                received=f"optimizer={given!r}",
                needed="0 <= momentum < 1",
            )
        return _momentum(decay)
    init, update = getattr(given, "init", None), getattr(given, "update", None)
    if callable(init) and callable(update) and not isinstance(given, type):
        try:
            return _transformation(given)
        except TypeError:  # it has no hash
            return _transformation.__wrapped__(given)
    raise InputError("That is no optimiser.", received=f"optimizer={given!r}"[:200], needed=_NEEDED)


def _sgd(gradients: Any, state: Any, u: Any, step: Any) -> tuple[Any, Any]:
    del u
    return [-step * g for g in gradients], state


def _adam(gradients: Any, state: Any, u: Any, step: Any) -> tuple[Any, Any]:
    """Kingma and Ba 2015, Algorithm 1."""
    del u
    count, first, second = state
    count = count + 1
    first = [_B1 * m + (1 - _B1) * g for m, g in zip(first, gradients, strict=True)]
    second = [_B2 * v + (1 - _B2) * g * g for v, g in zip(second, gradients, strict=True)]
    # 1 - b^t from its logarithm: the power itself loses digits in float32.
    kind = step.dtype
    time = count.astype(kind)
    left = -jnp.expm1(time * jnp.log(jnp.asarray(_B1, kind)))
    right = -jnp.expm1(time * jnp.log(jnp.asarray(_B2, kind)))
    changes = [
        -step * (m / left) / (jnp.sqrt(v / right) + _EPS)
        for m, v in zip(first, second, strict=True)
    ]
    return changes, (count, first, second)


SGD = Optimiser("sgd", lambda _u: (), _sgd, margin=2.0)
_ADAM = Optimiser(
    "adam",
    lambda u: (jnp.zeros((), jnp.int32), *([jnp.zeros_like(p) for p in u] for _ in range(2))),
    _adam,
)


@dataclass(frozen=True)
class _HeavyBall:
    """``v <- decay v + g``, ``u <- u - step v``: torch's convention. Equal where decay is."""

    decay: float

    def init(self, u: Any) -> Any:
        return [jnp.zeros_like(p) for p in u]

    def update(self, gradients: Any, state: Any, u: Any, step: Any) -> tuple[Any, Any]:
        del u
        speed = [self.decay * v + g for v, g in zip(state, gradients, strict=True)]
        return [-step * v for v in speed], speed


@functools.lru_cache(maxsize=64)  # the same object, so that it is compiled once
def _momentum(decay: float) -> Optimiser:
    rule = _HeavyBall(decay)
    return Optimiser(f"momentum {decay:g}", rule.init, rule.update, margin=2.0 * (1.0 + decay))


@dataclass(frozen=True, eq=False)
class _Transformation:
    """What optax makes: it has its own step."""

    given: Any

    def init(self, u: Any) -> Any:
        return self.given.init(u)

    def update(self, gradients: Any, state: Any, u: Any, step: Any) -> tuple[Any, Any]:
        del step
        changes, state = self.given.update(gradients, state, u)
        return changes, jax.tree.map(jnp.asarray, state)


@functools.lru_cache(maxsize=64)
def _transformation(given: Any) -> Optimiser:
    rule = _Transformation(given)
    return Optimiser("an optax transformation", rule.init, rule.update, takes_step=False)
