"""Networks for `neural_tangents_values.py`: every layer and activation of neural-tangents."""

from __future__ import annotations

import numpy as np

__all__ = ["ACCEPTED", "DEFAULTS", "NODES", "complete", "numerical", "refused"]

DEFAULTS = {
    "Dense": {"width": 64, "weight_var": 1.5, "bias_var": 0.1, "parameterization": "ntk"},
    **{
        layer: {
            "channels": 64, "size": [3, 3], "strides": None, "padding": "SAME", "weight_var": 1.6,
            "bias_var": 0.05, "parameterization": "ntk",
        }
        for layer in ("Conv", "ConvLocal", "ConvTranspose")
    },
    "AvgPool": {"size": [2, 2], "strides": [2, 2], "padding": "VALID", "normalize_edges": False},
    "SumPool": {"size": [2, 2], "strides": [2, 2], "padding": "VALID"},
    "Attention": {
        "width": 64, "query_var": 1.3, "key_var": 0.8, "value_var": 1.2, "out_var": 0.9,
        "bias_var": 0.0, "positional": None,
    },
}  # fmt: skip

NODES = {
    "dense": ["Dense", {}],
    "conv": ["Conv", {}],
    "relu": ["Activation", {"name": "relu"}],
    "flatten": ["Flatten", {}],
    "mean": ["GlobalAvgPool", {}],
    "out": ["Dense", {"width": 1, "weight_var": 1.2, "bias_var": 0.0}],
}


# ------------------------------------------------------------------------------------------- nodes


def node(layer, **arguments):
    """A node that says only what differs from the defaults, or the name it has in `NODES`."""
    usual = DEFAULTS.get(layer, {})
    made = [layer, {k: v for k, v in arguments.items() if k not in usual or usual[k] != v}]
    return next((name for name, known in NODES.items() if known == made), made)


def complete(nodes):
    """The network with names and defaults filled in, as `_nt_side.network` takes it."""
    out = []
    for each in nodes:
        layer, arguments = NODES[each] if isinstance(each, str) else each
        arguments = {**DEFAULTS.get(layer, {}), **arguments}
        if "branches" in arguments:
            arguments["branches"] = [complete(branch) for branch in arguments["branches"]]
        if "nodes" in arguments:
            arguments["nodes"] = complete(arguments["nodes"])
        out.append([layer, arguments])
    return out


def dense(weight_var=1.5, bias_var=0.1, width=64, **more):
    return node("Dense", width=width, weight_var=weight_var, bias_var=bias_var, **more)


def conv(
    size=(3, 3),
    strides=None,
    padding="SAME",
    weight_var=1.6,
    bias_var=0.05,
    *,
    layer="Conv",
    **more,
):
    strides = None if strides is None or set(strides) == {1} else list(strides)
    return node(
        layer, size=list(size), strides=strides, padding=padding, weight_var=weight_var,
        bias_var=bias_var, **more,
    )  # fmt: skip


def act(name="relu", **parameters):
    return node("Activation", name=name, **parameters)


def pool(size, strides, padding="VALID", layer="AvgPool", **more):
    return node(layer, size=list(size), strides=list(strides), padding=padding, **more)


def add(*branches):
    return node("Add", branches=list(branches))


def attention(scaling="linear", mechanism="softmax", **more):
    return node("Attention", scaling=scaling, mechanism=mechanism, **more)


# The commonest nodes, by the names they have in NODES.
D, C, R, F, M, O = "dense", "conv", "relu", "flatten", "mean", "out"


# ---------------------------------------------------------------------------------------- networks
# Each generator gives names, inputs and networks.


