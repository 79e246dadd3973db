"""The front door of infinite width: kernels of any network that has them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from whydeep.arguments import (
    COUNT,
    DTYPE,
    FLAG,
    SEED,
    anything,
    array,
    as_array,
    choice,
    count,
    takes,
)
from whydeep.data import check_inputs
from whydeep.errors import InputError
from whydeep.network import (
    NETWORK,
    Aggregate,
    ChannelsLast,
    DotProductAttention,
    Dropout,
    Network,
    is_traced,
)
from whydeep.results import by_content
from whydeep.theory.infinite._blocks import propagate, propagate_traced
from whydeep.theory.infinite._fast_paths import fast_kernels
from whydeep.theory.infinite._range import in_range, refuse_out_of_range, vanishes, warn_if_rough

__all__ = ["Kernel", "kernel"]

_FEWEST_DRAWS, _DRAWS = 64, 8192
_WEIGHTS = array(dims=3, needed="(inputs, P, P) finite weights, from position to position")
_SURELY_HELD = {"float64": 1e-240, "float32": 1e-15}


@by_content
@dataclass(frozen=True)
class Kernel:
    """Kernels of a network at infinite width.

    Args:
        nngp: (N1, N2), the covariance of an output over networks; (N1, N2, *positions,
            *positions) where the output has positions. Under "mup" the output itself vanishes at
            infinite width: this is what it would be with its weights 1/sqrt(fan-in) large.
        ntk: the tangent kernel at initialisation, likewise; None where it was not asked for.
        error: estimated largest numerical error, relative to sqrt(K(a, a) K(b, b)).
        nngp_stderr: standard errors, where a part is known from draws only; else None.
        ntk_stderr: likewise.
        assumptions: what the numbers rest on, in words.
        way: how it was found, and why: by compiled code or layer by layer, in a sentence.
        layers: where asked for, the kernels of every layer's preactivations at equal positions,
            (N1, N2, *positions), by number 1, 2, ...
    """

    nngp: Any
    ntk: Any
    error: float = 0.0
    nngp_stderr: np.ndarray | None = None
    ntk_stderr: np.ndarray | None = None
    assumptions: tuple[str, ...] = ()
    way: str = ""
    layers: Mapping[int, Kernel] = field(default_factory=dict)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, np.shape(self.nngp)))
        drawn = "" if self.nngp_stderr is None else ", partly from draws"
        way = f", {self.way.split(':')[0]}" if self.way else ""
        return f"<kernel {shape}, relative error {self.error:.0e}{drawn}{way}>"


@takes(
    network=NETWORK, x1=anything, x2=anything, ntk=FLAG, dtype=DTYPE, layers=choice("output",
    "all"), tile=COUNT, mask1=anything, mask2=anything, graph1=anything, graph2=anything,
    draws=count(_FEWEST_DRAWS), seed=SEED,
)  # fmt: skip
def kernel(
    network: Network,
    x1: Any,
    x2: Any = None,
    *,
    ntk: bool = True,
    dtype: str = "float64",
    layers: str = "output",
    tile: int | None = None,
    mask1: Any = None,
    mask2: Any = None,
    graph1: Any = None,
    graph2: Any = None,
    draws: int | None = None,
    seed: int | None = None,
) -> Kernel:
    """NNGP and tangent kernel of a network at infinite width.

    A layer with fresh weights makes ``K' = C_b + C_W <K>`` and ``Theta' = lambda_b + lambda_W <K>
    + C_W <Theta>``; a nonlinearity s of a Gaussian makes ``K' = <s s>``, ``Theta' = <s' s'>
    Theta``; all other layers follow from these (``whydeep.theory.infinite``).

    Args:
        network: of any builder, combinator or importer.
        x1: inputs (N1, *positions, channels); whole numbers (N1, T) where they are tokens.
        x2: inputs (N2, ...); x1 again unless given. With x2 None, an input paired with itself is
            one input: it shares its dropout mask, and symmetric halves are computed once.
        ntk: whether the tangent kernel is wanted.
        dtype: "float64", or "float32" for half the time and memory.
        layers: "output", or "all" for the kernels of every layer's preactivations too.
        tile: how many inputs are worked on at once, against as many: bounds working memory.
        mask1: for inputs of different lengths: (N1, *positions), true where x1 is there and false
            where it is padding. Padding is zero after every layer, and no mean counts it.
        mask2: likewise for x2.
        graph1: for `whydeep.Aggregate`: (N1, P, P), the weight from position to position.
        graph2: likewise for x2.
        draws: where a law is known from draws only (softmax attention, max pooling, a nonlinearity
            of several Gaussians), how many: 8192 unless given. Refused where nothing is drawn.
        seed: of those draws, 0 unless given; likewise.

    Raises:
        InputError: bad inputs or numbers, or more memory needed than there is.
        UnsupportedError: a layer has no infinite-width limit where it stands, or the kernel is out
            of the range of `dtype`.

    Warns:
        UserWarning: ``error`` is above 1e-6, or in float32 above 1e-5.

    Accuracy: ``error`` says; about 1e-12 in float64 and 1e-6 in float32, where nothing is drawn.
    Derivatives: of any order, under ``jax.grad``, ``jax.hessian`` and their like, in inputs,
    variances and learning rates, for every activation, in the precision JAX is set to (switch on
    ``jax_enable_x64`` for the 1e-10 that ``error`` then says; 32 bits leave about 1e-5). They exist
    wherever the kernel has them, at inputs of zeros too. A kinked activation (relu, leaky_relu,
    abs, selu, hard_tanh ...) has a kernel with a cusp, or a derivative without bound, where two
    inputs coincide or are opposite, and where an input is zero without a bias below it. Derivatives
    there are those at a fixed angle between the inputs: a cusp, which rises alike on both sides,
    has the subgradient 0, and a term that diverges counts 0. An input of zeros is at a right angle
    to all others in every layer. An input beside itself, and inputs that coincide whatever is
    varied, have their exact derivatives. A user's function with a kink that it does not name is
    refused. Under ``jax.jit`` what is out of a series' reach (inputs very much alike, of a variance
    beyond 10) is NaN, with a warning that says so; without it nothing is.

    Cost: fully connected, one product of all pairs of inputs and a map that does not grow with
    depth; otherwise each layer costs N1 N2 P numbers, or N1 N2 P^2 below a layer that mixes P
    positions.

    Source: Neal 1996; Lee et al. 2018; Jacot, Gabriel and Hongler 2018; Yang 2019 and 2020.

    Example:
        >>> import numpy as np
        >>> from whydeep.network import mlp
        >>> found = kernel(mlp(1, 64, "relu"), np.eye(2))
        >>> found.nngp.round(4)
        array([[1.    , 0.3183],
               [0.3183, 1.    ]])
    """
    if is_traced(x1) or is_traced(x2) or _has_traced(network):
        if layers != "output":
            raise InputError("Layers can't be asked for under jax.grad.", received=f"{layers=}")
        _refuse_unused(network, x2, mask1=mask1, mask2=mask2, graph1=graph1, graph2=graph2)
        untraced = {"mask1": mask1, "graph1": graph1, "tile": tile}
        given = [name for name, value in untraced.items() if value is not None]
        if given:
            raise InputError(f"{given[0]} can't be used under jax.grad and its like.")
        found = propagate_traced(
            network, x1, x2, ntk=ntk, draws=_DRAWS if draws is None else draws, seed=seed or 0
        )
        said = "layer by layer: JAX differentiates or compiles it"
        return Kernel(*found, assumptions=_assumptions(network), way=said)
    _refuse_unused(network, x2, mask1=mask1, mask2=mask2, graph1=graph1, graph2=graph2)
    left = _checked(network, x1, "x1")
    right = None if x2 is None else _checked(network, x2, "x2")
    if right is not None and right.shape[1:] != left.shape[1:]:
        raise InputError(
            "x1 and x2 are inputs of different shapes.",
            received=f"{left.shape[1:]} and {right.shape[1:]}",
        )
    masks = _masks(network, left, right, mask1, mask2)
    graphs = _graphs(left, right, graph1, graph2)
    if network.fully_connected and left.ndim > 2:
        warnings.warn(
            f"Dense layers act at every position alike: inputs of shape {left.shape[1:]} are read "
            f"as {math.prod(left.shape[1:-1]):,} positions of {left.shape[-1]} channels, and the "
            "kernel has all pairs of positions. If each input is one vector, put "
            "whydeep.Flatten() first: whydeep.chain(whydeep.Flatten(), network).",
            UserWarning, stacklevel=3,
        )  # fmt: skip
    settings = _Settings(
        network, left, right, masks, graphs, ntk, layers == "all", tile,
        _DRAWS if draws is None else draws, seed or 0,
    )  # fmt: skip
    _refuse_undrawn(settings, draws=draws, seed=seed)
    found = _found(settings, dtype)
    if not _held(found, dtype, own=right is None):
        # A step on the way may have left the range of float32 where the result does not.
        wide = _found(settings, "float64") if dtype == "float32" else found
        if not _held(wide, dtype, own=right is None):
            refuse_out_of_range(network, _parts(wide), dtype)
        found = _narrowed(wide)
    if right is not None:
        _check_smallest(settings, found, dtype)
    elif vanishes(network, left, found.nngp):
        refuse_out_of_range(network, _parts(found), dtype)
    warn_if_rough(found.error, dtype)
    return found


@dataclass(frozen=True)
class _Settings:
    network: Network
    left: np.ndarray
    right: np.ndarray | None
    masks: tuple[np.ndarray | None, np.ndarray | None]
    graphs: tuple[np.ndarray | None, np.ndarray | None]
    ntk: bool
    every: bool
    tile: int | None
    draws: int
    seed: int


def _found(given: _Settings, dtype: str) -> Kernel:
    network, ntk, tile = given.network, given.ntk, given.tile
    reason = "the kernels of every layer are asked for"
    if not given.every:
        reason = "inputs of different lengths, by masks, have no compiled way"
        if all(mask is None for mask in given.masks):
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is seen at the end
                fast, reason = fast_kernels(
                    network, given.left, given.right, ntk=ntk, dtype=dtype, tile=tile
                )
            if fast is not None:
                return Kernel(*fast, assumptions=_assumptions(network), way=reason)
    found = propagate(
        network, given.left, given.right, given.masks, given.graphs, ntk=ntk, dtype=dtype,
        every=given.every, tile=tile, draws=given.draws, seed=given.seed,
    )  # fmt: skip
    inner = {n: Kernel(k, t, found.error) for n, (k, t) in found.layers.items()}
    return Kernel(
        found.nngp, found.ntk, found.error, found.nngp_stderr, found.ntk_stderr,
        _assumptions(network, drawn=found.nngp_stderr is not None),
        f"layer by layer: {reason}", inner,
    )  # fmt: skip


def _refuse_unused(network: Network, x2: Any, **given: Any) -> None:
    """What would be ignored, were it taken: graphs and masks that nothing reads."""
    named = [name for name, value in given.items() if value is not None]
    for name in named:
        if name.startswith("graph") and not _aggregates(network):
            raise InputError(
                f"{name} is given, and no layer of this network reads it.",
                received=f"{name}=..., {network!r}",
                needed="a network with whydeep.Aggregate()",
                suggestion="whydeep.aggregate(matrix) is a layer for a graph that all inputs share",
            )
        if name.endswith("2") and x2 is None:
            raise InputError(
                f"{name} is given without x2.", received=f"{name}=...",
                needed=f"x2, whose inputs it belongs to; {name[:-1]}1 is of x1",
            )  # fmt: skip


def _refuse_undrawn(settings: _Settings, **given: int | None) -> None:
    """Numbers of draws, where the kernel of one input shows that there are none."""
    named = [f"{name}={value}" for name, value in given.items() if value is not None]
    if named and len(settings.left) and not _is_drawn(settings):
        raise InputError(
            f"{named[0].partition('=')[0]} is given, and nothing of this kernel is drawn.",
            received=", ".join(named),
            needed="softmax attention, max pooling or a nonlinearity of several Gaussians",
            cause="the kernel of this network is known without draws",
            suggestion=f"the same call without {' and '.join(named)}",
        )


def _is_drawn(settings: _Settings) -> bool:
    left_mask, left_graph = settings.masks[0], settings.graphs[0]
    mask = None if left_mask is None else left_mask[:1]
    graph = None if left_graph is None else left_graph[:1]
    one = replace(
        settings, left=settings.left[:1], right=None, masks=(mask, mask), graphs=(graph, graph),
        every=False, tile=None, draws=_FEWEST_DRAWS,
    )  # fmt: skip
    return _found(one, "float64").nngp_stderr is not None


def _aggregates(network: Network) -> bool:
    return any(isinstance(layer, Aggregate) for layer in network.layers)


def _parts(found: Kernel) -> list[Any]:
    whole = (found, *found.layers.values())
    return [part for k in whole for part in (k.nngp, k.ntk) if part is not None]


def _held(found: Kernel, dtype: str, *, own: bool) -> bool:
    return in_range(_parts(found), dtype, own=own)


def _narrowed(found: Kernel) -> Kernel:
    def narrow(part: Any) -> Any:
        return None if part is None else np.asarray(part, np.float32)

    return replace(
        found, nngp=narrow(found.nngp), ntk=narrow(found.ntk),
        error=found.error + float(np.finfo(np.float32).eps),
        layers={n: _narrowed(inner) for n, inner in found.layers.items()},
    )  # fmt: skip


def _check_smallest(given: _Settings, found: Kernel, dtype: str) -> None:
    """Of two sets of inputs: their smallest ones against themselves, where results are tiny."""
    right = given.right
    if right is None or given.network.takes_tokens or not found.nngp.size:
        return
    if np.abs(found.nngp).max() > _SURELY_HELD[dtype]:
        return
    for rows in (given.left, right):
        size = np.abs(rows).reshape(len(rows), -1).max(axis=1)
        if np.any(size > 0):
            row = int(np.argmin(np.where(size > 0, size, np.inf)))
            one = slice(row, row + 1)
            few = None if found.nngp_stderr is None else _FEWEST_DRAWS
            kernel(given.network, rows[one], ntk=given.ntk, dtype=dtype, draws=few)


def _has_traced(network: Network) -> bool:
    return any(is_traced(value) for layer in network.layers for value in vars(layer).values())


def _masks(
    network: Network, x1: Any, x2: Any, mask1: Any, mask2: Any
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Those of both sides: x1 again where there is no x2."""
    left = _mask(network, x1, mask1, "mask1")
    return left, left if x2 is None else _mask(network, x2, mask2, "mask2")


