"""Trained outputs over initialisations to first order in 1/width, from the output layer's tensors.

Networks follow the hierarchy of the tangent kernel, which ends at the second differentials,

    dz_0/dt = -H_0b e_b       dH_01/dt = -(dH_01b + dH_10b) e_b
    d(dH_012)/dt = -(ddI_012b + ddII_012b + ddII_021b) e_b       e = z - y on training inputs,

(for gradient descent with its terms of higher order in the step, see `_responses`). With the
kernel's limit Theta taken out, z(t) is expanded in what is left, h = H(0) - Theta of order
1/sqrt(n), dH and the second differentials of order 1/n, and averaged over initialisations: the mean
meets H{1}, A, B, P, Q, R, S, T and U, the covariance K{1}, D and F too. Inputs are in the axes of
Theta: its modes on the training inputs, and for each test input what is left of it after Theta's
regression on them, which has rate 0.

Source: Roberts, Yaida and Hanin 2022, Sections 11.4 and infinity.2 (the hierarchy, and its solution
at the end of training); the moments at any time are derived here. One input, one output, has a
closed form that the tests compare with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from whydeep.brief import brief
from whydeep.theory.training._dynamics import Descent, Flow
from whydeep.theory.training._eigenbasis import Eigenbasis, eigenbasis
from whydeep.theory.training.finite._diagrams import Diagram, Leg, evaluate, first_order
from whydeep.theory.training.finite._responses import Responses, responses

__all__ = ["CAUSES", "Expansion", "OutputTensors", "expand_training"]

CAUSES = ("ntk_correction", "ntk_fluctuations", "dntk", "ddntk")
"""What corrects the mean: H{1}; A and B; P and Q; R, S, T and U."""


@dataclass(frozen=True)
class OutputTensors:
    """Observables of the output layer on S inputs, the training inputs first.

    Args:
        kernel: K (S, S). ntk: Theta. kernel_correction: K{1}. ntk_correction: H{1}.
        A: (S, S, S, S), like all that follow, with the axes of `whydeep.observables`.
    """

    kernel: np.ndarray
    ntk: np.ndarray
    kernel_correction: np.ndarray
    ntk_correction: np.ndarray
    A: np.ndarray
    B: np.ndarray
    D: np.ndarray
    F: np.ndarray
    P: np.ndarray
    Q: np.ndarray
    R: np.ndarray
    S: np.ndarray
    T: np.ndarray
    U: np.ndarray

    __repr__ = brief

    def turned(self, axes: np.ndarray) -> dict[str, np.ndarray]:
        """All tensors in other axes, ``axes @`` on every index, by letter."""
        letters = {"kernel": "K", "kernel_correction": "K1", "ntk_correction": "H1"}
        out = {}
        for field in fields(self):
            value = getattr(self, field.name)
            for axis in range(value.ndim):
                value = np.moveaxis(np.tensordot(axes, value, (1, axis)), 0, axis)
            out[letters.get(field.name, field.name)] = value
        return out


@dataclass(frozen=True)
class Expansion:
    """Moments over initialisations at T times, S inputs and C outputs: two orders of each.

    Args:
        mean: (T, S, C) at infinite width.
        mean_correction: by cause, coefficients of 1/n.
        covariance: (T, S, S) at infinite width, of every output.
        covariance_correction: (T, C, C, S, S), coefficient of 1/n.
        ntk_change: (T, C, C, S, S), n times E[H(t)] - E[H(0)].
        basis: modes of Theta on the training inputs.
    """

    mean: np.ndarray
    mean_correction: Mapping[str, np.ndarray]
    covariance: np.ndarray
    covariance_correction: np.ndarray
    ntk_change: np.ndarray
    basis: Eigenbasis

    __repr__ = brief


@dataclass(frozen=True)
class _Term:
    """An object of the expansion of e_p, with its chain of responses."""

    cause: str
    weight: np.ndarray
    letters: str
    kind: str
    legs: tuple[Leg, ...]
    residuals: tuple[Leg, ...]


_P, _B, _C, _D, _Q = ("i", "p"), ("j", "b"), ("k", "c"), ("l", "d"), ("m", "q")


def expand_training(
    tensors: OutputTensors,
    y: np.ndarray,
    times: Sequence[float] | np.ndarray,
    dynamics: Flow | Descent,
    relative_error: float = 0.0,
) -> Expansion:
    """Moments of the outputs to first order in 1/width, at these times.

    Args:
        tensors: of the output layer, on N training inputs and then test inputs.
        y: labels (N, C).
        times: >= 0; whole steps for gradient descent.
        dynamics: gradient flow or gradient descent on ``1/2 sum (z - y)^2``.
        relative_error: of Theta, for its rank.

    Cost: some hundred contractions of S N^3 C entries a time, and of S^2 N^2 C^2.
    """
    n, size = len(y), len(tensors.ntk)
    basis = eigenbasis(tensors.ntk[:n, :n], relative_error=relative_error)
    axes, back = _axes(tensors.ntk, basis)
    turned = tensors.turned(axes)
    rates = np.concatenate([basis.eigenvalues, np.zeros(size - n)])
    labels = np.concatenate([basis.vectors.T @ y, np.zeros((size - n, y.shape[1]))])
    means, covariances, gained, drifts = [], [], [], []
    causes: dict[str, list[np.ndarray]] = {cause: [] for cause in CAUSES}
    for t in times:
        found = responses(rates, n, dynamics, float(t))
        start = -found.left[:, None] * labels
        means.append(back @ (labels + start))
        spread = found.left[:, None] * turned["K"] * found.left
        covariances.append(back @ spread @ back.T)
        corrections = _means(found, turned, labels, n)
        for cause, value in corrections.items():
            causes[cause].append(back @ value)
        total = sum(corrections.values(), np.zeros_like(labels))
        second = _second_moments(found, turned, labels, n)
        products = np.einsum("pi,qj->ijpq", start, total)
        products = products + products.transpose(1, 0, 3, 2)
        gained.append(back @ (second - products) @ back.T)
        drifts.append(back @ _drift(found, turned, labels, n) @ back.T)
    return Expansion(
        mean=np.stack(means),
        mean_correction={cause: np.stack(value) for cause, value in causes.items()},
        covariance=np.stack(covariances),
        covariance_correction=np.stack(gained),
        ntk_change=np.stack(drifts),
        basis=basis,
    )


def _axes(ntk: np.ndarray, basis: Eigenbasis) -> tuple[np.ndarray, np.ndarray]:
    """Axes (S, S) in which Theta is diagonal on training inputs, and the way back.

    A test input's axis is its output less Theta_TR Theta_RR^-1 times those of the training inputs;
    modes of rate 0 do not reach it, because Theta is positive semidefinite on all inputs together.
    """
    n, size = len(basis.eigenvalues), len(ntk)
    u, values = basis.vectors, basis.eigenvalues
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)
    reach = (ntk[n:, :n] @ u) * inverse
    axes, back = np.eye(size), np.eye(size)
    axes[:n, :n], axes[n:, :n] = u.T, -reach @ u.T
    back[:n, :n], back[n:, :n] = u, reach
    return axes, back


def _terms(found: Responses) -> list[_Term]:
    """Everything of the expansion of e_p(t) whose expectation is of order 1/n, with its sign."""
    zero = np.zeros_like(found.triple)
    late, sudden, cubic = (
        zero if x is None else x for x in (found.late, found.sudden, found.cubic)
    )
    triple = found.triple
    one = (_B, _C, _D)
    second = [
        ("ddI", (_P, _B, _C, _D), triple + late + sudden + cubic),
        ("ddI", (_B, _P, _C, _D), triple + late),
        ("ddII", (_P, _B, _C, _D), triple + 2 * late + sudden),
        ("ddII", (_P, _C, _B, _D), triple + sudden),
        ("ddII", (_B, _P, _C, _D), triple),
        ("ddII", (_B, _C, _P, _D), triple),
    ]
    return [
        _Term("ntk_correction", -found.first, "pb", "h", (_P, _B), (_B,)),
        _Term("ntk_fluctuations", found.second, "pbc", "hh", (_P, _B, _B, _C), (_C,)),
        _Term("dntk", found.direct, "pbc", "dH", (_P, _B, _C), (_B, _C)),
        _Term("dntk", found.turned, "pbc", "dH", (_B, _P, _C), (_B, _C)),
        *(_Term("ddntk", -weight, "pbcd", kind, legs, one) for kind, legs, weight in second),
    ]


def _means(
    found: Responses, tensors: Mapping[str, np.ndarray], y: np.ndarray, modes: int
) -> dict[str, np.ndarray]:
    out = {cause: np.zeros_like(y) for cause in CAUSES}
    for term in _terms(found):
        diagrams = first_order(term.kind, term.legs, term.residuals)
        weights = [(term.weight, term.letters)]
        out[term.cause] += evaluate(diagrams, weights, tensors, y, modes, [_P])
    return out


def _second_moments(
    found: Responses, tensors: Mapping[str, np.ndarray], y: np.ndarray, modes: int
) -> np.ndarray:
    """What of order 1/n the expectation of e_p e_q at the time has: (C, C, S, S)."""

    def total(diagrams: list[Diagram], *weights: tuple[np.ndarray, str]) -> np.ndarray:
        value = evaluate(diagrams, weights, tensors, y, modes, [_P, _Q])
        return value.transpose(2, 3, 0, 1)

    left = found.left
    second = total(first_order("", (), (_P, _Q)), (left, "p"), (left, "q"))
    both = first_order("hh", (_P, _B, _Q, _C), (_B, _C))
    second += total(both, (found.first, "pb"), (found.first, "qc"))
    for term in _terms(found):
        diagrams = first_order(term.kind, term.legs, (*term.residuals, _Q))
        value = total(diagrams, (term.weight, term.letters), (left, "q"))
        second += value + value.transpose(1, 0, 3, 2)
    return second


def _drift(
    found: Responses, tensors: Mapping[str, np.ndarray], y: np.ndarray, modes: int
) -> np.ndarray:
    """What the mean tangent kernel of outputs i, m on inputs p, q gains, n times: (C, C, S, S)."""
    total = np.zeros((y.shape[1],) * 2 + (len(y),) * 2)

    def add(kind: str, legs: tuple[Leg, ...], weight: np.ndarray, letters: str) -> None:
        nonlocal total
        residuals = (_C,) if kind == "dH" else (_C, _D)
        value = evaluate(
            first_order(kind, legs, residuals), [(weight, letters)], tensors, y, modes, [_P, _Q]
        ).transpose(2, 3, 0, 1)
        total = total + value + value.transpose(1, 0, 3, 2)

    add("dH", (_P, _Q, _C), -found.moved, "c")
    add("ddI", (_P, _Q, _C, _D), found.drift, "cd")
    add("ddII", (_P, _Q, _C, _D), found.drift, "cd")
    add("ddII", (_P, _C, _Q, _D), found.drift, "cd")
    if found.drift_late is not None:
        add("ddI", (_P, _Q, _C, _D), found.drift_late, "cd")
        add("ddII", (_P, _Q, _C, _D), found.drift_late, "cd")
    return total
