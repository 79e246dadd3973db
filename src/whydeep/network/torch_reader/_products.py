"""Matrix products: layers of weights, attention, and fixed maps between positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from whydeep.network._convolution import Conv
from whydeep.network._layers import Affine, Dense
from whydeep.network._positions import Flatten
from whydeep.network.torch_reader._align import own, rectangular
from whydeep.network.torch_reader._attention import Logits, attend, logits
from whydeep.network.torch_reader._draft import Entry, Refusal, Value
from whydeep.network.torch_reader._elementwise import joined_sum
from whydeep.network.torch_reader._layout import BATCH, CHANNELS, REPEAT, Layout, Mode
from whydeep.network.torch_reader._operations import Reader, operation
from whydeep.network.torch_reader._parameter import Parameter, enter_bias, parameter_of, weights_of

__all__ = ["dense"]


@operation("linear")
def _linear(r: Reader, x: Any, weight: Any, bias: Any = None) -> Value:
    if not isinstance(x, Value):
        msg = "it is applied to fixed numbers"
        raise Refusal(msg)
    return dense(r, x, weight, bias)


def dense(r: Reader, x: Value, weight: Any, bias: Any = None) -> Value:
    """``x W^T + b`` over the last axis of x, for a parameter W of axes (outputs, inputs).

    Where that axis holds positions beside the channels, the layer is a convolution with windows
    side by side (patches), or a flattening and a dense layer if it holds all of them.
    """
    parameter = parameter_of(weight)
    if parameter is None:
        if isinstance(weight, Value):
            msg = "both factors depend on the input"
            raise Refusal(msg)
        return _fixed_map(r, x, weight, bias)
    if not isinstance(x.base, (Entry, Parameter)):
        msg = f"weights multiply {x.base}"
        raise Refusal(msg)
    x = own(r.drafts, x)
    node, layout = x.base.node, x.layout
    shape = r.drafts.shape(node)
    last, rest = layout.axes[-1], layout.axes[:-1]
    _check_contracted(r, node, last)
    width = weight.shape[0]
    spread = [m for m in last if m.dim > 0]
    dims = r.drafts.dims(node)[1:]
    columns = Layout((last,)).flat(dims) if spread else Layout((last,)).index(CHANNELS, last)
    sizes = dict(dims)
    if not spread:
        patch, fan_in = None, shape.channels
        node = r.drafts.selected(node, np.zeros(1, np.int64), ()) if shape.count == 1 else node
    elif not any(m.dim > 0 for axis in rest for m in axis):
        node, patch, fan_in = r.drafts.add(Flatten(), (node,)), None, shape.count * shape.channels
    else:
        patch = _patch(spread, len(shape.positions))
        fan_in = math.prod(patch) * shape.channels
        local = [(d, patch[d - 1]) for d in range(1, len(patch) + 1)] + [
            (CHANNELS, sizes[CHANNELS])
        ]
        columns = Layout((last,)).flat(local)
    inputs = np.argsort(columns.ravel())
    numbers = weights_of(parameter, parameter_of(bias), fan_in)
    index = _weights(weight, inputs, None if patch is None else (*patch, shape.channels))
    sources = {"weight": parameter.source(index)}
    bias_mean = enter_bias(bias, sources)
    label = parameter.name.rpartition(".")[0] or parameter.name
    if patch is None:
        layer: Any = Dense(width, **numbers)
    else:
        layer = Conv(width, patch, patch, "VALID", **numbers)
    new = r.drafts.add(layer, (node,), sources=sources, label=label)
    if bias_mean != 0:
        new = r.drafts.add(Affine(1.0, bias_mean), (new,))
    steps = patch or (1,) * len(shape.positions)
    axes = tuple(
        tuple(m._replace(step=m.step // steps[m.dim - 1]) if m.dim > 0 else m for m in axis)
        for axis in rest
    )
    out = (Mode(width, CHANNELS, 1),) if width > 1 else ()
    value = Value(Entry(new), Layout((*axes, out)))
    if bias is not None and parameter_of(bias) is None:
        return joined_sum(r, value, bias)
    return value


def _check_contracted(r: Reader, node: int, last: Sequence[Mode]) -> None:
    """Refuse weights over something else than all channels (and whole windows of positions)."""
    channels = Layout((tuple(m for m in last if m.dim == CHANNELS),))
    if any(m.dim in (BATCH, REPEAT) for m in last):
        msg = "its weights run over examples, or over repeated numbers"
        raise Refusal(msg)
    if channels.whole(CHANNELS, r.drafts.shape(node).channels):
        return
    if r.drafts.raw(node):
        msg = "its weights run over a dimension of the input which is not that of the channels"
        raise Refusal(msg, "one dimension of the input holds the channels in all its uses")
    if channels.modes:
        msg = "its weights are shared between groups of channels"
        raise Refusal(msg)
    msg = "its weights mix positions (a dense layer over tokens or pixels, channel by channel)"
    raise Refusal(
        msg, "such a layer has no limit as channels grow: weights over channels at each position"
    )


def _patch(spread: Sequence[Mode], rank: int) -> tuple[int, ...]:
    """How far the contracted steps reach in each dimension of positions, from 0 without gaps."""
    sizes = []
    for dim in range(1, rank + 1):
        reach = 1
        for step, size in sorted((m.step, m.size) for m in spread if m.dim == dim):
            if step != reach:
                msg = "its weights run over positions that are not neighbours"
                raise Refusal(msg)
            reach *= size
        sizes.append(reach)
    return tuple(sizes)


def _weights(
    weight: Value, inputs: np.ndarray, window: tuple[int, ...] | None
) -> Callable[[], np.ndarray]:
    """Which entries of the parameter a layer's weights (inputs, outputs) are."""

    def index() -> np.ndarray:
        table = weight.layout.flat(weight.base.dims)[:, inputs].T
        return table if window is None else table.reshape(*window, -1)

    return index


