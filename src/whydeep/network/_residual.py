"""Fully connected residual networks: their builder, and how a graph is read as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from whydeep.activations import ACTIVATION, ScalarFunction, get
from whydeep.arguments import COUNT, DEPTH, NUMBER, check_layers, choice, one_or_each, takes
from whydeep.errors import UnsupportedError
from whydeep.gaussian import critical
from whydeep.network._combine import Residual
from whydeep.network._join import Sum
from whydeep.network._layers import PARAMETERIZATIONS, Activation, Affine, Dense, Identity
from whydeep.network._mlp import PER_LAYER, one_each
from whydeep.network._network import INPUT, Network, chain

__all__ = ["ResidualChain", "residual_chain", "residual_mlp"]


@takes(
    depth=DEPTH, width=COUNT, activation=ACTIVATION, skip=one_or_each(NUMBER), outputs=COUNT,
    weight_var=PER_LAYER, bias_var=PER_LAYER, parameterization=choice(*PARAMETERIZATIONS),
)  # fmt: skip
def residual_mlp(
    depth: int,
    width: int = 64,
    activation: str | ScalarFunction | Callable[[Any], Any] = "relu",
    *,
    skip: float | Sequence[float] = 0.9,
    outputs: int = 1,
    weight_var: Any = "critical",
    bias_var: Any = "critical",
    parameterization: str = "ntk",
) -> Network:
    """A fully connected network with skips ``z^(l+1) = b + W s(z^(l)) + gamma z^(l)``.

    Layer 1 and the output layer L + 1, whose widths differ from their inputs', have no skip.

    Args:
        depth: L, the number of hidden layers; layers 2 to L are residual.
        width: of the hidden layers.
        activation: a name or a ``jax.numpy`` function of one variable.
        skip: gamma, one number or one a residual layer (L - 1 of them).
        outputs: n_(L+1).
        weight_var: C_W, a number, one a layer (L + 1 of them) or "critical": the critical point
            of the activation, times 1 - gamma^2 in residual layers, which keeps both its fixed
            point K* and susceptibilities of 1.
        bias_var: C_b, likewise.
        parameterization: "ntk" or "standard".

    Raises:
        InputError: a number out of range, a sequence of the wrong length, an unknown name.
        UnsupportedError: "critical" for an activation that has no critical point, or with a skip
            of size 1 or more, where kernels grow whatever the variances.

    Source: He et al. 2016; Roberts, Yaida and Hanin 2022, Appendix B (skips with a factor). The
        critical variances follow from K' = C_b + C_W <s s> + gamma^2 K.

    Example:
        >>> net = residual_mlp(3, 32, "relu", skip=0.6)
        >>> [round(dense.weight_var, 9) for dense in residual_chain(net).dense]
        [2.0, 1.28, 1.28, 2.0]
    """
    check_layers(2 * depth, f"{depth=}")
    function = get(activation)
    skips = one_each("skip", skip, depth - 1, "residual layer")
    weight_vars = one_each("weight_var", weight_var, depth + 1, "layer, output included")
    bias_vars = one_each("bias_var", bias_var, depth + 1, "layer, output included")
    if any(isinstance(v, str) for v in weight_vars + bias_vars):
        if any(abs(g) >= 1 for g in skips):
            raise UnsupportedError(
                "No variances keep the kernels of this network where they are.",
                received=f"skip={skip}",
                needed="a skip between -1 and 1: a residual layer adds gamma^2 K to its kernel",
                suggestion="numbers for weight_var and bias_var",
            )
        point = critical(function).preferred
        shares = [1.0, *(1.0 - g**2 for g in skips), 1.0]
        weight_vars = _filled(weight_vars, point.weight_var, shares)
        bias_vars = _filled(bias_vars, point.bias_var, shares)
    widths = [width] * depth + [outputs]
    dense = [
        Dense(n, c_w, c_b, parameterization=parameterization)
        for n, c_w, c_b in zip(widths, weight_vars, bias_vars, strict=True)
    ]
    blocks = [
        Residual(chain(Activation(function), layer), Affine(gamma))
        for layer, gamma in zip(dense[1:-1], skips, strict=True)
    ]
    return chain(dense[0], *blocks, Activation(function), dense[-1])


def _filled(values: list[Any], critical_value: float, shares: list[float]) -> list[Any]:
    pairs = zip(values, shares, strict=True)
    return [critical_value * share if v == "critical" else v for v, share in pairs]


@dataclass(frozen=True)
class ResidualChain:
    """A network read as z^(l+1) = b + W s(z^(l)) + gamma_l z^(l), layer by layer.

    Args:
        dense: the L + 1 layers with weights.
        skips: gamma of each of them, 0 where there is none.
        activation: s, the same everywhere.
    """

    dense: tuple[Dense, ...]
    skips: tuple[float, ...]
    activation: ScalarFunction

    @property
    def widths(self) -> tuple[int, ...]:
        """n_1 ... n_L."""
        return tuple(layer.width for layer in self.dense[:-1])

    def widened(self, factor: int) -> ResidualChain:
        """With every hidden width times `factor`."""
        wide = [Dense(factor * d.width, d.weight_var, d.bias_var) for d in self.dense[:-1]]
        last = self.dense[-1]
        if self.skips[-1] != 0:  # the output is as wide as the layer it is added to
            last = Dense(factor * last.width, last.weight_var, last.bias_var)
        return ResidualChain((*wide, last), self.skips, self.activation)


def residual_chain(network: Network) -> ResidualChain:
    """Read a graph of Dense, Activation, Sum, Affine and Identity as a residual chain.

    Raises:
        UnsupportedError: it is another kind of network, saying at which node; one with several
            activations or no hidden layer.

    Example:
        >>> from whydeep.network import mlp
        >>> residual_chain(mlp(2, 8, "tanh")).skips
        (0.0, 0.0, 0.0)
    """
    dense: list[Dense] = []
    skips: list[float] = []
    functions: list[ScalarFunction] = []
    at = len(network.nodes) - 1
    while True:
        layer = network.nodes[at].layer
        end, gamma, source = at, 0.0, None
        if type(layer) is Sum and len(network.nodes[at].inputs) == 2:  # a Product is another Sum
            end, gamma, source = _block(network, at)
        inner = network.nodes[end].layer
        if not isinstance(inner, Dense):
            raise _refused(network, end)
        dense.append(inner)
        skips.append(gamma)
        before = network.nodes[end].inputs[0]
        if before == INPUT and source is None:
            break
        between = network.nodes[before].layer if before != INPUT else inner
        if not isinstance(between, Activation):
            raise _refused(network, end)
        functions.append(between.function)
        at = network.nodes[before].inputs[0]
        if at == INPUT or (source is not None and source != at):
            raise _refused(network, end)
    if len(set(functions)) != 1:
        raise UnsupportedError(
            "A residual chain has one activation between its layers.",
            received=", ".join(sorted({f.name for f in functions})) or "no activation",
            needed="one activation for all hidden layers",
        )
    return ResidualChain(tuple(dense[::-1]), tuple(skips[::-1]), functions[0])


def _block(network: Network, at: int) -> tuple[int, float, int]:
    """Of a sum: the node of its Dense branch, the factor of its skip, and where the skip starts."""
    first, second = network.nodes[at].inputs
    for skip, main in ((first, second), (second, first)):
        if INPUT in (skip, main) or not isinstance(network.nodes[main].layer, Dense):
            continue
        gamma, source = 1.0, skip
        while isinstance(network.nodes[source].layer, Affine | Identity):
            layer = network.nodes[source].layer
            if isinstance(layer, Affine):
                if layer.shift != 0:
                    raise _refused(network, source)
                gamma *= layer.scale
            source = network.nodes[source].inputs[0]
            if source == INPUT:
                raise _refused(network, at)
        return main, gamma, source
    raise _refused(network, at)


def _refused(network: Network, number: int) -> UnsupportedError:
    node = network.nodes[number]
    return UnsupportedError(
        "This is known for fully connected residual networks only.",
        received=f"{network!r}, node {number} ({type(node.layer).__name__}) {node.label}".rstrip(),
        needed="Dense, then Activation and Dense with or without gamma z^(l) added",
        suggestion="whydeep.residual_mlp(depth, width, activation, skip=gamma); whydeep.kernel "
        "takes any network",
    )
