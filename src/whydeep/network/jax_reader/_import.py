"""The front end for JAX: a network read from any function of parameters and input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.arguments import as_told
from whydeep.errors import InputError, UnsupportedError
from whydeep.network._network import Network
from whydeep.network.jax_reader._axes import fresh, refine, sizes
from whydeep.network.jax_reader._calls import constant
from whydeep.network.jax_reader._draft import Draft, Source, Value
from whydeep.network.jax_reader._freeze import Frozen, frozen, mean_and_variance
from whydeep.network.jax_reader._init import Draws
from whydeep.network.jax_reader._leaves import Leaf, Parameter, Use, View
from whydeep.network.jax_reader._reader import Reader
from whydeep.network.jax_reader._simplify import simplified
from whydeep.network.jax_reader._walk import Walk

__all__ = ["Reading", "read", "read_jax"]

_TRACED_BATCH = 3
_MOST_DRAWS = 4096
_MOST_CALLS = 64  # of a factory that can't be compiled
_FEW = 4  # draws that are not worth compiling the factory for
_MOST_NUMBERS = 2_000_000  # of all draws together, beyond the second draw


def read_jax(
    fn: Callable[[Any, Any], Any],
    params: Any,
    example: Any,
    *,
    init: Callable[[Any], Any] | None = None,
) -> tuple[Network, Callable[[Any], Any]]:
    """The network that a JAX function is, and a function that draws its parameters.

    The function is traced, never run, and its operations are read as layers. The scaling is that
    of the code: ``z = W s / sqrt(n)`` with entries of variance 1 has ``weight_var`` 1, and in the
    tangent kernel of gradient descent with rate 1 on every leaf ``weight_lr`` 1; ``z = W s`` with
    variance 1/n has ``weight_var`` 1 and ``weight_lr`` n.

    Args:
        fn: ``fn(params, x)`` for a batch ``x`` of inputs ``(N, *positions, channels)``, or
            ``(N, channels, *positions)`` if it begins with a convolution that says so. A flax
            ``model.apply``, a vmapped equinox module, or a plain function. In evaluation mode.
        params: a tree of arrays, or a factory ``key -> tree``. Floating-point arrays are trained;
            what is not (whole numbers, Python numbers, functions, and in a tree with the key
            "params" everything beside it) is taken as constant.
        example: an array of the shape and type of a batch of inputs.
        init: a factory ``key -> tree``, if `params` is a tree. Without one the variances are those
            of the given numbers.

    Returns:
        The network, whose nodes' labels say which leaf they use and how its variance was read, and
        ``draw(key)``: a new tree from the factory, or of normal numbers with the variances read.

    Raises:
        InputError: the function can't be traced with these arguments.
        UnsupportedError: an operation that is no layer, a weight used twice; with its source line.

    Accuracy: a simple rule (1/fan_in, 2/fan_in, ...) is taken where the variance is known to 1 %
        and exactly one is near; every variance keeps its statistical error, which labels and
        ``assumptions`` say. Named activations are recognised to 1e-6 in single precision.
    Cost: one trace, and a second or two for a network of ordinary size.

    Example:
        >>> import jax
        >>> def mlp(params, x):
        ...     w, v = params
        ...     return jax.nn.relu(x @ w) @ v
        >>> def init(key):
        ...     k1, k2 = jax.random.split(key)
        ...     return jax.random.normal(k1, (8, 64)) / 2, jax.random.normal(k2, (64, 1)) / 8
        >>> network, draw = read_jax(mlp, init, jax.numpy.zeros((5, 8)))
        >>> [round(layer.weight_var, 6) for layer in network.dense]
        [2.0, 1.0]
    """
    reading = read(fn, params, example, init=init)
    return reading.frozen.network, reading.draw


@dataclass(frozen=True)
class Reading:
    """What was read, and where every parameter comes from.

    Args:
        frozen: the network with the views of the leaves.
        layout: the shape of the function's output in dimensions that the network keeps apart (-1
            for the inputs), their order in the network's output, and its shape for one input.
        leaves: takes the trained leaves out of a tree.
        draw: draws a tree.
        higher: gives the network with every variance one standard error higher; None where none
            has an error.
        factory: whether `draw` is the user's.
    """

    frozen: Frozen
    layout: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    leaves: Callable[[Any], list[Any]]
    draw: Callable[[Any], Any]
    higher: Callable[[], Network] | None
    factory: bool

    def parameters(self, params: Any) -> list[dict[str, np.ndarray]]:
        """The effective parameters of every node of the network, for the user's tree."""
        return self.frozen.parameters(self.leaves(params))

    def arranged(self, outputs: Any) -> Any:
        """What the function returned as the network gives it, (N, *positions, channels)."""
        (array,) = jax.tree.leaves(outputs)
        apart, order, shape = self.layout
        return array.reshape(apart).transpose(order).reshape(-1, *shape)


