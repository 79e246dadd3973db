"""Functions of Gaussians, and products of independent values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from whydeep.activations import ScalarFunction
from whydeep.errors import UnsupportedError
from whydeep.gaussian import image_mean, mean_slope, slope_mean
from whydeep.theory.infinite._functions import IDENTITY, euler
from whydeep.theory.infinite._linear import total
from whydeep.theory.infinite._plan import own_rates

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
    if kind == "tangent" and a == b and run.plan.steps[a].scaled:
        return _with_scale(run, a, f, g, t, side, full=full)
    if f == g:
        mean = _same(run, f, a, b, side, full=full, slope=kind == "tangent")
        return mean if kind == "second" else mean * t
    if IDENTITY in (f, g):
        return _stein(run, f, g, a, b, side, full=full) * (k if kind == "second" else t)
    raise UnsupportedError(
        "Two different functions of correlated Gaussians meet.",
        received=f"{f.name} and {g.name}",
        cause="only a function against itself, or against the Gaussian, has a rule",
    )


def _same(
    run: Propagation, f: ScalarFunction, a: int, b: int, side: Side, *, full: bool, slope: bool
) -> Any:
    """<f f>, or <f' f'>."""
    q1, q2 = run.variance(a, side.left), run.variance(b, side.right)
    k = run.second(a, b, side, full=full)
    length = run.series(f, (q1, q2))
    qa = side.spread(q1, right=False, full=full)
    qb = side.spread(q2, right=True, full=full)
    return (slope_mean if slope else image_mean)(f, qa, qb, k, length)


def _stein(
    run: Propagation, f: ScalarFunction, g: ScalarFunction, a: int, b: int, side: Side, *,
    full: bool,
) -> Any:  # fmt: skip
    """E[f'] or E[g'], whichever is not the identity."""
    if g == IDENTITY:
        return side.spread(mean_slope(f, run.variance(a, side.left)), right=False, full=full)
    return side.spread(mean_slope(g, run.variance(b, side.right)), right=True, full=full)


def _with_scale(
    run: Propagation, a: int, f: ScalarFunction, g: ScalarFunction, t: Any, side: Side, *,
    full: bool,
) -> Any:  # fmt: skip
    """The tangent kernel of f(gamma v) and g(gamma v), with a scale gamma that is learned.

    The derivative in gamma is v f'(v), which is not independent of f': with h(z) = z f'(z),
    the scale adds its rate times <h h>, and what remains of T is multiplied by <f' f'>.
    """
    layer: Any = run.plan.steps[a].layer
    gamma = getattr(layer, "scale", 1.0)
    rate = own_rates(layer)[0] / gamma**2
    k = run.second(a, a, side, full=full)
    rest = t - rate * k
    left, right = euler(f), euler(g)
    if f == g:
        bent = _same(run, f, a, a, side, full=full, slope=True)
        return bent * rest + rate * _same(run, left, a, a, side, full=full, slope=False)
    if IDENTITY in (f, g):
        bent = _stein(run, f, g, a, a, side, full=full)
        return bent * rest + rate * _stein(run, left, right, a, a, side, full=full) * k
    raise UnsupportedError(
        "Two different functions of one normalised Gaussian meet.",
        received=f"{f.name} and {g.name}",
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
