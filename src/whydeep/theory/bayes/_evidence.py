"""Which of several networks the data speak for: evidence at finite width, side by side."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import ORDER, SEED, VARIANCE, array, count, named, shown, takes
from whydeep.data import INPUTS, LABELS
from whydeep.errors import InputError
from whydeep.network import NETWORK, Network
from whydeep.results import by_content
from whydeep.theory.bayes._posterior import FEWEST_DRAWS, check_labels, expansion_of, too_large

__all__ = ["Evidence", "compare_evidence"]


@by_content
@dataclass(frozen=True)
class Evidence:
    """The evidence of several networks for the same data.

    Args:
        names: of the networks.
        log_evidence: (K,), to the order asked for.
        infinite_log_evidence: (K,), at infinite width.
        prior: (K,) probabilities before the data.
        order: 0 or 1, in 1/width.
        stderr: (K,), of ``log_evidence``; zero unless vertices were drawn.
    """

    names: tuple[str, ...]
    log_evidence: np.ndarray
    infinite_log_evidence: np.ndarray
    prior: np.ndarray
    order: int
    stderr: np.ndarray

    @property
    def probability(self) -> np.ndarray:
        """Of each network given the data, (K,)."""
        with np.errstate(divide="ignore"):
            logs = self.log_evidence + np.log(self.prior)
        weights = np.exp(logs - logs.max())
        return weights / weights.sum()

    def odds(self, first: str, second: str) -> float:
        """Posterior odds of one network over another.

        Raises:
            InputError: a name that is not there.
        """
        for name in (first, second):
            if name not in self.names:
                raise InputError(
                    "There is no network of this name.",
                    received=repr(name),
                    needed="one of " + ", ".join(self.names),
                )
        i, j = self.names.index(first), self.names.index(second)
        bayes = np.exp(self.log_evidence[i] - self.log_evidence[j])
        return float(bayes * self.prior[i] / self.prior[j])

    def __repr__(self) -> str:
        width = max(map(len, (*self.names, "network")))
        lines = [f"{'network':<{width}}  log evidence  infinite width  probability"]
        rows = zip(
            self.names, self.log_evidence, self.infinite_log_evidence, self.probability, strict=True
        )
        lines += [f"{n:<{width}}  {e:12.4f}  {i:14.4f}  {p:11.4f}" for n, e, i, p in rows]
        return "\n".join(lines)


@takes(
    networks=named(NETWORK), x=INPUTS, y=LABELS, noise=VARIANCE, order=ORDER,
    prior=array(dims=1, least=0), draws=count(FEWEST_DRAWS), seed=SEED,
)  # fmt: skip
def compare_evidence(
    networks: Mapping[str, Network],
    x: Any,
    y: Any,
    *,
    noise: float = 0.0,
    order: int = 1,
    prior: Sequence[float] | np.ndarray | None = None,
    draws: int | None = None,
    seed: int = 0,
) -> Evidence:
    """The evidence of several networks, and their probabilities given the data.

    ``log p(y | x, network)`` with ``y = f(x) + N(0, noise)``, to first order in 1/width: what it
    says of depth, width and activation before anything is trained. At infinite width it does not
    depend on the width at all; at order 1 it does.

    Args:
        networks: by name, each with as many outputs as there are labels an input.
        x: inputs (N, n_0).
        y: labels (N,) or (N, C).
        noise: variance of the labels about the outputs, >= 0.
        order: 0 for infinite width, 1 to first order in 1/width.
        prior: probabilities of the networks before the data; equal unless given.
        draws: None for exact vertices; or neurons to draw, as in `posterior`, for many inputs.
        seed: of those draws.

    Raises:
        InputError: bad inputs, labels, numbers or probabilities; no networks.
        UnsupportedError: a network has no such corrections.

    Warns:
        UserWarning: for a network the expansion in 1/width does not hold.

    Accuracy, cost: those of `posterior`, for each network.

    Source: MacKay 1992 (evidence); `whydeep.theory.bayes._expansion`.

    Example:
        >>> from whydeep.network import mlp
        >>> networks = {str(n): mlp(1, n, "relu") for n in (16, 1024)}
        >>> found = compare_evidence(networks, [[1.0, 0.0], [0.0, 1.0]], [2.5, 0.0], noise=0.1)
        >>> found
        network  log evidence  infinite width  probability
        16            -4.8603         -4.9900       0.5319
        1024          -4.9880         -4.9900       0.4681
        >>> round(found.odds("16", "1024"), 3)
        1.136
    """
    if not networks:
        raise InputError("There are no networks to compare.", received=repr(networks))
    weights = np.full(len(networks), 1.0) if prior is None else np.asarray(prior)
    if weights.shape != (len(networks),) or not 0 < weights.sum() < np.inf:
        raise InputError(
            "The prior is no law over the networks.",
            received=shown(prior),
            needed=f"{len(networks)} probabilities, none negative",
        )
    found = [
        expansion_of(network, x, check_labels(y, network), None, noise, order, draws, seed)
        for network in networks.values()
    ]
    shares = np.array([order / network.widths[-1] for network in networks.values()])
    for name, share, (one, _) in zip(networks, shares, found, strict=True):
        trouble = too_large(share * one.log_evidence_correction)
        if trouble:
            warnings.warn(f"Network {name!r}: {trouble}", UserWarning, stacklevel=2)
    infinite = np.array([f.log_evidence for f, _ in found])
    corrections = np.array([f.log_evidence_correction for f, _ in found])
    return Evidence(
        names=tuple(networks),
        log_evidence=infinite + shares * corrections,
        infinite_log_evidence=infinite,
        prior=weights / weights.sum(),
        order=order,
        stderr=shares * [0.0 if e is None else e.log_evidence_correction for _, e in found],
    )
