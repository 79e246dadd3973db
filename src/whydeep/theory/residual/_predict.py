"""The front door: kernels and vertices of residual networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from whydeep.arguments import choice, takes
from whydeep.data import INPUTS
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import NETWORK, Network, residual_chain
from whydeep.observables import expand, reduce
from whydeep.progress import phase
from whydeep.theory.finite import Prediction
from whydeep.theory.residual._layers import residual_layers
from whydeep.theory.residual._vertices import closure_vertices, trajectory_vertices

__all__ = ["predict_residual"]

_MOST_INPUTS = 30
_METHODS = {
    "trajectories": (
        trajectory_vertices,
        "fluctuations about independent Gaussian trajectories (whydeep.theory.residual._vertices)",
    ),
    "closure": (
        closure_vertices,
        "Roberts, Yaida and Hanin 2022, Eq. 4.90 with a skip (Appendix B): a closure",
    ),
}
_ASSUMPTIONS = (
    "weights and biases independent and Gaussian, at initialisation",
    "every hidden width goes to infinity at fixed ratios and fixed depth",
    "what is left out is one order higher in depth / width",
)


@takes(network=NETWORK, inputs=INPUTS, method=choice(*_METHODS))
def predict_residual(network: Network, inputs: Any, *, method: str = "trajectories") -> Prediction:
    """Kernel and four-point vertex of a network z^(l+1) = b + W s(z^(l)) + gamma z^(l).

    The kernel is that of infinite width, K' = C_b + C_W <s_a s_b> + gamma^2 K, and the vertex the
    coefficient of 1/n_(l-1) in E[z_ia z_ib z_jc z_jd] - E[z_ia z_ib] E[z_jc z_jd], i != j.

    Args:
        network: from `whydeep.residual_mlp`, or any graph that has this form: skips may differ
            from layer to layer, and be 0.
        inputs: (N, n_0).
        method: "trajectories", the exact first order in 1/width: a skip keeps neurons correlated
            with their own past, through all powers of the preactivation. "closure", the recursion
            of networks without skips with the skip's own terms added: it stays with the vertex of
            one layer and forgets the rest. Both agree at layer 2, for linear activations, and
            without skips; for relu with gamma = 0.9 the closure is 11 % low at layer 3 and 19 %
            at layer 4.

    Returns:
        A `Prediction` of ``kernel`` and ``four_point``, layers 1 to L + 1.

    Raises:
        InputError: bad inputs, another method, more than 30 distinct inputs.
        UnsupportedError: another kind of network; an activation whose fourth moments can't be
            measured.

    Accuracy: float64; see ``.tolerance``. Cost: "closure" N^4 / 4 means of four images a layer,
    "trajectories" as many for every pair of layers.

    Source: ``.cite()`` on the result names it; ``whydeep.theory.residual._vertices`` has the
    derivation.

    Example:
        >>> from whydeep.network import residual_mlp
        >>> net = residual_mlp(4, 256, "relu", skip=0.9)
        >>> for method in ("trajectories", "closure"):
        ...     predicted = predict_residual(net, [[1.0, 1.0]], method=method)
        ...     print((predicted["four_point"] / predicted["kernel"][0, 0, 0]**2).squeeze()
        ...           .values[1:4].round(4))
        [0.7961 1.7811 2.932 ]
        [0.7961 1.5922 2.3883]
    """
    x = inputs
    chain = residual_chain(network)
    network.shapes(x.shape[1:])  # refuses layers that do not fit
    if chain.activation.heavy_tailed:
        raise UnsupportedError(
            "There is no four-point vertex of this network to compare with.",
            cause=f"the fourth moments of {chain.activation.name} are dominated by events that no "
            "feasible number of draws contains",
        )
    distinct, back = np.unique(x, axis=0, return_inverse=True)
    if len(distinct) > _MOST_INPUTS:
        raise InputError(
            "The vertex of this many inputs takes too long.",
            received=f"{len(distinct)} distinct inputs",
            needed=f"at most {_MOST_INPUTS}: it has N^4 entries a layer",
        )
    vertices, source = _METHODS[method]
    with phase("predicting a residual network"):
        layers, law, error = residual_layers(chain, distinct)
        found = vertices(chain.activation, layers)
    index = back.reshape(-1)
    pair, quad = np.ix_(index, index), np.ix_(index, index, index, index)
    n = len(distinct)
    kernels = [layer.law.matrix[pair] for layer in layers] + [law.matrix[pair]]
    errors = [layer.error[pair] for layer in layers] + [error[pair]]
    values = [v.value.reshape(n, n, n, n)[quad] for v in found]
    doubts = [v.error.reshape(n, n, n, n)[quad] for v in found]
    vertex = _labelled("four_point", values)
    return Prediction(
        network=network,
        inputs=x,
        arrays={"kernel": _labelled("kernel", kernels), "four_point": vertex},
        tolerance={
            "kernel": _labelled("kernel", errors),
            "four_point": _labelled("four_point", doubts),
        },
        valid={"four_point": vertex.copy(data=np.ones(vertex.shape, dtype=bool))},
        assumptions=_ASSUMPTIONS,
        sources={"kernel": "Roberts, Yaida and Hanin 2022, Appendix B", "four_point": source},
    )


def _labelled(name: str, layers: list[np.ndarray]) -> Any:
    full = np.stack(layers)
    return expand(name, reduce(name, full), full.shape[1])
