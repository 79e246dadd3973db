"""Operations in order, some affine and some that bend, put together to a piecewise-linear function.

Between two kinks everything is affine. What is needed later passes by a kink in the state, so that
skip connections of any kind are one and the same thing.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whydeep.errors import InputError, UnsupportedError
from whydeep.geometry.pieces import AffineMap, Function, Kink, Matrix, PiecewiseLinear

__all__ = ["Backend", "Bend", "Step", "Tape", "bilinear", "refuse_smooth", "refuse_unknown"]

_MOST_ENTRIES = 1 << 22  # of a matrix; larger affine maps stay functions


@dataclass(frozen=True)
class Step:
    """An affine operation: values by number, taken and given."""

    run: Callable[[Sequence[Any]], Sequence[Any]]
    ins: tuple[int, ...]
    outs: tuple[int, ...]


@dataclass(frozen=True)
class Bend:
    """A kink: its inputs stand side by side in the state."""

    kink: Kink
    ins: tuple[int, ...]
    out: int


@dataclass(eq=False)
class Tape:
    """What a function does.

    Args:
        steps: in order.
        constants: values that do not depend on the input, by number.
        shapes: of one example's value, by number, of those that do.
        input: the number of the input.
        output: of the output.
    """

    steps: list[Step | Bend] = field(default_factory=list)
    constants: dict[int, Any] = field(default_factory=dict)
    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    input: int = 0
    output: int = 0
    count: int = 0

    def new(self, shape: tuple[int, ...] | None = None) -> int:
        """The number of a new value."""
        self.count += 1
        if shape is not None:
            self.shapes[self.count - 1] = shape
        return self.count - 1


class Backend(abc.ABC):
    """A framework that evaluates operations in float64."""

    @abc.abstractmethod
    def function(
        self, steps: Sequence[Step], ins: Sequence[int], outs: Sequence[int], tape: Tape
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Steps as a function of rows: values side by side."""

    @abc.abstractmethod
    def slopes(
        self, function: Callable[[np.ndarray], np.ndarray], before: int, after: int
    ) -> np.ndarray:
        """The linear part of such a function, (before, after), without differences."""


def assemble(tape: Tape, backend: Backend, outputs: tuple[int, ...]) -> PiecewiseLinear:
    """The piecewise-linear function that a tape is."""
    tape.steps = _needed(tape)
    bends = [n for n, step in enumerate(tape.steps) if isinstance(step, Bend)]
    last_use: dict[int, int] = {tape.output: len(tape.steps)}
    made: dict[int, int] = {tape.input: -1}
    for n, step in enumerate(tape.steps):
        for i in step.ins:
            last_use[i] = max(last_use.get(i, -1), n)
        for o in (step.out,) if isinstance(step, Bend) else step.outs:
            made[o] = n
    ins: list[int] = [tape.input]
    maps, kinks, begin = [], [], 0
    for n in bends:
        bend = tape.steps[n]
        assert isinstance(bend, Bend)  # noqa: S101 -- of the numbers chosen above
        live = [i for i in made if made[i] < n and last_use.get(i, -1) > n and i in tape.shapes]
        maps.append(_map(tape, backend, begin, n, ins, [*bend.ins, *live]))
        kinks.append(bend.kink)
        ins, begin = [bend.out, *live], n + 1
    maps.append(_map(tape, backend, begin, len(tape.steps), ins, [tape.output]))
    return PiecewiseLinear(tape.shapes[tape.input], outputs, tuple(maps), tuple(kinks))


def _needed(tape: Tape) -> list[Step | Bend]:
    """The steps that the output depends on."""
    wanted, kept = {tape.output}, []
    for step in reversed(tape.steps):
        outs = (step.out,) if isinstance(step, Bend) else step.outs
        if wanted.intersection(outs):
            wanted.update(step.ins)
            kept.append(step)
    return kept[::-1]


def _map(
    tape: Tape, backend: Backend, begin: int, end: int, ins: list[int], outs: list[int]
) -> AffineMap:
    steps = [step for step in tape.steps[begin:end] if isinstance(step, Step)]
    function = backend.function(steps, ins, outs, tape)
    before = sum(math.prod(tape.shapes[i]) for i in ins)
    bias = np.asarray(function(np.zeros((1, before))), np.float64)[0]
    if not np.isfinite(bias).all():
        raise InputError(
            "The function has numbers that are not finite.",
            received=f"{int((~np.isfinite(bias)).sum())} NaN or infinite values of the "
            f"{len(bias)} that an affine part gives for zeros",
            needed="finite weights and biases",
            cause="a training that diverged, or memory that nothing was written to",
        )
    if before * len(bias) > _MOST_ENTRIES:
        return Function(function)
    weight = backend.slopes(function, before, len(bias))
    return Matrix(np.ascontiguousarray(weight), bias)


def bilinear(name: str, varying: Sequence[bool]) -> None:
    """Refuse a product of two values that both depend on the input.

    Raises:
        UnsupportedError: more than one does.
    """
    if sum(varying) > 1:
        raise UnsupportedError(
            f"{name} multiplies two values that depend on the input: not piecewise linear.",
            received=name,
            needed="products with fixed numbers only",
            cause="attention, gating or a squared value",
        )


def refuse_smooth(name: str, where: str = "") -> UnsupportedError:
    """The error for a smooth activation."""
    return UnsupportedError(
        f"{name} is smooth: a network with it has no affine pieces.",
        received=f"{name} {where}".rstrip(),
        needed="a piecewise-linear activation: relu, leaky_relu, abs, hard_tanh, max-pooling ...",
        cause="exact regions exist for piecewise-linear functions only",
        suggestion="whydeep.geometry.zero_sets(g, origin, u, v) draws where the pre-activations "
        "that g returns change sign: approximate, on a grid, for any network",
    )


def refuse_unknown(name: str, known: Sequence[str], where: str = "") -> UnsupportedError:
    """The error for an operation that is not known to be piecewise linear."""
    return UnsupportedError(
        f"The operation {name} is not one that can be read as piecewise linear.",
        received=f"{name} {where}".rstrip(),
        needed="one of " + ", ".join(sorted(known)),
    )
