"""The partition of a window that is held: polygons, signs, affine maps, neighbours."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from whydeep import arguments
from whydeep.geometry.partition._areas import areas_of, middles_of
from whydeep.geometry.partition._maps import AffineMaps, input_map, slice_maps
from whydeep.geometry.partition._neighbours import merged, neighbour_pairs
from whydeep.geometry.partition._work import Slice
from whydeep.results import by_content

__all__ = ["Regions"]


@by_content
@dataclass(frozen=True, eq=False)
class Regions:
    """The activation cells of a piecewise-linear function on a window of a plane.

    Coordinates are those of the slice, ``x = origin + s u + t v``; areas are in these coordinates,
    the area in input space is ``|u x v|`` times that. Cells are in an order that is the same every
    time.

    Args:
        plane: the function, the plane and the window.
        vertices: (corners, 2): the corners of all polygons, anticlockwise, one polygon after the
            other.
        offsets: (count + 1,): where each polygon begins in `vertices`.
        edge_layers: (corners,): which layer makes the edge that begins at a corner, from 0; -1 for
            the sides of the window. Layers are named in ``function.names``.
        edge_units: (corners,): which neuron of that layer; the side of the window from 0.
        patterns: (count, words): the sign of every split, packed in words of 64, every layer from
            a new word on. `signs` unpacks them.
    """

    plane: Slice
    vertices: np.ndarray
    offsets: np.ndarray
    edge_layers: np.ndarray
    edge_units: np.ndarray
    patterns: np.ndarray

    def __repr__(self) -> str:
        f = self.plane.function
        return f"<{self.count:,} regions of {f.shape} -> {f.outputs}, {self.plane.layers} layers>"

    @property
    def count(self) -> int:
        """The number of activation cells."""
        return len(self.offsets) - 1

    @functools.cached_property
    def areas(self) -> np.ndarray:
        """The area of every cell."""
        return areas_of(self.vertices, self.offsets)

    @functools.cached_property
    def middles(self) -> np.ndarray:
        """A point inside every cell, (count, 2): the mean of its corners."""
        return middles_of(self.vertices, self.offsets)

    @functools.cached_property
    def polygons(self) -> list[np.ndarray]:
        """The corners of every cell, (k, 2), anticlockwise."""
        return np.split(self.vertices, self.offsets[1:-1])

    def signs(self, layer: int) -> np.ndarray:
        """The signs of one layer's splits on every cell: (count, columns), true or false.

        A relu has one split, true where it is active. A function that bends several times has one
        a threshold, all units of the first threshold first. Of a maximum, one a member.
        """
        layer = arguments.count(0, len(self.plane.function.kinks) - 1)("layer", layer)
        return self.plane.function.signs(self.patterns, layer)

    @functools.cached_property
    def maps(self) -> AffineMaps:
        """The affine map of every cell in coordinates of the slice: ``A (s, t) + b``.

        They follow from the signs, not from the corners: as exact for a tiny cell as for a large
        one. Of all layers; for a view of fewer layers, of the next layer's inputs.
        """
        return slice_maps(self.plane, self.patterns)

    def input_map(self, cell: int) -> tuple[np.ndarray, np.ndarray]:
        """A (outputs, inputs) and b (outputs,) with ``A x + b = f(x)`` on a cell, x any input.

        Cost: the network at as many points as inputs have numbers.
        """
        cell = arguments.count(0, self.count - 1)("cell", cell)
        return input_map(self.plane.function, self.patterns[cell], self.plane.layers)

    @functools.cached_property
    def neighbours(self) -> np.ndarray:
        """Pairs of cells that share an edge: (pairs, 2), each pair once, smaller number first."""
        return neighbour_pairs(self.vertices, self.offsets, self.edge_layers, self.edge_units)

    @functools.cached_property
    def linear_parts(self) -> np.ndarray:
        """Which linear region each cell belongs to, (count,): neighbours with equal maps are one.

        Accuracy: maps are equal if they differ by less than 1e-9 of the largest on the window.
        """
        return merged(self.maps, self.neighbours, self.count, self.plane.window)

    @property
    def linear_count(self) -> int:
        """The number of linear regions: activation cells with neighbours of equal maps merged."""
        return int(self.linear_parts.max()) + 1

    def edges(self, layer: int | None = None) -> np.ndarray:
        """Segments between cells, (segments, 2, 2), those made by one layer or by all.

        Every inner edge comes once for each of its two cells.
        """
        if layer is not None:
            layer = arguments.count(0)("layer", layer)
        following = np.arange(1, len(self.vertices) + 1)
        following[self.offsets[1:] - 1] = self.offsets[:-1]
        chosen = self.edge_layers >= 0 if layer is None else self.edge_layers == layer
        return np.stack([self.vertices[chosen], self.vertices[following[chosen]]], axis=1)
