"""Kernels of real networks at initialisation: means over draws, with standard errors."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.arguments import (
    COUNT,
    DTYPE,
    SEED,
    anything,
    array,
    check_memory,
    check_time,
    choice,
    count,
    either,
    takes,
)
from whydeep.data import BATCH
from whydeep.ensemble._blocks import all_batches
from whydeep.ensemble._draw import LAWS, parameters_of
from whydeep.ensemble._normals import threefry
from whydeep.ensemble._samples import KernelSamples
from whydeep.ensemble._tangents import function_nngp, function_ntk, network_nngp, network_ntk
from whydeep.errors import InputError, UnsupportedError
from whydeep.memory import available
from whydeep.network import NETWORK, Aggregate, Embedding, Network, widened

__all__ = ["measure_function_kernels", "measure_kernels"]

_MOST_BATCHES = 400
# What is computed side by side: what fits in a processor's cache, or a share of an accelerator.
_CACHE_BYTES = 8 << 20
_DEVICE_BYTES = 1 << 30
_MOST_LANES = 128
_SHARE_OF_MEMORY = 0.6  # of what is free, for gradients: values of the passes need room too
_NNGP, _NTK = 0, 1
_DRAWS = count(2, 2**32 - 1)  # they are numbered by 32 bits
_NTK_DRAWS = either(count(0, 0), _DRAWS, when=lambda draws: isinstance(draws, int) and not draws)
_GRAPH = array(dims=3, needed="(inputs, P, P) finite weights, from position to position")


@takes(
    network=NETWORK, x=BATCH, x2=BATCH, draws=_DRAWS, ntk_draws=_NTK_DRAWS, seed=SEED,
    width_factor=COUNT, dtype=DTYPE, law=choice(*LAWS), graph=_GRAPH, graph2=_GRAPH,
)  # fmt: skip
def measure_kernels(
    network: Network,
    x: Any,
    x2: Any = None,
    *,
    draws: int = 1000,
    ntk_draws: int | None = None,
    seed: int = 0,
    width_factor: int = 1,
    dtype: str = "float32",
    law: str = "normal",
    graph: Any = None,
    graph2: Any = None,
) -> KernelSamples:
    """Draw networks at initialisation and measure their NNGP and tangent kernels.

    ``nngp = <mean over channels of y(a) y(b)>`` and ``ntk = <sum lambda dy(a) dy(b)>``, the
    averages over draws, at this width: theory's limit plus corrections in 1/width.

    Args:
        network: any.
        x: (N, *positions, channels), or whole numbers (N, T) where the network takes tokens.
        x2: other inputs, for kernels between the two; by default those of x with itself.
        draws: for the NNGP kernel; rounded up to whole batches.
        ntk_draws: for the tangent kernel, as many unless given; 0: none.
        seed: makes everything reproducible, on the same kind of device.
        width_factor: hidden widths are multiplied by it, at the same learning rates.
        dtype: "float32" or "float64". Means over draws are float64.
        law: of weights and biases: "normal", "uniform" or "truncated", of the same variances.
        graph: for `Aggregate`: (N, P, P), the weight from position to position of every input.
        graph2: likewise of x2.

    Returns:
        `KernelSamples`, (N1, N2), or (N1, N2, *positions, *positions) where outputs have them.

    Raises:
        InputError: bad inputs or numbers.
        UnsupportedError: values overflow, gradients do not fit in memory, a width that can't grow.

    Accuracy: unbiased at this width. Cost: a draw is one forward pass for the NNGP kernel, and
    one forward and backward pass an input and output position for the tangent kernel, which holds
    (inputs x positions) gradients at a time; memory does not grow with draws.

    Example:
        >>> import numpy as np
        >>> from whydeep.network import Activation, Dense, chain
        >>> net = chain(Dense(64, 2.0), Activation("relu"), Dense(1))
        >>> samples = measure_kernels(net, np.eye(2), draws=200, seed=1)
        >>> samples.nngp.shape, samples.ntk.shape
        ((2, 2), (2, 2))
    """
    ntk_draws = draws if ntk_draws is None else ntk_draws
    begin = time.perf_counter()
    points, first = _points(network, x, x2)
    net = widened(network, width_factor, points.shape[1:])
    positions = net.shapes(points.shape[1:])[-1].positions
    points = points.astype(np.int32 if net.takes_tokens else dtype)
    edges = None
    aggregates = any(isinstance(layer, Aggregate) for layer in net.layers)
    for name, value in (("graph", graph), ("graph2", graph2)):
        if value is not None and (not aggregates or (name == "graph2" and x2 is None)):
            raise InputError(
                f"{name} is given, and nothing reads it.", received=f"{name}=..., {network!r}",
                needed="x2, and a network with whydeep.Aggregate()",
            )  # fmt: skip
    if graph is not None:
        edges = np.concatenate([np.asarray(g, dtype) for g in (graph, graph2) if g is not None])
    costs = _Costs(net, points.shape, dtype)
    costs.check(draws, ntk_draws)
    words = np.array([seed >> 32, seed & 0xFFFFFFFF], dtype=np.uint32)

    def block(which: int, indices: np.ndarray) -> np.ndarray:
        kernels = _network_block(
            net, which, first, law, costs.together, dtype, points, edges, words, indices
        )
        return np.asarray(kernels)

    lanes = (costs.lanes_nngp, costs.lanes_ntk)
    found = _both(block, lanes, (draws, ntk_draws), repr(net), wide=dtype == "float64")
    return _samples(found, (draws, ntk_draws), positions, seed, dtype, begin, repr(net))


@takes(
    draw=anything, apply=anything, x=anything, x2=anything, rates=anything, draws=_DRAWS,
    ntk_draws=_NTK_DRAWS, seed=SEED, source=anything,
)  # fmt: skip
def measure_function_kernels(
    draw: Callable[[Any], Any],
    apply: Callable[[Any, Any], Any],
    x: Any,
    x2: Any = None,
    *,
    rates: Any = None,
    draws: int = 1000,
    ntk_draws: int | None = None,
    seed: int = 0,
    source: str = "",
) -> KernelSamples:
    """The same of any JAX function that can be initialised again.

    Args:
        draw: gives parameters, any tree of arrays, for a key of ``jax.random``.
        apply: ``apply(parameters, x)`` gives outputs (N, *positions, channels) or (N,).
        x: inputs, their number first.
        x2: see `measure_kernels`.
        rates: of parameters in the tangent kernel: a tree like theirs of numbers or arrays; 1 for
            every parameter unless given.
        draws: see `measure_kernels`.
        ntk_draws: likewise.
        seed: likewise.
        source: what it is, in words.

    Raises:
        InputError: bad numbers; outputs that are not one a row of x.
        UnsupportedError: values overflow.

    Cost: one call a draw, and one more with a backward pass an input and output position. A `draw`
    that JAX can't trace is called as it is.

    Example:
        >>> import jax
        >>> import numpy as np
        >>> samples = measure_function_kernels(
        ...     lambda key: jax.random.normal(key, (3,)), lambda w, x: x @ w, np.eye(3), draws=100
        ... )
        >>> samples.ntk.diagonal().tolist()
        [1.0, 1.0, 1.0]
    """
    ntk_draws = draws if ntk_draws is None else ntk_draws
    check_time(1e-5 * (draws + ntk_draws), "This many draws", received=f"{draws=}, {ntk_draws=}")
    begin = time.perf_counter()
    points = np.asarray(x)
    first = len(points)
    if x2 is not None:
        points = np.concatenate([points, np.asarray(x2)])
    words = np.array([seed >> 32, seed & 0xFFFFFFFF], dtype=np.uint32)
    function = _Function(draw, _draw_key(words, _NNGP, 0))
    output = jax.eval_shape(
        lambda arrays, x: apply(function.merged(arrays), x), function.arrays, points
    )
    if not output.shape or output.shape[0] != len(points):
        raise InputError(
            "The function must give one output a row of x.",
            received=f"shape {output.shape} for {len(points)} rows",
            needed="(N, *positions, channels) or (N,)",
        )

    def kernel(which: int, arrays: list[Any], points: Any, key: Any) -> Any:
        parameters = function.merged(arrays)
        with jax.default_matmul_precision("highest"):
            if which == _NNGP:
                return function_nngp(apply, first, parameters, points)
            return function_ntk(apply, rates, first, parameters, points, key)

    compiled = jax.jit(kernel, static_argnums=0)
    from_key = jax.jit(
        lambda which, points, key: kernel(which, function.drawn(key), points, key), static_argnums=0
    )

    def block(which: int, indices: np.ndarray) -> np.ndarray:
        keys = [_draw_key(words, which, index) for index in indices]
        if function.traceable:
            return np.stack([np.asarray(from_key(which, points, k)) for k in keys])
        return np.stack([np.asarray(compiled(which, function.drawn(k), points, k)) for k in keys])

    wide = bool(jnp.result_type(float) == np.float64)
    found = _both(block, (1, 1), (draws, ntk_draws), source or "a function", wide=wide)
    kind = str(np.dtype(output.dtype))
    return _samples(found, (draws, ntk_draws), output.shape[1:-1], seed, kind, begin, source)


@functools.partial(
    jax.jit, static_argnames=("network", "which", "first", "law", "together", "dtype")
)
def _network_block(
    network: Network, which: int, first: int, law: str, together: int, dtype: str, points: Any,
    edges: Any, words: Any, indices: Any,
) -> Any:  # fmt: skip
    """Kernels of some draws side by side: (draws, N1, N2, P, P)."""

    def one(index: Any) -> Any:
        key = _draw_key(words, which, index)
        if which == _NNGP:
            return network_nngp(network, first, law, points, edges, dtype, key)
        return network_ntk(network, first, law, together, points, edges, dtype, key)

    with jax.default_matmul_precision("highest"):  # float32 is float32 on every device
        return jax.vmap(one)(indices)


@functools.partial(jax.jit, static_argnums=1)
def _draw_key(words: Any, which: int, index: Any) -> Any:
    """Every draw has a key of its own, whatever is computed beside it."""
    pair = threefry((words[0], words[1]), jnp.uint32(which), jnp.asarray(index, jnp.uint32))
    return jax.random.wrap_key_data(jnp.stack(pair), impl="threefry2x32")


Block = Callable[[int, np.ndarray], np.ndarray]


def _both(
    block: Block, lanes: tuple[int, int], draws: tuple[int, int], source: str, *, wide: bool
) -> list[np.ndarray | None]:
    """Batch means of the NNGP and of the tangent kernel, in float64."""
    found: list[np.ndarray | None] = []
    for which, name in ((_NNGP, "NNGP"), (_NTK, "tangent")):
        if draws[which] == 0:
            found.append(None)
            continue
        each = math.ceil(draws[which] / _MOST_BATCHES)
        count = math.ceil(draws[which] / each)
        # A run holds whole batches, and calls hold equally many draws.
        batches = max(min(lanes[which], count * each) // each, 1)
        calls = math.ceil(batches * each / lanes[which])
        size = math.ceil(batches * each / calls)

        def run(
            number: int, which: int = which, each: int = each, batches: int = batches,
            calls: int = calls, size: int = size,
        ) -> dict[str, np.ndarray]:  # fmt: skip
            start = (number - 1) * batches * each
            parts = [
                block(which, np.arange(start + c * size, start + (c + 1) * size, dtype=np.uint32))
                for c in range(calls)
            ]
            kept = np.concatenate(parts)[: batches * each].astype(np.float64)
            return {"k": kept.reshape(batches, each, *kept.shape[1:]).mean(axis=1)}

        runs = math.ceil(count / batches)
        title = f"measuring the {name} kernel of {source}"
        results = all_batches(run, runs, title, wide=wide)
        found.append(np.concatenate([r["k"] for r in results])[:count])
    return found


def _samples(
    found: list[np.ndarray | None], draws: tuple[int, int], positions: tuple[int, ...], seed: int,
    dtype: str, begin: float, source: str,
) -> KernelSamples:  # fmt: skip
    shaped: list[np.ndarray | None] = []
    counts = []
    for batches, wanted in zip(found, draws, strict=True):
        if batches is None:
            shaped.append(None)
            counts.append(0)
            continue
        if not np.all(np.isfinite(batches)):
            raise UnsupportedError(
                "The values of this network overflow.",
                received=source,
                cause="its activations or weights amplify them from layer to layer",
                suggestion="smaller variances, fewer layers, or inputs of unit scale",
            )
        ends = (*positions, *positions) if math.prod(positions) > 1 else ()
        shaped.append(batches.reshape(*batches.shape[:3], *ends))
        counts.append(len(batches) * math.ceil(wanted / _MOST_BATCHES))
    nngp, ntk = shaped
    if nngp is None:
        raise InputError("The NNGP kernel needs draws.", received="draws=0")
    return KernelSamples(
        nngp, ntk, counts[0], counts[1], seed, dtype, time.perf_counter() - begin, source
    )


class _Function:
    """A draw of parameters, of which arrays change from draw to draw and all else stays."""

    def __init__(self, draw: Callable[[Any], Any], key: Any) -> None:
        self.draw = draw
        self.leaves, self.tree = jax.tree.flatten(draw(key))
        self.places = [i for i, leaf in enumerate(self.leaves) if hasattr(leaf, "dtype")]
        self.arrays = [self.leaves[i] for i in self.places]
        try:
            jax.eval_shape(self.drawn, key)
            self.traceable = True
        except (jax.errors.JAXTypeError, TypeError):
            self.traceable = False

    def drawn(self, key: Any) -> list[Any]:
        """The arrays of a new draw."""
        leaves = jax.tree.leaves(self.draw(key))
        return [leaves[i] for i in self.places]

    def merged(self, arrays: list[Any]) -> Any:
        """The whole tree with these arrays."""
        leaves = list(self.leaves)
        for i, one in zip(self.places, arrays, strict=True):
            leaves[i] = one
        return jax.tree.unflatten(self.tree, leaves)


class _Costs:
    """How much a draw holds, and from it how much is computed side by side."""

    def __init__(self, network: Network, shape: tuple[int, ...], dtype: str) -> None:
        inputs = shape[0]
        item = np.dtype(dtype).itemsize
        shapes = network.shapes(shape[1:])
        values = sum(
            s.count * s.channels * _window(node.layer)
            for s, node in zip(shapes, network.nodes, strict=True)
        )
        numbers = sum(p.size for node in parameters_of(network, shape[1:]) for p in node.values())
        outputs = shapes[-1].count
        budget = _CACHE_BYTES if jax.default_backend() == "cpu" else _DEVICE_BYTES
        self.gradients = item * inputs * outputs * numbers
        # One input's values are held forward and backward, for every output position.
        one = item * max(3 * outputs * values, 1)
        self.together = max(1, min(inputs, budget // one))
        self.forward = item * (2 * numbers + inputs * values)
        self.pairs = inputs**2 * outputs**2
        self.lanes_nngp = self._lanes(budget, self.forward)
        self.lanes_ntk = self._lanes(budget, self.gradients + self.together * one)

    @staticmethod
    def _lanes(budget: int, one: int) -> int:
        return max(1, min(_MOST_LANES, budget // max(one, 1)))

    def check(self, draws: int, ntk_draws: int) -> None:
        """Refuse draws that can't be held, or would never end."""
        batches = sum(min(count, _MOST_BATCHES) for count in (draws, ntk_draws))
        check_memory(
            2 * self.forward + 8 * self.pairs * (batches + 4), "One draw of this network's values",
            suggestion="fewer inputs, or a smaller width",
        )  # fmt: skip
        # Every number of a draw is made and used at least once, at 1e11 a second.
        seconds = 1e-11 * (draws * self.forward + ntk_draws * (self.forward + self.gradients))
        check_time(
            seconds, "This many draws", received=f"draws={draws}, ntk_draws={ntk_draws}",
            suggestion="fewer draws: the standard error falls with their square root",
        )  # fmt: skip
        if not ntk_draws:
            return
        there = _SHARE_OF_MEMORY * available()
        if self.gradients > there:
            raise UnsupportedError(
                "The gradients of this network do not fit in memory.",
                received=f"{self.gradients / 2**30:.1f} GiB",
                needed=f"less than {there / 2**30:.1f} GiB: inputs x output positions x parameters",
                suggestion="fewer inputs, a smaller width, or ntk_draws=0",
            )


