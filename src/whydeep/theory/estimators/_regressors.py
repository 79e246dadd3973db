"""Regression: a Bayesian network, and an ensemble of trained ones."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from whydeep.arguments import as_numbers
from whydeep.theory.estimators._estimator import InfiniteWidth

__all__ = ["NNGPRegressor", "NTKRegressor"]


class _Regressor(RegressorMixin, InfiniteWidth):
    def __init__(
        self,
        net: Any = None,
        *,
        depth: Any = None,
        weight_var: Any = None,
        bias_var: Any = None,
        noise: Any = 0.0,
        normalize_y: Any = False,
        input_shape: Any = None,
        search: Any = None,
        grid: Any = None,
        refine: Any = 0,
        search_rows: Any = 2000,
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            net, depth=depth, weight_var=weight_var, bias_var=bias_var, noise=noise,
            input_shape=input_shape, search=search, grid=grid, refine=refine,
            search_rows=search_rows, random_state=random_state,
        )  # fmt: skip
        self.normalize_y = normalize_y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Any:
        """Learn from inputs X, (N, features) or (N, *input_shape), and targets y, (N,) or (N, k).

        Raises:
            InputError: bad hyper-parameters, a network without a kernel of these inputs, too little
                memory.
            ValueError: NaN, wrong shapes or lengths (scikit-learn's checks).
        """
        x, y = self._read(X, y, multi_output=True, y_numeric=True)
        y = as_numbers("y", y)
        self._single = y.ndim == 1
        y = y.reshape(len(y), -1)
        self._offset, self._scale = np.zeros(y.shape[1]), np.ones(y.shape[1])
        if self.normalize_y:
            self._offset, spread = y.mean(axis=0), y.std(axis=0)
            self._scale = np.where(spread > 0, spread, 1.0)
        targets = (y - self._offset) / self._scale
        return self._learn(x, targets, self._choose(x, targets, None))

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:  # noqa: FBT001, FBT002
        """The mean of the outputs, (M,) or (M, k), and on request how much they scatter.

        Args:
            X: M inputs.
            return_std: the standard deviation too, shaped like the mean.
            return_cov: the covariance between inputs too, (M, M), or (M, M, k).

        Raises:
            ValueError: both at once; inputs of another shape than in `fit`.

        Warns:
            UserWarning: roundings of the kernel leave a standard deviation unknown; it is then NaN.

        Accuracy: variances are told where roundings leave them known to 2%, or standard deviations
        to 1e-5 of the size of targets and noise; without noise to a thousandth of the targets.
        """
        check_is_fitted(self)
        if return_std and return_cov:
            raise ValueError("return_std and return_cov: at most one of them.")
        x = self._read(X)
        if not (return_std or return_cov):
            return self._outputs(self._law.mean(x))
        if return_std:
            mean, variance = self._law.mean_and_variance(x)
            std = np.sqrt(variance)[:, None] * self._scale
            return self._outputs(mean), std[:, 0] if self._single else std
        mean, covariance = self._law.mean_and_covariance(x)
        scaled = covariance[..., None] * self._scale**2
        return self._outputs(mean), scaled[..., 0] if self._single else scaled

    def _outputs(self, mean: np.ndarray) -> np.ndarray:
        outputs = mean * self._scale + self._offset
        return outputs[:, 0] if self._single else outputs


class NNGPRegressor(_Regressor):
    """A Bayesian network of infinite width: Gaussian weights, conditioned on the data.

    ``y = f(x) + N(0, noise)`` where f is the network with its random weights, a Gaussian process
    with the NNGP kernel. `predict` gives mean and standard deviation of f (not of y) under the
    posterior. This is inference, not training: what gradient descent does is `NTKRegressor`.

    Args:
        net: any network that `whydeep.kernel` knows; its width does not matter. None: relu, 3
            hidden layers, weight_var 2, bias_var 0.2.
        depth: hidden layers, for fully connected networks with equal layers; None leaves it.
        weight_var: of all layers (`input_var` of recurrent ones included); None leaves them.
        bias_var: of all layers; None leaves them.
        noise: variance of the targets' errors. 0: they are exact, and if the kernel matrix is
            singular to rounding its pseudo-inverse takes the place of the inverse, which is the
            limit of small noise: equal inputs get the mean of their targets, with a warning where
            these differ. No jitter is ever added.
        normalize_y: learn (y - mean) / standard deviation of each output, as the prior has mean 0;
            noise and the marginal likelihood are then of these.
        input_shape: what the features of a row are: (28, 28, 1) for images, (T, channels) for
            sequences. Inputs with more than two dimensions may also be given as they are.
        search: None; "marginal_likelihood" (the largest of a grid); or "split" (half of the
            training set fits, the other half chooses by squared error).
        grid: values to try, by name: net, depth, weight_var, bias_var, noise. By default noise
            1e-4 to 1, and depth 1, 3 and 5 where it can be changed.
        refine: so many steps of L-BFGS-B on weight_var, bias_var and noise after the grid
            ("marginal_likelihood" only).
        search_rows: the search uses at most so many rows, drawn at random; the fit uses all.
        random_state: of these draws.

    Attributes:
        net_: the network that was used, and `noise_` its noise.
        best_params_: after a search, what it chose, and `search_results_` all it tried.
        theta_: logarithms of weight_var, bias_var and noise, for `log_marginal_likelihood`.

    Accuracy: that of the kernel (1e-12, smooth activations 1e-10) times the condition number of
    K + noise I. Inputs are taken as they come: to scale them is the caller's business.

    Cost: N^3 / 3 operations and one matrix of N^2 float64 for `fit`; a prediction N per input, and
    N^2 with its standard deviation.

    Source: Neal 1996; Lee et al. 2018; Rasmussen and Williams 2006, Section 2.2.

    Example:
        >>> import numpy as np
        >>> x = np.array([[-1.0], [0.0], [1.0]])
        >>> model = NNGPRegressor(noise=0.01).fit(x, [1.0, 0.0, 1.0])
        >>> mean, std = model.predict([[0.0], [3.0]], return_std=True)
        >>> mean.round(2), std.round(2)
        (array([0.02, 3.17]), array([0.1 , 1.18]))
    """

    _tangent: ClassVar[bool] = False


class NTKRegressor(_Regressor):
    """The mean of infinitely wide networks trained by gradient flow, and how they scatter.

    Networks are drawn at random and trained to the end on the squared error. `predict` gives mean
    and standard deviation over their initialisations: with Theta the tangent kernel, K the NNGP
    kernel (the outputs at the start) and A = Theta + noise I,

        mean = Theta_TX A^-1 y
        covariance = K_TT + B^T K_XX B - B^T K_XT - K_TX B,   B = A^-1 Theta_XT

    This is no posterior: it does not say what the data leave open, but how much training from
    another start changes the outcome. For the posterior see `NNGPRegressor`. The parameters are
    those of `NNGPRegressor`, but for

    Args:
        net: any network that `whydeep.kernel` knows; None: relu, 3 hidden layers, weight_var 2,
            bias_var 0.2.
        depth: as in `NNGPRegressor`.
        weight_var: as in `NNGPRegressor`.
        bias_var: as in `NNGPRegressor`.
        noise: weight of a pull towards the initial weights: training minimises |f(X) - y|^2 +
            noise sum (theta - theta_0)^2 / learning rate. 0: none, and training goes on to t =
            infinity: exact on the training set, without any scatter there; directions that a
            singular Theta does not reach never move.
        normalize_y: as in `NNGPRegressor`.
        input_shape: as in `NNGPRegressor`.
        search: as in `NNGPRegressor`; the marginal likelihood is that of a Gaussian process with
            covariance Theta + noise I, which has the same mean.
        grid: as in `NNGPRegressor`.
        refine: as in `NNGPRegressor`.
        search_rows: as in `NNGPRegressor`.
        random_state: as in `NNGPRegressor`.

    Cost: as `NNGPRegressor`, with two matrices of N^2 float64.

    Source: Jacot, Gabriel and Hongler 2018; Lee et al. 2019, Eqs. 15 and 16 at t = infinity; Hu,
    Li and Yu 2020 (the pull).

    Example:
        >>> import numpy as np
        >>> x = np.array([[-1.0], [0.0], [1.0]])
        >>> model = NTKRegressor().fit(x, [1.0, 0.0, 1.0])
        >>> mean, std = model.predict([[0.0], [3.0]], return_std=True)
        >>> np.abs(mean).round(2), std.round(2)
        (array([0. , 2.5]), array([0.  , 1.32]))
    """

    _tangent: ClassVar[bool] = True
