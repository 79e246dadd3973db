"""A JAX function as a tape: its jaxpr for one example, evaluated in float64.

The function is traced in whatever precision the user works in. Its operations are then applied in
float64 to the numbers that it holds, so that regions do not depend on the rounding of float32.
"""

# ruff: noqa: SIM905 -- names of operations, many a line
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.errors import InputError
from whydeep.geometry.pieces import Kink, PiecewiseLinear, Select, named_kink
from whydeep.geometry.readers._tape import (
    Backend,
    Bend,
    Step,
    Tape,
    assemble,
    bilinear,
    refuse_smooth,
    refuse_unknown,
)
from whydeep.geometry.readers._windows import largest_of, over_axes, pooled, units_threshold
from whydeep.jaxprs import Options, inner_jaxpr, is_literal

__all__ = ["read_jax_function"]

_AFFINE = frozenset(
    """
    add add_any broadcast_in_dim concatenate convert_element_type copy copy_p cumsum dynamic_slice
    dynamic_update_slice expand_dims gather neg optimization_barrier pad reduce_sum
    reduce_window_sum reshape rev scatter-add select_n slice split squeeze stack stop_gradient sub
    tile transpose reduce_precision unstack
""".split()
)
_PRODUCTS = frozenset({"conv_general_dilated", "div", "dot_general", "mul"})
_SMOOTH = frozenset(
    """
    acos asin atan atan2 cbrt cos cosh digamma erf erf_inv erfc exp exp2 expm1 integer_pow lgamma
    log log1p log2 logistic one_minus_square polynomial pow rsqrt sin sinh sqrt square tan tanh
""".split()
)
# Operations with arguments that are places, and which these are.
_PLACED = {
    "dynamic_slice": lambda n: range(1, n),
    "dynamic_update_slice": lambda n: range(2, n),
    "gather": lambda _: (1,),
    "scatter-add": lambda _: (1,),
}
_COMPARED = frozenset({"ge", "gt", "le", "lt"})
_KINKS = ("abs", "clamp", "max", "min", "reduce_max", "reduce_min", "reduce_window_max", "select_n")


def read_jax_function(
    f: Callable[[Any], Any], shape: tuple[int, ...], dtype: Any = np.float32
) -> PiecewiseLinear:
    """The piecewise-linear function that ``f`` is, for inputs of this shape.

    Args:
        f: of a batch (N, *shape): it is traced with one example.
        shape: of one input.
        dtype: of the input while it is traced.

    Raises:
        InputError: it can't be traced.
        UnsupportedError: an operation that is not piecewise linear, by name.
    """
    try:
        example = jax.ShapeDtypeStruct((1, *shape), jnp.zeros((), dtype).dtype)
        closed = jax.make_jaxpr(f)(example)
    except Exception as error:
        raise InputError(
            "The function can't be traced with one example.",
            received=f"{type(error).__name__}: {str(error).strip()[:200]}",
            needed=f"a JAX function of a batch (N, {', '.join(map(str, shape))})",
            cause="an example is a batch: one input of shape s is example[None], (1, *s)",
        ) from error
    if len(closed.out_avals) != 1:
        raise InputError("The function gives several arrays.", received=str(closed.out_avals)[:80],
                         needed="one array (N, ...)")  # fmt: skip
    reader = _Reader()
    (number,) = [reader.tape.new((1, *shape))]
    reader.tape.input = number
    constants = [reader.constant(c) for c in closed.consts]
    (reader.tape.output,) = reader.walk(closed.jaxpr, constants, [number])
    tape = reader.tape
    if tape.output in tape.constants:
        raise InputError("The function does not depend on its input.")
    found = assemble(tape, _Jax(), tuple(closed.out_avals[0].shape[1:]))
    return PiecewiseLinear(shape, found.outputs, found.maps, found.kinks)


class _Jax(Backend):
    """Arrays of one example in float64, mapped over rows."""

    def function(
        self, steps: Sequence[Step], ins: Sequence[int], outs: Sequence[int], tape: Tape
    ) -> Callable[[np.ndarray], np.ndarray]:
        shapes = [tape.shapes[i] for i in ins]
        ends = np.cumsum([math.prod(s) for s in shapes])

        def single(row: Any) -> Any:
            values = dict(tape.constants)
            for i, part, shape in zip(ins, jnp.split(row, ends[:-1]), shapes, strict=True):
                values[i] = part.reshape(shape)
            for step in steps:
                found = step.run([values[i] for i in step.ins])
                values.update(zip(step.outs, found, strict=True))
            return jnp.concatenate([jnp.asarray(values[i], jnp.float64).ravel() for i in outs])

        mapped = jax.jit(jax.vmap(single))

        def function(rows: np.ndarray) -> np.ndarray:
            size = 1 << max(len(rows) - 1, 0).bit_length()  # few sizes are compiled
            padded = np.zeros((size, rows.shape[1]))
            padded[: len(rows)] = rows
            with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
                return np.asarray(mapped(padded))[: len(rows)]

        function.single = single  # type: ignore[attr-defined]
        return function

    def slopes(
        self, function: Callable[[np.ndarray], np.ndarray], before: int, after: int
    ) -> np.ndarray:
        del after
        with jax.enable_x64(True):  # noqa: FBT003
            single = function.single  # type: ignore[attr-defined]
            point = jnp.zeros(before, jnp.float64)
            return np.asarray(jax.jit(jax.jacfwd(single))(point)).T


