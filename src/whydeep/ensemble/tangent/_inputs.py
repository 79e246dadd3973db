"""What a caller of the tangent kernel may give: parameters, rates, groups, examples."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from whydeep.arguments import as_array, as_numbers, called, given
from whydeep.errors import InputError, UnsupportedError, WhydeepError

__all__ = [
    "Parameters",
    "check_examples",
    "check_function",
    "count_examples",
    "explained",
    "grouped",
    "is_module",
    "precision",
    "read_parameters",
    "read_rates",
]

_SHOWN = 8
Groups = str | Callable[[str], Hashable] | None


@dataclass(frozen=True, eq=False)
class Parameters:
    """Arrays of parameters in a row.

    Args:
        leaves: arrays.
        paths: their names, such as "layer_0/weight".
        tree: how they are put back.
        real: the places of those that have derivatives.
    """

    leaves: list[Any]
    paths: list[str]
    tree: Any
    real: tuple[int, ...]

    @property
    def dtype(self) -> Any:
        """In which derivatives are computed."""
        return jnp.result_type(*(self.leaves[k].dtype for k in self.real))


def read_parameters(params: Any) -> Parameters:
    """The arrays of a tree of parameters.

    Raises:
        InputError: none, numbers that are not arrays, values that JAX is tracing.
        UnsupportedError: complex ones.
    """
    with_paths, tree = jax.tree_util.tree_flatten_with_path(params)
    paths = [jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in with_paths]
    leaves = [_array(leaf, path) for (_, leaf), path in zip(with_paths, paths, strict=True)]
    if any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in leaves):
        raise UnsupportedError(
            "Tangent kernels of complex parameters are not defined here.",
            needed="real and imaginary parts as parameters of their own",
        )
    real = tuple(k for k, v in enumerate(leaves) if jnp.issubdtype(v.dtype, jnp.floating))
    if not real:
        raise InputError(
            "There are no parameters to take derivatives of.",
            received=f"{len(leaves)} arrays, none of them of real numbers",
            needed="a tree (dicts, lists, tuples ...) of arrays of real numbers",
        )
    return Parameters(leaves, paths, tree, real)


def _array(leaf: Any, path: str) -> Any:
    _check_not_traced(leaf)
    if isinstance(leaf, (bool, float)):
        return jnp.asarray(leaf)
    if isinstance(leaf, (int, np.ma.MaskedArray)):
        return as_array(path or "params", leaf)
    if getattr(leaf, "dtype", None) == np.longdouble:  # more than JAX has
        return as_numbers(path or "params", leaf)
    if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
        raise InputError(
            "Parameters are arrays.",
            received=f"{type(leaf).__name__} at {path or 'the root'}",
            needed="a tree of arrays",
            suggestion="arrays, rest = equinox.partition(model, equinox.is_array), and a function "
            "that combines them again",
        )
    return leaf


def _check_not_traced(value: Any) -> None:
    if isinstance(value, Tracer):
        raise InputError(
            "The tangent kernel was asked for inside a function that JAX transforms.",
            received=f"a {type(value).__name__}",
            needed="arrays: it is compiled in blocks, and put together outside",
            suggestion="call it outside of jax.jit, jax.grad and jax.vmap",
        )


def precision(*trees: Any) -> Any:
    """The context in which parameters of 64 bits keep them; the caller's setting stays."""
    wide = any(
        np.dtype(leaf.dtype) == np.float64
        for leaf in jax.tree.leaves(trees)
        if isinstance(leaf, (np.ndarray, np.generic, jax.Array))
        and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    )
    return jax.enable_x64(True) if wide else contextlib.nullcontext()  # noqa: FBT003 -- JAX's own


def read_rates(rates: Any, parameters: Parameters) -> dict[int, Any]:
    """What each leaf's part is multiplied with; leaves of rate zero are left out.

    Raises:
        InputError: another tree; negative or infinite numbers; a shape that does not fit.
    """
    if rates is None:
        return dict.fromkeys(parameters.real, 1.0)
    try:
        if isinstance(rates, (int, float, np.generic)):
            every = [rates] * len(parameters.leaves)
        else:
            every = parameters.tree.flatten_up_to(rates)
    except ValueError as error:
        raise InputError(
            "The learning rates do not match the parameters.",
            received=str(error).splitlines()[0],
            needed="a number, or a tree like that of the parameters with a number or an array for "
            "each array",
        ) from error
    found = {}
    for k in parameters.real:
        array = as_numbers(f"The learning rate of {parameters.paths[k]}", every[k])
        shape = parameters.leaves[k].shape
        if not np.all(np.isfinite(array)) or np.any(array < 0):
            raise InputError(
                f"A learning rate of {parameters.paths[k]} is no rate.",
                received=f"{every[k]!r:.80}",
                needed="finite numbers, 0 or more",
            )
        if array.ndim == 0:
            if array:
                found[k] = float(array)
            continue
        try:
            found[k] = np.broadcast_to(array, shape).ravel()
        except ValueError as error:
            raise InputError(
                f"The learning rates of {parameters.paths[k]} do not fit it.",
                received=f"shape {array.shape}",
                needed=f"a number, or shape {shape}",
            ) from error
    return found


