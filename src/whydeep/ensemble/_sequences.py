"""Layers of sequences by their definition: embeddings, attention between positions, recurrence."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.errors import InputError
from whydeep.network import DotProductAttention, Embedding, PositionalEmbedding, Recurrent

__all__ = ["attention", "embedding", "positional_embedding", "recurrent"]


def embedding(layer: Embedding, parameters: dict[str, Any], tokens: Any) -> Any:
    """The row of every token: (N, T, width) of whole numbers (N, T)."""
    del layer
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise InputError(
            "An embedding looks up whole numbers.",
            received=f"inputs of {tokens.dtype}",
            needed="tokens: whole numbers (N, T)",
        )
    return jnp.take(parameters["table"], tokens, axis=0)


def positional_embedding(layer: PositionalEmbedding, parameters: dict[str, Any], x: Any) -> Any:
    """The same numbers for every input: independent ones, or a root of their covariance times."""
    table = parameters["table"]
    if layer.covariance is not None:
        values, vectors = np.linalg.eigh(layer.covariance.values)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        mixed = jnp.asarray(root, table.dtype) @ table.reshape(len(root), -1)
        table = mixed.reshape(table.shape)
    return jnp.broadcast_to(table, (len(x), *table.shape))


def attention(layer: DotProductAttention, query: Any, key: Any, value: Any) -> Any:
    """``out(p) = sum_r A(p, r) v(r)``, A made of logits ``scale q(p) . k(r)``."""
    positions, channels = query.shape[1:-1], value.shape[-1]

    def split(x: Any) -> Any:  # (N, positions, heads, channels of a head)
        return x.reshape(len(x), math.prod(x.shape[1:-1]), layer.heads, -1)

    q, k, v = split(query), split(key), split(value)
    size = q.shape[-1]
    scale = 1.0 / size if layer.scaling == "1/d" else 1.0 / math.sqrt(size)
    logits = scale * jnp.einsum("nphd,nrhd->nhpr", q, k)
    if layer.function is not None and not layer.softmax:
        logits = layer.function(logits)
    if layer.causal:
        seen = jnp.tril(jnp.ones(logits.shape[-2:], bool))
        logits = jnp.where(seen, logits, -jnp.inf if layer.softmax else 0.0)
    weights = jax.nn.softmax(logits, axis=-1) if layer.softmax else logits
    out = jnp.einsum("nhpr,nrhd->nphd", weights, v)
    return out.reshape(len(query), *positions, channels)


def recurrent(layer: Recurrent, parameters: dict[str, Any], x: Any) -> Any:
    """``h_t = s(b + W h_(t-1) + U x_t)`` from ``h_0 = 0``: the states (N, T, width)."""
    driven = x @ parameters["input"] + parameters["bias"]

    def step(state: Any, drive: Any) -> tuple[Any, Any]:
        state = layer.activation(drive + state @ parameters["weight"])
        return state, state

    first = jnp.zeros((len(x), layer.width), driven.dtype)
    _, states = jax.lax.scan(step, first, jnp.moveaxis(driven, 1, 0))
    return jnp.moveaxis(states, 0, 1)
