"""Values of different layouts brought together: which node holds them in which order.

Every operation that joins tensors (sums, products, attention, convolutions) asks here for nodes
whose positions and channels stand in an order it chooses. Slices and permutations of positions
become maps between positions, slices of channels become layers of their own; where an axis of
channels meets one of positions, or examples are mixed, the operation is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.network._layers import Affine
from whydeep.network._network import INPUT
from whydeep.network._sequence import PositionalEmbedding
from whydeep.network.torch_reader._draft import Drafts, Entry, Refusal, Value, constant
from whydeep.network.torch_reader._layout import (
    BATCH,
    CHANNELS,
    REPEAT,
    Axis,
    Cut,
    Layout,
    Mode,
    refine,
)
from whydeep.network.torch_reader._parameter import Parameter

__all__ = [
    "Aligned",
    "align",
    "beside",
    "check_batch",
    "own",
    "place",
    "position_cells",
    "rectangular",
]

CUTS = "a reshape cuts through positions or channels"


@dataclass(frozen=True)
class Aligned:
    """Nodes of one shape (or without positions), and how the tensor they make up lies in it."""

    nodes: tuple[int, ...]
    layout: Layout


def check_batch(drafts: Drafts, value: Value) -> None:
    """Refuse values that do not hold every example once."""
    entry = value.base
    if drafts.varies(entry.node) and not value.layout.whole(BATCH, drafts.batch):
        msg = "it selects or mixes examples"
        raise Refusal(msg, "the first dimension of the example counts examples")


def role(dim: int) -> int:
    """Whether a dimension is of examples, positions (1), channels, or expanded."""
    return 1 if dim > 0 else dim


def place(
    drafts: Drafts,
    value: Value,
    positions: Sequence[Axis],
    channels: Axis,
    *,
    collapse: bool = False,
) -> int:
    """The node that holds `value` with these dimensions of positions and these channels.

    Args:
        drafts: the description so far.
        value: an entry, or a parameter.
        positions: the value's own modes for each dimension of positions.
        channels: its own modes for the channels.
        collapse: whether a value that is the same at all positions may be left without any.

    Raises:
        Refusal: channels would have to become positions, or the other way round.
    """
    if isinstance(value.base, Parameter):
        return _place_parameter(drafts, value, positions, channels, collapse=collapse)
    check_batch(drafts, value)
    layout = value.layout
    cells = tuple(mode for axis in positions for mode in axis)
    if any(role(m.dim) not in (1, REPEAT) for m in cells):
        raise _confusion(drafts, value.base.node, "positions")
    if any(m.dim != CHANNELS for m in channels):
        repeated = any(m.dim == REPEAT for m in channels)
        why = "one channel meets several" if repeated else ""
        raise Refusal(why) if why else _confusion(drafts, value.base.node, "channels")
    node = drafts.emit(value.base)
    shape = drafts.shape(node)
    sizes = tuple(_count(axis) for axis in positions)
    if collapse and all(m.dim == REPEAT for m in cells):
        cells = ()
        sizes = shape.positions if shape.positions == (1,) * len(sizes) else ()
    index = np.zeros(1, dtype=np.int64)
    for axis, size in enumerate(shape.positions, start=1):
        index = index * size + layout.index(axis, cells)
    return drafts.rows(drafts.selected(node, index, sizes), layout.index(CHANNELS, channels))


def _confusion(drafts: Drafts, node: int, wanted: str) -> Refusal:
    if drafts.raw(node):
        msg = "the input's dimensions become positions and channels in a way that can't be followed"
        return Refusal(msg, "an example with one dimension for the channels, such as (N, C, H, W)")
    other = {"positions": "channels", "channels": "positions"}[wanted]
    what = drafts.nodes[node].label or "a value"
    return Refusal(f"the {other} of {what} are taken as {wanted}")


def _place_parameter(
    drafts: Drafts, value: Value, positions: Sequence[Axis], channels: Axis, *, collapse: bool
) -> int:
    parameter, layout = value.base, value.layout
    cells = tuple(mode for axis in positions for mode in axis)
    if collapse and all(m.dim == REPEAT for m in cells):
        positions, cells = (), ()
    if any(m.dim == REPEAT for m in channels):
        msg = f"one number of {parameter.name} goes to several channels"
        raise Refusal(msg, f"freeze it: {parameter.name}.requires_grad_(False)")
    kept = [tuple(m for m in axis if m.dim != REPEAT) for axis in positions]
    sizes = tuple(_count(axis) for axis in kept)
    order = Layout((*kept, channels), layout.start)
    layer = PositionalEmbedding(
        sizes, _count(channels), parameter.variance, parameter.rate, "standard"
    )
    mean = parameter.mean
    sources = {"table": parameter.source(lambda: order.flat(parameter.dims), mean)}
    node = drafts.add(layer, (), sources=sources, label=parameter.name)
    if mean != 0:
        node = drafts.add(Affine(1.0, mean), (node,))
    index = np.zeros(1, dtype=np.int64)
    for axis, own_axis in zip(positions, kept, strict=True):
        digit = np.zeros(1, dtype=np.int64)
        for mode in axis:
            reach = np.arange(mode.size) if mode.dim != REPEAT else np.zeros(mode.size, np.int64)
            factor = mode.size if mode.dim != REPEAT else 1
            digit = (digit[:, None] * factor + reach).ravel()
        index = (index[:, None] * _count(own_axis) + digit).ravel()
    return drafts.selected(node, index, tuple(_count(axis) for axis in positions))


def _count(axis: Axis) -> int:
    return math.prod(m.size for m in axis)


def own(drafts: Drafts, value: Value) -> Value:
    """The value as all of one node: slices made, functions applied."""
    layout = value.layout.simplified()
    if isinstance(value.base, Entry):
        dims = drafts.dims(value.base.node)[1:]
        if all(layout.whole(dim, size) for dim, size in dims):
            check_batch(drafts, value)
            return Value(Entry(drafts.emit(value.base)), layout)
    joined = align(drafts, [value], value.shape)
    return Value(Entry(joined.nodes[0]), joined.layout)


def rectangular(drafts: Drafts, value: Value) -> Value:
    """The same with one dimension of positions for every axis that has positions."""
    joined = align(drafts, [value], value.shape, by_axis=True)
    return Value(Entry(joined.nodes[0]), joined.layout)


@dataclass(frozen=True)
class _Grid:
    """The axes of several operands, cut into cells; a column is a cell with each one's mode."""

    columns: tuple[tuple[int, tuple[Mode, ...]], ...]
    roles: tuple[int, ...]
    entries: tuple[int, ...]

    def cells(self, kind: int) -> list[int]:
        """The cells of one role."""
        return [c for c, r in enumerate(self.roles) if r == kind]

    def modes(self, operand: int, cells: Sequence[int]) -> Axis:
        """An operand's modes in some cells."""
        return tuple(self.columns[c][1][operand] for c in cells)

    def by_axis(self, cells: Sequence[int]) -> list[list[int]]:
        """Cells in one group for every axis they lie in."""
        axes = sorted({self.columns[c][0] for c in cells})
        return [[c for c in cells if self.columns[c][0] == a] for a in axes]


