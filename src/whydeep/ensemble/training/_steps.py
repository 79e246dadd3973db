"""Networks drawn and trained: one compiled loop over steps, whatever is recorded between.

A network is drawn from the key of its number, and everything random about its training (the order
of batches, dropout's masks) from numbered streams of that key: so it is the same network whatever
is trained beside it, in whichever process.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.ensemble._apply import apply_network
from whydeep.ensemble._draw import draw_parameters, learning_rates
from whydeep.ensemble._normals import threefry
from whydeep.ensemble.training._optimiser import Optimiser
from whydeep.ensemble.training._problem import Loss
from whydeep.network import Dropout, Identity, Network

__all__ = ["Task", "alone", "batch_order", "compiled_steps", "draw_key", "split_parameters"]

_ORDER, _MASKS = 5, 6
State = tuple[Any, Any]


@dataclass(frozen=True)
class Task:
    """Everything about training that a compiled function depends on.

    Args:
        network: what is trained.
        input_shape: of one input.
        loss: of every example.
        optimiser: what becomes of a gradient.
        batch: examples a step, or None for all.
        dtype: of all arithmetic.
        lanes: networks side by side in one call.
    """

    network: Network
    input_shape: tuple[int, ...]
    loss: Loss
    optimiser: Optimiser
    batch: int | None
    dtype: str
    lanes: int = 1

    @property
    def evaluated(self) -> Network:
        """The network without dropout, as it is used after training."""
        nodes = tuple(
            dataclasses.replace(n, layer=Identity()) if isinstance(n.layer, Dropout) else n
            for n in self.network.nodes
        )
        return Network(nodes)


@dataclass(frozen=True)
class Steps:
    """Compiled functions over ``lanes`` networks.

    Args:
        draw: ``(words, indices) -> parameters`` at initialisation.
        start: ``parameters -> state``, with the optimiser's memory.
        advance: ``(state, words, indices, first, last, step, x, y) -> state`` after the steps
            from `first` up to `last`.
    """

    draw: Callable[..., Any]
    start: Callable[..., State]
    advance: Callable[..., State]


@functools.lru_cache(maxsize=64)
def compiled_steps(task: Task) -> Steps:
    """The functions of a task; asked for again, they are compiled already."""
    start = functools.partial(_start, task)
    advance = functools.partial(_advance, task)
    if task.lanes > 1:
        start = jax.vmap(start)
        advance = jax.vmap(advance, in_axes=(0, None, 0, None, None, None, None, None))
    else:
        advance = alone(advance, 2)
    draw = _compiled_draw(task.network, task.input_shape, task.dtype, task.lanes)
    return Steps(draw, jax.jit(start), jax.jit(advance))


@functools.lru_cache(maxsize=64)
def _compiled_draw(
    network: Network, input_shape: tuple[int, ...], dtype: str, lanes: int
) -> Callable[..., Any]:
    """The same for all losses and optimisers: it takes longest to compile."""

    def draw(words: Any, index: Any) -> Any:
        return draw_parameters(network, input_shape, draw_key(words, index), np.dtype(dtype))

    return jax.jit(jax.vmap(draw, in_axes=(None, 0)) if lanes > 1 else alone(draw, 1))


def alone(function: Callable[..., Any], place: int) -> Callable[..., Any]:
    """Take an array of one index, as the functions of several networks do."""

    def call(*arguments: Any) -> Any:
        given = list(arguments)
        given[place] = given[place][0]
        return function(*given)

    return call


def draw_key(words: Any, index: Any) -> Any:
    """The key of a network: that of the same draw in `measure_kernels`."""
    pair = threefry((words[0], words[1]), jnp.uint32(0), jnp.asarray(index, jnp.uint32))
    return jax.random.wrap_key_data(jnp.stack(pair), impl="threefry2x32")


def split_parameters(
    network: Network, input_shape: tuple[int, ...], parameters: Any
) -> tuple[list[Any], list[float], Callable[[list[Any]], Any]]:
    """The arrays that are trained, the roots of their rates, and how they are put back."""
    leaves, tree = jax.tree.flatten(parameters)
    rates = tree.flatten_up_to(learning_rates(network, input_shape))
    chosen = [i for i, rate in enumerate(rates) if rate != 0]

    def merge(new: list[Any]) -> Any:
        merged = list(leaves)
        for i, leaf in zip(chosen, new, strict=True):
            merged[i] = leaf
        return jax.tree.unflatten(tree, merged)

    return [leaves[i] for i in chosen], [float(rates[i]) ** 0.5 for i in chosen], merge


def batch_order(key: Any, epoch: Any, rows: int) -> Any:
    """The order of the examples in an epoch of the network with this key."""
    stream = jax.random.fold_in(jax.random.fold_in(key, _ORDER), epoch)
    return jax.random.permutation(stream, rows)


def _start(task: Task, parameters: Any) -> State:
    trained, roots, _ = split_parameters(task.network, task.input_shape, parameters)
    u = [w / root for w, root in zip(trained, roots, strict=True)]
    return parameters, task.optimiser.init(u)


def _advance(
    task: Task, state: State, words: Any, index: Any, first: Any, last: Any, step: Any, x: Any,
    y: Any,
) -> State:  # fmt: skip
    parameters, memory = state
    trained, roots, merge = split_parameters(task.network, task.input_shape, parameters)
    key = draw_key(words, index)
    masks = jax.random.fold_in(key, _MASKS)
    dropout = any(isinstance(layer, Dropout) for layer in task.network.layers)
    rows = len(x)
    batch = rows if task.batch is None else task.batch
    each_epoch = rows // batch

    def loss(trained: list[Any], x: Any, y: Any, number: Any) -> Any:
        mask = jax.random.fold_in(masks, number) if dropout else None
        outputs = apply_network(task.network, merge(trained), x, mask)
        # A batch stands for all examples: the same gradient in the mean, the same time.
        return jnp.sum(task.loss.each(outputs, y)) * (rows / batch)

    def one(number: Any, carry: Any) -> Any:
        trained, memory, order = carry
        some_x, some_y = x, y
        if task.batch is not None:
            place = number % each_epoch
            order = jax.lax.cond(
                place == 0, lambda: batch_order(key, number // each_epoch, rows), lambda: order
            )
            chosen = jax.lax.dynamic_slice(order, (place * batch,), (batch,))
            some_x, some_y = x[chosen], y[chosen]
        gradients = jax.grad(loss)(trained, some_x, some_y, number)
        scaled = [root * g for root, g in zip(roots, gradients, strict=True)]
        u = [w / root for root, w in zip(roots, trained, strict=True)]
        changes, memory = task.optimiser.update(scaled, memory, u, step)
        trained = [w + r * c for w, r, c in zip(trained, roots, changes, strict=True)]
        return trained, memory, order

    with jax.default_matmul_precision("highest"):  # float32 is float32 on every device
        order = jnp.zeros((), jnp.int32)
        if task.batch is not None:  # in the middle of an epoch, its order is needed at once
            order = batch_order(key, first // each_epoch, rows)
        trained, memory, _ = jax.lax.fori_loop(first, last, one, (trained, memory, order))
    return merge(trained), memory
