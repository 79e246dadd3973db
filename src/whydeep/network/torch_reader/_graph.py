"""A description read from a PyTorch module: its exported graph, walked once.

``torch.export`` traces any module, encoders and views included, into a graph of ATen operations
that are not decomposed (`linear`, `layer_norm`, `scaled_dot_product_attention`). Operations on
numbers that do not depend on the input are computed; the others are read by the functions that
`_operations` registers.
"""

from __future__ import annotations

import dataclasses
import operator
import warnings
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any

from whydeep.errors import InputError, UnsupportedError
from whydeep.network._laws import Law
from whydeep.network._layers import ChannelsLast, Identity, Shape
from whydeep.network._network import INPUT, Network
from whydeep.network.torch_reader import (
    _attention,
    _convolutions,
    _elementwise,
    _moments,
    _norms,
    _pools,
    _products,
    _sequences,
    _views,
)
from whydeep.network.torch_reader._align import CUTS, align
from whydeep.network.torch_reader._draft import Drafts, Entry, Refusal, Value, finish
from whydeep.network.torch_reader._export import (
    UNKNOWN,
    batch_of,
    export,
    module_path,
    name_of,
    needed,
    refused,
    user_line,
)
from whydeep.network.torch_reader._given import given
from whydeep.network.torch_reader._init import Init, read_laws, require_torch
from whydeep.network.torch_reader._layout import BATCH, CHANNELS, Cut, Layout, Mode
from whydeep.network.torch_reader._operations import READERS, Missing, Reader
from whydeep.network.torch_reader._parameter import Parameter
from whydeep.network.torch_reader._reading import TorchReading, assumptions_of, notes_on
from whydeep.network.torch_reader._seed import seeded

__all__ = ["read_module", "read_torch"]

# Importing them enters their operations in the register.
_ENTERED = (
    _views, _elementwise, _products, _attention, _convolutions,
    _norms, _pools, _sequences, _moments,
)  # fmt: skip


def read_torch(module: Any, example: Any, *, init: Init = None) -> Network:
    """The description of a ``torch.nn.Module``: any network of layers that whydeep knows.

    Args:
        module: in evaluation mode, unless dropout shall count; it is not changed. Or its
            constructor, a callable without arguments that returns a fresh module: how parameters
            are drawn is then measured on many of them, and else read off the numbers of the one
            module. Gradient descent is at one rate for all (parameterization "standard");
            parameters without a gradient have rate 0.
        example: a batch of inputs, (N, ...), a tensor or an array; only its shape and type matter.
        init: how parameters are drawn where it can't be read off the module: variances by name or
            pattern of names (``{"*.weight": 0.02**2, "*.bias": 0.0}``), or a function that
            initialises a module in place.

    Returns:
        A `Network` for inputs as the module takes them. Its output has channels last. Labels of
        nodes are the paths of modules.

    Raises:
        UnsupportedError: torch is missing; an operation that can't be read (named with its place,
            and what can be); weights used twice; what ``torch.export`` refuses.
        InputError: no module, no tensor, or numbers whose initialisation can't be told.

    Warns:
        UserWarning: variances that were measured on the module's own numbers, with their errors.

    Accuracy: a law that is read off one module's numbers has the error that so many numbers leave
        (``assumptions`` of the network says which); a rule of torch.nn that they exclude at a rate
        of 1e-4 is not taken. A constructor leaves about 0.2 %, or 1 to 9 % for the few numbers
        of a large model's small parameters.
    Cost: a trace of the module, and a few passes over its parameters.

    Example:
        >>> from torch import nn, zeros  # doctest: +SKIP
        >>> read_torch(  # doctest: +SKIP
        ...     nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), zeros(2, 3)
        ... )
        <network: tanh, depth 1, width 8, weight_var 0.333333, bias_var 0.111111, standard;
        variances with errors, see .assumptions>
    """
    reading = read_module(module, example, init=init)
    for note in reading.notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return reading.network


