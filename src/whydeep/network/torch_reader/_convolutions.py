"""Convolutions and their transposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from whydeep.network._convolution import Conv, ConvTranspose, window_pads
from whydeep.network._layers import Affine
from whydeep.network._network import INPUT
from whydeep.network.torch_reader._draft import Entry, Refusal, Value
from whydeep.network.torch_reader._operations import Reader, operation
from whydeep.network.torch_reader._parameter import Parameter, enter_bias, parameter_of, weights_of
from whydeep.network.torch_reader._spatial import Spatial, each, spatial

__all__: list[str] = []


@operation("conv1d", "conv2d", "conv3d")
def _conv(
    r: Reader, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Value:  # fmt: skip
    rank = int(r.name[4])
    kernel, plain = _kernel(weight, groups)
    window = weight.shape[2:]
    strides, dilations = each(stride, rank), each(dilation, rank)
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
    mean = enter_bias(bias, sources)
    name = sources["weight"][0].name
    label = name.rpartition(".")[0] or name
    new = r.drafts.add(layer, (node,), sources=sources, label=label)
    sizes = r.drafts.shape(new).positions[found.lead :]
    if mean != 0:
        new = r.drafts.add(Affine(1.0, mean), (new,))
    return Value(Entry(new), found.layout(sizes, layer.channels))


def _pads(
    padding: Any, window: Sequence[int], dilation: Sequence[int], rank: int
) -> tuple[tuple[int, int], ...]:
    """Zeros before and after each dimension."""
    if padding == "valid":
        return ((0, 0),) * rank
    if padding == "same":
        reach = [d * (k - 1) for k, d in zip(window, dilation, strict=True)]
        return tuple((n // 2, n - n // 2) for n in reach)
    return tuple((p, p) for p in each(padding, rank))


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
    window, strides = weight.shape[2:], each(stride, rank)
    found = spatial(r, x, rank)
    pads, more = each(padding, rank), each(output_padding, rank)
    if (
        found.lead
        or set(each(dilation, rank)) != {1}
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
