"""The cases of `vs_neural_tangents.py`: networks, inputs, and which values are looked at."""

from __future__ import annotations

import numpy as np

__all__ = ["CASES", "make_inputs", "sampled_pairs", "sampled_rows"]

MYRTLE = ["conv", "conv", "pool", "conv", "pool", "conv", "pool", "pool", "pool"]


def _cases():
    relu = {"kind": "mlp", "activation": "relu", "weight_var": 2.0, "bias_var": 0.0}
    relu["data"] = "clusters"
    asked = {"float32": {5: 10, 20: 50, 50: 300}, "float64": {5: 5, 20: 25, 50: 150}}
    for dtype, ratios in asked.items():
        for depth, ratio in ratios.items():
            yield {
                **relu, "name": f"relu depth {depth} {dtype}", "depth": depth, "dtype": dtype,
                "n": 4000, "quick": 500, "asked": ratio, "scan": True,
                "agree": 1e-3 if dtype == "float32" else 1e-8,
            }  # fmt: skip
    smooth = {
        "kind": "mlp", "depth": 5, "weight_var": 2.0, "bias_var": 0.1, "dtype": "float64",
        "n": 2000, "quick": 200, "data": "spread",
    }  # fmt: skip
    quadrature = {"degree": 25, "batch": 100, "asked": 25, "accuracy": 1e-8, "agree": 0.2}
    yield {**smooth, **quadrature, "name": "tanh", "activation": "tanh", "weight_var": 1.5}
    yield {**smooth, **quadrature, "name": "silu", "activation": "silu"}
    yield {**smooth, "name": "gelu", "activation": "gelu", "asked": 1.5, "agree": 1e-8}
    conv = {
        "kind": "conv", "weight_var": 2.0, "bias_var": 0.0, "dtype": "float32", "data": "images",
        "agree": 1e-3,
    }  # fmt: skip
    myrtle = {**conv, "layers": MYRTLE, "asked": 100}
    flat = {**conv, "layers": ["conv"] * 5, "asked": 5}
    yield {**myrtle, "name": "Myrtle-5 N=10", "n": 10, "quick": 2}
    yield {**myrtle, "name": "Myrtle-5 N=20", "n": 20, "quick": 4, "batch": 10, "quick_batch": 2}
    yield {**myrtle, "name": "Myrtle-5 N=50", "n": 50, "quick": 6, "asked": None, "sides": ["ours"]}
    yield {**flat, "name": "flat convolutions", "n": 100, "quick": 10}
    first = {"dtype": "float32", "asked": 10, "first": True}
    deep = {**relu, **first, "depth": 20, "n": 100, "quick": 100, "scan": True}
    yield {**deep, "name": "first call, relu"}
    yield {**myrtle, **first, "name": "first call, Myrtle-5", "n": 2, "quick": 2}


CASES = tuple(_cases())


def make_inputs(case, n):
    """Inputs (n, 784) or (n, 32, 32, 3), float64 values that float32 holds exactly."""
    rng = np.random.default_rng(0)
    if case["data"] == "images":
        x = rng.standard_normal((n, 32, 32, 3)) + 0.5 * rng.standard_normal((1, 32, 32, 3))
    else:
        centres = rng.standard_normal((10, 784))
        x = centres[rng.integers(0, 10, n)] + rng.standard_normal((n, 784))
        length = np.exp(np.log(4.0) * (rng.random((n, 1)) - 0.5))  # half to twice
        x *= length / np.sqrt(np.mean(x**2, axis=1, keepdims=True))
        x[1] = x[0] + 1e-4 * rng.standard_normal(784)  # a near-duplicate
    return x.astype(np.float32).astype(np.float64)


def sampled_pairs(case, n):
    """Pairs of indices for the reference; the first index is always one of `sampled_rows`."""
    rng = np.random.default_rng(1)
    if case["kind"] == "conv":
        return [(0, 0), (0, 1)]
    rows = sampled_rows(n)
    pairs = [(0, 0), (0, 1), (int(rows[-1]), int(rows[-1]))]
    return pairs + [(int(i), int(rng.integers(0, n))) for i in rng.choice(rows, 40)]


def sampled_rows(n):
    """Indices of the rows that are compared."""
    return np.unique(np.linspace(0, n - 1, min(n, 40)).astype(int))
