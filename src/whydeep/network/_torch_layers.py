"""Layers of ``torch.nn`` that see positions: convolutions, norms, pools, embeddings, recurrence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.network._convolution import Conv, ConvTranspose, window_pads
from whydeep.network._layers import Affine, Dropout
from whydeep.network._network import INPUT
from whydeep.network._normalisation import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from whydeep.network._positions import index as index_positions
from whydeep.network._sequence import Embedding, Recurrent
from whydeep.network._torch_align import Parameter, own, place, position_cells
from whydeep.network._torch_draft import Entry, Refusal, Source, Value
from whydeep.network._torch_elementwise import scalar
from whydeep.network._torch_layout import BATCH, CHANNELS, Layout, Mode
from whydeep.network._torch_operations import Missing, Reader, operation, tidy, weights_of
from whydeep.network._torch_products import _bias, parameter_of

__all__ = ["Spatial", "spatial"]


@dataclass(frozen=True)
class Spatial:
    """A value as ``(N, C, *spatial)`` layers see it.

    Args:
        node: with positions ``(*lead, *spatial)``.
        first: the first axis: examples, and positions that the layer leaves alone (frames).
        lead: how many dimensions of those there are.
        sizes: of the spatial dimensions.
    """

    node: int
    first: tuple[Mode, ...]
    lead: int
    sizes: tuple[int, ...]

    def layout(self, sizes: Sequence[int], channels: int) -> Layout:
        """Of a result ``(N, channels, *sizes)``."""
        spatial = [
            (Mode(n, d, 1),) if n > 1 else () for d, n in enumerate(sizes, start=self.lead + 1)
        ]
        last = (Mode(channels, CHANNELS, 1),) if channels > 1 else ()
        return Layout((self.first, last, *spatial))


def spatial(r: Reader, x: Any, count: int) -> Spatial:
    """Read ``(N, C, *spatial)`` with `count` spatial dimensions."""
    if not isinstance(x, Value) or not isinstance(x.base, Entry):
        msg = f"it is applied to {x.base if isinstance(x, Value) else 'fixed numbers'}"
        raise Refusal(msg)
    if len(x.shape) != count + 2:
        msg = f"it is applied to {len(x.shape)} dimensions"
        raise Refusal(msg, f"(N, C, ...) with {count} more dimensions")
    layout = x.layout.simplified()
    groups = [g for g in position_cells(layout, [0]) if g[0].dim != BATCH]
    cells = [*groups, *layout.axes[2:]]
    node = place(r.drafts, x.seen(layout), cells, layout.axes[1])
    steps = {}
    for number, group in enumerate(groups, start=1):
        step = 1
        for mode in reversed(group):
            steps[mode] = Mode(mode.size, number, step)
            step *= mode.size
    first = tuple(steps.get(m, m) for m in layout.axes[0])
    return Spatial(node, first, len(groups), tuple(x.shape[2:]))


# -- convolutions ----------------------------------------------------------------------------------


@operation("conv1d", "conv2d", "conv3d")
def _conv(
    r: Reader, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Value:  # fmt: skip
    rank = int(r.name[4])
    kernel, plain = _kernel(weight, groups)
    window = weight.shape[2:]
    strides, dilations = _each(stride, rank), _each(dilation, rank)
    found = spatial(r, x, rank)
    node, pads = found.node, _pads(padding, window, dilations, rank)
    before = r.drafts.nodes[node].pads if node != INPUT else None
    if before is not None and not (before.circular and any(map(sum, pads))):
        merged = _merged(before.pads[found.lead :], pads)
        name = _circular_name(merged, window, strides, dilations) if before.circular else merged
        if name is not None and not any(map(sum, before.pads[: found.lead])):
            node, pads = before.node, name
    sizes = r.drafts.shape(node).positions[found.lead :]
    named = (
        pads if isinstance(pads, str) else _padding_name(sizes, window, strides, dilations, pads)
    )
    if not isinstance(named, str):
        named = (*((0, 0),) * found.lead, *named)
    elif found.lead and named == "CIRCULAR":
        msg = "a circular convolution is applied to frames"
        raise Refusal(msg)
    ones = (1,) * found.lead
    layer = Conv(
        weight.shape[0], (*ones, *window), (*ones, *strides), named,
        dilation=(*ones, *dilations),
        **weights_of(kernel, parameter_of(bias), math.prod(weight.shape[1:])),
    )  # fmt: skip
    order = (*range(2, 2 + rank), 1, 0)
    sources = {"weight": kernel.source(lambda: _reordered(plain, order, found.lead))}
    return _convolved(r, layer, node, sources, bias, found)


def _kernel(weight: Any, groups: int) -> tuple[Parameter, Value]:
    kernel = parameter_of(weight)
    if kernel is None:
        msg = "its weights are fixed numbers or depend on the input"
        raise Refusal(msg)
    if groups != 1:
        msg = f"its channels are in {groups} groups (a depthwise or grouped convolution)"
        raise Refusal(msg, "groups=1: a group's width has to grow")
    return kernel, weight


def _reordered(weight: Value, order: Sequence[int], lead: int) -> np.ndarray:
    table = weight.layout.flat(weight.base.dims).transpose(order)
    return table.reshape((1,) * lead + table.shape)


def _convolved(
    r: Reader, layer: Any, node: int, sources: dict[str, Any], bias: Any, found: Spatial
) -> Value:
    mean = _bias(bias, sources)
    name = sources["weight"][0].name
    label = name.rpartition(".")[0] or name
    new = r.drafts.add(layer, (node,), sources=sources, label=label)
    sizes = r.drafts.shape(new).positions[found.lead :]
    if mean != 0:
        new = r.drafts.add(Affine(1.0, mean), (new,))
    return Value(Entry(new), found.layout(sizes, layer.channels))


def _each(value: Any, count: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * count if len(values) == 1 else values


def _pads(
    padding: Any, window: Sequence[int], dilation: Sequence[int], rank: int
) -> tuple[tuple[int, int], ...]:
    """Zeros before and after each dimension."""
    if padding == "valid":
        return ((0, 0),) * rank
    if padding == "same":
        reach = [d * (k - 1) for k, d in zip(window, dilation, strict=True)]
        return tuple((n // 2, n - n // 2) for n in reach)
    return tuple((p, p) for p in _each(padding, rank))


def _merged(
    one: Sequence[tuple[int, int]], two: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(one, two, strict=True))


def _padding_name(
    sizes: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int],
    pads: tuple[tuple[int, int], ...],
) -> Any:  # fmt: skip
    """The name of a padding where it has one, which faster algorithms know."""
    if not any(map(sum, pads)):
        return "VALID"
    same = window_pads(tuple(sizes), tuple(window), tuple(strides), "SAME", tuple(dilation))
    return "SAME" if set(strides) == {1} and same == pads else pads


def _circular_name(
    pads: Sequence[tuple[int, int]], window: Sequence[int], strides: Sequence[int],
    dilation: Sequence[int],
) -> str | None:  # fmt: skip
    reach = [d * (k - 1) for k, d in zip(window, dilation, strict=True)]
    fits = tuple(pads) == tuple((n // 2, n - n // 2) for n in reach)
    return "CIRCULAR" if fits and set(strides) == {1} else None


@operation("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(
    r: Reader, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Value:  # fmt: skip
    rank = int(r.name[-2])
    kernel, plain = _kernel(weight, groups)
    window, strides = weight.shape[2:], _each(stride, rank)
    found = spatial(r, x, rank)
    pads, more = _each(padding, rank), _each(output_padding, rank)
    if (
        found.lead
        or set(_each(dilation, rank)) != {1}
        or any(m > p for p, m in zip(pads, more, strict=True))
    ):
        msg = "it is dilated, or its output_padding is larger than its padding"
        raise Refusal(msg)
    cut = tuple((p, p - m) for p, m in zip(pads, more, strict=True))
    fan_in = weight.shape[0] * math.prod(window)
    layer = ConvTranspose(
        weight.shape[1], tuple(window), strides, cut,
        **weights_of(kernel, parameter_of(bias), fan_in),
    )  # fmt: skip
    order = (*range(2, 2 + rank), 0, 1)
    sources = {"weight": kernel.source(lambda: _reordered(plain, order, 0))}
    return _convolved(r, layer, found.node, sources, bias, found)


# -- norms -----------------------------------------------------------------------------------------


def _norm_numbers(operand: Any, neutral: float) -> tuple[float, float]:
    """``(value, rate)`` of a norm's own scale or shift."""
    if operand is None:
        return neutral, 0.0
    parameter = parameter_of(operand)
    if parameter is None:
        value = scalar(operand)
        if value is None:
            msg = "its fixed scales or shifts differ from channel to channel"
            raise Refusal(msg)
        return value, 0.0
    if parameter.variance != 0:
        msg = f"{parameter.name} is drawn at random, or has been trained"
        raise Refusal(msg, "a norm as its constructor makes it: scales 1, shifts 0")
    return parameter.mean, parameter.rate


