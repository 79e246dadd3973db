"""Networks that compiled code knows: chains of dense layers, chains of convolutions.

What is found here is the same as what `Propagation` finds, faster.
"""

from __future__ import annotations

import numpy as np

from whydeep.network import Activation, Network

__all__ = ["fast_kernels"]


def fast_kernels(
    network: Network,
    x1: np.ndarray,
    x2: np.ndarray | None,
    *,
    ntk: bool,
    dtype: str,
    tile: int | None,
) -> tuple[np.ndarray, np.ndarray | None, float] | None:
    """(nngp, ntk, error), or None where no compiled way applies."""
    if network.fully_connected and x1.ndim == 2:
        return _dense(network, x1, x2, ntk=ntk, dtype=dtype, tile=tile)
    return None


def _dense(
    network: Network, x1: np.ndarray, x2: np.ndarray | None, *, ntk: bool, dtype: str,
    tile: int | None,
) -> tuple[np.ndarray, np.ndarray | None, float] | None:  # fmt: skip
    if len({layer.function for layer in network.layers if isinstance(layer, Activation)}) > 1:
        return None
    from whydeep.theory.infinite._fully_connected import DenseStack, dense_kernels

    rates = network.learning_rates(x1.shape[1])
    stack = DenseStack(
        network.activation,
        tuple(layer.weight_var for layer in network.dense),
        tuple(layer.bias_var for layer in network.dense),
        tuple(weight for _, weight in rates),
        tuple(bias for bias, _ in rates),
    )
    found = dense_kernels(stack, x1, x2, ntk=ntk, dtype=np.dtype(dtype), tile=tile)
    if found is None:
        return None
    nngp, tangent, error = found
    return nngp, tangent, max(error.nngp, error.ntk or 0.0)
