"""How the tangent kernel of one function is computed, worked out once and kept."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.ensemble.tangent._features import Features, features_of
from whydeep.ensemble.tangent._inputs import Parameters, explained
from whydeep.ensemble.tangent._program import traced
from whydeep.ensemble.tangent._terms import find_terms
from whydeep.ensemble.tangent._uses import find_uses
from whydeep.errors import InputError, UnsupportedError

__all__ = ["Plan", "check_independent", "one_example", "plan_of"]

_KEPT = 32


class Plan:
    """Terms of the kernel, and the compiled function that gives their features.

    Args:
        fn: of parameters and a batch.
        tree: of the parameters.
        leaves: shapes and dtypes.
        inputs: tree of the inputs.
        example: shapes and dtypes of one example's arrays.
        chosen: leaves that derivatives are taken of.
        whole: those among them without structure.
        outputs: "full", "trace" or "diagonal".
    """

    def __init__(
        self, fn: Any, tree: Any, leaves: Any, inputs: Any, example: Any, chosen: tuple[int, ...],
        whole: tuple[int, ...], outputs: str,
    ) -> None:  # fmt: skip
        single = one_example(fn, tree, inputs)
        result = shape_of(single, leaves, example)
        self.shape: tuple[int, ...] = tuple(result.shape[1:])
        self.dtype = result.dtype
        self.size = math.prod(self.shape)
        program = traced(single, leaves, example)
        uses = find_uses(program, chosen, whole)
        self.terms = find_terms(program, uses, self.size, traced=outputs == "trace")
        self.features: Callable[[Any, Any, Any], Features] = jax.jit(
            features_of(program, self.terms)
        )
        self._checked = False
        self.bytes_alone, self.bytes_an_output = self._bytes(leaves, example)

    def check_once(self, fn: Any, parameters: Parameters, x: Any, arrays: Sequence[Any]) -> None:
        """See `check_independent`: once for every plan."""
        if not self._checked:
            check_independent(fn, parameters, x, arrays)
            self._checked = len(arrays[0]) > 1

    def _bytes(self, leaves: Any, example: Any) -> tuple[int, int]:
        """Of the features of one example: what they take at least, and more for each output."""
        batch = [jax.ShapeDtypeStruct((1, *e.shape), e.dtype) for e in example]

        def size(outputs: int) -> int:
            basis = jax.ShapeDtypeStruct((outputs, self.size), self.dtype)
            found = jax.eval_shape(self.features, list(leaves), batch, basis)
            return sum(math.prod(f.shape) * f.dtype.itemsize for f in jax.tree.leaves(found))

        one, two = size(1), size(2)
        return max(one - (two - one), 0), two - one


def one_example(fn: Any, tree: Any, inputs: Any) -> Callable[[Any, Any], Any]:
    """The function of leaves and of one example's arrays; the output keeps its first axis of 1."""

    def single(leaves: Sequence[Any], example: Sequence[Any]) -> Any:
        batch = jax.tree.unflatten(inputs, [e[None] for e in example])
        return fn(jax.tree.unflatten(tree, list(leaves)), batch)

    return single


