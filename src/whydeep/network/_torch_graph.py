"""A description read from a PyTorch module: its exported graph, walked once.

``torch.export`` traces any module, encoders and views included, into a graph of ATen operations
that are not decomposed (`linear`, `layer_norm`, `scaled_dot_product_attention`). Operations on
numbers that do not depend on the input are computed; the others are read by the functions that
`_torch_operations` registers.
"""

from __future__ import annotations

import contextlib
import io
import logging
import operator
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.errors import InputError, UnsupportedError
from whydeep.network import (
    _torch_attention,
    _torch_elementwise,
    _torch_layers,
    _torch_moments,
    _torch_pools,
    _torch_products,
    _torch_views,
)
from whydeep.network._convolution import Conv, ConvTranspose
from whydeep.network._layers import ChannelsLast, Dense, Identity, Shape
from whydeep.network._network import INPUT, Network
from whydeep.network._normalisation import BatchNorm, LayerNorm, _Norm
from whydeep.network._sequence import Recurrent
from whydeep.network._torch_align import Parameter, align
from whydeep.network._torch_draft import Drafts, Entry, Refusal, Sources, Value, finish
from whydeep.network._torch_init import Init, Law, read_laws, require_torch
from whydeep.network._torch_layout import BATCH, CHANNELS, Cut, Layout, Mode
from whydeep.network._torch_operations import READERS, Missing, Reader

__all__ = ["TorchReading", "read_module", "read_torch"]


# Importing them enters their operations in the register.
_ENTERED = (
    _torch_views, _torch_elementwise, _torch_products, _torch_attention, _torch_layers,
    _torch_pools, _torch_moments,
)  # fmt: skip

UNKNOWN = "it is not one of the operations that can be read"


