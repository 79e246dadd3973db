"""Products with the Jacobian of a network and with its transpose, a batch at a time."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.ensemble.tangent._inputs import (
    Parameters,
    check_examples,
    precision,
    read_parameters,
    read_rates,
)
from whydeep.ensemble.tangent._plan import check_independent, one_example, shape_of

__all__ = ["JaxProducts", "Products"]

_BATCH = 256


class Products:
    """What the operator asks for.

    Attributes:
        shape: (N, *outputs).
        rows: N C.
        dtype: of the kernel.
    """

    shape: tuple[int, ...]
    rows: int
    dtype: Any

    def times(self, vector: np.ndarray) -> np.ndarray:
        """``J rate J^T v`` of (N C,)."""
        raise NotImplementedError


class JaxProducts(Products):
    """Of a JAX function: the transpose by reverse mode, the Jacobian by forward mode.

    Args:
        fn: of parameters and a batch.
        params: any tree of arrays.
        x: examples.
        rates: as for `tangent_kernel`.
        batch: examples at a time.
    """

    def __init__(self, fn: Any, params: Any, x: Any, rates: Any, batch: int | None) -> None:
        self._params = params
        with precision(params):
            parameters = read_parameters(params)
            self._rates = read_rates(rates, parameters)
            arrays = check_examples(x, "x", parameters.dtype)
            self._set_up(fn, parameters, x, arrays, batch)

    def _set_up(
        self, fn: Any, parameters: Parameters, x: Any, arrays: Sequence[Any], batch: int | None
    ) -> None:
        self._leaves = [jnp.asarray(v) for v in parameters.leaves]
        example = [jax.ShapeDtypeStruct(a.shape[1:], jnp.asarray(a[:0]).dtype) for a in arrays]
        single = one_example(fn, parameters.tree, jax.tree.structure(x))
        result = shape_of(single, self._leaves, example)
        check_independent(fn, parameters, x, arrays)
        count = len(arrays[0])
        self.shape = (count, *result.shape[1:])
        self.rows = math.prod(self.shape)
        self.dtype = np.dtype(result.dtype)
        size = self.rows // count
        batch = min(batch or _BATCH, count)
        chosen = list(self._rates)
        # The last batch is padded by its last example, whose part of the vector is zero.
        parts = math.ceil(count / batch)
        self._places = np.minimum(np.arange(parts * batch), count - 1)
        batches = [jnp.asarray(a[self._places]).reshape(parts, batch, *a.shape[1:]) for a in arrays]
        self._padded = parts * batch - count

        def outputs(moved: Any, leaves: Any, xs: Any) -> Any:
            own = list(leaves)
            for k, leaf in zip(chosen, moved, strict=True):
                own[k] = leaf
            return jax.vmap(lambda e: single(own, e)[0])(xs).reshape(-1)

        scales = [
            jnp.asarray(np.reshape(r, parameters.leaves[k].shape) if np.ndim(r) else r)
            for k, r in self._rates.items()
        ]

        @jax.jit
        def times(leaves: Any, every: Any, vector: Any, scales: Any) -> Any:
            moved = [leaves[k] for k in chosen]

            def pull(total: Any, part: Any) -> Any:
                xs, v = part
                _, back = jax.vjp(lambda m: outputs(m, leaves, xs), moved)
                return [t + g for t, g in zip(total, back(v)[0], strict=True)], None

            def push(tangent: Any, xs: Any) -> Any:
                return tangent, jax.jvp(lambda m: outputs(m, leaves, xs), (moved,), (tangent,))[1]

            zero = [jnp.zeros_like(m) for m in moved]
            gradient, _ = jax.lax.scan(pull, zero, (every, vector.reshape(parts, -1)))
            gradient = [g * s.astype(g.dtype) for g, s in zip(gradient, scales, strict=True)]
            _, found = jax.lax.scan(push, gradient, every)
            return found.reshape(-1)

        self._compiled = functools.partial(times, self._leaves, batches)
        self._scales = scales
        self._size = size

    def times(self, vector: np.ndarray) -> np.ndarray:
        """See `Products`."""
        with precision(self._params):
            padded = np.concatenate([vector, np.zeros(self._padded * self._size, self.dtype)])
            return np.asarray(self._compiled(padded, self._scales))[: self.rows]
