"""Ensembles of real networks, trained and watched."""

from whydeep.ensemble.training._train import train as train
from whydeep.ensemble.training._training import OBSERVABLES as OBSERVABLES
from whydeep.ensemble.training._training import Training as Training
