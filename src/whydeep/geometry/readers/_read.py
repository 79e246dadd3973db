"""The front door: which kind of function it is, and the reader for it."""

from __future__ import annotations

from typing import Any

from whydeep.arguments import as_told
from whydeep.errors import InputError
from whydeep.geometry.pieces import PiecewiseLinear
from whydeep.network import Network

__all__ = ["function_at", "piecewise_linear"]


def piecewise_linear(f: Any, example: Any) -> PiecewiseLinear:
    """A network's function with its numbers, to be cut into affine pieces; in float64.

    Read once and used often: `regions`, `breakpoints` and `spline` take what it returns in place of
    the function itself.

    Args:
        f: a ``torch.nn.Module`` in evaluation mode, any JAX function of a batch ``(N, *shape)``
            (for a `whydeep.Network`, ``lambda x: apply_network(network, parameters, x)``), or what
            an earlier call returned.
        example: a batch of inputs ``(N, *shape)``, as everywhere; its numbers do not matter.

    Reads: relu, leaky relu, prelu, abs, hard tanh, clip, hard sigmoid, max-pooling, maxout
    (maximum, reduce_max), ``where`` by the sign of an affine function, with everything affine
    between them: dense layers, convolutions, batch normalisation in evaluation mode, average
    pooling, residual sums, concatenation, reshaping.

    Raises:
        InputError: something else than a module or a JAX function; a module in training mode; one
            input instead of a batch.
        UnsupportedError: a smooth activation, a product of two values that depend on the input, an
            operation that is not known, each by its name.

    Cost: a module is exported once (a second or two), a function traced. Affine maps of up to four
    million entries become matrices.

    Example:
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> W = jnp.array([[1.0, -1.0], [2.0, 0.5]])
        >>> f = piecewise_linear(lambda x: jnp.maximum(x @ W, 0.0).sum(axis=1), np.zeros((1, 2)))
        >>> f.names, f.outputs
        (('relu',), ())
    """
    if isinstance(f, PiecewiseLinear):
        return f
    batch = tuple(as_told("example", example).shape)
    if len(batch) < 2 or 0 in batch:
        raise InputError(
            "The example is no batch of inputs.",
            received=f"an array of shape {batch}",
            needed="(N, *shape), for inputs of any shape: (N, features), (N, C, H, W), ...",
            cause="one input instead of a batch" if len(batch) == 1 else "",
            suggestion="piecewise_linear(f, example[None])" if len(batch) == 1 else "",
        )
    return function_at(f, batch[1:])


def function_at(f: Any, shape: tuple[int, ...]) -> PiecewiseLinear:
    """`piecewise_linear` for inputs of a shape."""
    if isinstance(f, PiecewiseLinear):
        return f
    if isinstance(f, Network):
        raise InputError(
            "A network without parameters is not yet one function.",
            received=repr(f),
            needed="its function for drawn or trained parameters",
            suggestion="lambda x: whydeep.ensemble.apply_network(network, parameters, x) with "
            "parameters = whydeep.ensemble.draw_parameters(network, input_shape, key)",
        )
    if any("torch.nn.modules" in kind.__module__ for kind in type(f).__mro__):
        from whydeep.geometry.readers._torch import read_torch_module

        return read_torch_module(f, shape)
    if not callable(f):
        raise InputError(
            "This is not a function.",
            received=type(f).__name__,
            needed="a torch.nn.Module, a JAX function of a batch, or a PiecewiseLinear",
        )
    from whydeep.geometry.readers._jax import read_jax_function

    return read_jax_function(f, shape)
