"""The vocabulary that prediction and measurement share: names, dimensions, symmetries.

An observable has one name, one set of labelled dimensions and one scaling, whichever instrument
produced it. Only its independent components are computed; `expand` writes them out in full and
labelled, `reduce` picks them from a full array.

Layers 1 to L + 1 label preactivations, L + 1 is the output. Quantities of first order are
coefficients of ``1 / n_(l-1)``, the width of the layer below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

__all__ = [
    "OBSERVABLES",
    "Observable",
    "expand",
    "pair_indices",
    "positions",
    "quadruple_indices",
    "reduce",
]


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
    """

    name: str
    title: str
    symbol: str
    samples: int
    order: int
    meaning: str

    @property
    def dims(self) -> tuple[str, ...]:
        """The labelled dimensions: layer, then one an input."""
        return ("layer", *(f"input_{k}" for k in range(1, self.samples + 1)))


OBSERVABLES: Mapping[str, Observable] = {
    o.name: o
    for o in (
        Observable("kernel", "kernel", "K", 2, 0, "E[z_ia z_ib] at infinite width"),
        Observable("ntk", "tangent kernel", "Θ", 2, 0, "E of sum lambda dz_ia dz_ib, same limit"),
        Observable(
            "four_point",
            "four-point vertex",
            "V",
            4,
            1,
            "n_(l-1) times the connected E[z_ia z_ib z_jc z_jd], i != j",
        ),
        Observable(
            "kernel_correction",
            "kernel correction",
            "K{1}",
            2,
            1,
            "n_(l-1) times (E[z_ia z_ib] - K)",
        ),
    )
}
"""Every observable by name."""


def pair_indices(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The N (N + 1) / 2 pairs a <= b of N samples, row by row."""
    return np.triu_indices(size)


def quadruple_indices(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The unordered pairs of pairs (ab)(cd): positions of (ab) and of (cd) in `pair_indices`."""
    return np.triu_indices(size * (size + 1) // 2)


def positions(samples: int, size: int) -> np.ndarray:
    """Which independent component stands at every entry of a full array over N samples.

    Args:
        samples: 2, for (N, N) into `pair_indices`; 4, for (N, N, N, N) into `quadruple_indices`.
        size: N.
    """
    pair = _symmetric(*pair_indices(size))
    if samples == 2:
        return pair
    quadruple = _symmetric(*quadruple_indices(size))
    return quadruple[pair[:, :, None, None], pair[None, None]]


def _symmetric(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    size = int(rows[-1]) + 1
    position = np.empty((size, size), dtype=int)
    position[rows, cols] = position[cols, rows] = np.arange(rows.size)
    return position


def expand(
    name: str, components: np.ndarray, size: int, layers: Sequence[int] | None = None
) -> xr.DataArray:
    """The full labelled array of an observable from its independent components.

    Args:
        name: one of `OBSERVABLES`.
        components: (layers, components), in the order of `pair_indices` or `quadruple_indices`.
        size: the number of samples N.
        layers: their labels; 1, 2, ... by default.
    """
    observable = OBSERVABLES[name]
    full = components[:, positions(observable.samples, size)]
    return xr.DataArray(
        full,
        dims=observable.dims,
        coords={"layer": np.arange(1, len(components) + 1) if layers is None else list(layers)},
        name=name,
        attrs={"long_name": observable.title, "symbol": observable.symbol},
    )


def reduce(name: str, full: np.ndarray) -> np.ndarray:
    """The independent components (layers, components) of a full array; inverse of `expand`."""
    size = full.shape[1]
    rows, cols = pair_indices(size)
    if OBSERVABLES[name].samples == 2:
        return full[:, rows, cols]
    first, second = quadruple_indices(size)
    return full[:, rows[first], cols[first], rows[second], cols[second]]
