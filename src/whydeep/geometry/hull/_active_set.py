"""The compiled part of Wolfe's algorithm: the point of a polytope that is nearest to a query.

A query y has a few active data points with weights that sum to 1; p is the weighted mean minus y.
With P the rows X_i - y of the active points, Wolfe's factor R, its right side w and the weights
of the nearest point of their affine hull are

    R' R = P P' + c 1 1',    R' w = 1,    R u = w,    weights = u / sum(u)

for any c > 0; c is of the size of |P|^2, which balances the two terms. A point enters with one
triangular solve and leaves with Givens rotations, which w undergoes as well.

Source: Wolfe 1976, "Finding the nearest point in a polytope", algorithm C.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

from typing import no_type_check

import numpy as np

from whydeep.compiled import njit

__all__ = ["INSIDE", "OUTSIDE", "RUNNING", "STUCK", "advance"]

RUNNING, INSIDE, OUTSIDE, STUCK = 0, 1, 2, 3

_LOCAL = 0.5  # a query is left when all its candidates have p.(X_i - y) > this part of p.p
_DEPENDENT = 1e-13  # a new point is in the affine hull of the active ones, relative to its length
_REFINED = 1e-5  # |p| below this part of the radius is worth a step of iterative refinement
_ROUNDING = 1e-15

_compiled = njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}
)


@_compiled
@no_type_check
def _cheapest(prices, bound, values, rows):
    """The smallest prices below a bound, as many as there is room, in a heap: how many."""
    room, count, limit = len(values), 0, bound
    for i in range(len(prices)):
        value = prices[i]
        if value >= limit:
            continue
        if count < room:
            at = count
            count += 1
            while at > 0 and values[(at - 1) // 2] < value:
                values[at], rows[at] = values[(at - 1) // 2], rows[(at - 1) // 2]
                at = (at - 1) // 2
        else:
            at = 0
            while 2 * at + 1 < room:
                child = 2 * at + 1
                if child + 1 < room and values[child + 1] > values[child]:
                    child += 1
                if values[child] <= value:
                    break
                values[at], rows[at] = values[child], rows[child]
                at = child
        values[at], rows[at] = value, i
        if count == room:
            limit = values[0]
    return count


@_compiled
@no_type_check
def _difference(points, active, weights, count, y, p):
    """P = weighted mean of the active points minus y; its squared length."""
    for j in range(len(y)):
        p[j] = -y[j]
    for a in range(count):
        weight, row = weights[a], points[active[a]]
        for j in range(len(y)):
            p[j] += weight * row[j]
    total = 0.0
    for j in range(len(y)):
        total += p[j] * p[j]
    return total


@_compiled
@no_type_check
def _backward(factor, right, count, out):
    """R u = right; the sum of u."""
    total = 0.0
    for a in range(count - 1, -1, -1):
        value = right[a]
        for b in range(a + 1, count):
            value -= factor[a, b] * out[b]
        out[a] = value / factor[a, a]
        total += out[a]
    return total


@_compiled
@no_type_check
def _forward(factor, right, count):
    """R' u = right, in place."""
    for a in range(count):
        right[a] /= factor[a, a]
        value = right[a]
        for b in range(a + 1, count):
            right[b] -= factor[a, b] * value


@_compiled
@no_type_check
def _enter(points, y, row, active, weights, factor, root, count, shift, column, step):
    """Make a data point active, with weight 0; False where it depends on those there are."""
    new = points[row]
    length = shift
    for j in range(len(y)):
        step[j] = new[j] - y[j]
        length += step[j] * step[j]
    for a in range(count):
        old, value = points[active[a]], shift
        for j in range(len(y)):
            value += (old[j] - y[j]) * step[j]
        column[a] = value
    _forward(factor, column, count)
    left, last = length, 1.0
    for a in range(count):
        left -= column[a] * column[a]
        last -= column[a] * root[a]
    if not left > _DEPENDENT * length:
        return False
    for a in range(count):
        factor[a, count] = column[a]
    factor[count, count] = np.sqrt(left)
    root[count] = last / factor[count, count]
    active[count], weights[count] = row, 0.0
    return True


@_compiled
@no_type_check
def _leave(place, active, weights, factor, root, count):
    """Forget an active point: a column of R goes, and rotations make R triangular again."""
    for b in range(place, count - 1):
        active[b], weights[b] = active[b + 1], weights[b + 1]
        for a in range(b + 2):
            factor[a, b] = factor[a, b + 1]
    for b in range(place, count - 1):
        length = np.hypot(factor[b, b], factor[b + 1, b])
        cosine, sine = factor[b, b] / length, factor[b + 1, b] / length
        for e in range(b, count - 1):
            above, below = factor[b, e], factor[b + 1, e]
            factor[b, e] = cosine * above + sine * below
            factor[b + 1, e] = cosine * below - sine * above
        above, below = root[b], root[b + 1]
        root[b] = cosine * above + sine * below
        root[b + 1] = cosine * below - sine * above


@_compiled
@no_type_check
def _refine(points, y, active, weights, factor, root, count, p, column, ones):
    """A Newton step on the weights, from p as it is: removes what the squared factor has lost."""
    for a in range(count):
        row, value = points[active[a]], 0.0
        for j in range(len(y)):
            value += (row[j] - y[j]) * p[j]
        column[a] = value
    _forward(factor, column, count)
    total = _backward(factor, column, count, column)
    share = total / _backward(factor, root, count, ones)
    for a in range(count):
        weights[a] += share * ones[a] - column[a]
    return _difference(points, active, weights, count, y, p)


