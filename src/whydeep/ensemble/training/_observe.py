"""What is recorded of one network while it is trained: by definition, in JAX."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from whydeep.ensemble._apply import apply_network, node_values
from whydeep.ensemble._draw import parameters_of
from whydeep.ensemble.training._curvature import along_update, hessian_norm
from whydeep.ensemble.training._optimiser import SGD
from whydeep.ensemble.training._problem import right
from whydeep.ensemble.training._steps import Task, alone, draw_key, split_parameters
from whydeep.network import Network

__all__ = ["Data", "compiled_observe", "layers_of"]

# Arrays of parameters that are weights, not biases or a norm's numbers.
_WEIGHTS = ("weight", "input", "table")
_START = 7


@dataclass(frozen=True)
class Data:
    """Examples, for training and held out.

    Args:
        x: training inputs.
        y: their targets.
        labels: their classes, or None.
        x_test: other inputs, or None.
        y_test: their targets, or None.
        labels_test: their classes, or None.
    """

    x: Any
    y: Any
    labels: Any = None
    x_test: Any = None
    y_test: Any = None
    labels_test: Any = None


jax.tree_util.register_dataclass(
    Data,
    data_fields=["x", "y", "labels", "x_test", "y_test", "labels_test"],
    meta_fields=[],
)


def layers_of(network: Network, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The nodes that have weights: layers 1, 2, ... of the labelled dimension."""
    nodes = parameters_of(network, input_shape)
    return tuple(i for i, own in enumerate(nodes) if any(name in own for name in _WEIGHTS))


def compiled_observe(
    task: Task, names: tuple[str, ...], middle: float | None, hessian_inputs: int
) -> Callable[..., dict[str, Any]]:
    """``(parameters, initial, words, indices, data) -> {name: (lanes, ...)}``, compiled."""
    # The same whichever way it is trained.
    return _compiled(
        dataclasses.replace(task, optimiser=SGD, batch=None), names, middle, hessian_inputs
    )


@functools.lru_cache(maxsize=64)
def _compiled(
    task: Task, names: tuple[str, ...], middle: float | None, hessian_inputs: int
) -> Callable[..., dict[str, Any]]:
    observe = functools.partial(_observe, task, names, middle, hessian_inputs)
    if task.lanes > 1:
        return jax.jit(jax.vmap(observe, in_axes=(0, 0, None, 0, None)))

    def one(*arguments: Any) -> Any:
        found = alone(observe, 3)(*arguments)
        return jax.tree.map(lambda value: value[None], found)

    return jax.jit(one)


def _observe(
    task: Task, names: tuple[str, ...], middle: float | None, hessian_inputs: int,
    parameters: Any, initial: Any, words: Any, index: Any, data: Data,
) -> dict[str, Any]:  # fmt: skip
    with jax.default_matmul_precision("highest"):
        now = node_values(task.evaluated, parameters, data.x)
        before = node_values(task.evaluated, initial, data.x)
        layers = layers_of(task.network, task.input_shape)
        found: dict[str, Any] = {"outputs": now[-1], "loss": _total(task, now[-1], data.y)}
        if data.labels is not None:
            found["accuracy"] = jnp.mean(right(now[-1], data.labels, middle), dtype=task.dtype)
        if data.x_test is not None:
            found |= _tested(task, middle, parameters, data)
        old, new = [[_flat(v[i]) for i in layers] for v in (before, now)]
        found |= _moved_weights([initial[i] for i in layers], [parameters[i] for i in layers])
        found |= _moved_values(old, new)
        if {"kernel", "kernel_change"} & set(names):
            kernels, first = (jnp.stack([_gram(v) for v in vs]) for vs in (new, old))
            found["kernel"] = kernels
            found["kernel_change"] = _relative(kernels - first, first, axes=(-2, -1))
        if {"ntk", "ntk_change"} & set(names):
            found["ntk"] = _ntk(task, parameters, data.x)
        if "ntk_change" in names:
            first = _ntk(task, initial, data.x)
            found["ntk_change"] = _relative(found["ntk"] - first, first, axes=(-2, -1))
        if {"hessian_norm", "hessian_residual"} & set(names):
            start = jax.random.fold_in(draw_key(words, index), _START)
            found |= hessian_norm(task, parameters, data.x[:hessian_inputs], start)
        if "hessian_along_update" in names:
            found["hessian_along_update"] = along_update(
                task, parameters, data.x, data.y, hessian_inputs
            )
    return {name: found[name] for name in names}


