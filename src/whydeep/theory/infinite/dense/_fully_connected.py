"""Kernels of fully connected networks at infinite width, by the fastest exact way there is.

    K^(1)_ab = C_b + C_W x_a . x_b / n_0            K' = C_b + C_W <s_a s_b>
    Theta^(1)_ab = lambda_b + lambda_W x_a . x_b / n_0
    Theta' = lambda_b + lambda_W <s_a s_b> + C_W <s'_a s'_b> Theta

Source: Neal 1996; Lee et al. 2018 (kernel). Jacot, Gabriel and Hongler 2018 (tangent kernel).
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from whydeep.arguments import check_memory
from whydeep.theory.infinite._error import Error
from whydeep.theory.infinite._threads import Block, run_blocks
from whydeep.theory.infinite.dense._cosines import Correlator, Rows, prepare
from whydeep.theory.infinite.dense._deep_map import deep_plan
from whydeep.theory.infinite.dense._pair_map import pair_plan
from whydeep.theory.infinite.dense._recursion import recursion_plan
from whydeep.theory.infinite.dense._stack import DenseStack, Plan
from whydeep.theory.infinite.dense._tensor_map import tensor_plan
from whydeep.threads import one_blas_thread, processors

__all__ = ["DenseStack", "Error", "dense_kernels"]

_TILES = {np.dtype(np.float32): 512, np.dtype(np.float64): 384}
_READY: set[tuple[type, np.dtype]] = set()
_LOCK = threading.Lock()


def dense_kernels(
    stack: DenseStack,
    x1: np.ndarray,
    x2: np.ndarray | None,
    *,
    ntk: bool = True,
    dtype: Any = np.float64,
    tile: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None, Error] | None:
    """Kernel and tangent kernel of the output layer, or None where no fast way applies.

    Args:
        stack: the network.
        x1: finite inputs, (N1, n_0), float64.
        x2: finite inputs, (N2, n_0), float64; x1 again if None.
        ntk: whether the tangent kernel is wanted.
        dtype: float64, or float32 for half the time and memory.
        tile: rows and columns worked on at once, which bounds the memory besides the results and
            one copy of the inputs in `dtype`.

    Returns:
        K and Theta, each (N1, N2), and their estimated errors.

    Accuracy: float64 1e-13 to 1e-12 for tables of one correlation and for closed forms; 1e-10 for
    tables of three variables; float32 3e-7, and 1e-6 for inputs in several narrow clusters; all
    relative to sqrt(K_aa K_bb). Diagonals, coincident and opposite inputs to rounding, and
    2 |K_ab| <= K_aa + K_bb in every pair.

    Cost: half the products of all pairs of inputs, which take most of the time, and a map of each
    that does not grow with depth (closed forms with biases excepted).

    Example:
        >>> from whydeep.activations import get
        >>> stack = DenseStack(get("relu"), (2.0, 2.0), (0.0, 0.0), (2.0, 2.0), (0.0, 0.0))
        >>> nngp, ntk, error = dense_kernels(stack, np.eye(2), None)
        >>> nngp.round(4)
        array([[1.    , 0.3183],
               [0.3183, 1.    ]])
    """
    if not _possible(stack):
        return None
    with one_blas_thread():
        return _kernels(stack, x1, x2, np.dtype(dtype), tile, ntk=ntk)


def _kernels(
    stack: DenseStack,
    x1: np.ndarray,
    x2: np.ndarray | None,
    dtype: np.dtype,
    tile: int | None,
    *,
    ntk: bool,
) -> tuple[np.ndarray, np.ndarray | None, Error] | None:
    first = stack.weight_var[0], stack.bias_var[0]
    _check_memory(x1, x2, dtype, tile or _TILES[dtype], ntk=ntk)
    rows = prepare(x1, *first, dtype)
    columns = rows if x2 is None else prepare(x2, *first, dtype, rows.centre)
    shape = (len(rows.variance), len(columns.variance))
    if 0 in shape:
        empty = np.empty(shape, dtype)
        return empty, empty.copy() if ntk else None, Error(0.0, 0.0 if ntk else None)
    plan = _plan(stack, rows, columns, dtype)
    if plan is None:
        return None
    nngp = np.empty(shape, dtype)
    tangent = np.empty(shape, dtype) if ntk else None
    side = min(tile or _TILES[dtype], max(shape))
    _compile(plan, rows, columns, nngp, tangent)

    def make_worker() -> Any:
        distances = Correlator(rows, columns, plan.limit, side)
        mapped = plan.mapper(nngp, tangent)

        def work(block: Block) -> None:
            mapped(distances(block), block)

        return work

    run_blocks(*shape, side, make_worker, symmetric=columns is rows)
    return nngp, tangent, plan.error if ntk else Error(plan.error.nngp, None)


def _check_memory(
    x1: np.ndarray, x2: np.ndarray | None, dtype: np.dtype, tile: int, *, ntk: bool
) -> None:
    """Refuse results, unit rows and every thread's blocks that can't be held."""
    sizes = [len(x) for x in (x1, x2) if x is not None]
    side = min(tile, max(sizes))
    each = 3 * 8 * side**2 + 16 * side * x1.shape[1]  # a block, in float64 where rows are crowded
    needed = (1 + ntk) * sizes[0] * sizes[-1] * dtype.itemsize
    needed += sum(sizes) * (x1.shape[1] + 2) * dtype.itemsize + each * processors()
    check_memory(
        needed, "The kernels of these inputs",
        received=f"{sizes[0]:,} x {sizes[-1]:,} inputs",
        suggestion='fewer rows at a time, kernel(net, x[:1000], x), ntk=False, or dtype="float32"',
    )  # fmt: skip


def _possible(stack: DenseStack) -> bool:
    every = (*stack.weight_var, *stack.bias_var, *stack.weight_lr, *stack.bias_lr)
    return (
        len(stack.weight_var) >= 2
        and min(stack.weight_var) > 0
        and bool(np.all(np.isfinite(every)))
        # homogeneous functions are; asking others evaluates them, which JAX compiles
        and (stack.activation.slopes is not None or stack.activation.continuous)
    )


def _plan(stack: DenseStack, rows: Rows, columns: Rows, dtype: np.dtype) -> Plan | None:
    if not (np.all(np.isfinite(rows.variance)) and np.all(np.isfinite(columns.variance))):
        return None
    for way in (deep_plan, recursion_plan, tensor_plan, pair_plan):
        plan = way(stack, rows, columns, dtype)
        if plan is not None:
            return plan
    return None


def _compile(
    plan: Plan,
    rows: Rows,
    columns: Rows,
    nngp: np.ndarray,
    tangent: np.ndarray | None,
) -> None:
    """Work on one pair first, so that what must be compiled is compiled once."""
    key = type(plan), nngp.dtype
    with _LOCK:
        if key in _READY:
            return
        distances = Correlator(rows, columns, plan.limit, 1)
        distances.rehearse()
        plan.mapper(nngp, tangent)(distances((0, 1, 0, 1)), (0, 1, 0, 1))
        _READY.add(key)
