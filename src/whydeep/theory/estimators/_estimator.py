"""What the four estimators share: hyper-parameters, inputs, the search, the marginal likelihood."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from whydeep.arguments import COUNT, as_array, choice, each
from whydeep.errors import InputError
from whydeep.network import check_number, check_whole
from whydeep.theory.estimators._evidence import log_density, slopes
from whydeep.theory.estimators._posterior import (
    Posterior,
    TrainedEnsemble,
    condition,
    gram,
    matrix_of,
)
from whydeep.theory.estimators._search import (
    Setting,
    by_likelihood,
    by_split,
    combinations,
    refined,
)
from whydeep.theory.estimators._solve import factorise
from whydeep.theory.estimators._variances import common, settle, variances

__all__ = ["InfiniteWidth", "Judge"]

_DEPTHS = (1, 3, 5)
_NOISES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_UNREACHED = 1e-6  # of the largest target: more than rounding
_SEARCHES = ("marginal_likelihood", "split")

Judge = Callable[[np.ndarray, np.ndarray, float, Setting], tuple[float, ...]]


class InfiniteWidth(BaseEstimator):
    """Base class: a network at infinite width and what it makes of data."""

    _tangent: ClassVar[bool]
    net_: Any
    noise_: float

    def __init__(
        self,
        net: Any = None,
        *,
        depth: Any = None,
        weight_var: Any = None,
        bias_var: Any = None,
        noise: Any = 0.0,
        input_shape: Any = None,
        search: Any = None,
        grid: Any = None,
        refine: Any = 0,
        search_rows: Any = 2000,
        random_state: Any = 0,
    ) -> None:
        self.net = net
        self.depth = depth
        self.weight_var = weight_var
        self.bias_var = bias_var
        self.noise = noise
        self.input_shape = input_shape
        self.search = search
        self.grid = grid
        self.refine = refine
        self.search_rows = search_rows
        self.random_state = random_state

    @property
    def theta_(self) -> np.ndarray:
        """Logarithms of weight_var, bias_var and noise of the fitted network, (3,).

        Raises:
            InputError: the layers of the network do not share them.
        """
        check_is_fitted(self)
        weight, bias = (common(values) for values in variances(self.net_))
        if weight is None or bias is None:
            raise InputError(
                "The layers of this network have different variances.",
                received=repr(self.net_),
                needed="one weight_var and one bias_var for all",
                suggestion="log_marginal_likelihood() without theta",
            )
        with np.errstate(divide="ignore"):
            return np.log([weight, bias, self.noise_])

    def log_marginal_likelihood(
        self, theta: Any = None, *, eval_gradient: bool = False
    ) -> float | tuple[float, np.ndarray]:
        """``log N(y; 0, K + noise I)`` of the training targets, summed over outputs.

        K is the NNGP kernel, or for the NTK estimators the tangent kernel: they are no Bayesian
        model, and this is the evidence of the Gaussian process that has their mean.

        Args:
            theta: logarithms of weight_var and bias_var of all layers and of the noise, (3,);
                minus infinity for a zero. None for those of the fitted network.
            eval_gradient: whether the gradient in theta comes too. Where the layers of the network
                have different variances, it is along one factor for all weight_var and one for
                all bias_var.

        Raises:
            InputError: K + noise I is singular.

        Accuracy: of the gradient 1e-8, relative to its largest entry, where K + noise I is well
        conditioned. Cost: without theta, what `fit` has computed is used. The gradient is compiled
        once for a network, about a second a layer, and then costs about ten kernels.

        Source: Rasmussen and Williams 2006, Eqs. 2.30 and 5.9.
        """
        check_is_fitted(self)
        x, y, law = self._x, self._targets, self._law
        network, noise, factor = self.net_, self.noise_, law.factor
        if theta is not None:
            weight, bias, noise = _exponentials(theta)
            network = settle(self.net_, None, weight, bias)
            found = gram(network, x, tangent=self._tangent)
            matrix, error = matrix_of(found, tangent=self._tangent)
            factor = factorise(matrix, noise, error=error)
        value = log_density(factor, y)
        if not eval_gradient:
            return value
        return value, slopes(network, x, y, factor, noise, tangent=self._tangent)

    # -- reading ----------------------------------------------------------

    def _read(self, X: Any, y: Any = "no_validation", **how: Any) -> Any:
        """Inputs as the network takes them, and targets if there are any."""
        training = not isinstance(y, str)
        as_array("X", X)
        if training:
            as_array("y", y)
        both = cast(
            "Any", validate_data(self, X, y, reset=training, allow_nd=True, dtype="numeric", **how)
        )
        x, y = both if training else (both, None)
        shape = x.shape[1:]
        if self.input_shape is not None and x.ndim == 2:
            shape = each(COUNT)("input_shape", self.input_shape)
            if math.prod(shape) != x.shape[1]:
                raise InputError(
                    "input_shape does not fit the inputs.",
                    received=f"input_shape={shape} and {x.shape[1]} features",
                    needed=f"a shape of {x.shape[1]} numbers",
                )
        if training:
            self._shape = shape
        elif shape != self._shape:
            raise InputError(
                "These inputs have another shape than those of fit.",
                received=f"{shape}",
                needed=f"{self._shape}",
            )
        x = self._numbers(x).reshape(len(x), *shape)
        return (x, y) if training else x

    def _numbers(self, x: np.ndarray) -> np.ndarray:
        """float64, or whole numbers where the network looks up tokens."""
        if getattr(self.net, "takes_tokens", False) and np.array_equal(x, np.rint(x)):
            return x.astype(np.int64)
        return x.astype(np.float64, copy=False)

    # -- learning ----------------------------------------------------------

    def _setting(self) -> Setting:
        """The hyper-parameters as given, checked."""
        for name in ("weight_var", "bias_var"):
            value = getattr(self, name)
            if value is not None:
                check_number(name, value)
        penalty = getattr(self, "C", 1.0)
        return Setting(
            self.net, self.depth, self.weight_var, self.bias_var,
            check_number("noise", self.noise), check_number("C", penalty, positive=True),
        )  # fmt: skip

    def _choose(self, x: np.ndarray, y: np.ndarray, labels: np.ndarray | None) -> Setting:
        """The hyper-parameters as given, or those that a search prefers."""
        start = self._setting()
        if self.search is None:
            return start
        choice(*_SEARCHES)("search", self.search)
        random = check_random_state(self.random_state)
        rows = np.arange(len(x))
        if self.search_rows is not None and check_whole("search_rows", self.search_rows) < len(x):
            rows, _ = _halves(rows, labels, self.search_rows, random)
        groups = combinations(start, self._default_grid(start) if self.grid is None else self.grid)
        steps = check_whole("refine", self.refine, least=0)
        if self.search == "split":
            if steps:
                raise InputError(
                    "Only a marginal likelihood can be refined.",
                    received=f"refine={steps} and search='split'",
                    needed="search='marginal_likelihood', or refine=0",
                )
            own = None if labels is None else labels[rows]
            order = np.arange(len(rows))
            fits, judges = _halves(order, own, (len(rows) + 1) // 2, random)
            judge = self._judge(y[rows][fits], y[rows][judges])
            trials = by_split(groups, x[rows], fits, judges, judge, tangent=self._tangent)
        else:
            trials = by_likelihood(groups, x[rows], y[rows], tangent=self._tangent)
            if steps:
                best = max(trials, key=lambda trial: trial.rank).setting
                trials.append(refined(best, x[rows], y[rows], tangent=self._tangent, steps=steps))
        best = max(trials, key=lambda trial: trial.rank)
        self.search_results_ = [vars(t.setting) | {"score": t.score} for t in trials]
        self.best_params_ = vars(best.setting)
        return best.setting

    def _default_grid(self, start: Setting) -> dict[str, Sequence[Any]]:
        grid: Any = {"noise": _NOISES}
        if start.depth is None and start.network().fully_connected:
            grid["depth"] = _DEPTHS
        return grid

    def _judge(self, y_fit: np.ndarray, y_judge: np.ndarray) -> Judge:
        """What decides in a split: minus the mean squared error."""

        def judge(
            own: np.ndarray, cross: np.ndarray, error: float, setting: Setting
        ) -> tuple[float, ...]:
            found = cross @ factorise(own, setting.noise, error=error).solve(y_fit)
            return (-float(np.mean((found - y_judge) ** 2)),)

        return judge

    def _learn(self, x: np.ndarray, y: np.ndarray, setting: Setting) -> Any:
        self.net_, self.noise_ = setting.network(), setting.noise
        self._x, self._targets = x, y
        law, unreached = condition(self.net_, x, y, self.noise_, tangent=self._tangent)
        self._law: Posterior | TrainedEnsemble = law
        missed = float(np.abs(unreached).max())
        if missed > _UNREACHED * float(np.abs(y).max()):
            warnings.warn(
                f"Not all targets can be met: one is missed by {missed:.3g}. To this network some "
                "inputs are the same, at least to rounding, and their targets differ: they get "
                "what gradient flow ends in, the mean where inputs are equal. noise > 0 says that "
                "targets are not exact; inputs far from 0 should be centred.",
                stacklevel=3,
            )
        return self


def _halves(
    rows: np.ndarray, labels: np.ndarray | None, size: int, random: Any
) -> tuple[np.ndarray, np.ndarray]:
    """`size` of the rows at random, and the others; each class in proportion where it can be."""
    if len(rows) < 2:
        raise InputError(
            "A search needs more than one sample.", received="1 sample", needed="2 or more"
        )
    if labels is not None:
        counts = np.unique(labels, return_counts=True)[1]
        if counts.min() < 2 or min(size, len(rows) - size) < len(counts):
            labels = None
    parts = train_test_split(rows, train_size=size, stratify=labels, random_state=random)
    return np.asarray(parts[0]), np.asarray(parts[1])


def _exponentials(theta: Any) -> tuple[float, float, float]:
    values = np.asarray(theta, dtype=np.float64)
    if values.shape != (3,) or np.any(np.isnan(values)) or np.any(values == np.inf):
        raise InputError(
            "theta can't be read.",
            received=f"{theta!r}",
            needed="logarithms of weight_var, bias_var and noise: three numbers",
        )
    weight, bias, noise = np.exp(values)
    return float(weight), float(bias), float(noise)