def _norm_sources(scale: Any, shift: Any, shape: Any = None) -> dict[str, tuple[Source, ...]]:
    """Where a norm's scale and shift stand; `shape` orders their entries as channels."""
    out: dict[str, tuple[Source, ...]] = {}
    for name, operand in (("scale", scale), ("shift", shift)):
        parameter = parameter_of(operand)
        if parameter is not None:
            out[name] = parameter.source(_ordered(operand, shape))
    return out


def _ordered(operand: Value, columns: np.ndarray | None) -> Any:
    def index() -> np.ndarray:
        table = operand.layout.flat(operand.base.dims)
        if columns is None:
            return table
        out = np.empty(columns.size, dtype=np.int64)
        out[columns.ravel()] = table.ravel()
        return out.reshape(columns.shape)

    return index


def _normed(
    r: Reader, x: Value, layer: Any, scale: Any, shift: Any, columns: np.ndarray | None = None
) -> Value:
    """A norm whose own numbers are 1 and 0, and what they are instead as a further layer."""
    (gamma, gamma_lr), (beta, beta_lr) = _norm_numbers(scale, 1.0), _norm_numbers(shift, 0.0)
    plain = (gamma, beta) == (1.0, 0.0)
    rates = {"scale_lr": gamma_lr, "shift_lr": beta_lr} if plain else {}
    sources = _norm_sources(scale, shift, columns)
    new = r.drafts.add(
        type(layer)(**(vars(layer) | rates)), (x.base.node,), sources=sources if plain else {}
    )
    if not plain:
        if columns is not None and columns.ndim > 1:
            msg = "its scales or shifts are not 1 and 0 and run over positions"
            raise Refusal(msg)
        second = BatchNorm(0.0, gamma_lr, beta_lr, 0.0, 1.0, gamma, beta)
        new = r.drafts.add(second, (new,), sources=sources)
    return Value(Entry(new), x.layout)


