"""The front door: what theory predicts of training a network of finite width."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from whydeep.arguments import POSITIVE, check_memory, takes
from whydeep.data import INPUTS, LABELS, contradicting_labels
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import NETWORK, Network
from whydeep.observables import ByName
from whydeep.progress import phase
from whydeep.results import by_content
from whydeep.theory.finite import predict
from whydeep.theory.training._dynamics import Descent, Flow, steps_of
from whydeep.theory.training._evolve import TIMES, check_targets
from whydeep.theory.training.finite._expansion import (
    CAUSES,
    Expansion,
    OutputTensors,
    expand_training,
)

__all__ = ["FiniteTrainingPrediction", "output_tensors", "predict_finite_training"]

_SOURCE = (
    "Roberts, Yaida and Hanin 2022, Chapter 11 and the chapter on the end of training (the "
    "hierarchy); moments at any time: whydeep.theory.training.finite"
)
_NAMES = ("kernel", "ntk", "kernel_correction", "ntk_correction")
_LETTERS = {
    **{f"ntk_{letter}": letter for letter in "ABDF"},
    **{f"dntk_{letter}": letter for letter in "PQ"},
    **{f"ddntk_{letter}": letter for letter in "RSTU"},
}
_TOO_LARGE = 0.5


@by_content
@dataclass(frozen=True)
class FiniteTrainingPrediction(ByName):
    """Outputs of a network of finite width while it trains, over initialisations.

    A mapping from name to array. ``train_mean`` and ``test_mean`` are ``(time, input, output)``,
    ``train_covariance`` and ``test_covariance`` ``(time, output_1, output_2, input_1, input_2)``,
    ``train_loss`` ``(time)``, ``ntk_change``, the mean of H(t) - H(0), ``(time, output_1, output_2,
    input_1, input_2)`` over training inputs, then test inputs.

    Args:
        network: what the prediction is about; 1/n is that of its last hidden layer.
        arrays: by name, to first order in 1/width.
        infinite: by name, at infinite width.
        causes: ``train_mean`` and ``test_mean`` (cause, time, input, output): what of the first
            correction comes from the kernel's mean (H{1}), its fluctuations (A, B), its
            differential (P, Q) and second differentials (R, S, T, U).
        assumptions: what is taken for granted, and what was noticed.
        source: author, year.
    """

    network: Network
    arrays: Mapping[str, xr.DataArray]
    infinite: Mapping[str, xr.DataArray]
    causes: Mapping[str, xr.DataArray]
    assumptions: tuple[str, ...]
    source: str

    def __getitem__(self, name: str) -> xr.DataArray:
        otherwise = "This prediction does not hold that observable."
        return self._found(name, otherwise, "x_test for more")

    @property
    def _held(self) -> Mapping[str, xr.DataArray]:
        return self.arrays

    def __repr__(self) -> str:
        lines = [f"<prediction of training at finite width: {self.network}>"]
        for name, value in self.arrays.items():
            shape = ", ".join(f"{d}: {n}" for d, n in zip(value.dims, value.shape, strict=True))
            lines.append(f"  {name:<17} ({shape})")
        return "\n".join(lines)

    def cite(self) -> str:
        """The source of the formulas and what they assume, as text."""
        return "\n".join([self.source, "Assumptions:", *(f"- {a}" for a in self.assumptions)])


_LATEST = 1e60  # its powers, as many as a chain of responses has links, are still numbers


@takes(network=NETWORK, x=INPUTS, y=LABELS, x_test=INPUTS, times=TIMES, step=POSITIVE)
def predict_finite_training(
    network: Network,
    x: Any,
    y: Any,
    x_test: Any = None,
    *,
    times: Any,
    step: float | None = None,
) -> FiniteTrainingPrediction:
    """Mean and covariance of outputs while a network of finite width trains, over initialisations.

    Full-batch training on ``1/2 sum (z - y)^2``, to first order in 1/width: the tangent kernel is
    not the same for every network, depends on the outputs it starts with, and changes while it
    trains (`whydeep.predict_training` is the leading order, where it does none of that). At the
    end of training, times = inf, this is the prediction of the nearly-kernel machine, and depends
    on how one got there: gradient flow and gradient descent end in different functions.

    Args:
        network: fully connected, with a smooth activation and as many outputs as an input has
            labels; "ntk" or "standard".
        x: training inputs (N, n_0).
        y: labels (N,) or (N, C).
        x_test: test inputs (M, n_0), or none.
        times: one or more, >= 0; inf, the end of training.
        step: None for gradient flow, where t = learning rate * steps with small steps; or the
            learning rate of gradient descent: t = step * steps, exactly, whole steps only.

    Returns:
        A `FiniteTrainingPrediction`; ``.infinite`` has the leading order, ``.causes`` the parts of
        the correction.

    Raises:
        InputError: bad inputs, labels or times; a step at which training diverges; t = inf where
            a mode does not train; tensors that do not fit in memory.
        UnsupportedError: kinks (second derivatives have delta functions), "mup", other networks.

    Warns:
        UserWarning: equal inputs with different labels; the expansion in 1/width does not hold:
            the kernel changes by more than half, or a variance is negative.

    Accuracy: numerically that of `whydeep.predict`; what is left out is of order 1/n^2, with
    powers of the time's and the labels' size.
    Cost: the tensors of N + M inputs (see `whydeep.predict`), then some hundred contractions of
    (N + M) N^3 C entries a time.

    Source: Roberts, Yaida and Hanin 2022, Chapter 11; `whydeep.theory.training.finite`.

    Example:
        >>> from whydeep.network import mlp
        >>> net = mlp(1, 64, "tanh", weight_var=1.4, bias_var=0.1)
        >>> x = [[1.0, 0.3, -0.5]]
        >>> found = predict_finite_training(net, x, [2.0], times=[1.0, np.inf])
        >>> found["train_mean"].values.ravel().round(4)
        array([1.3302, 2.    ])
        >>> found.infinite["train_mean"].values.ravel().round(4)
        array([1.3359, 2.    ])
        >>> found["ntk_change"].values.ravel().round(4)
        array([-0.0062, -0.0152])
    """
    labels, moments, inputs, tests = check_targets(y), times, x, x_test
    if np.any(np.isfinite(moments) & (moments > _LATEST)):
        raise InputError(
            "A time is too late to be told from the end of training.",
            received=f"times up to {moments[np.isfinite(moments)].max():.3g}",
            needed=f"at most {_LATEST:g}, or inf",
            suggestion="times=[..., numpy.inf]: the end of training",
        )
    _check(network, inputs, labels, tests)
    dynamics = Flow() if step is None else Descent(step)
    if isinstance(dynamics, Descent):
        moments = dynamics.step * steps_of(moments, dynamics.step)
    points = inputs if tests is None else np.concatenate([inputs, tests])
    _check_memory(network, len(labels), len(points))
    with phase("predicting training at finite width"):
        tensors, error = output_tensors(network, points)
        _check_end(tensors.ntk[: len(labels), : len(labels)], error, moments, dynamics)
        found = expand_training(tensors, labels, moments, dynamics, relative_error=error)
    said = [
        "weights and biases independent and Gaussian at initialisation",
        "loss 1/2 sum (z - y)^2, full batch; "
        + (
            "t = learning rate * steps, with small steps (gradient flow)"
            if step is None
            else "t = step * steps (gradient descent)"
        ),
        "what is left out is one order higher in 1/width",
    ]
    which = np.unique(inputs, axis=0, return_inverse=True)[1].reshape(-1)
    odd = contradicting_labels(which, labels)
    notes = [f"{odd[0].upper()}{odd[1:]}."] if odd else []
    share = 1.0 / network.widths[-1]
    whole, infinite, causes = _arrays(found, labels, moments, share)
    notes += _trouble(whole, infinite, tensors)
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return FiniteTrainingPrediction(
        network=network,
        arrays=whole,
        infinite=infinite,
        causes=causes,
        assumptions=(*said, *notes),
        source=_SOURCE,
    )


def output_tensors(network: Network, points: np.ndarray) -> tuple[OutputTensors, float]:
    """Everything that training needs of the output layer, and the error of Theta, relative."""
    predicted = predict(network, points, order=1, observables=(*_NAMES, *_LETTERS))
    values = {name: predicted[name].values[-1] for name in (*_NAMES, *_LETTERS)}
    doubt = float(predicted.tolerance["ntk"].values[-1].max())
    tensors = OutputTensors(
        **{name: values[name] for name in _NAMES},
        **{letter: values[name] for name, letter in _LETTERS.items()},
    )
    return tensors, doubt / float(np.diagonal(tensors.ntk).max())


def _check(
    network: Network, inputs: np.ndarray, labels: np.ndarray, tests: np.ndarray | None
) -> None:
    if any(dense.parameterization == "mup" for dense in network.dense):
        raise UnsupportedError(
            'Under "mup" the change of the tangent kernel is no correction.',
            received=repr(network),
            needed='parameterization "ntk" or "standard"',
        )
    if len(inputs) != len(labels):
        raise InputError(
            "There are not as many labels as training inputs.",
            received=f"{len(inputs)} inputs, {len(labels)} labels",
            needed="one label, or one row of C labels, for each input",
        )
    if labels.shape[1] != network.outputs:
        raise InputError(
            "The network has another number of outputs than an input has labels.",
            received=f"{network.outputs} outputs, {labels.shape[1]} labels an input",
            needed="the same number: at finite width outputs train together",
            suggestion=f"whydeep.mlp(..., outputs={labels.shape[1]})",
        )
    if tests is not None and tests.shape[1] != inputs.shape[1]:
        raise InputError(
            "x and x_test are inputs of different lengths.",
            received=f"{inputs.shape[1]} and {tests.shape[1]} numbers an input",
        )


def _check_memory(network: Network, trained: int, size: int) -> None:
    """Tensors of all layers with their errors, and the chains' matrices."""
    needed = 8 * (2 * len(_LETTERS) * (network.depth + 1) * size**4 + 64 * size * trained**3)
    check_memory(
        needed, "The tensors of this many inputs, of N^4 entries a layer each,",
        received=f"{size} training and test inputs",
        suggestion="fewer inputs; whydeep.predict_training for the leading order",
    )  # fmt: skip


