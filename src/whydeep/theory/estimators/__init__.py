"""scikit-learn estimators: Bayesian and gradient-trained networks of infinite width."""

# ruff: noqa: E402 -- scikit-learn imports rich, which must not move the user's random numbers
from whydeep.progress import rich_part

rich_part("style")

from whydeep.theory.estimators._classifiers import NNGPClassifier as NNGPClassifier
from whydeep.theory.estimators._classifiers import NTKClassifier as NTKClassifier
from whydeep.theory.estimators._regressors import NNGPRegressor as NNGPRegressor
from whydeep.theory.estimators._regressors import NTKRegressor as NTKRegressor
