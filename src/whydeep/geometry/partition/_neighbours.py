"""Which cells share an edge, and which of these continue each other."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from whydeep.geometry.partition._maps import AffineMaps

__all__ = ["merged", "neighbour_pairs"]

_EQUAL = 1e-9


def neighbour_pairs(
    vertices: np.ndarray, offsets: np.ndarray, layers: np.ndarray, units: np.ndarray
) -> np.ndarray:
    """Pairs of cells with a common edge.

    The two cells at an edge have the same edge, of the same neuron, in opposite directions: edges
    of one neuron are sorted along a line, so that the two stand next to each other.
    """
    following = np.arange(1, len(vertices) + 1)
    following[offsets[1:] - 1] = offsets[:-1]
    inner = np.flatnonzero(layers >= 0)
    cell = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[inner]
    one, two = vertices[inner], vertices[following[inner]]
    # a direction that no line of a drawn network is perpendicular to
    place = (one + two) @ np.array([0.8191, 0.5736])
    order = np.lexsort((place, units[inner], layers[inner]))
    found = []
    left = order
    span = float(np.ptp(vertices, axis=0).max(initial=0.0))
    for _ in range(8):  # equal places of different edges are rare; each round settles some
        a, b = left[:-1], left[1:]
        same = (layers[inner][a] == layers[inner][b]) & (units[inner][a] == units[inner][b])
        close = np.abs(one[a] - two[b]).max(axis=1) + np.abs(two[a] - one[b]).max(axis=1)
        fits = same & (close < 1e-9 * span) & (cell[a] != cell[b])
        fits[1:] &= ~fits[:-1]
        if not fits.any():
            break
        found.append(np.stack([cell[a[fits]], cell[b[fits]]], axis=1))
        settled = np.zeros(len(left), bool)
        settled[:-1] |= fits
        settled[1:] |= fits
        left = left[~settled]
        if len(left) < 2:
            break
    pairs = np.concatenate(found) if found else np.zeros((0, 2), np.int64)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def merged(
    maps: AffineMaps, pairs: np.ndarray, count: int, window: tuple[float, float, float, float]
) -> np.ndarray:
    """A number for every cell, the same for neighbours whose maps agree on the window."""
    left, right, bottom, top = window
    corners = np.array([[left, bottom], [right, bottom], [right, top]])
    values = np.einsum("cop,kp->cko", maps.A, corners) + maps.b[:, None]
    scale = np.abs(values).max(initial=1e-300)
    differs = np.abs(values[pairs[:, 0]] - values[pairs[:, 1]]).max(axis=(1, 2), initial=0.0)
    equal = pairs[differs <= _EQUAL * scale]
    graph = coo_array((np.ones(len(equal)), (equal[:, 0], equal[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]
