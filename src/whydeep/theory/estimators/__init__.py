"""scikit-learn estimators: Bayesian and gradient-trained networks of infinite width."""

from whydeep.theory.estimators._classifiers import NNGPClassifier as NNGPClassifier
from whydeep.theory.estimators._classifiers import NTKClassifier as NTKClassifier
from whydeep.theory.estimators._regressors import NNGPRegressor as NNGPRegressor
from whydeep.theory.estimators._regressors import NTKRegressor as NTKRegressor
