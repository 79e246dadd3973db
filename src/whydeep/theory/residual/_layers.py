"""What one residual layer of infinite width does to kernels and to their fluctuations.

    K'_ab = C_b + C_W <s_a s_b>_K + gamma^2 K_ab

and, for a small change of the kernel, dK' = (C_W M + gamma^2) dK with M_ab^{cd} = (1/2) <D_c D_d
(s_a s_b)>.

Source: the recursion of Roberts, Yaida and Hanin 2022, Eq. 4.118, with the skip's variance added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.gaussian import (
    Covariance,
    pair_derivatives,
    second_moments,
    self_derivatives,
)
from whydeep.network import ResidualChain

__all__ = ["ResidualLayer", "residual_layers"]


@dataclass(frozen=True)
class ResidualLayer:
    """A layer of preactivations and what leads from it to the next.

    Args:
        law: covariance of the preactivations over N inputs.
        error: bound on the numerical error of the kernel.
        images: <s_a s_b> (N, N).
        response: M as a matrix over pairs of inputs, (N^2, N^2).
        bias_var: C_b of the next layer.
        weight_var: C_W of the next layer.
        skip: gamma of the next layer.
        width: of this layer.
    """

    law: Covariance
    error: np.ndarray
    images: np.ndarray
    response: np.ndarray
    bias_var: float
    weight_var: float
    skip: float
    width: int


def residual_layers(
    layers: ResidualChain, x: np.ndarray
) -> tuple[list[ResidualLayer], Covariance, np.ndarray]:
    """Layers 1 to L, then the law of the output and the error of its kernel.

    Raises:
        UnsupportedError: the kernel overflows at some layer.
    """
    s = layers.activation
    first = layers.dense[0]
    law = Covariance.from_points(x, first.weight_var, first.bias_var)
    error = np.zeros_like(law.matrix)
    out = []
    for dense, skip, width in zip(layers.dense[1:], layers.skips[1:], layers.widths, strict=True):
        c_b, c_w, share = dense.bias_var, dense.weight_var, skip**2
        try:
            with np.errstate(over="raise", invalid="raise"):
                moments = second_moments(s, law)
                response = _response(layers, law)
                out.append(
                    ResidualLayer(law, error, moments.matrix, response, c_b, c_w, skip, width)
                )
                growth = float(np.max(np.abs(response).sum(axis=1), initial=1.0))
                error = c_w * (moments.error + growth * error) + share * error
                law = Covariance(
                    c_b + c_w * moments.variance + share * law.variance,
                    c_w * moments.difference + share * law.difference,
                    4 * c_b + c_w * moments.total + share * law.total,
                )
        except FloatingPointError as overflow:
            raise UnsupportedError(
                f"The kernel of this network overflows at layer {len(out) + 1}.",
                received=f"variances up to {law.variance.max():.3g} at layer {len(out)}",
                cause=f"{s.name} and the skips amplify them from layer to layer",
                suggestion="smaller weight_var, bias_var and skip, fewer layers, or inputs of unit "
                "scale",
            ) from overflow
    return out, law, error


def _response(layers: ResidualChain, law: Covariance) -> np.ndarray:
    """M_ab^{cd} as (N^2, N^2): the only c, d that count are a and b."""
    n = law.size
    single = self_derivatives(layers.activation, law, 2).value[2] / 2
    out = np.zeros((n, n, n, n))
    every = np.arange(n)
    if n > 1:
        pair = pair_derivatives(layers.activation, law, 2).value
        a, b = np.nonzero(~np.eye(n, dtype=bool))
        out[a, b, a, a] = pair[2, 0, a, b] / 2
        out[a, b, b, b] = pair[0, 2, a, b] / 2
        out[a, b, a, b] = out[a, b, b, a] = pair[1, 1, a, b] / 2
    out[every, every, every, every] = single
    return out.reshape(n * n, n * n)
