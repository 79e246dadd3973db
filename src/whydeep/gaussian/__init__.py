"""Expectations of activations under Gaussian laws, each with an estimate of its error."""

from whydeep.gaussian._covariance import Covariance
from whydeep.gaussian._criticality import Criticality, CriticalPoint, critical
from whydeep.gaussian._elementwise import (
    image_mean,
    mean_image,
    mean_slope,
    series_length,
    slope_mean,
)
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
    "image_mean",
    "mean_image",
    "mean_slope",
    "pair_derivatives",
    "product_moments",
    "second_moments",
    "self_derivatives",
    "series_length",
    "slope_mean",
    "slopes",
]