class _Reader:
    """Walks a jaxpr, calls inside included."""

    def __init__(self) -> None:
        self.tape = Tape()
        self.compared: dict[int, tuple[str, int, int]] = {}

    def constant(self, value: Any) -> int:
        """The number of a value that is known; floating-point ones in float64."""
        number = self.tape.new()
        array = np.asarray(value)
        floating = jnp.issubdtype(array.dtype, jnp.floating)
        self.tape.constants[number] = array.astype(np.float64) if floating else array
        return number

    def value(self, shape: tuple[int, ...]) -> int:
        """The number of a new value that depends on the input."""
        return self.tape.new(tuple(shape))

    def walk(self, jaxpr: Any, constants: Sequence[int], arguments: Sequence[int]) -> list[int]:
        """Read all equations; the numbers of the results."""
        numbers: dict[Any, int] = dict(zip(jaxpr.constvars, constants, strict=True))
        numbers.update(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> int:
            if is_literal(atom):
                return self.constant(atom.val)
            return numbers[atom]

        for equation in jaxpr.eqns:
            ins = [read(a) for a in equation.invars]
            outs = self._equation(equation, ins)
            numbers.update(zip(equation.outvars, outs, strict=True))
        return [read(a) for a in jaxpr.outvars]

    def _equation(self, equation: Any, ins: list[int]) -> list[int]:
        name = equation.primitive.name
        inner = inner_jaxpr(equation)
        if inner is not None:
            return self.walk(inner[0], [self.constant(c) for c in inner[1]], ins)
        varying = [i for i in ins if i in self.tape.shapes or i in self.compared]
        if not varying:
            return self._folded(equation, ins)
        if name in _COMPARED:
            number = self.tape.new()
            self.compared[number] = (name, ins[0], ins[1])
            return [number]
        if any(i in self.compared for i in ins) and not (
            name == "select_n" and ins[0] in self.compared and len(ins) == 3
        ):
            if name == "broadcast_in_dim" or name in ("reshape", "squeeze", "copy"):
                return [self._moved(equation, ins[0])]
            raise refuse_unknown(f"{name} of a comparison", (*_AFFINE, *_PRODUCTS, *_KINKS))
        bend = self._bend(equation, name, ins)
        if bend is not None:
            return [bend]
        self._check(name, ins)
        outs = [self.value(v.aval.shape) for v in equation.outvars]
        self.tape.steps.append(Step(_runner(equation), tuple(ins), tuple(outs)))
        return outs

    def _moved(self, equation: Any, number: int) -> int:
        """A comparison in another shape: that of its two sides."""
        name, one, two = self.compared[number]
        gap = self._difference(one, two, equation.invars[0].aval.shape)
        out = self.value(equation.outvars[0].aval.shape)
        self.tape.steps.append(Step(_runner(equation), (gap,), (out,)))
        moved = self.tape.new()
        self.compared[moved] = (name, out, self.constant(0.0))
        return moved

    def _check(self, name: str, ins: list[int]) -> None:
        varies = [i in self.tape.shapes for i in ins]
        if name in _SMOOTH:
            raise refuse_smooth(name)
        if name in _PRODUCTS:
            bilinear(name, varies)
            if name == "div" and varies[1]:
                raise refuse_smooth("a quotient")
        elif name not in _AFFINE:
            raise refuse_unknown(name, (*_AFFINE, *_PRODUCTS, *_KINKS))
        elif name in _PLACED and any(varies[k] for k in _PLACED[name](len(ins))):
            raise refuse_unknown(f"{name} at places that depend on the input", tuple(_AFFINE))
        elif name == "select_n" and varies[0]:
            raise refuse_unknown("select_n of several cases", tuple(_AFFINE))

    def _folded(self, equation: Any, ins: list[int]) -> list[int]:
        """A result that does not depend on the input."""
        with jax.enable_x64(True):  # noqa: FBT003
            found = _runner(equation)([jnp.asarray(self.tape.constants[i]) for i in ins])
        return [self.constant(value) for value in found]

    def _difference(self, one: int, two: int, shape: tuple[int, ...]) -> int:
        out = self.value(shape)

        def run(values: Sequence[Any]) -> Sequence[Any]:
            return (jnp.broadcast_to(values[0] - values[1], shape),)

        self.tape.steps.append(Step(run, (one, two), (out,)))
        return out

    def _spread(self, number: int, shape: tuple[int, ...]) -> int:
        """A value in a larger shape, constants too."""
        out = self.value(shape)

        def run(values: Sequence[Any]) -> Sequence[Any]:
            return (jnp.broadcast_to(values[0], shape),)

        self.tape.steps.append(Step(run, (number,), (out,)))
        return out

    def _bend(self, equation: Any, name: str, ins: list[int]) -> int | None:
        """The number of what a kink node gives, if the operation is one."""
        out = tuple(equation.outvars[0].aval.shape)
        size, shape = math.prod(out), tuple(equation.invars[0].aval.shape)
        constants = self.tape.constants
        kink: Kink
        given: tuple[int, ...] = (ins[0],)
        if name == "abs":
            kink = named_kink("abs", size)
        elif name in ("max", "min"):
            known = [i for i in ins if i in constants]
            if known:
                limit = np.broadcast_to(np.asarray(constants[known[0]], np.float64), out).ravel()
                kink, given = _limited(name, limit), tuple(i for i in ins if i not in constants)
            else:
                members = np.stack([np.arange(size), size + np.arange(size)], axis=1)
                kink = largest_of(name, 2 * size, members, smallest=name == "min")
                given = tuple(self._spread(i, out) for i in ins)
        elif name == "clamp":
            if ins[0] not in constants or ins[2] not in constants:
                return None
            low, high = (
                np.broadcast_to(np.asarray(constants[i], np.float64), out).ravel()
                for i in (ins[0], ins[2])
            )
            zero, one = np.zeros(size), np.ones(size)
            kink = units_threshold("clamp", [low, high], [zero, one, zero], [low, zero, high])
            given = (ins[1],)
        elif name in ("reduce_max", "reduce_min"):
            members = over_axes(shape, Options(equation)["axes"])
            kink = largest_of(name, math.prod(shape), members, smallest=name == "reduce_min")
        elif name == "reduce_window_max":
            kink = _pooled(equation, shape, out)
        elif name == "select_n" and ins[0] in self.compared:
            return self._select(ins, out)
        else:
            return None
        number = self.value(out)
        self.tape.steps.append(Bend(kink, given, number))
        return number

    def _select(self, ins: list[int], out: tuple[int, ...]) -> int:
        name, one, two = self.compared[ins[0]]
        if name in ("lt", "le"):
            one, two = two, one
        gap = self._difference(one, two, out)
        above, below = self._spread(ins[2], out), self._spread(ins[1], out)
        size, number = math.prod(out), self.value(out)
        kink = Select("where", 3 * size, size, size)
        self.tape.steps.append(Bend(kink, (gap, above, below), number))
        return number


def _limited(name: str, limit: np.ndarray) -> Kink:
    """``max(z, limit)`` or ``min(z, limit)``."""
    zero, one = np.zeros_like(limit), np.ones_like(limit)
    if name == "max":
        shown = "relu" if not limit.any() else "max"
        return units_threshold(shown, [limit], [zero, one], [limit, zero])
    return units_threshold("min", [limit], [one, zero], [zero, limit])


def _pooled(equation: Any, shape: tuple[int, ...], out: tuple[int, ...]) -> Kink:
    p = Options(equation)
    if set(p["base_dilation"]) != {1}:
        raise refuse_unknown("reduce_window_max with dilated inputs", _KINKS)
    starts = [low for low, _ in p["padding"]]
    members = pooled(
        shape, out, p["window_dimensions"], p["window_strides"], starts, p["window_dilation"]
    )
    return largest_of("reduce_window_max", math.prod(shape), members)


def _runner(equation: Any) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """The equation applied to numbers in float64."""
    params = dict(equation.params)
    for key in ("preferred_element_type", "new_dtype", "dtype"):
        if params.get(key) is not None and jnp.issubdtype(params[key], jnp.floating):
            params[key] = np.dtype(np.float64)
    primitive = equation.primitive
    if primitive.name == "reduce_precision":
        return lambda values: (values[0],)

    def run(values: Sequence[Any]) -> Sequence[Any]:
        arrays = [jnp.asarray(v) for v in values]
        if primitive.name == "convert_element_type" and params["new_dtype"] == arrays[0].dtype:
            return (arrays[0],)
        found = primitive.bind(*arrays, **params)
        return tuple(found) if primitive.multiple_results else (found,)

    return run