def align(
    drafts: Drafts, operands: Sequence[Any], shape: Sequence[int], *, by_axis: bool = False
) -> Aligned:
    """Operands of a broadcast operation as nodes that can be added or multiplied.

    Args:
        drafts: the description so far.
        operands: values, or tensors of fixed numbers.
        shape: of the result.
        by_axis: whether every axis shall have one dimension of positions of its own.

    Raises:
        Refusal: their axes can't be matched.
    """
    layouts = _layouts(operands, shape)
    grid = _grid(drafts, operands, layouts, shape)
    positions = None if by_axis else _owned_positions(drafts, operands, layouts, grid)
    if positions is None:
        positions = grid.by_axis(grid.cells(1))
    channels = _channel_order(grid)
    nodes = []
    for i, operand in enumerate(operands):
        if isinstance(operand, Value):
            dims = [grid.modes(i, dim) for dim in positions]
            last = grid.modes(i, channels)
            moved = operand.seen(layouts[i])
            nodes.append(place(drafts, moved, dims, last, collapse=len(operands) > 1))
        else:
            array = _one_example(operand, shape, grid, positions, channels)
            nodes.append(constant(drafts, _without_positions(array)))
    places = _coordinates(grid, positions, channels)
    return Aligned(tuple(nodes), _gathered(grid, places, len(shape)))


