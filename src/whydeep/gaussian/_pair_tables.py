"""Means over pairs of samples of any variances, from tables of smoothed functions.

Samples of correlation c = +-|c| are z_a = x_a + e_a with x perfectly correlated, of the share |c|
of both variances, and independent e. Given x, s_a and s_b are independent:

    <s_a s_b> = E P_a P_b     <s'_a s'_b> = E P'_a P'_b     <(s_a -+ s_b)^2> = E V_a + V_b
                                                                               + (P_a -+ P_b)^2

with P, P' and V at x and the width of e (`_smoothed`): one integral over x, by panels of
Gauss-Legendre nodes that end where polynomials of either sample do. Sums of positive terms, so that
distances are exact relative to themselves, and nothing degenerates at |c| = 1 or at variances of
1e12 or 1e-12.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import no_type_check

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.compiled import njit
from whydeep.gaussian._smoothed import Smoothed, gaussian_weights, octave, smoothed

__all__ = ["PairMeans", "any_pair_means", "within_reach"]

_PANEL = 1.5
_NODES = np.polynomial.legendre.leggauss(16)[0]
_OCTAVES = 2  # small deviations have tables of their own for every so many
_ALONE = -2  # and all above 2^-2 the same one
_ROUNDING = 4e-15


@dataclass(frozen=True)
class PairMeans:
    """Means of pairs, each of shape (pairs,).

    Args:
        image: <s_a s_b>.
        slope: <s'_a s'_b>, without jumps.
        difference: <(s_a - s_b)^2>.
        total: <(s_a + s_b)^2>.
        bend: <(s'_a - s'_b)^2>, without jumps.
        error: of all, relative to the means of each sample with itself.
    """

    image: np.ndarray
    slope: np.ndarray
    difference: np.ndarray
    total: np.ndarray
    bend: np.ndarray
    error: float


def within_reach(activation: ScalarFunction, variance: float) -> bool:
    """Whether tables exist up to this variance: the function is finite there, and not too rich."""
    if not 0.0 <= variance < np.inf:
        return False
    return smoothed(activation, octave(math.sqrt(variance))) is not None


def any_pair_means(
    activation: ScalarFunction, qa: np.ndarray, qb: np.ndarray, minus: np.ndarray, plus: np.ndarray
) -> PairMeans | None:
    """Means over pairs of variances q_a, q_b and of correlations given by 1 - c and 1 + c.

    Args:
        activation: any function.
        qa: (pairs,), at least 0.
        qb: likewise.
        minus: 1 - c, (pairs,), precise where it is small.
        plus: 1 + c, likewise.

    Returns:
        None where the function is out of reach at the largest variance (see `smoothed`).

    Accuracy: 1e-13. Cost: up to a second for the tables of each half octave of sqrt(q (1 - |c|)),
    once; 30 microseconds a pair.
    """
    degree = degree_of(activation)
    if degree is not None and np.any((qa != 1.0) | (qb != 1.0)):
        return _scaled(activation, degree, qa, qb, minus, plus)
    near = np.minimum(np.minimum(minus, plus), 1.0)  # at a right angle both may be 1 + eps
    deviations = np.sqrt(np.stack([qa, qb]))
    widths, rates = deviations * np.sqrt(near), deviations * np.sqrt(1.0 - near)
    rates[1] = np.where(minus <= plus, rates[1], -rates[1])
    octaves = _octaves(deviations)
    numbers = np.empty(deviations.shape, dtype=np.int64)
    known: dict[int, Smoothed] = {}
    for power in np.unique(octaves):
        found = smoothed(activation, int(power))
        if found is None:
            return None
        known[int(power)] = found
        here = octaves == power
        numbers[here] = found.number(widths[here])
    keys, place = np.unique(np.stack([octaves, numbers], -1).reshape(-1, 2), axis=0,
                            return_inverse=True)  # fmt: skip
    bands = [known[int(power)].band(int(number)) for power, number in keys]
    place = place.reshape(deviations.shape)
    ends = np.array([[band.low, band.high] for band in bands])
    low, high = ends[place, 0], ends[place, 1]
    spans = np.where(high > low, high - low, 1.0)
    tau = np.where(high > low, np.clip((2.0 * widths - low - high) / spans, -1.0, 1.0), 0.0)
    starts = np.cumsum([0, *(len(band.table) for band in bands)])
    edges = np.concatenate([band.edges for band in bands])
    table = np.concatenate([band.table for band in bands])
    out = np.empty((5, qa.size))
    # pairs of one row of tables follow each other: that row is contracted once
    order = np.lexsort((tau[1], tau[0], place[1], place[0]))
    reach = max(found.reach for found in known.values())
    _integrate(
        order, edges, table, starts, ends[:, 1] == 0.0, place, tau, widths, rates, reach, out,
        int(max(np.diff(starts).max(initial=1), 1)),
    )  # fmt: skip
    if activation.derivatives(np.zeros(1), 0)[0][0] == 0.0:
        out[0, (qa == 0) | (qb == 0)] = 0.0
    error = _ROUNDING + sum(found.tail for found in known.values())
    error += 4.0 * max(band.error for band in bands)
    return PairMeans(out[0], out[1], out[2], out[3], out[4], error)


def degree_of(activation: ScalarFunction) -> int | None:
    """The p of ``s(c z) = c^p s(z)`` for c > 0, of a function without closed forms for pairs."""
    if activation.family != "rectified_monomial":
        return None
    return int(activation.parameters[0]) or None  # 0 is the step


def _scaled(
    activation: ScalarFunction, degree: int, qa: np.ndarray, qb: np.ndarray, minus: np.ndarray,
    plus: np.ndarray,
) -> PairMeans | None:  # fmt: skip
    """Means of a homogeneous function from those at unit variance: as exact at any scale."""
    one = np.ones_like(qa)
    unit = any_pair_means(activation, one, one, minus, plus)
    if unit is None:
        return None
    ra, rb = qa ** (degree / 2), qb ** (degree / 2)
    sa, sb = qa ** ((degree - 1) / 2), qb ** ((degree - 1) / 2)
    bend = _apart(sa, sb, unit.bend, unit.bend + 4.0 * unit.slope)
    return PairMeans(
        ra * rb * unit.image, sa * sb * unit.slope, _apart(ra, rb, unit.difference, unit.total),
        _apart(ra, -rb, unit.difference, unit.total), bend, unit.error,
    )  # fmt: skip


def _apart(a: np.ndarray, b: np.ndarray, minus: np.ndarray, plus: np.ndarray) -> np.ndarray:
    """<(a u - b v)^2> of exchangeable u, v, from <(u - v)^2> and <(u + v)^2>.

    a u - b v = (a - b)(u + v) / 2 + (a + b)(u - v) / 2, and the mixed term drops: <u^2> = <v^2>.
    """
    return ((a - b) ** 2 * plus + (a + b) ** 2 * minus) / 4.0


def _octaves(deviations: np.ndarray) -> np.ndarray:
    """Which table each deviation reads: one for all that are not small, so that few are made."""
    out = np.array([octave(float(value)) for value in np.unique(deviations)])
    out = -(-out // _OCTAVES) * _OCTAVES
    if out.size and out[-1] > _ALONE:
        out[out > _ALONE] = out[-1]
    return out[np.searchsorted(np.unique(deviations), deviations)]


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _integrate(order, edges, table, starts, still, place, tau, widths, rates, reach, out, most):
    """The five means of every pair, in an order in which neighbours share rows of tables."""
    rows = np.empty((2, most, 4, table.shape[2]))
    borders, counts = np.empty((2, most + 1)), np.zeros(2, np.int64)
    room = np.empty(2 * most + 64)
    values = np.empty((2, 4, _NODES.size))
    x, weight, t = np.empty(_NODES.size), np.empty(_NODES.size), np.empty(_NODES.size)
    before = -1
    for pair in order:
        for side in range(2):
            band = place[side, pair]
            known = before >= 0 and place[side, before] == band
            if known and tau[side, before] == tau[side, pair]:
                continue
            counts[side] = starts[band + 1] - starts[band]
            _contract(table, starts[band], starts[band + 1], tau[side, pair], rows[side])
            first = starts[band] + band  # edges have one more entry a band
            borders[side, : counts[side] + 1] = edges[first : first + counts[side] + 1]
        before = pair
        breaks = _breaks(borders, counts, rates[:, pair], reach, room)
        out[:, pair] = 0.0
        wa, wb = widths[0, pair] ** 2, widths[1, pair] ** 2
        for panel in range(breaks.size - 1):
            half = 0.5 * (breaks[panel + 1] - breaks[panel])
            if not half > 0.0:
                continue
            middle = 0.5 * (breaks[panel + 1] + breaks[panel])
            for j in range(x.size):
                x[j] = middle + half * _NODES[j]
            gaussian_weights(x, half, weight)
            for side in range(2):
                _values(
                    borders[side, : counts[side] + 1], rows[side], rates[side, pair], middle, x, t,
                    still[place[side, pair]], values[side],
                )  # fmt: skip
            for j in range(x.size):
                a, b = values[0, 0, j], values[1, 0, j]
                rate_a, rate_b = values[0, 1, j], values[1, 1, j]
                alone = wa * values[0, 2, j] + wb * values[1, 2, j]
                turn = values[0, 3, j] + values[1, 3, j] + (rate_a - rate_b) ** 2
                out[0, pair] += weight[j] * a * b
                out[1, pair] += weight[j] * rate_a * rate_b
                out[2, pair] += weight[j] * (alone + (a - b) * (a - b))
                out[3, pair] += weight[j] * (alone + (a + b) * (a + b))
                out[4, pair] += weight[j] * turn


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _breaks(borders, counts, rates, reach, room):
    """Ends of panels in x: equal ones, and where a polynomial of either sample ends."""
    count = 0
    even = -reach
    while even < reach:
        room[count] = even
        count += 1
        even += _PANEL
    room[count] = reach
    count += 1
    for side in range(2):
        if rates[side] == 0.0:
            continue
        for k in range(1, counts[side]):
            point = borders[side, k] / rates[side]
            if abs(point) < reach:
                room[count] = point
                count += 1
    return np.sort(room[:count])


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _values(borders, rows, rate, middle, x, t, still, out):
    """P, P', V and V' of one sample at the nodes of a panel."""
    k = np.searchsorted(borders, rate * middle, side="right") - 1
    k = min(max(k, 0), borders.size - 2)
    scale = 2.0 / (borders[k + 1] - borders[k])
    for j in range(x.size):
        t[j] = (rate * x[j] - borders[k]) * scale - 1.0
    top = rows.shape[2] - 1
    for f in range(4):
        row, target = rows[k, f], out[f]
        for j in range(x.size):
            target[j] = row[top]
        for n in range(top - 1, -1, -1):
            term = row[n]
            for j in range(x.size):
                target[j] = target[j] * t[j] + term
    if still:  # without width V is s'^2
        for j in range(x.size):
            out[2, j] = out[1, j] * out[1, j]


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
@no_type_check
def _contract(table, first, last, tau, out):
    """The polynomials in m of a band at one width."""
    waves = np.empty(table.shape[3])
    waves[0] = 1.0
    waves[1] = tau
    for j in range(2, waves.size):
        waves[j] = 2.0 * tau * waves[j - 1] - waves[j - 2]
    for k in range(first, last):
        for f in range(4):
            for n in range(table.shape[2]):
                total = 0.0
                for j in range(waves.size):
                    total += table[k, f, n, j] * waves[j]
                out[k - first, f, n] = total
