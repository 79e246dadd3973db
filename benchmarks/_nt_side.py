"""What runs in the peer's environment: networks from plain data, and their side of the timings.

A network is a list of nodes applied in turn; a node is ``[layer, arguments]``. The names and the
meaning of the arguments are whydeep's: ``weight_var`` is W_std^2, ``rate`` of Dropout is the
probability to drop. `benchmarks/neural_tangents_values.py` says which layers there are.
"""

from __future__ import annotations

import math
import time

import jax
import neural_tangents as nt
import numpy as np
from jax import numpy as jnp
from neural_tangents import stax

__all__ = ["network"]


def network(nodes):
    """The (init, apply, kernel) triple of a list of nodes."""
    layers = [_LAYERS[name](**arguments) for name, arguments in nodes]
    return stax.serial(*layers) if layers else stax.Identity()


# ---------------------------------------------------------------------------- layers with weights


def _deviations(weight_var, bias_var, bias_lr, parameterization):
    # Their layer without bias is ours with bias_var 0 and no learning rate of the bias.
    no_bias = bias_var == 0 and (parameterization == "ntk" or bias_lr == 0)
    return {"W_std": math.sqrt(weight_var), "b_std": None if no_bias else math.sqrt(bias_var)}


def dense(
    width,
    weight_var=1.0,
    bias_var=0.0,
    bias_lr=None,
    weight_lr=None,
    parameterization="ntk",
    s=(1, 1),
):
    del weight_lr  # it follows from s
    std = _deviations(weight_var, bias_var, bias_lr, parameterization)
    return stax.Dense(width, **std, parameterization=parameterization, s=tuple(s))


def _convolution(layer):
    def made(
        channels, size, strides=None, padding="SAME", weight_var=1.0, bias_var=0.0, bias_lr=None,
        parameterization="ntk",
    ):  # fmt: skip
        std = _deviations(weight_var, bias_var, bias_lr, parameterization)
        return layer(
            channels, tuple(size), strides and tuple(strides), padding, **std,
            parameterization=parameterization,
        )  # fmt: skip

    return made


def attention(
    width, heads=4, key_width=8, value_width=8, *, scaling, mechanism, query_var=1.0, key_var=1.0,
    value_var=1.0, out_var=1.0, bias_var=0.0, positional=None,
):  # fmt: skip
    more = {}
    if positional:
        decay = positional.get("decay")
        more = {
            "pos_emb_type": positional["how"].upper(),
            "W_pos_emb_std": math.sqrt(positional["var"]),
            "pos_emb_decay_fn": None if decay is None else (lambda d: jnp.exp(-decay * d)),
            "pos_emb_p_norm": positional.get("norm", 2),
            "n_chan_pos_emb": positional.get("channels"),
            "val_pos_emb": positional.get("values", False),
        }
    return stax.GlobalSelfAttention(
        width, key_width, value_width, heads, scaling == "linear",
        W_query_std=math.sqrt(query_var), W_key_std=math.sqrt(key_var),
        W_value_std=math.sqrt(value_var), W_out_std=math.sqrt(out_var),
        b_std=math.sqrt(bias_var) if bias_var else None,
        attention_mechanism=mechanism.upper(), **more,
    )  # fmt: skip


# ------------------------------------------------------------------------- layers without weights


def _pool(layer):
    def made(size, strides, padding="VALID", **more):
        return layer(tuple(size), tuple(strides), padding, **more)

    return made


def layer_norm(eps=1e-12, axes=(-1,)):
    return stax.LayerNorm(axis=tuple(axes), eps=eps)


def dropout(rate):
    return stax.Dropout(1.0 - rate)


def aggregate(axes, sparse=False):
    return stax.Aggregate(tuple(axes), implementation="SPARSE" if sparse else "DENSE")


def dot_general(dimension_numbers, lhs=None, rhs=None):
    numbers = tuple(tuple(tuple(axes) for axes in pair) for pair in dimension_numbers)
    lhs, rhs = (None if side is None else jnp.array(side) for side in (lhs, rhs))
    return stax.DotGeneral(lhs=lhs, rhs=rhs, dimension_numbers=numbers)


def image_resize(shape, method, antialias=True):
    return stax.ImageResize((-1, *shape, -1), method, antialias)


def index(index):
    return stax.Index((slice(None), *(i if isinstance(i, int) else slice(*i) for i in index)))


def _branches(join, branches, **arguments):
    parts = [network(nodes) for nodes in branches]
    return stax.serial(stax.FanOut(len(parts)), stax.parallel(*parts), join(**arguments))


# -------------------------------------------------------------------------------------- activations


def _named(name):
    functions = {
        "tanh": jnp.tanh,
        "silu": jax.nn.silu,
        "softplus": jax.nn.softplus,
        "cube": lambda z: z**3 - z,
    }
    return functions[name]


def numerical(function, degree):
    return stax.ElementwiseNumerical(_named(function), degree)