def beside(
    drafts: Drafts, operands: Sequence[Any], shape: Sequence[int], axis: int
) -> tuple[Aligned, str | int]:
    """Operands that stand side by side along `axis`, and the axis as `Join` names it.

    Args:
        drafts: the description so far.
        operands: values, or tensors of fixed numbers.
        shape: of the result.
        axis: along which their sizes differ.
    """
    rest = [*shape[:axis], 1, *shape[axis + 1 :]]
    every = [
        o.layout.simplified() if isinstance(o, Value) else Layout(((),) * len(shape))
        for o in operands
    ]
    own_axes = [lay.axes[axis] for lay in every]
    layouts = [
        Layout((*lay.axes[:axis], (), *lay.axes[axis + 1 :]), lay.start).expanded(rest)
        for lay in every
    ]
    entries = [i for i, o in enumerate(operands) if isinstance(o, Value) and _is_entry(o)]
    kinds = {role(m.dim) for i in entries for m in own_axes[i]} - {REPEAT}
    if not kinds:
        widths = {drafts.shape(operands[i].base.node).channels for i in entries}
        kinds = {CHANNELS if axis == len(shape) - 1 and widths <= {1} else 1}
    kind = kinds.pop()
    if kinds or kind == BATCH:
        msg = "it puts examples, or positions and channels, side by side"
        raise Refusal(msg)
    grid = _grid(drafts, operands, layouts, rest, channels=kind != CHANNELS)
    channels = _channel_order(grid)
    groups = grid.by_axis(grid.cells(1))
    before = sum(grid.columns[g[0]][0] < axis for g in groups)
    nodes = []
    for i, operand in enumerate(operands):
        dims = [grid.modes(i, g) for g in groups]
        last = grid.modes(i, channels)
        if not isinstance(operand, Value):
            sizes = [*shape[:axis], operand.shape[axis], *shape[axis + 1 :]]
            moved = np.moveaxis(_numbers(operand, sizes), axis, 0)
            parts = [
                _one_example(p, rest, grid, groups, channels)
                for p in np.expand_dims(moved, axis + 1)
            ]
            table = np.concatenate(parts, -1) if kind == CHANNELS else np.stack(parts, before)
            nodes.append(constant(drafts, table))
            continue
        if kind == CHANNELS and last:
            msg = "it puts parts of the channels side by side"
            raise Refusal(msg)
        last = own_axes[i] if kind == CHANNELS else last
        dims = dims if kind == CHANNELS else [*dims[:before], own_axes[i], *dims[before:]]
        nodes.append(place(drafts, operand.seen(layouts[i]), dims, last))
    if kind == 1:
        groups = [*groups[:before], [], *groups[before:]]
    places = _coordinates(grid, groups, channels)
    layout = _gathered(grid, places, len(shape))
    mode = Mode(shape[axis], CHANNELS if kind == CHANNELS else before + 1, 1)
    axes = (*layout.axes[:axis], (mode,), *layout.axes[axis + 1 :])
    return Aligned(tuple(nodes), Layout(axes)), "channels" if kind == CHANNELS else before


def _layouts(operands: Sequence[Any], shape: Sequence[int]) -> list[Layout]:
    return [
        (o.layout if isinstance(o, Value) else Layout(())).expanded(shape).simplified()
        for o in operands
    ]


def _grid(
    drafts: Drafts,
    operands: Sequence[Any],
    layouts: Sequence[Layout],
    shape: Sequence[int],
    *,
    channels: bool = True,
) -> _Grid:
    try:
        grid = [refine([lay.axes[a] for lay in layouts]) for a in range(len(shape))]
    except Cut:
        raise Refusal(CUTS) from None
    columns = tuple((a, cell) for a, axis in enumerate(grid) for cell in zip(*axis, strict=True))
    entries = tuple(i for i, o in enumerate(operands) if isinstance(o, Value) and _is_entry(o))
    free = channels and not any(m.dim == CHANNELS for i in entries for m in layouts[i].modes)
    roles = []
    for axis, modes in columns:
        known = {role(modes[i].dim) for i in entries} - {REPEAT}
        varied = any(m.dim != REPEAT for m in modes) or any(
            _size_at(o, axis, len(shape)) > 1 for o in operands
        )
        last = CHANNELS if axis == len(shape) - 1 and free else 1
        first = axis == 0 and len(shape) > 1 and not entries and modes[0].size == drafts.batch
        if len(known) > 1:
            raise Refusal(_clash(drafts, operands, entries))
        roles.append(known.pop() if known else last if varied else BATCH if first else REPEAT)
    return _Grid(columns, tuple(roles), entries)


def _size_at(operand: Any, axis: int, rank: int) -> int:
    """The size of a tensor of fixed numbers along an axis of the result."""
    if isinstance(operand, Value):
        return 1
    own_axis = axis - (rank - operand.ndim)
    return operand.shape[own_axis] if own_axis >= 0 else 1


def _clash(drafts: Drafts, operands: Sequence[Any], entries: Sequence[int]) -> str:
    nodes = [operands[i].base.node for i in entries]
    names = ["the input" if n == INPUT else drafts.nodes[n].label or "a value" for n in nodes]
    return f"channels of one value meet positions or examples of another ({', '.join(names)})"


