"""The builder of fully connected networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from whydeep.activations import ACTIVATION, ScalarFunction, get
from whydeep.arguments import (
    COUNT,
    DEPTH,
    RATE,
    VARIANCE,
    check_layers,
    choice,
    one_or_each,
    or_word,
    takes,
)
from whydeep.errors import InputError
from whydeep.gaussian import critical
from whydeep.network._layers import PARAMETERIZATIONS, Activation, Dense
from whydeep.network._network import Network, chain

__all__ = ["PER_LAYER", "mlp", "one_each"]


PER_LAYER = one_or_each(or_word(VARIANCE, "critical"))
"""The kind of variances: one number, one a layer, or "critical"."""


@takes(
    depth=DEPTH, width=one_or_each(COUNT), activation=ACTIVATION, outputs=COUNT,
    weight_var=PER_LAYER, bias_var=PER_LAYER, weight_lr=one_or_each(RATE),
    bias_lr=one_or_each(RATE), parameterization=choice(*PARAMETERIZATIONS),
)  # fmt: skip
def mlp(
    depth: int,
    width: int | Sequence[int] = 64,
    activation: str | ScalarFunction | Callable[[Any], Any] = "tanh",
    *,
    outputs: int = 1,
    weight_var: Any = "critical",
    bias_var: Any = "critical",
    weight_lr: Any = None,
    bias_lr: Any = None,
    parameterization: str = "ntk",
) -> Network:
    """A fully connected network ``z^(l+1) = b + W s(z^(l))`` with Gaussian initialisation.

    Args:
        depth: L, the number of hidden layers.
        width: of the hidden layers, one number or one a layer.
        activation: a name (``whydeep.activations.NAMES``), with parameters in brackets where it
            has some, or a ``jax.numpy`` function of one variable.
        outputs: n_(L+1).
        weight_var: C_W: weights have variance ``weight_var / fan_in``. A number, one a layer
            (L + 1 of them), or "critical": the critical point of the activation with K* > 0 if
            there is one, else the one at K* = 0.
        bias_var: C_b, likewise.
        weight_lr: lambda_W, likewise a number or one a layer; by default what the
            parameterization implies (see `Dense`).
        bias_lr: lambda_b, likewise.
        parameterization: "ntk", "standard" or "mup": see docs/parameterizations.md.

    Raises:
        InputError: a number out of range, a sequence of the wrong length, an unknown name.
        UnsupportedError: "critical" for an activation that has no critical point.

    Source: Roberts, Yaida and Hanin 2022, Eqs. 2.5, 2.19 and 2.20.

    Example:
        >>> mlp(depth=3, width=(32, 48, 64), activation="relu")
        <network: relu, depth 3, width 32-48-64, weight_var 2, bias_var 0, ntk>
    """
    check_layers(depth, f"{depth=}")
    function = get(activation)
    widths = one_each("width", width, depth, "hidden layer")
    weight_vars = one_each("weight_var", weight_var, depth + 1, "layer, output included")
    bias_vars = one_each("bias_var", bias_var, depth + 1, "layer, output included")
    if any(isinstance(v, str) for v in weight_vars + bias_vars):
        point = critical(function).preferred
        weight_vars = [point.weight_var if isinstance(v, str) else v for v in weight_vars]
        bias_vars = [point.bias_var if isinstance(v, str) else v for v in bias_vars]
    weight_lrs = one_each("weight_lr", weight_lr, depth + 1, "layer, output included")
    bias_lrs = one_each("bias_lr", bias_lr, depth + 1, "layer, output included")
    layers: list[Dense | Activation] = []
    columns = zip([*widths, outputs], weight_vars, bias_vars, weight_lrs, bias_lrs, strict=True)
    for n, c_w, c_b, l_w, l_b in columns:
        layers += [Dense(n, c_w, c_b, l_w, l_b, parameterization), Activation(function)]
    return chain(*layers[:-1])


def one_each(name: str, value: Any, count: int, what: str) -> list[Any]:
    """A value for each of `count` things, from one value or from a tuple of as many."""
    if not isinstance(value, tuple):
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise InputError(
            f"{name} has the wrong length.",
            received=f"{len(values)} values",
            needed=f"one number, or {count}: one a {what}",
        )
    return values