@dataclass(frozen=True)
class TorchReading:
    """A module as a description, and where each of its parameters stands in it.

    Args:
        network: the description.
        sources: for every node, where the numbers of its parameters stand in the module.
        laws: how the module's parameters are drawn, by name.
        notes: what was measured and not known, in sentences.
        inputs: the shape of one input.
        channel_axes: which axes of the module's output hold channels; the others, but the first
            and those of size 1, are the positions of the network's output, in the same order.
    """

    network: Network
    sources: Sources
    laws: dict[str, Law]
    notes: tuple[str, ...]
    inputs: tuple[int, ...]
    channel_axes: tuple[int, ...]

    def arranged(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs of the module as the network gives them, (N, *positions, channels)."""
        last = [a for a in range(1, outputs.ndim) if a in self.channel_axes]
        rest = [a for a in range(1, outputs.ndim) if a not in self.channel_axes]
        sizes = [outputs.shape[a] for a in rest if outputs.shape[a] > 1]
        return outputs.transpose(0, *rest, *last).reshape(len(outputs), *sizes, -1)

    def parameters(self, module: Any) -> tuple[dict[str, np.ndarray], ...]:
        """The numbers of a module of this structure, in the shapes that drawn ones have."""
        numbers = {name: p.detach().cpu().double().numpy() for name, p in module.named_parameters()}
        shapes = self.network.shapes(self.inputs)
        out = []
        for node, own, shape in zip(self.network.nodes, self.sources, shapes, strict=True):
            filled = _neutral(node.layer, shape)
            for role, parts in own.items():
                filled[role] = sum(
                    s.scale * numbers[s.name].ravel()[s.index()] + s.shift for s in parts
                )
            out.append(filled)
        return tuple(out)


def _neutral(layer: Any, shape: Shape) -> dict[str, Any]:
    """What a layer has where the module has no parameter: no bias, scale 1, shift 0."""
    channels = (shape.channels,)
    if isinstance(layer, (Dense, Conv, ConvTranspose, Recurrent)):
        return {"bias": np.zeros(channels)}
    if isinstance(layer, _Norm):
        whole = isinstance(layer, LayerNorm) and layer.over == "all"
        size = (*shape.positions, *channels) if whole else channels
        first = (layer.scale, layer.shift) if isinstance(layer, BatchNorm) else (1.0, 0.0)
        return {"scale": np.full(size, first[0]), "shift": np.full(size, first[1])}
    return {}


def read_torch(module: Any, example: Any, *, init: Init = None) -> Network:
    """The description of a ``torch.nn.Module``: any network of layers that whydeep knows.

    Args:
        module: in evaluation mode, unless dropout shall count; it is not changed. Its parameters
            are taken to be drawn as their classes draw them, with gradient descent at one rate for
            all (parameterization "standard"); those without a gradient have rate 0.
        example: a tensor of inputs, (N, ...); only its shape and type matter.
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

    Cost: a trace of the module, and a few passes over its parameters.

    Example:
        >>> from torch import nn, zeros  # doctest: +SKIP
        >>> read_torch(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), zeros(2, 3))
        ... # doctest: +SKIP
        <network: tanh, depth 1, width 8, weight_var 0.333333, bias_var 0.111111, standard>
    """
    reading = read_module(module, example, init=init)
    for note in reading.notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return reading.network


def read_module(module: Any, example: Any, *, init: Init = None) -> TorchReading:
    """`read_torch`, with what a check needs beside the description."""
    torch = require_torch()
    if not isinstance(module, torch.nn.Module) or not isinstance(example, torch.Tensor):
        raise InputError(
            "A PyTorch network is read from a module and an example of its inputs.",
            received=f"{type(module).__name__} and {type(example).__name__}",
            needed="a torch.nn.Module and a torch.Tensor (N, ...)",
        )
    if example.ndim < 2 or example.numel() == 0:
        raise InputError(
            "The example has no dimension beside that of the examples.",
            received=f"a tensor of shape {tuple(example.shape)}",
            needed="(N, features), (N, tokens), (N, C, H, W), ...",
        )
    laws = read_laws(module, init)
    exported = _export(torch, module, example)
    order = _needed(exported.graph)
    batch = _batch_of(exported)
    turns = example.ndim - 1 if example.dtype.is_floating_point else 1
    best: tuple[int, UnsupportedError] | None = None
    for turn in range(turns):
        walk = _Walk(torch, module, exported, laws, batch, tuple(example.shape[1:]), turn)
        try:
            output = walk.run(order)
            network, sources = finish(walk.drafts, output)
        except UnsupportedError as error:
            if best is None or walk.steps > best[0]:
                best = walk.steps, error
            continue
        used = dict.fromkeys(s.name for own in sources for parts in own.values() for s in parts)
        found = {name: laws[name] for name in used}
        inputs = tuple(example.shape[1:])
        return TorchReading(network, sources, found, _notes(found), inputs, walk.channel_axes)
    raise best[1] if best else UnsupportedError("The module has no output.")


def _notes(laws: Mapping[str, Law]) -> tuple[str, ...]:
    out = []
    for name, law in laws.items():
        if law.origin != "numbers" or law.variance == 0:
            continue
        if law.error == 0:
            found = f"read as {law.text} (variance {law.variance:.6g}), which its numbers fit"
        else:
            found = f"its own numbers have variance {law.variance:.4g} +- {law.error:.1g}"
        out.append(
            f"How {name} is initialised is not known: {found}. init={{...}} says it exactly."
        )
    return tuple(out)


# -- the graph -------------------------------------------------------------------------------------


def _export(torch: Any, module: Any, example: Any) -> Any:
    """The graph of a module, without operations that write in place."""
    inputs = example if len(example) > 1 else torch.cat([example, example])
    with _quiet(torch), torch.enable_grad():
        try:
            try:
                exported = torch.export.export(module, (inputs,))
            except Exception:
                if len(example) > 1:
                    raise
                exported = torch.export.export(module, (example,))
        except Exception as error:
            raise _not_exported(module, error) from error
        _check_gradients(exported)
        if any(_writes(node) for node in _needed(exported.graph)):
            exported = exported.run_decompositions({})
    return exported


@contextlib.contextmanager
def _quiet(torch: Any) -> Iterator[None]:
    """No log, no warnings, no fused encoder layers while a module is traced; put back after."""
    fused = torch.backends.mha.get_fastpath_enabled()
    before = logging.root.manager.disable
    torch.backends.mha.set_fastpath_enabled(False)
    logging.disable(logging.ERROR)
    try:
        nowhere = io.StringIO()
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        torch.backends.mha.set_fastpath_enabled(fused)


def _not_exported(module: Any, error: Exception) -> UnsupportedError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return UnsupportedError(
        "torch.export can't trace this module.",
        received=f"{type(module).__name__}: {type(error).__name__}: {' '.join(lines[:1])[:300]}",
        needed="a module that takes one tensor, without branches that depend on its values",
        cause=_user_line(str(error)),
        suggestion="try torch.export.export(module, (example,)) for the whole message",
    )


def _needed(graph: Any) -> list[Any]:
    """The nodes of a graph that its output depends on, in order."""
    needed: set[Any] = set()
    waiting = [node for node in graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += node.all_input_nodes
            waiting += [user for user in node.users if _writes(user)]
    return [node for node in graph.nodes if node in needed]


def _writes(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    return bool(schema is not None and schema.is_mutable)


def _batch_of(exported: Any) -> int:
    """How many examples the graph was traced with."""
    names = set(exported.graph_signature.user_inputs)
    found = [n for n in exported.graph.nodes if n.op == "placeholder" and n.name in names]
    return int(found[0].meta["val"].shape[0])


def _check_gradients(exported: Any) -> None:
    """Refuse values that the module cuts off from their gradients: their tangent kernel differs."""
    signature = exported.graph_signature
    varying = {*signature.user_inputs, *signature.inputs_to_parameters}
    for node in _needed(exported.graph):
        depends = node.name in varying or any(n.name in varying for n in node.all_input_nodes)
        if not depends:
            continue
        varying.add(node.name)
        name = _name_of(node)
        if node.op == "call_function" and name in (
            "detach",
            "detach_",
            "wrap_with_set_grad_enabled",
        ):
            raise _refused(
                node, Refusal("it stops gradients", "the same without detach or no_grad")
            )


def _name_of(node: Any) -> str:
    schema = getattr(node.target, "_schema", None)
    if schema is not None:
        return schema.name.rpartition("::")[2]
    return getattr(node.target, "__name__", str(node.target))


def _user_line(trace: str) -> str:
    """The last line of the user's own code in a trace."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]+\n?\s*([^\n]*)', trace)
    own = [f for f in frames if f"torch{os.sep}" not in f[0] and not f[0].startswith("<")]
    if not own:
        return ""
    path, line, code = own[-1]
    return f"{os.path.basename(path)} line {line}: {code.strip()[:100]}"  # noqa: PTH119 -- text


