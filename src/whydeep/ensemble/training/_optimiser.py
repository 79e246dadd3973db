"""Optimisers: how a gradient becomes a change, in parameters whose tangent kernel has rate 1.

The optimiser sees ``u = w / sqrt(rate)``, whose gradient is ``sqrt(rate)`` times that of w. So
gradient descent changes w by ``-step rate dL/dw``, and Adam takes the steps it takes in the
parameterization that the rates belong to: "ntk" is ``w = sqrt(C_W / fan_in) u``.

The rules are optax's. In float32 its Adam is as near to exact arithmetic as one whose bias
correction comes from ``expm1``: a step is off by 7e-6 of itself in both, from the rounding of b2.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from whydeep.arguments import number, shown
from whydeep.errors import InputError

__all__ = ["SGD", "Optimiser", "read_optimiser"]

_NEEDED = '"sgd", ("momentum", 0.9), "adam", or a transformation of optax'


@dataclass(frozen=True)
class Optimiser:
    """A rule that makes changes of gradients. Equal where the rule is the same object.

    Args:
        name: in words.
        rule: of optax.
        margin: it is stable below ``margin / lambda_max``; None where no such number is known.
        takes_step: whether changes are ``-step`` times what the rule gives; otherwise the rule has
            its own step.
    """

    name: str
    rule: optax.GradientTransformation
    margin: float | None = None
    takes_step: bool = True

    def init(self, u: Any) -> Any:
        """The rule's memory for parameters u."""
        return self.rule.init(u)

    def update(self, gradients: Any, memory: Any, u: Any, step: Any) -> tuple[Any, Any]:
        """Changes of u, and the memory after them."""
        changes: Any
        changes, memory = self.rule.update(gradients, memory, u)
        if self.takes_step:
            changes = [-step * change for change in changes]
        # A user's rule may count in Python numbers.
        return changes, jax.tree.map(jnp.asarray, memory)


def read_optimiser(given: Any) -> Optimiser:
    """An optimiser from a name, a name with a number, or an optax transformation."""
    if isinstance(given, str) and given in ("sgd", "adam"):
        return SGD if given == "sgd" else _ADAM
    methods: list[Any] = [getattr(given, name, None) for name in ("init", "update")]
    if all(map(callable, methods)) and not isinstance(given, type):
        # Its methods have a hash, where it has none.
        rule = optax.GradientTransformation(*methods)
        return Optimiser("an optax transformation", rule, takes_step=False)
    if (
        isinstance(given, tuple)
        and len(given) == 2
        and isinstance(given[0], str)
        and given[0] == "momentum"
    ):
        return _momentum(number(least=0, below=1)("momentum", given[1]))
    raise InputError("That is no optimiser.", received=f"optimizer={shown(given)}", needed=_NEEDED)


SGD = Optimiser("sgd", optax.identity(), margin=2.0)
_ADAM = Optimiser("adam", optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8))


@functools.lru_cache(maxsize=64)  # the same object, so that it is compiled once
def _momentum(decay: float) -> Optimiser:
    """Heavy ball, ``v <- decay v + g``, ``u <- u - step v``: torch's convention."""
    return Optimiser(f"momentum {decay:g}", optax.trace(decay), margin=2.0 * (1.0 + decay))
