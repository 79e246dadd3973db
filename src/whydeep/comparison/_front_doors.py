"""The front doors of importers: read a user's model, check what was read, and say so.

The check has three parts. The description applied to the model's own numbers must give the model's
own outputs: exact, and blind only to how the numbers are drawn. The model, initialised again and
again by its own rule, must have the kernels of the description at its width; and the description
must tend to what theory predicts (see `check_import`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from whydeep.arguments import CALLABLE, FLAG, SEED, TREE, anything, count, either, takes
from whydeep.comparison._import_check import ImportCheck
from whydeep.comparison._imports import check_import
from whydeep.ensemble import (
    apply_network,
    measure_function_kernels,
    measure_torch_kernels,
    parameters_of,
)
from whydeep.network import Dropout, Embedding, Network, read_jax, read_torch
from whydeep.network.jax_reader import read
from whydeep.network.torch_reader import TorchReading, copied, read_module, seeded
from whydeep.progress import rich_part

__all__ = ["check_jax", "check_torch", "from_jax", "from_torch"]

_INPUTS = 3
# Draws of the model: of outputs as many as make their mean square known to 1 %, within what the
# number of parameters lets one wait for.
_OUTPUTS = 16_000
_LEAST_MOST, _NTK_LEAST_MOST = (300, 6000), (50, 300)
_EFFORT, _NTK_EFFORT = 3e8, 1e8


# Noise is told from the scatter of either half of the batches: of two at the least.
_SOME = count(4)
_ANY = either(count(0), _SOME, when=lambda draws: type(draws) is int and draws == 0)


@takes(
    module=anything, example=anything, init=anything, check=FLAG, at_width=CALLABLE,
    draws=_SOME, ntk_draws=_ANY, seed=SEED,
)  # fmt: skip
def from_torch(
    module: Any,
    example: Any,
    *,
    init: Any = None,
    check: bool = True,
    at_width: Callable[[int], Any] | None = None,
    draws: int | None = None,
    ntk_draws: int | None = None,
    seed: int = 0,
) -> Network:
    """The network that a PyTorch module is, checked against the module itself.

    What was found is printed in a short table (to standard error). A description that is not the
    module's, or does not tend to the predicted kernel, is a warning with the reason.

    Args:
        module: a ``torch.nn.Module``, in evaluation mode unless dropout shall count; or its
            constructor, a callable without arguments that returns a fresh one. Only a constructor
            tells how parameters are drawn without a guess.
        example: a batch of inputs, (N, ...): a tensor or an array.
        init: how parameters are drawn where the module does not tell (see `network.read_torch`).
        check: whether to check (see `check_torch`); a check costs seconds to minutes.
        at_width: gives a fresh module with its hidden widths times a whole number. It is checked at
            twice its width too.
        draws: of the model, for its NNGP kernel; by its size unless given.
        ntk_draws: likewise, for its tangent kernel.
        seed: of the check's random numbers.

    Raises:
        UnsupportedError: something in the module can't be read, named with its place.
        InputError: no module, no tensor, or numbers whose initialisation can't be told.

    Warns:
        UserWarning: the check disagrees; variances had to be measured.

    Accuracy: ``assumptions`` of the network say which variances have an error, the table how far it
        moves the kernels.
    """
    if not check:
        return read_torch(module, example, init=init)
    found = check_torch(module, example, init=init, seed=seed, draws=draws, ntk_draws=ntk_draws)
    is_factory = isinstance(module, type) or not hasattr(module, "named_parameters")
    kind = module if is_factory else type(module)
    name = getattr(kind, "__name__", type(kind).__name__)
    _report(found, name)
    if at_width is not None:
        wide = check_torch(
            partial(at_width, 2),
            example,
            init=init,
            seed=seed + 1,
            draws=draws,
            ntk_draws=ntk_draws,
        )
        _report(wide, f"{name}, twice the width")
    return found.network


@takes(
    fn=CALLABLE, params=TREE, example=anything, init=CALLABLE, check=FLAG,
    at_width=CALLABLE, draws=_SOME, ntk_draws=_ANY, seed=SEED,
)  # fmt: skip
def from_jax(
    fn: Callable[[Any, Any], Any],
    params: Any,
    example: Any,
    *,
    init: Callable[[Any], Any] | None = None,
    check: bool = True,
    at_width: Callable[[int], tuple[Callable[[Any, Any], Any], Any]] | None = None,
    draws: int | None = None,
    ntk_draws: int | None = None,
    seed: int = 0,
) -> Network:
    """The network that a JAX function is, checked against the function itself.

    Args:
        fn: ``fn(params, x)`` for a batch x.
        params: a tree of arrays, or how it is initialised: a function ``key -> tree``, which tells
            the laws of parameters without a guess.
        example: a batch of inputs (N, ...), of which the shape and the type matter.
        init: the function ``key -> tree``, if `params` is a tree.
        check: whether to check; see `from_torch`.
        at_width: gives ``(fn, factory)`` with the hidden widths times a whole number. It is
            checked at twice its width too.
        draws: of the model, for its NNGP kernel; by its size unless given.
        ntk_draws: likewise, for its tangent kernel.
        seed: of the check's random numbers.

    Raises:
        InputError: the function can't be traced with these arguments.
        UnsupportedError: an operation that is no layer; with its source line.

    Warns:
        UserWarning: the check disagrees.

    Example:
        >>> import jax
        >>> def mlp(params, x):
        ...     w, v = params
        ...     return jax.nn.relu(x @ w) @ v
        >>> def init(key):
        ...     k1, k2 = jax.random.split(key)
        ...     return jax.random.normal(k1, (8, 64)) / 2, jax.random.normal(k2, (64, 1)) / 8
        >>> from_jax(mlp, init, jax.numpy.zeros((5, 8)), check=False).depth
        1
    """
    if not check:
        return read_jax(fn, params, example, init=init)[0]
    name = getattr(fn, "__name__", type(fn).__name__)
    found = check_jax(fn, params, example, init=init, seed=seed, draws=draws, ntk_draws=ntk_draws)
    _report(found, name)
    if at_width is not None:
        wide, factory = at_width(2)
        again = check_jax(wide, factory, example, seed=seed + 1, draws=draws, ntk_draws=ntk_draws)
        _report(again, f"{name}, twice the width")
    return found.network


@takes(
    module=anything, example=anything, init=anything, draws=_SOME, ntk_draws=_ANY,
    seed=SEED, options=anything,
)  # fmt: skip
def check_torch(
    module: Any,
    example: Any,
    *,
    init: Any = None,
    draws: int | None = None,
    ntk_draws: int | None = None,
    seed: int = 0,
    **options: Any,
) -> ImportCheck:
    """What `from_torch` checks, as an `ImportCheck`, whose ``network`` is the description.

    Args:
        module: see `from_torch`.
        example: likewise; its first rows are used where they differ, others are made like them.
        init: likewise.
        draws: of the module, for its NNGP kernel; by its size unless given.
        ntk_draws: likewise, for its tangent kernel.
        seed: of all random numbers.
        **options: of `check_import`.
    """
    import torch

    reading = read_module(module, example, init=init)
    for note in reading.notes:
        warnings.warn(note, UserWarning, stacklevel=3)
    network, ready = reading.network, reading.given
    x = _inputs(ready.example.cpu().numpy(), network, seed)
    draws, ntk_draws = _how_many(network, x, draws, ntk_draws)
    points = torch.as_tensor(x).to(ready.example)
    real = measure_torch_kernels(
        ready.factory or ready.module, points, draws=draws, ntk_draws=ntk_draws, seed=seed,
        init=init, channel_axes=reading.channel_axes,
    )  # fmt: skip
    identity = None
    if not _drops(network):
        with seeded(seed):
            work = copied(ready.module) if ready.factory is None else ready.factory()
        with torch.no_grad():
            for name, buffer in ready.module.named_buffers():
                work.get_buffer(name).copy_(buffer)
            work = work.double()
            outputs = work(points.double() if points.dtype.is_floating_point else points)
        found = reading.arranged(outputs.cpu().numpy())
        identity = _difference(network, reading.parameters(work), x, found)
    return check_import(
        network, real, x, identity=identity, seed=seed + 1, higher=reading.higher,
        redrawn=_redrawn_torch(reading, init), **options,
    )  # fmt: skip


def _redrawn_torch(reading: TorchReading, init: Any) -> str:
    """How the module was drawn again, and what the check can't see therefore."""
    if reading.given.factory is not None:
        return "The function was drawn again by its constructor."
    if callable(init):
        return "The function was drawn again by init."
    return (
        "The function was drawn again by the laws read here, so the check can't see a law "
        "misread: from_torch(factory, example) draws by its constructor."
    )


