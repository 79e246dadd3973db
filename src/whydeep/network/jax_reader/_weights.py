"""Layers with weights: dense layers, convolutions, embeddings, as a traced program writes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network._convolution import Conv, ConvTranspose, window_pads
from whydeep.network._layers import Dense, Layer, Shape
from whydeep.network._positions import Flatten
from whydeep.network._sequence import Embedding
from whydeep.network.jax_reader._axes import Atom, Axes, fresh, refine, sizes
from whydeep.network.jax_reader._draft import Draft, Indices, Known, OneHot, Pad, Source, Value
from whydeep.network.jax_reader._expression import VALUE, evaluate
from whydeep.network.jax_reader._leaves import Parameter, Use
from whydeep.network.jax_reader._reader import Reader

__all__ = ["convolution", "dense", "embedding", "tokens_of"]


def dense(
    reader: Reader,
    value: Value,
    value_axes: tuple[int, ...],
    parameter: Parameter,
    parameter_axes: tuple[int, ...],
) -> tuple[Value, tuple[Axes, Axes]]:
    """A contraction of a value with a weight; its node, and the free axes of both."""
    draft = reader.materialise(value)
    contracted = tuple(a for k in value_axes for a in refine(value.axes[k]))
    free = tuple(k for k in range(len(parameter.shape)) if k not in parameter_axes)
    out_axes = tuple(fresh(parameter.shape[k]) for k in free)
    _check_contraction(reader, draft, contracted)
    wanted, kind = _arrangement(draft, contracted)
    if kind == "dense" and draft.positions and not draft.position_atoms:
        kind = "flatten" if len(value.axes) == len(value_axes) + 1 else kind

    atom_sizes = [a.size for a in contracted]
    order = [contracted.index(a) for a in wanted]
    order += range(len(order), len(order) + len(free))
    widths = [parameter.shape[k] for k in free]
    view = parameter.view.transpose((*parameter_axes, *free))
    view = view.reshape((*atom_sizes, *widths)).transpose(tuple(order))
    channels = tuple(a for axis in out_axes for a in axis)
    outputs = math.prod(widths)
    key = (draft, kind, view.key, parameter.scale, parameter.shift, contracted)

    def make() -> Draft:
        if isinstance(draft.layer, OneHot):
            use = Use(parameter.seen(view.reshape((draft.layer.size, outputs))))
            table = Embedding(draft.layer.size, outputs)
            return reader.node(table, draft.inputs, draft.positions, channels, weight=use)
        if kind == "patches":
            return _patches(reader, draft, contracted, Use(parameter.seen(view)), channels)
        source = draft
        if kind == "flatten":
            together = (*draft.position_atoms, *draft.channel_atoms)
            source = reader.node(Flatten(), (draft,), (), together)
        fan_in = math.prod(atom_sizes)
        use = Use(parameter.seen(view.reshape((fan_in, outputs))))
        return reader.node(Dense(outputs), (source,), source.positions, channels, weight=use)

    made = reader.once(key, make)
    out_axes = _as_axes(made.channels, tuple(len(axis) for axis in out_axes))
    rest = tuple(value.axes[k] for k in range(len(value.axes)) if k not in value_axes)
    return Value(made, (*rest, *out_axes)), (rest, out_axes)


def _as_axes(atoms: tuple[Atom, ...], lengths: tuple[int, ...]) -> Axes:
    out, start = [], 0
    for length in lengths:
        out.append(atoms[start : start + length])
        start += length
    return tuple(out)


def _check_contraction(reader: Reader, draft: Draft, contracted: tuple[Atom, ...]) -> None:
    for atom in contracted:
        if reader.is_batch(atom):
            raise UnsupportedError("Inputs of the batch are mixed with learned weights.")
        if atom not in draft.atoms:
            raise UnsupportedError("A learned weight meets an axis the value is repeated along.")


def _arrangement(draft: Draft, contracted: tuple[Atom, ...]) -> tuple[tuple[Atom, ...], str]:
    """The order of the atoms that the node's weight has, and which kind of layer it is."""
    channels, positions = draft.channel_atoms, draft.position_atoms
    together = set(contracted)
    if together == set(channels):
        return channels, "dense"
    if together == {*positions, *channels}:
        return (*positions, *channels), "flatten"
    if together >= set(channels):
        inner = []
        for axis in draft.positions:
            atoms = refine(axis)
            part = [a for a in atoms if a in together]
            if part != list(atoms[len(atoms) - len(part) :]):
                break
            inner += part
        else:
            return (*inner, *channels), "patches"
    if not together & set(channels):
        raise UnsupportedError(
            "Learned weights mix positions, the same for all channels.",
            received=f"a contraction over {math.prod(a.size for a in contracted)} positions",
            needed="weights that mix channels, at every position alike or in windows",
            cause="as channels grow, such a weight does not average out: the kernel stays random "
            "(the token mixing of an MLP-Mixer); of an input, the axis is taken for positions "
            "unless it is the last",
        )
    raise UnsupportedError(
        "A learned weight meets a part of the channels, and is shared by the other parts.",
        received=f"{math.prod(a.size for a in contracted)} of "
        f"{math.prod(a.size for a in channels)} channels",
        needed="a contraction over all channels",
        cause="groups or heads that share weights; or features of the input that are positions: "
        "give the input the shape (N, positions, channels) then",
    )


