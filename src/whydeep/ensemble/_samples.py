"""What draws of kernels add up to: means with standard errors, and the batches behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.errors import InputError
from whydeep.results import by_content

__all__ = ["KernelSamples", "in_batches"]

_MOST_BATCHES = 400


def in_batches(draws: np.ndarray, most: int = _MOST_BATCHES) -> np.ndarray:
    """Means of equally many draws each, (batches, ...) from (draws, ...), in float64.

    As many batches as there are draws if those are few; else no more than `most`, and the last few
    draws that do not fill a batch are left out.
    """
    each = math.ceil(len(draws) / most)
    count = len(draws) // each
    kept = np.asarray(draws[: count * each], dtype=np.float64)
    return kept.reshape(count, each, *kept.shape[1:]).mean(axis=1)


@by_content
@dataclass(frozen=True)
class KernelSamples:
    """Kernels of one finite network, measured on independent draws of its parameters.

    ``nngp`` is the mean over draws and output channels of ``y(a) y(b)``, ``ntk`` the mean of
    ``sum lambda dy(a) dy(b)`` over parameters of one output channel. Both (N1, N2), or (N1, *P1,
    N2, *P2) where outputs have positions; standard errors beside them.

    Args:
        nngp_batches: (batches, N1, N2): independent estimates of equal weight.
        ntk_batches: likewise; None where no tangent kernel was measured.
        draws: behind the NNGP kernel.
        ntk_draws: behind the tangent kernel.
        seed: of all random numbers.
        dtype: of the arithmetic; means over draws are float64.
        seconds: what it took, compilation included.
        source: what was drawn, in words.
    """

    nngp_batches: np.ndarray
    ntk_batches: np.ndarray | None
    draws: int
    ntk_draws: int
    seed: int
    dtype: str
    seconds: float
    source: str = ""

    def __post_init__(self) -> None:
        for batches in (self.nngp_batches, self.ntk_batches):
            if batches is None:
                continue
            if len(batches) < 2:
                raise InputError(
                    "One batch has no standard error.",
                    received=f"{len(batches)} batches",
                    needed="two or more independent draws",
                )
            if not np.all(np.isfinite(batches)):
                raise InputError(
                    "The kernels of these networks are not finite.",
                    received=self.source or "draws with NaN or infinite values",
                    cause="values overflow from layer to layer, or a layer divides by zero",
                    suggestion="smaller variances, fewer layers, or inputs of unit scale",
                )

    @classmethod
    def of_draws(
        cls, nngp: np.ndarray, ntk: np.ndarray | None, *, seed: int, seconds: float,
        dtype: str = "float32", source: str = "",
    ) -> KernelSamples:  # fmt: skip
        """From the kernels of single draws: (draws, N1, N2) each, or no tangent kernels."""
        first = in_batches(np.asarray(nngp))
        second = None if ntk is None else in_batches(np.asarray(ntk))
        return cls(
            first, second, len(nngp), 0 if ntk is None else len(ntk), seed, dtype, seconds, source
        )

    def __repr__(self) -> str:
        def one(name: str, mean: Any, error: Any, draws: int) -> str:
            scale, worst = np.abs(mean).max(), error.max()
            return f"{name} up to {scale:.4g} ± {worst:.1g} ({draws} draws)"

        parts = [one("nngp", self.nngp, self.nngp_stderr, self.draws)]
        if self.ntk_batches is not None:
            parts.append(one("ntk", self.ntk, self.ntk_stderr, self.ntk_draws))
        about = f" of {self.source}" if self.source else ""
        return f"<kernels{about}: {', '.join(parts)}, {self.dtype}, {self.seconds:.1f} s>"

    @property
    def nngp(self) -> np.ndarray:
        """The mean of ``y(a) y(b)``."""
        return self.nngp_batches.mean(axis=0)

    @property
    def nngp_stderr(self) -> np.ndarray:
        """Its standard error."""
        return _error(self.nngp_batches)

    @property
    def ntk(self) -> np.ndarray | None:
        """The mean tangent kernel, or None."""
        return None if self.ntk_batches is None else self.ntk_batches.mean(axis=0)

    @property
    def ntk_stderr(self) -> np.ndarray | None:
        """Its standard error, or None."""
        return None if self.ntk_batches is None else _error(self.ntk_batches)


def _error(batches: np.ndarray) -> np.ndarray:
    return batches.std(axis=0, ddof=1) / np.sqrt(len(batches))
