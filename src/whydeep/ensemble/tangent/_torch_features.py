"""Features of a PyTorch module's parts: what they take, and derivatives of what they give."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from whydeep.ensemble.tangent._features import Features
from whydeep.ensemble.tangent._terms import Gradient, Term
from whydeep.ensemble.tangent._torch_module import Runner
from whydeep.ensemble.tangent._torch_structure import Structure, close
from whydeep.ensemble.tangent._torch_units import unit_features, unit_terms

__all__ = ["TorchFeatures"]


class TorchFeatures:
    """Terms of a module's kernel, and the features that they are made of.

    Args:
        runner: of the module.
        structure: of it.
        leaves: places of the parameters, by name.
        traced: whether the kernel is summed over outputs.
    """

    def __init__(
        self, runner: Runner, structure: Structure, leaves: dict[str, int], *, traced: bool
    ) -> None:
        self.runner, self.structure, self.leaves = runner, structure, leaves
        structured = {name for u in structure.units for name in (u.weight, u.bias)}
        self.rest = [name for name in leaves if name not in structured]
        self._terms = [
            unit_terms(u, k, leaves, value, result, structure.size, traced=traced)
            for k, (u, (value, result)) in enumerate(
                zip(structure.units, structure.calls, strict=True)
            )
        ]
        own = [Gradient(leaves[name]) for name in self.rest]
        self.terms: tuple[Term, ...] = (*(t for terms in self._terms for t in terms), *own)

    def bytes(self) -> tuple[int, int]:
        """Of one example's features, and more for each output."""
        alone = each = 0
        for unit, terms, (value, result) in zip(
            self.structure.units, self._terms, self.structure.calls, strict=True
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

    def of_block(
        self, x: Any, alone: Any, rows: slice, outs: slice, block: tuple[int, int]
    ) -> Features:
        """Of a block of examples and outputs, padded with zeros.

        Args:
            x: all examples.
            alone: the outputs of each.
            rows: which examples.
            outs: which outputs.
            block: the shape it is padded to.
        """
        torch = self.runner.torch
        some = x[rows]
        parts = []
        if self.structure.together and not self.rest:
            # Other examples beside one may lead it elsewhere than those it was checked with.
            out, found = self._run(some, outs)
            if found and close(torch, out, alone[rows]):
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
        with runner.recorded(self.structure.units) as records:
            out, _ = runner(x)
        if any(len(r) != 1 or r[0][0] is None for r in records):
            return out, {}
        results = [r[0][1] for r in records]
        wanted = [*results, *(runner.tensors[n] for n in self.rest)]
        rows = [runner.gradients(out[:, i].sum(), wanted) for i in range(outs.start, outs.stop)]
        for k, (unit, terms) in enumerate(zip(self.structure.units, self._terms, strict=True)):
            value = records[k][0][0]
            given = [row[k] for row in rows]
            if not unit.needs_batch:  # examples and positions may share an axis
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


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
