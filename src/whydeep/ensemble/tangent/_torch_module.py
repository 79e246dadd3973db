"""A PyTorch module with parameters that can be differentiated, and what its parts take and give."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from whydeep.ensemble.tangent._torch_units import Unit
from whydeep.errors import InputError, UnsupportedError

__all__ = ["Runner"]


class Runner:
    """The module with parameters that can be differentiated; it stays as it is.

    Args:
        torch: PyTorch.
        module: of it.
        params: None, or tensors in place of its own, by name.
    """

    def __init__(self, torch: Any, module: Any, params: Any) -> None:
        self.torch, self.module = torch, module
        own = dict(module.named_parameters())
        given = {} if params is None else params
        if not isinstance(given, dict) or not set(given) <= set(own):
            raise InputError(
                "The parameters are not those of the module.",
                received=f"{type(params).__name__} {list(given)[:5] if given else ''}".rstrip(),
                needed="None, or a dict of tensors by name, as in named_parameters()",
            )
        self.tensors = {
            name: given.get(name, p).detach().requires_grad_()
            for name, p in own.items()
            if p.requires_grad
        }
        self.fixed = {n: given.get(n, p).detach() for n, p in own.items() if not p.requires_grad}
        kinds = {p.dtype for p in self.tensors.values()}
        if not kinds:
            raise InputError(
                "The module has no parameters to take derivatives of.",
                received=f"{type(module).__name__} with {len(own)} parameters, all frozen",
                needed="parameters with requires_grad=True",
            )
        if kinds not in ({torch.float32}, {torch.float64}):
            raise UnsupportedError(
                "The parameters are not of one precision, or of half precision.",
                received=", ".join(sorted(map(str, kinds))),
                needed="torch.float32 or torch.float64",
                suggestion="a copy of the module: copy.deepcopy(module).float()",
            )
        self.dtype = np.float64 if kinds == {torch.float64} else np.float32
        self.kind = kinds.pop()
        for each in module.modules():
            if isinstance(each, torch.nn.modules.batchnorm._BatchNorm) and (  # noqa: SLF001
                each.training or each.running_mean is None
            ):
                raise InputError(
                    "Batch normalisation by the batch makes outputs depend on other examples.",
                    received=f"{type(each).__name__} in training mode, or without statistics",
                    needed="a module that treats every example by itself",
                    suggestion="module.eval()",
                )

    def examples(self, x: Any, name: str) -> Any:
        """A tensor (N, ...)."""
        torch = self.torch
        if not isinstance(x, torch.Tensor):
            x = torch.as_tensor(np.asarray(x))
        if x.ndim == 0 or len(x) == 0:
            raise InputError(f"{name} has no examples.", received=f"shape {tuple(x.shape)}")
        if x.is_floating_point():
            if not bool(torch.isfinite(x).all()):
                raise InputError(f"{name} has numbers that are not finite.")
            x = x.to(self.kind)
        return x.detach()

    def __call__(self, x: Any) -> Any:
        """Outputs (b, C), and the shape of one example's."""
        buffers = {name: b.clone() for name, b in self.module.named_buffers()}
        state = {**self.tensors, **self.fixed, **buffers}
        out = self.torch.func.functional_call(self.module, state, (x.clone(),))
        if not isinstance(out, self.torch.Tensor) or out.ndim == 0 or len(out) != len(x):
            shape = f" of shape {tuple(out.shape)}" if hasattr(out, "shape") else ""
            raise InputError(
                "The module does not give one row of outputs an example.",
                received=f"{type(out).__name__}{shape} for {len(x)} examples",
                needed=f"a tensor ({len(x)}, ...)",
                suggestion="a module around it that picks the output",
            )
        if not out.is_floating_point() or out.numel() == 0:
            raise InputError("The outputs have no derivatives.", received=str(out.dtype))
        return out.reshape(len(x), -1), tuple(out.shape[1:])

    @contextlib.contextmanager
    def recorded(self, units: Sequence[Unit]) -> Iterator[list[list[Any]]]:
        """What each unit takes and gives, a pair for every call."""
        records: list[list[Any]] = [[] for _ in units]

        def hook(number: int) -> Any:
            def keep(_module: Any, arguments: Any, options: Any, result: Any) -> Any:
                value = arguments[0] if len(arguments) == 1 and not options else None
                records[number].append((None if value is None else value.detach().clone(), result))
                return result.clone()  # what is changed in place is the copy

            return keep

        handles = [
            unit.module.register_forward_hook(hook(number), with_kwargs=True)
            for number, unit in enumerate(units)
        ]
        try:
            yield records
        finally:
            for handle in handles:
                handle.remove()

    def gradients(self, value: Any, wanted: list[Any]) -> Any:
        """Of a sum of outputs; zeros where it does not depend on them."""
        if not wanted:
            return ()
        if not value.requires_grad:
            return tuple(self.torch.zeros_like(w) for w in wanted)
        return self.torch.autograd.grad(value, wanted, retain_graph=True, materialize_grads=True)
