"""Draws of finite networks by their definition: weight matrices, biases, automatic derivatives.

The oracle of the conditional sampler: it costs n^2 random numbers a layer and a backward pass a
layer and input, and shares nothing with it but the description of the network.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.network import Network

__all__ = ["draw_parameters", "draw_plain", "draw_plain_tangent_kernels", "preactivations"]

Parameters = list[tuple[Any, Any]]


def draw_parameters(network: Network, inputs: int, key: Any, dtype: Any) -> Parameters:
    """Weights (n_l, n_(l-1)) and biases (n_l,) of every layer at initialisation.

    All numbers come from one call: a call a layer would take as long to compile as all the rest.
    """
    fan_ins = (inputs, *network.widths)
    sizes = [d.width * (n + 1) for d, n in zip(network.dense, fan_ins, strict=True)]
    numbers = jax.random.normal(key, (sum(sizes),), dtype)
    parameters, start = [], 0
    for dense, fan_in, size in zip(network.dense, fan_ins, sizes, strict=True):
        part = numbers[start : start + size].reshape(dense.width, fan_in + 1)
        weights = float(np.sqrt(dense.weight_var / fan_in)) * part[:, :fan_in]
        parameters.append((weights, float(np.sqrt(dense.bias_var)) * part[:, fan_in]))
        start += size
    return parameters


def preactivations(network: Network, parameters: Parameters, x: Any) -> list[Any]:
    """z^(1) ... z^(L+1) for inputs (N, n_0): arrays (N, n_l)."""
    out: list[Any] = []
    s = x
    for weights, biases in parameters:
        out.append(s @ weights.T + biases)
        s = network.activation(out[-1])
    return out


def draw_plain(network: Network, x: Any, key: Any, *, average_last: bool) -> tuple[Any, Any]:
    """Second moments of the preactivations of layers 2 to L + 1, of one network.

    Returns:
        (L, P) pairs. With `average_last` the conditional kernel given the layer below, and zeros;
        without, the mean over neurons of ``z_a z_b`` and, over pairs of neurons i != j, the mean
        of ``z_ia z_ib z_jc z_jd`` (L, P, P), which is NaN where a layer has one neuron.
    """
    rows, cols = np.triu_indices(x.shape[0])
    parameters = draw_parameters(network, x.shape[1], key, x.dtype)
    zs = preactivations(network, parameters, x)
    second, fourth = [], []
    for below, dense, z in zip(zs[:-1], network.dense[1:], zs[1:], strict=True):
        if average_last:
            s = network.activation(below)
            gram = dense.bias_var + dense.weight_var * (s @ s.T) / s.shape[1]
            second.append(gram[rows, cols])
        else:
            n = z.shape[1]
            products = z[rows] * z[cols]
            total = products.sum(axis=1)
            cross = total[:, None] * total[None] - products @ products.T
            second.append(total / n)
            fourth.append(cross / (n * (n - 1)) if n > 1 else jnp.full_like(cross, jnp.nan))
    pairs = rows.size
    empty = jnp.zeros((network.depth, pairs, pairs), x.dtype)
    return jnp.stack(second), empty if average_last else jnp.stack(fourth)


def draw_plain_tangent_kernels(network: Network, x: Any, key: Any, tops: tuple[int, ...]) -> Any:
    """Tangent kernels (len(tops), P) of neuron 0 of the layers above `tops`, by backpropagation.

    The definition itself: ``sum lambda dz_0(a) dz_0(b)`` over all parameters, where lambda is
    lambda_b for a bias and lambda_W / fan_in for a weight.
    """
    rows, cols = np.triu_indices(x.shape[0])
    rates = network.learning_rates(x.shape[1])
    parameters = draw_parameters(network, x.shape[1], key, x.dtype)
    out = []
    for top in tops:

        def neuron(parameters: Parameters, row: Any, top: int = top) -> Any:
            return preactivations(network, parameters, row[None])[top][0, 0]

        gradients = jax.vmap(jax.grad(neuron), in_axes=(None, 0))(parameters, x)
        kernel = jnp.zeros((x.shape[0], x.shape[0]), x.dtype)
        for (weights, biases), (bias_lr, weight_lr) in zip(gradients, rates, strict=True):
            flat = weights.reshape(x.shape[0], -1)
            kernel = kernel + bias_lr * biases @ biases.T
            kernel = kernel + weight_lr / weights.shape[2] * flat @ flat.T
        out.append(kernel[rows, cols])
    return jnp.stack(out)
