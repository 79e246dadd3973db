"""Embeddings and recurrence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from whydeep.network._layers import Dropout
from whydeep.network._network import INPUT
from whydeep.network._positions import index as index_positions
from whydeep.network._sequence import Embedding, Recurrent
from whydeep.network.torch_reader._align import place
from whydeep.network.torch_reader._draft import Entry, Refusal, Value
from whydeep.network.torch_reader._layout import BATCH, CHANNELS, REPEAT, Layout, Mode
from whydeep.network.torch_reader._operations import Missing, Reader, operation
from whydeep.network.torch_reader._parameter import parameter_of, tidy, weights_of

__all__: list[str] = []


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
    first = int(table.flat[0])
    steps = []
    for axis, size in enumerate(table.shape):
        second = tuple(int(a == axis) for a in range(table.ndim))
        steps.append(int(table[second]) - first if size > 1 else 0)
    grids = np.meshgrid(*(np.arange(n) for n in table.shape), indexing="ij", sparse=True)
    spaced = first + sum(s * g for s, g in zip(steps, grids, strict=True))
    rows = weight.layout.axes[0]
    if len(rows) > 1 or min(steps) < 0 or not np.array_equal(spaced + 0 * table, table):
        msg = "it looks up fixed tokens that are not evenly spaced"
        raise Refusal(msg, "positions 0, 1, 2, ...")
    axes = []
    for step, size in zip(steps, table.shape, strict=True):
        along = tuple(m._replace(size=size, step=step * m.step) for m in rows)
        axes.append(() if size == 1 else along if step else (Mode(size, REPEAT, 0),))
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