@takes(
    fn=CALLABLE, params=TREE, example=anything, init=CALLABLE, draws=_SOME,
    ntk_draws=_ANY, seed=SEED, options=anything,
)  # fmt: skip
def check_jax(
    fn: Callable[[Any, Any], Any],
    params: Any,
    example: Any,
    *,
    init: Callable[[Any], Any] | None = None,
    draws: int | None = None,
    ntk_draws: int | None = None,
    seed: int = 0,
    **options: Any,
) -> ImportCheck:
    """What `from_jax` checks, as an `ImportCheck`, whose ``network`` is the description.

    Args:
        fn: see `from_jax`.
        params: likewise.
        example: likewise; its first rows are used where they differ, others are made like them.
        init: likewise.
        draws: of the function, for its NNGP kernel; by its size unless given.
        ntk_draws: likewise, for its tangent kernel.
        seed: of all random numbers.
        **options: of `check_import`.
    """
    reading = read(fn, params, example, init=init)
    network = reading.frozen.network
    x = _inputs(np.asarray(example), network, seed)
    draws, ntk_draws = _how_many(network, x, draws, ntk_draws)
    tree = reading.draw(jax.random.key(seed))
    leaves, structure = jax.tree.flatten(tree)
    trained = set(reading.leaves(jax.tree.unflatten(structure, range(len(leaves)))))
    rates = jax.tree.unflatten(structure, [float(i in trained) for i in range(len(leaves))])
    name = getattr(fn, "__name__", type(fn).__name__)
    real = measure_function_kernels(
        reading.draw, fn, x, rates=rates, draws=draws, ntk_draws=ntk_draws, seed=seed, source=name
    )
    identity = None
    if not _drops(network):
        with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
            wide = jax.tree.map(_double, tree)
            outputs = np.asarray(fn(wide, _double(jax.numpy.asarray(x))))
            identity = _difference(network, reading.parameters(wide), x, outputs)
    redrawn = "The function was drawn again by init." if reading.factory else (
        "The function was drawn again by the variances read here, so the check can't see a law "
        "misread: from_jax(fn, init, example), with init(key), draws as it does."
    )  # fmt: skip
    higher = None if reading.higher is None else reading.higher()
    return check_import(
        network, real, x, identity=identity, seed=seed + 1, higher=higher, redrawn=redrawn,
        **options,
    )  # fmt: skip


