"""The walk through a jaxpr: what every variable means, equation by equation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.extend.source_info_util as source_info
import numpy as np

from whydeep.errors import InputError, UnsupportedError
from whydeep.jaxprs import Options, inner_jaxpr, is_literal
from whydeep.network.jax_reader import _structure as structure
from whydeep.network.jax_reader._calls import check_derivative, constant
from whydeep.network.jax_reader._draft import Computed, Known, Random, Value, refuse_computed
from whydeep.network.jax_reader._elementwise import elementwise
from whydeep.network.jax_reader._expression import ELEMENTWISE
from whydeep.network.jax_reader._leaves import Parameter
from whydeep.network.jax_reader._products import dot_general
from whydeep.network.jax_reader._reader import Reader
from whydeep.network.jax_reader._reduce import reduction, window
from whydeep.network.jax_reader._scan import scan
from whydeep.network.jax_reader._weights import convolution

__all__ = ["SUPPORTED", "Walk"]

SUPPORTED = (
    "dense layers, convolutions, embeddings, elementwise functions, sums, products, "
    "concatenation, slices, pools, LayerNorm, RMSNorm, GroupNorm, BatchNorm in evaluation mode, "
    "softmax attention (causal or not), scan over layers, Elman recurrence by scan"
)

_TRANSPARENT = {"copy", "copy_p", "device_put", "sharding_constraint", "reduce_precision"}
_ADVICE = {
    "while": "a loop whose length depends on numbers: a Python loop or jax.lax.scan over layers",
    "cond": "a branch that depends on the input: none, or a Python if",
    "sort": "routing and ranking have no kernel",
    "top_k": "routing and ranking have no kernel",
    "scatter": "build arrays with jnp.concatenate or jnp.where instead of x.at[...].set",
    "dynamic_update_slice": "build arrays with jnp.concatenate instead of updates in place",
}


class Walk:
    """One reading of a traced function."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.steps = 0
        self._reported: Exception | None = None
        self._checked: set[int] = set()

    def run(self, jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """The meaning of a jaxpr's results, for the meanings of its arguments."""
        meaning: dict[Any, Any] = {}
        meaning.update(zip(jaxpr.constvars, constants, strict=True))
        meaning.update(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Any:
            if is_literal(atom):
                return constant(atom.val)
            return meaning[atom]

        for equation in jaxpr.eqns:
            operands = [read(a) for a in equation.invars]
            results = self._step(equation, operands)
            meaning.update(zip(equation.outvars, results, strict=True))
        return [read(a) for a in jaxpr.outvars]

    def _step(self, equation: Any, operands: list[Any]) -> list[Any]:
        place = self.reader.place
        self.reader.place = _place(equation) or place
        self.steps += 1
        try:
            results = self._equation(equation, operands)
        except (UnsupportedError, InputError) as error:
            if error is self._reported:
                raise
            located = self._located(error, equation)
            self._reported = located
            raise located from error
        finally:
            self.reader.place = place
        return results if isinstance(results, list) else [results]

    def _located(self, error: Any, equation: Any) -> UnsupportedError:
        stack = str(equation.source_info.name_stack)
        where = self.reader.place or stack or "an unknown line"
        received = f"{equation.primitive.name} at {where}"
        return UnsupportedError(
            error.problem,
            received=f"{received}: {error.received}" if error.received else received,
            needed=error.needed or SUPPORTED,
            cause=error.cause,
            suggestion=error.suggestion,
        )

    def _equation(self, equation: Any, operands: list[Any]) -> Any:  # noqa: PLR0911 -- cases
        name, options = equation.primitive.name, Options(equation)
        if name.startswith(("random_", "threefry")):
            return [Random(tuple(v.aval.shape)) for v in equation.outvars]
        inner = inner_jaxpr(equation)
        if inner is not None:
            return self._call(equation, inner, operands)
        if name == "scan":
            return scan(self.reader, self.run, equation, operands)
        if name == "cond" and isinstance(operands[0], Known):
            branch = options["branches"][int(operands[0].array)]
            return self.run(branch.jaxpr, [constant(c) for c in branch.consts], operands[1:])
        if any(isinstance(o, Random) for o in operands):
            return self._random(equation, operands)
        if all(isinstance(o, Known) for o in operands):
            return _folded(equation, operands)
        return self._primitive(equation, name, options, operands)

    def _random(self, equation: Any, operands: list[Any]) -> list[Any]:
        if not all(isinstance(o, (Random, Known)) for o in operands):
            raise UnsupportedError(
                "Random numbers made while the network is applied meet its values.",
                needed="a function of parameters and input alone",
                cause="dropout in training mode",
                suggestion="evaluation mode: deterministic=True in flax, "
                "eqx.nn.inference_mode(model) in equinox",
            )
        return [Random(tuple(v.aval.shape)) for v in equation.outvars]

    def _call(self, equation: Any, inner: Any, operands: list[Any]) -> list[Any]:
        jaxpr, constants = inner
        name = equation.primitive.name
        if name.startswith("custom_"):
            live = [o for o in operands if not isinstance(o, (Known, Random))]
            if live and _function_name(jaxpr) == "logaddexp" and len(operands) == 2:
                return [elementwise(self.reader, "softplus_pair", operands)]
            if live and id(equation) not in self._checked:
                check_derivative(equation, jaxpr, constants)
                self._checked.add(id(equation))
        return self.run(jaxpr, [constant(c) for c in constants], operands)

    def _primitive(self, equation: Any, name: str, options: Any, operands: list[Any]) -> Any:
        first = operands[0]
        if name in ELEMENTWISE:
            return elementwise(self.reader, name, operands)
        handler = getattr(self, f"_do_{name}", None)
        if handler is not None:
            return handler(equation, options, operands)
        if name in _TRANSPARENT:
            return first
        if isinstance(first, (Parameter, Computed)):
            paths = first.paths if isinstance(first, Computed) else (first.view.leaf.path,)
            return [Computed(tuple(v.aval.shape), paths, name) for v in equation.outvars]
        raise UnsupportedError(
            f"The primitive {name!r} has no counterpart among layers.",
            suggestion=_ADVICE.get(name, ""),
        )

    # -- one method for every primitive that is no arithmetic ----------------------------------

    def _do_optimization_barrier(self, _equation: Any, _options: Any, operands: list[Any]) -> Any:
        return list(operands)

    def _do_convert_element_type(self, equation: Any, options: Any, operands: list[Any]) -> Any:
        operand = operands[0]
        if not isinstance(operand, Value):
            return operand
        kinds = np.dtype(equation.invars[0].aval.dtype), np.dtype(options["new_dtype"])
        old, new = (jax.numpy.issubdtype(k, jax.numpy.inexact) for k in kinds)
        if old == new:
            return operand
        if new:
            return elementwise(self.reader, "to_real", operands)
        raise UnsupportedError("A value is rounded to whole numbers.")

    def _do_stop_gradient(self, _equation: Any, _options: Any, operands: list[Any]) -> Any:
        operand = operands[0]
        if isinstance(operand, Parameter):
            return Parameter(operand.view, operand.scale, operand.shift, frozen=True)
        if isinstance(operand, Value):
            expression = operand.expression
            tops = all(s.kind == "max" for s in expression.statistics)
            if expression.has_value or not tops:
                raise UnsupportedError(
                    "A gradient is stopped at a value.",
                    cause="the tangent kernel would not be that of the function's values; or a "
                    "softmax that is no attention",
                    needed="stop_gradient of parameters (their rate is then 0), or of the maximum "
                    "in a softmax",
                )
        return operand

    def _do_integer_pow(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        return elementwise(self.reader, "integer_pow", operands, int(options["y"]))

    def _do_polynomial(self, _equation: Any, _options: Any, operands: list[Any]) -> Any:
        value, *rising, total = operands
        for coefficient in reversed(rising):
            product = elementwise(self.reader, "mul", [total, value])
            total = elementwise(self.reader, "add", [product, coefficient])
        return total

    def _do_clamp(self, _equation: Any, _options: Any, operands: list[Any]) -> Any:
        low, value, high = operands
        raised = elementwise(self.reader, "max", [value, low])
        return elementwise(self.reader, "min", [raised, high])

    def _do_reshape(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        return structure.reshape(operands[0], options["new_sizes"])

    def _do_squeeze(self, equation: Any, _options: Any, operands: list[Any]) -> Any:
        return structure.reshape(operands[0], equation.outvars[0].aval.shape)

    _do_expand_dims = _do_squeeze

    def _do_transpose(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        return structure.transpose(operands[0], options["permutation"])

    def _do_broadcast_in_dim(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        dimensions = tuple(int(k) for k in options["broadcast_dimensions"])
        return structure.broadcast(operands[0], tuple(options["shape"]), dimensions)

    def _do_tile(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        return structure.tile(operands[0], tuple(int(n) for n in options["reps"]))

    def _do_slice(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        steps = options["strides"] or (1,) * len(options["start_indices"])
        limits = zip(options["start_indices"], options["limit_indices"], steps, strict=True)
        return structure.slices(
            self.reader, operands[0], [(int(a), int(b), int(c)) for a, b, c in limits]
        )

    def _do_dynamic_slice(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        operand, *starts = operands
        if not all(isinstance(s, Known) for s in starts):
            raise UnsupportedError("A slice begins where the input says.")
        limits = []
        for start, size, n in zip(starts, options["slice_sizes"], operand.shape, strict=True):
            begin = min(max(int(start.array), 0), n - size)
            limits.append((begin, begin + size, 1))
        return structure.slices(self.reader, operand, limits)

    def _do_split(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        operand, axis = operands[0], int(options["axis"])
        out, start = [], 0
        for size in options["sizes"]:
            limits = [(0, n, 1) for n in operand.shape]
            limits[axis] = (start, start + int(size), 1)
            out.append(structure.slices(self.reader, operand, limits))
            start += int(size)
        return out

    def _do_unstack(self, equation: Any, options: Any, operands: list[Any]) -> Any:
        operand, axis = operands[0], int(options["axis"])
        out = []
        for place, variable in enumerate(equation.outvars):
            limits = [(0, n, 1) for n in operand.shape]
            limits[axis] = (place, place + 1, 1)
            part = structure.slices(self.reader, operand, limits)
            out.append(structure.reshape(part, variable.aval.shape))
        return out

    def _do_stack(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        axis = int(options["axis"])
        rows = [structure.reshape(o, (*o.shape[:axis], 1, *o.shape[axis:])) for o in operands]
        return structure.concatenate(self.reader, rows, axis)

    def _do_rev(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        return structure.reverse(self.reader, operands[0], tuple(options["dimensions"]))

    def _do_concatenate(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        return structure.concatenate(self.reader, operands, int(options["dimension"]))

    def _do_pad(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        config = tuple((int(a), int(b), int(c)) for a, b, c in options["padding_config"])
        return structure.pad(self.reader, operands[0], operands[1], config)

    def _do_gather(self, equation: Any, options: Any, operands: list[Any]) -> Any:
        return structure.gather(self.reader, equation.primitive, operands, options)

    def _do_reduce_sum(self, equation: Any, options: Any, operands: list[Any]) -> Any:
        return self._reduce("sum", equation, options, operands)

    def _do_reduce_max(self, equation: Any, options: Any, operands: list[Any]) -> Any:
        return self._reduce("max", equation, options, operands)

    def _reduce(self, kind: str, equation: Any, options: Any, operands: list[Any]) -> Any:
        operand = operands[0]
        if not isinstance(operand, Value):
            paths = operand.paths if isinstance(operand, Computed) else (operand.view.leaf.path,)
            return Computed(tuple(equation.outvars[0].aval.shape), paths, f"a {kind}")
        return reduction(self.reader, kind, operand, tuple(int(k) for k in options["axes"]))

    def _do_reduce_window_sum(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        return window(self.reader, "sum", operands[0], options)

    def _do_reduce_window_max(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        return window(self.reader, "max", operands[0], options)

    def _do_dot_general(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        return dot_general(self.reader, operands[0], operands[1], options["dimension_numbers"])

    def _do_conv_general_dilated(self, _equation: Any, options: Any, operands: list[Any]) -> Any:
        value, kernel = operands
        if isinstance(kernel, Computed):
            raise refuse_computed(kernel)
        if not isinstance(value, Value) or not isinstance(kernel, Parameter):
            raise UnsupportedError(
                "A convolution whose kernel is not a parameter.",
                needed="a value convolved with a parameter",
                suggestion="pass all weights in `params`",
            )
        return convolution(self.reader, value, kernel, options)


def _place(equation: Any) -> str:
    """The user's source line."""
    text = source_info.summarize(equation.source_info)
    return "" if text == "unknown" else text


def _function_name(jaxpr: Any) -> str:
    return str(getattr(getattr(jaxpr, "debug_info", None), "func_name", ""))


def _folded(equation: Any, operands: list[Any]) -> list[Any]:
    """The numbers that an operation makes of numbers."""
    arrays = [
        o.array if o.array.dtype == a.aval.dtype else o.array.astype(a.aval.dtype)
        for o, a in zip(operands, equation.invars, strict=True)
    ]
    results = equation.primitive.bind(*arrays, **equation.params)
    if not equation.primitive.multiple_results:
        results = [results]
    return [Known(np.asarray(r)) for r in results]
