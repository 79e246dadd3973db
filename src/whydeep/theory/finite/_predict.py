"""The front door of theory: what it predicts of a network on given inputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from whydeep import memory
from whydeep.arguments import ORDER, check_memory, choices, or_word, takes
from whydeep.data import INPUTS
from whydeep.errors import InputError, UnsupportedError
from whydeep.gaussian import Estimate
from whydeep.network import NETWORK, Network
from whydeep.observables import BASIC, OBSERVABLES, expand, reduce
from whydeep.theory.finite._kernel import Layer, infinite_width, tangent_kernels
from whydeep.theory.finite._prediction import Prediction
from whydeep.theory.finite._recursion import first_order, needed
from whydeep.theory.finite._related import related

__all__ = ["predict"]

_FEWEST_KINKS = 4.0
_SHARE_OF_MEMORY = 0.9
# Arrays of N^4 numbers held at once: of a layer's step, and of a layer's tensor in the end (its
# value and error in full, as labelled arrays, and where it is valid).
_ARRAYS_OF_A_STEP, _ARRAYS_OF_A_TENSOR, _ARRAYS_OF_A_LAW = 60, 5, 8

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
    "{} has kinks, so its second or third derivative contains delta functions: automatic "
    "differentiation of a network misses them, and their products need not exist on one input"
)


@takes(
    network=NETWORK, inputs=INPUTS, order=ORDER, observables=or_word(choices(OBSERVABLES),
    "all"),
)  # fmt: skip
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
            too, as coefficients of 1/n_(l-1).
        observables: names from `whydeep.observables`, or "all" that exist for the network; by
            default ``kernel``, ``ntk``, ``four_point`` and ``kernel_correction``. Only these are
            computed, and what they depend on.

    Returns:
        A `Prediction`: ``predicted["four_point"]`` is an ``xarray.DataArray`` with dimensions
        ``(layer, input_1, ..., input_4)``; ``.tolerance``, ``.valid``, ``.cite()`` beside it. NaN,
        with an infinite tolerance, where two inputs that a kinked activation cannot tell apart
        leave a product of delta functions. Without biases, multiples of an input whose
        preactivations are multiples of its own at every width (all of them for relu, leaky_relu
        and abs, opposites for an odd activation, a row of zeros) are exact.

    Raises:
        InputError: bad inputs, order or names; so many inputs that N^4 numbers a layer and
            observable do not fit in memory.
        UnsupportedError: an observable asked for by name does not exist for this network.

    Accuracy: float64; see ``.tolerance`` (1e-12 relative for smooth activations and closed forms,
    1e-9 for means over three or four distinct inputs; 1e-3 of these where an activation has kinks
    and is not homogeneous). Cost: N^2 two-dimensional means a layer at order 0, N^4 / 24
    four-dimensional ones at order 1, of about 40 ms each for all tensors together.

    Source: Roberts, Yaida and Hanin 2022, Chapters 4, 8 and 11; ``.cite()`` says which for what.

    Example:
        >>> import numpy as np
        >>> from whydeep.network import mlp
        >>> x = np.array([[1.0, 1.0]])
        >>> predicted = predict(mlp(3, 64, "relu"), x)
        >>> (predicted["four_point"] / predicted["kernel"][0, 0, 0] ** 2).squeeze().values.round(9)
        array([ 0.,  5., 10., 15.])
    """
    x = inputs
    known = [name for name in OBSERVABLES if OBSERVABLES[name].order <= order]
    wanted = _wanted(observables, known)
    missing = _missing(network, known)
    named = observables is not None and observables != "all"
    for name in wanted if named else ():
        if name in missing:
            raise UnsupportedError(
                f"There is no {OBSERVABLES[name].title} for this network.", cause=missing[name]
            )
    distinct, back = np.unique(x, axis=0, return_inverse=True)
    _check_memory(network, len(x), len(distinct), [w for w in wanted if w not in missing])
    index = back.reshape(-1)
    values, tolerance, valid = {}, {}, {}
    asked = [w for w in wanted if w not in missing]
    for names in _alike(network, asked):
        few = related(
            network, distinct, multiples=bool(needed(names)), tangent=any("ntk" in n for n in names)
        )
        layers = list(infinite_width(network, distinct[few.rows]))
        for name, estimates in _compute(network, x.shape[1], layers, names).items():
            take = np.ix_(*[index] * OBSERVABLES[name].samples)
            full = [few.spread(e.value, k)[take] for k, e in enumerate(estimates, start=1)]
            values[name] = _labelled(name, full)
            doubt = [few.spread(e.error, k)[take] for k, e in enumerate(estimates, start=1)]
            tolerance[name] = _labelled(name, [np.abs(part) for part in doubt])
            if OBSERVABLES[name].order == 1:
                masks = _valid(network, layers, name)
                good = np.stack([few.spread_mask(part)[take] for part in masks])
                valid[name] = values[name].copy(data=good)
    values, tolerance, valid = (
        {name: part[name] for name in asked if name in part} for part in (values, tolerance, valid)
    )
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


def _alike(network: Network, names: list[str]) -> list[list[str]]:
    """The names by what inputs are related for: all together unless biases are only trained."""
    kernels = [name for name in names if "ntk" not in name]
    trained = any(rate != 0 for rate, _ in network.learning_rates(1))
    if network.activation.smooth or not trained or any(d.bias_var for d in network.dense):
        return [names]
    return [part for part in (kernels, [n for n in names if n not in kernels]) if part]


def _wanted(observables: Iterable[str] | None, known: list[str]) -> list[str]:
    if observables is None:
        return [name for name in known if name in BASIC]
    if observables == "all":
        return known
    for name in observables:
        if name not in known:
            raise InputError(
                "There is no observable of this name at this order.",
                received=repr(name),
                needed='"all", or any of ' + ", ".join(known),
                suggestion="order=1" if name in OBSERVABLES else "",
            )
    return [name for name in known if name in observables]


def _missing(network: Network, known: list[str]) -> dict[str, str]:
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
    return {name: reason for name, reason in out.items() if name in known}


def _check_memory(network: Network, inputs: int, distinct: int, names: list[str]) -> None:
    tensors = needed(names)
    layers = network.depth + 1
    kept = sum(OBSERVABLES[name].samples == 4 for name in tensors)
    shown = sum(OBSERVABLES[name].samples == 4 for name in names)
    size = (_ARRAYS_OF_A_STEP * bool(tensors) + 2 * layers * kept) * distinct**4
    size += _ARRAYS_OF_A_TENSOR * layers * shown * inputs**4
    # A law holds its matrix and distances; values, errors and validity of what is shown.
    kernels = _ARRAYS_OF_A_LAW * layers * distinct**2
    kernels += 3 * len(names) * layers * inputs**2
    check_memory(
        8 * kernels, "The kernels of all layers",
        received=f"{inputs:,} inputs, {layers} layers",
        suggestion="fewer inputs; whydeep.kernel(network, x) for the output's alone",
    )  # fmt: skip
    there = memory.available()
    if 8 * size > _SHARE_OF_MEMORY * there:
        raise InputError(
            "The four-point tensors of this many inputs do not fit in memory.",
            received=f"{inputs} inputs, {distinct} of them distinct, {layers} layers, "
            f"{kept} tensors",
            needed=f"N^4 numbers a layer and tensor: {8e-9 * size:.3g} GB where {1e-9 * there:.3g} "
            "GB are left",
            suggestion="fewer inputs, fewer observables, or order=0",
        )


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
