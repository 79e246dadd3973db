"""Large sets of inputs, block by block: memory, symmetry, repeated draws."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.arguments import check_memory, check_time
from whydeep.memory import available
from whydeep.network import Network
from whydeep.progress import progress_bar
from whydeep.theory.infinite._plan import FRESH, Plan, plan
from whydeep.theory.infinite._propagate import CROSS, Propagation

__all__ = ["Found", "propagate", "propagate_traced"]

_REPEATS = 8  # independent sets of draws, whose scatter is the standard error
_DERIVED = {"float64": 1e-10, "float32": 1e-5}  # error of what derivatives are taken of
_BLOCK_BYTES = 256 << 20
_WORK_BYTES = 4 << 30  # of all layers of a block, which are kept until it is done
_ARRAYS_AT_ONCE = 6  # alive while one layer is computed


@dataclass
class Found:
    """Kernels with their errors, `layers` by number."""

    nngp: np.ndarray
    ntk: np.ndarray | None
    error: float = 0.0
    nngp_stderr: np.ndarray | None = None
    ntk_stderr: np.ndarray | None = None
    layers: dict[int, tuple[np.ndarray, np.ndarray | None]] = field(default_factory=dict)


def propagate_traced(
    network: Network,
    x1: Any,
    x2: Any,
    *,
    ntk: bool,
    draws: int,
    seed: int,
) -> tuple[Any, Any, float]:
    """C and T of the output as traced arrays, in one block, in the precision JAX is set to."""
    left = _floating(x1)
    right = left if x2 is None else _floating(x2)
    steps = plan(network, left.shape[1:])
    same = _same(left, right, x2 is None)
    run = Propagation(
        steps, (left, right), same, ntk=ntk, seed=seed, draws=draws, differentiated=True
    )
    nngp, tangent = _output(steps, run, ntk=ntk)
    return nngp, tangent, _DERIVED[nngp.dtype.name]


def _floating(x: Any) -> Any:
    array = jnp.asarray(x)
    return array if array.dtype.kind in "iu" else array.astype(float)


def propagate(
    network: Network,
    x1: np.ndarray,
    x2: np.ndarray | None,
    masks: tuple[np.ndarray | None, np.ndarray | None],
    graphs: tuple[np.ndarray | None, np.ndarray | None],
    *,
    ntk: bool,
    dtype: str,
    every: bool,
    tile: int | None,
    draws: int,
    seed: int,
) -> Found:
    """Kernels of all pairs of inputs, block by block, upper half only where it is symmetric."""
    weighted = [n for n, node in enumerate(network.nodes) if isinstance(node.layer, FRESH)]
    steps = plan(network, x1.shape[1:])
    sizes = len(x1), len(x1 if x2 is None else x2)
    side = _tile(steps, sizes, tile, np.dtype(dtype).itemsize)
    item = np.dtype(dtype).itemsize
    inner = len(weighted) * max(step.count for step in steps.steps) if every else 0
    _check_memory(steps, sizes, side, item, kernels=1 + ntk, inner=inner)
    if steps.sampled:  # ten numbers a pair and draw, at 1e10 a second
        check_time(
            1e-10 * draws * sizes[0] * sizes[1] * 10, "This many draws", received=f"{draws=}",
            suggestion="fewer draws: the standard error falls with their square root",
        )  # fmt: skip
    wide = dtype == "float64"
    blocks = list(_blocks(sizes, side, symmetric=x2 is None))
    repeats = _REPEATS if steps.sampled else 1
    results = []
    with jax.enable_x64(wide), progress_bar("kernels", len(blocks) * repeats) as advance:
        for repeat in range(repeats):
            whole = _Whole(sizes, dtype)
            for rows, columns in blocks:
                right = x1 if x2 is None else x2
                pair = _cast(x1[rows], dtype), _cast(right[columns], dtype)
                same = _same(*pair, x2 is None and rows == columns)
                there, linked = (_parts(both, rows, columns) for both in (masks, graphs))
                run = Propagation(
                    steps, pair, same, ntk=ntk, seed=seed * _REPEATS + repeat,
                    draws=max(draws // repeats, 1), masks=there, graphs=linked,
                )  # fmt: skip
                out = {0: _output(steps, run, ntk=ntk)}
                for number, node in enumerate(weighted if every else (), start=1):
                    step = steps.step_of_node[node]
                    out[number] = _at_equal_positions(steps, run, step, ntk=ntk)
                whole.put(rows, columns, out, mirror=x2 is None)
                whole.error = max(whole.error, run.error)
                advance()
            results.append(whole)
    return _gathered(results, ntk=ntk)


def _parts(both: tuple[Any, Any], rows: slice, columns: slice) -> tuple[Any, Any]:
    left, right = both
    return (
        None if left is None else jnp.asarray(left[rows]),
        None if right is None else jnp.asarray(right[columns]),
    )


def _cast(x: np.ndarray, dtype: str) -> Any:
    return jnp.asarray(x if x.dtype.kind in "iu" else x.astype(dtype))


def _same(left: Any, right: Any, symmetric: bool) -> Any:  # noqa: FBT001
    shape = (len(left), len(right))
    return jnp.eye(*shape, dtype=bool) if symmetric else jnp.zeros(shape, dtype=bool)


class _Whole:
    """The kernels of all pairs, filled block by block; 0 is the output, 1 ... are layers."""

    def __init__(self, sizes: tuple[int, int], dtype: str) -> None:
        self.sizes, self.dtype, self.error = sizes, dtype, 0.0
        self.arrays: dict[int, list[np.ndarray]] = {}

    def put(
        self, rows: slice, columns: slice, out: dict[int, tuple[Any, Any]], *, mirror: bool
    ) -> None:
        for number, both in out.items():
            wanted = [v for v in both if v is not None]
            if number not in self.arrays:
                self.arrays[number] = [
                    np.empty((*self.sizes, *v.shape[2:]), self.dtype) for v in wanted
                ]
            for array, value in zip(self.arrays[number], wanted, strict=True):
                block = np.asarray(value)
                if not mirror:
                    array[rows, columns] = block
                    continue
                # Positions of both inputs change places too, where both are there.
                half = (block.ndim - 2) // 2 if number == 0 else 0
                inner = list(range(2, block.ndim))
                turned = block.transpose(1, 0, *inner[half:], *inner[:half])
                if rows == columns:  # draws for (a, b) are others than for (b, a)
                    array[rows, columns] = (block + turned) / 2
                else:
                    array[rows, columns], array[columns, rows] = block, turned


def _gathered(results: list[_Whole], *, ntk: bool) -> Found:
    """The mean of independent repeats, and its standard error."""
    first = results[0].arrays
    means, errors = {}, {}
    for number in first:
        pairs = [_mean([r.arrays[number][k] for r in results]) for k in range(1 + ntk)]
        means[number] = [mean for mean, _ in pairs]
        errors[number] = [error for _, error in pairs if error is not None]
    drawn = errors[0] or [None, None]
    layers = {n: (m[0], m[1] if ntk else None) for n, m in means.items() if n}
    error = max(r.error for r in results) + _rounding(results[0])
    return Found(
        means[0][0], means[0][1] if ntk else None, error,
        drawn[0], drawn[1] if ntk else None, layers,
    )  # fmt: skip


def _mean(repeats: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """The mean, and its standard error if there are several, with no copy of them all."""
    if len(repeats) == 1:
        return repeats[0], None
    mean = sum(repeats[1:], repeats[0]) / len(repeats)
    square = np.zeros_like(mean)
    for one in repeats:
        square += (one - mean) ** 2
    return mean, np.sqrt(square / (len(repeats) - 1) / len(repeats))


def _rounding(whole: _Whole) -> float:
    return 64.0 * float(np.finfo(whole.dtype).eps)


def _output(steps: Plan, run: Propagation, *, ntk: bool) -> tuple[Any, Any]:
    last = steps.step_of_node[-1]
    step = steps.steps[last]
    c = run.output("second", last, CROSS)
    shape = c.shape[:2] if step.flat or step.count == 1 else (
        *c.shape[:2], *step.positions, *step.positions
    )  # fmt: skip
    if not ntk:
        return c.reshape(shape), None
    t = run.output("tangent", last, CROSS)
    return c.reshape(shape), (jnp.zeros_like(c) if t is None else t).reshape(shape)


def _at_equal_positions(steps: Plan, run: Propagation, i: int, *, ntk: bool) -> tuple[Any, Any]:
    shape = (*run.pairs(CROSS), *steps.steps[i].positions)
    c = run.second(i, i, CROSS, full=False).reshape(shape)
    if not ntk:
        return c, None
    t = run.tangent(i, i, CROSS, full=False)
    return c, jnp.zeros_like(c) if t is None else t.reshape(shape)


def _blocks(sizes: tuple[int, int], side: int, *, symmetric: bool) -> Iterator[tuple[slice, slice]]:
    rows, columns = (
        [slice(start, min(start + side, size)) for start in range(0, size, side)] for size in sizes
    )
    for r, c in itertools.product(rows, columns):
        if not symmetric or r.start <= c.start:
            yield r, c


def _bytes_per_pair(steps: Plan, itemsize: int) -> int:
    largest = max(s.count**2 if s.full else s.count for s in steps.steps)
    return largest * itemsize * _ARRAYS_AT_ONCE


def _tile(steps: Plan, sizes: tuple[int, int], tile: int | None, itemsize: int) -> int:
    most = max(1, *sizes)
    if tile is not None:
        return min(tile, most)
    one = _bytes_per_pair(steps, itemsize)
    room = min(_WORK_BYTES, available() // 2)
    fits = math.isqrt(min(_BLOCK_BYTES // one, room // _work(steps, one)))
    return min(max(fits, 1), most)


def _work(steps: Plan, bytes_per_pair: int) -> int:
    """What all layers hold of one pair."""
    return max(bytes_per_pair * len(steps.steps) // 4, 1)


def _check_memory(
    steps: Plan, sizes: tuple[int, int], side: int, itemsize: int, *, kernels: int, inner: int
) -> None:
    """Refuse before an allocation that can't fit."""
    last = steps.steps[steps.step_of_node[-1]]
    entries = (1 if last.flat else last.count**2) + inner
    copies = _REPEATS + 3 if steps.sampled else 1  # all repeats, their mean and its error
    results = copies * kernels * sizes[0] * sizes[1] * entries * itemsize
    working = side**2 * _work(steps, _bytes_per_pair(steps, itemsize))
    check_memory(
        results + working, "These kernels",
        received=f"{sizes[0]:,} x {sizes[1]:,} inputs, {working / 2**30:.1f} GiB of work",
        suggestion='fewer inputs at a time, a smaller tile=, dtype="float32", or smaller images',
    )  # fmt: skip