def fully_connected():
    yield "dense", "vector", [D]
    yield "dense_without_bias", "vector", [dense(2.0, 0.0)]
    yield "dense_twice", "vector", [D, dense(0.7, 0.2)]
    yield "dense_relu", "vector", [D, R, O]
    yield "dense_relu_3", "vector", [D, R, D, R, D, R, O]
    deep = [x for _ in range(20) for x in (dense(2.0, 0.0), R)]
    yield "dense_relu_20", "vector", [*deep, O]
    yield "dense_relu_20_bias", "vector", [x for _ in range(20) for x in (dense(1.7, 0.1), R)] + [O]
    yield (
        "dense_erf_20",
        "vector",
        [x for _ in range(20) for x in (dense(1.7, 0.1), act("erf"))] + [O],
    )
    yield "ends_in_relu", "vector", [D, R]
    yield "ends_in_erf", "vector", [D, act("erf")]
    yield "repeat", "vector", [D, R, node("Repeat", nodes=[D, R], times=4), O]
    yield "identity", "vector", [node("Identity"), D, R, node("Identity"), O]
    standard = {"parameterization": "standard"}
    wide = dense(1.5, 0.1, width=32, **standard)
    yield (
        "standard",
        "vector",
        [wide, R, dense(1.4, 0.2, 48, **standard), act("erf"), dense(1.2, 0.3, 1, **standard)],
    )
    none = {"bias_lr": 0.0, **standard}
    yield (
        "standard_without_bias",
        "vector",
        [dense(1.5, 0.0, 32, **none), R, dense(1.2, 0.0, 1, **none)],
    )
    yield (
        "standard_bias_var_0",
        "vector",
        [dense(1.5, 0.0, 32, **standard), R, dense(1.2, 0.0, 1, **standard)],
    )
    scaled = {"weight_lr": 16.0, "s": [2, 1], **standard}
    yield (
        "standard_scaled",
        "vector",
        [dense(1.5, 0.1, 32, s=[1, 2], **standard), R, dense(1.2, 0.1, 1, **scaled)],
    )


def activations():
    named = {
        "leaky_relu": [{"slope": 0.1}, {"slope": -0.4}],
        "ab_relu": [{"a": 0.3, "b": -1.2}],
        "erf": [{}, {"a": 1.3, "b": 0.7, "c": 0.0}, {"a": 1.3, "b": 0.7, "c": 0.2}],
        "sin": [{}, {"a": 1.3, "b": 0.7, "c": 0.4}],
        "cos": [{}, {"a": 1.3, "b": 0.7, "c": 0.4}],
        "rbf": [{}, {"gamma": 0.3}],
        "gaussian": [{}, {"a": 1.3, "b": -0.4}],
        "exp": [{}, {"a": 0.6, "b": 0.5}],
        "exp_normalized": [{"gamma": 1.1, "shift": -1.0}],
        "monomial": [{"degree": d} for d in range(6)],
        "rectified_monomial": [{"degree": d} for d in range(5)],
        "polynomial": [
            {"coefficients": [0.4, -0.7, 0.3, 0.2]},
            {"coefficients": [0.0, 1.0, 0.0, -0.2, 0.0, 0.05]},
        ],
    }
    plain = ("relu", "stable_relu", "abs", "sign", "given_erf", "sigmoid_like", "gelu", "gabor")
    cases = [(name, {}) for name in plain]
    cases += [(name, parameters) for name, several in named.items() for parameters in several]
    for name, parameters in cases:
        label = "_".join([name, *(f"{v}" for v in parameters.values())])
        a = act(name, **parameters)
        small = dense(0.5, 0.05)
        yield f"{label} once", "vector", [small, a, dense(1.2, 0.1, 1)]
        if "monomial" not in name and name != "exp" and (name == "leaky_relu" or not parameters):
            yield f"{label} twice", "vector", [small, a, dense(0.9, 0.1), a, O]
    for degree in range(5):
        norm = node("LayerNorm", eps=1e-12, axes=[-1])
        yield f"hermite_{degree}", "vector", [D, norm, act("hermite", degree=degree), O]
    yield "different activations", "vector", [D, act("gelu"), D, act("sin"), D, act("abs"), O]
    for name in ("relu", "gelu", "erf", "gabor", "sin"):
        yield f"{name} on images", "image", [C, act(name), C, act(name), M, O]


def numerical():
    """Their quadrature, with inputs so small or functions so simple that it is accurate."""
    for function, degree in (("cube", 20), ("tanh", 64), ("softplus", 48), ("silu", 48)):
        a = act("numerical", function=function, degree=degree)
        yield f"numerical_{function}", "vector", [dense(0.02, 0.01), a, dense(0.03, 0.02), a, O]


