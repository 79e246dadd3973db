"""The tangent kernel of one finite network: any JAX function, or a PyTorch module."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

from whydeep.arguments import COUNT, TREE, anything, choice, takes
from whydeep.ensemble.tangent._blocks import Side, assembled, block_sizes
from whydeep.ensemble.tangent._inputs import (
    Groups,
    check_examples,
    grouped,
    is_module,
    precision,
    read_parameters,
    read_rates,
)
from whydeep.ensemble.tangent._plan import Plan, plan_of
from whydeep.errors import InputError
from whydeep.progress import phase

__all__ = ["tangent_kernel"]

OUTPUTS = ("full", "trace", "diagonal")


@takes(
    fn=anything, params=TREE, x1=anything, x2=anything, outputs=choice(*OUTPUTS),
    groups=anything, rates=anything, batch=COUNT,
)  # fmt: skip
def tangent_kernel(
    fn: Any,
    params: Any,
    x1: Any,
    x2: Any = None,
    *,
    outputs: str = "full",
    groups: Groups = None,
    rates: Any = None,
    batch: int | None = None,
) -> Any:
    """The tangent kernel of one finite network, as it is: any JAX function.

    ``Theta[a, i, b, j] = sum_p rate_p df_i(x_a)/dp df_j(x_b)/dp`` over all parameters p.

    Each example is evaluated by itself. The N x P Jacobian is never formed: where an array of
    parameters is used once, in a product, a convolution, a table of embeddings or a sum, its part
    follows from products of values with values and derivatives with derivatives, or from the
    gradients of that one array, whichever is less work. For every other array (one used twice, or
    inside ``lax.scan``) it follows from the gradients of that array, block by block: as exact.

    Args:
        fn: ``fn(params, x)`` gives outputs (N, ...) for N examples; or a ``torch.nn.Module``.
        params: any tree of arrays; of a module, None.
        x1: N1 examples, an array (N1, ...) or a tree of such; of a module, a tensor.
        x2: N2 others; by default x1, and then only half of the blocks are computed.
        outputs: "full"; "trace", the sum over outputs i = j; "diagonal", each output i = j.
        groups: None: one kernel. Otherwise a dict of kernels that add up to it: "leaf", by array;
            "layer", by its path without the last part; or a function of an array's path, such as
            "layer_0/weight", that gives its group (None: in no group).
        rates: learning rates, a tree like `params` of numbers or arrays (0: frozen); by default 1.
        batch: examples in a block; by default what fits 16 MiB. It changes roundings only.

    Returns:
        ``full``: (N1, *outputs, N2, *outputs); ``trace``: (N1, N2); ``diagonal``: (N1, N2,
        *outputs), where an example's output is of shape ``outputs``. numpy arrays in the precision
        of the parameters: float64 arrays stay so, whatever JAX is set to.

    Raises:
        InputError: bad numbers or shapes; outputs that depend on the other examples of the batch;
            what `fn` itself raises, with the shapes it was given.
        UnsupportedError: a function that JAX can't trace; values that overflow.

    Accuracy: exact up to roundings. Cost: one forward pass, one backward pass an output, and for a
    layer of n x m weights at one position N1 N2 C^2 m operations, half of it if x2 is None.

    Source: Jacot, Gabriel and Hongler 2018, Eq. 4; Novak, Sohl-Dickstein and Schoenholz 2022.

    Example:
        >>> import numpy as np
        >>> params = {"weight": np.ones((3, 2), np.float32), "bias": np.zeros(2, np.float32)}
        >>> theta = tangent_kernel(lambda p, x: x @ p["weight"] + p["bias"], params, np.eye(3))
        >>> theta.shape
        (3, 2, 3, 2)
        >>> theta[0, 0, 0, 0].item(), theta[0, 0, 1, 0].item(), theta[0, 0, 0, 1].item()
        (2.0, 1.0, 0.0)
    """
    if is_module(fn):
        from whydeep.ensemble.tangent._torch import torch_kernel

        kernels, order, shape = torch_kernel(fn, params, x1, x2, outputs, groups, rates, batch)
        return finished(kernels, order, shape, outputs, groups)
    if not callable(fn):
        raise InputError(
            "The network is no function.",
            received=type(fn).__name__,
            needed="fn(params, x), or a torch.nn.Module",
        )
    with precision(params), phase("tangent kernel"):
        parameters = read_parameters(params)
        every_rate = read_rates(rates, parameters)
        names = grouped(groups, parameters.paths)
        chosen = [k for k in every_rate if names[k] is not None]
        whole = [k for k in chosen if isinstance(every_rate[k], np.ndarray)]
        dtype = parameters.dtype
        arrays = check_examples(x1, "x1", dtype)
        others = None if x2 is None else check_examples(x2, "x2", dtype)
        check_alike(x1, arrays, x2, others)
        plan = plan_of(fn, parameters, x1, arrays, chosen, whole, outputs)
        plan.check_once(fn, parameters, x1, arrays)
        labels, order = labelled(plan.terms, names, chosen)
        block = block_sizes(
            max(len(arrays[0]), 0 if others is None else len(others[0])),
            plan.size, plan.bytes_alone, plan.bytes_an_output, outputs, batch,
        )  # fmt: skip
        leaves = [jax.numpy.asarray(v) for v in parameters.leaves]
        sides = [
            None if a is None else Side(len(a[0]), _features(plan, leaves, a, block))
            for a in (arrays, others)
        ]
        assert sides[0] is not None  # noqa: S101 -- x1 is there
        kernels = assembled(
            sides[0], sides[1], plan.size, block,
            block[0] * (plan.bytes_alone + block[1] * plan.bytes_an_output),
            {k: jax.numpy.asarray(v, plan.dtype) for k, v in every_rate.items()},
            plan.terms, labels, max(len(order), 1), outputs, plan.dtype,
        )  # fmt: skip
    return finished(kernels, order, plan.shape, outputs, groups)


def labelled(
    terms: Any, names: list[Hashable], chosen: list[int]
) -> tuple[tuple[int, ...], list[Hashable]]:
    """The number of every term's group, and all groups in the order of their parameters."""
    order = list(dict.fromkeys(names[k] for k in chosen))
    return tuple(order.index(names[term.leaf]) for term in terms), order


