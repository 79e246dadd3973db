"""The largest learning rate at which training is stable, for a loss, its norm and an optimiser.

Near any outputs, gradient descent multiplies a change of the parameters by 1 - eta H, where the
nonzero eigenvalues of H are those of the loss's curvature seen through the tangent kernel,

    S = sqrt(Theta) (d^2 L / df^2) sqrt(Theta)

It shrinks if eta < 2 / lambda_max(S), and with momentum beta if eta < 2 (1 + beta) /
lambda_max(S), in the convention ``v <- beta v + g``, ``theta <- theta - eta v``.

    squared         d^2 L / df^2 = s: the same at all outputs, so the threshold is global
    cross-entropy   diag p - p p^T for each input, at most 1/2: the threshold is local
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import COUNT, array, choice, number, takes
from whydeep.data import LABELS
from whydeep.eigen import extreme_eigenpairs
from whydeep.errors import InputError, UnsupportedError
from whydeep.memory import available
from whydeep.theory.training._dynamics import MOMENTUM
from whydeep.theory.training._eigenbasis import is_symmetric
from whydeep.theory.training._evolve import check_targets
from whydeep.theory.training._losses import LOSS, REDUCTIONS, Loss, resolve_loss

__all__ = ["StableStep", "largest_stable_step", "stable_adam_curvature"]

_KERNEL = array(dims=2, needed="(N, N), the tangent kernel on the training inputs")
_NETWORKS = array(dims=3, needed="(draws, N, N), the tangent kernels of networks")
_STILL = (
    "the tangent kernel keeps still while training, as at infinite width; at finite width it "
    "moves, and networks may collapse below the threshold"
)
_FEWEST = 8  # networks whose scatter says where another one may be
_NEGATIVE = 0.05  # of the largest: kernels known from draws are positive only on average


@dataclass(frozen=True)
class StableStep:
    """The largest stable learning rate, and what it is about.

    Args:
        value: the learning rate; inf where the loss has no upward curvature.
        curvature: lambda_max of the loss's curvature through the tangent kernel, norm included.
        everywhere: below this learning rate training is stable at whatever outputs, while the
            kernel keeps still; None where that is not known.
        loss: its formula, norm included.
        momentum: beta.
        assumptions: what the number rests on.
        source: author, year, equation.
        drawn: the thresholds (draws,) of the networks given; None without.
    """

    value: float
    curvature: float
    everywhere: float | None
    loss: str
    momentum: float
    assumptions: tuple[str, ...]
    source: str
    drawn: np.ndarray | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where 90% of networks of the width in hand have their threshold at initialisation.

        Mean and deviation of the logarithms of `drawn`, with Student's law for another draw: None
        without networks.
        """
        if self.drawn is None:
            return None
        from scipy import stats  # half a second to import

        logs, n = np.log(self.drawn), len(self.drawn)
        half = stats.t.ppf(0.95, n - 1) * logs.std(ddof=1) * np.sqrt(1 + 1 / n)
        return float(np.exp(logs.mean() - half)), float(np.exp(logs.mean() + half))

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        with_momentum = f", momentum {self.momentum:g}" if self.momentum else ""
        at_width = ""
        if (ends := self.interval) is not None:
            at_width = f", {ends[0]:.3g} to {ends[1]:.3g} for 90% of networks of this width"
        return f"<largest stable step {self.value:.6g}{at_width}: loss {self.loss}{with_momentum}>"

    def cite(self) -> str:
        """The source of the formula and what it assumes, as text."""
        return "\n".join([self.source, "Assumptions:", *(f"- {a}" for a in self.assumptions)])


