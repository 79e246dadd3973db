"""Axes of traced arrays, followed through reshapes: each is a product of atoms.

An array axis of a traced program is a row of atoms, outermost first: after ``(N, T, C)`` became
``(N, T, heads, C // heads)``, the atom of the channels has two parts, and merging the axes again
finds them. A dimension of size 1 has no atoms. Atoms are compared by identity, never by size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from whydeep.errors import UnsupportedError

__all__ = ["Atom", "Axes", "fresh", "pair", "refine", "regroup", "sizes"]


class Atom:
    """A dimension that the traced program treats as one, until it splits it."""

    __slots__ = ("parts", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.parts: tuple[Atom, ...] = ()

    def split(self, outer: int) -> tuple[Atom, ...]:
        """Two parts, the first of size `outer`, wherever this atom stands."""
        self.parts = (Atom(outer), Atom(self.size // outer))
        return self.parts

    def __repr__(self) -> str:
        return f"<atom of {self.size}>"


Axes = tuple[tuple[Atom, ...], ...]


def refine(atoms: Iterable[Atom]) -> tuple[Atom, ...]:
    """The atoms with every split one replaced by its parts."""
    out: list[Atom] = []
    for atom in atoms:
        out.extend(refine(atom.parts) if atom.parts else (atom,))
    return tuple(out)


def fresh(size: int) -> tuple[Atom, ...]:
    """A new axis of this size."""
    return (Atom(size),) if size > 1 else ()


def sizes(axes: Iterable[Iterable[Atom]]) -> tuple[int, ...]:
    """The shape of these axes."""
    return tuple(math.prod(a.size for a in axis) for axis in axes)


def regroup(atoms: Iterable[Atom], shape: Iterable[int]) -> Axes:
    """The same atoms, row by row, as axes of another shape.

    Raises:
        UnsupportedError: an axis of the new shape would cut across two old ones.
    """
    rest = list(refine(atoms))
    axes = []
    for size in shape:
        axis: list[Atom] = []
        left = size
        while left > 1:
            atom = rest.pop(0)
            if left % atom.size == 0:
                axis.append(atom)
                left //= atom.size
            elif atom.size % left == 0:
                outer, inner = atom.split(left)
                axis.append(outer)
                rest.insert(0, inner)
                left = 1
            else:
                raise UnsupportedError(
                    "A reshape cuts across axes.",
                    received=f"an axis of {atom.size} and one of {size}",
                    needed="reshapes that merge neighbouring axes or split one",
                )
        axes.append(tuple(axis))
    return tuple(axes)


def pair(first: Iterable[Atom], second: Iterable[Atom]) -> list[tuple[Atom, Atom]]:
    """Atoms of two axes of equal size side by side, split until they match.

    Raises:
        UnsupportedError: they are divided in ways that have no common refinement.
    """
    a, b = list(refine(first)), list(refine(second))
    pairs = []
    while a and b:
        x, y = a.pop(0), b.pop(0)
        if x.size == y.size:
            pairs.append((x, y))
        elif x.size > y.size and x.size % y.size == 0:
            a[:0] = x.split(y.size)
            b.insert(0, y)
        elif y.size > x.size and y.size % x.size == 0:
            b[:0] = y.split(x.size)
            a.insert(0, x)
        else:
            break
    if a or b:
        raise UnsupportedError(
            "Two axes are divided in different ways.",
            received=f"{[x.size for x in refine(first)]} and {[y.size for y in refine(second)]}",
        )
    return pairs
