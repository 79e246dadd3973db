"""A loss as a function of one vector of parameters: of a JAX tree, or of PyTorch tensors.

Both kinds answer the same three questions: losses at many points of an affine subspace at once,
products with the Hessian, and vectors as trees of parameters and back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from whydeep.arguments import CALLABLE, anything, called, takes
from whydeep.errors import InputError, UnsupportedError

__all__ = ["Loss", "read_loss", "torch_loss"]


@runtime_checkable
class Loss(Protocol):
    """What the landscape needs of a loss.

    Args:
        leaves: the parameters as float64 arrays, in the order of the vector.
        filter_axis: the axis of an array that counts filters, by the library's convention.
    """

    leaves: list[np.ndarray]
    filter_axis: int

    def on_points(self, directions: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Losses at params + coefficients @ directions: (points,)."""
        ...

    def hessian_product(self, vector: np.ndarray) -> np.ndarray:
        """The Hessian at params times a vector."""
        ...

    def tree(self, vector: np.ndarray) -> Any:
        """A vector in the form of the parameters."""
        ...

    def vector(self, tree: Any) -> np.ndarray:
        """A tree like the parameters as a vector."""
        ...


def read_loss(loss: Any, params: Any) -> Loss:
    """A loss of JAX or of PyTorch, by its parameters."""
    if not callable(loss):
        raise InputError(
            "The loss is no function.", received=type(loss).__name__,
            needed="loss(params), a number: a JAX function, or torch_loss(module, criterion)",
        )  # fmt: skip
    if isinstance(params, Mapping) and params and all(_is_tensor(v) for v in params.values()):
        return _TorchLoss(loss, dict(params))
    return _JaxLoss(loss, params)


@takes(module=anything, criterion=CALLABLE)
def torch_loss(module: Any, criterion: Callable[[Any], Any]) -> tuple[Any, dict[str, Any]]:
    """A PyTorch module's loss as a function of its parameters, and those parameters.

    ``loss(params) = criterion(f)``, where ``f(x)`` is the module with these parameters. The module
    keeps its own; buffers, such as the means of BatchNorm, stay as they are: call ``module.eval()``
    first if it has any.

    Args:
        module: a torch.nn.Module.
        criterion: takes the function ``f`` and returns the loss, a tensor of one number.

    Returns:
        ``(loss, params)``, the first two arguments of `loss_slice` and `hessian_top`.

    Raises:
        InputError: no module, or one without trained parameters.

    Accuracy and cost: those of the module.

    Source: torch.func.functional_call.

    Example:
        >>> import pytest
        >>> torch = pytest.importorskip("torch")
        >>> module, x = torch.nn.Linear(3, 1), torch.ones(4, 3)
        >>> loss, params = torch_loss(module, lambda f: (f(x) ** 2).mean())
        >>> bool(torch.isclose(loss(params), (module(x) ** 2).mean()))
        True
    """
    if not callable(getattr(module, "named_parameters", None)):
        raise InputError("This is no PyTorch module.", received=type(module).__name__)
    from torch.func import functional_call

    params = {
        name: value.detach() for name, value in module.named_parameters() if value.requires_grad
    }
    if not params:
        raise InputError("The module has no parameters that are trained.")

    def loss(values: dict[str, Any]) -> Any:
        return criterion(lambda *x: functional_call(module, values, x))

    return loss, params


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.split(".")[0] == "torch"


