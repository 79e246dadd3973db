"""Standard normal numbers from a counter: Threefry-2x32 and the Box-Muller transform.

The sampler is limited by random numbers. ``jax.random.normal`` takes about six times as long on
a CPU (its Threefry is a rolled loop, and its inverse error function needs a logarithm and a
branch a number), so the same generator is written out here as one elementwise expression that
the compiler fuses. A test holds the bits equal to JAX's own.

Source: Salmon, Moraes, Dror and Shaw 2011 (Threefry, 20 rounds); Box and Muller 1958.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["key_of", "normal_pairs", "normals", "threefry"]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)

Key = tuple[Any, Any]


def key_of(seed: Key, stream: Any) -> Key:
    """The key of a numbered stream of a seed given as two 32-bit words, low and high."""
    return threefry(seed, jnp.asarray(stream).astype(jnp.uint32), jnp.uint32(0))


def threefry(key: Key, first: Any, second: Any) -> tuple[Any, Any]:
    """Two random 32-bit words for each counter ``(first, second)``."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    first, second = first + schedule[0], second + schedule[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            first = first + second
            second = (second << rotation) | (second >> (32 - rotation))
            second = first ^ second
        first = first + schedule[(group + 1) % 3]
        second = second + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return first, second


def normal_pairs(key: Key, stream: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Independent pairs of standard normal numbers: real and imaginary parts of a complex array.

    A pair is the two values of one Box-Muller transform of the two words of one counter. A complex
    number makes it one elementwise expression, which the compiler evaluates once; two arrays, or
    the two joined, it would make twice. Uniforms have 32 bits, so values reach 6.7 in magnitude,
    and moments are those of the normal law to 1e-8.
    """
    position = jax.lax.iota(jnp.uint32, int(np.prod(shape))).reshape(shape)
    first, second = threefry(key, position, jnp.asarray(stream).astype(jnp.uint32))
    uniform = (first.astype(dtype) + dtype(0.5)) * dtype(2.0**-32)
    # cos(2 x) = 1 - 2 sin(x)^2 and sin(2 x) = 2 sin(x) cos(x) with x uniform on [-pi/2, pi/2), by
    # their series (error 1e-8 in float32): the library's cosine spends ten times as long on
    # reducing its argument, which needs no reduction here.
    angle = jax.lax.bitcast_convert_type(second, jnp.int32).astype(dtype)
    angle = angle * dtype(np.pi * 2.0**-32)
    square = angle * angle
    sine = angle * _series(_SINE if dtype == np.float64 else _SINE[:7], square, dtype)
    cosine = _series(_COSINE if dtype == np.float64 else _COSINE[:8], square, dtype)
    radius = jnp.sqrt(dtype(-2.0) * jnp.log(uniform))
    return jax.lax.complex(radius * (1 - 2 * sine * sine), 2 * radius * (sine * cosine))


def normals(key: Key, stream: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Independent standard normal numbers of a stream of a key: the first of each pair."""
    return jnp.real(normal_pairs(key, stream, shape, dtype))


def _series(terms: tuple[float, ...], square: Any, dtype: Any) -> Any:
    total = dtype(terms[-1])
    for term in reversed(terms[:-1]):
        total = total * square + dtype(term)
    return total


# (-1)^k / (2k + 1)!
_SINE = tuple((-1.0) ** k / float(np.prod(np.arange(1.0, 2 * k + 2))) for k in range(11))
# (-1)^k / (2k)!
_COSINE = tuple((-1.0) ** k / float(np.prod(np.arange(1.0, 2 * k + 1))) for k in range(12))
