"""Infinite width: the kernel and the tangent kernel of a fully connected network, layer by layer.

    K^(1)_ab = C_b + C_W x_a . x_b / n_0            K^(l+1)_ab = C_b + C_W <s_a s_b>_K^(l)
    Theta^(1)_ab = lambda_b + lambda_W x_a . x_b / n_0
    Theta^(l+1)_ab = lambda_b + lambda_W <s_a s_b> + C_W Theta^(l)_ab <s'_a s'_b>

Source: Neal 1996; Poole et al. 2016; Lee et al. 2018 (kernel). Jacot, Gabriel and Hongler 2018;
Roberts, Yaida and Hanin 2022, Eqs. 4.118, 8.63 and 8.64 (tangent kernel, learning rates by layer).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.gaussian import Covariance, Estimate, second_moments, slopes
from whydeep.network import Network

__all__ = ["Layer", "infinite_width", "tangent_kernels"]

# The smallest number with all its digits, with room for sums below it.
_LEAST = float(np.finfo(float).tiny / np.finfo(float).eps)


@dataclass(frozen=True)
class Layer:
    """One layer of preactivations at infinite width.

    Args:
        number: 1 to L + 1.
        law: covariance of the preactivations over the inputs.
        error: bound on the numerical error of the kernel (N, N).
        images: <s_a s_b> of the layer below (x . x / n_0 for the first), error included.
        slopes: <s'_a s'_b> of the layer below; None for the first layer, and where the activation
            jumps.
    """

    number: int
    law: Covariance
    error: np.ndarray
    images: Estimate
    slopes: Estimate | None = None


def infinite_width(network: Network, x: np.ndarray) -> Iterator[Layer]:
    """The layers 1 to L + 1 of a network on inputs (N, n_0), one at a time.

    Raises:
        UnsupportedError: the kernel overflows at some layer.
    """
    first = network.dense[0]
    law = Covariance.from_points(x, first.weight_var, first.bias_var)
    gram = x @ x.T / x.shape[1]
    images = Estimate(gram, np.zeros_like(gram))
    error = np.zeros_like(gram)
    yield Layer(1, law, error, images)
    for number, dense in enumerate(network.dense[1:], start=2):
        try:
            with np.errstate(over="raise", invalid="raise"):
                moments = second_moments(network.activation, law)
                c_b, c_w = dense.bias_var, dense.weight_var
                slope = slopes(network.activation, law) if network.activation.continuous else None
                # An error of K grows in <s s> by at most its largest slope, to first order. A jump
                # has none, and its own error dominates.
                growth = 1.0 if slope is None else float(np.max(np.abs(slope.value), initial=0.0))
                error = c_w * (moments.error + growth * error)
                if not np.all(np.isfinite(moments.variance)):
                    raise FloatingPointError
                if np.any((moments.variance > 0) & (c_w * moments.variance + c_b < _LEAST)):
                    raise UnsupportedError(
                        f"The kernel of this network is smaller than float64 holds at layer "
                        f"{number}.",
                        received=f"variances down to {law.variance.min():.3g} at layer "
                        f"{number - 1}",
                        cause=f"{network.activation.name} shrinks them from layer to layer",
                        suggestion="inputs of unit scale, or larger weight_var",
                    )
                law = Covariance(
                    c_b + c_w * moments.variance,
                    c_w * moments.difference,
                    4 * c_b + c_w * moments.total,
                )
        except FloatingPointError as overflow:
            raise UnsupportedError(
                f"The kernel of this network overflows at layer {number}.",
                received=f"variances up to {law.variance.max():.3g} at layer {number - 1}",
                cause=f"{network.activation.name} amplifies them from layer to layer",
                suggestion="smaller weight_var and bias_var, fewer layers, or inputs of unit scale",
            ) from overflow
        images = Estimate(moments.matrix, moments.error)
        yield Layer(number, law, error, images, slope)


def tangent_kernels(network: Network, inputs: int, layers: list[Layer]) -> list[Estimate]:
    """Tangent kernels (N, N) of the layers, from their kernels.

    Raises:
        UnsupportedError: the activation jumps, so that its tangent kernel does not exist.
    """
    rates = network.learning_rates(inputs)
    bias_lr, weight_lr = rates[0]
    value = bias_lr + weight_lr * layers[0].images.value
    error = np.zeros_like(value)
    out = [Estimate(value, error)]
    for below, layer in itertools.pairwise(layers):
        # Without slopes the activation jumps: asking for them refuses, and says why.
        slope = layer.slopes or slopes(network.activation, below.law)
        bias_lr, weight_lr = rates[layer.number - 1]
        c_w = network.dense[layer.number - 1].weight_var
        error = (
            weight_lr * layer.images.error
            + c_w * np.abs(value) * slope.error
            + c_w * error * np.abs(slope.value)
        )
        value = bias_lr + weight_lr * layer.images.value + c_w * value * slope.value
        out.append(Estimate(value, error))
    return out