@takes(
    ntk=_KERNEL, loss=LOSS, reduction=choice(*REDUCTIONS), outputs=COUNT, momentum=MOMENTUM,
    optimizer=choice("sgd", "adam"), at=LABELS, y=LABELS, networks=_NETWORKS,
)  # fmt: skip
def largest_stable_step(
    ntk: Any,
    *,
    loss: Any = "squared",
    reduction: str = "sum",
    outputs: int = 1,
    momentum: float = 0.0,
    optimizer: str = "sgd",
    at: Any = None,
    y: Any = None,
    networks: Any = None,
) -> StableStep:
    """The largest learning rate at which full-batch training is stable, for a given kernel.

    For `whydeep.kernel` this is a statement about infinite width. Networks of width n have tangent
    kernels that differ from it and from each other by 1/sqrt(n), and the kernel moves while they
    train: relu networks of width 64 have been seen to collapse at 0.8 of the value.
    With ``networks``, the tangent kernels of some drawn ones, `drawn` says how theirs scatter.

    ``2 (1 + momentum) / lambda_max(S)``, ``S = sqrt(Theta) (d^2 L / df^2) sqrt(Theta)``: for the
    loss ``1/2 sum (f - y)^2`` this is ``2 (1 + momentum) / lambda_max(Theta)``.

    Args:
        ntk: Theta (N, N) on the training inputs, in the parameterization that is trained.
        loss: "squared", "cross_entropy", or a function ``loss(f, y)`` in jax.numpy.
        reduction: "sum", or "mean": over N C for "squared" (twice as large a step as torch's
            ``MSELoss()``, which has no 1/2), over N for "cross_entropy" (as in torch).
        outputs: C; a mean of squares divides by it, and cross-entropy has C classes.
        momentum: beta in torch's convention, ``v <- beta v + g`` (no dampening, no Nesterov).
        optimizer: "sgd". "adam" has no such number: see `stable_adam_curvature`.
        at: outputs (N, C) where the curvature is taken, for losses other than "squared"; zeros,
            the mean at initialisation, unless given.
        y: labels (N, C), for a loss given as a function.
        networks: tangent kernels (draws, N, N) of at least 8 networks of the width in hand, such as
            `whydeep.tangent_kernel` gives; `drawn` then holds their thresholds.

    Raises:
        InputError: bad numbers, or a matrix that is no kernel.
        UnsupportedError: Adam, or another optimiser.

    Accuracy: rounding; 1e-10 relative where an iteration finds the eigenvalue.
    Cost: one eigendecomposition; for other losses than "squared", some dozens of N^2 C products.

    Source: LeCun, Simard and Pearlmutter 1993 (2 / lambda_max); Polyak 1964 and Goh 2017
    (momentum); Lee et al. 2019 (through the tangent kernel).

    Example:
        >>> ntk = np.diag([4.0, 1.0])
        >>> largest_stable_step(ntk).value, largest_stable_step(ntk, momentum=0.9).value
        (0.5, 0.95)
        >>> largest_stable_step(ntk, loss="cross_entropy", outputs=10)
        <largest stable step 5: loss -sum y log softmax(f)>
    """
    if optimizer != "sgd":
        raise _no_threshold(optimizer)
    beta = momentum
    theta = _square(ntk)
    top = _top(np.linalg.eigvalsh(theta))
    c = _outputs(outputs, at, y)
    if 64 * len(theta) * c > available():
        raise InputError("This many outputs do not fit into memory.", received=f"outputs={c}")
    where = np.zeros((len(theta), c)) if at is None else check_targets(at)
    if where.shape != (len(theta), c):
        raise InputError("The outputs do not fit the kernel.", received=f"at has {where.shape}",
                         needed=f"{(len(theta), c)}")  # fmt: skip
    uniform = np.full((len(theta), c), 1.0 / c)
    resolved = resolve_loss(loss, reduction, uniform if y is None else check_targets(y))
    drawn_kernels = None if networks is None else _stack(networks, len(theta))
    said = [
        _STILL,
        _said_of_width(drawn_kernels),
        f"full batches, parameters as in the kernel's parameterization, loss {resolved.name}",
    ]
    factor = 2.0 * (1.0 + beta)
    if resolved.scale is not None:
        curvature = resolved.scale * top
        everywhere = _divide(factor, curvature)
    else:
        curvature = _curvature(theta, resolved, where)
        said.append(
            "local: the curvature is that at the outputs "
            + ("zero, the mean at initialisation" if at is None else "given")
        )
        bound = (0.5 if reduction == "sum" else 0.5 / len(theta)) * top
        everywhere = _divide(factor, bound) if loss == "cross_entropy" else None
    drawn = None
    if drawn_kernels is not None:
        drawn = np.array([
            _divide(factor, _curvature_of(one, resolved, where))
            for one in drawn_kernels
        ])  # fmt: skip
    return StableStep(
        _divide(factor, curvature), curvature, everywhere, resolved.name, beta, tuple(said),
        "LeCun, Simard and Pearlmutter 1993; with momentum Polyak 1964, Goh 2017; through the "
        "tangent kernel Lee et al. 2019", drawn,
    )  # fmt: skip


