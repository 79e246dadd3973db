"""Any activation, biases and norms: every pair by an integral of its own, layer by layer.

Slow and always there: what no series and no table of deep kernels reaches, such as variances far
above 1, comes from tables of smoothed functions (`whydeep.gaussian.any_pair_means`). Distances
1 - c are carried, from the inputs to the output, and never obtained from c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whydeep.gaussian import PairMeans, any_pair_means, within_reach
from whydeep.theory.infinite._error import Error
from whydeep.theory.infinite._threads import Block
from whydeep.theory.infinite.dense._cosines import PRODUCT_ERROR, Rows
from whydeep.theory.infinite.dense._stack import DenseStack

__all__ = ["PairPlan", "pair_plan"]

_MOST_PAIRS = 300_000  # beyond which closed forms of covariances, where there are any, are faster
_LIMIT = 1e-3


@dataclass(frozen=True)
class PairPlan:
    """What the recursion reads.

    Args:
        stack: the network.
        row_variances: q_a at every layer, (L + 1, N1).
        column_variances: likewise, (L + 1, N2).
        row_ends: K_aa and Theta_aa of the output, (2, N1).
        column_ends: likewise, (2, N2).
        symmetric: whether columns are rows.
        error: of both kernels.
        limit: distance below which a product is not precise enough.
    """

    stack: DenseStack
    row_variances: np.ndarray
    column_variances: np.ndarray
    row_ends: np.ndarray
    column_ends: np.ndarray
    symmetric: bool
    error: Error
    limit: float = _LIMIT

    def mapper(
        self, nngp: np.ndarray, ntk: np.ndarray | None
    ) -> Callable[[np.ndarray, Block], None]:
        """For one thread: writes the block of both kernels that belongs to signed distances."""

        def mapped(signed: np.ndarray, block: Block) -> None:
            i0, _, j0, _ = block
            rows = i0 + np.arange(signed.shape[0])[:, None]
            inside = rows <= j0 + np.arange(signed.shape[1])
            if not self.symmetric:
                inside[:] = True
            a, b = np.nonzero(inside)
            a, b = a + i0, b + j0
            distance = signed[inside].astype(np.float64)
            kernel, tangent = self._pairs(a, b, np.abs(distance), distance > 0)
            targets = (
                ((nngp, kernel, 0),) if ntk is None else ((nngp, kernel, 0), (ntk, tangent, 1))
            )
            for target, values, part in targets:
                own = self.row_ends[part, a], self.column_ends[part, b]
                most = np.sqrt(own[0]) * np.sqrt(own[1])
                bounded = np.clip(values, -most, most)
                if self.symmetric:
                    bounded = np.where(a == b, own[0], bounded)
                    target[b, a] = bounded
                target[a, b] = bounded

        return mapped

    def _pairs(
        self, a: np.ndarray, b: np.ndarray, near: np.ndarray, together: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """K and Theta of the output for pairs at 1 - |c| = near."""
        stack = self.stack
        minus, plus = np.where(together, near, 2.0 - near), np.where(together, 2.0 - near, near)
        qa, qb = self.row_variances[0, a], self.column_variances[0, b]
        kernel = np.sqrt(qa) * np.sqrt(qb) * np.where(together, 1.0 - near, near - 1.0)
        tangent = stack.bias_lr[0] + stack.weight_lr[0] * (
            (kernel - stack.bias_var[0]) / stack.weight_var[0]
        )
        for layer in range(1, len(stack.weight_var)):
            found = _means(stack, qa, qb, minus, plus)
            c_w, c_b = stack.weight_var[layer], stack.bias_var[layer]
            kernel = c_b + c_w * found.image
            tangent = (
                stack.bias_lr[layer]
                + stack.weight_lr[layer] * found.image
                + c_w * found.slope * tangent
            )
            qa, qb = self.row_variances[layer, a], self.column_variances[layer, b]
            sums, twice = np.sqrt(qa) + np.sqrt(qb), 2.0 * np.sqrt(qa) * np.sqrt(qb)
            gap = np.divide(qa - qb, sums, out=np.zeros_like(sums), where=sums > 0) ** 2
            minus, plus = (
                np.divide(part - gap, twice, out=np.zeros_like(twice), where=twice > 0)
                for part in (c_w * found.difference, 4.0 * c_b + c_w * found.total)
            )
            smaller = minus <= plus
            minus, plus = np.clip(minus, 0.0, 1.0), np.clip(plus, 0.0, 1.0)
            minus, plus = np.where(smaller, minus, 2.0 - plus), np.where(smaller, 2.0 - minus, plus)
        return kernel, tangent


def pair_plan(stack: DenseStack, rows: Rows, columns: Rows, dtype: np.dtype) -> PairPlan | None:
    """Integrals for all pairs, where they are not too many and the function is within reach."""
    if len(rows.variance) * len(columns.variance) > _MOST_PAIRS:
        return None
    sides = []
    error = 0.0
    for side in (rows, columns):
        found = _diagonals(stack, side.variance)
        if found is None:
            return None
        sides.append(found)
        error = max(error, found[2])
    error += 8.0 * len(stack.weight_var) * PRODUCT_ERROR[np.dtype(np.float64)]
    error += 2.0 * float(np.finfo(dtype).eps)
    if dtype == np.float32:  # products of unit rows
        error += PRODUCT_ERROR[dtype] / np.sqrt(_LIMIT)
    return PairPlan(
        stack, sides[0][0], sides[1][0], sides[0][1], sides[1][1], columns is rows,
        Error(error, error),
    )  # fmt: skip


def _diagonals(
    stack: DenseStack, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """q_a at every layer, K_aa and Theta_aa of the output, and the means' error."""
    values, back = np.unique(variance, return_inverse=True)
    layers, error = [values], 0.0
    tangent = stack.bias_lr[0] + stack.weight_lr[0] * (
        (values - stack.bias_var[0]) / stack.weight_var[0]
    )
    for layer in range(1, len(stack.weight_var)):
        if not within_reach(stack.activation, float(values.max(initial=0.0))):
            return None
        found = _means(stack, values, values, np.zeros(values.size), np.full(values.size, 2.0))
        c_w = stack.weight_var[layer]
        tangent = (
            stack.bias_lr[layer]
            + stack.weight_lr[layer] * found.image
            + c_w * found.slope * tangent
        )
        values = stack.bias_var[layer] + c_w * found.image
        layers.append(values)
        error += found.error
    return np.stack(layers)[:, back], np.stack([values, tangent])[:, back], error


def _means(
    stack: DenseStack, qa: np.ndarray, qb: np.ndarray, minus: np.ndarray, plus: np.ndarray
) -> PairMeans:
    found = any_pair_means(stack.activation, qa, qb, minus, plus)
    if found is None:  # the diagonals were within reach, and no pair is further
        raise AssertionError
    return found