def _report(found: ImportCheck, name: str) -> None:
    console = rich_part("console").Console(stderr=True)
    console.print(f"[bold]{name}[/] against its description and the predicted kernel:")
    console.print(found)
    if found.verdict == "disagrees":
        warnings.warn(f"{name}: {found.reason}.", UserWarning, stacklevel=3)


def _inputs(example: np.ndarray, network: Network, seed: int) -> np.ndarray:
    """A few inputs that differ: of the example where it has them, else made like it."""
    rows = np.unique(example, axis=0)[:_INPUTS]
    if len(rows) == _INPUTS and np.all(np.isfinite(rows)):
        return rows
    rng = np.random.default_rng([seed, 1])
    shape = (_INPUTS, *example.shape[1:])
    if network.takes_tokens:
        sizes = [n.layer.size for n in network.nodes if isinstance(n.layer, Embedding)]
        return rng.integers(0, min(sizes), size=shape).astype(example.dtype)
    spread = float(example.std()) or 1.0
    noise = rng.normal(size=shape)
    noise[1] = 0.6 * noise[0] + 0.8 * noise[1]  # two that are alike, as inputs often are
    return (float(example.mean()) + spread * noise).astype(example.dtype)


def _how_many(
    network: Network, x: np.ndarray, draws: int | None, ntk_draws: int | None
) -> tuple[int, int]:
    shape = x.shape[1:]
    numbers = sum(p.size for node in parameters_of(network, shape) for p in node.values())
    last = network.shapes(shape)[-1]
    if draws is None:
        wanted = min(_OUTPUTS / min(last.channels, 16), _EFFORT / max(numbers, 1))
        draws = int(np.clip(wanted, *_LEAST_MOST))
    if ntk_draws is None:
        rows = len(x) * last.count
        ntk_draws = int(np.clip(_NTK_EFFORT / max(numbers * rows, 1), *_NTK_LEAST_MOST))
    return draws, ntk_draws


def _drops(network: Network) -> bool:
    return any(isinstance(layer, Dropout) for layer in network.layers)


def _double(leaf: Any) -> Any:
    floating = hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)
    return leaf.astype(np.float64) if floating else leaf


def _difference(network: Network, parameters: Any, x: np.ndarray, outputs: np.ndarray) -> float:
    """The largest difference of outputs at equal parameters, relative to their size."""
    # A model without a bias has none; the description has one of variance 0.
    every = [
        {name: own[name] if name in own else np.full(p.shape, p.mean) for name, p in node.items()}
        for node, own in zip(parameters_of(network, x.shape[1:]), parameters, strict=True)
    ]
    with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
        points = x if network.takes_tokens else x.astype(np.float64)
        found = np.asarray(apply_network(network, every, points))
    outputs = outputs.reshape(found.shape).astype(np.float64)
    scale = float(np.sqrt(np.mean(outputs**2))) or 1.0
    return float(np.abs(found - outputs).max() / scale)