class _JaxLoss:
    """Any JAX function of a tree of arrays; float64 arrays are computed in float64."""

    filter_axis = -1

    def __init__(self, loss: Callable[[Any], Any], params: Any) -> None:
        import jax

        leaves, self._form = jax.tree.flatten(params)
        arrays = [np.asarray(leaf) for leaf in leaves]
        if not arrays or any(a.dtype.kind != "f" for a in arrays):
            raise InputError(
                "The parameters are no tree of real arrays.",
                received=", ".join(sorted({str(a.dtype) for a in arrays})) or "nothing",
                needed="arrays of float32 or float64",
            )
        _check_finite(arrays)
        self._arrays = arrays
        self.leaves = [a.astype(np.float64) for a in arrays]
        self._ends = np.cumsum([a.size for a in arrays])[:-1]
        self._dtype = np.result_type(*arrays)
        self._loss = loss
        with self._precision():
            start = self._tree(arrays)
            with called("loss", "loss(params), a number, for a tree like these params"):
                shape = jax.eval_shape(loss, start)
            if getattr(shape, "shape", None) != ():
                raise InputError(
                    "The loss is not one number.", received=f"{shape}", needed="a scalar"
                )

            def moved(flat: Any, directions: Any, c: Any) -> Any:
                return loss(self._unravel(flat + c @ directions))

            def product(flat: Any, v: Any) -> Any:
                gradient = jax.grad(lambda w: loss(self._unravel(w)))
                return jax.jvp(gradient, (flat,), (v,))[1]

            self._many = jax.jit(jax.vmap(moved, (None, None, 0)))
            self._product = jax.jit(product)

    def _precision(self) -> Any:
        import jax

        double = self._dtype == np.float64
        return jax.enable_x64(True) if double else contextlib.nullcontext()  # noqa: FBT003

    def _flat(self) -> np.ndarray:
        return np.concatenate([a.ravel() for a in self._arrays]).astype(self._dtype)

    def _unravel(self, flat: Any) -> Any:
        import jax.numpy as jnp

        parts = jnp.split(flat, self._ends)
        return self._tree(
            [p.reshape(a.shape).astype(a.dtype) for p, a in zip(parts, self._arrays, strict=True)]
        )

    def _tree(self, leaves: list[Any]) -> Any:
        import jax

        return jax.tree.unflatten(self._form, leaves)

    def on_points(self, directions: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        with self._precision():
            found = self._many(
                self._flat(), directions.astype(self._dtype), coefficients.astype(self._dtype)
            )
            return np.asarray(found, np.float64)

    def hessian_product(self, vector: np.ndarray) -> np.ndarray:
        with self._precision():
            found = self._product(self._flat(), vector.astype(self._dtype))
            return np.asarray(found, np.float64)

    def tree(self, vector: np.ndarray) -> Any:
        parts = np.split(vector, self._ends)
        return self._tree(
            [p.reshape(a.shape).astype(a.dtype) for p, a in zip(parts, self._arrays, strict=True)]
        )

    def vector(self, tree: Any) -> np.ndarray:
        import jax

        leaves, form = jax.tree.flatten(tree)
        if form != self._form:
            raise _other_form()
        return _joined([np.asarray(leaf) for leaf in leaves], self.leaves)


class _TorchLoss:
    """A loss of a dict of PyTorch tensors, through torch.func."""

    filter_axis = 0

    def __init__(self, loss: Callable[[Any], Any], params: dict[str, Any]) -> None:
        import torch

        self._loss, self._params = loss, {k: v.detach() for k, v in params.items()}
        self.leaves = [v.cpu().double().numpy() for v in self._params.values()]
        if any(not v.is_floating_point() for v in self._params.values()):
            raise InputError("The parameters are no real tensors.")
        _check_finite(self.leaves)
        self._ends = np.cumsum([a.size for a in self.leaves])[:-1]
        value = loss(self._params)
        if not isinstance(value, torch.Tensor) or value.ndim:
            raise InputError("The loss is not one number.", needed="a tensor of no dimensions")

    def _tensors(self, vector: np.ndarray) -> dict[str, Any]:
        import torch

        parts = np.split(vector, self._ends)
        return {
            name: torch.as_tensor(part.reshape(value.shape), dtype=value.dtype, device=value.device)
            for part, (name, value) in zip(parts, self._params.items(), strict=True)
        }

    def on_points(self, directions: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        import torch

        ways = [self._tensors(d) for d in directions]
        first = next(iter(self._params.values()))
        c = torch.as_tensor(coefficients, dtype=first.dtype, device=first.device)

        def at(own: Any) -> Any:
            return self._loss(
                {
                    name: value + sum(own[i] * way[name] for i, way in enumerate(ways))
                    for name, value in self._params.items()
                }
            )

        with torch.no_grad():
            return torch.func.vmap(at)(c).cpu().double().numpy()

    def hessian_product(self, vector: np.ndarray) -> np.ndarray:
        import torch

        # Backward twice: the Hessian is symmetric. Forward over backward warns of torch.jit.
        backward: Any = torch.func.vjp(torch.func.grad(self._loss), self._params)
        found = backward[1](self._tensors(vector))[0]
        return np.concatenate([found[name].cpu().double().numpy().ravel() for name in self._params])

    def tree(self, vector: np.ndarray) -> Any:
        return self._tensors(vector)

    def vector(self, tree: Any) -> np.ndarray:
        if not isinstance(tree, Mapping) or set(tree) != set(self._params):
            raise _other_form()
        leaves = [np.asarray(tree[name].detach().cpu().double()) for name in self._params]
        return _joined(leaves, self.leaves)


def _other_form() -> InputError:
    return InputError("A direction or a point has another form than the parameters.",
                      needed="a tree like the parameters")  # fmt: skip


def _joined(leaves: list[np.ndarray], like: list[np.ndarray]) -> np.ndarray:
    for leaf, own in zip(leaves, like, strict=True):
        if leaf.shape != own.shape:
            raise InputError("A direction or a point has arrays of other shapes.",
                             received=f"{leaf.shape}", needed=f"{own.shape}")  # fmt: skip
    joined = np.concatenate([leaf.astype(np.float64).ravel() for leaf in leaves])
    _check_finite([joined])
    return joined


_LARGEST = 1e150  # the square of more is no number


def _check_finite(arrays: list[np.ndarray]) -> None:
    if not all(np.isfinite(a).all() for a in arrays):
        raise InputError("There are numbers that are not finite.", needed="finite parameters")
    largest = max((float(np.abs(a).max(initial=0.0)) for a in arrays), default=0.0)
    if largest > _LARGEST:
        raise InputError(
            "The parameters are too large for their lengths to be numbers.",
            received=f"up to {largest:.3g}",
            needed=f"at most {_LARGEST:g}",
        )


def finite(values: np.ndarray, what: str) -> np.ndarray:
    """Values, or a refusal where some are not finite."""
    if not np.isfinite(values).all():
        raise UnsupportedError(
            f"{what} is not finite.", suggestion="parameters in float64, or a smaller span"
        )
    return values
