"""Builders of convolutional and residual networks and of transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from whydeep.activations import ACTIVATION, ScalarFunction
from whydeep.arguments import (
    CALLABLE,
    COUNT,
    DEPTH,
    FLAG,
    VARIANCE,
    anything,
    called,
    check_layers,
    choice,
    each,
    optional,
    or_word,
    shown,
    takes,
)
from whydeep.errors import InputError
from whydeep.gaussian import critical
from whydeep.network._combine import Add, Attention, Residual
from whydeep.network._convolution import Conv
from whydeep.network._layers import PARAMETERIZATIONS, Activation, Dense, Layer
from whydeep.network._network import Network, chain
from whydeep.network._normalisation import LayerNorm
from whydeep.network._positions import AvgPool, Flatten, GlobalAvgPool
from whydeep.network._sequence import Embedding, PositionalEmbedding

__all__ = ["cnn", "resnet", "transformer"]

Function = str | ScalarFunction | Callable[[Any], Any]


_CRITICAL = or_word(VARIANCE, "critical")
_PARAMETERIZATION = choice(*PARAMETERIZATIONS)


@takes(
    depth=DEPTH, width=COUNT, activation=ACTIVATION, size=COUNT, pool=each(COUNT),
    readout=choice("average", "flatten"), outputs=COUNT, weight_var=_CRITICAL, bias_var=_CRITICAL,
    padding=anything, parameterization=_PARAMETERIZATION,
)  # fmt: skip
def cnn(
    depth: int,
    width: int = 64,
    activation: Function = "relu",
    *,
    size: int = 3,
    pool: Sequence[int] = (),
    readout: str = "average",
    outputs: int = 1,
    weight_var: Any = "critical",
    bias_var: Any = "critical",
    padding: Any = "SAME",
    parameterization: str = "ntk",
) -> Network:
    """A chain of convolutions over images (N, height, width, channels), then one dense layer.

    Args:
        depth: L, the number of convolutions.
        width: channels of each.
        activation: after each; a name or a ``jax.numpy`` function of one variable.
        size: of the filters, ``size x size``.
        pool: after which of the convolutions, counted from 1, averages over 2 x 2 positions stand.
        readout: "average" over all positions, or "flatten": a weight for every position.
        outputs: n_(L+1).
        weight_var: ``weight_var / fan_in`` is the weights' variance, where the fan-in counts the
            positions of the filter; a number, or "critical", as for `mlp`.
        bias_var: likewise.
        padding: of the convolutions (see `Conv`).
        parameterization: "ntk", "standard" or "mup".

    Raises:
        InputError: a number out of range, an unknown name.
        UnsupportedError: "critical" for an activation that has no critical point.

    Source: Novak et al. 2019, "Bayesian deep convolutional networks with many channels are
        Gaussian processes", for both readouts; Xiao et al. 2018 for the critical point.

    Example:
        >>> cnn(depth=2, width=16, pool=(1,)).shapes((8, 8, 3))[-2:]
        (Shape(positions=(), channels=16), Shape(positions=(), channels=1))
    """
    check_layers(depth, f"{depth=}")
    after = set(pool)
    if after and max(after) > depth:
        raise InputError(
            "A pool stands after a convolution that does not exist.",
            received=f"pool={shown(pool)}, depth={depth}",
            needed=f"numbers from 1 to {depth}",
        )
    variances = _variances(activation, weight_var, bias_var)
    layers: list[Layer] = []
    for number in range(1, depth + 1):
        layers += [
            Conv(
                width, (size, size), 1, padding, *variances, parameterization=parameterization
            ),
            Activation(activation),
        ]  # fmt: skip
        if number in after:
            layers.append(AvgPool((2, 2)))
    layers += [
        GlobalAvgPool() if readout == "average" else Flatten(),
        Dense(outputs, *variances, parameterization=parameterization),
    ]
    return chain(*layers)


@takes(
    blocks=each(DEPTH, least=1), width=COUNT, activation=ACTIVATION, norm=optional(CALLABLE),
    outputs=COUNT, weight_var=_CRITICAL, bias_var=_CRITICAL, parameterization=_PARAMETERIZATION,
)  # fmt: skip
def resnet(
    blocks: Sequence[int] = (2, 2, 2),
    width: int = 64,
    activation: Function = "relu",
    *,
    norm: Callable[[], Layer] | None = LayerNorm,
    outputs: int = 1,
    weight_var: Any = "critical",
    bias_var: Any = "critical",
    parameterization: str = "ntk",
) -> Network:
    """A residual network over images (N, height, width, channels), activations before weights.

    A convolution; stages of blocks ``x + conv(s(norm(conv(s(norm(x))))))``; the average over all
    positions; a dense layer. From the second stage on, a stage begins with stride 2, and with
    twice the channels.

    Args:
        blocks: how many a stage.
        width: channels of the first stage.
        activation: s.
        norm: makes the norms, `LayerNorm` for instance; None leaves them out.
        outputs: of the dense layer.
        weight_var: a number, or "critical": that of the activation in a chain without skips.
        bias_var: likewise.
        parameterization: "ntk", "standard" or "mup".

    Raises:
        InputError: a number out of range, an unknown name.
        UnsupportedError: "critical" for an activation that has no critical point.

    Source: He, Zhang, Ren and Sun 2016, "Identity mappings in deep residual networks", Fig. 4(e).

    Example:
        >>> resnet((1, 1), width=16).shapes((8, 8, 3))[-3].positions
        (4, 4)
    """
    variances = _variances(activation, weight_var, bias_var)

    def conv(channels: int, size: int, stride: int) -> Conv:
        return Conv(
            channels, (size, size), stride, "SAME", *variances, parameterization=parameterization
        )

    def bend() -> list[Layer]:
        if norm is None:
            return [Activation(activation)]
        with called("norm", "a function without arguments that makes a layer"):
            return [norm(), Activation(activation)]

    check_layers(4 * sum(blocks), f"blocks of {sum(blocks):,}")
    parts: list[Layer | Network] = [conv(width, 3, 1)]
    for stage, count in enumerate(blocks):
        channels = width * 2**stage
        for block in range(count):
            widens = stage > 0 and block == 0
            stride = 2 if widens else 1
            main = chain(*bend(), conv(channels, 3, stride), *bend(), conv(channels, 3, 1))
            parts.append(Residual(main, conv(channels, 1, stride) if widens else None))
    parts += [*bend(), GlobalAvgPool()]
    return chain(*parts, Dense(outputs, *variances, parameterization=parameterization))


@takes(
    depth=DEPTH, width=COUNT, heads=COUNT, activation=ACTIVATION, tokens=COUNT, positions=COUNT,
    hidden=COUNT, norm=choice("pre", "post"), causal=FLAG, outputs=COUNT, weight_var=VARIANCE,
    bias_var=VARIANCE, parameterization=_PARAMETERIZATION,
)  # fmt: skip
def transformer(
    depth: int = 2,
    width: int = 64,
    heads: int = 8,
    activation: Function = "gelu",
    *,
    tokens: int | None = None,
    positions: int | None = None,
    hidden: int | None = None,
    norm: str = "pre",
    causal: bool = False,
    outputs: int = 1,
    weight_var: Any = 1.0,
    bias_var: Any = 0.0,
    parameterization: str = "ntk",
) -> Network:
    """A transformer over sequences: attention and dense blocks, skips, norms, a mean, an output.

    Args:
        depth: blocks, each of attention and of a dense part with one hidden layer.
        width: channels between blocks.
        heads: of attention, which divide the width.
        activation: in the dense parts.
        tokens: how many tokens there are, for inputs (N, positions) of whole numbers; None: inputs
            are values (N, positions, channels).
        positions: their number, for an embedding of positions; None: there is none.
        hidden: channels within the dense part; four times the width unless given.
        norm: "pre" (before attention and dense part, and one at the end) or "post" (after skips).
        causal: whether a position sees only itself and those before.
        outputs: of the last layer.
        weight_var: of all dense layers.
        bias_var: of all dense layers.
        parameterization: "ntk", "standard" or "mup".

    Raises:
        InputError: a number out of range, an unknown name.

    Source: Vaswani et al. 2017 ("post"); Xiong et al. 2020 ("pre").

    Example:
        >>> net = transformer(depth=1, width=16, heads=2, tokens=10, positions=6)
        >>> net.shapes((6,))[-1]
        Shape(positions=(), channels=1)
    """
    check_layers(8 * depth, f"{depth=}")
    hidden = 4 * width if hidden is None else hidden

    def dense(channels: int) -> Dense:
        return Dense(channels, weight_var, bias_var, parameterization=parameterization)

    parts: list[Layer | Network] = [dense(width) if tokens is None else Embedding(
        tokens, width, parameterization=parameterization)]  # fmt: skip
    if positions is not None:
        place = PositionalEmbedding(positions, width, parameterization=parameterization)
        parts = [Add(parts[0], place)]
    for _ in range(depth):
        names = ("query_var", "key_var", "value_var", "output_var")
        attention = Attention(
            heads, width=width, causal=causal, bias_var=bias_var,
            parameterization=parameterization, **dict.fromkeys(names, weight_var),
        )  # fmt: skip
        feed = chain(dense(hidden), Activation(activation), dense(width))
        for block in (attention, feed):
            if norm == "pre":
                parts.append(Residual(chain(LayerNorm(), block)))
            else:
                parts += [Residual(block), LayerNorm()]
    parts += [*([LayerNorm()] if norm == "pre" else []), GlobalAvgPool(), dense(outputs)]
    return chain(*parts)


def _variances(activation: Function, weight_var: Any, bias_var: Any) -> tuple[Any, Any]:
    if not isinstance(weight_var, str) and not isinstance(bias_var, str):
        return weight_var, bias_var
    point = critical(activation).preferred
    return (
        point.weight_var if isinstance(weight_var, str) else weight_var,
        point.bias_var if isinstance(bias_var, str) else bias_var,
    )