def shape_of(single: Any, leaves: Any, example: Any) -> Any:
    """Shape and dtype of the output of one example.

    Raises:
        InputError: the output is not one array of real numbers, a row an example; or the function
            raises an error, as for inputs of shapes that it does not take.
        UnsupportedError: the function looks at numbers to decide what to do, or gives them to
            numpy.
    """
    batch = [jax.ShapeDtypeStruct((1, *e.shape), e.dtype) for e in example]
    try:
        with explained("The function", batch, leaves):
            out = jax.eval_shape(single, list(leaves), list(example))
    except jax.errors.TracerArrayConversionError as error:
        raise UnsupportedError(
            "The function gives what it computes to numpy.",
            received=str(error).splitlines()[0],
            needed="a function that JAX can trace",
            suggestion="jax.numpy in place of numpy",
        ) from error
    except jax.errors.ConcretizationTypeError as error:
        raise UnsupportedError(
            "The function decides by the numbers it is given what to compute.",
            received=str(error).splitlines()[0],
            needed="a function that JAX can trace",
            suggestion="jnp.where, jax.lax.cond or jax.lax.scan in place of Python's if and while",
        ) from error
    good = hasattr(out, "shape") and hasattr(out, "dtype")
    if not good or not out.shape or out.shape[0] != 1 or math.prod(out.shape) == 0:
        received = f"shape {out.shape}" if good else f"{type(out).__name__}"
        raise InputError(
            "The function does not give one row of outputs an example.",
            received=f"{received} for one example",
            needed="fn(params, x) of shape (N, ...) for x of shape (N, ...)",
            suggestion="a function that picks the output: lambda p, x: fn(p, x)[0]",
        )
    if not jnp.issubdtype(out.dtype, jnp.floating):
        raise InputError(
            "The outputs have no derivatives.", received=f"dtype {out.dtype}", needed="real numbers"
        )
    return out


@functools.lru_cache(maxsize=_KEPT)
def _kept(wide: bool, *key: Any) -> Plan:  # noqa: FBT001 -- a part of the key
    del wide
    return Plan(*key)


def plan_of(
    fn: Any, parameters: Parameters, x: Any, arrays: Sequence[Any], chosen: Sequence[int],
    whole: Sequence[int], outputs: str,
) -> Plan:  # fmt: skip
    """The plan for a function: of an earlier call if it is of the same shapes."""
    leaves = tuple(jax.ShapeDtypeStruct(v.shape, v.dtype) for v in parameters.leaves)
    example = tuple(jax.ShapeDtypeStruct(a.shape[1:], _dtype(a)) for a in arrays)
    key = (
        fn, parameters.tree, leaves, jax.tree.structure(x), example, tuple(chosen), tuple(whole),
        outputs,
    )  # fmt: skip
    try:
        hash(key)
    except TypeError:
        plan = Plan(*key)
    else:
        plan = _kept(bool(jax.config.jax_enable_x64), *key)  # pyright: ignore[reportAttributeAccessIssue]
    return plan


def _dtype(array: Any) -> Any:
    return jax.dtypes.canonicalize_dtype(array.dtype)


def check_independent(fn: Any, parameters: Parameters, x: Any, arrays: Sequence[Any]) -> None:
    """Refuse a function whose outputs of one example depend on the others.

    Two examples are evaluated together and each by itself.

    Raises:
        InputError: the outputs differ by more than roundings explain.
        UnsupportedError: they are not finite.
    """
    if len(arrays[0]) < 2:
        return
    tree = jax.tree.structure(x)

    def both(leaves: Any, two: Any) -> Any:
        batch = jax.tree.unflatten(tree, two)
        together = fn(jax.tree.unflatten(parameters.tree, leaves), batch)
        single = one_example(fn, parameters.tree, tree)
        return together, jax.vmap(single, (None, 0))(leaves, two)[:, 0]

    two = [a[:2] for a in arrays]
    with explained("The function", two, parameters.leaves):
        found = jax.jit(both)(parameters.leaves, two)
    one, other = (np.asarray(f, np.float64) for f in found)
    if not np.all(np.isfinite(other)):
        raise UnsupportedError(
            "The outputs overflow, or are not numbers.",
            suggestion="parameters and inputs of smaller scale, or in float64",
        )
    if one.shape == other.shape:
        scale = np.max(np.abs(other), initial=0.0)
        allowed = float(np.sqrt(jnp.finfo(parameters.dtype).eps)) * scale
        if np.all(np.abs(one - other) <= allowed):
            return
    raise InputError(
        "The outputs of one example depend on the others beside it.",
        received=f"outputs of two examples together, shape {one.shape}, that differ from those "
        f"of each alone, shape {other.shape}",
        needed="a function that treats every example by itself",
        cause="batch normalisation or dropout in training mode, or random numbers",
        suggestion="evaluation mode: deterministic=True in flax, eqx.nn.inference_mode in equinox",
    )