def _patches(
    reader: Reader, draft: Draft, contracted: tuple[Atom, ...], use: Use, channels: tuple[Atom, ...]
) -> Draft:
    """A linear layer on patches: a convolution whose stride is its window."""
    size = tuple(
        math.prod(a.size for a in refine(axis) if a in contracted) for axis in draft.positions
    )
    positions = tuple(
        tuple(a for a in refine(axis) if a not in contracted) for axis in draft.positions
    )
    fan_in = math.prod(a.size for a in draft.channel_atoms)
    view = use.parameter.view.reshape((*size, fan_in, math.prod(a.size for a in channels)))
    layer = Conv(1, size, size, "VALID")
    return reader.node(layer, (draft,), positions, channels, weight=Use(use.parameter.seen(view)))


# -- embeddings ------------------------------------------------------------------------------------


def tokens_of(indices: Any) -> Value | None:
    """The tokens, if indices into the axes of a table are tokens and zeros."""
    columns = indices.columns if isinstance(indices, Indices) else (indices,)
    first, *rest = columns
    if any(not isinstance(c, Known) or c.array.any() for c in rest):
        return None
    if not isinstance(first, Value) or not isinstance(first.base, Draft):
        return None
    source = first.base.layer
    return first if isinstance(source, Source) and source.tokens else None


def embedding(reader: Reader, table: Parameter, tokens: Value, options: Any) -> Value:
    """Rows of a table, one for every token; `tokens` has a last axis of size 1."""
    numbers = options["dimension_numbers"]
    if (
        len(table.shape) != 2
        or tuple(numbers.start_index_map)[:1] != (0,)
        or tuple(options["slice_sizes"]) != (1, table.shape[1])
    ):
        raise UnsupportedError(
            "A table is looked up at the input's numbers in a way that can't be read.",
            received=f"an array of shape {table.shape}",
            needed="rows of a table (vocabulary, channels)",
        )
    rows, width = table.shape
    _check_identity(tokens, rows)
    source = tokens.base
    key = (source, "embedding", table.view.key, table.scale, table.shift)
    made = reader.once(
        key,
        lambda: reader.node(
            Embedding(rows, width), (source,), source.positions, fresh(width), weight=Use(table)
        ),
    )
    kept = [k for k in (0, 1) if k not in numbers.collapsed_slice_dims]
    inner = iter(made.channels if k == 1 else () for k in kept)
    outer = iter(tokens.axes[:-1])
    count = len(tokens.axes) - 1 + len(kept)
    axes = tuple(next(inner if k in numbers.offset_dims else outer) for k in range(count))
    return Value(made, axes)


def _check_identity(tokens: Value, rows: int) -> None:
    """Refuse indices that are not the tokens themselves (negative ones are wrapped: fine)."""
    if tokens.expression is VALUE:
        return
    grid = np.unique(np.linspace(0, rows - 1, min(rows, 4096)).round())
    values = np.asarray(evaluate(tokens.expression, grid.astype(np.float32)))
    if not np.array_equal(values, grid):
        raise UnsupportedError(
            "A table is looked up at numbers computed from the input.",
            needed="the input's whole numbers themselves as indices",
        )


