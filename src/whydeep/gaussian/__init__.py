"""Expectations of activations under Gaussian laws, each with an estimate of its error."""

from whydeep.gaussian._covariance import Covariance
from whydeep.gaussian._criticality import Criticality, CriticalPoint, critical
from whydeep.gaussian._estimate import Estimate
from whydeep.gaussian._moments import (
    SecondMoments,
    pair_derivatives,
    product_moments,
    second_moments,
    self_derivatives,
    slopes,
)

__all__ = [
    "Covariance",
    "CriticalPoint",
    "Criticality",
    "Estimate",
    "SecondMoments",
    "critical",
    "pair_derivatives",
    "product_moments",
    "second_moments",
    "self_derivatives",
    "slopes",
]