def convolutions():
    for layer in ("Conv", "ConvLocal", "ConvTranspose"):
        for padding in ("SAME", "VALID", "CIRCULAR"):
            for strides in ((1, 1), (2, 2)):
                for size in ((3, 3), (2, 3)):
                    if layer != "Conv" and (strides == (2, 2)) == (size == (3, 3)):
                        continue  # two of the four tell everything
                    first = conv(size, strides, padding, layer=layer)
                    name = f"{layer} {padding} {size[0]}x{size[1]} stride {strides[0]}"
                    readout = M if size == (3, 3) else F
                    more = (
                        [conv((2, 2), (1, 1), padding, layer=layer), R]
                        if size == (3, 3) and strides == (1, 1)
                        else []
                    )
                    yield name, "image", [first, R, *more, readout, O]
    yield (
        "strides (2, 1)",
        "image",
        [conv((3, 2), (2, 1)), R, conv((1, 3), (1, 2), "VALID"), R, M, O],
    )
    yield "stride 3 circular", "image", [conv((2, 2), (3, 2), "CIRCULAR"), R, M, O]
    yield "size 4x5", "image", [conv((4, 5)), act("erf"), M, O]
    yield "size 5x5 circular", "image", [conv((5, 5), None, "CIRCULAR"), act("erf"), M, O]
    yield "1x1", "image", [conv((1, 1)), R, M, O]
    yield "no bias", "image", [conv(bias_var=0.0), R, conv(bias_var=0.0), R, F, O]
    yield "Conv then ConvLocal", "image", [C, R, conv(layer="ConvLocal"), R, M, O]
    yield "ConvLocal then Conv", "image", [conv(layer="ConvLocal"), R, C, R, M, O]
    yield "ConvLocal stack", "image", [conv(layer="ConvLocal"), R, conv(layer="ConvLocal"), R, F, O]
    yield "Conv then Dense, position by position", "image", [C, R, D, R, M, O]
    yield "Conv after Conv", "image", [C, C, R, M, O]
    yield (
        "encoder and decoder",
        "image",
        [conv((3, 3), (2, 2)), R, conv((3, 3), (2, 2), layer="ConvTranspose"), R, M, O],
    )
    for padding in ("SAME", "VALID", "CIRCULAR"):
        yield (
            f"1-D {padding}",
            "sequence",
            [conv((3,), None, padding), R, conv((2,), (2,), padding), R, M, O],
        )
    yield "1-D local", "sequence", [conv((3,), layer="ConvLocal"), R, M, O]
    yield "1-D transposed", "sequence", [conv((3,), (2,), layer="ConvTranspose"), R, M, O]
    yield "3-D", "volume", [conv((2, 3, 2)), R, conv((3, 2, 1), (1, 2, 1)), R, M, O]
    standard = {"parameterization": "standard"}
    yield (
        "standard Conv",
        "image",
        [
            conv((3, 2), bias_var=0.2, **standard),
            R,
            conv(bias_var=0.0, bias_lr=0.0, **standard),
            R,
            F,
            dense(1.2, 0.1, 1, **standard),
        ],
    )
    yield (
        "standard ConvLocal",
        "image",
        [
            conv((3, 2), bias_var=0.2, layer="ConvLocal", **standard),
            R,
            M,
            dense(1.2, 0.1, 1, **standard),
        ],
    )
    yield (
        "standard ConvTranspose",
        "image",
        [
            conv((3, 2), bias_var=0.2, layer="ConvTranspose", **standard),
            R,
            M,
            dense(1.2, 0.1, 1, **standard),
        ],
    )


