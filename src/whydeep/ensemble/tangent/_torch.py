"""The tangent kernel of a PyTorch module, by its own forward and backward passes.

The module runs as it is, eagerly: values changed in place and control flow that depends on data
are its own affair. What is assumed of it is checked on the examples at hand, every one of them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.ensemble.tangent._blocks import Side, assembled, block_sizes
from whydeep.ensemble.tangent._features import Features
from whydeep.ensemble.tangent._inputs import (
    Parameters,
    explained,
    grouped,
    precision,
    read_rates,
)
from whydeep.ensemble.tangent._terms import Gradient, Term
from whydeep.ensemble.tangent._torch_units import (
    Unit,
    find_units,
    unit_features,
    unit_gradients,
    unit_terms,
)
from whydeep.errors import InputError, UnsupportedError
from whydeep.network.torch_reader import require_torch
from whydeep.progress import phase

__all__ = ["torch_kernel"]

_TOGETHER = 64


def torch_kernel(
    module: Any, params: Any, x1: Any, x2: Any, outputs: str, groups: Any, rates: Any,
    batch: int | None,
) -> tuple[list[np.ndarray], list[Any], tuple[int, ...]]:  # fmt: skip
    """Kernels, their groups and the shape of an example's output: see `tangent_kernel`.

    The parts of Linear, Conv, Embedding and norm layers that are called once an example follow
    from what they take and from derivatives with respect to what they give, all examples at once,
    if the module treats examples alike and apart: outputs of a batch and values inside are compared
    with those of every example alone, and gradients with PyTorch's own. Where that does not hold
    (control flow that depends on data, other axes than the first for examples), every example runs
    alone; and parameters used in other ways take a backward pass an example and output. All of it
    is exact.
    """
    torch = require_torch()
    runner = _Runner(torch, module, params)
    names = sorted(runner.tensors)
    leaves = [
        np.broadcast_to(np.zeros((), runner.dtype), tuple(runner.tensors[n].shape)) for n in names
    ]
    tree = jax.tree.structure(dict.fromkeys(names, 0))
    parameters = Parameters(leaves, names, tree, tuple(range(len(names))))
    every_rate = read_rates(rates, parameters)
    labels = grouped(groups, names, ".")
    chosen = [k for k in every_rate if labels[k] is not None]
    whole = {names[k] for k in chosen if isinstance(every_rate[k], np.ndarray)}
    first = runner.examples(x1, "x1")
    second = None if x2 is None else runner.examples(x2, "x2")
    if second is not None and first.shape[1:] != second.shape[1:]:
        raise InputError(
            "The examples of x1 and x2 are not of one shape.",
            received=f"{tuple(first.shape)} and {tuple(second.shape)}",
            needed="the same shapes but for the number of examples",
        )
    with precision(leaves), phase("tangent kernel"), torch.enable_grad():
        jobs = _Jobs(runner, {names[k]: k for k in chosen}, whole, outputs == "trace")
        jobs.check([first] if second is None else [first, second])
        count = max(len(first), 0 if second is None else len(second))
        alone, each = jobs.bytes()
        block = block_sizes(count, jobs.size, alone, each, outputs, batch)
        order = list(dict.fromkeys(labels[k] for k in chosen))
        numbers = tuple(order.index(labels[t.leaf]) for t in jobs.terms)
        kernels = assembled(
            Side(len(first), lambda r, o: jobs.features(first, r, o, block)),
            None if second is None
            else Side(len(second), lambda r, o: jobs.features(second, r, o, block)),
            jobs.size, block, block[0] * (alone + block[1] * each),
            {k: jnp.asarray(v, runner.dtype) for k, v in every_rate.items()},
            jobs.terms, numbers, max(len(order), 1), outputs, runner.dtype,
        )  # fmt: skip
    return kernels, order, jobs.shape


class _Runner:
    """The module with parameters that can be differentiated; it stays as it is."""

    def __init__(self, torch: Any, module: Any, params: Any) -> None:
        self.torch, self.module = torch, module
        own = dict(module.named_parameters())
        given = {} if params is None else params
        if not isinstance(given, dict) or not set(given) <= set(own):
            raise InputError(
                "The parameters are not those of the module.",
                received=f"{type(params).__name__} {list(given)[:5] if given else ''}".rstrip(),
                needed="None, or a dict of tensors by name, as in named_parameters()",
            )
        self.tensors = {
            name: given.get(name, p).detach().requires_grad_()
            for name, p in own.items()
            if p.requires_grad
        }
        self.fixed = {n: given.get(n, p).detach() for n, p in own.items() if not p.requires_grad}
        kinds = {p.dtype for p in self.tensors.values()}
        if not kinds:
            raise InputError(
                "The module has no parameters to take derivatives of.",
                received=f"{type(module).__name__} with {len(own)} parameters, all frozen",
                needed="parameters with requires_grad=True",
            )
        if kinds not in ({torch.float32}, {torch.float64}):
            raise UnsupportedError(
                "The parameters are not of one precision, or of half precision.",
                received=", ".join(sorted(map(str, kinds))),
                needed="torch.float32 or torch.float64",
                suggestion="a copy of the module: copy.deepcopy(module).float()",
            )
        self.dtype = np.float64 if kinds == {torch.float64} else np.float32
        self.kind = kinds.pop()
        for each in module.modules():
            if isinstance(each, torch.nn.modules.batchnorm._BatchNorm) and (  # noqa: SLF001
                each.training or each.running_mean is None
            ):
                raise InputError(
                    "Batch normalisation by the batch makes outputs depend on other examples.",
                    received=f"{type(each).__name__} in training mode, or without statistics",
                    needed="a module that treats every example by itself",
                    suggestion="module.eval()",
                )

    def examples(self, x: Any, name: str) -> Any:
        """A tensor (N, ...)."""
        torch = self.torch
        if not isinstance(x, torch.Tensor):
            x = torch.as_tensor(np.asarray(x))
        if x.ndim == 0 or len(x) == 0:
            raise InputError(f"{name} has no examples.", received=f"shape {tuple(x.shape)}")
        if x.is_floating_point():
            if not bool(torch.isfinite(x).all()):
                raise InputError(f"{name} has numbers that are not finite.")
            x = x.to(self.kind)
        return x.detach()

    def __call__(self, x: Any) -> Any:
        """Outputs (b, C), and the shape of one example's."""
        buffers = {name: b.clone() for name, b in self.module.named_buffers()}
        state = {**self.tensors, **self.fixed, **buffers}
        out = self.torch.func.functional_call(self.module, state, (x.clone(),))
        if not isinstance(out, self.torch.Tensor) or out.ndim == 0 or len(out) != len(x):
            shape = f" of shape {tuple(out.shape)}" if hasattr(out, "shape") else ""
            raise InputError(
                "The module does not give one row of outputs an example.",
                received=f"{type(out).__name__}{shape} for {len(x)} examples",
                needed=f"a tensor ({len(x)}, ...)",
                suggestion="a module around it that picks the output",
            )
        if not out.is_floating_point() or out.numel() == 0:
            raise InputError("The outputs have no derivatives.", received=str(out.dtype))
        return out.reshape(len(x), -1), tuple(out.shape[1:])

    @contextlib.contextmanager
    def recorded(self, units: list[Unit]) -> Iterator[list[list[Any]]]:
        """What each unit takes and gives, a pair for every call."""
        records: list[list[Any]] = [[] for _ in units]

        def hook(number: int) -> Any:
            def keep(_module: Any, arguments: Any, options: Any, result: Any) -> Any:
                value = arguments[0] if len(arguments) == 1 and not options else None
                records[number].append((None if value is None else value.detach().clone(), result))
                return result.clone()  # what is changed in place is the copy

            return keep

        handles = [
            unit.module.register_forward_hook(hook(number), with_kwargs=True)
            for number, unit in enumerate(units)
        ]
        try:
            yield records
        finally:
            for handle in handles:
                handle.remove()

    def gradients(self, value: Any, wanted: list[Any]) -> Any:
        """Of a sum of outputs; zeros where it does not depend on them."""
        if not wanted:
            return ()
        if not value.requires_grad:
            return tuple(self.torch.zeros_like(w) for w in wanted)
        return self.torch.autograd.grad(value, wanted, retain_graph=True, materialize_grads=True)


