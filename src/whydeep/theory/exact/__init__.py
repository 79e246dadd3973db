"""Exact results at any width: scale-invariant networks on one input, linear ones on any number."""

from whydeep.theory.exact._exact import ExactMoments as ExactMoments
from whydeep.theory.exact._exact import exact_moments as exact_moments
from whydeep.theory.exact._factors import LogVariance as LogVariance
