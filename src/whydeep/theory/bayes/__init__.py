"""Bayesian inference at finite width: posterior, evidence and the choice between networks."""

from whydeep.theory.bayes._evidence import Evidence as Evidence
from whydeep.theory.bayes._evidence import compare_evidence as compare_evidence
from whydeep.theory.bayes._expansion import Expansion as Expansion
from whydeep.theory.bayes._expansion import FullVertex as FullVertex
from whydeep.theory.bayes._expansion import expand_posterior as expand_posterior
from whydeep.theory.bayes._posterior import Posterior as Posterior
from whydeep.theory.bayes._posterior import posterior as posterior
