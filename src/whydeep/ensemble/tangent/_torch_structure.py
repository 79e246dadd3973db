"""Which structure of a PyTorch module holds on the examples at hand: each of them is checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.ensemble.tangent._inputs import explained
from whydeep.ensemble.tangent._torch_module import Runner
from whydeep.ensemble.tangent._torch_units import Unit, unit_gradients
from whydeep.errors import InputError, UnsupportedError

__all__ = ["Structure", "close", "find_structure"]

_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class Structure:
    """What holds for all examples.

    Args:
        units: those whose parameters get all of their gradient by the unit's rule.
        calls: what each of them takes and gives for one example.
        together: whether examples in a batch are treated as each alone.
        shape: of one example's output.
        alone: for each set of examples, the outputs of every example alone, (N, C).
    """

    units: tuple[Unit, ...]
    calls: tuple[tuple[Any, Any], ...]
    together: bool
    shape: tuple[int, ...]
    alone: tuple[Any, ...]

    @property
    def size(self) -> int:
        """Numbers in one example's output."""
        return math.prod(self.shape)


def find_structure(runner: Runner, units: Sequence[Unit], sets: Sequence[Any]) -> Structure:
    """Run every example alone and in batches, and keep what holds for all.

    Args:
        runner: of the module.
        units: of known classes.
        sets: of examples.

    Raises:
        InputError: the module fails, gives other outputs each time, or of different shapes.
        UnsupportedError: outputs overflow.
    """
    checks = _Checks(runner, units)
    checks.check_random(sets[0][:8])
    alone = tuple(
        runner.torch.cat([
            checks.check_some(x[start : start + _TOGETHER])
            for start in range(0, len(x), _TOGETHER)
        ])
        for x in sets
    )  # fmt: skip
    kept = [k for k, fine in enumerate(checks.good) if fine]
    return Structure(
        tuple(units[k] for k in kept), tuple(checks.calls[k] for k in kept), checks.together,
        checks.shape, alone,
    )  # fmt: skip


class _Checks:
    """What has held so far.

    Args:
        runner: of the module.
        units: of known classes.
    """

    def __init__(self, runner: Runner, units: Sequence[Unit]) -> None:
        self.runner, self.units = runner, units
        self.calls: list[Any] = [None] * len(units)
        self.good = [True] * len(units)
        self.together = True
        self.shape: tuple[int, ...] = ()

    def check_random(self, x: Any) -> None:
        """Refuse a module that fails, overflows or gives other outputs each time."""
        torch = self.runner.torch
        with torch.no_grad():
            for example in x:
                some = example[None]
                with explained("The module", [some], list(self.runner.tensors.values())):
                    one, self.shape = self.runner(some)
                again, _ = self.runner(some)
                if not bool(torch.isfinite(one).all()):
                    raise UnsupportedError("The outputs overflow, or are not numbers.")
                if not torch.equal(one, again) and not close(torch, one, again):
                    raise InputError(
                        "The module gives other outputs each time.",
                        received=f"{type(self.runner.module).__name__} "
                        f"in {'training' if self.runner.module.training else 'evaluation'} mode",
                        cause="dropout, or other random numbers",
                        suggestion="module.eval()",
                    )

    def check_some(self, x: Any) -> Any:
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
                self.good[k] = self.good[k] and _alike(self.units[k], record, self.calls[k])
                if self.good[k] and self.calls[k] is None:
                    value, result = record[0]
                    self.calls[k] = (value, result.detach())
        if self.together and len(x) > 1:
            self.together = self._batched(x, outs, kept)
        if not self.together:
            for out, records in zip(outs, kept, strict=True):
                self._check_gradients(out, records)
        return runner.torch.cat(outs).detach()

    def _batched(self, x: Any, outs: list[Any], kept: list[Any]) -> bool:
        """Whether the examples together give what each gives alone, inside too."""
        torch, runner = self.runner.torch, self.runner
        try:
            with runner.recorded(self.units) as records:
                out, shape = runner(x)
        except InputError:
            return False
        if shape != self.shape or not close(torch, out, torch.cat(outs)):
            return False
        for k, record in enumerate(records):
            if not self.good[k]:
                continue
            if len(record) != 1 or record[0][0] is None:
                return False
            alone = torch.stack([r[k][0][0].reshape(-1) for r in kept])
            value, result = record[0]
            fits = value.numel() == alone.numel() and result.numel() % len(x) == 0
            if not fits or not close(torch, value.reshape(len(x), -1), alone):
                return False
            if self.units[k].needs_batch and len(value) != len(x):
                return False
        self._check_gradients(out, records)
        return True

    def _check_gradients(self, out: Any, records: list[Any]) -> None:
        """What a unit's parameters get by its rule must be all that they get."""
        torch, runner = self.runner.torch, self.runner
        places = [k for k, fine in enumerate(self.good) if fine]
        weights = np.random.default_rng(0).normal(size=tuple(out.shape))
        number = (out * torch.as_tensor(weights, dtype=out.dtype, device=out.device)).sum()
        deltas = runner.gradients(number, [records[k][0][1] for k in places])
        names = [n for k in places for n in (self.units[k].weight, self.units[k].bias) if n]
        own = runner.gradients(number, [runner.tensors[n] for n in names])
        expected = dict(zip(names, own, strict=True))
        for k, delta in zip(places, deltas, strict=True):
            value = records[k][0][0]
            count = len(out)
            if not self.units[k].needs_batch:
                value, delta = value.reshape(count, -1), delta.reshape(count, -1)  # noqa: PLW2901
            found = unit_gradients(torch, self.units[k], value, delta)
            for name, gradient in found.items():
                if not close(torch, gradient, expected[name].reshape(-1)):
                    self.good[k] = False


def _alike(unit: Unit, record: list[Any], call: Any) -> bool:
    """Whether a unit was called once, on something of the shape of other examples."""
    if len(record) != 1 or record[0][0] is None or not record[0][1].requires_grad:
        return False
    value, result = record[0]
    if unit.needs_batch and len(value) != 1:
        return False  # positions of one example where examples should be
    if unit.kind == "conv" and value.ndim != len(unit.module.kernel_size) + 2:
        return False
    return call is None or (value.shape == call[0].shape and result.shape == call[1].shape)


def close(torch: Any, one: Any, other: Any) -> bool:
    """Whether they differ by no more than roundings explain."""
    if one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return bool(torch.equal(one, other))
    scale = float(other.detach().abs().max()) if other.numel() else 0.0
    allowed = math.sqrt(torch.finfo(one.dtype).eps) * scale
    return bool(((one - other).detach().abs() <= allowed).all())
