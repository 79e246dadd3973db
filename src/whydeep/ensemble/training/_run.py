"""Blocks of networks trained on all cores: each to its end, recorded on the way, kept in files.

A thread trains one block after the other through the same compiled functions, which run outside
Python's lock. A block is a fixed set of networks, so nothing depends on how many threads there are.
"""

from __future__ import annotations

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

__all__ = ["Plan", "run_blocks"]

_SECONDS_BETWEEN_FILES = 10.0
_SECONDS_A_CALL = 1.0
_FIRST_STEPS = 32


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


def run_blocks(plan: Plan, kept: Checkpoint | None, threads: int) -> dict[str, np.ndarray]:
    """All observables of all networks, ``(draws, R, ...)``: fewer draws of costly ones."""
    wide = plan.task.dtype == "float64"
    stop, pace = threading.Event(), _Pace()
    title = f"training {plan.draws} networks"
    with progress_bar(title, plan.blocks * len(plan.steps)) as advance:

        def one(block: int) -> dict[str, np.ndarray]:
            with jax.enable_x64(wide):  # a setting of each thread
                return _Block(plan, kept, block, stop, advance, pace).run()

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


class _Pace:
    """How many steps take about a second, for all threads."""

    def __init__(self) -> None:
        self.steps = _FIRST_STEPS

    def learn(self, steps: int, seconds: float) -> None:
        """From one call: four times as many steps at most, and half as many."""
        if steps == self.steps and seconds < _SECONDS_A_CALL / 4:
            self.steps = 4 * steps
        elif seconds > 2 * _SECONDS_A_CALL:
            self.steps = max(1, steps // 2)


class _Block:
    """One block of networks on its way through training."""

    def __init__(
        self, plan: Plan, kept: Checkpoint | None, block: int, stop: threading.Event,
        advance: Callable[[], None], pace: _Pace,
    ) -> None:  # fmt: skip
        self.plan, self.kept, self.block = plan, kept, block
        self.stop, self.progress, self.pace = stop, advance, pace
        task = plan.task
        self.names = plan.names + (plan.costly if plan.is_costly(block) else ())
        self.steps = compiled_steps(task)
        self.observe = compiled_observe(task, self.names, plan.middle, plan.hessian_inputs)
        self.words = jnp.asarray(plan.words)
        first = block * task.lanes
        self.indices = jnp.arange(first, first + task.lanes, dtype=jnp.uint32)
        self.data = jax.tree.map(jnp.asarray, plan.data)
        self.step = jnp.asarray(plan.step, task.dtype)

    def run(self) -> dict[str, np.ndarray]:
        """Train to the end; observables (lanes, R, ...)."""
        if self.stop.is_set():
            raise _Stopped
        wanted = self.plan.steps
        self._begin()
        for number in range(len(self.rows), len(wanted)):
            while self.done < wanted[number]:
                self._advance(int(wanted[number]))
                if self.done < wanted[number]:  # else it is recorded first
                    self._keep(late=True)
            found = self.observe(self.state[0], self.initial, self.words, self.indices, self.data)
            self.rows.append({name: np.asarray(value) for name, value in found.items()})
            self.progress()
            self._keep(late=number + 1 < len(wanted))
        return _stacked(self.rows)

    def _begin(self) -> None:
        """Draw the networks, and take up what is kept of them."""
        self.initial = self.steps.draw(self.words, self.indices)
        self.state = self.steps.start(self.initial)
        self.done, self.rows = 0, []
        leaves = jax.tree.leaves(self.state)
        saved = (
            self.kept.load(self.block, leaves, self.plan.task.lanes, set(self.names))
            if self.kept
            else None
        )
        if saved is not None:
            wanted = self.plan.steps
            past = saved.at(wanted)
            count = int((wanted <= saved.done).sum())
            self.rows = [{n: v[:, r] for n, v in past.items()} for r in range(count)]
            self.done = saved.done
            tree = jax.tree.structure(self.state)
            self.state = jax.tree.unflatten(tree, [jnp.asarray(a) for a in saved.state])
        for _ in self.rows:
            self.progress()
        self.last_kept = time.monotonic()

    def _advance(self, until: int) -> None:
        """Some steps, of about a second: where they are cut changes no number."""
        last = min(until, self.done + self.pace.steps)
        begin = time.monotonic()
        self.state = jax.block_until_ready(
            self.steps.advance(
                self.state, self.words, self.indices, np.int32(self.done), np.int32(last),
                self.step, self.data.x, self.data.y,
            )
        )  # fmt: skip
        self.pace.learn(last - self.done, time.monotonic() - begin)
        self.done = last

    def _keep(self, *, late: bool) -> None:
        """Keep the block in its file, if it is time (`late`: only then), and stop if told to."""
        stop = self.stop.is_set()
        due = time.monotonic() - self.last_kept > _SECONDS_BETWEEN_FILES
        if self.kept and self.rows and (stop or due or not late):
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(self.state)]
            steps = self.plan.steps[: len(self.rows)]
            self.kept.save(self.block, Saved(steps, self.done, leaves, _stacked(self.rows)))
            self.last_kept = time.monotonic()
        if stop:
            raise _Stopped


def _stacked(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows], axis=1) for name in rows[0]}