def pools():
    for layer in ("AvgPool", "SumPool"):
        for padding in ("SAME", "VALID", "CIRCULAR"):
            p = pool((2, 3), (2, 2), padding, layer)
            yield f"{layer} {padding}", "image", [C, R, p, C, R, M, O]
            yield f"{layer} {padding} flat", "image", [C, R, p, F, O]
    edges = pool((3, 3), (2, 2), "SAME", normalize_edges=True)
    yield "AvgPool SAME normalized edges", "image", [C, R, edges, C, R, F, O]
    yield "AvgPool stride 1", "image", [C, R, pool((2, 2), (1, 1)), F, O]
    yield "AvgPool of ConvLocal", "image", [conv(layer="ConvLocal"), R, pool((2, 2), (2, 2)), F, O]
    yield "pool before Dense", "image", [C, pool((2, 2), (2, 2)), R, M, O]
    yield "pool on the input", "image", [pool((2, 2), (2, 2)), C, R, F, O]
    yield "GlobalSumPool", "image", [C, R, node("GlobalSumPool"), O]
    yield "GlobalAvgPool then Dense", "image", [C, R, M, D, R, O]
    yield "Flatten then Dense", "image", [C, R, F, D, R, O]
    yield "Flatten first", "image", [F, D, R, O]
    yield "1-D pool", "sequence", [conv((3,)), R, pool((2,), (2,)), M, O]


def shapes():
    vector = [1.0, -0.5, 0.25, 2.0, 0.5, -1.0]
    matrix = (np.arange(12).reshape(2, 6) % 5 - 2.0).tolist()
    numbers = [[[1], [0]], [[], []]]
    yield (
        "DotGeneral number",
        "image",
        [C, R, node("DotGeneral", rhs=2.0, dimension_numbers=[[[], []], [[], []]]), M, O],
    )
    yield (
        "DotGeneral vector",
        "image",
        [C, R, node("DotGeneral", rhs=vector, dimension_numbers=numbers), M, O],
    )
    turned = node("DotGeneral", lhs=matrix, dimension_numbers=[[[1], [1]], [[], []]])
    yield (
        "DotGeneral matrix",
        "image",
        [C, R, turned, node("GlobalAvgPool", batch_axis=1), O],
    )
    for method in ("linear", "nearest"):
        for size in ([3, 4], [9, 7]):
            r = node("ImageResize", shape=size, method=method, antialias=True)
            yield (
                f"ImageResize {method} {size[0]}x{size[1]}",
                "image",
                [C, R, r, F, O],
            )
    r = node("ImageResize", shape=[3, -1], method="linear", antialias=False)
    yield "ImageResize without antialias", "image", [C, R, r, C, R, M, O]
    for label, index in (
        ("corner", [[0, 3, None], [1, 4, None]]),
        ("every other", [[None, None, 2], [None, None, None]]),
        ("row", [2, [None, None, None]]),
        ("reversed", [[None, None, -1], [None, 3, None]]),
    ):
        more = [] if label == "row" else [conv((2, 2)), R]
        yield (
            f"Index {label}",
            "image",
            [C, R, node("Index", index=index), *more, F, O],
        )


def graphs():
    a, grid = node("Aggregate", axes=[1]), node("Aggregate", axes=[1, 2])
    yield "Aggregate", "graph", [D, R, a, D, R, a, M, O]
    yield "Aggregate first, sum", "graph", [a, D, R, node("GlobalSumPool"), O]
    sparse = node("Aggregate", axes=[1], sparse=True)
    yield "Aggregate edges", "graph_edges", [sparse, D, R, sparse, D, R, M, O]
    yield "Aggregate two axes", "grid_graph", [D, R, grid, D, R, M, O]


def norms_and_dropout():
    for label, axes in (
        ("channels", [-1]),
        ("channels and positions", [1, 2, -1]),
        ("channels and rows", [1, -1]),
    ):
        n = node("LayerNorm", eps=1e-3, axes=axes)
        yield f"LayerNorm {label}", "image", [C, n, R, C, n, R, M, O]
    n = node("LayerNorm", eps=1e-5, axes=[-1])
    yield "LayerNorm", "vector", [D, n, act("gelu"), D, n, R, O]
    yield "LayerNorm at the end", "vector", [D, R, D, n]
    yield "LayerNorm flat", "image", [C, n, R, F, O]
    for rate in (0.25, 0.5):
        d = node("Dropout", rate=rate)
        yield f"Dropout {rate}", "vector", [D, R, d, D, act("erf"), d, O]
        yield (
            f"Dropout {rate} on images",
            "image",
            [C, R, d, C, R, d, M, O],
        )
    yield "Dropout flat", "image", [C, R, node("Dropout", rate=0.5), C, R, F, O]