class _Jobs:
    """What is computed for a module, after `check`.

    Args:
        runner: of the module.
        leaves: places of the parameters, by name.
        whole: those without structure.
        traced: whether the kernel is summed over outputs.
    """

    def __init__(
        self,
        runner: _Runner,
        leaves: dict[str, int],
        whole: set[str],
        traced: bool,  # noqa: FBT001
    ) -> None:
        self.runner, self.leaves, self.traced = runner, leaves, traced
        self.units = find_units(runner.torch, runner.module, set(leaves) - whole)
        self.together = True
        self.shape: tuple[int, ...] = ()
        self.size = 0
        self.rest: list[str] = []
        self.terms: tuple[Term, ...] = ()
        self._per_unit: list[list[Term]] = []
        self._shapes: list[Any] = []
        self._outs: dict[int, Any] = {}  # of each set, every example alone

    # -- what holds for these examples ------------------------------------------------------------

    def check(self, sets: list[Any]) -> None:
        """Find out which structure holds for all examples, and which for batches of them."""
        self._check_random(sets[0][:8])
        calls: list[Any] = [None] * len(self.units)
        good = [True] * len(self.units)
        for x in sets:
            for start in range(0, len(x), _TOGETHER):
                outs = self._check_some(x[start : start + _TOGETHER], calls, good)
                self._outs.setdefault(id(x), []).append(outs)
            self._outs[id(x)] = self.runner.torch.cat(self._outs[id(x)])
        self.units = [u for u, fine in zip(self.units, good, strict=True) if fine]
        self._shapes = [c for c, fine in zip(calls, good, strict=True) if fine]
        structured = {name for u in self.units for name in (u.weight, u.bias)}
        self.rest = [name for name in self.leaves if name not in structured]
        self._per_unit = [
            unit_terms(u, k, self.leaves, value, result, self.size, traced=self.traced)
            for k, (u, (value, result)) in enumerate(zip(self.units, self._shapes, strict=True))
        ]
        own = [Gradient(self.leaves[name]) for name in self.rest]
        self.terms = (*(t for terms in self._per_unit for t in terms), *own)

    def _check_random(self, x: Any) -> None:
        torch = self.runner.torch
        with torch.no_grad():
            for example in x:
                some = example[None]
                with explained("The module", [some], list(self.runner.tensors.values())):
                    one, self.shape = self.runner(some)
                again, _ = self.runner(some)
                if not bool(torch.isfinite(one).all()):
                    raise UnsupportedError("The outputs overflow, or are not numbers.")
                if not torch.equal(one, again) and not _close(torch, one, again):
                    raise InputError(
                        "The module gives other outputs each time.",
                        received=f"{type(self.runner.module).__name__} "
                        f"in {'training' if self.runner.module.training else 'evaluation'} mode",
                        cause="dropout, or other random numbers",
                        suggestion="module.eval()",
                    )
        self.size = math.prod(self.shape)

    def _check_some(self, x: Any, calls: list[Any], good: list[bool]) -> Any:
        """One batch: compared with each example alone; gradients with PyTorch's own.

        The outputs of each alone are returned.
        """
        runner = self.runner
        outs, kept = [], []
        for example in x:
            with runner.recorded(self.units) as records:
                out, shape = runner(example[None])
            if shape != self.shape:
                raise InputError(
                    "Examples have outputs of different shapes.",
                    received=f"{shape} and {self.shape}",
                    needed="outputs of one shape",
                )
            outs.append(out)
            kept.append(records)
            for k, record in enumerate(records):
                good[k] = good[k] and _alike(self.units[k], record, calls[k])
                if good[k] and calls[k] is None:
                    value, result = record[0]
                    calls[k] = (value, result.detach())
        if self.together and len(x) > 1:
            self.together = self._batched(x, outs, kept, good)
        if not self.together:
            for out, records in zip(outs, kept, strict=True):
                self._check_gradients(out, records, good)
        return runner.torch.cat(outs).detach()

    def _batched(self, x: Any, outs: list[Any], kept: list[Any], good: list[bool]) -> bool:
        """Whether the examples together give what each gives alone, inside too."""
        torch, runner = self.runner.torch, self.runner
        try:
            with runner.recorded(self.units) as records:
                out, shape = runner(x)
        except InputError:
            return False
        if shape != self.shape or not _close(torch, out, torch.cat(outs)):
            return False
        for k, record in enumerate(records):
            if not good[k]:
                continue
            if len(record) != 1 or record[0][0] is None:
                return False
            alone = torch.stack([r[k][0][0].reshape(-1) for r in kept])
            value, result = record[0]
            fits = value.numel() == alone.numel() and result.numel() % len(x) == 0
            if not fits or not _close(torch, value.reshape(len(x), -1), alone):
                return False
            if unit_needs_batch(self.units[k]) and len(value) != len(x):
                return False
        self._check_gradients(out, records, good)
        return True

    def _check_gradients(self, out: Any, records: list[Any], good: list[bool]) -> None:
        """What a unit's parameters get by its rule must be all that they get."""
        torch, runner = self.runner.torch, self.runner
        places = [k for k, fine in enumerate(good) if fine]
        weights = np.random.default_rng(0).normal(size=tuple(out.shape))
        number = (out * torch.as_tensor(weights, dtype=out.dtype, device=out.device)).sum()
        deltas = runner.gradients(number, [records[k][0][1] for k in places])
        names = [n for k in places for n in (self.units[k].weight, self.units[k].bias) if n]
        own = runner.gradients(number, [runner.tensors[n] for n in names])
        expected = dict(zip(names, own, strict=True))
        for k, delta in zip(places, deltas, strict=True):
            value = records[k][0][0]
            count = len(out)
            if not unit_needs_batch(self.units[k]):
                value, delta = value.reshape(count, -1), delta.reshape(count, -1)  # noqa: PLW2901
            found = unit_gradients(torch, self.units[k], value, delta)
            for name, gradient in found.items():
                if not _close(torch, gradient, expected[name].reshape(-1)):
                    good[k] = False

    # -- features ---------------------------------------------------------------------------------

    def bytes(self) -> tuple[int, int]:
        """Of one example's features, and more for each output."""
        alone = each = 0
        for unit, terms, (value, result) in zip(
            self.units, self._per_unit, self._shapes, strict=True
        ):
            alone += value.numel() * (math.prod(getattr(unit.module, "kernel_size", (1,))))
            each += result.numel()
            each += sum(self._entries(t) for t in terms if isinstance(t, Gradient))
        each += sum(self.runner.tensors[name].numel() for name in self.rest)
        width = np.dtype(self.runner.dtype).itemsize
        return alone * width, each * width

    def _entries(self, term: Term) -> int:
        name = next(n for n, k in self.leaves.items() if k == term.leaf)
        return self.runner.tensors[name].numel()

    def features(self, x: Any, rows: slice, outs: slice, block: tuple[int, int]) -> Features:
        """Of a block of examples and outputs, padded with zeros."""
        torch = self.runner.torch
        some = x[rows]
        parts = []
        if self.together and not self.rest:
            # Other examples beside one may lead it elsewhere than those it was checked with.
            out, found = self._run(some, outs)
            if found and _close(torch, out, self._outs[id(x)][rows]):
                parts = [found]
        if not parts:
            parts = [self._run(example[None], outs)[1] for example in some]
        padding = (block[0] - len(some), block[1] - (outs.stop - outs.start))

        def joined(*pieces: Any, outputs: bool) -> Any:
            array = torch.cat(pieces).detach().cpu().numpy()
            pads = [(0, padding[0]), (0, padding[1] if outputs else 0)][: array.ndim]
            return jnp.asarray(np.pad(array, pads + [(0, 0)] * (array.ndim - len(pads))))

        deltas = {
            tap: joined(*(p["deltas"][tap] for p in parts), outputs=True)
            for tap in parts[0]["deltas"]
        }
        lists: dict[str, list[Any]] = {}
        for name, marks in (
            ("factors", (False,)), ("gradients", (True,)), ("positions", (False, True)),
            ("lookups", (False, False, True)),
        ):  # fmt: skip
            lists[name] = []
            for k in range(len(parts[0][name])):
                items = [_tuple(p[name][k]) for p in parts]
                found = tuple(
                    joined(*(i[place] for i in items), outputs=mark)
                    for place, mark in enumerate(marks)
                )
                lists[name].append(found if len(marks) > 1 else found[0])
        return Features(deltas=deltas, separable=[], **lists)

    def _run(self, x: Any, outs: slice) -> tuple[Any, dict[str, Any]]:
        """Outputs and features of a batch, or of one example; none if a unit is not met once."""
        torch, runner = self.runner.torch, self.runner
        found: dict[str, Any] = {
            "deltas": {}, "factors": [], "gradients": [], "positions": [], "lookups": []
        }  # fmt: skip
        with runner.recorded(self.units) as records:
            out, _ = runner(x)
        if any(len(r) != 1 or r[0][0] is None for r in records):
            return out, {}
        results = [r[0][1] for r in records]
        wanted = [*results, *(runner.tensors[n] for n in self.rest)]
        rows = [runner.gradients(out[:, i].sum(), wanted) for i in range(outs.start, outs.stop)]
        for k, (unit, terms) in enumerate(zip(self.units, self._per_unit, strict=True)):
            value = records[k][0][0]
            given = [row[k] for row in rows]
            if not unit_needs_batch(unit):  # examples and positions may share an axis
                value, given = value.reshape(len(x), -1), [g.reshape(len(x), -1) for g in given]
            delta = torch.stack(given, 1)
            for name, feature in unit_features(torch, unit, terms, value, delta):
                if name == "deltas":
                    found["deltas"][feature[0]] = feature[1]
                else:
                    found[name].append(feature)
        for k in range(len(self.rest)):
            gradient = torch.stack([row[len(results) + k].reshape(-1) for row in rows])
            found["gradients"].append(gradient[None])
        return out, found


def unit_needs_batch(unit: Unit) -> bool:
    """Whether its rule needs the shape of what it takes, examples first."""
    return unit.kind in ("conv", "norm")


def _alike(unit: Unit, record: list[Any], call: Any) -> bool:
    """Whether a unit was called once, on something of the shape of other examples."""
    if len(record) != 1 or record[0][0] is None or not record[0][1].requires_grad:
        return False
    value, result = record[0]
    if unit_needs_batch(unit) and len(value) != 1:
        return False  # positions of one example where examples should be
    if unit.kind == "conv" and value.ndim != len(unit.module.kernel_size) + 2:
        return False
    return call is None or (value.shape == call[0].shape and result.shape == call[1].shape)


def _close(torch: Any, one: Any, other: Any) -> bool:
    """Whether they differ by no more than roundings explain."""
    if one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return bool(torch.equal(one, other))
    scale = float(other.detach().abs().max()) if other.numel() else 0.0
    allowed = math.sqrt(torch.finfo(one.dtype).eps) * scale
    return bool(((one - other).detach().abs() <= allowed).all())


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
