"""Attention, called (``scaled_dot_product_attention``) or written out with products and softmax.

Written out, its steps are recognised one by one: queries times keys are `Logits`, which may be
scaled, masked causally and normalised by a softmax, and become a layer when they meet values.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.network._layers import Affine
from whydeep.network._sequence import DotProductAttention
from whydeep.network.torch_reader._align import own, place, position_cells
from whydeep.network.torch_reader._draft import Drafts, Entry, Refusal, Value
from whydeep.network.torch_reader._functions import outer_affine
from whydeep.network.torch_reader._layout import BATCH, CHANNELS, REPEAT, Axis, Layout, Mode
from whydeep.network.torch_reader._operations import Reader, operation
from whydeep.network.torch_reader._parameter import Parameter

__all__ = ["Logits", "attend", "logits", "masked", "scaled"]

# Dimensions of logits: heads, and the keys' positions beside the queries' 1, 2, ...
HEADS, KEYS = -3, 100
# Masks add at least this to what is hidden: exp(-1e4) is 0 in every precision.
_HIDDEN = -1e4


@dataclass(frozen=True)
class Logits:
    """``scale q . k`` of every head, query and key.

    Args:
        query: the node of queries, heads side by side in its channels.
        key: of keys.
        heads: how many.
        size: channels of one head.
        positions: of queries and of keys.
        lead: see `_Headed`.
        scale: a fixed factor.
        causal: whether keys after the query are hidden.
        weights: whether the softmax has been taken.
    """

    query: int
    key: int
    heads: int
    size: int
    positions: tuple[tuple[int, ...], tuple[int, ...]]
    lead: tuple[tuple[tuple[int, int], ...], ...]
    scale: float = 1.0
    causal: bool = False
    weights: bool = False

    def __str__(self) -> str:
        return "attention's weights" if self.weights else "attention's logits"


@dataclass(frozen=True)
class _Headed:
    """A value whose channels are heads side by side.

    Args:
        node: of all heads.
        lead: what the axes before rows and columns are made of: ``(dimension, size)``.
        heads: how many.
        size: channels of one head.
    """

    node: int
    lead: tuple[tuple[tuple[int, int], ...], ...]
    heads: int
    size: int


def _headed(drafts: Drafts, value: Value) -> _Headed:
    """Read ``(..., rows, size)``: examples and heads, positions, channels of a head."""
    layout = value.layout.simplified()
    *lead, _, inner = layout.axes
    modes = [m for axis in lead for m in axis]
    if not all(m.dim in (BATCH, CHANNELS, REPEAT) for m in modes):
        msg = "it attends to some positions only"
        raise Refusal(msg, "attention between all positions")
    heads = tuple(m for m in modes if m.dim == CHANNELS)
    rows = position_cells(layout, [len(lead)])
    node = place(drafts, value.seen(layout), rows, (*heads, *inner))
    named = tuple(tuple((m.dim, m.size) for m in axis) for axis in lead)
    return _Headed(node, named, math.prod(m.size for m in heads), math.prod(m.size for m in inner))


Lead = tuple[tuple[tuple[int, int], ...], ...]


def _common(one: Lead, two: Lead) -> Lead:
    """The leading axes of two factors; what is the same for all examples fits any number."""
    if one == two:
        return one
    out = []
    for first, second in zip(one, two, strict=False):
        pairs = list(zip(first, second, strict=False))
        kinds = [{a[0], b[0]} for a, b in pairs]
        fits = len(first) == len(second) and all(a[1] == b[1] for a, b in pairs)
        if not fits or any(len(k) > 1 and k != {BATCH, REPEAT} for k in kinds):
            msg = "queries, keys and values do not have the same examples and heads"
            raise Refusal(msg, "as many heads of keys and values as of queries, not repeated ones")
        out.append(tuple((max(a[0], b[0]), a[1]) for a, b in pairs))
    return tuple(out)


def _lead(drafts: Drafts, lead: Lead, dim: int, size: int) -> list[Axis]:
    """The axes of examples and heads, the latter as steps of `size` through `dim`."""
    steps = {BATCH: 1, CHANNELS: size, REPEAT: 0}
    names = {BATCH: BATCH, CHANNELS: dim, REPEAT: REPEAT}
    out: list[Axis] = []
    for axis in reversed(lead):
        modes = []
        for kind, n in reversed(axis):
            modes.append(Mode(n, names[kind], steps[kind]))
            steps[kind] *= n
        out.append(tuple(reversed(modes)))
    if steps[BATCH] not in (1, drafts.batch):
        msg = "it mixes examples"
        raise Refusal(msg)
    return out[::-1]


def logits(r: Reader, query: Value, key: Value) -> Value:
    """``query (..., n, d)`` times the transpose of ``key (..., m, d)``."""
    factor = 1.0
    plain = []
    for value in (query, key):
        if isinstance(value.base, Parameter):
            value = own(r.drafts, value)  # noqa: PLW2901
        if not isinstance(value.base, Entry):
            msg = f"it multiplies {value.base}"
            raise Refusal(msg)
        scale, shift, inner = outer_affine(value.base.function)
        if shift == 0 and scale != 1:
            factor *= scale
            value = Value(dataclasses.replace(value.base, function=inner), value.layout)  # noqa: PLW2901
        plain.append(value)
    q, k = (_headed(r.drafts, value) for value in plain)
    lead = _common(q.lead, k.lead)
    if q.size != k.size or q.heads != k.heads:
        msg = "queries and keys do not have as many channels"
        raise Refusal(msg)
    positions = r.drafts.shape(q.node).positions, r.drafts.shape(k.node).positions
    base = Logits(q.node, k.node, q.heads, q.size, positions, lead, factor)
    return Value(base, Layout((*_lead(r.drafts, lead, HEADS, 1), *_rows(base))))


def _rows(base: Logits) -> tuple[Axis, Axis]:
    """The axes of queries and of keys."""
    rows, columns = (
        tuple(Mode(n, start + d, 1) for d, n in enumerate(sizes, start=1) if n > 1)
        for start, sizes in zip((0, KEYS), base.positions, strict=True)
    )
    return rows, columns


def _standing(value: Value) -> bool:
    """Whether the last two axes are all queries and all keys, in order."""
    return len(value.shape) > 1 and value.layout.axes[-2:] == _rows(value.base)


def scaled(value: Value, name: str, number: float, *, first: bool) -> Value:
    """Logits times or divided by a number."""
    if value.base.weights or name not in ("mul", "div") or (name == "div" and first):
        msg = f"a number changes {value.base}"
        raise Refusal(msg)
    factor = number if name == "mul" else 1.0 / number
    return Value(dataclasses.replace(value.base, scale=value.base.scale * factor), value.layout)


def masked(name: str, a: Any, b: Any, number: float | None = None) -> Value:
    """Logits with a fixed mask: added (0 and -inf), filled where true, or kept where true."""
    value, mask = (a, b) if isinstance(a, Value) and isinstance(a.base, Logits) else (b, a)
    if isinstance(mask, Value) or value.base.weights or not _standing(value):
        what = mask.base if isinstance(mask, Value) else "a mask"
        msg = f"{value.base} meet {what}"
        raise Refusal(msg, "causal masks are read")
    if name == "add":
        hidden = mask <= _HIDDEN
        if not bool(((mask == 0) | hidden).all()):
            msg = "a fixed bias is added to attention's logits"
            raise Refusal(msg, "causal masks are read")
    elif name in ("fill", "where") and number is not None and number <= _HIDDEN:
        hidden = mask.bool() if name == "fill" else ~mask.bool()
    else:
        msg = "a mask sets attention's logits to something else than minus infinity"
        raise Refusal(msg)
    array = np.broadcast_to(hidden.cpu().numpy(), value.shape)
    rows, columns = value.shape[-2:]
    if not array.any():
        return value
    if rows != columns or not (array == ~np.tri(rows, columns, dtype=bool)).all():
        msg = "the mask of attention is not causal"
        raise Refusal(msg, "no mask, or one that hides exactly the keys after the query")
    return Value(dataclasses.replace(value.base, causal=True), value.layout)


@operation("softmax", "_softmax", "log_softmax", "_log_softmax")
def _softmax(r: Reader, x: Value, dim: int, **_: Any) -> Value:
    if "log" in r.name or not isinstance(x.base, Logits):
        msg = "a softmax over channels or positions is no function of one variable"
        raise Refusal(msg, "leave it out at the output: kernels are of logits")
    last = dim % len(x.shape) == len(x.shape) - 1
    if x.base.weights or not last or not _standing(x):
        msg = "the softmax of attention is not taken over its keys"
        raise Refusal(msg)
    return Value(dataclasses.replace(x.base, weights=True), x.layout)


def attend(r: Reader, weights: Value, value: Value) -> Value:
    """Attention's weights ``(..., n, m)`` times values ``(..., m, d)``."""
    base, drafts = weights.base, r.drafts
    if not _standing(weights):
        msg = f"{base} stand in an unusual order"
        raise Refusal(msg)
    v = _headed(drafts, value)
    lead = _common(base.lead, v.lead)
    stands = list(weights.layout.axes[:-2]) == _lead(drafts, base.lead, HEADS, 1)
    if not stands or drafts.shape(v.node).positions != base.positions[1] or v.heads != base.heads:
        msg = "values do not have the heads and positions of the keys"
        raise Refusal(msg)
    scaling, query = _scaling(drafts, base)
    layer = DotProductAttention(base.heads, scaling, base.weights, base.causal)
    node = drafts.add(layer, (query, base.key, v.node))
    axes = _lead(drafts, lead, CHANNELS, v.size)
    inner = (Mode(v.size, CHANNELS, 1),) if v.size > 1 else ()
    return Value(Entry(node), Layout((*axes, _rows(base)[0], inner)))


