"""Operations that join or rearrange positions: pools, means, resizing, padding, concatenation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from whydeep.network._join import Join
from whydeep.network._positions import (
    AvgPool,
    GlobalAvgPool,
    GlobalSumPool,
    MaxPool,
)
from whydeep.network.torch_reader._align import beside, own, rectangular
from whydeep.network.torch_reader._draft import Entry, Pads, Refusal, Value
from whydeep.network.torch_reader._layout import BATCH, CHANNELS, REPEAT, Layout, Mode
from whydeep.network.torch_reader._moments import mean_over_channels
from whydeep.network.torch_reader._operations import Missing, Reader, operation
from whydeep.network.torch_reader._spatial import Spatial, each, spatial

__all__: list[str] = []


# -- windows ---------------------------------------------------------------------------------------


def _pooled(
    r: Reader, x: Any, kind: Any, window: Any, strides: Any, padding: Any, rank: int,
    **options: Any,
) -> Value:  # fmt: skip
    found = spatial(r, x, rank)
    size = each(window, rank)
    steps = size if strides in (None, [], ()) else each(strides, rank)
    pads = tuple((p, p) for p in each(padding, rank))
    ones = (1,) * found.lead
    edges: Any = (*((0, 0),) * found.lead, *pads) if any(map(sum, pads)) else "VALID"
    layer = kind((*ones, *size), (*ones, *steps), edges, **options)
    new = r.drafts.add(layer, (found.node,))
    sizes = r.drafts.shape(new).positions[found.lead :]
    if tuple(sizes) != tuple(r.shape[2:]):
        msg = "ceil_mode lets a window reach beyond the border"
        raise Refusal(msg, "ceil_mode=False")
    return Value(Entry(new), found.layout(sizes, r.drafts.shape(new).channels))


@operation("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(
    r: Reader, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,  # noqa: FBT001, FBT002 -- PyTorch's
    divisor_override: Any = None,
) -> Value:  # fmt: skip
    del ceil_mode  # found out by the result's shape
    if divisor_override is not None:
        msg = "it divides by a number of its own"
        raise Refusal(msg)
    rank = int(r.name[-2])
    options = {"count_padding": count_include_pad}
    return _pooled(r, x, AvgPool, kernel_size, stride, padding, rank, **options)


@operation("max_pool1d", "max_pool2d", "max_pool3d")
def _max_pool(
    r: Reader, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,  # noqa: FBT001, FBT002 -- PyTorch's
) -> Value:  # fmt: skip
    del ceil_mode
    rank = int(r.name[-2])
    if set(each(dilation, rank)) != {1}:
        msg = "its windows are dilated"
        raise Refusal(msg)
    return _pooled(r, x, MaxPool, kernel_size, stride, padding, rank)


@operation("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices")
def _max_pool_indices(r: Reader, **arguments: Any) -> tuple[Any, ...]:
    r.shape, r.name = r.shape[0], r.name.removesuffix("_with_indices")
    return _max_pool(r, **arguments), Missing("where the largest values are")


@operation("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def _adaptive_avg(r: Reader, x: Any, output_size: Any) -> Value:
    del output_size  # the result's shape has it with nothing left open
    return _adaptive(r, x, AvgPool)


@operation("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max(r: Reader, x: Any, output_size: Any) -> tuple[Any, ...]:
    del output_size
    r.shape = r.shape[0]
    return _adaptive(r, x, MaxPool), Missing("where the largest values are")


def _adaptive(r: Reader, x: Any, kind: Any) -> Value:
    rank = len(r.shape) - 2
    after, before = tuple(r.shape[2:]), tuple(x.shape[2:])
    if all(n % m == 0 for n, m in zip(before, after, strict=True)):
        found = spatial(r, x, rank)
        if set(after) == {1} and kind is AvgPool and not found.lead:
            new = r.drafts.add(GlobalAvgPool(), (found.node,))
            return Value(Entry(new), found.layout(after, r.drafts.shape(new).channels))
        window = [n // m for n, m in zip(before, after, strict=True)]
        return _pooled(r, x, kind, window, None, 0, rank)
    if kind is MaxPool:
        msg = "its windows have different sizes"
        raise Refusal(msg, "an output size that divides the input's")
    return _probed(r, x, rank)


# -- any linear map between positions --------------------------------------------------------------


@operation(
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
    "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
)  # fmt: skip
def _upsample(r: Reader, x: Any, **_: Any) -> Value:
    return _probed(r, x, len(r.shape) - 2)


def _probed(r: Reader, x: Any, rank: int) -> Value:
    """An operation on positions, by what PyTorch makes of every one of them."""
    found = spatial(r, x, rank)
    after, call = tuple(r.shape[2:]), r.call
    if found.lead:
        msg = "it is applied to frames"
        raise Refusal(msg)

    def matrix() -> np.ndarray:
        import torch

        count = math.prod(found.sizes)
        basis = torch.eye(count, dtype=torch.float64).reshape(count, 1, *found.sizes)
        return call(basis).reshape(count, -1).numpy().T

    new = r.drafts.mixed(found.node, matrix, after)
    return Value(Entry(new), found.layout(after, r.drafts.shape(new).channels))


@operation("pad", "constant_pad_nd")
def _pad(r: Reader, x: Any, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Value:
    if mode == "constant" and value not in (None, 0, 0.0):
        msg = "it pads with something else than zero"
        raise Refusal(msg)
    rank = len(x.shape) - 2
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    pairs = [(0, 0)] * (len(x.shape) - len(pairs)) + pairs
    if rank < 1 or any(pairs[0]) or any(pairs[1]) or any(p < 0 for pair in pairs for p in pair):
        return _padded_axes(r, x, pairs, mode)
    found = spatial(r, x, rank)
    if found.lead:
        return _padded_axes(r, x, pairs, mode)
    node = _padded(r, found, pairs[2:], mode)
    after = r.drafts.shape(node)
    return Value(Entry(node), found.layout(after.positions, after.channels))


def _padded(r: Reader, found: Spatial, pairs: Sequence[tuple[int, int]], mode: str) -> int:
    before = r.drafts.shape(found.node).positions
    after = tuple(n + a + b for n, (a, b) in zip(before, pairs, strict=True))
    numbers = _padded_numbers(before, pairs, mode)
    count = math.prod(before)

    def matrix() -> np.ndarray:
        rows = numbers.ravel()
        return (rows[:, None] == np.arange(count)).astype(np.float64)

    kept = mode in ("constant", "circular")
    pads = Pads(found.node, tuple(pairs), mode == "circular") if kept else None
    return r.drafts.mixed(found.node, matrix, after, pads)


def _padded_numbers(
    before: Sequence[int], pairs: Sequence[tuple[int, int]], mode: str
) -> np.ndarray:
    """Which position stands at each place; -1 for a zero."""
    kinds = {"constant": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge"}
    numbers = np.arange(math.prod(before)).reshape(tuple(before))
    if mode == "constant":
        return np.pad(numbers, pairs, constant_values=-1)
    return np.pad(numbers, pairs, mode=kinds[mode])  # pyright: ignore[reportCallIssue, reportArgumentType]


def _padded_axes(r: Reader, x: Any, pairs: Sequence[tuple[int, int]], mode: str) -> Value:
    """Padding of a sequence (N, T, C), or of whatever else has one dimension an axis."""
    if not isinstance(x, Value) or not isinstance(x.base, Entry):
        msg = "it pads parameters or fixed numbers"
        raise Refusal(msg)
    if any(p < 0 for pair in pairs for p in pair):
        msg = "it pads by a negative number"
        raise Refusal(msg, "a slice")
    value = rectangular(r.drafts, x)
    dims: dict[int, tuple[int, int]] = {}
    for axis, pair in zip(value.layout.axes, pairs, strict=True):
        if any(pair):
            where = _one_dimension(axis, "it pads channels or examples")
            if where == 0:
                msg = "it pads a dimension of size 1"
                raise Refusal(msg)
            dims[where] = pair
    node = value.base.node
    rank = len(r.drafts.shape(node).positions)
    found = Spatial(node, (), 0, ())
    new = _padded(r, found, [dims.get(d, (0, 0)) for d in range(1, rank + 1)], mode)
    axes = tuple(
        tuple(m._replace(size=m.size + sum(dims.get(m.dim, ()))) for m in axis)
        for axis in value.layout.axes
    )
    return Value(Entry(new), Layout(axes))


@operation("flip", "roll")
def _moved(r: Reader, x: Any, dims: Sequence[int], shifts: Sequence[int] = ()) -> Value:
    value = rectangular(r.drafts, x)
    shape = r.drafts.shape(value.base.node)
    numbers = np.arange(shape.count).reshape(shape.positions)
    for i, dim in enumerate(dims):
        axis = value.layout.axes[dim % len(x.shape)]
        where = _one_dimension(axis, "it moves channels or examples") - 1
        if where < 0:
            continue
        numbers = np.roll(numbers, shifts[i], where) if shifts else np.flip(numbers, where)
    node = r.drafts.selected(value.base.node, numbers.ravel(), shape.positions)
    return Value(Entry(node), value.layout)


@operation("index_select", "index")
def _index(
    r: Reader, x: Any, dim: int | None = None, index: Any = None, indices: Any = None
) -> Value:
    if indices is not None:
        given = [i for i, t in enumerate(indices) if t is not None]
        if len(given) != 1 or isinstance(indices[given[0]], Value) or indices[given[0]].ndim != 1:
            msg = "it is indexed by several tensors, or by one that depends on the input"
            raise Refusal(msg)
        dim, index = given[0], indices[given[0]]
    if dim is None or isinstance(index, Value) or not isinstance(x.base, Entry):
        msg = "it is indexed by what depends on the input"
        raise Refusal(msg)
    dim %= len(x.shape)
    picked = np.arange(x.shape[dim])[index.cpu().numpy()]
    value = rectangular(r.drafts, x)
    axis = value.layout.axes[dim]
    where = _one_dimension(axis, "it picks channels or examples by a list") - 1
    if where < 0:
        msg = "it picks from a dimension of size 1"
        raise Refusal(msg)
    before = r.drafts.shape(value.base.node)
    numbers = np.arange(before.count).reshape(before.positions).take(picked, where)
    node = r.drafts.selected(value.base.node, numbers.ravel(), numbers.shape)
    mode = (Mode(len(picked), where + 1, 1),) if len(picked) > 1 else ()
    return Value(
        Entry(node), Layout((*value.layout.axes[:dim], mode, *value.layout.axes[dim + 1 :]))
    )


def _one_dimension(axis: Sequence[Mode], why: str) -> int:
    """The dimension of positions that an axis is; 0 if its size is 1."""
    if any(m.dim <= 0 for m in axis) or len(axis) > 1:
        raise Refusal(why)
    return axis[0].dim if axis else 0


# -- means, sums and largest values over axes ------------------------------------------------------


@operation("mean", "sum")
def _mean(r: Reader, x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:  # noqa: FBT001, FBT002 -- PyTorch's
    del dtype
    axes = _axes(x, dim)
    if any(m.dim == CHANNELS for a in axes for m in x.layout.axes[a]):
        if r.name == "sum":
            msg = "it takes a sum over channels"
            raise Refusal(msg)
        return mean_over_channels(r, x, axes, kept=keepdim)
    value = own(r.drafts, x)
    node, layout = value.base.node, value.layout
    shape = r.drafts.shape(node)
    modes = [m for a in axes for m in layout.axes[a]]
    if any(m.dim in (BATCH, REPEAT) for m in modes):
        msg = "it is taken over examples or repeated numbers"
        raise Refusal(msg)
    left = tuple(
        () if a in axes else axis for a, axis in enumerate(layout.axes) if keepdim or a not in axes
    )
    remaining = [m for axis in left for m in axis if m.dim > 0]
    if not remaining:
        pool = GlobalAvgPool() if r.name == "mean" else GlobalSumPool()
        new = node if not shape.positions else r.drafts.add(pool, (node,))
        return Value(Entry(new), Layout(left))
    # One new dimension for each dimension that is left (a part of).
    new_dims = sorted({m.dim for m in remaining})
    groups = [
        tuple(sorted((m for m in remaining if m.dim == d), key=lambda m: -m.step)) for d in new_dims
    ]
    sizes = tuple(math.prod(m.size for m in g) for g in groups)
    whole = Layout((*groups, tuple(modes)))
    table = whole.flat([(d, n) for d, n in enumerate(shape.positions, start=1)])
    table = table.reshape(math.prod(sizes), -1)
    weight = 1.0 / table.shape[1] if r.name == "mean" else 1.0

    def matrix() -> np.ndarray:
        out = np.zeros((len(table), shape.count))
        out[np.arange(len(table))[:, None], table] = weight
        return out

    new = r.drafts.mixed(node, matrix, sizes)
    renamed: dict[Mode, Mode] = {}
    for number, group in enumerate(groups, start=1):
        step = 1
        for mode in reversed(group):
            renamed[mode] = Mode(mode.size, number, step)
            step *= mode.size
    axes_after = tuple(tuple(renamed.get(m, m) for m in axis) for axis in left)
    return Value(Entry(new), Layout(axes_after))


def _axes(x: Any, dim: Any) -> list[int]:
    if not isinstance(x, Value) or not isinstance(x.base, Entry):
        msg = f"it is taken over {x.base if isinstance(x, Value) else 'fixed numbers'}"
        raise Refusal(msg)
    if dim is None or dim == []:
        msg = "it is taken over everything, examples included"
        raise Refusal(msg, "dim=: the dimensions of positions")
    return [d % len(x.shape) for d in ([dim] if isinstance(dim, int) else dim)]


@operation("amax")
def _amax(r: Reader, x: Any, dim: Any = None, keepdim: bool = False) -> Value:  # noqa: FBT001, FBT002 -- PyTorch's
    axes = _axes(x, dim)
    value = rectangular(r.drafts, x)
    node, layout = value.base.node, value.layout
    sizes = r.drafts.shape(node).positions
    modes = [m for a in axes for m in layout.axes[a]]
    if any(m.dim <= 0 for m in modes):
        msg = "it is taken over channels or examples"
        raise Refusal(msg)
    window = [n if any(m.dim == d for m in modes) else 1 for d, n in enumerate(sizes, start=1)]
    new = r.drafts.add(MaxPool(tuple(window), tuple(window)), (node,)) if sizes else node
    left = tuple(
        () if a in axes else axis for a, axis in enumerate(layout.axes) if keepdim or a not in axes
    )
    return Value(Entry(new), Layout(left))


@operation("max")
def _max(r: Reader, x: Any, dim: Any = None, keepdim: bool = False, other: Any = None) -> Any:  # noqa: FBT001, FBT002 -- PyTorch's
    if other is not None:
        from whydeep.network.torch_reader._elementwise import _combine

        return _combine(r, "maximum", x, other)
    return _amax(r, x, dim, keepdim), Missing("where the largest values are")


# -- side by side ----------------------------------------------------------------------------------


@operation("cat", "concat", "concatenate")
def _cat(r: Reader, tensors: Sequence[Any], dim: int = 0) -> Value:
    axis = dim % len(r.shape)
    if axis == 0:
        msg = "it puts examples side by side"
        raise Refusal(msg)
    together, where = beside(r.drafts, tensors, r.shape, axis)
    return Value(Entry(r.drafts.add(Join(where), together.nodes)), together.layout)


@operation("stack")
def _stack(r: Reader, tensors: Sequence[Any], dim: int = 0) -> Value:
    axis = dim % len(r.shape)
    one = [*r.shape[:axis], 1, *r.shape[axis + 1 :]]
    apart = [
        t.seen(t.layout.regrouped(one)) if isinstance(t, Value) else t.unsqueeze(axis)
        for t in tensors
    ]
    return _cat(r, apart, axis)
