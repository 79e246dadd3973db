"""What the compiled ways say of their accuracy."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Error"]


@dataclass(frozen=True)
class Error:
    """Estimated largest errors of a pair of kernels.

    Args:
        nngp: of K_ab, relative to sqrt(K_aa K_bb).
        ntk: of Theta_ab, relative to sqrt(Theta_aa Theta_bb); None without a tangent kernel.
    """

    nngp: float
    ntk: float | None
