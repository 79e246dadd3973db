"""Classification by regression on labels, and by support vectors on the tangent kernel."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.svm import SVC
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from whydeep.errors import InputError
from whydeep.theory.estimators._estimator import InfiniteWidth, Judge
from whydeep.theory.estimators._search import Setting
from whydeep.theory.estimators._solve import factorise
from whydeep.theory.estimators._votes import largest_of_gaussians
from whydeep.theory.infinite import kernel

__all__ = ["NNGPClassifier", "NTKClassifier"]

_METHODS = ("regression", "svm")
_PENALTIES = tuple(10.0**k for k in range(-2, 5))


def _by_regression(estimator: Any) -> bool:
    return getattr(estimator, "method", "regression") == "regression"


def _by_support(estimator: Any) -> bool:
    return not _by_regression(estimator)


class _Classifier(ClassifierMixin, InfiniteWidth):
    def fit(self, X: Any, y: Any) -> Any:
        """Learn from inputs X, (N, features) or (N, *input_shape), and their classes y, (N,).

        Raises:
            InputError: one class only, bad hyper-parameters, a network without a kernel of these
                inputs, too little memory.
            ValueError: NaN, wrong shapes or lengths (scikit-learn's checks).
        """
        x, y = self._read(X, y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(
                "All labels belong to one class.",
                received=f"{len(y)} times {self.classes_[0]!r}",
                needed="two classes or more",
            )
        targets = np.eye(len(self.classes_))[labels] - 1.0 / len(self.classes_)
        return self._learn_classes(x, targets, labels, self._choose(x, targets, labels))

    def predict(self, X: Any) -> np.ndarray:
        """The class of every input, (M,)."""
        check_is_fitted(self)
        return self.classes_[self._best(self._read(X))]

    @available_if(_by_regression)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes, (M, classes): that the class's output is the largest.

        Under the law that the class's docstring names, with independent outputs. It is no frequency
        of classes in the world: regression on labels is not a model of how labels arise. For that,
        use `sklearn.calibration.CalibratedClassifierCV`.
        """
        means, variance = self.latent_mean_and_variance(X)
        return largest_of_gaussians(means, np.sqrt(variance))

    @available_if(_by_regression)
    def latent_mean_and_variance(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Means of the outputs, (M, classes), and the variance that all outputs have, (M,).

        The targets are 1 - 1/classes for the right class and -1/classes for the others.
        """
        check_is_fitted(self)
        return self._law.mean_and_variance(self._read(X))

    def _learn_classes(
        self,
        x: np.ndarray,
        targets: np.ndarray,
        labels: np.ndarray,  # noqa: ARG002 (support vectors need them)
        setting: Setting,
    ) -> Any:
        return self._learn(x, targets, setting)

    def _best(self, x: np.ndarray) -> np.ndarray:
        return np.argmax(self._law.mean(x), axis=1)

    def _judge(self, y_fit: np.ndarray, y_judge: np.ndarray) -> Judge:
        """What decides in a split: the accuracy, and between equals the squared error."""
        wanted = np.argmax(y_judge, axis=1)

        def judge(
            own: np.ndarray, cross: np.ndarray, error: float, setting: Setting
        ) -> tuple[float, ...]:
            found = cross @ factorise(own, setting.noise, error=error).solve(y_fit)
            accuracy = float(np.mean(np.argmax(found, axis=1) == wanted))
            return accuracy, -float(np.mean((found - y_judge) ** 2))

        return judge


class NNGPClassifier(_Classifier):
    """A Bayesian network of infinite width that regresses on labels.

    One output a class, with the targets 1 - 1/classes and -1/classes; the class with the largest
    posterior mean is predicted. `predict_proba` is the posterior probability that a class's output
    is the largest. Inference, not training: see `NTKClassifier` for that.

    The parameters are those of `NNGPRegressor` without `normalize_y`; "split" chooses by accuracy.

    Raises:
        InputError: as in `fit`.

    Cost: as `NNGPRegressor`: all classes share one factorisation.

    Source: Lee et al. 2018, Section 3 (regression on labels); Girolami and Rogers 2006, Eq. 4 (the
    probability).

    Example:
        >>> import numpy as np
        >>> x = np.array([[-1.0], [-0.5], [0.5], [1.0]])
        >>> model = NNGPClassifier(noise=0.1).fit(x, ["low", "low", "high", "high"])
        >>> print(*model.predict([[-2.0], [2.0]]))
        low high
        >>> model.classes_.tolist(), model.predict_proba([[0.1]]).round(2)
        (['high', 'low'], array([[0.64, 0.36]]))
    """

    _tangent: ClassVar[bool] = False


class NTKClassifier(_Classifier):
    """Infinitely wide networks, trained to the end by gradient flow on labels.

    ``method="regression"``: squared error on the targets 1 - 1/classes and -1/classes, one output
    a class; the class with the largest mean output is predicted, and `predict_proba` is the share
    of trained networks, over initialisations, whose largest output is that class. No posterior:
    see `NNGPClassifier`. ``method="svm"``: a support vector machine with the tangent kernel (C is
    its penalty, noise has no meaning), which has a `decision_function` and no probabilities.

    Args:
        net: as in `NTKRegressor`, like all that follow but for the last two.
        depth: hidden layers.
        weight_var: of all layers.
        bias_var: of all layers.
        noise: weight of the pull towards the initial weights.
        input_shape: what the features of a row are.
        search: None, "marginal_likelihood" (method "regression" only) or "split".
        grid: values to try, by name, C included. By default C from 1e-2 to 1e4 for "svm".
        refine: steps after the grid.
        search_rows: rows that the search uses at most.
        random_state: of the draw of these.
        method: "regression" or "svm".
        C: of the support vector machine.

    Source: Jacot, Gabriel and Hongler 2018; Lee et al. 2019, Eqs. 15 and 16; Arora et al. 2020
    (support vectors on the tangent kernel).

    Example:
        >>> import numpy as np
        >>> x = np.array([[-1.0], [-0.5], [0.5], [1.0]])
        >>> y = ["low", "low", "high", "high"]
        >>> NTKClassifier().fit(x, y).predict_proba([[0.1]]).round(2)
        array([[0.68, 0.32]])
        >>> print(*NTKClassifier(method="svm", C=10.0).fit(x, y).predict([[-2.0], [2.0]]))
        low high
    """

    _tangent: ClassVar[bool] = True

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
        method: Any = "regression",
        C: Any = 1.0,
    ) -> None:
        super().__init__(
            net, depth=depth, weight_var=weight_var, bias_var=bias_var, noise=noise,
            input_shape=input_shape, search=search, grid=grid, refine=refine,
            search_rows=search_rows, random_state=random_state,
        )  # fmt: skip
        self.method = method
        self.C = C

    @available_if(_by_support)
    def decision_function(self, X: Any) -> np.ndarray:
        """Of `sklearn.svm.SVC`: (M,) for two classes, else (M, classes)."""
        check_is_fitted(self)
        return self._machine.decision_function(self._cross(self._read(X)))

    def log_marginal_likelihood(
        self, theta: Any = None, *, eval_gradient: bool = False
    ) -> float | tuple[float, np.ndarray]:
        """As `NTKRegressor.log_marginal_likelihood`, of the labels' targets.

        Raises:
            InputError: K + noise I is singular, or the method is "svm".
        """
        if self.method == "svm":
            raise _no_likelihood("method='svm'")
        return super().log_marginal_likelihood(theta, eval_gradient=eval_gradient)

    def _choose(self, x: np.ndarray, y: np.ndarray, labels: np.ndarray | None) -> Setting:
        if self.method not in _METHODS:
            raise InputError(
                "There is no method of this name.",
                received=f"method={self.method!r}",
                needed=" or ".join(map(repr, _METHODS)),
            )
        if self.method == "svm" and self.search == "marginal_likelihood":
            raise _no_likelihood("method='svm' and search='marginal_likelihood'")
        return super()._choose(x, y, labels)

    def _default_grid(self, start: Setting) -> dict[str, Any]:
        grid = super()._default_grid(start)
        if self.method == "svm":
            del grid["noise"]
            grid["C"] = _PENALTIES
        return grid

    def _judge(self, y_fit: np.ndarray, y_judge: np.ndarray) -> Judge:
        if self.method == "regression":
            return super()._judge(y_fit, y_judge)
        labels, wanted = np.argmax(y_fit, axis=1), np.argmax(y_judge, axis=1)

        def judge(
            own: np.ndarray, cross: np.ndarray, _error: float, setting: Setting
        ) -> tuple[float, ...]:
            machine = SVC(C=setting.C, kernel="precomputed").fit(own, labels)
            return (float(np.mean(machine.predict(cross) == wanted)),)

        return judge

    def _learn_classes(
        self, x: np.ndarray, targets: np.ndarray, labels: np.ndarray, setting: Setting
    ) -> Any:
        if self.method == "regression":
            return self._learn(x, targets, setting)
        self.net_, self.noise_, self.C_ = setting.network(), setting.noise, setting.C
        self._x = x
        machine = SVC(C=setting.C, kernel="precomputed")
        self._machine = machine.fit(kernel(self.net_, x).ntk, labels)
        return self

    def _best(self, x: np.ndarray) -> np.ndarray:
        if self.method == "regression":
            return super()._best(x)
        return self._machine.predict(self._cross(x))

    def _cross(self, x: np.ndarray) -> np.ndarray:
        return kernel(self.net_, self._x, x).ntk.T


def _no_likelihood(received: str) -> InputError:
    return InputError(
        "Support vectors have no marginal likelihood.",
        received=received,
        needed="method='regression', or search='split'",
    )