def _check_end(ntk: np.ndarray, error: float, times: np.ndarray, dynamics: Flow | Descent) -> None:
    values = np.linalg.eigvalsh(ntk)
    top = float(values[-1])
    if top >= dynamics.largest_rate():
        raise InputError(
            "At this step training diverges.",
            received=f"step * lambda_max = {2.0 * top / dynamics.largest_rate():.4g}",
            needed="step * lambda_max < 2",
            suggestion=f"a step below {2.0 / top:.4g}",
        )
    least = len(ntk) * max(error, np.finfo(np.float64).eps) * float(np.diagonal(ntk).max())
    if np.isinf(times).any() and values[0] <= least:
        raise InputError(
            "Training has no end to first order in 1/width: a mode of the tangent kernel is zero.",
            received=f"smallest eigenvalue {values[0]:.3g}, largest {top:.3g}",
            needed="finite times, or training inputs that are all distinct",
        )


def _arrays(
    found: Expansion, y: np.ndarray, times: np.ndarray, share: float
) -> tuple[dict[str, xr.DataArray], dict[str, xr.DataArray], dict[str, xr.DataArray]]:
    """Both orders together, the leading one, and the correction's parts."""
    n, outputs = y.shape
    same = np.eye(outputs)[None, :, :, None, None]
    leading = same * found.covariance[:, None, None]
    parts = share * np.stack([found.mean_correction[cause] for cause in CAUSES])
    orders = {
        False: (found.mean, leading, np.zeros_like(found.ntk_change)),
        True: (
            found.mean + parts.sum(axis=0),
            leading + share * found.covariance_correction,
            share * found.ntk_change,
        ),
    }
    out = []
    for mean, covariance, change in orders.values():
        one: dict[str, xr.DataArray] = {}
        for side, rows in (("train", slice(0, n)), ("test", slice(n, None))):
            if mean[:, rows].size:
                one[f"{side}_mean"] = _labelled(mean[:, rows], times)
                one[f"{side}_covariance"] = _labelled(covariance[:, :, :, rows, rows], times)
        out.append((one, mean, covariance, change))
    infinite, whole = out[0][0], out[1][0]
    left = out[0][1][:, :n] - y
    infinite["train_loss"] = _labelled(_loss(left, 0.0 * left, out[0][2][..., :n, :n]), times)
    gained = parts.sum(axis=0)[:, :n]
    whole["train_loss"] = _labelled(_loss(left, gained, out[1][2][..., :n, :n]), times)
    infinite["ntk_change"], whole["ntk_change"] = (_labelled(o[3], times) for o in out)
    causes = {}
    for side, rows in (("train", slice(0, n)), ("test", slice(n, None))):
        if parts[:, :, rows].size:
            causes[f"{side}_mean"] = xr.DataArray(
                parts[:, :, rows],
                dims=("cause", "time", "input", "output"),
                coords={"cause": list(CAUSES), "time": times},
            )
    return whole, infinite, causes


