"""Every layer and activation of neural-tangents: our kernels are theirs, in float64.

The values, and how an entry is to be read, are those of benchmarks/neural_tangents_values.py.
"""

import functools
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import whydeep as wd
from whydeep.ensemble import measure_kernels
from whydeep.network import INPUT, DotProductAttention, Join, Network, Node, Sum
from whydeep.theory.infinite import kernel

REFERENCE = json.loads((Path(__file__).parent / "neural_tangents.json").read_text())
ENTRIES = REFERENCE["entries"]


# -- the activations, by the formulas of the reference --------------------------------------------


@functools.cache
def activation(name, arguments):  # noqa: PLR0911 -- a table of formulas
    values = dict(arguments)
    if name == "numerical":
        return wd.activations.get(
            {"cube": "polynomial(0, -1, 0, 1)"}.get(*[values["function"]] * 2)
        )
    if name == "polynomial":
        return wd.activations.get(
            "polynomial(" + ", ".join(map(repr, values["coefficients"])) + ")"
        )
    named = {
        "relu": "relu", "stable_relu": "relu", "abs": "abs", "sign": "sign", "gelu": "gelu",
        "gabor": "gabor", "given_erf": "erf",
    }  # fmt: skip
    if name in named:
        return wd.activations.get(named[name])
    if name in ("leaky_relu", "monomial", "rectified_monomial", "hermite", "rbf"):
        parameters = ", ".join(repr(v) for v in values.values())
        return wd.activations.get(f"{name}({parameters})" if parameters else name)
    if name == "ab_relu":
        a, b = values["a"], values["b"]
        return wd.activations.ScalarFunction(
            "ab_relu", (lambda z: a * z, lambda z: b * z), (0.0,), slopes=(a, b)
        )
    scaled = {
        "erf": jax.scipy.special.erf, "sin": jnp.sin, "cos": jnp.cos,
    }  # fmt: skip
    if name in scaled:
        if not values:
            return wd.activations.get(name)
        a, b, c = values["a"], values["b"], values["c"]
        if name == "erf":
            return wd.activations.custom(lambda z: a * scaled[name](b * z) + c, name="erf scaled")
        return wd.activations.custom(lambda z: a * scaled[name](b * z + c), name=f"{name} scaled")
    if name == "sigmoid_like":
        return wd.activations.custom(
            lambda z: 0.5 * jax.scipy.special.erf(z / 2.4020563531719796) + 0.5
        )
    a, b = values.get("a", 1.0), values.get("b", {"exp": 1.0, "gaussian": -1.0}[name])
    inner = (lambda z: z) if name == "exp" else (lambda z: z**2)
    return wd.activations.custom(lambda z: a * jnp.exp(b * inner(z)))


# -- the networks ---------------------------------------------------------------------------------


def filled(node):
    node = REFERENCE["nodes"].get(node, node) if isinstance(node, str) else node
    kind, arguments = node
    return kind, REFERENCE["defaults"].get(kind, {}) | arguments


def build(nodes, shape):
    """A Network of the nodes for inputs of this shape, positions and channels."""
    parts = []
    for node in nodes:
        kind, arguments = filled(node)
        parts.append(BUILDERS[kind](dict(arguments), shape))
        after = wd.chain(parts[-1]).shapes(shape)[-1]
        shape = (*after.positions, after.channels)
    return wd.chain(*parts) if parts else wd.Identity()


def dense(a, _):
    a.pop("s", None)
    return wd.Dense(**a)


def windowed(layer):
    def make(a, _):
        a["size"] = tuple(a["size"])
        a["strides"] = tuple(a["strides"] or (1,) * len(a["size"]))
        if "normalize_edges" in a:
            a["count_padding"] = not a.pop("normalize_edges")
        return layer(**a)

    return make


def branches(join):
    def make(a, shape):
        parts = [build(nodes, shape) for nodes in a["branches"]]
        if join is wd.Concatenate:
            axis = a["axis"]
            return join(*parts, axis="channels" if axis == -1 else axis - 1)
        return join(*parts)

    return make


