"""Extreme eigenvalues of the Hessian of a loss, from products only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import COUNT, SEED, TREE, anything, choice, takes
from whydeep.brief import brief
from whydeep.eigen import ENDS, extreme_eigenpairs
from whydeep.errors import InputError
from whydeep.geometry.landscape._losses import Loss, finite, read_loss
from whydeep.network import check_whole
from whydeep.progress import phase
from whydeep.results import by_content

__all__ = ["HessianSpectrum", "hessian_top", "top_vectors"]


@by_content
@dataclass(frozen=True, eq=False)
class HessianSpectrum:
    """Eigenvalues of a Hessian at one end of its spectrum.

    Args:
        eigenvalues: largest first ("smallest": smallest first).
        eigenvectors: unit vectors, trees like the parameters.
        residuals: ``|H v - lambda v|``: an eigenvalue is at most so far away.
        products: with the Hessian, that it took.
    """

    eigenvalues: np.ndarray
    eigenvectors: tuple[Any, ...]
    residuals: np.ndarray
    products: int

    __repr__ = brief


@takes(
    loss=anything, params=TREE, count=COUNT,
    which=choice("largest", "smallest", "magnitude"), seed=SEED,
)  # fmt: skip
def hessian_top(
    loss: Any, params: Any, *, count: int = 2, which: str = "largest", seed: int = 0
) -> HessianSpectrum:
    """The largest eigenvalues of the Hessian of a loss and their directions.

    ``H v = lambda v`` with ``H = d^2 L / d theta^2``, by Lanczos iteration on products ``H v``,
    each a derivative of the gradient along v.

    Args:
        loss: ``loss(params)``, one number: a JAX function, or `torch_loss`'s.
        params: where: a tree of arrays, or `torch_loss`'s dict.
        count: how many.
        which: "largest", "smallest" (the most negative), or "magnitude".
        seed: of the first vector.

    Raises:
        InputError: bad arguments; more eigenvalues than parameters.
        UnsupportedError: products that are not finite; no convergence.

    Accuracy: `residuals`: of the order of the roundings of the parameters' dtype times the largest
    eigenvalue. Cost: some 20 to 100 products, each of about four evaluations of the loss.

    Source: Lanczos 1950; Pearlmutter 1994 (the product); Sagun et al. 2017 (what the spectrum
    of a network looks like).

    Example:
        >>> found = hessian_top(lambda w: 3 * w[0]**2 + w[1]**2 / 2, np.ones(2), count=2)
        >>> found.eigenvalues.round(12).tolist()
        [6.0, 1.0]
    """
    read = read_loss(loss, params)
    with phase("eigenvectors of the Hessian"):
        values, vectors, products = top_vectors(read, count, which, seed)
        residuals = np.array(
            [
                np.linalg.norm(read.hessian_product(v) - value * v)
                for value, v in zip(values, vectors, strict=True)
            ]
        )
    return HessianSpectrum(
        values, tuple(read.tree(v) for v in vectors), residuals, products + len(values)
    )


def top_vectors(
    read: Loss, count: int, which: str, seed: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Eigenvalues, eigenvectors as rows, and how many products they took."""
    size = sum(w.size for w in read.leaves)
    count = check_whole("count", count)
    seed = check_whole("seed", seed, least=0)
    if which not in ENDS:
        raise InputError("There is no such end of the spectrum.", received=f"which={which!r}",
                         needed=", ".join(ENDS))  # fmt: skip
    if count > size:
        raise InputError("There are not as many eigenvalues.", received=f"count={count}",
                         needed=f"at most {size}")  # fmt: skip
    taken = 0

    def product(vector: np.ndarray) -> np.ndarray:
        nonlocal taken
        taken += 1
        return finite(read.hessian_product(np.ravel(vector)), "A product with the Hessian")

    values, vectors = extreme_eigenpairs(product, size, count, which=which, seed=seed)
    return values, vectors, taken
