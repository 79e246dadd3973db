"""Kernels at infinite width by the plain recursion, sharing nothing with src.

    K' = C_b + C_W <s s>        Theta' = C_b + C_W <s s> + C_W <s' s'> Theta

pair by pair, from closed forms in 40 digits (mpmath) where there are any, else by Gauss-Legendre
panels in the plane, graded towards the lines z_a = 0 and z_b = 0 and broken at kinks. Functions and
slopes are written here once more, in NumPy, so that a wrong activation is seen too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np
from scipy import special

DIGITS = 40
COINCIDENT = 1e-13  # of 1 - |c|, in double precision

# -- closed forms: (<s_a s_b>, <s'_a s'_b>) from q_a, q_b, k and q_a q_b - k^2 ------------------


def _homogeneous(minus: float, plus: float) -> Callable[..., tuple[Any, Any]]:
    def means(qa: Any, qb: Any, k: Any, det: Any) -> tuple[Any, Any]:
        odd, even = mp.mpf(plus + minus) / 2, mp.mpf(plus - minus) / 2
        theta = mp.atan2(mp.sqrt(det), k)
        absolute = 2 / mp.pi * (mp.sqrt(det) + (mp.pi / 2 - theta) * k)
        sign = 1 - 2 / mp.pi * theta
        if qa * qb == 0:  # a sample without variance; the slope meets a tangent kernel as it is
            sign = mp.mpf(1)
        return odd**2 * k + even**2 * absolute, odd**2 + even**2 * sign

    return means


def _erf(qa: Any, qb: Any, k: Any, det: Any) -> tuple[Any, Any]:
    root = mp.sqrt(1 + 2 * (qa + qb) + 4 * det)
    return 2 / mp.pi * mp.atan2(2 * k, root), 4 / mp.pi / root


def _sine(qa: Any, qb: Any, k: Any, _: Any) -> tuple[Any, Any]:
    scale = mp.exp(-(qa + qb) / 2)
    return scale * mp.sinh(k), scale * mp.cosh(k)


def _cosine(qa: Any, qb: Any, k: Any, det: Any) -> tuple[Any, Any]:
    return _sine(qa, qb, k, det)[::-1]


def _gaussian(qa: Any, qb: Any, k: Any, det: Any) -> tuple[Any, Any]:
    total = 1 + 2 * (qa + qb) + 4 * det
    return 1 / mp.sqrt(total), 4 * k / total ** mp.mpf("1.5")


def _square(qa: Any, qb: Any, k: Any, _: Any) -> tuple[Any, Any]:
    return qa * qb + 2 * k * k, 4 * k


CLOSED: dict[str, Callable[..., tuple[Any, Any]]] = {
    "relu": _homogeneous(0, 1),
    "leaky_relu(0.25)": _homogeneous(0.25, 1),
    "abs": _homogeneous(-1, 1),
    "erf": _erf,
    "sin": _sine,
    "cos": _cosine,
    "gaussian": _gaussian,
    "monomial(2)": _square,
}

# -- functions and slopes, for quadrature ---------------------------------------------------------


def _logistic(z: np.ndarray) -> np.ndarray:
    return special.expit(z)


def _silu_slope(z: np.ndarray) -> np.ndarray:
    return _logistic(z) * (1.0 + z * _logistic(-z))


@dataclass(frozen=True)
class Function:
    """A function, its slope, and where it is not smooth."""

    value: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    kinks: tuple[float, ...] = ()


_SCALE, _ALPHA = 1.0507009873554805, 1.6732632423543772
FUNCTIONS = {
    "tanh": Function(np.tanh, lambda z: 4.0 * _logistic(2.0 * z) * _logistic(-2.0 * z)),
    "sigmoid": Function(_logistic, lambda z: _logistic(z) * _logistic(-z)),
    "softplus": Function(lambda z: np.logaddexp(z, 0.0), _logistic),
    "silu": Function(lambda z: z * _logistic(z), _silu_slope),
    "gabor": Function(
        lambda z: np.exp(-z * z) * np.sin(z),
        lambda z: np.exp(-z * z) * (np.cos(z) - 2.0 * z * np.sin(z)),
    ),
    "gelu": Function(
        lambda z: z * special.ndtr(z),
        lambda z: special.ndtr(z) + z * np.exp(-z * z / 2.0) / math.sqrt(2.0 * math.pi),
    ),
    "hard_tanh": Function(
        lambda z: np.clip(z, -1.0, 1.0), lambda z: (np.abs(z) < 1.0) * 1.0, (-1.0, 1.0)
    ),
    "elu": Function(
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0.0))),
        lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0.0))),
        (0.0,),
    ),
    "selu": Function(
        lambda z: _SCALE * np.where(z > 0, z, _ALPHA * np.expm1(np.minimum(z, 0.0))),
        lambda z: _SCALE * np.where(z > 0, 1.0, _ALPHA * np.exp(np.minimum(z, 0.0))),
        (0.0,),
    ),
}

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_REACH = 9.5


def _graded(scale: float, centres: np.ndarray) -> np.ndarray:
    """Ends of panels on [-9.5, 9.5]: even ones, and others that double away from centres."""
    levels = _REACH * 2.0 ** -np.arange(max(1, math.ceil(math.log2(4.0 * max(scale, 1.0)))) + 4.0)
    around = np.concatenate([-levels, [0.0], levels])
    points = np.add.outer(centres, around).ravel()
    points = np.concatenate([points, np.linspace(-_REACH, _REACH, 13)])
    return np.unique(np.clip(points, -_REACH, _REACH))


def _rule(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = np.diff(edges)[:, None] / 2.0
    u = ((edges[:-1, None] + edges[1:, None]) / 2.0 + half * _NODES).ravel()
    weights = (half * _WEIGHTS).ravel() * np.exp(-u * u / 2.0) / math.sqrt(2.0 * math.pi)
    return u, weights


def alone(f: Function, q: float) -> tuple[float, float]:
    """<s^2> and <s'^2> at variance q."""
    if q == 0.0:
        zero = np.zeros(1)
        return float(f.value(zero)[0] ** 2), float(f.slope(zero)[0] ** 2)
    root = math.sqrt(q)
    u, w = _rule(_graded(root, np.array([0.0, *f.kinks]) / root))
    return float(w @ f.value(root * u) ** 2), float(w @ f.slope(root * u) ** 2)


