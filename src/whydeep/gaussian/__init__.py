"""Expectations of activations under Gaussian laws, each with an estimate of its error."""

from whydeep.gaussian._covariance import Covariance
from whydeep.gaussian._criticality import Criticality, CriticalPoint, critical
from whydeep.gaussian._derivative_products import DerivativeProducts, derivative_products
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
from whydeep.gaussian._pair_tables import PairMeans, any_pair_means, within_reach
from whydeep.gaussian._single import SingleMeans, single_means
from whydeep.gaussian._slope_function import TangentTables, slope_function, tangent_tables

__all__ = [
    "Covariance",
    "CriticalPoint",
    "Criticality",
    "DerivativeProducts",
    "Estimate",
    "PairMeans",
    "SecondMoments",
    "SingleMeans",
    "TangentTables",
    "any_pair_means",
    "critical",
    "derivative_products",
    "image_mean",
    "mean_image",
    "mean_slope",
    "pair_derivatives",
    "product_moments",
    "second_moments",
    "self_derivatives",
    "series_length",
    "single_means",
    "slope_function",
    "slope_mean",
    "slopes",
    "tangent_tables",
    "within_reach",
]