@operation("layer_norm")
def _layer_norm(
    r: Reader, x: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None,
    eps: float = 1e-5, **_: Any,
) -> Value:  # fmt: skip
    value, over, columns = _last_axes(r, x, len(normalized_shape))
    return _normed(r, value, LayerNorm(eps, over=over), weight, bias, columns)


@operation("rms_norm")
def _rms_norm(
    r: Reader, x: Any, normalized_shape: Sequence[int], weight: Any = None, eps: Any = None
) -> Value:
    value, over, columns = _last_axes(r, x, len(normalized_shape))
    if over == "all":
        msg = "it divides by a mean over channels and positions"
        raise Refusal(msg, "a norm over channels")
    small = float(np.finfo(np.float32).eps) if eps is None else eps
    return _normed(r, value, RMSNorm(small), weight, None, columns)


def _last_axes(r: Reader, x: Any, count: int) -> tuple[Value, str, np.ndarray]:
    """What the last axes hold: the channels, or "all" that an example has, and in which order."""
    if not isinstance(x, Value) or not isinstance(x.base, (Entry, Parameter)):
        msg = f"it is applied to {x.base if isinstance(x, Value) else 'fixed numbers'}"
        raise Refusal(msg)
    value = own(r.drafts, x)
    shape = r.drafts.shape(value.base.node)
    modes = [m for axis in value.layout.axes[-count:] for m in axis]
    inside = Layout((tuple(modes),))
    dims = r.drafts.dims(value.base.node)[1:]
    if not all(m.dim > 0 or m.dim == CHANNELS for m in modes):
        msg = "it normalises over examples or repeated numbers"
        raise Refusal(msg)
    if all(inside.whole(d, n) for d, n in dims):
        columns = inside.flat(dims)
        if shape.count == 1:
            return value, "channels", columns.ravel()
        return value, "all", _as_grid(columns, shape.positions, shape.channels)
    if any(m.dim > 0 for m in modes) or not inside.whole(CHANNELS, shape.channels):
        msg = "it normalises over positions, or over a part of the channels"
        raise Refusal(msg, "over all channels, or over channels and positions together")
    return value, "channels", inside.index(CHANNELS, modes)


def _as_grid(columns: np.ndarray, positions: Sequence[int], channels: int) -> np.ndarray:
    return columns.reshape(-1).reshape(*positions, channels)


