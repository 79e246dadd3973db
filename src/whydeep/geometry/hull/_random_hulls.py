"""What theory expects of hulls of random points: Wendel, Efron, Gaussian polytopes, Barany-Furedi.

The expected number of vertices of the hull of n Gaussian points in d dimensions is, with
a_m = n C(n-1, m-1) b_m e_m, where b_m is the solid angle of a regular (m-1)-simplex at a vertex
and e_m the external angle of the regular (n-1)-simplex at a face of m vertices,

    E f_0 = 2 (a_d + a_(d-2) + a_(d-4) + ...),    n - E f_0 = 2 (a_(d+2) + a_(d+4) + ...)

Both sums hold, as those of the even and of the odd a_m are n/2 each (McMullen 1975, Euler), so
the smaller of the two is computed and nothing cancels. The angles are

    e_m = E Phi(z / sqrt m)^(n - m),    b_m = E Phi(i z / sqrt m)^(m - 1),    z ~ N(0, 1)

and the second integral, of an oscillating function, is taken along a line through the saddle
point of its analytic continuation, where it is a bell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy import optimize, special, stats

from whydeep.arguments import COUNT, takes
from whydeep.errors import UnsupportedError
from whydeep.network import check_whole

__all__ = [
    "ball_threshold",
    "expected_gaussian_vertices",
    "gaussian_inside",
    "symmetric_inside",
]

_NODES = 2001
_NEGLIGIBLE = 1e-17
_MOST_DIMENSIONS = 2000


@takes(points=COUNT, dims=COUNT)
def symmetric_inside(points: int, dims: int) -> float:
    """The probability that the hull of random points contains the centre of their law.

    ``1 - 2^-(N-1) sum_{k<d} C(N-1, k)`` for N points, independent and of any law that is symmetric
    about the centre and puts no mass on hyperplanes through it. It is 1/2 at N = 2 d.

    Args:
        points: N.
        dims: d.

    Raises:
        InputError: numbers that count nothing.

    Accuracy: rounding, 1e-13 relative. Cost: none.

    Source: Wendel 1962, "A problem in geometric probability".

    Example:
        >>> symmetric_inside(20, 10), symmetric_inside(11, 10)
        (0.5, 0.0009765...)
    """
    n, d = check_whole("points", points), check_whole("dims", dims)
    return float(stats.binom.sf(d - 1, n - 1, 0.5))


@takes(points=COUNT, dims=COUNT)
def gaussian_inside(points: int, dims: int) -> float:
    """The probability that a new Gaussian point is in the hull of N others of the same law.

    ``1 - E f_0(N + 1) / (N + 1)``: each of N + 1 points is as likely as any other to be a vertex of
    the hull of all, which it is if it is outside the hull of the rest. Any mean and any covariance
    of full rank: both sides are affine-invariant.

    Args:
        points: N.
        dims: d, up to 2,000.

    Raises:
        InputError: numbers that count nothing.
        UnsupportedError: more dimensions.

    Accuracy: 1e-10 relative for the smaller of the probability and its complement. Cost: up to d
    integrals, or some hundred: milliseconds to a second.

    Source: Efron 1965, "The convex hull of a random set of points" (the identity); Affentranger
    and Schneider 1992, and Baryshnikov and Vitale 1994 (vertices); Kabluchko and Zaporozhets 2020
    (the angles).

    Example:
        >>> round(gaussian_inside(1000, 2), 4), round(gaussian_inside(1000, 12), 3)
        (0.9885, 0.117)
    """
    n = check_whole("points", points) + 1
    least, most = _vertex_shares(n, check_whole("dims", dims))
    return 1.0 - least if most is None else most


@takes(points=COUNT, dims=COUNT)
def expected_gaussian_vertices(points: int, dims: int) -> float:
    """The mean number of vertices of the convex hull of N Gaussian points in d dimensions.

    ``E f_0 = 2 (a_d + a_(d-2) + ...)``, the sum above.

    Args:
        points: N.
        dims: d, up to 2,000.

    Raises:
        InputError: numbers that count nothing.
        UnsupportedError: more dimensions.

    Accuracy: 1e-10 relative. Cost: as `gaussian_inside`.

    Source: Affentranger and Schneider 1992, Eq. (5); Baryshnikov and Vitale 1994.

    Example:
        >>> expected_gaussian_vertices(3, 2), round(expected_gaussian_vertices(4, 2), 6)
        (3.0, 3.649041)
    """
    n = check_whole("points", points)
    least, most = _vertex_shares(n, check_whole("dims", dims))
    return n * (least if most is None else 1.0 - most)


@takes(dims=COUNT)
def ball_threshold(dims: int) -> float:
    """The number of uniform points of a ball around which a new one begins to fall in their hull.

    ``2^(d/2) / d``: with N larger by any constant factor the probability to be inside goes to 1 as
    d goes to infinity, with N smaller by one to 0. An asymptotic statement: at d = 20 it says 51
    points, and the hull of 51 points holds next to nothing. No probability is claimed.

    Args:
        dims: d.

    Raises:
        InputError: a number that counts nothing.

    Accuracy: asymptotic, as said. Cost: none.

    Source: Barany and Furedi 1988, "On the shape of the convex hull of random points"; theorem 1
    of Balestriero, Pesenti and LeCun 2021.

    Example:
        >>> [float(f"{ball_threshold(d):.2g}") for d in (20, 50, 100)]
        [51.0, 670000.0, 11000000000000.0]
    """
    d = check_whole("dims", dims)
    return math.exp(d / 2 * math.log(2.0) - math.log(d)) if d < 2000 else math.inf


@cache
def _vertex_shares(n: int, d: int) -> tuple[float, float | None]:
    """E f_0 / n, or where 1 - E f_0 / n is the smaller one, that: (_, 1 - E f_0 / n)."""
    if d > _MOST_DIMENSIONS:
        raise UnsupportedError(
            "The angles of simplices of so many dimensions are not computed.",
            received=f"dims={d}", needed=f"at most {_MOST_DIMENSIONS}",
        )  # fmt: skip
    if n <= d + 1:  # a simplex: all points are vertices
        return 1.0, None
    peak, above, total = -math.inf, 0.0, 0.0
    for m in range(d + 2, n + 1, 2):
        term = _log_term(n, m)
        above += 2.0 * math.exp(term)
        if above > 0.5:
            break
        peak = max(peak, term)
        if term < peak and term < math.log(_NEGLIGIBLE) + math.log(above or 1e-300):
            break
    if above <= 0.5:
        return 1.0 - above, above
    for m in range(d, 0, -2):
        total += 2.0 * math.exp(_log_term(n, m))
    return total, None


def _log_term(n: int, m: int) -> float:
    """Log(a_m / n)."""
    ways = special.gammaln(n) - special.gammaln(m) - special.gammaln(n - m + 1)
    return float(ways + _log_vertex_angle(m) + _log_external_angle(n, m))


def _log_external_angle(n: int, m: int) -> float:
    """Log E Phi(z / sqrt m)^(n - m), about the maximum of the integrand, which is log-concave."""
    power, root = n - m, math.sqrt(m)

    def exponent(z: np.ndarray) -> np.ndarray:
        return power * special.log_ndtr(z / root) - z * z / 2

    def slope(z: float) -> float:
        ratio = math.exp(-z * z / (2 * m) - special.log_ndtr(z / root)) / math.sqrt(2 * math.pi)
        return power * ratio / root - z

    high = 1.0
    while slope(high) > 0:
        high *= 2
    top = 0.0 if power == 0 else _root(slope, 0.0, high)
    # The curvature is at least 1, that of the Gaussian: 10 units are all there is.
    z = top + np.linspace(-10.0, 10.0, _NODES)
    values = exponent(z)
    step = float(z[1] - z[0])
    largest = float(values.max())
    total = float(np.exp(values - largest).sum()) * step / math.sqrt(2 * math.pi)
    return largest + math.log(total)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    found: Any = optimize.brentq(function, low, high, xtol=1e-10)
    return float(found)


@cache
def _log_vertex_angle(m: int) -> float:
    """Log of the solid angle of a regular simplex of m vertices at a vertex; the whole space is 1.

    ``(1/sqrt(2 pi)) int Phi(i x/sqrt m)^(m-1) exp(-x^2/2) dx`` along x = u - i t, with z = (t + i
    u)/sqrt m and Phi(z) = exp(-z^2/2) w(-i z/sqrt 2)/2, t < 0 at the saddle point.

    Source: Rogers 1961; Vershik and Sporyshev 1992; Kabluchko and Zaporozhets 2020, Theorem 1.2.
    """
    if m == 1:
        return 0.0
    root = math.sqrt(m)

    def slope(t: float) -> float:  # of (m-1) log Phi(t/sqrt m) + t^2/2
        s = t / root
        ratio = math.exp(-s * s / 2 - special.log_ndtr(s)) / math.sqrt(2 * math.pi)
        return (m - 1) * ratio / root + t

    low = -1.0
    while slope(low) > 0:
        low *= 2
    t = _root(slope, low, 0.0)

    def exponent(u: Any) -> Any:
        line = t + 1j * u
        faddeeva = special.wofz(-1j * line / (root * math.sqrt(2.0)))
        return (m - 1) * (np.log(faddeeva) - math.log(2.0)) + line * line / (2 * m)

    width = 1.0
    while exponent(width).real > exponent(0.0).real - 42.0:
        width *= 1.3
    u = np.linspace(-width, width, 4 * _NODES)
    values = exponent(u)
    top = float(values.real.max())
    total = float(np.exp(values - top).real.sum()) * float(u[1] - u[0]) / math.sqrt(2 * math.pi)
    return top + math.log(total)
