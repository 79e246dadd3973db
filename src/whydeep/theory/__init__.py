"""What theory predicts: infinite width and its first corrections. Never imports a measurement."""

from whydeep.theory._density import preactivation_density as preactivation_density
from whydeep.theory._predict import predict as predict
from whydeep.theory._prediction import Prediction as Prediction
from whydeep.theory.infinite import Kernel as Kernel
from whydeep.theory.infinite import kernel as kernel
from whydeep.theory.training import Descent as Descent
from whydeep.theory.training import Evolution as Evolution
from whydeep.theory.training import Flow as Flow
from whydeep.theory.training import HeavyBall as HeavyBall
from whydeep.theory.training import HeavyBallFlow as HeavyBallFlow
from whydeep.theory.training import LearningCurve as LearningCurve
from whydeep.theory.training import Spectrum as Spectrum
from whydeep.theory.training import StableStep as StableStep
from whydeep.theory.training import TrainingPrediction as TrainingPrediction
from whydeep.theory.training import evolve as evolve
from whydeep.theory.training import evolve_outputs as evolve_outputs
from whydeep.theory.training import kernel_spectrum as kernel_spectrum
from whydeep.theory.training import largest_stable_step as largest_stable_step
from whydeep.theory.training import learning_curve as learning_curve
from whydeep.theory.training import predict_training as predict_training
from whydeep.theory.training import stable_adam_curvature as stable_adam_curvature
