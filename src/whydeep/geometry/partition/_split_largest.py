"""Cells split by which member of a group is the largest: max-pooling and maxout.

Where one member is the largest is convex within a cell, so that the cell is clipped once for every
member, by its differences to all the others. Lines between two members that are both below a third
split nothing: cells are those of the function, not of all pairs.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
# ruff: noqa: C901, PLR0912, PLR0915 -- one loop: calls with many arrays cost more
from __future__ import annotations

from typing import no_type_check

import numpy as np

from whydeep.compiled import njit
from whydeep.geometry.partition._scan import RELATIVE
from whydeep.geometry.partition._shared import grown, look_up, make_table, widened_table

__all__ = ["scan_largest", "split_largest"]


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def scan_largest(values, offsets, corners, floor, first_word, patterns, lists, counts):
    """Mark the largest member of every unit, and list the units where it changes.

    values (vertices, units, members); the rest as in `scan`, where `lists` has as many columns as
    units are listed at most. A unit's signs are one for its largest member and zero for the others.
    """
    units, members = values.shape[1], values.shape[2]
    total = np.empty(members)
    words = (units * members + 63) // 64
    for cell in range(len(offsets) - 1):
        begin, end = offsets[cell], offsets[cell + 1]
        for w in range(words):
            patterns[cell, first_word + w] = 0
        found = 0
        for u in range(units):
            total[:] = 0.0
            low, high = np.inf, -np.inf
            for place in range(begin, end):
                for m in range(members):
                    x = values[corners[place], u, m]
                    total[m] += x
                    low, high = min(low, x), max(high, x)
            best = np.argmax(total)
            within = max(floor[u], RELATIVE * (high - low))
            for m in range(best):  # of equal ones the first, such as where all pooled are zero
                equal = True
                for place in range(begin, end):
                    if values[corners[place], u, m] < values[corners[place], u, best] - within:
                        equal = False
                if equal:
                    best = m
                    break
            bit = u * members + best
            patterns[cell, first_word + bit // 64] |= np.uint64(1) << np.uint64(bit % 64)
            crosses = False
            for place in range(begin, end):
                x = values[corners[place], u, best]
                for m in range(members):
                    if values[corners[place], u, m] > x + within:
                        crosses = True
            if crosses:
                if found < lists.shape[1]:
                    lists[cell, found] = u
                found += 1
        counts[cell] = found


@njit
@no_type_check
def _key(origin, pair, members):
    """A key of the vertex where an edge meets the line between two members, however it is found.

    Lines of three members of one unit meet in one point.
    """
    if origin < 0:
        return origin, pair
    square = members * members
    if origin // square == pair // square:
        a, b = origin % square // members, origin % members
        c, d = pair % square // members, pair % members
        e = c if c not in (a, b) else d
        low, high = min(a, b, e), max(a, b, e)
        return np.int64(-(1 << 60)), (
            (pair // square * members + low) * members + (a + b + e - low - high)
        ) * members + high
    return min(origin, pair), max(origin, pair)


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def split_largest(
    values, offsets, corners, labels, patterns, lists, counts, floor, first_word, stage
):
    """Split every cell by the units of its list; arguments and results as in `split`."""
    cells, words = patterns.shape
    members = values.shape[2]
    square = members * members
    most = lists.shape[1]
    old = np.int32(values.shape[0])
    new_offsets = np.zeros(cells + 1, np.int64)
    new_corners = np.empty(5 * cells, np.int32)
    new_labels = np.empty(5 * cells, np.int64)
    new_patterns = np.empty((cells, words), np.uint64)
    parents = np.empty(cells, np.int32)
    n_cells, n_corners = np.int64(0), np.int64(0)
    first, second = np.empty(cells, np.int32), np.empty(cells, np.int32)
    part, unit_of = np.empty(cells), np.empty(cells, np.int32)
    born = np.int64(0)
    table = make_table(10)
    filled = 0
    local = np.empty((64, most * members))
    number = np.empty(64, np.int32)
    keys = np.empty((64, 2), np.int64)
    heap_corner, heap_origin = np.empty(256, np.int32), np.empty(256, np.int64)
    begin_of, next_of = np.empty(64, np.int64), np.empty(64, np.int64)
    codes = np.empty((64, most), np.int16)
    mine = np.empty(most, np.int16)
    polygon, origin = np.empty(64, np.int32), np.empty(64, np.int64)
    clipped, clipped_origin = np.empty(64, np.int32), np.empty(64, np.int64)
    saved, saved_origin = np.empty(64, np.int32), np.empty(64, np.int64)

    for cell in range(cells):
        begin, degree = offsets[cell], offsets[cell + 1] - offsets[cell]
        k = min(counts[cell], most)
        local, number = grown(local, degree), grown(number, degree)
        keys = grown(keys, degree)
        heap_corner, heap_origin = grown(heap_corner, degree), grown(heap_origin, degree)
        for e in range(degree):
            number[e] = corners[begin + e]
            keys[e, 0], keys[e, 1] = 0, -1
            heap_corner[e], heap_origin[e] = e, -1 - e
            for u in range(k):
                for m in range(members):
                    local[e, u * members + m] = values[number[e], lists[cell, u], m]
        here, end = degree, degree
        begin_of[0], next_of[0] = 0, 0
        heap = 1
        while heap > 0:
            heap -= 1
            start = begin_of[heap]
            size = end - start
            end = start
            u = next_of[heap]
            mine[:] = codes[heap]
            if u == k:
                new_offsets = grown(new_offsets, n_cells + 2)
                parents = grown(parents, n_cells + 1)
                new_patterns = grown(new_patterns, n_cells + 1)
                new_corners = grown(new_corners, n_corners + size)
                new_labels = grown(new_labels, n_corners + size)
                for i in range(size):
                    new_corners[n_corners + i] = number[heap_corner[start + i]]
                    o = heap_origin[start + i]
                    if o < 0:
                        new_labels[n_corners + i] = labels[begin - 1 - o]
                    else:
                        new_labels[n_corners + i] = (np.int64(stage) << 32) | np.int64(
                            lists[cell, o // square]
                        )
                n_corners += size
                new_offsets[n_cells + 1] = n_corners
                parents[n_cells] = cell
                new_patterns[n_cells] = patterns[cell]
                for i in range(k):
                    for m in range(members):
                        bit = lists[cell, i] * members + m
                        w, one = first_word + bit // 64, np.uint64(1) << np.uint64(bit % 64)
                        if m == mine[i]:
                            new_patterns[n_cells, w] |= one
                        else:
                            new_patterns[n_cells, w] &= ~one
                n_cells += 1
                continue
            saved, saved_origin = grown(saved, size), grown(saved_origin, size)
            low, high = np.inf, -np.inf
            for i in range(size):
                saved[i], saved_origin[i] = heap_corner[start + i], heap_origin[start + i]
                for m in range(members):
                    x = local[saved[i], u * members + m]
                    low, high = min(low, x), max(high, x)
            within = max(floor[lists[cell, u]], RELATIVE * (high - low))
            for m in range(members):
                polygon, origin = grown(polygon, size), grown(origin, size)
                polygon[:size], origin[:size] = saved[:size], saved_origin[:size]
                count = size
                for other in range(members):
                    if other == m:
                        continue
                    pair = (u * members + min(m, other)) * members + max(m, other)
                    a, b = u * members + m, u * members + other
                    clipped = grown(clipped, count + 2)
                    clipped_origin = grown(clipped_origin, count + 2)
                    n, strict, cut = 0, False, False
                    for i in range(count):
                        p, q = polygon[i], polygon[i + 1 if i + 1 < count else 0]
                        x, y = local[p, a] - local[p, b], local[q, a] - local[q, b]
                        s = 1 if x > within else (-1 if x < -within else 0)
                        t = 1 if y > within else (-1 if y < -within else 0)
                        strict = strict or s > 0
                        cut = cut or s < 0
                        if s >= 0:
                            clipped[n] = p
                            clipped_origin[n] = pair if s == 0 and t < 0 else origin[i]
                            n += 1
                        if s * t >= 0:
                            continue
                        one, two = _key(origin[i], pair, members)
                        vertex = -1
                        for v in range(degree, here):
                            if keys[v, 0] == one and keys[v, 1] == two:
                                vertex = v
                                break
                        if vertex < 0:
                            local, number = grown(local, here + 1), grown(number, here + 1)
                            keys = grown(keys, here + 1)
                            vertex = here
                            here += 1
                            keys[vertex, 0], keys[vertex, 1] = one, two
                            fraction = x / (x - y)
                            for c in range(k * members):
                                local[vertex, c] = local[p, c] + fraction * (
                                    local[q, c] - local[p, c]
                                )
                            place = np.int64(-1)
                            if origin[i] < 0:
                                if 2 * filled > len(table):
                                    table = widened_table(table)
                                e = -1 - origin[i]
                                outer = pair - u * square + lists[cell, u] * square
                                place = look_up(
                                    table, number[e], number[e + 1 if e + 1 < degree else 0], outer
                                )
                            if place >= 0 and table[place, 2] >= 0:
                                number[vertex] = table[place, 2]
                            else:
                                first, second = grown(first, born + 1), grown(second, born + 1)
                                part, unit_of = grown(part, born + 1), grown(unit_of, born + 1)
                                first[born], second[born] = number[p], number[q]
                                part[born], unit_of[born] = fraction, lists[cell, u]
                                number[vertex] = old + born
                                born += 1
                                if place >= 0:
                                    table[place, 2] = number[vertex]
                                    filled += 1
                        clipped[n] = vertex
                        clipped_origin[n] = pair if s > 0 else origin[i]
                        n += 1
                    if not strict and (cut or other < m):
                        n = 0  # nowhere above the other, or its equal, which is taken instead
                    count = n
                    if count < 3:
                        break
                    polygon, origin = grown(polygon, count), grown(origin, count)
                    polygon[:count] = clipped[:count]
                    origin[:count] = clipped_origin[:count]
                if count < 3:
                    continue
                begin_of, next_of = grown(begin_of, heap + 1), grown(next_of, heap + 1)
                codes = grown(codes, heap + 1)
                heap_corner = grown(heap_corner, end + count)
                heap_origin = grown(heap_origin, end + count)
                begin_of[heap], next_of[heap] = end, u + 1
                codes[heap] = mine
                codes[heap, u] = m
                heap += 1
                heap_corner[end : end + count] = polygon[:count]
                heap_origin[end : end + count] = origin[:count]
                end += count
    return (
        new_offsets[: n_cells + 1].copy(),
        new_corners[:n_corners].copy(),
        new_labels[:n_corners].copy(),
        new_patterns[:n_cells].copy(),
        parents[:n_cells].copy(),
        first[:born].copy(),
        second[:born].copy(),
        part[:born].copy(),
        unit_of[:born].copy(),
    )
