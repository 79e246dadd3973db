"""Blocks of draws: summed in compiled code, and batches of them side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network import Network
from whydeep.progress import progress_bar
from whydeep.threads import processors

__all__ = ["Run", "all_batches", "check_finite", "sum_blocks"]

Run = Callable[[int], dict[str, np.ndarray]]
"""Gives a batch by its number, from 1."""

_MOST_WORKERS = 16


def sum_blocks(block: Callable[[Any], dict[str, Any]], blocks: Any) -> dict[str, Any]:
    """The sum of blocks 0 ... blocks - 1; their number is traced, so it costs no compilation."""
    one = jax.eval_shape(block, jnp.uint32(0))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), one)

    def add(index: Any, total: dict[str, Any]) -> dict[str, Any]:
        return jax.tree.map(jnp.add, total, block(index))

    return jax.lax.fori_loop(jnp.uint32(0), jnp.asarray(blocks, jnp.uint32), add, zeros)


def all_batches(run: Run, count: int, title: str, *, wide: bool) -> list[dict[str, np.ndarray]]:
    """The batches in order, as many at once as there are cores.

    Compiled code runs outside Python's lock, and blocks are too small to be worth splitting.
    """

    def one(batch: int) -> dict[str, np.ndarray]:
        with jax.enable_x64(wide):  # a setting of each thread, which others do not inherit
            return run(batch)

    workers = min(processors(), count, _MOST_WORKERS)
    with progress_bar(title, count) as advance, ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(one, batch) for batch in range(1, count + 1)]
        try:
            results = []
            for future in futures:
                results.append(future.result())
                advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def check_finite(network: Network, sums: dict[str, Any]) -> None:
    """Refuse a network whose preactivations overflow."""
    if not all(np.all(np.isfinite(np.asarray(value))) for value in sums.values()):
        raise UnsupportedError(
            "The preactivations of this network overflow.",
            received=repr(network),
            cause=f"{network.activation.name} amplifies them from layer to layer",
            suggestion="smaller weight_var and bias_var, fewer layers, or inputs of unit scale",
        )