def _module_path(node: Any) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return stack[-1][0] if stack else ""


def _refused(node: Any, refusal: Refusal) -> UnsupportedError:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    where = ""
    if stack:
        path, kind = stack[-1]
        kind = kind if isinstance(kind, str) else kind.__qualname__
        where = f" in {path or 'the module itself'} ({kind.rpartition('.')[2]})"
    name = _name_of(node)
    known = (
        ""
        if str(refusal) != UNKNOWN
        else "one of " + ", ".join(sorted(n for n in READERS if n[0] != "_"))
    )
    return UnsupportedError(
        f"The operation {name} can't be read here: {refusal}.",
        received=f"{name}{where}",
        needed=known,
        cause=_user_line(node.meta.get("stack_trace") or ""),
        suggestion=refusal.suggestion,
    )


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
                raise _refused(node, refusal) from None
            except Cut:
                refusal = Refusal(_torch_views.CUTS)
                raise _refused(node, refusal) from None
            except InputError as error:
                if error.suggestion.startswith("init="):
                    raise
                reason = Refusal(error.problem.rstrip("."), error.suggestion)
                raise _refused(node, reason) from error
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
        name = _name_of(node)
        if name.startswith("_assert"):
            return None
        if not _has_value((args, kwargs)):
            return self._computed(node, args, kwargs)
        reader = READERS.get(name)
        if reader is None:
            raise Refusal(UNKNOWN)
        self.reader.name = name
        self.reader.shape = _shape(node.meta.get("val"))
        self.reader.call = lambda first: node.target(first, *args[1:], **kwargs)
        path = _module_path(node)
        self.drafts.label = path or _user_line(node.meta.get("stack_trace") or "") or name
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