def branches():
    block = [R, D, R, dense(0.8, 0.05)]
    yield "residual", "vector", [D, add([], block), add([], block), R, O]
    yield "residual with projection", "vector", [D, add([dense(0.7, 0.0)], block), R, O]
    yield (
        "sum of three",
        "vector",
        [add([D], [dense(0.5, 0.2), R, D], [D, act("erf"), dense(0.3, 0.0)]), R, O],
    )
    relu, erf, gate = [D, R], [dense(0.7, 0.3), act("erf")], [dense(0.9, 0.2), act("sigmoid_like")]
    yield "Multiply", "vector", [node("Multiply", branches=[relu, gate]), D, R, O]
    yield "Multiply linear", "vector", [node("Multiply", branches=[[D], gate]), O]
    yield "Multiply three", "vector", [node("Multiply", branches=[relu, gate, erf]), O]
    yield (
        "Concatenate channels",
        "vector",
        [node("Concatenate", branches=[relu, erf], axis=-1), D, R, O],
    )
    unequal = [[dense(1.5, 0.1, width=16), R], [dense(0.7, 0.3, width=48), act("erf")]]
    yield "Concatenate unequal", "vector", [node("Concatenate", branches=unequal, axis=-1), D, R, O]
    left, right = [conv(bias_var=0.0)], [conv((2, 2), bias_var=0.0), R, conv(bias_var=0.0)]
    for axis in (1, 2):
        c = node("Concatenate", branches=[left, right], axis=axis)
        yield f"Concatenate positions {axis}", "image", [c, R, C, R, M, O]
    c = node("Concatenate", branches=[[*left, R], [*right, R]], axis=-1)
    yield "Concatenate channels of images", "image", [c, C, R, M, O]
    main = [R, C, R, conv(weight_var=0.8)]
    down = [R, conv((3, 3), (2, 2)), R, C]
    yield "residual CNN", "image", [C, add([], main), add([conv((3, 3), (2, 2))], down), R, M, O]
    n = node("LayerNorm", eps=1e-6, axes=[-1])
    yield (
        "residual CNN with LayerNorm",
        "image",
        [C, add([], [n, *main]), n, R, pool((2, 2), (2, 2)), F, O],
    )
    yield "nested branches", "vector", [D, add([], [R, D, add([], [act("erf"), D])]), R, O]


def attentions():
    for mechanism in ("softmax", "identity", "relu", "abs"):
        a = attention(mechanism=mechanism, bias_var=0.1)
        yield f"attention {mechanism}", "sequence", [D, R, a, R, M, O]
    a = attention()
    yield "attention on images", "image", [conv((3, 3), (2, 2)), R, a, M, O]
    yield "attention twice, flat", "sequence", [conv((3,)), R, a, R, a, F, O]
    yield "attention residual", "sequence", [D, add([], [R, attention()]), R, M, O]
    yield "attention sqrt", "sequence", [D, R, attention("sqrt", "identity", bias_var=0.1), R, M, O]
    for how in ("sum", "concat"):
        for values in (False, True):
            for decay in (None, 0.5):
                p = {"how": how, "var": 0.7, "decay": decay, "norm": 2, "values": values}
                if how == "concat" and values:
                    p["channels"] = 32
                mechanism = "softmax" if decay else "relu"
                a = attention(mechanism=mechanism, positional=p, bias_var=0.05)
                whom, form = (
                    "keys and values" if values else "keys",
                    "decay" if decay else "one-hot",
                )
                yield f"attention {how} {whom} {form}", "sequence", [D, R, a, R, M, O]
    p = {"how": "sum", "var": 0.7, "decay": 0.5, "norm": 1, "values": False}
    yield (
        "attention positions of images",
        "image",
        [conv((3, 3), (2, 2)), R, attention(positional=p), M, O],
    )
    for values in (False, True):
        a = attention("sqrt", "identity", positional={**p, "values": values}, bias_var=0.1)
        yield (
            f"attention sqrt, positions {'and values' if values else ''}",
            "sequence",
            [D, R, a, M, O],
        )


