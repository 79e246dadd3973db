"""Inputs whose preactivations are fixed multiples of another's, at every width.

Without biases, a network of a positively homogeneous activation has z(c x) = c z(x) in every layer
for c > 0; for an odd one z(-x) = -z(x); one that is zero at zero sends zero to zero. This holds for
every draw of the weights, so a tensor of such inputs is a multiple of that of the others, exactly.
It has to be used: kinks can't tell such inputs apart, and the means of products of their deltas,
which an expansion about infinite width takes, are infinite one by one.

What trains the biases (lambda_b) adds the same to the tangent kernel of every input, and breaks the
relation for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.network import Network

__all__ = ["Related", "related"]

# Rows that are multiples of each other up to their last digits.
_SAME = 8 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Related:
    """Every row of some inputs as a multiple of one of a few.

    Args:
        rows: the few, by their number.
        index: (N,), which of the few a row is a multiple of.
        first: (N,), how many times its preactivations of the first layer are those of that row.
        later: (N,), likewise from the second layer on.
    """

    rows: np.ndarray
    index: np.ndarray
    first: np.ndarray
    later: np.ndarray

    def spread(self, part: np.ndarray, layer: int) -> np.ndarray:
        """A tensor of all rows at a layer, from that of the few."""
        factor = self.first if layer == 1 else self.later
        out = part[np.ix_(*[self.index] * part.ndim)]
        total = np.ones(())
        for _ in range(part.ndim):
            total = np.multiply.outer(total, factor)
        # Nothing times an infinite mean is nothing.
        return np.where(total == 0, 0.0, np.where(total == 0, 0.0, out) * total)

    def spread_mask(self, part: np.ndarray) -> np.ndarray:
        """Of truth values."""
        return part[np.ix_(*[self.index] * part.ndim)]


def related(network: Network, x: np.ndarray, *, multiples: bool, tangent: bool) -> Related:
    """The rows of distinct inputs that are multiples of others, as far as the network allows.

    Args:
        network: fully connected.
        x: (N, n_0), no two rows the same.
        multiples: whether to look further than for a row of zeros, which costs N^2 n_0.
        tangent: whether the tangent kernel's part is wanted.
    """
    count = len(x)
    alone = Related(np.arange(count), np.arange(count), np.ones(count), np.ones(count))
    biased = any(dense.bias_var != 0 for dense in network.dense)
    trained = tangent and any(rate != 0 for rate, _ in network.learning_rates(x.shape[1]))
    activation = network.activation
    if biased or trained or activation.smooth or count < 2:
        return alone
    index, first, later = np.full(count, -1), np.ones(count), np.ones(count)
    few: list[int] = []
    size = np.abs(x).max(axis=1)
    still = activation.continuous and float(np.asarray(activation(np.zeros(1)))[0]) == 0.0
    for row in range(count):
        if size[row] == 0 and still:
            first[row] = later[row] = 0.0
            continue
        for place, other in enumerate(few if multiples and size[row] > 0 else ()):
            times = _times(x[other], x[row])
            factor = None if times is None else _factor(activation, times)
            if times is not None and factor is not None:
                index[row], first[row], later[row] = place, times, factor
                break
        else:
            index[row] = len(few)
            few.append(row)
    if not few:
        return alone
    return Related(np.array(few), np.where(index < 0, 0, index), first, later)


def _times(one: np.ndarray, other: np.ndarray) -> float | None:
    """C where other = c one up to rounding, else None."""
    largest = int(np.argmax(np.abs(one)))
    if one[largest] == 0:
        return None
    c = float(other[largest] / one[largest])
    if np.all(np.abs(other - c * one) <= _SAME * np.abs(other).max()):
        return c
    return None


def _factor(activation: ScalarFunction, c: float) -> float | None:
    """How many times z(x) is z(c x) from the second layer on, where it is."""
    if activation.slopes is not None:
        minus, plus = activation.slopes
        if c > 0:
            return c
        return {-plus: -c, plus: c}.get(minus)
    if c > 0 and not activation.continuous and activation.family in ("step", "sign"):
        return 1.0
    if abs(c + 1) <= _SAME and activation.odd:
        return -1.0
    return 1.0 if abs(c - 1) <= _SAME else None