def read_module(module: Any, example: Any, *, init: Init = None) -> TorchReading:
    """`read_torch`, with what a check needs beside the description."""
    torch = require_torch()
    if init is not None and not isinstance(module, torch.nn.Module):
        raise InputError(
            "A constructor needs no init: what it draws is measured.",
            received="a factory and init",
            needed="one of them",
        )
    ready = given(torch, module, example)
    module, example = ready.module, ready.example
    laws = read_laws(module, init, draws=ready.draws)
    with seeded(0):  # tracing draws from Python's
        exported = export(torch, module, example)
    order = needed(exported.graph)
    batch = batch_of(exported)
    inputs = tuple(example.shape[1:])
    best: tuple[int, UnsupportedError] | None = None
    for turn in range(len(inputs)):
        walk = _Walk(torch, module, exported, laws, batch, inputs, turn)
        try:
            output = walk.run(order)
            network, sources = finish(walk.drafts, output)
        except UnsupportedError as error:
            if best is None or walk.steps > best[0]:
                best = walk.steps, error
            continue
        used = dict.fromkeys(s.name for own in sources for parts in own.values() for s in parts)
        found = {name: laws[name] for name in used}

        def again(other: Mapping[str, Law], turn: int = turn) -> Network:
            every = ChainMap(dict(other), laws)  # type: ignore[arg-type]
            walk = _Walk(torch, module, exported, every, batch, inputs, turn)
            return finish(walk.drafts, walk.run(order))[0]

        network = dataclasses.replace(
            network, assumptions=assumptions_of(found, constructed=ready.factory is not None)
        )
        return TorchReading(
            network, sources, found, notes_on(found), inputs, walk.channel_axes, ready, again
        )
    raise best[1] if best else UnsupportedError("The module has no output.")


# Tensors that take only their shape from a value.
_FILLED = {"zeros_like": 0, "ones_like": 1, "new_zeros": 0, "new_ones": 1, "new_full": 0,
           "full_like": 0}  # fmt: skip