@operation("group_norm")
def _group_norm(
    r: Reader, x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5,
    **_: Any,
) -> Value:  # fmt: skip
    found = spatial(r, x, len(x.shape) - 2)
    channels = r.drafts.shape(found.node).channels
    if found.lead or (num_groups == channels and num_groups > 1):
        msg = "each of its groups is one channel, or it is applied to frames"
        raise Refusal(msg, "groups of several channels, which grow with the width")
    value = Value(Entry(found.node), found.layout(found.sizes, channels))
    return _normed(r, value, GroupNorm(eps, groups=num_groups), weight, bias)


@operation("batch_norm")
def _batch_norm(
    r: Reader, x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any,
    training: bool, momentum: float, eps: float, **_: Any,  # noqa: FBT001 -- PyTorch's
) -> Value:  # fmt: skip
    del momentum
    if training or running_mean is None:
        msg = "in training mode it mixes examples"
        raise Refusal(msg, "module.eval(): its stored numbers are then used")
    return _stored_norm(r, x, (weight, bias), (running_mean, running_var), eps)


@operation("_native_batch_norm_legit_no_training")
def _batch_norm_stored(
    r: Reader, x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any,
    momentum: float, eps: float,
) -> tuple[Any, ...]:  # fmt: skip
    del momentum
    r.shape = r.shape[0]
    unused = Missing("statistics of batch normalisation")
    norm = _stored_norm(r, x, (weight, bias), (running_mean, running_var), eps)
    return norm, unused, unused


def _stored_norm(
    r: Reader, x: Any, own_numbers: tuple[Any, Any], stored: tuple[Any, Any], eps: float
) -> Value:
    found = spatial(r, x, len(x.shape) - 2)
    mean, var = (scalar(s) for s in stored)
    if mean is None or var is None:
        msg = "its stored means and variances differ from channel to channel: it has seen data"
        raise Refusal(msg, "a module as its constructor makes it")
    scale, shift = own_numbers
    (gamma, gamma_lr), (beta, beta_lr) = _norm_numbers(scale, 1.0), _norm_numbers(shift, 0.0)
    layer = BatchNorm(eps, gamma_lr, beta_lr, mean, var, gamma, beta)
    channels = r.drafts.shape(found.node).channels
    new = r.drafts.add(layer, (found.node,), sources=_norm_sources(scale, shift))
    return Value(Entry(new), found.layout(found.sizes, channels))


# -- embeddings and recurrence ---------------------------------------------------------------------


@operation("embedding")
def _embedding(
    r: Reader, weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False,  # noqa: FBT001, FBT002 -- PyTorch's
    sparse: bool = False,  # noqa: FBT001, FBT002
) -> Value:  # fmt: skip
    del sparse
    parameter = parameter_of(weight)
    if parameter is None or scale_grad_by_freq:
        msg = "its table is fixed, or its gradients are scaled"
        raise Refusal(msg)
    if padding_idx >= 0:
        msg = f"token {padding_idx} is padding: its row is zero and is not trained"
        raise Refusal(msg, "nn.Embedding without padding_idx")
    if not isinstance(indices, Value):
        return _looked_up(weight, indices)
    if (
        not isinstance(indices.base, Entry)
        or indices.base.node != INPUT
        or indices.base != Entry(INPUT)
    ):
        msg = "its tokens are computed"
        raise Refusal(msg, "the module's input as tokens")
    if parameter.mean != 0:
        msg = f"{parameter.name} is not drawn with mean zero"
        raise Refusal(msg)
    size, width = weight.shape
    layer = Embedding(size, width, parameter.variance, parameter.rate, "standard")
    sources = {"table": parameter.source(lambda: weight.layout.flat(parameter.dims))}
    label = parameter.name.rpartition(".")[0] or parameter.name
    node = r.drafts.add(layer, (INPUT,), sources=sources, label=label)
    rank = len(r.drafts.shape(INPUT).positions)
    rename = {CHANNELS: rank + 1}
    axes = [
        tuple(m._replace(dim=rename.get(m.dim, m.dim)) for m in axis)
        for axis in indices.layout.axes
    ]
    start = tuple((rename.get(d, d), s) for d, s in indices.layout.start)
    last = (Mode(width, CHANNELS, 1),) if width > 1 else ()
    return Value(Entry(node), Layout((*axes, last), start))


