"""What width and depth trade: information that output neurons share, against its higher orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep import activations
from whydeep.activations import ACTIVATION, ScalarFunction
from whydeep.arguments import count, takes
from whydeep.errors import UnsupportedError
from whydeep.network import check_number, check_whole
from whydeep.theory.flow._exponents import critical_exponents

__all__ = ["AspectRatio", "mutual_information", "optimal_aspect_ratio"]

_CAVEAT = (
    "an order of magnitude: the correction of order 1/n^2 to v itself, which enters at the same "
    "order in depth / width, is left out (a deep linear network has v = exp(2r) - 1, not 2r)"
)


def mutual_information(vertex: float, first: int, second: int) -> float:
    """The information I(A; B), in nats, between two groups of output neurons on one input.

    With v = V / (n K^2) the four-point vertex over width, for n_A and n_B neurons::

        I = n_A n_B v^2 / 8 - n_A n_B (20 + 3 (n_A + n_B)) v^3 / 48 + O(v^4)

    It is 0 at infinite width, where neurons are independent.

    Args:
        vertex: v, at least 0.
        first: n_A.
        second: n_B.

    Raises:
        InputError: a negative vertex, a group without neurons.
        UnsupportedError: v is beyond 6 / (20 + 3 (n_A + n_B)), where the series would be negative,
            which no information is: what is left out of it rules.

    Accuracy: good while (n_A + n_B) v is small. Neurons are normal given a common variance g, Var
    g = v (E g)^2; what else is known of g, its third cumulant of order v^2 first, enters at v^4.
    Cost: nothing.

    Source: Roberts, Yaida and Hanin 2022, Appendix A.3.

    Example:
        >>> round(mutual_information(0.02, 1, 1), 9)
        4.5667e-05
    """
    v = check_number("vertex", vertex)
    a, b = check_whole("first", first), check_whole("second", second)
    most = 6 / (20 + 3 * (a + b))
    if v > most:
        raise UnsupportedError(
            "The series of the mutual information does not hold for so large a vertex.",
            received=f"v = {v:g}, where it would be negative",
            needed=f"v up to {most:.4g} for groups of {a} and {b}",
            cause="a network that is too deep for its width: v grows with depth / width",
            suggestion="a wider or shallower network, or fewer neurons",
        )
    return max(a * b * v**2 / 8 - a * b * (20 + 3 * (a + b)) * v**3 / 48, 0.0)


@dataclass(frozen=True)
class AspectRatio:
    """The depth over width at which the information between output neurons is largest.

    Args:
        ratio: r* = L / n.
        vertex_slope: nu, with v = nu r.
        outputs: n_A + n_B.
        information: I at r*, for two halves (as equal as can be), in nats.
        caveat: what was left out.
    """

    ratio: float
    vertex_slope: float
    outputs: int
    information: float
    caveat: str = _CAVEAT


@takes(activation=ACTIVATION, outputs=count(2))
def optimal_aspect_ratio(
    activation: str | ScalarFunction | Callable[[Any], Any], outputs: int = 2
) -> AspectRatio:
    """The aspect ratio r* = L / n that maximises the information between output neurons.

    r* = 4 / ((20 + 3 n_L) nu), where v = nu r maximises v^2 / 8 - (20 + 3 n_L) v^3 / 48 and nu is
    the growth of V / K^2 a layer at criticality: 2/3 at K* = 0, 5 for relu, 2 for linear networks.
    Deeper networks fluctuate more than they share.

    Args:
        activation: a name or a ``jax.numpy`` function of one variable.
        outputs: n_L, in two groups: at least 2.

    Returns:
        An `AspectRatio`, whose ``caveat`` is part of the answer.

    Raises:
        InputError: fewer than 2 outputs.
        UnsupportedError: no critical point, or nu is not known.

    Accuracy: an order of magnitude; see ``.caveat``. Cost: that of the critical exponents.

    Source: Roberts, Yaida and Hanin 2022, Appendix A.3.

    Example:
        >>> found = optimal_aspect_ratio("relu", outputs=2)
        >>> round(found.ratio, 5), found.vertex_slope
        (0.03077, 5.0)
    """
    s = activations.get(activation)
    found = critical_exponents(s)
    if not np.isfinite(found.vertex_slope):
        raise UnsupportedError(f"The growth of V / K^2 of {s.name} is not known.",
                               cause=found.reason)  # fmt: skip
    if not found.vertex_slope > 0:
        raise UnsupportedError(
            f"V / K^2 of {s.name} does not grow with depth.",
            received=f"a growth of {found.vertex_slope:g} a layer",
            needed="a positive one: the ratio is 4 / ((20 + 3 outputs) nu)",
        )
    v = 4 / (20 + 3 * outputs)
    half = outputs // 2
    return AspectRatio(
        ratio=v / found.vertex_slope,
        vertex_slope=found.vertex_slope,
        outputs=outputs,
        information=mutual_information(v, half, outputs - half),
    )
