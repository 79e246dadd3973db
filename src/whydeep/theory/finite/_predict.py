"""The front door of theory: what it predicts of a network on given inputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from whydeep.data import check_inputs
from whydeep.errors import InputError, UnsupportedError
from whydeep.gaussian import Estimate
from whydeep.network import Network
from whydeep.observables import BASIC, OBSERVABLES, expand, reduce
from whydeep.theory.finite._kernel import Layer, infinite_width, tangent_kernels
from whydeep.theory.finite._prediction import Prediction
from whydeep.theory.finite._recursion import first_order, needed

__all__ = ["predict"]

# Above this many inputs the N^4 array of the vertex would pass a gigabyte a layer.
_MOST_INPUTS_AT_FIRST_ORDER = 100
_FEWEST_KINKS = 4.0

_SOURCES = {
    "kernel": "Neal 1996; Lee et al. 2018; Roberts, Yaida and Hanin 2022, Eq. 4.118",
    "ntk": "Jacot, Gabriel and Hongler 2018; Roberts, Yaida and Hanin 2022, Eq. 8.63",
    "four_point": "Roberts, Yaida and Hanin 2022, Eq. 4.90 (derivative form)",
    "kernel_correction": "Roberts, Yaida and Hanin 2022, Eq. 4.136 (derivative form)",
    "ntk_correction": "Guillen, Misof and Gerken 2025 (derivative form)",
    **dict.fromkeys(
        ("ntk_A", "ntk_B", "ntk_D", "ntk_F"),
        "Roberts, Yaida and Hanin 2022, Chapter 8 (derivative form)",
    ),
    **dict.fromkeys(
        ("dntk_P", "dntk_Q", "ddntk_R", "ddntk_S", "ddntk_T", "ddntk_U"),
        "Roberts, Yaida and Hanin 2022, Chapter 11 (derivative form)",
    ),
}
_ASSUMPTIONS = (
    "weights and biases independent and Gaussian, at initialisation",
    "every hidden width goes to infinity at fixed ratios and fixed depth",
    "what is left out is one order higher in depth / width",
)
_HEAVY = (
    "the fourth moments of {} are dominated by events that no feasible number of draws contains, "
    "so no measurement could be compared with it"
)
_JUMPING = (
    "{} jumps, so <s'^2> is infinite and the tangent kernel diverges on its diagonal (automatic "
    "differentiation returns 0, which is wrong)"
)
_KINKED = (
    "{} has kinks, so its second and third derivatives contain delta functions: automatic "
    "differentiation of a network misses them, and their products need not exist on one input"
)


def predict(
    network: Network,
    inputs: Any,
    *,
    order: int = 1,
    observables: Iterable[str] | None = None,
) -> Prediction:
    """What theory predicts of a network at initialisation, layer by layer.

    Args:
        network: from `whydeep.mlp`.
        inputs: (N, n_0), real numbers.
        order: 0 for infinite width (``kernel``, ``ntk``), 1 for the first corrections in 1/width
            too (``four_point``, ``kernel_correction``), as coefficients of 1/n_(l-1).
        observables: names to keep; by default all of that order that exist for the network.

    Returns:
        A `Prediction`: ``predicted["four_point"]`` is an ``xarray.DataArray`` with dimensions
        ``(layer, input_1, ..., input_4)``; ``.tolerance``, ``.valid``, ``.cite()`` beside it.

    Raises:
        InputError: bad inputs, order or names; more than 100 distinct inputs at order 1.
        UnsupportedError: an observable asked for by name does not exist for this network.

    Accuracy: float64; see ``.tolerance`` (1e-12 relative for smooth activations and closed forms,
    1e-9 for means over four distinct inputs). Cost: N^2 two-dimensional means a layer at order 0,
    N^4 / 24 four-dimensional ones at order 1.

    Source: Roberts, Yaida and Hanin 2022, Chapters 4 and 8; ``.cite()`` names the equations.

    Example:
        >>> import numpy as np
        >>> from whydeep.network import mlp
        >>> x = np.array([[1.0, 1.0]])
        >>> predicted = predict(mlp(3, 64, "relu"), x)
        >>> (predicted["four_point"] / predicted["kernel"][0, 0, 0] ** 2).squeeze().values.round(9)
        array([ 0.,  5., 10., 15.])
    """
    x = check_inputs(inputs)
    if order not in (0, 1):
        raise InputError(
            "Theory is implemented to first order in 1/width.",
            received=f"order={order!r}",
            needed="0 or 1",
        )
    available = [name for name in OBSERVABLES if OBSERVABLES[name].order <= order]
    wanted = _wanted(observables, available)
    missing = _missing(network, available)
    named = observables is not None and observables != "all"
    for name in wanted if named else ():
        if name in missing:
            raise UnsupportedError(
                f"There is no {OBSERVABLES[name].title} for this network.", cause=missing[name]
            )
    distinct, back = np.unique(x, axis=0, return_inverse=True)
    if order == 1 and len(distinct) > _MOST_INPUTS_AT_FIRST_ORDER:
        raise InputError(
            "The vertex of this many inputs does not fit in memory.",
            received=f"{len(distinct)} distinct inputs",
            needed=f"at most {_MOST_INPUTS_AT_FIRST_ORDER} at order 1: it has N^4 entries a layer",
            suggestion="fewer inputs, or order=0",
        )
    layers = list(infinite_width(network, distinct))
    results = _compute(network, x.shape[1], layers, [w for w in wanted if w not in missing])
    index = back.reshape(-1)
    values, tolerance, valid = {}, {}, {}
    for name, estimates in results.items():
        take = np.ix_(*[index] * OBSERVABLES[name].samples)
        values[name] = _labelled(name, [e.value[take] for e in estimates])
        tolerance[name] = _labelled(name, [e.error[take] for e in estimates])
        if OBSERVABLES[name].order == 1:
            good = np.stack([g[take] for g in _valid(network, layers, name)])
            valid[name] = values[name].copy(data=good)
    return Prediction(
        network=network,
        inputs=x,
        arrays=values,
        tolerance=tolerance,
        valid=valid,
        assumptions=_ASSUMPTIONS,
        sources={name: _SOURCES[name] for name in values},
        missing={name: reason for name, reason in missing.items() if name in wanted},
    )


def _wanted(observables: Iterable[str] | None, available: list[str]) -> list[str]:
    if observables is None:
        return [name for name in available if name in BASIC]
    if observables == "all":
        return available
    names = [observables] if isinstance(observables, str) else list(observables)
    for name in names:
        if name not in available:
            raise InputError(
                "There is no observable of this name at this order.",
                received=repr(name),
                needed='"all", or any of ' + ", ".join(available),
                suggestion="order=1" if name in OBSERVABLES else "",
            )
    return [name for name in available if name in names]


def _missing(network: Network, available: list[str]) -> dict[str, str]:
    activation = network.activation
    out = {}
    tangent = [name for name in OBSERVABLES if "ntk" in name]
    differentials = [name for name in tangent if name != "ntk" and not name.startswith("ntk_")]
    if not activation.smooth:
        out |= dict.fromkeys(differentials, _KINKED.format(activation.name))
    if not activation.continuous:
        out |= dict.fromkeys(tangent, _JUMPING.format(activation.name))
    if activation.heavy_tailed:
        heavy = [name for name in OBSERVABLES if OBSERVABLES[name].order == 1]
        out |= dict.fromkeys(heavy, _HEAVY.format(activation.name))
    return {name: reason for name, reason in out.items() if name in available}


def _compute(
    network: Network, inputs: int, layers: list[Layer], names: list[str]
) -> dict[str, list[Estimate]]:
    out: dict[str, list[Estimate]] = {}
    if "kernel" in names:
        out["kernel"] = [Estimate(layer.law.matrix, layer.error) for layer in layers]
    tensors = needed(names)
    tangents = None
    if any("ntk" in name for name in [*names, *tensors]):
        tangents = tangent_kernels(network, inputs, layers)
    if "ntk" in names and tangents is not None:
        out["ntk"] = tangents
    if tensors:
        found = first_order(network, layers, tangents, tensors)
        out |= {name: found[name] for name in tensors if name in names}
    return out


def _labelled(name: str, layers: list[np.ndarray]) -> xr.DataArray:
    full = np.stack(layers)
    return expand(name, reduce(name, full), full.shape[1])


def _valid(network: Network, layers: list[Layer], name: str) -> np.ndarray:
    """Where the expansion holds for a kinked activation, pair by pair.

    Two inputs at angle theta are told apart by the kinks of about n theta / pi neurons of the layer
    below. Where these are fewer than 4 their number is Poisson rather than Gaussian, and what
    depends on it does not expand in 1/width. Smooth activations and identical inputs are always
    in order, and so is layer 2: its kernels are means over independent neurons.
    """
    n = layers[0].law.size
    observable = OBSERVABLES[name]
    good = np.ones((len(layers), *(n,) * observable.samples), dtype=bool)
    if not network.activation.smooth:
        for below in layers[1:-1]:
            cosine, sine = below.law.half_angles()
            angle = 2 * np.arctan2(sine, cosine)
            width = network.widths[below.number - 1]
            pair = (angle == 0) | (width * angle / np.pi >= _FEWEST_KINKS)
            both = pair if observable.samples == 2 else pair[:, :, None, None] & pair[None, None]
            good[below.number] = both
    return good
