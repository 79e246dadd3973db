"""Cells split by the units that change sign in them, one line after the other.

A polygon is cut in two by one of its units; the other units that changed sign are looked at in both
halves, and only those that still do stay on a half's list. Lists halve from level to level, so that
the work is proportional to the number of cells that come out: no graph, no cycles, no order.

A vertex on an edge of the cell is found from the ends of that edge, and the neighbour on the other
side takes the same one: cells share vertices, and there are about as many of these as cells.

Source: binary space partition by the lines of one cell; Berzins 2023 subdivides edges in place of
polygons, Humayun, Balestriero, Balakrishnan and Baraniuk 2023 (SplineCam) search cycles of a graph.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
# ruff: noqa: C901, FURB136, PLR0912, PLR0915 -- one loop: calls with many arrays cost more
from __future__ import annotations

from typing import no_type_check

import numpy as np

from whydeep.compiled import njit
from whydeep.geometry.partition._scan import MOST, RELATIVE
from whydeep.geometry.partition._shared import grown, look_up, make_table, widened_table

__all__ = ["split"]


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def split(values, offsets, corners, labels, patterns, lists, counts, floor, first_word, stage):
    """Split every cell by the units of its list.

    values (vertices, units); cells in rows of `offsets`, `corners` and `labels` (of the edge that
    begins at a corner); lists and counts from `scan`.

    Returns the new cells (offsets, corners, labels), patterns and parents, and of the new vertices
    the two that each lies between, the part of the way, and its unit.
    """
    cells, words = patterns.shape
    old = np.int32(values.shape[0])
    total = np.int64(0)
    most_corners = 3
    for cell in range(cells):
        k = min(counts[cell], MOST)
        total += 1 + k + k * k // 8
        most_corners = max(most_corners, offsets[cell + 1] - offsets[cell])
    total = min(total, 1 << 20)
    new_offsets = np.zeros(total + 1, np.int64)
    new_corners = np.empty(5 * total, np.int32)
    new_labels = np.empty(5 * total, np.int64)
    new_patterns = np.empty((total, words), np.uint64)
    parents = np.empty(total, np.int32)
    n_cells, n_corners = np.int64(0), np.int64(0)
    first = np.empty(total, np.int32)
    second = np.empty(total, np.int32)
    part = np.empty(total, np.float64)
    unit_of = np.empty(total, np.int32)
    born = np.int64(0)
    table = make_table(10)
    filled = 0

    # Of one cell: values of its units at its vertices, and the vertices' numbers.
    rows = most_corners + 4 * MOST + MOST * MOST // 2
    local = np.empty((rows, MOST))
    number = np.empty(rows, np.int32)
    crossing = np.empty((most_corners + MOST, MOST), np.int32)
    side = np.empty(rows, np.int8)
    # Polygons that wait: corners (local), where their edges come from, units that remain, signs.
    heap_corner = np.empty(64 * (most_corners + 2 * MOST), np.int32)
    heap_origin = np.empty(64 * (most_corners + 2 * MOST), np.int32)
    polygon = np.empty(most_corners + 2 * MOST + 8, np.int32)
    origin = np.empty(most_corners + 2 * MOST + 8, np.int32)
    halves = np.empty((2, most_corners + 2 * MOST + 8), np.int32)
    half_origins = np.empty((2, most_corners + 2 * MOST + 8), np.int32)
    begin_of = np.empty(8 * MOST, np.int64)
    remain_of = np.empty(8 * MOST, np.uint64)
    signs_of = np.empty(8 * MOST, np.uint64)
    one = np.uint64(1)

    for cell in range(cells):
        begin, degree = offsets[cell], offsets[cell + 1] - offsets[cell]
        k = min(counts[cell], MOST)
        for e in range(degree + k):
            for j in range(k):
                crossing[e, j] = -1
        for e in range(degree):
            v = corners[begin + e]
            number[e] = v
            for j in range(k):
                local[e, j] = values[v, lists[cell, j]]
        here = degree
        # the whole cell is the first polygon
        heap = 0
        for e in range(degree):
            heap_corner[e], heap_origin[e] = e, e
        begin_of[0] = 0
        end = degree
        remain_of[0] = (~np.uint64(0)) >> np.uint64(64 - k) if k > 0 else np.uint64(0)
        signs_of[0] = np.uint64(0)
        heap = 1
        while heap > 0:
            heap -= 1
            start = begin_of[heap]
            size = end - start
            end = start
            remain, signs = remain_of[heap], signs_of[heap]
            if remain == 0:
                # finished
                new_offsets = grown(new_offsets, n_cells + 2)
                parents = grown(parents, n_cells + 1)
                new_patterns = grown(new_patterns, n_cells + 1)
                new_corners = grown(new_corners, n_corners + size)
                new_labels = grown(new_labels, n_corners + size)
                for i in range(size):
                    new_corners[n_corners + i] = number[heap_corner[start + i]]
                    o = heap_origin[start + i]
                    new_labels[n_corners + i] = (
                        labels[begin + o]
                        if o < degree
                        else (np.int64(stage) << 32) | np.int64(lists[cell, o - degree])
                    )
                n_corners += size
                new_offsets[n_cells + 1] = n_corners
                parents[n_cells] = cell
                for w in range(words):
                    new_patterns[n_cells, w] = patterns[cell, w]
                for j in range(k):
                    unit = lists[cell, j]
                    w, bit = first_word + unit // 64, one << np.uint64(unit % 64)
                    if (signs >> np.uint64(j)) & one:
                        new_patterns[n_cells, w] |= bit
                    else:
                        new_patterns[n_cells, w] &= ~bit
                n_cells += 1
                continue
            j = 0
            while not (remain >> np.uint64(j)) & one:
                j += 1
            remain &= ~(one << np.uint64(j))
            if size + 4 > len(polygon):
                polygon, origin = grown(polygon, size + 4), grown(origin, size + 4)
                halves = np.empty((2, len(polygon)), np.int32)
                half_origins = np.empty((2, len(polygon)), np.int32)
            top = 0.0
            for i in range(size):
                polygon[i], origin[i] = heap_corner[start + i], heap_origin[start + i]
                top = max(top, abs(local[polygon[i], j]))
            within = max(floor[lists[cell, j]], RELATIVE * top)
            for i in range(size):
                x = local[polygon[i], j]
                side[i] = 1 if x > within else (-1 if x < -within else 0)
            line = degree + j
            n0, n1 = 0, 0  # corners of the halves below and above
            for i in range(size):
                following = i + 1 if i + 1 < size else 0
                p, o, s, t = polygon[i], origin[i], side[i], side[following]
                if s >= 0:
                    halves[1, n1] = p
                    half_origins[1, n1] = line if s == 0 and t < 0 else o
                    n1 += 1
                if s <= 0:
                    halves[0, n0] = p
                    half_origins[0, n0] = line if s == 0 and t > 0 else o
                    n0 += 1
                if s * t >= 0:
                    continue
                q = polygon[following]
                a, b = (o, j) if o < degree else (degree + min(o - degree, j), max(o - degree, j))
                vertex = crossing[a, b]
                if vertex < 0:
                    if here == len(number):
                        number, side = grown(number, here + 1), grown(side, here + 1)
                        local = grown(local, here + 1)
                    vertex = here
                    here += 1
                    crossing[a, b] = vertex
                    x, y = local[p, j], local[q, j]
                    fraction = x / (x - y)
                    for i2 in range(k):
                        local[vertex, i2] = local[p, i2] + fraction * (local[q, i2] - local[p, i2])
                    local[vertex, j] = 0.0
                    place = np.int64(-1)
                    if o < degree:
                        if 2 * filled > len(table):
                            table = widened_table(table)
                        ends = number[o], number[o + 1 if o + 1 < degree else 0]
                        place = look_up(table, ends[0], ends[1], lists[cell, j])
                    if place >= 0 and table[place, 2] >= 0:
                        number[vertex] = table[place, 2]
                    else:
                        first, second = grown(first, born + 1), grown(second, born + 1)
                        part, unit_of = grown(part, born + 1), grown(unit_of, born + 1)
                        first[born], second[born] = number[p], number[q]
                        part[born], unit_of[born] = fraction, lists[cell, j]
                        number[vertex] = old + born
                        born += 1
                        if place >= 0:
                            table[place, 2] = number[vertex]
                            filled += 1
                if s > 0:
                    halves[1, n1], half_origins[1, n1] = vertex, line
                    halves[0, n0], half_origins[0, n0] = vertex, o
                else:
                    halves[0, n0], half_origins[0, n0] = vertex, line
                    halves[1, n1], half_origins[1, n1] = vertex, o
                n0 += 1
                n1 += 1
            if heap + 2 > len(begin_of):
                begin_of, remain_of = grown(begin_of, heap + 2), grown(remain_of, heap + 2)
                signs_of = grown(signs_of, heap + 2)
            heap_corner = grown(heap_corner, end + n0 + n1)
            heap_origin = grown(heap_origin, end + n0 + n1)
            for above in range(2):
                count = n1 if above else n0
                if count < 3:
                    continue
                kept, known = remain, signs
                if above:
                    known |= one << np.uint64(j)
                for i in range(k):
                    if not (remain >> np.uint64(i)) & one:
                        continue
                    low, high = np.inf, -np.inf
                    for c in range(count):
                        x = local[halves[above, c], i]
                        low = x if x < low else low
                        high = x if x > high else high
                    within = max(floor[lists[cell, i]], RELATIVE * max(-low, high))
                    if low < -within and high > within:
                        continue
                    kept &= ~(one << np.uint64(i))
                    if low + high > floor[lists[cell, i]]:
                        known |= one << np.uint64(i)
                begin_of[heap], remain_of[heap], signs_of[heap] = end, kept, known
                heap += 1
                for c in range(count):
                    heap_corner[end + c] = halves[above, c]
                    heap_origin[end + c] = half_origins[above, c]
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
