"""Random numbers from a seed, for a while: afterwards every generator is as before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

__all__ = ["seeded"]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """PyTorch, numpy and Python draw from `seed` inside, as constructors may take any of them.

    ``torch.manual_seed`` would seed every device, and only those that are in use are put back.
    """
    import torch

    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 -- the users' own
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed % 2**63)
        for device in cuda:
            torch.cuda.default_generators[device].manual_seed(seed % 2**63)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002
