"""The front door: a Bayesian network of finite width, given data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from whydeep.arguments import ORDER, SEED, VARIANCE, count, takes
from whydeep.data import INPUTS, LABELS
from whydeep.errors import InputError
from whydeep.network import NETWORK, Network
from whydeep.progress import phase
from whydeep.results import by_content
from whydeep.theory.bayes._drawn import drawn_expansion
from whydeep.theory.bayes._expansion import Expansion, FullVertex, expand_posterior
from whydeep.theory.finite import predict

__all__ = ["Posterior", "check_labels", "expansion_of", "posterior", "too_large"]

_SOURCE = "Roberts, Yaida and Hanin 2022, Section 6.4; Rasmussen and Williams 2006, Eqs. 2.23-2.30"
_FIRST = ("kernel", "four_point", "kernel_correction")
FEWEST_DRAWS = 4096
_MOST_EXACT = 100
_TOO_LARGE = 1.0  # a factor e in the evidence is no correction any more


@by_content
@dataclass(frozen=True)
class Posterior:
    """The law of a Bayesian network's outputs on test inputs, to the order asked for.

    Args:
        network: its prior is the law of the network at initialisation.
        order: 0 or 1, in 1/width.
        mean: ``(input, output)``.
        covariance: ``(output_1, output_2, input_1, input_2)``, of the outputs without noise.
        log_evidence: of all labels.
        infinite_mean: the same at infinite width.
        infinite_covariance: the same at infinite width.
        infinite_log_evidence: the same at infinite width.
        noise: variance of the labels about the outputs.
        assumptions: what is taken for granted, and what was noticed.
        source: author, year, equation.
        stderr: of ``mean``, ``covariance`` and ``log_evidence``, where the vertex was drawn.
    """

    network: Network
    order: int
    mean: xr.DataArray
    covariance: xr.DataArray
    log_evidence: float
    infinite_mean: xr.DataArray
    infinite_covariance: xr.DataArray
    infinite_log_evidence: float
    noise: float
    assumptions: tuple[str, ...]
    source: str
    stderr: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variance(self) -> xr.DataArray:
        """Of every output on every test input: ``(input, output)``."""
        values = np.einsum("iimm->mi", self.covariance.values)
        return self.mean.copy(data=values)

    def __repr__(self) -> str:
        inputs, outputs = self.mean.shape
        return (
            f"<posterior of {self.network}, order {self.order}: {inputs} test inputs, "
            f"{outputs} outputs, log evidence {self.log_evidence:.6g} "
            f"({self.infinite_log_evidence:.6g} at infinite width)>"
        )

    def cite(self) -> str:
        """The source of the formulas and what they assume, as text."""
        return "\n".join([self.source, "Assumptions:", *(f"- {a}" for a in self.assumptions)])


@takes(
    network=NETWORK, x=INPUTS, y=LABELS, x_test=INPUTS, noise=VARIANCE, order=ORDER,
    draws=count(FEWEST_DRAWS), seed=SEED,
)  # fmt: skip
def posterior(
    network: Network,
    x: Any,
    y: Any,
    x_test: Any,
    *,
    noise: float = 0.0,
    order: int = 1,
    draws: int | None = None,
    seed: int = 0,
) -> Posterior:
    """Mean and covariance of a Bayesian network's outputs given data, at finite width.

    The prior is the network at initialisation, the data are ``y = f(x) + N(0, noise)``. At order 0
    outputs are independent and have one Gaussian posterior. At order 1 the mean of an output
    depends on the labels of the others, and different outputs have a posterior covariance.

    Args:
        network: fully connected, with as many outputs as there are labels an input.
        x: training inputs (N, n_0).
        y: labels (N,) or (N, C).
        x_test: test inputs (M, n_0).
        noise: variance of the labels about the outputs, >= 0.
        order: 0 for infinite width, 1 to first order in 1/width.
        draws: None for the exact vertex with its N^4 entries; or neurons to draw, 4096 or more, for
            one that is contracted with the data draw by draw: for many inputs.
        seed: of those draws.

    Returns:
        A `Posterior`: ``.mean`` (input, output), ``.covariance`` (output_1, output_2, input_1,
        input_2), ``.log_evidence``, and the same at infinite width.

    Raises:
        InputError: bad inputs, labels or numbers; a kernel without inverse; more than 100
            inputs at order 1 with the exact vertex.
        UnsupportedError: the network has no such corrections (heavy tails).

    Warns:
        UserWarning: the expansion in 1/width does not hold: the correction of the log evidence
            exceeds 1, or a variance is not positive.

    Accuracy: numerically that of `whydeep.predict`; what is left out is of order (N / n)^2. With
    draws, ``.stderr`` says. Cost: the vertex over all N + M inputs, N^4 four-dimensional means:
    seconds for 6 inputs, minutes for 20. With draws N^3 operations a draw, seconds for a hundred.

    Source: Roberts, Yaida and Hanin 2022, Section 6.4; `whydeep.theory.bayes._expansion`.

    Example:
        >>> from whydeep.network import mlp
        >>> net = mlp(1, 64, "relu", outputs=2)
        >>> x, y = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [0.0, 1.0]]
        >>> found = posterior(net, x, y, [[1.0, 1.0]], noise=0.1)
        >>> found.mean.values.round(4), found.infinite_mean.values.round(4)
        (array([[0.752 , 2.2541]]), array([[0.7532, 2.2597]]))
        >>> round(float(found.covariance[0, 1, 0, 0]), 5)
        0.01727
    """
    inputs, labels, tests = x, check_labels(y, network), x_test
    if tests.shape[1] != inputs.shape[1]:
        raise InputError(
            "x and x_test are inputs of different lengths.",
            received=f"{inputs.shape[1]} and {tests.shape[1]} numbers an input",
        )
    found, error = expansion_of(network, inputs, labels, tests, noise, order, draws, seed)
    share = order / network.widths[-1]
    outputs = labels.shape[1]
    infinite = np.einsum("ij,mn->ijmn", np.eye(outputs), found.covariance)
    gained = np.einsum("ij,mn->ijmn", np.eye(outputs), found.shared_correction) + found.wiring
    covariance = infinite + share * gained
    said = [
        "weights and biases independent and Gaussian before the data, as at initialisation",
        f"labels have Gaussian noise of variance {noise:g}",
        "what is left out is one order higher in 1/width, times powers of the number of labels"
        if order
        else "infinite width",
    ]
    trouble = too_large(share * found.log_evidence_correction)
    trouble = trouble or _negative(covariance, found.covariance)
    if trouble:
        warnings.warn(trouble, UserWarning, stacklevel=2)
        said.append(trouble)
    return Posterior(
        network=network,
        order=order,
        mean=_means(found.mean + share * found.mean_correction),
        covariance=_covariances(covariance),
        log_evidence=found.log_evidence + share * found.log_evidence_correction,
        infinite_mean=_means(found.mean),
        infinite_covariance=_covariances(infinite),
        infinite_log_evidence=found.log_evidence,
        noise=float(noise),
        assumptions=tuple(said),
        source=_SOURCE,
        stderr={} if error is None else _errors(error, share),
    )


def _errors(error: Expansion, share: float) -> dict[str, Any]:
    """Standard errors of what was drawn: those of output i's own covariance add up."""
    same = np.eye(error.mean.shape[1])
    shared = np.einsum("ij,mn->ijmn", same, error.shared_correction)
    return {
        "mean": _means(share * error.mean_correction),
        "covariance": _covariances(share * (shared + error.wiring)),
        "log_evidence": float(share * error.log_evidence_correction),
    }