def read(
    fn: Callable[[Any, Any], Any],
    params: Any,
    example: Any,
    *,
    init: Callable[[Any], Any] | None = None,
) -> Reading:
    """`read_jax`, with what it knows about the parameters."""
    leaves_of = jax.tree.leaves(params)
    if callable(params) and (len(leaves_of) == 1 and leaves_of[0] is params):
        init, params = params, _called(params, jax.random.key(0))
    tree = _Tree(params)
    _check_numbers(tree)
    shape, dtype = _example(example)
    traced = _trace(fn, tree, shape, dtype)
    draws = _draws(tree, init)
    tries = [False, True] if len(shape) > 2 and jnp.issubdtype(dtype, jnp.inexact) else [False]
    failures: list[tuple[int, UnsupportedError]] = []
    for channels_first in tries:
        walk = Walk(Reader(traced.in_avals[-1].shape[0], _tolerance(traced)))
        try:
            root, layout = _output(walk, traced, tree, channels_first=channels_first)

            make = partial(_made, root, channels_first=channels_first)
            made = make(draws)
        except UnsupportedError as error:
            failures.append((walk.steps, error))
        else:
            network = dataclasses.replace(made.network, assumptions=draws.assumptions)
            made = dataclasses.replace(made, network=network)
            moved = Draws(draws.leaves, factory=draws.factory, errors=1.0)
            higher = (lambda: make(moved).network) if draws.assumptions else None  # noqa: B023
            return Reading(
                made, layout, tree.trained, init or _redraw(tree, made), higher, init is not None
            )
    raise max(failures, key=lambda f: f[0])[1] from None


def _made(root: Draft, draws: Draws, *, channels_first: bool) -> Frozen:
    def law(use: Use) -> tuple[float, float]:
        return mean_and_variance(draws, use)

    return frozen(simplified(root, law), draws, channels_first=channels_first)


def _output(
    walk: Walk, traced: Any, tree: _Tree, *, channels_first: bool
) -> tuple[Draft, tuple[Any, ...]]:
    """The node of the output, and how the function's output is laid out (see `Reading`)."""
    reader = walk.reader
    aval = traced.in_avals[-1]
    tokens = not jnp.issubdtype(aval.dtype, jnp.inexact)
    atoms = [fresh(n) for n in aval.shape[1:]]
    if tokens:
        source = Draft(Source(tokens=True), (), tuple(atoms), ())
    elif channels_first:
        source = Draft(Source(), (), tuple(atoms[1:]), atoms[0])
    else:
        source = Draft(Source(), (), tuple(atoms[:-1]), atoms[-1] if atoms else ())
    given = Value(source, ((reader.batch,), *atoms))
    parameters = [Parameter(View(leaf, leaf.shape)) for leaf in tree.leaf_list]
    results = walk.run(traced.jaxpr, [constant(c) for c in traced.consts], [*parameters, given])
    if len(results) != 1:
        raise UnsupportedError(
            "The function returns several arrays.", received=f"{len(results)}", needed="one"
        )
    result = results[0]
    if not isinstance(result, Value):
        raise UnsupportedError("The function does not depend on its input.")
    root = reader.materialise(result)
    if not root.position_atoms and len(result.axes) <= 2:
        root = reader.arranged(root, ())
    return root, _layout(reader, root, result)


