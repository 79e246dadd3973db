"""What theory predicts: infinite width and its first corrections. Never imports a measurement."""

from whydeep.theory._density import preactivation_density as preactivation_density
from whydeep.theory._predict import predict as predict
from whydeep.theory._prediction import Prediction as Prediction
from whydeep.theory.infinite import Kernel as Kernel
from whydeep.theory.infinite import kernel as kernel
