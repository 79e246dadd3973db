"""Blocks of networks trained on all cores: each to its end, recorded on the way, kept in files.

A thread trains one block after the other through the same compiled functions, which run outside
Python's lock. A block is a fixed set of networks, so nothing depends on how many threads there are.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.ensemble.training._checkpoint import Checkpoint, Saved
from whydeep.ensemble.training._observe import Data, compiled_observe
from whydeep.ensemble.training._steps import Task, compiled_steps
from whydeep.progress import progress_bar

__all__ = ["Plan", "run_blocks", "usable_cores"]

_SECONDS_BETWEEN_FILES = 10.0


@dataclass(frozen=True)
class Plan:
    """What is run.

    Args:
        task: what training depends on.
        data: examples, as numpy arrays.
        middle: see `Targets`.
        words: the seed, as two 32-bit words.
        step: of the optimiser.
        steps: (R,) at which is recorded, the last one is the end.
        names: of observables of all networks.
        costly: of observables of the first networks only.
        costly_draws: how many these are.
        hessian_inputs: see `train`.
        draws: how many networks.
    """

    task: Task
    data: Data
    middle: float | None
    words: np.ndarray
    step: float
    steps: np.ndarray
    names: tuple[str, ...]
    costly: tuple[str, ...]
    costly_draws: int
    hessian_inputs: int
    draws: int

    @property
    def blocks(self) -> int:
        """How many blocks hold all networks."""
        return -(-self.draws // self.task.lanes)

    def is_costly(self, block: int) -> bool:
        """Whether a block holds networks whose costly observables are wanted."""
        return bool(self.costly) and block * self.task.lanes < self.costly_draws


def usable_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def run_blocks(plan: Plan, kept: Checkpoint | None, threads: int) -> dict[str, np.ndarray]:
    """All observables of all networks, ``(draws, R, ...)``: fewer draws of costly ones."""
    wide = plan.task.dtype == "float64"
    stop = threading.Event()
    title = f"training {plan.draws} networks"
    with progress_bar(title, plan.blocks * len(plan.steps)) as advance:

        def one(block: int) -> dict[str, np.ndarray]:
            with jax.enable_x64(wide):  # a setting of each thread
                return _Block(plan, kept, block, stop, advance).run()

        with ThreadPoolExecutor(min(threads, plan.blocks)) as pool:
            futures = [pool.submit(one, block) for block in range(plan.blocks)]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:  # an error, or an interruption: the others keep what they have, and end
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
    ended = [future for future in futures if not future.cancelled()]
    failed = [e for e in (future.exception() for future in ended) if e is not None]
    for error in sorted(failed, key=lambda e: isinstance(e, _Stopped)):
        raise error
    results = [future.result() for future in futures]
    found = {}
    for name in results[0]:
        count = plan.costly_draws if name in plan.costly else plan.draws
        found[name] = np.concatenate([r[name] for r in results if name in r])[:count]
    return found


class _Stopped(Exception):  # noqa: N818 -- no error: another thread met one
    """Training was interrupted elsewhere."""


class _Block:
    """One block of networks on its way through training."""

    def __init__(
        self, plan: Plan, kept: Checkpoint | None, block: int, stop: threading.Event,
        advance: Callable[[], None],
    ) -> None:  # fmt: skip
        self.plan, self.kept, self.block = plan, kept, block
        self.stop, self.progress = stop, advance
        task = plan.task
        names = plan.names + (plan.costly if plan.is_costly(block) else ())
        self.steps = compiled_steps(task)
        self.observe = compiled_observe(task, names, plan.middle, plan.hessian_inputs)
        self.words = jnp.asarray(plan.words)
        first = block * task.lanes
        self.indices = jnp.arange(first, first + task.lanes, dtype=jnp.uint32)
        self.data = jax.tree.map(jnp.asarray, plan.data)
        self.step = jnp.asarray(plan.step, task.dtype)

    def run(self) -> dict[str, np.ndarray]:
        """Train to the end; observables (lanes, R, ...)."""
        if self.stop.is_set():
            raise _Stopped
        initial = self.steps.draw(self.words, self.indices)
        state = self.steps.start(initial)
        tree = jax.tree.structure(state)
        wanted = self.plan.steps
        saved = self.kept.load(self.block) if self.kept else None
        rows: list[dict[str, Any]] = []
        done = 0
        reached = np.zeros(0, dtype=np.int64)
        if saved is not None:
            past = saved.at(wanted)
            reached = wanted[wanted <= saved.steps[-1]]
            rows = [{n: v[:, r] for n, v in past.items()} for r in range(len(reached))]
            done = int(saved.steps[-1])
            state = jax.tree.unflatten(tree, [jnp.asarray(a) for a in saved.state])
        for _ in reached:
            self.progress()
        last_kept = time.monotonic()
        for number in range(len(reached), len(wanted)):
            until = int(wanted[number])
            if until > done:
                state = self._advance(state, done, until)
                done = until
            found = self.observe(state[0], initial, self.words, self.indices, self.data)
            rows.append({name: np.asarray(value) for name, value in found.items()})
            self.progress()
            over = number + 1 == len(wanted)
            late = time.monotonic() - last_kept > _SECONDS_BETWEEN_FILES
            if self.kept and (over or late or self.stop.is_set()):
                leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
                self.kept.save(self.block, Saved(wanted[: number + 1], leaves, _stacked(rows)))
                last_kept = time.monotonic()
            if self.stop.is_set():
                raise _Stopped
        return _stacked(rows)

    def _advance(self, state: Any, first: int, last: int) -> Any:
        return self.steps.advance(
            state, self.words, self.indices, np.int32(first), np.int32(last), self.step,
            self.data.x, self.data.y,
        )  # fmt: skip


def _stacked(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows], axis=1) for name in rows[0]}
