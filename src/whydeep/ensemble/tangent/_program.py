"""A function of parameters and one example as a flat list of operations.

Functions called inside functions are written out, each call with values of its own, so that one
pass over the list sees every use of a parameter. Functions with derivatives of their own, loops
and branches stay whole: their derivatives are the ones JAX takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.core import eval_jaxpr

from whydeep.ensemble.tangent._strides import convolved, strided
from whydeep.jaxprs import PLAIN_CALLS, inner_jaxpr, is_dropped, is_literal

__all__ = ["Program", "Step", "traced"]


@dataclass(frozen=True, eq=False)
class Step:
    """One operation: the numbers of the values it takes and of those it gives.

    Args:
        equation: of JAX.
        around: the jaxpr it stands in.
        ins: what it takes.
        outs: what it gives.
    """

    equation: Any
    around: Any
    ins: tuple[int, ...]
    outs: tuple[int, ...]

    @property
    def name(self) -> str:
        """Of the operation."""
        return str(self.equation.primitive.name)

    @property
    def options(self) -> dict[str, Any]:
        """Of the operation."""
        return self.equation.params

    def run(self, operands: Sequence[Any]) -> list[Any]:
        """Its results."""
        if self.name.startswith("custom_"):
            return _run_alone(self.equation, self.around, operands)
        if self.name == "conv_general_dilated" and strided(self.options):
            return [convolved(operands[0], operands[1], self.options)]
        found = self.equation.primitive.bind(*operands, **self.options)
        return list(found) if self.equation.primitive.multiple_results else [found]


@dataclass(eq=False)
class Program:
    """The operations in order, and what the numbers of values mean.

    Args:
        steps: in order.
        constants: values known beforehand, by number.
        shapes: shape and dtype of every value, by number.
        parameters: the numbers of the leaves of the parameters.
        inputs: the numbers of the leaves of the example.
        output: the number of the result.
    """

    steps: list[Step] = field(default_factory=list)
    constants: dict[int, Any] = field(default_factory=dict)
    shapes: list[Any] = field(default_factory=list)
    parameters: tuple[int, ...] = ()
    inputs: tuple[int, ...] = ()
    output: int = -1

    def new(self, aval: Any) -> int:
        """The number of a new value."""
        self.shapes.append(jax.ShapeDtypeStruct(aval.shape, aval.dtype))
        return len(self.shapes) - 1

    def run(
        self, parameters: Sequence[Any], inputs: Sequence[Any], added: dict[int, Any]
    ) -> dict[int, Any]:
        """All values, with something added to some of them as soon as they are computed."""
        values = dict(self.constants)
        values.update(zip(self.parameters, parameters, strict=True))
        values.update(zip(self.inputs, inputs, strict=True))
        for step in self.steps:
            for number, result in zip(
                step.outs, step.run([values[i] for i in step.ins]), strict=True
            ):
                values[number] = result + added[number] if number in added else result
        return values


def traced(function: Callable[[Any, Any], Any], leaves: Sequence[Any], example: Any) -> Program:
    """The operations of ``function(leaves, example)``, an array.

    Args:
        function: of a list of arrays, and of a list of arrays.
        leaves: shapes and dtypes of the first.
        example: shapes and dtypes of the second.
    """
    closed = jax.make_jaxpr(function)(list(leaves), list(example))
    program = Program()
    numbers = [program.new(v.aval) for v in closed.jaxpr.invars]
    program.parameters = tuple(numbers[: len(leaves)])
    program.inputs = tuple(numbers[len(leaves) :])
    constants = [_constant(program, c) for c in closed.consts]
    (program.output,) = _written_out(program, closed.jaxpr, constants, numbers)
    return program


def _written_out(
    program: Program, jaxpr: Any, constants: Sequence[int], arguments: Sequence[int]
) -> list[int]:
    numbers: dict[Any, int] = {}
    numbers.update(zip(jaxpr.constvars, constants, strict=True))
    numbers.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> int:
        if is_literal(atom):
            # A literal of weak type keeps it only inside a step: bind it as an array of its dtype.
            return _constant(program, np.asarray(atom.val, _dtype(atom.aval)))
        return numbers[atom]

    for equation in jaxpr.eqns:
        ins = [read(a) for a in equation.invars]
        inner = inner_jaxpr(equation) if equation.primitive.name in PLAIN_CALLS else None
        if inner is not None:
            own = [_constant(program, c) for c in inner[1]]
            outs = _written_out(program, inner[0], own, ins)
        else:
            outs = [program.new(v.aval) for v in equation.outvars]
            step = Step(equation, jaxpr, tuple(ins), tuple(outs))
            program.steps.append(step)
        numbers.update(zip(equation.outvars, outs, strict=True))
    return [read(a) for a in jaxpr.outvars]


def _dtype(aval: Any) -> Any:
    return aval.dtype


def _constant(program: Program, value: Any) -> int:
    # Keys of random numbers have dtypes that numpy does not know: they pass as they are.
    number = program.new(value)
    program.constants[number] = value
    return number


def _run_alone(equation: Any, around: Any, operands: Sequence[Any]) -> list[Any]:
    """A function with a derivative of its own, evaluated so that JAX sees it as one."""
    given = {a: o for a, o in zip(equation.invars, operands, strict=True) if not is_literal(a)}
    kept = [v for v in equation.outvars if not is_dropped(v)]
    jaxpr = around.replace(constvars=[], invars=list(given), outvars=kept, eqns=[equation])
    found = dict(zip(kept, eval_jaxpr(jaxpr, (), *given.values()), strict=True))
    return [found.get(v) for v in equation.outvars]
