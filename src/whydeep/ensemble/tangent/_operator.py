"""The tangent kernel that does not fit in memory: products with it, and what follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from whydeep.arguments import COUNT, SEED, TREE, VARIANCE, anything, as_numbers, count, takes
from whydeep.brief import brief
from whydeep.eigen import extreme_eigenpairs, linear_operator
from whydeep.ensemble.tangent._inputs import check_function
from whydeep.ensemble.tangent._products import JaxProducts, Products
from whydeep.errors import InputError, UnsupportedError
from whydeep.results import by_content

__all__ = ["Solution", "TangentOperator", "TraceEstimate", "tangent_operator"]


@dataclass(frozen=True)
class TraceEstimate:
    """An estimate of the trace.

    Args:
        value: of the trace; unbiased.
        stderr: its standard error.
        draws: products it took.
        seed: of the random vectors.
    """

    value: float
    stderr: float
    draws: int
    seed: int


@by_content
@dataclass(frozen=True, eq=False)
class Solution:
    """A solution of ``(Theta + ridge) y = b``.

    Args:
        value: y, of the shape of b.
        residual: ``|b - (Theta + ridge) y| / |b|``, computed anew from y.
        iterations: of conjugate gradients.
    """

    value: np.ndarray
    residual: float
    iterations: int

    __repr__ = brief


class TangentOperator:
    """The tangent kernel as a linear map on N x C numbers, never formed: see `tangent_operator`.

    Args:
        products: with the Jacobian and its transpose.
    """

    def __init__(self, products: Products) -> None:
        self._products = products
        self.shape: tuple[int, int] = (products.rows, products.rows)
        self.dtype = np.dtype(products.dtype)

    def matvec(self, vector: Any) -> np.ndarray:
        """``Theta v``: one pass forward and backward, and one forward.

        Args:
            vector: (N, *outputs), or the same in a row (N C,).

        Raises:
            InputError: another shape, or numbers that are not finite.

        Returns:
            Of the shape of `vector`, float64 or the kernel's dtype.
        """
        array = as_numbers("vector", vector).astype(self.dtype)
        if array.shape not in ((self.shape[0],), self._products.shape):
            raise InputError(
                "The vector does not fit the kernel.",
                received=f"shape {array.shape}",
                needed=f"shape {self._products.shape} or {(self.shape[0],)}",
            )
        if not np.all(np.isfinite(array)):
            raise InputError("The vector has numbers that are not finite.")
        return self._times(array).reshape(array.shape)

    def _times(self, vector: np.ndarray) -> np.ndarray:
        """(N C,)."""
        found = self._products.times(vector.reshape(self._products.rows))
        if not np.all(np.isfinite(found)):
            raise UnsupportedError(
                "A product with the tangent kernel overflows, or is not a number.",
                suggestion="parameters and inputs of smaller scale, or in float64",
            )
        return found

    def as_linear_operator(self) -> LinearOperator:
        """For the functions of ``scipy.sparse.linalg``."""
        return linear_operator(
            lambda v: self._times(np.asarray(v, self.dtype)), self.shape[0], self.dtype
        )

    @takes(self=anything, k=COUNT, seed=SEED)
    def eigenvalues(self, k: int, *, seed: int = 0) -> np.ndarray:
        """The k largest eigenvalues, largest first, by Lanczos iteration (ARPACK).

        Args:
            k: how many, at most N C.
            seed: of the first vector.

        Raises:
            InputError: a k that is too large.
            UnsupportedError: the iteration does not converge.

        Accuracy: to roundings of the kernel's dtype, relative to the largest. Cost: some 2k to 10k
        products; N C of them where k is more than half of N C, or N C is 64 or less.
        """
        n = self.shape[0]
        if k > n:
            raise InputError(
                "There are not as many eigenvalues.", received=f"k={k}", needed=f"at most {n}"
            )
        values, _ = extreme_eigenpairs(self._times, n, k, dtype=self.dtype, seed=seed)
        return values

    @takes(self=anything, draws=count(6), seed=SEED)
    def trace(self, draws: int = 60, *, seed: int = 0) -> TraceEstimate:
        """The trace, from products with random signs, and its standard error (Hutch++).

        A third of the products find a space in which the trace is taken exactly; the rest of it is
        the mean of ``g . Theta g`` over the last third, projected out of that space.

        Args:
            draws: products, 6 or more. As many as N C, or more: the trace itself, error 0.
            seed: of the signs.

        Accuracy: unbiased; the standard error comes from the spread over the last third.

        Source: Meyer, Musco, Musco and Woodruff 2021, Algorithm 1; Hutchinson 1990.
        """
        n = self.shape[0]
        if draws >= n:
            exact = sum(float(self._times(e)[i]) for i, e in enumerate(np.eye(n, dtype=self.dtype)))
            return TraceEstimate(exact, 0.0, n, seed)
        third = draws // 3
        generator = np.random.default_rng(seed)
        signs = generator.choice([-1.0, 1.0], size=(2, third, n))
        sketch = np.stack([self._times(s.astype(self.dtype)) for s in signs[0]], axis=1)
        space, _ = np.linalg.qr(sketch.astype(np.float64))
        inside = sum(float(q @ self._times(q.astype(self.dtype))) for q in space.T)
        left = signs[1] - (signs[1] @ space) @ space.T
        outside = np.array([float(g @ self._times(g.astype(self.dtype))) for g in left])
        error = float(np.std(outside, ddof=1)) / math.sqrt(third)
        return TraceEstimate(inside + float(np.mean(outside)), error, 3 * third, seed)

    @takes(self=anything, b=anything, ridge=VARIANCE, tolerance=VARIANCE, steps=COUNT)
    def solve(
        self, b: Any, ridge: float = 0.0, *, tolerance: float | None = None, steps: int = 1000
    ) -> Solution:
        """``(Theta + ridge)^-1 b`` by conjugate gradients.

        Args:
            b: (N, *outputs), or the same in a row.
            ridge: added to the diagonal, 0 or more; without it small eigenvalues take long.
            tolerance: of the residual relative to b: 1e-8 in float64 and 1e-4 in float32.
            steps: at most.

        Raises:
            InputError: shapes that do not fit; a negative ridge.
            UnsupportedError: the residual stays above the tolerance.

        Accuracy: the residual is computed anew from the solution. Cost: a product a step.

        Source: Hestenes and Stiefel 1952.
        """
        right = as_numbers("b", b).astype(self.dtype)
        if right.shape not in ((self.shape[0],), self._products.shape):
            raise InputError(
                "The right side does not fit the kernel.",
                received=f"shape {right.shape}",
                needed=f"shape {self._products.shape} or {(self.shape[0],)}",
            )
        if not np.all(np.isfinite(right)):
            raise InputError("The right side has numbers that are not finite.")
        if tolerance is None:
            tolerance = 1e-8 if self.dtype == np.float64 else 1e-4
        flat = right.ravel().astype(np.float64)
        size = float(np.linalg.norm(flat))
        if size == 0.0:
            return Solution(np.zeros_like(right), 0.0, 0)

        def times(v: np.ndarray) -> np.ndarray:
            return self._times(v.astype(self.dtype)) + ridge * v

        taken = 0

        def count(_: np.ndarray) -> None:
            nonlocal taken
            taken += 1

        system = linear_operator(times, self.shape[0])
        found, _ = cg(system, flat, rtol=tolerance / 2, maxiter=steps, callback=count)
        residual = float(np.linalg.norm(flat - times(found))) / size
        if not residual <= tolerance:
            raise UnsupportedError(
                "Conjugate gradients do not converge.",
                received=f"a relative residual of {residual:.1e} after {taken} steps",
                needed=f"{tolerance:.1e} or less",
                cause="eigenvalues that are close to zero beside the largest",
                suggestion="a larger ridge, more steps, or parameters in float64",
            )
        return Solution(found.reshape(right.shape).astype(self.dtype), residual, taken)


@takes(fn=anything, params=TREE, x=anything, rates=anything, batch=COUNT)
def tangent_operator(
    fn: Any, params: Any, x: Any, *, rates: Any = None, batch: int | None = None
) -> TangentOperator:
    """The tangent kernel of N examples as a linear map, for kernels that do not fit in memory.

    ``Theta v = J rate J^T v``: a pass backward collects ``J^T v`` over batches of examples, a pass
    forward applies J. See `tangent_kernel` for the meaning of every argument.

    Args:
        fn: ``fn(params, x)``, any JAX function.
        params: any tree of arrays.
        x: N examples, an array (N, ...) or a tree of such.
        rates: learning rates, a tree like `params` of numbers or arrays; by default 1.
        batch: examples at a time, 256 by default. It changes roundings only.

    Returns:
        A `TangentOperator`: `matvec`, `eigenvalues`, `trace`, `solve`, `as_linear_operator`.

    Raises:
        InputError: bad numbers or shapes; outputs that depend on the other examples of the batch.
        UnsupportedError: a function that JAX can't trace.

    Cost: a product takes three to four forward passes over all examples; memory holds those of a
    batch.

    Source: Novak, Sohl-Dickstein and Schoenholz 2022, section 3.2 (products with vectors).

    Example:
        >>> import numpy as np
        >>> kernel = tangent_operator(lambda w, x: x @ w, np.ones((3, 2)), np.eye(3))
        >>> kernel.matvec(np.ones((3, 2))).tolist()  # the identity
        [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
        >>> kernel.eigenvalues(2).round(6).tolist()
        [1.0, 1.0]
    """
    check_function(fn)
    return TangentOperator(JaxProducts(fn, params, x, rates, batch))