def _layout(reader: Reader, root: Draft, result: Value) -> tuple[Any, ...]:
    atoms = [a for axis in result.axes for a in refine(axis)]
    wanted = [reader.batch, *root.position_atoms, *root.channel_atoms]
    if reader.batch not in atoms:
        raise UnsupportedError("The function does not depend on its input.")
    if set(atoms) != set(wanted):
        raise UnsupportedError(
            "The output is repeated along an axis.",
            received=f"{sizes(result.axes)}",
            needed="outputs that are all computed",
        )
    apart = tuple(-1 if a is reader.batch else a.size for a in atoms)
    shape = (*sizes(root.positions), *sizes((root.channel_atoms,)))
    return apart, tuple(atoms.index(a) for a in wanted), shape


# -- parameters ------------------------------------------------------------------------------------


class _Tree:
    """The user's tree: which leaves are trained, and how to put it together again."""

    def __init__(self, params: Any) -> None:
        paths, self.structure = jax.tree_util.tree_flatten_with_path(params)
        self.all = [leaf for _, leaf in paths]
        collections = isinstance(params, Mapping) and "params" in params
        self.places = [
            k
            for k, (path, leaf) in enumerate(paths)
            if _is_trained(leaf) and not (collections and getattr(path[0], "key", "") != "params")
        ]
        self.leaf_list = [
            Leaf(number, "params" + jax.tree_util.keystr(paths[k][0]), tuple(np.shape(self.all[k])))
            for number, k in enumerate(self.places)
        ]

    def given(self) -> list[Any]:
        """The trained leaves of the tree that was given."""
        return [self.all[k] for k in self.places]

    def trained(self, params: Any) -> list[Any]:
        """The trained leaves of a tree of this structure."""
        leaves = jax.tree.leaves(params)
        if len(leaves) != len(self.all):
            raise InputError(
                "These parameters have another structure.",
                received=f"{len(leaves)} leaves",
                needed=f"{len(self.all)}, as in the tree that was read",
            )
        return [leaves[k] for k in self.places]

    def together(self, trained: list[Any]) -> Any:
        """A tree with these trained leaves."""
        leaves = list(self.all)
        for k, leaf in zip(self.places, trained, strict=True):
            leaves[k] = leaf
        return jax.tree.unflatten(self.structure, leaves)


