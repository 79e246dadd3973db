"""The output kernels of a whole network as tables of the first correlation, for one variance.

    K' = C_b + C_W <s s>        Theta' = lambda_b + lambda_W <s s> + C_W <s' s'> Theta

are carried as K(1) - K(c) and Theta(1) - Theta(c), which are sums of positive terms.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from whydeep.progress import phase
from whydeep.theory.infinite.dense._cosine_table import Sampled, Table, tabulate
from whydeep.theory.infinite.dense._layer_maps import LayerMap
from whydeep.theory.infinite.dense._layers import layer_map
from whydeep.theory.infinite.dense._stack import DenseStack

__all__ = ["DeepTable", "deep_table"]

_MOST_LAYERS_KEPT = 16


@dataclass(frozen=True)
class DeepTable:
    """Both kernels of the output layer.

    Args:
        table: K and Theta by the correlation of the first preactivations.
        kernel: K at c = 1.
        tangent: Theta at c = 1.
        error: of the layers' means as they reach the output, relative to those two, (2,).
    """

    table: Table
    kernel: float
    tangent: float
    error: np.ndarray


@functools.lru_cache(maxsize=_MOST_LAYERS_KEPT)
def deep_table(stack: DenseStack, variance: float, dtype: np.dtype) -> DeepTable | None:
    """The table at first variance q, or None where means or functions are out of reach.

    Args:
        stack: of at least one hidden layer.
        variance: q = C_b + C_W |x|^2 / n_0, above 0, the same for all inputs.
        dtype: precision of the table.
    """
    if stack.activation.smooth or stack.activation.slopes is not None:  # a matter of milliseconds
        return _tabulated(stack, variance, dtype)
    with phase("tabulating the kernels of all layers"):
        return _tabulated(stack, variance, dtype)


def _tabulated(stack: DenseStack, variance: float, dtype: np.dtype) -> DeepTable | None:
    maps: list[LayerMap] = []
    kernels, tangents = [variance], [_first_tangent(stack, variance)]
    errors = _Errors()
    terms = 64
    for layer in range(1, len(stack.weight_var)):
        if not (np.isfinite(kernels[-1]) and kernels[-1] > 0 and np.isfinite(tangents[-1])):
            return None
        same = maps[-1] if layer > 1 and kernels[-1] == kernels[-2] else None
        found = same or layer_map(stack.activation, kernels[-1], terms)
        if found is None:
            return None
        terms = found.terms
        maps.append(found)
        c_w, l_w = stack.weight_var[layer], stack.weight_lr[layer]
        grown = c_w * found.slope_square
        kernels.append(stack.bias_var[layer] + c_w * found.square)
        errors = errors.after(found, c_w * found.square / kernels[-1])
        tangents.append(stack.bias_lr[layer] + l_w * found.square + grown * tangents[-1])
    ends = kernels[-1], tangents[-1]
    if not (np.all(np.isfinite(ends)) and ends[0] > 0):
        return None

    def sample(minus: np.ndarray, plus: np.ndarray) -> Sampled:
        kernel_gap = variance * minus
        tangent_gap = stack.weight_lr[0] / stack.weight_var[0] * kernel_gap
        for layer, means in enumerate(maps, start=1):
            c_w, l_w = stack.weight_var[layer], stack.weight_lr[layer]
            apart, together, slope_gap = means.gaps(minus, plus)
            below = tangents[layer - 1]
            tangent_gap = l_w * apart / 2.0 + c_w * (
                means.slope_square * tangent_gap + slope_gap * (below - tangent_gap)
            )
            kernel_gap = c_w * apart / 2.0
            minus = kernel_gap / kernels[layer]
            together = np.maximum(together, 0.0)  # of opposite samples it is a rounding error
            plus = (2.0 * stack.bias_var[layer] + c_w * together / 2.0) / kernels[layer]
            near = minus <= plus
            minus, plus = np.where(near, minus, 2.0 - plus), np.where(near, 2.0 - minus, plus)
        gaps = np.stack([kernel_gap, tangent_gap])
        return Sampled(np.array(ends)[:, None] - gaps, gaps)

    table = tabulate(sample, ends, dtype)
    if table is None:
        return None
    return DeepTable(table, ends[0], ends[1], errors.of_kernels)


@dataclass(frozen=True)
class _Errors:
    """Relative errors of the layers' means, as they add up to first order.

    Distances 1 - c are sums of positive means, which grow at most in proportion to the distances
    below: their relative errors add, also where the distances themselves are amplified.
    """

    variance: float = 0.0
    distance: float = 0.0
    tangent: float = 0.0

    def after(self, means: LayerMap, share: float) -> _Errors:
        """After one more layer; `share` of its variance comes from <s^2>."""
        variance = share * (means.elasticity * self.variance + means.error)
        distance = self.distance + means.error + abs(means.elasticity - 1.0) * self.variance
        return _Errors(variance, distance, self.tangent + means.error + distance + variance)

    @property
    def of_kernels(self) -> np.ndarray:
        """Of K and Theta, (2,)."""
        return np.array([self.variance + 2.0 * self.distance, self.tangent])


def _first_tangent(stack: DenseStack, variance: float) -> float:
    squares = (variance - stack.bias_var[0]) / stack.weight_var[0]  # |x|^2 / n_0
    return stack.bias_lr[0] + stack.weight_lr[0] * squares
