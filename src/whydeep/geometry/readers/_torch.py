"""A PyTorch module as a tape: the graph of `torch.export`, evaluated in float64."""

# ruff: noqa: SIM905 -- names of operations, many a line
from __future__ import annotations

import contextlib
import copy
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from whydeep.errors import InputError, UnsupportedError
from whydeep.geometry.pieces import Maximum, PiecewiseLinear
from whydeep.geometry.readers._tape import (
    Backend,
    Bend,
    Step,
    Tape,
    assemble,
    bilinear,
    refuse_smooth,
    refuse_unknown,
)
from whydeep.geometry.readers._torch_kinks import KINKS, SMOOTH

__all__ = ["read_torch_module"]

# Affine in all that depends on the input together, where that is the first arguments.
_AFFINE = frozenset(
    """
    _to_copy _unsafe_view adaptive_avg_pool1d adaptive_avg_pool2d add alias avg_pool1d avg_pool2d
    avg_pool3d cat channel_shuffle chunk clone constant_pad_nd contiguous cumsum detach diagonal
    dropout expand expand_as feature_dropout alpha_dropout flatten flip getitem gather im2col index
    index_select lift_fresh_copy mean movedim narrow neg pad permute pixel_shuffle pixel_unshuffle
    reflection_pad1d reflection_pad2d repeat repeat_interleave replication_pad1d replication_pad2d
    reshape roll rsub select slice split split_with_sizes squeeze stack sub sum swapaxes t tile to
    transpose type_as unbind unflatten unfold unsqueeze upsample_bilinear2d upsample_nearest1d
    upsample_nearest2d view
""".split()
)
# Linear in each of several arguments: at most one may depend on the input.
_PRODUCTS = frozenset(
    """
    addmm baddbmm bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d convolution div einsum
    linear matmul mm mul
""".split()
)
_NORMS = frozenset({"batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm"})
_IGNORED = frozenset({"_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range_for_size"})


def read_torch_module(module: Any, shape: tuple[int, ...]) -> PiecewiseLinear:
    """The piecewise-linear function that a module is, for inputs of this shape.

    The module is copied to float64 and exported with any number of examples.

    Raises:
        InputError: it depends on the batch, can't be exported, or has numbers that are not finite.
        UnsupportedError: an operation that is not piecewise linear, by name.
    """
    import torch

    _check(torch, module)
    plain = copy.deepcopy(module).cpu().double()
    with _quiet():
        exported = _exported(torch, plain, shape)
    tape, backend = Tape(), _Torch(torch)
    outputs = _Reader(torch, exported, tape, backend).read()
    with torch.no_grad():
        found = assemble(tape, backend, outputs)
    return _checked(torch, plain, found)


