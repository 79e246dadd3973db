"""Kernels of a few pairs of inputs, computed slowly and surely: what both sides are held against.

- ReLU: the arc-cosine recursion (Cho and Saul 2009, Eq. 3) with 50 digits by mpmath.
- Smooth activations: the two-dimensional Gaussian means by the trapezoid rule in float64, twice,
  with different steps; their difference is the error.
- Convolutions: the covariance of all pairs of positions in float64, written out with nothing saved.

Weights have variance ``weight_var / fan_in``, learning rates are those of the "ntk"
parameterization; a network is Dense (or Conv), activation, ..., Dense.
"""

from __future__ import annotations

import math

import numpy as np

SMOOTH = ("tanh", "silu", "gelu")


def mlp_pairs(case, x, pairs):
    """Nngp and ntk of the pairs (i, j) of rows, float64 (pairs,) each, and their error."""
    if case["activation"] == "relu":
        return *_relu_pairs(case, x, pairs), 1e-15
    found = [_smooth_pairs(case, x, pairs, nodes) for nodes in (321, 481)]
    error = max(
        float(np.max(np.abs(a - b) / np.max(np.abs(b)))) for a, b in zip(*found, strict=True)
    )
    return *found[1], error


def _relu_pairs(case, x, pairs):
    import mpmath

    with mpmath.workdps(50):
        weight, bias = mpmath.mpf(case["weight_var"]), mpmath.mpf(case["bias_var"])
        rows = {}
        for i in {i for pair in pairs for i in pair}:
            rows[i] = [mpmath.mpf(float(v)) for v in x[i]]
        out = []
        for i, j in pairs:
            aa, bb, ab = (
                mpmath.fdot(rows[s], rows[t]) / x.shape[1] for s, t in ((i, i), (j, j), (i, j))
            )
            aa, bb, ab = (bias + weight * v for v in (aa, bb, ab))
            ntk = ab
            for _ in range(case["depth"]):
                root = mpmath.sqrt(aa * bb)
                angle = mpmath.acos(min(ab / root, mpmath.mpf(1)))
                slope = (mpmath.pi - angle) / (2 * mpmath.pi)
                ab = bias + weight * (root * mpmath.sin(angle) / (2 * mpmath.pi) + slope * ab)
                ntk = ab + weight * slope * ntk
                aa, bb = bias + weight * aa / 2, bias + weight * bb / 2
            out.append((float(ab), float(ntk)))
    nngp, ntk = np.array(out).T
    return nngp, ntk


def _function(name):
    from scipy.special import erf, expit

    def normal(z):
        return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    def distribution(z):
        return (1 + erf(z / math.sqrt(2))) / 2

    return {
        "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
        "silu": (lambda z: z * expit(z), lambda z: expit(z) * (1 + z * expit(-z))),
        "gelu": (lambda z: z * distribution(z), lambda z: distribution(z) + z * normal(z)),
    }[name]


def _smooth_pairs(case, x, pairs, nodes):
    f, df = _function(case["activation"])
    weight, bias = case["weight_var"], case["bias_var"]
    s = np.linspace(-9.0, 9.0, nodes)
    mass = np.exp(-s * s / 2)
    mass /= mass.sum()
    i, j = np.array(pairs).T
    aa, bb, ab = (
        bias + weight * np.sum(x[p] * x[q], axis=1) / x.shape[1]
        for p, q in ((i, i), (j, j), (i, j))
    )
    ntk = ab.copy()
    for _ in range(case["depth"]):
        value, slope = np.empty_like(ab), np.empty_like(ab)
        for k in range(len(ab)):
            # u = a s, v = b (c s + sqrt(1 - c^2) t) with s, t independent
            a, b = math.sqrt(aa[k]), math.sqrt(bb[k])
            c = min(ab[k] / (a * b), 1.0)
            u = a * s
            v = b * (c * s[:, None] + math.sqrt(1 - c * c) * s[None, :])
            value[k] = (mass * f(u)) @ (f(v) @ mass)
            slope[k] = (mass * df(u)) @ (df(v) @ mass)
        ab = bias + weight * value
        ntk = ab + weight * slope * ntk
        aa, bb = (
            bias + weight * np.array([mass @ f(math.sqrt(q) * s) ** 2 for q in qs])
            for qs in (aa, bb)
        )
    return ab, ntk


# ------------------------------------------------------------------------------------ convolutions


def _window_sum(k):
    """Mean over a 3x3 window of displacements common to both positions, zeros outside."""
    height, width = k.shape[:2]
    padded = np.pad(k, 1)
    total = np.zeros_like(k)
    for dy in range(3):
        for dx in range(3):
            total += padded[dy : dy + height, dx : dx + width, dy : dy + height, dx : dx + width]
    return total / 9


def _pool(k):
    height, width = k.shape[0] // 2, k.shape[1] // 2
    return k.reshape(height, 2, width, 2, height, 2, width, 2).mean(axis=(1, 3, 5, 7))


def conv_pairs(case, x, pairs):
    """(nngp, ntk) of pairs of images, float64."""
    weight, bias = case["weight_var"], case["bias_var"]
    out = []
    for i, j in pairs:
        names = {"aa": (i, i), "bb": (j, j), "ab": (i, j)}
        k = {
            name: np.einsum("yxc,vuc->yxvu", x[p], x[q], optimize=True) / x.shape[-1]
            for name, (p, q) in names.items()
        }
        ntk = np.zeros_like(k["ab"])
        for step in case["layers"]:
            if step == "pool":
                k, ntk = {name: _pool(v) for name, v in k.items()}, _pool(ntk)
                continue
            k = {name: bias + weight * _window_sum(v) for name, v in k.items()}
            ntk = k["ab"] + weight * _window_sum(ntk)
            shape = k["ab"].shape[:2]
            size = shape[0] * shape[1]
            variance = {n: k[n].reshape(size, size).diagonal().copy() for n in ("aa", "bb")}
            root = np.sqrt(np.multiply.outer(variance["aa"], variance["bb"])).reshape(
                *shape, *shape
            )
            for name in names:
                r = root
                if name != "ab":
                    v = np.sqrt(variance[name])
                    r = np.multiply.outer(v, v).reshape(*shape, *shape)
                angle = np.arccos(np.clip(k[name] / r, -1.0, 1.0))
                if name != "ab" or i == j:
                    angle.reshape(size, size)[np.arange(size), np.arange(size)] = 0.0
                slope = (math.pi - angle) / (2 * math.pi)
                if name == "ab":
                    ntk = ntk * slope
                k[name] = r * np.sin(angle) / (2 * math.pi) + slope * k[name]
        mean = [np.einsum("yxyx->", v) / (v.shape[0] * v.shape[1]) for v in (k["ab"], ntk)]
        nngp = bias + weight * mean[0]
        out.append((nngp, nngp + weight * mean[1]))
    nngp, ntk = np.array(out).T
    return nngp, ntk