def _scaling(drafts: Drafts, base: Logits) -> tuple[str, int]:
    """The name of the scale, and queries that make up for what no name says."""
    ratio = base.scale * math.sqrt(base.size)
    if abs(ratio - 1.0) < 1e-6:
        return "1/sqrt(d)", base.query
    if abs(base.scale * base.size - 1.0) < 1e-6:
        return "1/d", base.query
    return "1/sqrt(d)", drafts.add(Affine(ratio), (base.query,))


@operation("scaled_dot_product_attention")
def _called(
    r: Reader, query: Value, key: Value, value: Value, attn_mask: Any = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,  # noqa: FBT001, FBT002 -- PyTorch's
    enable_gqa: bool = False,  # noqa: FBT001, FBT002
) -> Value:  # fmt: skip
    del enable_gqa  # unequal heads are found below
    if dropout_p:
        msg = "in training mode it drops attention's weights"
        raise Refusal(msg, "module.eval()")
    if not all(isinstance(v, Value) for v in (query, key, value)):
        msg = "its queries, keys or values are fixed"
        raise Refusal(msg)
    found = logits(r, query, key)
    found = scaled(found, "mul", found.base.size**-0.5 if scale is None else scale, first=False)
    if is_causal:
        rows, columns = found.shape[-2:]
        if rows != columns:
            msg = "the mask of attention is not square"
            raise Refusal(msg)
        found = Value(dataclasses.replace(found.base, causal=True), found.layout)
    if attn_mask is not None:
        if isinstance(attn_mask, Value):
            msg = "its mask or bias depends on the input or is learned"
            raise Refusal(msg)
        keep = attn_mask.dtype.is_floating_point
        found = (
            masked("add", found, attn_mask)
            if keep
            else masked("where", found, attn_mask, -math.inf)
        )
    found = Value(dataclasses.replace(found.base, weights=True), found.layout)
    return attend(r, found, value)
