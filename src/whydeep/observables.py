"""The vocabulary that prediction and measurement share: names, dimensions, symmetries.

An observable has one name, one set of labelled dimensions and one scaling, whichever instrument
produced it. Only its independent components are computed; `expand` writes them out in full and
labelled, `reduce` picks them from a full array.

Layers 1 to L + 1 label preactivations, L + 1 is the output. Quantities of first order are
coefficients of ``1 / n_(l-1)``, the width of the layer below.

With H_ij;ab the tangent kernel of neurons i, j on inputs a, b and dH its deviation from its mean
(Roberts, Yaida and Hanin 2022, Chapters 8 and 11), the axes of the four-sample observables are

    E[z_1 z_2 dH_34]  = (1/n) [d12 d34 D_1234 + d13 d24 F_1324 + d14 d23 F_1423]
    E[dH_12 dH_34]    = (1/n) [d12 d34 A_1234 + d13 d24 B_1324 + d14 d23 B_1423]
    E[dH_012 z_3]     = (1/n) [d03 d12 P_0123 + d01 d23 Q_0123 + d02 d13 Q_0213]
    E[ddI_0123]       = (1/n) [d01 d23 R_0123 + d02 d31 R_0231 + d03 d12 R_0312]
    E[ddII_1234]      = (1/n) [d12 d34 S_1234 + d13 d42 T_1342 + d14 d23 U_1423]

where the deltas are between the neurons, and every number stands for a neuron and its sample.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from whydeep.arguments import shown
from whydeep.errors import InputError

__all__ = [
    "BASIC",
    "OBSERVABLES",
    "ByName",
    "Observable",
    "component_indices",
    "expand",
    "pair_indices",
    "positions",
    "quadruple_indices",
    "reduce",
]

Symmetry = tuple[tuple[int, ...], ...]

_PAIR: Symmetry = ((1, 0),)
_VERTEX: Symmetry = ((1, 0, 2, 3), (2, 3, 0, 1))


@dataclass(frozen=True)
class Observable:
    """What a quantity is called, what it means, and how many samples it has.

    Args:
        name: as in ``predicted[name]`` and ``measured[name]``.
        title: a few words for tables and figures.
        symbol: the letter of Roberts, Yaida and Hanin (2022).
        samples: 2 for kernels, 4 for four-point objects.
        order: the power of 1/width whose coefficient it is.
        meaning: its definition in one line.
        symmetry: permutations of the samples that leave it unchanged, and generate all that do.
    """

    name: str
    title: str
    symbol: str
    samples: int
    order: int
    meaning: str
    symmetry: Symmetry

    @property
    def dims(self) -> tuple[str, ...]:
        """The labelled dimensions: layer, then one an input."""
        return ("layer", *(f"input_{k}" for k in range(1, self.samples + 1)))


def _fluctuation(letter: str, title: str, meaning: str, *symmetry: tuple[int, ...]) -> Observable:
    prefix = "ntk" if letter in "ABDF" else "dntk" if letter in "PQ" else "ddntk"
    return Observable(f"{prefix}_{letter}", title, letter, 4, 1, meaning, symmetry)


OBSERVABLES: Mapping[str, Observable] = {
    o.name: o
    for o in (
        Observable("kernel", "kernel", "K", 2, 0, "E[z_ia z_ib] at infinite width", _PAIR),
        Observable(
            "ntk", "tangent kernel", "Θ", 2, 0, "E of sum lambda dz_ia dz_ib, same limit", _PAIR
        ),
        Observable(
            "four_point",
            "four-point vertex",
            "V",
            4,
            1,
            "n_(l-1) times the connected E[z_ia z_ib z_jc z_jd], i != j",
            _VERTEX,
        ),
        Observable(
            "kernel_correction",
            "kernel correction",
            "K{1}",
            2,
            1,
            "n_(l-1) times (E[z_ia z_ib] - K)",
            _PAIR,
        ),
        Observable(
            "ntk_correction",
            "tangent kernel correction",
            "Θ{1}",
            2,
            1,
            "n_(l-1) times (E[H_ii;ab] - Theta)",
            _PAIR,
        ),
        _fluctuation(
            "A", "tangent kernel variance A", "n_(l-1) Cov(H_ii;ab, H_jj;cd), i != j", *_VERTEX
        ),
        _fluctuation(
            "B", "tangent kernel variance B", "n_(l-1) E[H_ij;ac H_ij;bd], axes a b c d, i != j",
            (2, 3, 0, 1), (1, 0, 3, 2),
        ),
        _fluctuation(
            "D", "preactivations with tangent kernel D",
            "n_(l-1) Cov(z_ia z_ib, H_jj;cd), i != j", (1, 0, 2, 3), (0, 1, 3, 2),
        ),
        _fluctuation(
            "F", "preactivations with tangent kernel F",
            "n_(l-1) E[z_ia z_jc H_ij;bd], axes a b c d, i != j", (2, 3, 0, 1),
        ),
        _fluctuation(
            "P", "differential of the tangent kernel P",
            "n_(l-1) E[dH_ijj;abc z_id], i != j", (0, 2, 1, 3),
        ),
        _fluctuation(
            "Q", "differential of the tangent kernel Q", "n_(l-1) E[dH_iij;abc z_jd], i != j"
        ),
        _fluctuation(
            "R", "second differential R", "n_(l-1) E[ddI_iijj;abcd], i != j", (0, 1, 3, 2)
        ),
        _fluctuation(
            "S", "second differential S", "n_(l-1) E[ddII_iijj;abcd], i != j", (1, 0, 3, 2)
        ),
        _fluctuation(
            "T", "second differential T", "n_(l-1) E[ddII_ijij;adbc], axes a b c d, i != j",
            (3, 2, 1, 0),
        ),
        _fluctuation(
            "U", "second differential U", "n_(l-1) E[ddII_ijji;acdb], axes a b c d, i != j",
            (2, 3, 0, 1),
        ),
    )
}  # fmt: skip
"""Every observable by name."""

BASIC = ("kernel", "ntk", "four_point", "kernel_correction")
"""What is predicted and measured unless more is asked for by name."""


@functools.cache
def component_indices(name: str, size: int) -> np.ndarray:
    """The samples of the independent components over N samples: (components, 2 or 4).

    Of all entries that a symmetry makes equal the first in order of indices: those of
    `pair_indices` and `quadruple_indices` for kernels and vertices.
    """
    observable = OBSERVABLES[name]
    out = np.stack(_orbits(observable.symmetry, observable.samples, size)[0], axis=1)
    out.setflags(write=False)
    return out


@functools.cache
def _orbits(
    symmetry: Symmetry, samples: int, size: int
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Indices of the components, and which component stands at every entry of a full array."""
    lowest = np.arange(size**samples).reshape((size,) * samples)
    while True:  # the smallest number in an orbit spreads over it
        before = lowest
        for permutation in symmetry:
            lowest = np.minimum(lowest, lowest.transpose(permutation))
            lowest = np.minimum(lowest, lowest.transpose(np.argsort(permutation)))
        if np.array_equal(before, lowest):
            break
    flat, place = np.unique(lowest, return_inverse=True)
    return np.unravel_index(flat, lowest.shape), place.reshape(lowest.shape)