def _given_erf():
    """The activation erf through `Elementwise`: their own example of a user's closed form."""

    def nngp(cov12, var1, var2):
        return jnp.arcsin(2 * cov12 / jnp.sqrt((1 + 2 * var1) * (1 + 2 * var2))) * 2 / np.pi

    return stax.Elementwise(None, nngp)


_ACTIVATIONS = {
    "relu": stax.Relu,
    "stable_relu": lambda: stax.Relu(do_stabilize=True),
    "leaky_relu": lambda slope: stax.LeakyRelu(alpha=slope),
    "abs": stax.Abs,
    "ab_relu": stax.ABRelu,
    "sign": stax.Sign,
    "erf": lambda a=1.0, b=1.0, c=0.0: stax.Erf(a, b, c),
    "given_erf": _given_erf,
    "sigmoid_like": stax.Sigmoid_like,
    "gelu": stax.Gelu,
    "sin": lambda a=1.0, b=1.0, c=0.0: stax.Sin(a, b, c),
    "cos": lambda a=1.0, b=1.0, c=0.0: stax.Cos(a, b, c),
    "rbf": lambda gamma=1.0: stax.Rbf(gamma),
    "gaussian": lambda a=1.0, b=-1.0: stax.Gaussian(a, b),
    "exp": lambda a=1.0, b=1.0: stax.Exp(a, b),
    "exp_normalized": stax.ExpNormalized,
    "gabor": stax.Gabor,
    "monomial": stax.Monomial,
    "rectified_monomial": stax.RectifiedMonomial,
    "polynomial": lambda coefficients: stax.Polynomial(coef=coefficients),
    "hermite": stax.Hermite,
    "numerical": numerical,
}


def activation(name, **parameters):
    return _ACTIVATIONS[name](**parameters)


_LAYERS = {
    "Dense": dense,
    "Conv": _convolution(stax.Conv),
    "ConvLocal": _convolution(stax.ConvLocal),
    "ConvTranspose": _convolution(stax.ConvTranspose),
    "Attention": attention,
    "Activation": activation,
    "AvgPool": _pool(stax.AvgPool),
    "SumPool": _pool(stax.SumPool),
    "GlobalAvgPool": stax.GlobalAvgPool,
    "GlobalSumPool": stax.GlobalSumPool,
    "Flatten": stax.Flatten,
    "Identity": stax.Identity,
    "LayerNorm": layer_norm,
    "Dropout": dropout,
    "Aggregate": aggregate,
    "DotGeneral": dot_general,
    "ImageResize": image_resize,
    "Index": index,
    "Add": lambda branches: _branches(stax.FanInSum, branches),
    "Multiply": lambda branches: _branches(stax.FanInProd, branches),
    "Concatenate": lambda branches, axis=-1: _branches(stax.FanInConcat, branches, axis=axis),
    "Repeat": lambda nodes, times: stax.repeat(network(nodes), times),
}


# ------------------------------------------------------------------------------------------ timing


def timing_network(case):
    """The network of a case of `vs_neural_tangents.py`."""
    variances = {"weight_var": case["weight_var"], "bias_var": case["bias_var"]}
    last = ["Dense", {"width": 1, **variances}]
    if case["kind"] == "mlp":
        act = {"name": case["activation"]}
        if case.get("degree"):
            act = {"name": "numerical", "function": case["activation"], "degree": case["degree"]}
        block = [["Dense", {"width": 64, **variances}], ["Activation", act]]
        if case.get("scan"):  # compiles faster, the same values
            return network([*block, ["Repeat", {"nodes": block, "times": case["depth"] - 1}], last])
        return network([*block * case["depth"], last])
    steps = {
        "conv": [
            ["Conv", {"channels": 64, "size": [3, 3], **variances}],
            ["Activation", {"name": "relu"}],
        ],
        "pool": [["AvgPool", {"size": [2, 2], "strides": [2, 2]}]],
    }
    nodes = [each for step in case["layers"] for each in steps[step]]
    return network([*nodes, ["Flatten", {}], last])


def prepare(case, x):
    _, _, kernel = timing_network(case)
    x = jnp.asarray(x.astype(case["dtype"]))
    batch = case.get("batch")
    if batch:
        batched = nt.batch(kernel, batch_size=batch)

        def call(x=x):
            found = batched(x, None, ("nngp", "ntk"))
            return np.asarray(found.nngp), np.asarray(found.ntk)

        walls = []  # one block has the shapes of all: the first call compiles, the second does not
        for _ in range(2):
            begin = time.perf_counter()
            call(x[:batch])
            walls.append(time.perf_counter() - begin)
        return call, max(walls[0] - walls[1], 0.0)

    begin = time.perf_counter()
    compiled = jax.jit(lambda x: tuple(kernel(x, None, ("nngp", "ntk")))).lower(x).compile()
    compiling = time.perf_counter() - begin

    def call():
        return tuple(np.asarray(each) for each in jax.block_until_ready(compiled(x)))

    return call, compiling


if __name__ == "__main__":
    import warnings

    from _child import main

    warnings.simplefilter("ignore")
    main(prepare)