def _fixed_map(r: Reader, x: Value, matrix: Any, bias: Any) -> Value:
    """A fixed matrix (outputs, inputs) over the last axis, which must be one of positions."""
    if bias is not None or not isinstance(x.base, Entry) or matrix.ndim != 2:
        msg = "a fixed matrix multiplies it"
        raise Refusal(msg)
    x = rectangular(r.drafts, x)
    node, layout = x.base.node, x.layout
    last = layout.axes[-1]
    if len(last) > 1 or (last and last[0].dim <= 0) or not last:
        msg = "a fixed matrix runs over channels"
        raise Refusal(msg, "a layer with weights of its own, or a map between positions")
    dim, before = last[0].dim, r.drafts.shape(node).positions
    table = matrix.detach().cpu().double().numpy()
    after = (*before[: dim - 1], len(table), *before[dim:])

    def whole() -> np.ndarray:
        outer, inner = math.prod(before[: dim - 1]), math.prod(before[dim:])
        return np.kron(np.eye(outer), np.kron(table, np.eye(inner)))

    new = r.drafts.mixed(node, whole, after)
    mode = (Mode(len(table), dim, 1),) if len(table) > 1 else ()
    return Value(Entry(new), Layout((*layout.axes[:-1], mode)))


# -- products of two operands ----------------------------------------------------------------------


def _turned(x: Any) -> Any:
    """The transpose of the last two axes."""
    if not isinstance(x, Value):
        return x.transpose(-1, -2)
    rank = len(x.shape)
    return x.seen(x.layout.permuted([*range(rank - 2), rank - 1, rank - 2]))