# -- convolutions ----------------------------------------------------------------------------------


def convolution(reader: Reader, value: Value, parameter: Parameter, options: Any) -> Value:
    """``conv_general_dilated`` of a value with a learned kernel."""
    numbers = options["dimension_numbers"]
    lhs, rhs, out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    draft = reader.materialise(value)
    _check_convolution(reader, value, draft, options)
    spatial = tuple(refine(value.axes[k]) for k in lhs[2:])
    size = tuple(parameter.shape[k] for k in rhs[2:])
    pads = tuple((int(a), int(b)) for a, b in options["padding"])
    if isinstance(draft.layer, Pad) and draft.positions == spatial:
        pads = tuple(
            (a + low, b + high) for (a, b), (low, high) in zip(pads, draft.layer.pads, strict=True)
        )
        draft, spatial = draft.inputs[0], draft.inputs[0].positions
    source = reader.arranged(draft, spatial)
    layer = _sliding(sizes(spatial), size, pads, options)
    view = parameter.view.transpose((*rhs[2:], rhs[1], rhs[0]))
    if isinstance(layer, ConvTranspose):
        view = view.slice((*(slice(None, None, -1),) * len(size), slice(None), slice(None)))
    key = (source, layer, view.key, parameter.scale, parameter.shift)

    def make() -> Draft:
        shape = layer.output_shape(Shape(sizes(spatial), view.shape[-2]))
        positions = tuple(fresh(n) for n in shape.positions)
        use = Use(parameter.seen(view))
        return reader.node(layer, (source,), positions, fresh(view.shape[-1]), weight=use)

    made = reader.once(key, make)
    axes: list[tuple[Atom, ...]] = [()] * len(value.axes)
    axes[out[0]], axes[out[1]] = value.axes[lhs[0]], made.channels
    for axis, atoms in zip(out[2:], made.positions, strict=True):
        axes[axis] = atoms
    return Value(made, tuple(axes))


def _check_convolution(reader: Reader, value: Value, draft: Draft, options: Any) -> None:
    lhs = options["dimension_numbers"].lhs_spec
    if options["feature_group_count"] != 1 or options["batch_group_count"] != 1:
        raise UnsupportedError(
            "A convolution in groups (depthwise, for example).",
            received=f"feature_group_count={options['feature_group_count']}, "
            f"batch_group_count={options['batch_group_count']}",
            needed="every output channel connected with all input channels",
        )
    if any(not reader.is_batch(a) for a in refine(value.axes[lhs[0]])):
        raise UnsupportedError(
            "A convolution runs over a batch that was merged with positions.",
            needed="the batch of inputs alone as its batch axis",
        )
    if set(refine(value.axes[lhs[1]])) != set(draft.channel_atoms):
        raise UnsupportedError(
            "The features of a convolution are not the channels of its input.",
            received=f"{value.shape[lhs[1]]} features, {sizes((draft.channels,))[0]} channels",
            needed="an input of shape (N, *positions, channels) or (N, channels, *positions)",
            cause="features of a vector that were reshaped into positions, for example",
            suggestion="give images without channels the shape (N, H, W, 1)",
        )


def _sliding(
    positions: tuple[int, ...],
    size: tuple[int, ...],
    pads: tuple[tuple[int, int], ...],
    options: Any,
) -> Layer:
    strides, spread = tuple(options["window_strides"]), tuple(options["lhs_dilation"])
    dilation = tuple(options["rhs_dilation"])
    if set(spread) != {1}:
        crop = tuple((k - 1 - a, k - 1 - b) for k, (a, b) in zip(size, pads, strict=True))
        if set(strides) != {1} or set(dilation) != {1} or min(p for c in crop for p in c) < 0:
            raise UnsupportedError(
                "A transposed convolution of a kind that can't be read.",
                received=f"strides {spread}, window strides {strides}, dilation {dilation}, "
                f"padding {pads}",
            )
        return ConvTranspose(1, size, spread, crop)
    if min(p for c in pads for p in c) < 0:
        raise UnsupportedError("A convolution with negative padding.", received=f"{pads}")
    named: Any = pads
    for name in ("VALID", "SAME"):
        if window_pads(positions, size, strides, name, dilation) == pads:
            named = name
            break
    return Conv(1, size, strides, named, dilation=dilation)