def _total(task: Task, outputs: Any, y: Any) -> Any:
    return jnp.sum(task.loss.each(outputs, y))


def _tested(task: Task, middle: float | None, parameters: Any, data: Data) -> dict[str, Any]:
    outputs = apply_network(task.evaluated, parameters, data.x_test)
    found = {"test_outputs": outputs}
    if data.y_test is not None:
        found["test_loss"] = _total(task, outputs, data.y_test)
    if data.labels_test is not None:
        found["test_accuracy"] = jnp.mean(
            right(outputs, data.labels_test, middle), dtype=task.dtype
        )
    return found


def _flat(value: Any) -> Any:
    return value.reshape(len(value), -1, value.shape[-1])


def _gram(value: Any) -> Any:
    """``K(a, b)``: the mean over neurons, and positions, of z(a) z(b)."""
    flat = value.reshape(len(value), -1)
    return flat @ flat.T / flat.shape[-1]


def _relative(change: Any, first: Any, axes: tuple[int, ...]) -> Any:
    """A norm over a norm; 0 where there was nothing and is nothing."""
    top = jnp.sqrt(jnp.sum(change**2, axis=axes))
    bottom = jnp.sqrt(jnp.sum(first**2, axis=axes))
    return jnp.where((top == 0) & (bottom == 0), 0, top / bottom)


def _moved_weights(initial: list[Any], parameters: list[Any]) -> dict[str, Any]:
    moved, relative = [], []
    for old, new in zip(initial, parameters, strict=True):
        before = jnp.concatenate([old[n].ravel() for n in _WEIGHTS if n in old])
        change = jnp.concatenate([new[n].ravel() for n in _WEIGHTS if n in new]) - before
        moved.append(jnp.linalg.norm(change))
        relative.append(_relative(change, before, axes=(0,)))
    return {
        "weight_movement": jnp.stack(moved),
        "weight_movement_relative": jnp.stack(relative),
    }


def _moved_values(old: list[Any], new: list[Any]) -> dict[str, Any]:
    """Means over inputs of ``|z - z_0|``, over ``sqrt(n)``, and over ``|z_0|``."""
    moved, rms, relative = [], [], []
    for before, now in zip(old, new, strict=True):
        change = now - before
        length = jnp.sqrt(jnp.sum(change**2, axis=(1, 2)))
        moved.append(jnp.mean(length))
        rms.append(jnp.mean(length) / (before.shape[1] * before.shape[2]) ** 0.5)
        relative.append(jnp.mean(_relative(change, before, axes=(1, 2))))
    return {
        "preactivation_movement": jnp.stack(moved),
        "preactivation_movement_rms": jnp.stack(rms),
        "preactivation_movement_relative": jnp.stack(relative),
    }


def _ntk(task: Task, parameters: Any, x: Any) -> Any:
    """``sum rate df_c(a) df_c(b)``, the mean over output channels c."""
    trained, roots, merge = split_parameters(task.network, task.input_shape, parameters)
    channels = task.network.shapes(task.input_shape)[-1].channels

    def of_channel(channel: Any) -> Any:
        def output(trained: list[Any], row: Any) -> Any:
            return apply_network(task.evaluated, merge(trained), row[None])[0, channel]

        gradients = jax.vmap(jax.grad(output), in_axes=(None, 0))(trained, x)
        flat = [root * g.reshape(len(x), -1) for root, g in zip(roots, gradients, strict=True)]
        return sum((f @ f.T for f in flat), start=jnp.zeros((len(x), len(x)), task.dtype))

    return jnp.mean(jax.lax.map(of_channel, jnp.arange(channels)), axis=0)