def pair_indices(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The N (N + 1) / 2 pairs a <= b of N samples, row by row."""
    return np.triu_indices(size)


def quadruple_indices(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The unordered pairs of pairs (ab)(cd): positions of (ab) and of (cd) in `pair_indices`."""
    return np.triu_indices(size * (size + 1) // 2)


def positions(name: str, size: int) -> np.ndarray:
    """Which independent component stands at every entry of a full array over N samples."""
    observable = OBSERVABLES[name]
    return _orbits(observable.symmetry, observable.samples, size)[1]


def expand(
    name: str, components: np.ndarray, size: int, layers: Sequence[int] | None = None
) -> xr.DataArray:
    """The full labelled array of an observable from its independent components.

    Args:
        name: one of `OBSERVABLES`.
        components: (layers, components), in the order of `component_indices`.
        size: the number of samples N.
        layers: their labels; 1, 2, ... by default.
    """
    observable = OBSERVABLES[name]
    full = components[:, positions(name, size)]
    return xr.DataArray(
        full,
        dims=observable.dims,
        coords={"layer": np.arange(1, len(components) + 1) if layers is None else list(layers)},
        name=name,
        attrs={"long_name": observable.title, "symbol": observable.symbol},
    )


def reduce(name: str, full: np.ndarray) -> np.ndarray:
    """The independent components (layers, components) of a full array; inverse of `expand`."""
    return full[:, *component_indices(name, full.shape[1]).T]


class ByName(Mapping[str, xr.DataArray]):
    """A mapping by the names of observables: names cost nothing, arrays are made when asked for."""

    @property
    @abc.abstractmethod
    def _held(self) -> Mapping[str, Any]:
        """What the arrays are made of, by name."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def _found(self, name: str, otherwise: str, suggestion: str = "") -> Any:
        """What is held under the name; `otherwise` is the sentence of the error."""
        if not isinstance(name, str) or name not in self._held:
            raise InputError(
                otherwise,
                received=shown(name),
                needed="one of " + ", ".join(self._held),
                suggestion=suggestion,
            )
        return self._held[name]
