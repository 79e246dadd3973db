"""How each leaf's part of the tangent kernel is computed: the cheapest of some exact ways.

For ``df_i/dW = sum_p h_p (x) delta_ip`` with P positions, h of n numbers and delta of m:

    one position   (h . h') (delta_i . delta_j')                     `Product`
    gradients      the n x m numbers of every example and output     `Gradient`
    positions      sum_pq (h_p . h_q') (delta_ip . delta_jq')        `Positions`

or, where delta is a product (`_separable`), from one gradient for all outputs, `Separable`.

Source: Novak, Sohl-Dickstein and Schoenholz 2022, section 3.4 (structured derivatives).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from whydeep.ensemble.tangent._program import Program
from whydeep.ensemble.tangent._uses import Convolution, Lookup, Offset, Outer, Tapped, Use

__all__ = [
    "Added",
    "Gradient",
    "LookedUp",
    "Positions",
    "Product",
    "Term",
    "find_terms",
    "gradients_win",
]

# Products of short rows take longer, number by number, than one large product of matrices.
_SHORT = 3.0


@dataclass(frozen=True)
class Term:
    """A leaf's part of the kernel.

    Args:
        leaf: its place among the leaves.
        scale: the part is this number times what follows from values and derivatives.
        use: how the leaf is used; None if that is not known.
    """

    leaf: int
    scale: float = 1.0
    use: Use | None = None


@dataclass(frozen=True)
class Product(Term):
    """One position: the product of two Gram matrices.

    Args:
        tap: whose derivatives they are; terms of one tap share their Gram matrix.
    """

    tap: int = -1


@dataclass(frozen=True)
class Added(Term):
    """A bias of such a layer: the Gram matrix of its derivatives.

    Args:
        tap: likewise.
    """

    tap: int = -1


@dataclass(frozen=True)
class Gradient(Term):
    """Derivatives of every example and output."""


@dataclass(frozen=True)
class Separable(Term):
    """One gradient for all outputs, times the head's matrix: see `_separable`."""


@dataclass(frozen=True)
class Positions(Term):
    """Gram matrices over positions."""


@dataclass(frozen=True)
class LookedUp(Term):
    """The same, where the values are rows of the identity."""


def find_terms(
    program: Program, uses: Sequence[Use], outputs: int, *, traced: bool
) -> tuple[Term, ...]:
    """The way for every leaf.

    Args:
        program: of parameters and one example.
        uses: of the leaves.
        outputs: numbers that one example gives.
        traced: whether the kernel is summed over outputs, or taken of each alone.
    """
    terms: list[Term] = []
    for use in uses:
        squared = use.scale**2
        if isinstance(use, Lookup):
            terms.append(LookedUp(use.leaf, squared, use))
        elif isinstance(use, (Outer, Convolution)):
            groups, places, n, m = extents(program, use)
            if groups == places == 1:
                terms.append(Product(use.leaf, squared, use, use.tap))
            elif use.head is not None:
                terms.append(Separable(use.leaf, squared * use.head.scale**2, use))
            elif gradients_win(places, n, m, outputs, traced=traced):
                terms.append(Gradient(use.leaf, squared, use))
            else:
                terms.append(Positions(use.leaf, squared, use))
        else:
            terms.append(Gradient(use.leaf, squared, use))
    taps = {term.tap for term in terms if isinstance(term, Product)}
    return tuple(_added(program, term, taps) for term in terms)


def extents(program: Program, use: Tapped) -> tuple[int, int, int, int]:
    """Numbers of groups, positions, summed entries and columns of a product or convolution."""
    tap = program.shapes[use.tap].shape

    def size(shape: tuple[int, ...], axes: Sequence[int]) -> int:
        return math.prod(shape[a] for a in axes)

    if isinstance(use, Outer):
        factor = program.shapes[use.factor].shape
        return (
            size(tap, use.tap_axes[0]), size(tap, use.tap_axes[1]),
            size(factor, use.axes[2]), size(tap, use.tap_axes[2]),
        )  # fmt: skip
    assert isinstance(use, Convolution)  # noqa: S101 -- no other use has groups
    assert use.step is not None  # noqa: S101
    numbers = use.step.options["dimension_numbers"]
    groups = use.step.options["feature_group_count"]
    kernel = program.shapes[use.step.ins[1]].shape
    columns = kernel[numbers.rhs_spec[0]]
    return groups, math.prod(tap) // columns, math.prod(kernel) // columns, columns // groups


def gradients_win(places: int, n: int, m: int, outputs: int, *, traced: bool) -> bool:
    """Whether gradients cost fewer multiplications, for each pair of examples and each group."""
    pairs = outputs if traced else outputs**2
    gradients = pairs * n * m
    positions = places**2 * n + outputs * places**2 * m + pairs * places * m
    return gradients <= _SHORT * positions


def _added(program: Program, term: Term, taps: set[int]) -> Term:
    """A bias that meets the same derivatives as a layer of one position."""
    use = term.use
    if not isinstance(use, Offset) or use.tap not in taps:
        return term
    shape: Any = program.shapes[use.tap].shape
    if any(shape[a] != 1 for a in use.axes):
        return term
    return Added(term.leaf, term.scale, use, use.tap)