def _is_trained(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def _draws(tree: _Tree, init: Callable[[Any], Any] | None) -> Draws:
    if init is None:
        return Draws([np.asarray(leaf)[None] for leaf in tree.given()], factory=False)
    count = sum(int(np.prod(leaf.shape)) for leaf in tree.leaf_list)
    draws = int(np.clip(_MOST_NUMBERS // max(count, 1), 2, _MOST_DRAWS))
    keys = jax.random.split(jax.random.key(20_240_229), draws)

    def draw(key: Any) -> list[Any]:
        return tree.trained(_called(init, key))

    stacks = _together(draw, keys) if draws > _FEW else None
    if stacks is None:
        drawn = [draw(key) for key in keys[:_MOST_CALLS]]
        stacks = [
            np.stack([np.asarray(leaf) for leaf in leaves]) for leaves in zip(*drawn, strict=True)
        ]
    _check_drawn(tree, stacks)
    return Draws(stacks, factory=True)


def _called(init: Callable[[Any], Any], key: Any) -> Any:
    try:
        return init(key)
    except Exception as error:
        raise InputError(
            "The parameters can't be initialised.",
            received=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}",
            needed="init(key), which gives a tree of arrays for a key of jax.random",
        ) from error


def _check_numbers(tree: _Tree) -> None:
    for leaf, array in zip(tree.leaf_list, tree.given(), strict=True):
        if isinstance(array, jax.ShapeDtypeStruct):
            raise InputError(
                "The parameters are shapes without numbers.",
                received=f"{type(array).__name__} at {leaf.path}",
                needed="arrays, or a function key -> tree of arrays",
                suggestion="from_jax(fn, init, example) with what jax.eval_shape was given",
            )
        bad = int(np.sum(~np.isfinite(np.asarray(array, np.float64))))
        if bad:
            raise InputError(
                f"The parameter {leaf.path} holds NaN or infinite numbers.",
                received=f"{bad} of {np.size(array)}",
                needed="finite numbers",
                cause="a training that diverged",
                suggestion="from_jax(fn, init, example), with init(key), which draws fresh ones",
            )


def _check_drawn(tree: _Tree, stacks: list[np.ndarray]) -> None:
    """Refuse an init that gives one tree whatever its key."""
    vary = [k for k, a in enumerate(stacks) if a.size and np.any(a[0] != a[0].flat[0])]
    if vary and all(np.array_equal(stacks[k][0], stacks[k][1]) for k in vary):
        raise InputError(
            "init gives the same numbers for every key.",
            received=f"equal numbers at {tree.leaf_list[vary[0]].path} for two keys",
            needed="numbers drawn with the key",
            cause="it holds a key of its own, or returns stored parameters",
            suggestion="from_jax(fn, params, example) takes one tree as it is",
        )


def _together(draw: Callable[[Any], list[Any]], keys: Any) -> list[np.ndarray] | None:
    """Every leaf's draws in one call, if init can be compiled: one that asks for numbers can't."""
    try:
        return [np.asarray(leaf) for leaf in jax.jit(jax.vmap(draw))(keys)]
    except Exception:  # noqa: BLE001 -- it runs as it is instead
        return None


def _redraw(tree: _Tree, made: Frozen) -> Callable[[Any], Any]:
    """Normal numbers with the variances that were read; what no layer uses stays as it is."""
    steps = []
    for uses, laws in zip(made.uses, made.laws, strict=True):
        for name, use in uses.items():
            law, view = laws[name], use.parameter.view
            if law.variance > 0.0:
                where = None if view.whole else view.positions().ravel()
                steps.append((view.leaf, where, law.mean, law.variance**0.5))

    def draw(key: Any) -> Any:
        trained = [jnp.asarray(leaf) for leaf in tree.given()]
        for step, (leaf, where, mean, spread) in enumerate(steps):
            old = trained[leaf.number]
            count = old.size if where is None else where.size
            normal = jax.random.normal(jax.random.fold_in(key, step), (count,), old.dtype)
            new = mean + spread * normal
            flat = new if where is None else old.ravel().at[where].set(new)
            trained[leaf.number] = flat.reshape(old.shape)
        return tree.together(trained)

    return draw


# -- tracing ---------------------------------------------------------------------------------------


def _example(example: Any) -> tuple[tuple[int, ...], Any]:
    example = as_told("example", example)
    shape = tuple(example.shape)
    dtype = jax.dtypes.canonicalize_dtype(example.dtype)
    whole = not jnp.issubdtype(dtype, jnp.inexact)
    if len(shape) < (1 if whole else 2) or 0 in shape:
        raise InputError(
            "The example is no batch of inputs.",
            received=f"an array of shape {shape}",
            needed="(N, channels), (N, *positions, channels), or whole numbers (N, T)",
        )
    described = isinstance(example, jax.ShapeDtypeStruct)
    if not whole and not described and not np.all(np.isfinite(np.asarray(example))):
        raise InputError(
            "The example holds NaN or infinite numbers.",
            received=f"{int(np.sum(~np.isfinite(np.asarray(example))))} of {np.size(example)}",
            needed="finite numbers",
        )
    return shape, dtype


def _trace(fn: Any, tree: _Tree, shape: tuple[int, ...], dtype: Any) -> Any:
    """The jaxpr for a batch of a few inputs, or of the example's own number if it must be that."""
    failure: Exception | None = None
    for batch in (_TRACED_BATCH, shape[0]):
        example = jax.ShapeDtypeStruct((batch, *shape[1:]), dtype)
        leaves = [jax.ShapeDtypeStruct(np.shape(a), a.dtype) for a in tree.given()]
        try:
            return jax.make_jaxpr(lambda ls, x: fn(tree.together(list(ls)), x))(leaves, example)
        except Exception as error:  # noqa: BLE001 -- whatever the user's function raises
            failure = failure or error
    raise InputError(
        "The function can't be traced with these parameters and this example.",
        received=f"{type(failure).__name__}: {(str(failure).splitlines() or [''])[0]}",
        needed="fn(params, x) that takes a batch of any size",
        suggestion="lambda p, x: jax.vmap(lambda one: model(one))(x) for a model of single inputs",
    ) from failure


def _tolerance(traced: Any) -> float:
    widths = [np.dtype(a.dtype).itemsize for a in traced.in_avals
              if jnp.issubdtype(a.dtype, jnp.floating)]  # fmt: skip
    return {8: 1e-12, 4: 1e-6}.get(min(widths, default=4), 4e-3)