def _graphs(
    x1: Any, x2: Any, graph1: Any, graph2: Any
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Likewise."""
    left = _graph(x1, graph1, "graph1")
    return left, left if x2 is None else _graph(x2, graph2, "graph2")


def _checked(network: Network, x: Any, name: str) -> np.ndarray:
    """Inputs as an array: finite float64 numbers, or whole numbers for an embedding."""
    needed = "(inputs, T) whole numbers" if network.takes_tokens else "(inputs, *dims)"
    array = as_array(name, x, needed)
    if array.ndim < 2:
        raise InputError(f"{name} is not a set of inputs.", received=f"shape {array.shape}",
                         needed=needed)  # fmt: skip
    if array.size == 0:
        if array.shape[0] == 0 and all(array.shape[1:]):
            return array.astype(np.float64)
        raise InputError(f"{name} is empty.", received=f"shape {array.shape}")
    if network.takes_tokens:
        if array.dtype.kind not in "iu" or array.min() < 0:
            raise InputError(
                f"{name} are not tokens.",
                received=f"{array.dtype}, smallest {array.min()}",
                needed="whole numbers >= 0: the network begins with an embedding",
            )
        return array
    if array.dtype.kind not in "biuf" or array.ndim == 2:
        return check_inputs(x, name=name)
    return check_inputs(array.reshape(len(array), -1), name=name).reshape(array.shape)


def _mask(network: Network, x: Any, mask: Any, name: str) -> np.ndarray | None:
    if mask is None:
        return None
    array = as_array(name, mask, "true where an input is there, false where it is padding")
    first = network.nodes[0].layer
    shape = np.shape(x)
    wanted = shape if network.takes_tokens else shape[:-1]
    if isinstance(first, ChannelsLast):
        wanted = (shape[0], *shape[2:])
    if array.shape != wanted or array.dtype.kind not in "bui" or np.any(array * (1 - array)):
        raise InputError(
            f"{name} can't be read.",
            received=f"shape {array.shape} of {array.dtype}",
            needed=f"shape {wanted}, true where the input is there and false where it is padding",
        )
    return array.astype(np.float64)


def _graph(x: Any, graph: Any, name: str) -> np.ndarray | None:
    if graph is None:
        return None
    array = _WEIGHTS(name, graph)
    if array.shape[1] != array.shape[2] or len(array) != len(x):
        raise InputError(
            f"{name} can't be read.",
            received=f"shape {array.shape}",
            needed=f"({len(x)}, P, P) finite weights, from position to position",
        )
    return array


def _assumptions(network: Network, *, drawn: bool = False) -> tuple[str, ...]:

    kinds = {type(layer) for layer in network.layers}
    said = [
        "all hidden widths are infinite",
        "weights are independent, of zero mean",
        *network.assumptions,
    ]
    if DotProductAttention in kinds:
        said.append(
            "heads grow without bound; with a fixed number this is the mean of the kernel, which "
            "then fluctuates from network to network"
        )
    if Dropout in kinds:
        said.append("dropout draws a mask for every input, as in training")
    if any(getattr(layer, "parameterization", "") == "mup" for layer in network.layers):
        said.append(
            "mup: the tangent kernel is that of the first step and changes in training; the "
            "nngp is the hidden one, the output itself vanishes like 1/width"
        )
    if drawn:
        said.append("a part is a mean over draws: see the standard errors")
    return tuple(said)
