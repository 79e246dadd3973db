"""Kernels of neural-tangents 0.6.5 in float64, for tests: every layer and activation it has.

    python benchmarks/neural_tangents_values.py

makes the peer's environment if need be, runs there, and writes
tests/theory/infinite/neural_tangents.json. The file holds:

``versions``     of neural-tangents, jax, jaxlib, numpy.
``inputs``       by name: ``shape`` of one input, channels last; ``n1`` and ``n2``, how many there
                 are. They follow from a formula, see `make_inputs`: entry k of the flattened x1 is
                 (1 + i/2) sin(1/2 + k^2) and of x2 (1 + i/2) cos(1/2 + k^2) for input i. With
                 ``lengths1`` and ``lengths2``, positions from lengths[i] on (first axis of input i)
                 are padding, in x1 and x2 alike. With ``pattern1``, ``pattern2``: the graphs
                 (adjacency matrices [input, from, to], or lists of edges [input, edge, (from, to)]
                 where an edge with -1 does not exist).
``activations``  a formula in z and the parameters for every name, in Python: exp, erf, sin, cos,
                 sqrt, sign, abs, minimum, maximum, where, pi, polyval (coefficients from the
                 constant up), hermite (normalised: E he_n^2 = 1). null: not a function of z.
``defaults``     arguments of a layer that are not written out.
``nodes``        nodes that occur often, by name.
``entries``      ``name``, ``inputs``, ``network``, and the matrices ``nngp11``, ``ntk11`` (x1 with
                 itself; the lower triangle, row by row) and ``nngp12``, ``ntk12`` (x1 with x2), to
                 12 digits. null is their NaN. ``rounding``: how far their values move when the
                 inputs are turned by an orthogonal matrix, which is rounding only, relative to the
                 largest value: [everywhere else, on the diagonal of 11], where one of them is over
                 1e-13. ``quadrature``: how far they move with 1.5 times as many nodes, where they
                 integrate numerically.
``refused``      ``name``, ``inputs``, ``network``, and the ``error`` and ``message`` they raise.

A network is a list of nodes in the order of application. A node is [layer, arguments], where an
argument that is missing has the value in ``defaults`` if one is there, or a name in ``nodes``.

- Dense: width, weight_var (W_std^2), bias_var (b_std^2), parameterization ("ntk" unless said).
  ``bias_lr: 0.0`` in "standard": there is no bias. ``weight_lr``: instead of fan_in; ``s`` is how
  their own call says the same, and is to be ignored.
- Conv, ConvLocal, ConvTranspose: channels, size, strides, padding ("SAME", "VALID", "CIRCULAR"),
  weight_var, bias_var, parameterization, bias_lr.
- Activation: name and its parameters.
- AvgPool, SumPool: size, strides, padding; normalize_edges (divide by the number of positions in
  the window that exist; else by the window's size).
- GlobalAvgPool, GlobalSumPool, Flatten, Identity; ``batch_axis`` only says where their layout has
  the batch.
- LayerNorm: eps, axes that are normalised over (0 is the batch, -1 the channels). It has no scale
  and no shift.
- Dropout: rate, the probability to drop, in training mode: the mean of the squared mask is
  1/(1 - rate) for a unit of an input with itself, and masks of different inputs (and positions)
  are independent.
- Attention: width; scaling "linear" (keys and queries share their weights, logits over their
  dimension) or "sqrt"; mechanism "softmax", "identity", "relu" or "abs", of the logits; query_var,
  key_var, value_var, out_var, bias_var; positional: how ("sum", "concat"), var, decay (their
  covariance is exp(-decay d) at distance d = sum |p - q|^norm; null: one-hot), channels (for
  "concat"; null: as many as the input has), values (whether values see them too).
- Aggregate: axes (of the input with batch 0), sparse. DotGeneral: lhs or rhs, dimension_numbers,
  as in jax.lax.dot_general. ImageResize: shape of the positions (-1: as it is), method, antialias.
  Index: one integer or [start, stop, step] a position axis.
- Add, Multiply, Concatenate (axis): branches, each a list of nodes (empty: the input itself).
  Repeat: nodes, times.

Padding is zero in the input, and zero again after every layer, whatever the activation makes of 0.
Windows (Conv, ConvLocal, pools) run over these zeros; an output position is padding if the input
position at its window's centre (the earlier of two) is; of ConvTranspose, if any padded position
reaches it. GlobalAvgPool divides by the number of positions that are left, Flatten by all of them;
LayerNorm over positions and attention leave padding out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
from _nt_networks import ACCEPTED, DEFAULTS, NODES, complete, numerical, refused

FILE = Path(__file__).parents[1] / "tests" / "theory" / "infinite" / "neural_tangents.json"
PADDING = 100.0  # what marks padding in their inputs

INPUTS = {
    "vector": {"shape": [5], "n1": 3, "n2": 2},
    "sequence": {"shape": [5, 2], "n1": 3, "n2": 2},
    "image": {"shape": [6, 5, 2], "n1": 3, "n2": 2},
    "image8": {"shape": [8, 8, 3], "n1": 3, "n2": 2},
    "volume": {"shape": [3, 4, 2, 2], "n1": 3, "n2": 2},
    "padded": {"shape": [6, 3], "n1": 3, "n2": 2, "lengths1": [6, 4, 3], "lengths2": [5, 2]},
    "padded_image": {
        "shape": [5, 4, 2], "n1": 3, "n2": 2, "lengths1": [5, 3, 4], "lengths2": [4, 2],
    },
    "graph": {"shape": [4, 3], "n1": 3, "n2": 2},
    "graph_edges": {"shape": [4, 3], "n1": 3, "n2": 2},
    "grid_graph": {"shape": [2, 2, 3], "n1": 3, "n2": 2},
}  # fmt: skip

ACTIVATIONS = {
    "relu": "maximum(z, 0)",
    "stable_relu": "maximum(z, 0)",
    "leaky_relu": "where(z < 0, slope * z, z)",
    "abs": "abs(z)",
    "ab_relu": "a * minimum(z, 0) + b * maximum(z, 0)",
    "sign": "sign(z)",
    "erf": "a * erf(b * z) + c",
    "given_erf": "erf(z)",
    "sigmoid_like": "0.5 * erf(z / 2.4020563531719796) + 0.5",
    "gelu": "0.5 * z * (1 + erf(z / sqrt(2)))",
    "sin": "a * sin(b * z + c)",
    "cos": "a * cos(b * z + c)",
    "rbf": "sqrt(2) * sin(sqrt(2 * gamma) * z + pi / 4)",
    "gaussian": "a * exp(b * z**2)",
    "exp": "a * exp(b * z)",
    "exp_normalized": None,
    "gabor": "exp(-z**2) * sin(z)",
    "monomial": "z**degree",
    "rectified_monomial": "where(z >= 0, z**degree, 0)",
    "polynomial": "polyval(z, coefficients)",
    "hermite": "hermite(z, degree)",
    "numerical": "the function named: tanh, softplus, silu, or cube = z**3 - z",
}

# ---------------------------------------------------------------------------------------- inputs


def make_inputs(spec):
    """x1 and x2 as float64 arrays (n, *shape), without padding marked."""
    shape = tuple(spec["shape"])
    out = []
    for n, wave in ((spec["n1"], np.sin), (spec["n2"], np.cos)):
        k = np.arange(n * np.prod(shape), dtype=np.float64).reshape(n, *shape)
        scale = (1 + np.arange(n) / 2).reshape(n, *(1,) * len(shape))
        out.append(scale * wave(0.5 + k**2))
    return out


def _with_patterns():
    rng = np.random.default_rng(0)
    for name, nodes in (("graph", (4,)), ("grid_graph", (2, 2))):
        for which in ("1", "2"):
            n = INPUTS[name]["n" + which]
            drawn = rng.integers(0, 3, size=(n, *nodes, *nodes)) / 2
            INPUTS[name]["pattern" + which] = drawn.tolist()
    for which in ("1", "2"):
        edges = rng.integers(0, 4, size=(INPUTS["graph_edges"]["n" + which], 6, 2))
        edges[0, 5] = -1  # an edge that does not exist
        INPUTS["graph_edges"]["pattern" + which] = edges.tolist()


_with_patterns()


# --------------------------------------------------------------------------------- their kernels


def kernels(spec, nodes, turn=None):
    """Their nngp and ntk of x1 with itself and of x1 with x2, four float64 arrays."""
    from _nt_side import network

    x1, x2 = (x if turn is None else x @ turn for x in make_inputs(spec))
    options = {}
    if "lengths1" in spec:
        for x, lengths in ((x1, spec["lengths1"]), (x2, spec["lengths2"])):
            for i, length in enumerate(lengths):
                x[i, length:] = PADDING
        options["mask_constant"] = PADDING
    patterns = [np.array(spec[p]) if p in spec else None for p in ("pattern1", "pattern2")]
    _, _, kernel = network(complete(nodes))
    found = {}
    for which, other, pair in (("11", None, (0, 0)), ("12", x2, (0, 1))):
        if patterns[0] is not None:
            options["pattern"] = tuple(patterns[k] for k in pair)
        k = kernel(x1, other, ("nngp", "ntk"), **options)
        found["nngp" + which], found["ntk" + which] = np.asarray(k.nngp), np.asarray(k.ntk)
    assert all(v.dtype == np.float64 and v.ndim == 2 for v in found.values()), nodes
    for which in ("nngp11", "ntk11"):
        values = found[which]
        assert np.allclose(values, values.T, rtol=1e-10, atol=1e-12, equal_nan=True), nodes
    return found


def distance(found, other):
    """Largest difference over the largest value: off the diagonal of 11, and on it."""
    off, on = [0.0], [0.0]
    for which, values in found.items():
        difference = np.abs(values - other[which]) / max(np.nanmax(np.abs(values)), 1e-300)
        if which.endswith("11"):
            on.append(np.nan_to_num(np.diagonal(difference)).max())
            np.fill_diagonal(difference, 0.0)
        off.append(np.nan_to_num(difference).max())
    return [float(f"{max(each):.0e}") for each in (off, on)]


def plain(which, value):
    """A matrix, or its lower triangle, as nested lists of 12 significant digits; null for NaN."""
    rows = [row[: i + 1] if which.endswith("11") else row for i, row in enumerate(value)]
    return [[None if np.isnan(v) else float(f"{v:.12g}") for v in row] for row in rows]


def finer(nodes, factor):
    """The network with `factor` times as many quadrature nodes."""
    return [
        [layer, a | {"degree": int(factor * a["degree"])} if "degree" in a else a]
        for layer, a in complete(nodes)
    ]


def entries(only):
    rng = np.random.default_rng(1)
    for group in ACCEPTED:
        for name, inputs, nodes in group():
            if only and only not in name:
                continue
            spec = INPUTS[inputs]
            turn = np.linalg.qr(rng.standard_normal((spec["shape"][-1],) * 2))[0]
            found = kernels(spec, nodes)
            entry = {"name": name, "inputs": inputs, "network": nodes}
            rounding = distance(found, kernels(spec, nodes, turn))
            if max(rounding) > 1e-13:
                entry["rounding"] = rounding
            if group is numerical:
                entry["quadrature"] = max(distance(found, kernels(spec, finer(nodes, 1.5))))
            print(f"{name}: {rounding} {entry.get('quadrature', '')} {found['ntk11'].ravel()[:2]}")
            yield entry | {k: plain(k, v) for k, v in found.items()}


def refusals(only):
    for name, inputs, nodes in refused():
        if only and only not in name:
            continue
        try:
            kernels(INPUTS[inputs], nodes)
        except Exception as error:  # noqa: BLE001 -- whatever they raise is what is recorded
            kind, message = type(error).__name__, " ".join(str(error).split())[:200]
        else:
            sys.exit(f"they do not refuse: {name}")
        print(f"{name}: {kind}: {message}")
        yield {"name": name, "inputs": inputs, "network": nodes, "error": kind, "message": message}


def write(only):
    import jax
    import jaxlib
    import neural_tangents

    warnings.simplefilter("ignore")
    modules = {"neural-tangents": neural_tangents, "jax": jax, "jaxlib": jaxlib, "numpy": np}
    document = {
        "about": "made by benchmarks/neural_tangents_values.py, which explains every field",
        "versions": {name: module.__version__ for name, module in modules.items()},
        "inputs": INPUTS,
        "activations": ACTIVATIONS,
        "defaults": DEFAULTS,
        "nodes": NODES,
    }
    lists = {"entries": list(entries(only)), "refused": list(refusals(only))}
    names = [entry["name"] for entry in (*lists["entries"], *lists["refused"])]
    assert len(set(names)) == len(names), "every entry has a name of its own"
    head = ",\n".join(f'"{k}": {json.dumps(v, allow_nan=False)}' for k, v in document.items())
    dump = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
    bodies = [f'"{k}": [\n' + ",\n".join(map(dump, v)) + "\n]" for k, v in lists.items()]
    text = "{\n" + ",\n".join([head, *bodies]) + "\n}\n"
    print(f"{len(lists['entries'])} entries, {len(lists['refused'])} refused, {len(text)} bytes")
    if not only:
        FILE.write_text(text, encoding="utf-8")
        print(f"written: {FILE.relative_to(FILE.parents[3])}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-env", type=Path, help="where the peer's environment is, or is made")
    parser.add_argument(
        "--only", default="", help="entries whose name contains this; writes nothing"
    )
    parser.add_argument(
        "--inside", action="store_true", help="in the peer's process (for children)"
    )
    options = parser.parse_args()
    if options.inside:
        write(options.only)
        return 0
    from _peer import QUIET, peer_python

    python = peer_python(options.peer_env)
    command = [python, __file__, "--inside", "--only", options.only]
    wide = os.environ | QUIET | {"JAX_ENABLE_X64": "1"}
    return subprocess.run(command, env=wide, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