class _Walk:
    """One reading of a graph, with the input's dimensions turned `turn` times."""

    def __init__(
        self, torch: Any, module: Any, exported: Any, laws: Mapping[str, Law], batch: int,
        sizes: tuple[int, ...], turn: int,
    ) -> None:  # fmt: skip
        self.torch, self.exported, self.laws, self.turn = torch, exported, laws, turn
        self.drafts = Drafts(batch, Shape(sizes[:-1], sizes[-1]))
        self.reader = Reader(self.drafts)
        self.trained = {name: p.requires_grad for name, p in module.named_parameters()}
        self.known: dict[Any, Any] = {}
        self.first: dict[str, Any] = {}
        self.names: dict[Any, str] = {}
        self.channel_axes: tuple[int, ...] = ()
        self.steps = 0

    def run(self, order: list[Any]) -> int:
        """Read the nodes; the number of the output's node."""
        for node in order:
            try:
                if node.op == "placeholder":  # read when it is needed first
                    continue
                if node.op == "call_function":
                    # The same operation on the same values has the same value.
                    again = self._earlier(node)
                    done = again is not node
                    self.known[node] = self.known[again] if done else self._operation(node)
                elif node.op == "get_attr":
                    self.known[node] = getattr(self.exported.graph_module, node.target)
                else:
                    return self._output(node)
            except Refusal as refusal:
                raise refused(node, refusal) from None
            except Cut:
                refusal = Refusal(CUTS)
                raise refused(node, refusal) from None
            except InputError as error:
                if error.suggestion.startswith("init="):
                    raise
                reason = Refusal(error.problem.rstrip("."), error.suggestion)
                raise refused(node, reason) from error
            self.steps += 1
        raise UnsupportedError("The module has no output.")

    def _earlier(self, node: Any) -> Any:
        """The first node that is the same operation on the same values."""
        if self.torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            return node
        renamed = self.torch.fx.node.map_arg(
            (node.args, node.kwargs), lambda n: self.names.get(n, n.name)
        )
        key = f"{node.target} {renamed}"
        found = self.first.setdefault(key, node)
        self.names[node] = found.name
        return found

    # -- where values begin ------------------------------------------------------------------------

    def _placeholder(self, node: Any) -> Any:
        signature = self.exported.graph_signature
        if node.name in signature.inputs_to_parameters:
            return self._parameter(signature.inputs_to_parameters[node.name])
        if node.name in signature.inputs_to_buffers:
            name = signature.inputs_to_buffers[node.name]
            stored = self.exported.state_dict
            return stored[name] if name in stored else self.exported.constants[name]
        if node.name in signature.inputs_to_lifted_tensor_constants:
            return self.exported.constants[signature.inputs_to_lifted_tensor_constants[node.name]]
        return self._input(node)

    def _parameter(self, name: str) -> Any:
        tensor = self.exported.state_dict[name]
        # A module that holds one parameter under two names has one law for both.
        if name not in self.trained:
            stored = self.exported.state_dict
            same = [n for n in self.trained if stored[n].data_ptr() == tensor.data_ptr()]
            raise UnsupportedError(
                f"The parameter {name} is another one under a second name.",
                received=f"{name} and {', '.join(same) or 'another name'}",
                needed="a parameter of its own for every layer",
                cause="tied weights: the layers' values are then correlated through them",
            )
        trained = self.trained[name]
        if not trained and self.laws[name].variance == 0:
            return tensor.detach()
        parameter = Parameter(name, tuple(tensor.shape), self.laws, trained)
        return Value(parameter, Layout.of(parameter.dims))

    def _input(self, node: Any) -> Value:
        sizes = tuple(node.meta["val"].shape[1:])
        last = INPUT
        for _ in range(self.turn):
            last = self.drafts.add(ChannelsLast(), (last,), raw=True, label="the input")
        rank = len(sizes)
        order = [*range(self.turn, rank), *range(self.turn)]
        axes = []
        for axis, size in enumerate(sizes):
            place = order.index(axis)
            dim = CHANNELS if place == rank - 1 else place + 1
            axes.append((Mode(size, dim, 1),) if size > 1 else ())
        batch = self.drafts.batch
        first = (Mode(batch, BATCH, 1),) if batch > 1 else ()
        return Value(Entry(last), Layout((first, *axes)))

    # -- operations --------------------------------------------------------------------------------

    def _operation(self, node: Any) -> Any:
        args = self._looked_up(node.args)
        kwargs = self._looked_up(node.kwargs)
        if node.target is operator.getitem:
            return args[0][args[1]]
        name = name_of(node)
        if name.startswith("_assert"):
            return None
        if name in _FILLED:
            value = (
                args[2] if name == "new_full" else args[1] if name == "full_like" else _FILLED[name]
            )
            return self.torch.full(_shape(node.meta["val"]), value, dtype=node.meta["val"].dtype)
        if not _has_value((args, kwargs)):
            return self._computed(node, args, kwargs)
        reader = READERS.get(name)
        if reader is None:
            raise Refusal(UNKNOWN)
        self.reader.name = name
        self.reader.shape = _shape(node.meta.get("val"))
        self.reader.call = lambda first: node.target(first, *args[1:], **kwargs)
        kinds = [n.meta.get("val") for n in (*node.all_input_nodes[:1], node)]
        real = [k.dtype.is_floating_point for k in kinds if hasattr(k, "dtype")]
        self.reader.rounds = real == [True, False]
        path = module_path(node)
        self.drafts.label = path or user_line(node.meta.get("stack_trace") or "") or name
        return reader(self.reader, **_named(node.target, args, kwargs))

    def _computed(self, node: Any, args: Any, kwargs: Any) -> Any:
        """An operation on fixed numbers, done."""
        tags = getattr(node.target, "tags", ())
        if self.torch.Tag.nondeterministic_seeded in tags:
            msg = "it draws random numbers"
            raise Refusal(msg, "a buffer or a parameter")
        with self.torch.no_grad():
            return node.target(*args, **kwargs)

    def _looked_up(self, item: Any) -> Any:
        if isinstance(item, self.torch.fx.Node):
            if item not in self.known:
                self.known[item] = self._placeholder(item)
            found = self.known[item]
            if isinstance(found, Missing):
                msg = f"it uses {found.why}"
                raise Refusal(msg)
            return found
        if isinstance(item, (list, tuple)):
            return type(item)(self._looked_up(i) for i in item)
        if isinstance(item, dict):
            return {key: self._looked_up(i) for key, i in item.items()}
        return item

    def _output(self, node: Any) -> int:
        found = [v for v in self._looked_up(node.args[0]) if v is not None]
        if len(found) != 1 or not isinstance(found[0], Value):
            raise UnsupportedError(
                "The module has not one output that depends on its input.",
                received=f"{len(found)} outputs",
                needed="one tensor",
                suggestion="a module around it that returns the output of interest",
            )
        value = found[0]
        if not isinstance(value.base, Entry):
            msg = f"the output is {value.base}"
            raise Refusal(msg, "an output that is the value of a layer")
        first = value.layout.simplified().axes[:1]
        batch = self.drafts.batch
        if first != (((Mode(batch, BATCH, 1),) if batch > 1 else ()),):
            msg = "the first dimension of the output is not that of the examples"
            raise Refusal(msg, "an output (N, ...)")
        self.drafts.label = ""
        together = align(self.drafts, [value], value.shape, by_axis=True)
        last = together.nodes[0]
        axes = together.layout.axes
        self.channel_axes = tuple(
            a for a, axis in enumerate(axes) if any(m.dim == CHANNELS for m in axis)
        )
        return self.drafts.add(Identity(), (last,)) if last == INPUT else last


def _has_value(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return any(_has_value(i) for i in item)
    if isinstance(item, dict):
        return any(_has_value(i) for i in item.values())
    return isinstance(item, (Value, Missing))


def _shape(found: Any) -> Any:
    if isinstance(found, (list, tuple)):
        return tuple(_shape(f) for f in found)
    return tuple(int(n) for n in found.shape) if hasattr(found, "shape") else ()


def _named(target: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """An operation's arguments by the names its schema gives them; the first is ``x``."""
    schema = target._schema  # type: ignore[attr-defined]  # noqa: SLF001 -- the only way to the names
    names = [a.name for a in schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    return {("x" if name in ("self", "input") else name): v for name, v in given.items()}
