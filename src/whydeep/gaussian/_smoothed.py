"""A function of one variable averaged over Gaussians of every width, as tables of polynomials.

    P(m, w) = E s(m + w u)        P'(m, w) = E s'(m + w u)
    V(m, w) = Var s(m + w u) / w^2        V'(m, w) = Var s'(m + w u)

for standard normal u. Whatever s does, these are smooth in m on the scale of w (or of s, if that is
larger) and in log w: bands of w, each half an octave, are cut into cells in m that are halved
until an interpolant in both is right to rounding. Bands are made when first asked for.

Source: Trefethen 2013, Theorem 8.2 (a polynomial's error from its Chebyshev coefficients).
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

import functools
import math
import threading
from dataclasses import dataclass, field
from typing import no_type_check

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.compiled import njit
from whydeep.gaussian._pieces import DEGREE, Pieces, chebyshev_fit, monomials, pieces

__all__ = ["LOWEST", "Band", "Smoothed", "gaussian_weights", "octave", "single_images", "smoothed"]

LOWEST = -76
"""Bands below the widest after which w counts as 0: by then w / sqrt(q) is 1e-11 or less."""

_WIDTHS = 17  # nodes in w
_TOLERANCE = 1e-14
_NOISE = 1e-9
_FINEST = 1.0 / 16.0  # of w: the narrowest cell
_REACHES = (9.0, 11.0, 13.0, 16.0, 20.0, 26.0, 32.0, 40.0)
_LEFT = 4e-15  # of a mean square: what the last unit of the reach may hold
_PANEL = 2.15
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_STEPS = 8  # of the table of exponentials, in a unit
_EXPONENTIALS = np.exp(-np.arange(_STEPS * 801) / _STEPS) / math.sqrt(2.0 * math.pi)


@dataclass(frozen=True)
class Band:
    """Polynomials for w between two widths.

    Args:
        edges: of the cells in m, (cells + 1,).
        table: of P, P', V and V': powers of m over its cell, Chebyshev polynomials of w over the
            band, (cells, 4, DEGREE + 1, widths).
        low: smallest w.
        high: largest w.
        error: what is left out, relative to the largest |s| and |s'| nearer to 0, times the share
            of a cell in what s' is spread over.
    """

    edges: np.ndarray
    table: np.ndarray
    low: float
    high: float
    error: float


@dataclass
class Smoothed:
    """The tables of one function for deviations up to a power of two.

    Args:
        top: the largest deviation.
        reach: how many deviations the means extend to.
        known: s and s' themselves.
        tail: what lies beyond the reach, relative to the mean square.
        kinks: of the function.
        bands: those made so far.
    """

    top: float
    reach: float
    known: Pieces
    tail: float
    kinks: tuple[float, ...] = ()
    bands: dict[int, Band] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def number(self, width: np.ndarray) -> np.ndarray:
        """Of the bands that widths w lie in: 0 the widest, -1 the next; LOWEST for none."""
        with np.errstate(divide="ignore"):
            octaves = 2.0 * np.log2(width / self.top)
        return np.clip(np.ceil(octaves), LOWEST, 0).astype(np.int64)

    def band(self, number: int) -> Band:
        """One band."""
        with self.lock:
            if number not in self.bands:
                make = self._itself if number == LOWEST else self._made
                self.bands[number] = make(number)
            return self.bands[number]

    def _itself(self, _: int) -> Band:
        known = self.known
        table = np.zeros((len(known.edges) - 1, 4, DEGREE + 1, _WIDTHS))
        table[:, :2, :, 0] = known.coefficients
        return Band(known.edges, table, 0.0, 0.0, known.error)

    def _starts(self, width: float, far: float) -> np.ndarray:
        """Edges from which no feature is missed: w apart where s is rich, ever further elsewhere.

        An interpolant sees nothing of what lies between its nodes.
        """
        doubled = width * 2.0 ** np.arange(max(1, math.ceil(math.log2(far / width))))
        around = np.add.outer([0.0, *self.kinks], np.concatenate([-doubled, [0.0], doubled]))
        edges = np.concatenate([around.ravel(), self.known.edges])
        edges = np.sort(edges[np.abs(edges) < far - width / 2.0])
        kept = [-far]
        for edge in edges:
            if edge > kept[-1] + width / 2.0:
                kept.append(float(edge))
        return np.array([*kept, far])

    def _made(self, number: int) -> Band:
        high = self.top * 2.0 ** (number / 2.0)
        low = high / math.sqrt(2.0)
        t, basis = chebyshev_fit(DEGREE + 1)
        tau, width_basis = chebyshev_fit(_WIDTHS)
        widths = (low + high + (high - low) * tau) / 2.0
        far = self.reach * self.top
        spread = self.known.spread(self.top)
        starts = self._starts(high, far)
        open_cells = np.stack([starts[:-1], starts[1:]], axis=1)
        done: list[tuple[np.ndarray, np.ndarray]] = []
        error, before = 0.0, np.full(len(open_cells), np.inf)
        while len(open_cells):
            middle, half = open_cells.mean(axis=1), (open_cells[:, 1] - open_cells[:, 0]) / 2.0
            m = middle[:, None] + half[:, None] * t
            values = np.empty((m.size, _WIDTHS, 4))
            _means(self.known.edges, self.known.coefficients, m.ravel(), widths, self.reach, values)
            values = values.reshape(len(m), len(t), _WIDTHS, 4)
            found = np.einsum("cmwf,mi,wj->cfij", values, basis, width_basis, optimize=True)
            inner = np.abs(open_cells).min(axis=1)
            image, slope = self.known.largest(inner + high)
            scale = np.maximum(np.stack([image, slope, slope**2, slope**2], axis=1), 1e-300)
            ends = np.abs(found[:, :, -2:]).max(axis=3).sum(axis=2) / scale
            left = ends.max(axis=1)
            noise = (left <= _NOISE) & (left > 0.5 * before)  # rounding, which no halving mends
            good = (left <= _TOLERANCE) | noise | (half < _FINEST * low)
            if np.any(good):
                rest = np.abs(found[..., -2:]).max(axis=2).sum(axis=2) / scale
                share = np.minimum(1.0, 2.0 * half / spread)[:, None]
                error = max(error, float((share * np.maximum(ends, rest)[:, :2])[good].max()))
            powers = np.einsum("cfij,ip->cfpj", found, monomials(DEGREE + 1))
            done += [(e, p) for e, p in zip(open_cells[good], powers[good], strict=True)]
            cells, before = open_cells[~good], np.tile(left[~good], 2)
            middle = cells.mean(axis=1)
            open_cells = np.concatenate(
                [np.column_stack([cells[:, 0], middle]), np.column_stack([middle, cells[:, 1]])]
            )
        done.sort(key=lambda item: item[0][0])
        edges = np.array([e[0] for e, _ in done] + [far])
        return Band(edges, np.stack([p for _, p in done]), low, high, error)


@functools.lru_cache(maxsize=64)
def smoothed(activation: ScalarFunction, octave: int) -> Smoothed | None:
    """Tables for deviations up to 2^octave, or None where the function is out of reach.

    That is so where it is not finite, changes too often, or grows so fast that the mean square
    comes from beyond 40 deviations.
    """
    top = 2.0**octave
    for reach in _REACHES:
        known = pieces(activation, (2.0 * reach + 0.01) * top)
        if known is None:
            return None
        u = np.linspace(-reach, reach, 801)
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.stack(activation.derivatives(top * u, 1)) ** 2 * np.exp(-(u**2) / 2.0)
        if not np.all(np.isfinite(values)):
            return None
        sums = values.sum(axis=1)
        shell = values[:, np.abs(u) > reach - 1.0].sum(axis=1)
        tail = float(np.max(np.divide(shell, sums, out=np.zeros(2), where=sums > 0)))
        if tail <= _LEFT:
            return Smoothed(top, reach, known, tail, activation.kinks)
    return None


def single_images(activation: ScalarFunction, variance: np.ndarray) -> np.ndarray | None:
    """<s> and <s'> (jumps left out) at variances q, shape (2, N); None where s is out of reach."""
    deviation = np.sqrt(variance)
    out = np.empty((2, deviation.size))
    for place, width in enumerate(deviation):
        known = smoothed(activation, octave(float(width)))
        if known is None:
            return None
        values = np.empty((1, 1, 4))
        table = known.known
        _means(
            table.edges, table.coefficients, np.zeros(1), np.array([max(width, 1e-300)]),
            known.reach, values,
        )  # fmt: skip
        out[:, place] = values[0, 0, :2]
    return out


