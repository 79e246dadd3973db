"""How often drawn units change sign along a segment, given the layers before; a scale for cells.

A unit ``z(t) = w . h(t) + b`` with normal w and b is a Gaussian process along the segment, given
what the layers before make of it. Its zeros are where the vector (h, 1), scaled by the standard
deviations, is at a right angle to a uniform direction, so that their expected number is the length
of the scaled curve on the sphere over pi.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from whydeep.arguments import COUNT, VARIANCE, array, count, instance, takes
from whydeep.errors import InputError
from whydeep.geometry.pieces import PiecewiseLinear
from whydeep.geometry.segment import breakpoints
from whydeep.network import check_number, check_whole

__all__ = ["conditional_crossings", "expected_regions"]


_FUNCTION = instance(
    PiecewiseLinear, needed="a PiecewiseLinear",
    suggestion="whydeep.geometry.piecewise_linear(f, example) reads one",
)  # fmt: skip


@takes(
    f=_FUNCTION, layer=count(0), start=array(), end=array(), weight_var=VARIANCE,
    bias_var=VARIANCE,
)  # fmt: skip
def conditional_crossings(
    f: PiecewiseLinear, layer: int, start: Any, end: Any, weight_var: float, bias_var: float
) -> float:
    """Expected breakpoints of a neuron of one layer on a segment, given the layers before; exact.

    Its weights are normal with variance ``weight_var / fan_in``, its bias with ``bias_var``; its
    own numbers in f do not matter. The layers before map the segment to a curve of straight pieces,
    and the length of its scaled image on the sphere is a sum of angles. The mean over draws of the
    layers before is the expected number at any width.

    Args:
        f: a fully connected network, from `from_layers`.
        layer: from 0: layers before it are those of f.
        start: one input.
        end: another.
        weight_var: C_W of this layer.
        bias_var: of this layer.

    Raises:
        InputError: a layer that f does not have, negative variances.

    Accuracy: rounding.

    Source: Kac 1943 and Rice 1944 on the sphere (Edelman and Kostlan 1995, Sec. 2: the expected
    number of zeros is the length of the curve over pi).

    Example:
        >>> from whydeep.geometry import from_layers
        >>> f = from_layers([np.eye(2), np.ones((1, 2))], [np.zeros(2), np.zeros(1)])
        >>> p, q = np.array([1.0, 0.0]), np.array([0.0, 1.0])
        >>> float(conditional_crossings(f, 0, p, q, 2.0, 0.0))
        0.5
    """
    check_number("weight_var", weight_var)
    check_number("bias_var", bias_var)
    if not 0 <= layer < len(f.kinks):
        raise InputError("There is no such layer.", received=f"layer={layer}",
                         needed=f"0 to {len(f.kinks) - 1}")  # fmt: skip
    for name, point in (("start", start), ("end", end)):
        if point.shape != f.shape:
            said = f"shape {point.shape}"
            raise InputError(
                f"{name} is no input of this function.", received=said, needed=f"shape {f.shape}"
            )
    part = PiecewiseLinear(f.shape, f.outputs, f.maps[: layer + 1], f.kinks[:layer])
    found = breakpoints(part, start, end) if layer else None
    places = np.concatenate([[0.0], [] if found is None else found.positions, [1.0]])
    inputs = start + places.reshape(-1, *(1,) * start.ndim) * (end - start)
    if layer:
        *_, state = (s for s, _ in zip(f.states(inputs), range(layer), strict=False))
        h = f.kinks[layer - 1].value(state)
    else:
        h = f.rows(inputs)
    scaled = np.sqrt(weight_var / h.shape[1]) * h
    curve = np.concatenate([scaled, np.full((len(h), 1), np.sqrt(bias_var))], axis=1)
    curve /= np.linalg.norm(curve, axis=1, keepdims=True)
    one, two = curve[:-1], curve[1:]
    angles = 2 * np.arctan2(np.linalg.norm(one - two, axis=1), np.linalg.norm(one + two, axis=1))
    return float(angles.sum() / np.pi)


@takes(neurons=COUNT, inputs=count(1, 150))
def expected_regions(neurons: int, inputs: int = 2) -> float:
    """About how many activation cells a drawn relu network has, all over input space.

    ``N^d / d!`` for N neurons in any number of layers, to leading order: as if they were one layer
    of hyperplanes in general position. A scale, not a bound; measured counts in the plane are
    within a tenth of it at initialisation.

    Args:
        neurons: N of all hidden layers.
        inputs: d.

    Raises:
        InputError: not whole numbers from 1 on.

    Source: Hanin and Rolnick 2019 (NeurIPS), Theorem 5: at most ``(T N)^d / d!`` a unit volume.

    Example:
        >>> expected_regions(64)
        2048.0
    """
    check_whole("neurons", neurons)
    check_whole("inputs", inputs)
    return neurons**inputs / math.factorial(inputs)
