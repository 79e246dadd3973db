"""What theory predicts of a network at initialisation, to first order in 1/width."""

from whydeep.theory.finite._contracted import contracted_vertex as contracted_vertex
from whydeep.theory.finite._density import preactivation_density as preactivation_density
from whydeep.theory.finite._predict import predict as predict
from whydeep.theory.finite._prediction import PREDICTION as PREDICTION
from whydeep.theory.finite._prediction import Prediction as Prediction