@_compiled
@no_type_check
def _minor_cycle(points, y, active, weights, factor, root, count, p, wanted):
    """Move to the nearest point of the active hull; how many stay active, and |p|^2."""
    while True:
        total = _backward(factor, root, count, wanted)
        worst, share = -1, 1.0
        for a in range(count):
            wanted[a] /= total
            if wanted[a] <= _ROUNDING:
                reached = weights[a] / (weights[a] - wanted[a]) if weights[a] > wanted[a] else 0.0
                if worst < 0 or reached < share:
                    worst, share = a, reached
        if worst < 0:
            for a in range(count):
                weights[a] = wanted[a]
            return count, _difference(points, active, weights, count, y, p)
        for a in range(count):
            weights[a] += share * (wanted[a] - weights[a])
        weights[worst] = 0.0
        for a in range(count - 1, -1, -1):
            if weights[a] <= 0.0 and count > 1:
                _leave(a, active, weights, factor, root, count)
                count -= 1


@_compiled
@no_type_check
def _settle_inside(points, y, active, weights, factor, root, count, p, square, ends, scratch):
    """Whether p is 0 to the tolerance, after refinement where that may help; |p|^2."""
    inside, radius = ends
    column, ones = scratch
    if square > (_REFINED * radius) ** 2:
        return False, square
    kept = weights[:count].copy()
    for _ in range(2):
        if square <= inside * inside:
            break
        square = _refine(points, y, active, weights, factor, root, count, p, column, ones)
    least = 0.0
    for a in range(count):
        least = min(least, weights[a])
    if least < -_ROUNDING or not square <= inside * inside:
        weights[:count] = kept
        return False, _difference(points, active, weights, count, y, p)
    return True, square


@_compiled
@no_type_check
def _begin(points, y, prices, state, shift, scratch):
    """Start from the best data point and take the candidates: how many, and |p|^2."""
    active, weights, factor, root, p = state
    values, rows, column, _, step = scratch
    found = _cheapest(prices, np.inf, values, rows)
    best = 0
    for e in range(found):
        if values[e] < values[best]:
            best = e
    _enter(points, y, rows[best], active, weights, factor, root, 0, shift, column, step)
    weights[0] = 1.0
    return found, _difference(points, active, weights, 1, y, p)


@_compiled
@no_type_check
def _meet_all(y, prices, p, ends, scratch):
    """Candidates among all data, |p|^2, and whether p keeps all farther from y than is inside."""
    inside, radius = ends
    values, rows, _, _, _ = scratch
    ours, square = 0.0, 0.0
    for j in range(len(y)):
        ours += p[j] * y[j]
        square += p[j] * p[j]
    found = _cheapest(prices, ours + square * (1.0 - 1e-9), values, rows)
    least = square
    for e in range(found):
        least = min(least, values[e] - ours)
    apart = least > np.sqrt(square) * (inside + 8.0 * len(y) * _ROUNDING * radius)
    return found, square, apart


@_compiled
@no_type_check
def _best_of(points, y, rows, found, p, bound):
    """The candidate with the smallest p.(X_i - y) below a bound, or -1."""
    best, least = -1, bound
    for e in range(found):
        row, value = points[rows[e]], 0.0
        for j in range(len(y)):
            value += p[j] * (row[j] - y[j])
        if value < least:
            best, least = e, value
    return best


@_compiled
@no_type_check
def _pursue(points, y, state, count, square, found, ends, scratch):
    """Wolfe's algorithm among the candidates: how many are active, what is known, any progress."""
    active, weights, factor, root, p = state
    _, rows, column, wanted, step = scratch
    shift, moved = ends[1] * ends[1], False
    while True:
        done, square = _settle_inside(
            points, y, active, weights, factor, root, count, p, square, ends, (column, wanted)
        )
        if done:
            return count, INSIDE, moved
        best = _best_of(points, y, rows, found, p, _LOCAL * square)
        if best < 0:
            return count, RUNNING, moved
        if count > len(y) or not _enter(
            points, y, rows[best], active, weights, factor, root, count, shift, column, step
        ):
            return count, STUCK, moved
        before = square
        count, square = _minor_cycle(points, y, active, weights, factor, root, count + 1, p, wanted)
        if not square < before:
            return count, STUCK, moved
        moved = True


@_compiled
@no_type_check
def advance(points, queries, live, prices, room, ends, states, counts, status):
    """Take every live query on, by the data points that a pass over all of them found best.

    Args:
        points: (N, r) data, about centred.
        queries: (B, r).
        live: indices of the queries that are not settled.
        prices: p.X_i of the live queries and all data points, (live, N).
        room: how many candidates a query takes at once.
        ends: |p| below which a query is inside, and the radius of the data.
        states: of every query: rows of the active data points (B, r + 2), their weights
            (B, r + 2), R (B, r + 2, r + 2), w (B, r + 2) and p (B, r).
        counts: (B,) how many points are active.
        status: (B,) one of RUNNING, INSIDE, OUTSIDE, STUCK.
    """
    r, radius = points.shape[1], ends[1]
    scratch = (
        np.empty(room), np.empty(room, np.int64), np.empty(r + 2), np.empty(r + 2), np.empty(r)
    )  # fmt: skip
    for b in range(len(live)):
        i = live[b]
        y = queries[i]
        state = (states[0][i], states[1][i], states[2][i], states[3][i], states[4][i])
        if counts[i] == 0:
            found, square = _begin(points, y, prices[b], state, radius * radius, scratch)
            counts[i] = 1
        else:
            found, square, apart = _meet_all(y, prices[b], state[4], ends, scratch)
            if apart:
                status[i] = OUTSIDE
                continue
        counts[i], known, moved = _pursue(points, y, state, counts[i], square, found, ends, scratch)
        # After any progress, the next pass over all data begins anew from what was reached.
        if known == STUCK:
            known = RUNNING if moved else STUCK
        elif known == RUNNING and not moved and found == 0:
            known = STUCK
        status[i] = known