def masked():
    yield "padded GlobalAvgPool", "padded", [D, R, M, O]
    yield "padded GlobalSumPool", "padded", [D, R, node("GlobalSumPool"), O]
    yield "padded Flatten", "padded", [D, R, F, O]
    for padding in ("SAME", "VALID", "CIRCULAR"):
        c = conv((3,), None, padding)
        yield f"padded Conv {padding}", "padded", [c, R, c, R, M, O]
    yield (
        "padded Conv stride 2",
        "padded",
        [conv((3,), (2,)), R, conv((2,)), R, M, O],
    )
    yield "padded ConvLocal", "padded", [conv((3,), layer="ConvLocal"), R, M, O]
    yield "padded ConvTranspose", "padded", [conv((3,), (2,), layer="ConvTranspose"), R, M, O]
    yield (
        "padded pools",
        "padded",
        [D, R, pool((2,), (2,)), D, R, pool((2,), (1,), "SAME", "SumPool"), M, O],
    )
    yield "padded sigmoid_like", "padded", [D, act("sigmoid_like"), conv((3,)), act("gelu"), M, O]
    yield "padded cos", "padded", [D, act("cos"), conv((3,)), act("cos"), M, O]
    for label, axes in (("channels", [-1]), ("channels and positions", [1, -1])):
        n = node("LayerNorm", eps=1e-3, axes=axes)
        yield f"padded LayerNorm {label}", "padded", [D, n, R, M, O]
    for mechanism in ("softmax", "relu"):
        a = attention(mechanism=mechanism, bias_var=0.1)
        yield f"padded attention {mechanism}", "padded", [D, R, a, R, M, O]
    p = {"how": "sum", "var": 0.7, "decay": 0.5, "norm": 2, "values": True}
    yield "padded attention positions", "padded", [D, R, attention(positional=p), R, M, O]
    yield "padded residual", "padded", [D, add([], [R, conv((3,))]), R, M, O]
    yield "padded images", "padded_image", [C, R, pool((2, 2), (2, 2)), C, R, M, O]
    yield "padded Index", "padded", [conv((3,)), R, node("Index", index=[[0, 4, None]]), M, O]


def large():
    c = conv(weight_var=2.0, bias_var=0.0)
    two = pool((2, 2), (2, 2))
    yield "Myrtle-like", "image8", [c, R, c, R, two, c, R, two, c, R, two, F, dense(1.0, 0.0, 1)]
    yield "flat CNN", "image8", [c, R, c, R, c, R, F, dense(1.0, 0.0, 1)]


def refused():
    n = node("LayerNorm", eps=1e-6, axes=[-1])
    yield "activation after activation", "vector", [D, R, R, O]
    yield "activation on the input", "vector", [R, O]
    yield "LayerNorm after activation", "vector", [D, R, n, O]
    yield "skip around an activation", "vector", [D, add([], [R]), O]
    yield "activation after Dropout", "vector", [D, node("Dropout", rate=0.5), R, O]
    yield "Dropout on the input", "vector", [node("Dropout", rate=0.5), D, R, O]
    yield "activation after Multiply", "vector", [node("Multiply", branches=[[D], [D]]), R, O]
    yield (
        "activation after Concatenate of channels",
        "vector",
        [node("Concatenate", branches=[[D], [D]], axis=-1), R, O],
    )
    yield (
        "Concatenate of positions after an activation",
        "image",
        [node("Concatenate", branches=[[C, R], [C, R]], axis=1), C, M, O],
    )
    yield (
        "softmax attention with 1/sqrt(d)",
        "sequence",
        [D, R, attention("sqrt"), M, O],
    )
    yield (
        "LayerNorm without channels",
        "image",
        [C, node("LayerNorm", eps=1e-6, axes=[1, 2]), R, M, O],
    )
    yield "activation after Flatten", "image", [C, F, R, O]
    yield "monomial of degree 6", "vector", [D, act("monomial", degree=6), O]
    yield (
        "cubic ImageResize",
        "image",
        [C, R, node("ImageResize", shape=[3, 4], method="cubic"), M, O],
    )
    yield "Repeat of one Conv", "image", [C, R, node("Repeat", nodes=[C, R], times=2), M, O]


ACCEPTED = (
    fully_connected,
    activations,
    numerical,
    convolutions,
    pools,
    shapes,
    graphs,
    norms_and_dropout,
    branches,
    attentions,
    masked,
    large,
)