def expansion_of(
    network: Network,
    inputs: np.ndarray,
    labels: np.ndarray,
    tests: np.ndarray | None,
    noise: float,
    order: int,
    draws: int | None = None,
    seed: int = 0,
) -> tuple[Expansion, Expansion | None]:
    """Leading orders and coefficients of 1/n on checked inputs; their errors where drawn."""
    if len(inputs) != len(labels):
        raise InputError(
            "There are not as many labels as training inputs.",
            received=f"{len(inputs)} inputs, {len(labels)} labels",
            needed="one label, or one row of C labels, for each input",
        )
    points = inputs if tests is None else np.concatenate([inputs, tests])
    if draws is not None and order == 1:
        predict(network, points[:1], observables=_FIRST)  # refuses networks without a vertex
        return drawn_expansion(network, points, labels, noise, draws, seed)
    if order and len(points) > _MOST_EXACT:
        raise InputError(
            "The exact vertex of this many inputs does not fit in memory.",
            received=f"{len(points)} training and test inputs",
            needed=f"at most {_MOST_EXACT}: it has N^4 entries a layer",
            suggestion="draws=65536, which contracts it with the data draw by draw, or order=0",
        )
    names = _FIRST if order else _FIRST[:1]
    with phase("predicting the posterior"):
        predicted = predict(network, points, order=order, observables=names)
        last = {name: predicted[name].values[-1] for name in names}
        vertex = FullVertex(last["four_point"]) if order else None
        shift = last.get("kernel_correction")
        return expand_posterior(last["kernel"], labels, noise, shift, vertex), None


def check_labels(y: np.ndarray, network: Network) -> np.ndarray:
    """Labels as (N, C), with the network's own number of outputs."""
    labels = y[:, None] if y.ndim == 1 else y
    if labels.shape[1] != network.outputs:
        raise InputError(
            "The network has another number of outputs than an input has labels.",
            received=f"{network.outputs} outputs, {labels.shape[1]} labels an input",
            needed="the same number: at finite width the posterior depends on it",
            suggestion=f"whydeep.mlp(..., outputs={labels.shape[1]})",
        )
    return labels


def too_large(shift: float) -> str:
    """Why a change of the log evidence is no correction, or ""."""
    if abs(shift) <= _TOO_LARGE:
        return ""
    return (
        f"The expansion in 1/width does not hold here: it changes the log evidence by {shift:.3g}, "
        "and a change beyond 1 is no small one. Wider networks, fewer labels or more noise have "
        "smaller corrections."
    )


def _negative(covariance: np.ndarray, infinite: np.ndarray) -> str:
    known = np.diagonal(infinite) > 0
    if np.all(np.einsum("iimm->im", covariance)[:, known] > 0):
        return ""
    return (
        "The expansion in 1/width does not hold here: it makes a variance negative. Wider "
        "networks, fewer labels or more noise have smaller corrections."
    )


def _means(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("input", "output"), name="mean")


def _covariances(values: np.ndarray) -> xr.DataArray:
    dims = ("output_1", "output_2", "input_1", "input_2")
    return xr.DataArray(values, dims=dims, name="covariance")
