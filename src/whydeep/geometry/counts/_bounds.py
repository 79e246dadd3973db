"""How many affine pieces there can be: hyperplane arrangements, and bounds for deep networks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from whydeep.arguments import count, each, takes
from whydeep.errors import InputError
from whydeep.network import check_whole

__all__ = ["line_arrangement", "montufar_lower", "serra_upper"]


_SIZE = count(1, 100_000)


@takes(hyperplanes=count(0, 10_000_000), dimension=count(1, 10_000))
def line_arrangement(hyperplanes: int, dimension: int = 2) -> int:
    """Regions that hyperplanes in general position cut space into.

    ``sum_{j <= d} C(n, j)``: the activation cells of one layer of n relus on the whole space.

    Args:
        hyperplanes: n.
        dimension: d of the space.

    Raises:
        InputError: not whole numbers from 0 on, or a dimension of 0.

    Source: Zaslavsky 1975.

    Example:
        >>> line_arrangement(5), line_arrangement(3, 3)
        (16, 8)
    """
    check_whole("hyperplanes", hyperplanes, least=0)
    check_whole("dimension", dimension, least=1)
    return sum(math.comb(hyperplanes, j) for j in range(dimension + 1))


@takes(inputs=_SIZE, widths=each(_SIZE, least=1))
def montufar_lower(inputs: int, widths: Sequence[int]) -> int:
    """As many linear regions as some relu network of these widths surely has.

    ``prod_{l < L} floor(n_l / n_0)^(n_0) sum_{j <= n_0} C(n_L, j)``: each layer folds space.

    Args:
        inputs: n_0.
        widths: n_1 ... n_L of the hidden layers, each at least n_0.

    Raises:
        InputError: no layers, or one narrower than the inputs.

    Source: Montufar, Pascanu, Cho and Bengio 2014, Theorem 4.

    Example:
        >>> montufar_lower(2, [20, 20])
        21100
    """
    _check(inputs, widths)
    if min(widths) < inputs:
        raise InputError(
            "The bound is for layers at least as wide as the inputs.",
            received=f"{inputs} inputs, narrowest layer {min(widths)}",
        )
    folds = math.prod((n // inputs) ** inputs for n in widths[:-1])
    return folds * line_arrangement(widths[-1], inputs)


@takes(inputs=_SIZE, widths=each(_SIZE, least=1))
def serra_upper(inputs: int, widths: Sequence[int]) -> int:
    """No relu network of these widths has more linear regions.

    ``sum over j_1 ... j_L of prod_l C(n_l, j_l)`` with ``j_l <= min(n_0, n_1 - j_1, ...,
    n_(l-1) - j_(l-1), n_l)``: the rank that is left limits how many lines can cross.

    Args:
        inputs: n_0.
        widths: n_1 ... n_L of the hidden layers.

    Raises:
        InputError: no layers, or sizes below 1.

    Cost: layers times the square of the inputs.

    Source: Serra, Tjandraatmadja and Ramalingam 2018, Theorem 1.

    Example:
        >>> serra_upper(2, [20, 20])
        44521
    """
    _check(inputs, widths)
    ways = Counter({inputs: 1})  # by the smallest of what has limited the rank so far
    for n in widths:
        after: Counter[int] = Counter()
        for rank, number in ways.items():
            for j in range(min(rank, n) + 1):
                after[min(rank, n - j)] += number * math.comb(n, j)
        ways = after
    return sum(ways.values())


def _check(inputs: int, widths: Sequence[int]) -> None:
    check_whole("inputs", inputs, least=1)
    if not widths:
        raise InputError("There is no hidden layer.", needed="widths (n_1, ..., n_L)")
    for n in widths:
        check_whole("widths", n, least=1)