def _window(layer: Any) -> int:
    """How many values are laid side by side for one of the output."""
    size = getattr(layer, "size", None)
    return math.prod(size) if isinstance(size, tuple) else 1


def _points(network: Network, x: Any, x2: Any) -> tuple[np.ndarray, int]:
    """All inputs in one array, and how many of them are x."""
    left = _checked(network, x, "x")
    if x2 is None:
        return left, len(left)
    right = _checked(network, x2, "x2")
    if left.shape[1:] != right.shape[1:]:
        raise InputError(
            "x and x2 have different shapes.", received=f"{left.shape} and {right.shape}"
        )
    return np.concatenate([left, right]), len(left)


def _checked(network: Network, x: np.ndarray, name: str) -> np.ndarray:
    if network.takes_tokens:
        sizes = [
            n.layer.size for n in network.nodes
            if isinstance(n.layer, Embedding) and n.inputs == (-1,)
        ]  # fmt: skip
        if not np.array_equal(x, np.round(x)) or x.min() < 0 or x.max() >= min(sizes):
            raise InputError(
                f"{name} does not hold tokens.",
                received=f"{x.dtype} numbers from {x.min():g} to {x.max():g}",
                needed=f"whole numbers from 0 to {min(sizes) - 1}",
            )
    return x.astype(np.float64, copy=False)
