"""Modules of PyTorch whose parameters have derivatives of known structure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from whydeep.ensemble.tangent._terms import (
    Added,
    Gradient,
    LookedUp,
    Positions,
    Product,
    Term,
    gradients_win,
)

__all__ = ["Unit", "find_units", "unit_features", "unit_gradients", "unit_terms"]


@dataclass(frozen=True, eq=False)
class Unit:
    """One module.

    Args:
        kind: "linear", "conv", "embedding" or "norm".
        module: itself.
        weight: the name of its weight among the parameters, "" without.
        bias: likewise.
    """

    kind: str
    module: Any
    weight: str
    bias: str

    @property
    def needs_batch(self) -> bool:
        """Whether its rule needs the shape of what it takes, examples first."""
        return self.kind in ("conv", "norm")


def find_units(torch: Any, module: Any, chosen: set[str]) -> list[Unit]:
    """The modules of known classes that own some of the chosen parameters, each one alone.

    A subclass may compute something else, and a weight that two modules own has two derivatives.
    """
    nn = torch.nn
    kinds = {nn.Linear: "linear", nn.Conv1d: "conv", nn.Conv2d: "conv", nn.Conv3d: "conv",
             nn.Embedding: "embedding", nn.LayerNorm: "norm", nn.GroupNorm: "norm",
             nn.BatchNorm1d: "norm", nn.BatchNorm2d: "norm", nn.BatchNorm3d: "norm"}  # fmt: skip
    names = {id(p): name for name, p in module.named_parameters()}
    owners: dict[int, int] = {}
    modules = list(dict.fromkeys(module.modules()))
    for each in modules:
        for p in each.parameters(recurse=False):
            owners[id(p)] = owners.get(id(p), 0) + 1
    units = []
    for each in modules:
        kind = kinds.get(type(each))
        if kind is None or not _plain(kind, each):
            continue
        own = {"weight": "", "bias": ""}
        for role in own:
            p = getattr(each, role, None)
            if isinstance(p, torch.nn.Parameter) and owners[id(p)] == 1:
                name = names[id(p)]
                own[role] = name if name in chosen else ""
        if any(own.values()):
            units.append(Unit(kind, each, own["weight"], own["bias"]))
    return units


def _plain(kind: str, module: Any) -> bool:
    if kind == "conv":
        return module.padding_mode == "zeros"
    if kind == "embedding":
        return module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
    return True


def unit_terms(
    unit: Unit, number: int, leaves: dict[str, int], value: Any, result: Any, outputs: int,
    *, traced: bool,
) -> list[Term]:  # fmt: skip
    """How the parts of its parameters are computed.

    Args:
        unit: of one module.
        number: of it.
        leaves: the places of the parameters.
        value: what it takes for one example.
        result: what it gives.
        outputs: of the whole network.
        traced: whether the kernel is summed over outputs.
    """
    if unit.kind == "embedding":
        return [LookedUp(leaves[unit.weight])]
    if unit.kind == "norm":
        return [Gradient(leaves[name]) for name in (unit.weight, unit.bias) if name]
    terms: list[Term] = []
    groups, places, n, m = _extents(unit, value, result)
    single = groups == places == 1
    if unit.weight:
        if single:
            terms.append(Product(leaves[unit.weight], tap=number))
        elif gradients_win(places, n, m, outputs, traced=traced):
            terms.append(Gradient(leaves[unit.weight]))
        else:
            terms.append(Positions(leaves[unit.weight]))
    if unit.bias:
        shared = single and unit.weight
        leaf = leaves[unit.bias]
        terms.append(Added(leaf, tap=number) if shared else Gradient(leaf))
    return terms


def _extents(unit: Unit, value: Any, result: Any) -> tuple[int, int, int, int]:
    """Groups, positions, summed entries and columns, for one example."""
    if unit.kind == "linear":
        n, m = unit.module.in_features, unit.module.out_features
        return 1, value.numel() // n, n, m
    conv = unit.module
    places = result.numel() // conv.out_channels
    n = conv.in_channels // conv.groups * math.prod(conv.kernel_size)
    return conv.groups, places, n, conv.out_channels // conv.groups


def unit_features(
    torch: Any, unit: Unit, terms: list[Term], value: Any, delta: Any
) -> list[tuple[str, Any]]:
    """The features of its terms, by the name of the list they belong to.

    Args:
        torch: PyTorch.
        unit: of one module.
        terms: of it.
        value: what it took, examples first.
        delta: derivatives of outputs with respect to what it gave, (b, c, ...).
    """
    count, outputs = delta.shape[:2]
    if unit.kind == "norm":
        weight, bias = _norm_gradients(torch, unit, value, delta)
        return [("gradients", g) for g, n in ((weight, unit.weight), (bias, unit.bias)) if n]
    if unit.kind == "embedding":
        rows = value.reshape(count, -1)
        padding = unit.module.padding_idx
        exists = torch.ones_like(rows, dtype=torch.bool) if padding is None else rows != padding
        moved = delta.reshape(count, outputs, rows.shape[1], -1)
        return [("lookups", (rows, exists, moved))]
    factor, moved = _placed(torch, unit, value, delta)
    found = []
    for term in terms:
        if isinstance(term, Product):
            found.append(("factors", factor.reshape(count, -1)))
            found.append(("deltas", (term.tap, moved.reshape(count, outputs, -1))))
        elif isinstance(term, Positions):
            found.append(("positions", (factor, moved)))
        elif isinstance(term, Gradient) and term is terms[0] and unit.weight:
            gradient = torch.einsum("bgpn,bcgpm->bcgmn", factor, moved)
            found.append(("gradients", gradient.reshape(count, outputs, -1)))
        elif isinstance(term, Gradient):
            found.append(("gradients", moved.sum(3).reshape(count, outputs, -1)))
    return found


def unit_gradients(torch: Any, unit: Unit, value: Any, delta: Any) -> dict[str, Any]:
    """Gradients of one number, summed over examples: what must equal PyTorch's own.

    Args:
        torch: PyTorch.
        unit: of one module.
        value: what it took, examples first.
        delta: derivatives of the number with respect to what it gave.
    """
    found = {}
    if unit.kind == "norm":
        pair = _norm_gradients(torch, unit, value, delta[:, None])
        found = {n: g.sum((0, 1)) for n, g in zip((unit.weight, unit.bias), pair, strict=True)}
    elif unit.kind == "embedding":
        rows, moved = value.reshape(-1), delta.reshape(value.numel(), -1)
        if unit.module.padding_idx is not None:
            moved = moved * (rows != unit.module.padding_idx)[:, None]
        table = moved.new_zeros(unit.module.num_embeddings, moved.shape[1])
        found = {unit.weight: table.index_add(0, rows, moved)}
    else:
        factor, moved = _placed(torch, unit, value, delta[:, None])
        found[unit.weight] = torch.einsum("bgpn,bcgpm->gmn", factor, moved)
        found[unit.bias] = moved.sum((0, 1, 3))
    return {name: gradient.reshape(-1) for name, gradient in found.items() if name}


def _placed(torch: Any, unit: Unit, value: Any, delta: Any) -> tuple[Any, Any]:
    """(b, G, P, n) and (b, c, G, P, m) of a product or convolution."""
    count, outputs = delta.shape[:2]
    if unit.kind == "linear":
        factor = value.reshape(count, 1, -1, unit.module.in_features)
        return factor, delta.reshape(count, outputs, 1, -1, unit.module.out_features)
    conv = unit.module
    dims = len(conv.kernel_size)
    window = torch.nn.functional.pad(value, _padding(conv))
    for axis in range(dims):
        reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
        window = window.unfold(2 + axis, reach, conv.stride[axis])
        window = window[..., :: conv.dilation[axis]]
    # (b, channels, *positions, *kernel)
    grouped = window.reshape(
        count, conv.groups, conv.in_channels // conv.groups, *window.shape[2:]
    )  # fmt: skip
    order = (0, 1, *range(3, 3 + dims), 2, *range(3 + dims, 3 + 2 * dims))
    places = math.prod(window.shape[2 : 2 + dims])
    factor = grouped.permute(order).reshape(count, conv.groups, places, -1)
    columns = conv.out_channels // conv.groups
    moved = delta.reshape(count, outputs, conv.groups, columns, places).transpose(3, 4)
    return factor, moved


def _padding(conv: Any) -> list[int]:
    """Before and after, of the last axis first, as ``pad`` takes them."""
    pairs = []
    for axis, (size, dilation) in enumerate(zip(conv.kernel_size, conv.dilation, strict=True)):
        if conv.padding == "same":
            total = dilation * (size - 1)
            pairs.append((total // 2, total - total // 2))
        elif conv.padding == "valid":
            pairs.append((0, 0))
        else:
            pairs.append((conv.padding[axis],) * 2)
    return [n for pair in reversed(pairs) for n in pair]


def _norm_gradients(torch: Any, unit: Unit, value: Any, delta: Any) -> tuple[Any, Any]:
    """(b, c, k) each, of the weight and of the bias."""
    norm, functional = unit.module, torch.nn.functional
    if type(norm) is torch.nn.LayerNorm:
        plain = functional.layer_norm(value, norm.normalized_shape, None, None, norm.eps)
        kept = len(norm.normalized_shape)
        axes = tuple(range(2, delta.ndim - kept))
    else:
        if type(norm) is torch.nn.GroupNorm:
            plain = functional.group_norm(value, norm.num_groups, None, None, norm.eps)
        else:
            plain = functional.batch_norm(
                value, norm.running_mean, norm.running_var, None, None, eps=norm.eps
            )  # fmt: skip
        axes = tuple(range(3, delta.ndim))
    scaled = delta * plain[:, None]
    if axes:
        scaled, delta = scaled.sum(axes), delta.sum(axes)
    return scaled.flatten(2), delta.flatten(2)