def _loss(left: np.ndarray, gained: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The expected loss: squares of the mean residual to first order, and the variances."""
    bias = np.sum(left**2 + 2 * left * gained, axis=(1, 2))
    return 0.5 * (bias + np.einsum("tiiaa->t", covariance))


def _labelled(values: np.ndarray, times: np.ndarray) -> xr.DataArray:
    dims = {
        1: ("time",),
        3: ("time", "input", "output"),
        5: ("time", "output_1", "output_2", "input_1", "input_2"),
    }[values.ndim]
    return xr.DataArray(values, dims=dims, coords={"time": times})


def _trouble(
    whole: Mapping[str, xr.DataArray],
    infinite: Mapping[str, xr.DataArray],
    tensors: OutputTensors,
) -> list[str]:
    """Why the expansion does not hold, if it does not."""
    out = []
    change = np.abs(np.einsum("tiiaa->tia", whole["ntk_change"].values))
    largest = float((change / np.diagonal(tensors.ntk)).max())
    if largest > _TOO_LARGE:
        out.append(
            f"The expansion in 1/width does not hold here: the tangent kernel would change by "
            f"{largest:.0%} of itself. Wider networks, smaller labels or earlier times change it "
            "less."
        )
    for side in ("train", "test"):
        if f"{side}_covariance" in whole:
            first, both = (
                np.einsum("tiiaa->tia", v[f"{side}_covariance"].values) for v in (infinite, whole)
            )
            if np.any(both < -1e-9 * np.abs(first).max()):
                out.append(
                    f"The expansion in 1/width does not hold here: it makes a variance of {side} "
                    "outputs negative. Wider networks have smaller corrections."
                )
    return out
