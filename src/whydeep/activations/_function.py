"""A function of one variable made of smooth pieces, and its derivatives."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.arguments import anything, array, count, takes

__all__ = ["MOST_ORDERS", "ScalarFunction"]

_MOST_DERIVATIVES = 24  # each is JAX's derivative of the one before: they grow exponentially
# Arrays are padded to one of these lengths before they meet a compiled function, so that a
# function is compiled at most once a length however many grids it is evaluated on.
_COMPILED_LENGTHS = (1 << 10, 1 << 14, 1 << 18)
MOST_ORDERS = 6


@dataclass(frozen=True)
class ScalarFunction:
    """A function of one variable made of smooth pieces.

    Args:
        name: how it is written in tables and passed by name, such as ``"leaky_relu(0.1)"``.
        pieces: smooth functions of one ``jax`` array, left to right.
        kinks: where one piece ends and the next begins, increasing; one fewer than the pieces.
        slopes: ``(a_minus, a_plus)`` if the function is ``a_minus z`` for ``z < 0`` and
            ``a_plus z`` for ``z > 0`` (positively homogeneous), else None.
        odd: whether ``f(-z) = -f(z)``.
        heavy_tailed: whether it grows so fast that the fourth moments of a Gaussian's image are
            dominated by events which no feasible number of draws contains.
        family: the name without parameters, and ``parameters``: their values.
    """

    name: str
    pieces: tuple[Callable[[Any], Any], ...]
    kinks: tuple[float, ...] = ()
    slopes: tuple[float, float] | None = None
    odd: bool = False
    heavy_tailed: bool = False
    family: str = "custom"
    parameters: tuple[float, ...] = ()

    def __repr__(self) -> str:
        return f"<activation {self.name}>"

    def __deepcopy__(self, memo: Any) -> ScalarFunction:
        return self

    @property
    def smooth(self) -> bool:
        """Whether there is no kink."""
        return not self.kinks

    @property
    def continuous(self) -> bool:
        """Whether the pieces meet (``step`` jumps)."""
        return self.smooth or bool(np.all(np.abs(self.jumps(0)[:, 0]) < 1e-12))

    def __call__(self, z: Any) -> Any:
        """Apply to a JAX array, differentiable on both sides of every kink.

        At a kink the right-hand piece is in force. Each piece sees only arguments of its own
        interval (the others are moved to the kink), so no unused branch can overflow.
        """
        value = self._applied(0, z)
        for index in range(1, len(self.pieces)):
            value = jnp.where(z >= self.kinks[index - 1], self._applied(index, z), value)
        return value

    def _applied(self, index: int, z: Any) -> Any:
        return self.pieces[index](self._inside(index, z))

    def _inside(self, index: int, z: Any) -> Any:
        if index > 0:
            z = jnp.where(z < self.kinks[index - 1], self.kinks[index - 1], z)
        if index < len(self.kinks):
            z = jnp.where(z >= self.kinks[index], self.kinks[index], z)
        return z  # NaN stays what it is

    def piece_derivative(self, index: int, z: Any, order: Any) -> Any:
        """A piece's derivative of some order at a JAX array; beyond its interval, at its end.

        An order that is itself a JAX number, up to 6, lets one program serve all of them.
        """
        z, piece = self._inside(index, z), self.pieces[index]
        if isinstance(order, int):
            return _nth_derivative(piece, order)(z)
        branches = [_nth_derivative(piece, n) for n in range(MOST_ORDERS + 1)]
        return jax.lax.switch(order, branches, z)

    def derivative(self, z: Any, order: int) -> Any:
        """The derivative of some order at a JAX array, delta functions at kinks left out."""
        value = self.piece_derivative(0, z, order)
        for index in range(1, len(self.pieces)):
            right = self.piece_derivative(index, z, order)
            value = jnp.where(z >= self.kinks[index - 1], right, value)
        return value

    @takes(self=anything, z=array(empty=True), order=count(0, _MOST_DERIVATIVES))
    def derivatives(self, z: np.ndarray, order: int) -> list[np.ndarray]:
        """Values and derivatives up to `order` in float64, delta functions at kinks left out.

        Returns a list ``[f, f', ..., f^(order)]`` of arrays shaped like `z`. Cost: one compiled
        elementwise pass; JAX's global precision setting is neither read nor changed.
        """
        if self.smooth:
            return _evaluate(self.pieces[0], order, z)
        out = [np.empty_like(z) for _ in range(order + 1)]
        which = np.searchsorted(np.asarray(self.kinks), z, side="right")
        for index, piece in enumerate(self.pieces):
            mask = which == index
            if mask.any():
                for target, values in zip(out, _evaluate(piece, order, z[mask]), strict=True):
                    target[mask] = values
        return out

    @takes(self=anything, order=count(0, _MOST_DERIVATIVES))
    def jumps(self, order: int) -> np.ndarray:
        """Jumps (right minus left) of the derivatives 0 to `order`: array (kinks, order + 1)."""
        return self.one_sided(order)[:, 1] - self.one_sided(order)[:, 0]

    @takes(self=anything, order=count(0, _MOST_DERIVATIVES))
    def one_sided(self, order: int) -> np.ndarray:
        """Left and right derivatives at the kinks: array (kinks, 2, order + 1)."""
        out = np.empty((len(self.kinks), 2, order + 1))
        for index, kink in enumerate(self.kinks):
            for side in (0, 1):
                values = _evaluate(self.pieces[index + side], order, np.asarray([kink]))
                out[index, side] = [v[0] for v in values]
        return out


def _nth_derivative(function: Callable[[Any], Any], order: int) -> Callable[[Any], Any]:
    """The derivative of an elementwise function, by nested differentiation along ones."""
    if order == 0:
        return function
    before = _nth_derivative(function, order - 1)
    return lambda z: jax.jvp(before, (z,), (jnp.ones_like(z),))[1]


@functools.lru_cache(maxsize=512)
def _compiled(piece: Callable[[Any], Any], order: int) -> Callable[[Any], Any]:
    functions = [piece]
    for _ in range(order):
        functions.append(jax.grad(functions[-1]))
    return jax.jit(jax.vmap(lambda z: jnp.stack([f(z) for f in functions])))


def _evaluate(piece: Callable[[Any], Any], order: int, z: np.ndarray) -> list[np.ndarray]:
    flat = z.ravel()
    out = np.empty((order + 1, flat.size))
    start = 0
    # numbers, also while a program that uses them is traced
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):  # noqa: FBT003 -- JAX's signature
        while start < flat.size:
            left = flat.size - start
            length = next((n for n in _COMPILED_LENGTHS if n >= left), _COMPILED_LENGTHS[-1])
            part = flat[start : start + length]
            padded = np.zeros(length)
            padded[: part.size] = part
            values = np.asarray(_compiled(piece, order)(padded))
            out[:, start : start + part.size] = values[: part.size].T
            start += part.size
    return [row.reshape(z.shape) for row in out]
