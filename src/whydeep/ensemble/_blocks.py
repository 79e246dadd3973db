"""Sums over blocks of draws in compiled code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["sum_blocks"]


def sum_blocks(block: Callable[[Any], dict[str, Any]], blocks: Any) -> dict[str, Any]:
    """The sum of blocks 0 ... blocks - 1; their number is traced, so it costs no compilation."""
    one = jax.eval_shape(block, jnp.uint32(0))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), one)

    def add(index: Any, total: dict[str, Any]) -> dict[str, Any]:
        return jax.tree.map(jnp.add, total, block(index))

    return jax.lax.fori_loop(jnp.uint32(0), jnp.asarray(blocks, jnp.uint32), add, zeros)
