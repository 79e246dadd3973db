"""What a user gives to be read: a module or its constructor, and a batch of its inputs.

Both are made ready (wrappers taken off, lazy layers made, the batch in the module's type) or
refused before anything is traced, with the module's own words where it fails on the batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.errors import InputError, UnsupportedError
from whydeep.network.torch_reader._draws import copied, fresh, sampled
from whydeep.network.torch_reader._seed import seeded

__all__ = ["Given", "given"]

_NEEDED = (
    "a torch.nn.Module, or a callable without arguments that returns a fresh one, and a batch of "
    "inputs (N, ...)"
)


@dataclass(frozen=True)
class Given:
    """A module ready to be traced.

    Args:
        module: with numbers.
        example: a batch that it takes, (N, ...).
        factory: gives fresh modules like it, or None where only a module was given.
        draws: numbers ``(draws, *shape)`` of every parameter from calls of the factory.
    """

    module: Any
    example: Any
    factory: Callable[[], Any] | None
    draws: Mapping[str, np.ndarray] | None


def given(torch: Any, source: Any, example: Any, *, draw: bool = True) -> Given:
    """A module or a constructor with a batch of inputs, ready to be traced.

    Args:
        torch: PyTorch.
        source: a module, or a callable without arguments that returns a fresh one.
        example: a tensor or an array.
        draw: whether the constructor shall be called again and again.

    Raises:
        InputError: something else; a module without numbers or with NaN among them; a batch that
            it does not take.
        UnsupportedError: scripted and quantised modules, complex numbers, sparse tensors.
    """
    if isinstance(example, np.ndarray) and example.dtype.kind in "biuf":
        if example.dtype == np.longdouble != np.float64:  # PyTorch has none
            example = example.astype(np.float64)
        example = torch.as_tensor(np.ascontiguousarray(example))
    if not (isinstance(source, torch.nn.Module) or callable(source)) or not isinstance(
        example, torch.Tensor
    ):
        raise InputError(
            "A PyTorch network is read from a module and an example of its inputs.",
            received=f"{type(source).__name__} and {type(example).__name__}",
            needed=_NEEDED,
            suggestion="a module around it that takes one tensor"
            if isinstance(example, (dict, list, tuple))
            else "",
        )
    batch = _batch(torch, example)
    if isinstance(source, torch.nn.Module):
        module, batch = _ready(torch, source, batch)
        with seeded(0):
            _apply(torch, module, batch)
        return Given(module, batch, None, None)

    def factory() -> Any:
        return _ready(torch, fresh(source), batch)[0]

    with seeded(0):
        module, batch = _ready(torch, fresh(source), batch)
        _apply(torch, module, batch)
        draws = sampled(module, factory) if draw else None
    return Given(module, batch, factory, draws)


def _batch(torch: Any, example: Any) -> Any:
    plain = example.layout == torch.strided and not example.is_quantized
    if example.dtype.is_complex or not plain or example.is_meta:
        what = (
            "meta device, without numbers" if example.is_meta
            else "complex" if example.dtype.is_complex else "quantised" if plain is False
            and example.layout == torch.strided else "sparse"
        )  # fmt: skip
        raise InputError(
            "The example is no batch of plain numbers.",
            received=f"a tensor {tuple(example.shape)}: {what}",
            needed="a dense tensor (N, ...) of real or whole numbers, with values",
            suggestion="example.to_dense()" if what == "sparse" else "torch.randn(N, ...)",
        )
    if example.ndim < 2 or example.numel() == 0:
        raise InputError(
            "The example has no dimension beside that of the examples.",
            received=f"a tensor of shape {tuple(example.shape)}",
            needed="(N, features), (N, tokens), (N, C, H, W), ...",
            cause="one input instead of a batch" if example.ndim == 1 else "",
            suggestion="example[None]" if example.ndim == 1 and example.numel() else "",
        )
    if not bool(torch.isfinite(example).all()):
        raise InputError(
            "The example holds NaN or infinite numbers.",
            received=f"{int((~torch.isfinite(example)).sum())} of {example.numel()}",
            needed="finite numbers",
        )
    return example.detach()


def _ready(torch: Any, module: Any, batch: Any) -> tuple[Any, Any]:
    """The module itself, with numbers of one floating type, and the batch in that type."""
    module = _unwrapped(torch, module)
    _check_kind(torch, module)
    if any(torch.nn.parameter.is_lazy(p) for p in (*module.parameters(), *module.buffers())):
        module = copied(module)
        _apply(torch, module, batch)  # a lazy layer is made by its first batch
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    _check_numbers(torch, tensors)
    kinds = {p.dtype for p in tensors.values() if p.dtype.is_floating_point}
    if kinds and kinds <= {torch.float16, torch.bfloat16}:
        module = copied(module).float()  # its numbers are kept as they are, and so is their law
        kinds = {torch.float32}
    if batch.dtype.is_floating_point:
        kind = next(iter(kinds)) if len(kinds) == 1 else batch.dtype
        kind = kind if kind in (torch.float32, torch.float64) else torch.float32
        batch = batch.to(kind)
    devices = {p.device for p in tensors.values()}
    return module, batch.to(next(iter(devices))) if len(devices) == 1 else batch


def _unwrapped(torch: Any, module: Any) -> Any:
    """What DataParallel and torch.compile have wrapped."""
    parallel = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    while isinstance(module, parallel) or hasattr(module, "_orig_mod"):
        module = module.module if isinstance(module, parallel) else module._orig_mod  # noqa: SLF001
    return module


def _check_kind(torch: Any, module: Any) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedError(
            "A scripted or traced module can't be read: torch.export does not take it.",
            received=type(module).__name__,
            needed="the torch.nn.Module that it was made from",
        )
    for name, part in module.named_modules():
        if ".quantized" in type(part).__module__:
            raise UnsupportedError(
                "A quantised module can't be read: its weights are no numbers that are drawn.",
                received=f"{type(part).__name__} at {name or 'the module itself'}",
                needed="the module before it was quantised",
            )


def _check_numbers(torch: Any, tensors: Mapping[str, Any]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise InputError(
                "The module has no numbers: it stands on the device meta.",
                received=f"{name} on {tensor.device}",
                needed="a module on a device that holds numbers",
                suggestion="construct it outside torch.device('meta'), or from_torch(factory, "
                "example) with a factory that does",
            )
        if tensor.dtype.is_complex:
            raise UnsupportedError(
                "A module with complex parameters can't be read.",
                received=f"{name} of type {tensor.dtype}",
                needed="real parameters",
            )
        if tensor.layout != torch.strided:
            continue  # a sparse buffer is no parameter that is drawn: its use is refused by name
        if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            if not isinstance(tensor, torch.nn.Parameter):
                continue  # masks hold minus infinity
            bad = int((~torch.isfinite(tensor)).sum())
            raise InputError(
                f"The parameter {name} holds NaN or infinite numbers.",
                received=f"{bad} of {tensor.numel()}",
                needed="finite numbers",
                cause="a training that diverged, or memory that was never initialised",
                suggestion="from_torch(factory, example), where factory() gives a fresh module",
            )


def _apply(torch: Any, module: Any, batch: Any) -> None:
    """Apply the module once, its buffers put back, or say in its own words why it can't be."""
    try:
        with torch.no_grad(), _kept_buffers(torch, module), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module(batch)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InputError(
            "The module can't be applied to the example.",
            received=f"{type(module).__name__} on {batch.dtype} {tuple(batch.shape)}: "
            f"{type(error).__name__}: {' '.join(lines[:1])[:300]}",
            needed="a module that takes one tensor, and a batch (N, ...) of its inputs",
            cause=_cause(module, batch, str(error)),
            suggestion="module(example) must work before it can be read",
        ) from error


def _cause(module: Any, batch: Any, text: str) -> str:
    whole = not batch.dtype.is_floating_point
    if "indices" in text and not whole:
        return "it looks up tokens, which are whole numbers, and the example is not"
    if "dtype" in text and whole:
        return "the example holds whole numbers, and the module takes real ones: example.float()"
    if "required" in text and "argument" in text:
        return "its forward takes more than one input"
    kinds = {p.dtype for p in module.parameters() if p.dtype.is_floating_point}
    if "dtype" in text and len(kinds) > 1:
        return "its parameters are of several types: module.float()"
    devices = {str(p.device) for p in module.parameters()}
    if len(devices) > 1:
        return f"its parameters stand on several devices: {', '.join(sorted(devices))}"
    return "the example has another shape than its inputs" if "shape" in text else ""


@contextmanager
def _kept_buffers(torch: Any, module: Any) -> Iterator[None]:
    lazy = torch.nn.parameter.is_lazy
    before = [(b, b.clone()) for b in module.buffers() if not lazy(b) and not b.is_sparse]
    try:
        yield
    finally:
        for buffer, numbers in before:
            buffer.copy_(numbers)
