"""Intrinsic dimension of clouds of points: estimates with errors, their bias, scales, layers."""

from whydeep.geometry.dimension._calibration import CalibratedDimension as CalibratedDimension
from whydeep.geometry.dimension._calibration import Reference as Reference
from whydeep.geometry.dimension._calibration import calibrated_dimension as calibrated_dimension
from whydeep.geometry.dimension._calibration import reference_dimension as reference_dimension
from whydeep.geometry.dimension._dimension import intrinsic_dimension as intrinsic_dimension
from whydeep.geometry.dimension._layers import dimension_by_layer as dimension_by_layer
from whydeep.geometry.dimension._result import Dimension as Dimension
from whydeep.geometry.dimension._scales import ManifoldTest as ManifoldTest
from whydeep.geometry.dimension._scales import dimension_over_scales as dimension_over_scales
from whydeep.geometry.dimension._scales import manifold_test as manifold_test