def check_alike(x1: Any, arrays: list[Any], x2: Any, others: list[Any] | None) -> None:
    """Refuse examples of different shapes."""
    if others is None:
        return
    same = jax.tree.structure(x1) == jax.tree.structure(x2) and all(
        a.shape[1:] == b.shape[1:] for a, b in zip(arrays, others, strict=True)
    )
    if not same:
        raise InputError(
            "The examples of x1 and x2 are not of one shape.",
            received=f"{[a.shape for a in arrays]} and {[b.shape for b in others]}",
            needed="the same shapes but for the number of examples",
        )


def finished(
    kernels: list[np.ndarray],
    order: list[Hashable],
    shape: tuple[int, ...],
    outputs: str,
    groups: Groups,
) -> Any:
    """Kernels with the axes of the outputs, by group if asked for."""
    shaped = []
    for kernel in kernels:
        if outputs == "full":
            shaped.append(kernel.reshape(len(kernel), *shape, kernel.shape[2], *shape))
        elif outputs == "diagonal":
            shaped.append(kernel.reshape(*kernel.shape[:2], *shape))
        else:
            shaped.append(kernel)
    return shaped[0] if groups is None else dict(zip(order, shaped, strict=False))


def _features(
    plan: Plan, leaves: list[Any], arrays: list[Any], block: tuple[int, int]
) -> Callable[[slice, slice], Any]:
    """Features of a block, padded by its last example and by no output."""

    def compute(rows: slice, outs: slice) -> Any:
        places = np.minimum(np.arange(rows.start, rows.start + block[0]), rows.stop - 1)
        basis = np.eye(block[1], plan.size, outs.start, dtype=plan.dtype)
        basis[outs.stop - outs.start :] = 0
        return plan.features(leaves, [a[places] for a in arrays], basis)

    return compute
