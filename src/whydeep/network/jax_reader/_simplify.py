"""Rewriting the graph as it was traced into layers: scales into weights, offsets into biases.

Rules are applied until none fits. Each keeps what the network computes for every choice of its
parameters, and who learns what at which rate.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from whydeep.network._convolution import Conv, ConvTranspose
from whydeep.network._join import Product, Sum
from whydeep.network._layers import Affine, Constant, Dense
from whydeep.network._normalisation import GroupNorm, LayerNorm, RMSNorm
from whydeep.network._positions import AvgPool, GlobalAvgPool, GlobalSumPool, Mix, SumPool
from whydeep.network._sequence import Embedding
from whydeep.network.jax_reader._axes import sizes
from whydeep.network.jax_reader._draft import Bias, Draft, Gain
from whydeep.network.jax_reader._leaves import Use

__all__ = ["NORMS", "WEIGHTED", "ordered", "simplified"]

WEIGHTED = (Dense, Conv, ConvTranspose)
NORMS = (LayerNorm, RMSNorm, GroupNorm)
_ROUNDING = 1e-6

Single = Callable[[Draft], bool]
MeanAndVariance = Callable[[Use], tuple[float, float]]


def ordered(root: Draft) -> list[Draft]:
    """All nodes that the root needs, inputs first."""
    done: dict[Draft, None] = {}
    stack = [root]
    while stack:
        draft = stack[-1]
        missing = [d for d in draft.inputs if d not in done]
        if missing:
            stack += reversed(missing)
        else:
            done[stack.pop()] = None
    return list(done)


def simplified(root: Draft, law: MeanAndVariance | None = None) -> Draft:
    """The same network with fewer nodes.

    Args:
        root: the node of the output.
        law: mean and variance of a parameter, if rules that depend on them may be used.
    """
    for _ in range(100):
        found = _once(root, law)
        if found is root:
            break
        root = found
    return root


def _once(root: Draft, law: MeanAndVariance | None) -> Draft:
    order = ordered(root)
    count: Counter[Draft] = Counter(d for draft in order for d in draft.inputs)
    new: dict[Draft, Draft] = {}
    uses: dict[Draft, int] = {}
    for draft in order:
        inputs = tuple(new[d] for d in draft.inputs)
        made = draft if inputs == draft.inputs else draft.changed(inputs=inputs)
        for rule in _RULES:
            made = rule(made, lambda d: uses.get(d, 1) == 1, law) or made
        new[draft] = made
        # A node that two others became has all their consumers.
        uses[made] = uses.get(made, 0) + count[draft]
    return new[root]


# -- scales ----------------------------------------------------------------------------------------


def _affine_twice(draft: Draft, single: Single, _law: Any) -> Draft | None:
    if not isinstance(draft.layer, Affine) or not isinstance(draft.inputs[0].layer, Affine):
        return None
    if not single(draft.inputs[0]):
        return None
    outer, inner = draft.layer, draft.inputs[0].layer
    scale = outer.scale * inner.scale
    layer = Affine(scale, outer.scale * inner.shift + outer.shift)
    return draft.changed(layer=layer, inputs=draft.inputs[0].inputs)


def _scale_after_weights(draft: Draft, single: Single, _law: Any) -> Draft | None:
    if not isinstance(draft.layer, Affine) or draft.layer.scale == 1.0:
        return None
    before = draft.inputs[0]
    if not single(before) or not isinstance(before.layer, (*WEIGHTED, Embedding, Bias, Mix)):
        return None
    scale, shift = draft.layer.scale, draft.layer.shift
    if isinstance(before.layer, Mix):
        made = before.changed(layer=Mix(scale * before.layer.matrix.values, before.layer.positions))
    else:
        made = before.changed(uses={n: use.times(scale) for n, use in before.uses.items()})
    return made if shift == 0.0 else draft.changed(layer=Affine(1.0, shift), inputs=(made,))


def _scale_before_weights(draft: Draft, _single: Single, _law: Any) -> Draft | None:
    if not isinstance(draft.layer, WEIGHTED):
        return None
    before = draft.inputs[0]
    if not isinstance(before.layer, Affine) or before.layer.shift != 0.0:
        return None
    uses = {**draft.uses, "weight": draft.uses["weight"].times(before.layer.scale)}
    return draft.changed(inputs=before.inputs, uses=uses)


def _scale_before_gain(draft: Draft, _single: Single, _law: Any) -> Draft | None:
    """Batch normalisation: a fixed map, then the learned factor."""
    if not isinstance(draft.layer, Gain):
        return None
    before, gain = draft.inputs[0], draft.layer
    if not isinstance(before.layer, Affine) or before.layer.scale <= 0.0:
        return None
    inner = before.layer
    layer = Gain(gain.scale * inner.scale, gain.scale * inner.shift + gain.shift)
    return draft.changed(layer=layer, inputs=before.inputs)


def _mean_of_window(draft: Draft, single: Single, _law: Any) -> Draft | None:
    if not isinstance(draft.layer, Affine) or not single(draft.inputs[0]):
        return None
    before = draft.inputs[0]
    layer, shift = before.layer, draft.layer.shift
    if type(layer) is SumPool:
        count = math.prod(layer.size)
        made: Any = AvgPool(layer.size, layer.strides, layer.padding)
    elif type(layer) is GlobalSumPool:
        count = math.prod(sizes(before.inputs[0].positions))
        made = GlobalAvgPool()
    else:
        return None
    if abs(draft.layer.scale * count - 1.0) > _ROUNDING:
        return None
    pooled = before.changed(layer=made)
    return pooled if shift == 0.0 else draft.changed(layer=Affine(1.0, shift), inputs=(pooled,))


def _mean_of_seen(draft: Draft, single: Single, _law: Any) -> Draft | None:
    """A sum over windows times one over how many positions each has."""
    if type(draft.layer) is not Product or len(draft.inputs) != 2:
        return None
    pooled, known = draft.inputs
    if type(pooled.layer) is not SumPool or not single(pooled):
        return None
    if not isinstance(known.layer, Constant):
        return None
    import jax

    layer = pooled.layer
    shape = sizes(pooled.inputs[0].positions)
    if layer.padding not in ("SAME", "VALID"):
        return None
    counts = np.asarray(
        jax.lax.reduce_window(
            np.ones(shape, np.float32), np.float32(0), jax.lax.add, layer.size,
            layer.strides, layer.padding,
        )
    )  # fmt: skip
    values = known.layer.array.values
    if values.shape[:-1] != counts.shape or np.any(abs(values * counts[..., None] - 1) > _ROUNDING):
        return None
    return pooled.changed(
        layer=AvgPool(layer.size, layer.strides, layer.padding, count_padding=False)
    )


# -- offsets ---------------------------------------------------------------------------------------


def _sum_of_sums(draft: Draft, single: Single, _law: Any) -> Draft | None:
    if type(draft.layer) is not Sum:
        return None
    inputs: list[Draft] = []
    for before in draft.inputs:
        inside = type(before.layer) is Sum and single(before)
        inputs += before.inputs if inside else (before,)
    if len(inputs) == 1 and len(inputs[0].positions) == len(draft.positions):
        return inputs[0]
    return draft.changed(inputs=tuple(inputs)) if len(inputs) > len(draft.inputs) else None


def _offset_to_bias(draft: Draft, single: Single, _law: Any) -> Draft | None:
    """``W s`` and a learned offset without positions in one sum."""
    if type(draft.layer) is not Sum:
        return None
    offset = next((d for d in draft.inputs if _is_offset(d)), None)
    if offset is None:
        return None
    for before in draft.inputs:
        if isinstance(before.layer, WEIGHTED) and single(before) and "bias" not in before.uses:
            made = before.changed(uses={**before.uses, "bias": offset.uses["weight"]})
            return _without(draft, offset, before, made)
    return None


def _is_offset(draft: Draft) -> bool:
    return isinstance(draft.layer, Bias) and not draft.positions


def _without(draft: Draft, gone: Draft, old: Draft, new: Draft) -> Draft:
    inputs = tuple(new if d is old else d for d in draft.inputs if d is not gone)
    return inputs[0] if len(inputs) == 1 else draft.changed(inputs=inputs)


# -- the parameters of a normalisation -------------------------------------------------------------


def _scale_of_norm(draft: Draft, single: Single, law: MeanAndVariance | None) -> Draft | None:
    if law is None or not isinstance(draft.layer, Gain):
        return None
    before = draft.inputs[0]
    if not isinstance(before.layer, NORMS) or not single(before) or before.uses:
        return None
    if draft.layer != Gain() or getattr(before.layer, "over", "channels") != "channels":
        return None  # the scale of a norm over everything has positions
    if law(draft.uses["scale"]) != (1.0, 0.0):
        return None
    return before.changed(uses=dict(draft.uses))


def _shift_of_norm(draft: Draft, single: Single, law: MeanAndVariance | None) -> Draft | None:
    if law is None or type(draft.layer) is not Sum:
        return None
    offset = next((d for d in draft.inputs if _is_offset(d)), None)
    if offset is None or not single(offset):
        return None
    mean, variance = law(offset.uses["weight"])
    for before in draft.inputs:
        norm = isinstance(before.layer, NORMS) and mean == 0.0
        norm = norm and getattr(before.layer, "over", "channels") == "channels"
        gain = isinstance(before.layer, Gain) and law(before.uses["scale"])[1] == 0.0
        if (norm or gain) and variance == 0.0 and single(before) and "shift" not in before.uses:
            made = before.changed(uses={**before.uses, "shift": offset.uses["weight"]})
            return _without(draft, offset, before, made)
    return None


def _norm_over_all(draft: Draft, single: Single, law: MeanAndVariance | None) -> Draft | None:
    """A scale or shift with positions, of a `LayerNorm` over everything."""
    kind = {Product: "scale", Sum: "shift"}.get(type(draft.layer))
    if law is None or kind is None or len(draft.inputs) != 2:
        return None
    for before, own in (draft.inputs, draft.inputs[::-1]):
        norm = isinstance(before.layer, LayerNorm) and before.layer.over == "all"
        if not norm or not isinstance(own.layer, Bias) or kind in before.uses:
            continue
        if not single(before) or sizes(own.positions) != sizes(before.positions):
            continue
        if "shift" in before.uses or law(own.uses["weight"]) != (float(kind == "scale"), 0.0):
            continue
        return before.changed(uses={**before.uses, kind: own.uses["weight"]})
    return None


_RULES = (
    _affine_twice,
    _mean_of_window,
    _scale_after_weights,
    _scale_before_weights,
    _scale_before_gain,
    _mean_of_seen,
    _sum_of_sums,
    _scale_of_norm,
    _shift_of_norm,
    _norm_over_all,
    _offset_to_bias,
)
