"""A search for hyper-parameters on the training set: by marginal likelihood, or by a split of it.

Every combination of a grid is tried. A kernel is computed once for all noises (or penalties C) that
go with it.

Source: Rasmussen and Williams 2006, Section 5.4 (marginal likelihood); Arora et al. 2020, Section 5
(one half fits, the other one chooses).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from whydeep.brief import brief
from whydeep.errors import InputError
from whydeep.network import Network
from whydeep.progress import progress_bar
from whydeep.theory.estimators._evidence import log_density, slopes
from whydeep.theory.estimators._posterior import gram, matrix_of
from whydeep.theory.estimators._solve import factorise
from whydeep.theory.estimators._variances import common, settle, variances

__all__ = [
    "KERNEL_NAMES",
    "Setting",
    "Trial",
    "by_likelihood",
    "by_split",
    "combinations",
    "refined",
]

KERNEL_NAMES = ("net", "depth", "weight_var", "bias_var")
_REACH = np.log(1e4)  # of a refined number from where it started
_LEAST_NOISE = 1e-8  # of the kernel's mean diagonal
_FORBIDDEN = 1e20


@dataclass(frozen=True)
class Setting:
    """One choice of all hyper-parameters; None leaves what the network has.

    Args:
        net: a network, or None for the default.
        depth: hidden layers.
        weight_var: of all layers.
        bias_var: of all layers.
        noise: added to the kernel's diagonal.
        C: penalty of a support vector machine.
    """

    net: Any
    depth: int | None
    weight_var: float | None
    bias_var: float | None
    noise: float
    C: float = 1.0

    __repr__ = brief

    def network(self) -> Network:
        """The network it stands for."""
        return settle(self.net, self.depth, self.weight_var, self.bias_var)


@dataclass(frozen=True)
class Trial:
    """A setting and how well it did; the larger the score, the better.

    Args:
        setting: what was tried.
        score: log marginal likelihood, or accuracy, or minus the mean squared error.
        rank: what decides, the score first.
    """

    setting: Setting
    score: float
    rank: tuple[float, ...]

    __repr__ = brief


def combinations(start: Setting, grid: Mapping[str, Sequence[Any]]) -> list[list[Setting]]:
    """Every combination of the grid's values, in lists that share a kernel.

    Raises:
        InputError: an unknown name, or no values.
    """
    names = tuple(vars(start))
    for name, values in grid.items():
        if name not in names or isinstance(values, str) or not len(values):
            raise InputError(
                "The grid can't be read.",
                received=f"{name!r}: {values!r}",
                needed=f"lists of values, under names out of {', '.join(names)}",
            )
    outer = [name for name in grid if name in KERNEL_NAMES]
    inner = [name for name in grid if name not in KERNEL_NAMES]

    def settings(of: Setting, chosen: Sequence[str]) -> Iterator[Setting]:
        for values in itertools.product(*(grid[name] for name in chosen)):
            yield Setting(**(vars(of) | dict(zip(chosen, values, strict=True))))

    return [list(settings(each, inner)) for each in settings(start, outer)]


def by_likelihood(
    groups: list[list[Setting]], x: np.ndarray, y: np.ndarray, *, tangent: bool
) -> list[Trial]:
    """Trials by the log marginal likelihood of targets (N, outputs); minus infinity if singular."""

    def score(found: np.ndarray, error: float, setting: Setting) -> tuple[float, ...]:
        factor = factorise(found.copy(), setting.noise, error=error)
        try:
            return (log_density(factor, y),)
        except InputError:
            return (-np.inf,)

    return _trials(groups, x, score, tangent=tangent)


def by_split(
    groups: list[list[Setting]],
    x: np.ndarray,
    fits: np.ndarray,
    judges: np.ndarray,
    judge: Callable[[np.ndarray, np.ndarray, float, Setting], tuple[float, ...]],
    *,
    tangent: bool,
) -> list[Trial]:
    """Trials by how well rows `judges` are predicted from rows `fits`.

    Args:
        groups: of `combinations`.
        x: inputs.
        fits: row numbers.
        judges: row numbers.
        judge: of K_FF, K_JF, the kernel's error and the setting: what decides, the score first.
        tangent: which kernel.
    """

    def score(found: np.ndarray, error: float, setting: Setting) -> tuple[float, ...]:
        own = found[np.ix_(fits, fits)]
        return judge(own, found[np.ix_(judges, fits)], error, setting)

    return _trials(groups, x, score, tangent=tangent)


def refined(start: Setting, x: np.ndarray, y: np.ndarray, *, tangent: bool, steps: int) -> Trial:
    """L-BFGS-B on the log marginal likelihood, in log(weight_var, bias_var, noise), from a setting.

    Numbers stay within a factor 10^4 of where they started; a bias_var of 0 stays 0.

    Raises:
        InputError: the layers' weight_var or bias_var are not all the same.
    """
    network = start.network()
    weight, bias = (common(values) for values in variances(network))
    if weight is None or bias is None or not weight > 0:
        raise InputError(
            "The variances of this network can't be refined together.",
            received=repr(network),
            needed="one weight_var > 0 and one bias_var for all layers",
            suggestion="weight_var=..., bias_var=..., or refine=0",
        )
    matrix, error = _matrix(network, x[:256], tangent=tangent)
    scale = float(np.mean(np.diagonal(matrix)))
    noise = max(start.noise, 1e-3 * scale)
    free = [0, 2] if bias == 0 else [0, 1, 2]
    origin = np.log([weight, bias if bias > 0 else 1.0, noise])

    def setting(theta: np.ndarray) -> Setting:
        values = origin.copy()
        values[free] = theta
        numbers = np.exp(values)
        kept = float(numbers[1]) if bias else 0.0
        return Setting(start.net, start.depth, float(numbers[0]), kept, float(numbers[2]), start.C)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        trial = setting(theta)
        chosen = trial.network()
        found, error = _matrix(chosen, x, tangent=tangent)
        factor = factorise(found, trial.noise, error=error)
        try:
            value = log_density(factor, y)
        except InputError:  # singular: a step too far, from which the search turns back
            return _FORBIDDEN, np.zeros(len(free))
        slope = slopes(chosen, x, y, factor, trial.noise, tangent=tangent)
        return -value, -slope[free]

    low, high = origin - _REACH, origin + _REACH
    low[2] = max(low[2], np.log(max(_LEAST_NOISE, 2.0 * error * len(x)) * scale))
    bounds = list(zip(low[free], high[free], strict=True))
    with progress_bar("refining by marginal likelihood", steps) as advance:
        done = optimize.minimize(
            loss, np.clip(origin, low, high)[free], jac=True, method="L-BFGS-B", bounds=bounds,
            options={"maxiter": steps}, callback=lambda _: advance(),
        )  # fmt: skip
    return Trial(setting(done.x), -float(done.fun), (-float(done.fun),))


def _trials(
    groups: list[list[Setting]],
    x: np.ndarray,
    score: Callable[[np.ndarray, float, Setting], tuple[float, ...]],
    *,
    tangent: bool,
) -> list[Trial]:
    trials = []
    with progress_bar("searching hyper-parameters", sum(map(len, groups))) as advance:
        for group in groups:
            found, error = _matrix(group[0].network(), x, tangent=tangent)
            for setting in group:
                rank = score(found, error, setting)
                trials.append(Trial(setting, rank[0], rank))
                advance()
    return trials


def _matrix(network: Network, x: np.ndarray, *, tangent: bool) -> tuple[np.ndarray, float]:
    return matrix_of(gram(network, x, tangent=tangent), tangent=tangent)
