"""PyTorch's random numbers from a seed, for a while: afterwards its generators are as before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["seeded"]


@contextmanager
def seeded(module: Any, seed: int) -> Iterator[None]:
    """Draws inside come from `seed`, on the CPU and where the module's parameters are.

    ``torch.manual_seed`` would seed every device, and only those named here are put back.
    """
    import torch

    cuda = {p.device.index or 0 for p in module.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(cuda)):
        torch.default_generator.manual_seed(seed)
        for device in cuda:
            torch.cuda.default_generators[device].manual_seed(seed)
        yield
