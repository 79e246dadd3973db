"""Training at infinite width: outputs at any time, stable steps, learning curves."""

from whydeep.theory.training._dynamics import Descent as Descent
from whydeep.theory.training._dynamics import Flow as Flow
from whydeep.theory.training._dynamics import HeavyBall as HeavyBall
from whydeep.theory.training._dynamics import HeavyBallFlow as HeavyBallFlow
from whydeep.theory.training._evolve import Evolution as Evolution
from whydeep.theory.training._evolve import evolve as evolve
from whydeep.theory.training._function_space import evolve_outputs as evolve_outputs
from whydeep.theory.training._learning_curve import LearningCurve as LearningCurve
from whydeep.theory.training._learning_curve import Spectrum as Spectrum
from whydeep.theory.training._learning_curve import kernel_spectrum as kernel_spectrum
from whydeep.theory.training._learning_curve import learning_curve as learning_curve
from whydeep.theory.training._predict_training import predict_training as predict_training
from whydeep.theory.training._prediction import TrainingPrediction as TrainingPrediction
from whydeep.theory.training._stable_step import StableStep as StableStep
from whydeep.theory.training._stable_step import largest_stable_step as largest_stable_step
from whydeep.theory.training._stable_step import stable_adam_curvature as stable_adam_curvature