def _said_of_width(networks: np.ndarray | None) -> str:
    if networks is None:
        return (
            "of the kernel given: how far networks of a width scatter about it is not known here; "
            "networks=, tangent kernels of some drawn ones, tells"
        )
    return f"the interval is that of {len(networks)} networks at initialisation"


def _stack(kernels: np.ndarray, count: int) -> np.ndarray:
    """Tangent kernels (draws, N, N), checked."""
    if kernels.shape[1:] != (count, count) or len(kernels) < _FEWEST:
        raise InputError(
            "The kernels of networks do not fit.", received=f"shape {kernels.shape}",
            needed=f"(draws, {count}, {count}), {_FEWEST} draws or more",
        )  # fmt: skip
    return np.stack([_square(one) for one in kernels])


def _curvature_of(theta: np.ndarray, loss: Loss, at: np.ndarray) -> float:
    top = _top(np.linalg.eigvalsh(theta))
    return loss.scale * top if loss.scale is not None else _curvature(theta, loss, at)


@takes(step=number(least=1e-300), b1=MOMENTUM)
def stable_adam_curvature(step: float, b1: float = 0.9) -> float:
    """The curvature, in Adam's own units, above which Adam with this step is unstable.

    ``2 (1 + b1) / ((1 - b1) step)``: a bound on the largest eigenvalue of ``P^(-1/2) H P^(-1/2)``,
    where P = diag(sqrt(v) + eps) is what Adam divides by. It holds once the second moment v has
    settled, so it is no threshold on the step before training.

    Args:
        step: Adam's learning rate.
        b1: its first decay rate, 0 <= b1 < 1.

    Raises:
        InputError: a number out of range.

    Accuracy: rounding. Cost: none.

    Source: Cohen et al. 2022, "Adaptive gradient methods at the edge of stability".

    Example:
        >>> round(stable_adam_curvature(0.001, b1=0.9))
        38000
    """
    return 2.0 * (1.0 + b1) / ((1.0 - b1) * step)


def _no_threshold(optimizer: str) -> Exception:
    if optimizer == "adam":
        return UnsupportedError(
            "Adam has no largest stable step before training.",
            received='optimizer="adam"',
            cause="it divides by the gradients' own size, which the kernel does not know",
            suggestion="stable_adam_curvature(step, b1) bounds the preconditioned Hessian once the "
            "second moment has settled (Cohen et al. 2022)",
        )
    return InputError("There is no optimiser of this name.", received=f"optimizer={optimizer!r}",
                      needed='"sgd" (with momentum or without)')  # fmt: skip


def _square(theta: np.ndarray) -> np.ndarray:
    if theta.shape[0] != theta.shape[1]:
        raise InputError("The tangent kernel is not square.", received=f"shape {theta.shape}",
                         needed="(N, N) on the training inputs")  # fmt: skip
    if not is_symmetric(theta):
        raise InputError("The tangent kernel is not symmetric.",
                         received=f"largest difference {np.abs(theta - theta.T).max():g}",
                         needed="Theta(a, b) = Theta(b, a)")  # fmt: skip
    return theta


def _top(eigenvalues: np.ndarray) -> float:
    """The largest of the eigenvalues in rising order, unless these are no kernel's."""
    low, high = float(eigenvalues[0]), float(eigenvalues[-1])
    if low < -_NEGATIVE * max(high, 0.0):
        raise InputError(
            "The tangent kernel has a negative eigenvalue.",
            received=f"smallest {low:.3g}, largest {high:.3g}",
            needed="a positive semidefinite matrix",
        )
    return high


def _outputs(outputs: int, at: Any, y: Any) -> int:
    for given in (at, y):
        if given is not None:
            return check_targets(given).shape[1]
    return outputs


def _divide(factor: float, curvature: float) -> float:
    return factor / curvature if curvature > 0 else np.inf


def _curvature(theta: np.ndarray, loss: Loss, at: np.ndarray) -> float:
    """lambda_max of sqrt(Theta) (d^2 L / df^2) sqrt(Theta), (N C)^2, from its products."""
    values, vectors = np.linalg.eigh(theta)
    keep = values > 0
    towards = vectors[:, keep] * np.sqrt(values[keep])
    shape = (towards.shape[1], at.shape[1])
    size = int(np.prod(shape))
    along = loss.curvature(at)

    def product(z: np.ndarray) -> np.ndarray:
        return (towards.T @ along(towards @ z.reshape(shape))).ravel()

    if size == 0:
        return 0.0
    return float(extreme_eigenpairs(product, size, 1)[0][0])
