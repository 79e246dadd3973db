"""Exact statements about one given network or cloud of points: affine pieces, hulls, dimension."""

from whydeep.geometry.dimension import CalibratedDimension as CalibratedDimension
from whydeep.geometry.dimension import Dimension as Dimension
from whydeep.geometry.dimension import ManifoldTest as ManifoldTest
from whydeep.geometry.dimension import calibrated_dimension as calibrated_dimension
from whydeep.geometry.dimension import dimension_by_layer as dimension_by_layer
from whydeep.geometry.dimension import dimension_over_scales as dimension_over_scales
from whydeep.geometry.dimension import intrinsic_dimension as intrinsic_dimension
from whydeep.geometry.dimension import manifold_test as manifold_test
from whydeep.geometry.dimension import reference_dimension as reference_dimension
from whydeep.geometry.hull import Extrapolation as Extrapolation
from whydeep.geometry.hull import HullMembership as HullMembership
from whydeep.geometry.hull import ball_threshold as ball_threshold
from whydeep.geometry.hull import check_hull as check_hull
from whydeep.geometry.hull import expected_gaussian_vertices as expected_gaussian_vertices
from whydeep.geometry.hull import extrapolation as extrapolation
from whydeep.geometry.hull import gaussian_inside as gaussian_inside
from whydeep.geometry.hull import in_hull as in_hull
from whydeep.geometry.hull import symmetric_inside as symmetric_inside
from whydeep.geometry.partition import Regions as Regions
from whydeep.geometry.partition import plane as plane
from whydeep.geometry.partition import regions as regions
from whydeep.geometry.pieces import PiecewiseLinear as PiecewiseLinear
from whydeep.geometry.pieces import from_layers as from_layers
from whydeep.geometry.readers import piecewise_linear as piecewise_linear
