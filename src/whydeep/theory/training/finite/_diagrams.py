"""Expectations over initialisations to first order in 1/width, as sums over pairings.

A leg is a neuron and a sample, ("j", "b"). Neurons of the output layer are alike, so every
correlator is a sum over pairings of its neurons, each with its own tensor over the samples
(`whydeep.observables`):

    <h_12>         d12 H1_12                                  h: the kernel less its limit
    <h_12 h_34>    d12 d34 A_1234 + d13 d24 B_1324 + d14 d23 B_1423
    <z_1 z_2 h_34> d12 d34 D_1234 + d13 d24 F_1324 + d14 d23 F_1423
    <dH_012 z_3>   d03 d12 P_0123 + d01 d23 Q_0123 + d02 d13 Q_0213
    <ddI_0123>     d01 d23 R_0123 + d02 d31 R_0231 + d03 d12 R_0312
    <ddII_1234>    d12 d34 S_1234 + d13 d42 T_1342 + d14 d23 U_1423

each of order 1/n. So to that order one of them appears once, and all other residuals e = z - y are
Gaussian with covariance K and mean -y.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Diagram", "Leg", "evaluate", "first_order", "gaussian"]

Leg = tuple[str, str]


@dataclass(frozen=True)
class Diagram:
    """One pairing: a number, neurons that are equal, tensors with their samples, and labels.

    Args:
        factor: what it is multiplied with.
        joins: pairs of neurons that are equal.
        tensors: names and letters of samples.
        labels: legs that end in a label y.
    """

    factor: float = 1.0
    joins: tuple[tuple[str, str], ...] = ()
    tensors: tuple[tuple[str, str], ...] = ()
    labels: tuple[Leg, ...] = ()

    def __mul__(self, other: Diagram) -> Diagram:
        return Diagram(
            self.factor * other.factor,
            self.joins + other.joins,
            self.tensors + other.tensors,
            self.labels + other.labels,
        )


def gaussian(legs: Sequence[Leg]) -> list[Diagram]:
    """The expectation of a product of residuals at infinite width (Isserlis, with mean -y)."""
    if not legs:
        return [Diagram()]
    first, rest = legs[0], list(legs[1:])
    out = [Diagram(-1.0, labels=(first,)) * d for d in gaussian(rest)]
    for k, other in enumerate(rest):
        pair = Diagram(joins=((first[0], other[0]),), tensors=(("K", first[1] + other[1]),))
        out += [pair * d for d in gaussian(rest[:k] + rest[k + 1 :])]
    return out


def first_order(kind: str, legs: Sequence[Leg], residuals: Sequence[Leg]) -> list[Diagram]:
    """What of order 1/n the expectation of an object times residuals has.

    Args:
        kind: "h", "hh", "dH", "ddI", "ddII", or "" for residuals alone.
        legs: of the object.
        residuals: legs of the residuals it is multiplied with.
    """
    out: list[Diagram] = []
    if kind == "":
        for chosen, rest in _choices(residuals, 2):
            out += _all(_join([(0, 1)], chosen, "K1", (0, 1)), rest)
    elif kind == "h":
        out += _all(_join([(0, 1)], legs, "H1", (0, 1)), residuals)
        for chosen, rest in _choices(residuals, 2):
            out += _all(_pairs("D", "F", "F", [*chosen, *legs]), rest)
    elif kind == "hh":
        out += _all(_pairs("A", "B", "B", legs), residuals)
    elif kind == "dH":
        for chosen, rest in _choices(residuals, 1):
            every = [*legs, *chosen]
            terms = [
                *_join([(0, 3), (1, 2)], every, "P", (0, 1, 2, 3)),
                *_join([(0, 1), (2, 3)], every, "Q", (0, 1, 2, 3)),
                *_join([(0, 2), (1, 3)], every, "Q", (0, 2, 1, 3)),
            ]
            out += _all(terms, rest)
    elif kind == "ddI":
        terms = [
            *_join([(0, 1), (2, 3)], legs, "R", (0, 1, 2, 3)),
            *_join([(0, 2), (3, 1)], legs, "R", (0, 2, 3, 1)),
            *_join([(0, 3), (1, 2)], legs, "R", (0, 3, 1, 2)),
        ]
        out += _all(terms, residuals)
    else:
        terms = [
            *_join([(0, 1), (2, 3)], legs, "S", (0, 1, 2, 3)),
            *_join([(0, 2), (3, 1)], legs, "T", (0, 2, 3, 1)),
            *_join([(0, 3), (1, 2)], legs, "U", (0, 3, 1, 2)),
        ]
        out += _all(terms, residuals)
    return out


def _pairs(direct: str, across: str, crossed: str, legs: Sequence[Leg]) -> list[Diagram]:
    return [
        *_join([(0, 1), (2, 3)], legs, direct, (0, 1, 2, 3)),
        *_join([(0, 2), (1, 3)], legs, across, (0, 2, 1, 3)),
        *_join([(0, 3), (1, 2)], legs, crossed, (0, 3, 1, 2)),
    ]


def _join(
    pairs: Sequence[tuple[int, int]], legs: Sequence[Leg], tensor: str, order: Sequence[int]
) -> list[Diagram]:
    joins = tuple((legs[a][0], legs[b][0]) for a, b in pairs)
    return [Diagram(1.0, joins, ((tensor, "".join(legs[k][1] for k in order)),))]


def _choices(legs: Sequence[Leg], count: int) -> list[tuple[list[Leg], list[Leg]]]:
    """All choices of so many of the legs, with what is left."""
    numbers = range(len(legs))
    return [
        ([legs[k] for k in chosen], [legs[k] for k in numbers if k not in chosen])
        for chosen in itertools.combinations(numbers, count)
    ]


def _all(terms: Sequence[Diagram], residuals: Sequence[Leg]) -> list[Diagram]:
    return [term * rest for term in terms for rest in gaussian(residuals)]


def evaluate(
    diagrams: Sequence[Diagram],
    weights: Sequence[tuple[np.ndarray, str]],
    tensors: Mapping[str, np.ndarray],
    y: np.ndarray,
    modes: int,
    outer: Sequence[Leg],
) -> np.ndarray:
    """The sum of diagrams, each sample but the outer ones summed over the first `modes`.

    Args:
        diagrams: pairings.
        weights: arrays of numbers and the letters of their samples, which multiply every diagram.
        tensors: by name, over S outputs on each axis.
        y: labels (S, C), zero beyond the modes.
        modes: N.
        outer: legs that are left: their samples, then their neurons are the axes of the result.

    Returns:
        (S, C) for one outer leg, (S, S, C, C) for two.
    """
    samples = "".join(sample for _, sample in outer)
    result = samples + "IJ"[: len(outer)]
    outputs = y.shape[1]
    total: np.ndarray | None = None
    for diagram in diagrams:
        factor, ends, same = _neurons(diagram, outer, outputs)
        whole = [(tensors[name], where, where) for name, where in diagram.tensors]
        legs = zip(diagram.labels, ends, strict=True)
        whole += [(y, sample, sample + end) for (_, sample), end in legs]
        # Samples that are summed over are training modes; weights have no others there.
        operands = [
            array[tuple(slice(None) if s in samples else slice(modes) for s in where)]
            for array, where, _ in whole
        ]
        letters = [letters for _, _, letters in whole] + [where for _, where in weights]
        operands += [array for array, _ in weights]
        if same:
            operands.append(np.eye(outputs))
            letters.append(same)
        value = factor * np.einsum(f"{','.join(letters)}->{result}", *operands, optimize=True)
        total = value if total is None else total + value
    if total is None:
        raise ValueError("no diagrams")
    return total


def _neurons(diagram: Diagram, outer: Sequence[Leg], outputs: int) -> tuple[float, list[str], str]:
    """A factor, the letter of each label's neuron, and "IJ" where the outer neurons are one.

    Joined neurons are one; a ring of them that meets no label and no outer leg is free to be any
    of the outputs.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            name = parent[name]
        return name

    for a, b in diagram.joins:
        parent[root(a)] = root(b)
    seen = {root(name) for name, _ in [*diagram.labels, *outer]}
    free = {root(name) for name in list(parent)} - seen
    names = {root(neuron): letter for (neuron, _), letter in zip(outer, "IJ", strict=False)}
    same = "IJ" if len(names) < len(outer) else ""
    spare = iter("ABCDEFGH")
    ends = []
    for neuron, _ in diagram.labels:
        where = root(neuron)
        if where not in names:
            names[where] = next(spare)
        ends.append(names[where])
    return diagram.factor * outputs ** len(free), ends, same