def together(f: Function, qa: float, qb: float, c: float) -> tuple[float, float]:
    """<s_a s_b> and <s'_a s'_b> at correlation c."""
    if qa == 0.0 or qb == 0.0 or 1.0 - abs(c) < COINCIDENT:
        scale = math.sqrt(max(qa, qb))
        kinks = [k / math.sqrt(q) for k in f.kinks for q in (qa, qb) if q > 0]
        u, w = _rule(_graded(scale, np.array([0.0, *kinks, *(-k for k in kinks)])))
        a, b = math.sqrt(qa) * u, math.copysign(math.sqrt(qb), c) * u
        return float(w @ (f.value(a) * f.value(b))), float(w @ (f.slope(a) * f.slope(b)))
    # z_a = A u, z_b = B (c u + d v): kinks and the lines z = 0 are break points of u and of v
    a, b, d = math.sqrt(qa), math.sqrt(qb), math.sqrt((1.0 - c) * (1.0 + c))
    marks = np.array([0.0, *f.kinks])
    crossings = marks / b / c if abs(c) > 1e-9 else np.zeros(1)  # where the second line is met
    u, w = _rule(_graded(max(a, b, 1.0 / d), np.unique([*(marks / a), *crossings])))
    first, first_slope = w * f.value(a * u), w * f.slope(a * u)
    keep = (np.abs(first) > 1e-19 * np.abs(first).max()) | (
        np.abs(first_slope) > 1e-19 * np.abs(first_slope).max()
    )
    image = slope = 0.0
    for x, p, r in zip(u[keep], first[keep], first_slope[keep], strict=True):
        v, weights = _rule(_graded(b * d, (marks / b - c * x) / d))
        z = b * (c * x + d * v)
        image += p * float(weights @ f.value(z))
        slope += r * float(weights @ f.slope(z))
    return image, slope


# -- the recursion --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """K and Theta of a pair, and of both inputs with themselves."""

    nngp: float
    ntk: float
    nngp_scale: float
    ntk_scale: float


def kernels(name: str, depth: int, c_w: float, c_b: float, x: np.ndarray, y: np.ndarray) -> Answer:
    """Output kernels of one pair of inputs."""
    means = _closed_means(name) if name in CLOSED else _quadrature_means(name)
    with mp.workdps(DIGITS):
        w, bias = mp.mpf(c_w), mp.mpf(c_b)
        rows = [[mp.mpf(float(v)) for v in row] for row in (x, y)]
        dot = [
            bias + w * mp.fsum(p * q for p, q in zip(rows[i], rows[j], strict=True)) / len(x)
            for i, j in ((0, 0), (1, 1), (0, 1))
        ]
        tangent = list(dot)
        for _ in range(depth):
            found = means(*dot)
            dot = [bias + w * image for image, _ in found]
            tangent = [
                k + w * slope * theta
                for k, (_, slope), theta in zip(dot, found, tangent, strict=True)
            ]
        return Answer(
            float(dot[2]), float(tangent[2]),
            float(mp.sqrt(dot[0] * dot[1])), float(mp.sqrt(tangent[0] * tangent[1])),
        )  # fmt: skip


def _closed_means(name: str) -> Callable[..., list[tuple[Any, Any]]]:
    def means(qa: Any, qb: Any, k: Any) -> list[tuple[Any, Any]]:
        det = qa * qb - k * k
        if det < mp.mpf(10) ** (8 - DIGITS) * qa * qb:  # coincident or opposite, up to rounding
            det = mp.mpf(0)
        form = CLOSED[name]
        return [form(qa, qa, qa, 0), form(qb, qb, qb, 0), form(qa, qb, k, det)]

    return means


def _quadrature_means(name: str) -> Callable[..., list[tuple[Any, Any]]]:
    f = FUNCTIONS[name]

    def means(qa: Any, qb: Any, k: Any) -> list[tuple[Any, Any]]:
        a, b = float(qa), float(qb)
        c = float(k / mp.sqrt(qa * qb)) if qa * qb > 0 else 1.0
        found = [alone(f, a), alone(f, b), together(f, a, b, c)]
        return [(mp.mpf(image), mp.mpf(slope)) for image, slope in found]

    return means


def inputs(rng: np.random.Generator, scale: float) -> np.ndarray:
    """Rows with a duplicate, an opposite, a multiple and a row of zeros among them."""
    x = rng.normal(size=(4, 3)) * 10.0 ** rng.uniform(-1, 1, size=(4, 1))
    rows = np.concatenate([x, x[:1], -x[1:2], 3.0 * x[2:3], np.zeros((1, 3))])
    return scale * rows
