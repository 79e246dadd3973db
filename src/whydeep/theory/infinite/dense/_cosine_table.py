"""Two functions of a correlation c on [-1, 1] as polynomials on graded pieces.

Deep kernels are analytic in sqrt(1 - |c|) up to both ends, where they are not in c, and change
within 1/L of c = 1 (exponentially closer in chaotic networks). So the middle is one polynomial in
c, and towards each end follow pieces in s = sqrt(1 - |c|), divided in three where one does not
suffice. The first function is anchored at c = 1 as f(1) - s^2 g(s), the second as f(1) - s g(s):
coincident inputs get the end values exactly, near ones keep their difference's relative accuracy.

Source: Trefethen 2013, Theorem 8.2 (a polynomial's error from its Chebyshev coefficients).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev

from whydeep.theory.infinite.dense._chebyshev import chebyshev_coefficients, chebyshev_nodes

__all__ = ["DEGREES", "Sampled", "Table", "tabulate"]

DEGREES = {np.dtype(np.float32): 11, np.dtype(np.float64): 23}
"""Of the polynomials; one less than a multiple of four."""

_TOLERANCE = {np.dtype(np.float32): 1e-8, np.dtype(np.float64): 2e-14}
_MIDDLES = (0.5, 0.15)  # |c| up to which the middle reaches: the second where the first is too far
_NARROWEST = 1e-9  # in s: beyond that, 1 - |c| is below the square of a rounding unit
_GRADING = 1.0 / 3.0
_MOST_PIECES = 40


@dataclass(frozen=True)
class Sampled:
    """The functions at given points.

    Args:
        values: f_1(c) and f_2(c), shape (2, points).
        gaps: f(1) - f(c) of both, accurate relative to themselves, shape (2, points).
    """

    values: np.ndarray
    gaps: np.ndarray


@dataclass(frozen=True)
class Table:
    """Pieces: 0 the middle, then `positive` pieces towards c = 1, then those towards c = -1.

    On a piece t = slope w + shift lies in [-1, 1], with w = c in the middle, else w = s, and a
    function is base + factor(s) p(t), where factor is -s^2 or -s in the piece at c = 1, else 1.

    Args:
        coefficients: (pieces, 2, degree + 1), highest power first.
        line: slope and shift, (pieces, 2).
        base: of the piece at c = 1, the values there, (2,); it is 0 elsewhere.
        edges: values of 1 - |c| below which an element belongs to the piece or a later one on its
            side, (pieces,).
        positive: number of pieces towards c = 1.
        error: of both functions, relative to their values at c = 1: (2,).
        distances: values of 1 - |c|, increasing.
        slopes: largest |df/d(1 - |c|)| from there on, relative likewise, (distances, 2).
    """

    coefficients: np.ndarray
    line: np.ndarray
    base: np.ndarray
    edges: np.ndarray
    positive: int
    error: np.ndarray
    distances: np.ndarray
    slopes: np.ndarray

    def slope(self, distance: float) -> np.ndarray:
        """Largest |df/d(1 - |c|)| over 1 - |c| >= distance, relative to the values at c = 1."""
        return self.slopes[max(int(np.searchsorted(self.distances, distance)) - 1, 0)]


@dataclass(frozen=True)
class _Piece:
    side: int  # 0 the middle, 1 towards c = 1, -1 towards c = -1
    low: float
    high: float

    @property
    def anchored(self) -> bool:
        return self.side == 1 and self.low == 0.0

    def points(self, t: np.ndarray) -> np.ndarray:
        return (self.low + self.high) / 2.0 + (self.high - self.low) / 2.0 * t

    def distances(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """1 - c and 1 + c at t in [-1, 1]."""
        w = self.points(t)
        if self.side == 0:
            return 1.0 - w, 1.0 + w
        near, far = w * w, 2.0 - w * w
        return (near, far) if self.side == 1 else (far, near)

    def halves(self) -> tuple[_Piece, _Piece]:
        ratio = self.low / self.high
        # towards 0 in thirds; a piece away from it at its geometric mean
        cut = self.high * (_GRADING if ratio < _GRADING**2 else np.sqrt(ratio))
        return _Piece(self.side, self.low, cut), _Piece(self.side, cut, self.high)


def tabulate(
    sample: Callable[[np.ndarray, np.ndarray], Sampled], ends: tuple[float, float], dtype: np.dtype
) -> Table | None:
    """A table of two functions, or None where they change too fast to be tabulated.

    Args:
        sample: the functions at points given by (1 - c, 1 + c).
        ends: their values at c = 1, which scale the errors.
        dtype: precision that the table should have, and its numbers.
    """
    for middle in _MIDDLES:
        table = _tabulated(sample, ends, dtype, middle)
        if table is not None:
            return table
    return None


def _tabulated(
    sample: Callable[[np.ndarray, np.ndarray], Sampled],
    ends: tuple[float, float],
    dtype: np.dtype,
    middle: float,
) -> Table | None:
    degree, tolerance = DEGREES[dtype], _TOLERANCE[dtype]
    count = 2 * (degree + 1)
    t = chebyshev_nodes(count)
    scale = np.array([abs(end) or 1.0 for end in ends])
    start = float(np.sqrt(1.0 - middle))
    open_pieces = [_Piece(0, -middle, middle), _Piece(1, 0.0, start), _Piece(-1, 0.0, start)]
    done: list[tuple[_Piece, np.ndarray, np.ndarray]] = []
    while open_pieces:
        if len(open_pieces) + len(done) > _MOST_PIECES:
            return None
        distances = [piece.distances(t) for piece in open_pieces]
        sampled = sample(*(np.concatenate(d) for d in zip(*distances, strict=True)))
        split: list[_Piece] = []
        for index, piece in enumerate(open_pieces):
            part = slice(index * count, (index + 1) * count)
            values = sampled.values[:, part]
            if piece.anchored:
                s = piece.points(t)
                values = sampled.gaps[:, part] / np.stack([s**2, s])
            fitted = chebyshev_coefficients(values)
            left_out = np.abs(fitted[:, degree + 1 :]).sum(axis=1) / scale
            if piece.anchored:
                left_out *= [piece.high**2, piece.high]
            if np.all(left_out <= tolerance):
                done.append((piece, fitted, left_out))
            elif piece.side == 0 or piece.high < _NARROWEST or not np.all(np.isfinite(fitted)):
                return None
            else:
                split += piece.halves()
        open_pieces = split
    return _table(done, ends, scale, degree, dtype)


def _table(
    done: list[tuple[_Piece, np.ndarray, np.ndarray]],
    ends: tuple[float, float],
    scale: np.ndarray,
    degree: int,
    dtype: np.dtype,
) -> Table:
    order = {0: 0, 1: 1, -1: 2}
    done.sort(key=lambda item: (order[item[0].side], -item[0].high))
    count = len(done)
    coefficients = np.zeros((count, 2, degree + 1))
    line, edges = np.empty((count, 2)), np.empty(count)
    nearest: list[tuple[float, np.ndarray]] = []
    for k, (piece, fitted, _) in enumerate(done):
        for f in (0, 1):
            powers = chebyshev.cheb2poly(fitted[f, : degree + 1])
            coefficients[k, f, degree + 1 - len(powers) :] = powers[::-1]
        width = piece.high - piece.low
        line[k] = 2.0 / width, -(piece.low + piece.high) / width
        edges[k] = piece.high**2 if piece.side else 2.0
        nearest += _steepness(piece, fitted, scale)
    nearest.sort(key=lambda item: -item[0])
    distances = np.array([d for d, _ in nearest])[::-1]
    slopes = np.maximum.accumulate([v for _, v in nearest], axis=0)[::-1]
    return Table(
        coefficients.astype(dtype),
        line.astype(dtype),
        np.asarray(ends, dtype),
        edges.astype(dtype),
        sum(piece.side == 1 for piece, _, _ in done),
        np.max([left_out for _, _, left_out in done], axis=0),
        distances,
        slopes,
    )


def _steepness(
    piece: _Piece, fitted: np.ndarray, scale: np.ndarray
) -> list[tuple[float, np.ndarray]]:
    """|df/d(1 - |c|)| at points of a piece, relative to the values at c = 1."""
    w = piece.points(np.linspace(-1.0, 1.0, 33))
    if piece.side and piece.low == 0.0:  # rates of s = sqrt(d) grow without bound towards d = 0
        w = piece.high * np.geomspace(1e-8, 1.0, 241)
    t = (2.0 * w - piece.low - piece.high) / (piece.high - piece.low)
    values = np.array([chebyshev.chebval(t, row) for row in fitted])
    rates = np.array([chebyshev.chebval(t, chebyshev.chebder(row)) for row in fitted])
    rates *= 2.0 / (piece.high - piece.low)
    if piece.side == 0:
        return [(float(1.0 - abs(c)), np.abs(r) / scale) for c, r in zip(w, rates.T, strict=True)]
    if piece.anchored:
        rates = np.stack([2.0 * w * values[0] + w**2 * rates[0], values[1] + w * rates[1]])
    return [(float(s * s), np.abs(r) / (2.0 * s * scale)) for s, r in zip(w, rates.T, strict=True)]
