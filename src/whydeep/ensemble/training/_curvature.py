"""Second derivatives: of an output in the parameters, and of the loss through the outputs.

All in parameters ``u = w / sqrt(rate)``, in which gradient descent is plain: a step along
``-dL/du``. So the numbers are those of the parameterization that the rates belong to.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from whydeep.ensemble._apply import apply_network
from whydeep.ensemble.training._lanczos import spectral_norm
from whydeep.ensemble.training._steps import Task, split_parameters

__all__ = ["LANCZOS_ITERATIONS", "along_update", "hessian_norm", "sharpness"]

LANCZOS_ITERATIONS = 24


class _Flat:
    """A network as a function of one vector u of all trained parameters."""

    def __init__(self, task: Task, parameters: Any) -> None:
        trained, roots, merge = split_parameters(task.network, task.input_shape, parameters)
        u = [w / root for w, root in zip(trained, roots, strict=True)]
        self.point, unravel = ravel_pytree(u)

        def outputs(u: Any, x: Any) -> Any:
            arrays = [root * a for root, a in zip(roots, unravel(u), strict=True)]
            return apply_network(task.evaluated, merge(arrays), x)

        self.outputs = outputs

    def hessian_product(self, row: Any, vector: Any) -> Any:
        """The Hessian of the first output of an input, times a vector."""

        def output(u: Any) -> Any:
            return self.outputs(u, row[None])[0].ravel()[0]

        return jax.jvp(jax.grad(output), (self.point,), (vector,))[1]


def hessian_norm(task: Task, parameters: Any, x: Any, key: Any) -> dict[str, Any]:
    """The spectral norm of the Hessian of the first output, an input at a time: (inputs,)."""
    flat = _Flat(task, parameters)
    start = jax.random.normal(key, flat.point.shape, flat.point.dtype)

    def one(row: Any) -> Any:
        return spectral_norm(lambda v: flat.hessian_product(row, v), start, LANCZOS_ITERATIONS)

    norm, residual = jax.lax.map(one, x)
    return {"hessian_norm": norm, "hessian_residual": residual}


def along_update(task: Task, parameters: Any, x: Any, y: Any, inputs: int) -> Any:
    """``|H d| / |d|`` for the direction d of gradient descent on all examples: (inputs,).

    It falls like the spectral norm of H, as 1/sqrt(width). The second derivative along d alone,
    ``d H d / d d``, is smaller: terms of both signs cancel in it, and it falls as 1/width.
    """
    flat = _Flat(task, parameters)

    def loss(u: Any) -> Any:
        return jnp.sum(task.loss.each(flat.outputs(u, x), y))

    update = jax.grad(loss)(flat.point)
    length = jnp.linalg.norm(update)
    direction = jnp.where(length > 0, update / jnp.where(length > 0, length, 1), 0)

    def one(row: Any) -> Any:
        return jnp.linalg.norm(flat.hessian_product(row, direction))

    return jax.lax.map(one, x[:inputs])


def sharpness(task: Task, parameters: Any, x: Any, y: Any, key: Any) -> tuple[Any, Any]:
    """``lambda_max`` of ``J' (d^2 loss / d outputs^2) J``, and Lanczos's residual.

    For the squared loss it is that of the tangent kernel of all outputs; gradient descent on the
    linearised network is stable for steps below ``2 / lambda_max``. For cross-entropy it is that
    of ``Theta (diag p - p p')``.
    """
    flat = _Flat(task, parameters)

    def outputs(u: Any) -> Any:
        return flat.outputs(u, x)

    def loss(values: Any) -> Any:
        return jnp.sum(task.loss.each(values, y))

    values, pull = jax.vjp(outputs, flat.point)

    def product(vector: Any) -> Any:
        moved = jax.jvp(outputs, (flat.point,), (vector,))[1]
        bent = jax.jvp(jax.grad(loss), (values,), (moved,))[1]
        return pull(bent)[0]

    start = jax.random.normal(key, flat.point.shape, flat.point.dtype)
    with jax.default_matmul_precision("highest"):
        return spectral_norm(product, start, LANCZOS_ITERATIONS)