def mixing(positions, of):
    """The map over positions that `of` makes of arrays (1, *positions, 1)."""
    basis = np.eye(math.prod(positions)).reshape(-1, *positions, 1)
    with jax.enable_x64(True):
        out = np.stack([np.asarray(of(jnp.asarray(b[None])))[0, ..., 0] for b in basis], -1)
    return wd.Mix(out.reshape(-1, out.shape[-1]), out.shape[:-1])


def resized(a, given):
    positions = given[:-1]
    shape = tuple(p if s == -1 else s for s, p in zip(a["shape"], positions, strict=True))
    return mixing(positions, lambda x: jax.image.resize(
        x, (1, *shape, 1), a["method"], antialias=a.get("antialias", True)))  # fmt: skip


def dotted(a, given):
    def of(x):
        (c1, c2), (b1, b2) = a["dimension_numbers"]
        numbers = ((tuple(c1), tuple(c2)), (tuple(b1), tuple(b2)))
        if "rhs" in a:
            return jax.lax.dot_general(x, jnp.asarray(a["rhs"]), numbers)
        out = jax.lax.dot_general(jnp.asarray(a["lhs"]), x, numbers)
        return jnp.moveaxis(out, 0, 1)

    return mixing(given[:-1], of)


def indexed(a, given):
    selection = tuple(slice(*i) if isinstance(i, list) else i for i in a["index"])
    return wd.index(given[:-1], selection)


def normed(a, _):
    axes = [axis for axis in a["axes"] if axis != -1]
    over = "channels" if not axes else tuple(axis - 1 for axis in axes)
    return wd.LayerNorm(a["eps"], over=over)


def attention(a, given):
    width, bias = a["width"], a["bias_var"]
    linear = a["scaling"] == "linear"
    variances = {k: a[f"{k}_var"] for k in ("query", "key", "value")}
    if linear:  # one layer for both
        variances["key"] = math.sqrt(variances["query"] * variances.pop("key"))
        del variances["query"]
    layers = {k: wd.Dense(width, v) for k, v in variances.items()}
    layers["out"] = wd.Dense(width, a["out_var"], bias)
    nodes, keys, values = [], INPUT, INPUT
    positional = a["positional"]
    if positional:
        nodes.append(Node(embedding(positional, given), ()))
        join = Sum() if positional["how"] == "sum" else Join()
        nodes.append(Node(join, (INPUT, 0)))
        keys = 1
        values = 1 if positional["values"] else INPUT
    place = {}
    for name, source in (("query", keys), ("key", keys), ("value", values)):
        if name in layers:
            nodes.append(Node(layers[name], (source,)))
            place[name] = len(nodes) - 1
    place.setdefault("query", place["key"])
    mechanism = a["mechanism"]
    core = DotProductAttention(
        1,
        "1/d" if linear else "1/sqrt(d)",
        softmax=mechanism == "softmax",
        function=wd.activations.get(mechanism) if mechanism in ("relu", "abs") else None,
    )
    nodes.append(Node(core, (place["query"], place["key"], place["value"])))
    nodes.append(Node(layers["out"], (len(nodes) - 1,)))
    return Network(tuple(nodes))


def embedding(a, given):
    positions = given[:-1]
    grid = np.stack(np.meshgrid(*map(np.arange, positions), indexing="ij"), -1)
    grid = grid.reshape(-1, len(positions))
    distance = np.sum(np.abs(grid[:, None] - grid[None]) ** a["norm"], -1)
    decay = a["decay"]
    covariance = np.eye(len(grid)) if decay is None else np.exp(-decay * distance)
    return wd.PositionalEmbedding(
        positions, a.get("channels") or given[-1], a["var"], covariance=covariance
    )


