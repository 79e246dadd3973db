"""Primitives that move numbers about: reshapes, slices, concatenation, padding, gathers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network._join import Join
from whydeep.network._layers import Constant
from whydeep.network.jax_reader._axes import Atom, fresh, pair, refine, regroup, sizes
from whydeep.network.jax_reader._draft import Draft, Indices, Known, Pad, Value
from whydeep.network.jax_reader._leaves import Parameter, Use
from whydeep.network.jax_reader._reader import Reader
from whydeep.network.jax_reader._slices import taken
from whydeep.network.jax_reader._weights import embedding, tokens_of

__all__ = ["broadcast", "concatenate", "gather", "pad", "reshape", "reverse", "slices",
           "transpose"]  # fmt: skip


def _free_of_gain(value: Value) -> Value:
    if value.gain is not None:
        raise UnsupportedError("An array is rearranged in the middle of a normalisation.")
    return value


def reshape(operand: Any, shape: tuple[int, ...]) -> Any:
    """Another shape, row by row."""
    shape = tuple(int(n) for n in shape)
    if isinstance(operand, Parameter):
        return operand.seen(operand.view.reshape(shape))
    if isinstance(operand, Value):
        if operand.shape == shape:
            return operand
        flat = [a for axis in operand.axes for a in axis]
        return _free_of_gain(operand).laid(regroup(flat, shape))
    return dataclasses.replace(operand, shape=shape)


def transpose(operand: Any, order: tuple[int, ...]) -> Any:
    """Another order of the axes."""
    if isinstance(operand, Parameter):
        return operand.seen(operand.view.transpose(tuple(order)))
    if isinstance(operand, Value):
        return _free_of_gain(operand).laid(tuple(operand.axes[k] for k in order))
    return dataclasses.replace(operand, shape=tuple(operand.shape[k] for k in order))


def broadcast(operand: Any, shape: tuple[int, ...], dimensions: tuple[int, ...]) -> Any:
    """Repeated along new axes."""
    if isinstance(operand, Parameter):
        return operand.seen(operand.view.broadcast(shape, dimensions))
    if isinstance(operand, Value):
        axes: list[tuple[Atom, ...]] = [fresh(n) for n in shape]
        for axis, into in enumerate(dimensions):
            if operand.shape[axis] == shape[into]:
                axes[into] = operand.axes[axis]
        if operand.gain is not None:
            gain = operand.gain.seen(operand.gain.view.broadcast(shape, dimensions))
            operand = dataclasses.replace(operand, gain=gain)
        return operand.laid(tuple(axes))
    return dataclasses.replace(operand, shape=tuple(shape))


def tile(operand: Any, repeats: tuple[int, ...]) -> Any:
    """The whole of it several times along every axis."""
    shape, dimensions = [], []
    for times, size in zip(repeats, operand.shape, strict=True):
        shape += [times] if times > 1 else []
        dimensions.append(len(shape))
        shape.append(size)
    whole = tuple(t * n for t, n in zip(repeats, operand.shape, strict=True))
    return reshape(broadcast(operand, tuple(shape), tuple(dimensions)), whole)


def slices(reader: Reader, operand: Any, limits: list[tuple[int, int, int]]) -> Any:
    """``operand[start:stop:step]`` along every axis."""
    if isinstance(operand, Parameter):
        return operand.seen(operand.view.slice(tuple(slice(*limit) for limit in limits)))
    if isinstance(operand, Value):
        for axis, (start, stop, step) in enumerate(limits):
            if (start, stop, step) != (0, operand.shape[axis], 1):
                operand = taken(reader, _free_of_gain(operand), axis, start, stop, step)
        return operand
    return dataclasses.replace(operand, shape=tuple(len(range(*limit)) for limit in limits))


def reverse(reader: Reader, operand: Any, dimensions: tuple[int, ...]) -> Any:
    """The other way round along some axes."""
    if isinstance(operand, Parameter):
        flipped = tuple(
            slice(None, None, -1 if k in dimensions else 1) for k in range(len(operand.shape))
        )
        return operand.seen(operand.view.slice(flipped))
    if isinstance(operand, Value):
        for axis in dimensions:
            operand = _picked(reader, operand, axis, np.arange(operand.shape[axis])[::-1])
        return operand
    return operand


def _picked(reader: Reader, value: Value, axis: int, places: np.ndarray) -> Value:
    """Any selection of positions along one array axis."""
    settled = reader.settled(value)
    draft: Draft = settled.base
    atoms = refine(value.axes[axis])
    if len(atoms) != 1 or atoms[0] not in draft.position_atoms:
        raise UnsupportedError(
            "Entries are picked along an axis that is no dimension of positions."
        )
    atom = atoms[0]
    new = fresh(len(places))
    old = draft.position_atoms
    grid = np.arange(int(np.prod([a.size for a in old]))).reshape([a.size for a in old])
    rows = np.take(grid, places, old.index(atom)).ravel()

    def swapped(axis: tuple[Atom, ...]) -> tuple[Atom, ...]:
        return tuple(b for a in refine(axis) for b in (new if a is atom else (a,)))

    positions = tuple(swapped(axis) for axis in draft.positions)
    made = reader.selected(draft, rows, grid.size, positions)
    if new and new[0] not in made.position_atoms:  # made before, with an axis of its own
        new = tuple(a for a in made.position_atoms if a not in old)
    axes = list(value.axes)
    axes[axis] = new
    return Value(made, tuple(axes))


# -- values side by side ---------------------------------------------------------------------------


def concatenate(reader: Reader, operands: list[Any], axis: int) -> Any:
    """Values side by side along the positions or the channels."""
    values = [o for o in operands if isinstance(o, Value)]
    if not values:
        raise UnsupportedError(
            "Parameters are put side by side.",
            needed="one leaf for every weight, or one leaf for all, sliced",
        )
    if all(o.shape[axis] == 1 for o in operands) and any(tokens_of(v) for v in values):
        shape = list(values[0].shape)
        shape[axis] = len(operands)
        return Indices(tuple(operands), tuple(shape))
    values = [reader.settled(_free_of_gain(v)) for v in values]
    lead = max(values, key=lambda v: (v.shape[axis] > 1, len(v.base.position_atoms)))
    atoms = refine(lead.axes[axis])
    draft: Draft = lead.base
    total = sum(o.shape[axis] for o in operands)
    if atoms and set(atoms) == set(draft.channel_atoms):
        return _side_by_side(reader, operands, lead, axis, None, fresh(total))
    for number, dimension in enumerate(draft.positions):
        if atoms and refine(dimension) == atoms:
            return _side_by_side(reader, operands, lead, axis, number, fresh(total))
    if not atoms or set(atoms) == set(draft.position_atoms):
        # An axis of size 1 becomes a dimension of positions; several dimensions become one.
        others = tuple(d for d in draft.positions if refine(d) and not set(refine(d)) & set(atoms))
        before = sum(1 for d in others if _place(lead, refine(d)) < axis)
        positions = (*others[:before], atoms, *others[before:])
        lead = Value(reader.arranged(draft, positions), lead.axes)
        return _side_by_side(reader, operands, lead, axis, before, fresh(total))
    raise UnsupportedError(
        "Values are put side by side along a part of their channels or positions.",
        needed="all channels, or one dimension of the positions",
    )


def _place(value: Value, atoms: tuple[Atom, ...]) -> int:
    return next(k for k, axis in enumerate(value.axes) if atoms[0] in refine(axis))


def _side_by_side(
    reader: Reader,
    operands: list[Any],
    lead: Value,
    axis: int,
    dimension: int | None,
    total: tuple[Atom, ...],
) -> Value:
    inputs = []
    for operand in operands:
        own = fresh(operand.shape[axis])
        if isinstance(operand, Value):
            inputs.append(_beside(reader, reader.settled(operand), lead, axis, dimension))
            continue
        axes = list(lead.axes)
        axes[axis] = own
        positions = list(lead.base.positions)
        channels = lead.base.channels
        if dimension is None:
            channels = own
        else:
            positions[dimension] = own
        frame = Draft(lead.base.layer, (), tuple(positions), channels)
        node = reader.attached(operand, tuple(axes), frame)
        inputs.append(_framed(reader, node, frame))
    positions, channels = list(lead.base.positions), lead.base.channels
    if dimension is None:
        channels = total
    else:
        positions[dimension] = total
    layer = Join("channels" if dimension is None else dimension)
    made = reader.node(layer, tuple(inputs), tuple(positions), channels)
    axes = list(lead.axes)
    axes[axis] = total
    return Value(made, tuple(axes))


def _framed(reader: Reader, node: Draft, frame: Draft) -> Draft:
    """Learned numbers without positions, given those of the frame."""
    if sizes(node.positions) == sizes(frame.positions):
        return node
    if not node.positions and not frame.position_atoms:
        shape = (*sizes(frame.positions), sizes((node.channels,))[0])
        if isinstance(node.layer, Constant):
            layer = Constant(node.layer.array.values.reshape(shape))
            return node.changed(layer=layer, positions=frame.positions)
        parameter = node.uses["weight"].parameter
        use = Use(parameter.seen(parameter.view.reshape(shape)))
        return node.changed(positions=frame.positions, uses={"weight": use})
    return reader.arranged(node, frame.positions)


def _beside(reader: Reader, value: Value, lead: Value, axis: int, dimension: int | None) -> Draft:
    same = {}
    for k, (mine, theirs) in enumerate(zip(value.axes, lead.axes, strict=True)):
        if k != axis:
            same |= {b: a for a, b in pair(mine, theirs) if reader.owns(value, a)}
    draft: Draft = value.base
    own = refine(value.axes[axis])
    if dimension is None:
        right = own == draft.channel_atoms
    else:
        right = tuple(same.get(a) for a in lead.base.channel_atoms) == draft.channel_atoms
    if not right:
        raise UnsupportedError("Values of different channels are put side by side.")
    wanted = [tuple(same.get(a, a) for a in refine(d)) for d in lead.base.positions]
    if dimension is not None:
        wanted[dimension] = own
    return reader.arranged(draft, tuple(wanted))


def pad(reader: Reader, operand: Any, fill: Any, config: tuple[tuple[int, int, int], ...]) -> Any:
    """Zeros around a value."""
    if not isinstance(operand, Value) or not isinstance(fill, Known):
        raise UnsupportedError("Parameters are padded.")
    if (
        fill.number != 0.0
        or any(c < 0 for entry in config for c in entry)
        or any(inner for _, _, inner in config)
    ):
        raise UnsupportedError("A padding other than zeros around a value.", received=f"{config}")
    settled = reader.settled(_free_of_gain(operand))
    draft: Draft = settled.base
    axes = list(settled.axes)
    pads = [(0, 0)] * len(draft.positions)
    positions = list(draft.positions)
    for axis, (low, high, _) in enumerate(config):
        if not low and not high:
            continue
        atoms = refine(axes[axis])
        if atoms and set(atoms) == set(draft.channel_atoms):
            return _padded_channels(reader, settled, axis, low, high, config)
        number = next(
            (k for k, d in enumerate(draft.positions) if refine(d) == atoms and atoms), None
        )
        if number is None:
            raise UnsupportedError("An axis is padded that is no dimension of positions.")
        axes[axis] = positions[number] = fresh(operand.shape[axis] + low + high)
        pads[number] = (low, high)
    made = reader.node(Pad(tuple(pads)), (draft,), tuple(positions), draft.channels)
    return Value(made, tuple(axes))


def _padded_channels(
    reader: Reader, value: Value, axis: int, low: int, high: int, config: Any
) -> Any:
    if sum(1 for a, b, _ in config if a or b) > 1:
        raise UnsupportedError("Channels and positions are padded at once.")

    def zeros(count: int) -> list[Any]:
        shape = [*value.shape]
        shape[axis] = count
        return [Known(np.zeros(shape))] if count else []

    return concatenate(reader, [*zeros(low), value, *zeros(high)], axis)


# -- gathers ---------------------------------------------------------------------------------------


def gather(reader: Reader, primitive: Any, operands: list[Any], options: Any) -> Any:
    """Rows of a table for tokens; fixed entries of a value or of a parameter."""
    table, indices = operands
    numbers = options["dimension_numbers"]
    if isinstance(table, Parameter) and (tokens := tokens_of(indices)) is not None:
        return embedding(reader, table, tokens, options)
    if isinstance(table, Parameter) and isinstance(indices, Known):
        plain = {**options, "mode": "clip", "fill_value": None}

        def step(array: np.ndarray) -> np.ndarray:
            import jax

            with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
                return np.asarray(primitive.bind(array, indices.array, **_clipped(plain)))

        key = ("gather", str(numbers), indices.array.tobytes())
        return table.seen(table.view.then(key, step))
    if isinstance(table, Value) and isinstance(indices, Known):
        along = tuple(numbers.start_index_map)
        kept = [n for k, n in enumerate(table.shape) if k not in along]
        sliced = [n for k, n in enumerate(options["slice_sizes"]) if k not in along]
        if len(along) == 1 and tuple(numbers.collapsed_slice_dims) == along and kept == sliced:
            places = np.asarray(indices.array).reshape(-1)
            inner = indices.array.ndim - 1
            if inner == 1 and tuple(numbers.offset_dims) == tuple(
                k for k in range(len(table.shape)) if k != along[0]
            ):
                return _picked(reader, table, along[0], places)
    raise UnsupportedError(
        "Entries are looked up in a way that can't be read.",
        needed="a learned table at the input's whole numbers; fixed entries of one axis",
    )


def _clipped(options: dict[str, Any]) -> dict[str, Any]:
    import jax

    return {**options, "mode": jax.lax.GatherScatterMode.CLIP}
