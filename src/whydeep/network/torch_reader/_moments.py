"""Normalisation that a module writes out itself: means over channels, recognised where they end.

``x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)`` is an `RMSNorm`, ``(x - x.mean(...)) /
torch.sqrt(x.var(..., correction=0) + eps)`` a `LayerNorm`. Until it is clear which, a mean is
carried along as a `Moment`.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from whydeep.network._layers import Affine
from whydeep.network._network import INPUT
from whydeep.network._normalisation import BatchNorm, LayerNorm, RMSNorm
from whydeep.network.torch_reader._draft import Draft, Entry, Refusal, Value
from whydeep.network.torch_reader._functions import Expression, Z, outer_affine
from whydeep.network.torch_reader._layout import CHANNELS, Layout
from whydeep.network.torch_reader._operations import Reader, operation

__all__ = ["Moment", "combined", "mean_over_channels"]


@dataclass(frozen=True)
class Moment:
    """``function(mean of inner(value) over channels)``.

    Args:
        node: whose value.
        inner: what is averaged.
        function: of the mean.
    """

    node: int
    inner: Expression
    function: Expression = Z

    def __str__(self) -> str:
        return "a mean over channels"


def mean_over_channels(r: Reader, x: Value, axes: list[int], *, kept: bool) -> Value:
    """The mean of a value over all its channels, which must be the only thing in these axes."""
    layout = x.layout.simplified()
    width = r.drafts.shape(x.base.node).channels
    modes = [m for a in axes for m in layout.axes[a]]
    if not all(m.dim == CHANNELS for m in modes) or not layout.whole(CHANNELS, width):
        msg = "it takes a mean over some of the channels, or over channels and positions"
        raise Refusal(msg)
    if math.prod(m.size for m in modes) != width:
        msg = "it takes a mean over some of the channels"
        raise Refusal(msg)
    left = [
        () if a in axes else axis for a, axis in enumerate(layout.axes) if kept or a not in axes
    ]
    return Value(Moment(x.base.node, x.base.function), Layout(tuple(left), layout.start))


@operation("var", "std")
def _variance(
    r: Reader, x: Value, dim: Any = None, correction: Any = None, keepdim: bool = False,  # noqa: FBT001, FBT002 -- PyTorch's
    unbiased: bool = True,  # noqa: FBT001, FBT002
) -> Value:  # fmt: skip
    if dim is None or not isinstance(x.base, Entry):
        msg = "it takes a variance over everything"
        raise Refusal(msg)
    axes = [d % len(x.shape) for d in ([dim] if isinstance(dim, int) else dim)]
    centred = Value(Entry(x.base.node, _squared(("centred", x.base.function))), x.layout)
    moment = mean_over_channels(r, centred, axes, kept=keepdim)
    count = math.prod(x.shape[a] for a in axes)
    less = (1 if unbiased else 0) if correction is None else correction
    function: Expression = Z if less == 0 else ("mul", Z, count / (count - less))
    if r.name == "std":
        function = ("sqrt", function)
    return Value(Moment(moment.base.node, moment.base.inner, function), moment.layout)


@operation("linalg_vector_norm", "norm")
def _norm(
    r: Reader, x: Value, ord: Any = 2, dim: Any = None, keepdim: bool = False, p: Any = None,  # noqa: A002, FBT001, FBT002 -- PyTorch's
    dtype: Any = None,
) -> Value:  # fmt: skip
    del dtype
    if (ord if p is None else p) != 2 or dim is None or not isinstance(x.base, Entry):
        msg = "it takes a norm that is not over the channels"
        raise Refusal(msg)
    axes = [d % len(x.shape) for d in ([dim] if isinstance(dim, int) else dim)]
    squares = Value(Entry(x.base.node, _squared(x.base.function)), x.layout)
    moment = mean_over_channels(r, squares, axes, kept=keepdim)
    count = math.prod(x.shape[a] for a in axes)
    return Value(
        Moment(moment.base.node, moment.base.inner, ("sqrt", ("mul", Z, float(count)))),
        moment.layout,
    )


def _squared(f: Expression) -> Expression:
    return ("pow", f, 2.0)


def _is_square(inner: Expression, f: Expression) -> bool:
    return inner in (_squared(f), ("pow", f, 2), ("square", f), ("mul", f, f))


def combined(r: Reader, name: str, a: Any, b: Any) -> Value:
    """A value joined with a mean over its own channels: a norm, or a step towards one."""
    if not isinstance(a, Value) or not isinstance(b, Value):
        msg = "fixed numbers meet a mean over channels"
        raise Refusal(msg)
    if isinstance(a.base, Moment) and name == "mul":
        a, b = b, a
    moment = b.base
    if not isinstance(a.base, Entry) or not isinstance(moment, Moment) or not _same_rows(a, b):
        msg = "a mean over channels meets another value"
        raise Refusal(msg)
    if name == "sub" and moment == Moment(a.base.node, a.base.function):
        return Value(Entry(a.base.node, ("centred", a.base.function), r.drafts.label), a.layout)
    inverse = _inverse_root(moment.function, divided=name == "div")
    if name not in ("mul", "div") or inverse is None:
        msg = "a value meets a mean over its channels in a way that is no norm"
        raise Refusal(msg)
    entry, learned = _before_scale(r, a.base)
    centred = moment.inner[0] == "pow" and moment.inner[1][0] == "centred"
    if entry.node != moment.node or not _is_square(moment.inner, entry.function):
        msg = "a value is divided by the mean of something else than its squares"
        raise Refusal(msg)
    factor, eps = inverse
    below = r.drafts.emit(Entry(entry.node, entry.function[1] if centred else entry.function))
    node = r.drafts.add((LayerNorm if centred else RMSNorm)(eps), (below,))
    if learned is not None:
        node = r.drafts.put(dataclasses.replace(learned, inputs=(node,)))
    if abs(factor - 1.0) > 1e-12:
        node = r.drafts.add(Affine(factor), (node,))
    return Value(Entry(node), a.layout)


def _before_scale(r: Reader, entry: Entry) -> tuple[Entry, Draft | None]:
    """What a learned scale was put on, if it came before the division by the root mean square."""
    drafts = r.drafts
    draft = None if entry.node == INPUT else drafts.nodes[entry.node]
    layer = draft.layer if draft is not None and entry.function == Z else None
    if not isinstance(layer, BatchNorm) or draft is None or (layer.eps, layer.var) != (0.0, 1.0):
        return entry, None
    below = draft.inputs[0]
    if below in drafts.centred:
        found = drafts.centred[below]
        return Entry(found.node, ("centred", found.function)), draft
    return drafts.read_by(below), draft


def _same_rows(value: Value, moment: Value) -> bool:
    """Whether a mean is that of the row it meets."""
    rank = len(value.shape)
    layout = moment.layout.expanded([1] * (rank - len(moment.shape)) + list(moment.shape))
    rows = [tuple(m for m in axis if m.dim != CHANNELS) for axis in value.layout.simplified().axes]
    spread = [tuple(m for m in axis if m.dim >= 0) for axis in layout.simplified().axes]
    return rows == spread and len(moment.shape) <= rank


def _inverse_root(f: Expression, *, divided: bool) -> tuple[float, float] | None:
    """``(a, eps)`` if the factor ``f(m)`` (or ``1/f(m)``) is ``a / sqrt(m + eps)``, else None."""
    scale, shift, inner = outer_affine(f)
    scale = 1.0 / scale if divided else scale
    root = _root(inner, power=0.5 if divided else -0.5) if shift == 0 else None
    if root is not None:
        a, b, argument = outer_affine(root)
        return (scale / math.sqrt(a), b / a) if argument == Z and a > 0 and b >= 0 else None
    over = _divisor(inner, divided=divided) if shift == 0 else None
    found = None if over is None else _inverse_root(over, divided=True)
    return None if found is None else (scale * found[0], found[1])


def _divisor(f: Expression, *, divided: bool) -> Expression | None:
    """What ``f`` divides by, or what it keeps away from zero if it is divided by."""
    if divided:
        # F.normalize: what keeps a zero vector from dividing by zero changes no other.
        return f[1] if f[0] in ("clamp_min", "clamp") and f[2] <= 1e-6 else None
    if f[0] == "reciprocal":
        return f[1]
    return f[2] if f[0] == "div" and f[1] == 1.0 else None


def _root(f: Expression, *, power: float) -> Expression | None:
    """The argument of a square root, or of an inverse one."""
    if f[0] == ("sqrt" if power > 0 else "rsqrt") or (f[0] == "pow" and f[2] == power):
        return f[1]
    return None