def grouped(groups: Groups, paths: list[str], separator: str = "/") -> list[Hashable]:
    """The group of every path; None: in no group.

    Raises:
        InputError: no such way to group.
    """
    if groups is None:
        return [""] * len(paths)
    if callable(groups):
        with called("groups", "a function of a parameter's path that returns its group"):
            return [groups(path) for path in paths]
    if isinstance(groups, str) and groups == "leaf":
        return list(paths)
    if isinstance(groups, str) and groups == "layer":
        return [path.rpartition(separator)[0] for path in paths]
    raise InputError(
        "There is no such way to group parameters.",
        received=given("groups", groups),
        needed='None, "leaf", "layer" (paths without their last part), or a function of a path',
        suggestion="groups=lambda path: 'bias' if path.endswith('bias') else 'weight'",
    )


def count_examples(x: Any, name: str) -> int:
    """How many examples there are.

    Raises:
        InputError: none, or arrays that disagree.
    """
    arrays = jax.tree.leaves(x)
    for array in arrays:
        _check_not_traced(array)
    shapes = [np.shape(array) for array in arrays]
    counts = {s[0] if s else None for s in shapes}
    if len(counts) != 1 or None in counts or counts == {0}:
        raise InputError(
            f"{name} has no examples." if counts in (set(), {0}) else f"{name} is not a batch.",
            received=f"shapes {shapes}",
            needed="an array (N, ...), or a tree of such with one N",
        )
    return int(counts.pop() or 0)


def check_examples(x: Any, name: str, dtype: Any) -> list[Any]:
    """The arrays of examples, real ones in the dtype of the parameters.

    Raises:
        InputError: NaN or infinite numbers; no numbers at all.
    """
    count_examples(x, name)
    found = []
    for leaf in jax.tree.leaves(x):
        array = leaf if isinstance(leaf, jax.Array) else as_array(name, leaf)
        if jnp.issubdtype(array.dtype, jnp.floating):
            array = np.asarray(array).astype(dtype)
            if not np.all(np.isfinite(array)):
                raise InputError(
                    f"{name} has numbers that are not finite.",
                    received=f"{int(np.sum(~np.isfinite(array)))} of {math.prod(array.shape)}",
                    needed="finite numbers",
                )
        elif not jnp.issubdtype(array.dtype, jnp.integer) and array.dtype != bool:
            raise InputError(
                f"{name} does not hold numbers.",
                received=f"dtype {array.dtype}",
                needed="real or whole numbers",
            )
        found.append(np.asarray(array))
    return found


@contextlib.contextmanager
def explained(what: str, examples: Sequence[Any], parameters: Sequence[Any]) -> Iterator[None]:
    """What the user's network raises, as an `InputError` that says what it was given.

    Args:
        what: "The function" or "The module".
        examples: arrays of a batch, examples first.
        parameters: arrays.
    """
    try:
        yield
    except (
        WhydeepError,
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerArrayConversionError,
    ):
        raise
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise InputError(
            f"{what} fails on these inputs.",
            received=f"examples {_shapes(examples)}; parameters {_shapes(parameters)}",
            needed="examples (N, ...) of a shape that it takes, for any N, and so for N = 1",
            cause=f"it raises {type(error).__name__}" + (f": {lines[0]}" if lines else ""),
            suggestion="a call of your own, fn(params, x[:1]): it must give outputs (1, ...)"
            if what == "The function"
            else "a call of your own, module(x[:1]): it must give outputs (1, ...)",
        ) from error


def _shapes(arrays: Sequence[Any]) -> str:
    shown = ", ".join(str(tuple(a.shape)) for a in arrays[:_SHOWN])
    return shown + (f" and {len(arrays) - _SHOWN} more" if len(arrays) > _SHOWN else "")


def is_module(fn: Any) -> bool:
    """Whether it is a PyTorch module; PyTorch is not imported to know."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(fn, torch.nn.Module)


def check_function(fn: Any) -> None:
    """Refuse what is no JAX function.

    Raises:
        UnsupportedError: a PyTorch module.
        InputError: it can't be called.
    """
    if is_module(fn):
        raise UnsupportedError(
            "This needs a JAX function.",
            received=f"a PyTorch module, {type(fn).__name__}",
            needed="fn(params, x)",
            suggestion="whydeep.tangent_kernel, which takes modules",
        )
    if not callable(fn):
        raise InputError(
            "The network is no function.", received=type(fn).__name__, needed="fn(params, x)"
        )