def _looked_up(weight: Value, indices: Any) -> Value:
    """Rows of a parameter that do not depend on the input: learned positions."""
    table = indices.detach().cpu().numpy()
    rows = weight.layout.axes[0]
    first = int(table.reshape(-1)[0])
    steps, origin = [], (0,) * table.ndim
    for axis, size in enumerate(table.shape):
        after = tuple(int(a == axis) for a in range(table.ndim))
        steps.append(int(table[after]) - first if size > 1 else 0)
    grid = sum(
        (s * np.arange(n).reshape([-1 if a == i else 1 for a in range(table.ndim)])
         for i, (s, n) in enumerate(zip(steps, table.shape, strict=True))),
        start=np.array(first),
    )  # fmt: skip
    del origin
    if (
        len(rows) > 1
        or not np.array_equal(np.broadcast_to(grid, table.shape), table)
        or min(steps, default=0) < 0
    ):
        msg = "it looks up fixed tokens that are not evenly spaced"
        raise Refusal(msg, "positions 0, 1, 2, ...")
    dim, step = (rows[0].dim, rows[0].step) if rows else (weight.base.dims[0][0], 0)
    axes = []
    for s, n in zip(steps, table.shape, strict=True):
        mode = Mode(n, dim, s * step) if s else Mode(n, -2, 0)
        axes.append((mode,) if n > 1 else ())
    layout = weight.layout.sliced(0, first, 1, 1)
    return weight.seen(Layout((*axes, weight.layout.axes[1]), layout.start))


@operation("rnn_tanh", "rnn_relu")
def _rnn(
    r: Reader, x: Any, hx: Any, params: Sequence[Any], has_biases: bool, num_layers: int,  # noqa: FBT001 -- PyTorch's
    dropout: float, train: bool, bidirectional: bool, batch_first: bool,  # noqa: FBT001
) -> Any:  # fmt: skip
    if bidirectional:
        msg = "it runs in both directions"
        raise Refusal(msg, "bidirectional=False")
    if isinstance(hx, Value) or bool((hx != 0).any()):
        msg = "its first state is not zero"
        raise Refusal(msg)
    if not isinstance(x, Value) or not isinstance(x.base, Entry) or len(x.shape) != 3:
        msg = "it is not applied to a batch of sequences"
        raise Refusal(msg)
    layout = x.layout.simplified()
    time = 1 if batch_first else 0
    node = place(r.drafts, x.seen(layout), [layout.axes[time]], layout.axes[2])
    if any(m.dim != BATCH for m in layout.axes[1 - time]):
        msg = "it is applied to positions of two dimensions"
        raise Refusal(msg)
    length = x.shape[time]
    each = 4 if has_biases else 2
    last: list[int] = []
    for number in range(num_layers):
        if number and train and dropout:
            node = r.drafts.add(Dropout(float(dropout)), (node,))
        node = _rnn_layer(r, node, params[each * number : each * (number + 1)])
        last.append(node)
    width = r.drafts.shape(node).channels
    channels = (Mode(width, CHANNELS, 1),) if width > 1 else ()
    steps = (Mode(length, 1, 1),) if length > 1 else ()
    two = (layout.axes[1 - time], steps) if batch_first else (steps, layout.axes[1 - time])
    states = Value(Entry(node), Layout((*two, channels)))
    if num_layers > 1:
        return states, Missing("the last states of several layers in one tensor")
    final = r.drafts.add(index_positions((length,), -1), (node,))
    return states, Value(Entry(final), Layout(((), layout.axes[1 - time], channels)))


def _rnn_layer(r: Reader, node: int, params: Sequence[Any]) -> int:
    """One layer; its two biases are added, so both variances and both rates add up."""
    found = [parameter_of(p) for p in params]
    if any(p is None for p in found):
        msg = "its weights are fixed"
        raise Refusal(msg)
    into, within, *biases = [p for p in found if p is not None]
    fan_in, width = r.drafts.shape(node).channels, into.size[0]
    if any(p.mean != 0 for p in (into, within, *biases)):
        msg = "its weights or biases are not drawn with mean zero"
        raise Refusal(msg)
    names = ("input_var", "bias_var", "input_lr", "bias_lr")
    numbers = weights_of(into, None, fan_in, names)
    numbers |= {
        "weight_var": tidy(width * within.variance),
        "weight_lr": None if within.rate == 1.0 else width * within.rate,
        "bias_var": sum(b.variance for b in biases),
        "bias_lr": sum(b.rate for b in biases),
    }
    layer = Recurrent(width, r.name.removeprefix("rnn_"), **numbers)
    sources = {
        "input": into.source(lambda: Layout.of(into.dims).flat(into.dims).T),
        "weight": within.source(lambda: Layout.of(within.dims).flat(within.dims).T),
    }
    if biases:
        sources["bias"] = tuple(
            b.source(lambda b=b: Layout.of(b.dims).flat(b.dims))[0] for b in biases
        )
    return r.drafts.add(layer, (node,), sources=sources, label=into.name.rpartition(".")[0])
