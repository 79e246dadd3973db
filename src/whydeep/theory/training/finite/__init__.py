"""Training at finite width: outputs and tangent kernels to first order in 1/width."""

from whydeep.theory.training.finite._expansion import CAUSES as CAUSES
from whydeep.theory.training.finite._expansion import Expansion as Expansion
from whydeep.theory.training.finite._expansion import OutputTensors as OutputTensors
from whydeep.theory.training.finite._expansion import expand_training as expand_training
from whydeep.theory.training.finite._predict import (
    FiniteTrainingPrediction as FiniteTrainingPrediction,
)
from whydeep.theory.training.finite._predict import output_tensors as output_tensors
from whydeep.theory.training.finite._predict import (
    predict_finite_training as predict_finite_training,
)