BUILDERS = {
    "Dense": dense,
    "Conv": windowed(wd.Conv),
    "ConvLocal": windowed(wd.ConvLocal),
    "ConvTranspose": windowed(wd.ConvTranspose),
    "AvgPool": windowed(wd.AvgPool),
    "SumPool": windowed(wd.SumPool),
    "GlobalAvgPool": lambda *_: wd.GlobalAvgPool(),
    "GlobalSumPool": lambda *_: wd.GlobalSumPool(),
    "Flatten": lambda *_: wd.Flatten(),
    "Identity": lambda *_: wd.Identity(),
    "Dropout": lambda a, _: wd.Dropout(a["rate"]),
    "LayerNorm": normed,
    "Activation": lambda a, _: wd.Activation(activation(a.pop("name"), frozen(a))),
    "Add": branches(wd.Add),
    "Multiply": branches(wd.Multiply),
    "Concatenate": branches(wd.Concatenate),
    "Repeat": lambda a, p: wd.repeat(build(a["nodes"], p), a["times"]),
    "ImageResize": resized,
    "DotGeneral": dotted,
    "Index": indexed,
    "Attention": attention,
    "Aggregate": lambda *_: wd.Aggregate(),
}


def frozen(a):
    return tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in a.items())


def inputs(name):
    """x1 and x2, and what goes with them."""
    given = REFERENCE["inputs"][name]
    out = []
    for n, wave in ((given["n1"], np.sin), (given["n2"], np.cos)):
        size = math.prod(given["shape"])
        k = np.arange(n * size).reshape(n, size)
        x = (1 + np.arange(n)[:, None] / 2) * wave(0.5 + k**2)
        out.append(x.reshape(n, *given["shape"]))
    return out


def lower(rows):
    whole = np.zeros((len(rows), len(rows)))
    for i, row in enumerate(rows):
        whole[i, : i + 1] = whole[: i + 1, i] = [np.nan if v is None else v for v in row]
    return whole


def lengths(name):
    given = REFERENCE["inputs"][name]
    if "lengths1" not in given:
        return None, None
    shape = given["shape"][:-1]
    out = []
    for which in ("lengths1", "lengths2"):
        mask = np.zeros((len(given[which]), *shape), dtype=bool)
        for row, length in zip(mask, given[which], strict=True):
            row[:length] = True
        out.append(mask)
    return out


def graphs(name):
    """Weights (N, from, to); lists of edges count how often an edge occurs."""
    given = REFERENCE["inputs"][name]
    if "pattern1" not in given:
        return None, None
    count = math.prod(given["shape"][:-1])
    out = []
    for pattern in (np.array(given["pattern1"]), np.array(given["pattern2"])):
        if name == "graph_edges":
            weights = np.zeros((len(pattern), count, count))
            for matrix, edges in zip(weights, pattern, strict=True):
                for start, end in edges[np.all(edges >= 0, axis=-1)]:
                    matrix[start, end] += 1.0
        elif pattern.ndim == 5:
            weights = pattern.reshape(len(pattern), count, count)
        else:
            weights = pattern
        out.append(weights)
    return out


# Where their values are not the kernel of the network, and why.
BEYOND = {
    "exp_normalized_1.1_-1.0 once": "a kernel that no function of z has",
    "standard_scaled": "their s, which scales widths against a base: no argument of ours",
    "ImageResize linear 3x4": "after Flatten they interpolate variances, not values: see below",
    "ImageResize linear 9x7": "the same",
    "ImageResize nearest 3x4": "after a convolution they resize the transposed image: see below",
    "ImageResize nearest 9x7": "the same",
    "ImageResize without antialias": "the same",
    "padded LayerNorm channels and positions": "their eps is added at padding too: see below",
}
# Activations that jump: they take the derivative to be 0, and the tangent kernel does not exist.
JUMPS = ("sign", "rectified_monomial_0")


@pytest.mark.parametrize(
    "entry", [e for e in ENTRIES if e["name"] not in BEYOND], ids=lambda e: e["name"]
)
def test_kernels_are_theirs(entry):
    x1, x2 = inputs(entry["inputs"])
    net = build(entry["network"], x1.shape[1:])
    ntk = not entry["name"].startswith(JUMPS)
    first, second = lengths(entry["inputs"]), graphs(entry["inputs"])
    alone = kernel(net, x1, ntk=ntk, mask1=first[0], graph1=second[0])
    both = kernel(
        net, x1, x2, ntk=ntk, mask1=first[0], mask2=first[1], graph1=second[0], graph2=second[1]
    )
    for kind in ("nngp", "ntk") if ntk else ("nngp",):
        want = lower(entry[kind + "11"])
        off = ~np.eye(len(want), dtype=bool)
        assert_close(getattr(alone, kind), want, 1e-8)  # relu's diagonals, of theirs
        assert_close(getattr(alone, kind)[off], want[off], 1e-10)
        assert_close(getattr(both, kind), np.array(entry[kind + "12"], dtype=float), 1e-10)