def _check(torch: Any, module: Any) -> None:
    for name, part in module.named_modules():
        batch = torch.nn.modules.batchnorm._BatchNorm  # noqa: SLF001 -- all its kinds
        drop = torch.nn.modules.dropout._DropoutNd  # noqa: SLF001
        if (isinstance(part, batch) and (part.training or part.running_mean is None)) or (
            isinstance(part, drop) and part.training
        ):
            raise InputError(
                "The module is in training mode: what it gives is no function of one input.",
                received=f"{type(part).__name__} at {name or 'the module itself'}",
                needed="batch normalisation by running statistics, and no dropout",
                suggestion="module.eval()",
            )
    for name, numbers in (*module.named_parameters(), *module.named_buffers()):
        if numbers.is_floating_point() and not torch.isfinite(numbers).all():
            bad = int((~torch.isfinite(numbers)).sum())
            raise InputError(
                "The module has numbers that are not finite.",
                received=f"{bad} of {numbers.numel()} numbers of {name} are NaN or infinite",
                needed="finite parameters and buffers",
                cause="a training that diverged, or memory that nothing was written to",
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _exported(torch: Any, module: Any, shape: tuple[int, ...]) -> Any:
    example = torch.zeros((3, *shape), dtype=torch.float64)
    try:
        batch = torch.export.Dim("batch", min=1)
        exported = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UnsupportedError(
            "torch.export can't trace this module for any number of examples.",
            received=f"{type(module).__name__}: {' '.join(lines[:1])[:300]}",
            needed=f"a module that takes one tensor (N, {', '.join(map(str, shape))})",
            cause="an example is a batch: one input of shape s is example[None], (1, *s)",
            suggestion="torch.export.export(module, (example,)) gives the whole message",
        ) from error
    if any(getattr(n.target, "_schema", None) and n.target._schema.is_mutable  # noqa: SLF001
           for n in exported.graph.nodes if n.op == "call_function"):  # fmt: skip
        exported = exported.run_decompositions({})
    return exported


def _checked(torch: Any, module: Any, found: PiecewiseLinear) -> PiecewiseLinear:
    """Refuse what does not give the module's own outputs, example by example."""
    x = np.random.default_rng(0).normal(size=(3, *found.shape))
    with torch.no_grad():
        own = [module(torch.as_tensor(row[None])).numpy()[0] for row in x]
    with np.errstate(over="ignore", invalid="ignore"):
        ours = found(x)
    if not (np.isfinite(own).all() and np.isfinite(ours).all()):
        raise UnsupportedError(
            "The module's outputs are not finite at ordinary inputs.",
            received="NaN or infinite outputs at normal inputs, in float64",
            needed="finite outputs",
            cause="weights so large that values overflow, or a division by zero",
        )
    scale = max(1.0, float(np.abs(own).max()))
    if not np.allclose(np.stack(own), ours, rtol=0, atol=1e-9 * scale):
        raise UnsupportedError(
            "The module's outputs depend on the other examples of a batch.",
            received=f"a difference of {np.abs(np.stack(own) - ours).max():.3g}",
            needed="a module that treats every example by itself",
        )
    return found


class _Torch(Backend):
    """Tensors in float64; rows are examples."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.scalars: list[tuple[int, Callable[[dict[int, Any], int], Any]]] = []

    def function(
        self, steps: Sequence[Step], ins: Sequence[int], outs: Sequence[int], tape: Tape
    ) -> Callable[[np.ndarray], np.ndarray]:
        torch = self.torch
        shapes = [tape.shapes[i] for i in ins]
        widths = [math.prod(s) for s in shapes]

        def tensors(rows: Any) -> Any:
            count = rows.shape[0]
            values = dict(tape.constants)
            for number, compute in self.scalars:
                values[number] = compute(values, count)
            parts = torch.split(rows, widths, dim=1)
            for i, part, shape in zip(ins, parts, shapes, strict=True):
                values[i] = part.reshape(count, *shape)
            for step in steps:
                found = step.run([values[i] for i in step.ins])
                values.update(zip(step.outs, found, strict=True))
            return torch.cat([values[i].reshape(count, -1) for i in outs], dim=1)

        def function(rows: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return tensors(torch.as_tensor(rows)).numpy()

        function.tensors = tensors  # type: ignore[attr-defined]
        return function

    def slopes(
        self, function: Callable[[np.ndarray], np.ndarray], before: int, after: int
    ) -> np.ndarray:
        # Row i of the batch gives the derivative of output i: one pass for all of them.
        torch = self.torch
        with torch.enable_grad():
            x = torch.zeros((after, before), dtype=torch.float64, requires_grad=True)
            out = function.tensors(x)  # type: ignore[attr-defined]
            if not out.requires_grad:
                return np.zeros((before, after))
            (found,) = torch.autograd.grad(out.diagonal().sum(), x, allow_unused=True)
        return np.zeros((before, after)) if found is None else found.numpy().T


class _Reader:
    """Walks the exported graph."""

    def __init__(self, torch: Any, exported: Any, tape: Tape, backend: _Torch) -> None:
        self.torch, self.exported, self.tape, self.backend = torch, exported, tape, backend
        self.numbers: dict[Any, int] = {}
        self.batch: Any = None

    def read(self) -> tuple[int, ...]:
        """Fill the tape; the shape of one output."""
        for node in self.exported.graph.nodes:
            if node.op == "placeholder":
                self._placeholder(node)
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                return self._output(node)
        raise UnsupportedError("The module has no output.")

    def _placeholder(self, node: Any) -> None:
        signature, exported = self.exported.graph_signature, self.exported
        number = self.tape.new()
        self.numbers[node] = number
        if node.name in signature.user_inputs:
            self.batch = node.meta["val"].shape[0]
            self.tape.shapes[number] = self._shape(node.meta["val"], "the input")
            self.tape.input = number
            return
        tables = (
            (signature.inputs_to_parameters, exported.state_dict),
            (signature.inputs_to_buffers, exported.state_dict),
            (signature.inputs_to_lifted_tensor_constants, exported.constants),
        )
        for names, store in tables:
            if node.name in names:
                name = names[node.name]
                value = store.get(name, exported.constants.get(name))
                self.tape.constants[number] = value.detach()
                return
        raise UnsupportedError("The graph has an input of unknown kind.", received=node.name)

    def _shape(self, value: Any, what: str) -> tuple[int, ...]:
        if len(value.shape) == 0 or str(value.shape[0]) != str(self.batch):
            raise UnsupportedError(
                "A value does not have one row for every example.",
                received=f"{what} of shape {tuple(map(str, value.shape))}",
                needed="examples along the first dimension",
            )
        return tuple(int(n) for n in value.shape[1:])

    def _varies(self, node: Any) -> bool:
        number = self.numbers[node]
        return number not in self.tape.constants and number not in dict(self.backend.scalars)

    def _call(self, node: Any) -> None:
        schema = getattr(node.target, "_schema", None)
        name = schema.name.rpartition("::")[2] if schema else node.target.__name__
        if name in _IGNORED:
            return
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        where = f"in {stack[-1][0]}" if stack and stack[-1][0] else ""
        value = node.meta.get("val")
        if not isinstance(value, (self.torch.Tensor, tuple, list)):
            self._scalar(node, name)
            return
        varying = [n for n in node.all_input_nodes if self._varies(n)]
        if not varying:
            self._constant(node)
            return
        if name in KINKS:
            self._bend(node, name, varying)
            return
        first: Any = node.args[0] if node.args else None
        bent = name == "getitem" and self.numbers[first] in self.tape.shapes
        if bent and isinstance(first.meta["val"], tuple):
            if node.args[1] != 0:
                raise refuse_unknown("the index of a maximum", tuple(KINKS), where)
            self.numbers[node] = self.numbers[first]
            return
        self._check_affine(node, name, varying, where)
        ins = tuple(self.numbers[n] for n in node.all_input_nodes)
        number = self.tape.new()
        self.numbers[node] = number
        sizes = list(map(str, value.shape)) if isinstance(value, self.torch.Tensor) else []
        if sizes[:1] == [str(self.batch)]:
            self.tape.shapes[number] = tuple(int(n) for n in sizes[1:])
        self.tape.steps.append(Step(self._runner(node), ins, (number,)))

    def _check_affine(self, node: Any, name: str, varying: list[Any], where: str) -> None:
        if name in SMOOTH:
            raise refuse_smooth(name, where)
        if name in _PRODUCTS:
            factors = node.args[1:] if name in ("addmm", "baddbmm") else node.args
            if name == "einsum":
                factors = node.args[1]
            bilinear(name, [f in varying for f in factors if isinstance(f, self.torch.fx.Node)])
            if name == "div" and node.args[1] in varying:
                raise refuse_smooth("a quotient", where)
        elif name in _NORMS:
            training = node.args[5] if name != "_native_batch_norm_legit_no_training" else False
            if training:
                raise refuse_smooth("batch normalisation by the batch", where)
        elif name not in _AFFINE:
            known = (*_AFFINE, *_PRODUCTS, "batch_norm", *KINKS)
            raise refuse_unknown(name, [k for k in known if k[0] != "_"], where)

    def _runner(self, node: Any) -> Callable[[Sequence[Any]], Sequence[Any]]:
        order = {n: k for k, n in enumerate(node.all_input_nodes)}
        target, arguments, options = node.target, node.args, dict(node.kwargs)
        kinds = {self.torch.float32, self.torch.float16, self.torch.bfloat16}
        options = {k: (self.torch.float64 if v in kinds else v) for k, v in options.items()
                   if not isinstance(v, list)} | {
                       k: v for k, v in options.items() if isinstance(v, list)}  # fmt: skip
        fill = self.torch.fx.node.map_arg

        def run(values: Sequence[Any]) -> Sequence[Any]:
            full = fill(arguments, lambda n: values[order[n]])
            return (target(*full, **fill(options, lambda n: values[order[n]])),)

        return run

    def _scalar(self, node: Any, name: str) -> None:
        """A number that follows from how many examples there are."""
        number = self.tape.new()
        self.numbers[node] = number
        ins = [self.numbers[n] for n in node.all_input_nodes]
        if name in ("sym_size", "sym_size.int") and node.args[1] == 0:
            self.backend.scalars.append((number, lambda _values, count: count))
            return
        run = self._runner(node)
        self.backend.scalars.append(
            (number, lambda values, _count: run([values[i] for i in ins])[0])
        )

    def _constant(self, node: Any) -> None:
        number = self.tape.new()
        self.numbers[node] = number
        ins = [self.numbers[n] for n in node.all_input_nodes]
        run = self._runner(node)
        if set(ins) <= set(self.tape.constants):
            with self.torch.no_grad():
                self.tape.constants[number] = run([self.tape.constants[i] for i in ins])[0]
        else:  # such as zeros for every example
            self.backend.scalars.append(
                (number, lambda values, _count: run([values[i] for i in ins])[0])
            )

    def _bend(self, node: Any, name: str, varying: list[Any]) -> None:
        first = node.args[0]
        value = node.meta["val"]
        out = value[0] if isinstance(value, (tuple, list)) else value
        shape = self._shape(first.meta["val"], name)
        rest = list(node.args[1:])
        ins = [self.numbers[first]]
        if name in ("maximum", "minimum"):
            ins, shape, rest = self._sides(node, out), self._shape(out, name), []
        elif len(varying) > 1 or first not in varying:
            bilinear(name, [True, True])
        full = self.torch.fx.node.map_arg(rest, lambda n: self.tape.constants[self.numbers[n]])
        kink = KINKS[name](shape, self._shape(out, name), *full, **dict(node.kwargs))
        number = self.tape.new(self._shape(out, name))
        self.numbers[node] = number
        self.tape.steps.append(Bend(kink, tuple(ins), number))
        if isinstance(kink, Maximum) and kink.outputs != math.prod(self.tape.shapes[number]):
            raise refuse_unknown(name, tuple(KINKS), "with this shape")

    def _sides(self, node: Any, out: Any) -> list[int]:
        """Both sides of a maximum, as large as the result, constants too."""
        shape, numbers = self._shape(out, "a maximum"), []
        for side in node.args[:2]:
            number = self.tape.new(shape)

            def spread(values: Sequence[Any]) -> Sequence[Any]:
                like = values[1]
                return (
                    values[0] + self.torch.zeros((len(like), *shape), dtype=self.torch.float64),
                )

            varying = next(n for n in node.args[:2] if self._varies(n))
            ins = (self.numbers[side], self.numbers[varying])
            self.tape.steps.append(Step(spread, ins, (number,)))
            numbers.append(number)
        return numbers

    def _output(self, node: Any) -> tuple[int, ...]:
        found = node.args[0]
        single: Any = found[0] if isinstance(found, (tuple, list)) and len(found) == 1 else found
        if not isinstance(single, self.torch.fx.Node) or not self._varies(single):
            raise InputError(
                "The module does not give one tensor that depends on its input.",
                received=str(found)[:80],
                needed="a module with one output",
            )
        self.tape.output = self.numbers[single]
        return self._shape(single.meta["val"], "the output")
