"""Functions of Gaussians, and products of independent values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from whydeep.activations import ScalarFunction
from whydeep.errors import UnsupportedError
from whydeep.gaussian import image_mean, mean_slope, slope_mean
from whydeep.theory.infinite._functions import IDENTITY
from whydeep.theory.infinite._linear import total

if TYPE_CHECKING:
    from whydeep.theory.infinite._propagate import Propagation, Side

__all__ = ["function_kernel", "product_against", "product_kernel"]

Unary = tuple[int, ScalarFunction]


def function_kernel(
    run: Propagation, kind: str, left: Unary, right: Unary, side: Side, *, full: bool
) -> Any:
    """E[f(z_a) g(z_b)] of functions of one Gaussian each, or its tangent kernel.

    The same function: <f f>, and <f' f'> times the tangent kernel of its argument. A function and
    its own kind of Gaussian: E[f(z_a) z_b] = E[f'] E[z_a z_b] (Stein 1981).
    """
    (a, f), (b, g) = left, right
    k = run.second(a, b, side, full=full)
    t = run.tangent(a, b, side, full=full) if kind == "tangent" else None
    if kind == "tangent" and t is None:
        return None
    q1, q2 = run.variance(a, side.left), run.variance(b, side.right)
    if f is g:
        length = run.series(f, (q1, q2))
        qa = side.spread(q1, right=False, full=full)
        qb = side.spread(q2, right=True, full=full)
        if kind == "second":
            return image_mean(f, qa, qb, k, length)
        return slope_mean(f, qa, qb, k, length) * t
    for function, other, q, on_right in ((f, g, q1, False), (g, f, q2, True)):
        if other is IDENTITY:
            bent = side.spread(mean_slope(function, q), right=on_right, full=full)
            return bent * (k if kind == "second" else t)
    raise UnsupportedError(
        "Two different functions of correlated Gaussians meet.",
        received=f"{f.name} and {g.name}",
        cause="only a function against itself, or against the Gaussian, has a rule",
    )


def product_kernel(run: Propagation, kind: str, i: int, side: Side, *, full: bool) -> Any:
    """Independent factors: second moments multiply; tangent kernels by the product rule."""
    inputs = run.plan.steps[i].inputs
    seconds = [run.second(k, k, side, full=full) for k in inputs]
    if kind == "second":
        return math.prod(seconds)
    terms = []
    for place, k in enumerate(inputs):
        t = run.tangent(k, k, side, full=full)
        others = math.prod(seconds[:place] + seconds[place + 1 :])
        terms.append(None if t is None else t * others)
    return total(terms)


def product_against(
    run: Propagation, kind: str, i: int, j: int, side: Side, *, full: bool, right: bool
) -> Any:
    """E[u v w] where w depends on one factor only: the other factors enter by their means.

    The product is step i, or j if `right`.
    """
    step, other = run.plan.steps[j if right else i], run.plan.steps[i if right else j]
    touching = [k for k in step.inputs if run.plan.steps[k].sources & other.sources]
    if len(touching) != 1:
        raise UnsupportedError(
            "A product meets a value that depends on several of its factors.",
            received=f"{step.described} and {other.described}",
        )
    k = touching[0]
    value = run.asked(kind, i if right else k, k if right else j, side, full=full)
    for factor in step.inputs:
        if factor != k and value is not None:
            mean = run.mean(factor, side.right if right else side.left)
            value = value * side.spread(mean, right=right, full=full)
    return value