def _is_entry(operand: Value) -> bool:
    if isinstance(operand.base, Entry):
        return True
    if isinstance(operand.base, Parameter):
        return False
    raise Refusal(f"it works on {operand.base}")


def _owned_positions(
    drafts: Drafts, operands: Sequence[Any], layouts: Sequence[Layout], grid: _Grid
) -> list[list[int]] | None:
    """The cells of every dimension of positions as the first operand has them that has all."""
    cells = grid.cells(1)
    for i in grid.entries:
        modes = {c: grid.columns[c][1][i] for c in cells}
        sizes = drafts.shape(operands[i].base.node).positions
        whole = all(layouts[i].whole(d, n) for d, n in enumerate(sizes, start=1))
        if whole and all(m.dim > 0 for m in modes.values()):
            return [
                sorted((c for c in cells if modes[c].dim == d), key=lambda c: -modes[c].step)
                for d in range(1, len(sizes) + 1)
            ]
    return None


def _channel_order(grid: _Grid) -> list[int]:
    cells = grid.cells(CHANNELS)
    for i in grid.entries:
        steps = {c: grid.columns[c][1][i] for c in cells}
        if all(m.dim == CHANNELS for m in steps.values()):
            return sorted(cells, key=lambda c: -steps[c].step)
    return cells


def _coordinates(
    grid: _Grid, positions: Sequence[Sequence[int]], channels: Sequence[int]
) -> dict[int, Mode]:
    """Where every cell lies in the result."""
    out: dict[int, Mode] = {}
    for dim, cells in [*enumerate(positions, start=1), (CHANNELS, channels)]:
        step = 1
        for c in reversed(cells):
            size = grid.columns[c][1][0].size
            out[c] = Mode(size, dim, step)
            step *= size
    for c in grid.cells(BATCH):
        modes = grid.columns[c][1]
        steps = {modes[i].step for i in grid.entries if modes[i].dim == BATCH} or {1}
        if len(steps) > 1:
            msg = "it mixes examples"
            raise Refusal(msg)
        out[c] = Mode(modes[0].size, BATCH, steps.pop())
    for c in grid.cells(REPEAT):
        out[c] = Mode(grid.columns[c][1][0].size, REPEAT, 0)
    return out


def _gathered(grid: _Grid, places: dict[int, Mode], rank: int) -> Layout:
    axes = [
        tuple(places[c] for c, (axis, _) in enumerate(grid.columns) if axis == a)
        for a in range(rank)
    ]
    return Layout(tuple(axes)).simplified()


def _numbers(tensor: Any, shape: Sequence[int]) -> np.ndarray:
    array = tensor if isinstance(tensor, np.ndarray) else tensor.detach().cpu().double().numpy()
    return np.broadcast_to(array, tuple(shape))


def _one_example(
    tensor: Any,
    shape: Sequence[int],
    grid: _Grid,
    positions: Sequence[Sequence[int]],
    channels: Sequence[int],
) -> np.ndarray:
    """Fixed numbers, which must be the same for all examples, as (*positions, channels)."""
    sizes = [modes[0].size for _, modes in grid.columns]
    inside = [c for dim in positions for c in dim]
    kept = {*inside, *channels}
    outside = [c for c in range(len(sizes)) if c not in kept]
    array = _numbers(tensor, shape).reshape(sizes).transpose([*outside, *inside, *channels])
    first = array[(0,) * len(outside)]
    if not np.array_equal(np.broadcast_to(first, array.shape), array):
        msg = "fixed numbers differ from example to example"
        raise Refusal(msg)
    return first.reshape(*(math.prod(sizes[c] for c in d) for d in (*positions, channels)))


def _without_positions(table: np.ndarray) -> np.ndarray:
    """One row if all positions have the same numbers."""
    rows = table.reshape(-1, table.shape[-1])
    return rows[0] if np.array_equal(np.broadcast_to(rows[0], rows.shape), rows) else table


def position_cells(layout: Layout, axes: Sequence[int]) -> list[Axis]:
    """The modes of some axes, in groups that each belong to one dimension."""
    groups: list[list[Mode]] = []
    for axis in axes:
        for mode in layout.axes[axis]:
            last = groups[-1][-1] if groups else None
            if last and last.dim == mode.dim and last.step == mode.step * mode.size:
                groups[-1].append(mode)
            else:
                groups.append([mode])
    return [tuple(g) for g in groups]