def product(r: Reader, a: Any, b: Any) -> Value:
    """``a (..., n, k)`` times ``b (..., k, m)``."""
    if isinstance(b, Value) and isinstance(b.base, Logits):
        return _turned(product(r, _turned(b), _turned(a)))
    if isinstance(a, Value) and isinstance(a.base, Logits):
        if not isinstance(b, Value) or not isinstance(b.base, Entry):
            msg = "attention's weights multiply fixed numbers or parameters"
            raise Refusal(msg)
        return attend(r, a, b)
    if _is_matrix(b) and isinstance(a, Value) and parameter_of(a) is None:
        return dense(r, a, _turned(b))
    if _is_matrix(a) and isinstance(b, Value) and parameter_of(b) is None:
        return _turned(dense(r, _turned(b), a))
    if all(isinstance(o, Value) and isinstance(o.base, Entry) for o in (a, b)):
        return logits(r, a, _turned(b))
    msg = "it multiplies matrices of parameters or fixed numbers"
    raise Refusal(msg)


def _is_matrix(x: Any) -> bool:
    """Whether an operand is one matrix of fixed numbers or parameters."""
    fixed = not isinstance(x, Value) or parameter_of(x) is not None
    return fixed and len(x.shape) == 2


@operation("matmul", "mm", "bmm")
def _matmul(r: Reader, x: Any, other: Any = None, mat2: Any = None) -> Value:
    second = mat2 if other is None else other
    if len(x.shape) < 2 or len(second.shape) < 2:
        msg = "it multiplies a vector"
        raise Refusal(msg, "a matrix of one column")
    return product(r, x, second)


@operation("addmm")
def _addmm(r: Reader, x: Any, mat1: Any, mat2: Any, beta: Any = 1, alpha: Any = 1) -> Value:
    if (beta, alpha) != (1, 1):
        msg = "its factors are not 1"
        raise Refusal(msg)
    if isinstance(mat1, Value) and parameter_of(mat2) is not None:
        return dense(r, mat1, _turned(mat2), x)
    return joined_sum(r, product(r, mat1, mat2), x)


@operation("baddbmm")
def _baddbmm(r: Reader, x: Any, batch1: Any, batch2: Any, beta: Any = 1, alpha: Any = 1) -> Value:
    if (beta, alpha) != (1, 1):
        msg = "its factors are not 1"
        raise Refusal(msg)
    return joined_sum(r, product(r, batch1, batch2), x)


@operation("einsum")
def _einsum(r: Reader, equation: str, tensors: Sequence[Any], path: Any = None) -> Value:
    del path
    left, _, out = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if "..." in equation or "->" not in equation or len(terms) > 2:
        msg = f'the equation "{equation}" is not one of two operands, written out'
        raise Refusal(msg)
    if any(len(set(t)) < len(t) for t in (*terms, out)):
        msg = f'the equation "{equation}" takes a diagonal'
        raise Refusal(msg)
    if len(terms) == 1:
        if set(left) != set(out):
            msg = f'the equation "{equation}" takes a sum'
            raise Refusal(msg)
        x = tensors[0]
        return x.seen(x.layout.permuted([left.index(c) for c in out]))
    first, second = terms
    a, b = tensors
    sizes = dict(zip(first, a.shape, strict=True)) | dict(zip(second, b.shape, strict=True))
    both = [c for c in first if c in second and c in out]
    summed = [c for c in first if c in second and c not in out]
    one = [c for c in first if c not in second]
    two = [c for c in second if c not in first]
    if any(c not in out for c in (*one, *two)):
        msg = f'the equation "{equation}" takes a sum over one operand'
        raise Refusal(msg)
    x = _grouped(a, first, [*([c] for c in both), one, summed], sizes)
    y = _grouped(b, second, [*([c] for c in both), summed, two], sizes)
    result = product(r, x, y)
    order = [*both, *one, *two]
    flat = result.seen(result.layout.regrouped([sizes[c] for c in order]))
    return flat.seen(flat.layout.permuted([order.index(c) for c in out]))


def _grouped(x: Any, letters: str, groups: Sequence[Sequence[str]], sizes: dict[str, int]) -> Any:
    """An operand with its axes in groups, each as one axis."""
    order = [letters.index(c) for g in groups for c in g]
    shape = [math.prod(sizes[c] for c in g) for g in groups]
    if not isinstance(x, Value):
        return x.permute(order).reshape(shape)
    layout = x.layout.permuted(order)
    return x.seen(layout.regrouped(shape))
