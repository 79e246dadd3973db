"""Operations that only show a tensor otherwise: they change its layout and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whydeep.network.torch_reader._align import CUTS, own, rectangular
from whydeep.network.torch_reader._draft import Entry, Refusal, Value
from whydeep.network.torch_reader._layout import Cut
from whydeep.network.torch_reader._operations import Reader, operation

__all__: list[str] = []


def _axis(x: Value, dim: int) -> int:
    return dim % len(x.shape)


@operation(
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as",
    "reshape_as", "ravel", "atleast_1d", "atleast_2d", "atleast_3d",
)  # fmt: skip
def _regroup(r: Reader, x: Value, **_: Any) -> Value:
    """The same entries in the same order under the shape that PyTorch found."""
    try:
        return x.seen(x.layout.regrouped(r.shape))
    except Cut:
        pass
    try:
        whole = own(r.drafts, x)
        return whole.seen(whole.layout.regrouped(r.shape))
    except Cut:
        raise Refusal(CUTS) from None


@operation("permute")
def _permute(r: Reader, x: Value, dims: Sequence[int]) -> Value:
    del r
    return x.seen(x.layout.permuted([_axis(x, d) for d in dims]))


@operation("transpose", "swapaxes", "swapdims")
def _transpose(r: Reader, x: Value, **dims: int) -> Value:
    del r
    first, second = (_axis(x, d) for d in dims.values())
    order = list(range(len(x.shape)))
    order[first], order[second] = order[second], order[first]
    return x.seen(x.layout.permuted(order))


@operation("t", "numpy_T", "mT", "adjoint")
def _turn(r: Reader, x: Value) -> Value:
    rank = len(x.shape)
    if r.name in ("t", "numpy_T"):
        return x.seen(x.layout.permuted(range(rank)[::-1]))
    return x.seen(x.layout.permuted([*range(rank - 2), rank - 1, rank - 2]))


@operation("movedim", "moveaxis")
def _move(r: Reader, x: Value, source: Any, destination: Any) -> Value:
    del r
    before = [source] if isinstance(source, int) else list(source)
    after = [destination] if isinstance(destination, int) else list(destination)
    moved = {_axis(x, d): _axis(x, s) for s, d in zip(before, after, strict=True)}
    rest = iter(i for i in range(len(x.shape)) if i not in moved.values())
    order = [moved[i] if i in moved else next(rest) for i in range(len(x.shape))]
    return x.seen(x.layout.permuted(order))


@operation("expand", "expand_as", "broadcast_to")
def _expand(r: Reader, x: Value, **_: Any) -> Value:
    return x.seen(x.layout.expanded(r.shape))


@operation("repeat", "tile")
def _repeat(r: Reader, x: Value, **_: Any) -> Value:
    shape = (1,) * (len(r.shape) - len(x.shape)) + x.shape
    if any(old not in (1, new) for old, new in zip(shape, r.shape, strict=True)):
        msg = "it repeats a dimension that has several entries"
        raise Refusal(msg)
    return x.seen(x.layout.expanded(r.shape))


@operation(
    "contiguous", "clone", "alias", "lift_fresh_copy", "lift_fresh", "to", "type_as", "_to_copy",
    "detach", "detach_", "float", "double", "positive", "requires_grad_", "resolve_conj",
)  # fmt: skip
def _same(r: Reader, x: Value, **_: Any) -> Value:
    """Copies and changes of precision; that no gradient is stopped is checked beforehand."""
    if r.rounds:
        msg = "it rounds to whole numbers"
        raise Refusal(msg)
    return x


@operation("select")
def _select(r: Reader, x: Value, dim: int, index: int) -> Value:
    del r
    axis = _axis(x, dim)
    return x.seen(x.layout.moved(axis, index % x.shape[axis]))


@operation("slice", "narrow")
def _slice(
    r: Reader, x: Value, dim: int = 0, start: int | None = None, end: int | None = None,
    step: int = 1, length: int | None = None,
) -> Value:  # fmt: skip
    axis = _axis(x, dim)
    size = x.shape[axis]
    if length is not None:
        end = (start or 0) % size + length
    picked = range(size)[slice(start, end, step)]
    return _part(r, x, axis, picked)


def _part(r: Reader, x: Value, axis: int, picked: range) -> Value:
    if len(picked) == x.shape[axis]:
        return x
    for tried in (lambda: x, lambda: own(r.drafts, x), lambda: rectangular(r.drafts, x)):
        try:
            value = tried()
            return value.seen(value.layout.sliced(axis, picked.start, len(picked), picked.step))
        except Cut:
            if not isinstance(x.base, Entry):
                break
    msg = "it cuts an axis that has several dimensions"
    raise Refusal(msg)


@operation("chunk", "split", "split_with_sizes", "tensor_split", "unsafe_chunk", "unsafe_split")
def _split(r: Reader, x: Value, dim: int = 0, **_: Any) -> tuple[Value, ...]:
    axis = _axis(x, dim)
    parts, start = [], 0
    for shape in r.shape:
        parts.append(_part(r, x, axis, range(start, start + shape[axis])))
        start += shape[axis]
    return tuple(parts)


@operation("unfold")
def _unfold(r: Reader, x: Value, dimension: int, size: int, step: int) -> Value:
    """Windows side by side as a new last axis; others overlap."""
    if step != size:
        msg = "its windows overlap"
        raise Refusal(msg, "a convolution")
    axis = _axis(x, dimension)
    count = x.shape[axis] // size
    kept = _part(r, x, axis, range(count * size))
    try:
        apart = kept.layout.regrouped([*x.shape[:axis], count, size, *x.shape[axis + 1 :]])
    except Cut:
        raise Refusal(CUTS) from None
    rank = len(x.shape) + 1
    return kept.seen(apart.permuted([*(i for i in range(rank) if i != axis + 1), axis + 1]))


@operation("unbind")
def _unbind(r: Reader, x: Value, dim: int = 0) -> tuple[Value, ...]:
    del r
    axis = _axis(x, dim)
    return tuple(x.seen(x.layout.moved(axis, i)) for i in range(x.shape[axis]))