def octave(deviation: float) -> int:
    """The power of two that covers a deviation."""
    return max(math.ceil(math.log2(deviation)), -500) if deviation > 0.0 else -500


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _means(edges, coefficients, m, widths, reach, out):
    """P, P', V and V' at all m and w: into `out`, (m, w, 4).

    Differences s(z) - s(m) are sums of differences along the pieces between z and m, each exact
    relative to itself: V is as precise where s is large as where it is small.
    """
    last, top = edges.size - 2, coefficients.shape[2] - 1
    rise, from_left = _differences(coefficients)
    own = np.empty(top + 1)
    u, weight, sums = np.empty(_NODES.size), np.empty(_NODES.size), np.empty(4)
    for i in range(m.size):
        home = min(max(np.searchsorted(edges, m[i], side="right") - 1, 0), last)
        scale = 2.0 / (edges[home + 1] - edges[home])
        t = (m[i] - edges[home]) * scale - 1.0
        _quotient(coefficients[home, 0], t, own)
        to_left, to_right = 0.0, 0.0  # of s at the edges of that piece, less s(m)
        for n in range(top, 0, -1):
            to_left = own[n] - to_left
            to_right = own[n] + to_right
        to_left *= -1.0 - t
        to_right *= 1.0 - t
        own_rate = 0.0
        for n in range(top, -1, -1):
            own_rate = own_rate * t + coefficients[home, 1, n]
        for w in range(widths.size):
            width = widths[w]
            k = min(max(np.searchsorted(edges, m[i] - reach * width, side="right") - 1, 0), last)
            entry = to_left
            for between in range(k, home):
                entry -= rise[between]
            sums[:] = 0.0
            start, even = -reach, 1
            while start < reach:
                border = (edges[k + 1] - m[i]) / width if k < last else np.inf
                end = min(even * _PANEL - reach, reach, border)
                if end > start:
                    half = 0.5 * (end - start)
                    for j in range(u.size):
                        u[j] = start + half * (1.0 + _NODES[j])
                    gaussian_weights(u, half, weight)
                    scale = 2.0 / (edges[k + 1] - edges[k])
                    offset = (m[i] - edges[k]) * scale - 1.0
                    base = own if k == home else from_left[k]
                    _panel(
                        base, coefficients[k, 1], u, weight, width * scale, offset, k == home,
                        entry, own_rate, sums,
                    )  # fmt: skip
                if end == border:
                    entry = to_right if k == home else entry + rise[k]
                    k += 1
                else:
                    even += 1
                start = max(start, end)
            out[i, w, 0] = own[0] + sums[0]
            out[i, w, 1] = own_rate + sums[2]
            out[i, w, 2] = max(sums[1] - sums[0] * sums[0], 0.0) / (width * width)
            out[i, w, 3] = max(sums[3] - sums[2] * sums[2], 0.0)


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _panel(base, rates, u, weight, stretch, offset, at_home, entry, own_rate, sums):
    """Adds a panel's part of the means of s(z) - s(m) and s'(z) - s'(m), and of their squares.

    Args:
        base: quotient of s on this piece, about m itself or the left end of the piece.
        rates: coefficients of s'.
        u: nodes.
        weight: of the nodes.
        stretch: of u to the variable of the piece.
        offset: of m in the variable of the piece.
        at_home: whether m lies on this piece.
        entry: s at the left end of the piece, less s(m).
        own_rate: s'(m).
        sums: of four means.
    """
    for j in range(u.size):
        x = stretch * u[j] + offset
        change, rate = base[base.size - 1], rates[rates.size - 1]
        for n in range(base.size - 2, 0, -1):
            change = change * x + base[n]
            rate = rate * x + rates[n]
        rate = rate * x + rates[0] - own_rate
        change = change * stretch * u[j] if at_home else change * (x + 1.0) + entry
        sums[0] += weight[j] * change
        sums[1] += weight[j] * change * change
        sums[2] += weight[j] * rate
        sums[3] += weight[j] * rate * rate


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def gaussian_weights(u, half, out):
    """Of nodes u on a panel of this half width (a library's exp would not be vectorised)."""
    for j in range(u.size):
        y = 0.5 * u[j] * u[j]
        place = int(y * _STEPS)
        r = place / _STEPS - y
        series = 1.0 + r / 10.0
        for n in range(9, 0, -1):
            series = 1.0 + r * series / n
        out[j] = half * _WEIGHTS[j] * _EXPONENTIALS[place] * series


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _quotient(c, t, out):
    """Coefficients b with p(x) = b_0 + (x - t) sum_(n > 0) b_n x^(n - 1)."""
    top = c.size - 1
    out[top] = c[top]
    for n in range(top - 1, -1, -1):
        out[n] = c[n] + t * out[n + 1]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _differences(coefficients):
    """The rise of s over every piece, and quotients at their left ends."""
    count, _, terms = coefficients.shape
    rise, quotients = np.zeros(count), np.empty((count, terms))
    for k in range(count):
        for n in range(1, terms, 2):
            rise[k] += 2.0 * coefficients[k, 0, n]
        _quotient(coefficients[k, 0], -1.0, quotients[k])
    return rise, quotients