def assert_close(got, want, tolerance):
    known = ~np.isnan(want)
    scale = np.max(np.abs(want[known]), initial=0.0)
    assert np.all(np.abs(got - want)[known] <= tolerance * scale + 1e-300)


def test_their_layer_norm_adds_eps_at_padding_too():
    entry = next(e for e in ENTRIES if e["name"] == "padded LayerNorm channels and positions")
    x1, _ = inputs("padded")
    mask, _ = lengths("padded")
    theirs = np.diag(lower(entry["nngp11"]))
    for row, length in enumerate((6, 4, 3)):
        nodes = json.loads(json.dumps(entry["network"]))
        nodes[1][1]["eps"] *= 6 / length
        ours = kernel(build(nodes, (6, 3)), x1[[row]], mask1=mask[[row]]).nngp[0, 0]
        assert abs(ours - theirs[row]) < 1e-10 * theirs[row]


@pytest.mark.parametrize(
    "name", ["ImageResize nearest 3x4", "ImageResize nearest 9x7", "ImageResize without antialias"]
)
def test_they_resize_the_transposed_image_after_a_convolution(name):
    entry = next(e for e in ENTRIES if e["name"] == name)
    x1, _ = inputs("image")
    nodes = json.loads(json.dumps(entry["network"]))
    # -1 stands for the size before they transpose.
    wanted = nodes[2][1]["shape"]
    shape = [n if n > 0 else given for n, given in zip(wanted, x1.shape[1:-1], strict=True)]
    nodes[2][1]["shape"] = shape[::-1]
    transposed = kernel(build(nodes, x1.shape[1:]), x1)
    assert_close(transposed.nngp, lower(entry["nngp11"]), 1e-8)
    assert_close(transposed.ntk, lower(entry["ntk11"]), 1e-8)
    if name == "ImageResize nearest 3x4":
        assert_measured(entry)


def test_interpolated_values_are_not_of_interpolated_variance():
    assert_measured(next(e for e in ENTRIES if e["name"] == "ImageResize linear 3x4"))


def assert_measured(entry):
    """Networks as drawn have our kernel, and not theirs."""
    x1, _ = inputs(entry["inputs"])
    nodes = [*entry["network"][:-1], ["Dense", {"width": 512, "weight_var": 1.2, "bias_var": 0.0}]]
    net = build(nodes, x1.shape[1:])
    measured = measure_kernels(net, x1, draws=2000, ntk_draws=0, seed=0)
    error = np.diag(measured.nngp_stderr)
    ours, theirs = np.diag(kernel(net, x1, ntk=False).nngp), np.diag(lower(entry["nngp11"]))
    # One network in 1,000 passes 4 of these errors, a deviation of order 1/width included.
    error = np.hypot(error, ours / 64 / 4)
    assert np.all(np.abs(np.diag(measured.nngp) - ours) < 4.0 * error)
    assert np.any(np.abs(np.diag(measured.nngp) - theirs) > 4.0 * error)


def test_what_they_refuse_we_compute_or_refuse_with_a_reason():
    refused = {
        "activation after Multiply", "monomial of degree 6", "Repeat of one Conv",
        "LayerNorm without channels", "activation on the input", "Dropout on the input",
        "softmax attention with 1/sqrt(d)",
    }  # fmt: skip
    for entry in REFERENCE["refused"]:
        if entry["name"] in refused:
            continue
        x1, _ = inputs(entry["inputs"])
        found = kernel(build(entry["network"], x1.shape[1:]), x1)
        assert np.all(np.linalg.eigvalsh(found.nngp) > 0)
        assert np.all(np.linalg.eigvalsh(found.ntk) > 0)
