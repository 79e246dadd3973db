"""The tangent kernel of a PyTorch module, by its own forward and backward passes.

The module runs as it is, eagerly: values changed in place and control flow that depends on data
are its own affair. What is assumed of it is checked on the examples at hand, every one of them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep.ensemble.tangent._blocks import Side, assembled, block_sizes
from whydeep.ensemble.tangent._inputs import Parameters, grouped, precision, read_rates
from whydeep.ensemble.tangent._torch_features import TorchFeatures
from whydeep.ensemble.tangent._torch_module import Runner
from whydeep.ensemble.tangent._torch_structure import find_structure
from whydeep.ensemble.tangent._torch_units import find_units
from whydeep.errors import InputError
from whydeep.network.torch_reader import require_torch
from whydeep.progress import phase

__all__ = ["torch_kernel"]


def torch_kernel(
    module: Any, params: Any, x1: Any, x2: Any, outputs: str, groups: Any, rates: Any,
    batch: int | None,
) -> tuple[list[np.ndarray], list[Any], tuple[int, ...]]:  # fmt: skip
    """Kernels, their groups and the shape of an example's output: see `tangent_kernel`.

    The parts of Linear, Conv, Embedding and norm layers that are called once an example follow
    from what they take and from derivatives with respect to what they give, all examples at once,
    if the module treats examples alike and apart: outputs of a batch and values inside are compared
    with those of every example alone, and gradients with PyTorch's own. Where that does not hold
    (control flow that depends on data, other axes than the first for examples), every example runs
    alone; and parameters used in other ways take a backward pass an example and output. All of it
    is exact.
    """
    torch = require_torch()
    runner = Runner(torch, module, params)
    names = sorted(runner.tensors)
    leaves = [
        np.broadcast_to(np.zeros((), runner.dtype), tuple(runner.tensors[n].shape)) for n in names
    ]
    tree = jax.tree.structure(dict.fromkeys(names, 0))
    parameters = Parameters(leaves, names, tree, tuple(range(len(names))))
    every_rate = read_rates(rates, parameters)
    labels = grouped(groups, names, ".")
    chosen = [k for k in every_rate if labels[k] is not None]
    whole = {names[k] for k in chosen if isinstance(every_rate[k], np.ndarray)}
    first = runner.examples(x1, "x1")
    sets = [first] if x2 is None else [first, runner.examples(x2, "x2")]
    if sets[-1].shape[1:] != first.shape[1:]:
        raise InputError(
            "The examples of x1 and x2 are not of one shape.",
            received=f"{tuple(first.shape)} and {tuple(sets[-1].shape)}",
            needed="the same shapes but for the number of examples",
        )
    with precision(leaves), phase("tangent kernel"), torch.enable_grad():
        leaves_of = {names[k]: k for k in chosen}
        units = find_units(torch, module, set(leaves_of) - whole)
        structure = find_structure(runner, units, sets)
        features = TorchFeatures(runner, structure, leaves_of, traced=outputs == "trace")
        alone, each = features.bytes()
        block = block_sizes(max(map(len, sets)), structure.size, alone, each, outputs, batch)
        order = list(dict.fromkeys(labels[k] for k in chosen))
        numbers = tuple(order.index(labels[t.leaf]) for t in features.terms)
        sides = [
            Side(len(x), lambda r, o, x=x, own=own: features.of_block(x, own, r, o, block))
            for x, own in zip(sets, structure.alone, strict=True)
        ]
        kernels = assembled(
            sides[0], sides[1] if len(sides) > 1 else None,
            structure.size, block, block[0] * (alone + block[1] * each),
            {k: jnp.asarray(v, runner.dtype) for k, v in every_rate.items()},
            features.terms, numbers, max(len(order), 1), outputs, runner.dtype,
        )  # fmt: skip
    return kernels, order, structure.shape
